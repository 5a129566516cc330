//! Who is connecting: from a JWT of the customer's backend, or a stream ticket of our own, to an [`Identity`].

pub mod jwt;
pub mod ticket;

use crate::{
    event::{Timestamp, UserKey},
    protocol::CloseCode,
};

/// A person whose token was checked. Only the checkers of this module can make one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The token's subject first, then the further keys of the same person; no repetitions.
    keys: Vec<UserKey>,
    /// When the token's life ends, without leeway.
    expires: Timestamp,
}

impl Identity {
    /// The most keys that one token may prove.
    pub const KEYS_MAX: usize = 32;

    /// The key that the session is counted under: the token's subject.
    pub fn user(&self) -> &UserKey {
        &self.keys[0]
    }

    /// Every key whose events the session hears, the subject first.
    pub fn keys(&self) -> &[UserKey] {
        &self.keys
    }

    /// When the token's life ends, without leeway.
    pub fn expires(&self) -> Timestamp {
        self.expires
    }
}

/// Why credentials were refused. The text is for the log; clients learn the code only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Rejection {
    /// It was good once.
    #[error("the token is expired")]
    Expired,
    /// It never was, and never will be.
    #[error("the token is refused: {0}")]
    Invalid(&'static str),
    /// It is good, but not from this Origin.
    #[error("the ticket is bound to another origin")]
    WrongOrigin,
}

impl Rejection {
    /// The code that the session ends with.
    pub fn close_code(self) -> CloseCode {
        match self {
            Self::Expired => CloseCode::TokenExpired,
            Self::Invalid(_) => CloseCode::TokenRejected,
            Self::WrongOrigin => CloseCode::Forbidden,
        }
    }
}
