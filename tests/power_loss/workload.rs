//! Work for the disk log that is worth watching from outside: everything it does to its folder, and each event that it acknowledged.
//!
//! `log-workload FOLDER SEED EVENTS`. Each acknowledgement is one write to standard output, `ACK <seq> <key> <n>`, so that a trace of the
//! system calls shows what had to be durable at any moment.

use std::{
    env,
    io::Write as _,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use claimr_relay::{
    engine::{
        Engine, Retention,
        disk::{DiskEngine, DiskLimits},
    },
    event::{Audience, DeadLetter, DeadReason, Dedupe, Delivery, Draft, EventType, Timestamp, UserKey},
    hub::{Hub, HubLimits, MailboxLimits},
};
use tokio::task::JoinSet;

const SENDERS: u64 = 4;
const USERS: u64 = 12;
const START: Timestamp = Timestamp(1_700_000_000_000);

fn main() {
    let arguments: Vec<String> = env::args().collect();
    let [_, folder, seed, events] = &arguments[..] else { panic!("log-workload FOLDER SEED EVENTS") };
    let (seed, events) = (seed.parse().expect("a seed"), events.parse().expect("a number of events"));
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
    runtime.block_on(work(Path::new(folder), seed, events));
}

async fn work(folder: &Path, seed: u64, events: u64) {
    let mailbox = MailboxLimits { events_max: 1, bytes_max: 1 };
    let hub = Hub::new(HubLimits { sessions_per_user_max: 1, mailbox });
    let engine = DiskEngine::open_with(folder, retention(), limits(), hub, START).expect("the folder opens");
    let next = Arc::new(AtomicU64::new(0));
    let mut senders = JoinSet::new();
    for sender in 0..SENDERS {
        senders.spawn(send(Arc::clone(&engine), Arc::clone(&next), seed ^ sender, events));
    }
    while senders.join_next().await.is_some() {}
    // No close: the end is as sudden as any other moment.
}

/// Small, so that little work makes the log do everything it ever does: some segments end because they are full, some because they are old.
fn limits() -> DiskLimits {
    DiskLimits { segment_bytes_max: 24 * 1024, ..DiskLimits::default() }
}

fn retention() -> Retention {
    Retention { max_age: Duration::from_mins(1), max_events_per_user: 12, dead_letters_max: 5, publish_queue_max: 64 }
}

async fn send(engine: Arc<DiskEngine>, next: Arc<AtomicU64>, seed: u64, events: u64) {
    let mut random = fastrand::Rng::with_seed(seed);
    loop {
        let n = next.fetch_add(1, Ordering::Relaxed);
        if n >= events {
            return;
        }
        let now = START.plus(Duration::from_millis(n * 250));
        let key = UserKey::new("acme", &random.u64(..USERS).to_string()).expect("a key");
        let receipt = engine.publish(delivery(n, &key, now, &mut random)).await.expect("the disk works");
        for stored in receipt.events.iter().filter(|stored| stored.repetition.is_none()) {
            let line = format!("ACK {} {key} {n}\n", stored.position.seq);
            std::io::stdout().write_all(line.as_bytes()).expect("somebody listens");
        }
        if n.is_multiple_of(20) {
            engine.retain(now).await.expect("the disk works");
        }
    }
}

fn delivery(n: u64, key: &UserKey, at: Timestamp, random: &mut fastrand::Rng) -> Delivery {
    let padding = "x".repeat(random.usize(..300));
    let members = format!(r#""n":{n},"data":"{padding}""#);
    // A few are repetitions of earlier ones.
    let id = if random.u8(..) < 20 { n / 2 } else { n };
    let mut hash = [0; 16];
    hash[..8].copy_from_slice(&id.to_le_bytes());
    let dedupe = Dedupe { key: hash, digest: hash, window: Duration::from_secs(30) };
    let draft = Draft {
        kind: EventType::unknown(),
        at,
        audiences: vec![Audience { keys: vec![key.clone()], members }],
        dedupe: Some(dedupe),
    };
    let letter = (random.u8(..) < 8).then(|| DeadLetter {
        at,
        source: "claimr".to_owned(),
        scope: None,
        reason: DeadReason::NoUser,
        body: format!("{{\"n\":{n}}}").into(),
    });
    Delivery { drafts: vec![draft], dead_letters: letter.into_iter().collect(), received: Instant::now() }
}
