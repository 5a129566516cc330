//! Another configuration for a running gateway: taken up whole or not at all, and nobody is disconnected.

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::harness::{
    Dial, HOOK_SECRET, Issuer, JWT_SECRET, ORIGIN, Process, Raw, Relay, SigningKey, Sse, WebSocket, event, free_address,
    sign_with, token, token_of, usual_claims,
};

const NEW_ORIGIN: &str = "https://new.example.com";
const NEW_HOOK_SECRET: &str = "the-next-hook-secret";
const NEW_JWT_SECRET: &str = "the-next-jwt-secret-0123456789abcdef";
const TAKEN_UP: &str = "the configuration is loaded again and in force";
const STAYS: &str = "the one in force stays";

fn new_token(user: &str) -> String {
    token_of(&json!({"alg": "HS256"}), &usual_claims(&json!({"sub": user})), NEW_JWT_SECRET)
}

/// Everything rotated: what the old configuration took, this one refuses.
fn rotated() -> String {
    format!(
        "server.allowed_origins = [\"{NEW_ORIGIN}\"]\n\
         auth.keys.secret = {{ value = \"{NEW_JWT_SECRET}\" }}\n\
         sources.secrets = [{{ value = \"{NEW_HOOK_SECRET}\" }}]"
    )
}

async fn hook_status(relay: &Relay, secret: &str, n: usize) -> u16 {
    let body = event("42", n).to_string();
    relay.post("/hooks/claimr", &[("x-signature", &sign_with(secret, body.as_bytes()))], body.as_bytes()).await.status
}

/// The code or status that a dial is refused with; 0 if it is not.
async fn refusal(relay: &Relay, dial: Dial) -> u16 {
    match WebSocket::dial(relay.address, dial).await {
        Err(status) => status,
        Ok(mut socket) => match socket.next().await {
            Ok(frame) if frame["type"] == "$hello" => 0,
            _ => socket.closed().await.0,
        },
    }
}

#[tokio::test]
async fn secrets_keys_and_origins_change_under_live_sessions() {
    let relay = Relay::start().await;
    let (mut socket, _) = WebSocket::open(&relay, Dial::token(&token("42")).header("origin", ORIGIN)).await;
    let (mut stream, _) = Sse::open(&relay, Dial::token(&token("42"))).await;
    let ticket = relay.ticket(&token("42")).await.body["ticket"].as_str().unwrap().to_owned();
    relay.reload(&rotated()).unwrap();

    assert_eq!(hook_status(&relay, HOOK_SECRET, 1).await, 401);
    assert_eq!(hook_status(&relay, NEW_HOOK_SECRET, 1).await, 200);
    assert_eq!((socket.points(1).await, stream.points(1).await), (vec![1], vec![1]), "nobody was disconnected");
    assert_eq!(refusal(&relay, Dial::token(&token("42"))).await, 4101, "the old key is gone");
    assert_eq!(refusal(&relay, Dial::token(&new_token("42"))).await, 0);
    assert_eq!(refusal(&relay, Dial::token(&new_token("42")).header("origin", ORIGIN)).await, 403);
    assert_eq!(refusal(&relay, Dial::token(&new_token("42")).header("origin", NEW_ORIGIN)).await, 0);
    // Tickets are signed with what is derived from the key.
    assert_eq!(Sse::dial(&relay, Dial::default().query(&format!("ticket={ticket}"))).await.err().unwrap().0, 401);

    socket.send(json!({"type": "$auth", "token": new_token("42")}).to_string()).await;
    assert_eq!(socket.json().await["ok"], true, "a session goes over to the new key");
    socket.send(json!({"type": "$auth", "token": token("42")}).to_string()).await;
    assert_eq!(socket.closed().await.0, 4101, "but not back to the old one");
}

#[tokio::test]
async fn limits_mappings_and_sources_change_for_what_comes_later() {
    let relay = Relay::start().await;
    let (mut first, _) = WebSocket::open(&relay, Dial::token(&token("42"))).await;
    let (_second, _) = WebSocket::open(&relay, Dial::token(&token("42"))).await;
    let second_source = format!("[[sources]]\nname = \"shop\"\nsecrets = [{{ value = \"{HOOK_SECRET}\" }}]\n");
    let settings = "limits.sessions_per_user_max = 1\nlimits.webhook_body_bytes_max = 200\nlimits.sessions_per_address_max = 3\n\
                    sources.redact = [\"/note\"]\nserver.trusted_proxies = [\"127.0.0.0/8\"]\n";
    relay.reload(&format!("{settings}{second_source}")).unwrap();

    assert_eq!(refusal(&relay, Dial::token(&token("42"))).await, 4201, "two are there, and one is allowed");
    let mut body = event("42", 1);
    body["note"] = json!("for nobody");
    assert_eq!(relay.deliver_to("/hooks/shop", &body.to_string()).await.status, 200);
    assert_eq!(relay.deliver(&body).await.status, 200);
    assert_eq!(first.json().await["data"]["note"], "for nobody", "the shop redacts nothing");
    assert_eq!(first.json().await["data"]["note"], Value::Null);
    body["note"] = json!("x".repeat(200));
    assert_eq!(relay.deliver(&body).await.status, 413);
    let from = |address: &str| Dial::token(&token("77")).header("x-forwarded-for", address);
    assert_eq!(refusal(&relay, from("203.0.113.9")).await, 0, "behind a proxy that is trusted now");
}

#[tokio::test]
async fn what_needs_a_restart_or_is_wrong_changes_nothing_at_all() {
    let relay = Relay::start().await;
    let (mut socket, _) = WebSocket::open(&relay, Dial::token(&token("42"))).await;
    for (settings, named) in [
        ("server.listen = \"127.0.0.1:1\"", &["server.listen"][..]),
        ("server.admin_listen = \"127.0.0.1:1\"", &["server.admin_listen"]),
        ("store.path = \"elsewhere\"\nstore.max_age = \"1h\"", &["store.max_age", "store.path"]),
        ("store.engine = \"memory\"", &["store.engine", "store.path"]),
        ("limits.publish_queue_max = 7\nlog.filter = \"debug\"", &["limits.publish_queue_max", "log.filter"]),
        ("auth.keys.secret = { value = \"short\" }", &["auth.keys[0]"]),
        ("auth.keys.secret = { value = \"short\" }\nserver.drain_window = \"2s\"", &["server.drain_window", "auth.keys[0]"]),
    ] {
        let refused = relay.reload(&format!("{}\n{settings}", rotated())).unwrap_err();
        let found: Vec<_> = refused.0.iter().map(|problem| problem.setting.as_str()).collect();
        assert_eq!(found, named, "{settings}");
        assert_eq!(hook_status(&relay, NEW_HOOK_SECRET, 1).await, 401, "{settings}");
        assert_eq!(refusal(&relay, Dial::token(&token("42")).header("origin", ORIGIN)).await, 0, "{settings}");
    }
    assert_eq!(hook_status(&relay, HOOK_SECRET, 2).await, 200);
    assert_eq!(socket.points(1).await, [2]);
}

/// What was remembered could be masked only by those who knew what in it is secret.
#[tokio::test]
async fn a_secret_that_was_rotated_out_is_shown_to_nobody() {
    let relay = Relay::start().await;
    let body = |n: usize| {
        let mut body = event("42", n);
        body["note"] = json!(format!("old {HOOK_SECRET}, new {NEW_HOOK_SECRET}"));
        body.to_string()
    };
    let shown = async || {
        let deliveries = relay.ask_admin("GET", "/admin/v1/deliveries", &Value::Null).await.body["deliveries"].clone();
        let learned = relay.ask_admin("GET", "/admin/v1/learn", &Value::Null).await;
        (deliveries.as_array().unwrap().clone(), learned.body.to_string())
    };
    assert_eq!(relay.deliver_to("/hooks/claimr", &body(1)).await.status, 200);
    let (deliveries, _) = shown().await;
    assert!(deliveries[0]["body"].as_str().unwrap().contains("old ***"), "{deliveries:?}");

    // One is on its way meanwhile: the gateway asks for its body, and gets it after the reload.
    let late = body(2);
    let head = format!(
        "POST /hooks/claimr HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nX-Signature: {}\r\nX-Other: {HOOK_SECRET}\r\n\
         Content-Length: {}\r\nExpect: 100-continue\r\n\r\n",
        sign_with(HOOK_SECRET, late.as_bytes()),
        late.len()
    );
    let mut sender = Raw::say(relay.address, head).await;
    assert_eq!(sender.answer().await.unwrap().status, 100);
    relay.reload(&rotated()).unwrap();
    assert!(sender.send(late).await);
    assert_eq!(sender.answer().await.unwrap().status, 200, "it is seen through by the secrets it met");

    let (deliveries, learned) = shown().await;
    assert!(deliveries.is_empty() && !learned.contains(HOOK_SECRET), "{deliveries:?} {learned}");
    assert_eq!(hook_status(&relay, HOOK_SECRET, 3).await, 401);
    assert_eq!(hook_status(&relay, NEW_HOOK_SECRET, 4).await, 200);
    let (deliveries, _) = shown().await;
    let numbers: Vec<_> = deliveries.iter().map(|delivery| delivery["n"].as_u64().unwrap()).collect();
    assert_eq!(numbers, [4, 3], "and the numbers go on");
}

/// The operator's own limits and token change, too.
#[tokio::test]
async fn the_admin_api_is_reloaded_with_the_rest() {
    let relay = Relay::start().await;
    let (first, second) = ("the-first-admin-token-0123456789abcdef", "the-second-admin-token-0123456789abcdef");
    let own = json!({"keys": ["42"], "type": "a", "data": {"text": "x".repeat(300)}});
    let publish = async |token: &str| {
        let line = format!("Bearer {token}");
        relay.ask_admin_with(&[("authorization", &line)], "POST", "/admin/v1/publish", &own).await.status
    };
    assert_eq!(publish("").await, 200);
    relay.reload(&format!("admin.token = {{ value = \"{first}\" }}")).unwrap();
    assert_eq!((publish("").await, publish(first).await), (401, 200));
    let settings = "limits.webhook_body_bytes_max = 200\nauth.default_platform = \"other\"";
    relay.reload(&format!("admin.token = {{ value = \"{second}\" }}\n{settings}")).unwrap();
    assert_eq!((publish(first).await, publish(second).await), (401, 413));
    let line = format!("Bearer {second}");
    let user = relay.ask_admin_with(&[("authorization", &line)], "GET", "/admin/v1/users/42", &Value::Null).await;
    assert_eq!(user.body["user"], "other:42");
}

#[tokio::test]
async fn a_key_set_outlives_a_reload_and_a_new_one_is_fetched() {
    let (first, second) = (SigningKey::new("a"), SigningKey::new("b"));
    let (issuer, other) = (Issuer::of(&[&first]).await, Issuer::of(&[&second]).await);
    let relay = Relay::with(&issuer.entry()).await;
    assert_eq!(refusal(&relay, Dial::token(&first.token("42"))).await, 0);
    issuer.fall_silent();
    relay.reload(&format!("{}{}", issuer.entry(), other.entry())).unwrap();
    assert_eq!(refusal(&relay, Dial::token(&first.token("42"))).await, 0);
    assert_eq!(refusal(&relay, Dial::token(&second.token("42"))).await, 0);
    relay.reload(&other.entry()).unwrap();
    assert_eq!(refusal(&relay, Dial::token(&first.token("42"))).await, 4101);
    assert_eq!(refusal(&relay, Dial::token(&second.token("42"))).await, 0);
    assert_eq!(other.asked(), 2, "at its first reload, and for the key that nobody knew");
}

#[tokio::test]
async fn sighup_takes_up_the_file_or_says_why_not() {
    let (folder, address) = (TempDir::new().unwrap(), free_address());
    let process = Process::start(&folder, address, "", None).await;
    let mut socket = WebSocket::dial(address, Dial::token(&token("42"))).await.unwrap();
    assert_eq!(socket.json().await["type"], "$hello");
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let deliver = async |secret: &str, n: usize| {
        let body = event("42", n).to_string();
        let request = http.post(format!("http://{address}/hooks/claimr")).header("content-type", "application/json");
        let request = request.header("x-signature", sign_with(secret, body.as_bytes()));
        request.body(body).send().await.unwrap().status().as_u16()
    };

    process.reload_text("[server]\nlisten = 8080\n[auth]\nisuer = \"x\"\n", STAYS).await;
    let log = process.log();
    let line = |key: &str| {
        let line = log.lines().find(|line| line.contains(&format!("\"key\":\"{key}\"")));
        line.unwrap_or_else(|| panic!("no line for {key} in\n{log}")).to_owned()
    };
    let wrong = line("server.listen");
    for part in ["relay.toml:2", "a port without an address", "write \\\"127.0.0.1:8080\\\"", "\"level\":\"ERROR\""] {
        assert!(wrong.contains(part), "{part}: {wrong}");
    }
    assert!(line("auth.isuer").contains("did you mean auth.issuer?"));

    process.reload("store.path = \"/elsewhere\"", STAYS).await;
    assert!(process.log().contains("\"key\":\"store.path\""), "{}", process.log());
    assert_eq!((deliver(NEW_HOOK_SECRET, 1).await, deliver(HOOK_SECRET, 1).await), (401, 200));
    assert_eq!(socket.points(1).await, [1]);

    process.reload(&rotated(), TAKEN_UP).await;
    assert_eq!((deliver(HOOK_SECRET, 2).await, deliver(NEW_HOOK_SECRET, 2).await), (401, 200));
    assert_eq!(socket.points(1).await, [2]);
    let log = process.log();
    for secret in [JWT_SECRET, NEW_JWT_SECRET, HOOK_SECRET, NEW_HOOK_SECRET] {
        assert!(!log.contains(secret), "a secret in the log");
    }
}

#[tokio::test]
async fn a_bad_key_set_is_one_exact_line_in_the_log() {
    let (folder, key) = (TempDir::new().unwrap(), SigningKey::new("known"));
    let issuer = Issuer::of(&[&key]).await;
    issuer.publish_text(&json!({"keys": [key.jwk(), {"kty": "oct", "kid": "o", "k": "c2VjcmV0"}]}).to_string());
    let process = Process::start(&folder, free_address(), &issuer.entry(), None).await;
    let wanted = "the key set is ignored and the old one kept";
    crate::harness::until(wanted, async || process.log().contains(wanted)).await;
    let log = process.log();
    let line: Value = serde_json::from_str(log.lines().find(|line| line.contains(wanted)).unwrap()).unwrap();
    let text = line.to_string();
    for part in ["auth.keys[1].jwks", "keys[1]: it is a shared secret, which must never be published", "\"kept\":0", "ERROR"] {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert!(!log.contains("c2VjcmV0"), "{log}");
}
