//! A crowd of users who stay connected: each comes back with its cursor whenever its stream ends, as a client library does.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::{select, sync::watch, task::JoinSet, time::sleep};

use super::{
    Day,
    client::{Carrier, Client, Over, Route},
    ledger::{Follower, Ledger},
};

/// The crowd; it goes home when it is dropped.
pub(super) struct Crowd {
    seats: Arc<Seats>,
    _members: JoinSet<()>,
    size: usize,
}

/// What the members have in common.
struct Seats {
    connected: AtomicUsize,
    /// Streams that ended with a word of the server, by its code; 0: without one.
    ended: Mutex<BTreeMap<u16, usize>>,
    /// What `$bye` asked to wait.
    delays: Mutex<Vec<Duration>>,
    /// Makes everybody's connection break.
    cut: watch::Sender<u64>,
    /// Members wait only this share of what they are asked to, to save time.
    haste: f64,
}

impl Crowd {
    /// Users 0 to `size`, half of them on SSE, on their way to `route`. They wait `haste` of what `$bye` asks for.
    pub(super) fn new(day: &Day, ledger: &Arc<Ledger>, route: &Route, size: usize, haste: f64) -> Self {
        let seats = Arc::new(Seats {
            connected: AtomicUsize::new(0),
            ended: Mutex::default(),
            delays: Mutex::default(),
            cut: watch::Sender::new(0),
            haste,
        });
        let mut members = JoinSet::new();
        for user in 0..size {
            let route = route.clone().dialled_from_one_of_many(user);
            members.spawn(Arc::clone(&seats).stay(route, ledger.follower(user), day.dice(user)));
        }
        Self { seats, _members: members, size }
    }

    pub(super) fn connected(&self) -> usize {
        self.seats.connected.load(Ordering::Relaxed)
    }

    /// Waits until everybody is connected, and says how long that took.
    pub(super) async fn all_here(&self, patience: Duration) -> Duration {
        let begun = Instant::now();
        while self.connected() < self.size {
            assert!(begun.elapsed() < patience, "only {} of {} are connected after {patience:?}", self.connected(), self.size);
            sleep(Duration::from_millis(10)).await;
        }
        begun.elapsed()
    }

    /// Breaks every connection at once, with a reset.
    pub(super) fn cut(&self) {
        self.seats.cut.send_modify(|cuts| *cuts += 1);
    }

    /// How the streams ended, by the server's code; 0: it said nothing.
    pub(super) fn ended(&self) -> BTreeMap<u16, usize> {
        self.seats.ended.lock().unwrap().clone()
    }

    /// How long the members were asked to wait.
    pub(super) fn delays(&self) -> Vec<Duration> {
        self.seats.delays.lock().unwrap().clone()
    }
}

impl Seats {
    async fn stay(self: Arc<Self>, route: Route, mut follower: Follower, mut dice: fastrand::Rng) {
        let user = follower.user;
        let mut cuts = self.cut.subscribe();
        loop {
            let name = user.to_string();
            if let Ok(mut client) = Client::dial(&route, Carrier::of(user), &name, follower.cursor.as_deref()).await {
                cuts.mark_unchanged();
                let mut is_here = false;
                let code = loop {
                    let frame = select! {
                        frame = client.next() => frame,
                        _ = cuts.changed() => {
                            client.reset();
                            break None;
                        }
                    };
                    match frame {
                        Ok(frame) => {
                            follower.take(&frame);
                            let hello = frame["type"] == "$hello";
                            self.connected.fetch_add(usize::from(hello), Ordering::Relaxed);
                            is_here |= hello;
                        }
                        Err(Over::Closed(code)) => break Some(code),
                        Err(Over::Broken) => break Some(0),
                    }
                };
                self.connected.fetch_sub(usize::from(is_here), Ordering::Relaxed);
                if let Some(code) = code {
                    *self.ended.lock().unwrap().entry(code).or_default() += 1;
                }
            }
            let asked = follower.retry_after.take();
            self.delays.lock().unwrap().extend(asked);
            // As our own client does whose stream broke for the first time.
            let wait = asked.map_or_else(|| Duration::from_millis(dice.u64(100..1_100)), |asked| asked.mul_f64(self.haste));
            sleep(wait).await;
        }
    }
}

/// So many in each second, for people to look at.
pub(super) fn histogram(delays: &[Duration]) -> BTreeMap<u64, usize> {
    let mut seconds = BTreeMap::new();
    for delay in delays {
        *seconds.entry(delay.as_secs()).or_default() += 1;
    }
    seconds
}
