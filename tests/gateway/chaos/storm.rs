//! Storms pass: everybody is cut off at once and comes back at once, while webhooks go on.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use tempfile::TempDir;

use super::{
    Day, Times,
    client::Route,
    crowd::Crowd,
    ledger::Ledger,
    node::{Launch, Node},
    size,
};
use crate::harness::free_address;

/// As `docs/operations.md` says for clients that share an address.
const RAISED: &str = "limits.sessions_per_address_max = 100000\nlimits.new_sessions_per_address_per_s_max = 100000";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everybody_is_back_soon_after_everybody_was_cut_off() {
    let day = Day::begin("storm", &["everybody cut off"]);
    let sessions = size(500, 10_000);
    let (folder, address) = (TempDir::new().unwrap(), free_address());
    let node = Node::start(&folder, address, &Launch::with(RAISED)).await;
    let ledger = Arc::new(Ledger::default());
    let crowd = Crowd::new(&day, &ledger, &Route::to(address), sessions, 1.0);
    crowd.all_here(Duration::from_mins(1)).await;
    let sending = ledger.keep_sending_apart(address, sessions, 4, Duration::from_millis(4));
    let (mut slowest, meanwhile) = (Duration::ZERO, Times::default());
    for _ in 0..size(2, 3) {
        ledger.publish.clear();
        crowd.cut();
        day.happened("everybody cut off");
        while crowd.connected() == sessions {
            tokio::task::yield_now().await;
        }
        slowest = slowest.max(crowd.all_here(Duration::from_mins(1)).await);
        meanwhile.extend(&ledger.publish);
        day.figure("back after", format!("{slowest:.1?}; webhooks meanwhile {}", ledger.publish));
    }
    ledger.over.store(true, Ordering::Relaxed);
    sending.join().unwrap();
    ledger.settled(Duration::from_secs(30)).await;
    ledger.check();
    node.check_log();
    day.figure("sessions", sessions);
    assert!(slowest <= Duration::from_secs(15), "everybody is back after {slowest:?} only");
    assert!(meanwhile.count() >= size(1, 100), "no webhooks meanwhile: {meanwhile}");
    // The short form shares its processors with other tests, so there only senders that gave up would tell.
    assert!(meanwhile.quantile(0.99) <= Duration::from_millis(size(5_000, 100)), "webhooks waited: {meanwhile}");
    day.end();
}
