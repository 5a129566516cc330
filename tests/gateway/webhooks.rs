//! What a sender of webhooks is answered: cases A of the specification of bad input.

use aws_lc_rs::hmac;
use data_encoding::{BASE64, HEXLOWER};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::harness::{Dial, HOOK_SECRET, Process, Raw, Relay, Sse, WebSocket, event, free_address, sign, token, unix_now, until};

const PATH: &str = "/hooks/claimr/user_activity";

#[tokio::test]
async fn only_bytes_that_the_secret_signed_are_read() {
    let relay = Relay::start().await;
    let body = event("42", 1).to_string();
    let right = sign(body.as_bytes());
    let flipped = right.replacen(&right[..1], if right.starts_with('0') { "1" } else { "0" }, 1);
    let pretty = serde_json::to_string_pretty(&event("42", 1)).unwrap();
    for (signature, body, code) in [
        (None, body.as_str(), "signature_missing"),
        (Some(flipped.as_str()), &body, "signature_invalid"),
        (Some(&right[..63]), &body, "signature_invalid"),
        (Some(&right[..40]), &body, "signature_invalid"),
        (Some(""), &body, "signature_invalid"),
        (Some(&right), &pretty, "signature_invalid"),
        (Some(HOOK_SECRET), &body, "signature_invalid"),
        (None, "no json at all", "signature_missing"),
    ] {
        let headers: Vec<_> = signature.map(|s| ("x-signature", s)).into_iter().collect();
        let answer = relay.post(PATH, &headers, body.as_bytes()).await;
        assert_eq!((answer.status, answer.code()), (401, code), "{signature:?} {body}");
    }
    assert_eq!(relay.deliver_to(PATH, &body).await.status, 200);
    assert_eq!(relay.metric(r#"claimr_relay_webhooks_total{source="claimr",outcome="signature_missing"}"#).await, 2);
}

#[tokio::test]
async fn a_timestamp_that_is_off_is_refused_although_the_signature_is_right() {
    let relay = Relay::start().await;
    let body = event("42", 1).to_string();
    let stripe = |t: &str| format!("t={t},v1={}", sign(format!("{t}.{body}").as_bytes()));
    let now = i64::try_from(unix_now()).unwrap();
    for (t, status) in [
        (now.to_string(), 200),
        ((now - 295).to_string(), 200),
        ((now + 295).to_string(), 200),
        ((now - 305).to_string(), 401),
        ((now + 305).to_string(), 401),
        (format!("+{now}"), 401),
        ("1e9".to_owned(), 401),
        ("9223372036854775808".to_owned(), 401),
        (String::new(), 401),
    ] {
        let answer = relay.post(PATH, &[("acme-signature", &stripe(&t))], body.as_bytes()).await;
        assert_eq!(answer.status, status, "{t:?}: {answer:?}");
        assert!(status == 200 || answer.code().starts_with("timestamp_"), "{answer:?}");
    }
}

/// A2: secrets while they rotate, and signatures in a list.
#[tokio::test]
async fn an_old_secret_is_good_until_its_end_and_one_good_signature_is_enough() {
    let secrets = format!(
        r#"sources.secrets = [{{ value = "{HOOK_SECRET}" }}, {{ value = "old-and-good", not_after = "2100-01-01T00:00:00Z" }}, {{ value = "old-and-over", not_after = "2020-01-01T00:00:00Z" }}]"#
    );
    let relay = Relay::with(&secrets).await;
    let signed = |secret: &str, bytes: &[u8]| {
        let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes()), bytes);
        (HEXLOWER.encode(tag.as_ref()), BASE64.encode(tag.as_ref()))
    };
    let (now, bad) = (unix_now(), "0".repeat(64));
    for (n, (secret, status)) in [(HOOK_SECRET, 200), ("old-and-good", 200), ("old-and-over", 401)].into_iter().enumerate() {
        let body = event("42", n).to_string();
        let plain = signed(secret, body.as_bytes()).0;
        let stripe = signed(secret, format!("{now}.{body}").as_bytes()).0;
        let stripe = format!("t={now},v1={bad},v1={stripe}");
        let standard = signed(secret, format!("msg_{n}.{now}.{body}").as_bytes()).1;
        let standard = format!("v1,{} v1,{standard}", BASE64.encode(&[0; 32]));
        let (id, now) = (format!("msg_{n}"), now.to_string());
        for headers in [
            &[("x-signature", plain.as_str())][..],
            &[("acme-signature", &stripe)],
            &[("webhook-id", &id), ("webhook-timestamp", &now), ("webhook-signature", &standard)],
        ] {
            assert_eq!(relay.post(PATH, headers, body.as_bytes()).await.status, status, "{secret} {headers:?}");
        }
    }
}

/// A10: the disk is full, then there is room again. What was answered 503 comes again, and is delivered once.
#[tokio::test]
async fn a_log_that_cannot_be_written_is_answered_503_until_it_can() {
    let (folder, address) = (TempDir::new().unwrap(), free_address());
    let gateway = Process::start(&folder, address, "", None).await;
    let mut socket = WebSocket::dial(address, Dial::token(&token("42"))).await.unwrap();
    assert_eq!(socket.json().await["type"], "$hello");
    let deliver = async |n: usize| {
        let body = event("42", n).to_string();
        let framing = format!("Connection: close\r\nContent-Length: {}\r\nX-Signature: {}", body.len(), sign(body.as_bytes()));
        let request = format!("POST {PATH} HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n{framing}\r\n\r\n{body}");
        Raw::say(address, request).await.answer().await.unwrap()
    };
    assert_eq!(deliver(1).await.status, 200);
    gateway.limit_file_size(Some(64));
    for _ in 0..3 {
        let refused = deliver(2).await;
        assert_eq!((refused.status, refused.header("retry-after")), (503, Some("5")), "{refused:?}");
    }
    gateway.limit_file_size(None);
    until("it is taken again", async || deliver(2).await.status == 200).await;
    assert!(deliver(2).await.body.contains(r#""duplicate":true"#));
    assert_eq!(deliver(3).await.status, 200);
    assert_eq!(socket.points(3).await, [1, 2, 3]);
}

#[tokio::test]
async fn a_hundred_retries_at_once_are_one_event() {
    let relay = Relay::start().await;
    let (mut socket, _) = WebSocket::open(&relay, Dial::token(&token("42"))).await;
    let body = json!({"id": "evt-1", "account": "42", "platform": "acme", "event_xp": 1});
    let answers = futures_util::future::join_all((0..100).map(|_| relay.deliver(&body))).await;

    let ids: std::collections::HashSet<_> = answers.iter().map(|a| (a.status, a.id())).collect();
    assert_eq!(ids.len(), 1, "{ids:?}");
    assert_eq!(answers.iter().filter(|a| a.body["duplicate"] == true).count(), 99);
    assert_eq!(relay.metric(r#"claimr_relay_repetitions_total{kind="same"}"#).await, 99);

    let other = json!({"id": "evt-1", "account": "42", "platform": "acme", "event_xp": 2});
    assert_eq!(relay.deliver(&other).await.id(), answers[0].id());
    assert_eq!(relay.metric(r#"claimr_relay_repetitions_total{kind="other_body"}"#).await, 1);

    let relay = relay.stop().await.start().await;
    assert_eq!(relay.deliver(&body).await.body["duplicate"], true);
    relay.event("42", 3).await;
    let (_, bye) = socket.closed().await;
    assert_eq!(bye["code"], 4000);
    let (mut socket, hello) = WebSocket::open(&relay, Dial::token(&token("42")).query("since=1h")).await;
    assert_eq!(hello["replayed"], 2);
    assert_eq!(socket.points(2).await, [1, 3]);
}

#[tokio::test]
async fn what_is_no_json_is_answered_400_and_kept() {
    let relay = Relay::start().await;
    let deep = format!("{}{}", "[".repeat(10_000), "]".repeat(10_000));
    let bad = [
        "",
        "nonsense",
        "NaN",
        r#"{"a":NaN}"#,
        r#"{"a":"\ud800"}"#,
        r#"{"a":1} x"#,
        r#"{"a":1,"a":2}"#,
        &deep,
        r#"{"a":1e400}"#,
        "7",
    ];
    for body in bad {
        let answer = relay.deliver_to(PATH, body).await;
        assert_eq!((answer.status, answer.code()), (400, "payload_invalid"), "{body:.40}");
    }
    let kept = relay.metric(r#"claimr_relay_dead_letters_total{kind="payload_invalid"}"#).await;
    assert_eq!(kept, bad.len() as u64);
}

#[tokio::test]
async fn what_is_too_large_or_of_another_type_is_not_read() {
    let relay = Relay::start().await;
    let body = event("42", 1).to_string();
    let signature = sign(body.as_bytes());
    let large = format!(r#"{{"account":"42","platform":"acme","x":"{}"}}"#, "x".repeat(262_144));
    let fits = &large[..262_144];
    assert_eq!(relay.deliver_to(PATH, &large).await.status, 413);
    assert_eq!(relay.deliver_to(PATH, fits).await.status, 400, "of the largest size, but cut off");
    for (name, value) in [("content-type", "text/plain"), ("content-type", ""), ("content-encoding", "gzip")] {
        let headers = [("x-signature", signature.as_str()), (name, value)];
        assert_eq!(relay.post(PATH, &headers, body.as_bytes()).await.status, 415, "{name}: {value}");
    }
    let headers = [("x-signature", signature.as_str()), ("content-type", "application/json; charset=utf-8")];
    assert_eq!(relay.post(PATH, &headers, body.as_bytes()).await.status, 200);
}

#[tokio::test]
async fn other_paths_and_methods_are_told_so() {
    let relay = Relay::start().await;
    let get = relay.http.get(relay.url(PATH)).send().await.unwrap();
    assert_eq!((get.status().as_u16(), get.headers()["allow"].to_str().unwrap()), (405, "POST"));
    for path in [
        "/hooks/stranger",
        "/hooks/stranger/user_activity",
        "/hooks",
        "/hooks/claimr/a/b",
        "/hooks/claimr/%0d%0a",
        "/metrics",
        "/admin/v1/connections",
        "/readyz",
        "/",
    ] {
        let answer = relay.deliver_to(path, "{}").await;
        assert_eq!(answer.status, 404, "{path}: {answer:?}");
    }
}

#[tokio::test]
async fn no_payload_can_break_out_of_its_sse_event() {
    let relay = Relay::start().await;
    let (mut stream, _) = Sse::open(&relay, Dial::token(&token("42"))).await;
    let name = "x\r\nid: 9\r\ndata: pwn\n\nevent: $bye\u{202e}\0";
    let body =
        json!({"account": "42", "platform": "acme", "event_type": name, "event_xp": 1, "aid": "a\0b", "note": "\u{2028}\u{85}"});
    let pretty = serde_json::to_string_pretty(&body).unwrap();
    assert_eq!(relay.deliver_to(PATH, &pretty).await.status, 200);
    let id = relay.event("42", 2).await.id();
    let event = stream.event().await;
    assert_eq!((event.name.as_str(), &event.data["name"], &event.data["data"]), ("message", &json!(name), &body));
    assert_eq!(stream.points(1).await, [2]);
    assert_eq!(stream.last_event_id, id);
}

#[tokio::test]
async fn of_an_array_whoever_can_be_addressed_is_served() {
    let relay = Relay::start().await;
    let (mut socket, _) = WebSocket::open(&relay, Dial::token(&token("42"))).await;
    let body = json!([event("42", 1), {"event_xp": 5}, event("77", 2), event("42", 3)]);
    let answer = relay.deliver(&body).await;
    assert_eq!(answer.body["ids"].as_array().unwrap().len(), 3);
    assert_eq!((&answer.body["recipients"], &answer.body["dead_letters"]), (&json!(2), &json!(1)));
    assert_eq!(socket.points(2).await, [1, 3]);
    assert_eq!(relay.deliver(&json!({"event_xp": 9})).await.body["ids"], json!([]));
    assert_eq!(relay.metric(r#"claimr_relay_dead_letters_total{kind="no_user"}"#).await, 2);
}

#[tokio::test]
async fn both_people_of_a_referral_hear_of_it_and_each_only_their_own_part() {
    let relay = Relay::start().await;
    let (mut inviter, _) = WebSocket::open(&relay, Dial::token(&token("42"))).await;
    let (mut newcomer, _) = WebSocket::open(&relay, Dial::token(&token("77"))).await;
    let body = json!({"scope": "referral", "pid": "AbCd_123", "event_type": "referral_join", "ref_id": "RfId0001",
        "user": {"id": "NewUser1", "account": "77", "platform": "acme", "email": "secret@example.com"},
        "referrer": {"id": "IjKl7890", "account": "42", "platform": "acme"}});
    let answer = relay.deliver_to("/hooks/claimr/referral", &body.to_string()).await;
    assert_eq!((&answer.body["recipients"], &answer.body["connections"]), (&json!(2), &json!(2)));
    let (theirs, own): (Value, Value) = (inviter.json().await, newcomer.json().await);
    assert_eq!(theirs["referral"]["role"], "referrer");
    assert!(!theirs.to_string().contains("secret@example.com"), "{theirs}");
    assert_eq!(own["data"], body);
    assert_eq!(theirs["id"], own["id"]);
}
