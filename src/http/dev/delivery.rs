//! Deliveries as claimr might send them, one shape for each scope, signed like its own.

use std::net::SocketAddr;

use aws_lc_rs::hmac;
use data_encoding::HEXLOWER;
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::event::UserKey;

/// claimr's scopes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Scope {
    UserActivity,
    UserReward,
    Referral,
    UserLogin,
}

impl Scope {
    fn as_str(self) -> &'static str {
        match self {
            Self::UserActivity => "user_activity",
            Self::UserReward => "user_reward",
            Self::Referral => "referral",
            Self::UserLogin => "user_login",
        }
    }
}

/// A signed delivery.
pub(super) struct Delivery {
    scope: Scope,
    body: String,
    signature: String,
}

/// Those whom the demo knows; each refers the next.
const PEOPLE: [&str; 3] = ["alice", "bob", "carol"];
const QUESTS: [(&str, &str, &str, u64); 4] = [
    ("EfGh-456", "Warm up", "quest_completed", 250),
    ("EfGh-457", "Daily check-in", "task_completed", 20),
    ("EfGh-458", "Follow the project", "task_completed", 100),
    ("EfGh-459", "Bridge and swap", "quest_completed", 500),
];
const REWARDS: [(&str, &str, &str); 4] = [
    ("rw_1", "Gift Codes", "Coffee on us"),
    ("rw_2", "Badge", "Early bird"),
    ("rw_3", "Discord Role", "Explorer"),
    ("rw_4", "Puzzle Piece", "Piece 3 of 9"),
];

impl Delivery {
    /// Where the signature stands: as likely a place as any, since the gateway finds it.
    pub(super) const SIGNATURE_HEADER: &str = "x-signature";
    /// Events of one [large](Self::large) delivery.
    pub(super) const LARGE_EVENTS: usize = 6;
    /// Of each of them: two are more than may wait for a session (`limits.mailbox_bytes_max`), all of them less than a webhook may have.
    const LARGE_NOTE_BYTES: usize = 40 * 1024;

    /// The `number`th delivery of this run: those of one scope differ from each other.
    pub(super) fn new(scope: Scope, user: &UserKey, number: u64, secret: &SecretString) -> Self {
        Self::signed(scope, &body(scope, user, number), secret)
    }

    /// One delivery of several events, too much at once for any session.
    pub(super) fn large(user: &UserKey, number: u64, secret: &SecretString) -> Self {
        let (platform, account) = parts(user);
        let element = |part: usize| {
            json!({
                "account": account, "platform": platform, "pid": "AbCd_123",
                "event_type": "task_completed", "event_xp": 1, "contest_name": format!("Burst {number}: {part} of {}", Self::LARGE_EVENTS),
                "note": "x".repeat(Self::LARGE_NOTE_BYTES),
            })
        };
        Self::signed(Scope::UserActivity, &(1..=Self::LARGE_EVENTS).map(element).collect(), secret)
    }

    fn signed(scope: Scope, body: &Value, secret: &SecretString) -> Self {
        let body = body.to_string();
        let key = hmac::Key::new(hmac::HMAC_SHA256, secret.expose_secret().as_bytes());
        let signature = HEXLOWER.encode(hmac::sign(&key, body.as_bytes()).as_ref());
        Self { scope, body, signature }
    }

    pub(super) fn path(&self) -> String {
        format!("/hooks/claimr/{}", self.scope.as_str())
    }

    pub(super) fn body(&self) -> &str {
        &self.body
    }

    pub(super) fn signature(&self) -> &str {
        &self.signature
    }

    /// The same as a line for a shell. Our bodies have no apostrophe.
    pub(super) fn curl(&self, address: SocketAddr) -> String {
        format!(
            "curl http://{address}{path} \\\n  -H 'Content-Type: application/json' \\\n  -H 'X-Signature: {signature}' \\\n  -d '{body}'",
            path = self.path(),
            signature = self.signature,
            body = self.body.replace('\'', "\\u0027"),
        )
    }
}

fn parts(user: &UserKey) -> (&str, &str) {
    user.as_str().split_once(':').unwrap_or(("acme", user.as_str()))
}

fn body(scope: Scope, user: &UserKey, number: u64) -> Value {
    let (platform, account) = parts(user);
    let pick = usize::try_from(number).unwrap_or(0);
    let campaign = json!({ "scope": scope.as_str(), "campaign_id": "AbCd_123", "campaign_name": "Summer" });
    let person = json!({ "account": account, "platform": platform });
    let totals = json!({ "total_xp": 1_250 + number * 50, "rank": 42 - number.min(41), "xp_mul": 1 });
    match scope {
        Scope::UserActivity => {
            let (id, name, kind, xp) = QUESTS[pick % QUESTS.len()];
            let quest = json!({ "contest_id": id, "contest_name": name, "event_type": kind, "event_xp": xp });
            joined([campaign, person, quest, totals])
        }
        Scope::UserReward => {
            let (id, kind, name) = REWARDS[pick % REWARDS.len()];
            let reward = json!({ "event_type": "reward_claimed", "reward": { "id": id, "type": kind, "name": name } });
            joined([campaign, person, reward, totals])
        }
        Scope::Referral => {
            let at = PEOPLE.iter().position(|name| *name == account);
            let friend = PEOPLE[at.map_or(0, |at| (at + 1) % PEOPLE.len())];
            let people = json!({ "user": { "account": friend, "platform": "acme" }, "referrer": person, "ref_id": format!("Ref{number:05}") });
            joined([campaign, people, json!({ "event_type": "referral_join", "event_xp": 75 })])
        }
        Scope::UserLogin => joined([campaign, person, json!({ "event_type": "sign_in", "event_xp": 0 }), totals]),
    }
}

fn joined<const N: usize>(objects: [Value; N]) -> Value {
    let members = objects.into_iter().filter_map(|object| if let Value::Object(members) = object { Some(members) } else { None });
    Value::Object(members.flatten().collect())
}
