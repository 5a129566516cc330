//! What is left in memory when time has passed. What others see of it is tested in `tests/gateway/engines`.

use std::time::Duration;

use super::*;
use crate::{
    event::{Audience, Dedupe},
    hub::{HubLimits, MailboxLimits},
};

const NOON: Timestamp = Timestamp(1_800_000_000_000);
const HOUR: Duration = Duration::from_hours(1);
const SECOND: Duration = Duration::from_secs(1);

fn engine(max_events_per_user: usize) -> Arc<MemoryEngine> {
    let mailbox = MailboxLimits { events_max: 9, bytes_max: 9_999 };
    let hub = Hub::new(HubLimits { sessions_per_user_max: 9, mailbox });
    MemoryEngine::new(Retention { max_age: HOUR, max_events_per_user, dead_letters_max: 9, publish_queue_max: 9 }, hub)
}

/// Stores one event for one person, of whom repetitions are recognised for two hours.
fn store(engine: &MemoryEngine, person: &str, id: u8, at: Timestamp) {
    let audience = Audience { keys: vec![UserKey::new("acme", person).unwrap()], members: r#""type":"t""#.to_owned() };
    let dedupe = (id > 0).then_some(Dedupe { key: [id; 16], digest: [id; 16], window: 2 * HOUR });
    let draft = Draft { kind: EventType::unknown(), at, audiences: vec![audience], dedupe };
    engine.store(Delivery { drafts: vec![draft], dead_letters: vec![], received: Instant::now() });
}

/// How much is remembered: events, lists, marks, steps of age, and firsts; and from which cursor on.
fn remembered(engine: &MemoryEngine) -> ([usize; 5], u64) {
    let state = engine.state();
    assert_eq!((state.marks.len(), state.seen.len()), (state.marks_by_seq.len(), state.seen_by_until.len()));
    let counts = [state.events.len(), state.index.len(), state.marks.len(), state.ages.len(), state.seen.len()];
    (counts, state.floor)
}

#[test]
fn everything_is_forgotten_in_its_time() {
    let engine = engine(2);
    for (i, person) in (1..).zip(["1", "1", "1", "2", "3"]) {
        store(&engine, person, i, NOON.plus(SECOND * u32::from(i)));
    }
    store(&engine, "3", 5, NOON.plus(10 * SECOND));
    // When; then what is left.
    let table = [
        (Duration::ZERO, ([4, 3, 1, 1, 5], 0)),
        (HOUR + 4 * SECOND, ([2, 2, 1, 1, 5], 0)),
        (HOUR + 6 * SECOND, ([0, 0, 3, 1, 5], 0)),
        (2 * HOUR + SECOND, ([0, 0, 3, 1, 5], 0)),
        (2 * HOUR + 2 * SECOND, ([0, 0, 3, 0, 4], 1)),
        (2 * HOUR + 4 * SECOND, ([0, 0, 3, 0, 2], 1)),
        (2 * HOUR + 6 * SECOND, ([0, 0, 3, 0, 0], 1)),
    ];
    for (after, expected) in table {
        engine.state().retain(NOON.plus(after), &engine.retention);
        assert_eq!(remembered(&engine), expected, "{after:?}");
    }
}

#[test]
fn the_marks_go_when_cursors_that_old_are_refused() {
    let engine = engine(2);
    // Ages are noted about every 14 seconds, so each of these has its own.
    for minute in 0..4_u32 {
        store(&engine, &minute.to_string(), 0, NOON.plus(60 * SECOND * minute));
    }
    for (gone, minutes) in [(0, 120), (1, 121), (2, 122), (3, 123), (4, 124)] {
        engine.state().retain(NOON.plus(60 * SECOND * minutes), &engine.retention);
        let ([.., marks, ages, _], floor) = remembered(&engine);
        assert_eq!((4 - marks, 4 - ages, floor), (gone, gone, gone as u64), "{minutes} min");
    }
}

#[test]
fn one_call_removes_a_bounded_number() {
    let engine = engine(RETAIN_EVENTS_MAX + 9);
    (0..=RETAIN_EVENTS_MAX).for_each(|_| store(&engine, "1", 0, NOON));
    for left in [1, 0] {
        engine.state().retain(NOON.plus(2 * HOUR), &engine.retention);
        assert_eq!(engine.state().events.len(), left);
    }
}
