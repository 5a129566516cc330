//! What holds for any bytes that a disk may give back.
//!
//! A fuzzer cannot guess a checksum, so the bytes are tried as they come, and once more as something that checks out.

use std::{
    cell::RefCell,
    fs::File,
    io::{Seek as _, Write as _},
    time::Duration,
};

use bytes::Bytes;
use xxhash_rust::xxh3::xxh3_64;

use super::{
    index::{Index, Tables},
    index_file::IndexFile,
    record::{self, EventHead, ITEM_HEAD, Item, KeyHash, Reader},
    segment::{HEAD_BYTES, Head, Lookup, Segment, scan},
};
use crate::{
    engine::first::First,
    event::{DeadLetter, DeadReason, Dedupe, Epoch, EventType, Position, Timestamp, UserKey},
    protocol::{Frame, View},
};

const SEED: u64 = 7;

thread_local! {
    /// What an index is read from; one for all runs.
    static FILE: RefCell<File> = RefCell::new(tempfile::tempfile().unwrap_or_else(|error| panic!("{error}")));
}

/// The options begin with a letter for what the bytes are.
pub(crate) fn check(options: &[u8], bytes: &[u8]) {
    match options.first() {
        Some(b'i') => items(bytes),
        Some(b'w') => written(bytes),
        Some(b'h') => head(bytes),
        Some(b'x') => index_file(bytes),
        _ => segment(bytes),
    }
}

/// The groups of a segment, with all their checksums as they come.
fn segment(bytes: &[u8]) {
    let _ = record::has_group(bytes);
    let contents = [&[0; HEAD_BYTES], bytes].concat();
    if let Ok((index, sound)) = scan(&contents, 1, SEED) {
        assert!((HEAD_BYTES..=contents.len()).contains(&sound));
        is_answered(&index, &contents);
    }
    for (at, payload) in record::items(bytes).flatten() {
        assert!(at + ITEM_HEAD + payload.len() <= bytes.len());
        decoded(payload);
    }
}

/// Payloads, each after two bytes of length, as items of one sound group.
fn items(bytes: &[u8]) {
    let mut read = Reader(bytes);
    let mut body = Vec::new();
    while let Some(length) = read.array().map(u16::from_le_bytes) {
        let payload = read.take(usize::from(length).min(read.0.len())).unwrap_or_default();
        decoded(payload);
        let check = u32::try_from(xxh3_64(payload) >> 32).unwrap_or_default();
        body.extend(u32::try_from(payload.len()).unwrap_or_default().to_le_bytes());
        body.extend(check.to_le_bytes());
        body.extend(payload);
    }
    let mut contents = vec![0; HEAD_BYTES];
    let start = record::begin_group(&mut contents);
    contents.extend(body);
    record::end_group(&mut contents, start);
    assert!(record::has_group(&contents[HEAD_BYTES..]));
    if let Ok((index, sound)) = scan(&contents, 1, SEED) {
        assert_eq!(sound, contents.len());
        is_answered(&index, &contents);
    }
}

/// A payload is not decoded, or what was decoded is written and read back as the same.
fn decoded(payload: &[u8]) {
    let mut out = Vec::new();
    let bytes = Bytes::copy_from_slice(payload);
    match Item::decode(payload) {
        None => return,
        Some(Item::Mark(key, seq)) => record::put_mark(&mut out, key, seq),
        Some(Item::Seen(key, first)) => record::put_seen(&mut out, key, &first),
        Some(Item::Letter(number, digest, letter)) => {
            let Some(letter) = letter.decode(&bytes) else { return };
            record::put_letter(&mut out, number, digest, &letter);
        }
        Some(Item::Event(_, _, views)) => {
            let Some(people) = views.decode(&bytes) else { return };
            let keys: Vec<&str> = people.iter().flat_map(|view| &view.keys).map(UserKey::as_str).collect();
            let known = views.keys().unwrap_or_else(|| panic!("the views are decoded, and their keys are not"));
            assert_eq!(known.len(), keys.len());
            for view in &people {
                // A key that was stored in another spelling than ours is nobody's.
                if view.keys.iter().all(|key| known.contains(&key.as_str())) && !view.keys.is_empty() {
                    let seen = views.frame_for(&view.keys, &bytes).unwrap_or_else(|_| panic!("decoded, and undecodable"));
                    assert!(seen.is_some_and(|frame| people.iter().any(|other| other.frame == frame)));
                }
            }
            return;
        }
    }
    assert_eq!(record::item(&out), Some(payload), "it is written in another way than it was read");
}

/// Events and letters made of the bytes, written and read back; then one bit is turned.
fn written(bytes: &[u8]) {
    let mut read = Reader(bytes);
    let (flip, count) = (read.array().map_or(0, u32::from_le_bytes) as usize, read.u8().unwrap_or(1) % 4);
    let mut out = Vec::new();
    let start = record::begin_group(&mut out);
    let mut wanted = Vec::new();
    for seq in 1..=u64::from(count) {
        let (kind, views) = event(seq, &mut read);
        let head = EventHead { seq, at: Timestamp(read.u64().unwrap_or(0)), stamp: Timestamp(seq), kind };
        let dedupe = (flip % 2 == 0).then_some(Dedupe { key: [3; 16], digest: [4; 16], window: Duration::MAX });
        record::put_event(&mut out, &head, dedupe.as_ref(), &views);
        wanted.push((head, dedupe.map(|dedupe| ([3; 16], First::new(&dedupe, seq, Timestamp(seq)).digest)), views));
    }
    let letter = DeadLetter {
        at: Timestamp(1),
        source: "claimr".to_owned(),
        scope: EventType::new("user_login"),
        reason: DeadReason::NoUser,
        body: Bytes::copy_from_slice(read.0),
    };
    record::put_letter(&mut out, 9, [5; 16], &letter);
    record::end_group(&mut out, start);
    let mut turned = out.clone();
    let body = record::group(&out).unwrap_or_else(|| panic!("what was written is no group"));
    let mut items = record::items(body);
    for (head, first, views) in &wanted {
        let payload = items.next().flatten().unwrap_or_else(|| panic!("an item is missing")).1;
        let Some(Item::Event(read, seen, people)) = Item::decode(payload) else { panic!("an event is not read back") };
        assert_eq!((&read, seen.map(|(key, first)| (key, first.digest))), (head, *first));
        assert_eq!(people.decode(&Bytes::copy_from_slice(payload)).as_ref(), Some(views));
    }
    let payload = items.next().flatten().unwrap_or_else(|| panic!("the letter is missing")).1;
    let Some(Item::Letter(9, _, read)) = Item::decode(payload) else { panic!("the letter is not read back") };
    assert_eq!(read.decode(&Bytes::copy_from_slice(payload)).as_ref(), Some(&letter));
    assert!(items.next().is_none());
    let at = flip % turned.len();
    turned[at] ^= 1 << (flip / turned.len() % 8);
    assert!(record::group(&turned).is_none(), "a group with a turned bit at {at} is taken");
}

/// An event of up to three views, of the texts that the bytes hold.
fn event(seq: u64, read: &mut Reader<'_>) -> (EventType, Vec<View>) {
    let mut text = || {
        let length = usize::from(read.u8().unwrap_or(0)).min(read.0.len());
        String::from_utf8_lossy(read.take(length).unwrap_or_default()).into_owned()
    };
    let kind = EventType::new(&text()).unwrap_or_else(EventType::unknown);
    let position = Position { epoch: Epoch::from_random(seq), seq };
    let view = |(key, members): (String, String)| View {
        keys: UserKey::parse(&key, Some("acme")).into_iter().collect(),
        frame: Frame::encode(position, &members.replace(['\n', '\r'], " ")),
    };
    (kind, (0..seq % 4).map(|_| view((text(), text()))).collect())
}

/// The head of a segment: with the checksum that it has, and with the right one.
fn head(bytes: &[u8]) {
    let _ = Head::read(bytes);
    let mut fixed = [0; HEAD_BYTES];
    let length = bytes.len().min(40);
    fixed[..8].copy_from_slice(b"CRLSEG01");
    fixed[8..8 + length].copy_from_slice(&bytes[..length]);
    let check = xxh3_64(&fixed[..48]);
    fixed[48..].copy_from_slice(&check.to_le_bytes());
    let Some(head) = Head::read(&fixed) else { return };
    assert!(head.first > 0, "numbers begin with 1");
    FILE.with_borrow(|file| {
        let file = file.try_clone().unwrap_or_else(|error| panic!("{error}"));
        let segment = Segment::new(1, "x".into(), file, head, 0, Lookup::Memory(Index::default()));
        assert!(segment.last.checked_add(1).is_some(), "no event can follow");
    });
}

/// An index in memory answers, and so does the file that is written of it, and both say the same.
fn is_answered(index: &Index, contents: &[u8]) {
    let tables = index.tables();
    for row in &tables.rows {
        let (start, end) = (row.place.offset as usize, row.place.offset as usize + row.place.bytes as usize);
        assert!(contents.get(start..end).and_then(record::item).is_some(), "a place where there is no item");
    }
    assert!(tables.rows.windows(2).all(|pair| pair[0].seq < pair[1].seq), "numbers do not ascend");
    let file = on_file(&IndexFile::encode(&tables, 1), 1, contents.len());
    let file = file.unwrap_or_else(|| panic!("an index that was written is not read"));
    asked(&file, &tables);
    let hashes: Vec<KeyHash> = tables.posts.iter().map(|post| post.key).collect();
    for hash in hashes.iter().take(8) {
        let listed: Vec<u64> = index.list(*hash).map(|row| row.seq).collect();
        let on_file = file.list(*hash, 0, usize::MAX).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(on_file.iter().map(|row| row.seq).collect::<Vec<_>>(), listed);
    }
    let again = file.tables().unwrap_or_else(|error| panic!("{error}"));
    assert_eq!((&again.rows, &again.kinds, &again.posts), (&tables.rows, &tables.kinds, &tables.posts));
    assert_eq!((&again.marks, &again.seen, &again.letters), (&tables.marks, &tables.seen, &tables.letters));
}

/// An index file whose checksum is right whatever else is in it.
fn index_file(bytes: &[u8]) {
    // Of a segment that has as many bytes.
    let segment_bytes = bytes.len() + HEAD_BYTES;
    let _ = on_file(bytes, 1, segment_bytes);
    let body = bytes.get(24..).unwrap_or(bytes);
    let fixed = [&b"CRLIDX02"[..], &1u64.to_le_bytes(), &xxh3_64(body).to_le_bytes(), body].concat();
    let Some(file) = on_file(&fixed, 1, segment_bytes) else { return };
    assert!(on_file(&fixed, 2, segment_bytes).is_none(), "another segment's index is taken");
    let Ok(tables) = file.tables() else { return };
    let places = tables.rows.iter().map(|row| row.place).chain(tables.letters.iter().map(|letter| letter.place));
    for place in places {
        let (start, end) = (place.offset as usize, place.offset as usize + place.bytes as usize);
        assert!(start >= HEAD_BYTES && end <= segment_bytes, "a place outside of the segment");
    }
    assert!(tables.rows.len() <= bytes.len() && tables.posts.len() <= bytes.len());
    asked(&file, &tables);
    let _ = IndexFile::encode(&tables, 1);
}

fn on_file(bytes: &[u8], id: u64, segment_bytes: usize) -> Option<IndexFile> {
    FILE.with_borrow_mut(|file| {
        let written = file.set_len(0).and_then(|()| file.rewind()).and_then(|()| file.write_all(bytes));
        let file = written.and_then(|()| file.try_clone()).unwrap_or_else(|error| panic!("{error}"));
        IndexFile::parse(file, bytes, id, segment_bytes as u64)
    })
}

/// No question to an index panics; errors are answers.
fn asked(file: &IndexFile, tables: &Tables) {
    let keys = tables.posts.iter().map(|post| post.key).chain(tables.marks.keys().copied()).chain([KeyHash(0)]);
    for key in keys.take(8) {
        let _ = (file.list(key, 0, 100), file.mark(key));
    }
    for row in tables.rows.iter().take(8) {
        let _ = (file.row(row.seq), file.last_before(row.stamp));
    }
    for (key, first) in tables.seen.iter().take(8) {
        let _ = file.first(*key, first.until);
    }
    let _ = (file.last_row(), file.row(u64::MAX), file.last_before(Timestamp(u64::MAX)), file.events(), file.seen_until());
    assert_eq!(file.letters(), tables.letters);
}
