//! Bad networks: late, bit by bit, cut, half closed, or swallowing everything without a word.

use std::{
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use tempfile::TempDir;
use tokio::{task::JoinSet, time::sleep};

use super::{
    Day,
    client::Route,
    crowd::Crowd,
    ledger::Ledger,
    node::{Launch, Node},
    proxy::{FAULTS, Proxy},
    size,
};
use crate::harness::free_address;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bad_network_loses_nothing_and_the_dead_are_buried() {
    let day = Day::begin("network", &FAULTS);
    let users = size(40, 500);
    // The full form has the figures of the defaults: a ping after 25 s at most, and 10 s for the pong.
    let (ping_s, pong_s) = size((1, 1), (25, 10));
    let settings = format!(
        "limits.ping_interval_s = {ping_s}\nlimits.pong_timeout_s = {pong_s}\nlimits.sessions_per_user_max = 10000\n\
         store.max_events_per_user = 100000"
    );
    let (folder, address) = (TempDir::new().unwrap(), free_address());
    let node = Node::start(&folder, address, &Launch::with(&settings)).await;
    let proxy = Proxy::start(&day, address).await;
    let ledger = Arc::new(Ledger::default());
    // A client gives a silent connection up before the server does, so that the server has to find out by itself.
    let route = Route { silence_max: Duration::from_secs(ping_s) + Duration::from_millis(300), ..Route::to(proxy.address) };
    let crowd = Crowd::new(&day, &ledger, &route, users, 1.0);
    crowd.some_here(users / 2, Duration::from_secs(20)).await;
    let mut sending = JoinSet::new();
    for _ in 0..4 {
        sending.spawn(Arc::clone(&ledger).keep_sending(address, users, Duration::from_millis(3)));
    }
    sleep(Duration::from_secs(size(4, 300))).await;
    ledger.over.store(true, Ordering::Relaxed);
    while let Some(ended) = sending.join_next().await {
        ended.unwrap();
    }
    ledger.settled(Duration::from_secs(size(20, 120))).await;
    ledger.check();
    let no_pong = node.labelled(r#"claimr_relay_sessions_closed_total{code="4002"}"#).await;
    day.figure("acknowledged, lost", format!("{}, 0", ledger.acknowledged()));
    day.figure("streams ended without a word", format!("{:?}", crowd.ended()));
    day.figure("closed for want of a pong", no_pong);
    assert!(no_pong > 0, "no peer died silently on a WebSocket");

    // Everybody goes, and those in the holes cannot say so. Only sessions on SSE can still be there: nobody answers its pings.
    drop(crowd);
    let (begun, most) = (Instant::now(), Duration::from_secs(ping_s + pong_s) + Duration::from_millis(size(1_500, 500)));
    while node.labelled(r#"claimr_relay_sessions{carrier="websocket"}"#).await > 0 {
        assert!(begun.elapsed() < most, "dead peers are still there after {most:?}");
        sleep(Duration::from_millis(20)).await;
    }
    day.figure("dead peers on WebSocket gone after", format!("{:.1?} (bound {most:?})", begun.elapsed()));
    day.figure("still swallowed, on SSE", proxy.swallowed());
    node.check_log();
    day.end();
}
