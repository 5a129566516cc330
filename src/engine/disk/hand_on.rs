//! What follows once a group is durable: its events go to whoever hears them, and then its webhooks are answered.
//!
//! A task does it: what that wakes goes on where it was woken, while a thread of its own would have to wake each of hundreds from outside,
//! and meanwhile the disk would stand idle. The writer never waits for the task. It lends a hand when much is left, tells crowds itself, and
//! does all of it without a runtime, or at the end.

use std::{
    collections::VecDeque,
    sync::{Arc, PoisonError},
    time::Instant,
};

use smallvec::SmallVec;
use tokio::{
    runtime::Handle,
    sync::{Notify, oneshot},
};

use crate::{
    engine::{PublishError, Receipt},
    hub::Hub,
    protocol::Published,
    sync::{
        Mutex, MutexGuard,
        atomic::{AtomicBool, Ordering},
    },
};

/// Where the answer to a delivery is waited for.
pub(super) type Answer = oneshot::Sender<Result<Receipt, PublishError>>;

/// A delivery that is durable.
pub(super) struct Durable {
    pub(super) receipt: Receipt,
    /// What is new in it.
    pub(super) events: SmallVec<[Published; 1]>,
    pub(super) received: Instant,
}

impl Durable {
    fn concerns_a_campaign(&self) -> bool {
        self.events.iter().flat_map(|event| &event.views).flat_map(|view| &view.keys).any(|key| key.campaign().is_some())
    }

    /// Hands its events on, and says what became of all of it.
    pub(super) fn hand_on(self, hub: &Hub) -> Receipt {
        let mut receipt = self.receipt;
        receipt.connections = self.events.iter().map(|event| hub.deliver(event, self.received)).sum();
        receipt
    }
}

/// A group, and who waits for what of it.
type Group = Vec<(Durable, Answer)>;

/// Groups that are durable and not handed on.
pub(super) struct Outbox {
    hub: Arc<Hub>,
    groups: Mutex<VecDeque<Group>>,
    /// Whose turn it is: only one at a time hands on, in the order of the log.
    turn: Mutex<()>,
    filled: Notify,
    closed: AtomicBool,
}

/// The writer's end.
pub(super) struct HandOn {
    outbox: Arc<Outbox>,
    has_task: bool,
}

impl HandOn {
    /// Groups that may be left to the task.
    const GROUPS_MAX: usize = 4;

    /// Hands on to `hub`, in a task of the runtime that this is called in, if it is.
    pub(super) fn new(hub: Arc<Hub>) -> Self {
        let outbox = Arc::new(Outbox {
            hub,
            groups: Mutex::default(),
            turn: Mutex::default(),
            filled: Notify::new(),
            closed: AtomicBool::new(false),
        });
        let runtime = Handle::try_current();
        if let Ok(runtime) = &runtime {
            // It ends with the writer.
            drop(runtime.spawn(Arc::clone(&outbox).run()));
        }
        Self { outbox, has_task: runtime.is_ok() }
    }

    #[cfg(all(test, feature = "model"))]
    pub(super) fn outbox(&self) -> Arc<Outbox> {
        Arc::clone(&self.outbox)
    }

    /// Takes a group over.
    pub(super) fn take(&self, group: Group) {
        // Whoever hears of a campaign is a crowd. The task would stand in line behind all whom the last event woke; the writer tells them of
        // the next one while they do, and then they write both at once.
        let for_a_crowd = group.iter().any(|(durable, _)| durable.concerns_a_campaign());
        let left = {
            let mut groups = self.outbox.groups();
            groups.push_back(group);
            groups.len()
        };
        if self.has_task && !for_a_crowd && left <= Self::GROUPS_MAX {
            self.outbox.filled.notify_one();
        } else {
            self.outbox.empty();
        }
    }
}

impl Drop for HandOn {
    fn drop(&mut self) {
        self.outbox.empty();
        self.outbox.closed.store(true, Ordering::Release);
        self.outbox.filled.notify_one();
    }
}

impl Outbox {
    async fn run(self: Arc<Self>) {
        while !self.closed.load(Ordering::Acquire) {
            self.filled.notified().await;
            self.empty();
        }
    }

    /// Hands on all that is there.
    pub(super) fn empty(&self) {
        // Whatever panicked while it had its turn, the next one goes on with the next group.
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            let Some(group) = self.groups().pop_front() else { return };
            // Everybody's events are on their way before anybody's answer: users see them, and senders have time.
            let told: Vec<_> = group.into_iter().map(|(durable, answer)| (durable.hand_on(&self.hub), answer)).collect();
            for (receipt, answer) in told {
                // Nobody may be left to hear the answer; the delivery is stored all the same.
                let _ = answer.send(Ok(receipt));
            }
        }
    }

    fn groups(&self) -> MutexGuard<'_, VecDeque<Group>> {
        self.groups.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
