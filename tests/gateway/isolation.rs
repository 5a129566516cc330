//! No user ever sees another's event: a million events for ten thousand people whose keys were chosen to be mistaken for each other.
//!
//! Every event says whom it is for; every session checks each one it gets, live from its mailbox and replayed from the log.

use std::{
    collections::{BTreeSet, VecDeque},
    sync::Arc,
    task::{Context, Poll, Waker},
    time::{Duration, Instant},
};

use claimr_relay::{
    engine::{Backlog, Engine, Missed, Retention, Start, memory::MemoryEngine},
    event::{Audience, Delivery, Draft, EventType, Timestamp, UserKey},
    hub::{Hub, HubLimits, Mailbox, MailboxLimits},
};

const PEOPLE: usize = 10_000;
const EVENTS: usize = 1_000_000;
const PER_ROUND: usize = 10_000;

/// Keys that a careless comparison would take for one another.
fn hostile_keys() -> Vec<UserKey> {
    let bases = [
        "a",
        "A",
        "a ",
        " a",
        "a\u{0}",
        "a\u{200b}",
        "é",
        "e\u{301}",
        "a:b",
        "0x1g",
        "a/b",
        "a%2Fb",
        "\u{202e}a",
        "a\r\nid: 1",
        "{\"a\":1}",
        "'--",
        "𝒂",
    ];
    let platforms = ["acme", "Acme", "acme ", "ac", "claimr", "email", "web3", "$relay", "acm\u{435}"];
    let mut keys = BTreeSet::new();
    for n in 0.. {
        for platform in platforms {
            for base in bases {
                let account = match n {
                    0 => base.to_owned(),
                    // Long ones differ in their last byte only.
                    n if n % 5 == 0 => format!("{}{n}", base.repeat(200 / base.len())),
                    n if n % 2 == 0 => format!("{base}{n}"),
                    n => format!("{n}{base}"),
                };
                keys.extend(UserKey::new(platform, &account));
                if keys.len() == PEOPLE {
                    return keys.into_iter().collect();
                }
            }
        }
    }
    unreachable!("the numbers do not end")
}

fn delivery(number: usize, key: &UserKey) -> Delivery {
    let members = format!(r#""n":{number},"for":{}"#, serde_json::to_string(key.as_str()).unwrap());
    let draft = Draft {
        kind: EventType::unknown(),
        at: Timestamp(1),
        audiences: vec![Audience { keys: vec![key.clone()], members }],
        dedupe: None,
    };
    Delivery { drafts: vec![draft], dead_letters: Vec::new(), received: Instant::now() }
}

fn take(mailbox: &mut Mailbox) -> VecDeque<claimr_relay::hub::Mail> {
    let mut mail = VecDeque::new();
    match mailbox.poll_take(&mut Context::from_waker(Waker::noop()), &mut mail) {
        Poll::Ready(Err(close)) => panic!("a session ended: {close:?}"),
        _ => mail,
    }
}

#[tokio::test]
async fn a_million_events_reach_nobody_but_whom_they_are_for() {
    let keys = hostile_keys();
    assert_eq!(keys.iter().collect::<BTreeSet<_>>().len(), PEOPLE);
    let mailbox = MailboxLimits { events_max: 256, bytes_max: 1 << 20 };
    let hub = Hub::new(HubLimits { sessions_per_user_max: 20, mailbox });
    let retention =
        Retention { max_age: Duration::from_hours(1), max_events_per_user: 10, dead_letters_max: 0, publish_queue_max: 1 };
    let engine = MemoryEngine::new(retention, Arc::clone(&hub));
    let mut sessions: Vec<_> = keys.iter().map(|key| hub.join(std::slice::from_ref(key), &[]).unwrap()).collect();
    let marks: Vec<String> =
        keys.iter().map(|key| format!(r#""for":{}}}"#, serde_json::to_string(key.as_str()).unwrap())).collect();

    let mut random = fastrand::Rng::with_seed(7);
    let mut received = 0;
    for round in 0..EVENTS / PER_ROUND {
        for i in 0..PER_ROUND {
            let receipt = engine.publish(delivery(round * PER_ROUND + i, &keys[random.usize(..PEOPLE)])).await.unwrap();
            assert_eq!(receipt.connections, 1);
        }
        for (session, mark) in sessions.iter_mut().zip(&marks) {
            for mail in take(session) {
                let json = mail.frame.as_json();
                assert!(json.ends_with(mark.as_bytes()), "{mark} got {json:?}");
                received += 1;
            }
        }
    }
    assert_eq!(received, EVENTS);

    for (key, mark) in keys.iter().zip(&marks) {
        let keys = std::slice::from_ref(key);
        let query = Missed { keys, start: Start::Since(Timestamp(0)), upto: engine.head().seq, types: &[] };
        let Backlog::Complete(numbers) = engine.missed(query).await.unwrap() else { panic!("a gap") };
        assert!(!numbers.is_empty());
        for (_, frame) in engine.read(keys, &numbers).await.unwrap() {
            assert!(frame.as_json().ends_with(mark.as_bytes()), "{mark} read {frame:?}");
        }
    }
}
