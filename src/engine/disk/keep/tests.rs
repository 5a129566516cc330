//! What the housekeeping does to the segments, step by step. That nobody notices is tested in `tests/gateway/engines` and in `model.rs`.

use std::time::{Duration, Instant};

use super::*;
use crate::{
    engine::{
        Retention,
        disk::{DiskLimits, hand_on::HandOn, open, writer::Writer},
    },
    event::{Audience, DeadLetter, DeadReason, Dedupe, Delivery, Draft as Event, EventType, UserKey},
    hub::{Hub, HubLimits, MailboxLimits},
};

const NOON: Timestamp = Timestamp(1_800_000_000_000);
const HOUR: Duration = Duration::from_hours(1);
const RETENTION: Retention = Retention { max_age: HOUR, max_events_per_user: 9_999, dead_letters_max: 2, publish_queue_max: 9 };

/// A log without a thread: what happens to it happens here.
struct Yard {
    _folder: tempfile::TempDir,
    writer: Writer,
    log: Arc<Log>,
    keeper: Keeper,
}

impl Yard {
    fn new(segment_bytes_max: u64, retention: Retention) -> Self {
        let mailbox = MailboxLimits { events_max: 9, bytes_max: 9_999 };
        let hub = Hub::new(HubLimits { sessions_per_user_max: 9, mailbox });
        let folder = tempfile::tempdir().unwrap();
        let limits = DiskLimits { segment_bytes_max, ..DiskLimits::default() };
        let opened = open::open(folder.path(), retention, limits, NOON).unwrap();
        let writer = Writer::new(opened, HandOn::new(hub), tokio::sync::watch::channel(()).0);
        Self { _folder: folder, log: Arc::clone(&writer.log), writer, keeper: Keeper::default() }
    }

    fn commit(&mut self, drafts: Vec<Event>, dead_letters: Vec<DeadLetter>) {
        self.writer.commit(vec![Delivery { drafts, dead_letters, received: Instant::now() }]).unwrap();
    }

    fn put(&mut self, user: &str, at: Timestamp) {
        self.commit(vec![event(user, at, 0)], vec![]);
    }

    /// A finished segment that holds these events.
    fn segment(&mut self, drafts: Vec<Event>) {
        self.commit(drafts, vec![]);
        self.writer.rotate().unwrap();
    }

    fn retain(&mut self, now: Timestamp) -> bool {
        self.keeper.retain(&self.log, now).unwrap()
    }

    /// How many events each finished segment has.
    fn events(&self) -> Vec<usize> {
        self.log.parts().sealed.iter().map(|segment| segment.events()).collect()
    }

    /// Which file each finished segment is: one that is written anew gets another.
    fn files(&self) -> Vec<u64> {
        self.log.parts().sealed.iter().map(|segment| segment.head.id).collect()
    }
}

fn user(name: &str) -> UserKey {
    UserKey::new("acme", name).unwrap()
}

fn event(name: &str, at: Timestamp, bytes: usize) -> Event {
    let members = format!(r#""data":"{}""#, "x".repeat(bytes));
    Event { kind: EventType::unknown(), at, audiences: vec![Audience { keys: vec![user(name)], members }], dedupe: None }
}

fn letter(body: &'static str) -> DeadLetter {
    let (source, scope, reason) = ("claimr".to_owned(), None, DeadReason::NoUser);
    DeadLetter { at: NOON, source, scope, reason, body: body.into() }
}

#[test]
fn the_limits_of_age_move_with_the_clock() {
    let minute = Duration::from_mins(1);
    let mut yard = Yard::new(1 << 20, RETENTION);
    for minutes in [0, 10, 20] {
        yard.put("1", NOON.plus(minute * minutes));
        if minutes == 10 {
            yard.writer.rotate().unwrap();
        }
    }
    // Minutes and milliseconds after noon; the last event that is too old, the last of which even the marks are; whether to rotate.
    let table = [
        (0, 0, (0, 0, false)),
        (35, 0, (0, 0, false)),
        (35, 1, (0, 0, true)),
        (60, 0, (0, 0, true)),
        (60, 1, (1, 0, true)),
        (70, 0, (1, 0, true)),
        (70, 1, (2, 0, true)),
        (80, 1, (3, 0, true)),
        (0, 0, (3, 0, true)),
        (120, 0, (3, 0, true)),
        (120, 1, (3, 1, true)),
        (131, 0, (3, 2, true)),
        (141, 0, (3, 3, true)),
    ];
    for (minutes, ms, expected) in table {
        let wants_rotation = age(&yard.log, NOON.plus(minute * minutes + Duration::from_millis(ms))).unwrap();
        let parts = yard.log.parts();
        assert_eq!((parts.aged, parts.floor, wants_rotation), expected, "{minutes} min {ms} ms");
    }
    yard.writer.rotate().unwrap();
    assert!(!age(&yard.log, NOON.plus(9 * HOUR)).unwrap(), "an empty segment has nothing to be finished for");
}

#[test]
fn what_is_too_old_is_taken_out_eight_segments_a_call_and_once() {
    let mut yard = Yard::new(1, RETENTION);
    (0..21).for_each(|_| yard.put("1", NOON));
    let later = NOON.plus(HOUR + Duration::from_secs(1));
    for emptied in [8, 16, 20] {
        yard.retain(later);
        assert_eq!(yard.events(), [vec![0; emptied], vec![1; 20 - emptied]].concat());
    }
    let files = yard.files();
    yard.retain(later);
    assert_eq!(yard.files(), files);
}

#[test]
fn eight_small_neighbours_become_one() {
    let mut probe = Yard::new(1 << 20, RETENTION);
    probe.segment(vec![event("1", NOON, 1_000)]);
    let small = probe.log.parts().sealed[0].bytes;
    // Ten small ones and a half fit. s: small; q: a quarter; l: more than half. Then how many events each segment has.
    let table: &[(&str, &[usize])] = &[
        ("sssssss", &[1; 7]),
        ("ssssssss", &[8]),
        ("ssslsssss", &[1; 9]),
        ("ssssssssls", &[8, 1, 1]),
        ("ssssssslssssssss", &[1, 1, 1, 1, 1, 1, 1, 1, 8]),
        ("ssssssssss", &[10]),
        ("ssssssssssss", &[10, 1, 1]),
        ("qqqqqqqqqq", &[1; 10]),
        ("qqqqlssssssss", &[1, 1, 1, 1, 1, 8]),
    ];
    for (sizes, expected) in table {
        let mut yard = Yard::new(10 * small + small / 2, RETENTION);
        for size in sizes.chars() {
            let bytes = match size {
                's' => 1_000,
                'q' => 2_600,
                _ => 7_000,
            };
            yard.segment(vec![event("1", NOON, bytes)]);
        }
        for _ in 0..3 {
            yard.retain(NOON);
        }
        assert_eq!(yard.events(), *expected, "{sizes}");
        let seqs: Vec<u64> = (1..=sizes.len() as u64).collect();
        assert_eq!(yard.log.read(&[user("1")], &seqs).unwrap().len(), sizes.len(), "{sizes}");
    }
}

#[test]
fn the_oldest_segment_goes_when_nothing_in_it_is_needed() {
    let mut yard = Yard::new(1, RETENTION);
    let dedupe = Dedupe { key: [1; 16], digest: [1; 16], window: 5 * HOUR };
    yard.commit(vec![Event { dedupe: Some(dedupe), ..event("1", NOON, 0) }], vec![]);
    yard.commit(vec![event("1", NOON, 0)], vec![letter("old")]);
    yard.put("1", NOON);
    yard.put("1", NOON.plus(9 * HOUR));
    let (second, numbers) = (Duration::from_secs(1), |yard: &Yard| -> Vec<u64> {
        yard.log.parts().sealed.iter().map(|segment| segment.number).collect()
    });
    let all = numbers(&yard);
    assert_eq!(all.len(), 3);
    // The clock is the newest event's, so this is the time at which the first one's repetitions are forgotten as well.
    yard.retain(NOON.plus(9 * HOUR));
    assert_eq!(numbers(&yard), all[1..], "a segment with a dead letter goes although the letter can still be replayed");
    yard.commit(vec![], vec![letter("newer")]);
    yard.retain(NOON.plus(9 * HOUR + second));
    assert_eq!(numbers(&yard)[0], all[1]);
    yard.commit(vec![], vec![letter("newest")]);
    yard.retain(NOON.plus(9 * HOUR + second));
    assert!(numbers(&yard)[0] > all[2]);
}

#[test]
fn a_segment_stays_while_a_repetition_could_be_recognised() {
    for (hours, gone) in [(3, false), (5, false), (6, true)] {
        let mut yard = Yard::new(1, RETENTION);
        let dedupe = Dedupe { key: [1; 16], digest: [1; 16], window: 5 * HOUR };
        yard.commit(vec![Event { dedupe: Some(dedupe), ..event("1", NOON, 0) }], vec![]);
        yard.commit(vec![], vec![letter("only a letter")]);
        yard.retain(NOON.plus(hours * HOUR));
        assert_eq!(yard.events().is_empty(), gone, "after {hours} h");
        assert_eq!(yard.log.first([1; 16], NOON.plus(hours * HOUR)).unwrap().is_none(), gone);
    }
}

/// Ten events, of which so many are of strangers and the others of one person.
fn mixed(strangers: u64, number: u64) -> Vec<Event> {
    let name = |i| if i < strangers { format!("{number}-{i}") } else { "1".to_owned() };
    (0..10).map(|i| event(&name(i), NOON, 1_000)).collect()
}

/// A log that looks for what is too much when it has four such segments, and keeps five events for each person.
fn crowded_yard() -> Yard {
    let retention = Retention { max_events_per_user: 5, ..RETENTION };
    let mut probe = Yard::new(1 << 20, retention);
    probe.segment(mixed(5, 0));
    let bytes = probe.log.parts().sealed[0].bytes;
    Yard::new(bytes * 17 / 10, retention)
}

#[test]
fn what_is_too_much_is_taken_out_where_it_is_more_than_half() {
    for (strangers, left) in [(0, 0), (4, 4), (6, 10), (10, 10)] {
        let mut yard = crowded_yard();
        for number in 0..3 {
            yard.segment(mixed(strangers, number));
            yard.retain(NOON);
        }
        assert_eq!(yard.events(), [10, 10, 10], "so little is not worth a look");
        yard.segment(mixed(strangers, 3));
        yard.retain(NOON);
        assert_eq!(yard.events()[..3], [left, left, left], "{strangers} strangers");
        let newest = yard.log.read(&[user("1")], &(1..=40).collect::<Vec<_>>()).unwrap();
        assert_eq!(newest.len(), if strangers == 10 { 0 } else { 5 });
    }
}

#[test]
fn a_log_that_was_cleaned_is_left_alone_until_it_has_doubled() {
    let mut yard = crowded_yard();
    (0..4).for_each(|number| yard.segment(mixed(10, number)));
    yard.retain(NOON);
    for segments in 5..=11 {
        yard.segment(mixed(0, segments));
        yard.retain(NOON);
        assert_eq!(yard.events(), vec![10; usize::try_from(segments).unwrap()]);
    }
    yard.segment(mixed(0, 12));
    yard.retain(NOON);
    // Eight segments were finished since, and only the newest holds any of the five that are kept.
    assert_eq!(yard.events(), [[10; 4].as_slice(), &[0; 7], &[5]].concat());
}
