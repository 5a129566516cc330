//! Who is connected to this node: key → sessions, and a bounded mailbox for each. A key is a person's, or a campaign's.
//!
//! Nothing here ever waits for a client. A mailbox that would exceed its bounds is emptied and closed with 4001 instead; the log still has
//! the events, and the client comes back with its cursor. Leaving is dropping the [`Mailbox`].

pub mod admission;
mod mailbox;
mod member;
mod members;
mod revoke;

use std::{
    collections::HashSet,
    sync::{Arc, OnceLock},
    time::Instant,
};

use crate::{
    event::{EventType, UserKey},
    protocol::{CloseCode, Published},
    swap::Swap,
    sync::{
        atomic::{AtomicU64, AtomicUsize, Ordering},
        dashmap::{
            DashMap,
            mapref::{entry::Entry, multiple::RefMulti},
        },
    },
};

use mailbox::Slot;
pub use mailbox::{Mail, Mailbox, MailboxLimits};
pub use member::{Arrival, Member, MemberView};
use members::Members;

/// The sessions of this node.
pub struct Hub {
    members: DashMap<UserKey, Members>,
    limits: Swap<HubLimits>,
    next_session: AtomicU64,
    sessions: AtomicUsize,
    /// Counts who comes and goes.
    changes: AtomicU64,
    elsewhere: OnceLock<Elsewhere>,
}

/// How many sessions a user has on other nodes, as far as this one knows.
pub type Elsewhere = Box<dyn Fn(&UserKey) -> usize + Send + Sync>;

/// The bounds of the hub.
#[derive(Clone, Copy, Debug)]
pub struct HubLimits {
    /// Sessions of one user, counted under the subject of their tokens.
    pub sessions_per_user_max: usize,
    /// What may wait for one session.
    pub mailbox: MailboxLimits,
}

impl Hub {
    /// A hub without sessions.
    pub fn new(limits: HubLimits) -> Arc<Self> {
        Arc::new(Self {
            members: DashMap::default(),
            limits: Swap::new(limits),
            // A random start, so that numbers of two runs do not look alike in logs.
            next_session: AtomicU64::new(fastrand::u64(..) >> 16),
            sessions: AtomicUsize::new(0),
            changes: AtomicU64::new(0),
            elsewhere: OnceLock::new(),
        })
    }

    /// Counts the sessions that a user has elsewhere against the user's limit. Only the first who says how to is heard.
    pub fn count_elsewhere(&self, elsewhere: Elsewhere) {
        // A hub belongs to one log for its life.
        let _ = self.elsewhere.set(elsewhere);
    }

    /// Bounds sessions that join from now on.
    pub fn set_limits(&self, limits: HubLimits) {
        self.limits.set(limits);
    }

    /// Adds a session that hears `keys`, of which the first is the user it is counted under, and of events only `types` (all if empty).
    /// It is a member from now until the mailbox is dropped.
    pub fn join(self: &Arc<Self>, keys: &[UserKey], types: &[EventType]) -> Result<Mailbox, CloseCode> {
        self.join_as(Arrival::default(), keys, types)
    }

    /// Adds a session as [`Hub::join`] does, and remembers how and when it came.
    pub fn join_as(self: &Arc<Self>, arrival: Arrival, keys: &[UserKey], types: &[EventType]) -> Result<Mailbox, CloseCode> {
        let number = self.next_session.fetch_add(1, Ordering::Relaxed);
        let limits = self.limits.get();
        let slot = Arc::new(Slot::new(number, arrival, keys, types, limits.mailbox));
        let elsewhere = self.elsewhere.get().map_or(0, |elsewhere| elsewhere(slot.user()));
        for (i, key) in keys.iter().enumerate() {
            let mut members = self.members.entry(key.clone()).or_default();
            if i == 0 && members.own() + elsewhere >= limits.sessions_per_user_max {
                return Err(CloseCode::TooManySessions);
            }
            members.add(&slot, i == 0);
        }
        self.sessions.fetch_add(1, Ordering::Relaxed);
        self.changes.fetch_add(1, Ordering::Relaxed);
        Ok(Mailbox::new(Arc::clone(self), slot))
    }

    /// Puts `event` into the mailbox of every session that it concerns, and returns how many that were.
    ///
    /// Only one thread may call this, in the order of the log: that is what makes the order of a mailbox the order of the log.
    pub fn deliver(&self, event: &Published, received: Instant) -> usize {
        let mut reached = 0;
        for view in &event.views {
            for key in &view.keys {
                reached += self.each(key, |slot| slot.put(event.seq, &event.kind, &view.frame, received));
            }
        }
        reached
    }

    /// Puts an event that was delivered before once more into the mailbox of every session that it concerns now, and returns how many
    /// that were. It comes between others, whatever its number; so anybody may call this.
    pub fn deliver_again(&self, event: &Published) -> usize {
        let mut told = HashSet::new();
        let mut reached = 0;
        for view in &event.views {
            for key in &view.keys {
                reached +=
                    self.each(key, |slot| told.insert(slot.number()) && slot.put_again(event.seq, &event.kind, &view.frame));
            }
        }
        reached
    }

    /// Hands something to every session under a key, and returns how many `put` took it.
    ///
    /// A crowd is not kept from joining and leaving meanwhile. Who joins then reads the log up to a head that has the event already; who
    /// leaves takes its mailbox along.
    fn each(&self, key: &UserKey, mut put: impl FnMut(&Slot) -> bool) -> usize {
        let Some(members) = self.members.get(key) else { return 0 };
        let Some(crowd) = members.crowd() else { return members.iter().filter(|slot| put(slot)).count() };
        drop(members);
        crowd.iter().flat_map(|group| group.iter()).filter(|slot| put(slot)).count()
    }

    /// Every session, each once, to be told something.
    pub fn members(&self) -> Vec<Member> {
        let of_user = |members: RefMulti<'_, UserKey, Members>| {
            let own = members.iter().filter(|slot| slot.user() == members.key());
            own.map(|slot| Member(Arc::clone(slot))).collect::<Vec<_>>()
        };
        // Nobody is counted under a campaign, so its crowd need not be gone through.
        self.members.iter().filter(|members| members.own() > 0).flat_map(of_user).collect()
    }

    /// The sessions that hear `key`, whoever they are counted under.
    pub fn members_of(&self, key: &UserKey) -> Vec<Member> {
        self.members.get(key).map_or_else(Vec::new, |members| members.iter().map(|slot| Member(Arc::clone(slot))).collect())
    }

    /// How many sessions are members now.
    pub fn sessions(&self) -> usize {
        self.sessions.load(Ordering::Relaxed)
    }

    /// How many keys are listened to now.
    pub fn keys(&self) -> usize {
        self.members.len()
    }

    /// Every user who has sessions of clients here, and how many.
    pub fn users(&self) -> Vec<(UserKey, usize)> {
        let counted = |members: RefMulti<'_, UserKey, Members>| {
            let own = |slot: &&Arc<Slot>| slot.user() == members.key() && slot.arrival().carrier.is_some();
            let count = members.iter().filter(own).count();
            (count > 0).then(|| (members.key().clone(), count))
        };
        self.members.iter().filter_map(counted).collect()
    }

    /// A number that is another one whenever somebody has come or gone.
    pub fn changes(&self) -> u64 {
        self.changes.load(Ordering::Relaxed)
    }

    /// Whether anybody here hears `key`, so that an event which concerns nobody here costs next to nothing.
    pub fn hears(&self, key: &str) -> bool {
        self.members.contains_key(key)
    }

    fn leave(&self, slot: &Arc<Slot>) {
        for (i, key) in slot.keys().iter().enumerate() {
            // One atomic step: a session that joins meanwhile under the same key must not lose its place.
            if let Entry::Occupied(mut members) = self.members.entry(key.clone()) {
                members.get_mut().remove(slot, i == 0);
                if members.get().is_empty() {
                    members.remove();
                }
            }
        }
        self.sessions.fetch_sub(1, Ordering::Relaxed);
        self.changes.fetch_add(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests;

#[cfg(test)]
#[cfg(feature = "model")]
mod model;
