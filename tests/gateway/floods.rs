//! Too many, too slow, too often: cases F1, F2 and the second half of F4. Whoever behaves is served through all of it.

use std::time::{Duration, Instant};

use futures_util::{StreamExt as _, stream};
use tempfile::TempDir;
use tokio::{runtime::Handle, time::sleep};

use crate::harness::{Dial, PATIENCE, Process, Raw, RawSocket, Relay, Sse, WebSocket, event, free_address, sign, token, until};

const PATH: &str = "/hooks/claimr/user_activity";

/// F1: the contract's own limits.
#[tokio::test]
async fn the_21st_session_of_a_user_is_told_4201_and_twenty_live_on() {
    let relay = Relay::start().await;
    let mut sockets = Vec::new();
    for _ in 0..20 {
        sockets.push(WebSocket::open(&relay, Dial::token(&token("42"))).await.0);
    }
    let mut one_more = WebSocket::dial(relay.address, Dial::token(&token("42"))).await.unwrap();
    assert_eq!(one_more.closed().await.0, 4201);
    assert_eq!(Sse::dial(&relay, Dial::token(&token("42"))).await.err().unwrap().0, 429);
    WebSocket::open(&relay, Dial::token(&token("77"))).await;
    assert_eq!(relay.event("42", 1).await.body["connections"], 20);
    for socket in &mut sockets {
        assert_eq!(socket.points(1).await, [1]);
    }
}

/// F1: the contract's own limits, and an address that lies about itself.
#[tokio::test]
async fn the_201st_session_of_an_address_is_told_429() {
    let relay = Relay::with("limits.sessions_per_address_max = 200").await;
    let dial = |n: u32| {
        let from = format!("203.0.113.{}", n % 250);
        let forwarded = format!("for={from}");
        Dial::token(&token(&n.to_string())).header("x-forwarded-for", &from).header("forwarded", &forwarded)
    };
    let mut sockets = Vec::new();
    for n in 0..200 {
        sockets.push(WebSocket::open(&relay, dial(n)).await);
    }
    assert_eq!(WebSocket::dial(relay.address, dial(200)).await.err(), Some(429));
    assert_eq!(Sse::dial(&relay, dial(200)).await.err().unwrap().0, 429);
    assert_eq!(relay.event("5", 1).await.body["connections"], 1, "webhooks are no sessions");
    drop(sockets.pop());
    until("a place is free again", async || relay.admission.sessions() < 200).await;
    WebSocket::open(&relay, dial(200)).await;
}

/// F1: behind proxies, each client is counted by itself; what it writes into the header itself counts for nothing.
#[tokio::test]
async fn behind_a_trusted_proxy_the_last_stranger_is_counted() {
    let trusted = "server.trusted_proxies = [\"127.0.0.0/8\", \"10.0.0.0/8\"]";
    let relay = Relay::with(&format!("limits.sessions_per_address_max = 1\n{trusted}")).await;
    let mut sockets = Vec::new();
    for (name, value, status) in [
        ("x-forwarded-for", "203.0.113.9", None),
        ("x-forwarded-for", "198.51.100.7, 203.0.113.9, 10.0.0.1", Some(429)),
        ("x-forwarded-for", "203.0.113.9, 198.51.100.7", None),
        ("forwarded", "for=198.51.100.1, for=\"203.0.113.9:4711\";proto=https, for=10.0.0.1", Some(429)),
        ("forwarded", "for=\"[2001:db8:1::1]:80\"", None),
        ("forwarded", "For=\"[2001:db8:1::2]\";by=10.0.0.1", Some(429)),
        ("x-other", "1.1.1.1", None),
        ("x-forwarded-for", "1.1.1.1, nonsense", Some(429)),
    ] {
        let dialled = WebSocket::dial(relay.address, Dial::token(&token("42")).header(name, value)).await;
        assert_eq!(dialled.as_ref().err().copied(), status, "{name}: {value}");
        sockets.extend(dialled);
    }
}

#[tokio::test]
async fn an_address_that_dials_too_fast_is_told_429_for_a_moment() {
    let relay = Relay::with("limits.new_sessions_per_address_per_s_max = 5").await;
    let (began, mut accepted) = (Instant::now(), 0.0);
    for n in 0..40 {
        match WebSocket::dial(relay.address, Dial::token(&token(&n.to_string()))).await {
            Ok(_) => accepted += 1.0,
            Err(status) => assert_eq!(status, 429),
        }
    }
    let most = 5.0 * (1.0 + began.elapsed().as_secs_f64());
    assert!(accepted <= most, "{accepted} were let in where {most} may be");
    until("it may dial again", async || WebSocket::dial(relay.address, Dial::token(&token("42"))).await.is_ok()).await;
}

/// Posts a webhook on a connection of its own; none if it is not answered.
async fn deliver(address: std::net::SocketAddr, n: usize) -> Option<u16> {
    let body = event("42", n).to_string();
    let request = format!(
        "POST {PATH} HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nX-Signature: {}\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
        sign(body.as_bytes()),
        body.len()
    );
    Raw::say(address, request).await.answer().await.map(|answer| answer.status)
}

/// F2: 320 files less the reserve of 256 for webhooks and the log are 64 sessions.
#[tokio::test]
async fn at_the_limit_of_files_sessions_are_refused_webhooks_served_and_it_recovers() {
    let (folder, address) = (TempDir::new().unwrap(), free_address());
    let gateway = Process::start(&folder, address, "limits.read_timeout_s = 3600", Some(320)).await;
    let mut sockets = Vec::new();
    for n in 0..64 {
        sockets.push(RawSocket::open(address, &n.to_string()).await);
    }
    assert_eq!(RawSocket::dial(address, "65").await.closed().await, 4200);
    assert_eq!(deliver(address, 1).await, Some(200));

    // Connections that say nothing take a quarter of the reserve, and no more.
    let idle: Vec<Raw> = stream::iter(0..400).then(async |_| Raw::connect(address).await).collect().await;
    assert_eq!(deliver(address, 2).await, Some(200));
    until("there are files for webhooks", async || gateway.files() < 320 - 128).await;
    drop(idle);

    let base = gateway.files();
    drop(sockets);
    until("the files are given back", async || gateway.files() <= base.min(64)).await;
    RawSocket::open(address, "65").await;
}

/// F2: a head, a body and a reader, each a little at a time.
#[tokio::test]
async fn who_is_slow_is_cut_off_and_the_others_do_not_notice() {
    let relay = Relay::with("limits.read_timeout_s = 1\nlimits.write_stall_s = 1").await;
    let (mut healthy, _) = WebSocket::open(&relay, Dial::token(&token("77"))).await;
    let body = format!("POST {PATH} HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: 100000\r\n\r\n");
    let chunked = body.replace("Content-Length: 100000", "Transfer-Encoding: chunked");
    let dribbles = ["GET / HTTP/1.1\r\nHost: a\r\nx: ", "\r\n", &body, &format!("{chunked}ffff\r\n"), &format!("{chunked}1;")];
    let dribble = async |start: &str| {
        let (began, mut raw) = (Instant::now(), Raw::say(relay.address, start).await);
        while raw.send("x").await {
            sleep(Duration::from_millis(20)).await;
            assert!(began.elapsed() < PATIENCE / 4, "{start:?} goes on");
        }
        began.elapsed()
    };
    // Asks and asks, and never reads an answer.
    let deaf = async {
        let mut raw = Raw::connect(relay.address).await;
        let asked = format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "x".repeat(100)).repeat(100);
        while raw.send(&asked).await {}
    };
    // Opens a stream, and never reads an event.
    let frozen = async {
        let head = format!("GET /v1/sse HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {}\r\n\r\n", token("42"));
        let _raw = Raw::say(relay.address, head).await;
        until("it is there", async || relay.hub.sessions() == 2).await;
        let mut n = 0;
        until("it is gone", async || {
            n += 1;
            let mut body = event("42", n);
            body["note"] = "x".repeat(60_000).into();
            relay.deliver(&body).await;
            relay.hub.sessions() == 1
        })
        .await;
    };
    let witness = async {
        for n in 0..100 {
            let began = Instant::now();
            relay.event("77", n).await;
            assert_eq!(healthy.points(1).await, [u64::try_from(n).unwrap()]);
            assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
            sleep(Duration::from_millis(10)).await;
        }
    };
    let slow = futures_util::future::join_all(dribbles.map(dribble));
    let (times, (), (), ()) = tokio::join!(slow, deaf, frozen, witness);
    for (time, start) in times.iter().zip(dribbles) {
        assert!(*time > Duration::from_millis(900), "{start:?} was cut off after {time:?}, before its time");
    }
}

/// F4: whatever was taken for a visitor is given back: sessions, keys, places, addresses, tasks.
#[tokio::test]
async fn ten_thousand_that_connect_and_drop_leave_nothing_behind() {
    const VISITORS: u32 = 10_000;
    const AT_ONCE: usize = 64;
    let relay = Relay::with("server.trusted_proxies = [\"127.0.0.0/8\"]\nlimits.sessions_per_address_max = 20").await;
    relay.event("42", 1).await;
    let tasks = || Handle::current().metrics().num_alive_tasks();
    let base = tasks();
    let tokens: Vec<String> = (0..50).map(|user| token(&user.to_string())).collect();
    let visit = async |n: u32| {
        let mut raw = Raw::connect(relay.address).await;
        raw.stream.set_zero_linger().unwrap();
        let [_, _, c, d] = n.to_be_bytes();
        let common = format!(
            "Host: a\r\nX-Forwarded-For: 203.0.{c}.{d}\r\nAuthorization: Bearer {}\r\n",
            tokens[n as usize % tokens.len()]
        );
        let handshake = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==";
        match n % 8 {
            0 => {}
            1 => drop(raw.send("GET /v1/ws HTTP/1.1\r\nHo").await),
            2 => drop(raw.send(format!("GET /v1/sse HTTP/1.1\r\n{common}\r\n")).await),
            3 | 4 => {
                raw.send(format!("GET /v1/sse HTTP/1.1\r\n{common}\r\n")).await;
                raw.answer().await;
            }
            5 => drop(raw.send(format!("GET /v1/ws HTTP/1.1\r\n{common}{handshake}\r\n\r\n")).await),
            _ => {
                raw.send(format!("GET /v1/ws HTTP/1.1\r\n{common}{handshake}\r\n\r\n")).await;
                assert_eq!(raw.answer().await.map(|answer| answer.status), Some(101));
            }
        }
    };
    stream::iter(0..VISITORS).for_each_concurrent(AT_ONCE, visit).await;
    until("nobody is left", async || {
        relay.hub.sessions() == 0
            && relay.hub.keys() == 0
            && relay.admission.sessions() == 0
            && relay.admission.addresses() == 0
            && tasks() <= base
    })
    .await;
    WebSocket::open(&relay, Dial::token(&token("42"))).await;
}

/// Refusals are logged, but a flood of them is a few lines: what was not logged one by one is counted.
#[tokio::test]
async fn a_flood_of_refusals_does_not_flood_the_log() {
    const REFUSALS: usize = 400;
    let (folder, address) = (TempDir::new().unwrap(), free_address());
    let gateway = Process::start(&folder, address, "log.refusals_per_s_max = 3", None).await;
    let began = Instant::now();
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let refused = async |n: usize| {
        let request = match n % 4 {
            0 => http.post(format!("http://{address}{PATH}")).header("content-type", "application/json").body("{}"),
            1 => http.get(format!("http://{address}/v1/sse")).bearer_auth(format!("nonsense-{n}")),
            2 => http.post(format!("http://{address}/v1/tickets")).bearer_auth(format!("nonsense-{n}")),
            _ => http.get(format!("http://{address}/v1/sse?ticket=nonsense-{n}")),
        };
        assert_eq!(request.send().await.unwrap().status(), 401);
    };
    stream::iter(0..REFUSALS).for_each_concurrent(16, refused).await;
    let one_by_one = |what: &str| gateway.log().matches(&format!("\"message\":\"{what}\"")).count();
    let told = |what: &str| {
        let log = gateway.log();
        let rest = log.lines().filter(|line| line.contains(&format!("\"what\":\"{what}\"")));
        let left_out = |line: &str| serde_json::from_str::<serde_json::Value>(line).ok()?["left_out"].as_u64();
        let rest: u64 = rest.filter_map(left_out).sum();
        one_by_one(what) + usize::try_from(rest).unwrap()
    };
    for (what, refusals) in [("webhook refused", REFUSALS / 4), ("credentials refused", 3 * REFUSALS / 4)] {
        until("every refusal is told of", async || told(what) == refusals).await;
        let most = 3 * (2 + usize::try_from(began.elapsed().as_secs()).unwrap());
        assert!((1..=most).contains(&one_by_one(what)), "{what}: {} lines", one_by_one(what));
    }
}
