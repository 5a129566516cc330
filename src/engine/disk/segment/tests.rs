use super::*;
use crate::{
    engine::disk::record::{EventHead, begin_group, end_group, put_event},
    event::{Epoch, Position, UserKey},
    protocol::{Frame, View},
};

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

/// A segment's file of one event whose members are as long as `members`.
fn written(folder: &Path, members: usize) -> Vec<u8> {
    let mut out = Head { id: 7, ..Head::growing(1, 1) }.to_bytes().to_vec();
    let group = begin_group(&mut out);
    let head = EventHead { seq: 1, at: Timestamp(1), stamp: Timestamp(1), kind: EventType::unknown() };
    let position = Position { epoch: Epoch::from_random(1), seq: 1 };
    let frame = Frame::encode(position, &format!("\"a\":\"{}\"", "x".repeat(members)));
    put_event(&mut out, &head, None, &[View { keys: vec![UserKey::parse("acme:1", None).unwrap()], frame }]);
    end_group(&mut out, group);
    fs::write(path_of(folder, 1, "log"), &out).unwrap();
    out
}

#[test]
fn what_an_index_says_of_an_items_length_is_not_allocated_unless_it_can_be_true() {
    for members in [0, UNASKED_BYTES_MAX, 3 * UNASKED_BYTES_MAX] {
        let folder = tempfile::tempdir().unwrap();
        let contents = written(folder.path(), members);
        let path = path_of(folder.path(), 1, "log");
        let file = File::open(&path).unwrap();
        let row = scan(&contents, 1, 0).unwrap().0.rows[0].place;
        let (start, end) = (row.offset as usize, row.offset as usize + row.bytes as usize);
        assert_eq!(read_item(&file, &path, row).unwrap(), contents[start..end]);
        for bytes in [0, 7, row.bytes - 1, row.bytes + 1, 1 << 20, u32::MAX] {
            let error = read_item(&file, &path, Place { bytes, ..row }).unwrap_err();
            assert_eq!(error.to_string(), format!("{} is damaged at byte {start}", path.display()), "{bytes} bytes");
        }
        for offset in [0, row.offset - 1, row.offset + 1, u32::MAX] {
            let error = read_item(&file, &path, Place { offset, ..row }).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidData, "at {offset}");
        }
    }
}

#[test]
fn an_item_that_claims_to_be_longer_than_its_file_is_damaged() {
    let folder = tempfile::tempdir().unwrap();
    let mut contents = written(folder.path(), 2 * UNASKED_BYTES_MAX);
    let place = scan(&contents, 1, 0).unwrap().0.rows[0].place;
    let at = place.offset as usize;
    contents[at..at + 4].copy_from_slice(&(u32::MAX - 8).to_le_bytes());
    let path = path_of(folder.path(), 1, "log");
    fs::write(&path, &contents).unwrap();
    let error = read_item(&File::open(&path).unwrap(), &path, Place { bytes: u32::MAX, ..place }).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::InvalidData);
}

#[test]
fn an_index_that_cannot_be_true_of_its_segment_is_made_again() {
    let folder = tempfile::tempdir().unwrap();
    let contents = written(folder.path(), 10);
    let tables = scan(&contents, 1, 0).unwrap().0.tables();
    let letter = LetterRow { number: 1, digest: [0; 16], place: tables.rows[0].place };
    let is_taken = |change: &dyn Fn(&mut Tables)| {
        let mut tables = scan(&contents, 1, 0).unwrap().0.tables();
        change(&mut tables);
        fs::write(path_of(folder.path(), 1, "idx"), IndexFile::encode(&tables, 7)).unwrap();
        let segment = Segment::open(folder.path(), 1, 0, false).unwrap();
        assert_eq!((segment.last, segment.events()), (1, 1));
        matches!(segment.index, Lookup::File(_))
    };
    assert!(is_taken(&|_| {}));
    assert!(is_taken(&|tables| tables.letters.push(letter)));
    let place = letter.place;
    for place in [
        Place { bytes: u32::MAX, ..place },
        Place { bytes: place.bytes + 1, ..place },
        Place { bytes: 7, ..place },
        Place { offset: 55, ..place },
        Place { offset: u32::MAX, ..place },
    ] {
        assert!(!is_taken(&|tables| tables.rows[0].place = place), "an event at {place:?}");
        assert!(!is_taken(&|tables| tables.letters.push(LetterRow { place, ..letter })), "a letter at {place:?}");
    }
}
