//! Bad networks: late, bit by bit, cut, half closed, or swallowing everything without a word.

use std::{
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{task::JoinSet, time::sleep};

use super::{
    Day,
    client::{Carrier, Client, Over, Route},
    crowd::Crowd,
    ledger::{Ledger, sender},
    node::{Launch, Node},
    proxy::{FAULTS, Proxy},
    size,
};
use crate::harness::{event, free_address, sign};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bad_network_loses_nothing_and_the_dead_are_buried() {
    let day = Day::begin("network", &FAULTS);
    let users = size(40, 500);
    // The full form has the figures of the defaults: a ping after 25 s at most, and 10 s for the pong.
    let (ping_s, answer_s) = size((1, 1), (25, 10));
    let settings = format!(
        "limits.ping_interval_s = {ping_s}\nlimits.pong_timeout_s = {answer_s}\nlimits.sessions_per_user_max = 10000\n\
         store.max_events_per_user = 100000"
    );
    let (folder, address) = (TempDir::new().unwrap(), free_address());
    let node = Node::start(&folder, address, &Launch::with(&settings)).await;
    let proxy = Proxy::start(&day, address).await;
    let ledger = Arc::new(Ledger::default());
    // A client gives a silent connection up before the server does, so that the server has to find out by itself.
    let route = Route { silence_max: Duration::from_secs(ping_s) + Duration::from_millis(300), ..Route::to(proxy.address) };
    let crowd = Crowd::new(&day, &ledger, &route, users, 1.0);
    // Whoever falls into a hole before the first frame notices only after a while.
    ledger.everybody_has_a_cursor(Duration::from_secs(size(20, 300))).await;
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

    // Everybody goes, and those in the holes cannot say so. Only sessions on SSE can still be there: nobody answers its pings, and this
    // proxy's kernel acknowledges them.
    drop(crowd);
    let (begun, most) = (Instant::now(), Duration::from_secs(ping_s + answer_s) + Duration::from_millis(size(1_500, 500)));
    while node.labelled(r#"claimr_relay_sessions{carrier="websocket"}"#).await > 0 {
        assert!(begun.elapsed() < most, "dead peers are still there after {most:?}");
        sleep(Duration::from_millis(20)).await;
    }
    day.figure("dead peers on WebSocket gone after", format!("{:.1?} (bound {most:?})", begun.elapsed()));
    day.figure("still swallowed, on SSE", proxy.swallowed());
    node.check_log();
    day.end();
}

/// Makes large events of one person until nobody takes any more of them.
async fn fill(node: &Node, person: &str) {
    let (http, padding) = (sender(), "x".repeat(60_000));
    for n in 0.. {
        let mut body = event(person, n);
        body["note"] = json!(padding);
        let body = body.to_string();
        let request = http.post(format!("http://{}/hooks/claimr/user_activity", node.address));
        let request = request.header("content-type", "application/json").header("x-signature", sign(body.as_bytes()));
        let answer: Value = request.body(body).send().await.unwrap().json().await.unwrap();
        if answer["connections"] == 0 {
            return;
        }
    }
}

/// A machine that vanished acknowledges nothing, and nobody says that it is gone; on SSE it would not answer pings anyway. Who is there and
/// only does not read for a minute is no such machine, and hears 4001 when it reads on.
#[tokio::test]
async fn a_machine_that_vanished_is_buried_and_a_slow_reader_is_not() {
    let day = Day::begin("vanished", &["vanished", "stopped reading"]);
    let (ping_s, answer_s) = size((1, 1), (25, 10));
    let settings = format!("limits.ping_interval_s = {ping_s}\nlimits.pong_timeout_s = {answer_s}");
    let (folder, address) = (TempDir::new().unwrap(), free_address());
    let node = Node::start(&folder, address, &Launch::with(&settings)).await;
    let mut stopped = Vec::new();
    for carrier in [Carrier::WebSocket, Carrier::Sse] {
        let route = Route { receive_buffer: Some(4_096), ..Route::to(address) };
        stopped.push(Client::dial(&route, carrier, "stopped", None).await.unwrap());
        day.happened("stopped reading");
    }
    let stopped_at = Instant::now();
    fill(&node, "stopped").await;

    let mut vanished = Vec::new();
    for n in 0..size(20, 1_000) {
        let mut client = Client::dial(&Route::to(address), Carrier::of(n), &n.to_string(), None).await.unwrap();
        client.next().await.unwrap();
        vanished.push(client);
    }
    let vanished_at = Instant::now();
    for client in &vanished {
        client.vanish();
        day.happened("vanished");
    }
    // The short form shares its processors with other tests.
    let most = Duration::from_secs(ping_s + answer_s) + Duration::from_millis(size(10_000, 1_000));
    for carrier in ["websocket", "sse"] {
        while node.labelled(&format!(r#"claimr_relay_sessions{{carrier="{carrier}"}}"#)).await > 1 {
            assert!(vanished_at.elapsed() < most, "machines that vanished are still there on {carrier} after {most:?}");
            sleep(Duration::from_millis(20)).await;
        }
        day.figure(&format!("gone on {carrier} after"), format!("{:.1?}", vanished_at.elapsed()));
    }
    sleep(Duration::from_secs(size(2 * (ping_s + answer_s), 60)).saturating_sub(stopped_at.elapsed())).await;
    for mut client in stopped {
        let over = loop {
            if let Err(over) = client.next().await {
                break over;
            }
        };
        assert_eq!(over, Over::Closed(4001), "after {:.1?}", stopped_at.elapsed());
    }
    day.figure("slow readers heard 4001 after", format!("{:.1?}", stopped_at.elapsed()));
    node.check_log();
    day.end();
}
