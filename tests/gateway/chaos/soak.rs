//! It stays small: people come and go for an hour, and when they are gone nothing of them is left.

use std::{
    fs,
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use tempfile::TempDir;
use tokio::{
    task::JoinSet,
    time::{MissedTickBehavior, interval, sleep},
};

use super::{
    Day,
    client::{Carrier, Client, Route},
    crowd::Crowd,
    ledger::Ledger,
    node::{Launch, Node, bytes_in, mib},
    size,
};
use crate::harness::free_address;

const RESIDENTS: usize = 50;

/// Visitors come in small groups, because a tick that is missed brings nobody.
const TICKS_PER_S: u32 = 20;

/// Comes, maybe stays for a moment, and goes, in one of the ways in which people go.
async fn visit(day: Arc<Day>, route: Route, n: usize, mut dice: fastrand::Rng) {
    let Ok(mut client) = Client::dial(&route, Carrier::of(n), &format!("visitor-{}", n % 1_000), None).await else { return };
    if dice.bool() && client.next().await.is_ok() {
        sleep(Duration::from_millis(dice.u64(0..500))).await;
    }
    if dice.bool() {
        client.reset();
        day.happened("gone with a reset");
    } else {
        drop(client);
        day.happened("gone");
    }
}

struct Sample {
    at: Duration,
    rss: u64,
    disk: u64,
}

/// Bytes that the memory grows in ten minutes, by a straight line through the samples.
#[expect(clippy::cast_precision_loss, reason = "a slope of megabytes")]
fn slope(samples: &[Sample]) -> f64 {
    let count = samples.len() as f64;
    let (x, y) = (|s: &Sample| s.at.as_secs_f64() / 600.0, |s: &Sample| s.rss as f64);
    let (mean_x, mean_y) = (samples.iter().map(x).sum::<f64>() / count, samples.iter().map(y).sum::<f64>() / count);
    let covariance: f64 = samples.iter().map(|s| (x(s) - mean_x) * (y(s) - mean_y)).sum();
    covariance / samples.iter().map(|s| (x(s) - mean_x).powi(2)).sum::<f64>()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_stays_small() {
    let day = Day::begin("soak", &["gone", "gone with a reset"]);
    let chosen = std::env::var("CHAOS_SOAK_S").ok().map(|seconds| seconds.parse().expect("CHAOS_SOAK_S is a number"));
    let (lasting, visits_per_s) = (Duration::from_secs(chosen.unwrap_or(size(10, 3_600))), size(60, 200));
    // Retention is short, so that the disk has to come to a size that it keeps.
    let max_age = (lasting.as_secs() / 12).max(2);
    let settings = format!(
        "store.max_age = \"{max_age}s\"\nlimits.new_sessions_per_address_per_s_max = 100000\nsources.delivery_id_window = \"{max_age}s\""
    );
    let (folder, address) = (TempDir::new().unwrap(), free_address());
    let node = Node::start(&folder, address, &Launch::with(&settings)).await;
    sleep(Duration::from_millis(300)).await;
    let (files, threads) = (node.files_outside(folder.path()), threads(&node));
    let ledger = Arc::new(Ledger::default());
    let crowd = Crowd::new(&day, &ledger, &Route::to(address), RESIDENTS, 1.0);
    crowd.all_here(Duration::from_mins(1)).await;
    let (mut sending, mut visitors) = (JoinSet::new(), JoinSet::new());
    sending.spawn(Arc::clone(&ledger).keep_sending(address, RESIDENTS, Duration::from_millis(5)));
    let (begun, mut dice, mut samples) = (Instant::now(), day.dice(0), Vec::new());
    let mut ticks = interval(Duration::from_secs(1) / TICKS_PER_S);
    // A machine that was busy elsewhere for a minute is not to be visited by a crowd for that.
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let mut coming = 0..;
    loop {
        ticks.tick().await;
        for n in coming.by_ref().take(visits_per_s / TICKS_PER_S as usize) {
            visitors.spawn(visit(Arc::clone(&day), Route::to(address).dialled_from_one_of_many(n), n, dice.fork()));
        }
        while visitors.try_join_next().is_some() {}
        if begun.elapsed() * 100 > lasting * u32::try_from(samples.len()).unwrap() {
            samples.push(Sample { at: begun.elapsed(), rss: node.rss(), disk: bytes_in(&folder.path().join("data")) });
        }
        if begun.elapsed() > lasting {
            break;
        }
    }
    while visitors.join_next().await.is_some() {}
    ledger.over.store(true, Ordering::Relaxed);
    while sending.join_next().await.is_some() {}
    ledger.settled(Duration::from_mins(1)).await;
    ledger.check();
    drop(crowd);

    let warm = &samples[samples.len() / 3..];
    // The log goes up and down, since it gives space back a segment at a time.
    let most = |samples: &[Sample]| samples.iter().map(|s| s.disk).max().unwrap_or_default();
    let (middle, last) = (most(&warm[..warm.len() / 2]), most(&warm[warm.len() / 2..]));
    let growth = slope(warm);
    let visits = day.count("gone") + day.count("gone with a reset");
    day.figure("visits, per second", format!("{visits}, {}", visits / begun.elapsed().as_secs()));
    day.figure("webhooks acknowledged, lost", format!("{}, 0", ledger.acknowledged()));
    day.figure(
        "RSS at first, warm, at last",
        format!("{}, {}, {}", mib(samples[0].rss), mib(warm[0].rss), mib(samples[samples.len() - 1].rss)),
    );
    day.figure("RSS slope", format!("{:.2} MB in 10 min", growth / 1e6));
    day.figure("disk at most, in the second third and later", format!("{}, {}", mib(middle), mib(last)));
    assert!(last < 2 * middle + (1 << 20), "the disk grows: {} → {}", mib(middle), mib(last));
    // A slope says something only if there is much left of the time after the log has reached the size that it keeps.
    assert!(lasting < Duration::from_hours(1) || growth <= 1e6, "{growth:.0} bytes in ten minutes");
    for base in 0.. {
        let (open, running, sessions) = (node.files_outside(folder.path()), self::threads(&node), node.sessions().await);
        // What /metrics itself needs, and the threads that wait for the disk, come and go.
        if open <= files + 3 && running <= threads + 8 && sessions == 0 {
            day.figure(
                "files, threads, sessions in the end",
                format!("{open} ({files} at first), {running} ({threads}), {sessions}"),
            );
            break;
        }
        assert!(base < 3_000, "{open} files ({files} at first), {running} threads ({threads}), {sessions} sessions");
        sleep(Duration::from_millis(20)).await;
    }
    node.check_log();
    day.end();
}

fn threads(node: &Node) -> usize {
    fs::read_dir(format!("/proc/{}/task", node.id())).unwrap().count()
}
