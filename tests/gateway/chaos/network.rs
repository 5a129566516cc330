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
    namespace::Own,
    node::{Launch, Node},
    proxy::{FAULTS, Proxy},
    size,
};
use crate::harness::{free_address, token, until};

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
    ledger.everybody_has_a_cursor().await;
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

/// One metric of a gateway in a network of its own; none while that is down.
fn metric(node: &Node, line: &str) -> Option<u64> {
    let page =
        Own::Network.inside(node, "curl").args(["-s", "-m", "1", &format!("http://{}/metrics", node.admin)]).output().unwrap();
    let text = String::from_utf8(page.stdout).ok().filter(|text| !text.is_empty())?;
    Some(text.lines().find_map(|l| l.strip_prefix(line)?.trim().parse().ok()).unwrap_or(0))
}

/// A machine that lost its network acknowledges nothing, and nobody says that it is gone. An SSE client answers no pings anyway, so it is
/// the kernel that has to notice, by what stays unacknowledged.
#[tokio::test]
async fn a_machine_that_vanished_is_buried_too() {
    let day = Day::begin("vanished", &["network down"]);
    let (folder, stall_s) = (TempDir::new().unwrap(), size(2, 90));
    let settings = format!("limits.ping_interval_s = {}\nlimits.write_stall_s = {stall_s}", size(1, 25));
    let launch = Launch { wrapper: Own::Network.wrapper("ip link set lo up"), ..Launch::with(&settings) };
    let node = Node::start(&folder, free_address(), &launch).await;
    let sse = r#"claimr_relay_sessions{carrier="sse"}"#;
    let bearer = format!("Authorization: Bearer {}", token("42"));
    let mut client = Own::Network.inside(&node, "curl");
    client.args(["-sN", "-o", "/dev/null", "-H", &bearer, &format!("http://{}/v1/sse", node.address)]);
    let mut client = client.spawn().unwrap();
    until("the client is there", async || metric(&node, sse) == Some(1)).await;

    Own::Network.shell(&node, "ip link set lo down");
    day.happened("network down");
    // A ping goes out, and is not acknowledged; the kernel's timers are not exact.
    sleep(Duration::from_secs(size(1, 25) + stall_s) + Duration::from_millis(size(2_500, 10_000))).await;
    Own::Network.shell(&node, "ip link set lo up");
    let mut left = None;
    until("the network is there again", async || {
        left = metric(&node, sse);
        left.is_some()
    })
    .await;
    client.kill().unwrap();
    client.wait().unwrap();
    assert_eq!(left, Some(0), "the session of a machine that vanished is still there");
    node.check_log();
    day.end();
}
