//! The power goes at a random moment: the log opens again, and everything that was acknowledged is there.
//!
//! A small workload runs under `strace`, which shows every write, sync and rename, and every acknowledgement between them. From that one
//! trace come thousands of mornings after: at a random step, what was not yet durable is lost, torn or there in part.
//!
//! `POWER_LOSS_SEEDS=10000` asks for the long form.

mod disk;
mod trace;

use std::{
    collections::HashMap,
    env,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use claimr_relay::{
    engine::{
        Backlog, Engine, Missed, Retention, Start,
        disk::{DiskEngine, DiskLimits},
    },
    event::{Audience, Delivery, Draft, EventType, Position, Timestamp, UserKey},
    hub::{Hub, HubLimits, MailboxLimits},
    protocol::GapReason,
};
use tempfile::TempDir;

use disk::Disk;
use trace::Step;

const EVENTS: u64 = 2_000;
/// Of one key's newest events, so many cannot have been removed: the log keeps twelve, and four may be on their way.
const NEWEST: usize = 8;
/// Nor can those that are this young: the log keeps a minute, and four events come a second.
const YOUNG: u64 = 100;

fn traced() -> Vec<Step> {
    let folder = TempDir::new().unwrap();
    let (data, trace) = (folder.path().join("data"), folder.path().join("trace"));
    // Beside `deps`, where this test is.
    let examples = env::current_exe().unwrap().parent().unwrap().parent().unwrap().join("examples");
    let status = Command::new("strace")
        .args([
            "-f",
            "-xx",
            "-s",
            "100000000",
            "-e",
            "trace=openat,close,pwrite64,write,ftruncate,rename,unlink,fsync,fdatasync",
            "-o",
        ])
        .arg(&trace)
        .arg(examples.join("log-workload"))
        .arg(&data)
        .args(["1", &EVENTS.to_string()])
        .stdout(std::process::Stdio::null())
        .status();
    assert!(status.expect("strace is installed").success());
    trace::read(&std::fs::read_to_string(trace).unwrap(), data.to_str().unwrap())
}

#[tokio::test]
async fn what_was_acknowledged_is_there_the_next_morning() {
    let seeds: usize = env::var("POWER_LOSS_SEEDS").map_or(300, |seeds| seeds.parse().unwrap());
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let steps = traced();
    let first = steps.iter().position(|step| matches!(step, Step::Acknowledged { .. })).unwrap();
    let mut moments: Vec<usize> = (0..seeds).map(|_| random.usize(first..=steps.len())).collect();
    moments.sort_unstable();

    let (mut disk, mut acknowledged, mut done, mut checked) = (Disk::default(), Acknowledged::default(), 0, 0);
    for moment in moments {
        for step in &steps[done..moment] {
            disk.step(step);
            acknowledged.step(step);
        }
        done = moment;
        let folder = TempDir::new().unwrap();
        disk.crash(folder.path(), &mut random);
        checked += acknowledged.check(folder.path(), moment).await;
    }
    assert!(checked > seeds * 20, "the test checked something: {checked}");
}

#[test]
fn nothing_is_acknowledged_before_it_is_durable() {
    let (mut disk, mut checked) = (Durable::default(), 0);
    for step in traced() {
        if let Step::Acknowledged { n, .. } = step {
            assert!(disk.holds(n), "event {n} was acknowledged before its fdatasync ended");
            checked += 1;
        }
        disk.step(&step);
    }
    assert!(checked > 1_000, "{checked}");
}

/// The bytes that completed syncs have made durable, searched for events.
#[derive(Default)]
struct Durable {
    pending: HashMap<usize, Vec<Vec<u8>>>,
    syncs: HashMap<usize, (usize, usize)>,
    events: std::collections::HashSet<u64>,
}

impl Durable {
    fn step(&mut self, step: &Step) {
        match step {
            Step::Write { file, bytes, .. } => self.pending.entry(*file).or_default().push(bytes.clone()),
            Step::SyncBegins { file: Some(file), call } => {
                let writes = self.pending.get(file).map_or(0, Vec::len);
                self.syncs.insert(*call, (*file, writes));
            }
            Step::SyncEnds { call } => {
                let Some((file, writes)) = self.syncs.remove(call) else { return };
                let pending = self.pending.entry(file).or_default();
                for bytes in pending.drain(..writes.min(pending.len())) {
                    let text = String::from_utf8_lossy(&bytes);
                    let numbers = text.match_indices(r#","n":"#).map(|(at, word)| &text[at + word.len()..]);
                    self.events.extend(numbers.filter_map(|rest| rest.split(',').next()?.parse::<u64>().ok()));
                }
            }
            _ => {}
        }
    }

    fn holds(&self, n: u64) -> bool {
        self.events.contains(&n)
    }
}

/// The ledger: for each key, sequence number and number of every acknowledged event.
#[derive(Default)]
struct Acknowledged {
    keys: HashMap<String, Vec<(u64, u64)>>,
    newest: u64,
    highest: u64,
}

impl Acknowledged {
    fn step(&mut self, step: &Step) {
        if let Step::Acknowledged { seq, key, n } = step {
            let events = self.keys.entry(key.clone()).or_default();
            events.push((*seq, *n));
            events.sort_unstable();
            self.newest = self.newest.max(*n);
            self.highest = self.highest.max(*seq);
        }
    }

    /// Opens what is left of the log and looks for all that has to be there; returns how many events that were.
    async fn check(&self, folder: &Path, moment: usize) -> usize {
        let engine = open(folder).unwrap_or_else(|error| panic!("after step {moment}: {error}"));
        let head = engine.head();
        assert!(head.seq >= self.highest, "after step {moment}: {} was acknowledged, and the head is {}", self.highest, head.seq);
        let mut checked = 0;
        for (key, events) in &self.keys {
            let keys = [UserKey::parse(key, None).unwrap()];
            for (seq, n) in events.iter().rev().take(NEWEST).filter(|(_, n)| n + YOUNG > self.newest) {
                let start = Start::After(Ok(Position { seq: seq - 1, ..head }));
                let backlog = engine.missed(Missed { keys: &keys, start, upto: head.seq, types: &[] }).await.unwrap();
                assert_ne!(backlog, Backlog::Gap(GapReason::Evicted), "after step {moment}: {key} {seq}");
                let frames = engine.read(&keys, &[*seq]).await.unwrap();
                let json = frames.first().map(|(_, frame)| frame.as_json()).unwrap_or_default();
                let json = String::from_utf8_lossy(json);
                assert!(json.contains(&format!(r#","n":{n},"#)), "after step {moment}: {key} {seq} is {json:?}");
                checked += 1;
            }
        }
        let stored = engine.publish(one_more()).await.unwrap().events[0];
        assert!(stored.position.seq > self.highest, "after step {moment}: a number came to name two events");
        engine.close().await;
        checked
    }
}

fn open(folder: &Path) -> Result<std::sync::Arc<DiskEngine>, claimr_relay::engine::disk::OpenError> {
    let retention =
        Retention { max_age: Duration::from_mins(1), max_events_per_user: 12, dead_letters_max: 5, publish_queue_max: 64 };
    let limits = DiskLimits { segment_bytes_max: 24 * 1024, ..DiskLimits::default() };
    let mailbox = MailboxLimits { events_max: 1, bytes_max: 1 };
    let hub = Hub::new(HubLimits { sessions_per_user_max: 1, mailbox });
    DiskEngine::open_with(&PathBuf::from(folder), retention, limits, hub, Timestamp(1_700_000_000_000))
}

fn one_more() -> Delivery {
    let keys = vec![UserKey::new("acme", "new").unwrap()];
    let audiences = vec![Audience { keys, members: r#""n":0"#.to_owned() }];
    let draft = Draft { kind: EventType::unknown(), at: Timestamp(1_700_000_000_000), audiences, dedupe: None };
    Delivery { drafts: vec![draft], dead_letters: Vec::new(), received: Instant::now() }
}
