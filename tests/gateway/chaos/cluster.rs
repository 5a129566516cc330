//! Three gateways on three NATS servers: gateways are killed, frozen, replaced one after the other and cut off, servers are killed and frozen, and
//! the bus goes for all of them, while webhooks pour in and everybody who was thrown out comes back with the last cursor, wherever the balancer in
//! front sends them. In between an operator ends sessions and revokes users, wherever they are.

use std::{
    net::SocketAddr,
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    task::JoinSet,
    time::{sleep, timeout},
};

use super::{Day, client::Route, crowd::Crowd, gateways::Gateways, ledger::Ledger, size};

const FAULTS: [&str; 9] = [
    "gateway killed",
    "gateway frozen",
    "gateway cut off",
    "server killed",
    "server frozen",
    "bus gone",
    "gateways rolled",
    "sessions ended everywhere",
    "user revoked everywhere",
];
/// For everything to be as it was.
const CALM: Duration = Duration::from_mins(1);

/// Hands each connection to the next gateway that takes it.
async fn balance(listener: TcpListener, gateways: [SocketAddr; 3]) {
    let mut connections = JoinSet::new();
    let mut turn = 0;
    while let Ok((mut client, _)) = listener.accept().await {
        turn += 1;
        connections.spawn(async move {
            for i in 0..gateways.len() {
                if let Ok(mut gateway) = TcpStream::connect(gateways[(turn + i) % gateways.len()]).await {
                    let _ = client.set_nodelay(true);
                    let _ = gateway.set_nodelay(true);
                    let _ = copy_bidirectional(&mut client, &mut gateway).await;
                    return;
                }
            }
        });
        while connections.try_join_next().is_some() {}
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_gateways_on_three_servers_lose_nothing() {
    let day = Day::begin("cluster", &FAULTS);
    let mut dice = day.dice(0);
    let (clients, rounds, senders) = (size(40, 3_000), size(1, 3) * FAULTS.len(), size(4, 16));
    let mut gateways = Gateways::start().await;
    let front = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = front.local_addr().unwrap();
    let mut balancing = JoinSet::new();
    balancing.spawn(balance(front, gateways.addresses()));

    let ledger = Arc::new(Ledger::default());
    let crowd = Crowd::new(&day, &ledger, &Route::to(address), clients, 0.1);
    crowd.all_here(CALM).await;
    ledger.everybody_has_a_cursor(CALM).await;
    let mut sending = JoinSet::new();
    for _ in 0..senders {
        sending.spawn(Arc::clone(&ledger).keep_sending(address, clients, Duration::from_millis(2)));
    }
    for round in 0..rounds {
        let (fault, victim) = (FAULTS[round % FAULTS.len()], dice.usize(0..3));
        let begun = Instant::now();
        match fault {
            "gateway killed" => {
                gateways.kill(victim);
                go_on(&ledger, 50).await;
                // Everybody is at the others.
                crowd.all_here(CALM).await;
                gateways.run(victim).await;
            }
            "gateway frozen" => gateways.freeze(victim, pause(&mut dice, 2_000..8_000)).await,
            "gateway cut off" => gateways.cut(&[victim], pause(&mut dice, 1_000..5_000), &mut dice).await,
            "bus gone" => {
                // Calm, so that whoever leaves leaves because of the cut.
                crowd.all_here(CALM).await;
                let ended = crowd.ended();
                gateways.cut(&[0, 1, 2], pause(&mut dice, 1_000..5_000), &mut dice).await;
                assert_eq!(crowd.ended(), ended, "sessions stay while the bus is gone");
            }
            "gateways rolled" => gateways.roll().await,
            "server killed" => gateways.kill_server(victim, pause(&mut dice, 100..3_000)).await,
            "server frozen" => gateways.freeze_server(victim, pause(&mut dice, 500..6_000)).await,
            "sessions ended everywhere" => gateways.end_sessions(victim).await,
            _ => gateways.revoke(victim).await,
        }
        day.happened(fault);
        go_on(&ledger, 50).await;
        println!("cluster: round {round}, {fault}, gateway or server {victim}: {:.1?}", begun.elapsed());
    }
    ledger.over.store(true, Ordering::Relaxed);
    while let Some(ended) = sending.join_next().await {
        ended.unwrap();
    }
    crowd.all_here(CALM).await;
    ledger.settled(CALM).await;
    ledger.check();
    gateways.check_logs();
    day.figure("acknowledged", ledger.acknowledged());
    day.figure("answers by status", format!("{:?}", ledger.answers()));
    day.figure("streams ended, by code", format!("{:?}", crowd.ended()));
    day.figure("lost, out of order, to another user, duplicates", "0, 0, 0, 0");
    day.figure("from sending to a user", &ledger.delivery);
    gateways.figures(&day);
    assert_eq!(ledger.rude(), 0, "answers other than 200, and 503 with Retry-After");
    day.end();
}

/// Waits until so many more webhooks are acknowledged.
async fn go_on(ledger: &Ledger, more: usize) {
    let wanted = ledger.acknowledged() + more;
    let going = async {
        while ledger.acknowledged() < wanted {
            sleep(Duration::from_millis(10)).await;
        }
    };
    assert!(timeout(CALM, going).await.is_ok(), "after {CALM:?} only {} of {wanted} are acknowledged", ledger.acknowledged());
}

/// How long a fault lasts in full; the short form has no time to lose.
fn pause(dice: &mut fastrand::Rng, ms: std::ops::Range<u64>) -> Duration {
    Duration::from_millis(dice.u64(ms) / size(5, 1))
}
