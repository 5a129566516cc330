//! Acknowledged survives death: SIGKILL again and again while webhooks pour in, seen through clients that are not ours.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use tempfile::TempDir;
use tokio::{task::JoinSet, time::sleep};

use super::{
    Day,
    client::Carrier,
    ledger::{Follower, Ledger},
    node::{Launch, Node},
    size,
};
use crate::harness::{Dial, Sse, WebSocket, free_address, token, until};

const USERS: usize = 16;

/// Stays connected with a client of the carrier that half of the users have, always coming back with the last cursor.
async fn listen(address: SocketAddr, mut follower: Follower, joined: Arc<AtomicUsize>) {
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    loop {
        let begun = follower.cursor.is_none();
        let dial = Dial::token(&token(&follower.user.to_string()));
        let dial = follower.cursor.iter().fold(dial, |dial, cursor| dial.after(cursor));
        let here = |follower: &Follower| joined.fetch_add(usize::from(begun && follower.cursor.is_some()), Ordering::Relaxed);
        match Carrier::of(follower.user) {
            Carrier::WebSocket => {
                let Some(mut socket) = WebSocket::try_dial(address, dial).await else { continue };
                let Ok(hello) = socket.next().await else { continue };
                follower.take(&hello);
                here(&follower);
                while let Ok(frame) = socket.next().await {
                    follower.take(&frame);
                }
            }
            Carrier::Sse => {
                let Some(mut stream) = Sse::try_dial(&http, address, dial).await else { continue };
                let Some(hello) = stream.next().await else { continue };
                follower.take(&hello.data);
                here(&follower);
                while let Some(event) = stream.next().await {
                    follower.take(&event.data);
                }
            }
        }
        sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_acknowledged_survives_sigkill() {
    let day = Day::begin("deaths", &["SIGKILL"]);
    let mut dice = day.dice(0);
    let (kills, senders) = (size(20, 300), size(16, 64));
    let (folder, address, launch) = (TempDir::new().unwrap(), free_address(), Launch::with("store.max_events_per_user = 100000"));
    let mut node = Node::start(&folder, address, &launch).await;
    let (ledger, joined) = (Arc::new(Ledger::default()), Arc::new(AtomicUsize::new(0)));
    let mut people = JoinSet::new();
    for user in 0..USERS {
        people.spawn(listen(address, ledger.follower(user), Arc::clone(&joined)));
    }
    // Their first cursor is the start of the log, because everybody is there before the first event.
    until("everybody is there", async || joined.load(Ordering::Relaxed) == USERS).await;
    let mut sending = JoinSet::new();
    for _ in 0..senders {
        sending.spawn(Arc::clone(&ledger).keep_sending(address, USERS, Duration::ZERO));
    }
    let mut up = Duration::ZERO;
    for _ in 0..kills {
        let begun = Instant::now();
        let wanted = ledger.acknowledged() + dice.usize(20..size(200, 1_000));
        until("more is acknowledged", async || ledger.acknowledged() >= wanted).await;
        up += begun.elapsed();
        node.kill();
        day.happened("SIGKILL");
        node = Node::start(&folder, address, &launch).await;
    }
    ledger.over.store(true, Ordering::Relaxed);
    while let Some(ended) = sending.join_next().await {
        ended.unwrap();
    }
    ledger.settled(Duration::from_secs(30)).await;
    people.abort_all();
    ledger.check();
    node.check_log();
    let rate = f64::from(u32::try_from(ledger.acknowledged()).unwrap()) / up.as_secs_f64();
    day.figure("acknowledged", ledger.acknowledged());
    day.figure("webhooks a second while it lived", format!("{rate:.0}"));
    day.figure("lost, out of order, to another user, duplicates", "0, 0, 0, 0");
    assert!(ledger.acknowledged() > kills * 20, "hardly anything was sent");
    assert!(rate >= size(0.0, 1_000.0), "{rate:.0} webhooks a second are too few to prove anything");
    assert_eq!(day.count("SIGKILL"), kills as u64);
    day.end();
}
