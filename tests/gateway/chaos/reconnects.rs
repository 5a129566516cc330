//! Resume is honest on the wire: connections that break at a random byte, retention that overtakes sleepers, and every stream complete
//! or told of its gap.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use serde_json::json;
use tempfile::TempDir;
use tokio::{task::JoinSet, time::sleep};

use super::{
    Day,
    client::{Carrier, Client, Route},
    ledger::sender,
    node::{Launch, Node},
    size,
};
use crate::harness::{event, free_address, sign};

const USERS: usize = 32;
/// Few, so that whoever sleeps misses more than is kept.
const SETTINGS: &str = "store.max_events_per_user = 50";

/// Numbers each user's events 1, 2, 3, …; the next is sent when the last is acknowledged.
async fn feed(node: std::net::SocketAddr, user: usize, told: Arc<[AtomicU64]>, over: Arc<AtomicBool>) {
    let http = sender();
    for n in 1.. {
        let mut body = event(&user.to_string(), n);
        body["id"] = json!(format!("{user}-{n}"));
        let body = body.to_string();
        loop {
            if over.load(Ordering::Relaxed) {
                return;
            }
            let request = http.post(format!("http://{node}/hooks/claimr/user_activity")).body(body.clone());
            let request = request.header("content-type", "application/json").header("x-signature", sign(body.as_bytes()));
            if request.send().await.is_ok_and(|answer| answer.status() == 200) {
                break;
            }
        }
        told[user].store(n as u64, Ordering::Relaxed);
        sleep(Duration::from_millis(1)).await;
    }
}

/// Reconnects again and again as one user, and checks that nothing is missing without a `$gap`.
async fn reconnect(day: Arc<Day>, to: std::net::SocketAddr, user: usize, times: usize, told: Arc<[AtomicU64]>) {
    let mut dice = day.dice(user);
    let (mut cursor, mut last, mut may_jump): (Option<String>, u64, bool) = (None, 0, true);
    let name = user.to_string();
    for round in 0..=times {
        // The last connection is left alone, and has to bring everything that was acknowledged.
        let finally = (round == times).then(|| told[user].load(Ordering::Relaxed));
        let cut_after = finally.is_none().then(|| dice.usize(1..3_000));
        let route = Route { cut_after, ..Route::to(to).dialled_from_one_of_many(user) };
        let carrier = if dice.bool() { Carrier::WebSocket } else { Carrier::Sse };
        let mut client = Client::dial(&route, carrier, &name, cursor.as_deref()).await.unwrap();
        day.happened(if carrier == Carrier::Sse { "cut on SSE" } else { "cut on WebSocket" });
        while finally.is_none_or(|wanted| last < wanted) {
            let Ok(frame) = client.next().await else {
                assert!(finally.is_none(), "user {user}: the last stream broke after {last}");
                break;
            };
            match frame["type"].as_str().unwrap() {
                "$hello" => day.happened(&format!("resume: {}", frame["resume"].as_str().unwrap())),
                "$gap" => may_jump = true,
                kind if kind.starts_with('$') => {}
                _ => {
                    let n = frame["points"].as_u64().unwrap();
                    assert_eq!(frame["data"]["account"], json!(name), "an event of somebody else");
                    assert!(n == last + 1 || (may_jump && n > last), "user {user}: {n} came after {last}, and no $gap");
                    (last, may_jump) = (n, false);
                }
            }
            if let Some(id) = frame["id"].as_str() {
                cursor = Some(id.to_owned());
            }
        }
        if dice.u8(0..40) == 0 {
            // Away until so much has happened, however long that takes: mostly more than is kept.
            let until = last + dice.u64(30..150);
            while told[user].load(Ordering::Relaxed) < until {
                sleep(Duration::from_millis(5)).await;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_reconnect_is_complete_or_told_of_its_gap() {
    let planned = ["cut on WebSocket", "cut on SSE", "resume: fresh", "resume: resumed", "resume: gap"];
    let day = Day::begin("reconnects", &planned);
    let each = size(640, 20_000) / USERS;
    let (folder, address) = (TempDir::new().unwrap(), free_address());
    let node = Node::start(&folder, address, &Launch::with(SETTINGS)).await;
    let (told, over): (Arc<[AtomicU64]>, _) = ((0..USERS).map(|_| AtomicU64::new(0)).collect(), Arc::new(AtomicBool::new(false)));
    let (mut feeding, mut people) = (JoinSet::new(), JoinSet::new());
    for user in 0..USERS {
        feeding.spawn(feed(address, user, Arc::clone(&told), Arc::clone(&over)));
        people.spawn(reconnect(Arc::clone(&day), address, user, each, Arc::clone(&told)));
    }
    while let Some(ended) = people.join_next().await {
        ended.unwrap();
    }
    over.store(true, Ordering::Relaxed);
    while let Some(ended) = feeding.join_next().await {
        ended.unwrap();
    }
    node.check_log();
    day.figure("events", told.iter().map(|told| told.load(Ordering::Relaxed)).sum::<u64>());
    day.figure("reconnects", day.count("cut on WebSocket") + day.count("cut on SSE"));
    day.figure("silent gaps", 0);
    day.end();
}
