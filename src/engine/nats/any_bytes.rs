//! What holds for any bytes that the bus may bring. Whoever may write to it may write anything; nothing there is signed.
//!
//! A message is refused, or it is what a gateway of this release writes: encoded again, it is the same.

use std::time::Duration;

use bytes::Bytes;

use super::{
    control::Message,
    index::{Entry, Index, IndexLimits},
    letters,
    presence::{self, Presence},
    record::{self, Record},
    streams,
};
use crate::{
    engine::{Backlog, LetterId, Missed, Start},
    event::{Audience, Dedupe, Draft, Epoch, EventType, Position, Timestamp, UserKey},
};

const HERE: u64 = 42;
const DAY: Duration = Duration::from_hours(24);

/// The options begin with a letter for what the bytes are.
pub(crate) fn check(options: &[u8], bytes: &[u8]) {
    match options.first() {
        Some(b'w') => written(bytes),
        Some(b'n') => notice(bytes),
        Some(b'p') => word(bytes),
        Some(b'l') => letter(bytes),
        Some(b'd') => description(bytes),
        _ => event(bytes),
    }
}

fn position() -> Position {
    Position { epoch: Epoch::from_random(7), seq: HERE }
}

/// An event, as it comes and as it is read back.
fn event(bytes: &[u8]) {
    let Some(record) = Record::decode(bytes, HERE) else { return };
    let views: Vec<_> = record.views().collect();
    let keys: Vec<&str> = views.iter().flat_map(|view| view.keys.iter().copied()).collect();
    assert!(keys.len() * 2 <= bytes.len() && views.iter().all(|view| !view.keys.is_empty()));
    assert!(keys.iter().all(|key| record.names(|name| name == *key)));
    if let Some(first) = record.first.map(|(_, first)| first) {
        assert!(first.seq == HERE && first.until >= record.at);
    }
    let mine: Vec<UserKey> = keys.iter().filter_map(|key| UserKey::stored(key).ok()).collect();
    let frame = record.frame_for(&mine, position());
    if let Some(whole) = record.decode_views(position()) {
        assert_eq!(whole.len(), views.len());
        assert!(frame.is_none_or(|frame| whole.iter().any(|view| view.frame == frame)));
        for view in &whole {
            let json = std::str::from_utf8(view.frame.as_json()).unwrap_or_else(|error| panic!("{error}"));
            assert!(json.starts_with("{\"id\":\"") && serde_json::from_str::<serde::de::IgnoredAny>(json).is_ok(), "{json}");
            assert!(!json.contains(['\n', '\r']), "{json:?} is not one line");
        }
        is_written_alike(&record, bytes, whole.iter().map(|view| view.keys.clone()));
    }
    indexed(record, &keys);
}

/// What was read is written as it was.
fn is_written_alike(record: &Record<'_>, bytes: &[u8], keys: impl Iterator<Item = Vec<UserKey>>) {
    // Of a window that never ends its length is not known any more.
    if record.first.is_some_and(|(_, first)| first.until == Timestamp(u64::MAX)) {
        return;
    }
    let dedupe = record.first.map(|(key, first)| Dedupe { key, digest: first.digest, window: first.until.since(record.at) });
    let audiences = record.views().zip(keys).map(|(view, keys)| Audience { keys, members: view.members.to_owned() }).collect();
    let draft = Draft { kind: record.kind.clone(), at: record.at, audiences, dedupe };
    assert_eq!(record::encode(&draft, record.sender, record.age_us), bytes, "it is written in another way than it was read");
}

/// What the index keeps of an event is found, and goes when it is old.
fn indexed(record: Record<'_>, keys: &[&str]) {
    let limits = IndexLimits { max_age: DAY, max_events_per_user: 10, events_max: 10 };
    let mut index = Index::new(Epoch::from_random(7), 0, limits);
    let (at, first) = (record.at, record.first);
    index.append(Entry { seq: HERE, at, kind: record.kind, first }, keys.iter().copied());
    for key in keys.iter().take(8).filter_map(|key| UserKey::stored(key).ok().filter(|k| k.as_str() == *key)) {
        let query = Missed { keys: &[key], start: Start::Since(Timestamp(0)), upto: HERE, types: &[] };
        assert_eq!(index.missed(&query), Backlog::Complete(vec![HERE]));
    }
    if let Some((key, first)) = first {
        let kept = index.first(&key).unwrap_or_else(|| panic!("a first is not remembered"));
        assert!(kept.until <= first.until && kept.until <= at.plus(DAY), "it is remembered for longer than its event is kept");
    }
    // At the end of time nothing is old.
    if at < Timestamp(u64::MAX / 2) {
        index.retain(at.plus(DAY * 3));
        assert!(!index.has(HERE) && first.is_none_or(|(key, _)| index.first(&key).is_none()), "it is kept for ever");
    }
}

/// Events made of the bytes, written and read back; then one bit is turned.
fn written(bytes: &[u8]) {
    let (head, text) = bytes.split_at(bytes.len().min(16));
    let number = head.iter().fold(0_u64, |number, byte| number.rotate_left(5) ^ u64::from(*byte));
    let text = String::from_utf8_lossy(text);
    let people = text.split('\n').map(|person| person.split_once('\t').unwrap_or((person, "")));
    let audience = |(keys, members): (&str, &str)| Audience {
        keys: keys.split(' ').take(20).filter_map(|key| UserKey::parse(key, Some("acme")).ok()).collect(),
        members: members.replace('\r', " "),
    };
    let audiences: Vec<_> = people.take(20).map(audience).filter(|audience| !audience.keys.is_empty()).collect();
    let dedupe = Dedupe { key: [1; 16], digest: [2; 16], window: Duration::from_millis(number >> 32) };
    let dedupe = (number % 2 == 0).then_some(dedupe);
    let kind = text.split(' ').next().and_then(EventType::new).unwrap_or_else(EventType::unknown);
    let draft = Draft { kind, at: Timestamp(number >> 20), audiences, dedupe };
    let bytes = record::encode(&draft, number, 9);
    let record = Record::decode(&bytes, HERE).unwrap_or_else(|| panic!("what was written is not read"));
    assert_eq!((record.sender, record.at, record.age_us, &record.kind), (number, draft.at, 9, &draft.kind));
    assert_eq!(record.views().count(), draft.audiences.len());
    event(&bytes);
    let mut turned = bytes.to_vec();
    let at = usize::try_from(number % bytes.len() as u64).unwrap_or_default();
    turned[at] ^= 1 << (number % 8);
    event(&turned);
}

/// A notice, and where the next about the same is found.
fn notice(bytes: &[u8]) {
    let Some(message) = Message::decode(bytes) else { return };
    let (subject, node) = (message.what.subject(), message.node);
    assert!(subject.len() <= 40 && subject.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'.'), "{subject}");
    assert!(message.what.useless_at(Timestamp(5)) > Timestamp(5));
    let Some(notice) = message.what.notice() else { return };
    let again = Message::of(&node, &notice);
    assert_eq!(again.what.subject(), subject, "{notice:?} is said in another place");
    let read = Message::decode(&again.encode()).unwrap_or_else(|| panic!("{notice:?} is not read back"));
    assert_eq!((read.node, read.what.notice()), (node, Some(notice)));
}

/// What a gateway says of its sessions, between two words that make sense.
fn word(bytes: &[u8]) {
    let (presence, user) = (Presence::default(), UserKey::parse("acme:1", None).unwrap_or_else(|error| panic!("{error}")));
    presence.hear(&presence::message(1, 2, true, &[(3, 4)]), 0);
    if presence.hear(bytes, 0).is_some() {
        let number = |at: usize| u64::from_le_bytes(std::array::from_fn(|i| bytes[at + i]));
        let users: Vec<_> = (21..bytes.len()).step_by(10).map(|at| (number(at), number(at + 2) >> 48)).collect();
        let users: Vec<_> = users.iter().map(|(user, count)| (*user, u16::try_from(*count).unwrap_or_default())).collect();
        assert_eq!(presence::message(number(4), number(12), bytes[20] == 1, &users), bytes, "another spelling is taken");
        assert!(presence.of(&user) <= users.iter().map(|(_, count)| usize::from(*count)).sum());
    }
    presence.hear(&presence::message(1, 2, false, &[(3, 0)]), 0);
}

/// A dead letter, and its name.
fn letter(bytes: &[u8]) {
    let Some(letter) = letters::decode(&Bytes::copy_from_slice(bytes)) else { return };
    let written = letters::encode(&letter);
    assert_eq!(letters::decode(&written).as_ref(), Some(&letter));
    assert!(bytes.ends_with(&letter.body));
    let name = LetterId::of(&letter).to_string();
    assert!(!name.is_empty() && !name.contains(['.', '*', '>', ' ']), "{name} is no part of a subject");
}

/// The description of a stream, which carries the log's epoch.
fn description(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Some(epoch) = streams::epoch_in(text) {
        assert_eq!(streams::description(epoch), text);
    }
}
