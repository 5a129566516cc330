//! `[[sources.broadcast]]`: which events everybody who follows a campaign hears of, and what they are shown. Without a rule, nothing.

use serde::Serialize;

use super::{
    mapping::{Mapping, Path},
    mistake::Wrong,
    reader::{Reported, Section},
    tree::Node,
    values::{self, choice},
};
use crate::event::EventType;

/// One rule. Of several, the first that names an event's type, and its name, decides.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Broadcast {
    /// The types of the events; at least one.
    pub types: Vec<EventType>,
    /// What happened, in the sender's words, as the mapping finds it; anything if empty.
    pub names: Vec<String>,
    /// Where the campaign's id stands; candidates, best first. Empty: where the mapping finds it.
    pub campaign: Vec<Path>,
    /// Members of the normalised view that are shown beside `type`, `at` and the campaign's id.
    pub show: Vec<Shown>,
    /// JSON pointers (RFC 6901) of the members of the payload that `data` shows.
    pub fields: Vec<String>,
}

/// A member of the normalised view.
///
/// `referral` is none of them: it tells who brought whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Shown {
    /// When it happened, by the sender's clock.
    OccurredAt,
    /// What happened.
    Name,
    /// The points of what happened.
    Points,
    /// The campaign's name.
    Campaign,
    /// The quest.
    Quest,
    /// The task.
    Task,
    /// The person's totals and rank.
    Totals,
    /// The reward; its name may be a code that is meant for one person.
    Reward,
}

const SHOWN: &[(&str, Shown)] = &[
    ("occurred_at", Shown::OccurredAt),
    ("name", Shown::Name),
    ("points", Shown::Points),
    ("campaign", Shown::Campaign),
    ("quest", Shown::Quest),
    ("task", Shown::Task),
    ("totals", Shown::Totals),
    ("reward", Shown::Reward),
];

/// Every rule of a source.
pub(super) fn rules(source: &Section<'_>) -> Result<Vec<Broadcast>, Reported> {
    source.tables("broadcast", values::table_expected, rule)
}

fn rule(s: &Section<'_>) -> Result<Broadcast, Reported> {
    let types = s.list("types", event_type);
    let names = s.list("names", values::name);
    let campaign = s.list("campaign", path).and_then(|campaign| bounded(s, campaign));
    let show = s.list("show", choice(SHOWN));
    let fields = s.list("fields", values::pointer);
    let types = types?;
    if types.is_empty() {
        return Err(s.missing("types", "types = [\"user_activity\"], the types of the events that are broadcast"));
    }
    Ok(Broadcast { types, names: names?, campaign: campaign?, show: show?, fields: fields? })
}

fn event_type(node: &Node) -> Result<EventType, Wrong> {
    let text = values::text(node)?;
    EventType::new(text).ok_or_else(|| {
        let problem = format!("{} is not a type of events", values::quote(text));
        Wrong::new(problem, format!("write 1 to {} of [A-Za-z0-9_.-], such as \"user_activity\"", EventType::BYTES_MAX))
    })
}

fn path(node: &Node) -> Result<Path, Wrong> {
    let path = Path::from(values::text(node)?);
    match path.problem() {
        Some(problem) => Err(Wrong::new(problem, "write names joined by dots, such as \"campaign.id\"")),
        None => Ok(path),
    }
}

fn bounded(s: &Section<'_>, campaign: Vec<Path>) -> Result<Vec<Path>, Reported> {
    if campaign.len() <= Mapping::CANDIDATES_MAX {
        return Ok(campaign);
    }
    let problem = format!("more than {} candidates", Mapping::CANDIDATES_MAX);
    Err(s.wrong("campaign", Wrong::new(problem, "leave out those that are never found")))
}
