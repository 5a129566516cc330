use super::*;
use crate::engine::disk::record::{EventHead, begin_group, end_group, put_event};

/// A segment's contents, of groups with one event each.
fn contents(seqs: &[u64]) -> Vec<u8> {
    let mut out = vec![0; HEAD_BYTES];
    for &seq in seqs {
        let group = begin_group(&mut out);
        let head = EventHead { seq, at: Timestamp(1), stamp: Timestamp(1), kind: EventType::unknown() };
        put_event(&mut out, &head, None, &[]);
        end_group(&mut out, group);
    }
    out
}

#[test]
fn events_whose_numbers_do_not_ascend_are_damage() {
    for (first, seqs, sound) in [
        (5, &[5, 6, 9][..], true),
        (5, &[], true),
        (5, &[4], false),
        (5, &[6, 5], false),
        (5, &[6, 6], false),
        (5, &[u64::MAX - 1], true),
        (5, &[u64::MAX], false),
    ] {
        let contents = contents(seqs);
        match scan(&contents, first, 0) {
            Ok((index, end)) => assert!(sound && end == contents.len() && index.rows.len() == seqs.len(), "{seqs:?}"),
            Err(_) => assert!(!sound, "{seqs:?}"),
        }
    }
}

#[test]
fn a_head_is_read_as_it_was_written_or_not_at_all() {
    let head = |first, replaced| Head { id: 1, first, through: 3, replaced };
    let replaced = |last| Some((last, Timestamp(9)));
    for (head, sound) in [
        (head(1, None), true),
        (head(0, None), false),
        (head(5, replaced(4)), true),
        (head(5, replaced(3)), false),
        (head(1, replaced(0)), true),
        (head(0, replaced(0)), false),
    ] {
        assert_eq!(Head::read(&head.to_bytes()), sound.then_some(head), "{head:?}");
    }
    let mut bytes = head(1, None).to_bytes();
    bytes[20] ^= 1;
    assert_eq!(Head::read(&bytes), None);
}
