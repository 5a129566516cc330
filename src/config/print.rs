//! The effective configuration as an operator may see it: complete, with every secret as `***`.

use std::time::{Duration, SystemTime};

use serde::Serializer;

use super::Config;
use crate::event::Timestamp;

/// What stands in place of every secret.
const REDACTED: &str = "***";

impl Config {
    /// The effective configuration as TOML, secrets as `***`. It shows what is in force; it is not made to be loaded again.
    pub fn to_toml_redacted(&self) -> String {
        toml::to_string_pretty(self).unwrap_or_else(|e| format!("# cannot be shown: {e}\n"))
    }
}

/// Of whatever holds a secret.
pub(super) fn secret<T, S: Serializer>(_: &T, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(REDACTED)
}

pub(super) fn duration<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&humantime::format_duration(*duration))
}

#[expect(clippy::ref_option, reason = "the signature that serde calls")]
pub(super) fn moment_if_any<S: Serializer>(moment: &Option<Timestamp>, serializer: S) -> Result<S::Ok, S::Error> {
    let since = Duration::from_millis(moment.unwrap_or_default().0);
    match SystemTime::UNIX_EPOCH.checked_add(since) {
        Some(time) => serializer.collect_str(&humantime::format_rfc3339_millis(time)),
        None => serializer.serialize_str("the end of time"),
    }
}
