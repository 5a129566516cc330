//! `hooks` against an API made after claimr's documentation.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use axum::{
    Router,
    body::Bytes,
    extract::State,
    http::{HeaderMap, Method, StatusCode},
    response::{IntoResponse, Response},
    routing::any,
};
use serde_json::{Value, json};
use tokio_util::task::AbortOnDropHandle;

use crate::harness::{Said, claimr_relay, free_address};

const TOKEN: &str = "organisation-api-token";
const SECRET: &str = "the-hook's \"secret\"";

/// What came, by method and body.
type Seen = Arc<Mutex<Vec<(Method, Value)>>>;

/// claimr's API as documented: POST and DELETE on /hook, a bearer token, `{"success":true}`.
struct Api {
    address: SocketAddr,
    seen: Seen,
    _running: AbortOnDropHandle<()>,
}

impl Api {
    async fn start() -> Self {
        let seen = Seen::default();
        let routes =
            Router::new().route("/api/v1/hook", any(hook)).route("/moved/hook", any(moved)).with_state(Arc::clone(&seen));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        #[expect(clippy::disallowed_methods, reason = "the API itself is the task")]
        let running = AbortOnDropHandle::new(tokio::spawn(async { axum::serve(listener, routes).await.unwrap() }));
        Self { address, seen, _running: running }
    }

    async fn run(&self, arguments: &[&str], variables: &[(&str, &str)]) -> Said {
        let base = format!("http://{}/api/v1", self.address);
        let base: &[&str] = if arguments.contains(&"--api-base") { &[] } else { &["--api-base", &base] };
        let all: Vec<_> = ["hooks"].iter().chain(arguments).chain(base).copied().collect();
        claimr_relay(&all, variables).await
    }

    fn seen(&self) -> Vec<(Method, Value)> {
        std::mem::take(&mut self.seen.lock().unwrap())
    }
}

async fn hook(State(seen): State<Seen>, method: Method, headers: HeaderMap, body: Bytes) -> Response {
    if headers.get("authorization").is_none_or(|value| value != &format!("Bearer {TOKEN}")) {
        return (StatusCode::UNAUTHORIZED, r#"{"success":false,"error":"bad token"}"#).into_response();
    }
    let body: Value = serde_json::from_slice(&body).unwrap();
    if body["hook_id"] == "refused" {
        let message = format!("limit of hooks reached ({})", body["secret"].as_str().unwrap_or(""));
        return axum::Json(json!({"success": false, "message": message})).into_response();
    }
    if method == Method::DELETE && body["hook_id"] == "unknown" {
        return (StatusCode::NOT_FOUND, r#"{"success":false}"#).into_response();
    }
    seen.lock().unwrap().push((method, body));
    r#"{"success":true}"#.into_response()
}

async fn moved() -> Response {
    (StatusCode::TEMPORARY_REDIRECT, [("location", "https://elsewhere.example/hook")]).into_response()
}

const ADD: [&str; 7] =
    ["add", "--scope", "user_reward", "--hook-id", "relay", "--url", "https://relay.example.com/hooks/claimr/user_reward"];

#[tokio::test]
async fn a_hook_is_registered_and_removed_as_documented() {
    let api = Api::start().await;
    let variables = [("CLAIMR_API_TOKEN", TOKEN), ("CLAIMR_HOOK_SECRET", SECRET)];
    let added = api.run(&ADD, &variables).await;
    assert_eq!((added.code, added.err.as_str()), (0, ""), "{added:?}");
    let body = json!({"scope": "user_reward", "uri": "https://relay.example.com/hooks/claimr/user_reward", "secret": SECRET,
        "hook_id": "relay", "pids": []});
    assert_eq!(api.seen(), [(Method::POST, body)]);
    let removed = api.run(&["remove", "--scope", "user_reward", "--hook-id", "relay", "--json"], &variables).await;
    assert_eq!((removed.code, &removed.json()["ok"]), (0, &json!(true)));
    assert_eq!(api.seen(), [(Method::DELETE, json!({"scope": "user_reward", "hook_id": "relay"}))]);
}

#[tokio::test]
async fn what_the_documentation_leaves_open_can_be_said() {
    let api = Api::start().await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("secret");
    std::fs::write(&file, format!("{SECRET}\n")).unwrap();
    let token = [("CLAIMR_API_TOKEN", TOKEN), ("OTHER", SECRET)];
    for (more, member, expected) in [
        (&["--uri-field", "url", "--unsigned"][..], "url", json!("https://relay.example.com/hooks/claimr/user_reward")),
        (&["--pid", "AbCd_123", "--pid", "EfGh-456", "--unsigned"], "pids", json!(["AbCd_123", "EfGh-456"])),
        (&["--secret-file", file.to_str().unwrap()], "secret", json!(SECRET)),
        (&["--secret-env", "OTHER"], "secret", json!(SECRET)),
        (&["--secret", SECRET], "secret", json!(SECRET)),
        (&["--unsigned"], "secret", Value::Null),
    ] {
        let said = api.run(&[&ADD, more].concat(), &token).await;
        assert_eq!(said.code, 0, "{more:?}: {said:?}");
        assert_eq!(said.err.contains("other users of this machine"), more[0] == "--secret", "{said:?}");
        assert_eq!(api.seen()[0].1[member], expected, "{more:?}");
    }
}

#[tokio::test]
async fn a_dry_run_shows_everything_but_secrets_and_sends_nothing() {
    let api = Api::start().await;
    let variables = [("CLAIMR_API_TOKEN", TOKEN), ("CLAIMR_HOOK_SECRET", SECRET)];
    for json in [&["--dry-run"][..], &["--dry-run", "--json"]] {
        let said = api.run(&[&ADD, json].concat(), &variables).await;
        assert!(said.code == 0 && said.out.contains("/api/v1/hook") && said.out.contains(r#""secret":"***""#), "{said:?}");
        assert!(!said.out.contains(TOKEN) && !said.out.contains("the-hook's"), "{said:?}");
    }
    assert_eq!(api.seen(), []);
}

#[tokio::test]
async fn a_no_is_told_in_words_that_help() {
    let api = Api::start().await;
    let good = [("CLAIMR_API_TOKEN", TOKEN)];
    let both = [("CLAIMR_API_TOKEN", TOKEN), ("CLAIMR_HOOK_SECRET", "a-plain-secret")];
    let moved = format!("http://{}/moved", api.address);
    let nowhere = format!("http://{}/other", api.address);
    let closed = format!("http://{}", free_address());
    let remove = |id| vec!["remove", "--scope", "referral", "--hook-id", id];
    let at = |base| [&remove("x")[..], &["--api-base", base]].concat();
    for (arguments, variables, code, says) in [
        (remove("x"), &[("CLAIMR_API_TOKEN", "wrong")][..], 1, &["401", "bad token", "CLAIMR_API_TOKEN"][..]),
        (remove("x"), &[], 2, &["CLAIMR_API_TOKEN is not set"]),
        (remove("refused"), &good, 1, &["limit of hooks reached"]),
        (vec![ADD[0], ADD[1], ADD[2], ADD[3], "refused", ADD[5], ADD[6]], &both, 1, &["limit of hooks reached (***)"]),
        (remove("unknown"), &good, 1, &["404", "no such hook"]),
        (at(&moved), &good, 1, &["redirects to https://elsewhere.example/hook", "--api-base"]),
        (at(&nowhere), &good, 1, &["404", "--api-base"]),
        (at(&closed), &good, 1, &["connection refused", "--api-base"]),
        (at("http://claimr.example"), &good, 2, &["is not https"]),
        (ADD.to_vec(), &good, 2, &["CLAIMR_HOOK_SECRET", "--unsigned"]),
        (
            vec!["add", "--scope", "user_rewards", "--hook-id", "x", "--url", "https://a/b"],
            &good,
            2,
            &["did you mean user_reward?"],
        ),
        (vec!["add", "--scope", "referral", "--hook-id", "x", "--url", "http://a/b"], &good, 2, &["is not https"]),
        (
            vec!["add", "--scope", "referral", "--hook-id", "x", "--url", "https://a"],
            &good,
            2,
            &["https://a/hooks/claimr/referral"],
        ),
    ] {
        let said = api.run(&arguments, variables).await;
        assert_eq!((said.code, said.out.as_str()), (code, ""), "{arguments:?}: {said:?}");
        assert!(says.iter().all(|text| said.err.contains(text)) && !said.err.contains(TOKEN), "{arguments:?}: {said:?}");
    }
}
