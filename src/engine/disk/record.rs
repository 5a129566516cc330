//! What a segment is made of, byte by byte: items, little-endian, each with its length and checksum, in groups.
//!
//! ```text
//! group = "CRLG" length:u32 xxh3(body):u64 body        one commit: all of it counts, or nothing
//! body  = item*
//! item  = length:u32 xxh3(payload):u32 payload         so that a single record can be read and checked alone
//! ```
//! A payload begins with its tag. Nothing here panics on any bytes; what cannot be decoded is `None`.

use bytes::Bytes;
use xxhash_rust::xxh3::xxh3_64;

use crate::{
    engine::first::First,
    event::{DeadLetter, DeadReason, Dedupe, EventType, Timestamp, UserKey},
    protocol::{Frame, View},
};

const GROUP_MAGIC: [u8; 4] = *b"CRLG";
/// Bytes of a group before its body.
pub(super) const GROUP_HEAD: usize = 16;
/// Bytes of an item before its payload.
pub(super) const ITEM_HEAD: usize = 8;

const TAG_EVENT: u8 = 1;
const TAG_LETTER: u8 = 2;
const TAG_MARK: u8 = 3;
const TAG_SEEN: u8 = 4;

/// Begins a group at the end of `out`; [`end_group`] completes it.
pub(super) fn begin_group(out: &mut Vec<u8>) -> usize {
    out.extend_from_slice(&[0; GROUP_HEAD]);
    out.len()
}

/// Completes the group whose body begins at `body`.
pub(super) fn end_group(out: &mut [u8], body: usize) {
    let Some((head, body)) = out.split_at_mut_checked(body) else { return };
    let start = head.len() - GROUP_HEAD;
    head[start..start + 4].copy_from_slice(&GROUP_MAGIC);
    head[start + 4..start + 8].copy_from_slice(&length(body.len()).to_le_bytes());
    head[start + 8..].copy_from_slice(&xxh3_64(body).to_le_bytes());
}

/// The body of the group at the start of `bytes`, if a whole and sound one is there.
pub(super) fn group(bytes: &[u8]) -> Option<&[u8]> {
    let mut read = Reader(bytes);
    (read.take(4)? == GROUP_MAGIC).then_some(())?;
    let length = read.u32()? as usize;
    let check = read.u64()?;
    let body = read.take(length)?;
    (xxh3_64(body) == check).then_some(body)
}

/// Whether a whole and sound group begins anywhere in `bytes`.
pub(super) fn has_group(bytes: &[u8]) -> bool {
    bytes.windows(GROUP_MAGIC.len()).enumerate().any(|(at, window)| window == GROUP_MAGIC && group(&bytes[at..]).is_some())
}

/// The items of a group's body, each with its place in the body; ends early with `None` if the body is not made of items.
pub(super) fn items(body: &[u8]) -> impl Iterator<Item = Option<(usize, &[u8])>> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let rest = body.get(at..).filter(|rest| !rest.is_empty())?;
        let payload = item(rest);
        let found = payload.map(|payload| (at, payload));
        at = payload.map_or(body.len(), |payload| at + ITEM_HEAD + payload.len());
        Some(found)
    })
}

/// The payload of the item at the start of `bytes`, if it is whole and sound.
pub(super) fn item(bytes: &[u8]) -> Option<&[u8]> {
    let mut read = Reader(bytes);
    let length = read.u32()? as usize;
    let check = read.u32()?;
    let payload = read.take(length)?;
    (short_check(payload) == check).then_some(payload)
}

/// Appends an item whose payload `write` appends.
fn put_item(out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    let head = out.len();
    out.extend_from_slice(&[0; ITEM_HEAD]);
    write(out);
    let payload = &out[head + ITEM_HEAD..];
    let (size, check) = (length(payload.len()), short_check(payload));
    out[head..head + 4].copy_from_slice(&size.to_le_bytes());
    out[head + 4..head + 8].copy_from_slice(&check.to_le_bytes());
}

fn short_check(payload: &[u8]) -> u32 {
    u32::try_from(xxh3_64(payload) >> 32).unwrap_or_default()
}

/// Webhooks are far smaller than 4 GiB; what is not ends as an item that does not check out.
fn length(bytes: usize) -> u32 {
    u32::try_from(bytes).unwrap_or(u32::MAX)
}

/// Appends an event.
pub(super) fn put_event(out: &mut Vec<u8>, head: &EventHead, dedupe: Option<&Dedupe>, views: &[View]) {
    put_item(out, |out| {
        out.push(TAG_EVENT);
        for number in [head.seq, head.at.0, head.stamp.0] {
            out.extend_from_slice(&number.to_le_bytes());
        }
        put_text(out, head.kind.as_str());
        out.push(u8::from(dedupe.is_some()));
        if let Some(dedupe) = dedupe {
            put_first(out, dedupe.key, &First::new(dedupe, head.seq, head.at));
        }
        out.extend_from_slice(&length(views.len()).to_le_bytes());
        for view in views {
            out.extend_from_slice(&length(view.keys.len()).to_le_bytes());
            view.keys.iter().for_each(|key| put_text(out, key.as_str()));
            put_bytes(out, view.frame.as_sse());
        }
    });
}

/// Appends a dead letter under its number in the lane.
pub(super) fn put_letter(out: &mut Vec<u8>, number: u64, digest: [u8; 16], letter: &DeadLetter) {
    put_item(out, |out| {
        out.push(TAG_LETTER);
        out.extend_from_slice(&number.to_le_bytes());
        out.extend_from_slice(&digest);
        out.extend_from_slice(&letter.at.0.to_le_bytes());
        put_text(out, &letter.source);
        put_text(out, letter.scope.as_ref().map_or("", EventType::as_str));
        out.push(match letter.reason {
            DeadReason::PayloadInvalid => 0,
            DeadReason::NoUser => 1,
        });
        put_bytes(out, &letter.body);
    });
}

/// Appends the highest number that retention took from a key's list.
pub(super) fn put_mark(out: &mut Vec<u8>, key: KeyHash, seq: u64) {
    put_item(out, |out| {
        out.push(TAG_MARK);
        out.extend_from_slice(&key.0.to_le_bytes());
        out.extend_from_slice(&seq.to_le_bytes());
    });
}

/// Appends what is remembered of an event that is gone, while a repetition of it may still arrive.
pub(super) fn put_seen(out: &mut Vec<u8>, key: [u8; 16], first: &First) {
    put_item(out, |out| {
        out.push(TAG_SEEN);
        put_first(out, key, first);
    });
}

/// Appends what [`Reader::first`] reads.
pub(super) fn put_first(out: &mut Vec<u8>, key: [u8; 16], first: &First) {
    out.extend_from_slice(&key);
    out.extend_from_slice(&first.digest);
    out.extend_from_slice(&first.seq.to_le_bytes());
    out.extend_from_slice(&first.until.0.to_le_bytes());
}

fn put_text(out: &mut Vec<u8>, text: &str) {
    put_bytes(out, text.as_bytes());
}

fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend_from_slice(&length(bytes.len()).to_le_bytes());
    out.extend_from_slice(bytes);
}

/// A user key as the indexes know it: seeded per log, so that nobody can prepare two keys that share one.
///
/// Should two share one all the same, one of them may be sent a `$gap` too many: what is delivered is decided by the keys in
/// the record itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct KeyHash(pub(super) u64);

impl KeyHash {
    pub(super) fn new(key: &str, seed: u64) -> Self {
        Self(xxhash_rust::xxh3::xxh3_64_with_seed(key.as_bytes(), seed))
    }
}

/// What an index needs to know of an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct EventHead {
    pub(super) seq: u64,
    /// When the gateway received it.
    pub(super) at: Timestamp,
    /// When it was stored; never before that of its predecessor.
    pub(super) stamp: Timestamp,
    pub(super) kind: EventType,
}

/// A decoded item.
pub(super) enum Item<'a> {
    Event(EventHead, Option<([u8; 16], First)>, Views<'a>),
    Letter(u64, [u8; 16], Letter<'a>),
    Mark(KeyHash, u64),
    Seen([u8; 16], First),
}

impl<'a> Item<'a> {
    pub(super) fn decode(payload: &'a [u8]) -> Option<Self> {
        let mut read = Reader(payload);
        let item = match read.u8()? {
            TAG_EVENT => {
                let (seq, at, stamp) = (read.u64()?, Timestamp(read.u64()?), Timestamp(read.u64()?));
                let kind = EventType::new(read.text()?)?;
                let first = if read.u8()? == 1 { Some(read.first()?) } else { None };
                return Some(Self::Event(EventHead { seq, at, stamp, kind }, first, Views { payload, read }));
            }
            TAG_LETTER => return Some(Self::Letter(read.u64()?, read.array()?, Letter { payload, read })),
            TAG_MARK => Self::Mark(KeyHash(read.u64()?), read.u64()?),
            TAG_SEEN => {
                let (key, first) = read.first()?;
                Self::Seen(key, first)
            }
            _ => return None,
        };
        read.0.is_empty().then_some(item)
    }
}

/// The views of an event, not yet decoded.
pub(super) struct Views<'a> {
    payload: &'a [u8],
    read: Reader<'a>,
}

impl Views<'_> {
    /// The keys of everybody whom the event concerns.
    pub(super) fn keys(&self) -> Option<Vec<&str>> {
        let mut read = self.read;
        let mut keys = Vec::new();
        for _ in 0..read.u32()? {
            for _ in 0..read.u32()? {
                keys.push(read.text()?);
            }
            read.bytes()?;
        }
        Some(keys)
    }

    /// Everybody's keys and frames, the latter parts of `payload`, which holds these bytes.
    pub(super) fn decode(&self, payload: &Bytes) -> Option<Vec<View>> {
        debug_assert_eq!(self.payload.len(), payload.len());
        let mut read = self.read;
        let mut views = Vec::new();
        for _ in 0..read.u32()? {
            let keys = (0..read.u32()?).map(|_| UserKey::stored(read.text()?).ok()).collect::<Option<_>>()?;
            let bytes = read.bytes()?.len();
            let end = payload.len() - read.0.len();
            views.push(View { keys, frame: Frame::from_stored(payload.slice(end - bytes..end))? });
        }
        Some(views)
    }

    /// The frame for somebody who holds `wanted`, a part of `payload`, which holds these bytes; `None` if it has none.
    pub(super) fn frame_for(&self, wanted: &[UserKey], payload: &Bytes) -> Result<Option<Frame>, Undecodable> {
        debug_assert_eq!(self.payload.len(), payload.len());
        let mut read = self.read;
        for _ in 0..read.u32().ok_or(Undecodable)? {
            let mut concerned = false;
            for _ in 0..read.u32().ok_or(Undecodable)? {
                let key = read.text().ok_or(Undecodable)?;
                concerned |= wanted.iter().any(|wanted| wanted.as_str() == key);
            }
            let bytes = read.bytes().ok_or(Undecodable)?.len();
            if concerned {
                let end = payload.len() - read.0.len();
                return Frame::from_stored(payload.slice(end - bytes..end)).map(Some).ok_or(Undecodable);
            }
        }
        Ok(None)
    }
}

/// The bytes are not what this release writes.
pub(super) struct Undecodable;

/// A dead letter, not yet decoded.
pub(super) struct Letter<'a> {
    payload: &'a [u8],
    read: Reader<'a>,
}

impl Letter<'_> {
    /// The letter, its body a part of `payload`, which holds these bytes.
    pub(super) fn decode(&self, payload: &Bytes) -> Option<DeadLetter> {
        debug_assert_eq!(self.payload.len(), payload.len());
        let mut read = self.read;
        let at = Timestamp(read.u64()?);
        let source = read.text()?.to_owned();
        let scope = Some(read.text()?).filter(|scope| !scope.is_empty());
        let scope = if let Some(scope) = scope { Some(EventType::new(scope)?) } else { None };
        let reason = match read.u8()? {
            0 => DeadReason::PayloadInvalid,
            1 => DeadReason::NoUser,
            _ => return None,
        };
        let body = read.bytes()?.len();
        (read.0.is_empty()).then(|| DeadLetter { at, source, scope, reason, body: payload.slice(payload.len() - body..) })
    }
}

/// Takes values off the front of bytes, as far as there are any.
#[derive(Clone, Copy)]
pub(super) struct Reader<'a>(pub(super) &'a [u8]);

impl<'a> Reader<'a> {
    pub(super) fn take(&mut self, bytes: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(bytes)?;
        self.0 = rest;
        Some(taken)
    }

    pub(super) fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }

    pub(super) fn u8(&mut self) -> Option<u8> {
        Some(self.array::<1>()?[0])
    }

    pub(super) fn u32(&mut self) -> Option<u32> {
        Some(u32::from_le_bytes(self.array()?))
    }

    pub(super) fn u64(&mut self) -> Option<u64> {
        Some(u64::from_le_bytes(self.array()?))
    }

    pub(super) fn bytes(&mut self) -> Option<&'a [u8]> {
        let length = self.u32()? as usize;
        self.take(length)
    }

    pub(super) fn text(&mut self) -> Option<&'a str> {
        std::str::from_utf8(self.bytes()?).ok()
    }

    pub(super) fn first(&mut self) -> Option<([u8; 16], First)> {
        let (key, digest) = (self.array()?, self.array()?);
        Some((key, First { digest, seq: self.u64()?, until: Timestamp(self.u64()?) }))
    }
}
