//! What every gateway has to know besides the events: who is revoked, whose sessions end, which event is sent once more.
//!
//! A stream of its own, with one message for each subject: of a revocation the last word counts, and stays as long as it is in force. A gateway
//! that was cut off hears what it missed, in order, when it is back; one that starts hears the revocations before it serves.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError, atomic::Ordering, mpsc::SyncSender},
    time::{Duration, Instant},
};

use async_nats::jetstream::{self, message::PublishMessage, stream::Info};
use serde::{Deserialize, Serialize};
use tokio::time::sleep;
use xxhash_rust::xxh3::xxh3_128;

use super::{
    Shared,
    follow::{self, Follower, Lost},
    link::START_PATIENCE,
};
use crate::{
    auth::revocations::{Revocation, Subject},
    engine::{EngineError, Listener, Notice},
    event::{Timestamp, UserKey},
    protocol::CloseCode,
};

/// How long what is done once has to be known: who is cut off for longer has lost its sessions.
const ONCE_KEPT: Duration = Duration::from_hours(1);
/// Between rounds of clearing up.
const SWEEP: Duration = Duration::from_mins(1);
/// Messages that one round removes.
const SWEEP_MAX: usize = 5_000;
/// Between attempts to read the past.
const RETRY: Duration = Duration::from_millis(250);
const VERSION: u32 = 1;
/// Longer is no notice: a `jti` has 1 KiB at most, a user key 256 bytes.
const MESSAGE_BYTES_MAX: usize = 16 * 1024;

/// A notice on the bus.
#[derive(Serialize, Deserialize)]
pub(super) struct Message {
    v: u32,
    /// The gateway that said it, and has done it.
    pub(super) node: String,
    #[serde(flatten)]
    pub(super) what: What,
}

impl Message {
    pub(super) fn of(node: &str, notice: &Notice) -> Self {
        Self { v: VERSION, node: node.to_owned(), what: What::of(notice) }
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        // Texts and numbers always have a JSON form.
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// Reads a message; `None` if this release would not have written it.
    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        if bytes.len() > MESSAGE_BYTES_MAX {
            return None;
        }
        serde_json::from_slice::<Self>(bytes).ok().filter(|message| message.v == VERSION)
    }
}

#[derive(Serialize, Deserialize)]
#[serde(tag = "what", rename_all = "snake_case")]
pub(super) enum What {
    RevokeUser { user: String, at_ms: u64, until_ms: u64 },
    RevokeToken { jti: String, at_ms: u64, until_ms: u64 },
    ForgetUser { user: String },
    ForgetToken { jti: String },
    Disconnect { user: String },
    Again { seq: u64 },
}

impl What {
    fn of(notice: &Notice) -> Self {
        match notice {
            Notice::Revoke(Revocation { subject, at, until }) => match subject {
                Subject::User(user) => Self::RevokeUser { user: user.to_string(), at_ms: at.0, until_ms: until.0 },
                Subject::Token(jti) => Self::RevokeToken { jti: jti.clone(), at_ms: at.0, until_ms: until.0 },
            },
            Notice::Forget(Subject::User(user)) => Self::ForgetUser { user: user.to_string() },
            Notice::Forget(Subject::Token(jti)) => Self::ForgetToken { jti: jti.clone() },
            Notice::Disconnect(user) => Self::Disconnect { user: user.to_string() },
            Notice::Again(seq) => Self::Again { seq: *seq },
        }
    }

    /// What is to be done; `None` if it names nobody who could be meant. A key in another spelling than ours is nobody's.
    pub(super) fn notice(self) -> Option<Notice> {
        let key = |user: String| UserKey::parse(&user, None).ok().filter(|key| key.as_str() == user);
        let revoke = |subject, at, until| Notice::Revoke(Revocation { subject, at: Timestamp(at), until: Timestamp(until) });
        Some(match self {
            Self::RevokeUser { user, at_ms, until_ms } => revoke(Subject::User(key(user)?), at_ms, until_ms),
            Self::RevokeToken { jti, .. } if jti.len() > Subject::JTI_BYTES_MAX => return None,
            Self::RevokeToken { jti, at_ms, until_ms } => revoke(Subject::Token(jti), at_ms, until_ms),
            Self::ForgetUser { user } => Notice::Forget(Subject::User(key(user)?)),
            Self::ForgetToken { jti } if jti.len() > Subject::JTI_BYTES_MAX => return None,
            Self::ForgetToken { jti } => Notice::Forget(Subject::Token(jti)),
            Self::Disconnect { user } => Notice::Disconnect(key(user)?),
            Self::Again { seq } => Notice::Again(seq),
        })
    }

    /// The end of its subject: what is about the same replaces each other.
    pub(super) fn subject(&self) -> String {
        let hash = |text: &str| format!("{:032x}", xxh3_128(text.as_bytes()));
        match self {
            Self::RevokeUser { user, .. } | Self::ForgetUser { user } => format!("u.{}", hash(user)),
            Self::RevokeToken { jti, .. } | Self::ForgetToken { jti } => format!("t.{}", hash(jti)),
            Self::Disconnect { user } => format!("d.{}", hash(user)),
            Self::Again { seq } => format!("a.{seq}"),
        }
    }

    /// When the message may go, if it was stored at `stored`.
    pub(super) fn useless_at(&self, stored: Timestamp) -> Timestamp {
        match self {
            Self::RevokeUser { until_ms, .. } | Self::RevokeToken { until_ms, .. } => {
                Timestamp(*until_ms).max(stored).plus(ONCE_KEPT)
            }
            _ => stored.plus(ONCE_KEPT),
        }
    }
}

/// What may be removed from the stream, by its subject: when, and up to which number. As much as there are subjects in the stream.
type Useless = Arc<Mutex<HashMap<String, (Timestamp, u64)>>>;

/// The one who follows the notices.
struct Notices {
    shared: Arc<Shared>,
    listener: Listener,
    taken: u64,
    /// When the stream was made, in ns since 1970: another one begins to count anew.
    created: Option<i128>,
    /// When the latest notice was stored, in ns since 1970: what was done once is not done again if the stream has to be read again.
    latest: i128,
    /// Whether this gateway serves already: what was done once before that is over.
    live: bool,
    useless: Useless,
}

impl Follower for Notices {
    fn taken(&self) -> u64 {
        self.taken
    }

    fn meet(&mut self, stream: &Info) -> Result<(), Lost> {
        let created = stream.created.unix_timestamp_nanos();
        if self.created.replace(created).is_none_or(|known| known == created) {
            return Ok(());
        }
        tracing::warn!(stream = stream.config.name, "the notices begin anew: their stream is another one");
        self.taken = 0;
        self.useless().clear();
        Err(Lost::Strange)
    }

    fn take(&mut self, seq: u64, message: &jetstream::Message, stored: i128, _: u64) {
        self.taken = seq;
        self.shared.heard.store(seq, Ordering::Release);
        let is_news = self.live && stored > self.latest;
        self.latest = self.latest.max(stored);
        // How this gateway asks what time it is.
        if message.payload.is_empty() {
            return;
        }
        let Some(Message { node, what, .. }) = Message::decode(&message.payload) else {
            return self.shared.pass_over(seq, message.payload.len(), "notice");
        };
        let useless_at = what.useless_at(Timestamp(follow::millis(stored)));
        self.useless().insert(message.subject.to_string(), (useless_at, seq));
        let Some(notice) = what.notice() else {
            return self.shared.pass_over(seq, message.payload.len(), "notice");
        };
        let own = node == self.shared.node;
        match notice {
            Notice::Revoke(_) | Notice::Forget(_) if !(own && self.live) => (self.listener)(notice),
            Notice::Disconnect(user) if is_news && !own => {
                for member in self.shared.hub.members_of(&user).iter().filter(|member| member.carrier().is_some()) {
                    member.close(CloseCode::TokenRevoked.into());
                }
            }
            Notice::Again(seq) if is_news && !own => self.again(seq),
            _ => {}
        }
    }
}

impl Notices {
    fn useless(&self) -> MutexGuard<'_, HashMap<String, (Timestamp, u64)>> {
        self.useless.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends an event once more to whom it concerns here.
    fn again(&self, seq: u64) {
        let shared = Arc::clone(&self.shared);
        self.shared.tasks.spawn(async move {
            match shared.event(seq).await {
                Ok(Some(event)) => drop(shared.hub.deliver_again(&event)),
                Ok(None) => {}
                Err(error) => tracing::warn!(%error, seq, "an event that another gateway sends once more cannot be read"),
            }
        });
    }
}

/// Removes from the stream what nobody needs any more, until the engine is closed. Every gateway does: who comes second finds nothing.
async fn sweep(shared: Arc<Shared>, useless: Useless) {
    loop {
        tokio::select! {
            () = sleep(SWEEP) => {}
            () = shared.closed.cancelled() => return,
        }
        let now = shared.now();
        let is_ripe = |(_, (at, _)): &(&String, &(Timestamp, u64))| *at <= now;
        let known = |useless: &HashMap<String, (Timestamp, u64)>| {
            useless.iter().filter(is_ripe).take(SWEEP_MAX).map(|(subject, (_, seq))| (subject.clone(), *seq)).collect::<Vec<_>>()
        };
        let ripe = known(&useless.lock().unwrap_or_else(PoisonError::into_inner));
        for (subject, seq) in ripe {
            // Up to this one: what was said of the same since is another matter.
            if let Err(error) = shared.streams.control.purge().filter(subject.as_str()).sequence(seq + 1).await {
                tracing::warn!(%error, "an old notice could not be removed");
                break;
            }
            let mut useless = useless.lock().unwrap_or_else(PoisonError::into_inner);
            if useless.get(&subject).is_some_and(|(_, latest)| *latest == seq) {
                useless.remove(&subject);
            }
        }
    }
}

/// Follows the notices until the engine is closed; says when those of the past are known.
pub(super) async fn follow_notices(shared: Arc<Shared>, listener: Listener, known: SyncSender<Result<(), EngineError>>) {
    let stream = shared.streams.control.clone();
    let useless = Useless::default();
    let (shared_too, useless_too) = (Arc::clone(&shared), Arc::clone(&useless));
    let mut notices =
        Notices { shared: shared_too, listener, taken: 0, created: None, latest: i128::MIN, live: false, useless: useless_too };
    let until = Instant::now() + START_PATIENCE;
    let loaded = loop {
        match follow::load(&shared, &stream, &mut notices, u64::MAX).await {
            // The servers may be about to find a new leader just now.
            Err(lost) if Instant::now() < until => {
                tracing::info!(reason = %lost, "reading the notices goes on after a stop");
                sleep(RETRY).await;
            }
            loaded => break loaded,
        }
    };
    let is_known = loaded.is_ok();
    // Whoever waited may have left; then nobody follows.
    let told = known.send(loaded.map(drop).map_err(|error| EngineError::Unavailable(error.to_string())));
    if !is_known || told.is_err() {
        return;
    }
    notices.live = true;
    shared.heard.store(notices.taken, Ordering::Release);
    // Beside the following, which is not to wait for it.
    shared.tasks.spawn(sweep(Arc::clone(&shared), useless));
    follow::follow(&shared, &stream, &mut notices).await;
}

impl Shared {
    /// Answers [`crate::engine::Engine::announce`].
    pub(super) async fn announce(&self, notice: &Notice) -> Result<(), EngineError> {
        self.open()?;
        let message = Message::of(&self.node, notice);
        let subject = format!("{}.c.{}", self.name, message.what.subject());
        let message = PublishMessage::build().payload(message.encode().into());
        let unavailable = |error: &dyn std::fmt::Display| EngineError::Unavailable(error.to_string());
        let sent = self.link.jetstream.send_publish(subject, message).await.map_err(|e| unavailable(&e))?;
        sent.await.map(drop).map_err(|e| unavailable(&e))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_notice_that_no_gateway_would_give_is_none() {
        let notice = |what: &str| {
            let message = format!(r#"{{"v":1,"node":"a",{what}}}"#);
            Message::decode(message.as_bytes()).and_then(|message| message.what.notice())
        };
        let jti = |bytes: usize| format!(r#""what":"forget_token","jti":"{}""#, "x".repeat(bytes));
        for good in [r#""what":"disconnect","user":"web3:0xabc""#, r#""what":"again","seq":7"#, &jti(Subject::JTI_BYTES_MAX)] {
            assert!(notice(good).is_some(), "{good}");
        }
        for bad in [
            r#""what":"disconnect","user":"web3:0xABC""#,
            r#""what":"disconnect","user":"campaign::x""#,
            r#""what":"disconnect","user":"42""#,
            r#""what":"again","seq":-1"#,
            r#""what":"again","what":"again","seq":7"#,
            r#""what":"somethingelse""#,
            &jti(Subject::JTI_BYTES_MAX + 1),
        ] {
            assert!(notice(bad).is_none(), "{bad}");
        }
        assert!(Message::decode(br#"{"v":2,"node":"a","what":"again","seq":7}"#).is_none(), "a later form");
        let long = format!(r#"{{"v":1,"node":"{}","what":"again","seq":7}}"#, "a".repeat(MESSAGE_BYTES_MAX));
        assert!(Message::decode(long.as_bytes()).is_none());
    }
}
