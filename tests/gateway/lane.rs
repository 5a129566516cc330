//! Plain requests are read by the listener itself, all others by hyper: whichever way a request goes, it gets the same answer.

use crate::harness::{Raw, RawAnswer, Relay, event, sign, token, until};

/// A header that no route looks at, and that makes a request hyper's.
const BY_HYPER: &str = "TE: trailers\r\n";

fn post(path: &str, headers: &str, body: &str) -> String {
    format!("POST {path} HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n{headers}\r\n{body}", body.len())
}

fn get(target: &str, headers: &str) -> String {
    format!("GET {target} HTTP/1.1\r\nHost: a\r\n{headers}\r\n")
}

fn webhook(path: &str, body: &str) -> String {
    post(path, &format!("Content-Type: application/json\r\nX-Signature: {}\r\n", sign(body.as_bytes())), body)
}

/// The same request with one more header.
fn by_hyper(request: &str) -> String {
    request.replacen("Host: a\r\n", &["Host: a\r\n", BY_HYPER].concat(), 1)
}

async fn answer(relay: &Relay, request: String) -> RawAnswer {
    let mut raw = Raw::say(relay.address, request).await;
    raw.answer().await.expect("an answer")
}

#[tokio::test]
async fn both_ways_give_the_same_answers() {
    let relay = Relay::start().await;
    let (good, json) = (event("42", 1).to_string(), "Content-Type: application/json\r\n");
    // Stored before, so that every time it is a repetition of the same event.
    for path in ["/hooks/claimr", "/hooks/claimr/user_activity"] {
        answer(&relay, webhook(path, &good)).await;
    }
    let bearer = format!("Authorization: Bearer {}\r\n", token("42"));
    let ws = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n";
    let key = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    for request in [
        webhook("/hooks/claimr", &good),
        webhook("/hooks/claimr/user_activity", &good),
        webhook("/hooks/nobody", &good),
        webhook("/hooks/claimr/no scope".replace(' ', "%20").as_str(), &good),
        webhook("/hooks/claimr/$scope", &good),
        webhook("/hooks/claimr/a/b", &good),
        webhook("/hooks/claimr/", &good),
        webhook("/hooks/", &good),
        webhook("/hooks/claimr", "{\"a\":"),
        webhook("/hooks/claimr", &"x".repeat(300_000)),
        post("/hooks/claimr", json, &good),
        post("/hooks/claimr", &format!("{json}X-Signature: {}\r\n", sign(b"other")), &good),
        post("/hooks/claimr", "", &good),
        post("/hooks/claimr", "Content-Type: text/plain\r\n", &good),
        post("/hooks/claimr", "Content-Type: application/jsonx\r\n", &good),
        post("/hooks/claimr", "Content-Type: \r\n", &good),
        post("/hooks/claimr", &format!("{json}Content-Encoding: gzip\r\n"), &good),
        post("/v1/sse", json, &good),
        post("/v1/ws", json, &good),
        get("/hooks/claimr", ""),
        get("/v1/sse", ""),
        get("/v1/sse", "Authorization: Bearer x\r\n"),
        get("/v1/sse", "Origin: https://stranger.example\r\n"),
        get("/v1/sse?token=x", &bearer),
        get("/v1/sse?types=%24", &bearer),
        get("/v1/sse?since=soon", &bearer),
        get("/v1/sse?ticket=x", ""),
        get("/v1/ws", ""),
        get("/v1/ws", ws),
        get("/v1/ws", &[ws, "Sec-WebSocket-Key: short\r\n"].concat()),
        get("/v1/ws", &[ws, key, key].concat()),
        get("/v1/ws", &[ws, key, "Sec-WebSocket-Version: 13\r\n"].concat()),
        get("/v1/ws", &[ws, key].concat().replace("13", "12")),
        get("/v1/ws", &[ws, key].concat().replace("Upgrade\r", "keep-alive\r")),
        get("/v1/ws?access_token=x", &[ws, key].concat()),
        get("/v1/ws", &[ws, key, "Origin: https://stranger.example\r\n"].concat()),
        get("/v1/ws", &[ws, key, &bearer].concat()),
        get("/v1/ws", &[ws, key, "Sec-WebSocket-Protocol: claimr.v1, claimr.bearer.x\r\n"].concat()),
        get("/v1/ws", &[ws, key, "Sec-WebSocket-Protocol: other\r\n"].concat()),
    ] {
        let (short, long) = (answer(&relay, request.clone()).await, answer(&relay, by_hyper(&request)).await);
        assert_eq!(short.status, long.status, "{request:.300}");
        assert_eq!(short.body, long.body, "{request:.300}");
        for name in ["content-type", "connection", "upgrade", "sec-websocket-accept", "sec-websocket-protocol", "allow", "vary"] {
            assert_eq!(short.header(name), long.header(name), "{name}: {request:.300}");
        }
    }
    until("everybody has left", async || relay.hub.sessions() == 0).await;
}

/// One connection may carry both kinds, in any order; hyper keeps what it has got.
#[tokio::test]
async fn a_connection_goes_on_with_hyper_where_the_listener_leaves_it() {
    let relay = Relay::start().await;
    let plain = |n| webhook("/hooks/claimr", &event("42", n).to_string());
    let requests = [plain(1), plain(2), by_hyper(&plain(3)), plain(4), get("/nothing", ""), plain(5)];
    let mut raw = Raw::say(relay.address, requests.concat()).await;
    for status in [200, 200, 200, 200, 404, 200] {
        assert_eq!(raw.answer().await.map(|answer| answer.status), Some(status));
    }
    assert_eq!(relay.metric("claimr_relay_events_total").await, 5);
}
