//! Which finished segments may remember a de-duplication key: their Bloom filters side by side, bit by bit, so that asking hundreds of
//! segments costs little more than asking one.
//!
//! Every event is looked for in all of them. Asked one after the other, 260 filters (10 million events) took 13 µs of each event.

use std::{
    cmp::Reverse,
    io,
    sync::{Arc, Weak},
};

use super::{
    index_file::{Filter, seen_hash},
    log::Sealed,
    segment::Segment,
};
use crate::{engine::first::First, event::Timestamp};

/// Filters that stand side by side.
const COLUMNS: usize = 32;

/// The filters of the segments that were there when it was asked last.
#[derive(Default)]
pub(super) struct Seen {
    /// That list of segments. Neither it nor a column keeps a segment alive: the space of one that retention has removed is free at once.
    known: Weak<Vec<Arc<Segment>>>,
    blocks: Vec<Block>,
    /// Those without a filter: they have no index file yet and remember all of it in memory, or the file could not be read.
    unfiltered: Vec<Weak<Segment>>,
}

/// Filters of one size.
struct Block {
    /// For each bit of a filter, which columns have it.
    bits: Vec<u32>,
    columns: [Weak<Segment>; COLUMNS],
}

impl Seen {
    /// The filters of `sealed`.
    pub(super) fn of(sealed: &Sealed) -> Self {
        let mut filters = Self::default();
        filters.follow(sealed);
        filters
    }

    /// What the newest of `sealed` that knows `key` remembers of it, if a repetition could still be recognised `at` this moment.
    pub(super) fn first(&mut self, sealed: &Sealed, key: [u8; 16], at: Timestamp) -> io::Result<Option<First>> {
        self.follow(sealed);
        let hash = seen_hash(&key);
        let maybe = self.blocks.iter().flat_map(|block| block.columns_with(hash)).chain(&self.unfiltered);
        let mut maybe: Vec<Arc<Segment>> = maybe.filter_map(Weak::upgrade).collect();
        maybe.sort_unstable_by_key(|segment| Reverse(segment.number));
        for segment in maybe {
            if let Some(first) = segment.first(key, at)? {
                return Ok(Some(first));
            }
        }
        Ok(None)
    }

    /// Takes up what has changed among the segments.
    fn follow(&mut self, sealed: &Sealed) {
        if self.known.as_ptr() == Arc::as_ptr(sealed) {
            return;
        }
        let mut new: Vec<&Arc<Segment>> = sealed.iter().collect();
        // By their addresses, which are each one's own as long as somebody holds on to it.
        new.sort_unstable_by_key(|segment| Arc::as_ptr(segment));
        for block in &mut self.blocks {
            block.keep(&mut new);
        }
        self.blocks.retain(|block| !block.is_empty());
        self.unfiltered.clear();
        for segment in new {
            match segment.seen_filter() {
                Ok(Some(filter)) => self.add(segment, &filter),
                Ok(None) | Err(_) => self.unfiltered.push(Arc::downgrade(segment)),
            }
        }
        self.known = Arc::downgrade(sealed);
    }

    fn add(&mut self, segment: &Arc<Segment>, filter: &Filter) {
        let size = filter.bits();
        let fits = |block: &Block| block.bits.len() == size && block.columns.iter().any(|column| column.strong_count() == 0);
        let at = self.blocks.iter().position(fits).unwrap_or_else(|| {
            self.blocks.push(Block { bits: vec![0; size], columns: Default::default() });
            self.blocks.len() - 1
        });
        self.blocks[at].add(segment, filter);
    }
}

impl Block {
    /// The columns whose filters say "maybe".
    fn columns_with(&self, hash: u64) -> impl Iterator<Item = &Weak<Segment>> {
        let mut maybe = if self.bits.is_empty() { 0 } else { u32::MAX };
        for bit in Filter::probes(hash, self.bits.len()) {
            maybe &= self.bits.get(bit).copied().unwrap_or(0);
            if maybe == 0 {
                break;
            }
        }
        self.columns.iter().enumerate().filter(move |(number, _)| maybe & (1 << number) != 0).map(|(_, column)| column)
    }

    /// Lets go of those that are not among `sealed` any more, and takes the others out of it, because they are known.
    fn keep(&mut self, sealed: &mut Vec<&Arc<Segment>>) {
        let mut gone = 0;
        for (number, column) in self.columns.iter_mut().enumerate() {
            if let Ok(at) = sealed.binary_search_by_key(&column.as_ptr(), |segment| Arc::as_ptr(segment)) {
                sealed.remove(at);
            } else {
                *column = Weak::new();
                gone |= 1 << number;
            }
        }
        if gone != u32::MAX {
            self.bits.iter_mut().for_each(|columns| *columns &= !gone);
        }
    }

    fn is_empty(&self) -> bool {
        self.columns.iter().all(|column| column.strong_count() == 0)
    }

    fn add(&mut self, segment: &Arc<Segment>, filter: &Filter) {
        let Some(number) = self.columns.iter().position(|column| column.strong_count() == 0) else { return };
        self.columns[number] = Arc::downgrade(segment);
        // A start does this for every segment.
        for (bits, word) in self.bits.chunks_mut(64).zip(filter.words()) {
            let mut rest = *word;
            while rest != 0 {
                bits[rest.trailing_zeros() as usize] |= 1 << number;
                rest &= rest - 1;
            }
        }
    }
}

#[cfg(test)]
mod tests;
