use super::*;
use crate::event::Dedupe;

const EVENTS_MAX: usize = 50;

fn index() -> Index {
    let limits = IndexLimits { max_age: Duration::from_hours(24), max_events_per_user: 10, events_max: EVENTS_MAX };
    Index::new(Epoch::from_random(7), 0, limits)
}

/// An event for a user and under a delivery id that nobody has had before.
fn append(index: &mut Index, seq: u64) {
    let mut key = [0; 16];
    key[..8].copy_from_slice(&seq.to_le_bytes());
    let dedupe = Dedupe { key, digest: [0; 16], window: Duration::from_hours(24) };
    let at = Timestamp(seq);
    let entry = Entry { seq, at, kind: EventType::unknown(), first: Some((key, First::new(&dedupe, seq, at))) };
    index.append(entry, [format!("acme:{seq}").as_str()].into_iter());
}

fn missed(index: &Index, user: u64, after: u64) -> Backlog {
    let (keys, cursor) = ([UserKey::parse(&format!("acme:{user}"), None).unwrap()], index.position(after));
    index.missed(&Missed { keys: &keys, start: Start::After(Ok(cursor)), upto: index.head().seq, types: &[] })
}

#[test]
fn an_index_does_not_grow_with_people_and_deliveries_that_are_gone() {
    let mut index = index();
    for seq in 1..=10_000 {
        append(&mut index, seq);
    }
    assert_eq!((index.rows.len(), index.seen.len(), index.seen_by_until.len()), (EVENTS_MAX, EVENTS_MAX, EVENTS_MAX));
    assert_eq!((index.firsts.len(), index.emptied.len(), index.lists.len()), (EVENTS_MAX, EVENTS_MAX, 2 * EVENTS_MAX));
    // Who is forgotten is told of a gap; who is known is not.
    assert_eq!(missed(&index, 1, 0), Backlog::Gap(GapReason::Evicted));
    assert_eq!(missed(&index, 1, 9_950), Backlog::Complete(vec![]));
    assert_eq!(missed(&index, 9_960, 9_955), Backlog::Complete(vec![9_960]));
    assert_eq!(missed(&index, 9_940, 9_935), Backlog::Gap(GapReason::Evicted));
}

#[test]
fn a_delivery_is_remembered_as_long_as_its_event_is_there() {
    let mut index = index();
    for seq in 1..=60 {
        append(&mut index, seq);
    }
    let key = |seq: u64| {
        let mut key = [0; 16];
        key[..8].copy_from_slice(&seq.to_le_bytes());
        key
    };
    assert_eq!((index.first(&key(10)).map(|first| first.seq), index.first(&key(11)).map(|first| first.seq)), (None, Some(11)));
    index.retain(Timestamp(60).plus(Duration::from_hours(25)));
    assert_eq!((index.seen.len(), index.firsts.len(), index.rows.len()), (0, 0, 0));
}
