//! The sessions under one key: of a person one or a few, of a campaign ten thousands.
//!
//! A few are a short list. Many are spread over groups by their numbers, so that joining and leaving touch one group, whatever the crowd;
//! and each group is shared, so that an event is handed to a crowd without holding anybody up who joins or leaves meanwhile: they then
//! change a copy of their group.

use std::{mem, sync::Arc};

use smallvec::SmallVec;

use super::mailbox::Slot;

/// More than this is a crowd.
const FEW_MAX: usize = 32;
/// Groups are doubled when they hold more than this on average. Few enough to be searched, and to be copied, in well under a microsecond.
const GROUP_MAX: usize = 64;

/// The sessions under one key.
#[derive(Default)]
pub(super) struct Members {
    sessions: Sessions,
    /// How many of them are counted under this key.
    own: usize,
}

enum Sessions {
    /// Most people have one session, which then needs no allocation of its own.
    Few(SmallVec<[Arc<Slot>; 1]>),
    Crowd(Crowd),
}

/// Sessions by their numbers; the groups are a power of two.
struct Crowd {
    groups: Vec<Group>,
    sessions: usize,
}

/// A part of a crowd.
pub(super) type Group = Arc<Vec<Arc<Slot>>>;

impl Members {
    /// How many sessions are counted under this key.
    pub(super) fn own(&self) -> usize {
        self.own
    }

    pub(super) fn is_empty(&self) -> bool {
        match &self.sessions {
            Sessions::Few(few) => few.is_empty(),
            Sessions::Crowd(crowd) => crowd.sessions == 0,
        }
    }

    /// Adds a session, which is counted under this key if it is its `own`.
    pub(super) fn add(&mut self, slot: &Arc<Slot>, own: bool) {
        self.own += usize::from(own);
        match &mut self.sessions {
            Sessions::Few(few) if few.len() < FEW_MAX => few.push(Arc::clone(slot)),
            Sessions::Few(few) => {
                let mut crowd = Crowd { groups: vec![Group::default()], sessions: 0 };
                mem::take(few).into_iter().for_each(|member| crowd.add(member));
                crowd.add(Arc::clone(slot));
                self.sessions = Sessions::Crowd(crowd);
            }
            Sessions::Crowd(crowd) => crowd.add(Arc::clone(slot)),
        }
    }

    /// Takes a session away, which was added as its `own` or not.
    pub(super) fn remove(&mut self, slot: &Arc<Slot>, own: bool) {
        let removed = match &mut self.sessions {
            Sessions::Few(few) => place(few, slot).map(|at| few.swap_remove(at)).is_some(),
            Sessions::Crowd(crowd) => crowd.remove(slot),
        };
        self.own -= usize::from(own && removed);
    }

    /// Every session.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Arc<Slot>> {
        let (few, crowd) = match &self.sessions {
            Sessions::Few(few) => (&few[..], &[][..]),
            Sessions::Crowd(crowd) => (&[][..], &crowd.groups[..]),
        };
        few.iter().chain(crowd.iter().flat_map(|group| group.iter()))
    }

    /// If it is a crowd: the sessions as they are now, which may be gone through without keeping others from joining or leaving. Takes one
    /// step and 8 bytes for each group, not for each session.
    pub(super) fn crowd(&self) -> Option<Vec<Group>> {
        match &self.sessions {
            Sessions::Few(_) => None,
            Sessions::Crowd(crowd) => Some(crowd.groups.clone()),
        }
    }
}

impl Default for Sessions {
    fn default() -> Self {
        Self::Few(SmallVec::new())
    }
}

impl Crowd {
    fn add(&mut self, slot: Arc<Slot>) {
        if self.sessions >= self.groups.len() * GROUP_MAX {
            self.spread();
        }
        let group = self.group_of(&slot);
        Arc::make_mut(group).push(slot);
        self.sessions += 1;
    }

    fn remove(&mut self, slot: &Arc<Slot>) -> bool {
        let group = Arc::make_mut(self.group_of(slot));
        let found = place(group, slot).map(|at| group.swap_remove(at)).is_some();
        self.sessions -= usize::from(found);
        found
    }

    /// Numbers are given one after the other, so their last bits fill the groups evenly.
    fn group_of(&mut self, slot: &Slot) -> &mut Group {
        let mask = self.groups.len() - 1;
        let low = usize::try_from(slot.number() & u64::from(u32::MAX)).unwrap_or(0);
        &mut self.groups[low & mask]
    }

    fn spread(&mut self) {
        let doubled = vec![Group::default(); self.groups.len() * 2];
        let old = mem::replace(&mut self.groups, doubled);
        for member in old.iter().flat_map(|group| group.iter()) {
            Arc::make_mut(self.group_of(member)).push(Arc::clone(member));
        }
    }
}

fn place(members: &[Arc<Slot>], slot: &Arc<Slot>) -> Option<usize> {
    members.iter().position(|member| Arc::ptr_eq(member, slot))
}
