//! What every engine remembers of the first of its kind, to recognise a repetition.

use std::hash::Hasher;

use xxhash_rust::xxh3::Xxh3;

use super::Repetition;
use crate::event::{DeadLetter, Dedupe, Timestamp};

/// The first event under a [`Dedupe::key`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct First {
    /// Hash of its bytes.
    pub(super) digest: [u8; 16],
    /// Its number.
    pub(super) seq: u64,
    /// The last moment at which an event under the same key is its repetition.
    pub(super) until: Timestamp,
}

impl First {
    pub(super) fn new(dedupe: &Dedupe, seq: u64, at: Timestamp) -> Self {
        Self { digest: dedupe.digest, seq, until: at.plus(dedupe.window) }
    }

    /// What an event under the same key is that arrives `at`; `None` if it is new.
    pub(super) fn judge(&self, digest: [u8; 16], at: Timestamp) -> Option<Repetition> {
        // A clock that was set back makes a retry look older than the first; it is a retry all the same.
        let repeats = at <= self.until;
        repeats.then(|| if digest == self.digest { Repetition::Same } else { Repetition::OtherBody })
    }
}

/// Recognises a dead letter whose sender tries again, which must not push the others out of the lane.
///
/// Only a sender that knows the webhook secret could prepare two letters with the same hash, so a quick hash will do.
pub(super) fn letter_digest(letter: &DeadLetter) -> [u8; 16] {
    let mut hash = Xxh3::new();
    let scope = letter.scope.as_ref().map_or("", |scope| scope.as_str());
    for part in [letter.source.as_bytes(), scope.as_bytes(), letter.reason.as_str().as_bytes(), &letter.body] {
        hash.write_u64(part.len() as u64);
        hash.update(part);
    }
    hash.digest128().to_le_bytes()
}
