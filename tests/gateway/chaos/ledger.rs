//! What the sender was told, and what users saw: the judge of every bad day.
//!
//! An acknowledged webhook has to reach its user, in order, once after duplicates are removed by id, and nobody else.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use tokio::time::sleep;

use super::Times;
use crate::harness::{event, sign};

#[derive(Default)]
pub(super) struct Ledger {
    next: AtomicU64,
    pages: Mutex<BTreeMap<usize, Page>>,
    /// Answers by status; 0: none came.
    answers: Mutex<BTreeMap<u16, u64>>,
    /// Answers other than 200, or 503 with Retry-After.
    rude: AtomicU64,
    /// From sending to 200.
    pub(super) publish: Times,
    /// From sending to a user.
    pub(super) delivery: Times,
    pub(super) over: AtomicBool,
}

/// One user's.
#[derive(Default)]
struct Page {
    /// Event id → the number in the payload.
    acknowledged: BTreeMap<String, u64>,
    sent: BTreeMap<u64, Instant>,
    /// By their place in the log.
    received: BTreeMap<u64, (String, u64)>,
    numbers: BTreeSet<u64>,
    gaps: u64,
    /// Only who has a cursor can miss anything.
    has_cursor: bool,
}

/// A user's side of the ledger: where the client stands.
pub(super) struct Follower {
    ledger: Arc<Ledger>,
    pub(super) user: usize,
    pub(super) cursor: Option<String>,
    /// What the last `$bye` asked for.
    pub(super) retry_after: Option<Duration>,
}

impl Ledger {
    pub(super) fn follower(self: &Arc<Self>, user: usize) -> Follower {
        self.pages.lock().unwrap().entry(user).or_default();
        Follower { ledger: Arc::clone(self), user, cursor: None, retry_after: None }
    }

    /// Sends one event to `user`, once. The status of the answer; 0 if none came.
    pub(super) async fn send(&self, http: &reqwest::Client, to: SocketAddr, user: usize) -> u16 {
        let n = self.next.fetch_add(1, Ordering::Relaxed);
        self.send_number(http, to, user, n).await
    }

    /// Sends one event to `user` until it is acknowledged, as a sender with retries does.
    pub(super) async fn send_until_acknowledged(&self, http: &reqwest::Client, to: SocketAddr, user: usize) {
        let n = self.next.fetch_add(1, Ordering::Relaxed);
        while !self.over.load(Ordering::Relaxed) && self.send_number(http, to, user, n).await != 200 {
            sleep(Duration::from_millis(2)).await;
        }
    }

    /// Sends to users in turn, one after the other, until the day is over. `pause` is between two.
    pub(super) async fn keep_sending(self: Arc<Self>, to: SocketAddr, users: usize, pause: Duration) {
        let http = sender();
        while !self.over.load(Ordering::Relaxed) {
            let user = usize::try_from(self.next.load(Ordering::Relaxed)).unwrap() % users;
            self.send_until_acknowledged(&http, to, user).await;
            if !pause.is_zero() {
                sleep(pause).await;
            }
        }
    }

    /// The same by `senders` at once, on a thread of their own: what they measure is not to be the crowd's own business.
    pub(super) fn keep_sending_apart(
        self: &Arc<Self>,
        to: SocketAddr,
        users: usize,
        senders: usize,
        pause: Duration,
    ) -> JoinHandle<()> {
        let ledger = Arc::clone(self);
        thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            let sending = (0..senders).map(|_| Arc::clone(&ledger).keep_sending(to, users, pause));
            runtime.block_on(futures_util::future::join_all(sending));
        })
    }

    async fn send_number(&self, http: &reqwest::Client, to: SocketAddr, user: usize, n: u64) -> u16 {
        let mut body = event(&user.to_string(), usize::try_from(n).unwrap());
        body["id"] = json!(format!("delivery-{n}"));
        let body = body.to_string();
        let request = http.post(format!("http://{to}/hooks/claimr/user_activity")).header("content-type", "application/json");
        let request = request.header("x-signature", sign(body.as_bytes())).body(body);
        let sent = Instant::now();
        self.pages.lock().unwrap().entry(user).or_default().sent.entry(n).or_insert(sent);
        let answer = request.send().await;
        let status = answer.as_ref().map_or(0, |answer| answer.status().as_u16());
        let retry_after = answer.as_ref().is_ok_and(|answer| answer.headers().contains_key("retry-after"));
        let body = match answer {
            Ok(answer) if status == 200 => answer.json::<Value>().await.ok(),
            _ => None,
        };
        // An answer that broke off was not one.
        let status = if status == 200 && body.is_none() { 0 } else { status };
        *self.answers.lock().unwrap().entry(status).or_default() += 1;
        if let Some(body) = body {
            self.publish.add(sent.elapsed());
            let id = body["ids"][0].as_str().unwrap().to_owned();
            self.pages.lock().unwrap().entry(user).or_default().acknowledged.insert(id, n);
        }
        if !matches!((status, retry_after), (0 | 200, _) | (503, true)) {
            self.rude.fetch_add(1, Ordering::Relaxed);
        }
        status
    }

    pub(super) fn acknowledged(&self) -> usize {
        self.pages.lock().unwrap().values().map(|page| page.acknowledged.len()).sum()
    }

    /// Answers by status; 0: none came.
    pub(super) fn answers(&self) -> BTreeMap<u16, u64> {
        self.answers.lock().unwrap().clone()
    }

    /// How many answers were neither 200 nor 503 with Retry-After.
    pub(super) fn rude(&self) -> u64 {
        self.rude.load(Ordering::Relaxed)
    }

    /// Waits until every follower has a cursor, from which on nothing may be missing.
    pub(super) async fn everybody_has_a_cursor(&self, patience: Duration) {
        let begun = Instant::now();
        while !self.pages.lock().unwrap().values().all(|page| page.has_cursor) {
            assert!(begun.elapsed() < patience, "not everybody has a cursor after {patience:?}");
            sleep(Duration::from_millis(10)).await;
        }
    }

    /// What was acknowledged and has not been seen.
    pub(super) fn missing(&self) -> usize {
        self.pages.lock().unwrap().values().map(Page::missing).sum()
    }

    /// The same of one user.
    pub(super) fn missing_of(&self, user: usize) -> usize {
        self.pages.lock().unwrap().get(&user).map_or(0, Page::missing)
    }

    /// Waits until everything acknowledged has arrived.
    pub(super) async fn settled(&self, patience: Duration) {
        let begun = Instant::now();
        while self.missing() > 0 {
            assert!(begun.elapsed() < patience, "acknowledged, but not there after {patience:?}: {}", self.what_is_missing());
            sleep(Duration::from_millis(20)).await;
        }
    }

    /// For people to look at: who misses what, and what came last.
    fn what_is_missing(&self) -> String {
        let pages = self.pages.lock().unwrap();
        let missing = pages.iter().filter(|(_, page)| page.missing() > 0).map(|(user, page)| {
            let lacks = page.acknowledged.iter().find(|(_, n)| !page.numbers.contains(n)).map(|(id, _)| id);
            let last = page.received.last_key_value().map(|(seq, _)| seq);
            format!("user {user}: {} events, such as {lacks:?}; the last that came was {last:?}", page.missing())
        });
        missing.collect::<Vec<_>>().join("\n")
    }

    /// Nothing acknowledged is lost, and no user was told of a gap.
    pub(super) fn check(&self) {
        for (user, page) in self.pages.lock().unwrap().iter() {
            assert_eq!(page.gaps, 0, "user {user} was told of a gap");
            let seen: BTreeMap<&str, u64> = page.received.values().map(|(id, n)| (id.as_str(), *n)).collect();
            for (id, n) in &page.acknowledged {
                assert_eq!(seen.get(id.as_str()), Some(n), "user {user}: {id} was acknowledged");
            }
        }
        assert!(self.acknowledged() > 0, "nothing was sent");
    }
}

impl Follower {
    /// Takes a frame of the stream. Panics over one that is somebody else's, out of order, or a duplicate under another id.
    pub(super) fn take(&mut self, frame: &Value) {
        let kind = frame["type"].as_str().unwrap();
        let mut pages = self.ledger.pages.lock().unwrap();
        let page = pages.entry(self.user).or_default();
        if kind == "$bye" {
            self.retry_after = frame["retry_after_ms"].as_u64().map(Duration::from_millis);
        }
        if let Some(id) = frame["id"].as_str() {
            if !kind.starts_with('$') {
                page.event(self.user, self.cursor.as_deref(), id, frame, &self.ledger.delivery);
            }
            self.cursor = Some(id.to_owned());
            page.has_cursor = true;
        }
        page.gaps += u64::from(kind == "$gap");
    }
}

impl Page {
    fn missing(&self) -> usize {
        self.acknowledged.values().filter(|n| !self.numbers.contains(n)).count()
    }

    fn event(&mut self, user: usize, cursor: Option<&str>, id: &str, frame: &Value, delivery: &Times) {
        let n = frame["points"].as_u64().unwrap();
        assert_eq!(frame["data"]["account"], json!(user.to_string()), "an event of somebody else");
        let seq = place(id);
        assert!(cursor.is_none_or(|cursor| place(cursor) < seq), "user {user}: {id} came after {cursor:?}");
        if self.received.insert(seq, (id.to_owned(), n)).is_none() {
            assert!(self.numbers.insert(n), "user {user}: event {n} came twice under two ids");
            if let Some(sent) = self.sent.remove(&n) {
                delivery.add(sent.elapsed());
            }
        }
    }
}

fn place(id: &str) -> u64 {
    id.split_once(':').and_then(|(_, seq)| seq.parse().ok()).unwrap_or_else(|| panic!("{id} is no cursor"))
}

/// A sender that gives up on an answer after five seconds.
pub(super) fn sender() -> reqwest::Client {
    reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(5)).build().unwrap()
}
