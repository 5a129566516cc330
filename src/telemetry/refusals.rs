//! Lines of the log that strangers can cause: so many a second of each kind, and one line that counts the rest.
//!
//! Without it, whoever posts unsigned webhooks fills the operator's disk, and hides everything else that is logged. A kind is what is said
//! and under which code, and of which source where there is one: words of ours and of the configuration. So there are few kinds, and a
//! flood of one hides none of the others. Nothing is done for what is not refused.

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

/// Those of this process, because a process has one log.
pub static REFUSALS: Refusals = Refusals::new(10);

/// Decides which refusals are logged.
pub struct Refusals {
    per_s_max: AtomicU32,
    /// Only kinds that came within the last second, or whose rest has not been told yet.
    kinds: Mutex<Vec<Kind>>,
}

struct Kind {
    what: &'static str,
    code: &'static str,
    source: String,
    began: Instant,
    logged: u32,
    left_out: u64,
}

/// What was not logged of a kind.
#[derive(Debug, PartialEq, Eq)]
struct LeftOut {
    what: &'static str,
    code: &'static str,
    source: String,
    lines: u64,
}

const SECOND: Duration = Duration::from_secs(1);

impl Refusals {
    const fn new(per_s_max: u32) -> Self {
        Self { per_s_max: AtomicU32::new(per_s_max), kinds: Mutex::new(Vec::new()) }
    }

    /// Lines a second of each kind from now on.
    pub fn set_limit(&self, per_s_max: u32) {
        self.per_s_max.store(per_s_max, Ordering::Relaxed);
    }

    /// Whether the refusal `what` with `code`, of `source` (or ""), is to be logged at `now`. If not, it is counted.
    pub fn admit(&self, what: &'static str, source: &str, code: &'static str, now: Instant) -> bool {
        let (admitted, left_out) = self.count(what, source, code, now);
        tell(left_out);
        admitted
    }

    /// Tells what was left out of the seconds that are over. To be asked for every second, so that the end of a flood is told too.
    pub fn sum_up(&self, now: Instant) {
        let mut told = Vec::new();
        self.kinds.lock().unwrap_or_else(PoisonError::into_inner).retain_mut(|kind| {
            let over = kind.is_over(now);
            if over {
                told.extend(kind.begin(now));
            }
            !over
        });
        tell(told);
    }

    fn count(&self, what: &'static str, source: &str, code: &'static str, now: Instant) -> (bool, Option<LeftOut>) {
        let per_s_max = self.per_s_max.load(Ordering::Relaxed);
        let mut kinds = self.kinds.lock().unwrap_or_else(PoisonError::into_inner);
        let known = kinds.iter().position(|kind| (kind.what, kind.code) == (what, code) && kind.source == source);
        let at = known.unwrap_or_else(|| {
            kinds.push(Kind { what, code, source: source.to_owned(), began: now, logged: 0, left_out: 0 });
            kinds.len() - 1
        });
        let kind = &mut kinds[at];
        let left_out = if kind.is_over(now) { kind.begin(now) } else { None };
        let admitted = kind.logged < per_s_max;
        if admitted {
            kind.logged += 1;
        } else {
            kind.left_out += 1;
        }
        (admitted, left_out)
    }
}

impl Kind {
    fn is_over(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.began) >= SECOND
    }

    /// Begins another second, and gives what was left out of the one before.
    fn begin(&mut self, now: Instant) -> Option<LeftOut> {
        (self.began, self.logged) = (now, 0);
        let lines = std::mem::take(&mut self.left_out);
        (lines > 0).then(|| LeftOut { what: self.what, code: self.code, source: self.source.clone(), lines })
    }
}

/// Said after the lock was let go, because whoever reads the log may be slow.
fn tell(left_out: impl IntoIterator<Item = LeftOut>) {
    for LeftOut { what, code, source, lines } in left_out {
        tracing::warn!(what, code, source, left_out = lines, "so many more of these were not logged one by one");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{config::LogFormat, telemetry::tests::log_of};

    #[test]
    fn a_flood_is_a_few_lines_and_their_count_and_hides_no_other_kind() {
        let (refusals, start) = (Refusals::new(3), Instant::now());
        let at = |ms| start + Duration::from_millis(ms);
        let webhook = |source, code, ms| refusals.admit("webhook refused", source, code, at(ms));
        let log = log_of(LogFormat::Json, || {
            let admitted = (0..10_000).filter(|n| webhook("claimr", "signature_invalid", n / 11)).count();
            assert_eq!(admitted, 3);
            assert!(webhook("claimr", "signature_missing", 500), "another code");
            assert!(webhook("other", "signature_invalid", 500), "another source");
            assert!(refusals.admit("credentials refused", "claimr", "signature_invalid", at(500)), "another thing");
            refusals.sum_up(at(999));
        });
        assert_eq!(log, "", "the second is not over");

        let log = log_of(LogFormat::Json, || {
            assert!(webhook("claimr", "signature_invalid", 1_000));
            refusals.sum_up(at(1_000));
        });
        let line: serde_json::Value = serde_json::from_str(&log).unwrap();
        assert_eq!((&line["what"], &line["code"]), (&"webhook refused".into(), &"signature_invalid".into()));
        assert_eq!((&line["source"], &line["left_out"]), (&"claimr".into(), &9_997.into()));

        refusals.sum_up(at(2_000));
        assert!(refusals.kinds.lock().unwrap().is_empty(), "nothing is remembered of who has gone quiet");
    }

    #[test]
    fn the_rest_of_a_flood_is_told_when_it_is_over() {
        let (refusals, start) = (Refusals::new(1), Instant::now());
        let log = log_of(LogFormat::Json, || {
            for _ in 0..5 {
                refusals.admit("credentials refused", "", "token_expired", start);
            }
            refusals.sum_up(start + SECOND);
            refusals.sum_up(start + 2 * SECOND);
        });
        assert_eq!(log.lines().count(), 1, "{log}");
        assert!(log.contains("\"left_out\":4"), "{log}");
    }
}
