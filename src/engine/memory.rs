//! The log in memory: for tests, for demonstrations, and for those to whom a restart may cost the past.
//!
//! One lock makes a publish one step, and makes whoever holds it the one writer that the hub asks for.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, VecDeque},
    sync::{Arc, PoisonError},
    time::Instant,
};

use futures_util::future::{BoxFuture, FutureExt as _, ready};

use super::{
    Backlog, Engine, EngineError, LetterId, Missed, PublishError, Receipt, Repetition, Retention, Start, Stored,
    first::{First, letter_digest},
};
use crate::{
    event::{DeadLetter, Delivery, Draft, Epoch, EventType, Position, Timestamp, UserKey},
    hub::Hub,
    protocol::{Frame, GapReason, Published, View},
    sync::{
        Mutex, MutexGuard,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

/// How many events one [`Engine::retain`] removes at most.
const RETAIN_EVENTS_MAX: usize = 10_000;
/// Into how many steps `max_age` is divided to remember how old the removed events were.
const AGE_STEPS: u32 = 256;

/// A log that lives as long as the process.
pub struct MemoryEngine {
    epoch: Epoch,
    retention: Retention,
    hub: Arc<Hub>,
    head: AtomicU64,
    closed: AtomicBool,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    events: BTreeMap<u64, Event>,
    index: HashMap<UserKey, VecDeque<u64>>,
    /// The highest number that retention removed, per key, and the same in the order of the numbers.
    marks: HashMap<UserKey, u64>,
    marks_by_seq: BTreeSet<(u64, UserKey)>,
    /// Cursors below this are refused: their marks are forgotten.
    floor: u64,
    /// From time to time the newest event and its stamp, to know when marks are old enough to forget.
    ages: VecDeque<(u64, Timestamp)>,
    seen: HashMap<[u8; 16], First>,
    seen_by_until: BTreeSet<(Timestamp, [u8; 16])>,
    letters: VecDeque<([u8; 16], DeadLetter)>,
    /// The latest moment that anybody told: ages are counted by it, so that a clock that is set back does no harm.
    clock: Timestamp,
}

struct Event {
    at: Timestamp,
    /// When it was stored; never before that of its predecessor.
    stamp: Timestamp,
    published: Published,
    /// How many keys' lists it is in.
    listed: usize,
}

impl MemoryEngine {
    /// An empty log under a new epoch, which hands on to `hub`.
    pub fn new(retention: Retention, hub: Arc<Hub>) -> Arc<Self> {
        Arc::new(Self {
            epoch: Epoch::from_random(fastrand::u64(..)),
            retention,
            hub,
            head: AtomicU64::new(0),
            closed: AtomicBool::new(false),
            state: Mutex::default(),
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Every state between two statements that could panic is a sound one.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn open(&self) -> Result<(), EngineError> {
        if self.closed.load(Ordering::Acquire) { Err(EngineError::Closed) } else { Ok(()) }
    }

    fn store(&self, delivery: Delivery) -> Receipt {
        let mut state = self.state();
        let mut receipt = Receipt::default();
        for letter in delivery.dead_letters {
            state.keep_letter(letter, self.retention.dead_letters_max);
        }
        for draft in delivery.drafts {
            let (stored, connections) = self.store_draft(&mut state, draft, delivery.received);
            receipt.events.push(stored);
            receipt.connections += connections;
        }
        receipt
    }

    fn store_draft(&self, state: &mut State, draft: Draft, received: Instant) -> (Stored, usize) {
        if let Some((seq, repetition)) = state.repetition(&draft) {
            let position = Position { epoch: self.epoch, seq };
            return (Stored { position, repetition: Some(repetition) }, 0);
        }
        let seq = self.head.load(Ordering::Relaxed) + 1;
        let position = Position { epoch: self.epoch, seq };
        state.clock = state.clock.max(draft.at);
        if let Some(dedupe) = draft.dedupe {
            state.remember(dedupe.key, First::new(&dedupe, seq, draft.at));
        }
        let views = draft
            .audiences
            .into_iter()
            .map(|audience| View { frame: Frame::encode(position, &audience.members), keys: audience.keys })
            .collect();
        let published = Published { seq, kind: draft.kind, views };
        state.append(draft.at, published.clone(), &self.retention);
        self.head.store(seq, Ordering::Release);
        (Stored { position, repetition: None }, self.hub.deliver(&published, received))
    }
}

impl Engine for MemoryEngine {
    fn publish(&self, delivery: Delivery) -> BoxFuture<'_, Result<Receipt, PublishError>> {
        async move {
            self.open().map_err(|_| PublishError::Closed)?;
            Ok(self.store(delivery))
        }
        .boxed()
    }

    fn head(&self) -> Position {
        Position { epoch: self.epoch, seq: self.head.load(Ordering::Acquire) }
    }

    fn missed<'a>(&'a self, query: Missed<'a>) -> BoxFuture<'a, Result<Backlog, EngineError>> {
        let answer = self.open().map(|()| match query.start {
            Start::Live => Backlog::Complete(Vec::new()),
            Start::Since(from) => Backlog::Complete(self.state().listed(&query, 0, from)),
            Start::After(Err(_)) => Backlog::Gap(GapReason::InvalidCursor),
            Start::After(Ok(cursor)) if cursor.epoch != self.epoch => Backlog::Gap(GapReason::OtherEpoch),
            Start::After(Ok(cursor)) if cursor.seq > query.upto => Backlog::Gap(GapReason::AheadOfHead),
            Start::After(Ok(cursor)) => {
                let state = self.state();
                if state.evicted(query.keys, cursor.seq) {
                    Backlog::Gap(GapReason::Evicted)
                } else {
                    Backlog::Complete(state.listed(&query, cursor.seq, Timestamp(0)))
                }
            }
        });
        ready(answer).boxed()
    }

    fn read<'a>(&'a self, keys: &'a [UserKey], seqs: &'a [u64]) -> BoxFuture<'a, Result<Vec<(u64, Frame)>, EngineError>> {
        let answer = self.open().map(|()| {
            let state = self.state();
            seqs.iter().filter_map(|seq| Some((*seq, state.view(keys, *seq)?.frame.clone()))).collect()
        });
        ready(answer).boxed()
    }

    fn retain(&self, now: Timestamp) -> BoxFuture<'_, Result<(), EngineError>> {
        let answer = self.open().map(|()| self.state().retain(now, &self.retention));
        ready(answer).boxed()
    }

    fn dead_letters(&self, limit: usize) -> BoxFuture<'_, Result<Vec<DeadLetter>, EngineError>> {
        let newest = |state: &State| state.letters.iter().rev().take(limit).map(|(_, letter)| letter.clone()).collect();
        ready(self.open().map(|()| newest(&self.state()))).boxed()
    }

    fn remove_dead_letters(&self, ids: Vec<LetterId>) -> BoxFuture<'_, Result<usize, EngineError>> {
        let remove = |state: &mut State| {
            let before = state.letters.len();
            state.letters.retain(|(digest, _)| !ids.contains(&LetterId(*digest)));
            before - state.letters.len()
        };
        ready(self.open().map(|()| remove(&mut self.state()))).boxed()
    }

    fn event(&self, seq: u64) -> BoxFuture<'_, Result<Option<Published>, EngineError>> {
        ready(self.open().map(|()| self.state().events.get(&seq).map(|event| event.published.clone()))).boxed()
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        self.closed.store(true, Ordering::Release);
        // Whoever was publishing is through when the lock is free.
        drop(self.state());
        ready(()).boxed()
    }
}

impl State {
    fn repetition(&self, draft: &Draft) -> Option<(u64, Repetition)> {
        let dedupe = draft.dedupe?;
        let first = self.seen.get(&dedupe.key)?;
        Some((first.seq, first.judge(dedupe.digest, draft.at)?))
    }

    fn remember(&mut self, key: [u8; 16], first: First) {
        if let Some(earlier) = self.seen.insert(key, first) {
            self.seen_by_until.remove(&(earlier.until, key));
        }
        self.seen_by_until.insert((first.until, key));
    }

    fn append(&mut self, at: Timestamp, published: Published, retention: &Retention) {
        let seq = published.seq;
        let stamp = self.clock;
        if self.ages.back().is_none_or(|(_, last)| last.plus(retention.max_age / AGE_STEPS) <= stamp) {
            self.ages.push_back((seq, stamp));
        }
        let mut listed = 0;
        let mut full = Vec::new();
        for key in published.views.iter().flat_map(|view| &view.keys) {
            let list = self.index.entry(key.clone()).or_default();
            if list.back() == Some(&seq) {
                continue;
            }
            list.push_back(seq);
            listed += 1;
            if list.len() > retention.max_events_per_user {
                full.push(key.clone());
            }
        }
        self.events.insert(seq, Event { at, stamp, published, listed });
        for key in full {
            self.drop_oldest(&key);
        }
    }

    /// Takes the oldest event from a key's list, and away altogether if it was in no other.
    fn drop_oldest(&mut self, key: &UserKey) {
        let Some(list) = self.index.get_mut(key) else { return };
        let Some(seq) = list.pop_front() else { return };
        if list.is_empty() {
            self.index.remove(key);
        }
        if let Some(earlier) = self.marks.insert(key.clone(), seq) {
            self.marks_by_seq.remove(&(earlier, key.clone()));
        }
        self.marks_by_seq.insert((seq, key.clone()));
        if let Some(event) = self.events.get_mut(&seq) {
            event.listed -= 1;
            if event.listed == 0 {
                self.events.remove(&seq);
            }
        }
    }

    fn retain(&mut self, now: Timestamp, retention: &Retention) {
        self.clock = self.clock.max(now);
        let limit = self.clock.minus(retention.max_age);
        for _ in 0..RETAIN_EVENTS_MAX {
            let Some(event) = self.events.first_entry().filter(|event| event.get().stamp < limit) else { break };
            let seq = *event.key();
            let keys: BTreeSet<_> = event.get().published.views.iter().flat_map(|view| view.keys.clone()).collect();
            for key in keys {
                if self.index.get(&key).and_then(VecDeque::front) == Some(&seq) {
                    self.drop_oldest(&key);
                }
            }
        }
        let limit = limit.minus(retention.max_age);
        while let Some((seq, _)) = self.ages.front().filter(|(_, stamp)| *stamp < limit) {
            self.floor = *seq;
            self.ages.pop_front();
        }
        while self.marks_by_seq.first().is_some_and(|(seq, _)| *seq <= self.floor) {
            if let Some((_, key)) = self.marks_by_seq.pop_first() {
                self.marks.remove(&key);
            }
        }
        while self.seen_by_until.first().is_some_and(|(until, _)| *until < self.clock) {
            if let Some((_, key)) = self.seen_by_until.pop_first() {
                self.seen.remove(&key);
            }
        }
    }

    fn evicted(&self, keys: &[UserKey], cursor: u64) -> bool {
        cursor < self.floor || keys.iter().any(|key| self.marks.get(key).is_some_and(|mark| *mark > cursor))
    }

    /// The numbers after `after` and up to the end of the query, of events accepted at `from` or later.
    fn listed(&self, query: &Missed<'_>, after: u64, from: Timestamp) -> Vec<u64> {
        let wanted = |seq: &u64| {
            let Some(event) = self.events.get(seq) else { return false };
            event.at >= from && is_wanted(query.types, &event.published.kind)
        };
        let mut numbers: Vec<u64> = Vec::new();
        for list in query.keys.iter().filter_map(|key| self.index.get(key)) {
            let start = list.partition_point(|seq| *seq <= after);
            numbers.extend(list.range(start..).take_while(|seq| **seq <= query.upto).filter(|seq| wanted(seq)));
        }
        numbers.sort_unstable();
        numbers.dedup();
        numbers
    }

    /// An event as somebody with `keys` sees it, if it is still in one of their lists.
    fn view(&self, keys: &[UserKey], seq: u64) -> Option<&View> {
        let is_listed = |key| self.index.get(key).is_some_and(|list| list.binary_search(&seq).is_ok());
        keys.iter().any(is_listed).then(|| self.events.get(&seq)?.published.view_for(keys)).flatten()
    }

    fn keep_letter(&mut self, letter: DeadLetter, max: usize) {
        let digest = letter_digest(&letter);
        if self.letters.iter().any(|(kept, _)| *kept == digest) {
            return;
        }
        self.letters.push_back((digest, letter));
        while self.letters.len() > max {
            self.letters.pop_front();
        }
    }
}

fn is_wanted(types: &[EventType], kind: &EventType) -> bool {
    types.is_empty() || types.contains(kind)
}

#[cfg(test)]
mod tests;
