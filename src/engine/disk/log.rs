//! The segments together: what the writer appends to, the housekeeping replaces, and everybody reads.
//!
//! The lock is held for look-ups in memory only; files are read after it is free, so that a slow disk does not make the writer wait for
//! a reader.

use std::{
    fs::File,
    io,
    path::PathBuf,
    sync::{Arc, PoisonError},
};

use super::{
    DiskLimits,
    index::{LetterRow, Place, Row},
    record::{self, ITEM_HEAD, Item, KeyHash},
    removed::Removed,
    seen::Seen,
    segment::{Segment, damaged, read_item},
};
use crate::{
    engine::{Backlog, Missed, Retention, Start, first::First},
    event::{DeadLetter, Epoch, EventType, Position, Timestamp, UserKey},
    protocol::{Frame, GapReason, Published},
    sync::{
        Mutex, RwLock, RwLockReadGuard, RwLockWriteGuard,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

/// What the engine, its writer and its housekeeping share.
pub(super) struct Log {
    pub(super) folder: PathBuf,
    pub(super) epoch: Epoch,
    /// Makes the key hashes of this log its own.
    pub(super) seed: u64,
    pub(super) retention: Retention,
    pub(super) limits: DiskLimits,
    pub(super) head: AtomicU64,
    pub(super) closed: AtomicBool,
    pub(super) parts: RwLock<Parts>,
    /// Taken after the lock of the parts.
    pub(super) removed: RwLock<Removed>,
    /// The writer's; never held together with another lock.
    pub(super) seen: Mutex<Seen>,
}

/// The segments, and how far retention by age has come.
pub(super) struct Parts {
    /// Those that do not grow any more, oldest first.
    pub(super) sealed: Sealed,
    /// The one that grows.
    pub(super) active: Segment,
    /// Events up to this number are older than the maximum age.
    pub(super) aged: u64,
    /// Cursors below this are refused: what retention took from whom is forgotten.
    pub(super) floor: u64,
    /// The latest moment that anybody told: ages are counted by it, so that a clock that is set back does no harm.
    pub(super) clock: Timestamp,
}

pub(super) type Sealed = Arc<Vec<Arc<Segment>>>;

/// What a query saw of a log that goes on changing.
struct Snapshot {
    sealed: Sealed,
    file: Arc<File>,
    path: PathBuf,
    floor: u64,
    lists: Vec<List>,
}

/// One key's events after some number, newest first, and the highest number after it that retention took away.
#[derive(Default)]
struct List {
    entries: Vec<Entry>,
    mark: u64,
}

#[derive(Clone, Copy)]
struct Entry {
    seq: u64,
    at: Timestamp,
    wanted: bool,
    place: Place,
    /// Which sealed segment it is in; the active one if none.
    segment: Option<usize>,
}

impl Log {
    pub(super) fn parts(&self) -> RwLockReadGuard<'_, Parts> {
        // Every state between two statements that could panic is a sound one.
        self.parts.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn parts_mut(&self) -> RwLockWriteGuard<'_, Parts> {
        self.parts.write().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn position(&self, seq: u64) -> Position {
        Position { epoch: self.epoch, seq }
    }

    pub(super) fn head(&self) -> u64 {
        self.head.load(Ordering::Acquire)
    }

    pub(super) fn hash(&self, key: &UserKey) -> KeyHash {
        KeyHash::new(key.as_str(), self.seed)
    }

    /// Answers [`crate::engine::Engine::missed`].
    pub(super) fn missed(&self, query: &Missed<'_>) -> io::Result<Backlog> {
        let (after, from) = match query.start {
            Start::Live => return Ok(Backlog::Complete(Vec::new())),
            Start::Since(from) => (0, from),
            Start::After(Err(_)) => return Ok(Backlog::Gap(GapReason::InvalidCursor)),
            Start::After(Ok(cursor)) if cursor.epoch != self.epoch => return Ok(Backlog::Gap(GapReason::OtherEpoch)),
            Start::After(Ok(cursor)) if cursor.seq > query.upto => return Ok(Backlog::Gap(GapReason::AheadOfHead)),
            Start::After(Ok(cursor)) => (cursor.seq, Timestamp(0)),
        };
        let seen = self.snapshot(query.keys, query.types, after)?;
        let is_resume = matches!(query.start, Start::After(_));
        if is_resume && (after < seen.floor || seen.lists.iter().any(|list| list.mark > after)) {
            return Ok(Backlog::Gap(GapReason::Evicted));
        }
        let entries = seen.lists.iter().flat_map(|list| &list.entries);
        let mut numbers: Vec<u64> =
            entries.filter(|e| e.wanted && e.seq <= query.upto && e.at >= from).map(|entry| entry.seq).collect();
        numbers.sort_unstable();
        numbers.dedup();
        Ok(Backlog::Complete(numbers))
    }

    /// Answers [`crate::engine::Engine::read`].
    pub(super) fn read(&self, keys: &[UserKey], seqs: &[u64]) -> io::Result<Vec<(u64, Frame)>> {
        let Some(first) = seqs.iter().min() else { return Ok(Vec::new()) };
        let seen = self.snapshot(keys, &[], first.saturating_sub(1))?;
        let mut entries: Vec<Entry> = seen.lists.iter().flat_map(|list| list.entries.iter().copied()).collect();
        entries.sort_unstable_by_key(|entry| entry.seq);
        let mut frames = Vec::with_capacity(seqs.len());
        for seq in seqs {
            let Ok(at) = entries.binary_search_by_key(seq, |entry| entry.seq) else { continue };
            let entry = entries[at];
            let (payload, path) = match entry.segment.and_then(|i| seen.sealed.get(i)) {
                Some(segment) => (segment.item(entry.place)?, &segment.path),
                None => (read_item(&seen.file, &seen.path, entry.place)?, &seen.path),
            };
            let payload = payload.slice(ITEM_HEAD..);
            let frame = match Item::decode(&payload) {
                Some(Item::Event(head, _, views)) if head.seq == *seq => views.frame_for(keys, &payload),
                _ => Err(record::Undecodable),
            };
            frames.extend(frame.map_err(|_| damaged(path, entry.place.offset))?.map(|frame| (*seq, frame)));
        }
        Ok(frames)
    }

    /// The newest dead letters, newest first.
    pub(super) fn dead_letters(&self, limit: usize) -> io::Result<Vec<DeadLetter>> {
        let (rows, sealed, file, path) = {
            let parts = self.parts();
            let active = parts.active.letters().iter().rev().map(|row| (*row, None));
            let sealed = parts.sealed.iter().enumerate().rev();
            let sealed = sealed.flat_map(|(i, segment)| segment.letters().iter().rev().map(move |row| (*row, Some(i))));
            let mut rows: Vec<(LetterRow, Option<usize>)> = active.chain(sealed).take(self.retention.dead_letters_max).collect();
            self.removed().forget_from(&mut rows);
            rows.truncate(limit);
            (rows, Arc::clone(&parts.sealed), Arc::clone(&parts.active.file), parts.active.path.clone())
        };
        let mut letters = Vec::with_capacity(rows.len());
        for (row, segment) in rows {
            let (payload, path) = match segment.and_then(|i| sealed.get(i)) {
                Some(segment) => (segment.item(row.place)?, &segment.path),
                None => (read_item(&file, &path, row.place)?, &path),
            };
            let payload = payload.slice(ITEM_HEAD..);
            let letter = match Item::decode(&payload) {
                Some(Item::Letter(_, _, letter)) => letter.decode(&payload),
                _ => None,
            };
            letters.push(letter.ok_or_else(|| damaged(path, row.place.offset))?);
        }
        Ok(letters)
    }

    /// One event with what everybody sees of it, unless it is too old.
    pub(super) fn event(&self, seq: u64) -> io::Result<Option<Published>> {
        let (found, file, path, sealed) = {
            let parts = self.parts();
            if seq <= parts.aged {
                return Ok(None);
            }
            let active = &parts.active;
            (active.row(seq)?, Arc::clone(&active.file), active.path.clone(), Arc::clone(&parts.sealed))
        };
        let (payload, path, place) = if let Some(row) = found {
            (read_item(&file, &path, row.place)?, &path, row.place)
        } else {
            let Some(segment) = sealed.iter().find(|segment| (segment.head.first..=segment.last).contains(&seq)) else {
                return Ok(None);
            };
            let Some(row) = segment.row(seq)? else { return Ok(None) };
            (segment.item(row.place)?, &segment.path, row.place)
        };
        let payload = payload.slice(ITEM_HEAD..);
        let event = match Item::decode(&payload) {
            Some(Item::Event(head, _, views)) if head.seq == seq => {
                views.decode(&payload).map(|views| Published { seq, kind: head.kind, views })
            }
            _ => None,
        };
        event.map(Some).ok_or_else(|| damaged(path, place.offset))
    }

    /// What is remembered under a de-duplication key, if a repetition could still be recognised `at` this moment.
    pub(super) fn first(&self, key: [u8; 16], at: Timestamp) -> io::Result<Option<First>> {
        let sealed = {
            let parts = self.parts();
            if let Some(first) = parts.active.first(key, at)? {
                return Ok(Some(first));
            }
            Arc::clone(&parts.sealed)
        };
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).first(&sealed, key, at)
    }

    /// Collects the lists of `keys` after a number: what is in memory at one moment, and then what the files have.
    fn snapshot(&self, keys: &[UserKey], types: &[EventType], after: u64) -> io::Result<Snapshot> {
        let hashes: Vec<KeyHash> = keys.iter().map(|key| self.hash(key)).collect();
        let mut lists: Vec<List> = hashes.iter().map(|_| List::default()).collect();
        let (bounds, sealed, file, path, floor) = {
            let parts = self.parts();
            let bounds = Bounds { after, aged: parts.aged, max: self.retention.max_events_per_user };
            for (list, hash) in lists.iter_mut().zip(&hashes) {
                list.extend(&parts.active, None, *hash, types, bounds)?;
            }
            let active = &parts.active;
            (bounds, Arc::clone(&parts.sealed), Arc::clone(&active.file), active.path.clone(), parts.floor)
        };
        for (list, hash) in lists.iter_mut().zip(hashes) {
            for (i, segment) in sealed.iter().enumerate().rev().take_while(|(_, segment)| segment.last > after) {
                list.extend(segment, Some(i), hash, types, bounds)?;
            }
        }
        Ok(Snapshot { sealed, file, path, floor, lists })
    }
}

/// Which events of a key's list count.
#[derive(Clone, Copy)]
struct Bounds {
    after: u64,
    aged: u64,
    max: usize,
}

impl List {
    /// Adds what an older segment has. The first event that retention took, by age or by count, ends the list.
    fn extend(
        &mut self,
        segment: &Segment,
        number: Option<usize>,
        key: KeyHash,
        types: &[EventType],
        bounds: Bounds,
    ) -> io::Result<()> {
        self.mark = self.mark.max(segment.mark(key)?.unwrap_or(0));
        let after = bounds.after.max(self.mark);
        // One more than can be kept tells that there was one too many.
        let room = bounds.max.saturating_sub(self.entries.len());
        for Row { seq, at, kind, place, .. } in segment.list(key, after, room + 1)? {
            if self.entries.len() >= bounds.max || seq <= bounds.aged {
                self.mark = self.mark.max(seq);
                break;
            }
            let kind = segment.kinds().get(kind as usize);
            let wanted = types.is_empty() || kind.is_some_and(|kind| types.contains(kind));
            self.entries.push(Entry { seq, at, wanted, place, segment: number });
        }
        Ok(())
    }
}
