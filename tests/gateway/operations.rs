//! What operators load and read is true: every metric in the dashboard, the alerts and the manual exists, and every metric is explained.

use std::{collections::BTreeSet, fs, path::PathBuf, process::Command};

use serde_json::{Value, json};

use crate::harness::{Dial, Relay, Sse, WebSocket, event, token, until};

const MANUAL: &str = "docs/operations.md";
const ALERTS: &str = "deploy/prometheus/alerts.yml";
const DASHBOARD: &str = "deploy/grafana/dashboard.json";

fn path(file: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(file)
}

fn text(file: &str) -> String {
    fs::read_to_string(path(file)).unwrap()
}

/// The metrics that a text names.
fn named(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
    words.filter(|word| word.starts_with("claimr_relay_")).map(str::to_owned).collect()
}

/// The metrics of a gateway to which a little of everything happened, as Prometheus names them.
async fn exposed() -> BTreeSet<String> {
    let relay = Relay::start().await;
    let (first, _) = WebSocket::open(&relay, Dial::token(&token("42"))).await;
    drop(first);
    Sse::dial(&relay, Dial::default()).await.err().expect("nobody gets in without a token");
    let mut body = event("42", 1);
    body["id"] = json!("once");
    relay.deliver(&body).await;
    relay.deliver(&body).await;
    relay.deliver(&json!({"event_type": "to nobody"})).await;
    until("the session has ended", async || relay.metric(r#"claimr_relay_sessions_closed_total{code="0"}"#).await == 1).await;
    let page = relay.http.get(format!("http://{}/metrics", relay.admin)).send().await.unwrap().text().await.unwrap();
    let samples = page.lines().filter(|line| !line.starts_with('#'));
    samples.map(|line| line.split(['{', ' ']).next().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn what_operators_load_names_metrics_that_exist() {
    let exposed = exposed().await;
    for file in [ALERTS, DASHBOARD] {
        let named = named(&text(file));
        assert!(named.len() >= 5, "{file} names hardly any metric");
        let unknown: Vec<_> = named.difference(&exposed).collect();
        assert!(unknown.is_empty(), "{file} names metrics that do not exist: {unknown:?}");
    }
    // The manual names a histogram by its family.
    let family =
        |name: &String| ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end)).unwrap_or(name).to_owned();
    let families: BTreeSet<String> = exposed.iter().map(family).collect();
    assert_eq!(named(&text(MANUAL)), families, "{MANUAL} explains every metric, and no other");
}

#[test]
fn every_alert_is_explained() {
    let manual = text(MANUAL);
    let alerts = text(ALERTS);
    let names: Vec<&str> = alerts.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")).collect();
    assert!(names.len() >= 5);
    for name in names {
        assert!(manual.contains(&format!("`{name}`")), "{MANUAL} does not say what to do about {name}");
    }
}

#[test]
fn prometheus_takes_the_alerts() {
    let output = Command::new("promtool").args(["check", "rules"]).arg(path(ALERTS)).output();
    let output = output.expect("promtool is needed: apt-get install prometheus");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn every_panel_of_the_dashboard_asks_the_chosen_source() {
    let dashboard: Value = serde_json::from_str(&text(DASHBOARD)).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    assert!(panels.len() >= 5);
    for panel in panels {
        assert_eq!(panel["datasource"]["uid"], "${datasource}", "{}", panel["title"]);
        for target in panel["targets"].as_array().unwrap() {
            assert!(target["expr"].as_str().unwrap().contains("$instance"), "{}", panel["title"]);
        }
    }
}
