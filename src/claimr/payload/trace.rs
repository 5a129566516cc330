//! Whom a delivery named, and by which fields: for people who look into it afterwards.
//!
//! The way from a webhook to its events does without this, so that it costs nothing there; what is described here is found by the very
//! same search.

use bytes::Bytes;

use super::{
    InvalidPayload, PayloadReader, broadcast,
    elements::{Element, Part, Search},
    json::{Node, Object},
    people::{self, Origin},
    utf8,
};
use crate::event::{EventType, UserKey};

/// What was found in a body.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trace {
    /// The events, in the order of the body.
    pub events: Vec<TracedEvent>,
    /// How many parts name nobody.
    pub dead_letters: usize,
}

/// One event of a body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TracedEvent {
    /// Its type.
    pub kind: EventType,
    /// The user, then the referrer; whichever of them is named.
    pub people: Vec<TracedPerson>,
    /// The campaign that hears of it by a broadcast.
    pub campaign: Option<UserKey>,
}

/// One person whom an event concerns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TracedPerson {
    /// Every key that addresses the person.
    pub keys: Vec<UserKey>,
    /// For each of the keys the candidate of the mapping that found it, such as `account+platform` or `user.logins[].account+platform`.
    pub from: Vec<String>,
}

impl PayloadReader {
    /// Finds again whom `body` names. Nothing of this can become an event, so the bytes need no proof of who sent them.
    pub fn trace(&self, body: &Bytes, scope: Option<&EventType>) -> Result<Trace, InvalidPayload> {
        let root = Node::parse(utf8(body)?)?;
        let mut trace = Trace::default();
        for part in (Search { mapping: &self.mapping, scope }).parts(&root)? {
            match part {
                Part::Event(element) => trace.events.push(self.traced(*element)),
                Part::Nobody(_) => trace.dead_letters += 1,
            }
        }
        Ok(trace)
    }

    fn traced(&self, element: Element<'_, '_>) -> TracedEvent {
        let mapping = &self.mapping;
        let mut origins: Vec<(UserKey, Origin<'_>)> = Vec::new();
        let mut note = |key, origin| origins.push((key, origin));
        if let Some(object) = element.data().object() {
            people::each_key(object, &mapping.claimr_id, &mapping.accounts, &mut note);
        }
        if element.is_referral {
            // The innermost object that names a referrer is the one that counts, so its origins come first.
            let objects = element.layers.iter().rev().filter_map(|layer: &&Node<'_>| layer.object());
            let mut referrer = |object: &Object<'_>| {
                people::each_key(object, &mapping.referrer_claimr_id, &mapping.referrer_accounts, &mut note);
            };
            objects.for_each(&mut referrer);
        }
        let from =
            |key: &UserKey| origins.iter().find(|(found, _)| found == key).map_or_else(String::new, |(_, o)| o.to_string());
        let campaign = broadcast::decide(&self.broadcast, mapping, &element).map(|(_, key)| key);
        let people = [element.user, element.referrer].into_iter().filter(|keys| !keys.is_empty());
        let people = people.map(|keys| TracedPerson { from: keys.iter().map(from).collect(), keys }).collect();
        TracedEvent { kind: element.kind, people, campaign }
    }
}
