//! From a verified webhook's bytes to the events in it, each addressed to the people whom it names.
//!
//! ```text
//! bytes ─ json ─ elements ─ people ─┬─ dedupe ─┐
//!        tree    events     keys    └─ view ───┴─ Draft
//! ```
//!
//! Where a field stands is the source's [`Mapping`]; what is found there is copied, never interpreted. What it cannot address becomes a
//! [`DeadLetter`]. Decisions that the evidence about claimr leaves open:
//!
//! - Duplicate keys, numbers beyond `f64` such as `1e400`, and more than 1,000 events make the whole delivery invalid.
//! - An empty list names nobody, like an object without an identity.
//! - `data` is the object that names somebody, without the envelope around it.
//! - Redaction works after addressing: an e-mail that nobody may see still reaches its owner. Its pointers start at `data`, and also at
//!   each object around it; a redacted member is absent from the normalised members as well.
//! - The referrer of a referral sees what happened and in which campaign, and of `data` what the allow-list names. If both people have a
//!   key in common they are one person, who sees everything.
//! - Who follows a campaign sees of the events that a rule of the source broadcasts what the rule names. An event that names nobody is a dead
//!   letter all the same.

#[cfg(any(test, fuzzing))]
pub(crate) mod any_bytes;
mod broadcast;
mod dedupe;
mod elements;
mod json;
mod learn;
mod own;
mod people;
mod pointer;
mod trace;
mod view;

use std::{fmt, mem};

use bytes::Bytes;

use self::{
    broadcast::Rule,
    dedupe::{Deduper, Windows},
    elements::{Element, Part, Search},
    json::{Fault, Node},
    pointer::Pointer,
    view::View,
};
pub use self::{
    learn::{Learner, Place, Proposal},
    own::OwnEvent,
    trace::{Trace, TracedEvent, TracedPerson},
};
use super::signature::Verified;
use crate::{
    config::{Mapping, Source},
    event::{Audience, DeadLetter, DeadReason, Draft, EventType, Timestamp},
};

/// Reads the deliveries of one source.
pub struct PayloadReader {
    source: String,
    mapping: Mapping,
    windows: Windows,
    redact: Vec<Pointer>,
    referrer_data: Vec<Pointer>,
    broadcast: Vec<Rule>,
}

/// What a delivery says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reading {
    /// The events, in the order of the body.
    pub drafts: Vec<Draft>,
    /// What reached nobody, in the order of the body.
    pub dead_letters: Vec<DeadLetter>,
    /// Why nothing of it could be read; then the dead letter is the whole body.
    pub invalid: Option<InvalidPayload>,
}

/// Why a body is not JSON that the gateway takes. Holds nothing of the body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidPayload {
    why: &'static str,
    position: usize,
}

impl InvalidPayload {
    /// The reason in a few words.
    pub fn why(self) -> &'static str {
        self.why
    }

    /// How many bytes into the body it was noticed.
    pub fn position(self) -> usize {
        self.position
    }
}

impl fmt::Display for InvalidPayload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at byte {}", self.why, self.position)
    }
}

impl std::error::Error for InvalidPayload {}

impl From<Fault> for InvalidPayload {
    fn from(Fault { why, position }: Fault) -> Self {
        Self { why, position }
    }
}

impl PayloadReader {
    /// A reader by the mapping, redaction and windows of `source`.
    pub fn new(source: &Source) -> Self {
        let pointers = |texts: &[String]| texts.iter().map(|text| Pointer::new(text)).collect();
        Self {
            source: source.name.clone(),
            mapping: source.mapping.clone(),
            windows: Windows { id: source.delivery_id_window, body: source.duplicate_window },
            redact: pointers(&source.redact),
            referrer_data: pointers(&source.referrer_data),
            broadcast: source.broadcast.iter().map(|rule| Rule::new(rule, &source.mapping)).collect(),
        }
    }

    /// Reads one delivery. `scope` is the last segment of its URL, if it had one.
    pub fn read(&self, verified: &Verified, scope: Option<&EventType>, now: Timestamp) -> Reading {
        self.read_body(verified.body(), Identity::Delivery(verified.delivery_id()), scope, now)
    }

    /// Reads a dead letter, which was verified when it came, by the mapping of now. Where nothing in it names the delivery, its events
    /// are recognised as repetitions by `id`, for as long as a delivery id is remembered.
    pub fn read_letter(&self, letter: &DeadLetter, id: &str, now: Timestamp) -> Reading {
        self.read_body(&letter.body, Identity::Letter(id), letter.scope.as_ref(), now)
    }

    fn read_body(&self, body: &Bytes, identity: Identity<'_>, scope: Option<&EventType>, now: Timestamp) -> Reading {
        self.understand(body, identity, scope, now).unwrap_or_else(|fault| Reading {
            drafts: Vec::new(),
            dead_letters: vec![self.dead_letter(DeadReason::PayloadInvalid, body.clone(), scope, now)],
            invalid: Some(fault.into()),
        })
    }

    fn understand(
        &self,
        body: &Bytes,
        identity: Identity<'_>,
        scope: Option<&EventType>,
        now: Timestamp,
    ) -> Result<Reading, Fault> {
        let text = utf8(body)?;
        let root = Node::parse(text)?;
        let parts = Search { mapping: &self.mapping, scope }.parts(&root)?;
        let deduper = match identity {
            Identity::Delivery(id) => Deduper::new(&self.source, self.windows, text, id),
            Identity::Letter(id) => Deduper::new(&self.source, self.windows, text, None).of_letter(id),
        };
        let mut reading = Reading::default();
        for (index, part) in parts.into_iter().enumerate() {
            match part {
                Part::Event(mut element) => {
                    let dedupe = deduper.dedupe(&element, index);
                    let audiences = self.audiences(&mut element, now);
                    reading.drafts.push(Draft { kind: element.kind, at: now, audiences, dedupe });
                }
                Part::Nobody(node) => {
                    let raw = if node.raw.len() == root.raw.len() { text } else { node.raw };
                    // A copy, so that a small dead letter does not keep a large body in memory.
                    let bytes = Bytes::copy_from_slice(raw.as_bytes());
                    reading.dead_letters.push(self.dead_letter(DeadReason::NoUser, bytes, scope, now));
                }
            }
        }
        Ok(reading)
    }

    /// The people whom an event concerns, the user first, and those who hear of it by a broadcast, each with what they may see.
    fn audiences(&self, element: &mut Element<'_, '_>, at: Timestamp) -> Vec<Audience> {
        // Whom it concerns and which delivery it is are read before anything is hidden.
        let broadcast = broadcast::decide(&self.broadcast, &self.mapping, element);
        for layer in &element.layers {
            self.redact.iter().for_each(|pointer| pointer.hide(layer));
        }
        let (user, referrer) = (mem::take(&mut element.user), mem::take(&mut element.referrer));
        let view = View { mapping: &self.mapping, element, at };
        let mut audiences = Vec::with_capacity(3);
        if !user.is_empty() {
            audiences.push(Audience { keys: user, members: view.own() });
        }
        if !referrer.is_empty() {
            audiences.push(Audience { keys: referrer, members: view.referrers(&self.referrer_data) });
        }
        if let Some((rule, key)) = broadcast {
            let members = view.broadcast(rule, key.campaign().unwrap_or_default());
            audiences.push(Audience { keys: vec![key], members });
        }
        audiences
    }

    fn dead_letter(&self, reason: DeadReason, body: Bytes, scope: Option<&EventType>, at: Timestamp) -> DeadLetter {
        DeadLetter { at, source: self.source.clone(), scope: scope.cloned(), reason, body }
    }
}

/// What a body is known by, beside what it says itself.
#[derive(Clone, Copy)]
enum Identity<'a> {
    /// The delivery id that its signature's scheme signs, if it does.
    Delivery(Option<&'a str>),
    /// It is a dead letter.
    Letter(&'a str),
}

fn utf8(body: &[u8]) -> Result<&str, Fault> {
    std::str::from_utf8(body).map_err(|error| Fault { why: "not UTF-8", position: error.valid_up_to() })
}

#[cfg(test)]
mod tests;
