//! Joining before replay, in every order in which the log's writer and a session that opens may take turns (`sync/explore.rs`).
//!
//! The promise is the same in every story: what a session is sent is every event after the place that its opening names, each once, in
//! order; unless it is told of a gap, after which it is every event from the place that the gap names.
//!
//! Each of these mistakes was made by hand, and seen to be found: read the head before joining (`session.rs`); drop nothing by its number,
//! or by a head that is read after the replay was asked for; send a page from which retention has taken events as if it were whole; hand
//! on before the head has moved (`engine/memory.rs`).

use std::time::Duration;

use shuttle::{future::block_on, thread};

use super::*;
use crate::{
    auth::{
        jwt::{Verifier, mint},
        tests::{NOW, hs256},
    },
    engine::{Retention, memory::MemoryEngine},
    event::{Audience, Delivery, Draft, Timestamp, UserKey},
    hub::{HubLimits, MailboxLimits},
    sync::explore::{every_order, many_orders},
};

#[derive(Clone)]
struct World {
    hub: Arc<Hub>,
    engine: Arc<dyn Engine>,
    identity: Identity,
}

/// Somebody whose token was checked, which takes too long to do it in every order.
fn somebody() -> Identity {
    let user = UserKey::new("acme", "42").unwrap();
    let token = mint(&hs256(), &user, &[], Duration::from_mins(15), NOW).unwrap();
    Verifier::new(&hs256(), 4_096).unwrap_or_else(|problems| panic!("{problems:?}")).verify(&token, NOW).unwrap()
}

impl World {
    /// A log that keeps so many events of a user, and holds one.
    fn new(identity: &Identity, max_events_per_user: usize) -> Self {
        let mailbox = MailboxLimits { events_max: 9, bytes_max: 9_999 };
        let hub = Hub::new(HubLimits { sessions_per_user_max: 9, mailbox });
        let max_age = Duration::from_hours(1);
        let retention = Retention { max_age, max_events_per_user, dead_letters_max: 9, publish_queue_max: 9 };
        let engine = MemoryEngine::new(retention, Arc::clone(&hub));
        let world = Self { hub, engine, identity: identity.clone() };
        world.publish();
        world
    }

    fn publish(&self) {
        let audience = Audience { keys: self.identity.keys().to_vec(), members: r#""type":"t""#.to_owned() };
        let draft = Draft { kind: EventType::unknown(), at: NOW, audiences: vec![audience], dedupe: None };
        let delivery = Delivery { drafts: vec![draft], dead_letters: vec![], received: Instant::now() };
        block_on(self.engine.publish(delivery)).unwrap();
    }

    /// Publishes so many further events.
    fn writer(&self, events: usize) -> thread::JoinHandle<()> {
        let world = self.clone();
        thread::spawn(move || (0..events).for_each(|_| world.publish()))
    }

    fn open(&self, start: Start) -> Session {
        let (hub, engine) = (&self.hub, &self.engine);
        block_on(Session::open(hub, engine, self.identity.clone(), Arrival::default(), start, &[])).unwrap()
    }

    fn after(&self, seq: u64) -> Start {
        Start::After(Ok(Position { seq, ..self.engine.head() }))
    }
}

/// Listens until `last` came, and holds what came to the promise. Gives the place after which everything came.
fn listen(session: &mut Session, last: u64) -> u64 {
    let opening = session.opening();
    let mut stands = if opening.gap.is_some() { opening.head.seq } else { opening.id.seq };
    let first = stands;
    while stands < last {
        match block_on(session.next()).unwrap() {
            Next::Gap(head, reason) => {
                assert_eq!(reason, GapReason::Evicted);
                assert!(head.seq >= stands, "a gap leads back from {stands} to {}", head.seq);
                stands = head.seq;
            }
            Next::Events(events) => {
                for event in events {
                    let seq = number(&event.frame);
                    assert_eq!(seq, stands + 1, "after {stands} came {seq}");
                    stands = seq;
                }
            }
        }
    }
    first
}

fn number(frame: &Frame) -> u64 {
    let json: serde_json::Value = serde_json::from_slice(&frame.as_json()).unwrap();
    json["id"].as_str().unwrap().parse::<Position>().unwrap().seq
}

#[test]
fn whoever_comes_while_it_happens_misses_nothing_and_hears_nothing_twice() {
    let identity = somebody();
    for start in [Some(0), Some(1), None] {
        let identity = identity.clone();
        every_order(2, move || {
            let world = World::new(&identity, 9);
            let start = start.map_or(Start::Live, |seq| world.after(seq));
            let writer = world.writer(2);
            let from = listen(&mut world.open(start), 3);
            assert!(matches!(start, Start::Live) || start == world.after(from));
            writer.join().unwrap();
        });
    }
}

#[test]
fn whoever_wants_the_past_gets_all_of_it() {
    let identity = somebody();
    every_order(2, move || {
        let world = World::new(&identity, 9);
        let writer = world.writer(2);
        assert_eq!(listen(&mut world.open(Start::Since(Timestamp(0))), 3), 0);
        writer.join().unwrap();
    });
}

/// The log keeps two events: what is taken from under a replay is a gap and never a hole.
#[test]
fn what_is_removed_meanwhile_is_a_gap() {
    let identity = somebody();
    every_order(2, move || {
        let world = World::new(&identity, 2);
        let writer = world.writer(2);
        let mut session = world.open(world.after(0));
        let from = listen(&mut session, 3);
        assert_eq!(from == 0, session.opening().gap.is_none());
        writer.join().unwrap();
    });
}

#[test]
fn whoever_loses_the_connection_again_and_again_has_it_all_in_the_end() {
    let identity = somebody();
    many_orders(1_000, move || {
        let world = World::new(&identity, 99);
        let writers = [world.writer(3), world.writer(3)];
        let mut stands = 0;
        for last in [2, 5, 7] {
            let mut session = world.open(world.after(stands));
            assert_eq!((listen(&mut session, last), session.opening().gap), (stands, None));
            stands = last;
        }
        for writer in writers {
            writer.join().unwrap();
        }
        assert_eq!((world.hub.sessions(), world.hub.keys()), (0, 0));
    });
}
