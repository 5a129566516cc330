//! Events of the customer's own backend, which come through the admin API: the same frames as of webhooks, without a sender's payload to
//! understand.

use std::{fmt::Write as _, time::Duration};

use serde_json::Number;

use super::{
    InvalidPayload, dedupe,
    json::{Fault, Node, Value},
};
use crate::event::{Audience, Draft, EventType, Timestamp, UserKey};

/// What a backend wants its users to be told.
#[derive(Clone, Debug)]
pub struct OwnEvent<'a> {
    /// Whom it concerns. All of them are told the same.
    pub keys: Vec<UserKey>,
    /// The keys of the campaigns whose followers are told the same, as a broadcast. Not both are empty.
    pub campaigns: Vec<UserKey>,
    /// What clients filter by.
    pub kind: EventType,
    /// JSON text of an object.
    pub data: &'a str,
    /// The frame's `name`.
    pub name: Option<&'a str>,
    /// The frame's `points`.
    pub points: Option<Number>,
    /// The backend's own id of the event: the same again is a repetition.
    pub id: Option<&'a str>,
}

impl OwnEvent<'_> {
    /// How long an id is remembered.
    pub const ID_WINDOW: Duration = Duration::from_hours(24);

    /// The event, to be published. The error says what is wrong with `data`.
    pub fn draft(self, now: Timestamp) -> Result<Draft, InvalidPayload> {
        let data = Node::parse(self.data)?;
        if !matches!(data.value, Value::Object(_)) {
            return Err(Fault { why: "not an object", position: 0 }.into());
        }
        let mut content = String::with_capacity(self.data.len() + 128);
        if let Some(name) = self.name {
            // Line breaks are escaped in JSON. Writing to a String cannot fail.
            let _ = write!(content, "\"name\":{},", serde_json::Value::from(name));
        }
        if let Some(points) = &self.points {
            let _ = write!(content, "\"points\":{points},");
        }
        content.push_str("\"data\":");
        data.write(&mut content);
        let dedupe = self.id.map(|id| dedupe::own(id, &content, Self::ID_WINDOW));
        let members = |mark: &str| format!("\"type\":\"{}\",\"at\":{},{mark}{content}", self.kind, now.0);
        // A campaign comes last, so that whoever is meant in person as well is told so.
        let audiences = [(self.keys, ""), (self.campaigns, "\"broadcast\":true,")];
        let audiences = audiences.into_iter().filter(|(keys, _)| !keys.is_empty());
        let audiences = audiences.map(|(keys, mark)| Audience { keys, members: members(mark) }).collect();
        Ok(Draft { kind: self.kind, at: now, audiences, dedupe })
    }
}
