//! Segments that come and go.

use std::fs::File;

use super::*;
use crate::engine::disk::{
    index::Index,
    segment::{Head, Lookup},
};

const LATER: Timestamp = Timestamp(9);

fn key(number: u64) -> [u8; 16] {
    let half = number.wrapping_mul(0x9E37_79B9_7F4A_7C15).to_be_bytes();
    [half, half].concat().try_into().unwrap()
}

/// A segment, with an index file or without, that remembers these keys, each under its own number.
fn segment(folder: &std::path::Path, number: u64, keys: &[u64], indexed: bool) -> Arc<Segment> {
    let first = |seq| First { digest: [0; 16], seq, until: LATER };
    let mut index = Index::default();
    index.seen.extend(keys.iter().map(|k| (key(*k), first(number))));
    let path = folder.join(format!("{number}.log"));
    let file = File::create(&path).unwrap();
    let segment = Segment::new(number, path, file, Head::growing(number, 1), 0, Lookup::Memory(index));
    Arc::new(if indexed { segment.with_index_file(&segment.tables().unwrap()).unwrap() } else { segment })
}

#[test]
fn the_newest_segment_that_knows_a_key_answers_whatever_came_and_went() {
    let random_seed = fastrand::u64(..);
    println!("seed {random_seed}");
    let mut random = fastrand::Rng::with_seed(random_seed);
    let folder = tempfile::tempdir().unwrap();
    let mut filters = Seen::default();
    let mut sealed: Vec<Arc<Segment>> = Vec::new();
    let (mut found, mut most) = (0, 0);
    for number in 1..=200 {
        // Filters of several sizes, more than stand side by side, some without; and keys that several know.
        let keys: Vec<u64> = (0..random.usize(0..40)).map(|_| random.u64(..500)).collect();
        sealed.push(segment(folder.path(), number, &keys, random.u8(..4) > 0));
        if sealed.len() > 60 || random.u8(..3) == 0 {
            sealed.remove(random.usize(..sealed.len()));
        }
        most = most.max(sealed.len());
        let list: Sealed = Arc::new(sealed.clone());
        for _ in 0..50 {
            let key = key(random.u64(..500));
            let expected = list.iter().rev().find_map(|segment| segment.first(key, LATER).unwrap());
            assert_eq!(filters.first(&list, key, LATER).unwrap(), expected);
            found += u32::from(expected.is_some());
        }
    }
    assert!(found > 1_000 && most > COLUMNS, "{found} were found in {most} segments");
}

#[test]
fn a_segment_that_is_gone_is_not_kept() {
    let folder = tempfile::tempdir().unwrap();
    let (old, new) = (segment(folder.path(), 1, &[1], true), segment(folder.path(), 2, &[2], true));
    let mut seen = Seen::default();
    let sealed: Sealed = Arc::new(vec![Arc::clone(&old), new]);
    assert!(seen.first(&sealed, key(1), LATER).unwrap().is_some());
    drop(sealed);
    assert_eq!(Arc::strong_count(&old), 1);
}
