//! Control frames: `$hello`, `$gap`, `$ping`, `$auth`, `$bye`, `$error`; and the client's only message, `$auth`.
//!
//! They are built from our own words and numbers only; no text of a payload or of a client gets into one.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Close;
use crate::event::Position;

/// How a new session stands to the cursor it came with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Resume {
    /// It came without one.
    Fresh,
    /// Everything after it follows.
    Resumed,
    /// It cannot be served in full; `$gap` says why.
    Gap,
}

/// Why events may be missing between the client's cursor and the one in `$gap`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum GapReason {
    /// Retention removed events after the cursor.
    Evicted,
    /// The cursor is of another log.
    OtherEpoch,
    /// The cursor is ahead of the log.
    AheadOfHead,
    /// The text is not a cursor.
    InvalidCursor,
}

/// A frame of the server's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Control {
    /// The first frame of every session.
    Hello {
        /// A number for logs and support; it gives no rights.
        session: u64,
        /// Where the client stands before anything that follows.
        id: Position,
        /// The interval of pings.
        ping: Duration,
        /// What is left of the token's life.
        ttl: Duration,
        /// How it stands to the client's cursor.
        resume: Resume,
        /// How many events follow from the log before live ones.
        replayed: usize,
    },
    /// What lies between the client's cursor and `id` may be incomplete.
    Gap {
        /// The new cursor.
        id: Position,
        /// Why.
        reason: GapReason,
    },
    /// Alive.
    Ping,
    /// The new token counts.
    AuthOk {
        /// What is left of its life.
        ttl: Duration,
    },
    /// The client's message was not understood.
    BadMessage,
    /// The last frame.
    Bye(Close),
}

/// The members of every control frame, absent where a frame has none.
#[derive(Default, Serialize)]
struct Members {
    #[serde(rename = "type")]
    kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    v: Option<u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    session: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ping_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ok: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ttl_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    resume: Option<Resume>,
    #[serde(skip_serializing_if = "Option::is_none")]
    replayed: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_after_ms: Option<u64>,
}

impl Control {
    /// The frame's `type`, which is also the name of its SSE event.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Hello { .. } => "$hello",
            Self::Gap { .. } => "$gap",
            Self::Ping => "$ping",
            Self::AuthOk { .. } => "$auth",
            Self::BadMessage => "$error",
            Self::Bye(_) => "$bye",
        }
    }

    /// The cursor that the frame moves the client to.
    pub fn id(&self) -> Option<Position> {
        match self {
            Self::Hello { id, .. } | Self::Gap { id, .. } => Some(*id),
            _ => None,
        }
    }

    /// The frame as one JSON object.
    pub fn to_json(&self) -> String {
        let base = Members { kind: self.kind(), id: self.id().map(|id| id.to_string()), ..Members::default() };
        let members = match *self {
            Self::Hello { session, ping, ttl, resume, replayed, .. } => Members {
                v: Some(1),
                session: Some(format!("{session:x}")),
                ping_ms: Some(millis(ping)),
                ttl_ms: Some(millis(ttl)),
                resume: Some(resume),
                replayed: Some(replayed),
                ..base
            },
            Self::Gap { reason, .. } => Members { reason: Some(reason.as_str()), ..base },
            Self::Ping => base,
            Self::AuthOk { ttl } => Members { ok: Some(true), ttl_ms: Some(millis(ttl)), ..base },
            Self::BadMessage => Members { reason: Some("message_not_understood"), ..base },
            Self::Bye(close) => Members {
                code: Some(close.code.code()),
                reason: Some(close.code.reason()),
                retry_after_ms: close.retry_after.map(millis),
                ..base
            },
        };
        // Numbers and fixed words always serialise.
        serde_json::to_string(&members).unwrap_or_default()
    }

    /// The frame as a named SSE event, with an `id` line where it moves the cursor.
    pub fn to_sse(&self) -> String {
        let id = self.id().map(|id| format!("id: {id}\n")).unwrap_or_default();
        format!("event: {}\n{id}data: {}\n\n", self.kind(), self.to_json())
    }
}

impl GapReason {
    /// The reason on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Evicted => "evicted",
            Self::OtherEpoch => "other_epoch",
            Self::AheadOfHead => "ahead_of_head",
            Self::InvalidCursor => "invalid_cursor",
        }
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// What a client may send on a WebSocket. Not printable: it holds a token.
#[derive(Deserialize)]
#[serde(tag = "type")]
pub enum ClientMessage {
    /// Proves who the client is, or that it still is.
    #[serde(rename = "$auth")]
    Auth {
        /// A JWT.
        token: String,
    },
}

impl ClientMessage {
    /// Reads one text message; `None` if it is not one we know.
    pub fn parse(text: &str) -> Option<Self> {
        // Serde would take `["$auth","…"]` for it, too.
        text.trim_ascii_start().starts_with('{').then(|| serde_json::from_str(text).ok())?
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{event::Epoch, protocol::CloseCode};

    #[test]
    fn control_frames_are_what_the_protocol_says() {
        let id = Position { epoch: Epoch::from_random(0), seq: 9 };
        let (ping, ttl) = (Duration::from_secs(25), Duration::from_millis(61_500));
        let close = Close { code: CloseCode::Draining, retry_after: Some(Duration::from_millis(1234)) };
        let table = [
            (
                Control::Hello { session: 255, id, ping, ttl, resume: Resume::Resumed, replayed: 3 },
                r#"{"type":"$hello","v":1,"session":"ff","id":"0000000000:9","ping_ms":25000,"ttl_ms":61500,"resume":"resumed","replayed":3}"#,
            ),
            (
                Control::Gap { id, reason: GapReason::AheadOfHead },
                r#"{"type":"$gap","id":"0000000000:9","reason":"ahead_of_head"}"#,
            ),
            (Control::Ping, r#"{"type":"$ping"}"#),
            (Control::AuthOk { ttl }, r#"{"type":"$auth","ok":true,"ttl_ms":61500}"#),
            (Control::BadMessage, r#"{"type":"$error","reason":"message_not_understood"}"#),
            (Control::Bye(close), r#"{"type":"$bye","code":4000,"reason":"draining","retry_after_ms":1234}"#),
        ];
        for (control, json) in table {
            assert_eq!(control.to_json(), json);
        }
        assert_eq!(
            Control::Gap { id, reason: GapReason::Evicted }.to_sse(),
            "event: $gap\nid: 0000000000:9\ndata: {\"type\":\"$gap\",\"id\":\"0000000000:9\",\"reason\":\"evicted\"}\n\n"
        );
    }

    #[test]
    fn no_sse_event_has_a_name_that_browsers_treat_specially() {
        let id = Position { epoch: Epoch::from_random(0), seq: 0 };
        for control in [Control::Ping, Control::BadMessage, Control::Gap { id, reason: GapReason::Evicted }] {
            assert!(control.kind().starts_with('$'));
        }
    }

    #[test]
    fn only_auth_is_understood() {
        assert!(
            matches!(ClientMessage::parse(r#"{"type":"$auth","token":"t"}"#), Some(ClientMessage::Auth { token }) if token == "t")
        );
        for text in
            ["", "{}", "[]", r#"{"type":"$auth"}"#, r#"{"type":"$nope","token":"t"}"#, r#"{"type":"$auth","token":5}"#, "\0"]
        {
            assert!(ClientMessage::parse(text).is_none(), "{text}");
        }
    }

    #[test]
    fn a_list_of_the_members_values_is_no_message() {
        assert!(ClientMessage::parse(" \n{\"token\":\"t\",\"type\":\"$auth\"}").is_some());
        for text in [r#"["$auth","t"]"#, r#"["$auth",{"token":"t"}]"#, r#" [ "$auth" , "t" ] "#] {
            assert!(ClientMessage::parse(text).is_none(), "{text}");
        }
    }
}
