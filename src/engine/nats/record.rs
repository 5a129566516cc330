//! An event as a message on the bus, byte by byte, little-endian.
//!
//! ```text
//! "CRE" version:u8  sender:u64 at:u64 age_us:u32  kind:text  0 | 1 key:16 digest:16 window_ms:u64  views:u32 (keys:u32 key:text* members:bytes)*
//! text = length:u16 bytes          bytes = length:u32 bytes
//! ```
//! Whoever may write to the stream may write anything. So whatever comes from the bus is taken as a whole or not at all: nothing here panics
//! on any bytes, and what a client would be sent cannot break out of its frame.

use bytes::{Buf, BufMut, Bytes};
use serde::de::IgnoredAny;

use crate::{
    engine::first::First,
    event::{Dedupe, Draft, EventType, Position, Timestamp, UserKey},
    protocol::{Frame, View},
};

const MAGIC: [u8; 3] = *b"CRE";
/// A later release that changes the form counts on; this one leaves such messages alone.
const VERSION: u8 = 1;
/// Far more than any event names: the two people of a webhook have 64 keys each at most, and `publish` takes 64 users and 64 campaigns. A
/// forger's message of a million keys would stay in the index of every gateway.
const KEYS_MAX: usize = 1_024;

/// Makes the message of `draft`. `sender` is a number by which its sender knows it again; `age_us` is how long ago its webhook came.
pub(super) fn encode(draft: &Draft, sender: u64, age_us: u32) -> Bytes {
    let size: usize =
        draft.audiences.iter().map(|a| a.members.len() + a.keys.iter().map(|k| k.as_str().len() + 2).sum::<usize>()).sum();
    let mut out = Vec::with_capacity(size + 160);
    out.put_slice(&MAGIC);
    out.put_u8(VERSION);
    out.put_u64_le(sender);
    out.put_u64_le(draft.at.0);
    out.put_u32_le(age_us);
    put_text(&mut out, draft.kind.as_str());
    out.put_u8(u8::from(draft.dedupe.is_some()));
    if let Some(dedupe) = &draft.dedupe {
        out.put_slice(&dedupe.key);
        out.put_slice(&dedupe.digest);
        // What a webhook's window comes to in milliseconds fits by far.
        out.put_u64_le(u64::try_from(dedupe.window.as_millis()).unwrap_or(u64::MAX));
    }
    out.put_u32_le(long(draft.audiences.len()));
    for audience in &draft.audiences {
        out.put_u32_le(long(audience.keys.len()));
        audience.keys.iter().for_each(|key| put_text(&mut out, key.as_str()));
        out.put_u32_le(long(audience.members.len()));
        out.put_slice(audience.members.as_bytes());
    }
    out.into()
}

fn put_text(out: &mut Vec<u8>, text: &str) {
    out.put_u16_le(short(text.len()));
    out.put_slice(text.as_bytes());
}

/// Keys and types are far shorter; what is not ends as a message that cannot be decoded.
fn short(length: usize) -> u16 {
    u16::try_from(length).unwrap_or(u16::MAX)
}

/// No webhook is that long.
fn long(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX)
}

/// A message that can be read to its end.
#[derive(Debug)]
pub(super) struct Record<'a> {
    /// Its sender's own number for it.
    pub(super) sender: u64,
    /// When a gateway received it.
    pub(super) at: Timestamp,
    /// How old it was when it was sent, in µs.
    pub(super) age_us: u32,
    pub(super) kind: EventType,
    /// What is remembered to recognise a repetition, but for its number.
    pub(super) first: Option<([u8; 16], First)>,
    views: &'a [u8],
}

impl<'a> Record<'a> {
    /// Reads a message that stands at `seq`; `None` if this release would not have written it.
    pub(super) fn decode(message: &'a [u8], seq: u64) -> Option<Self> {
        let mut read = message;
        if take(&mut read, 4)? != [MAGIC.as_slice(), &[VERSION]].concat() {
            return None;
        }
        let (sender, at, age_us) =
            (read.try_get_u64_le().ok()?, Timestamp(read.try_get_u64_le().ok()?), read.try_get_u32_le().ok()?);
        let kind = EventType::new(text(&mut read)?)?;
        let first = match read.try_get_u8().ok()? {
            0 => None,
            1 => {
                let (key, digest) = (take(&mut read, 16)?.try_into().ok()?, take(&mut read, 16)?.try_into().ok()?);
                let until = Timestamp(at.0.saturating_add(read.try_get_u64_le().ok()?));
                Some((key, First { digest, seq, until }))
            }
            _ => return None,
        };
        let record = Self { sender, at, age_us, kind, first, views: read };
        record.is_whole().then_some(record)
    }

    /// Whether there are views, and nothing but views.
    fn is_whole(&self) -> bool {
        let (mut views, mut keys) = (self.views(), 0);
        let is_named = |view: RawView<'_>| {
            keys += view.keys.len();
            !view.keys.is_empty() && keys <= KEYS_MAX
        };
        views.by_ref().all(is_named) && views.left > 0 && views.rest.is_some_and(<[u8]>::is_empty)
    }

    /// Each person's keys and members.
    pub(super) fn views(&self) -> Views<'a> {
        let mut rest = self.views;
        let left = rest.try_get_u32_le().ok();
        Views { left: left.map_or(0, |count| count.saturating_add(1)), rest: left.map(|_| rest) }
    }

    /// Whether `wanted` is among anybody's keys.
    pub(super) fn names(&self, mut wanted: impl FnMut(&str) -> bool) -> bool {
        self.views().any(|view| view.keys.iter().any(|key| wanted(key)))
    }

    /// Everybody's keys and frames at `position`.
    pub(super) fn decode_views(&self, position: Position) -> Option<Vec<View>> {
        let decode = |view: RawView<'_>| {
            let keys = view.keys.iter().map(|key| user_key(key)).collect::<Option<_>>()?;
            Some(View { keys, frame: frame(position, view.members)? })
        };
        self.views().map(decode).collect()
    }

    /// The frame for somebody who holds `wanted`, if it concerns them and can be sent.
    pub(super) fn frame_for(&self, wanted: &[UserKey], position: Position) -> Option<Frame> {
        let concerns = |view: &RawView<'_>| wanted.iter().any(|wanted| view.keys.contains(&wanted.as_str()));
        self.views().find(concerns).and_then(|view| frame(position, view.members))
    }
}

/// A key as it would be written again: one that is spelled otherwise could never be listened to.
fn user_key(text: &str) -> Option<UserKey> {
    UserKey::stored(text).ok().filter(|key| key.as_str() == text)
}

/// Members that make no JSON object, or that would end their line, are a forger's.
fn frame(position: Position, members: &str) -> Option<Frame> {
    if members.contains(['\n', '\r']) {
        return None;
    }
    let frame = Frame::encode(position, members);
    serde_json::from_slice::<IgnoredAny>(frame.as_json()).ok()?;
    Some(frame)
}

/// One person's part of a message.
pub(super) struct RawView<'a> {
    pub(super) keys: Vec<&'a str>,
    pub(super) members: &'a str,
}

/// The persons' parts, as far as they can be read.
pub(super) struct Views<'a> {
    /// One more than are left, so that "none were announced" and "all were read" differ; 0: unreadable.
    left: u32,
    rest: Option<&'a [u8]>,
}

impl<'a> Iterator for Views<'a> {
    type Item = RawView<'a>;

    fn next(&mut self) -> Option<RawView<'a>> {
        if self.left <= 1 {
            return None;
        }
        let mut rest = self.rest.take()?;
        let view = raw_view(&mut rest)?;
        self.left -= 1;
        self.rest = Some(rest);
        Some(view)
    }
}

fn raw_view<'a>(read: &mut &'a [u8]) -> Option<RawView<'a>> {
    let keys = usize::try_from(read.try_get_u32_le().ok()?).ok().filter(|keys| *keys <= KEYS_MAX)?;
    let keys = (0..keys).map(|_| text(read)).collect::<Option<Vec<_>>>()?;
    let bytes = read.try_get_u32_le().ok()? as usize;
    Some(RawView { keys, members: std::str::from_utf8(take(read, bytes)?).ok()? })
}

fn text<'a>(read: &mut &'a [u8]) -> Option<&'a str> {
    let bytes = usize::from(read.try_get_u16_le().ok()?);
    std::str::from_utf8(take(read, bytes)?).ok()
}

fn take<'a>(read: &mut &'a [u8], bytes: usize) -> Option<&'a [u8]> {
    let (taken, rest) = read.split_at_checked(bytes)?;
    *read = rest;
    Some(taken)
}

/// How repetitions of an event are named to the server: two gateways that take the same webhook at the same moment name it alike, and the
/// server keeps one. `after` is the number of the event that had this key before, once its window is over.
pub(super) fn message_id(dedupe: &Dedupe, after: u64) -> String {
    format!("{}.{after}", data_encoding::HEXLOWER.encode(&dedupe.key))
}

#[cfg(test)]
mod tests;
