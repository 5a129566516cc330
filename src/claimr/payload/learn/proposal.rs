//! What was seen, as lines of configuration, and in words what could not be told.

use std::collections::BTreeMap;

use serde::Serialize;

use super::{Learner, Seen};
use crate::config::{Mapping, mapping::AccountPaths};

/// A mapping that fits what was seen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Proposal {
    /// The events that were looked at.
    pub events: usize,
    /// Lines of `[sources.mapping]`.
    pub lines: Vec<String>,
    /// By field: where it stood, and in how many events.
    pub fields: BTreeMap<&'static str, Vec<Place>>,
    /// What could not be told, and what to mind.
    pub notes: Vec<String>,
}

/// Where a field stood.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Place {
    /// Joined by dots; `account+platform` for an account; `[]` after a list.
    pub path: String,
    /// In how many events.
    pub seen: usize,
}

/// Fields that somebody who sees none of them would miss.
const WORTH_A_NOTE: &[&str] = &["campaign_id", "quest_id", "task_id", "name", "points", "total_xp"];

impl Learner {
    /// What follows from what was seen.
    pub fn propose(&self) -> Proposal {
        let mut proposal = Proposal { events: self.events, lines: Vec::new(), fields: BTreeMap::new(), notes: Vec::new() };
        for (field, _) in Mapping::FIELDS {
            let (values, places) = match *field {
                "envelopes" => self.envelopes.iter().map(|(path, seen)| (quoted(path), place(path.clone(), *seen))).unzip(),
                "accounts" | "referrer_accounts" => self.accounts(field),
                field => self.paths(field),
            };
            let (values, places): (Vec<String>, Vec<Place>) = (values, places);
            if !places.is_empty() {
                proposal.lines.push(format!("{field} = [{}]", values.join(", ")));
                proposal.fields.insert(field, places);
            }
        }
        proposal.notes = self.notes(&proposal.fields);
        proposal
    }

    fn paths(&self, field: &str) -> (Vec<String>, Vec<Place>) {
        let mut places: Vec<(&String, &Seen)> = self.fields.get(field).into_iter().flatten().collect();
        places.sort_by_key(|(path, seen)| (seen.rank, std::cmp::Reverse(seen.count), path.len()));
        places.truncate(Mapping::CANDIDATES_MAX);
        let usable = places.iter().filter(|(path, _)| field != "delivery_id" || !self.ambiguous.contains(*path));
        let values = usable.map(|(path, _)| quoted(path)).collect();
        (values, places.into_iter().map(|(path, seen)| place(path.clone(), seen.count)).collect())
    }

    fn accounts(&self, field: &str) -> (Vec<String>, Vec<Place>) {
        let mut found: Vec<_> = self.accounts.iter().filter(|(account, _)| account.field == field).collect();
        found.sort_by_key(|(_, seen)| (seen.rank, std::cmp::Reverse(seen.count)));
        found.truncate(Mapping::CANDIDATES_MAX);
        found.into_iter().map(|(account, seen)| (table(&account.paths), place(name(&account.paths), seen.count))).unzip()
    }

    fn notes(&self, fields: &BTreeMap<&'static str, Vec<Place>>) -> Vec<String> {
        let mut notes = Vec::new();
        if self.events == 0 {
            return vec![
                "no verified delivery with its whole body is remembered, so nothing can be said of the mapping".to_owned(),
            ];
        }
        if self.nameless > 0 {
            let members: Vec<&str> = self.strangers.keys().map(String::as_str).collect();
            notes.push(format!(
                "{} of {} events name nobody that could be recognised; their members are: {}. If one of them is your user's id, \
                 name it: accounts = [{{ account = \"…\", default_platform = \"…\" }}]",
                self.nameless,
                self.events,
                members.join(", ")
            ));
        }
        for path in &self.by_form {
            notes.push(format!("{path} was taken for the user's because of its form alone: make sure that it is"));
        }
        for path in &self.ambiguous {
            notes.push(format!("{path} is no id of a delivery: the same value came with different events"));
        }
        if fields.contains_key("delivery_id") && self.bodies.len() == 1 {
            notes.push("one delivery cannot show whether delivery_id is another in each".to_owned());
        }
        let unseen: Vec<&str> = WORTH_A_NOTE.iter().filter(|field| !fields.contains_key(*field)).copied().collect();
        if !unseen.is_empty() {
            notes.push(format!("not seen, so they keep their candidates: {}", unseen.join(", ")));
        }
        notes.push(format!(
            "the lines name what stood in {} events; what else there may be is not looked for any more once they are in force",
            self.events
        ));
        notes
    }
}

fn place(path: String, seen: usize) -> Place {
    Place { path, seen }
}

fn name(paths: &AccountPaths) -> String {
    let list = paths.list.as_ref().map_or_else(String::new, |list| format!("{}[].", list.as_str()));
    let platform = paths.platform.as_ref().map_or_else(String::new, |platform| format!("+{}", platform.as_str()));
    format!("{list}{}{platform}", paths.account.as_str())
}

/// JSON and TOML write texts alike, but for one character, which TOML wants to be escaped.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string().replace('\u{7f}', "\\u007f")
}

fn table(paths: &AccountPaths) -> String {
    let mut members = Vec::new();
    let list = paths.list.as_ref().map(|path| ("list", path.as_str()));
    let platform = paths.platform.as_ref().map(|path| ("platform", path.as_str()));
    let default = paths.default_platform.as_ref().map(|name| ("default_platform", name.as_str()));
    for (name, value) in list.into_iter().chain([("account", paths.account.as_str())]).chain(platform).chain(default) {
        members.push(format!("{name} = {}", quoted(value)));
    }
    format!("{{ {} }}", members.join(", "))
}
