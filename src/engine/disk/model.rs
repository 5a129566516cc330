//! The log on disk in the orders in which its writer, its housekeeping and a session that opens may take turns (`sync/explore.rs`), on
//! real files: what the head has shown can be read, and is handed on only after that.
//!
//! Each of these mistakes was made by hand, and seen to be found: hand on before the group is shown; let two hand on at once; move the head before the index has
//! the group; write the new index of a segment over the old one, which somebody reads. (The last was no invention: it was here.)

use std::{collections::VecDeque, future::poll_fn, time::Instant};

use shuttle::{future::block_on, thread};

use super::*;
use crate::{
    event::{Audience, Draft, EventType},
    hub::{HubLimits, Mailbox, MailboxLimits},
    protocol::GapReason,
    sync::explore::{every_order, many_orders},
};

const NOON: Timestamp = Timestamp(1_800_000_000_000);
const HOUR: Duration = Duration::from_hours(1);

struct World {
    folder: tempfile::TempDir,
    log: Arc<Log>,
    hub: Arc<Hub>,
    writer: Writer,
}

fn user() -> UserKey {
    UserKey::new("acme", "1").unwrap()
}

fn delivery() -> Delivery {
    let audience = Audience { keys: vec![user()], members: r#""type":"t""#.to_owned() };
    let draft = Draft { kind: EventType::unknown(), at: NOON, audiences: vec![audience], dedupe: None };
    Delivery { drafts: vec![draft], dead_letters: vec![], received: Instant::now() }
}

impl World {
    /// A log that holds one event and keeps all for an hour, in segments of so many bytes.
    fn new(segment_bytes_max: u64) -> Self {
        let mailbox = MailboxLimits { events_max: 9, bytes_max: 9_999 };
        let hub = Hub::new(HubLimits { sessions_per_user_max: 9, mailbox });
        let folder = tempfile::tempdir().unwrap();
        let retention = Retention { max_age: HOUR, max_events_per_user: 99, dead_letters_max: 9, publish_queue_max: 9 };
        let limits = DiskLimits { segment_bytes_max, ..DiskLimits::default() };
        let opened = open::open(folder.path(), retention, limits, NOON).unwrap();
        let mut writer = Writer::new(opened, HandOn::new(Arc::clone(&hub)), watch::channel(()).0);
        publish(&mut writer, 1);
        Self { log: Arc::clone(&writer.log), folder, hub, writer }
    }
}

/// Publishes so many deliveries as one group, for whose answers nobody waits.
fn publish(writer: &mut Writer, deliveries: usize) {
    writer.publish((0..deliveries).map(|_| (delivery(), oneshot::channel().0)).collect());
}

/// What lies between the beginning and a head, and whether it is all: `None` is a gap.
fn missed(log: &Log, upto: u64) -> Option<Vec<u64>> {
    let start = Start::After(Ok(log.position(0)));
    let numbers = match log.missed(&Missed { keys: &[user()], start, upto, types: &[] }).unwrap() {
        Backlog::Complete(numbers) => numbers,
        Backlog::Gap(reason) => {
            assert_eq!(reason, GapReason::Evicted);
            return None;
        }
    };
    let read = log.read(&[user()], &numbers).unwrap();
    // A session that reads less than was listed tells of a gap.
    (read.len() == numbers.len()).then_some(numbers)
}

/// The numbers of what comes until `last` does.
fn heard(mailbox: &mut Mailbox, last: u64) -> Vec<u64> {
    let mut seqs = Vec::new();
    while seqs.last() != Some(&last) {
        let mut mail = VecDeque::new();
        block_on(poll_fn(|context| mailbox.poll_take(context, &mut mail))).unwrap();
        seqs.extend(mail.iter().map(|mail| mail.seq));
    }
    seqs
}

/// Joins, then reads the head, then asks for what was before, as a session does. Gives all that came up to `last`; `None` after a gap.
fn listen(hub: &Arc<Hub>, log: &Log, last: u64) -> Option<Vec<u64>> {
    let mut mailbox = hub.join(&[user()], &[]).unwrap();
    let head = log.head();
    let past = missed(log, head);
    let live = if head < last { heard(&mut mailbox, last) } else { Vec::new() };
    Some(past?.into_iter().chain(live.into_iter().filter(|seq| *seq > head)).collect())
}

/// The housekeeping, which is asked twice.
fn keeper(log: &Arc<Log>, now: Timestamp) -> thread::JoinHandle<()> {
    let log = Arc::clone(log);
    thread::spawn(move || {
        let mut keeper = Keeper::default();
        for _ in 0..2 {
            keeper.retain(&log, now).unwrap();
        }
    })
}

#[test]
fn what_the_head_has_shown_is_there_and_what_comes_later_is_handed_on() {
    every_order(2, || {
        let World { folder, log, hub, mut writer } = World::new(1 << 20);
        let writer = thread::spawn(move || {
            publish(&mut writer, 2);
            writer
        });
        assert_eq!(listen(&hub, &log, 3), Some(vec![1, 2, 3]));
        drop((writer.join().unwrap(), folder));
    });
}

/// What is taken away while somebody asks for it is a gap or is still there, and nothing that the asker has open changes under its hands.
#[test]
fn whoever_asks_while_it_is_taken_away_gets_all_or_a_gap() {
    for later in [HOUR + Duration::from_secs(1), 3 * HOUR] {
        every_order(2, move || {
            let World { folder, log, hub, mut writer } = World::new(1);
            publish(&mut writer, 1);
            Keeper::default().retain(&log, NOON).unwrap();
            let keeper = keeper(&log, NOON.plus(later));
            let all = listen(&hub, &log, 2);
            assert!(all.as_ref().is_none_or(|all| *all == [1, 2]), "{all:?}");
            keeper.join().unwrap();
            drop((writer, folder));
        });
    }
}

/// Each commit begins a new segment, and the housekeeping gives finished ones their indexes, and takes away what is too old.
#[test]
fn the_housekeeping_makes_gaps_but_no_holes() {
    for later in [Duration::ZERO, HOUR + Duration::from_secs(1), 3 * HOUR] {
        many_orders(50, move || {
            let World { folder, log, hub, mut writer } = World::new(1);
            publish(&mut writer, 1);
            let writer = thread::spawn(move || {
                publish(&mut writer, 1);
                publish(&mut writer, 1);
                writer
            });
            let keeper = keeper(&log, NOON.plus(later));
            match listen(&hub, &log, 4) {
                Some(all) => assert_eq!(all, [1, 2, 3, 4]),
                None => assert_ne!(later, Duration::ZERO, "there is a gap, and nothing was too old"),
            }
            keeper.join().unwrap();
            drop((writer.join().unwrap(), folder));
        });
    }
}

/// The task and the writer, which lends it a hand, keep the order of the log between them.
#[test]
fn whoever_hands_on_the_order_is_that_of_the_log() {
    every_order(2, || {
        let World { folder, hub, mut writer, .. } = World::new(1 << 20);
        let mut mailbox = hub.join(&[user()], &[]).unwrap();
        let groups: Vec<_> = (0..2).map(|_| writer.commit(vec![delivery()]).unwrap()).collect();
        let outbox = writer.hand_on.outbox();
        let task = thread::spawn(move || outbox.empty());
        for durable in groups {
            let answers = durable.iter().map(|_| oneshot::channel().0).collect::<Vec<_>>();
            writer.hand_on.take(durable.into_iter().zip(answers).collect());
        }
        assert_eq!(heard(&mut mailbox, 3), [2, 3]);
        task.join().unwrap();
        drop((writer, folder));
    });
}
