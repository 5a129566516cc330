//! Who may connect, and how a refusal is told on each carrier: cases B. (`auth/jwt` holds the long tables; here is the way to the wire.)

use serde_json::{Value, json};

use crate::harness::{Dial, JWT_SECRET, ORIGIN, Relay, Sse, WebSocket, token, token_of, token_with, unix_now};

#[tokio::test]
async fn a_bad_token_is_told_by_code_on_websocket_and_by_status_on_sse() {
    let relay = Relay::start().await;
    let now = unix_now();
    let good = json!({"sub": "42", "iss": "https://app.example.com", "aud": "claimr-relay", "exp": now + 60});
    let other_alg = |alg: &str| token_of(&json!({"alg": alg}), &good, JWT_SECRET);
    let (rejected, expired) = ((4101, "token_rejected"), (4100, "token_expired"));
    for (token, (code, word)) in [
        ("garbage".to_owned(), rejected),
        (other_alg("none"), rejected),
        (other_alg("HS384"), rejected),
        (token_of(&json!({"alg": "HS256", "kid": "../../etc/passwd"}), &good, JWT_SECRET), rejected),
        (token_of(&json!({"alg": "HS256"}), &good, "another secret of more than 32 bytes"), rejected),
        (token_with(&json!({"sub": null})), rejected),
        (token_with(&json!({"sub": "42", "aud": "other"})), rejected),
        (token_with(&json!({"sub": "42", "iss": "other"})), rejected),
        (token_with(&json!({"sub": "42", "exp": null})), rejected),
        (token_with(&json!({"sub": "42", "exp": now + 90_000})), rejected),
        (token_with(&json!({"sub": "42", "nbf": now + 300})), rejected),
        (token_with(&json!({"sub": "42", "exp": now - 35})), expired),
        (token_with(&json!({"sub": "42", "pad": "x".repeat(4_000)})), rejected),
    ] {
        let mut socket = WebSocket::dial(relay.address, Dial::token(&token)).await.unwrap();
        let (closed, bye) = socket.closed().await;
        assert_eq!((closed, &bye["code"]), (code, &json!(code)), "{token:.60}");
        let (status, body) = Sse::dial(&relay, Dial::token(&token)).await.err().unwrap();
        assert_eq!((status, body["error"]["code"].as_str()), (401, Some(word)), "{token:.60}");
    }
    let leeway = token_with(&json!({"sub": "42", "exp": now - 25}));
    WebSocket::open(&relay, Dial::token(&leeway)).await;
}

#[tokio::test]
async fn a_token_comes_by_subprotocol_by_header_or_in_the_first_frame() {
    let relay = Relay::start().await;
    let by_subprotocol = Dial::default().header("sec-websocket-protocol", &format!("claimr.v1, claimr.bearer.{}", token("42")));
    let (mut first, _) = WebSocket::open(&relay, by_subprotocol).await;
    let mut second = WebSocket::dial(relay.address, Dial::default()).await.unwrap();
    second.send(json!({"type": "$auth", "token": token("42")}).to_string()).await;
    assert_eq!(second.json().await["type"], "$hello");
    relay.event("42", 1).await;
    assert_eq!((first.points(1).await, second.points(1).await), (vec![1], vec![1]));
}

#[tokio::test]
async fn who_does_not_say_who_they_are_is_closed_with_4103() {
    let relay = Relay::with("limits.auth_timeout_s = 1").await;
    for first in ["", "no json", r#"{"type":"$ping"}"#] {
        let mut socket = WebSocket::dial(relay.address, Dial::default()).await.unwrap();
        if !first.is_empty() {
            socket.send(first).await;
        }
        assert_eq!(socket.closed().await.0, 4103, "{first:?}");
    }
    let (status, body) = Sse::dial(&relay, Dial::default()).await.err().unwrap();
    assert_eq!((status, body["error"]["code"].as_str()), (401, Some("token_missing")));
}

#[tokio::test]
async fn a_renewed_token_keeps_the_session_and_another_users_ends_it() {
    let relay = Relay::with("auth.leeway = \"0s\"").await;
    let short = token_with(&json!({"sub": "42", "exp": unix_now() + 2}));
    let (mut renewed, _) = WebSocket::open(&relay, Dial::token(&short)).await;
    let (mut lazy, hello) = WebSocket::open(&relay, Dial::token(&short)).await;
    let (mut stream, _) = Sse::open(&relay, Dial::token(&short)).await;
    assert!(hello["ttl_ms"].as_u64().unwrap() <= 2_000, "{hello}");

    renewed.send(json!({"type": "$auth", "token": token("42")}).to_string()).await;
    let reply = renewed.json().await;
    assert_eq!((&reply["type"], &reply["ok"]), (&json!("$auth"), &json!(true)));
    assert_eq!(lazy.closed().await.0, 4100);
    let bye = stream.event().await;
    assert_eq!((bye.name.as_str(), &bye.data["code"]), ("$bye", &json!(4100)));
    assert_eq!(stream.next().await, None);

    relay.event("42", 1).await;
    assert_eq!(renewed.points(1).await, [1]);
    renewed.send(json!({"type": "$auth", "token": token("77")}).to_string()).await;
    assert_eq!(renewed.closed().await.0, 4403);
}

#[tokio::test]
async fn a_token_in_the_url_is_refused() {
    let relay = Relay::start().await;
    for name in ["token", "access_token", "ticket", "anything"] {
        let dial = || Dial::default().query(&format!("{name}={}", token("42")));
        let (status, body) = Sse::dial(&relay, dial()).await.err().unwrap();
        assert_eq!((status, body["error"]["code"].as_str()), (400, Some("token_in_url")), "{name}");
        assert_eq!(WebSocket::dial(relay.address, dial()).await.err(), Some(400), "{name}");
    }
}

#[tokio::test]
async fn a_ticket_opens_sse_for_its_user_from_its_origin_and_nothing_else() {
    let relay = Relay::start().await;
    let bearer = format!("Bearer {}", token("42"));
    let answer = relay.post("/v1/tickets", &[("authorization", &bearer), ("origin", ORIGIN)], b"").await;
    let ticket = answer.body["ticket"].as_str().unwrap();
    let dial = || Dial::default().query(&format!("ticket={ticket}"));

    let (mut stream, _) = Sse::open(&relay, dial().header("origin", ORIGIN)).await;
    relay.event("42", 1).await;
    assert_eq!(stream.points(1).await, [1]);
    assert!((2_000..5_000).contains(&stream.retry.unwrap()));

    let stranger = Sse::dial(&relay, dial().header("origin", "https://evil.example")).await.err().unwrap();
    assert_eq!(stranger.0, 403);
    let mut socket = WebSocket::dial(relay.address, dial()).await.unwrap();
    socket.send(json!({"type": "$auth", "token": ticket}).to_string()).await;
    assert_eq!(socket.closed().await.0, 4101);
    for headers in [&[("authorization", "Bearer nonsense")][..], &[]] {
        assert_eq!(relay.post("/v1/tickets", headers, b"").await.status, 401);
    }
    // It survives a restart, because a native EventSource keeps its URL for ever.
    let (ticket, relay) = (ticket.to_owned(), relay.stop().await.start().await);
    Sse::open(&relay, Dial::default().query(&format!("ticket={ticket}"))).await;
}

#[tokio::test]
async fn only_pages_of_listed_origins_may_connect() {
    let relay = Relay::start().await;
    let good = |origin: &str| Dial::token(&token("42")).header("origin", origin);
    let strangers = [
        "https://good.com.evil.io",
        "http://app.example.com",
        "https://app.example.com:8443",
        "null",
        "https://app.example.com/",
        "https://APP.example.com",
    ];
    for origin in strangers {
        assert_eq!(WebSocket::dial(relay.address, good(origin)).await.err(), Some(403), "{origin}");
        assert_eq!(Sse::dial(&relay, good(origin)).await.err().unwrap().0, 403, "{origin}");
    }
    assert_eq!(WebSocket::dial(relay.address, good(ORIGIN).header("origin", ORIGIN)).await.err(), Some(403), "two Origins");
    WebSocket::open(&relay, good(ORIGIN)).await;
    Sse::open(&relay, good(ORIGIN)).await;

    for (origin, allowed) in [(ORIGIN, true), ("https://evil.example", false)] {
        let method = reqwest::Method::OPTIONS;
        let preflight = relay.http.request(method, relay.url("/v1/sse")).header("origin", origin).send().await.unwrap();
        let allow = preflight.headers().get("access-control-allow-origin").map(|value| value.to_str().unwrap());
        assert_eq!(allow, allowed.then_some(origin));
        assert!(!preflight.headers().contains_key("access-control-allow-credentials"));
    }
}

#[tokio::test]
async fn nonsense_is_answered_and_the_third_in_a_row_ends_the_session() {
    let relay = Relay::start().await;
    let (mut socket, _) = WebSocket::open(&relay, Dial::token(&token("42"))).await;
    for nonsense in ["no json", r#"{"type":"$unknown"}"#] {
        socket.send(nonsense).await;
        assert_eq!(socket.json().await["type"], "$error");
    }
    socket.send("[]").await;
    assert_eq!(socket.closed().await.0, 4400);

    let (mut binary, _) = WebSocket::open(&relay, Dial::token(&token("42"))).await;
    binary.send(vec![1, 2, 3]).await;
    assert_eq!(binary.closed().await, (1003, Value::Null));

    let (mut large, _) = WebSocket::open(&relay, Dial::token(&token("42"))).await;
    large.send("x".repeat(4_097)).await;
    assert_eq!(large.closed().await.0, 1009);

    let (mut flood, _) = WebSocket::open(&relay, Dial::token(&token("42"))).await;
    for _ in 0..60 {
        let ping = tokio_tungstenite::tungstenite::Message::Ping(bytes::Bytes::new());
        flood.send(ping).await;
    }
    assert_eq!(flood.closed().await.0, 4202);

    let stranger = Dial::token(&token("42")).header("sec-websocket-protocol", "claimr.v2");
    let mut other_version = WebSocket::dial(relay.address, stranger).await.unwrap();
    assert_eq!(other_version.closed().await.0, 4406);
}
