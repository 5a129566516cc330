//! A client that costs next to nothing, to have ten thousands of: one socket, a small buffer, and as much of WebSocket and SSE as the
//! gateway speaks. (The harness has real ones, for tests that are about a client's view.)

use std::{
    io,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use bytes::BufMut as _;
use serde_json::Value;
use socket2::{SockFilter, SockRef};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpSocket, TcpStream},
    time::timeout,
};

use crate::harness::{ORIGIN, token};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Carrier {
    WebSocket,
    Sse,
}

impl Carrier {
    /// Half of the users each.
    pub(super) fn of(user: usize) -> Self {
        if user.is_multiple_of(2) { Self::WebSocket } else { Self::Sse }
    }
}

/// How a client's connection goes.
#[derive(Clone, Debug)]
pub(super) struct Route {
    pub(super) to: SocketAddr,
    /// Many connections from one address run out of ports.
    pub(super) from: Option<IpAddr>,
    /// Bytes that the kernel keeps for a reader who does not read.
    pub(super) receive_buffer: Option<u32>,
    /// The client breaks the connection after so many bytes of the stream, wherever that is.
    pub(super) cut_after: Option<usize>,
    /// Without a byte for so long, the client gives the connection up.
    pub(super) silence_max: Duration,
}

impl Route {
    pub(super) fn to(to: SocketAddr) -> Self {
        Self { to, from: None, receive_buffer: None, cut_after: None, silence_max: Duration::from_mins(1) }
    }

    /// From one of a few loopback addresses.
    pub(super) fn dialled_from_one_of_many(self, n: usize) -> Self {
        let last = u8::try_from(2 + n % 8).unwrap();
        Self { from: Some(IpAddr::from([127, 0, 0, last])), ..self }
    }
}

/// Why a stream is over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Over {
    /// The server said so; the code of its Close, on SSE of its `$bye`.
    Closed(u16),
    /// It broke.
    Broken,
}

/// A connected client.
pub(super) struct Client {
    stream: TcpStream,
    carrier: Carrier,
    silence_max: Duration,
    /// Bytes until the client breaks the connection.
    cut_in: Option<usize>,
    received: Vec<u8>,
    /// SSE only: what the chunks held.
    text: Vec<u8>,
    /// SSE only: the body is complete; the connection may go on.
    ended: bool,
    bye: Option<u16>,
}

impl Client {
    /// Connects and takes the head of the answer. The error of a refusal tells its status.
    pub(super) async fn dial(route: &Route, carrier: Carrier, user: &str, cursor: Option<&str>) -> io::Result<Self> {
        let socket = TcpSocket::new_v4()?;
        if let Some(bytes) = route.receive_buffer {
            socket.set_recv_buffer_size(bytes)?;
        }
        if let Some(from) = route.from {
            socket.bind(SocketAddr::new(from, 0))?;
        }
        let mut stream = timeout(route.silence_max, socket.connect(route.to)).await??;
        stream.set_nodelay(true)?;
        stream.write_all(request(carrier, user, cursor).as_bytes()).await?;
        let (silence_max, received, text) = (route.silence_max, Vec::new(), Vec::new());
        let mut client = Self { stream, carrier, silence_max, cut_in: None, received, text, ended: false, bye: None };
        let end = loop {
            if let Some(end) = find(&client.received, b"\r\n\r\n") {
                break end;
            }
            client.read().await?;
        };
        let head: Vec<u8> = client.received.drain(..end + 4).collect();
        let status = std::str::from_utf8(&head).ok().and_then(|head| head.get(9..12)?.parse::<u16>().ok());
        match status {
            Some(101 | 200) => {
                client.cut_in = route.cut_after;
                Ok(client)
            }
            status => Err(io::Error::other(format!("status {status:?}"))),
        }
    }

    /// The next frame of the server. May be dropped while it waits.
    pub(super) async fn next(&mut self) -> Result<Value, Over> {
        loop {
            let frame = match self.carrier {
                Carrier::WebSocket => self.frame().await?,
                Carrier::Sse => self.event()?,
            };
            if let Some(frame) = frame {
                if frame["type"] == "$bye" {
                    self.bye = frame["code"].as_u64().and_then(|code| code.try_into().ok());
                }
                return Ok(frame);
            }
            if self.ended || self.read().await.is_err() {
                return Err(self.bye.filter(|_| self.carrier == Carrier::Sse).map_or(Over::Broken, Over::Closed));
            }
        }
    }

    /// From now on the machine acknowledges nothing, and says nothing: its kernel drops every segment before TCP sees it.
    pub(super) fn vanish(&self) {
        /// `BPF_RET | BPF_K`: keep so many bytes of the packet.
        const RETURN: u16 = 0x06;
        SockRef::from(&self.stream).attach_filter(&[SockFilter::new(RETURN, 0, 0, 0)]).unwrap();
    }

    /// Ends the connection as a machine does that is there again: with a reset.
    pub(super) fn reset(self) {
        let _ = self.stream.set_zero_linger();
    }

    async fn read(&mut self) -> io::Result<()> {
        // Room is made before it is read into, so that nothing is lost when the wait is dropped.
        self.received.reserve(512);
        let limit = self.cut_in.unwrap_or(64 * 1_024);
        let count = timeout(self.silence_max, self.stream.read_buf(&mut (&mut self.received).limit(limit))).await??;
        self.cut_in = self.cut_in.map(|left| left - count);
        if count == 0 { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(()) }
    }

    /// Takes a WebSocket frame out of the buffer, if there is a whole one; answers pings.
    async fn frame(&mut self) -> Result<Option<Value>, Over> {
        loop {
            let Some((opcode, payload)) = take_frame(&mut self.received) else { return Ok(None) };
            match opcode {
                1 => return Ok(Some(serde_json::from_slice(&payload).expect("a text frame is JSON"))),
                8 => {
                    let code = payload.get(..2).map_or(1005, |code| u16::from_be_bytes([code[0], code[1]]));
                    // Close, masked with zeros.
                    let _ = self.stream.write_all(&[0x88, 0x80, 0, 0, 0, 0]).await;
                    return Err(Over::Closed(code));
                }
                9 => {
                    let length = u8::try_from(payload.len()).expect("a ping is short");
                    let pong = [&[0x8A, 0x80 | length, 0, 0, 0, 0][..], &payload].concat();
                    self.stream.write_all(&pong).await.map_err(|_| Over::Broken)?;
                }
                opcode => panic!("the gateway sent opcode {opcode}"),
            }
        }
    }

    /// Takes an SSE event with data out of the buffer, if there is a whole one.
    fn event(&mut self) -> Result<Option<Value>, Over> {
        while let Some(chunk) = take_chunk(&mut self.received) {
            self.ended |= chunk.is_empty();
            self.text.extend(chunk);
        }
        while let Some(end) = find(&self.text, b"\n\n") {
            let block: Vec<u8> = self.text.drain(..end + 2).collect();
            let block = std::str::from_utf8(&block).map_err(|_| Over::Broken)?;
            if let Some(data) = block.lines().find_map(|line| line.strip_prefix("data: ")) {
                return Ok(Some(serde_json::from_str(data).expect("data is JSON")));
            }
        }
        Ok(None)
    }
}

fn request(carrier: Carrier, user: &str, cursor: Option<&str>) -> String {
    let (path, more) = match carrier {
        Carrier::WebSocket => (
            "/v1/ws",
            "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n",
        ),
        Carrier::Sse => ("/v1/sse", "Accept: text/event-stream\r\n"),
    };
    let query = cursor.map_or(String::new(), |cursor| format!("?last_event_id={cursor}"));
    let bearer = token(user);
    format!("GET {path}{query} HTTP/1.1\r\nHost: relay\r\nOrigin: {ORIGIN}\r\nAuthorization: Bearer {bearer}\r\n{more}\r\n")
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window == what)
}

/// One unmasked frame: its opcode and payload.
fn take_frame(buffer: &mut Vec<u8>) -> Option<(u8, Vec<u8>)> {
    let (first, second) = (*buffer.first()?, *buffer.get(1)?);
    let (head, length) = match second {
        126 => (4, usize::from(u16::from_be_bytes(buffer.get(2..4)?.try_into().ok()?))),
        127 => (10, usize::try_from(u64::from_be_bytes(buffer.get(2..10)?.try_into().ok()?)).ok()?),
        length => (2, usize::from(length)),
    };
    let payload = buffer.get(head..head + length)?.to_vec();
    buffer.drain(..head + length);
    Some((first & 0x0F, payload))
}

/// The bytes of one chunk of a chunked body.
fn take_chunk(buffer: &mut Vec<u8>) -> Option<Vec<u8>> {
    let line = find(buffer, b"\r\n")?;
    let length = usize::from_str_radix(std::str::from_utf8(&buffer[..line]).ok()?, 16).ok()?;
    let chunk = buffer.get(line + 2..line + 2 + length)?.to_vec();
    buffer.get(line + 2 + length..line + 4 + length)?;
    buffer.drain(..line + 4 + length);
    Some(chunk)
}
