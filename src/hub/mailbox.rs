//! What waits for one session: bounded by events and bytes, filled by the log's one writer, emptied by the session's task.

use std::{
    collections::VecDeque,
    mem,
    sync::{Arc, PoisonError},
    task::{Context, Poll, Waker},
    time::Instant,
};

use super::{Arrival, Hub, MemberView};
use crate::{
    auth::TokenMark,
    event::{EventType, UserKey},
    protocol::{Close, CloseCode, Frame},
    sync::{Mutex, MutexGuard},
};

/// What may wait for one session.
#[derive(Clone, Copy, Debug)]
pub struct MailboxLimits {
    /// Events; above it the session ends with 4001.
    pub events_max: usize,
    /// Bytes of frames; above it the session ends with 4001.
    pub bytes_max: usize,
}

/// One live event for one session.
#[derive(Clone, Debug)]
pub struct Mail {
    /// Its number in the log.
    pub seq: u64,
    /// What to send.
    pub frame: Frame,
    /// When its webhook arrived.
    pub received: Instant,
    /// Whether it is an old event that an operator sends once more, which is to be shown although its number was passed.
    pub again: bool,
}

/// The session's end of its place in the hub. Dropping it is leaving.
pub struct Mailbox {
    hub: Arc<Hub>,
    slot: Arc<Slot>,
}

impl Mailbox {
    pub(super) fn new(hub: Arc<Hub>, slot: Arc<Slot>) -> Self {
        Self { hub, slot }
    }

    /// The session's number.
    pub fn session(&self) -> u64 {
        self.slot.number
    }

    /// Notes which token the session goes on with.
    pub fn marked(&self, mark: TokenMark) {
        self.slot.lock().mark = mark;
    }

    /// Why the session is over, if it is.
    pub fn closed(&self) -> Option<Close> {
        self.slot.lock().closed
    }

    /// Takes all that waits into `out`, in order. Ready with an error once the session is over; what waited then is gone.
    pub fn poll_take(&mut self, context: &mut Context<'_>, out: &mut VecDeque<Mail>) -> Poll<Result<(), Close>> {
        let mut state = self.slot.lock();
        if let Some(close) = state.closed {
            return Poll::Ready(Err(close));
        }
        if state.queue.is_empty() {
            match &mut state.waker {
                Some(waker) => waker.clone_from(context.waker()),
                waker => *waker = Some(context.waker().clone()),
            }
            return Poll::Pending;
        }
        state.bytes = 0;
        // An idle session keeps no queue in memory: `out` takes the allocation, and drops it when it is empty.
        if out.is_empty() {
            *out = mem::take(&mut state.queue);
        } else {
            out.append(&mut state.queue);
        }
        Poll::Ready(Ok(()))
    }
}

impl Drop for Mailbox {
    fn drop(&mut self) {
        self.hub.leave(&self.slot);
    }
}

/// The hub's end.
pub(super) struct Slot {
    number: u64,
    arrival: Arrival,
    keys: Box<[UserKey]>,
    types: Box<[EventType]>,
    limits: MailboxLimits,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    queue: VecDeque<Mail>,
    bytes: usize,
    /// The newest event that was put here: one that reaches a session under several keys is put once.
    newest: u64,
    closed: Option<Close>,
    mark: TokenMark,
    waker: Option<Waker>,
}

impl Slot {
    pub(super) fn new(number: u64, arrival: Arrival, keys: &[UserKey], types: &[EventType], limits: MailboxLimits) -> Self {
        Self { number, arrival, keys: keys.into(), types: types.into(), limits, state: Mutex::default() }
    }

    pub(super) fn number(&self) -> u64 {
        self.number
    }

    pub(super) fn arrival(&self) -> Arrival {
        self.arrival
    }

    pub(super) fn view(&self) -> MemberView {
        let (newest, queued_events, queued_bytes) = {
            let state = self.lock();
            (state.newest, state.queue.len(), state.bytes)
        };
        let (keys, types) = (self.keys.to_vec(), self.types.to_vec());
        MemberView { session: self.number, keys, types, arrival: self.arrival, newest, queued_events, queued_bytes }
    }

    pub(super) fn keys(&self) -> &[UserKey] {
        &self.keys
    }

    /// The key that the session is counted under.
    pub(super) fn user(&self) -> &UserKey {
        &self.keys[0]
    }

    /// Which token it goes on with.
    pub(super) fn mark(&self) -> TokenMark {
        self.lock().mark
    }

    /// Queues an event; true if the session will be sent it.
    pub(super) fn put(&self, seq: u64, kind: &EventType, frame: &Frame, received: Instant) -> bool {
        if !self.wants(kind) {
            return false;
        }
        let state = self.lock();
        seq > state.newest && self.queue(state, Mail { seq, frame: frame.clone(), received, again: false })
    }

    /// Queues an event whatever its number; true if the session will be sent it.
    pub(super) fn put_again(&self, seq: u64, kind: &EventType, frame: &Frame) -> bool {
        let mail = Mail { seq, frame: frame.clone(), received: Instant::now(), again: true };
        self.wants(kind) && self.queue(self.lock(), mail)
    }

    fn wants(&self, kind: &EventType) -> bool {
        self.types.is_empty() || self.types.contains(kind)
    }

    fn queue(&self, mut state: MutexGuard<'_, State>, mail: Mail) -> bool {
        if state.closed.is_some() {
            return false;
        }
        // A lone event always fits, however large it is: closing for it would not make it smaller.
        let full = state.queue.len() >= self.limits.events_max || state.bytes + mail.frame.len() > self.limits.bytes_max;
        if full && !state.queue.is_empty() {
            end(state, CloseCode::SlowConsumer.into());
            return false;
        }
        if !mail.again {
            state.newest = mail.seq;
        }
        state.bytes += mail.frame.len();
        state.queue.push_back(mail);
        wake(state);
        true
    }

    /// Ends the session; the first reason stands. True if this is the first.
    pub(super) fn close(&self, close: Close) -> bool {
        let state = self.lock();
        let first = state.closed.is_none();
        if first {
            end(state, close);
        }
        first
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing panics while it holds the lock, and every state in between is a sound one.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn end(mut state: MutexGuard<'_, State>, close: Close) {
    state.closed = Some(close);
    state.queue = VecDeque::new();
    state.bytes = 0;
    wake(state);
}

/// Wakes after the lock is free, so that the woken task does not run into it.
fn wake(mut state: MutexGuard<'_, State>) {
    let waker = state.waker.take();
    drop(state);
    if let Some(waker) = waker {
        waker.wake();
    }
}
