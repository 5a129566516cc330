//! One connection of a sender: a webhook, its answer, the next.

use std::{
    io::{ErrorKind, Read as _, Write as _},
    net::TcpStream,
};

use memchr::memmem;

/// One connection.
pub(crate) struct Sender {
    pub(crate) socket: TcpStream,
    /// The number of the webhook that waits for its answer, if one does.
    pub(crate) waits_for: Option<u64>,
    /// Bytes that the socket would not take at once.
    unsent: Vec<u8>,
    answer: Vec<u8>,
}

/// What came.
pub(crate) enum Heard {
    /// Not all of it yet.
    Part,
    /// 2xx.
    Good,
    /// Another status.
    Bad(String),
    /// The connection is of no use any more.
    Broken(String),
}

impl Sender {
    pub(crate) fn new(socket: TcpStream) -> Self {
        Self { socket, waits_for: None, unsent: Vec::new(), answer: Vec::new() }
    }

    /// Begins to send; true if all of it is on its way.
    pub(crate) fn send(&mut self, request: &[u8], seq: u64) -> bool {
        self.waits_for = Some(seq);
        match self.socket.write(request) {
            Ok(count) if count == request.len() => true,
            Ok(count) => {
                self.unsent.extend_from_slice(&request[count..]);
                false
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::NotConnected) => {
                self.unsent.extend_from_slice(request);
                false
            }
            // Whoever reads hears what is wrong.
            Err(_) => true,
        }
    }

    /// Goes on sending; true if all of it is on its way.
    pub(crate) fn flush(&mut self) -> bool {
        while !self.unsent.is_empty() {
            match self.socket.write(&self.unsent) {
                Ok(count) => drop(self.unsent.drain(..count)),
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::NotConnected) => return false,
                Err(_) => self.unsent.clear(),
            }
        }
        true
    }

    /// Takes what has come of the answer.
    pub(crate) fn read(&mut self, buffer: &mut [u8]) -> Heard {
        match self.socket.read(buffer) {
            Ok(0) => return Heard::Broken("the server closed a sender's connection".to_owned()),
            Ok(count) => self.answer.extend_from_slice(&buffer[..count]),
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Heard::Part,
            Err(error) => return Heard::Broken(format!("a sender's connection: {error}")),
        }
        let Some(head) = memmem::find(&self.answer, b"\r\n\r\n") else { return Heard::Part };
        let whole = match content_length(&self.answer[..head + 2]) {
            Some(length) => self.answer.len() >= head + 4 + length,
            None => self.answer.ends_with(b"\r\n0\r\n\r\n"),
        };
        if !whole {
            return Heard::Part;
        }
        let result = if self.answer.starts_with(b"HTTP/1.1 2") {
            Heard::Good
        } else {
            Heard::Bad(String::from_utf8_lossy(&self.answer[..self.answer.len().min(400)]).into_owned())
        };
        self.answer.clear();
        result
    }
}

fn content_length(head: &[u8]) -> Option<usize> {
    const NAME: &[u8] = b"content-length:";
    let line = head
        .split(|byte| *byte == b'\n')
        .find(|line| line.get(..NAME.len()).is_some_and(|name| name.eq_ignore_ascii_case(NAME)))?;
    std::str::from_utf8(&line[NAME.len()..]).ok()?.trim().parse().ok()
}
