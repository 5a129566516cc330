//! Sessions that join while somebody publishes: each event arrives exactly once and in order, whether it was missed or live.

use std::{
    future::poll_fn,
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
};

use super::*;

const SESSIONS_AT_ONCE: usize = 4;
const RACES_EACH: usize = 2_500;
/// Each publish goes to a server and back.
const RACES_EACH_OVER_NATS: usize = 250;

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn ten_thousand_sessions_join_in_time_in_memory() {
    race(Kind::Memory, RACES_EACH).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn ten_thousand_sessions_join_in_time_on_disk() {
    race(Kind::Disk, RACES_EACH).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn a_thousand_sessions_join_in_time_over_nats() {
    race(Kind::Nats(NatsVersion::Debian), RACES_EACH_OVER_NATS).await;
    race(Kind::Nats(NatsVersion::Current), RACES_EACH_OVER_NATS).await;
}

#[expect(clippy::disallowed_methods, reason = "the test waits for its tasks itself")]
async fn race(kind: Kind, races_each: usize) {
    // Small segments, so that sessions also race with the log's housekeeping.
    let limits = DiskLimits { segment_bytes_max: 64 * 1024, ..DiskLimits::default() };
    let retention = Retention { max_age: DAY, max_events_per_user: 1_000_000, dead_letters_max: 1, publish_queue_max: 4096 };
    let bench = Arc::new(Bench::with(kind, retention, limits));
    let over = Arc::new(AtomicBool::new(false));
    let publisher = tokio::spawn(publish_until(Arc::clone(&over), Arc::clone(&bench)));
    let live = Arc::new(AtomicU64::new(0));
    let sessions =
        (0..SESSIONS_AT_ONCE).map(|_| tokio::spawn(resume_again_and_again(Arc::clone(&bench), races_each, Arc::clone(&live))));
    for session in sessions.collect::<Vec<_>>() {
        session.await.unwrap();
    }
    over.store(true, Ordering::Relaxed);
    publisher.await.unwrap();
    let at_least = (SESSIONS_AT_ONCE * races_each / 10) as u64;
    assert!(live.load(Ordering::Relaxed) >= at_least, "hardly any event was live, so hardly anything raced");
}

async fn publish_until(over: Arc<AtomicBool>, bench: Arc<Bench>) {
    let mut published = 0;
    while !over.load(Ordering::Relaxed) {
        bench.publish(vec![event("acme:1"), event("acme:1 web3:0x1")]).await;
        published += 1;
        if published % 200 == 0 {
            bench.engine.retain(NOON).await.unwrap();
        }
        tokio::task::yield_now().await;
    }
}

async fn resume_again_and_again(bench: Arc<Bench>, races: usize, live: Arc<AtomicU64>) {
    let who = keys("acme:1 web3:0x1");
    let mut last = 0;
    for _ in 0..races {
        let mut mailbox = bench.hub.join(&who, &[]).unwrap();
        let upto = bench.engine.head().seq;
        let query = Missed { keys: &who, start: bench.cursor(last), upto, types: &[] };
        let Backlog::Complete(missed) = bench.engine.missed(query).await.unwrap() else { panic!("a gap after {last}") };
        let frames = bench.engine.read(&who, &missed).await.unwrap();
        let replayed: Vec<u64> = frames.iter().map(|(seq, _)| *seq).collect();
        assert_eq!(replayed, (last + 1..=upto).collect::<Vec<_>>());
        last = upto;
        // At least one live event, so that every race has a seam to look at.
        while last == upto {
            let mut mails = VecDeque::new();
            poll_fn(|context| mailbox.poll_take(context, &mut mails)).await.unwrap();
            for mail in mails.into_iter().filter(|mail| mail.seq > upto) {
                assert_eq!(mail.seq, last + 1, "after {last}");
                last = mail.seq;
                live.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}
