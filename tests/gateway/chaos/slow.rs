//! Slow readers cost nobody: thousands that never read, beside healthy ones.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{
    task::JoinSet,
    time::{interval, sleep},
};

use super::{
    Day,
    client::{Carrier, Client, Over, Route},
    crowd::Crowd,
    ledger::{Ledger, sender},
    node::{Launch, Node, mib},
    size,
};
use crate::harness::{event, free_address, sign};

/// Slow sessions of one person: as many as the defaults allow. An event for that person fills all of their mailboxes, so few events fill
/// many; with more sessions each, what is measured would be how long so many copies of a large event take.
const SESSIONS_EACH: usize = 20;
/// Large events that fill a session's sockets and mailbox, about.
const LARGE_EACH: usize = 5;
/// Who does not read answers no pings either; but here it is the mailbox that is to say so.
const SETTINGS: &str = "limits.pong_timeout_s = 600\nlimits.sessions_per_address_max = 100000
limits.new_sessions_per_address_per_s_max = 100000\nlimits.write_stall_s = 600\nstore.max_events_per_user = 100000";

/// Says who the slow ones are: names that no healthy user has.
fn slow_user(n: usize) -> String {
    format!("slow-{}", n / SESSIONS_EACH)
}

/// Healthy users get so many events a second for a while.
async fn pace(ledger: &Arc<Ledger>, node: &Node, users: usize, per_s: u32, lasting: Duration) {
    let (http, to) = (sender(), node.address);
    let mut ticks = interval(Duration::from_secs(1) / per_s);
    let (begun, mut sends) = (Instant::now(), JoinSet::new());
    for user in (0..users).cycle() {
        ticks.tick().await;
        if begun.elapsed() > lasting {
            break;
        }
        let (ledger, http) = (Arc::clone(ledger), http.clone());
        sends.spawn(async move { ledger.send_until_acknowledged(&http, to, user).await });
        while sends.try_join_next().is_some() {}
    }
    while sends.join_next().await.is_some() {}
}

/// Sends one large event to each of some people; how many sessions took one.
async fn large_events(node: &Node, people: impl Iterator<Item = String>, nth: usize) -> u64 {
    let (http, padding) = (sender(), "x".repeat(60_000));
    let mut reached = 0;
    for person in people {
        let mut body = event(&person, nth);
        body["note"] = json!(padding);
        let body = body.to_string();
        let request = http.post(format!("http://{}/hooks/claimr/user_activity", node.address));
        let request = request.header("content-type", "application/json").header("x-signature", sign(body.as_bytes()));
        let answer: Value = request.body(body).send().await.unwrap().json().await.unwrap();
        reached += answer["connections"].as_u64().unwrap();
        // Not all at once: the healthy ones' events are measured meanwhile.
        sleep(Duration::from_millis(8)).await;
    }
    reached
}

/// Sends large events to the slow people until none of their sessions takes any more; how many each person was sent.
async fn overfill(node: &Node, people: usize) -> usize {
    let mut sent = 1;
    while large_events(node, (0..people).map(|n| format!("slow-{n}")), sent).await > 0 {
        sent += 1;
    }
    sent
}

/// Reads at last: what was sent until the mailbox was full, the goodbye, and after a resume the rest.
async fn wake_up(mut client: Client, mut route: Route, n: usize, sent: usize) -> u16 {
    let (user, carrier) = (slow_user(n), Carrier::of(n));
    let (mut cursor, mut seen) = (None, Vec::new());
    let mut take = |frame: &Value, cursor: &mut Option<String>| {
        seen.extend(frame["points"].as_u64());
        if let Some(id) = frame["id"].as_str() {
            *cursor = Some(id.to_owned());
        }
        seen.len()
    };
    let code = loop {
        match client.next().await {
            Ok(frame) => _ = take(&frame, &mut cursor),
            Err(Over::Closed(code)) => break code,
            Err(Over::Broken) => break 0,
        }
    };
    route.receive_buffer = None;
    let mut client = Client::dial(&route, carrier, &user, cursor.as_deref()).await.unwrap();
    loop {
        let frame = client.next().await.expect("the resumed stream goes on");
        assert_ne!(frame["type"], "$gap", "{frame}");
        if take(&frame, &mut cursor) >= sent {
            break;
        }
    }
    assert_eq!(seen, (1..=sent as u64).collect::<Vec<_>>(), "slow session {n}");
    code
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_never_reads_costs_nobody_anything() {
    let day = Day::begin("slow", &["closed with 4001"]);
    let (slow, healthy): (usize, usize) = (size(500, 15_000), size(50, 1_000));
    let (per_s, lasting) = (size(100, 500), Duration::from_millis(size(1_500, 30_000)));
    let (folder, address) = (TempDir::new().unwrap(), free_address());
    let node = Node::start(&folder, address, &Launch::with(SETTINGS)).await;
    let ledger = Arc::new(Ledger::default());
    let crowd = Crowd::new(&day, &ledger, &Route::to(address), healthy, 1.0);
    crowd.all_here(Duration::from_secs(30)).await;
    // How the healthy ones fare, from here on.
    let figure = async |what: &str| {
        ledger.settled(Duration::from_secs(10)).await;
        let p99 = ledger.delivery.quantile(0.99);
        day.figure(what, &ledger.delivery);
        ledger.delivery.clear();
        p99
    };
    let pace = || pace(&ledger, &node, healthy, per_s, lasting);
    let people = slow.div_ceil(SESSIONS_EACH);

    pace().await;
    figure("healthy ones alone").await;
    // As many large events as will come later, for people who are not here: what they cost is not what slow readers cost.
    let absent = (0..people * LARGE_EACH).map(|n| format!("absent-{n}"));
    tokio::join!(large_events(&node, absent, 0), pace());
    let beside_nobody = figure("healthy ones while large events come for nobody").await;
    pace().await;
    let after_nobody = figure("healthy ones after that").await;

    let mut silent = Vec::new();
    for n in 0..slow {
        let route = Route { receive_buffer: Some(4_096), ..Route::to(address).dialled_from_one_of_many(n) };
        let client = Client::dial(&route, Carrier::of(n), &slow_user(n), None).await.unwrap();
        silent.push((client, route));
    }
    let (sent, ()) = tokio::join!(overfill(&node, people), pace());
    let filled = node.rss();
    let beside_filling = figure("healthy ones while slow ones fill").await;
    pace().await;
    let (beside_full, later) = (figure("healthy ones beside full ones").await, node.rss());
    day.figure("slow sessions, large events each", format!("{slow}, {sent}"));
    day.figure("RSS when all were full, and later", format!("{}, {}", mib(filled), mib(later)));

    let mut woken = JoinSet::new();
    for (n, (client, route)) in silent.into_iter().enumerate().step_by(size(5, 10)) {
        woken.spawn(wake_up(client, route, n, sent));
    }
    while let Some(code) = woken.join_next().await {
        assert_eq!(code.unwrap(), 4001);
        day.happened("closed with 4001");
    }
    ledger.check();
    node.check_log();
    assert_eq!(crowd.ended().len(), 0, "no healthy session ended: {:?}", crowd.ended());
    assert!(later <= 1 << 30, "{}", mib(later));
    assert!(later <= filled + filled / 10, "RSS grows: {} → {}", mib(filled), mib(later));
    // The short form shares its processors with other tests, so it only sees whether somebody waits for the slow ones.
    let slack = Duration::from_millis(size(5_000, 2));
    for (with, without) in [(beside_filling, beside_nobody), (beside_full, after_nobody)] {
        assert!(with <= without * 2 + slack, "healthy p99 {with:.1?} beside slow ones, {without:.1?} without them");
    }
    day.end();
}
