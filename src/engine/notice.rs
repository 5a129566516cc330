//! What one gateway has to tell all that share its log.

use crate::{
    auth::revocations::{Revocation, Subject},
    event::UserKey,
};

/// Something that every gateway has to know or do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// Tokens are refused from now on, and the sessions that go on with them end.
    Revoke(Revocation),
    /// A revocation is taken back.
    Forget(Subject),
    /// The sessions that hear this key end.
    Disconnect(UserKey),
    /// The event of this number is sent once more to whom it concerns.
    Again(u64),
}

/// Takes the revocations that other gateways announce. The rest the log does by itself.
pub type Listener = Box<dyn Fn(Notice) + Send + Sync>;
