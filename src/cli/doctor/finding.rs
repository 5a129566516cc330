//! What a check found, and how it is told: a line each, with the remedy under those that are bad.

use serde_json::{Value, json};

/// What one check found.
#[derive(Debug)]
pub(super) struct Finding {
    /// The check, in a word or two.
    check: &'static str,
    verdict: Verdict,
}

#[derive(Debug)]
enum Verdict {
    Good(String),
    Bad { problem: String, remedy: String },
    Skipped(String),
}

impl Finding {
    /// As it should be.
    pub(super) fn good(check: &'static str, detail: impl Into<String>) -> Self {
        Self { check, verdict: Verdict::Good(detail.into()) }
    }

    /// Not as it should be, and what to do.
    pub(super) fn bad(check: &'static str, problem: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { check, verdict: Verdict::Bad { problem: problem.into(), remedy: remedy.into() } }
    }

    /// Not looked at, and why.
    pub(super) fn skipped(check: &'static str, why: impl Into<String>) -> Self {
        Self { check, verdict: Verdict::Skipped(why.into()) }
    }

    pub(super) fn is_bad(&self) -> bool {
        matches!(self.verdict, Verdict::Bad { .. })
    }

    pub(super) fn to_text(&self) -> String {
        let check = self.check;
        match &self.verdict {
            Verdict::Good(detail) => format!("\u{2713} {check:<14} {detail}"),
            Verdict::Bad { problem, remedy } => format!("\u{2717} {check:<14} {problem}\n      -> {remedy}"),
            Verdict::Skipped(why) => format!("- {check:<14} not checked: {why}"),
        }
    }

    pub(super) fn to_json(&self) -> Value {
        match &self.verdict {
            Verdict::Good(detail) => json!({ "check": self.check, "ok": true, "detail": detail }),
            Verdict::Bad { problem, remedy } => {
                json!({ "check": self.check, "ok": false, "detail": problem, "remedy": remedy })
            }
            Verdict::Skipped(why) => json!({ "check": self.check, "ok": null, "detail": why }),
        }
    }
}
