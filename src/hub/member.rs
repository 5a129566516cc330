//! A session as others see it: who it is, how it does, and how to end it.

use std::sync::Arc;

use super::mailbox::Slot;
use crate::{
    event::{EventType, Timestamp, UserKey},
    metrics::Carrier,
    protocol::Close,
};

/// A session as seen from outside it.
pub struct Member(pub(super) Arc<Slot>);

/// How and when a session came.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Arrival {
    /// What carries it; absent for one that no client has, such as the probe's.
    pub carrier: Option<Carrier>,
    /// When it joined.
    pub since: Timestamp,
}

/// A session at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberView {
    /// Its number.
    pub session: u64,
    /// Every key that it hears, campaigns' last; it is counted under the first.
    pub keys: Vec<UserKey>,
    /// The types that it hears; all if empty.
    pub types: Vec<EventType>,
    /// How and when it came.
    pub arrival: Arrival,
    /// The number of the newest live event that was put into its mailbox; 0 if none was.
    pub newest: u64,
    /// Events that wait for its socket.
    pub queued_events: usize,
    /// Bytes of their frames.
    pub queued_bytes: usize,
}

impl Member {
    /// Ends the session with `close`, unless it is over already.
    pub fn close(&self, close: Close) {
        self.0.close(close);
    }

    /// What carries it; absent for one that no client has.
    pub fn carrier(&self) -> Option<Carrier> {
        self.0.arrival().carrier
    }

    /// How it does now.
    pub fn view(&self) -> MemberView {
        self.0.view()
    }
}
