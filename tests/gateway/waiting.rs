//! Connections that ask for nothing: they are closed when there are too many, the longest waiting first, and nobody else notices.
//!
//! No time-out can be what closed them: it is an hour.

use std::net::SocketAddr;

use tokio::net::TcpSocket;

use crate::harness::{Dial, Raw, Relay, WebSocket, event, sign, token, until};

const GET: &str = "GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n";

async fn relay(settings: &str) -> Relay {
    Relay::with(&format!("limits.read_timeout_s = 3600\n{settings}")).await
}

async fn dial_from(source: &str, address: SocketAddr) -> Raw {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(format!("{source}:0").parse().unwrap()).unwrap();
    Raw::over(socket.connect(address).await.unwrap())
}

/// Connects, and waits until the gateway has noticed: it accepts in the order of connecting, and answers the one after it.
async fn silent(relay: &Relay, start: &str) -> Raw {
    let silent = Raw::say(relay.address, start).await;
    assert!(is_served(&mut Raw::connect(relay.address).await).await);
    silent
}

async fn is_served(raw: &mut Raw) -> bool {
    raw.send(GET).await && raw.answer().await.is_some()
}

/// The one behind it in line needs a place too: the silent ones keep at most two of three.
#[tokio::test]
async fn the_longest_silent_is_closed_when_a_listener_has_too_many_and_the_newest_is_served() {
    let relay = relay("limits.waiting_connections_max = 3\nlimits.waiting_connections_per_address_max = 1000").await;
    let (mut first, mut second) = (silent(&relay, "").await, silent(&relay, "GET / HTTP/1.1\r\nHo").await);
    let closed = "claimr_relay_waiting_connections_closed_total{kind=\"listener\"}";
    let mut third = Raw::connect(relay.address).await;
    assert_eq!(relay.metric(closed).await, 0);
    let mut fourth = Raw::connect(relay.address).await;
    assert!(first.rest().await.is_empty(), "it is closed without a word");
    assert_eq!(relay.metric(closed).await, 1);
    assert!(second.send("st: a\r\n\r\n").await && second.answer().await.is_some(), "half a head waits too, and may go on");
    assert!(is_served(&mut third).await && is_served(&mut fourth).await);
    assert_eq!(relay.metric(closed).await, 1, "who has asked waits no longer");
}

/// A thousand that say nothing keep no webhook and no session out, and end none.
#[tokio::test]
async fn a_flood_of_silence_keeps_nobody_out() {
    let relay = relay("limits.waiting_connections_max = 64\nlimits.waiting_connections_per_address_max = 1000").await;
    let (mut socket, _) = WebSocket::open(&relay, Dial::token(&token("42"))).await;
    let mut kept = Raw::connect(relay.address).await;
    assert!(is_served(&mut kept).await);
    let mut flood = Vec::new();
    for n in 1..=10_u32 {
        for _ in 0..100 {
            flood.push(Raw::connect(relay.address).await);
        }
        let body = event("42", n as usize).to_string();
        let head = "POST /hooks/claimr HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Type: application/json";
        let signed = format!("{head}\r\nX-Signature: {}\r\nContent-Length: {}\r\n\r\n{body}", sign(body.as_bytes()), body.len());
        assert_eq!(Raw::say(relay.address, signed).await.answer().await.unwrap().status, 200);
        assert_eq!(socket.points(1).await, [u64::from(n)]);
        WebSocket::open(&relay, Dial::token(&token("43"))).await;
    }
    assert!(is_served(&mut kept).await, "a connection that has asked before is not counted");
    assert!(relay.metric("claimr_relay_waiting_connections_closed_total{kind=\"listener\"}").await >= 1_000 - 64);
}

/// An address may open many at once, as senders of webhooks do; who has not asked on them after a moment loses them.
#[tokio::test]
async fn an_address_that_holds_too_many_loses_its_own() {
    let relay = relay("limits.waiting_connections_max = 100000\nlimits.waiting_connections_per_address_max = 2").await;
    let closed = "claimr_relay_waiting_connections_closed_total{kind=\"address\"}";
    let mut other = dial_from("127.0.0.2", relay.address).await;
    let mut own = Vec::new();
    for _ in 0..12 {
        own.push(dial_from("127.0.0.3", relay.address).await);
    }
    let mut later = Vec::new();
    until("its moment is over", async || {
        later.push(dial_from("127.0.0.3", relay.address).await);
        relay.metric(closed).await >= 12
    })
    .await;
    for closed in &mut own {
        assert!(closed.rest().await.is_empty());
    }
    assert!(is_served(later.last_mut().unwrap()).await && is_served(&mut other).await);
    assert_eq!(relay.metric("claimr_relay_waiting_connections_closed_total{kind=\"listener\"}").await, 0);
}

/// A proxy's address is that of all its clients.
#[tokio::test]
async fn a_trusted_proxy_is_bounded_by_the_listener_alone() {
    let limits = "limits.waiting_connections_max = 100000\nlimits.waiting_connections_per_address_max = 1";
    let relay = relay(&format!("server.trusted_proxies = [\"127.0.0.2\"]\n{limits}")).await;
    let mut of_proxy = Vec::new();
    for _ in 0..10 {
        of_proxy.push(dial_from("127.0.0.2", relay.address).await);
    }
    for open in &mut of_proxy {
        assert!(is_served(open).await);
    }
    relay.reload(&format!("limits.read_timeout_s = 3600\n{limits}")).unwrap();
    let mut first = dial_from("127.0.0.2", relay.address).await;
    let mut later = Vec::new();
    until("it is a proxy no longer", async || {
        later.push(dial_from("127.0.0.2", relay.address).await);
        relay.metric("claimr_relay_waiting_connections_closed_total{kind=\"address\"}").await > 0
    })
    .await;
    assert!(first.rest().await.is_empty());
}

#[tokio::test]
async fn the_admin_listener_has_the_same_bounds() {
    let relay = relay("limits.waiting_connections_max = 2").await;
    let mut first = Raw::connect(relay.admin).await;
    let (mut second, mut third) = (Raw::connect(relay.admin).await, Raw::connect(relay.admin).await);
    assert!(first.rest().await.is_empty());
    assert!(is_served(&mut second).await && is_served(&mut third).await);
    assert!(is_served(&mut Raw::connect(relay.address).await).await, "the public one is another");
}
