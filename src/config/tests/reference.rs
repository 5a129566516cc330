//! The reference of all settings is complete, true, and loads.

use super::*;

/// The reference with its examples in force: `# name = value` becomes `name = value`, also over several lines.
fn with_examples() -> String {
    let mut lines = Vec::new();
    let mut inside = false;
    for line in DEFAULTS.lines() {
        let bare = line.strip_prefix("# ").unwrap_or(line);
        let is_setting = bare.split_once(" = ").is_some_and(|(n, _)| n.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'));
        let starts = is_setting && !bare.starts_with(' ');
        lines.push(if starts || inside { bare } else { line });
        inside = (inside || (starts && bare.ends_with('['))) && bare != "]";
    }
    lines.join("\n")
}

#[test]
fn its_defaults_and_examples_load_and_its_mapping_is_the_presets() {
    let secrets = ["RELAY_TICKET_SECRET", "RELAY_JWT_SECRET", "RELAY_ADMIN_TOKEN", "CLAIMR_HOOK_SECRET", "OLD_SECRET"];
    let config = read("default.toml", &with_examples(), &environment(&secrets.map(|name| (name, TOKEN)))).0;
    let config = config.unwrap_or_else(|mistakes| panic!("{mistakes}"));
    assert_eq!(config.sources[0].mapping, Mapping::default());
    assert_eq!(config.sources[0].broadcast.len(), 1);
    assert_eq!(config.limits, Limits::default());
}

/// Reading says what it knows; each of it stands in the reference, in its section, under a comment.
#[test]
fn it_documents_every_setting() {
    let mut known = read("", &with_examples(), &environment(&[])).1;
    known.extend(read("", &with("sources.signature = { scheme = \"hmac\" }"), &environment(&[])).1);
    known.extend(read("", &with("store.nats = { url = \"nats://n\", tls = {} }"), &environment(&[])).1);
    known.extend(read("", &with("server.tls = {}"), &environment(&[])).1);
    known.extend(read("", &with("auth.keys.jwks = { url = \"https://a.example\" }"), &environment(&[])).1);
    assert!(known.len() > 90, "{known:?}");
    let mut documented = BTreeSet::new();
    let mut section = String::new();
    let mut commented = false;
    for line in DEFAULTS.lines() {
        let bare = line.trim_start_matches(['#', ' ']);
        if let Some(header) = line.strip_prefix('[') {
            assert!(commented || !header.starts_with('['), "{header} is not explained");
            let name = header.trim_matches(['[', ']']).replace("sources.", "sources[].");
            section = if header.starts_with('[') { format!("{name}[]") } else { name };
            documented.insert(section.trim_end_matches("[]").to_owned());
        } else if let Some((name, _)) = bare.split_once(" = ").filter(|(name, _)| !name.contains(' ')) {
            assert!(commented, "{section}.{name} is not explained");
            documented.insert(format!("{section}.{name}"));
        }
        commented = if line.is_empty() { false } else { commented || line.starts_with('#') };
    }
    let in_tables = [
        "env",
        "file",
        "value",
        "not_after",
        "scheme",
        "header",
        "algorithm",
        "encoding",
        "prefix",
        "url",
        "algs",
        "refresh",
        "stale_max",
        "stream",
        "replicas",
        "events_max",
        "cache_bytes_max",
        "credentials",
        "nkey",
        "token",
        "user",
        "password",
        "tls",
        "required",
        "ca",
        "cert",
        "key",
    ];
    for setting in known {
        let (parent, name) = setting.rsplit_once('.').unwrap_or(("", &setting));
        let of_nats = parent.starts_with("store.nats");
        let inline = in_tables.contains(&name) && (of_nats || documented.contains(parent.trim_end_matches("[]")));
        let shown = inline && DEFAULTS.contains(&format!("{name} = "));
        assert!(shown || documented.contains(&setting), "{setting} is not documented");
    }
}
