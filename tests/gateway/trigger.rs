//! `trigger` against a gateway: what it makes is taken, and reaches whom it names.

use std::{path::Path, process::Stdio};

use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    process::Command,
};

use crate::harness::{
    Dial, HOOK_SECRET, Relay, Said, WebSocket, claimr_relay, configuration, free_address, shell, token, token_with,
};

/// Runs `trigger` against a gateway, with its secret.
async fn trigger(relay: &Relay, arguments: &[&str]) -> Said {
    let url = relay.url("");
    let there: &[&str] = if arguments.contains(&"--url") { &[] } else { &["--url", &url] };
    let all: Vec<_> = ["trigger"].iter().chain(there).chain(arguments).copied().collect();
    claimr_relay(&all, &[("CLAIMR_HOOK_SECRET", HOOK_SECRET)]).await
}

fn good(said: &Said) {
    assert_eq!(said.code, 0, "{said:?}");
}

/// Scope and name of every shape that there is.
async fn variants() -> Vec<(String, String)> {
    let listed = claimr_relay(&["trigger", "--list", "--json"], &[]).await.json();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    listed["variants"].as_array().unwrap().iter().map(|v| (text(&v["scope"]), text(&v["variant"]))).collect()
}

#[tokio::test]
async fn every_shape_reaches_the_user_named() {
    let relay = Relay::start().await;
    let variants = variants().await;
    assert!(variants.len() >= 16, "{variants:?}");
    for (scope, variant) in variants {
        for key in ["acme:42", "web3:0xAbC0000000000000000000000000000000000042", "email:a@b.example", "claimr:NewUser9"] {
            let (mut socket, _) = WebSocket::open(&relay, Dial::token(&token_with(&json!({"sub": key})))).await;
            let said = trigger(&relay, &[&scope, "--variant", &variant, "--user", key, "--json"]).await;
            let (receipt, frame) = (said.json(), socket.json().await);
            assert_eq!((&receipt["duplicate"], &receipt["connections"]), (&json!(false), &json!(1)), "{scope} {variant} {key}");
            assert_eq!((&frame["type"], &frame["id"]), (&json!(scope), &receipt["ids"][0]), "{variant} {key}");
        }
    }
}

#[tokio::test]
async fn a_referral_reaches_both_people() {
    let relay = Relay::start().await;
    let (mut joined, _) = WebSocket::open(&relay, Dial::token(&token("77"))).await;
    let (mut referrer, _) = WebSocket::open(&relay, Dial::token(&token("42"))).await;
    for variant in ["nested", "enveloped", "array"] {
        let arguments = ["referral", "--variant", variant, "--user", "acme:77", "--referrer", "acme:42", "--set", "note=x"];
        let said = trigger(&relay, if variant == "nested" { &arguments } else { &arguments[..7] }).await;
        good(&said);
        assert!(said.out.contains("for 2 people on 2 connections"), "{said:?}");
        assert!(joined.json().await["referral"]["role"] != json!("referrer"));
        assert_eq!(referrer.json().await["referral"]["role"], "referrer", "{variant}");
    }
}

#[tokio::test]
async fn five_hundred_arrive() {
    let relay = Relay::start().await;
    let (mut socket, _) = WebSocket::open(&relay, Dial::token(&token("42"))).await;
    let arguments = ["user_activity", "--user", "acme:42", "--set", "event_xp=7", "--count", "500", "--json"];
    let (said, points) = tokio::join!(trigger(&relay, &arguments), socket.points(500));
    let tally = said.json();
    assert_eq!((&tally["accepted"], &tally["duplicates"], &tally["refused"]), (&json!(500), &json!(0), &json!({})), "{tally}");
    assert!(tally["latency_ms"]["p99"].as_f64() >= tally["latency_ms"]["p50"].as_f64(), "{tally}");
    assert_eq!(points, vec![7; 500]);
    assert_eq!((said.code, said.err.as_str()), (0, ""), "no progress line where there is no terminal");
}

#[tokio::test]
async fn a_rate_is_kept() {
    let relay = Relay::start().await;
    let tally = trigger(&relay, &["user_login", "--count", "11", "--rate", "20", "--json"]).await.json();
    assert_eq!(tally["accepted"], 11);
    assert!(tally["elapsed_s"].as_f64().unwrap() >= 0.5, "{tally}");
}

#[tokio::test]
async fn the_same_again_is_told_as_a_duplicate() {
    let relay = Relay::start().await;
    let first = trigger(&relay, &["user_reward", "--same"]).await;
    let again = trigger(&relay, &["user_reward", "--same"]).await;
    assert!(first.out.starts_with("accepted ") && again.out.starts_with("duplicate of "), "{first:?} {again:?}");
    let many = trigger(&relay, &["user_activity", "--same", "--count", "5", "--scheme", "standard-webhooks", "--json"]).await;
    assert_eq!((&many.json()["accepted"], &many.json()["duplicates"]), (&json!(1), &json!(4)));
    // What does not say so is new each time.
    let text = trigger(&relay, &["user_activity", "--count", "2"]).await.out;
    assert!(text.starts_with("accepted    2\nlatency ") && !text.contains("duplicates"), "{text}");
}

#[tokio::test]
async fn the_printed_line_works_where_it_is_pasted() {
    let relay = Relay::start().await;
    let (mut socket, _) = WebSocket::open(&relay, Dial::token(&token("42"))).await;
    let folder = tempfile::tempdir().unwrap();
    for scheme in ["hmac", "github", "stripe", "standard-webhooks"] {
        let note = r#"it's "100%" $HOME `id` \ ü"#;
        let arguments = ["user_activity", "--user", "acme:42", "--set", &format!("note={note}"), "--scheme", scheme, "--print"];
        let line = trigger(&relay, &arguments).await;
        good(&line);
        assert!(!line.out.contains(HOOK_SECRET));
        let pasted = shell(&line.out, folder.path()).await;
        assert_eq!(pasted.json()["status"], "accepted", "{scheme}: {pasted:?}");
        assert_eq!(socket.json().await["data"]["note"], note);
    }
}

#[tokio::test]
async fn a_file_is_sent_byte_for_byte_unless_something_is_to_change() {
    let relay = Relay::start().await;
    let (mut socket, _) = WebSocket::open(&relay, Dial::token(&token("42"))).await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("delivery.json");
    // Neither this order nor this number survives being read and written.
    std::fs::write(&file, "{ \"platform\":\"acme\",\n\"account\":\"42\", \"n\": 1.0000000000000000001 }\n").unwrap();
    let file = file.to_str().unwrap();
    good(&trigger(&relay, &["some_scope", "--file", file]).await);
    let again = trigger(&relay, &["some_scope", "--file", file]).await;
    assert!(again.out.starts_with("duplicate of"), "{again:?}");
    assert_eq!(socket.json().await["type"], "some_scope");
    good(&trigger(&relay, &["some_scope", "--file", file, "--set", "extra.deep=[1]"]).await);
    assert_eq!(socket.json().await["data"]["extra"], json!({"deep": [1]}));
    let many = trigger(&relay, &["some_scope", "--file", file, "--count", "3", "--json"]).await.json();
    assert_eq!(many["accepted"], 3);
}

#[tokio::test]
async fn the_gateways_configuration_says_where_and_how() {
    let address = free_address();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("client.toml");
    let pinned = r#"{ scheme = "hmac", header = "X-Odd", algorithm = "sha512", encoding = "base64", prefix = "v0=" }"#;
    let settings = format!("sources.signature = {pinned}");
    let relay = Relay::with(&settings).await;
    std::fs::write(&file, configuration(folder.path(), relay.address, &settings)).unwrap();
    let config = file.to_str().unwrap();
    let said = claimr_relay(&["trigger", "user_login", "--config", config], &[]).await;
    good(&said);
    let named = claimr_relay(&["trigger", "user_login"], &[("CLAIMR_RELAY_CONFIG", config)]).await;
    good(&named);
    // What is given by hand counts more.
    let url = format!("http://{address}/hooks/claimr");
    let elsewhere = claimr_relay(&["trigger", "user_login", "--config", config, "--url", &url], &[]).await;
    assert!(elsewhere.code == 1 && elsewhere.err.contains("nothing listens on"), "{elsewhere:?}");
}

#[tokio::test]
async fn refusals_come_with_a_remedy() {
    let relay = Relay::start().await;
    let wrong = trigger(&relay, &["user_login", "--secret", "wrong"]).await;
    assert!(
        wrong.code == 1 && wrong.err.contains("401 signature_invalid") && wrong.err.contains("claimr-relay verify"),
        "{wrong:?}"
    );
    let json = trigger(&relay, &["user_login", "--secret", "wrong", "--json"]).await;
    assert_eq!((json.code, &json.json()["code"]), (1, &json!("signature_invalid")));
    let many = trigger(&relay, &["user_login", "--secret", "wrong", "--count", "20"]).await;
    assert!(many.code == 1 && many.out.contains("refused     20 x 401 signature_invalid"), "{many:?}");
    assert!(many.err.contains("claimr-relay verify"), "{many:?}");
    let unsigned = trigger(&relay, &["user_login", "--scheme", "none"]).await;
    assert!(unsigned.err.contains("401 signature_missing"), "{unsigned:?}");
    let path = relay.url("/hooks/other");
    let source = trigger(&relay, &["user_login", "--url", &path]).await;
    assert!(source.code == 1 && source.err.contains("source_unknown"), "{source:?}");
    let nobody = trigger(&relay, &["user_login", "--variant", "enveloped", "--set", "data=null"]).await;
    assert!(nobody.code == 0 && nobody.out.contains("kept as a dead letter"), "{nobody:?}");
    let gone = format!("http://{}", free_address());
    let gone = trigger(&relay, &["user_login", "--count", "5", "--url", &gone]).await;
    assert!(gone.code == 1 && gone.err.contains("claimr-relay dev"), "{gone:?}");
}

#[tokio::test]
async fn what_dev_prints_can_be_pasted() {
    let (listen, admin) = (free_address().to_string(), free_address().to_string());
    let program = Path::new(env!("CARGO_BIN_EXE_claimr-relay"));
    let mut dev = Command::new(program);
    dev.args(["dev", "--listen", &listen, "--admin-listen", &admin])
        .kill_on_drop(true)
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    let mut dev = dev.spawn().unwrap();
    let mut lines = BufReader::new(dev.stdout.take().unwrap()).lines();
    let line = loop {
        let line = lines.next_line().await.unwrap().expect("dev prints a line with trigger");
        if line.contains("claimr-relay trigger user_reward") {
            break line;
        }
    };
    let path = format!("PATH={}:$PATH; {line}", program.parent().unwrap().display());
    let pasted = shell(&path, Path::new(".")).await;
    assert!(pasted.code == 0 && pasted.out.starts_with("accepted "), "{line}: {pasted:?}");
}
