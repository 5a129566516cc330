//! What can be asked of a segment, in memory: the index of the segment that is being written, and of those that have no file yet.

use std::collections::{BTreeMap, HashMap};

use super::record::{EventHead, Item, KeyHash};
use crate::{
    engine::first::First,
    event::{EventType, Timestamp},
};

/// Where an item stands in its segment, head included, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) offset: u32,
    pub(super) bytes: u32,
}

/// One event of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Row {
    pub(super) seq: u64,
    pub(super) at: Timestamp,
    pub(super) stamp: Timestamp,
    /// Its type, as an index into the segment's types.
    pub(super) kind: u32,
    pub(super) place: Place,
}

/// One dead letter of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct LetterRow {
    /// Its number in the lane.
    pub(super) number: u64,
    pub(super) digest: [u8; 16],
    pub(super) place: Place,
}

/// The index in memory.
#[derive(Default)]
pub(super) struct Index {
    pub(super) rows: Vec<Row>,
    pub(super) kinds: Vec<EventType>,
    kind_numbers: HashMap<EventType, u32>,
    /// Per key the newest link of its chain.
    chains: HashMap<KeyHash, u32>,
    links: Vec<Link>,
    pub(super) marks: HashMap<KeyHash, u64>,
    pub(super) seen: HashMap<[u8; 16], First>,
    pub(super) letters: Vec<LetterRow>,
}

/// One event in one key's list, which leads to the one before.
#[derive(Clone, Copy)]
struct Link {
    row: u32,
    earlier: u32,
}

const NO_LINK: u32 = u32::MAX;

impl Index {
    /// Adds an event that stands at `place` and concerns `keys`.
    pub(super) fn add_event(&mut self, head: &EventHead, place: Place, keys: impl IntoIterator<Item = KeyHash>) {
        let row = number(self.rows.len());
        let kind = self.kind_number(&head.kind);
        self.rows.push(Row { seq: head.seq, at: head.at, stamp: head.stamp, kind, place });
        for key in keys {
            let newest = self.chains.entry(key).or_insert(NO_LINK);
            // An event that names a key twice is once in its list.
            if self.links.get(*newest as usize).is_some_and(|link| link.row == row) {
                continue;
            }
            self.links.push(Link { row, earlier: *newest });
            *newest = number(self.links.len() - 1);
        }
    }

    /// Adds a decoded item that stands at `place`; `None` if it is damaged.
    pub(super) fn add(&mut self, item: Item<'_>, place: Place, seed: u64) -> Option<()> {
        match item {
            Item::Event(head, first, views) => {
                let keys = views.keys()?;
                self.add_event(&head, place, keys.into_iter().map(|key| KeyHash::new(key, seed)));
                self.seen.extend(first);
            }
            Item::Letter(number, digest, _) => self.letters.push(LetterRow { number, digest, place }),
            Item::Mark(key, seq) => self.add_mark(key, seq),
            Item::Seen(key, first) => {
                self.seen.insert(key, first);
            }
        }
        Some(())
    }

    /// Remembers the highest number that was taken from a key's list.
    pub(super) fn add_mark(&mut self, key: KeyHash, seq: u64) {
        let mark = self.marks.entry(key).or_default();
        *mark = seq.max(*mark);
    }

    fn kind_number(&mut self, kind: &EventType) -> u32 {
        if let Some(known) = self.kind_numbers.get(kind) {
            return *known;
        }
        let new = number(self.kinds.len());
        self.kinds.push(kind.clone());
        self.kind_numbers.insert(kind.clone(), new);
        new
    }

    /// The events of a key, newest first.
    pub(super) fn list(&self, key: KeyHash) -> impl Iterator<Item = &Row> {
        let mut next = self.chains.get(&key).copied().unwrap_or(NO_LINK);
        std::iter::from_fn(move || {
            let link = self.links.get(next as usize)?;
            next = link.earlier;
            self.rows.get(link.row as usize)
        })
    }

    /// All of it, in the order of a file.
    pub(super) fn tables(&self) -> Tables {
        let (rows, mut posts) = self.lists();
        posts.sort_unstable();
        Tables {
            rows,
            kinds: self.kinds.clone(),
            posts,
            marks: self.marks.iter().map(|(key, seq)| (*key, *seq)).collect(),
            seen: self.seen.iter().map(|(key, first)| (*key, *first)).collect(),
            letters: self.letters.clone(),
        }
    }

    /// The events, and those of each key in no order.
    pub(super) fn lists(&self) -> (Vec<Row>, Vec<Post>) {
        let mut posts: Vec<Post> = Vec::with_capacity(self.links.len());
        for (key, newest) in &self.chains {
            let mut next = *newest;
            while let Some(link) = self.links.get(next as usize) {
                posts.push(Post { key: *key, row: link.row });
                next = link.earlier;
            }
        }
        (self.rows.clone(), posts)
    }
}

/// One event in one key's list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Post {
    pub(super) key: KeyHash,
    /// An index into the rows.
    pub(super) row: u32,
}

/// Everything that an index holds, sorted as its file wants it.
pub(super) struct Tables {
    /// Ascending by number.
    pub(super) rows: Vec<Row>,
    pub(super) kinds: Vec<EventType>,
    /// Ascending by key, then by row.
    pub(super) posts: Vec<Post>,
    pub(super) marks: BTreeMap<KeyHash, u64>,
    pub(super) seen: BTreeMap<[u8; 16], First>,
    pub(super) letters: Vec<LetterRow>,
}

/// A segment has far fewer than 2^32 of anything, because it has fewer bytes.
pub(super) fn number(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}
