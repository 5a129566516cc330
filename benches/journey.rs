//! What each stop of an event's journey costs, without sockets: `cargo bench --bench journey`.
//!
//! One delivery of about 600 bytes with one recipient, as in `docs/performance.md`. Times are of this machine. Instructions, which hardly depend on
//! it, are counted by `cargo bench --bench journey -- instructions`, with valgrind: each stop runs in a process of its own, some times and twice
//! as many, and the difference is what it takes.

#![expect(clippy::unwrap_used, reason = "nothing but the measurement goes on here")]

use std::{collections::VecDeque, env, hint::black_box, process::Command, sync::Arc, task, time::Instant};

use bytes::Bytes;
use claimr_relay::{
    claimr::{
        payload::PayloadReader,
        signature::{Verified, Verifier},
    },
    config::{Config, load::load},
    engine::{Engine, Retention, disk::DiskEngine, memory::MemoryEngine},
    event::{Delivery, Draft, Epoch, EventType, Position, Timestamp, UserKey},
    hub::{Hub, HubLimits, Mail, Mailbox, MailboxLimits},
    protocol::{Frame, Published, View},
};
use criterion::{BatchSize, Criterion};
use http::{HeaderMap, HeaderValue};

const SECRET: &str = "bench-hook-secret";
const NOW: Timestamp = Timestamp(1_800_000_000_000);

fn config() -> Config {
    let settings = [
        ("SOURCES", format!("[{{ name = \"claimr\", preset = \"claimr\", secrets = [{{ value = \"{SECRET}\" }}] }}]")),
        ("AUTH__KEYS", "[{ alg = \"HS256\", secret = { value = \"0123456789012345678901234567890123\" } }]".to_owned()),
        ("AUTH__ISSUER", "issuer".to_owned()),
        ("AUTH__AUDIENCE", "audience".to_owned()),
    ];
    let settings = settings.into_iter().map(|(key, value)| (format!("CLAIMR_RELAY__{key}"), value));
    load(None, settings).unwrap_or_else(|mistakes| panic!("{mistakes}"))
}

fn body(number: u64) -> Bytes {
    format!(
        r#"{{"scope":"user_activity","id":"evt-{number}-1800000000000","campaign_id":"AbCd_123","campaign_name":"Spring","contest_id":"q-1042","event_type":"quest_completed","event_xp":150,"account":"user-{}","platform":"bench","total_xp":1250.5,"rank":42,"note":"{}","mark":"{number}"}}"#,
        number % 10_000,
        "x".repeat(250),
    )
    .into()
}

/// The headers of a sender that signs as the relay's benchmark does.
fn headers(body: &[u8]) -> HeaderMap {
    let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, SECRET.as_bytes());
    let signature = data_encoding::HEXLOWER.encode(aws_lc_rs::hmac::sign(&key, body).as_ref());
    let lines =
        [("host", "127.0.0.1"), ("content-type", "application/json"), ("content-length", "600"), ("x-signature", &signature)];
    lines.into_iter().map(|(name, value)| (name.parse().unwrap(), HeaderValue::from_str(value).unwrap())).collect()
}

fn retention() -> Retention {
    Retention {
        max_age: std::time::Duration::from_hours(24),
        max_events_per_user: 1_000,
        dead_letters_max: 100,
        publish_queue_max: 10_000,
    }
}

fn hub() -> Arc<Hub> {
    let mailbox = MailboxLimits { events_max: 256, bytes_max: 65_536 };
    Hub::new(HubLimits { sessions_per_user_max: 20, mailbox })
}

/// Webhooks that arrive together share a flush; so do these.
const TOGETHER: u64 = 64;

/// A delivery on its way.
struct Road {
    check: Verifier,
    reader: PayloadReader,
    scope: Option<EventType>,
    headers: HeaderMap,
    body: Bytes,
    genuine: Verified,
    position: Position,
    members: String,
    number: u64,
}

impl Road {
    fn new() -> Self {
        let config = config();
        let source = &config.sources[0];
        let (check, reader, scope) =
            (Verifier::new(source).unwrap(), PayloadReader::new(source), EventType::new("user_activity"));
        let body = body(1);
        let headers = headers(&body);
        let genuine = check.verify(&headers, body.clone(), NOW).unwrap();
        let members = reader.read(&genuine, scope.as_ref(), NOW).drafts[0].audiences[0].members.clone();
        Self {
            check,
            reader,
            scope,
            headers,
            body,
            genuine,
            position: Position { epoch: Epoch::from_random(7), seq: 1 },
            members,
            number: 1,
        }
    }

    fn verify(&self) -> Verified {
        self.check.verify(black_box(&self.headers), self.body.clone(), NOW).unwrap()
    }

    fn map(&self) -> Vec<Draft> {
        self.reader.read(black_box(&self.genuine), self.scope.as_ref(), NOW).drafts
    }

    fn encode(&self) -> Frame {
        Frame::encode(black_box(self.position), &self.members)
    }

    /// What comes while the disk is busy.
    fn deliveries(&mut self) -> Vec<Delivery> {
        let mut delivery = || {
            self.number += 1;
            let body = body(self.number);
            let genuine = self.check.verify(&headers(&body), body, NOW).unwrap();
            let reading = self.reader.read(&genuine, self.scope.as_ref(), NOW);
            Delivery { drafts: reading.drafts, dead_letters: reading.dead_letters, received: Instant::now() }
        };
        (0..TOGETHER).map(|_| delivery()).collect()
    }
}

/// A log, and what asks it.
struct Store {
    runtime: tokio::runtime::Runtime,
    log: Arc<dyn Engine>,
    _folder: tempfile::TempDir,
}

impl Store {
    fn new(on_disk: bool) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let log: Arc<dyn Engine> = if on_disk {
            DiskEngine::open(folder.path(), retention(), hub(), NOW).unwrap()
        } else {
            MemoryEngine::new(retention(), hub())
        };
        Self { runtime: tokio::runtime::Builder::new_current_thread().build().unwrap(), log, _folder: folder }
    }

    fn publish(&self, deliveries: Vec<Delivery>) {
        self.runtime.block_on(async {
            let all = deliveries.into_iter().map(|delivery| self.log.publish(delivery));
            for receipt in futures_util::future::join_all(all).await {
                receipt.unwrap();
            }
        });
    }
}

/// One session of the user.
struct Door {
    hub: Arc<Hub>,
    key: UserKey,
    frame: Frame,
    mailbox: Mailbox,
    mail: VecDeque<Mail>,
    seq: u64,
}

impl Door {
    fn new(frame: Frame) -> Self {
        let (hub, key) = (hub(), UserKey::new("bench", "user-1").unwrap());
        let mailbox = hub.join(std::slice::from_ref(&key), &[]).unwrap();
        Self { hub, key, frame, mailbox, mail: VecDeque::new(), seq: 0 }
    }

    fn hand_on(&mut self) {
        self.seq += 1;
        let view = View { keys: vec![self.key.clone()], frame: self.frame.clone() };
        let event = Published { seq: self.seq, kind: EventType::unknown(), views: vec![view] };
        self.hub.deliver(&event, Instant::now());
        let _ = self.mailbox.poll_take(&mut task::Context::from_waker(task::Waker::noop()), &mut self.mail);
        self.mail.clear();
    }
}

const STOPS: [&str; 6] = ["verify", "map", "encode", "append-64-in-memory", "append-64-and-flush", "hand-on"];

fn journey(criterion: &mut Criterion) {
    let mut road = Road::new();
    let mut group = criterion.benchmark_group("journey");
    group.bench_function("verify", |b| b.iter(|| road.verify()));
    group.bench_function("map", |b| b.iter(|| road.map()));
    group.bench_function("encode", |b| b.iter(|| road.encode()));
    for (name, on_disk) in [("append-64-in-memory", false), ("append-64-and-flush", true)] {
        let store = Store::new(on_disk);
        group.bench_function(name, |b| {
            b.iter_batched(|| road.deliveries(), |deliveries| store.publish(deliveries), BatchSize::SmallInput);
        });
    }
    let mut door = Door::new(road.encode());
    group.bench_function("hand-on", |b| b.iter(|| door.hand_on()));
}

/// What takes a stop so many times, and prepares for it twice as often, so that preparing is in both of two runs.
const STOP: &str = "JOURNEY_STOP";
const TIMES: u64 = 100;

fn pass(stop: &str, twice: bool) {
    let times = TIMES << u32::from(twice);
    let mut road = Road::new();
    let mut door = Door::new(road.encode());
    match stop {
        "verify" => (0..times).for_each(|_| drop(black_box(road.verify()))),
        "map" => (0..times).for_each(|_| drop(black_box(road.map()))),
        "encode" => (0..times).for_each(|_| drop(black_box(road.encode()))),
        "hand-on" => (0..times).for_each(|_| door.hand_on()),
        append => {
            let store = Store::new(append == "append-64-and-flush");
            let prepared: Vec<_> = (0..TIMES * 2).map(|_| road.deliveries()).collect();
            for (deliveries, _) in prepared.into_iter().zip(0..times) {
                store.publish(deliveries);
            }
        }
    }
}

fn instructions() {
    let counted = |stop: &str, twice: &str| {
        let output = Command::new("valgrind")
            .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
            .arg(env::current_exe().unwrap())
            .env(STOP, format!("{stop} {twice}"))
            .output()
            .expect("valgrind is missing; on Debian: apt-get install valgrind");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        let count = said.lines().find_map(|line| line.split_once("Collected : ")?.1.trim().parse::<u64>().ok());
        count.unwrap_or_else(|| panic!("{said}"))
    };
    for stop in STOPS {
        println!("{stop}: {} instructions", (counted(stop, "twice") - counted(stop, "once")) / TIMES);
    }
}

fn main() {
    if let Ok(asked) = env::var(STOP) {
        let (stop, times) = asked.split_once(' ').unwrap();
        pass(stop, times == "twice");
    } else if env::args().any(|argument| argument == "instructions") {
        instructions();
    } else {
        let mut criterion = Criterion::default().configure_from_args();
        journey(&mut criterion);
        criterion.final_summary();
    }
}
