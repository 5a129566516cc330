//! Keys that come and go: sets that are fetched, rotation by `not_after`. (`auth/jwks` holds the long tables of bad sets.)

use std::time::{Duration, Instant};

use futures_util::{StreamExt as _, stream};
use serde_json::{Value, json};

use crate::harness::{
    Dial, HOOK_SECRET, Issuer, JWT_SECRET, Relay, SigningKey, Sse, WebSocket, event, free_address, sign, token, until,
    usual_claims,
};

/// The code that a WebSocket with this token is closed with; 0 if it is let in.
async fn outcome(relay: &Relay, token: &str) -> u16 {
    let mut socket = WebSocket::dial(relay.address, Dial::token(token)).await.unwrap();
    match socket.next().await {
        Ok(frame) if frame["type"] == "$hello" => 0,
        _ => socket.closed().await.0,
    }
}

async fn refused_sets(relay: &Relay) -> u64 {
    relay.metric("claimr_relay_key_set_fetches_total{kind=\"refused\"}").await
}

#[tokio::test]
async fn a_published_key_opens_and_its_successor_is_fetched_the_moment_it_is_needed() {
    let (old, new) = (SigningKey::new("2025"), SigningKey::new("2026"));
    let issuer = Issuer::of(&[&old]).await;
    let relay = Relay::with(&issuer.entry()).await;
    let (mut session, _) = WebSocket::open(&relay, Dial::token(&old.token("42"))).await;
    assert_eq!(issuer.asked(), 1);
    assert_eq!(outcome(&relay, &new.token("42")).await, 4101, "not published yet");
    assert_eq!(issuer.asked(), 2);

    // Whoever rotates publishes first. Here somebody asked in vain a moment ago, so the gateway has to be told.
    issuer.publish(&[&old, &new]);
    let again = Relay::with(&issuer.entry()).await;
    assert_eq!(outcome(&again, &new.token("42")).await, 0);
    assert_eq!(outcome(&again, &token("42")).await, 0, "the key of the configuration counts as well");

    issuer.publish(&[&new]);
    let third = SigningKey::new("2027");
    issuer.publish(&[&new, &third]);
    let before = issuer.asked();
    let (mut stream, _) = Sse::open(&again, Dial::token(&third.token("42"))).await;
    assert_eq!(issuer.asked(), before + 1);
    assert_eq!(outcome(&again, &old.token("42")).await, 4101, "its issuer has taken it back");

    again.event("42", 1).await;
    relay.event("42", 1).await;
    assert_eq!((stream.points(1).await, session.points(1).await), (vec![1], vec![1]), "sessions of an old key go on");
}

/// Case B3.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_unknown_kids_are_one_fetch() {
    let (known, stranger) = (SigningKey::new("known"), SigningKey::new("stranger"));
    let issuer = Issuer::of(&[&known]).await;
    let relay = Relay::with(&issuer.entry()).await;
    issuer.was_asked(1).await;
    let begun = Instant::now();
    let token = |n: usize| {
        let kid = if n == 0 { "../../etc/passwd".to_owned() } else { format!("unknown-{n}") };
        stranger.token_of(&json!({"alg": "ES256", "kid": kid}), &usual_claims(&json!({"sub": "42"})))
    };
    let statuses = stream::iter(0..10_000).map(|n| {
        let (relay, token) = (&relay, token(n));
        async move { relay.ticket(&token).await.status }
    });
    let refused = statuses.buffer_unordered(64).filter(|status| std::future::ready(*status == 401)).count().await;
    assert_eq!(refused, 10_000);
    let most = 2 + usize::try_from(begun.elapsed().as_secs() / 30).unwrap();
    assert!((2..=most).contains(&issuer.asked()), "{} fetches", issuer.asked());
    assert_eq!(outcome(&relay, &known.token("42")).await, 0);
}

#[tokio::test]
async fn a_set_that_cannot_be_had_or_is_unsound_leaves_the_old_one_in_use() {
    let (known, next) = (SigningKey::new("known"), SigningKey::new("next"));
    let elsewhere = Issuer::of(&[&known, &next]).await;
    let set = |keys: &[Value]| json!({"keys": keys}).to_string();
    let with = |member: &str, value: Value| {
        let mut key = next.jwk();
        key[member] = value;
        set(&[known.jwk(), key])
    };
    let ok = |body: &str| format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    let huge = ok(&(set(&[known.jwk(), next.jwk()]) + &" ".repeat(256 * 1_024)));
    let endless = format!(
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{}",
        "400\r\n{}\r\n".replace("{}", &" ".repeat(1_024)).repeat(300)
    );
    let bad = [
        "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n".to_owned(),
        "HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\n\r\n".to_owned(),
        format!("HTTP/1.1 302 Found\r\nLocation: http://{}/jwks.json\r\nContent-Length: 0\r\n\r\n", elsewhere.address),
        format!("HTTP/1.1 200 OK\r\nX: {}\r\nContent-Length: 2\r\n\r\n{{}}", "x".repeat(100_000)),
        "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{\"keys\":[".to_owned(),
        "not HTTP at all\r\n\r\n".to_owned(),
        String::new(),
        huge,
        endless,
        ok("<html>Sign in</html>"),
        ok(&set(&[])),
        ok(&with("key_ops", json!(["sign"]))),
        ok(&with("kid", json!("known"))),
        ok(&with("d", json!("AAAA"))),
        ok(&with("x", json!("AAAA"))),
        ok(&set(&[next.jwk(), json!({"kty": "oct", "kid": "o", "k": "c2VjcmV0"})])),
        ok(&set(&[next.jwk(), json!("garbage")])),
    ];
    for answer in bad {
        let issuer = Issuer::of(&[&known]).await;
        let relay = Relay::with(&issuer.entry()).await;
        assert_eq!(outcome(&relay, &known.token("42")).await, 0);
        issuer.say(&answer);
        assert_eq!(outcome(&relay, &next.token("42")).await, 4101, "{answer:.80}");
        assert_eq!((issuer.asked(), refused_sets(&relay).await), (2, 1), "{answer:.80}");
        assert_eq!(outcome(&relay, &known.token("42")).await, 0, "{answer:.80}");
    }
    assert_eq!(elsewhere.asked(), 0, "nothing is followed");
}

#[tokio::test]
async fn a_silent_issuer_costs_a_token_two_seconds_and_others_nothing() {
    let (known, next) = (SigningKey::new("known"), SigningKey::new("next"));
    let issuer = Issuer::of(&[&known]).await;
    let relay = Relay::with(&issuer.entry()).await;
    assert_eq!(outcome(&relay, &known.token("42")).await, 0);
    issuer.fall_silent();
    let begun = Instant::now();
    let unlucky = async {
        let code = outcome(&relay, &next.token("42")).await;
        (code, begun.elapsed())
    };
    let others = async {
        issuer.was_asked(2).await;
        (outcome(&relay, &known.token("42")).await, outcome(&relay, &token("42")).await, begun.elapsed())
    };
    let ((code, waited), (first, second, others)) = tokio::join!(unlucky, others);
    assert_eq!((code, first, second), (4101, 0, 0));
    assert!(waited >= Duration::from_secs(2) && others < waited, "{waited:?} {others:?}");
    until("the fetch is given up", async || refused_sets(&relay).await == 1).await;
}

#[tokio::test]
async fn a_start_without_the_issuer_is_a_start() {
    let key = SigningKey::new("late");
    let issuer = Issuer::of(&[&key]).await;
    issuer.say("HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n");
    let relay = Relay::with(&issuer.entry()).await;
    until("the first fetch failed", async || refused_sets(&relay).await == 1).await;
    assert_eq!(outcome(&relay, &token("42")).await, 0, "other keys count");
    let ready = relay.ask_admin("GET", "/readyz", &Value::Null).await;
    assert_eq!(ready.status, 200);
    assert!(ready.body.as_str().unwrap().contains("warning: auth.keys[1].jwks has no keys"), "{ready:?}");

    issuer.publish(&[&key]);
    assert_eq!(outcome(&relay, &key.token("42")).await, 0, "the first token fetches it");
    assert_eq!(relay.ask_admin("GET", "/readyz", &Value::Null).await.body, "ready\n");
}

#[tokio::test]
async fn nobody_listens_and_the_gateway_starts_all_the_same() {
    let entry = format!("[[auth.keys]]\njwks = {{ url = \"http://{}/\" }}\n", free_address());
    let relay = Relay::with(&entry).await;
    assert_eq!(outcome(&relay, &token("42")).await, 0);
    assert_eq!(outcome(&relay, &SigningKey::new("k").token("42")).await, 4101);
    relay.stop().await;
}

/// Case B4: what a token says of where keys are leads nowhere.
#[tokio::test]
async fn no_token_chooses_where_keys_come_from() {
    let (ours, theirs) = (SigningKey::new("k"), SigningKey::new("k"));
    let (issuer, stranger) = (Issuer::of(&[&ours]).await, Issuer::of(&[&theirs]).await);
    let relay = Relay::with(&issuer.entry()).await;
    let url = format!("http://{}/jwks.json", stranger.address);
    let claims = usual_claims(&json!({"sub": "42"}));
    for (header, claims) in [
        (json!({"alg": "ES256", "kid": "k"}), claims.clone()),
        (json!({"alg": "ES256", "kid": "other", "jku": url}), claims.clone()),
        (json!({"alg": "ES256", "kid": "other", "x5u": url}), claims.clone()),
        (json!({"alg": "ES256", "kid": "k", "jwk": theirs.jwk()}), claims.clone()),
        (json!({"alg": "ES256", "kid": url}), claims),
        (json!({"alg": "ES256", "kid": "other"}), usual_claims(&json!({"sub": "42", "iss": url}))),
    ] {
        assert_eq!(outcome(&relay, &theirs.token_of(&header, &claims)).await, 4101, "{header} {claims}");
    }
    assert_eq!(stranger.asked(), 0);
    assert_eq!(outcome(&relay, &ours.token("42")).await, 0);
}

#[tokio::test]
async fn keys_and_hook_secrets_end_with_not_after() {
    let (past, future) = ("2020-01-01T00:00:00Z", "2999-01-01T00:00:00Z");
    for (not_after, open, status) in [(past, 4101, 401), (future, 0, 200)] {
        let secrets = format!("[{{ value = \"the new secret\" }}, {{ value = \"{HOOK_SECRET}\", not_after = \"{not_after}\" }}]");
        let settings = format!("auth.keys.not_after = \"{not_after}\"\nsources.secrets = {secrets}");
        let other = format!("[[auth.keys]]\nalg = \"HS256\"\nkid = \"new\"\nsecret = {{ value = \"{JWT_SECRET}-new\" }}\n");
        let relay = Relay::with(&format!("{settings}\n{other}")).await;
        assert_eq!(outcome(&relay, &token("42")).await, open, "{not_after}");
        let claims = usual_claims(&json!({"sub": "42"}));
        let new = crate::harness::token_of(&json!({"alg": "HS256", "kid": "new"}), &claims, &format!("{JWT_SECRET}-new"));
        assert_eq!(outcome(&relay, &new).await, 0);
        let body = event("42", 1).to_string();
        let answer = relay.post("/hooks/claimr", &[("x-signature", &sign(body.as_bytes()))], body.as_bytes()).await;
        assert_eq!(answer.status, status, "{answer:?}");
    }
}
