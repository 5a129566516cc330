//! The edge of the program, where the wall clock is read; everywhere else `now` is a parameter.

use std::time::{SystemTime, UNIX_EPOCH};

use crate::event::Timestamp;

/// What time it is. A clock before 1970 counts as 1970.
#[expect(clippy::disallowed_methods, reason = "this is the one place that reads the wall clock")]
pub fn now() -> Timestamp {
    Timestamp::default().plus(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default())
}
