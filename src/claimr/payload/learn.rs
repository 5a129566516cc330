//! From deliveries that were seen to a mapping that fits them: which of the known words stand where.
//!
//! The words are the candidates of the source's mapping and of the preset. Here they are found at any depth and in other spellings
//! (`campaignId`), so that a payload of which only the nesting is new explains itself. What no word names can still be known by its
//! form: a wallet, an e-mail address. A proposal names only what was seen.

mod proposal;
mod scan;
mod words;

use std::collections::{BTreeMap, HashMap, HashSet};

use bytes::Bytes;

use self::{
    scan::{Leaf, Scan},
    words::Words,
};
use super::{
    InvalidPayload, PayloadReader,
    elements::{Element, Part, Search},
    json::Node,
    people, utf8,
};
use crate::{config::mapping::AccountPaths, event::EventType};

pub use proposal::{Place, Proposal};

/// Events of one delivery that are looked at.
const EVENTS_MAX: usize = 64;
/// Members that are named where nobody is.
const STRANGERS_MAX: usize = 32;

/// What was seen so far of one source's deliveries.
pub struct Learner {
    words: Words,
    bodies: HashSet<Bytes>,
    events: usize,
    /// Events in which nobody was found.
    nameless: usize,
    /// The members of those, as paths.
    strangers: BTreeMap<String, usize>,
    fields: BTreeMap<&'static str, BTreeMap<String, Seen>>,
    accounts: Vec<(Account, Seen)>,
    /// Paths of lists or objects around events.
    envelopes: BTreeMap<String, usize>,
    /// The event that had an id of a delivery, by path and id: one id over two events identifies neither.
    ids: HashMap<(String, String), String>,
    ambiguous: HashSet<String>,
    /// Accounts that only their form gave away.
    by_form: HashSet<String>,
}

/// How often something was seen, and how early its word comes among the candidates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Seen {
    rank: usize,
    count: usize,
}

/// Where an account stands, and whose it is.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Account {
    /// `accounts` or `referrer_accounts`.
    field: &'static str,
    paths: AccountPaths,
}

impl Learner {
    /// Knows the words of the reader's mapping, and of the preset.
    pub fn new(reader: &PayloadReader) -> Self {
        Self {
            words: Words::new(&reader.mapping),
            bodies: HashSet::new(),
            events: 0,
            nameless: 0,
            strangers: BTreeMap::new(),
            fields: BTreeMap::new(),
            accounts: Vec::new(),
            envelopes: BTreeMap::new(),
            ids: HashMap::new(),
            ambiguous: HashSet::new(),
            by_form: HashSet::new(),
        }
    }

    /// Looks at one delivery; at the same bytes only once.
    pub fn see(&mut self, reader: &PayloadReader, body: &Bytes, scope: Option<&EventType>) -> Result<(), InvalidPayload> {
        if !self.bodies.insert(body.clone()) {
            return Ok(());
        }
        let root = Node::parse(utf8(body)?)?;
        let parts = Search { mapping: &reader.mapping, scope }.parts(&root)?;
        for part in parts.iter().take(EVENTS_MAX) {
            match part {
                Part::Event(element) => self.event(reader, element),
                Part::Nobody(node) => {
                    let scan = Scan::of(node, None);
                    if !self.person(&scan) && !self.people_in_lists(&scan) {
                        self.nobody(&scan);
                    }
                }
            }
        }
        Ok(())
    }

    /// An event that the mapping of now addresses: each object around it has its own paths.
    fn event(&mut self, reader: &PayloadReader, element: &Element<'_, '_>) {
        let data = Scan::of(element.data(), None);
        if !self.person(&data) {
            // A referral that names its referrer only.
            self.events += 1;
            self.note_all(&data);
        }
        for (outer, inner) in element.layers.iter().zip(element.layers.iter().skip(1)) {
            let envelope = reader.mapping.envelopes.iter().find(|path| {
                let found = outer.object().and_then(|object| people::find(object, path));
                found.is_some_and(|node| scan::holds(node, inner))
            });
            if let Some(path) = envelope {
                *self.envelopes.entry(path.as_str().to_owned()).or_default() += 1;
            }
            self.note_all(&Scan::of(outer, Some(inner)));
        }
    }

    /// Notes the people and the fields of an event; false if it names no user, and then nothing is noted.
    fn person(&mut self, scan: &Scan<'_, '_>) -> bool {
        let Some(object) = scan.node.object() else { return false };
        let mut accounts = self.words.accounts(object, scan);
        let is_id = |leaf: &Leaf<'_, '_>| self.words.field_of(leaf).is_some_and(|word| word.field == "claimr_id");
        let is_named = accounts.iter().any(|(account, _)| account.field == "accounts") || scan.leaves.iter().any(is_id);
        if !is_named {
            let by_form = words::by_form(scan);
            if by_form.is_empty() {
                return false;
            }
            self.by_form.extend(by_form.iter().map(|account| account.paths.account.as_str().to_owned()));
            accounts.extend(by_form.into_iter().map(|account| (account, usize::MAX)));
        }
        self.events += 1;
        for (account, rank) in accounts {
            match self.accounts.iter_mut().find(|(known, _)| *known == account) {
                Some((_, seen)) => seen.count += 1,
                None => self.accounts.push((account, Seen { rank, count: 1 })),
            }
        }
        self.note_all(scan);
        true
    }

    /// Looks into lists of objects, for an envelope that nobody knew.
    fn people_in_lists(&mut self, scan: &Scan<'_, '_>) -> bool {
        let mut any = false;
        for (path, list, items) in &scan.lists {
            let found = items.iter().take(EVENTS_MAX).filter(|item| self.person(&Scan::of(item, None))).count();
            if found > 0 {
                *self.envelopes.entry(path.join(".")).or_default() += found;
                self.note_all(&Scan::of(scan.node, Some(list)));
                any = true;
            }
        }
        any
    }

    fn nobody(&mut self, scan: &Scan<'_, '_>) {
        self.events += 1;
        self.nameless += 1;
        self.note_all(scan);
        for leaf in &scan.leaves {
            if self.strangers.len() < STRANGERS_MAX {
                *self.strangers.entry(leaf.path.join(".")).or_default() += 1;
            }
        }
    }

    /// Notes every member that a word names.
    fn note_all(&mut self, scan: &Scan<'_, '_>) {
        for leaf in &scan.leaves {
            let Some(word) = self.words.field_of(leaf) else { continue };
            let (field, rank, path) = (word.field, word.rank, leaf.path.join("."));
            if field == "delivery_id"
                && let Some(id) = people::account(leaf.node)
                && let Some(other) = self.ids.insert((path.clone(), id.into_owned()), scan.node.raw.to_owned())
                && other != scan.node.raw
            {
                self.ambiguous.insert(path.clone());
            }
            self.fields.entry(field).or_default().entry(path).or_insert(Seen { rank, count: 0 }).count += 1;
        }
    }
}

#[cfg(test)]
mod tests;
