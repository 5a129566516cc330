//! The event log: one totally ordered, durable, bounded sequence of events; user keys are indexes into it.
//!
//! [`Engine::publish`] is one operation: de-duplicate, number, store and hand on to the connected sessions, so that there is no
//! hole between the steps for a crash to fall into. A position that [`Engine::head`] has shown is readable by
//! [`Engine::missed`] and [`Engine::read`], and an event is handed to the hub only after the head has reached it: who joins
//! the hub first and reads the head second misses nothing (`session.rs`).

pub mod disk;
mod first;
mod letter_id;
pub mod memory;
pub mod nats;
mod notice;
pub mod steady;

use std::time::Duration;

use futures_util::future::{BoxFuture, FutureExt as _, ready};

use crate::{
    event::{DeadLetter, Delivery, EventType, InvalidCursor, Position, Timestamp, UserKey},
    protocol::{Frame, GapReason, Published},
};

pub use letter_id::LetterId;
pub use notice::{Listener, Notice};

/// A log that gateways can stand on. One suite of tests holds every implementation to this (`tests/gateway/engines.rs`).
pub trait Engine: Send + Sync + 'static {
    /// Stores what is new in `delivery`, all or nothing, and hands it to the hub in the order of the log. Resolves once that is
    /// durable; never earlier. Dropping the future does not take the delivery back.
    fn publish(&self, delivery: Delivery) -> BoxFuture<'_, Result<Receipt, PublishError>>;

    /// The position of the last event that can be read. Never goes back while the process lives.
    fn head(&self) -> Position;

    /// What a session that holds `keys` has to be sent, up to and including `upto`, before it goes live.
    fn missed<'a>(&'a self, query: Missed<'a>) -> BoxFuture<'a, Result<Backlog, EngineError>>;

    /// The frames of those events, in the order of `seqs`, as somebody with `keys` sees them. An event that retention has removed
    /// meanwhile, or that does not concern `keys`, is absent.
    fn read<'a>(&'a self, keys: &'a [UserKey], seqs: &'a [u64]) -> BoxFuture<'a, Result<Vec<(u64, Frame)>, EngineError>>;

    /// Applies retention by age as of `now`. Called about once a second; does a bounded amount of work each time.
    fn retain(&self, now: Timestamp) -> BoxFuture<'_, Result<(), EngineError>>;

    /// The newest dead letters, newest first, at most `limit`.
    fn dead_letters(&self, limit: usize) -> BoxFuture<'_, Result<Vec<DeadLetter>, EngineError>>;

    /// Takes letters out of the lane for good, and says how many of `ids` were in it. Resolves once that is durable. The same letter
    /// may come again, as a new one.
    fn remove_dead_letters(&self, ids: Vec<LetterId>) -> BoxFuture<'_, Result<usize, EngineError>>;

    /// One event with what everybody sees of it; `None` if it never was, or if retention has removed it.
    fn event(&self, seq: u64) -> BoxFuture<'_, Result<Option<Published>, EngineError>>;

    /// Tells the other gateways that share the log. Resolves once each of them will hear it, also those that are cut off now; fails if that is not
    /// sure. Where nobody shares the log there is nobody to tell.
    fn announce(&self, _notice: Notice) -> BoxFuture<'_, Result<(), EngineError>> {
        ready(Ok(())).boxed()
    }

    /// Hears the revocations that are in force in all gateways, and then those that others announce. Blocks until the former are known.
    fn listen(&self, _listener: Listener) -> Result<(), EngineError> {
        Ok(())
    }

    /// Makes all that was published durable and lets go of the storage; later calls fail with [`EngineError::Closed`].
    fn close(&self) -> BoxFuture<'_, ()>;
}

/// Where a session wants to begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// With what happens from now on.
    Live,
    /// After a position that the client has seen, or with `$gap` if what it sent is no cursor.
    After(Result<Position, InvalidCursor>),
    /// With what was accepted at or after this moment and is still there.
    Since(Timestamp),
}

/// The question that [`Engine::missed`] answers.
#[derive(Clone, Copy, Debug)]
pub struct Missed<'a> {
    /// Every key of the person.
    pub keys: &'a [UserKey],
    /// Where the session begins.
    pub start: Start,
    /// The last number that is asked for: the head, read after the session joined the hub.
    pub upto: u64,
    /// Only events of these types; all if empty.
    pub types: &'a [EventType],
}

/// What lies between a session's start and the head.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Backlog {
    /// The numbers of every event that concerns the session and was asked for, ascending; complete.
    Complete(Vec<u64>),
    /// The start cannot be served in full.
    Gap(GapReason),
}

/// What became of a delivery.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Receipt {
    /// One for each draft, in their order.
    pub events: Vec<Stored>,
    /// Distinct sessions that new events were handed to, summed over the events.
    pub connections: usize,
}

/// What became of one draft.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stored {
    /// Where it stands; for a repetition, where the first one stands.
    pub position: Position,
    /// Whether it was there before.
    pub repetition: Option<Repetition>,
}

/// How an event repeats an earlier one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Repetition {
    /// The same bytes.
    Same,
    /// The same delivery id over other bytes: the first stands.
    OtherBody,
}

/// Why a delivery was not stored. In each case the sender should try again.
#[derive(Clone, Debug, thiserror::Error)]
pub enum PublishError {
    /// More deliveries wait than the queue holds.
    #[error("the log's queue is full")]
    Overloaded,
    /// The log cannot be written; nothing of the delivery was kept.
    #[error("the log cannot be written: {0}")]
    Unavailable(String),
    /// The gateway is shutting down.
    #[error("the log is closed")]
    Closed,
}

/// Why the log could not be read.
#[derive(Clone, Debug, thiserror::Error)]
pub enum EngineError {
    /// The storage failed.
    #[error("the log cannot be read: {0}")]
    Unavailable(String),
    /// The gateway is shutting down.
    #[error("the log is closed")]
    Closed,
}

/// The bounds of a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// How long an event can be resumed from.
    pub max_age: Duration,
    /// How many events each user key, and each campaign, keeps; the oldest go first.
    pub max_events_per_user: usize,
    /// How many dead letters are kept; the oldest go first.
    pub dead_letters_max: usize,
    /// How many deliveries may wait for the log.
    pub publish_queue_max: usize,
}
