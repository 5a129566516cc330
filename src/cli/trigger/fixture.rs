//! The deliveries that `trigger` can send without being given one. They have the shapes that the public evidence about claimr allows; none is
//! a recorded claimr delivery.

use anyhow::Context as _;
use serde::Deserialize;
use serde_json::Value;

use crate::cli::{Failure, scope};

const FILES: [(&str, &str); 4] = [
    ("user_activity", include_str!("user_activity.json")),
    ("user_reward", include_str!("user_reward.json")),
    ("referral", include_str!("referral.json")),
    ("user_login", include_str!("user_login.json")),
];

/// All variants of one scope.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Fixtures {
    /// Where the shapes come from.
    pub(super) provenance: String,
    /// The first is the one that is sent unless another is named.
    pub(super) variants: Vec<Variant>,
}

/// One shape.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Variant {
    pub(super) name: String,
    /// What is special about it.
    pub(super) about: String,
    pub(super) body: Value,
}

/// The variants of every scope.
pub(super) fn all() -> Result<Vec<(&'static str, Fixtures)>, Failure> {
    let read = |(scope, text): (&'static str, &str)| Ok((scope, serde_json::from_str(text).context("an embedded fixture")?));
    FILES.into_iter().map(read).collect()
}

/// One variant of a scope; the first if none is named.
pub(super) fn find(scope: &str, variant: Option<&str>) -> Result<Variant, Failure> {
    let name = scope::known(scope).map_err(|problem| {
        Failure::Usage(format!("{scope:?}: {problem}\n      -> for another scope, give the body with --file"))
    })?;
    let (_, fixtures) = all()?.into_iter().find(|(scope, _)| *scope == name).context("every scope has fixtures")?;
    let names: Vec<_> = fixtures.variants.iter().map(|variant| variant.name.clone()).collect();
    let found = fixtures.variants.into_iter().find(|v| variant.is_none_or(|name| v.name == name));
    let unknown = || format!("{scope} has no variant {:?}\n      -> one of {}", variant.unwrap_or(""), names.join(", "));
    found.ok_or_else(|| Failure::Usage(unknown()))
}
