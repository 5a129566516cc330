//! claimr's scopes: what a webhook is registered for, and the last segment of its URL.

/// Every scope that claimr documents, and what fires it.
pub(super) const SCOPES: [(&str, &str); 4] = [
    ("user_activity", "a user completed a task or a quest"),
    ("user_reward", "a user received a reward"),
    ("referral", "a new user came through a referral link, or a referred user acted"),
    ("user_login", "a user signed in"),
];

/// `text`, if it is a scope; else what to write instead.
pub(super) fn known(text: &str) -> Result<String, String> {
    if SCOPES.iter().any(|(scope, _)| *scope == text) {
        return Ok(text.to_owned());
    }
    let names = SCOPES.map(|(scope, _)| scope);
    let nearest = names.into_iter().max_by(|a, b| strsim::jaro_winkler(a, text).total_cmp(&strsim::jaro_winkler(b, text)));
    let meant = nearest.filter(|scope| strsim::jaro_winkler(scope, text) > 0.8).map(|scope| format!("; did you mean {scope}?"));
    Err(format!("claimr has no such scope{}\n      -> one of {}", meant.unwrap_or_default(), names.join(", ")))
}
