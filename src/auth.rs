//! Who is connecting: from a JWT of the customer's backend, or a stream ticket of our own, to an [`Identity`].
//!
//! [`jwt::Verifier`] takes tokens, [`ticket::Tickets`] gives and takes tickets. Neither reads a clock, and neither says more to
//! the outside than [`Rejection::close_code`]; the exact reason is for the operator's log and never quotes the credentials.

mod claims;
mod keys;

pub mod jwt;
pub mod ticket;

#[cfg(test)]
mod tests;

use std::time::Duration;

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
    /// The most bytes that the keys may have together: ten thousands of sessions keep theirs in memory, and a ticket that has them
    /// must fit into a URL.
    pub const KEYS_BYTES_MAX: usize = 2_800;

    /// A person with these keys, repetitions of which are dropped. The caller has checked who says so.
    fn new(user: UserKey, further: impl IntoIterator<Item = UserKey>, expires: Timestamp) -> Result<Self, Rejection> {
        let mut bytes = user.as_str().len();
        let mut keys = vec![user];
        for key in further {
            if keys.contains(&key) {
                continue;
            }
            bytes += key.as_str().len();
            if keys.len() == Self::KEYS_MAX {
                return Err(Rejection::Invalid("sub and keys are more than 32 user keys"));
            }
            if bytes > Self::KEYS_BYTES_MAX {
                return Err(Rejection::Invalid("sub and keys are longer than 2,800 bytes together"));
            }
            keys.push(key);
        }
        Ok(Self { keys, expires })
    }

    /// Passes the person on unless the token's life was over `leeway` ago. Token and ticket share this rule, so that no ticket
    /// outlives its token.
    fn unless_expired(self, leeway: Duration, now: Timestamp) -> Result<Self, Rejection> {
        if now < self.expires.plus(leeway) { Ok(self) } else { Err(Rejection::Expired) }
    }

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
