//! Bad days: the real binary with real sockets, a ledger of everything that was acknowledged, and planned faults. What it promises on
//! such days is in `docs/operations.md`; here is one file for each promise.
//!
//! `cargo test chaos` runs the short forms. The full ones take the sizes of the promises, an hour for the soak, and the machine for
//! themselves; each prints its figures:
//!
//! ```text
//! CHAOS=full cargo test --release chaos -- --nocapture --test-threads=1
//! CHAOS_SEED=<printed seed> cargo test chaos::<name>      the same plan again
//! CHAOS=full CHAOS_SOAK_S=600 cargo test --release chaos::soak        ten minutes of the hour, without judging the slope
//! ```
//!
//! A day fails if it exercised nothing: every fault that it plans has to have happened. The seed decides the plan (who, what, in which
//! order); when the operating system schedules whom is not ours to replay.

mod bus;
mod client;
mod clock;
mod cluster;
mod crowd;
mod deaths;
mod disk;
mod drain;
mod gateways;
mod hearing;
mod histories;
mod ill;
mod ledger;
mod namespace;
mod network;
mod node;
mod proxy;
mod reconnects;
mod slow;
mod soak;
mod storm;

use std::{
    collections::BTreeMap,
    fmt::Display,
    sync::{Arc, Mutex},
    time::Duration,
};

/// Whether the promises are tried in their full size.
fn full() -> bool {
    std::env::var("CHAOS").is_ok_and(|form| form == "full")
}

/// The size of something: in `cargo test`, and in full.
fn size<T>(short: T, in_full: T) -> T {
    if full() { in_full } else { short }
}

/// A day's plan: its seed, the faults that it wants, and what it found.
struct Day {
    name: &'static str,
    seed: u64,
    faults: Mutex<BTreeMap<String, u64>>,
}

impl Day {
    /// Begins a day on which each of `faults` has to happen.
    fn begin(name: &'static str, faults: &[&str]) -> Arc<Self> {
        let chosen = std::env::var("CHAOS_SEED").ok().map(|seed| seed.parse().expect("CHAOS_SEED is a number"));
        let seed = chosen.unwrap_or_else(|| fastrand::u64(..));
        let form = if full() { "full" } else { "short" };
        println!("{name} ({form}): seed {seed}, again with CHAOS_SEED={seed}");
        let faults = faults.iter().map(|fault| ((*fault).to_owned(), 0)).collect();
        Arc::new(Self { name, seed, faults: Mutex::new(faults) })
    }

    /// The dice of one actor of the day, whatever the others do.
    fn dice(&self, actor: usize) -> fastrand::Rng {
        fastrand::Rng::with_seed(self.seed.wrapping_add((actor as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15)))
    }

    /// Notes that a fault happened.
    fn happened(&self, fault: &str) {
        *self.faults.lock().unwrap().entry(fault.to_owned()).or_default() += 1;
    }

    /// How often a fault has happened.
    fn count(&self, fault: &str) -> u64 {
        self.faults.lock().unwrap().get(fault).copied().unwrap_or(0)
    }

    /// Prints a figure.
    fn figure(&self, what: &str, value: impl Display) {
        println!("{}: {what}: {value}", self.name);
    }

    /// Ends the day, and fails it if a planned fault did not happen.
    fn end(&self) {
        let faults = self.faults.lock().unwrap();
        println!("{}: faults: {faults:?}", self.name);
        let missing: Vec<&String> = faults.iter().filter(|(_, count)| **count == 0).map(|(fault, _)| fault).collect();
        assert!(!faults.is_empty() && missing.is_empty(), "{}: planned, but did not happen: {missing:?}", self.name);
    }
}

/// How long things took.
#[derive(Default)]
struct Times(Mutex<Vec<Duration>>);

impl Times {
    fn add(&self, time: Duration) {
        self.0.lock().unwrap().push(time);
    }

    fn count(&self) -> usize {
        self.0.lock().unwrap().len()
    }

    /// The time that `share` of all stayed below; zero if there is none.
    fn quantile(&self, share: f64) -> Duration {
        let mut times = self.0.lock().unwrap().clone();
        times.sort_unstable();
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss, reason = "a rank")]
        let rank = ((times.len() as f64 * share).ceil() as usize).max(1);
        times.get(rank - 1).copied().unwrap_or_default()
    }

    /// Takes over what others measured.
    fn extend(&self, others: &Self) {
        self.0.lock().unwrap().extend(others.0.lock().unwrap().iter());
    }

    /// Begins anew.
    fn clear(&self) {
        self.0.lock().unwrap().clear();
    }
}

impl Display for Times {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let [half, most, all] = [0.5, 0.99, 1.0].map(|share| self.quantile(share));
        write!(f, "p50 {half:.1?}, p99 {most:.1?}, max {all:.1?} of {}", self.count())
    }
}
