//! Three gateways on three NATS servers: gateways are killed, servers are killed and frozen, one after the other, while webhooks pour in and
//! everybody who was thrown out comes back with the last cursor, wherever the balancer in front sends them.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use tempfile::TempDir;
use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    task::JoinSet,
    time::sleep,
};

use super::{
    Day,
    client::Route,
    crowd::Crowd,
    ledger::Ledger,
    node::{Launch, Node},
    size,
};
use crate::harness::{NatsServer, NatsVersion, free_address, until};

const FAULTS: [&str; 4] = ["gateway killed", "gateway restarted", "server killed", "server frozen"];
/// For everything to be as it was.
const CALM: Duration = Duration::from_secs(60);

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

struct Place {
    folder: TempDir,
    address: SocketAddr,
    node: Option<Node>,
}

impl Place {
    async fn start(&mut self, launch: &Launch) {
        self.node = Some(Node::start(&self.folder, self.address, launch).await);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_gateways_on_three_servers_lose_nothing() {
    let day = Day::begin("cluster", &FAULTS);
    let mut dice = day.dice(0);
    let (clients, rounds, senders) = (size(40, 3_000), size(4, 24), size(4, 16));
    let mut servers = NatsServer::cluster(NatsVersion::Current);
    let urls = servers.iter().map(|server| format!("\"{}\"", server.url)).collect::<Vec<_>>().join(", ");
    let launch = Launch::with(&format!(
        "store.engine = \"nats\"\nstore.nats = {{ url = [{urls}], replicas = 3 }}\nstore.max_events_per_user = 100000\n"
    ));
    let mut places: Vec<Place> =
        (0..3).map(|_| Place { folder: TempDir::new().unwrap(), address: free_address(), node: None }).collect();
    for place in &mut places {
        place.start(&launch).await;
    }
    let front = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = front.local_addr().unwrap();
    let mut balancing = JoinSet::new();
    balancing.spawn(balance(front, [0, 1, 2].map(|i: usize| places[i].address)));

    let ledger = Arc::new(Ledger::default());
    let crowd = Crowd::new(&day, &ledger, &Route::to(address), clients, 0.1);
    crowd.all_here(CALM).await;
    ledger.everybody_has_a_cursor().await;
    let mut sending = JoinSet::new();
    for _ in 0..senders {
        sending.spawn(Arc::clone(&ledger).keep_sending(address, clients, Duration::from_millis(2)));
    }
    for round in 0..rounds {
        let (fault, victim) = (FAULTS[round % FAULTS.len()], dice.usize(0..3));
        match fault {
            "gateway killed" => {
                places[victim].node.take().unwrap().kill();
                places[victim].start(&launch).await;
            }
            "gateway restarted" => {
                let mut node = places[victim].node.take().unwrap();
                node.terminate();
                node.ended(Duration::from_secs(60)).await;
                places[victim].start(&launch).await;
            }
            "server killed" => {
                servers[victim].kill();
                sleep(Duration::from_millis(dice.u64(100..3_000))).await;
                servers[victim].run();
            }
            _ => {
                servers[victim].signal("STOP");
                sleep(Duration::from_millis(dice.u64(500..6_000))).await;
                servers[victim].signal("CONT");
            }
        }
        day.happened(fault);
        let wanted = ledger.acknowledged() + 50;
        until("more is acknowledged", async || ledger.acknowledged() >= wanted).await;
    }
    ledger.over.store(true, std::sync::atomic::Ordering::Relaxed);
    while let Some(ended) = sending.join_next().await {
        ended.unwrap();
    }
    crowd.all_here(CALM).await;
    ledger.settled(CALM).await;
    ledger.check();
    for place in &places {
        place.node.as_ref().unwrap().check_log();
    }
    day.figure("acknowledged", ledger.acknowledged());
    day.figure("answers by status", format!("{:?}", ledger.answers()));
    day.figure("lost, out of order, to another user, duplicates", "0, 0, 0, 0");
    day.figure("from sending to a user", &ledger.delivery);
    assert_eq!(ledger.rude(), 0, "answers other than 200, and 503 with Retry-After");
    day.end();
}
