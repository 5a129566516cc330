//! Limits, slow readers, and the end of a gateway.

use serde_json::json;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

use crate::harness::{Dial, PATIENCE, Relay, Sse, WebSocket, event, token, until};

#[tokio::test]
async fn a_user_has_so_many_sessions_and_the_others_live_on() {
    let relay = Relay::with("limits.sessions_per_user_max = 2").await;
    let (mut first, _) = WebSocket::open(&relay, Dial::token(&token("42"))).await;
    let (second, _) = Sse::open(&relay, Dial::token(&token("42"))).await;
    let mut third = WebSocket::dial(relay.address, Dial::token(&token("42"))).await.unwrap();
    assert_eq!(third.closed().await.0, 4201);
    assert_eq!(Sse::dial(&relay, Dial::token(&token("42"))).await.err().unwrap().0, 429);
    // A native EventSource would die of a 429, so it is told inside a stream.
    let bearer = format!("Bearer {}", token("42"));
    let ticket = relay.post("/v1/tickets", &[("authorization", &bearer)], b"").await.body["ticket"].as_str().unwrap().to_owned();
    let mut native = Sse::dial(&relay, Dial::default().query(&format!("ticket={ticket}"))).await.unwrap();
    let bye = native.event().await;
    assert_eq!((bye.name.as_str(), &bye.data["code"]), ("$bye", &json!(4201)));
    assert!((5_000..15_000).contains(&native.retry.unwrap()));

    drop(second);
    until("the place is free again", async || {
        matches!(WebSocket::dial(relay.address, Dial::token(&token("42"))).await.unwrap().next().await, Ok(hello) if hello["type"] == "$hello")
    })
    .await;
    relay.event("42", 1).await;
    assert_eq!(first.points(1).await, [1]);
}

#[tokio::test]
async fn an_address_has_so_many_sessions_and_cannot_lie_about_itself() {
    let relay = Relay::with("limits.sessions_per_address_max = 2").await;
    let dial = |user: &str| Dial::token(&token(user)).header("x-forwarded-for", "203.0.113.9");
    let _first = WebSocket::open(&relay, dial("1")).await;
    let _second = WebSocket::open(&relay, dial("2")).await;
    assert_eq!(WebSocket::dial(relay.address, dial("3")).await.err(), Some(429));
    let refused = Sse::dial(&relay, dial("3")).await.err().unwrap();
    assert_eq!(refused.0, 429);

    let behind = Relay::with("limits.sessions_per_address_max = 1\nserver.trusted_proxies = [\"127.0.0.0/8\"]").await;
    let _one = WebSocket::open(&behind, dial("1")).await;
    let _other = WebSocket::open(&behind, Dial::token(&token("2")).header("x-forwarded-for", "203.0.113.10")).await;
    assert_eq!(WebSocket::dial(behind.address, dial("3")).await.err(), Some(429));
}

#[tokio::test]
async fn a_full_node_refuses_streams_and_takes_webhooks() {
    let relay = Relay::with("limits.sessions_max = 1").await;
    let (first, _) = WebSocket::open(&relay, Dial::token(&token("1"))).await;
    let mut second = WebSocket::dial(relay.address, Dial::token(&token("2"))).await.unwrap();
    let (code, bye) = second.closed().await;
    assert_eq!(code, 4200);
    assert!(bye["retry_after_ms"].as_u64().unwrap() >= 5_000);
    assert_eq!(Sse::dial(&relay, Dial::token(&token("2"))).await.err().unwrap().0, 503);
    relay.event("1", 1).await;
    drop(first);
    until("the node has a place again", async || {
        matches!(WebSocket::dial(relay.address, Dial::token(&token("2"))).await.unwrap().next().await, Ok(hello) if hello["type"] == "$hello")
    })
    .await;
}

#[tokio::test]
async fn who_stops_reading_is_closed_with_4001_and_resumes_without_loss() {
    let relay = Relay::with("store.max_events_per_user = 100000").await;
    let (mut slow, hello) = WebSocket::open(&relay, Dial::token(&token("42"))).await;
    let (mut healthy, _) = WebSocket::open(&relay, Dial::token(&token("77"))).await;
    let padding = "x".repeat(60_000);
    let mut sent = 0;
    until("the slow one is no longer reached", async || {
        sent += 1;
        let mut body = event("42", sent);
        body["note"] = json!(padding);
        relay.deliver(&body).await.body["connections"] == 0
    })
    .await;
    relay.event("77", 7).await;
    assert_eq!(healthy.points(1).await, [7], "the slow one costs nobody else anything");

    let (mut cursor, mut seen) = (hello["id"].clone(), Vec::new());
    let code = loop {
        match slow.next().await {
            Ok(frame) if frame["type"] == "$bye" => assert_eq!(frame["code"], 4001),
            Ok(frame) => {
                cursor = frame["id"].clone();
                seen.extend(frame["points"].as_u64());
            }
            Err(code) => break code,
        }
    };
    assert_eq!(code, 4001);
    let (mut again, hello) = WebSocket::open(&relay, Dial::token(&token("42")).after(cursor.as_str().unwrap())).await;
    assert_eq!(hello["resume"], "resumed");
    seen.extend(again.points(sent - seen.len()).await);
    assert_eq!(seen, (1..=u64::try_from(sent).unwrap()).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_drain_tells_every_session_and_serves_webhooks_meanwhile() {
    let relay = Relay::start().await;
    let mut sockets = Vec::new();
    let mut streams = Vec::new();
    for user in 0..40 {
        sockets.push(WebSocket::open(&relay, Dial::token(&token(&user.to_string()))).await.0);
        streams.push(Sse::open(&relay, Dial::token(&token(&user.to_string()))).await.0);
    }
    let (http, url, admin) = (relay.http.clone(), relay.url("/hooks/claimr/user_activity"), relay.admin);
    let body = event("5", 1).to_string();
    let signature = crate::harness::sign(body.as_bytes());
    let witness = async {
        until("readiness is red", async || {
            http.get(format!("http://{admin}/readyz")).send().await.is_ok_and(|r| r.status() == 503)
        })
        .await;
        let post = http.post(&url).header("content-type", "application/json").header("x-signature", &signature);
        post.body(body.clone()).send().await.unwrap().status().as_u16()
    };
    let goodbyes = async {
        for socket in &mut sockets {
            let (code, bye) = socket.closed().await;
            assert_eq!((code, &bye["code"]), (4000, &json!(4000)));
            assert!(bye["retry_after_ms"].as_u64().unwrap() >= 1_000);
        }
        for stream in &mut streams {
            let mut event = stream.event().await;
            while event.name != "$bye" {
                event = stream.event().await;
            }
            assert_eq!(event.data["code"], 4000);
            assert!((10_000..20_000).contains(&stream.retry.unwrap()));
            assert_eq!(stream.next().await, None);
        }
    };
    let (_, status, ()) = tokio::join!(relay.stop(), witness, goodbyes);
    assert_eq!(status, 200);
}

#[tokio::test]
async fn a_head_or_a_body_that_dribbles_is_cut_off() {
    let relay = Relay::with("limits.read_timeout_s = 1").await;
    let body = "POST /hooks/claimr HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{";
    for (sent, answer) in [("GET / HTTP/1.1\r\nHo", ""), (body, "HTTP/1.1 408")] {
        let mut raw = TcpStream::connect(relay.address).await.unwrap();
        raw.write_all(sent.as_bytes()).await.unwrap();
        let mut received = Vec::new();
        timeout(PATIENCE, raw.read_to_end(&mut received)).await.expect("the connection is closed").unwrap();
        assert!(String::from_utf8_lossy(&received).starts_with(answer), "{}", String::from_utf8_lossy(&received));
    }
}
