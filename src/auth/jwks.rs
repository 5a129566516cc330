//! A set of keys that its issuer publishes: fetched at the start, again from time to time, and when a token names a key that nobody knows.
//!
//! One task fetches, so there is never more than one request on its way; it only ever goes to the configured URL. Unknown keys make it
//! fetch at most once in [`KeySet::COOLDOWN`], whatever comes in. What is fetched is [sound](document) or it changes nothing: the old set
//! stays in use until it is older than `stale_max`.

pub(super) mod document;
mod fetch;
#[cfg(test)]
mod tests;

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{
    select,
    sync::{Notify, watch},
    time::{Instant, sleep_until, timeout},
};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::keys::Key;
use crate::{
    config,
    metrics::{KindLabel, Metrics},
    shutdown::Shutdown,
    swap::Swap,
};

use fetch::Fetcher;

/// What the task of a key set needs of the process.
#[derive(Clone)]
pub struct KeySetHome {
    /// Runs the task.
    pub shutdown: Shutdown,
    /// Counts what became of each fetch.
    pub metrics: Arc<Metrics>,
}

/// A key set, kept fresh until it is dropped.
pub(super) struct KeySet {
    shared: Arc<Shared>,
    _stop: DropGuard,
}

struct Shared {
    config: Swap<config::Jwks>,
    /// In use; empty before the first good set.
    keys: Swap<Vec<Key>>,
    flight: Mutex<Flight>,
    /// Wakes the task once a fetch is asked for.
    asked: Notify,
    /// How many fetches have ended.
    landed: watch::Sender<u64>,
}

#[derive(Default)]
struct Flight {
    /// A fetch is under way, or the task was asked for one.
    under_way: bool,
    /// When an unknown key last made us ask.
    asked: Option<Instant>,
    /// When the keys in use were fetched.
    fetched: Option<Instant>,
}

impl KeySet {
    /// Unknown keys cause at most one fetch in this time.
    pub(super) const COOLDOWN: Duration = Duration::from_secs(30);
    /// A token with an unknown key waits this long for a fetch.
    const TOKEN_PATIENCE: Duration = Duration::from_secs(2);

    /// Begins to fetch. Until the first good set is there, the set is empty.
    pub(super) fn start(config: &config::Jwks, home: &KeySetHome) -> Arc<Self> {
        let shared = Arc::new(Shared {
            config: Swap::new(config.clone()),
            keys: Swap::default(),
            flight: Mutex::new(Flight { under_way: true, ..Flight::default() }),
            asked: Notify::new(),
            landed: watch::Sender::new(0),
        });
        let stop = CancellationToken::new();
        let (task, stopped) = (Arc::clone(&shared), stop.clone());
        let (metrics, shutdown) = (Arc::clone(&home.metrics), home.shutdown.clone());
        home.shutdown.spawn(async move {
            select! {
                () = task.keep_fresh(&metrics) => {}
                () = stopped.cancelled() => {}
                () = shutdown.closing() => {}
            }
        });
        Arc::new(Self { shared, _stop: stop.drop_guard() })
    }

    /// Whether what this set fetches is what `config` wants; the rest of `config` can be [taken up](Self::adjust).
    pub(super) fn serves(&self, config: &config::Jwks) -> bool {
        let own = self.shared.config.get();
        (&own.url, &own.algs) == (&config.url, &config.algs)
    }

    /// Takes up how often to fetch, how long to keep, and what to call it. In force from the next fetch on.
    pub(super) fn adjust(&self, config: config::Jwks) {
        self.shared.config.set(config);
    }

    /// The keys in use.
    pub(super) fn keys(&self) -> Arc<Vec<Key>> {
        self.shared.keys.get()
    }

    /// Its setting, if it has no keys now.
    pub(super) fn missing(&self) -> Option<String> {
        self.keys().is_empty().then(|| self.shared.config.get().setting.clone())
    }

    /// Asks for newer keys and waits for what comes of it, but not for long, and not at all if unknown keys asked a moment ago.
    pub(super) async fn refreshed(&self) {
        let mut landed = self.shared.landed.subscribe();
        if self.shared.ask(Instant::now()) {
            // In vain or not: whoever waits looks at the keys again.
            let _ = timeout(Self::TOKEN_PATIENCE, landed.changed()).await;
        }
    }
}

impl Shared {
    /// Whether there is a fetch to wait for.
    fn ask(&self, now: Instant) -> bool {
        let mut flight = self.flight();
        if flight.under_way {
            return true;
        }
        if flight.asked.is_some_and(|asked| now < asked + KeySet::COOLDOWN) {
            return false;
        }
        flight.asked = Some(now);
        flight.under_way = true;
        drop(flight);
        self.asked.notify_one();
        true
    }

    async fn keep_fresh(&self, metrics: &Metrics) {
        loop {
            let config = self.config.get();
            let fetched = fetch(&config).await;
            let outcome = if fetched.is_ok() { "loaded" } else { "refused" };
            metrics.key_sets.get_or_create(&KindLabel { kind: outcome }).inc();
            let again = self.land(&config, fetched, Instant::now());
            self.wait(again).await;
        }
    }

    /// Takes up what was fetched, and says when to fetch again.
    fn land(&self, config: &config::Jwks, fetched: Result<document::Document, String>, now: Instant) -> Instant {
        // Not all nodes of a fleet at once.
        let refresh = config.refresh.mul_f64(fastrand::f64().mul_add(-0.1, 1.0));
        let age = self.flight().fetched.map(|fetched| now - fetched);
        let again = match fetched {
            Ok(document) => {
                let (old, kids) = (self.keys.get(), kids(&document.keys));
                if self::kids(&old) != kids {
                    tracing::info!(setting = config.setting, keys = ?kids, left_out = document.left_out, "the key set is loaded");
                }
                self.keys.set(document.keys);
                self.flight().fetched = Some(now);
                now + refresh.min(config.stale_max)
            }
            Err(problem) if age.is_some_and(|age| age >= config.stale_max) => {
                tracing::error!(
                    setting = config.setting,
                    problem,
                    "the key set is ignored, and the old one is older than stale_max: no token of its keys is taken"
                );
                self.keys.set(Vec::new());
                self.flight().fetched = None;
                now + KeySet::COOLDOWN
            }
            Err(problem) => {
                let kept = self.keys.get().len();
                tracing::error!(setting = config.setting, problem, kept, "the key set is ignored and the old one kept");
                let stale_in = age.map_or(Duration::MAX, |age| config.stale_max.saturating_sub(age));
                now + KeySet::COOLDOWN.min(refresh).min(stale_in)
            }
        };
        self.flight().under_way = false;
        self.landed.send_modify(|count| *count += 1);
        again
    }

    /// Until `again`, or until somebody asks.
    async fn wait(&self, again: Instant) {
        loop {
            select! {
                () = sleep_until(again) => {
                    self.flight().under_way = true;
                    return;
                }
                // A wake-up may be one of a fetch that has ended meanwhile.
                () = self.asked.notified() => if self.flight().under_way { return },
            }
        }
    }

    fn flight(&self) -> MutexGuard<'_, Flight> {
        // Every state in between is a sound one.
        self.flight.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn fetch(config: &config::Jwks) -> Result<document::Document, String> {
    let body = Fetcher::new(&config.url).map_err(|trouble| trouble.to_string())?.get().await;
    document::read(&body.map_err(|trouble| trouble.to_string())?, &config.algs)
}

/// The keys' names for the log: bounded, and escaped by being shown as text.
fn kids(keys: &[Key]) -> Vec<String> {
    const CHARS_MAX: usize = 64;
    let kid = |key: &Key| key.kid.as_deref().unwrap_or("(no kid)").chars().take(CHARS_MAX).collect();
    keys.iter().map(kid).collect()
}
