//! Gateways that share a log in NATS: what one is told holds at all, and what happens when servers, gateways or the bus between them go.

mod authority;
mod logins;
mod strange;
mod tls;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use claimr_relay::{
    config::{Login, Nats, NatsTls},
    engine::{
        Backlog, Engine, Missed, Notice, Retention, Start,
        nats::{NatsEngine, NatsLimits, OpenError},
    },
    event::{Audience, Delivery, Draft, EventType, Position, Timestamp, UserKey},
    hub::{Hub, HubLimits, Mailbox, MailboxLimits},
    protocol::GapReason,
};
use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::harness::{
    Dial, NatsServer, NatsVersion, Relay, Sse, WebSocket, event, free_address, token, token_with, unix_now, until,
};

/// A log that no other test knows.
fn log_name() -> String {
    format!("t{:016x}", fastrand::u64(..))
}

/// What makes a gateway share the log `name` on the servers `urls`.
fn shares(urls: &[&str], name: &str, replicas: usize) -> String {
    let urls = urls.iter().map(|url| format!("\"{url}\"")).collect::<Vec<_>>().join(", ");
    format!("store.engine = \"nats\"\nstore.nats = {{ url = [{urls}], stream = \"{name}\", replicas = {replicas} }}\n")
}

async fn two_gateways(more: &str) -> (Relay, Relay) {
    let settings = shares(&[NatsVersion::Current.shared()], &log_name(), 1) + more;
    (Relay::with(&settings).await, Relay::with(&settings).await)
}

fn settings(url: &str, stream: &str) -> Nats {
    Nats {
        servers: vec![url.to_owned()],
        stream: stream.to_owned(),
        replicas: 1,
        login: Login::Anonymous,
        tls: NatsTls::default(),
        events_max: 10_000,
        cache_bytes_max: 1 << 20,
    }
}

fn retention() -> Retention {
    let day = Duration::from_hours(24);
    Retention { max_age: day, max_events_per_user: 100, dead_letters_max: 5, publish_queue_max: 1024 }
}

fn hub() -> Arc<Hub> {
    let mailbox = MailboxLimits { events_max: 10_000, bytes_max: 1 << 24 };
    Hub::new(HubLimits { sessions_per_user_max: 100, mailbox })
}

fn open(settings: Nats) -> Result<(Arc<NatsEngine>, Arc<Hub>), OpenError> {
    let (hub, limits) = (hub(), NatsLimits { doubt_s: 1, ..NatsLimits::default() });
    NatsEngine::open(settings, retention(), limits, Arc::clone(&hub)).map(|engine| (engine, hub))
}

fn one(key: &str, at: Timestamp) -> Delivery {
    let keys = vec![UserKey::parse(key, None).unwrap()];
    let audiences = vec![Audience { keys, members: r#""a":1"#.to_owned() }];
    let draft = Draft { kind: EventType::unknown(), at, audiences, dedupe: None };
    Delivery { drafts: vec![draft], dead_letters: Vec::new(), received: Instant::now() }
}

/// Whether everything that a gateway does at a server can be done: events, what gateways tell each other, what sessions are handed.
async fn serves(settings: Nats) {
    let (engine, hub) = open(settings).unwrap();
    engine.listen(Box::new(|_| ())).unwrap();
    let mailbox = hub.join(&[UserKey::parse("acme:1", None).unwrap()], &[]).unwrap();
    let receipt = engine.publish(one("acme:1", engine.clock())).await.unwrap();
    assert_eq!((receipt.connections, mailbox.closed()), (1, None));
    engine.announce(Notice::Disconnect(UserKey::parse("acme:2", None).unwrap())).await.unwrap();
    assert_eq!(engine.dead_letters(1).await.unwrap(), []);
    engine.close().await;
}

async fn is_closed(mailbox: &Mailbox, code: u16) {
    until("the session is closed", async || mailbox.closed().is_some_and(|close| close.code.code() == code)).await;
}

#[tokio::test]
async fn a_webhook_at_one_gateway_reaches_sessions_at_all_and_a_resume_goes_anywhere() {
    let (a, b) = two_gateways("").await;
    let (mut at_a, _) = WebSocket::open(&a, Dial::token(&token("42"))).await;
    let (mut at_b, hello) = WebSocket::open(&b, Dial::token(&token("42"))).await;
    let cursor = hello["id"].as_str().unwrap().to_owned();
    for (n, relay) in [&a, &b, &a, &b].into_iter().enumerate() {
        let answer = relay.event("42", n).await;
        assert_eq!((answer.body["connections"].as_u64(), answer.body["duplicate"].as_bool()), (Some(1), Some(false)));
    }
    let mut both = (at_a.points(4).await, at_b.points(4).await);
    assert_eq!(both.0, both.1);
    both.0.sort_unstable();
    assert_eq!(both.0, [0, 1, 2, 3]);
    let (mut resumed, hello) = WebSocket::open(&a, Dial::token(&token("42")).after(&cursor)).await;
    assert_eq!((hello["resume"].as_str(), hello["replayed"].as_u64()), (Some("resumed"), Some(4)));
    assert_eq!(resumed.points(4).await, both.1);
    assert_eq!(a.ask_admin("GET", "/readyz", &Value::Null).await.status, 200);
}

#[tokio::test]
async fn the_same_webhook_at_several_gateways_is_one_event() {
    let (a, b) = two_gateways("").await;
    for n in 0..10 {
        // A retry that another gateway gets while the first is still on its way; the hundredth as well as the second.
        let mut body = event("42", n);
        body["id"] = json!(format!("delivery-{n}"));
        let answers = join_all((0..20).map(|i| if i % 2 == 0 { a.deliver(&body) } else { b.deliver(&body) })).await;
        let first = answers[0].id();
        assert!(answers.iter().all(|answer| answer.status == 200 && answer.id() == first), "{answers:?}");
        let new = answers.iter().filter(|answer| answer.body["duplicate"] == false).count();
        assert_eq!(new, 1, "{answers:?}");
    }
}

#[tokio::test]
async fn a_delivery_of_several_events_is_whole_at_every_gateway() {
    let (a, b) = two_gateways("").await;
    let (mut session, _) = WebSocket::open(&b, Dial::token(&token("42"))).await;
    let body = Value::Array((0..20).map(|n| event("42", n)).collect());
    let noise = async || {
        for n in 0..20 {
            b.event("77", n).await;
        }
    };
    let (answer, ()) = tokio::join!(a.deliver(&body), noise());
    assert_eq!((answer.status, answer.body["ids"].as_array().unwrap().len()), (200, 20), "{answer:?}");
    assert_eq!(session.points(20).await, (0..20).collect::<Vec<_>>());
    let seq = |id: &Value| id.as_str().unwrap().split_once(':').unwrap().1.parse::<u64>().unwrap();
    let seqs: Vec<u64> = answer.body["ids"].as_array().unwrap().iter().map(seq).collect();
    assert!(seqs.is_sorted_by(|a, b| a + 1 == *b), "an atomic batch has no stranger in it: {seqs:?}");
    let again = b.deliver(&body).await;
    assert_eq!((again.body["duplicate"].as_bool(), &again.body["ids"]), (Some(true), &answer.body["ids"]));
}

#[tokio::test]
async fn what_an_operator_says_at_one_gateway_holds_at_all_and_after_a_restart() {
    let (a, b) = two_gateways("").await;
    let issued = token_with(&json!({"sub": "42", "iat": unix_now() - 5}));
    let (mut session, _) = WebSocket::open(&b, Dial::token(&issued)).await;
    let id = a.event("42", 7).await.id();
    assert_eq!(session.points(1).await, [7]);
    assert_eq!(a.ask_admin("POST", &format!("/admin/v1/events/{id}/replay"), &Value::Null).await.status, 200);
    assert_eq!(session.points(1).await, [7]);

    assert_eq!(a.ask_admin("DELETE", "/admin/v1/users/acme:42/sessions", &Value::Null).await.status, 200);
    assert_eq!(session.closed().await.0, 4102);
    let (mut session, _) = WebSocket::open(&b, Dial::token(&issued)).await;
    assert_eq!(a.ask_admin("POST", "/admin/v1/revocations", &json!({"user": "acme:42"})).await.status, 201);
    assert_eq!(session.closed().await.0, 4102);
    let b = b.stop().await.start().await;
    let mut refused = WebSocket::dial(b.address, Dial::token(&issued)).await.unwrap();
    assert_eq!(refused.closed().await.0, 4102, "who starts later knows it as well");
    assert_eq!(b.ask_admin("DELETE", "/admin/v1/revocations?user=acme:42", &Value::Null).await.status, 200);
    until("the other has forgotten it too", async || {
        let listed = a.ask_admin("GET", "/admin/v1/revocations", &Value::Null).await;
        listed.body["revocations"].as_array().is_some_and(Vec::is_empty)
    })
    .await;
    WebSocket::open(&a, Dial::token(&issued)).await;
}

#[tokio::test]
async fn a_users_limit_holds_over_all_gateways() {
    let (a, b) = two_gateways("limits.sessions_per_user_max = 2").await;
    let dial = || Dial::token(&token("42"));
    let _first = WebSocket::open(&a, dial()).await;
    let (second, _) = WebSocket::open(&a, dial()).await;
    let refusal = async || WebSocket::dial(b.address, dial()).await.unwrap().next().await.unwrap()["code"].as_u64();
    until("the other counts them", async || refusal().await == Some(4201)).await;
    drop(second);
    until("there is room again", async || refusal().await.is_none()).await;
    WebSocket::open(&b, Dial::token(&token("77"))).await;
}

/// The bus is cut in both ways: gone, and silent.
#[tokio::test]
async fn without_the_bus_webhooks_are_put_off_and_sessions_stay() {
    let mut server = NatsServer::start(NatsVersion::Current);
    let settings = shares(&[&server.url], &log_name(), 1);
    let (a, b) = (Relay::with(&settings).await, Relay::with(&settings).await);
    let (mut session, _) = WebSocket::open(&b, Dial::token(&token("42"))).await;
    a.event("42", 1).await;
    assert_eq!(session.points(1).await, [1]);
    for (n, silent) in [(2, true), (3, false)] {
        if silent {
            server.signal("STOP");
        } else {
            server.kill();
        }
        let answer = a.deliver(&event("42", n)).await;
        assert_eq!((answer.status, answer.code()), (503, "log_unavailable"), "{answer:?}");
        assert_ne!(a.ask_admin("GET", "/readyz", &Value::Null).await.status, 200);
        if silent {
            server.signal("CONT");
        } else {
            server.run();
        }
        let healed = Instant::now();
        until("the webhook is taken", async || a.deliver(&event("42", n)).await.status == 200).await;
        assert_eq!(session.points(1).await, [n as u64], "once, to the session that stayed");
        println!("caught up after {:?}", healed.elapsed());
    }
    assert_eq!(b.hub.sessions(), 1);
}

#[tokio::test]
async fn the_sessions_of_a_gateway_that_dies_go_on_at_another() {
    let (a, b) = two_gateways("").await;
    let (mut session, _) = WebSocket::open(&b, Dial::token(&token("42"))).await;
    a.event("42", 1).await;
    let cursor = session.json().await["id"].as_str().unwrap().to_owned();
    drop(b);
    for n in 2..5 {
        a.event("42", n).await;
    }
    let (mut session, hello) = WebSocket::open(&a, Dial::token(&token("42")).after(&cursor)).await;
    assert_eq!(hello["resume"], "resumed");
    assert_eq!(session.points(3).await, [2, 3, 4]);
}

#[tokio::test]
async fn one_server_of_three_may_be_lost() {
    lose_one_after_the_other(NatsVersion::Current).await;
}

#[tokio::test]
async fn one_server_of_three_may_be_lost_2_9() {
    lose_one_after_the_other(NatsVersion::Debian).await;
}

async fn lose_one_after_the_other(version: NatsVersion) {
    let mut servers = NatsServer::cluster(version);
    let urls: Vec<String> = servers.iter().map(|server| server.url.clone()).collect();
    let urls: Vec<&str> = urls.iter().map(String::as_str).collect();
    let settings = shares(&urls, &log_name(), 3);
    let (a, b) = (Relay::with(&settings).await, Relay::with(&settings).await);
    let (mut session, _) = Sse::open(&b, Dial::token(&token("42"))).await;
    let mut n = 0;
    let mut five = async || {
        for _ in 0..5 {
            // Three servers on a busy machine may take longer to agree on who leads than anything else here.
            let acknowledged = async {
                while a.deliver(&event("42", n)).await.status != 200 {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
            };
            assert!(tokio::time::timeout(Duration::from_mins(2), acknowledged).await.is_ok(), "it is never acknowledged");
            n += 1;
        }
        n
    };
    for lost in &mut servers {
        five().await;
        lost.kill();
        five().await;
        lost.run();
    }
    let n = five().await;
    assert_eq!(session.points(n).await, (0..n as u64).collect::<Vec<_>>());
}

#[tokio::test]
async fn junk_on_the_bus_is_passed_over() {
    let server = NatsServer::with(NatsVersion::Current, free_address(), "max_payload: 16MB\nmax_pending: 64MB\n");
    let name = log_name();
    let (engine, hub) = open(settings(&server.url, &name)).unwrap();
    engine.listen(Box::new(|notice| panic!("{notice:?}"))).unwrap();
    let stranger = async_nats::connect(&server.url).await.unwrap();
    let (junk, huge) = (bytes::Bytes::from_static(b"junk"), bytes::Bytes::from(vec![b'x'; 10 << 20]));
    let foreign = bytes::Bytes::from_static(b"CRE\x09 of a later release");
    for (n, payload) in [&junk, &huge, &foreign].into_iter().enumerate() {
        // Of the notices about one thing only the last is kept.
        for subject in ["e.1".to_owned(), "e.2".to_owned(), format!("c.u.{n}"), format!("c.d.{n}"), "p".to_owned()] {
            stranger.publish(format!("{name}.{subject}"), payload.clone()).await.unwrap();
        }
    }
    stranger.flush().await.unwrap();
    until("all of it is counted", async || engine.junk() == 15).await;
    let mailbox = hub.join(&[UserKey::parse("acme:1", None).unwrap()], &[]).unwrap();
    let receipt = engine.publish(one("acme:1", engine.clock())).await.unwrap();
    assert_eq!((receipt.events[0].position.seq, receipt.connections), (7, 1), "junk in the stream has numbers of its own");
    assert_eq!(mailbox.closed(), None);
}

#[tokio::test]
async fn another_log_in_the_place_of_ours_is_a_gap_for_everybody() {
    let (url, name) = (NatsVersion::Current.shared(), log_name());
    let (engine, hub) = open(settings(url, &name)).unwrap();
    let keys = [UserKey::parse("acme:1", None).unwrap()];
    let mailbox = hub.join(&keys, &[]).unwrap();
    let old = engine.publish(one("acme:1", engine.clock())).await.unwrap().events[0].position;
    let stranger = async_nats::jetstream::new(async_nats::connect(url).await.unwrap());
    stranger.delete_stream(&name).await.unwrap();
    is_closed(&mailbox, 4003).await;
    assert_ne!(engine.head().epoch, old.epoch);
    let missed = Missed { keys: &keys, start: Start::After(Ok(old)), upto: engine.head().seq, types: &[] };
    assert_eq!(engine.missed(missed).await.unwrap(), Backlog::Gap(GapReason::OtherEpoch));
    let mailbox = hub.join(&keys, &[]).unwrap();
    until("events are taken again", async || engine.publish(one("acme:1", engine.clock())).await.is_ok()).await;
    assert_eq!((engine.head().seq, mailbox.closed()), (1, None));
}

/// Retention took what a gateway had not read yet: nobody may believe to have everything.
#[tokio::test]
async fn what_is_removed_before_it_was_read_is_a_gap() {
    let mut server = NatsServer::start(NatsVersion::Current);
    let name = log_name();
    let (engine, hub) = open(settings(&server.url, &name)).unwrap();
    let keys = [UserKey::parse("acme:1", None).unwrap()];
    let first = engine.publish(one("acme:1", engine.clock())).await.unwrap().events[0].position;
    let mailbox = hub.join(&keys, &[]).unwrap();
    // While this gateway hears nothing, another publishes, and what it published is purged.
    let (other, _) = open(settings(&server.url, &name)).unwrap();
    drop(engine.publish(one("acme:2", engine.clock())).await.unwrap());
    let stranger = async_nats::jetstream::new(async_nats::connect(&server.url).await.unwrap());
    server.kill();
    server.run();
    let stream = async || stranger.get_stream(&name).await;
    until("the server is back", async || stream().await.is_ok()).await;
    until("it is stored", async || other.publish(one("acme:1", other.clock())).await.is_ok()).await;
    let head = other.head();
    stream().await.unwrap().purge().sequence(head.seq + 1).await.unwrap();
    until("it is stored", async || other.publish(one("acme:3", other.clock())).await.is_ok()).await;
    until("everything is read", async || engine.head().seq > head.seq).await;
    let missed = Missed { keys: &keys, start: Start::After(Ok(first)), upto: engine.head().seq, types: &[] };
    match engine.missed(missed).await.unwrap() {
        // It was read in time after all.
        Backlog::Complete(seqs) => assert_eq!((seqs.last(), mailbox.closed()), (Some(&head.seq), None)),
        Backlog::Gap(reason) => assert_eq!(reason, GapReason::Evicted),
    }
}

#[tokio::test]
async fn what_cannot_be_used_is_refused_with_words() {
    let (url, name) = (NatsVersion::Current.shared(), log_name());
    let stranger = async_nats::jetstream::new(async_nats::connect(url).await.unwrap());
    let config =
        async_nats::jetstream::stream::Config { name: name.clone(), subjects: vec![format!("{name}.e.*")], ..Default::default() };
    let bad = |change: fn(&mut async_nats::jetstream::stream::Config)| {
        let mut config = config.clone();
        change(&mut config);
        config
    };
    for (config, words) in [
        (bad(|c| c.storage = async_nats::jetstream::stream::StorageType::Memory), "it is kept in memory"),
        (bad(|c| c.retention = async_nats::jetstream::stream::RetentionPolicy::WorkQueue), "its retention"),
        (bad(|c| c.subjects = vec![format!("{}.x", c.name)]), "its subjects"),
        (bad(|c| c.no_ack = true), "does not acknowledge"),
    ] {
        stranger.create_stream(config).await.unwrap();
        let refused = open(settings(url, &name)).err().unwrap().to_string();
        assert!(refused.contains(words) && refused.contains(&name), "{refused}");
        stranger.delete_stream(&name).await.unwrap();
    }
    let nobody = format!("nats://{}", free_address());
    assert!(open(settings(&nobody, &name)).err().unwrap().to_string().contains(&nobody));
    let three = Nats { replicas: 3, ..settings(url, &name) };
    assert!(open(three).err().unwrap().to_string().contains("replicas"), "one server cannot keep three");
}
