//! Which settings a running gateway can take up, and which it needs a restart for.
//!
//! What is not named here needs a restart: a new setting is on the safe side until somebody has thought about it.

use serde_json::Value;

use super::Config;

/// Settings, or whole sections, that a reload puts in force.
const RELOADABLE: &[&str] = &[
    "auth",
    "admin",
    "sources",
    "server.allowed_origins",
    "server.trusted_proxies",
    // Another pair; but whether there is TLS at all is decided at the start, so that no slip puts tokens on the wire in the clear.
    "server.tls.cert",
    "server.tls.key",
    "limits.webhook_body_bytes_max",
    "limits.token_bytes_max",
    "limits.client_message_bytes_max",
    "limits.client_frames_per_s_max",
    "limits.client_frames_burst_max",
    "limits.auth_timeout_s",
    "limits.sessions_per_user_max",
    "limits.sessions_per_address_max",
    "limits.new_sessions_per_address_per_s_max",
    "limits.sessions_max",
    "limits.ping_interval_s",
    "limits.pong_timeout_s",
    "limits.mailbox_events_max",
    "limits.mailbox_bytes_max",
];

impl Config {
    /// The settings in which `new` differs and which only a restart can change.
    pub fn restart_needed(&self, new: &Self) -> Vec<String> {
        let mut found = Vec::new();
        // What cannot be shown compares as equal; nothing of a configuration is like that.
        let (old, new) = (serde_json::to_value(self).unwrap_or_default(), serde_json::to_value(new).unwrap_or_default());
        compare(String::new(), &old, &new, &mut found);
        found
    }
}

fn compare(path: String, old: &Value, new: &Value, found: &mut Vec<String>) {
    if old == new || RELOADABLE.contains(&path.as_str()) {
        return;
    }
    let (Value::Object(old), Value::Object(new)) = (old, new) else { return found.push(path) };
    let mut keys: Vec<&String> = old.keys().chain(new.keys().filter(|key| !old.contains_key(*key))).collect();
    keys.sort_unstable();
    for key in keys {
        let below = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
        compare(below, old.get(key).unwrap_or(&Value::Null), new.get(key).unwrap_or(&Value::Null), found);
    }
}
