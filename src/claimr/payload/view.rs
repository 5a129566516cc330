//! What one person sees of an event: the members of its frame, in the order of docs/protocol.md.
//!
//! A member is absent if the payload has nothing for it. Text is copied as the sender wrote it, escapes and all, so it has no line break in
//! it; text longer than [`TEXT_BYTES_MAX`] stands in `data` only. Ids are strings however they came; numbers are numbers,
//! also if they came as strings.

use std::fmt::Write as _;

use super::{
    broadcast::Rule,
    elements::{Element, first},
    json::{Node, Value, is_number},
    pointer::{Pointer, write_allowed},
};
use crate::{
    config::{Mapping, Shown, mapping::Path},
    event::Timestamp,
};

/// The longest text or number in the normalised members, in bytes as written. What is around an event is in the view of each event of a
/// body, so a long text there would multiply.
pub(super) const TEXT_BYTES_MAX: usize = 1_024;

/// One event that can be shown to several people.
pub(super) struct View<'r, 't, 'a> {
    pub(super) mapping: &'r Mapping,
    pub(super) element: &'r Element<'t, 'a>,
    pub(super) at: Timestamp,
}

impl View<'_, '_, '_> {
    /// The members for the user, or the person who was referred: everything.
    pub(super) fn own(&self) -> String {
        let mapping = self.mapping;
        let mut out = self.begin();
        self.any(&mut out, "occurred_at", &mapping.time);
        self.text(&mut out, "name", &mapping.name);
        let points = self.number(&mapping.points, |_| true);
        out.put("points", points);
        self.named(&mut out, "campaign", &mapping.campaign_id, &mapping.campaign_name);
        self.named(&mut out, "quest", &mapping.quest_id, &mapping.quest_name);
        self.named(&mut out, "task", &mapping.task_id, &mapping.task_name);
        out.group("totals", |out| self.totals(out, points));
        out.group("reward", |out| self.reward(out));
        if self.element.is_referral {
            out.group("referral", |out| {
                out.put("role", Some("\"referred\""));
                self.id(out, "id", &mapping.referral_id);
                self.text(out, "name", &mapping.referral_name);
            });
        }
        out.data(|text| if self.element.data().is_hidden() { text.push_str("{}") } else { self.element.data().write(text) })
    }

    /// The members for the referrer: what happened in which campaign, and of the rest what `allowed` names. Points, totals, quest, task,
    /// reward and the referral's code may be the other person's, so none of them is here.
    pub(super) fn referrers(&self, allowed: &[Pointer]) -> String {
        let mut out = self.begin();
        self.text(&mut out, "name", &self.mapping.name);
        self.named(&mut out, "campaign", &self.mapping.campaign_id, &self.mapping.campaign_name);
        out.group("referral", |out| out.put("role", Some("\"referrer\"")));
        out.data(|text| write_allowed(self.element.data(), allowed, text))
    }

    /// The members for everybody who follows the campaign: which one it is, which they have proved to follow, and of the rest what `rule`
    /// names. Nothing else, since anything may tell who the person is.
    pub(super) fn broadcast(&self, rule: &Rule, campaign: &str) -> String {
        let mapping = self.mapping;
        let mut out = self.begin();
        out.put("broadcast", Some("true"));
        if rule.shows(Shown::OccurredAt) {
            self.any(&mut out, "occurred_at", &mapping.time);
        }
        if rule.shows(Shown::Name) {
            self.text(&mut out, "name", &mapping.name);
        }
        let points = self.number(&mapping.points, |_| true);
        if rule.shows(Shown::Points) {
            out.put("points", points);
        }
        out.group("campaign", |out| {
            out.put("id", Some(&serde_json::Value::from(campaign).to_string()));
            if rule.shows(Shown::Campaign) {
                self.text(out, "name", &mapping.campaign_name);
            }
        });
        if rule.shows(Shown::Quest) {
            self.named(&mut out, "quest", &mapping.quest_id, &mapping.quest_name);
        }
        if rule.shows(Shown::Task) {
            self.named(&mut out, "task", &mapping.task_id, &mapping.task_name);
        }
        if rule.shows(Shown::Totals) {
            out.group("totals", |out| self.totals(out, points));
        }
        if rule.shows(Shown::Reward) {
            out.group("reward", |out| self.reward(out));
        }
        out.data(|text| write_allowed(self.element.data(), &rule.fields, text))
    }

    fn begin(&self) -> Members {
        let mut out = Members(String::with_capacity(self.element.data().raw.len() + 512));
        // An event type needs no escaping, and writing to a String cannot fail.
        let _ = write!(out.0, "\"type\":\"{}\",\"at\":{},", self.element.kind, self.at.0);
        out
    }

    fn totals(&self, out: &mut Members, points: Option<&str>) {
        let mapping = self.mapping;
        // The very number that says what the event was worth cannot be the total.
        let not_points = |number: &str| points.is_none_or(|points| !std::ptr::eq(points, number));
        out.put("xp", self.number(&mapping.total_xp, not_points));
        let others = [
            ("ref_xp", &mapping.ref_xp),
            ("ugc_xp", &mapping.ugc_xp),
            ("xp_mul", &mapping.xp_mul),
            ("rank", &mapping.rank),
            ("ref_count", &mapping.ref_count),
        ];
        for (name, candidates) in others {
            out.put(name, self.number(candidates, |_| true));
        }
    }

    fn reward(&self, out: &mut Members) {
        self.id(out, "id", &self.mapping.reward_id);
        self.text(out, "type", &self.mapping.reward_type);
        self.text(out, "name", &self.mapping.reward_name);
    }

    fn named(&self, out: &mut Members, name: &str, id: &[Path], title: &[Path]) {
        out.group(name, |out| {
            self.id(out, "id", id);
            self.text(out, "name", title);
        });
    }

    fn text(&self, out: &mut Members, name: &str, candidates: &[Path]) {
        out.put(name, first(&self.element.layers, candidates, text));
    }

    fn id(&self, out: &mut Members, name: &str, candidates: &[Path]) {
        let id = first(&self.element.layers, candidates, |node| text(node).map(Ok).or_else(|| number(node).map(Err)));
        match id {
            Some(Ok(text)) => out.put(name, Some(text)),
            Some(Err(number)) => {
                let _ = write!(out.0, "\"{name}\":\"{number}\",");
            }
            None => {}
        }
    }

    fn any(&self, out: &mut Members, name: &str, candidates: &[Path]) {
        out.put(name, first(&self.element.layers, candidates, |node| text(node).or_else(|| number(node))));
    }

    fn number<'s>(&'s self, candidates: &[Path], wanted: impl Fn(&str) -> bool) -> Option<&'s str> {
        first(&self.element.layers, candidates, |node| numeric(node).filter(|number| wanted(number)))
    }
}

/// A string that is not empty, quotes and all.
fn text<'t>(node: &'t Node<'_>) -> Option<&'t str> {
    let good = matches!(&node.value, Value::Text(text) if !text.is_empty()) && node.raw.len() <= TEXT_BYTES_MAX;
    good.then_some(node.raw)
}

/// A number.
fn number<'t>(node: &'t Node<'_>) -> Option<&'t str> {
    (matches!(node.value, Value::Number) && node.raw.len() <= TEXT_BYTES_MAX).then_some(node.raw)
}

/// A number, or a string that is one.
fn numeric<'t>(node: &'t Node<'_>) -> Option<&'t str> {
    match &node.value {
        Value::Text(text) if text.len() <= TEXT_BYTES_MAX && is_number(text) => Some(text),
        _ => number(node),
    }
}

/// JSON members, each with a comma behind it until the last is written.
struct Members(String);

impl Members {
    /// Adds a member whose value is JSON, if there is one.
    fn put(&mut self, name: &str, json: Option<&str>) {
        if let Some(json) = json {
            for piece in ["\"", name, "\":", json, ","] {
                self.0.push_str(piece);
            }
        }
    }

    /// Adds an object of the members that `write` adds, unless it adds none.
    fn group(&mut self, name: &str, write: impl FnOnce(&mut Self)) {
        let before = self.0.len();
        for piece in ["\"", name, "\":{"] {
            self.0.push_str(piece);
        }
        let start = self.0.len();
        write(self);
        if self.0.len() == start {
            self.0.truncate(before);
        } else {
            self.0.pop();
            self.0.push_str("},");
        }
    }

    /// Adds the last member.
    fn data(mut self, write: impl FnOnce(&mut String)) -> String {
        self.0.push_str("\"data\":");
        write(&mut self.0);
        self.0
    }
}
