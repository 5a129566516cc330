//! Three gateways on three NATS servers: gateways are killed, servers are killed and frozen, one after the other, while webhooks pour in and
//! everybody who was thrown out comes back with the last cursor, wherever the balancer in front sends them.

use std::{
    fs,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use claimr_relay::{
    config::{Login, Nats, NatsTls},
    engine::{
        Engine, Retention,
        nats::{NatsEngine, NatsLimits},
    },
    event::{Audience, Delivery, Draft, EventType, UserKey},
    hub::{Hub, HubLimits, MailboxLimits},
};
use futures_util::StreamExt as _;
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
use crate::harness::{Dial, NatsServer, NatsVersion, WebSocket, free_address, token, until};

const FAULTS: [&str; 4] = ["gateway killed", "gateway restarted", "server killed", "server frozen"];
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
    ledger.everybody_has_a_cursor(CALM).await;
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
                node.ended(Duration::from_mins(1)).await;
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

/// What a gateway pays for events that concern nobody at it: the price of hearing everything.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_events_for_others_cost() {
    let events = size(500, 200_000);
    let server = NatsServer::start(NatsVersion::Current);
    let launch = Launch::with(&format!("store.engine = \"nats\"\nstore.nats = {{ url = \"{}\" }}\n", server.url));
    let (folders, addresses) = ([(); 2].map(|()| TempDir::new().unwrap()), [(); 2].map(|()| free_address()));
    let idle = Node::start(&folders[0], addresses[0], &launch).await;
    let (cpu, rss) = (cpu_seconds(idle.id()), idle.rss());
    publish(&server.url, events).await;
    until("everything is read", async || head(addresses[0]).await >= events).await;
    let count = f64::from(u32::try_from(events).unwrap());
    let (spent, held) = ((cpu_seconds(idle.id()) - cpu) * 1e6 / count, idle.rss() - rss);
    println!("cluster: an event for others: {spent:.1} µs of CPU; the log of {events} events: {held} bytes of memory");
    let begun = Instant::now();
    let late = Node::start(&folders[1], addresses[1], &launch).await;
    println!("cluster: a gateway starts on that log in {:.1?}, {} bytes of memory", begun.elapsed(), late.rss());
    assert!(head(addresses[1]).await >= events);
}

/// So many events, each of a person with three keys, in the log of the gateways.
async fn publish(url: &str, events: u64) {
    let (url, stream) = (vec![url.to_owned()], "claimr-relay".to_owned());
    let settings = Nats {
        servers: url,
        stream,
        replicas: 1,
        login: Login::Anonymous,
        tls: NatsTls::default(),
        events_max: 2_000_000,
        cache_bytes_max: 0,
    };
    let retention = Retention {
        max_age: Duration::from_hours(24),
        max_events_per_user: 1000,
        dead_letters_max: 1000,
        publish_queue_max: 4096,
    };
    let mailbox = MailboxLimits { events_max: 1, bytes_max: 1 };
    let hub = Hub::new(HubLimits { sessions_per_user_max: 1, mailbox });
    let engine = NatsEngine::open(settings, retention, NatsLimits::default(), hub).unwrap();
    let data = "x".repeat(600);
    let one = |n: u64| {
        let keys = ["acme", "web3", "claimr"].map(|p| UserKey::new(p, &format!("user-{}", n % 50_000)).unwrap()).to_vec();
        let audiences = vec![Audience { keys, members: format!(r#""type":"user_activity","data":{{"text":"{data}"}}"#) }];
        let draft = Draft { kind: EventType::unknown(), at: engine.clock(), audiences, dedupe: None };
        engine.publish(Delivery { drafts: vec![draft], dead_letters: Vec::new(), received: Instant::now() })
    };
    futures_util::stream::iter(0..events).map(one).buffer_unordered(256).for_each(async |receipt| drop(receipt.unwrap())).await;
    engine.close().await;
}

/// The number of the newest event that a gateway knows.
async fn head(address: SocketAddr) -> u64 {
    let mut socket = WebSocket::try_dial(address, Dial::token(&token("nobody"))).await.unwrap();
    let hello = socket.next().await.unwrap();
    hello["id"].as_str().unwrap().split_once(':').unwrap().1.parse().unwrap()
}

/// What a process has used of a processor so far.
fn cpu_seconds(id: u32) -> f64 {
    let stat = fs::read_to_string(format!("/proc/{id}/stat")).unwrap();
    let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
    let ticks = fields[11].parse::<f64>().unwrap() + fields[12].parse::<f64>().unwrap();
    ticks / 100.0
}
