//! Who is connecting: from a JWT of the customer's backend, or a stream ticket of our own, to an [`Identity`].
//!
//! [`Credentials`] is what the rest of the gateway asks: it holds the rules in force ([`jwt::Verifier`] takes tokens,
//! [`ticket::Tickets`] gives and takes tickets), the key sets that are fetched for them, and what was [revoked](revocations). Nothing
//! here reads the wall clock, and nothing says more to the outside than [`Rejection::close_code`]; the exact reason is for the operator's
//! log and never quotes the credentials.

#[cfg(any(test, fuzzing))]
pub(crate) mod any_bytes;
mod claims;
mod credentials;
mod jwks;
mod keys;
pub mod revocations;

pub mod jwt;
pub mod ticket;

#[cfg(test)]
pub(crate) mod tests;

use std::time::{Duration, Instant};

use aws_lc_rs::digest;

use crate::{
    event::{Timestamp, UserKey},
    protocol::CloseCode,
    telemetry::REFUSALS,
};

pub use credentials::{Credentials, Prepared};
pub use jwks::KeySetHome;

/// A person whose token was checked. Only the checkers of this module can make one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The token's subject first, then the further keys of the same person, and those of the campaigns it follows; no repetitions.
    keys: Vec<UserKey>,
    /// When the token's life ends, without leeway.
    expires: Timestamp,
    mark: TokenMark,
}

/// What tells one token of a person from another, as far as the token says it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TokenMark {
    /// When it was issued (`iat`).
    pub issued: Option<Timestamp>,
    /// Its `jti`.
    pub id: Option<TokenId>,
}

/// A token's `jti`, as a digest: short whatever the signer writes, and no secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TokenId([u8; Self::BYTES]);

impl TokenId {
    const BYTES: usize = 16;

    /// Of a `jti` as the token has it.
    pub fn of(jti: &str) -> Self {
        let mut bytes = [0; Self::BYTES];
        bytes.copy_from_slice(&digest::digest(&digest::SHA256, jti.as_bytes()).as_ref()[..Self::BYTES]);
        Self(bytes)
    }
}

impl Identity {
    /// The most keys of the person that one token may prove.
    pub const KEYS_MAX: usize = 32;
    /// The most campaigns whose broadcasts one token may hear.
    pub const CAMPAIGNS_MAX: usize = 32;
    /// The most bytes that all keys, the campaigns' too, may have together: ten thousands of sessions keep theirs in memory, and a ticket that has them
    /// must fit into a URL.
    pub const KEYS_BYTES_MAX: usize = 2_800;

    /// A person with these keys, of which some may be campaigns', and repetitions of which are dropped. The caller has checked who says so.
    fn new(
        user: UserKey,
        further: impl IntoIterator<Item = UserKey>,
        expires: Timestamp,
        mark: TokenMark,
    ) -> Result<Self, Rejection> {
        let mut bytes = user.as_str().len();
        let mut keys = vec![user];
        let mut campaigns = 0;
        for key in further {
            if keys.contains(&key) {
                continue;
            }
            bytes += key.as_str().len();
            if key.campaign().is_some() {
                campaigns += 1;
                if campaigns > Self::CAMPAIGNS_MAX {
                    return Err(Rejection::Invalid("campaigns has more than 32 entries"));
                }
            } else if keys.len() - campaigns == Self::KEYS_MAX {
                return Err(Rejection::Invalid("sub and keys are more than 32 user keys"));
            }
            if bytes > Self::KEYS_BYTES_MAX {
                return Err(Rejection::Invalid("sub, keys and campaigns are longer than 2,800 bytes together"));
            }
            keys.push(key);
        }
        Ok(Self { keys, expires, mark })
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

    /// Every key whose events the session hears, the subject first, campaigns last.
    pub fn keys(&self) -> &[UserKey] {
        &self.keys
    }

    /// When the token's life ends, without leeway.
    pub fn expires(&self) -> Timestamp {
        self.expires
    }

    /// Which of the person's tokens it was.
    pub fn mark(&self) -> TokenMark {
        self.mark
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
    /// Nobody knows a key that it could have been signed with; a key set that is fetched anew may.
    #[error("the token is refused: {0}")]
    UnknownKey(&'static str),
    /// It was good until it, or its user, was revoked.
    #[error("the token was revoked")]
    Revoked,
    /// It is good, but not from this Origin.
    #[error("the ticket is bound to another origin")]
    WrongOrigin,
}

impl Rejection {
    /// Tells the log, as often as strangers may.
    pub fn log(self) {
        if REFUSALS.admit("credentials refused", "", self.close_code().reason(), Instant::now()) {
            tracing::info!(reason = %self, "credentials refused");
        }
    }

    /// The code that the session ends with.
    pub fn close_code(self) -> CloseCode {
        match self {
            Self::Expired => CloseCode::TokenExpired,
            Self::Invalid(_) | Self::UnknownKey(_) => CloseCode::TokenRejected,
            Self::Revoked => CloseCode::TokenRevoked,
            Self::WrongOrigin => CloseCode::Forbidden,
        }
    }
}
