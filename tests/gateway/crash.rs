//! The real binary is killed with SIGKILL while webhooks pour in; whatever it acknowledged has to reach its user in the end.
//!
//! A ledger holds every webhook that was answered 200. Users stay connected through all of it as a real client would: they come back with
//! their last cursor. At the end each user's received events must hold every acknowledged one, in order, once, and nobody else's.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{task::JoinSet, time::sleep};

use crate::harness::{Dial, Process, WebSocket, event, free_address, sign, token, until};

const KILLS: usize = 20;
const USERS: usize = 16;
const SENDERS: usize = 8;

/// What claimr was told, and what users saw.
#[derive(Default)]
struct Ledger {
    next: AtomicUsize,
    /// Event id → the number in the payload, for each user.
    acknowledged: Mutex<BTreeMap<usize, BTreeMap<String, u64>>>,
    received: Mutex<BTreeMap<usize, Vec<Value>>>,
    gaps: AtomicUsize,
    joined: AtomicUsize,
    over: AtomicBool,
}

/// Sends events one after another, each until it is acknowledged, as a sender with retries does.
async fn send(address: SocketAddr, ledger: Arc<Ledger>) {
    let http = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(5)).build().unwrap();
    while !ledger.over.load(Ordering::Relaxed) {
        let n = ledger.next.fetch_add(1, Ordering::Relaxed);
        let user = n % USERS;
        let mut body = event(&user.to_string(), n);
        body["id"] = json!(format!("delivery-{n}"));
        let body = body.to_string();
        loop {
            let request = http.post(format!("http://{address}/hooks/claimr/user_activity")).body(body.clone());
            let request = request.header("content-type", "application/json").header("x-signature", sign(body.as_bytes()));
            let Ok(response) = request.send().await else {
                sleep(Duration::from_millis(2)).await;
                continue;
            };
            if response.status() == 200
                && let Ok(answer) = response.json::<Value>().await
            {
                let id = answer["ids"][0].as_str().unwrap().to_owned();
                let number = u64::try_from(n).unwrap();
                ledger.acknowledged.lock().unwrap().entry(user).or_default().insert(id, number);
                break;
            }
        }
    }
}

/// Stays connected as user `user`, always coming back with the last cursor.
async fn listen(address: SocketAddr, ledger: Arc<Ledger>, user: usize) {
    let mut cursor: Option<String> = None;
    loop {
        let dial = Dial::token(&token(&user.to_string()));
        let dial = match &cursor {
            Some(cursor) => dial.after(cursor),
            None => dial,
        };
        let Some(mut socket) = WebSocket::try_dial(address, dial).await else {
            sleep(Duration::from_millis(5)).await;
            continue;
        };
        while let Ok(frame) = socket.next().await {
            if cursor.is_none() {
                ledger.joined.fetch_add(1, Ordering::Relaxed);
            }
            if let Some(id) = frame["id"].as_str() {
                cursor = Some(id.to_owned());
            }
            match frame["type"].as_str().unwrap() {
                "$gap" => {
                    ledger.gaps.fetch_add(1, Ordering::Relaxed);
                }
                kind if kind.starts_with('$') => {}
                _ => ledger.received.lock().unwrap().entry(user).or_default().push(frame),
            }
        }
    }
}

impl Ledger {
    fn acknowledged_count(&self) -> usize {
        self.acknowledged.lock().unwrap().values().map(BTreeMap::len).sum()
    }

    fn everything_arrived(&self) -> bool {
        let received = self.received.lock().unwrap();
        self.acknowledged.lock().unwrap().iter().all(|(user, events)| {
            let seen: BTreeSet<&str> = received.get(user).into_iter().flatten().map(|f| f["id"].as_str().unwrap()).collect();
            events.keys().all(|id| seen.contains(id.as_str()))
        })
    }

    fn check(&self) {
        let (acknowledged, received) = (self.acknowledged.lock().unwrap(), self.received.lock().unwrap());
        for (user, frames) in received.iter() {
            let (mut last, mut numbers) = (0, BTreeSet::new());
            for frame in frames {
                let number = frame["points"].as_u64().unwrap();
                assert_eq!(frame["data"]["account"], json!(user.to_string()), "an event of somebody else");
                let seq: u64 = frame["id"].as_str().unwrap().split_once(':').unwrap().1.parse().unwrap();
                assert!(seq > last, "user {user}: {seq} came after {last}");
                last = seq;
                assert!(numbers.insert(number), "user {user}: event {number} came twice under two ids");
            }
        }
        for (user, events) in acknowledged.iter() {
            let seen: BTreeMap<&str, u64> =
                received[user].iter().map(|f| (f["id"].as_str().unwrap(), f["points"].as_u64().unwrap())).collect();
            for (id, number) in events {
                assert_eq!(seen.get(id.as_str()), Some(number), "user {user}: {id} was acknowledged");
            }
        }
        assert_eq!(self.gaps.load(Ordering::Relaxed), 0);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_acknowledged_survives_twenty_kills() {
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    fastrand::seed(seed);
    let (folder, address) = (TempDir::new().unwrap(), free_address());
    let mut gateway = Process::start(&folder, address, "", None).await;
    let ledger = Arc::new(Ledger::default());
    let (mut senders, mut listeners) = (JoinSet::new(), JoinSet::new());
    for user in 0..USERS {
        listeners.spawn(listen(address, Arc::clone(&ledger), user));
    }
    // Their first cursor is the start of the log, because everybody is there before the first event.
    until("everybody is there", async || ledger.joined.load(Ordering::Relaxed) == USERS).await;
    for _ in 0..SENDERS {
        senders.spawn(send(address, Arc::clone(&ledger)));
    }
    for round in 0..KILLS {
        let before = ledger.acknowledged_count();
        let wanted = before + fastrand::usize(20..200);
        until("more is acknowledged", async || ledger.acknowledged_count() >= wanted).await;
        gateway.kill();
        gateway = Process::start(&folder, address, "", None).await;
        println!("round {round}: {} acknowledged", ledger.acknowledged_count());
    }
    ledger.over.store(true, Ordering::Relaxed);
    while let Some(ended) = senders.join_next().await {
        ended.unwrap();
    }
    until("everything acknowledged arrived", async || ledger.everything_arrived()).await;
    listeners.abort_all();
    ledger.check();
    assert!(ledger.acknowledged_count() > KILLS * 20, "the test exercised something");
}
