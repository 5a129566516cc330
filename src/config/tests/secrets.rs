//! Secrets get in from everywhere they may stand, and never out.

use super::*;

#[test]
fn secrets_come_from_variables_files_and_values() {
    use secrecy::ExposeSecret as _;
    let folder = tempfile::tempdir().unwrap();
    for (content, secret) in
        [("hook", "hook"), ("hook\n", "hook"), ("hook\r\n", "hook"), ("hook\n\n", "hook\n"), (" hook ", " hook ")]
    {
        let path = folder.path().join("hook");
        std::fs::write(&path, content).unwrap();
        let config = read("", &with(&format!("sources.secrets = [{{ file = {path:?} }}]")), &environment(&[])).0.unwrap();
        assert_eq!(config.sources[0].secrets[0].secret.expose_secret(), secret, "{content:?}");
    }
    let text = with("sources.secrets = [{ env = \"HOOK\", not_after = \"2026-12-31T00:00:00Z\" }]");
    let config = read("", &text, &environment(&[("HOOK", "hook\n")])).0.unwrap();
    assert_eq!(config.sources[0].secrets[0].secret.expose_secret(), "hook\n");
    assert_eq!(config.sources[0].secrets[0].not_after, Some(Timestamp(1_798_675_200_000)));
    std::fs::write(folder.path().join("empty"), "\n").unwrap();
    std::fs::write(folder.path().join("huge"), "x".repeat(70_000)).unwrap();
    for (form, key, problem, remedy) in [
        ("{ env = \"HOOK\" }".to_owned(), ".env", "the environment variable HOOK is not set", "set HOOK"),
        ("{ env = \"not a name\" }".to_owned(), ".env", "not the name of an environment variable", "variable's name"),
        (
            "{ file = \"/nonexistent/hook\" }".to_owned(),
            ".file",
            "the file \"/nonexistent/hook\" cannot be opened",
            "put the secret",
        ),
        (format!("{{ file = {:?} }}", folder.path().join("empty")), ".file", "the secret is empty", "put the secret there"),
        (format!("{{ file = {:?} }}", folder.path().join("huge")), ".file", "is longer than 65536 bytes", "put the secret"),
        ("{ value = \"\" }".to_owned(), ".value", "the secret is empty", "put the secret there"),
        ("{ value = 1234567890 }".to_owned(), ".value", "text belongs here, not a number", "double quotes"),
        ("{ value = \"a\", env = \"HOME\" }".to_owned(), "", "more than one place", "exactly one of"),
        ("{ not_after = \"2026-12-31T00:00:00Z\" }".to_owned(), "", "says nowhere", "exactly one of"),
        ("\"hook\"".to_owned(), "", "a secret says where it comes from, and is not text", "{ value = \"…\" }"),
    ] {
        let found = mistakes(&with(&format!("sources.secrets = [{form}]")));
        assert_eq!(found.len(), 1, "{form}: {found:?}");
        assert_eq!(found[0].key, format!("sources[0].secrets[0]{key}"), "{form}");
        assert!(found[0].problem.contains(problem), "{form}: {}", found[0].problem);
        assert!(found[0].remedy.contains(remedy), "{form}: {}", found[0].remedy);
    }
}

#[test]
fn public_keys_go_with_asymmetric_algorithms_only() {
    let pem = "-----BEGIN PUBLIC KEY-----\\nMCowBQ==\\n-----END PUBLIC KEY-----\\n";
    let text = |pem: &str| {
        let key = format!("public_key = {{ value = \"{pem}\" }}");
        GOOD.replace("HS256", "EdDSA").replace("secret = { value = \"0123456789abcdef0123456789abcdef\" }", &key)
    };
    let config = read("", &text(pem), &environment(&[])).0.unwrap();
    assert!(matches!(&config.auth.keys[0].material, KeyMaterial::PublicPem(text) if text.starts_with("-----BEGIN PUBLIC")));
    for (pem, problem) in [(pem.replace("PUBLIC", "PRIVATE").as_str(), "a private key"), ("MCowBQ==", "not in PEM form")] {
        let found = mistakes(&text(pem));
        assert_eq!((found.len(), found[0].key.as_str()), (1, "auth.keys[0].public_key"));
        assert!(found[0].problem.contains(problem) && !format!("{found:?}").contains("MCow"), "{found:?}");
    }
    let found = mistakes(&GOOD.replace("HS256", "ES256"));
    assert_eq!(found[0].key, "auth.keys[0].public_key");
}

/// A canary in every position of a secret, right and wrong ones, and in every way to show a configuration.
#[test]
fn no_secret_is_ever_shown() {
    const CANARY: &str = "CANARY-CANARY-CANARY-CANARY-CANARY-CANARY";
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("secret");
    std::fs::write(&file, CANARY).unwrap();
    let forms = [
        format!("{{ value = \"{CANARY}\" }}"),
        "{ env = \"THE_SECRET\" }".to_owned(),
        format!("{{ file = {file:?} }}"),
        format!("\"{CANARY}\""),
        format!("[\"{CANARY}\"]"),
        format!("{{ env = \"{CANARY}\" }}"),
        format!("{{ vlaue = \"{CANARY}\" }}"),
        format!("{{ value = [\"{CANARY}\"] }}"),
        format!("{{ value = \"{CANARY}\", env = \"THE_SECRET\" }}"),
        format!("{{ value = \"{CANARY}\", not_after = \"never\" }}"),
        format!("{{ value = \"{CANARY} }}"),
    ];
    let mut taken = 0;
    for form in forms {
        let settings = [
            format!("auth.keys.secret = {form}"),
            format!("auth.ticket_secret = {form}"),
            format!("auth.keys.public_key = {form}"),
            format!("admin.token = {form}"),
            format!("sources.secrets = [{form}]"),
            format!("sources.secrets = {form}"),
        ];
        for setting in settings {
            let (result, _) = read("relay.toml", &with(&setting), &environment(&[("THE_SECRET", CANARY)]));
            let shown = match result {
                Ok(config) => {
                    taken += 1;
                    format!("{config:?} {} {}", config.to_toml_redacted(), serde_json::to_string(&config).unwrap())
                }
                Err(mistakes) => format!("{mistakes} {mistakes:?} {}", serde_json::to_string(&mistakes).unwrap()),
            };
            assert!(!shown.contains("CANARY"), "{setting}: {shown}");
        }
    }
    assert_eq!(taken, 12, "four positions in three right forms");
}

#[test]
fn the_effective_configuration_shows_everything_but_secrets() {
    let key = "[[auth.keys]]\nalg = \"EdDSA\"\nkid = \"k\"\nnot_after = \"2026-12-31T00:00:00Z\"\n\
               public_key = { value = \"-----BEGIN PUBLIC KEY-----\" }\n";
    let text = format!("{}\n{key}[admin]\ntoken = {{ value = \"{TOKEN}\" }}", with("server.trusted_proxies = [\"10.0.0.0/8\"]"));
    let shown = read("", &text, &environment(&[])).0.unwrap().to_toml_redacted();
    let table: toml::Table = shown.parse().unwrap();
    for (path, value) in [
        ("server.listen", "\"127.0.0.1:8080\""),
        ("server.trusted_proxies.0", "\"10.0.0.0/8\""),
        ("store.engine", "\"disk\""),
        ("store.path", "\"data\""),
        ("store.max_age", "\"1day\""),
        ("auth.keys.0.secret", "\"***\""),
        ("auth.keys.1.public_key", "\"-----BEGIN PUBLIC KEY-----\""),
        ("auth.keys.1.not_after", "\"2026-12-31T00:00:00.000Z\""),
        ("admin.token", "\"***\""),
        ("sources.0.secrets.0.value", "\"***\""),
        ("sources.0.signature.scheme", "\"detect\""),
        ("limits.mailbox_bytes_max", "65536"),
        ("log.format", "\"json\""),
    ] {
        let mut found = &toml::Value::Table(table.clone());
        for step in path.split('.') {
            found = step.parse::<usize>().map_or_else(|_| &found[step], |i| &found[i]);
        }
        assert_eq!(found.to_string(), value, "{path} in\n{shown}");
    }
    let absent = table["auth"].get("ticket_secret");
    assert!(absent.is_none(), "what is not set is not shown as set");
}
