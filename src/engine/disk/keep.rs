//! Retention: what is too old or too much for one key stops being shown at once; its bytes go in the background, segment by segment.
//!
//! Segments that are finished never change, so everything here works on them without stopping the writer: a segment gets its index
//! file; one that is all too old, or half of what it holds is too much for its keys, is written anew without that; many small
//! neighbours become one. What was taken from a key's list stays as a mark, until cursors that old are refused altogether.

use std::{
    collections::HashMap,
    io,
    sync::{Arc, atomic::Ordering},
};

use super::{
    index::{Index, LetterRow, Place, Post, Row, Tables},
    log::Log,
    record::{self, EventHead, ITEM_HEAD, KeyHash},
    segment::{Draft, Head, Segment},
};
use crate::event::Timestamp;

/// How many segments one call indexes or writes anew at most.
const SEGMENTS_PER_CALL_MAX: usize = 8;
/// How many small neighbours are worth being made one.
const NEIGHBOURS_MIN: usize = 8;
/// Bytes after which a segment that is written anew begins another group.
const GROUP_BYTES: usize = 256 * 1024;

/// What the housekeeping remembers between calls.
#[derive(Default)]
pub(super) struct Keeper {
    /// Bytes of the log when nothing more could be cleaned out of it.
    cleaned_bytes: u64,
}

/// The events of a segment, and those of each key.
type Lists = (Vec<Row>, Vec<Post>);

/// The highest number of a key's list that is too much for it.
type Excess = HashMap<KeyHash, u64>;

impl Keeper {
    /// Applies retention as of `now`. True if the active segment should be finished, so that the next call gets at it.
    pub(super) fn retain(&mut self, log: &Log, now: Timestamp) -> io::Result<bool> {
        let wants_rotation = age(log, now)?;
        index_finished(log)?;
        forget(log)?;
        let mut budget = SEGMENTS_PER_CALL_MAX;
        while budget > 0
            && !log.closed.load(Ordering::Acquire)
            && let Some(run) = next_run(log)
        {
            rewrite(log, &run, &Excess::new())?;
            budget -= 1;
        }
        if budget > 0 {
            self.clean(log, budget)?;
        }
        Ok(wants_rotation)
    }

    /// Once the log has doubled, takes out what is too much for its keys wherever that is half of a segment.
    fn clean(&mut self, log: &Log, budget: usize) -> io::Result<()> {
        let sealed = Arc::clone(&log.parts().sealed);
        let bytes: u64 = sealed.iter().map(|segment| segment.bytes).sum();
        if bytes <= 2 * self.cleaned_bytes + 2 * log.limits.segment_bytes_max {
            return Ok(());
        }
        let (excess, spent) = find_excess(log, &sealed)?;
        for segment in spent.iter().take(budget) {
            rewrite(log, std::slice::from_ref(segment), &excess)?;
        }
        if spent.len() <= budget {
            self.cleaned_bytes = log.parts().sealed.iter().map(|segment| segment.bytes).sum();
        }
        Ok(())
    }
}

/// Moves the two limits of age on. True if what the active segment holds is old enough to finish it.
pub(super) fn age(log: &Log, now: Timestamp) -> io::Result<bool> {
    let (sealed, clock) = {
        let mut parts = log.parts_mut();
        parts.clock = parts.clock.max(now);
        (Arc::clone(&parts.sealed), parts.clock)
    };
    let limit = clock.minus(log.retention.max_age);
    let aged = last_before(log, &sealed, limit)?;
    let floor = last_before(log, &sealed, limit.minus(log.retention.max_age))?;
    let mut parts = log.parts_mut();
    parts.aged = parts.aged.max(aged);
    parts.floor = parts.floor.max(floor);
    let quarter = clock.minus(log.retention.max_age / 4);
    Ok(parts.active.events() > 0 && parts.active.last_before(quarter)?.is_some())
}

/// The highest number that was stored before `limit`; 0 if none is known.
fn last_before(log: &Log, sealed: &[Arc<Segment>], limit: Timestamp) -> io::Result<u64> {
    let mut last = 0;
    for segment in sealed {
        if segment.last_stamp >= limit {
            return Ok(segment.last_before(limit)?.unwrap_or(last));
        }
        last = segment.last;
    }
    Ok(log.parts().active.last_before(limit)?.unwrap_or(last))
}

/// Gives segments that were finished since the last call their index files.
fn index_finished(log: &Log) -> io::Result<()> {
    let sealed = Arc::clone(&log.parts().sealed);
    for segment in sealed.iter().filter(|segment| segment.is_unindexed()).take(SEGMENTS_PER_CALL_MAX) {
        let indexed = segment.with_index_file(&segment.tables()?)?;
        replace(log, std::slice::from_ref(segment), indexed);
    }
    Ok(())
}

/// Removes the oldest segments, as long as nothing in them is needed any more.
fn forget(log: &Log) -> io::Result<()> {
    loop {
        let gone = {
            let letters_after = last_letter(log).saturating_sub(log.retention.dead_letters_max as u64);
            let mut parts = log.parts_mut();
            let Some(oldest) = parts.sealed.first() else { return Ok(()) };
            let holds_letters = oldest.letters().iter().any(|letter| letter.number > letters_after);
            if oldest.last > parts.floor || holds_letters || oldest.seen_until() >= parts.clock {
                return Ok(());
            }
            Arc::make_mut(&mut parts.sealed).remove(0)
        };
        gone.remove()?;
    }
}

/// The number of the newest dead letter.
fn last_letter(log: &Log) -> u64 {
    let parts = log.parts();
    let newest = |segment: &Segment| segment.letters().last().map(|letter| letter.number);
    newest(&parts.active).or_else(|| parts.sealed.iter().rev().find_map(|segment| newest(segment))).unwrap_or(0)
}

/// A segment of which every event is too old, or small neighbours.
fn next_run(log: &Log) -> Option<Vec<Arc<Segment>>> {
    let parts = log.parts();
    if let Some(old) = parts.sealed.iter().find(|segment| segment.last <= parts.aged && segment.events() > 0) {
        return Some(vec![Arc::clone(old)]);
    }
    let bytes_max = log.limits.segment_bytes_max;
    let mut run: Vec<Arc<Segment>> = Vec::new();
    let mut bytes = 0;
    for segment in parts.sealed.iter() {
        let fits = segment.bytes <= bytes_max / 2 && bytes + segment.bytes <= bytes_max;
        if !fits {
            if run.len() >= NEIGHBOURS_MIN {
                break;
            }
            run.clear();
            bytes = 0;
        }
        if segment.bytes <= bytes_max / 2 {
            bytes += segment.bytes;
            run.push(Arc::clone(segment));
        }
    }
    (run.len() >= NEIGHBOURS_MIN).then_some(run)
}

/// What is too much for each key, and the segments of which that is at least half.
fn find_excess(log: &Log, sealed: &[Arc<Segment>]) -> io::Result<(Excess, Vec<Arc<Segment>>)> {
    let max = log.retention.max_events_per_user;
    let mut newer: HashMap<KeyHash, usize> = HashMap::new();
    let mut excess = Excess::new();
    let mut spent = Vec::new();
    // Sorted when the lock is free again: the writer waits for it.
    let active = log.parts().active.lists()?;
    count(active, max, &mut newer, &mut excess);
    for segment in sealed.iter().rev() {
        let (rows, posts) = count(segment.lists()?, max, &mut newer, &mut excess);
        let kept: u64 = kept_rows(&rows, &posts, &excess, 0).map(|(row, _)| u64::from(row.place.bytes)).sum();
        if segment.events() > 0 && kept * 2 < segment.bytes {
            spent.push(Arc::clone(segment));
        }
    }
    Ok((excess, spent))
}

/// Adds a segment's lists to those of newer ones, and sorts them.
fn count(lists: Lists, max: usize, newer: &mut HashMap<KeyHash, usize>, excess: &mut Excess) -> Lists {
    let (rows, mut posts) = lists;
    posts.sort_unstable();
    for list in posts.chunk_by(|a, b| a.key == b.key) {
        let Some(Post { key, .. }) = list.first() else { continue };
        let known = newer.entry(*key).or_default();
        let room = max.saturating_sub(*known);
        *known = known.saturating_add(list.len()).min(max);
        // The newest that is too much; the first segment that has one has the newest.
        let newest = list.len().checked_sub(room + 1).and_then(|at| rows.get(list.get(at)?.row as usize));
        if let Some(row) = newest {
            excess.entry(*key).or_insert(row.seq);
        }
    }
    (rows, posts)
}

/// The events that are still in somebody's list, each with its keys.
fn kept_rows<'a>(
    rows: &'a [Row],
    posts: &[Post],
    excess: &'a Excess,
    aged: u64,
) -> impl Iterator<Item = (&'a Row, Vec<KeyHash>)> + use<'a> {
    let mut keys: Vec<(u32, KeyHash)> = posts.iter().map(|post| (post.row, post.key)).collect();
    keys.sort_unstable();
    let mut at = 0;
    rows.iter().zip(0..).filter_map(move |(row, number): (&Row, u32)| {
        let start = at;
        while keys.get(at).is_some_and(|(of, _)| *of == number) {
            at += 1;
        }
        let own: Vec<KeyHash> = keys.get(start..at)?.iter().map(|(_, key)| *key).collect();
        let is_listed = |key: &KeyHash| excess.get(key).is_none_or(|last| row.seq > *last);
        (row.seq > aged && own.iter().any(is_listed)).then_some((row, own))
    })
}

/// Writes neighbours anew as one segment, without what retention has taken.
fn rewrite(log: &Log, run: &[Arc<Segment>], excess: &Excess) -> io::Result<()> {
    let (Some(oldest), Some(newest)) = (run.first(), run.last()) else { return Ok(()) };
    let (aged, floor, clock) = {
        let parts = log.parts();
        (parts.aged, parts.floor, parts.clock)
    };
    let letters_after = last_letter(log).saturating_sub(log.retention.dead_letters_max as u64);
    let stamp = run.iter().map(|segment| segment.last_stamp).max().unwrap_or_default();
    let head = Head {
        id: fastrand::u64(..),
        first: oldest.head.first,
        through: newest.head.through,
        replaced: Some((newest.last, stamp)),
    };
    let mut copy = Copy::begin(Draft::begin(&log.folder, oldest.number, head)?);
    for segment in run {
        let tables = segment.tables()?;
        copy.events(segment, &tables, excess, aged)?;
        copy.marks(&tables, excess, aged, floor)?;
        for (key, first) in tables.seen.iter().filter(|(_, first)| first.until >= clock) {
            copy.item(|out| record::put_seen(out, *key, first))?;
            copy.index.seen.insert(*key, *first);
        }
        for letter in tables.letters.iter().filter(|letter| letter.number > letters_after) {
            let place = copy.raw(&segment.item(letter.place)?)?;
            copy.index.letters.push(LetterRow { place, ..*letter });
        }
    }
    let segment = copy.finish()?;
    let segment = segment.with_index_file(&segment.tables()?)?;
    replace(log, run, segment);
    run.iter().skip(1).try_for_each(|segment| segment.remove())
}

/// Puts one segment in the place of neighbours.
fn replace(log: &Log, run: &[Arc<Segment>], by: Segment) {
    let mut parts = log.parts_mut();
    let sealed = Arc::make_mut(&mut parts.sealed);
    let start = run.first().and_then(|oldest| sealed.iter().position(|segment| segment.number == oldest.number));
    if let Some(start) = start {
        sealed.splice(start..start + run.len(), [Arc::new(by)]);
    }
}

/// A segment that is being written from others.
struct Copy {
    draft: Draft,
    index: Index,
    group: Vec<u8>,
}

impl Copy {
    fn begin(draft: Draft) -> Self {
        let mut group = Vec::new();
        record::begin_group(&mut group);
        Self { draft, index: Index::default(), group }
    }

    /// Adds an item that `write` appends, and says where it came to stand.
    fn item(&mut self, write: impl FnOnce(&mut Vec<u8>)) -> io::Result<Place> {
        let start = self.group.len();
        write(&mut self.group);
        let too_large = |_| io::Error::other("the segment would be too large");
        let place = Place {
            offset: u32::try_from(self.draft.bytes + start as u64).map_err(too_large)?,
            bytes: u32::try_from(self.group.len() - start).map_err(too_large)?,
        };
        if self.group.len() >= GROUP_BYTES {
            self.flush()?;
        }
        Ok(place)
    }

    /// Adds an item as it was, head included.
    fn raw(&mut self, bytes: &[u8]) -> io::Result<Place> {
        debug_assert!(bytes.len() >= ITEM_HEAD);
        self.item(|out| out.extend_from_slice(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.group.len() > record::GROUP_HEAD {
            record::end_group(&mut self.group, record::GROUP_HEAD);
            self.draft.append(&self.group)?;
        }
        self.group.clear();
        record::begin_group(&mut self.group);
        Ok(())
    }

    fn events(&mut self, segment: &Segment, tables: &Tables, excess: &Excess, aged: u64) -> io::Result<()> {
        for (row, keys) in kept_rows(&tables.rows, &tables.posts, excess, aged) {
            let Some(kind) = tables.kinds.get(row.kind as usize) else { continue };
            let place = self.raw(&segment.item(row.place)?)?;
            let head = EventHead { seq: row.seq, at: row.at, stamp: row.stamp, kind: kind.clone() };
            self.index.add_event(&head, place, keys);
        }
        Ok(())
    }

    /// Keeps the marks of a segment, and makes one of the newest event that each key loses.
    fn marks(&mut self, tables: &Tables, excess: &Excess, aged: u64, floor: u64) -> io::Result<()> {
        let mut marks = tables.marks.clone();
        for Post { key, row } in &tables.posts {
            let Some(row) = tables.rows.get(*row as usize) else { continue };
            if row.seq <= aged || excess.get(key).is_some_and(|last| row.seq <= *last) {
                let mark = marks.entry(*key).or_default();
                *mark = row.seq.max(*mark);
            }
        }
        for (key, seq) in marks.into_iter().filter(|(_, seq)| *seq > floor) {
            self.item(|out| record::put_mark(out, key, seq))?;
            self.index.add_mark(key, seq);
        }
        Ok(())
    }

    fn finish(mut self) -> io::Result<Segment> {
        self.flush()?;
        self.draft.finish(self.index)
    }
}

#[cfg(test)]
mod tests;
