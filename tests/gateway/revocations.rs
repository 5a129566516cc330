//! Revoked tokens: they end at once on every carrier, and stay dead after a restart.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::harness::{Dial, Relay, Sse, WebSocket, token_with, unix_now};

const PATH: &str = "/admin/v1/revocations";
const ADMIN_TOKEN: &str = "admin-token-of-the-tests-0123456789";

fn issued(user: &str, at: u64, jti: &str) -> String {
    token_with(&json!({"sub": user, "iat": at, "jti": jti}))
}

/// 4102, [401 `token_revoked`].
async fn is_dead(relay: &Relay, token: &str) {
    let mut socket = WebSocket::dial(relay.address, Dial::token(token)).await.unwrap();
    let (code, bye) = socket.closed().await;
    assert_eq!((code, &bye["reason"]), (4102, &json!("token_revoked")));
    let (status, body) = Sse::dial(relay, Dial::token(token)).await.err().unwrap();
    assert_eq!((status, &body["error"]["code"]), (401, &json!("token_revoked")));
    let ticket = relay.ticket(token).await;
    assert_eq!((ticket.status, ticket.code()), (401, "token_revoked"));
}

async fn is_dead_ticket(relay: &Relay, ticket: &str) {
    let (status, body) = Sse::dial(relay, Dial::default().query(&format!("ticket={ticket}"))).await.err().unwrap();
    assert_eq!((status, &body["error"]["code"]), (401, &json!("token_revoked")));
}

#[tokio::test]
async fn a_revoked_user_is_out_within_a_second_and_comes_back_with_a_newer_token_only() {
    let relay = Relay::start().await;
    let now = unix_now();
    let old = issued("42", now - 60, "a");
    let undated = token_with(&json!({"sub": "77", "keys": ["acme:42"]}));
    let (mut socket, _) = WebSocket::open(&relay, Dial::token(&old)).await;
    let (mut stream, _) = Sse::open(&relay, Dial::token(&old)).await;
    let (mut as_further_key, _) = WebSocket::open(&relay, Dial::token(&undated)).await;
    let (mut other, _) = WebSocket::open(&relay, Dial::token(&issued("77", now - 60, "a"))).await;
    let ticket = relay.ticket(&old).await.body["ticket"].as_str().unwrap().to_owned();
    let (mut native, _) = Sse::open(&relay, Dial::default().query(&format!("ticket={ticket}"))).await;
    let (mut renewed, _) = WebSocket::open(&relay, Dial::token(&old)).await;
    let newer = issued("42", now + 20, "b");
    renewed.send(json!({"type": "$auth", "token": newer}).to_string()).await;
    assert_eq!(renewed.json().await["ok"], true);

    let begun = Instant::now();
    let answer = relay.ask_admin("POST", PATH, &json!({"user": "acme:42"})).await;
    assert_eq!((answer.status, &answer.body["sessions_closed"]), (201, &json!(4)), "{answer:?}");
    for socket in [&mut socket, &mut as_further_key] {
        let (code, bye) = socket.closed().await;
        assert_eq!((code, &bye["code"]), (4102, &json!(4102)));
    }
    for stream in [&mut stream, &mut native] {
        let bye = stream.event().await;
        assert_eq!((bye.name.as_str(), &bye.data["code"]), ("$bye", &json!(4102)));
        assert_eq!(stream.next().await, None);
    }
    assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());

    is_dead(&relay, &old).await;
    is_dead(&relay, &undated).await;
    is_dead_ticket(&relay, &ticket).await;
    renewed.send(json!({"type": "$auth", "token": old}).to_string()).await;
    assert_eq!(renewed.closed().await.0, 4102, "nor does it renew a session");
    let (mut back, _) = WebSocket::open(&relay, Dial::token(&newer)).await;
    relay.event("42", 1).await;
    relay.event("77", 2).await;
    assert_eq!((back.points(1).await, other.points(1).await), (vec![1], vec![2]));
}

#[tokio::test]
async fn a_revocation_survives_a_restart_until_it_is_taken_back() {
    let relay = Relay::start().await;
    let now = unix_now();
    let (user, single, sibling) = (issued("42", now - 60, "a"), issued("77", now - 60, "b"), issued("77", now - 60, "c"));
    let tickets = [relay.ticket(&user).await, relay.ticket(&single).await];
    let tickets = tickets.map(|answer| answer.body["ticket"].as_str().unwrap().to_owned());
    let (mut stays, _) = WebSocket::open(&relay, Dial::token(&sibling)).await;
    let (mut goes, _) = WebSocket::open(&relay, Dial::token(&single)).await;
    // Without a platform it is the default one's.
    assert_eq!(relay.ask_admin("POST", PATH, &json!({"user": "42"})).await.body["user"], "acme:42");
    let answer = relay.ask_admin("POST", PATH, &json!({"jti": "b", "until": "2999-01-01T00:00:00Z"})).await;
    assert_eq!((&answer.body["until"], &answer.body["sessions_closed"]), (&json!(32_472_144_000_000_u64), &json!(1)));
    assert_eq!(goes.closed().await.0, 4102);
    relay.event("77", 1).await;
    assert_eq!(stays.points(1).await, [1]);

    let relay = relay.stop().await.start().await;
    for (token, ticket) in [&user, &single].into_iter().zip(&tickets) {
        is_dead(&relay, token).await;
        is_dead_ticket(&relay, ticket).await;
    }
    WebSocket::open(&relay, Dial::token(&sibling)).await;
    let listed = relay.ask_admin("GET", PATH, &Value::Null).await;
    let listed = listed.body["revocations"].as_array().unwrap();
    // Both may be of the same millisecond, and then either may be first.
    let of_user = listed.iter().find(|revocation| revocation["user"] == "acme:42").unwrap();
    assert!(listed.len() == 2 && listed.iter().any(|revocation| revocation["jti"] == "b"), "{listed:?}");
    let (at, until) = (of_user["at"].as_u64().unwrap(), of_user["until"].as_u64().unwrap());
    assert_eq!(until - at, 86_460_000, "a token's longest life, and the leeway of both ends: {listed:?}");

    assert_eq!(relay.ask_admin("DELETE", &format!("{PATH}?user=acme%3A42"), &Value::Null).await.body, json!({"forgotten": true}));
    assert_eq!(relay.ask_admin("DELETE", PATH, &json!({"jti": "b"})).await.body, json!({"forgotten": true}));
    assert_eq!(relay.ask_admin("DELETE", PATH, &json!({"jti": "b"})).await.body, json!({"forgotten": false}));
    let relay = relay.stop().await.start().await;
    WebSocket::open(&relay, Dial::token(&user)).await;
    WebSocket::open(&relay, Dial::token(&single)).await;
}

/// Whoever joins while their user is revoked is either seen by the one who revokes, or sees the revocation.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_slips_in_while_they_are_revoked() {
    let relay = Relay::start().await;
    let (mut joined, mut refused) = (0, 0);
    for round in 0..40 {
        let user = round.to_string();
        let token = issued(&user, unix_now() - 60, "a");
        let dials = (0..8).map(|i| {
            let (relay, dial) = (&relay, Dial::token(&token));
            async move {
                for _ in 0..i {
                    tokio::task::yield_now().await;
                }
                let mut socket = WebSocket::dial(relay.address, dial).await.unwrap();
                let first = socket.next().await;
                let was_in = matches!(&first, Ok(frame) if frame["type"] == "$hello");
                let code = match first {
                    Err(code) => code,
                    Ok(_) => socket.closed().await.0,
                };
                assert_eq!(code, 4102);
                was_in
            }
        });
        let body = json!({"user": format!("acme:{user}")});
        let (were_in, answer) = tokio::join!(futures_util::future::join_all(dials), relay.ask_admin("POST", PATH, &body));
        assert_eq!(answer.status, 201);
        joined += were_in.iter().filter(|was_in| **was_in).count();
        refused += were_in.iter().filter(|was_in| !**was_in).count();
    }
    println!("{joined} were in, {refused} were not");
    assert!(joined > 0 && refused > 0, "the test raced at all: {joined} {refused}");
}

#[tokio::test]
async fn nonsense_revokes_nobody() {
    let relay = Relay::start().await;
    for (body, code) in [
        (json!({}), "revocation_invalid"),
        (json!({"user": "acme:42", "jti": "a"}), "revocation_invalid"),
        (json!({"users": "acme:42"}), "revocation_invalid"),
        (json!({"user": 42}), "revocation_invalid"),
        (json!([]), "revocation_invalid"),
        (json!({"user": "acme:"}), "user_invalid"),
        (json!({"user": "acme::42"}), "user_invalid"),
        (json!({"jti": "x".repeat(1_025)}), "jti_invalid"),
        (json!({"user": "acme:42", "until": "tomorrow"}), "until_invalid"),
        (json!({"user": "acme:42", "until": unix_now() + 60}), "until_invalid"),
        (json!({"user": "acme:42", "until": "2020-01-01T00:00:00Z"}), "until_invalid"),
    ] {
        let answer = relay.ask_admin("POST", PATH, &body).await;
        assert_eq!((answer.status, answer.code()), (400, code), "{body}");
    }
    assert_eq!(relay.ask_admin("DELETE", PATH, &Value::Null).await.status, 400);
    assert_eq!(relay.ask_admin("PUT", PATH, &Value::Null).await.status, 405);
    assert_eq!(relay.ask_admin("GET", PATH, &Value::Null).await.body, json!({"revocations": []}));
    assert_eq!(relay.post(PATH, &[], b"{\"user\":\"acme:42\"}").await.status, 404, "not on the public listener");
}

#[tokio::test]
async fn with_an_admin_token_nobody_else_may_revoke() {
    let relay = Relay::with(&format!("admin.token = {{ value = \"{ADMIN_TOKEN}\" }}")).await;
    let (right, wrong) = (format!("Bearer {ADMIN_TOKEN}"), format!("Bearer {ADMIN_TOKEN}x"));
    let body = json!({"user": "acme:42"});
    for headers in [&[][..], &[("authorization", wrong.as_str())], &[("authorization", ADMIN_TOKEN)]] {
        for method in ["GET", "POST", "DELETE"] {
            let answer = relay.ask_admin_with(headers, method, PATH, &body).await;
            assert_eq!((answer.status, answer.code()), (401, "admin_token"), "{method} {headers:?}");
        }
    }
    assert_eq!(relay.ask_admin_with(&[("authorization", &right)], "POST", PATH, &body).await.status, 201);
    assert_eq!(relay.ask_admin("GET", "/metrics", &Value::Null).await.status, 200, "figures need no token");
}

#[tokio::test]
async fn what_cannot_be_written_is_in_force_and_says_so() {
    let relay = Relay::start().await;
    let token = issued("42", unix_now() - 60, "a");
    // A folder in the place of the draft: writing fails for root, too.
    std::fs::create_dir(relay.data_folder().join("revocations.tmp")).unwrap();
    let answer = relay.ask_admin("POST", PATH, &json!({"user": "acme:42"})).await;
    assert_eq!((answer.status, answer.code()), (503, "revocations_unsaved"));
    is_dead(&relay, &token).await;
    std::fs::remove_dir(relay.data_folder().join("revocations.tmp")).unwrap();
    assert_eq!(relay.ask_admin("POST", PATH, &json!({"user": "acme:42"})).await.status, 201);
}

#[tokio::test]
async fn in_memory_it_ends_with_the_process() {
    let relay = Relay::with("store.engine = \"memory\"").await;
    let token = issued("42", unix_now() - 60, "a");
    assert_eq!(relay.ask_admin("POST", PATH, &json!({"user": "acme:42"})).await.status, 201);
    is_dead(&relay, &token).await;
    assert!(!relay.data_folder().exists());
    let relay = relay.stop().await.start().await;
    WebSocket::open(&relay, Dial::token(&token)).await;
}
