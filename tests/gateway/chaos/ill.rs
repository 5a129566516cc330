//! It knows when it is ill: readiness turns red when events go in and do not come out, for whatever reason.

use std::{
    process::Command,
    sync::Arc,
    time::{Duration, Instant},
};

use claimr_relay::{
    engine::{Backlog, Engine, EngineError, LetterId, Missed, PublishError, Receipt, Retention, memory::MemoryEngine},
    event::{DeadLetter, Delivery, Position, Timestamp, UserKey},
    hub::{Hub, HubLimits, MailboxLimits},
    probe::{Ill, Probe},
    protocol::{Frame, Published},
};
use futures_util::future::{BoxFuture, FutureExt as _, pending};
use tempfile::TempDir;
use tokio::time::sleep;

use super::{
    Day,
    node::{Launch, Node},
};
use crate::harness::free_address;

/// A log whose writer hangs.
struct Stalled(Arc<MemoryEngine>);

impl Engine for Stalled {
    fn publish(&self, _: Delivery) -> BoxFuture<'_, Result<Receipt, PublishError>> {
        pending().boxed()
    }

    fn head(&self) -> Position {
        self.0.head()
    }

    fn missed<'a>(&'a self, query: Missed<'a>) -> BoxFuture<'a, Result<Backlog, EngineError>> {
        self.0.missed(query)
    }

    fn read<'a>(&'a self, keys: &'a [UserKey], seqs: &'a [u64]) -> BoxFuture<'a, Result<Vec<(u64, Frame)>, EngineError>> {
        self.0.read(keys, seqs)
    }

    fn retain(&self, now: Timestamp) -> BoxFuture<'_, Result<(), EngineError>> {
        self.0.retain(now)
    }

    fn dead_letters(&self, limit: usize) -> BoxFuture<'_, Result<Vec<DeadLetter>, EngineError>> {
        self.0.dead_letters(limit)
    }

    fn remove_dead_letters(&self, ids: Vec<LetterId>) -> BoxFuture<'_, Result<usize, EngineError>> {
        self.0.remove_dead_letters(ids)
    }

    fn event(&self, seq: u64) -> BoxFuture<'_, Result<Option<Published>, EngineError>> {
        self.0.event(seq)
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        self.0.close()
    }
}

fn hub() -> Arc<Hub> {
    Hub::new(HubLimits { sessions_per_user_max: 10, mailbox: MailboxLimits { events_max: 10, bytes_max: 10_000 } })
}

fn memory(hub: &Arc<Hub>) -> Arc<MemoryEngine> {
    let max_age = Duration::from_hours(1);
    let retention = Retention { max_age, max_events_per_user: 10, dead_letters_max: 1, publish_queue_max: 10 };
    MemoryEngine::new(retention, Arc::clone(hub))
}

#[tokio::test(start_paused = true)]
async fn a_log_that_stalls_turns_readiness_red_within_ten_seconds() {
    let hub = hub();
    let well = Probe::new(Arc::clone(&hub), memory(&hub));
    well.check(Timestamp(0)).await.unwrap();
    let ill = Probe::new(Arc::clone(&hub), Arc::new(Stalled(memory(&hub))));
    let begun = tokio::time::Instant::now();
    assert!(matches!(ill.check(Timestamp(0)).await, Err(Ill::Slow)));
    assert!(begun.elapsed() <= Duration::from_secs(10), "{:?}", begun.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_log_that_stores_and_does_not_hand_on_turns_readiness_red() {
    let (hub, another) = (hub(), hub());
    let ill = Probe::new(hub, memory(&another));
    assert!(matches!(ill.check(Timestamp(0)).await, Err(Ill::Slow)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_that_hangs_turns_the_real_readiness_red_within_ten_seconds() {
    let day = Day::begin("ill", &["the disk hangs"]);
    let folder = TempDir::new().unwrap();
    let node = Node::start(&folder, free_address(), &Launch::default()).await;
    assert_eq!(node.page("/readyz").await.0, 200);
    let pid = node.id().to_string();
    let injection = "inject=fdatasync,fsync:delay_enter=60s";
    let mut strace = Command::new("strace")
        .args(["-f", "-qq", "-p", &pid, "-e", "trace=fdatasync,fsync", "-e", injection, "-o", "/dev/null"])
        .spawn()
        .expect("strace is needed: apt-get install strace");
    let begun = Instant::now();
    while node.page("/readyz").await.0 != 503 {
        assert!(begun.elapsed() < Duration::from_secs(20), "readiness stays green");
        sleep(Duration::from_millis(50)).await;
    }
    let took = begun.elapsed();
    day.happened("the disk hangs");
    day.figure("red after", format!("{took:.1?}"));
    assert_eq!(node.page("/healthz").await.0, 200, "a restart would not help");
    Command::new("kill").args(["-INT", &strace.id().to_string()]).status().unwrap();
    strace.wait().unwrap();
    let healed = Instant::now();
    while node.page("/readyz").await.0 != 200 {
        assert!(healed.elapsed() < Duration::from_secs(10), "readiness stays red");
        sleep(Duration::from_millis(50)).await;
    }
    day.figure("green again after", format!("{:.1?}", healed.elapsed()));
    assert!(took <= Duration::from_secs(10), "red only after {took:.1?}");
    day.end();
}
