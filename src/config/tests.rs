//! Defaults, file and variables become one configuration.

use std::{collections::BTreeSet, path::Path};

use super::{
    load::{DEFAULTS, load, read},
    tree::Environment,
    *,
};

mod broadcast;
mod mistakes;
mod reference;
mod reload;
mod secrets;
mod tls;

const TOKEN: &str = "0123456789abcdef0123456789abcdef";

/// A configuration without mistakes, into which the tables below put theirs.
const GOOD: &str = r#"
[auth]
issuer = "https://app.example.com"
audience = "claimr-relay"
[[auth.keys]]
alg = "HS256"
secret = { value = "0123456789abcdef0123456789abcdef" }
[[sources]]
name = "claimr"
secrets = [{ value = "hook" }]
"#;

fn environment(variables: &[(&str, &str)]) -> Environment {
    variables.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect()
}

fn good(variables: &[(&str, &str)]) -> Config {
    read("relay.toml", GOOD, &environment(variables)).0.unwrap()
}

fn mistakes_with(text: &str, variables: &[(&str, &str)]) -> Vec<Mistake> {
    read("relay.toml", text, &environment(variables)).0.err().map_or_else(Vec::new, |mistakes| mistakes.0)
}

fn mistakes(text: &str) -> Vec<Mistake> {
    mistakes_with(text, &[])
}

/// GOOD with one more setting: `section.name = value`, or with one that replaces what is there.
fn with(setting: &str) -> String {
    let (path, value) = setting.split_once(" = ").unwrap();
    let (section, name) = path.rsplit_once('.').unwrap();
    let header = match section {
        "sources" | "auth.keys" => format!("[[{section}]]"),
        _ => format!("[{section}]"),
    };
    let mut lines: Vec<String> = GOOD.lines().map(str::to_owned).collect();
    let start = lines.iter().position(|line| *line == header).unwrap_or_else(|| {
        lines.push(header);
        lines.len() - 1
    });
    let end = (start + 1..lines.len()).find(|i| lines[*i].starts_with('[')).unwrap_or(lines.len());
    match (start..end).find(|i| lines[*i].starts_with(&format!("{name} = "))) {
        Some(line) => lines[line] = format!("{name} = {value}"),
        None => lines.insert(start + 1, format!("{name} = {value}")),
    }
    lines.join("\n")
}

#[test]
fn the_least_configuration_has_the_documented_defaults() {
    let config = good(&[]);
    assert_eq!(config.server.listen.to_string(), "127.0.0.1:8080");
    assert_eq!(config.server.drain_window, Duration::from_secs(10));
    assert!(matches!(&config.store.engine, EngineKind::Disk { path } if path == Path::new("data")));
    assert_eq!(config.auth.leeway, Duration::from_secs(30));
    assert_eq!(config.auth.token_life_max, Duration::from_hours(24));
    assert_eq!(config.auth.keys[0].setting, "auth.keys[0]");
    assert_eq!(config.sources[0].secrets[0].setting, "sources[0].secrets[0]");
    assert_eq!(config.sources[0].signature, Signature::Detect);
    assert_eq!(config.sources[0].duplicate_window, Duration::from_secs(10));
    assert_eq!(config.sources[0].delivery_id_window, Duration::from_hours(24));
    assert_eq!((config.sources[0].mapping.clone(), config.sources[0].broadcast.clone()), (Mapping::default(), Vec::new()));
    assert_eq!(config.limits, Limits::default());
    assert_eq!(config.log, Log { filter: "info".to_owned(), format: LogFormat::Json, refusals_per_s_max: 10 });
}

#[test]
fn variables_override_the_file_and_reach_into_lists() {
    let config = good(&[
        ("CLAIMR_RELAY__SERVER__LISTEN", "[::1]:9000"),
        ("CLAIMR_RELAY__SERVER__ALLOWED_ORIGINS", "[\"https://a.example\", 'https://b.example']"),
        ("CLAIMR_RELAY__STORE", "{ engine = \"memory\" }"),
        ("CLAIMR_RELAY__LIMITS__SESSIONS_MAX", "17"),
        ("CLAIMR_RELAY__AUTH__TICKET_SECRET__VALUE", "01234567890123456789012345678901"),
        ("CLAIMR_RELAY__AUTH__KEYS__0__SECRET__ENV", "JWT"),
        ("JWT", "[a secret that looks like a list..."),
        ("CLAIMR_RELAY__SOURCES__0__NAME", "acme"),
        ("CLAIMR_RELAY__SOURCES__0__SECRETS__1__VALUE", "12345"),
        ("CLAIMR_RELAY__SOURCES__0__SIGNATURE", "{\"scheme\":\"stripe\",\"header\":\"X\"}"),
        ("CLAIMR_RELAY__SOURCES__1", "{ name = \"trial\", allow_unsigned = true }"),
        ("CLAIMR_RELAY_CONFIG", "other.toml"),
    ]);
    assert_eq!(config.server.listen.to_string(), "[::1]:9000");
    assert_eq!(config.server.allowed_origins, ["https://a.example", "https://b.example"]);
    assert!(matches!(config.store.engine, EngineKind::Memory));
    assert_eq!(config.limits.sessions_max, 17);
    assert!(config.auth.ticket_secret.is_some());
    assert_eq!(config.sources[0].name, "acme");
    assert_eq!(config.sources[0].secrets.len(), 2);
    assert_eq!(config.sources[0].signature, Signature::Stripe { header: "X".to_owned() });
    assert_eq!((config.sources[1].name.as_str(), config.sources[1].allow_unsigned), ("trial", true));
    assert_eq!(config.sources[1].mapping, Mapping::default());
}

#[test]
fn variables_alone_can_configure_everything() {
    let variables = [
        ("CLAIMR_RELAY__AUTH__ISSUER", "https://app.example.com"),
        ("CLAIMR_RELAY__AUTH__AUDIENCE", "claimr-relay"),
        ("CLAIMR_RELAY__AUTH__KEYS__0__ALG", "HS256"),
        ("CLAIMR_RELAY__AUTH__KEYS__0__SECRET__VALUE", TOKEN),
        ("CLAIMR_RELAY__SOURCES__0__NAME", "claimr"),
        ("CLAIMR_RELAY__SOURCES__0__SECRETS__0__VALUE", "hook"),
    ];
    let owned = |(name, text): (&str, &str)| (name.to_owned(), text.to_owned());
    assert!(load(None, variables.map(owned)).is_ok());
    let found = load(None, variables[1..].iter().copied().map(owned)).unwrap_err();
    assert_eq!((found.0[0].key.as_str(), found.0[0].origin.as_str()), ("auth.issuer", "not set"));
}

#[test]
fn a_wrong_variable_is_named() {
    for (name, text, key, problem) in [
        ("CLAIMR_RELAY__SERVER__LISTEN", ":80", "server.listen", "no address"),
        ("CLAIMR_RELAY__LIMITS__SESSIONS_MAX", "many", "limits.sessions_max", "a whole number belongs here"),
        ("CLAIMR_RELAY__SOURCES__2__NAME", "x", "sources.2.name", "1 entries before it"),
        ("CLAIMR_RELAY__SERVER__LISTEN__0", "x", "server.listen", "text belongs here"),
        ("CLAIMR_RELAY__AUTH__ISSUER__0", "x", "auth.issuer.0", "not a list"),
        ("CLAIMR_RELAY__ADMIN__TOKEN", "geheim", "admin.token", "says where it comes from"),
    ] {
        let found = mistakes_with(GOOD, &[(name, text)]);
        assert_eq!(found.len(), 1, "{name}: {found:?}");
        assert_eq!((found[0].key.as_str(), found[0].origin.as_str()), (key, format!("environment variable {name}").as_str()));
        assert!(found[0].problem.contains(problem), "{name}: {}", found[0].problem);
    }
}
