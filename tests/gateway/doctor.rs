//! `doctor` against a gateway as it is, and through proxies that do to it what proxies do.

mod proxy;

use futures_util::future::join_all;
use serde_json::{Value, json};

use self::proxy::{Fault, Proxy};
use crate::harness::{Dial, ORIGIN, Relay, Said, WebSocket, claimr_relay, free_address, token, token_with, unix_now};

async fn doctor(url: &str, arguments: &[&str]) -> Said {
    let all: Vec<_> = ["doctor", "--json", "--origin", ORIGIN, "--url", url].iter().chain(arguments).copied().collect();
    claimr_relay(&all, &[("CLAIMR_RELAY_TOKEN", &token("42"))]).await
}

/// The checks that came out bad, each with what is said about it.
fn bad(said: &Said) -> Vec<(String, String)> {
    let report = said.json();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let checks = report["checks"].as_array().unwrap().iter().filter(|check| check["ok"] == json!(false));
    let bad: Vec<_> = checks.map(|c| (text(&c["check"]), format!("{} -> {}", text(&c["detail"]), text(&c["remedy"])))).collect();
    assert_eq!((said.code, &report["ok"]), (i32::from(!bad.is_empty()), &json!(bad.is_empty())), "{said:?}");
    bad
}

#[tokio::test]
async fn all_is_well_with_a_gateway_as_it_is() {
    let relay = Relay::with("limits.ping_interval_s = 1").await;
    let said = doctor(&relay.url(""), &["--idle", "2500ms"]).await;
    assert_eq!(bad(&said), [], "{said:?}");
    let report = said.json();
    let checks = report["checks"].as_array().unwrap();
    assert!(checks.len() == 13 && checks.iter().all(|check| check["ok"] == json!(true)), "{report}");
    for idle in &checks[11..] {
        assert!(idle["detail"].as_str().unwrap().contains(", with "), "{idle}");
    }
    // For people: a line each.
    let token = token("42");
    let said = claimr_relay(&["doctor", "--url", &relay.url("/"), "--token", &token], &[]).await;
    assert!(said.code == 0 && said.out.contains("\u{2713} ws upgrade") && said.err.is_empty(), "{said:?}");
    assert!(!said.out.contains(&token));
}

/// Everything else has to stay good: a remedy for what is not ill leads astray.
#[tokio::test]
async fn what_a_proxy_does_is_told_by_name() {
    let relay = Relay::with("limits.sessions_per_user_max = 100").await;
    let faults = [
        (Fault::HoldBody, &["sse buffering", "ticket"][..], "proxy_buffering off"),
        (Fault::HoldAll, &["sse buffering", "ticket"], "proxy_buffering off"),
        (Fault::Compress, &["sse headers"], "gzip"),
        (Fault::NoUpgrade, &["ws upgrade"], "proxy_set_header Upgrade"),
        (Fault::NoSubprotocolIn, &["ws subprotocol"], "Sec-WebSocket-Protocol"),
        (Fault::NoSubprotocolOut, &["ws subprotocol"], "Sec-WebSocket-Protocol"),
        (Fault::EchoToken, &["ws subprotocol"], "repeats the token"),
        (Fault::NoAuthorization, &["sse headers", "ticket"], "Authorization"),
        (Fault::OwnCors, &["origin", "strangers"], "CORS"),
        (Fault::NoOrigin, &["origin", "strangers"], "Origin"),
        (Fault::OldDate, &["clock", "token"], "synchronise"),
        (Fault::BadGateway, &["reachable"], "server.listen"),
        (Fault::Redirect, &["reachable"], "https://elsewhere.example/"),
        (Fault::Login, &["reachable"], "credentials of its own"),
    ];
    let found = join_all(faults.map(async |(fault, checks, says)| {
        let proxy = Proxy::start(relay.address, fault).await;
        (fault, checks, says, bad(&doctor(&proxy.url(), &[]).await))
    }));
    for (fault, checks, says, found) in found.await {
        assert_eq!(found.iter().map(|(check, _)| check.as_str()).collect::<Vec<_>>(), checks, "{fault:?}: {found:?}");
        assert!(found.iter().any(|(_, text)| text.contains(says)), "{fault:?}: {found:?}");
    }
}

#[tokio::test]
async fn a_proxy_that_cuts_idle_connections_is_found() {
    let relay = Relay::start().await;
    let proxy = Proxy::start(relay.address, Fault::CutIdle).await;
    let found = bad(&doctor(&proxy.url(), &["--idle", "10s"]).await);
    assert_eq!(found.iter().map(|(check, _)| check.as_str()).collect::<Vec<_>>(), ["idle ws", "idle sse"], "{found:?}");
    assert!(found.iter().all(|(_, text)| text.contains("proxy_read_timeout")), "{found:?}");
}

#[tokio::test]
async fn tls_is_spoken_and_a_stranger_to_it_is_named() {
    let relay = Relay::start().await;
    let proxy = Proxy::start(relay.address, Fault::Tls).await;
    let ca = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/proxy-tls/ca.pem");
    let said = doctor(&proxy.url(), &["--ca", ca]).await;
    assert_eq!(bad(&said), [], "{said:?}");
    let distrusted = bad(&doctor(&proxy.url(), &[]).await);
    assert!(distrusted[0].1.contains("no TLS with") && distrusted[0].1.contains("--ca"), "{distrusted:?}");
    let plain = bad(&doctor(&proxy.url().replace("https", "http"), &[]).await);
    assert_eq!(plain[0].0, "reachable", "{plain:?}");
}

#[tokio::test]
async fn refusals_of_the_gateway_are_told_as_such() {
    let relay = Relay::with("limits.sessions_per_user_max = 1").await;
    let url = relay.url("");
    let someone = token("1");
    let arguments = ["doctor", "--url", &url, "--token", &someone, "--origin", "https://b.example", "--json"];
    let found = bad(&claimr_relay(&arguments, &[]).await);
    assert!(found[0].0 == "origin" && found[0].1.contains("allowed_origins = [\"https://b.example\"]"), "{found:?}");
    for (claims, first, says) in [
        (json!({"sub": "42", "exp": unix_now() - 100}), "token", "expired"),
        (json!({"sub": "42", "iss": "https://b.example"}), "ws $hello", "4101"),
    ] {
        let found = bad(&claimr_relay(&["doctor", "--url", &url, "--token", &token_with(&claims), "--json"], &[]).await);
        assert!(found[0].0 == first && found[0].1.contains(says), "{found:?}");
        assert!(found.iter().any(|(check, _)| check == "sse headers"), "{found:?}");
    }
    let (_others, _) = WebSocket::open(&relay, Dial::token(&token("42"))).await;
    let full = bad(&doctor(&url, &[]).await);
    for (check, says) in [("ws $hello", "(4201)"), ("sse headers", "too_many_sessions"), ("ticket", "(4201)")] {
        assert!(full.iter().any(|(name, text)| name == check && text.contains(says)), "{check}: {full:?}");
    }
    let nobody = bad(&doctor(&format!("http://{}", free_address()), &[]).await);
    assert!(nobody.len() == 1 && nobody[0].1.contains("connection refused"), "{nobody:?}");
}
