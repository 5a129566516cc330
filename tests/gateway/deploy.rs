//! What `deploy/` offers can be started as it stands: its configurations load, its images are pinned, and the files that it names exist.

use std::{
    fs,
    path::{Path, PathBuf},
};

use claimr_relay::config::load::load;

/// Secrets that every configuration in `deploy/` may ask for.
const SECRETS: &[&str] = &["RELAY_JWT_SECRET", "RELAY_TICKET_SECRET", "RELAY_ADMIN_TOKEN", "CLAIMR_HOOK_SECRET", "NATS_PASSWORD"];
/// What the chart sets by variables, because it owns it.
const BY_THE_CHART: &[(&str, &str)] = &[
    ("CLAIMR_RELAY__SERVER__LISTEN", "0.0.0.0:8080"),
    ("CLAIMR_RELAY__SERVER__ADMIN_LISTEN", "0.0.0.0:8081"),
    ("CLAIMR_RELAY__STORE__ENGINE", "nats"),
    ("CLAIMR_RELAY__STORE__NATS__URL", r#"["nats://nats:4222"]"#),
];

fn path(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy").join(file)
}

fn text(file: &str) -> String {
    fs::read_to_string(path(file)).unwrap()
}

fn environment(more: &[(&str, &str)]) -> Vec<(String, String)> {
    let secrets = SECRETS.iter().map(|&name| (name.to_owned(), "s".repeat(40)));
    secrets.chain(more.iter().map(|&(name, value)| (name.to_owned(), value.to_owned()))).collect()
}

#[test]
fn the_configuration_of_the_cluster_loads() {
    let loaded = load(Some(&path("compose/relay.toml")), environment(&[]));
    assert!(loaded.is_ok(), "{:?}", loaded.err());
}

#[test]
fn the_default_configuration_of_the_chart_loads() {
    let values = text("helm/claimr-relay/values.yaml");
    let block = values.lines().skip_while(|line| *line != "config: |").skip(1);
    let block: Vec<&str> = block.take_while(|line| line.is_empty() || line.starts_with("  ")).map(str::trim_start).collect();
    assert!(block.len() > 10, "values.yaml has no configuration under `config: |`");
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("relay.toml");
    fs::write(&file, block.join("\n")).unwrap();
    let loaded = load(Some(&file), environment(BY_THE_CHART));
    assert!(loaded.is_ok(), "{:?}", loaded.err());
    let template = text("helm/claimr-relay/templates/_helpers.tpl");
    for (name, _) in BY_THE_CHART {
        assert!(template.contains(&format!("name: {name},")), "the chart does not set {name}");
    }
}

/// A tag that moves would bring another program with the next start.
#[test]
fn every_image_has_a_version() {
    let compose = text("compose.yaml");
    let values = text("helm/claimr-relay/values.yaml");
    let images =
        compose.lines().filter_map(|line| line.trim().strip_prefix("image: ")).filter_map(|image| image.rsplit_once(':'));
    let tags: Vec<&str> = images
        .map(|(_, tag)| tag)
        .chain(values.lines().filter_map(|line| line.trim().strip_prefix("tag: ")).map(|tag| tag.trim_matches('"')))
        .collect();
    assert_eq!(tags.len(), 1 + compose.matches(" image: ").count(), "an image without a tag: {tags:?}");
    for tag in tags {
        let version = tag.trim_start_matches('v').split('-').next().unwrap();
        let numbers: Vec<_> = version.split('.').collect();
        assert!(
            numbers.len() == 3 && numbers.iter().all(|number| number.parse::<u32>().is_ok()),
            "`{tag}` is not a whole version"
        );
    }
}

#[test]
fn what_the_cluster_mounts_exists() {
    let compose = text("compose.yaml");
    let mounts: Vec<&str> = compose.split(&[' ', '[', ']', ',', '\n']).filter(|word| word.starts_with("./")).collect();
    assert!(mounts.len() >= 8, "compose.yaml mounts hardly anything: {mounts:?}");
    for mount in mounts {
        let file = mount.split(':').next().unwrap();
        assert!(path(file).is_file(), "compose.yaml mounts {file}, which is not there");
    }
}

/// A gateway that is killed in its drain sends everybody away at once.
#[test]
fn whoever_stops_a_gateway_waits_for_its_drain() {
    let seconds = |file: &str, key: &str| -> u64 {
        let text = text(file);
        let value = text.lines().find_map(|line| line.trim().strip_prefix(key)).unwrap_or_else(|| panic!("{file} has no {key}"));
        value.trim().trim_end_matches('s').parse().unwrap()
    };
    let chart = "helm/claimr-relay/values.yaml";
    assert!(seconds("compose.yaml", "stop_grace_period:") >= 35);
    assert!(seconds("claimr-relay.service", "TimeoutStopSec=") >= 35);
    assert!(seconds(chart, "terminationGracePeriodSeconds:") >= seconds(chart, "preStopSeconds:") + 35);
}
