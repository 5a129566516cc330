//! `claimr-relay learn` against a running gateway: what it prints, another gateway takes.

use std::process::{Command, Output};

use serde_json::{Value, json};

use super::TOKEN;
use crate::harness::{Dial, HOOK_SECRET, Relay, WebSocket, sign, token};

async fn learn(relay: &Relay, arguments: &[&str]) -> Output {
    let url = format!("http://{}", relay.admin);
    let mut command = Command::new(env!("CARGO_BIN_EXE_claimr-relay"));
    command.env_clear().args(["learn", "--url", &url]).args(arguments);
    tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// Lines of configuration as this harness takes them.
fn settings(toml: &str) -> String {
    let mut settings = String::new();
    let mut table = "";
    for line in toml.lines() {
        match line {
            "[[sources]]" => table = "sources",
            "[sources.mapping]" => table = "sources.mapping",
            line if line.starts_with('#') || line.is_empty() => {}
            line => settings.extend([table, ".", line, "\n"]),
        }
    }
    settings
}

/// No field of it stands where the preset looks for one.
fn delivery(user: &str, points: u64) -> Value {
    json!({"hookId": user.len(), "details": {"campaignId": "AbCd_123", "player": {"account": user, "platform": "acme"}},
        "outcome": {"eventXp": points, "totalXp": "1250.50"}})
}

async fn deliver(relay: &Relay, body: &Value) -> u16 {
    let body = body.to_string();
    relay.post("/hooks/claimr", &[("x-acme-sign", &format!("sha256={}", sign(body.as_bytes())))], body.as_bytes()).await.status
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_it_prints_another_gateway_takes() {
    let relay = Relay::start().await;
    for points in 1..=3 {
        assert_eq!(deliver(&relay, &delivery("42", points)).await, 200);
    }
    assert_eq!(relay.post("/hooks/claimr", &[("x-acme-sign", "sha256=00")], b"{}").await.status, 401);
    let printed = learn(&relay, &[]).await;
    let toml = text(&printed.stdout);
    assert!(printed.status.success(), "{}", text(&printed.stderr));
    assert_eq!(
        settings(&toml),
        "sources.name = \"claimr\"\n\
         sources.signature = { scheme = \"hmac\", header = \"x-acme-sign\", algorithm = \"sha256\", encoding = \"hex\", prefix = \"sha256=\" }\n\
         sources.mapping.campaign_id = [\"details.campaignId\"]\n\
         sources.mapping.points = [\"outcome.eventXp\"]\n\
         sources.mapping.total_xp = [\"outcome.totalXp\"]\n\
         sources.mapping.accounts = [{ account = \"details.player.account\", platform = \"details.player.platform\" }]\n"
    );
    assert!(toml.contains("# claimr: 3 of the 4 deliveries that are remembered are genuine"), "{toml}");
    assert!(toml.contains("# - 1 of 4 deliveries match nothing:"), "{toml}");
    assert!(!toml.contains(HOOK_SECRET), "{toml}");

    let second = Relay::with(&settings(&toml)).await;
    let (mut socket, _) = WebSocket::open(&second, Dial::token(&token("42"))).await;
    assert_eq!(deliver(&second, &delivery("42", 9)).await, 200);
    let frame = socket.json().await;
    assert_eq!((&frame["points"], &frame["campaign"]["id"]), (&json!(9), &json!("AbCd_123")));
    assert_eq!(frame["totals"]["xp"].to_string(), "1250.5");
    // Once pinned, another header counts no more; and learning tells what it would be.
    let body = delivery("42", 10).to_string();
    assert_eq!(second.deliver_to("/hooks/claimr", &body).await.status, 401);
    let json: Value = serde_json::from_slice(&learn(&second, &["--json", "--source", "claimr"]).await.stdout).unwrap();
    let unknown = json["sources"][0]["unknown"].to_string();
    assert!(unknown.contains("1 of 2 deliveries are signed otherwise") && unknown.contains("x-signature"), "{unknown}");
    let why = second.ask("deliveries").await["deliveries"][0]["steps"][1]["why"].to_string();
    assert!(why.contains("pinned") && why.contains("x-signature"), "{why}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failure_says_what_to_do() {
    let relay = Relay::with(&format!("admin.token = {{ value = \"{TOKEN}\" }}")).await;
    for (arguments, code, words) in [
        (&[][..], 1, "send Authorization: Bearer"),
        (&["--token", TOKEN, "--source", "stranger"], 1, "no source of this name"),
        (&["--token", TOKEN], 0, ""),
    ] {
        let output = learn(&relay, arguments).await;
        assert_eq!(output.status.code(), Some(code), "{arguments:?} {}", text(&output.stderr));
        assert!(text(&output.stderr).contains(words), "{arguments:?} {}", text(&output.stderr));
    }
    let empty = text(&learn(&relay, &["--token", TOKEN]).await.stdout);
    assert_eq!(settings(&empty), "");
    assert!(empty.contains("no delivery is signed") && empty.contains("nothing can be said of the mapping"), "{empty}");
    let mut command = Command::new(env!("CARGO_BIN_EXE_claimr-relay"));
    let output = command.env_clear().args(["learn", "--url", "https://127.0.0.1:1"]).output().unwrap();
    assert!(output.status.code() == Some(1) && text(&output.stderr).contains("nothing listens"), "{}", text(&output.stderr));
    let output = Command::new(env!("CARGO_BIN_EXE_claimr-relay")).env_clear().arg("learn").output().unwrap();
    assert_eq!(output.status.code(), Some(2));
}
