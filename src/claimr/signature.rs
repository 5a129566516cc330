//! Is it really the sender? Raw bytes and headers in, [`Verified`] bytes out; nothing else can make one.
//!
//! A source is verified by one [`Found`] scheme. If the configuration pins it, that is the one; under `detect` the headers
//! say which schemes they have the shape of, and each of those is checked exactly as if it were pinned. So detection accepts
//! what some pinned configuration accepts, and only values computed with our secret; a plain shared secret has to be pinned.
//!
//! What is claimed about time: the bytes of signatures and secrets are compared in constant time, and which HMACs are
//! computed depends only on the shape of the headers (names, lengths, alphabets), on timestamps and on the configuration,
//! never on how close a signature came. Two wrong signatures of the same shape cost the same. A value that cannot be a
//! signature costs less, which tells its sender nothing but what it sent. Timestamps are judged first and alone, so that
//! their refusals say nothing about signatures.
//!
//! What is claimed about work: at most [`HMACS_PER_SECRET_MAX`] HMACs per secret and delivery, each computed once.
//!
//! A value that one scheme signed can count under another scheme only for a body that has `<t>.` or `<id>.<t>.` before it, or
//! that is the tail of another one after such a text. Neither is JSON if the original is, so the parser behind this refuses
//! both.

#[cfg(any(test, fuzzing))]
pub(crate) mod any_bytes;
mod attempt;
mod explain;
mod found;
mod guess;
mod mask;
mod secret;
mod shape;

use std::{
    fmt,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicUsize, Ordering},
    },
};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue};

use crate::{
    config::{HookSecret, Signature, Source},
    event::Timestamp,
};

use attempt::{Attempt, Match};
use secret::Secret;

pub use attempt::HMACS_PER_SECRET_MAX;
pub use explain::{Explanation, Matched, explain};
pub use found::{Found, TOLERANCE_S};
pub use mask::Mask;

/// The most secrets of one source: they multiply the work that a stranger's delivery costs.
pub const SECRETS_MAX: usize = 8;

/// Checks the deliveries of one source. Has no way to print its secrets.
pub struct Verifier {
    source: String,
    secrets: Vec<Secret>,
    allow_unsigned: bool,
    /// Absent under `detect`.
    pinned: Option<Arc<Found>>,
    /// What the first signed delivery was found to use: tried first ever after, because it is right nearly always.
    learned: OnceLock<Arc<Found>>,
    /// The secret that matched last, tried first: after a rotation the old one would cost an HMAC each time.
    last: AtomicUsize,
}

impl Verifier {
    /// Prepares the checks of `source`, or names every setting of it that cannot work.
    pub fn new(source: &Source) -> Result<Self, Vec<Problem>> {
        // The loader writes `sources[0].secrets[1]`; without any secret only the name tells the source.
        let place = source.secrets.first().and_then(|s| s.setting.rsplit_once(".secrets"));
        let place = place.map_or_else(|| format!("sources.{}", source.name), |(place, _)| place.to_owned());
        Self::assemble(&source.name, &place, &source.secrets, source.allow_unsigned, &source.signature)
    }

    fn assemble(
        name: &str,
        place: &str,
        secrets: &[HookSecret],
        allow_unsigned: bool,
        signature: &Signature,
    ) -> Result<Self, Vec<Problem>> {
        let mut problems = Vec::new();
        let mut problem = |setting: String, problem: String| problems.push(Problem { setting, problem });
        if secrets.is_empty() && !allow_unsigned {
            problem(
                format!("{place}.secrets"),
                "give the secret that the sender signs with, or set allow_unsigned = true".into(),
            );
        }
        if secrets.len() > SECRETS_MAX {
            problem(format!("{place}.secrets"), format!("more than {SECRETS_MAX} secrets"));
        }
        let mut ring = Vec::with_capacity(secrets.len());
        for hook in secrets {
            match Secret::new(hook, signature) {
                Ok(secret) => ring.push(secret),
                Err(text) => problem(hook.setting.clone(), text.into()),
            }
        }
        let pinned = Found::pinned(signature).unwrap_or_else(|(member, text)| {
            problem(format!("{place}.signature.{member}"), text);
            None
        });
        if !problems.is_empty() {
            return Err(problems);
        }
        Ok(Self {
            source: name.to_owned(),
            secrets: ring,
            allow_unsigned,
            pinned: pinned.map(Arc::new),
            learned: OnceLock::new(),
            last: AtomicUsize::new(0),
        })
    }

    /// Takes `body`, the raw bytes as received, if its headers prove that the sender knew a secret that is valid `now`.
    pub fn verify(&self, headers: &HeaderMap, body: Bytes, now: Timestamp) -> Result<Verified, Refusal> {
        if self.secrets.is_empty() && self.allow_unsigned {
            return Ok(Verified::unsigned(body));
        }
        match self.check(headers, &body, now) {
            Ok((found, by)) => {
                self.last.store(by.secret, Ordering::Relaxed);
                Ok(Verified { body, proof: Some(Proof { found, by }) })
            }
            Err(Refusal::Missing) if self.allow_unsigned => Ok(Verified::unsigned(body)),
            Err(refusal) => Err(refusal),
        }
    }

    fn check(&self, headers: &HeaderMap, body: &[u8], now: Timestamp) -> Result<(Arc<Found>, Match), Refusal> {
        let mut attempt = Attempt::new(&self.secrets, self.last.load(Ordering::Relaxed), headers, body, now);
        match &self.pinned {
            Some(found) => found.check(&mut attempt).map(|by| (Arc::clone(found), by)),
            None => self.detect(&mut attempt),
        }
    }

    fn detect(&self, attempt: &mut Attempt<'_>) -> Result<(Arc<Found>, Match), Refusal> {
        if let Some(learned) = self.learned.get()
            && let Ok(by) = learned.check(attempt)
        {
            return Ok((Arc::clone(learned), by));
        }
        let (found, by) = detect(attempt)?;
        let found = Arc::new(found);
        if self.learned.set(Arc::clone(&found)).is_ok() {
            tracing::info!(source = %self.source, pin = %found, "found how this source signs; the line in `pin` makes it fixed");
        }
        Ok((found, by))
    }
}

/// Checks every scheme that the headers have the shape of. Of several refusals the most telling one stands.
fn detect(attempt: &mut Attempt<'_>) -> Result<(Found, Match), Refusal> {
    let (candidates, mut refusal) = shape::candidates(attempt.headers());
    for found in candidates {
        match found.check(attempt) {
            Ok(by) => return Ok((found, by)),
            Err(other) => refusal = refusal.max(other),
        }
    }
    Err(refusal)
}

/// Bytes that the sender signed, or that a source without signatures may send. Only [`Verifier`] makes them.
pub struct Verified {
    body: Bytes,
    /// Absent if the delivery was unsigned and may be.
    proof: Option<Proof>,
}

struct Proof {
    found: Arc<Found>,
    by: Match,
}

impl Verified {
    fn unsigned(body: Bytes) -> Self {
        Self { body, proof: None }
    }

    /// The raw bytes as received.
    pub fn body(&self) -> &Bytes {
        &self.body
    }

    /// The sender's id of this delivery, the same in each retry: visible ASCII, 1 to 256 bytes. Only where the scheme signs it.
    pub fn delivery_id(&self) -> Option<&str> {
        self.proof.as_ref()?.by.delivery_id.as_ref().and_then(|id: &HeaderValue| id.to_str().ok())
    }

    /// How it was signed; absent if it was not.
    pub fn scheme(&self) -> Option<&Found> {
        self.proof.as_ref().map(|proof| &*proof.found)
    }

    /// The same, shared, for those who remember it longer than the delivery.
    pub fn shared_scheme(&self) -> Option<Arc<Found>> {
        self.proof.as_ref().map(|proof| Arc::clone(&proof.found))
    }

    /// Which of the source's secrets matched, counted from 0 in the order of the configuration; absent if it was not signed.
    pub fn secret(&self) -> Option<usize> {
        self.proof.as_ref().map(|proof| proof.by.secret)
    }
}

/// Without the body, which may hold a person's data.
impl fmt::Debug for Verified {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("Verified");
        debug.field("bytes", &self.body.len()).field("scheme", &self.scheme()).field("secret", &self.secret());
        debug.field("delivery_id", &self.delivery_id()).finish_non_exhaustive()
    }
}

/// Why a delivery is not taken; each is a 401. In ascending order of what it tells: of several the greatest is reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, thiserror::Error)]
pub enum Refusal {
    /// No header is, or by its name should be, a signature.
    #[error("no header carries a signature")]
    Missing,
    /// A signature is there, and none that a secret of ours made.
    #[error("no signature matches")]
    Invalid,
    /// The scheme signs a timestamp, and there is none.
    #[error("the signature's timestamp is missing")]
    TimestampMissing,
    /// The timestamp is not plain digits, or no number of seconds.
    #[error("the signature's timestamp is not a number of seconds")]
    TimestampMalformed,
    /// The timestamp is more than [`TOLERANCE_S`] before or after now.
    #[error("the signature's timestamp is more than {TOLERANCE_S} s off")]
    TimestampStale,
}

impl Refusal {
    /// The code in answers and metrics.
    pub fn code(self) -> &'static str {
        match self {
            Self::Missing => "signature_missing",
            Self::Invalid => "signature_invalid",
            Self::TimestampMissing => "timestamp_missing",
            Self::TimestampMalformed => "timestamp_malformed",
            Self::TimestampStale => "timestamp_stale",
        }
    }
}

/// A setting that cannot work. Never holds a secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{setting}: {problem}")]
pub struct Problem {
    /// Its key, such as `sources[0].secrets[1]`.
    pub setting: String,
    /// What is wrong with it, and the remedy.
    pub problem: String,
}

#[cfg(test)]
mod tests;
