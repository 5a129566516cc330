//! What holds for what any client sends.

use std::io::{self, Cursor, Read, Write};

use serde_json::Value;
use tungstenite::{
    Message,
    protocol::{Role, WebSocketConfig},
};

use super::code_of;
use crate::protocol::{ClientMessage, CloseCode};

/// `limits.client_message_bytes_max`.
const MESSAGE_BYTES_MAX: usize = 4_096;

/// The options: `t` for a message, `f` for frames that are made of the lines here, or `w` for bytes as they come on the socket.
pub(crate) fn check(options: &[u8], input: &[u8]) {
    match options.first() {
        Some(b'w') => read(input),
        Some(b'f') => read(&frames(input)),
        _ => _ = std::str::from_utf8(input).map(message),
    }
}

/// Only an object that says `$auth` and has a token is understood, by any reader of JSON.
fn message(text: &str) {
    let Some(ClientMessage::Auth { token }) = ClientMessage::parse(text) else { return };
    let json: Value = serde_json::from_str(text).unwrap_or_else(|error| panic!("understood, but no JSON: {error}"));
    assert!(json.is_object(), "understood, but no object: {text}");
    assert_eq!((json["type"].as_str(), json["token"].as_str()), (Some("$auth"), Some(&*token)), "{text}");
}

/// Each line is a frame: two bytes of head, whose length is put right, then the payload. The mask is zero.
fn frames(lines: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    for line in lines.split(|byte| *byte == b'\n') {
        let (head, payload) = line.split_at(line.len().min(1));
        out.push(head.first().copied().unwrap_or(0x81));
        match u16::try_from(payload.len()) {
            Ok(length @ 0..126) => out.push(0x80 | length.to_le_bytes()[0]),
            Ok(length) => {
                out.push(0xfe);
                out.extend(length.to_be_bytes());
            }
            Err(_) => {
                out.push(0xff);
                out.extend((payload.len() as u64).to_be_bytes());
            }
        }
        out.extend([0; 4]);
        out.extend(payload);
    }
    out
}

/// Whatever bytes come, what they say is short and sound, what is answered is little, and a fault ends it with a code for the client.
fn read(bytes: &[u8]) {
    let config = WebSocketConfig::default()
        .read_buffer_size(512)
        .write_buffer_size(16 * 1_024)
        .max_write_buffer_size(4 * 1_024 * 1_024)
        .max_message_size(Some(MESSAGE_BYTES_MAX))
        .max_frame_size(Some(MESSAGE_BYTES_MAX));
    let wire = Wire { incoming: Cursor::new(bytes), written: 0 };
    let mut socket = tungstenite::WebSocket::from_raw_socket(wire, Role::Server, Some(config));
    // Each message takes two bytes at least.
    for _ in 0..=bytes.len() / 2 + 1 {
        match socket.read() {
            Ok(Message::Text(text)) => {
                assert!(text.len() <= MESSAGE_BYTES_MAX);
                message(&text);
            }
            Ok(other) => assert!(other.len() <= MESSAGE_BYTES_MAX),
            Err(error) => {
                is_told(&error);
                assert!(socket.get_ref().written <= bytes.len() + 64, "{} bytes are answered", socket.get_ref().written);
                return;
            }
        }
    }
    panic!("more messages than bytes");
}

/// A broken frame has a code; only a connection that just ends has none.
fn is_told(error: &tungstenite::Error) {
    use tungstenite::{Error, error::ProtocolError};
    let just_ends = matches!(
        error,
        Error::ConnectionClosed
            | Error::AlreadyClosed
            | Error::Io(_)
            | Error::Protocol(ProtocolError::ResetWithoutClosingHandshake)
    );
    let text = error.to_string();
    let code = code_of(error);
    assert_eq!(code.is_none(), just_ends, "{text}: {code:?}");
    let rfc = [CloseCode::TooBig, CloseCode::InvalidText, CloseCode::ProtocolError];
    assert!(code.is_none_or(|code| rfc.contains(&code)), "{text}: {code:?}");
}

/// A socket from which the client's bytes come at once.
struct Wire<'a> {
    incoming: Cursor<&'a [u8]>,
    written: usize,
}

impl Read for Wire<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.incoming.read(buffer)
    }
}

impl Write for Wire<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.written += bytes.len();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
