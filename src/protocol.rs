//! `claimr.v1`: the frames that clients see, the one message they send, and the codes a session ends with.
//!
//! A frame is one JSON object. A business frame is encoded once per event and shared by every session on both carriers:
//! its bytes are already those of SSE, and WebSocket sends the JSON inside. docs/protocol.md is the full description.

mod close;
mod control;

use std::fmt::Write as _;

use bytes::Bytes;

use crate::event::{EventType, Position, UserKey};

pub use close::{Close, CloseCode};
pub use control::{ClientMessage, Control, GapReason, Resume};

/// The WebSocket subprotocol that the gateway speaks and echoes.
pub const SUBPROTOCOL: &str = "claimr.v1";
/// The prefix of the subprotocol that carries a token: `claimr.bearer.<jwt>`. Never echoed.
pub const BEARER_SUBPROTOCOL_PREFIX: &str = "claimr.bearer.";

/// One person's view of one event, encoded. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame(Bytes);

impl Frame {
    const ID: &str = "id: ";
    const DATA: &str = "\ndata: ";
    const END: &str = "\n\n";

    /// Encodes `{"id":"<position>",<members>}`. `members` holds JSON members without line breaks.
    pub fn encode(position: Position, members: &str) -> Self {
        debug_assert!(!members.contains(['\n', '\r']), "a line break would end the SSE field");
        let mut text = String::with_capacity(members.len() + 96);
        // Writing to a String cannot fail.
        let _ = write!(text, "{}{position}{}{{\"id\":\"{position}\",{members}}}{}", Self::ID, Self::DATA, Self::END);
        Self(text.into())
    }

    /// Takes bytes that [`Frame::as_sse`] gave before; `None` if they are not such bytes.
    pub fn from_stored(bytes: Bytes) -> Option<Self> {
        let text = std::str::from_utf8(&bytes).ok()?;
        let (id, data) = text.strip_prefix(Self::ID)?.strip_suffix(Self::END)?.split_once(Self::DATA)?;
        (id.parse::<Position>().is_ok() && !data.contains(['\n', '\r'])).then_some(Self(bytes))
    }

    /// The frame as an unnamed SSE event with its `id`.
    pub fn as_sse(&self) -> &Bytes {
        &self.0
    }

    /// The frame as the text of one WebSocket message.
    pub fn as_json(&self) -> &[u8] {
        let newline = self.0.iter().position(|b| *b == b'\n').unwrap_or(0);
        &self.0[newline + Self::DATA.len()..self.0.len() - Self::END.len()]
    }

    /// Bytes of memory that a queue accounts for.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Never true.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// A stored event on its way to the sessions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Published {
    /// Its number in the log.
    pub seq: u64,
    /// What clients filter by.
    pub kind: EventType,
    /// Each person's keys and view.
    pub views: Vec<View>,
}

/// What one person sees of an event, and under which keys that person listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct View {
    /// Never empty.
    pub keys: Vec<UserKey>,
    /// What to send.
    pub frame: Frame,
}

impl Published {
    /// The view for somebody who holds `keys`; a person named first comes first.
    pub fn view_for(&self, keys: &[UserKey]) -> Option<&View> {
        self.views.iter().find(|view| view.keys.iter().any(|key| keys.contains(key)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Epoch;

    #[test]
    fn a_frame_serves_both_carriers_from_the_same_bytes() {
        let position = Position { epoch: Epoch::from_random(7), seq: 1042 };
        let frame = Frame::encode(position, r#""type":"user_activity","at":1"#);
        let json = format!(r#"{{"id":"{position}","type":"user_activity","at":1}}"#);
        assert_eq!(frame.as_json(), json.as_bytes());
        assert_eq!(frame.as_sse()[..], *format!("id: {position}\ndata: {json}\n\n").as_bytes());
        assert_eq!(Frame::from_stored(frame.as_sse().clone()), Some(frame));
    }

    #[test]
    fn bytes_that_are_no_frame_are_not_taken_from_the_store() {
        for bytes in ["", "id: x\ndata: {}\n\n", "id: 7000000000:1\ndata: {}\n\nevent: error\n\n", "data: {}\n\n"] {
            assert_eq!(Frame::from_stored(bytes.into()), None, "{bytes:?}");
        }
    }
}
