//! One session's client: WebSocket and Server-Sent Events, by hand, so that it costs next to nothing.

use std::{
    io::{ErrorKind, Read as _, Write as _},
    net::TcpStream,
};

use memchr::{memchr, memmem};

use crate::{
    ledger::Ledger,
    server::{Carrier, Product},
    webhook::{MARK, read_mark},
};

/// How far a client has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    Connecting,
    /// Has asked for the stream.
    Asked,
    /// Has the head of the answer.
    Accepted,
    /// Hears what happens.
    Open,
    Gone,
}

/// One client.
pub(crate) struct Subscriber {
    pub(crate) socket: TcpStream,
    pub(crate) stage: Stage,
    /// Events that it has heard.
    pub(crate) heard: u32,
    /// The number of the last of them.
    last: Option<u64>,
    user: usize,
    carrier: Carrier,
    product: Product,
    request: String,
    /// Bytes that do not make a whole frame or line yet.
    rest: Vec<u8>,
}

/// Why a stream ended; `None` if nobody has to know.
pub(crate) type Ended = Option<String>;

impl Subscriber {
    pub(crate) fn new(socket: TcpStream, user: usize, carrier: Carrier, product: Product, request: String) -> Self {
        let (stage, rest) = (Stage::Connecting, Vec::new());
        Self { socket, stage, heard: 0, last: None, user, carrier, product, request, rest }
    }

    /// Asks for the stream, once the connection is there.
    pub(crate) fn ask(&mut self) -> Result<(), Ended> {
        self.stage = Stage::Asked;
        self.socket.write_all(std::mem::take(&mut self.request).as_bytes()).map_err(|error| Some(format!("stream: {error}")))
    }

    /// Takes what has come at the moment `now`.
    pub(crate) fn read(&mut self, buffer: &mut [u8], ledger: &mut Ledger, now: u64) -> Result<(), Ended> {
        let count = match self.socket.read(buffer) {
            Ok(0) => return Err(Some("the server closed a stream".to_owned())),
            Ok(count) => count,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(Some(format!("stream: {error}"))),
        };
        if self.rest.is_empty() {
            let used = self.take(&buffer[..count], ledger, now)?;
            self.rest.extend_from_slice(&buffer[used..count]);
        } else {
            let mut all = std::mem::take(&mut self.rest);
            all.extend_from_slice(&buffer[..count]);
            let used = self.take(&all, ledger, now)?;
            all.drain(..used);
            // An idle client holds no buffer, so that thousands of them do not press the server out of the processor's cache.
            self.rest = if all.is_empty() { Vec::new() } else { all };
        }
        Ok(())
    }

    /// Takes what is whole, and says how many bytes that was.
    fn take(&mut self, data: &[u8], ledger: &mut Ledger, now: u64) -> Result<usize, Ended> {
        let mut at = 0;
        if self.stage == Stage::Asked {
            let Some(end) = memmem::find(data, b"\r\n\r\n") else { return Ok(0) };
            let wanted: &[u8] = if self.carrier == Carrier::WebSocket { b"HTTP/1.1 101 " } else { b"HTTP/1.1 200 " };
            if !data.starts_with(wanted) {
                return Err(Some(format!(
                    "a stream was answered with {}",
                    String::from_utf8_lossy(&data[..data.len().min(400)])
                )));
            }
            // nchan says nothing more until there is something to say.
            self.stage = if self.product == Product::Nchan { Stage::Open } else { Stage::Accepted };
            at = end + 4;
        }
        loop {
            let used = match self.carrier {
                Carrier::WebSocket => self.frame(&data[at..], ledger, now)?,
                Carrier::Sse => self.line(&data[at..], ledger, now),
            };
            if used == 0 {
                return Ok(at);
            }
            at += used;
        }
    }

    /// One WebSocket frame (RFC 6455, section 5.2); servers send theirs whole and unmasked.
    fn frame(&mut self, data: &[u8], ledger: &mut Ledger, now: u64) -> Result<usize, Ended> {
        const TEXT: u8 = 0x81;
        const CLOSE: u8 = 0x88;
        const PING: u8 = 0x89;
        let (Some(first), Some(second)) = (data.first(), data.get(1)) else { return Ok(0) };
        let (length, head) = match (second, data) {
            (126, [_, _, a, b, ..]) => (usize::from(u16::from_be_bytes([*a, *b])), 4),
            (126, _) => return Ok(0),
            (127.., _) => return Err(Some("a frame is masked or larger than any that was sent".to_owned())),
            (short, _) => (usize::from(*short), 2),
        };
        let Some(payload) = data.get(head..head + length) else { return Ok(0) };
        match *first {
            TEXT => self.hear(payload, ledger, now),
            PING => {
                // A mask of zeros is one, too.
                let pong = [&[0x8a, 0x80 | *second, 0, 0, 0, 0], payload].concat();
                self.socket.write_all(&pong).map_err(|error| Some(format!("pong: {error}")))?;
            }
            CLOSE => return Err(Some(format!("a stream was closed: {}", String::from_utf8_lossy(payload)))),
            other => return Err(Some(format!("a frame begins with {other:#x}"))),
        }
        Ok(head + length)
    }

    /// One line of an event stream. Those that frame chunks say nothing to anybody here.
    fn line(&mut self, data: &[u8], ledger: &mut Ledger, now: u64) -> usize {
        let Some(end) = memchr(b'\n', data) else { return 0 };
        if data.starts_with(b"data:") {
            self.hear(&data[..end], ledger, now);
        }
        end + 1
    }

    fn hear(&mut self, text: &[u8], ledger: &mut Ledger, now: u64) {
        if self.stage == Stage::Accepted {
            if memmem::find(text, b"\"$hello\"").is_some() {
                self.stage = Stage::Open;
            }
            return;
        }
        if let Some(at) = memmem::find(text, MARK)
            && let Some((seq, addressee)) = read_mark(&text[at + MARK.len()..])
        {
            self.heard += 1;
            ledger.deliver(self.user, seq, addressee, &mut self.last, now);
        } else if memmem::find(text, b"\"$gap\"").is_some() {
            ledger.mistakes.note("a stream has a gap");
        }
    }
}
