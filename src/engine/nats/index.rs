//! What a gateway knows of every event in the log, in memory: whom it concerns, of which type and how old it is. Not what it says.
//!
//! Each gateway reads the whole log once, in order, and comes to the same index; so it answers what a session has missed by itself, exactly,
//! by the same rules as the other engines: the cap counts per user key, ages by the time in the events, and what retention removed is
//! remembered per key, so that whoever lost nothing resumes even from an old cursor.
//!
//! The stream keeps one event more of each set of keys than a user keeps. So the newest event that the cap took from a key is always
//! still there for a gateway that starts later, which then draws the same line.

use std::{
    collections::{BTreeSet, HashMap, HashSet, VecDeque},
    sync::Arc,
    time::Duration,
};

use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::{
    engine::{Backlog, Missed, Start, first::First},
    event::{Epoch, EventType, Position, Timestamp, UserKey},
    protocol::GapReason,
};

/// How many events one [`Index::retain`] removes at most.
const RETAIN_EVENTS_MAX: usize = 10_000;
/// Into how many steps `max_age` is divided to remember how old the removed events were.
const AGE_STEPS: u32 = 256;
/// For so long after its window a first is remembered all the same: the server may still know its name, and take a new event for it.
const NAMES_KEPT: Duration = Duration::from_mins(5);
/// When so many types are known, those of no event are forgotten.
const KINDS_BEFORE_SWEEP: usize = 1_024;

/// The bounds of an index.
#[derive(Clone, Copy, Debug)]
pub(super) struct IndexLimits {
    pub(super) max_age: Duration,
    pub(super) max_events_per_user: usize,
    pub(super) events_max: usize,
}

/// The index.
pub(super) struct Index {
    epoch: Epoch,
    limits: IndexLimits,
    /// Makes the hashes this process's own, so that nobody can prepare two keys that share one. Should two share one all the same, one of them
    /// may be sent a `$gap` too many: what is delivered is decided by the keys in the event itself.
    seed: u64,
    head: u64,
    rows: VecDeque<Row>,
    /// The keys of the rows, one after the other.
    keys: VecDeque<u64>,
    lists: HashMap<u64, List>,
    /// Keys that had no event left when this number was removed.
    emptied: VecDeque<(u64, u64)>,
    /// Cursors below this are refused: what is known of what retention took from whom begins here.
    floor: u64,
    /// From time to time the newest event and its stamp, to know when marks are old enough to forget.
    ages: VecDeque<(u64, Timestamp)>,
    seen: HashMap<[u8; 16], First>,
    seen_by_until: BTreeSet<(Timestamp, [u8; 16])>,
    /// The same by their numbers: what is remembered of repetitions is at most as much as of events.
    firsts: VecDeque<(u64, [u8; 16])>,
    kinds: HashSet<Arc<EventType>>,
    /// The latest moment that anybody told: ages are counted by it, so that a clock that is set back does no harm.
    clock: Timestamp,
}

struct Row {
    seq: u64,
    /// When a gateway received it.
    at: Timestamp,
    /// When it was stored; never before that of its predecessor.
    stamp: Timestamp,
    kind: Arc<EventType>,
    keys: usize,
}

/// One key's events, oldest first, and the highest number that retention took from it.
#[derive(Default)]
struct List {
    seqs: VecDeque<u64>,
    mark: u64,
}

/// What the index needs to know of an event.
pub(super) struct Entry {
    pub(super) seq: u64,
    pub(super) at: Timestamp,
    pub(super) kind: EventType,
    pub(super) first: Option<([u8; 16], First)>,
}

impl Index {
    /// An index of a log under `epoch` of which nothing is known yet and events up to `floor` never will be.
    pub(super) fn new(epoch: Epoch, floor: u64, limits: IndexLimits) -> Self {
        Self {
            epoch,
            limits,
            seed: fastrand::u64(..),
            head: floor,
            rows: VecDeque::new(),
            keys: VecDeque::new(),
            lists: HashMap::new(),
            emptied: VecDeque::new(),
            floor,
            ages: VecDeque::new(),
            seen: HashMap::new(),
            seen_by_until: BTreeSet::new(),
            firsts: VecDeque::new(),
            kinds: HashSet::new(),
            clock: Timestamp(0),
        }
    }

    pub(super) fn head(&self) -> Position {
        self.position(self.head)
    }

    pub(super) fn position(&self, seq: u64) -> Position {
        Position { epoch: self.epoch, seq }
    }

    /// The latest moment that the log knows of.
    pub(super) fn clock(&self) -> Timestamp {
        self.clock
    }

    fn hash(&self, key: &str) -> u64 {
        xxh3_64_with_seed(key.as_bytes(), self.seed)
    }

    /// Adds the next event, which concerns `keys`.
    pub(super) fn append<'k>(&mut self, entry: Entry, keys: impl Iterator<Item = &'k str>) {
        let Entry { seq, at, kind, first } = entry;
        self.clock = self.clock.max(at);
        let stamp = self.clock;
        if self.ages.back().is_none_or(|(_, last)| last.plus(self.limits.max_age / AGE_STEPS) <= stamp) {
            self.ages.push_back((seq, stamp));
        }
        let mut count = 0;
        for hash in keys.map(|key| xxh3_64_with_seed(key.as_bytes(), self.seed)) {
            let list = self.lists.entry(hash).or_default();
            if list.seqs.back() == Some(&seq) {
                continue;
            }
            list.seqs.push_back(seq);
            if list.seqs.len() > self.limits.max_events_per_user {
                list.mark = list.seqs.pop_front().unwrap_or(list.mark);
            }
            self.keys.push_back(hash);
            count += 1;
        }
        let kind = self.intern(kind);
        self.rows.push_back(Row { seq, at, stamp, kind, keys: count });
        if let Some((key, first)) = first {
            // A log in NATS knows a delivery id as long as its event, whatever a sender says.
            self.remember(key, First { until: first.until.min(at.plus(self.limits.max_age)), ..first });
        }
        if self.rows.len() > self.limits.events_max {
            self.drop_oldest();
        }
        self.head = seq;
    }

    /// Moves the head over a message that is no event.
    pub(super) fn skip(&mut self, seq: u64) {
        self.head = self.head.max(seq);
    }

    /// Events up to `seq` are gone, and nobody knows whom they concerned.
    pub(super) fn lose(&mut self, seq: u64) {
        self.floor = self.floor.max(seq);
        self.head = self.head.max(seq);
    }

    /// Events up to `seq`, which were seen, are gone from the stream.
    pub(super) fn truncate(&mut self, seq: u64) {
        while self.rows.front().is_some_and(|row| row.seq <= seq) {
            self.drop_oldest();
        }
    }

    fn intern(&mut self, kind: EventType) -> Arc<EventType> {
        if let Some(known) = self.kinds.get(&kind) {
            return Arc::clone(known);
        }
        if self.kinds.len() >= KINDS_BEFORE_SWEEP {
            self.kinds.retain(|kind| Arc::strong_count(kind) > 1);
        }
        let kind = Arc::new(kind);
        self.kinds.insert(Arc::clone(&kind));
        kind
    }

    /// A retry that came round by another gateway is a first again once the window is over, and the latest first counts.
    fn remember(&mut self, key: [u8; 16], first: First) {
        if let Some(earlier) = self.seen.insert(key, first) {
            self.seen_by_until.remove(&(earlier.until, key));
        }
        self.seen_by_until.insert((first.until, key));
        self.firsts.push_back((first.seq, key));
        if self.firsts.len() > self.limits.events_max {
            let oldest = self.firsts.pop_front();
            if let Some((seq, key)) = oldest
                && let Some(first) = self.seen.get(&key).copied().filter(|first| first.seq == seq)
            {
                self.seen.remove(&key);
                self.seen_by_until.remove(&(first.until, key));
            }
        }
    }

    /// What is remembered under a de-duplication key.
    pub(super) fn first(&self, key: &[u8; 16]) -> Option<First> {
        self.seen.get(key).copied()
    }

    fn drop_oldest(&mut self) {
        let Some(row) = self.rows.pop_front() else { return };
        for hash in self.keys.drain(..row.keys) {
            let Some(list) = self.lists.get_mut(&hash) else { continue };
            if list.seqs.front() != Some(&row.seq) {
                continue;
            }
            list.seqs.pop_front();
            list.mark = list.mark.max(row.seq);
            if list.seqs.is_empty() {
                list.seqs = VecDeque::new();
                self.emptied.push_back((row.seq, hash));
            }
        }
        // Keys without an event are not to outnumber the events: the oldest are forgotten, and with them what cursors of before may resume.
        if let Some((seq, _)) =
            self.emptied.len().checked_sub(self.limits.events_max).and_then(|over| self.emptied.get(over.checked_sub(1)?))
        {
            self.floor = self.floor.max(*seq);
            self.forget_emptied();
        }
    }

    /// Forgets the keys that have had no event since before every cursor that may resume.
    fn forget_emptied(&mut self) {
        while let Some((_, hash)) = self.emptied.front().filter(|(seq, _)| *seq <= self.floor).copied() {
            self.emptied.pop_front();
            if self.lists.get(&hash).is_some_and(|list| list.seqs.is_empty() && list.mark <= self.floor) {
                self.lists.remove(&hash);
            }
        }
    }

    /// Applies retention by age as of `now`.
    pub(super) fn retain(&mut self, now: Timestamp) {
        self.clock = self.clock.max(now);
        let limit = self.clock.minus(self.limits.max_age);
        for _ in 0..RETAIN_EVENTS_MAX {
            if self.rows.front().is_none_or(|row| row.stamp >= limit) {
                break;
            }
            self.drop_oldest();
        }
        let limit = limit.minus(self.limits.max_age);
        while let Some((seq, _)) = self.ages.front().filter(|(_, stamp)| *stamp < limit) {
            self.floor = self.floor.max(*seq);
            self.ages.pop_front();
        }
        self.forget_emptied();
        let limit = self.clock.minus(NAMES_KEPT);
        while self.seen_by_until.first().is_some_and(|(until, _)| *until < limit) {
            if let Some((_, key)) = self.seen_by_until.pop_first() {
                self.seen.remove(&key);
            }
        }
        while self.firsts.front().is_some_and(|(seq, key)| self.seen.get(key).is_none_or(|first| first.seq != *seq)) {
            self.firsts.pop_front();
        }
    }

    /// Answers [`crate::engine::Engine::missed`].
    pub(super) fn missed(&self, query: &Missed<'_>) -> Backlog {
        let (after, from) = match query.start {
            Start::Live => return Backlog::Complete(Vec::new()),
            Start::Since(from) => (0, from),
            Start::After(Err(_)) => return Backlog::Gap(GapReason::InvalidCursor),
            Start::After(Ok(cursor)) if cursor.epoch != self.epoch => return Backlog::Gap(GapReason::OtherEpoch),
            Start::After(Ok(cursor)) if cursor.seq > query.upto => return Backlog::Gap(GapReason::AheadOfHead),
            Start::After(Ok(cursor)) => (cursor.seq, Timestamp(0)),
        };
        let lists = query.keys.iter().filter_map(|key| self.lists.get(&self.hash(key.as_str())));
        let is_resume = matches!(query.start, Start::After(_));
        if is_resume && (after < self.floor || lists.clone().any(|list| list.mark > after)) {
            return Backlog::Gap(GapReason::Evicted);
        }
        let mut numbers: Vec<u64> = Vec::new();
        for list in lists {
            let start = list.seqs.partition_point(|seq| *seq <= after);
            let listed = list.seqs.range(start..).take_while(|seq| **seq <= query.upto);
            numbers.extend(listed.filter(|seq| self.is_wanted(**seq, from, query.types)));
        }
        numbers.sort_unstable();
        numbers.dedup();
        Backlog::Complete(numbers)
    }

    fn is_wanted(&self, seq: u64, from: Timestamp, types: &[EventType]) -> bool {
        let Ok(at) = self.rows.binary_search_by_key(&seq, |row| row.seq) else { return false };
        let row = &self.rows[at];
        row.at >= from && (types.is_empty() || types.contains(&row.kind))
    }

    /// Those of `seqs` that are in the list of one of `keys`.
    pub(super) fn readable(&self, keys: &[UserKey], seqs: &[u64]) -> Vec<u64> {
        let lists: Vec<&List> = keys.iter().filter_map(|key| self.lists.get(&self.hash(key.as_str()))).collect();
        let is_listed = |seq: &&u64| lists.iter().any(|list| list.seqs.binary_search(seq).is_ok());
        seqs.iter().filter(is_listed).copied().collect()
    }

    /// Whether the event at `seq` has not been removed by age.
    pub(super) fn has(&self, seq: u64) -> bool {
        self.rows.binary_search_by_key(&seq, |row| row.seq).is_ok()
    }

    pub(super) fn limits(&self) -> IndexLimits {
        self.limits
    }
}

#[cfg(test)]
mod tests;
