//! What in a body is an event of its own: the body, an element of a list, or what an envelope holds.
//!
//! An object that names a user is an event, and nothing inside it is looked into: an `event` beside a `user` is a part of the event and no
//! envelope. An object that names nobody is an envelope if one of the mapping's envelope members holds an object, or a list with an
//! object, that does. What stands around an event stays visible to it, behind its own members. Only if no user is named in all of it,
//! the same is tried with the referrer of a referral.

use std::borrow::Cow;

use smallvec::SmallVec;

use super::{
    json::{Fault, Node, Object, Value},
    people,
};
use crate::{
    config::{Mapping, mapping::Path},
    event::{EventType, UserKey},
};

/// The most events in one delivery.
pub(super) const ELEMENTS_MAX: usize = 1_000;
/// The most objects around one another until the one that names somebody.
const LAYERS_MAX: usize = 4;

/// Objects around one another, the outermost first.
pub(super) type Layers<'t, 'a> = SmallVec<[&'t Node<'a>; LAYERS_MAX]>;

/// A part of a body that is an event, or should have been one.
pub(super) enum Part<'t, 'a> {
    Event(Box<Element<'t, 'a>>),
    /// It names nobody.
    Nobody(&'t Node<'a>),
}

/// One event in a body.
pub(super) struct Element<'t, 'a> {
    /// As an element of the body, or the whole body.
    pub(super) whole: &'t Node<'a>,
    /// The last is the one that names somebody; the first may be around other events too.
    pub(super) layers: Layers<'t, 'a>,
    pub(super) kind: EventType,
    /// Whether its type concerns two people.
    pub(super) is_referral: bool,
    /// The user, or, of a referral, the person who was referred. Empty if only a referrer is named.
    pub(super) user: Vec<UserKey>,
    /// The one who brought the user; empty if it is no referral, or if they are the same person.
    pub(super) referrer: Vec<UserKey>,
    /// The sender's id of the event, and whether it stands outside of `whole`, for all of the body.
    pub(super) id: Option<(Cow<'t, str>, bool)>,
}

impl<'t, 'a> Element<'t, 'a> {
    /// The object that names somebody.
    pub(super) fn data(&self) -> &'t Node<'a> {
        self.layers.last().copied().unwrap_or(self.whole)
    }
}

/// What every search of one body shares.
pub(super) struct Search<'r> {
    pub(super) mapping: &'r Mapping,
    /// The type that the webhook's URL names.
    pub(super) scope: Option<&'r EventType>,
}

/// Whom an object must name to be an event.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Who {
    User,
    Referrer,
}

type Parts<'t, 'a> = Vec<Part<'t, 'a>>;

impl Search<'_> {
    /// Every part of a body, in its order; never empty.
    pub(super) fn parts<'t, 'a>(&self, root: &'t Node<'a>) -> Result<Parts<'t, 'a>, Fault> {
        let mut parts = Vec::new();
        match &root.value {
            Value::List(items) if !items.is_empty() => self.list(items, &Layers::new(), &mut parts)?,
            _ => self.element(root, &Layers::new(), &mut parts)?,
        }
        Ok(parts)
    }

    /// Adds a part for each of the items.
    fn list<'t, 'a>(&self, items: &'t [Node<'a>], around: &Layers<'t, 'a>, parts: &mut Parts<'t, 'a>) -> Result<(), Fault> {
        for item in items {
            if parts.len() >= ELEMENTS_MAX {
                return Err(Fault { why: "more than 1000 events", position: 0 });
            }
            self.element(item, around, parts)?;
        }
        Ok(())
    }

    /// Adds at least one part.
    fn element<'t, 'a>(&self, whole: &'t Node<'a>, around: &Layers<'t, 'a>, parts: &mut Parts<'t, 'a>) -> Result<(), Fault> {
        for who in [Who::User, Who::Referrer] {
            if self.unwrap(whole, whole, around, who, parts)? {
                return Ok(());
            }
        }
        parts.push(Part::Nobody(whole));
        Ok(())
    }

    /// Adds the events that `node` is or holds; false if there are none, and then nothing is added.
    fn unwrap<'t, 'a>(
        &self,
        whole: &'t Node<'a>,
        node: &'t Node<'a>,
        around: &Layers<'t, 'a>,
        who: Who,
        parts: &mut Parts<'t, 'a>,
    ) -> Result<bool, Fault> {
        let Some(object) = node.object() else { return Ok(false) };
        let mut layers = around.clone();
        layers.push(node);
        if let Some(element) = self.event(whole, object, &layers, around.len(), who) {
            parts.push(Part::Event(Box::new(element)));
            return Ok(true);
        }
        if layers.len() >= LAYERS_MAX {
            return Ok(false);
        }
        for inner in self.mapping.envelopes.iter().filter_map(|path| people::find(object, path)) {
            let before = parts.len();
            let found = match &inner.value {
                Value::List(items) => {
                    self.list(items, &layers, parts)?;
                    parts[before..].iter().any(|part| matches!(part, Part::Event(_)))
                }
                _ => self.unwrap(whole, inner, &layers, who, parts)?,
            };
            if found {
                return Ok(true);
            }
            parts.truncate(before);
        }
        Ok(false)
    }

    /// The event that the innermost of the layers is, if it names `who`.
    fn event<'t, 'a>(
        &self,
        whole: &'t Node<'a>,
        object: &'t Object<'a>,
        layers: &Layers<'t, 'a>,
        around: usize,
        who: Who,
    ) -> Option<Element<'t, 'a>> {
        let mut user = people::keys(object, &self.mapping.claimr_id, &self.mapping.accounts);
        if user.is_empty() && who == Who::User {
            return None;
        }
        let kind = self.kind(layers);
        let is_referral = self.mapping.referral_scopes.iter().any(|scope| scope == kind.as_str());
        let mut referrer = if is_referral { self.referrer(layers) } else { Vec::new() };
        if user.is_empty() && referrer.is_empty() {
            return None;
        }
        if user.iter().any(|key| referrer.contains(key)) {
            people::join(&mut user, std::mem::take(&mut referrer));
        }
        let id = self.id(layers, around);
        Some(Element { whole, layers: layers.clone(), kind, is_referral, user, referrer, id })
    }

    fn kind(&self, layers: &Layers<'_, '_>) -> EventType {
        let text = |node: &Node<'_>| if let Value::Text(text) = &node.value { EventType::new(text) } else { None };
        self.scope.cloned().or_else(|| first(layers, &self.mapping.scope, text)).unwrap_or_else(EventType::unknown)
    }

    fn referrer(&self, layers: &Layers<'_, '_>) -> Vec<UserKey> {
        let keys = |node: &&Node<'_>| {
            let keys = people::keys(node.object()?, &self.mapping.referrer_claimr_id, &self.mapping.referrer_accounts);
            (!keys.is_empty()).then_some(keys)
        };
        layers.iter().rev().find_map(keys).unwrap_or_default()
    }

    /// An id on an envelope is the delivery's; the same word inside is more likely the id of something that the event is about.
    fn id<'t>(&self, layers: &Layers<'t, '_>, around: usize) -> Option<(Cow<'t, str>, bool)> {
        let id = |node| people::account(node).filter(|id| !id.is_empty());
        layers.iter().enumerate().find_map(|(i, layer)| {
            let id = first(std::slice::from_ref(layer), &self.mapping.delivery_id, id)?;
            Some((id, i < around))
        })
    }
}

/// What `usable` makes of the first candidate that it takes: of the innermost object in which it takes any, the best one.
pub(super) fn first<'t, 'a, T>(
    layers: &[&'t Node<'a>],
    candidates: &[Path],
    usable: impl Fn(&'t Node<'a>) -> Option<T>,
) -> Option<T> {
    let objects = layers.iter().rev().filter_map(|layer| layer.object());
    objects.flat_map(|object| candidates.iter().filter_map(move |path| people::find(object, path))).find_map(usable)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each part as its event's keys, or `None`; or the fault.
    fn parts(body: &str) -> Result<Vec<Option<String>>, &'static str> {
        let node = Node::parse(body).unwrap();
        let mapping = Mapping::default();
        let parts = Search { mapping: &mapping, scope: None }.parts(&node).map_err(|fault| fault.why)?;
        let text = |part: &Part<'_, '_>| match part {
            Part::Event(e) => Some(e.user.iter().chain(&e.referrer).map(UserKey::as_str).collect::<Vec<_>>().join(" ")),
            Part::Nobody(_) => None,
        };
        Ok(parts.iter().map(text).collect())
    }

    #[test]
    fn an_envelope_is_what_names_somebody_inside_and_nobody_outside() {
        let table: [(&str, &[Option<&str>]); 21] = [
            (r#"{"uid":"A"}"#, &[Some("claimr:A")]),
            (r#"{"uid":"A","data":{"uid":"B"}}"#, &[Some("claimr:A")]),
            (r#"{"data":{"uid":"B"}}"#, &[Some("claimr:B")]),
            (r#"{"payload":{"event":{"uid":"B"}}}"#, &[Some("claimr:B")]),
            (r#"{"data":{"x":1},"body":{"uid":"B"}}"#, &[Some("claimr:B")]),
            (r#"{"data":"text","body":{"uid":"B"}}"#, &[Some("claimr:B")]),
            (r#"{"other":{"uid":"B"}}"#, &[None]),
            (r#"{"data":{"data":{"data":{"uid":"B"}}}}"#, &[Some("claimr:B")]),
            (r#"{"data":{"data":{"data":{"data":{"uid":"B"}}}}}"#, &[None]),
            (r#"{"data":[{"uid":"A"},{"x":1},{"body":{"uid":"B"}}]}"#, &[Some("claimr:A"), None, Some("claimr:B")]),
            (r#"{"data":[{"x":1},2]}"#, &[None]),
            (r#"{"data":[]}"#, &[None]),
            (
                r#"{"data":[{"data":[{"uid":"A"},{"uid":"B"}]},{"uid":"C"}]}"#,
                &[Some("claimr:A"), Some("claimr:B"), Some("claimr:C")],
            ),
            ("{}", &[None]),
            ("[]", &[None]),
            ("[[{\"uid\":\"A\"}],7,null,{}]", &[None, None, None, None]),
            // A referrer counts in a referral only, and a user inside goes before a referrer outside.
            (r#"{"referrer":{"id":"R"}}"#, &[None]),
            (r#"{"scope":"referral","referrer":{"id":"R"}}"#, &[Some("claimr:R")]),
            (r#"{"scope":"referral","referrer":{"id":"R"},"data":{"uid":"A"}}"#, &[Some("claimr:A claimr:R")]),
            (r#"{"scope":"referral","data":{"referrer":{"id":"R"}}}"#, &[Some("claimr:R")]),
            (r#"{"scope":"user_activity","referrer":{"id":"R"},"data":{"uid":"A"}}"#, &[Some("claimr:A")]),
        ];
        for (body, expected) in table {
            let expected: Vec<_> = expected.iter().map(|keys| keys.map(str::to_owned)).collect();
            assert_eq!(parts(body).unwrap(), expected, "{body}");
        }
    }

    #[test]
    fn a_body_has_a_bounded_number_of_events() {
        let list = |n: usize| format!("[{}]", vec![r#"{"uid":"A"}"#; n].join(","));
        assert_eq!(parts(&list(ELEMENTS_MAX)).unwrap().len(), ELEMENTS_MAX);
        assert_eq!(parts(&list(ELEMENTS_MAX + 1)), Err("more than 1000 events"));
        assert_eq!(parts(&format!(r#"{{"data":{}}}"#, list(ELEMENTS_MAX + 1))), Err("more than 1000 events"));
        let nested = format!(r#"{{"data":{}}}"#, list(600));
        assert_eq!(parts(&format!("[{nested},{nested}]")), Err("more than 1000 events"));
    }
}
