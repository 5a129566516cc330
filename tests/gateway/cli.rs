//! The program as its users run it: help, exit codes, what stands on which stream.

#![expect(clippy::unwrap_used, reason = "a failed set-up fails its test")]

use std::{
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use serde_json::Value;

/// The sample of the documentation, without what this version does not have.
const SAMPLE: &str = r#"
[server]
listen = "127.0.0.1:0"
admin_listen = "127.0.0.1:0"
allowed_origins = ["https://app.example.com"]
trusted_proxies = ["10.0.0.0/8"]

[store]
engine = "disk"
path = "@DATA@"
max_age = "24h"
max_events_per_user = 1000

[auth]
issuer = "https://app.example.com"
audience = "claimr-relay"
default_platform = "acme"
[[auth.keys]]
alg = "HS256"
secret = { env = "RELAY_JWT_SECRET" }

[admin]
token = { env = "RELAY_ADMIN_TOKEN" }

[[sources]]
name = "claimr"
preset = "claimr"
secrets = [{ env = "CLAIMR_HOOK_SECRET" }]

[limits]
sessions_per_user_max = 20
sessions_per_address_max = 200
new_sessions_per_address_per_s_max = 50
"#;

const SECRETS: [(&str, &str); 3] = [
    ("RELAY_JWT_SECRET", "CANARY-jwt-secret-of-at-least-32-bytes"),
    ("RELAY_ADMIN_TOKEN", "CANARY-admin-token-of-at-least-32-bytes"),
    ("CLAIMR_HOOK_SECRET", "CANARY-hook-secret"),
];

/// A folder with a `relay.toml`.
struct Folder(tempfile::TempDir);

impl Folder {
    fn with(config: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("data");
        std::fs::write(folder.path().join("relay.toml"), config.replace("@DATA@", data.to_str().unwrap())).unwrap();
        Self(folder)
    }

    fn relay_toml(&self) -> PathBuf {
        self.0.path().join("relay.toml")
    }
}

/// The program in an environment that holds the secrets and nothing else.
fn program(arguments: &str, folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_claimr-relay"));
    command.args(arguments.split_whitespace()).env_clear().envs(SECRETS).current_dir(folder);
    command
}

fn run(arguments: &str, folder: &Folder) -> Output {
    program(arguments, folder.0.path()).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// What every command prints as help, and for mistakes, word by word. After a change: `TRYCMD=overwrite cargo test cli::`, and read the
/// difference.
#[test]
fn what_is_printed_is_what_was_reviewed() {
    let cases = trycmd::TestCases::new();
    cases.register_bin("claimr-relay", Path::new(env!("CARGO_BIN_EXE_claimr-relay")));
    for variable in ["CLAIMR_RELAY_CONFIG", "CLAIMR_HOOK_SECRET", "CLAIMR_API_TOKEN", "CLAIMR_RELAY_TOKEN"] {
        cases.env(variable, "");
    }
    cases.case("tests/cmd/*.trycmd");
}

#[test]
fn every_command_has_help_with_an_example() {
    let folder = Folder::with("");
    for command in [
        "",
        "dev",
        "serve",
        "check-config",
        "token",
        "trigger",
        "hooks",
        "hooks add",
        "hooks remove",
        "doctor",
        "verify",
        "learn",
    ] {
        let output = run(&format!("{command} --help"), &folder);
        assert_eq!(output.status.code(), Some(0), "{command}");
        let help = text(&output.stdout);
        assert!(help.contains("Example") && help.contains("claimr-relay "), "{command}: {help}");
    }
    assert_eq!(text(&run("--version", &folder).stdout).trim(), concat!("claimr-relay ", env!("CARGO_PKG_VERSION")));
}

#[test]
fn bad_usage_ends_with_2_and_says_how_to_do_it() {
    let folder = Folder::with(SAMPLE);
    for (arguments, says) in [
        ("", "Usage"),
        ("serv", "serve"),
        ("serve --confg relay.toml", "--config"),
        ("serve", "--config relay.toml, or CLAIMR_RELAY_CONFIG"),
        ("check-config --config missing.toml", "missing.toml"),
        ("token --config relay.toml", "--user"),
        ("token --config relay.toml --user acme:42 --ttl soon", "15m"),
        ("token --config relay.toml --user :42", "platform:account"),
        ("token --config relay.toml --user acme:42 --key web3:", "--key \"web3:\""),
        ("token --config relay.toml --user acme:42 --campaign é", "--campaign \"é\""),
    ] {
        let output = run(arguments, &folder);
        assert_eq!(output.status.code(), Some(2), "{arguments}");
        let said = text(&output.stderr);
        assert!(said.contains(says) && output.stdout.is_empty(), "{arguments}: {said}");
    }
}

#[test]
fn the_sample_of_the_documentation_has_no_mistakes() {
    let folder = Folder::with(SAMPLE);
    let output = run("check-config --config relay.toml", &folder);
    assert_eq!((output.status.code(), text(&output.stdout).as_str()), (Some(0), "relay.toml: no mistakes\n"));
    let named = program("check-config --json", folder.0.path()).env("CLAIMR_RELAY_CONFIG", folder.relay_toml()).output().unwrap();
    assert_eq!(text(&named.stdout), "{\"mistakes\":[],\"ok\":true}\n");
}

#[test]
fn the_configuration_of_a_measured_gateway_has_no_mistakes() {
    let folder = Folder::with(
        "[server]\nlisten = \"127.0.1.1:8120\"\nadmin_listen = \"127.0.1.1:8121\"\n\
         [store]\nengine = \"disk\"\npath = \"@DATA@\"\n\
         [auth]\nissuer = \"https://bench.example\"\naudience = \"claimr-relay\"\n[[auth.keys]]\nalg = \"HS256\"\n\
         secret = { value = \"bench-secret-bench-secret-bench-secret-0\" }\n\
         [admin]\ntoken = { value = \"bench-admin-token-bench-admin-token-000\" }\n\
         [[sources]]\nname = \"claimr\"\npreset = \"claimr\"\nsecrets = [{ value = \"bench-hook-secret\" }]\n\
         [limits]\nsessions_per_user_max = 20000\nnew_sessions_per_address_per_s_max = 100000\n",
    );
    let output = run("check-config --config relay.toml", &folder);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
}

#[test]
fn the_effective_configuration_is_printed_without_secrets() {
    let folder = Folder::with(SAMPLE);
    let mut command = program("check-config --config relay.toml --print", folder.0.path());
    let output = command.env("CLAIMR_RELAY__SERVER__LISTEN", "127.0.0.1:9999").output().unwrap();
    let shown = text(&output.stdout);
    assert_eq!(output.status.code(), Some(0));
    for line in ["listen = \"127.0.0.1:9999\"", "secret = \"***\"", "token = \"***\"", "mailbox_bytes_max = 65536"] {
        assert!(shown.contains(line), "{line} in {shown}");
    }
    let json = text(&run("check-config --config relay.toml --print --json", &folder).stdout);
    let value: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(value["config"]["auth"]["keys"][0]["secret"], "***");
    assert!(!shown.contains("CANARY") && !json.contains("CANARY"));
}

#[test]
fn all_mistakes_come_at_once_for_people_and_for_programs() {
    let folder = Folder::with("[server]\nlisten = \":8080\"\nlog = true\n[admin]\ntoken = \"CANARY\"\n");
    for command in ["check-config", "serve", "token --user acme:42"] {
        let output = run(&format!("{command} --config relay.toml"), &folder);
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{command}");
        assert!(said.starts_with("claimr-relay: 7 mistakes in the configuration\n"), "{said}");
        assert!(
            said.contains("  server.listen  (relay.toml:2)\n      \":8080\" has a port, but no address\n      -> write"),
            "{said}"
        );
        assert!(output.stdout.is_empty() && !said.contains("CANARY"));
    }
    let output = run("check-config --json --config relay.toml", &folder);
    let value: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((output.status.code(), &value["ok"]), (Some(2), &Value::Bool(false)));
    let listen = value["mistakes"].as_array().unwrap().iter().find(|m| m["key"] == "server.listen").unwrap();
    assert_eq!((&listen["origin"], listen["remedy"].is_string()), (&"relay.toml:2".into(), true));
    assert!(output.stderr.is_empty() && !text(&output.stdout).contains("CANARY"));
}

#[test]
fn a_token_is_printed_alone_or_as_json() {
    let folder = Folder::with(SAMPLE);
    let token = text(&run("token --config relay.toml --user 42", &folder).stdout);
    assert_eq!(token.trim_end().split('.').count(), 3, "{token}");
    let output = run("token --config relay.toml --user 42 --key web3:0xABC0 --ttl 1h --json", &folder);
    let value: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&value["user"], &value["keys"][0]), (&"acme:42".into(), &"web3:0xabc0".into()));
    let too_long = run("token --config relay.toml --user 42 --ttl 25h", &folder);
    assert_eq!(too_long.status.code(), Some(1));
    assert!(text(&too_long.stderr).contains("auth.token_life_max"), "{}", text(&too_long.stderr));
}

#[test]
fn a_signal_stops_the_server_with_0() {
    let folder = Folder::with(SAMPLE);
    for signal in ["-TERM", "-INT"] {
        let mut server = program("serve --config relay.toml", folder.0.path()).stderr(Stdio::piped()).spawn().unwrap();
        let mut log = BufReader::new(server.stderr.take().unwrap()).lines().map(Result::unwrap);
        assert!(log.any(|line| line.contains("\"message\":\"starting\"")), "it says that it starts");
        assert!(Command::new("kill").args([signal, &server.id().to_string()]).status().unwrap().success());
        let said: Vec<_> = log.collect();
        assert_eq!(server.wait().unwrap().code(), Some(0), "{said:?}");
        assert!(said.iter().any(|line| line.contains("stopping")) && !said.concat().contains("CANARY"), "{said:?}");
    }
}
