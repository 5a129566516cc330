//! The WebSocket handshake, as RFC 6455, section 4.2, wants it.

use axum::{
    body::Body,
    http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Version, header, request::Parts},
    response::Response,
};
use data_encoding::BASE64;
use tungstenite::handshake::derive_accept_key;

use super::Problem;

/// A handshake that can be answered.
pub(super) struct Handshake {
    accept: HeaderValue,
}

impl Handshake {
    /// Takes a request that has all a handshake needs; says what is missing otherwise.
    pub(super) fn of(head: &Parts) -> Result<Self, Problem> {
        let headers = &head.headers;
        let offers = lines(headers, header::CONNECTION).any(|line| {
            let mut options = line.split(|b| *b == b',');
            options.any(|option| option.trim_ascii().eq_ignore_ascii_case(b"upgrade"))
        });
        let is = |name, value: &[u8]| headers.get(name).is_some_and(|line| line.as_bytes().eq_ignore_ascii_case(value));
        if head.method != Method::GET || head.version != Version::HTTP_11 || !offers || !is(header::UPGRADE, b"websocket") {
            return Err(not_websocket());
        }
        // Its bytes would be the first of the WebSocket for us, and part of the request for whoever is in front of us.
        if headers.contains_key(header::TRANSFER_ENCODING) || lines(headers, header::CONTENT_LENGTH).any(|bytes| bytes != b"0") {
            return Err(Problem::bad_request("framing_invalid", "a WebSocket handshake has no body").closing());
        }
        let mut keys = lines(headers, header::SEC_WEBSOCKET_KEY);
        let (key, more) = (keys.next().ok_or_else(no_key)?, keys.next());
        if !is(header::SEC_WEBSOCKET_VERSION, b"13") || lines(headers, header::SEC_WEBSOCKET_VERSION).count() != 1 {
            return Err(other_version());
        }
        if more.is_some() || !is_key(key) {
            return Err(no_key());
        }
        let accept = HeaderValue::from_str(&derive_accept_key(key)).map_err(|_| no_key())?;
        Ok(Self { accept })
    }

    /// 101, with one of the protocols that the client offered.
    pub(super) fn response(self, protocol: Option<&str>) -> Response {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        let headers = response.headers_mut();
        headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
        headers.insert(header::SEC_WEBSOCKET_ACCEPT, self.accept);
        if let Some(protocol) = protocol.and_then(|protocol| HeaderValue::from_str(protocol).ok()) {
            headers.insert(header::SEC_WEBSOCKET_PROTOCOL, protocol);
        }
        response
    }
}

fn lines(headers: &HeaderMap, name: HeaderName) -> impl Iterator<Item = &[u8]> {
    headers.get_all(name).into_iter().map(HeaderValue::as_bytes)
}

/// 16 bytes in base 64.
fn is_key(key: &[u8]) -> bool {
    const ENCODED_BYTES: usize = 24;
    let mut decoded = [0; 18];
    key.len() == ENCODED_BYTES && BASE64.decode_mut(key, &mut decoded).is_ok_and(|bytes| bytes == 16)
}

fn not_websocket() -> Problem {
    Problem::new(StatusCode::UPGRADE_REQUIRED, "upgrade_required", "this path speaks WebSocket; see /v1/sse for SSE")
        .with(header::UPGRADE, "websocket")
}

fn other_version() -> Problem {
    Problem::new(StatusCode::UPGRADE_REQUIRED, "websocket_version", "WebSocket version 13 is spoken here")
        .with(header::UPGRADE, "websocket")
        .with(header::SEC_WEBSOCKET_VERSION, "13")
}

fn no_key() -> Problem {
    Problem::bad_request("websocket_key", "a WebSocket handshake has one Sec-WebSocket-Key of 16 bytes")
}
