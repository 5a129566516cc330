//! What a gateway of a cluster pays for events that concern nobody at it: the price of hearing everything.

use std::{
    fs,
    net::SocketAddr,
    time::{Duration, Instant},
};

use claimr_relay::{
    config::{Login, Nats, NatsTls},
    engine::{
        Engine, Retention,
        nats::{NatsEngine, NatsLimits},
    },
    event::{Audience, Dedupe, Delivery, Draft, EventType, UserKey},
    hub::{Hub, HubLimits, MailboxLimits},
};
use futures_util::StreamExt as _;
use tempfile::TempDir;

use super::{
    node::{Launch, Node},
    size,
};
use crate::harness::{Dial, NatsServer, NatsVersion, WebSocket, free_address, token, until};

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

/// So many events, each of a person with three keys and under a delivery id of its own, in the log of the gateways.
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
        let mut key = [0; 16];
        key[..8].copy_from_slice(&n.to_le_bytes());
        let dedupe = Some(Dedupe { key, digest: [0; 16], window: Duration::from_hours(24) });
        let draft = Draft { kind: EventType::unknown(), at: engine.clock(), audiences, dedupe };
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
