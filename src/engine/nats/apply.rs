//! What a gateway does with each event of the stream: knows it, keeps it for a while, hands it on to those who listen here.

use std::{
    sync::{PoisonError, atomic::Ordering},
    time::{Duration, Instant},
};

use bytes::Bytes;
use tokio::sync::oneshot;

use super::{Shared, index::Entry, record::Record};
use crate::{
    event::Timestamp,
    protocol::{CloseCode, Published},
};

/// An event of this gateway's own on its way through the stream.
pub(super) struct Flight {
    /// When its webhook came.
    pub(super) received: Instant,
    /// Told when it has come round: its number, and to how many sessions it was handed.
    pub(super) landed: oneshot::Sender<(u64, usize)>,
}

impl Shared {
    /// Takes the message at `seq`, which the server stored at `stored`, and hands it on if it is `live`. Only one thread may call this, in the
    /// order of the stream.
    pub(super) fn take(&self, seq: u64, message: &Bytes, stored: u64, live: bool) {
        let record = if message.len() <= self.limits.message_bytes_max { Record::decode(message, seq) } else { None };
        let Some(record) = record else {
            self.index().skip(seq);
            self.pass_over(seq, message.len(), "event");
            self.reached.send_replace(seq);
            return;
        };
        // A sender whose clock runs ahead, or a forger, must not make the others forget what they have; nor may what comes from a machine that was
        // suspended for a while, and counts on from before, look older than it is.
        let (stored, apart) = (Timestamp(stored), self.limits.clock_apart_max);
        let at = record.at.clamp(stored.minus(apart), stored.plus(apart));
        let position = {
            let mut index = self.index();
            let entry = Entry { seq, at, kind: record.kind.clone(), first: record.first };
            let views: Vec<_> = record.views().collect();
            index.append(entry, views.iter().flat_map(|view| view.keys.iter().copied()));
            index.position(seq)
        };
        self.keep(seq, message);
        let flight = self.flights.lock().unwrap_or_else(PoisonError::into_inner).remove(&record.sender);
        let mut reached = 0;
        if live && record.names(|key| self.hub.hears(key)) {
            let received = flight.as_ref().map_or_else(|| before(record.age_us), |flight| flight.received);
            if let Some(views) = record.decode_views(position) {
                reached = self.hub.deliver(&Published { seq, kind: record.kind, views }, received);
            } else {
                self.pass_over(seq, message.len(), "event");
            }
        }
        if let Some(flight) = flight {
            // Nobody may be left to hear it; the event is stored all the same.
            let _ = flight.landed.send((seq, reached));
        }
        self.reached.send_replace(seq);
    }

    /// Counts what nobody can read.
    pub(super) fn pass_over(&self, seq: u64, bytes: usize, what: &'static str) {
        let before = self.junk.fetch_add(1, Ordering::Relaxed);
        // Whoever fills the bus with junk is not to fill the log as well.
        if before.is_power_of_two() || before == 0 {
            tracing::warn!(
                seq,
                bytes,
                what,
                passed_over = before + 1,
                "a message on the bus that this release does not understand is passed over"
            );
        }
    }

    /// Messages up to `seq` are gone from the stream before this gateway saw them. Whom they concerned is unknown, so everybody comes back
    /// and is told of the gap.
    pub(super) fn miss(&self, seq: u64) {
        tracing::warn!(upto = seq, "messages were removed from the stream before they were read here; every session begins anew");
        self.index().lose(seq);
        self.end_sessions();
    }

    pub(super) fn end_sessions(&self) {
        for member in self.hub.members() {
            member.close(CloseCode::StateReplaced.into());
        }
    }

    /// Keeps the message for replays.
    fn keep(&self, seq: u64, message: &Bytes) {
        self.cache.lock().unwrap_or_else(PoisonError::into_inner).keep(seq, message);
    }
}

fn before(age_us: u32) -> Instant {
    let now = Instant::now();
    now.checked_sub(Duration::from_micros(age_us.into())).unwrap_or(now)
}
