//! What is looked up in a file is what the index in memory says, however unevenly it lies.

use super::*;
use crate::engine::disk::{index::Index, record::EventHead};

#[test]
fn every_key_has_the_events_that_it_has_in_memory() {
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let keys: Vec<KeyHash> = (0..300).map(|_| KeyHash(random.u64(..))).chain([KeyHash(0), KeyHash(u64::MAX)]).collect();
    // Nobody, everybody alike, one who has nearly all, and a table that begins late.
    for (events, uneven, above) in [(0, false, 0), (3_000, false, 0), (3_000, true, 0), (500, false, u64::MAX - (1 << 40))] {
        let mut index = Index::default();
        for seq in 1..=events {
            let own = if uneven && random.u8(..10) > 0 { keys[7] } else { keys[random.usize(..keys.len())] };
            let head = EventHead { seq, at: Timestamp(1), stamp: Timestamp(1), kind: EventType::unknown() };
            index.add_event(&head, Place { offset: 100, bytes: 100 }, [KeyHash(own.0.max(above))]);
            let first = First { digest: [0; 16], seq, until: Timestamp(1) };
            index.seen.insert([own.0.max(above).to_be_bytes(), seq.to_be_bytes()].as_flattened().try_into().unwrap(), first);
        }
        keys.iter().step_by(9).for_each(|key| index.add_mark(*key, key.0));
        let tables = index.tables();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("1.idx");
        std::fs::write(&path, IndexFile::encode(&tables, 1)).unwrap();
        let file = IndexFile::open(&path, 1, 200).unwrap().unwrap();
        for key in &keys {
            let (known, mark): (Vec<Row>, _) = (index.list(*key).copied().collect(), index.marks.get(key).copied());
            assert_eq!((file.list(*key, 0, usize::MAX).unwrap(), file.mark(*key).unwrap()), (known, mark));
        }
        for (key, first) in &tables.seen {
            assert_eq!(file.first(*key, Timestamp(1)).unwrap(), Some(*first));
            assert_eq!(file.first(key.map(|byte| byte ^ 1), Timestamp(1)).unwrap(), None);
        }
    }
}
