//! What a WebSocket handshake has to bring (RFC 6455, section 4.2.1). axum asks only that there is some key.

use axum::{
    extract::ws::{WebSocketUpgrade, rejection::WebSocketUpgradeRejection},
    http::{HeaderMap, StatusCode, header},
};
use data_encoding::BASE64;

use super::Problem;

pub(super) fn check(
    headers: &HeaderMap,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Result<WebSocketUpgrade, Problem> {
    let upgrade = upgrade.map_err(|rejection| refused(&rejection))?;
    if headers.get_all(header::SEC_WEBSOCKET_VERSION).iter().count() != 1 {
        return Err(other_version());
    }
    let mut keys = headers.get_all(header::SEC_WEBSOCKET_KEY).iter();
    match (keys.next(), keys.next()) {
        (Some(key), None) if is_key(key.as_bytes()) => Ok(upgrade),
        _ => Err(no_key()),
    }
}

/// 16 bytes in base 64.
fn is_key(key: &[u8]) -> bool {
    const ENCODED_BYTES: usize = 24;
    let mut decoded = [0; 18];
    key.len() == ENCODED_BYTES && BASE64.decode_mut(key, &mut decoded).is_ok_and(|bytes| bytes == 16)
}

fn refused(rejection: &WebSocketUpgradeRejection) -> Problem {
    use WebSocketUpgradeRejection as R;
    match rejection {
        R::InvalidWebSocketVersionHeader(_) => other_version(),
        R::WebSocketKeyHeaderMissing(_) => no_key(),
        _ => Problem::new(StatusCode::UPGRADE_REQUIRED, "upgrade_required", "this path speaks WebSocket; see /v1/sse for SSE")
            .with(header::UPGRADE, "websocket"),
    }
}

fn other_version() -> Problem {
    Problem::new(StatusCode::UPGRADE_REQUIRED, "websocket_version", "WebSocket version 13 is spoken here")
        .with(header::UPGRADE, "websocket")
        .with(header::SEC_WEBSOCKET_VERSION, "13")
}

fn no_key() -> Problem {
    Problem::bad_request("websocket_key", "a WebSocket handshake has one Sec-WebSocket-Key of 16 bytes")
}
