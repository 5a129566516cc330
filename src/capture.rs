//! What became of the latest webhooks: a bounded ring in memory, for the operator's eyes and for `learn`.
//!
//! The way of a webhook pays for this with a look at two counters. What is remembered is copied, because a slice of a connection's buffer
//! would keep all of the buffer; and at most a ringful is remembered in a second, because nobody could read more. Reasons and addresses
//! are found out only when somebody asks.
//!
//! The headers are whole in here: `learn` has to compute with them. Whoever shows them goes through
//! [`Mask`](crate::claimr::signature::Mask).

use std::{
    collections::VecDeque,
    net::IpAddr,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue};

use crate::{
    claimr::{
        payload::InvalidPayload,
        signature::{Found, Refusal},
    },
    engine::Stored,
    event::{Draft, EventType, Timestamp, UserKey},
};

/// Events of one delivery of which more than the number is remembered.
pub const EVENTS_MAX: usize = 100;

/// The latest webhooks.
pub struct Capture {
    limits: CaptureLimits,
    /// How much of this second's share of each lane is used up.
    shares: [Share; 2],
    skipped: AtomicU64,
    /// The number of the last webhook, over this ring and those before it.
    last: Arc<AtomicU64>,
    ring: Mutex<Ring>,
}

/// The bounds of what is remembered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CaptureLimits {
    /// Webhooks; 0: none.
    pub deliveries_max: usize,
    /// Bytes of a webhook's body.
    pub body_bytes_max: usize,
}

/// What there is to say of one webhook. Not printable: it holds a stranger's credentials and a person's data.
pub struct Captured {
    /// Counts the remembered webhooks, from 1.
    pub n: u64,
    /// When its head was read.
    pub at: Timestamp,
    /// The source's configured name.
    pub source: String,
    /// The last segment of the URL, if it had one.
    pub scope: Option<EventType>,
    /// Who sent it, as far as trusted proxies tell.
    pub remote: Option<IpAddr>,
    /// Of the answer.
    pub status: u16,
    /// `accepted`, `duplicate`, `dead_letter`, or the code of the refusal.
    pub outcome: &'static str,
    /// From the first byte to the answer.
    pub took: Duration,
    /// As received, unmasked.
    pub headers: HeaderMap,
    /// As received; cut.
    pub body: Bytes,
    /// How long the body was.
    pub body_bytes: usize,
    /// How far it came.
    pub walk: Walk,
    /// Why it was refused, in words, once somebody has asked.
    pub why: OnceLock<String>,
}

impl Captured {
    /// Whether all of the body is here.
    pub fn is_whole(&self) -> bool {
        self.body.len() == self.body_bytes
    }

    /// Whether the sender proved itself.
    pub fn is_verified(&self) -> bool {
        matches!(self.walk.verified, Some(Step { what: Ok(_), .. }))
    }
}

/// How far a webhook came, each step with the time since its first byte.
#[derive(Default)]
pub struct Walk {
    /// The signature was judged.
    pub verified: Option<Step<Result<Proof, Refusal>>>,
    /// The body was read.
    pub addressed: Option<Step<Addressed>>,
    /// All of it is durable; the first [`EVENTS_MAX`] events.
    pub stored: Option<Step<Vec<Stored>>>,
    /// Sessions that its new events were handed to.
    pub connections: usize,
}

/// A step that was reached.
pub struct Step<T> {
    /// After this time.
    pub after: Duration,
    /// With this result.
    pub what: T,
}

impl<T> Step<T> {
    /// A step that is reached now.
    pub fn since(received: Instant, what: T) -> Option<Self> {
        Some(Self { after: received.elapsed(), what })
    }
}

/// How the sender proved itself.
pub struct Proof {
    /// The scheme; absent if the source takes unsigned deliveries and this was one.
    pub found: Option<Arc<Found>>,
    /// The secret, counted from 0 in the order of the configuration.
    pub secret: Option<usize>,
}

/// What was read in a body.
#[derive(Default)]
pub struct Addressed {
    /// How many parts of it reached nobody.
    pub dead_letters: usize,
    /// Why nothing of it could be read.
    pub invalid: Option<InvalidPayload>,
    /// Of a body that is too long to be remembered, and therefore to be read again: each event's type, and its people.
    pub people: Vec<(EventType, Vec<Vec<UserKey>>)>,
}

impl Addressed {
    /// The types and people of the first events.
    pub fn people_of(drafts: &[Draft]) -> Vec<(EventType, Vec<Vec<UserKey>>)> {
        const EVENTS_MAX: usize = 16;
        let people = |draft: &Draft| draft.people().map(|person| person.keys.clone()).collect();
        drafts.iter().take(EVENTS_MAX).map(|draft| (draft.kind.clone(), people(draft))).collect()
    }
}

/// A webhook that has its answer.
pub struct Answered<'a> {
    /// When its head was read.
    pub at: Timestamp,
    /// When its first byte was read.
    pub received: Instant,
    /// The source's configured name.
    pub source: &'a str,
    /// The last segment of the URL, if it had one.
    pub scope: Option<&'a EventType>,
    /// Who sent it.
    pub remote: Option<IpAddr>,
    /// As received.
    pub headers: &'a HeaderMap,
    /// As received; empty if it was not read.
    pub body: &'a Bytes,
    /// Of the answer.
    pub status: u16,
    /// `accepted`, `duplicate`, `dead_letter`, or the code of the refusal.
    pub outcome: &'static str,
    /// How far it came.
    pub walk: Walk,
}

impl Answered<'_> {
    fn lane(&self) -> Lane {
        if matches!(self.outcome, "accepted" | "duplicate") { Lane::Good } else { Lane::Troubled }
    }
}

/// A flood of one kind leaves half of the ring to the other.
#[derive(Clone, Copy)]
enum Lane {
    Good,
    Troubled,
}

#[derive(Default)]
struct Share {
    second: AtomicU64,
    taken: AtomicUsize,
}

#[derive(Default)]
struct Ring {
    lanes: [VecDeque<Arc<Captured>>; 2],
}

impl Capture {
    /// An empty ring.
    pub fn new(limits: CaptureLimits) -> Self {
        Self::counting(limits, Arc::default())
    }

    /// An empty ring that goes on counting where this one is.
    ///
    /// Other sources need another ring: what was remembered under the old ones may hold a secret that the new ones cannot mask.
    #[must_use]
    pub fn successor(&self) -> Self {
        Self::counting(self.limits, Arc::clone(&self.last))
    }

    fn counting(limits: CaptureLimits, last: Arc<AtomicU64>) -> Self {
        Self { limits, shares: Default::default(), skipped: AtomicU64::new(0), last, ring: Mutex::default() }
    }

    /// Whether the body of a webhook will have to be cut.
    pub fn cuts(&self, body: &[u8]) -> bool {
        self.limits.deliveries_max > 0 && body.len() > self.limits.body_bytes_max
    }

    /// Remembers a webhook, unless this second's share is used up.
    pub fn record(&self, answered: Answered<'_>) {
        let lane = answered.lane();
        if self.has_room(lane, answered.at.as_secs()) {
            self.push(lane, self.copy(answered));
        }
    }

    /// The remembered webhooks, newest first.
    pub fn latest(&self) -> Vec<Arc<Captured>> {
        let mut latest: Vec<_> = self.ring().lanes.iter().flatten().cloned().collect();
        latest.sort_unstable_by_key(|captured| std::cmp::Reverse(captured.n));
        latest
    }

    /// How many webhooks were not remembered because too many came in a second.
    pub fn skipped(&self) -> u64 {
        self.skipped.load(Ordering::Relaxed)
    }

    /// Two threads may both find a new second, or the last place; then a few more are remembered, which does no harm.
    fn has_room(&self, lane: Lane, second: u64) -> bool {
        let Share { second: current, taken } = &self.shares[lane as usize];
        if self.limits.deliveries_max == 0 {
            return false;
        }
        if current.load(Ordering::Relaxed) != second {
            current.store(second, Ordering::Relaxed);
            taken.store(0, Ordering::Relaxed);
        }
        let has_room = taken.load(Ordering::Relaxed) < self.limits.deliveries_max;
        let counter_moves = if has_room { taken.fetch_add(1, Ordering::Relaxed) < self.limits.deliveries_max } else { false };
        if !counter_moves {
            self.skipped.fetch_add(1, Ordering::Relaxed);
        }
        counter_moves
    }

    fn copy(&self, answered: Answered<'_>) -> Captured {
        let Answered { at, received, source, scope, remote, headers, body, status, outcome, mut walk } = answered;
        let mut copied = HeaderMap::with_capacity(headers.len());
        for (name, value) in headers {
            // A value is sound already; a copy of it is, too.
            if let Ok(value) = HeaderValue::from_bytes(value.as_bytes()) {
                copied.append(name.clone(), value);
            }
        }
        if let Some(stored) = &mut walk.stored {
            stored.what.truncate(EVENTS_MAX);
            stored.what.shrink_to_fit();
        }
        Captured {
            n: 0,
            at,
            source: source.to_owned(),
            scope: scope.cloned(),
            remote,
            status,
            outcome,
            took: received.elapsed(),
            headers: copied,
            body: Bytes::copy_from_slice(&body[..body.len().min(self.limits.body_bytes_max)]),
            body_bytes: body.len(),
            walk,
            why: OnceLock::new(),
        }
    }

    fn push(&self, lane: Lane, mut captured: Captured) {
        let mut ring = self.ring();
        // Under the lock, so that the order of a lane is the order of its numbers.
        captured.n = self.last.fetch_add(1, Ordering::Relaxed) + 1;
        ring.lanes[lane as usize].push_back(Arc::new(captured));
        let [good, troubled] = &mut ring.lanes;
        let gone = if good.len() + troubled.len() <= self.limits.deliveries_max {
            None
        } else if good.len() > self.limits.deliveries_max / 2 {
            good.pop_front()
        } else {
            troubled.pop_front()
        };
        drop(ring);
        // What goes is freed when nobody waits for the lock.
        drop(gone);
    }

    fn ring(&self) -> MutexGuard<'_, Ring> {
        // Every state between two statements that could panic is a sound one.
        self.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
