//! Why a session ends: the number in `$bye.code`, which is also the WebSocket close code.
//!
//! Clients act by range: 40xx come back, 41xx come back with a new token, 42xx slow down, 44xx stay away.

use std::time::Duration;

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $code:literal, $reason:literal;)*) => {
        /// A reason to end a session.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum CloseCode { $($(#[$doc])* $name,)* }

        impl CloseCode {
            /// Every code, for tables and tests.
            pub const ALL: &[Self] = &[$(Self::$name),*];

            /// The number on the wire.
            pub fn code(self) -> u16 {
                match self { $(Self::$name => $code,)* }
            }

            /// The reason on the wire: lower-case words joined by `_`.
            pub fn reason(self) -> &'static str {
                match self { $(Self::$name => $reason,)* }
            }
        }
    };
}

codes! {
    /// The node is shutting down; another one takes over.
    Draining = 4000, "draining";
    /// The client read too slowly; its cursor brings it back without loss.
    SlowConsumer = 4001, "slow_consumer";
    /// No pong came in time.
    NoPong = 4002, "no_pong";
    /// The log failed or was replaced under the session.
    StateReplaced = 4003, "state_replaced";
    /// The token's life is over.
    TokenExpired = 4100, "token_expired";
    /// The token does not prove anything to this gateway.
    TokenRejected = 4101, "token_rejected";
    /// The token or its user was revoked.
    TokenRevoked = 4102, "token_revoked";
    /// No token came in time.
    TokenMissing = 4103, "token_missing";
    /// The node is full.
    Overloaded = 4200, "overloaded";
    /// The user has too many sessions.
    TooManySessions = 4201, "too_many_sessions";
    /// The client sends too much.
    RateExceeded = 4202, "rate_exceeded";
    /// The client's messages make no sense.
    BadRequest = 4400, "bad_request";
    /// The client asked for what its token does not allow.
    Forbidden = 4403, "forbidden";
    /// The client speaks another version of the protocol.
    ProtocolVersion = 4406, "protocol_version";
    /// A newer session took this one's place.
    Replaced = 4409, "replaced";
    /// RFC 6455: a frame breaks the protocol.
    ProtocolError = 1002, "protocol_error";
    /// RFC 6455: binary messages are not taken.
    Unsupported = 1003, "unsupported_data";
    /// RFC 6455: text that is not UTF-8.
    InvalidText = 1007, "invalid_text";
    /// RFC 6455: a message over the limit.
    TooBig = 1009, "message_too_big";
}

/// The end of a session as the client is told: code, reason, and how long to stay away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Close {
    /// Why.
    pub code: CloseCode,
    /// How long the client should wait before it comes back; absent where the client's own back-off is right.
    pub retry_after: Option<Duration>,
}

impl From<CloseCode> for Close {
    fn from(code: CloseCode) -> Self {
        Self { code, retry_after: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_of_ours_is_in_the_protocol_document() {
        let document = include_str!("../../docs/protocol.md");
        for code in CloseCode::ALL.iter().filter(|code| code.code() >= 4000) {
            let row = format!("| {} | `{}` |", code.code(), code.reason());
            assert!(document.contains(&row), "docs/protocol.md has no row `{row}`");
        }
    }

    #[test]
    fn no_two_reasons_share_a_code() {
        let codes: std::collections::BTreeSet<u16> = CloseCode::ALL.iter().map(|code| code.code()).collect();
        assert_eq!(codes.len(), CloseCode::ALL.len());
    }
}
