//! Secrets, tokens and payloads reach no log, no metric, no error and no command line: case H1.
//!
//! Every secret has a canary in it. The gateway logs all it can, people make every mistake with their credentials, and then everything
//! that an outsider or an operator could read is searched.

use std::fs;

use serde_json::json;
use tempfile::TempDir;

use crate::harness::{Dial, HOOK_SECRET, JWT_SECRET, Process, free_address, sign, token, token_of, unix_now};

const PAYLOAD_CANARY: &str = "gift-code-canary-5d1c";
const TICKET_SECRET: &str = "ticket-canary-0123456789abcdef0123456789";
const ADMIN_TOKEN: &str = "admin-canary-0123456789abcdef0123456789";

#[tokio::test]
async fn no_canary_is_ever_seen() {
    let (folder, address) = (TempDir::new().unwrap(), free_address());
    let admin = free_address();
    let settings = format!(
        "log.filter = \"trace\"\nserver.admin_listen = \"{admin}\"\nauth.ticket_secret = {{ value = \"{TICKET_SECRET}\" }}\n\
         admin.token = {{ value = \"{ADMIN_TOKEN}\" }}"
    );
    let gateway = Process::start(&folder, address, &settings, None).await;
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let mut seen = String::new();

    let good = token("canary-user");
    let claims = json!({"sub": "canary-user", "iss": "https://app.example.com", "aud": "claimr-relay", "exp": unix_now() - 90});
    let expired = token_of(&json!({"alg": "HS256"}), &claims, JWT_SECRET);
    let foreign = token_of(&json!({"alg": "HS256"}), &claims, "not the secret, but long enough to be one");
    let bearer = format!("Bearer {good}");
    for token in [&good, &expired, &foreign] {
        for path in [format!("/v1/sse?token={token}"), format!("/v1/sse?ticket={token}"), format!("/v1/ws?x={token}")] {
            seen += &http.get(format!("http://{address}{path}")).send().await.unwrap().text().await.unwrap();
        }
        if *token != good {
            seen += &http.get(format!("http://{address}/v1/sse")).bearer_auth(token).send().await.unwrap().text().await.unwrap();
        }
        let protocols = format!("claimr.v1, claimr.bearer.{token}");
        let dial = Dial::default().header("sec-websocket-protocol", &protocols);
        let mut socket = crate::harness::WebSocket::dial(address, dial).await.unwrap();
        seen += &socket.next().await.map_or_else(|code| code.to_string(), |frame| frame.to_string());
    }
    let ticket = http.post(format!("http://{address}/v1/tickets")).header("authorization", &bearer).send().await.unwrap();
    let ticket = ticket.json::<serde_json::Value>().await.unwrap()["ticket"].as_str().unwrap().to_owned();
    let broken_ticket = format!("{ticket}x");
    seen += &http.get(format!("http://{address}/v1/sse?ticket={broken_ticket}")).send().await.unwrap().text().await.unwrap();

    let body = json!({"account": "42", "platform": "acme", "reward": {"code": PAYLOAD_CANARY}}).to_string();
    let broken = format!(r#"{{"code":"{PAYLOAD_CANARY}""#);
    for (header, value, body) in [
        ("x-signature", sign(body.as_bytes()), &body),
        ("x-signature", sign(broken.as_bytes()), &broken),
        ("x-signature", HOOK_SECRET.to_owned(), &body),
        ("authorization", format!("Bearer {HOOK_SECRET}"), &body),
        ("stripe-signature", format!("t=1,v1={}", sign(body.as_bytes())), &body),
    ] {
        let request = http.post(format!("http://{address}/hooks/claimr")).header(header, value);
        let request = request.header("content-type", "application/json").body(body.clone());
        seen += &request.send().await.unwrap().text().await.unwrap();
    }
    for path in ["/metrics", "/healthz", "/readyz"] {
        seen += &http.get(format!("http://{admin}{path}")).bearer_auth(ADMIN_TOKEN).send().await.unwrap().text().await.unwrap();
    }
    let log = gateway.log();
    assert!(log.contains("credentials refused") && log.contains("webhook refused"), "the log says what happened:\n{log}");
    seen += &log;
    seen += &fs::read_to_string(format!("/proc/{}/cmdline", gateway.id())).unwrap();

    let signatures = [good, expired, foreign].map(|token| token.rsplit_once('.').unwrap().1.to_owned());
    let ticket_mac = ticket.rsplit_once('.').unwrap().1;
    let canaries = [HOOK_SECRET, JWT_SECRET, TICKET_SECRET, ADMIN_TOKEN, PAYLOAD_CANARY, ticket_mac];
    for canary in canaries.into_iter().chain(signatures.iter().map(String::as_str)) {
        assert!(!seen.contains(canary), "{canary} was seen");
    }
}
