//! Ending the sessions whose tokens were revoked.

use super::{Hub, Members, mailbox::Slot};
use crate::{
    auth::revocations::{Revocation, Subject},
    event::UserKey,
    protocol::CloseCode,
    sync::dashmap::mapref::multiple::RefMulti,
};

impl Hub {
    /// Ends every session that goes on with a token that `revocation` is about, and returns how many those were.
    ///
    /// A session that joins at the same moment may not be seen: it asks for itself once it has joined, so `revocation` has to be in force
    /// before this is called.
    pub fn revoke(&self, revocation: &Revocation) -> usize {
        let end = |slot: &Slot| revocation.covers(slot.keys(), slot.mark()) && slot.close(CloseCode::TokenRevoked.into());
        match &revocation.subject {
            Subject::User(key) => self.members.get(key).map_or(0, |members| members.iter().filter(|slot| end(slot)).count()),
            Subject::Token(_) => {
                let of_user = |members: RefMulti<'_, UserKey, Members>| {
                    members.iter().filter(|slot| slot.user() == members.key() && end(slot)).count()
                };
                self.members.iter().filter(|members| members.own() > 0).map(of_user).sum()
            }
        }
    }
}
