//! Where in a source's payload each field stands.
//!
//! What claimr sends is known in parts only, so every field is a list of candidate paths, best first; [`Mapping::default`] is the
//! preset `claimr`. `[sources.mapping]` replaces the candidates field by field: a field that it does not name keeps the preset's.
//!
//! ```toml
//! [sources.mapping]
//! campaign_id = ["campaign.id", "pid"]
//! claimr_id = []                                    # nobody is addressed by claimr's own id
//! accounts = [
//!   { account = "account", platform = "platform" },
//!   { account = "wallet", default_platform = "web3" },
//!   { list = "user.logins", account = "account", platform = "platform" },
//! ]
//! ```

mod path;

use serde::{Deserialize, Serialize};

pub use path::{AccountPaths, Path};

use crate::event::EventType;

macro_rules! mapping {
    ($($(#[doc = $doc:literal])+ $name:ident: $type:ty = [$($default:expr),* $(,)?];)*) => {
        /// The candidates of every field. Whatever a candidate finds counts only if it has the form that the field needs: an empty
        /// string, a `null` or an object where text is wanted is passed over for the next candidate.
        #[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
        #[serde(deny_unknown_fields, default)]
        pub struct Mapping { $($(#[doc = $doc])+ pub $name: Vec<$type>,)* }

        impl Mapping {
            /// Every field's name and what it is, in the order of the documentation.
            pub const FIELDS: &'static [(&'static str, &'static str)] =
                &[$((stringify!($name), concat!($($doc),+).trim_ascii())),*];

            /// What is wrong with the mapping, as (field, problem); empty if nothing is.
            pub fn problems(&self) -> Vec<(String, String)> {
                let mut problems = Vec::new();
                $(check(stringify!($name), &self.$name, &mut problems);)*
                problems
            }
        }

        impl Default for Mapping {
            fn default() -> Self { Self { $($name: vec![$($default.into()),*],)* } }
        }
    };
}

mapping! {
    /// Objects or lists that the payload may be wrapped in; looked into only if nobody is named outside of them.
    envelopes: Path = ["data", "payload", "event", "body"];
    /// The event's type, unless the webhook's URL names it.
    scope: Path = ["scope"];
    /// Types of events that concern two people: the user, and the referrer who brought them.
    referral_scopes: String = ["referral"];
    /// The sender's id of the delivery or event; a repeated one is stored once. An empty list if no field is unique.
    delivery_id: Path = ["delivery_id", "event_id", "id"];
    /// When it happened, by the sender's clock.
    time: Path = ["timestamp", "created_at", "date"];
    /// The campaign's id.
    campaign_id: Path = ["campaign_id", "pid", "campaign.id"];
    /// The campaign's name.
    campaign_name: Path = ["campaign_name", "campaign.name"];
    /// The quest's id (claimr: contest).
    quest_id: Path = ["contest_id", "cid", "contest.id", "quest_id", "quest.id"];
    /// The quest's name.
    quest_name: Path = ["contest_name", "contest.name", "quest_name", "quest.name"];
    /// The task's id (claimr: action).
    task_id: Path = ["action_id", "aid", "action.id", "task_id", "task.id"];
    /// The task's name.
    task_name: Path = ["action_name", "task_name", "action.name", "task.name"];
    /// What happened.
    name: Path = ["event_type", "event.type", "type", "kind"];
    /// The points of what happened.
    points: Path = ["event_xp", "event.xp", "points"];
    /// The user's points in all. A bare `xp` comes last: beside `user.xp` it is more likely the event's.
    total_xp: Path = ["total_xp", "user.total_xp", "user.xp", "xp"];
    /// The user's points by referrals.
    ref_xp: Path = ["ref_xp", "user.ref_xp"];
    /// The user's points by content of their own.
    ugc_xp: Path = ["ugc_xp", "user.ugc_xp"];
    /// The multiplier of the user's points.
    xp_mul: Path = ["xp_mul", "user.xp_mul"];
    /// The user's rank.
    rank: Path = ["rank", "user.rank"];
    /// How many people the user referred.
    ref_count: Path = ["ref_count", "user.ref_count"];
    /// The reward's id.
    reward_id: Path = ["reward_id", "reward.id"];
    /// The reward's type.
    reward_type: Path = ["reward_type", "reward.type"];
    /// The reward's name.
    reward_name: Path = ["reward_name", "reward.name", "reward"];
    /// The referral's id. It addresses nobody, because it is not known whose it is.
    referral_id: Path = ["ref_id"];
    /// The referral's name.
    referral_name: Path = ["ref_name"];
    /// claimr's id of the user; the first that is found makes the user key `claimr:<id>`.
    claimr_id: Path = ["claimr_id", "user.claimr_id", "user.id", "uid", "user_id"];
    /// The user's accounts; every one that is found makes a user key `<platform>:<account>`.
    accounts: AccountPaths = [
        AccountPaths::pair("account", "platform"),
        AccountPaths::alone("event_account"),
        AccountPaths::on("wallet", "web3"),
        AccountPaths::on("evm_address", "web3"),
        AccountPaths::on("email", "email"),
        AccountPaths::each("logins", "account", "platform"),
        AccountPaths::each("accounts", "account", "platform"),
        AccountPaths::pair("user.account", "user.platform"),
        AccountPaths::on("user.wallet", "web3"),
        AccountPaths::on("user.evm_address", "web3"),
        AccountPaths::on("user.email", "email"),
        AccountPaths::each("user.logins", "account", "platform"),
        AccountPaths::each("user.accounts", "account", "platform"),
    ];
    /// claimr's id of the referrer; the first that is found makes the user key `claimr:<id>`.
    referrer_claimr_id: Path = ["referrer.claimr_id", "referrer.id", "referrer_id"];
    /// The referrer's accounts; every one that is found makes a user key `<platform>:<account>`.
    referrer_accounts: AccountPaths = [
        AccountPaths::pair("referrer.account", "referrer.platform"),
        AccountPaths::on("referrer.wallet", "web3"),
        AccountPaths::on("referrer.evm_address", "web3"),
        AccountPaths::on("referrer.email", "email"),
        AccountPaths::each("referrer.logins", "account", "platform"),
        AccountPaths::each("referrer.accounts", "account", "platform"),
    ];
}

impl Mapping {
    /// The most candidates of one field.
    pub const CANDIDATES_MAX: usize = 32;
}

/// One candidate of a field, whatever the field.
trait Candidate {
    fn problem(&self) -> Option<String>;
}

impl Candidate for Path {
    fn problem(&self) -> Option<String> {
        Path::problem(self)
    }
}

impl Candidate for AccountPaths {
    fn problem(&self) -> Option<String> {
        AccountPaths::problem(self)
    }
}

/// `referral_scopes` holds types of events, not paths.
impl Candidate for String {
    fn problem(&self) -> Option<String> {
        EventType::new(self).is_none().then(|| format!("{self:?} is not 1 to {} of [A-Za-z0-9_.-]", EventType::BYTES_MAX))
    }
}

fn check<T: Candidate>(field: &str, candidates: &[T], problems: &mut Vec<(String, String)>) {
    if candidates.len() > Mapping::CANDIDATES_MAX {
        problems.push((field.to_owned(), format!("more than {} candidates", Mapping::CANDIDATES_MAX)));
    }
    problems.extend(candidates.iter().filter_map(Candidate::problem).map(|problem| (field.to_owned(), problem)));
}

#[cfg(test)]
mod tests;
