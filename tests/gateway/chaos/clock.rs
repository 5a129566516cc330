//! The wall clock jumps while the gateway runs: a day back, a day ahead, a year ahead. Nothing is lost, nobody is sent away.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{task::JoinSet, time::sleep};

use super::{
    Day,
    client::{Carrier, Client, Route},
    crowd::Crowd,
    ledger::{Follower, Ledger, sender},
    node::{Launch, Node},
    size,
};
use crate::harness::{event, free_address, sign, unix_now, until};

const USERS: usize = 20;
/// They go before anything happens, and come back in the end.
const ABSENT: usize = 4;
const SETTINGS: &str = "store.max_events_per_user = 100000\nstore.max_age = \"1h\"\nsources.duplicate_window = \"1s\"";

fn libfaketime() -> PathBuf {
    let folders = fs::read_dir("/usr/lib").unwrap().filter_map(|entry| Some(entry.ok()?.path()));
    let mut files = folders.map(|folder| folder.join("faketime/libfaketimeMT.so.1"));
    files.find(|file| file.exists()).expect("libfaketime is needed to make clocks jump: apt-get install faketime")
}

/// Sets the gateway's clock off, in one step.
fn set(clock: &Path, offset: &str) {
    let draft = clock.with_extension("new");
    fs::write(&draft, offset).unwrap();
    fs::rename(draft, clock).unwrap();
}

/// A user who watches the clock.
struct Witness {
    http: reqwest::Client,
    client: Client,
    to: SocketAddr,
    asked: usize,
}

impl Witness {
    async fn deliver(&self, body: &Value) -> Value {
        let body = body.to_string();
        let request = self.http.post(format!("http://{}/hooks/claimr/user_activity", self.to));
        let request = request.header("content-type", "application/json").header("x-signature", sign(body.as_bytes()));
        let answer = request.body(body).send().await.unwrap();
        assert_eq!(answer.status(), 200);
        answer.json().await.unwrap()
    }

    /// How many hours the gateway's clock is off, as an event tells that is delivered just now.
    async fn hours_off(&mut self) -> i64 {
        self.asked += 1;
        self.deliver(&event("witness", self.asked)).await;
        loop {
            let frame = self.client.next().await.unwrap();
            if frame["points"] == json!(self.asked) {
                let seconds = frame["at"].as_i64().unwrap() / 1_000 - i64::try_from(unix_now()).unwrap();
                return (seconds + 1_800).div_euclid(3_600);
            }
        }
    }

    /// Sends what is the same bytes each time, and what has the same delivery id. Whether each was taken for a repetition.
    async fn repeat(&self) -> [bool; 2] {
        let same = event("somebody", 1);
        let mut retried = event("somebody", 2);
        retried["id"] = json!("retried");
        [self.deliver(&same).await, self.deliver(&retried).await].map(|answer| answer["duplicate"].as_bool().unwrap())
    }
}

/// Comes back with a cursor and takes what was missed.
async fn resume(mut follower: Follower, route: &Route, ledger: &Ledger) {
    let user = follower.user;
    let mut client = Client::dial(route, Carrier::of(user), &user.to_string(), follower.cursor.as_deref()).await.unwrap();
    let hello = client.next().await.unwrap();
    assert_eq!(hello["resume"], "resumed", "{hello}");
    follower.take(&hello);
    while ledger.missing_of(user) > 0 {
        follower.take(&client.next().await.expect("the resumed stream goes on"));
    }
}

async fn start(folder: &TempDir, clock: &Path) -> Node {
    set(clock, "+0");
    let environment = [
        ("LD_PRELOAD", libfaketime().display().to_string()),
        ("FAKETIME_TIMESTAMP_FILE", clock.display().to_string()),
        ("FAKETIME_NO_CACHE", "1".to_owned()),
        ("DONT_FAKE_MONOTONIC", "1".to_owned()),
    ];
    let environment = environment.map(|(name, value)| (name.to_owned(), value)).to_vec();
    Node::start(folder, free_address(), &Launch { environment, ..Launch::with(SETTINGS) }).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clock_that_jumps_loses_nothing_and_sends_nobody_away() {
    let jumps = [("-1d", -24), ("+0", 0), ("+1d", 24), ("+1y", 365 * 24), ("+0", 0)];
    let day = Day::begin("clock", &jumps.map(|(jump, _)| jump));
    let folder = TempDir::new().unwrap();
    let clock = folder.path().join("clock");
    let node = start(&folder, &clock).await;
    let (ledger, route) = (Arc::new(Ledger::default()), Route::to(node.address));
    let crowd = Crowd::new(&day, &ledger, &route, USERS, 1.0);
    crowd.all_here(Duration::from_secs(20)).await;
    let mut absent = Vec::new();
    for user in USERS..USERS + ABSENT {
        let mut follower = ledger.follower(user);
        let mut client = Client::dial(&route, Carrier::of(user), &user.to_string(), None).await.unwrap();
        follower.take(&client.next().await.unwrap());
        absent.push(follower);
    }
    let client = Client::dial(&route, Carrier::WebSocket, "witness", None).await.unwrap();
    let mut witness = Witness { http: sender(), client, to: node.address, asked: 0 };
    let mut sending = JoinSet::new();
    sending.spawn(Arc::clone(&ledger).keep_sending(node.address, USERS + ABSENT, Duration::from_millis(5)));

    assert_eq!(witness.repeat().await, [false, false]);
    for (jump, hours) in jumps {
        set(&clock, jump);
        until("the gateway's clock has jumped", async || witness.hours_off().await == hours).await;
        day.happened(jump);
        // Longer than the window for equal bytes, and than the housekeeping takes to come by.
        sleep(Duration::from_millis(size(1_300, 10_000))).await;
        assert_eq!(node.page("/readyz").await.0, 200);
        assert_eq!(
            witness.repeat().await,
            [false, true],
            "{jump}: new though the bytes are the same; a retry though its id is old"
        );
    }
    ledger.over.store(true, Ordering::Relaxed);
    while let Some(ended) = sending.join_next().await {
        ended.unwrap();
    }
    for follower in absent {
        resume(follower, &route, &ledger).await;
    }
    ledger.settled(Duration::from_secs(10)).await;
    ledger.check();
    node.check_log();
    assert_eq!(crowd.ended().len(), 0, "no session ended: {:?}", crowd.ended());
    day.figure("acknowledged, lost, sent away", format!("{}, 0, 0", ledger.acknowledged()));
    day.end();
}
