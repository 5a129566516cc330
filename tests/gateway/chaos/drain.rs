//! Deploys are quiet: SIGTERM with thousands of sessions, webhooks going on, and the next process on the same folder.

use std::{
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use tempfile::TempDir;
use tokio::task::JoinSet;

use super::{
    Day,
    client::Route,
    crowd::{Crowd, histogram},
    ledger::Ledger,
    node::{Launch, Node},
    size,
};
use crate::harness::free_address;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deploy_is_quiet() {
    let day = Day::begin("drain", &["SIGTERM"]);
    let sessions = size(500, 10_000);
    let (folder, address) = (TempDir::new().unwrap(), free_address());
    let launch = Launch::with("server.drain_window = \"10s\"\nlimits.sessions_per_address_max = 100000");
    let mut node = Node::start(&folder, address, &launch).await;
    let ledger = Arc::new(Ledger::default());
    // In the short form, a wait of ten seconds takes half a second.
    let crowd = Crowd::new(&day, &ledger, &Route::to(address), sessions, size(0.05, 1.0));
    crowd.all_here(Duration::from_mins(1)).await;
    let mut sending = JoinSet::new();
    for _ in 0..8 {
        sending.spawn(Arc::clone(&ledger).keep_sending(address, sessions, Duration::from_millis(5)));
    }
    tokio::time::sleep(Duration::from_millis(300)).await;

    let begun = Instant::now();
    node.terminate();
    day.happened("SIGTERM");
    let status = node.ended(Duration::from_secs(30)).await;
    let took = begun.elapsed();
    node.check_log();
    let (goodbyes, delays) = (crowd.ended(), crowd.delays());
    let _next = Node::start(&folder, address, &launch).await;
    let back = crowd.all_here(Duration::from_mins(1)).await;
    ledger.over.store(true, Ordering::Relaxed);
    while let Some(ended) = sending.join_next().await {
        ended.unwrap();
    }
    ledger.settled(Duration::from_secs(30)).await;
    ledger.check();

    let spread = histogram(&delays);
    day.figure("sessions, half of them SSE", sessions);
    day.figure("exit", format!("{status} after {took:.1?}"));
    day.figure("streams ended with", format!("{goodbyes:?}"));
    day.figure("asked to wait, by seconds", format!("{spread:?}"));
    day.figure("everybody back after the next start", format!("{back:.1?}"));
    day.figure("webhooks answered, by status (0: connection refused)", format!("{:?}", ledger.answers()));
    assert_eq!(status.code(), Some(0));
    // Whoever came back while it was draining was sent away again, so there may be more.
    assert!(goodbyes.get(&4000).copied().unwrap_or(0) >= sessions, "every session got $bye: {goodbyes:?}");
    assert_eq!(goodbyes.keys().copied().collect::<Vec<_>>(), [4000], "and nothing else");
    let most = spread.values().max().copied().unwrap_or(0);
    assert!(most * 5 <= delays.len(), "reconnects are not spread: {spread:?}");
    assert_eq!(ledger.rude(), 0, "webhooks were answered other than 200 or 503 with Retry-After: {:?}", ledger.answers());
    day.end();
}
