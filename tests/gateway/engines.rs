//! One suite that every engine has to pass: stories about one property each, races of a publisher with sessions that join, and random
//! operations beside a model that is too simple to be wrong. What only a disk can suffer is in `disk`.

#![expect(clippy::unwrap_used, reason = "a helper that fails fails its test")]

mod disk;
mod letters;
mod model;
mod races;
mod stories;

use std::{
    collections::VecDeque,
    path::{Path, PathBuf},
    sync::Arc,
    task::{Context, Poll, Waker},
    time::{Duration, Instant},
};

use bytes::Bytes;
use claimr_relay::{
    config::{Login, Nats, NatsTls},
    engine::{
        Backlog, Engine, Missed, PublishError, Receipt, Repetition, Retention, Start,
        disk::{DiskEngine, DiskLimits},
        memory::MemoryEngine,
        nats::{NatsEngine, NatsLimits},
    },
    event::{Audience, DeadLetter, DeadReason, Dedupe, Delivery, Draft, EventType, Position, Timestamp, UserKey},
    hub::{Hub, HubLimits, Mailbox, MailboxLimits},
    protocol::Frame,
};

use crate::harness::NatsVersion;

const HOUR: Duration = Duration::from_hours(1);
const DAY: Duration = Duration::from_hours(24);
/// When most stories begin.
const NOON: Timestamp = Timestamp(1_800_000_000_000);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Memory,
    Disk,
    Nats(NatsVersion),
}

impl Kind {
    /// Every kind of engine.
    const ALL: [Self; 4] = [Self::Memory, Self::Disk, Self::Nats(NatsVersion::Debian), Self::Nats(NatsVersion::Current)];

    /// Whether the log is still there after the engine was closed.
    fn is_durable(self) -> bool {
        self != Self::Memory
    }
}

/// An engine, the hub that it hands on to, and the folder that it lives in.
struct Bench {
    kind: Kind,
    retention: Retention,
    limits: DiskLimits,
    hub: Arc<Hub>,
    engine: Arc<dyn Engine>,
    folder: tempfile::TempDir,
}

impl Bench {
    fn new(kind: Kind) -> Self {
        let retention = Retention { max_age: DAY, max_events_per_user: 1000, dead_letters_max: 5, publish_queue_max: 4096 };
        Self::with(kind, retention, DiskLimits { mend_interval: Duration::ZERO, ..DiskLimits::default() })
    }

    fn with(kind: Kind, retention: Retention, limits: DiskLimits) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let hub = hub();
        let engine: Arc<dyn Engine> = match kind {
            Kind::Memory => MemoryEngine::new(retention, Arc::clone(&hub)),
            Kind::Disk => DiskEngine::open_with(folder.path(), retention, limits, Arc::clone(&hub), NOON).unwrap(),
            Kind::Nats(version) => open_nats(version, folder.path(), retention, &hub),
        };
        Self { kind, retention, limits, hub, engine, folder }
    }

    /// Closes the engine and opens it again: on disk it is the same log, in memory a new one.
    async fn reopen(&mut self, now: Timestamp) {
        self.engine.close().await;
        self.engine = match self.kind {
            Kind::Memory => MemoryEngine::new(self.retention, Arc::clone(&self.hub)),
            Kind::Disk => {
                DiskEngine::open_with(self.folder.path(), self.retention, self.limits, Arc::clone(&self.hub), now).unwrap()
            }
            Kind::Nats(version) => open_nats(version, self.folder.path(), self.retention, &self.hub),
        };
    }

    fn path(&self) -> PathBuf {
        self.folder.path().to_owned()
    }

    async fn publish(&self, drafts: Vec<Draft>) -> Receipt {
        self.engine.publish(delivery(drafts)).await.unwrap()
    }

    /// Publishes one event and gives its number.
    async fn publish_one(&self, draft: Draft) -> u64 {
        self.publish(vec![draft]).await.events[0].position.seq
    }

    fn cursor(&self, seq: u64) -> Start {
        Start::After(Ok(Position { seq, ..self.engine.head() }))
    }

    async fn missed(&self, who: &str, start: Start) -> Backlog {
        self.missed_types(who, start, &[]).await
    }

    async fn missed_types(&self, who: &str, start: Start, types: &[EventType]) -> Backlog {
        let upto = self.engine.head().seq;
        self.engine.missed(Missed { keys: &keys(who), start, upto, types }).await.unwrap()
    }

    /// The numbers and members of those of `seqs` that `who` may read.
    async fn read(&self, who: &str, seqs: &[u64]) -> Vec<(u64, String)> {
        let frames = self.engine.read(&keys(who), seqs).await.unwrap();
        frames.into_iter().map(|(seq, frame)| (seq, members(&frame))).collect()
    }

    fn join(&self, who: &str) -> Mailbox {
        self.hub.join(&keys(who), &[]).unwrap()
    }
}

/// A log on the server that all tests share, under the name of a folder that is nobody else's.
fn open_nats(version: NatsVersion, folder: &Path, retention: Retention, hub: &Arc<Hub>) -> Arc<NatsEngine> {
    let name: String = folder.file_name().unwrap().to_str().unwrap().chars().filter(char::is_ascii_alphanumeric).collect();
    // Tests live in 2027, and nothing may depend on how busy the machine is.
    let patience = Duration::from_mins(1);
    let (publish_patience, hand_on_patience) = (patience, patience);
    let limits = NatsLimits { clock_apart_max: DAY * 36_500, publish_patience, hand_on_patience, ..NatsLimits::default() };
    NatsEngine::open(nats_settings(version.shared(), &name), retention, limits, Arc::clone(hub)).unwrap()
}

fn nats_settings(url: &str, stream: &str) -> Nats {
    Nats {
        servers: vec![url.to_owned()],
        stream: stream.to_owned(),
        replicas: 1,
        login: Login::Anonymous,
        tls: NatsTls::default(),
        events_max: 10_000_000,
        // So small that most of what is read back comes from the stream.
        cache_bytes_max: 1_000,
    }
}

fn hub() -> Arc<Hub> {
    let mailbox = MailboxLimits { events_max: 1_000_000, bytes_max: 1 << 30 };
    Hub::new(HubLimits { sessions_per_user_max: 1000, mailbox })
}

fn keys(text: &str) -> Vec<UserKey> {
    text.split_whitespace().map(|key| UserKey::stored(key).unwrap()).collect()
}

fn kind(text: &str) -> EventType {
    EventType::new(text).unwrap()
}

fn delivery(drafts: Vec<Draft>) -> Delivery {
    Delivery { drafts, dead_letters: Vec::new(), received: Instant::now() }
}

/// An event at noon that concerns one person, known by all of `who`.
fn event(who: &str) -> Draft {
    event_at(NOON, &[who])
}

/// An event that concerns several people, each of whom sees something else; `campaign::C` is whoever follows C.
fn event_at(at: Timestamp, people: &[&str]) -> Draft {
    let audiences = people.iter().map(|who| Audience { keys: keys(who), members: format!(r#""for":"{who}""#) }).collect();
    Draft { kind: kind("user_activity"), at, audiences, dedupe: None }
}

/// The same under a delivery id.
fn with_id(draft: Draft, id: u8, body: u8, window: Duration) -> Draft {
    Draft { dedupe: Some(Dedupe { key: [id; 16], digest: [body; 16], window }), ..draft }
}

fn letter(body: &str) -> DeadLetter {
    let body = Bytes::copy_from_slice(body.as_bytes());
    DeadLetter { at: NOON, source: "claimr".into(), scope: Some(kind("referral")), reason: DeadReason::NoUser, body }
}

/// What a frame says after its id.
fn members(frame: &Frame) -> String {
    let json = String::from_utf8(frame.as_json().to_vec()).unwrap();
    let (_, members) = json.strip_suffix('}').unwrap().split_once(',').unwrap();
    members.to_owned()
}

/// The numbers that wait in a mailbox.
fn take(mailbox: &mut Mailbox) -> Vec<u64> {
    let mut out = VecDeque::new();
    let poll = mailbox.poll_take(&mut Context::from_waker(Waker::noop()), &mut out);
    assert!(!matches!(poll, Poll::Ready(Err(_))), "the session was closed");
    out.iter().map(|mail| mail.seq).collect()
}

fn numbers(receipt: &Receipt) -> Vec<u64> {
    receipt.events.iter().map(|stored| stored.position.seq).collect()
}
