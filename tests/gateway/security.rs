//! docs/security.md is true: every test, file and setting that it names is there. And what of its cases fits nowhere else.

use std::{collections::BTreeSet, fs, path::Path};

use serde_json::json;
use tempfile::TempDir;

use crate::{
    harness::{
        Dial, HOOK_SECRET, JWT_SECRET, Raw, Relay, Sse, WebSocket, claimr_relay, configuration, event, free_address, sign, token,
        token_with, until,
    },
    layering::rust_files,
};

const MANUAL: &str = include_str!("../../docs/security.md");

/// The words of the manual in backticks.
fn quoted() -> Vec<&'static str> {
    let text: Vec<&str> = MANUAL.split("```").step_by(2).collect();
    text.into_iter().flat_map(|text| text.split('`').skip(1).step_by(2)).collect()
}

#[test]
fn every_test_that_the_manual_names_is_there() {
    let sources = ["src", "tests"].map(rust_files).concat();
    let is_test = |name: &str| {
        sources.iter().any(|(_, text)| {
            let found = text.split(&format!("fn {name}(")).next().filter(|before| before.len() < text.len());
            found.is_some_and(|before| before.rsplit("\n\n").next().unwrap_or("").contains("test"))
        })
    };
    let settings: BTreeSet<&str> =
        include_str!("../../src/config/default.toml").split([' ', '#', '=', '\n', '.', '[', ']']).collect();
    let (mut tests, mut files) = (0, 0);
    for word in quoted() {
        if let Some(file) = word.strip_suffix(".rs") {
            let root = Path::new(env!("CARGO_MANIFEST_DIR"));
            let is_there = root.join(word).exists() || root.join("tests/gateway").join(word).exists();
            assert!(is_there, "docs/security.md names {file}.rs");
            files += 1;
        } else if word.matches('_').count() >= 3
            && word.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
        {
            assert!(
                is_test(word) || settings.contains(word),
                "docs/security.md names {word}, which is neither a test nor a setting"
            );
            tests += usize::from(is_test(word));
        }
    }
    assert!(tests >= 15 && files >= 15, "{tests} tests, {files} files");
}

#[test]
fn every_folder_and_limit_that_the_manual_names_is_there() {
    let limits = include_str!("../../src/config/default.toml");
    let threats = MANUAL.split("## The threat each limit answers").nth(1).unwrap().split("\n## ").next().unwrap();
    let mut named = 0;
    for line in threats.lines().filter(|line| line.starts_with("| ")) {
        for limit in line.split('|').nth(2).unwrap().split('`').skip(1).step_by(2) {
            let name = limit.rsplit('.').next().unwrap();
            assert!(limits.contains(&format!("\n{name} = ")), "{limit} is no setting");
            named += 1;
        }
    }
    assert!(named > 20, "{named}");
    for folder in quoted().into_iter().filter(|word| word.starts_with("src/") && !word.contains('.') && !word.contains(' ')) {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
        assert!(path.exists() || path.with_extension("rs").exists(), "{folder}");
    }
}

/// A6: a body of which nobody says what it is.
#[tokio::test]
async fn a_body_without_a_type_is_415() {
    let relay = Relay::start().await;
    let body = event("42", 1).to_string();
    let head = format!("POST /hooks/claimr HTTP/1.1\r\nHost: a\r\nX-Signature: {}", sign(body.as_bytes()));
    let answer = Raw::say(relay.address, format!("{head}\r\nContent-Length: {}\r\n\r\n{body}", body.len())).await.answer().await;
    assert_eq!(answer.unwrap().status, 415);
}

/// A8: a name of a megabyte is too much for the default limit, and one event where the limit allows it.
#[tokio::test]
async fn a_name_of_a_megabyte_is_413_or_one_event() {
    let relay = Relay::start().await;
    let mut body = event("42", 1);
    body["event_type"] = "n".repeat(1_000_000).into();
    assert_eq!(relay.deliver(&body).await.status, 413);
    let settings = "limits.webhook_body_bytes_max = 2000000\nlimits.mailbox_bytes_max = 4000000";
    let relay = Relay::with(settings).await;
    let (mut stream, _) = Sse::open(&relay, Dial::token(&token("42"))).await;
    assert_eq!(relay.deliver(&body).await.status, 200);
    relay.event("42", 2).await;
    assert_eq!(stream.points(2).await, [1, 2]);
}

/// E2: a cursor that no URL could hold.
#[tokio::test]
async fn a_cursor_of_ten_kilobytes_is_a_gap() {
    let relay = Relay::start().await;
    let dial = Dial::token(&token("42")).header("last-event-id", &"9".repeat(10 * 1_024));
    let (mut stream, _) = Sse::open(&relay, dial).await;
    let gap = stream.event().await;
    assert_eq!((gap.name.as_str(), &gap.data["reason"]), ("$gap", &json!("invalid_cursor")));
}

/// E4: whoever is spelled otherwise is somebody else.
#[tokio::test]
async fn users_that_look_alike_do_not_hear_each_other() {
    let relay = Relay::start().await;
    let people = [("a", "b:c"), ("a", "b"), ("a", "e\u{301}"), ("a", "\u{e9}"), ("a", "B"), ("A", "b"), ("a", "b "), ("a", " b")];
    let mut sockets = Vec::new();
    for (platform, account) in people {
        let token = token_with(&json!({"sub": format!("{platform}:{account}")}));
        sockets.push(WebSocket::open(&relay, Dial::token(&token)).await.0);
    }
    for (n, (platform, account)) in (1..).zip(people) {
        let body = json!({"account": account, "platform": platform, "event_type": "task_completed", "event_xp": n});
        assert_eq!(relay.deliver(&body).await.body["connections"], 1, "{platform}:{account}");
    }
    for (n, socket) in (1..).zip(&mut sockets) {
        assert_eq!(socket.points(1).await, [n]);
    }
    // A platform is one word: nobody speaks for `a:b` by writing its colon elsewhere.
    let crossed = json!({"account": "c", "platform": "a:b", "event_type": "task_completed", "event_xp": 9});
    assert_eq!(relay.deliver(&crossed).await.body["ids"], json!([]));
}

/// B7: what would be weak from the start is no start.
#[tokio::test]
async fn weak_keys_refuse_the_start_and_name_their_setting() {
    let fixture = |name: &str| format!("{}/tests/fixtures/jwt/{name}", env!("CARGO_MANIFEST_DIR"));
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("relay.toml");
    let good = configuration(folder.path(), free_address(), "");
    let (alg, secret) = ("alg = \"HS256\"", format!("secret = {{ value = \"{JWT_SECRET}\" }}"));
    let key = format!("{alg}\n{secret}");
    assert!(good.contains(&key));
    let rsa = format!("alg = \"RS256\"\npublic_key = {{ file = \"{}\" }}", fixture("rsa-1024.pem"));
    let named = format!("{key}\nkid = \"a\"\n[[auth.keys]]\n{key}\nkid = \"a\"");
    for (what, entry, setting) in [
        ("31 bytes", format!("{alg}\nsecret = {{ value = \"{}\" }}", "x".repeat(31)), "auth.keys[0]"),
        ("nothing", format!("{alg}\nsecret = {{ value = \"\" }}"), "auth.keys[0]"),
        ("RSA of 1,024 bits", rsa, "auth.keys[0]"),
        ("a kid twice", named, "auth.keys[1]"),
        ("no file", format!("{alg}\nsecret = {{ file = \"/nowhere/secret\" }}"), "auth.keys[0]"),
    ] {
        fs::write(&file, good.replacen(&key, &entry, 1)).unwrap();
        let said = claimr_relay(&["serve", "--config", file.to_str().unwrap()], &[]).await;
        assert_eq!(said.code, 2, "{what}: {said:?}");
        assert!(said.err.contains(setting), "{what}: {said:?}");
        assert!(!said.err.contains(HOOK_SECRET) && !said.err.contains(JWT_SECRET), "{what}");
    }
}

/// H1: no figure has a label that somebody sent.
#[tokio::test]
async fn no_label_comes_from_input() {
    const CANARY: &str = "label-canary";
    let relay = Relay::start().await;
    let mut body = event(CANARY, 1);
    body["event_type"] = CANARY.into();
    relay.deliver_to(&format!("/hooks/{CANARY}"), "{}").await;
    relay.deliver_to(&format!("/hooks/claimr/{CANARY}"), &body.to_string()).await;
    relay.deliver_to(&format!("/hooks/claimr/{CANARY}"), CANARY).await;
    relay.post("/hooks/claimr", &[("x-signature", CANARY), (CANARY, CANARY)], b"{}").await;
    let query = format!("types={CANARY}");
    let (socket, _) = WebSocket::open(&relay, Dial::token(&token(CANARY)).query(&query)).await;
    drop(socket);
    let _ = Sse::dial(&relay, Dial::token(CANARY).query(&query)).await;
    until("it has left", async || relay.hub.sessions() == 0).await;
    let page = relay.http.get(format!("http://{}/metrics", relay.admin)).send().await.unwrap().text().await.unwrap();
    assert!(page.contains("claimr_relay_webhooks_total{source=\"claimr\",outcome=\"accepted\"} 1"), "{page}");
    assert!(!page.contains(CANARY), "{page}");
}
