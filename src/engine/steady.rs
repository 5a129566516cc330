//! A log in whose time the wall clock does not jump.
//!
//! The log counts how old an event is, and how long ago another was like it, by what it is told. Told by a wall clock that is set a year
//! ahead, it would forget everything at once; by one that is set back a day, it would take each event that is like an earlier one
//! for a repetition, for a day. So every time that goes into the log goes through here and becomes one of [`Ages`]. Frames are
//! made before: the `at` that clients see is the wall clock's.

use std::sync::Arc;

use futures_util::future::BoxFuture;

use super::{Backlog, Engine, EngineError, LetterId, Listener, Missed, Notice, PublishError, Receipt, Start};
use crate::{
    clock::Ages,
    event::{DeadLetter, Delivery, Position, Timestamp, UserKey},
    protocol::{Frame, Published},
};

/// A log that is told [`Ages`] instead of the wall clock.
pub struct Steady {
    log: Arc<dyn Engine>,
    ages: Ages,
    wall: fn() -> Timestamp,
}

impl Steady {
    /// Puts `ages` between a `log` and the `wall` clock that its callers read.
    pub fn new(log: Arc<dyn Engine>, ages: Ages, wall: fn() -> Timestamp) -> Arc<Self> {
        Arc::new(Self { log, ages, wall })
    }
}

impl Engine for Steady {
    fn publish(&self, mut delivery: Delivery) -> BoxFuture<'_, Result<Receipt, PublishError>> {
        let now = self.ages.now();
        for draft in &mut delivery.drafts {
            draft.at = now;
        }
        self.log.publish(delivery)
    }

    fn head(&self) -> Position {
        self.log.head()
    }

    fn missed<'a>(&'a self, query: Missed<'a>) -> BoxFuture<'a, Result<Backlog, EngineError>> {
        let start = match query.start {
            Start::Since(moment) => Start::Since(self.ages.at(moment, (self.wall)())),
            other => other,
        };
        self.log.missed(Missed { start, ..query })
    }

    fn read<'a>(&'a self, keys: &'a [UserKey], seqs: &'a [u64]) -> BoxFuture<'a, Result<Vec<(u64, Frame)>, EngineError>> {
        self.log.read(keys, seqs)
    }

    fn retain(&self, _: Timestamp) -> BoxFuture<'_, Result<(), EngineError>> {
        self.log.retain(self.ages.now())
    }

    fn dead_letters(&self, limit: usize) -> BoxFuture<'_, Result<Vec<DeadLetter>, EngineError>> {
        self.log.dead_letters(limit)
    }

    fn remove_dead_letters(&self, ids: Vec<LetterId>) -> BoxFuture<'_, Result<usize, EngineError>> {
        self.log.remove_dead_letters(ids)
    }

    fn event(&self, seq: u64) -> BoxFuture<'_, Result<Option<Published>, EngineError>> {
        self.log.event(seq)
    }

    fn announce(&self, notice: Notice) -> BoxFuture<'_, Result<(), EngineError>> {
        self.log.announce(notice)
    }

    fn listen(&self, listener: Listener) -> Result<(), EngineError> {
        self.log.listen(listener)
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        self.log.close()
    }
}
