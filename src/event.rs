//! The nouns of the gateway, without any I/O: when, who, what, and where in the log.
//!
//! A webhook becomes one [`Delivery`]: the events it reports, each a [`Draft`] until the log has numbered it, and what
//! could not be understood, as [`DeadLetter`]s. A delivery is stored all or nothing.

mod position;
mod user_key;

use std::{
    fmt,
    time::{Duration, Instant},
};

use bytes::Bytes;

pub use position::{Epoch, InvalidCursor, Position};
pub use user_key::{InvalidCampaign, InvalidUserKey, UserKey};

/// Milliseconds since the Unix epoch. Only the edge of the program reads a clock; everywhere else `now` is a parameter.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(pub u64);

impl Timestamp {
    /// This moment less `duration`, not before 1970.
    #[must_use]
    pub fn minus(self, duration: Duration) -> Self {
        Self(self.0.saturating_sub(millis(duration)))
    }

    /// This moment and `duration` more, at most the end of time.
    #[must_use]
    pub fn plus(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(millis(duration)))
    }

    /// How long after `earlier` this is; zero if it is not.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }

    /// Whole seconds since the Unix epoch.
    pub fn as_secs(self) -> u64 {
        self.0 / 1000
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// The type of an event: claimr's scope, 1 to 64 bytes of `[A-Za-z0-9_.-]`.
///
/// Business types never start with `$`, which marks control frames, so no payload can forge one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
pub struct EventType(Box<str>);

impl EventType {
    /// The longest type in bytes.
    pub const BYTES_MAX: usize = 64;

    /// Takes `text` if it has the form of a type.
    pub fn new(text: &str) -> Option<Self> {
        let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-');
        let good = (1..=Self::BYTES_MAX).contains(&text.len()) && text.bytes().all(plain);
        good.then(|| Self(text.into()))
    }

    /// The type of an event whose delivery names no usable scope.
    pub fn unknown() -> Self {
        Self("unknown".into())
    }

    /// The type as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for EventType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One person whom an event concerns: all the keys that person may be connected under, and what that person may see. Or those who follow a
/// campaign, under its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Audience {
    /// Never empty; without repetitions.
    pub keys: Vec<UserKey>,
    /// The event's frame after its `id` member: JSON members without the outer braces, without line breaks, for example
    /// `"type":"user_activity","at":1732350000123,"data":{}`.
    pub members: String,
}

/// How a repeated event is recognised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dedupe {
    /// Hash of what identifies the event: its delivery id, or its bytes.
    pub key: [u8; 16],
    /// Hash of its bytes, to tell a retry from another event under the same id.
    pub digest: [u8; 16],
    /// A repetition is recognised for at least this long after the first.
    pub window: Duration,
}

/// An event that the log has not numbered yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Draft {
    /// What clients filter by.
    pub kind: EventType,
    /// When the gateway received it.
    pub at: Timestamp,
    /// The people it concerns; never empty. Campaigns come last: whoever is meant in person sees the person's view.
    pub audiences: Vec<Audience>,
    /// Absent if every arrival counts as new.
    pub dedupe: Option<Dedupe>,
}

impl Draft {
    /// The people it concerns, without those who only follow its campaign.
    pub fn people(&self) -> impl Iterator<Item = &Audience> {
        self.audiences.iter().filter(|audience| audience.keys.iter().any(|key| key.campaign().is_none()))
    }
}

/// Why a verified delivery, or a part of it, reached nobody.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DeadReason {
    /// It is not the JSON that the gateway accepts.
    PayloadInvalid,
    /// It names no identity under the source's mapping.
    NoUser,
}

impl DeadReason {
    /// The lane's name in answers, metrics and the admin API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::PayloadInvalid => "payload_invalid",
            Self::NoUser => "no_user",
        }
    }
}

/// A verified delivery, or one element of it, that reached nobody; kept, within bounds, until somebody mends the mapping.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadLetter {
    /// When the gateway received it.
    pub at: Timestamp,
    /// The source's configured name.
    pub source: String,
    /// The last segment of the URL, if it had one.
    pub scope: Option<EventType>,
    /// Why it is here.
    pub reason: DeadReason,
    /// The bytes as received; of one element only, if the rest of its delivery was understood.
    pub body: Bytes,
}

/// What one webhook asks the log to store, all or nothing.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// In the order of the body.
    pub drafts: Vec<Draft>,
    /// What could not be addressed.
    pub dead_letters: Vec<DeadLetter>,
    /// When its first byte was read, for the receipt-to-socket histogram.
    pub received: Instant,
}
