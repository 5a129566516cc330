//! Every mistake is found, all at once, and says what to write instead.

use super::*;

/// A setting as it is reported, a part of the problem, a part of the remedy.
const ONE_WRONG_SETTING: &[(&str, &str, &str)] = &[
    // The listeners.
    ("server.listen = \":8080\"", "has a port, but no address", "write \"127.0.0.1:8080\" for this machine only"),
    ("server.listen = 8080", "a port without an address", "write \"127.0.0.1:8080\""),
    ("server.listen = \"8080\"", "has a port, but no address", "\"0.0.0.0:8080\" for every interface"),
    ("server.listen = \"localhost:9000\"", "names a host", "\"127.0.0.1:9000\""),
    ("server.listen = \"127.0.0.1\"", "has no port", "\"127.0.0.1:8080\""),
    ("server.listen = \"::1:8080\"", "needs brackets", "\"[::1]:8080\""),
    ("server.listen = \"2001:db8::1\"", "has no port", "\"[2001:db8::1]:8080\""),
    ("server.listen = \"::1:80800\"", "is not an address with a port", "\"127.0.0.1:8080\""),
    ("server.listen = \"http://0.0.0.0:80/\"", "is a URL", "\"0.0.0.0:80\""),
    ("server.listen = true", "text belongs here, not true or false", "double quotes"),
    ("server.admin_listen = \"127.0.0.1:8080\"", "cannot be listened on beside server.listen", "another port"),
    ("server.admin_listen = \"0.0.0.0:8080\"", "cannot be listened on beside server.listen", "another port"),
    ("server.drain_window = 10", "a duration belongs here, not a number", "\"10s\""),
    ("server.drain_window = \"10\"", "is not a duration", "\"10s\""),
    ("server.tls = \"fullchain.pem\"", "a table belongs here, not text", "cert = \"fullchain.pem\", key = \"privkey.pem\""),
    // Networks and origins.
    ("server.trusted_proxies[0] = \"10.0.0.1/8\"", "is not a network", "\"10.0.0.0/8\""),
    ("server.trusted_proxies[0] = \"10.0.0.0/33\"", "is not a network", "at most /32"),
    ("server.trusted_proxies[0] = \"proxy\"", "is not a network", "\"10.0.0.0/8\""),
    ("server.allowed_origins[0] = \"https://a.example/\"", "goes on after the host", "\"https://a.example\""),
    ("server.allowed_origins[0] = \"https://a.example/app?x\"", "goes on after the host", "\"https://a.example\""),
    ("server.allowed_origins[0] = \"a.example\"", "has no scheme", "\"https://a.example\""),
    ("server.allowed_origins[0] = \"*\"", "has a wildcard", "https://app.example.com"),
    ("server.allowed_origins[0] = \"https://*.a.example\"", "has a wildcard", "https://app.example.com"),
    ("server.allowed_origins[0] = \"null\"", "every sandboxed page", "https://app.example.com"),
    ("server.allowed_origins[0] = \"https://A.example\"", "has capitals", "\"https://a.example\""),
    ("server.allowed_origins[0] = \"https://a.example:443\"", "default port", "\"https://a.example\""),
    ("server.allowed_origins[0] = \"https://u@a.example\"", "is not an Origin", "https://app.example.com"),
    ("server.allowed_origins[0] = \"https://a.example:x\"", "is not an Origin", "https://app.example.com"),
    // The log.
    ("store.engine = \"redis\"", "\"redis\" is not a choice", "\"disk\", \"memory\""),
    ("store.nats = \"nats://n\"", "a table belongs here, not text", "nats = { url ="),
    ("store.path = \"\"", "empty", "write a value"),
    ("store.max_age = \"0s\"", "too short", "at least"),
    ("store.max_age = \"soon\"", "is not a duration", "\"24h\""),
    ("store.max_events_per_user = 0", "0 is out of range", "at least 1"),
    // Tokens.
    ("auth.leeway = \"31s\"", "too long", "at most \"30s\""),
    ("auth.token_life_max = \"25h\"", "too long", "at most \"1day\""),
    ("auth.token_life_max = \"0s\"", "too short", "at least"),
    ("auth.default_platform = \"acme:\"", "has a colon", "\"acme\""),
    ("auth.ticket_secret = { value = \"short\" }", "only 5 bytes long; 32 are needed", "openssl rand"),
    ("auth.jwks = { url = \"https://a\" }", "unknown setting", "did you mean auth.keys[].jwks?"),
    ("auth.keys[0].alg = \"none\"", "is not an algorithm", "HS256"),
    ("auth.keys[0].alg = \"ES512\"", "is not an algorithm", "ES384, EdDSA"),
    ("auth.keys[0].jwks = \"https://a\"", "a table belongs here, not text", "jwks = { url ="),
    ("auth.keys[0].not_after = \"tomorrow\"", "is not a moment in UTC", "\"2026-12-31T00:00:00Z\""),
    ("auth.keys[0].not_after = 2026-12-31", "is not a moment in UTC", "\"2026-12-31T00:00:00Z\""),
    ("auth.keys[0].public_key = { value = \"k\" }", "an HS algorithm has no public key", "remove it"),
    // The admin listener.
    ("admin.token = { value = \"short\" }", "only 5 bytes long; 32 are needed", "openssl rand"),
    // Sources.
    ("sources[0].name = \"Claimr\"", "cannot stand in a URL's path", "lower-case"),
    ("sources[0].name = \"a/b\"", "cannot stand in a URL's path", "lower-case"),
    ("sources[0].preset = \"none\"", "\"none\" is not a choice", "\"claimr\""),
    ("sources[0].secrets = []", "required, but not set", "allow_unsigned = true"),
    ("sources[0].secrets = \"hook\"", "a list belongs here, not text", "[ ]"),
    ("sources[0].allow_unsigned = true", "would be taken all the same", "allow_unsigned = false"),
    ("sources[0].allow_unsigned = \"no\"", "true or false belongs here, not text", "without quotes"),
    ("sources[0].signature = \"hmac\"", "needs to know its header", "X-Signature"),
    ("sources[0].signature = \"guess\"", "\"guess\" is not a choice", "\"detect\""),
    ("sources[0].signature = 1", "a scheme belongs here", "\"detect\""),
    ("sources[0].redact[0] = \"user.email\"", "is not a JSON pointer", "\"/user/email\""),
    ("sources[0].redact[0] = \"\"", "the whole payload", "\"/user/email\""),
    ("sources[0].referrer_data[0] = \"/a~b\"", "stands for nothing", "~0"),
    ("sources[0].duplicate_window = -1", "a duration belongs here", "\"10s\""),
    // Limits and logging.
    ("limits.header_bytes_max = 0", "0 is out of range", "at least 1"),
    ("limits.header_bytes_max = -1", "-1 is out of range", "at least 1"),
    ("limits.client_frames_per_s_max = 4294967296", "out of range", "at least 1"),
    ("limits.header_bytes_max = \"16KiB\"", "a whole number belongs here, not text", "without quotes"),
    ("limits.header_bytes_max = 1.5", "a whole number belongs here, not a fraction", "whole number"),
    ("log.format = \"xml\"", "\"xml\" is not a choice", "\"json\", \"text\""),
    ("log.filter = \"a=b=c\"", "error parsing level", "\"info\""),
];

#[test]
fn every_mistake_names_its_key_its_problem_and_its_remedy() {
    for (setting, problem, remedy) in ONE_WRONG_SETTING {
        let (key, value) = setting.split_once(" = ").unwrap();
        // The key as it is reported has indexes; as it is written it has not.
        let written = match key.strip_suffix("[0]") {
            Some(list) => format!("{list} = [{value}]"),
            None => (*setting).to_owned(),
        };
        let found = mistakes(&with(&written.replacen("[0]", "", 1)));
        assert_eq!(found.len(), 1, "{setting}: {found:#?}");
        assert_eq!(found[0].key, key, "{setting}");
        assert!(found[0].problem.contains(problem), "{setting}: {}", found[0].problem);
        assert!(found[0].remedy.contains(remedy), "{setting}: {}", found[0].remedy);
        assert!(found[0].origin.starts_with("relay.toml:"), "{setting}: {}", found[0].origin);
    }
}

#[test]
fn a_key_set_is_an_entry_of_its_own_and_comes_over_tls() {
    let set = |jwks: &str| format!("{GOOD}[[auth.keys]]\n{jwks}\n");
    let url = "https://app.example.com/.well-known/jwks.json";
    for (jwks, key, problem, remedy) in [
        ("jwks = {}", "jwks.url", "required, but not set", "https://app.example.com"),
        ("jwks = { url = 1 }", "jwks.url", "text belongs here", "double quotes"),
        ("jwks = { url = \"app.example.com/jwks.json\" }", "jwks.url", "is not a URL", "https://app.example.com"),
        ("jwks = { url = \"/jwks.json\" }", "jwks.url", "is not a URL", "https://app.example.com"),
        ("jwks = { url = \"http://app.example.com/\" }", "jwks.url", "is not encrypted", "https://"),
        ("jwks = { url = \"http://127.0.0.1.evil.io/\" }", "jwks.url", "is not encrypted", "https://"),
        ("jwks = { url = \"http://10.0.0.1/\" }", "jwks.url", "is not encrypted", "https://"),
        ("jwks = { url = \"file:///etc/passwd\" }", "jwks.url", "is not a URL", "https://app.example.com"),
        ("jwks = { url = \"ftp://a.example/\" }", "jwks.url", "begins neither with", "https://app.example.com"),
        ("jwks = { url = \"https://user:geheim@a.example/\" }", "jwks.url", "a user name in it", "leave it out"),
        ("jwks = { url = \"https://a.example/#x\" }", "jwks.url", "has a fragment", "leave it out"),
        ("jwks = { url = \"URL\", algs = [] }", "jwks.algs", "no key could ever be used", "RS256"),
        ("jwks = { url = \"URL\", algs = [\"HS256\"] }", "jwks.algs[0]", "cannot be a shared secret", "RS, PS, ES or EdDSA"),
        ("jwks = { url = \"URL\", algs = [\"none\"] }", "jwks.algs[0]", "is not an algorithm", "RS256"),
        ("jwks = { url = \"URL\", refresh = \"29s\" }", "jwks.refresh", "too short", "\"30s\""),
        ("jwks = { url = \"URL\", refresh = \"25h\" }", "jwks.refresh", "too long", "\"1day\""),
        ("jwks = { url = \"URL\", stale_max = \"0s\" }", "jwks.stale_max", "too short", "\"30s\""),
        ("jwks = { url = \"URL\", ca = \"x\" }", "jwks.ca", "unknown setting", "known here"),
        ("alg = \"RS256\"\njwks = { url = \"URL\" }", "alg", "says this for itself", "jwks.algs"),
        ("kid = \"a\"\njwks = { url = \"URL\" }", "kid", "says this for itself", "remove it"),
        ("secret = { value = \"a\" }\njwks = { url = \"URL\" }", "secret", "says this for itself", "another [[auth.keys]]"),
    ] {
        let found = mistakes(&set(&jwks.replace("URL", url)));
        assert_eq!(found.len(), 1, "{jwks}: {found:#?}");
        assert_eq!(found[0].key, format!("auth.keys[1].{key}"), "{jwks}");
        assert!(found[0].problem.contains(problem) && found[0].remedy.contains(remedy), "{jwks}: {found:#?}");
        assert!(!found[0].to_string().contains("geheim"), "{found:#?}");
    }
    let entry = format!("[[auth.keys]]\njwks = {{ url = \"{url}\" }}\n");
    let nine = mistakes(&format!("{GOOD}{}", entry.repeat(9)));
    assert!(nine.len() == 1 && nine[0].problem.contains("9 of them are sets"), "{nine:#?}");
    for good in [url, "http://127.0.0.1:8099/jwks", "http://localhost/x", "http://[::1]:1/x"] {
        let text =
            GOOD.replace("alg = \"HS256\"", &format!("jwks = {{ url = \"{good}\", algs = [\"ES384\"], refresh = \"1m\" }}"));
        let text = text.replace("secret = { value = \"0123456789abcdef0123456789abcdef\" }", "");
        let auth = read("relay.toml", &text, &environment(&[])).0.unwrap().auth;
        let wanted = Jwks {
            url: good.to_owned(),
            algs: vec![jsonwebtoken::Algorithm::ES384],
            refresh: Duration::from_mins(1),
            stale_max: Duration::from_hours(24),
            setting: "auth.keys[0].jwks".to_owned(),
        };
        assert_eq!((auth.keys.len(), auth.jwks), (0, vec![wanted]));
    }
}

#[test]
fn a_log_in_nats_is_described_in_full_and_without_a_login_in_its_address() {
    let store = |rest: &str| format!("[store]\nengine = \"nats\"\n{rest}\n{GOOD}");
    for (rest, key, problem, remedy) in [
        ("", "store.nats", "required, but not set", "nats = { url ="),
        ("nats = {}", "store.nats.url", "required, but not set", "nats://"),
        ("nats = { url = [] }", "store.nats.url", "required, but not set", "nats://"),
        ("nats = { url = \"n:4222\" }", "store.nats.url", "not the address", "nats://host:4222"),
        ("nats = { url = [\"nats://a\", \"http://b\"] }", "store.nats.url[1]", "not the address", "tls://host:4222"),
        ("nats = { url = \"nats://u:geheim@n\" }", "store.nats.url", "has a login in it", "credentials"),
        ("nats = { url = \"nats://n\", stream = \"a.b\" }", "store.nats.stream", "not the name of a stream", "claimr-relay"),
        ("nats = { url = \"nats://n\", replicas = 2 }", "store.nats.replicas", "2 replicas", "write 1, or 3"),
        ("nats = { url = \"nats://n\", user = \"u\" }", "store.nats.password", "required, but not set", "NATS_PASSWORD"),
        ("nats = { url = \"nats://n\", password = { value = \"geheim\" } }", "store.nats.user", "required", "user ="),
        (
            "nats = { url = \"nats://n\", nkey = { value = \"geheim\" }, token = { value = \"x\" } }",
            "store.nats.token",
            "another way",
            "keep one",
        ),
        ("nats = { url = \"nats://n\", credentials = \"geheim\" }", "store.nats.credentials", "where it comes from", "{ file ="),
        ("nats = { url = \"nats://n\", tls = { cert = \"c\" } }", "store.nats.tls.key", "required, but not set", "key ="),
        ("nats = { url = \"nats://n\", cluster = 3 }", "store.nats.cluster", "unknown setting", ""),
        ("nats = { url = \"nats://n\" }\nmax_age = \"1h\"", "store.max_age", "sources[0].delivery_id_window", "at least"),
    ] {
        let found = mistakes(&store(rest));
        assert_eq!(found.len(), 1, "{rest}: {found:#?}");
        assert_eq!(found[0].key, key, "{rest}");
        assert!(found[0].problem.contains(problem) && found[0].remedy.contains(remedy), "{rest}: {found:#?}");
        assert!(!found[0].to_string().contains("geheim"), "{found:#?}");
    }
    let text = store(
        "nats = { url = [\"nats://a:1\", \"tls://b\"], nkey = { value = \"geheim\" }, replicas = 3, tls = { ca = \"ca.pem\" } }",
    );
    let config = read("relay.toml", &text, &environment(&[])).0.unwrap();
    let EngineKind::Nats { nats } = &config.store.engine else { panic!("{:?}", config.store) };
    assert_eq!((nats.servers.len(), nats.stream.as_str(), nats.replicas, nats.tls.required), (2, "claimr-relay", 3, true));
    let shown = config.to_toml_redacted();
    assert!(shown.contains("engine = \"nats\"") && shown.contains("nkey = \"***\"") && !shown.contains("geheim"), "{shown}");
    assert!(!format!("{config:?}").contains("geheim"));
}

#[test]
fn the_admin_listener_needs_a_token_where_others_can_reach_it() {
    let open = with("server.admin_listen = \"0.0.0.0:8081\"");
    let found = mistakes(&open);
    assert_eq!((found.len(), found[0].key.as_str()), (1, "admin.token"), "{found:#?}");
    assert!(found[0].problem.contains("is not loopback") && found[0].remedy.contains("RELAY_ADMIN_TOKEN"), "{found:#?}");
    for (bytes, mistaken) in [(31, 1), (32, 0)] {
        let text = format!("{open}\n[admin]\ntoken = {{ value = \"{}\" }}\n", "t".repeat(bytes));
        assert_eq!(mistakes(&text).len(), mistaken, "{bytes} bytes");
    }
    for loopback in ["127.0.0.1:8081", "127.8.8.8:1", "[::1]:8081"] {
        assert_eq!(mistakes(&with(&format!("server.admin_listen = \"{loopback}\""))), [], "{loopback}");
    }
}

#[test]
fn settings_that_are_strange_but_right_are_taken() {
    for setting in [
        "server.listen = \"[::1]:0\"",
        "server.admin_listen = \"127.0.0.2:8080\"",
        "server.allowed_origins = [\"http://localhost:5173\", \"https://[::1]:8443\", \"capacitor://localhost\"]",
        "server.trusted_proxies = [\"10.0.0.0/8\", \"::1\", \"2001:db8::/32\"]",
        "auth.keys.not_after = 2026-12-31T00:00:00Z",
        "sources.signature = { scheme = \"detect\" }",
        "sources.signature = \"standard-webhooks\"",
        "sources.redact = [\"/email\", \"/a~1b\"]",
        "sources.duplicate_window = \"0s\"",
        "limits.sessions_max = 0",
        "log.filter = \"info,claimr_relay::hub=debug\"",
    ] {
        assert_eq!(mistakes(&with(setting)), [], "{setting}");
    }
}

#[test]
fn what_must_be_written_is_named() {
    let keys: Vec<_> = mistakes("").into_iter().map(|m| (m.key, m.origin, m.problem)).collect();
    let missing = |key: &str| (key.to_owned(), "relay.toml".to_owned(), "required, but not set".to_owned());
    assert_eq!(keys, ["auth.issuer", "auth.audience", "auth.keys", "sources"].map(missing));
    let found = mistakes("[[auth.keys]]\n[[sources]]");
    let keys: Vec<_> = found.iter().map(|m| (m.key.as_str(), m.origin.as_str())).collect();
    let here =
        [("auth.keys[0].alg", "relay.toml:1"), ("sources[0].name", "relay.toml:2"), ("sources[0].secrets", "relay.toml:2")];
    assert_eq!(keys[2..], here);
    for (alg, key, wanted) in [("HS256", "auth.keys[0].secret", "{ env ="), ("ES256", "auth.keys[0].public_key", "PEM")] {
        let text = GOOD.replace("HS256", alg).replace("secret = { value = \"0123456789abcdef0123456789abcdef\" }", "");
        let found = mistakes(&text);
        assert_eq!((found.len(), found[0].key.as_str()), (1, key));
        assert!(found[0].remedy.contains(wanted), "{}", found[0].remedy);
    }
}

#[test]
fn all_mistakes_are_reported_at_once_in_the_order_of_the_file() {
    let text = r#"
[server]
lisen = "127.0.0.1:1"
admin_listen = "0.0.0.0:8081"
allowed_origins = ["https://a.example", "https://b.example/", "*"]
[store]
max_age = "never"
[auth]
issuer = 3
[[auth.keys]]
alg = "HS257"
[[sources]]
name = "claimr"
secrets = [{ env = "HOOK" }, { file = "/nonexistent/hook" }]
redact = ["email"]
[[sources]]
name = "claimr"
allow_unsigned = true
[limits]
ping_interval_s = 0
"#;
    let found: Vec<_> = mistakes(text).into_iter().map(|m| format!("{} {}", m.key, m.origin)).collect();
    let expected = [
        "server.lisen relay.toml:3",
        "server.allowed_origins[1] relay.toml:5",
        "server.allowed_origins[2] relay.toml:5",
        "store.max_age relay.toml:7",
        "auth.audience relay.toml:8",
        "auth.issuer relay.toml:9",
        "auth.keys[0].alg relay.toml:11",
        "sources[0].secrets[0].env relay.toml:14",
        "sources[0].secrets[1].file relay.toml:14",
        "sources[0].redact[0] relay.toml:15",
        "sources[1].name relay.toml:17",
        "limits.ping_interval_s relay.toml:20",
    ];
    assert_eq!(found, expected);
}

#[test]
fn an_unknown_setting_is_told_its_nearest_name_at_every_level() {
    for (setting, key, remedy) in [
        ("server.lisen = \"127.0.0.1:1\"", "server.lisen", "did you mean server.listen?"),
        ("sevrer.listen = \"127.0.0.1:1\"", "sevrer", "did you mean server?"),
        ("server.issuer = \"x\"", "server.issuer", "did you mean auth.issuer?"),
        ("auth.keys.algo = \"x\"", "auth.keys[0].algo", "did you mean auth.keys[0].alg?"),
        (
            "sources.secrets = [{ value = \"x\", not_afer = \"\" }]",
            "sources[0].secrets[0].not_afer",
            "sources[0].secrets[0].not_after?",
        ),
        ("sources.signature = { scheme = \"stripe\", headre = \"X\", header = \"X\" }", "sources[0].signature.headre", "header?"),
        (
            "sources.mapping = { campain_id = [] }",
            "sources[0].mapping.campain_id",
            "did you mean sources[0].mapping.campaign_id?",
        ),
        ("limits.sessions_per_user = 1", "limits.sessions_per_user", "did you mean limits.sessions_per_user_max?"),
        ("log.colour = true", "log.colour", "remove it; known here: filter, format"),
        ("store.x = 1", "store.x", "known here: engine, max_age, max_events_per_user, nats, path"),
    ] {
        let found = mistakes(&with(setting));
        assert_eq!(found.len(), 1, "{setting}: {found:?}");
        assert_eq!((found[0].key.as_str(), found[0].problem.as_str()), (key, "unknown setting"));
        assert!(found[0].remedy.contains(remedy), "{}", found[0].remedy);
    }
    let found = mistakes_with(GOOD, &[("CLAIMR_RELAY__SERVER__LISTN", "x"), ("CLAIMR_RELAY__SERVERLISTEN", "x")]);
    assert_eq!(found[0].origin, "environment variable CLAIMR_RELAY__SERVERLISTEN");
    assert_eq!(found[1].remedy, "did you mean CLAIMR_RELAY__SERVER__LISTEN?");
}

#[test]
fn the_admin_token_may_be_left_out_on_loopback_only() {
    for (listen, token, right) in [
        ("127.0.1.1:8081", "", true),
        ("[::1]:8081", "", true),
        ("0.0.0.0:8081", "", false),
        ("10.0.0.1:8081", "", false),
        ("10.0.0.1:8081", TOKEN, true),
    ] {
        let mut text = with(&format!("server.admin_listen = {listen:?}"));
        if !token.is_empty() {
            text = format!("{text}\n[admin]\ntoken = {{ value = {token:?} }}");
        }
        let found = mistakes(&text);
        assert_eq!(found.is_empty(), right, "{listen}: {found:?}");
        assert!(right || (found[0].key == "admin.token" && found[0].problem.contains("not loopback")), "{found:?}");
    }
}

#[test]
fn keys_with_one_kid_are_told_apart() {
    let key = "[[auth.keys]]\nalg = \"HS256\"\nkid = \"a\"\nsecret = { value = \"0123456789abcdef0123456789abcdef\" }\n";
    let found = mistakes(&format!("{GOOD}\n{key}{key}"));
    assert_eq!((found.len(), found[0].key.as_str()), (1, "auth.keys[2].kid"));
    assert_eq!(found[0].problem, "the same kid as auth.keys[1]");
}

#[test]
fn a_mapping_replaces_the_preset_field_by_field_and_every_wrong_field_is_named() {
    let text = with("sources.mapping = { campaign_id = [\"c.id\"], claimr_id = [] }");
    let config = read("", &text, &environment(&[])).0.unwrap();
    let mapping = &config.sources[0].mapping;
    assert!(mapping.claimr_id.is_empty() && mapping.campaign_id.len() == 1);
    assert_eq!(mapping.accounts, Mapping::default().accounts);
    let found = mistakes(&with("sources.mapping = { campaign_id = 3, claimr_id = [\"\"], accounts = [{ list = \"x\" }] }"));
    let keys: BTreeSet<_> = found.iter().map(|m| m.key.as_str()).collect();
    assert!(keys.contains("sources[0].mapping.campaign_id") && keys.contains("sources[0].mapping.accounts"), "{found:?}");
}

#[test]
fn broken_syntax_is_shown_by_its_place_and_never_by_its_text() {
    let found = mistakes("[auth]\nissuer = \"x\"\nsecret = { value = \"CANARY }\n[admin]\ntoken = CANARY\n[admin]\n");
    assert!(found.len() >= 2, "{found:?}");
    assert!(found[0].origin.starts_with("relay.toml:3") && found[0].problem.starts_with("not TOML"), "{found:?}");
    assert!(!format!("{found:?}").contains("CANARY"), "{found:?}");
    let missing = load(Some(Path::new("/nonexistent/relay.toml")), []).unwrap_err();
    assert!(missing.to_string().contains("/nonexistent/relay.toml"), "{missing}");
}

#[test]
fn an_unknown_key_is_spelled_so_that_it_is_seen() {
    for (written, key) in [
        ("strange = 1", "strange"),
        ("\"\" = 1", "\"\""),
        ("\"a b\" = 1", "\"a b\""),
        ("\"a\\n\\u001bb\" = 1", "\"a\\n\\u{1b}b\""),
        ("[server]\n\"\" = 1", "server.\"\""),
    ] {
        let found = mistakes(&format!("{written}\n{GOOD}"));
        assert_eq!(found.iter().map(|mistake| &*mistake.key).collect::<Vec<_>>(), [key], "{written}");
    }
    let found = mistakes_with(GOOD, &[("CLAIMR_RELAY__", "x")]);
    assert_eq!((found.len(), &*found[0].key, &*found[0].origin), (1, "\"\"", "environment variable CLAIMR_RELAY__"));
}
