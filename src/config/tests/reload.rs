//! What a running gateway can take up.

use super::*;

#[test]
fn what_needs_a_restart_is_named_and_nothing_else() {
    let loads = |text: &str| read("relay.toml", text, &environment(&[])).0.unwrap_or_else(|mistakes| panic!("{mistakes}"));
    let old = loads(GOOD);
    assert_eq!(old.restart_needed(&loads(GOOD)), [""; 0]);
    for (setting, wanted) in [
        ("server.listen = \"127.0.0.1:9000\"", "server.listen"),
        ("server.admin_listen = \"127.0.0.1:9001\"", "server.admin_listen"),
        ("server.drain_window = \"1s\"", "server.drain_window"),
        ("server.allowed_origins = [\"https://a.example\"]", ""),
        ("server.trusted_proxies = [\"10.0.0.0/8\"]", ""),
        ("store.engine = \"memory\"", "store.engine store.path"),
        ("store.path = \"elsewhere\"", "store.path"),
        ("store.max_age = \"1h\"", "store.max_age"),
        ("auth.issuer = \"https://other.example\"", ""),
        ("auth.default_platform = \"acme\"", ""),
        ("auth.keys.alg = \"HS384\"", ""),
        ("sources.name = \"other\"", ""),
        ("sources.redact = [\"/email\"]", ""),
        ("sources.broadcast = [{ types = [\"user_activity\"] }]", ""),
        ("admin.token = { value = \"0123456789abcdef0123456789abcdef\" }", ""),
        ("limits.sessions_per_user_max = 3", ""),
        ("limits.publish_queue_max = 3", "limits.publish_queue_max"),
        ("log.filter = \"debug\"", "log.filter"),
    ] {
        assert_eq!(old.restart_needed(&loads(&with(setting))).join(" "), wanted, "{setting}");
    }
}
