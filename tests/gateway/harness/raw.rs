//! Clients without manners: bytes on a TCP connection, because a library would tidy them.

use std::net::SocketAddr;

use serde_json::Value;
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

use super::{PATIENCE, token};

/// A TCP connection, or what lies over one.
pub(crate) struct Raw<S = TcpStream> {
    pub(crate) stream: S,
    read: Vec<u8>,
}

/// A response as it stood on the wire.
#[derive(Debug)]
pub(crate) struct RawAnswer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

impl RawAnswer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut fields = self.head.lines().filter_map(|line| line.split_once(": "));
        fields.find_map(|(n, value)| n.eq_ignore_ascii_case(name).then_some(value))
    }
}

impl Raw {
    pub(crate) async fn connect(address: SocketAddr) -> Self {
        Self::over(TcpStream::connect(address).await.unwrap())
    }

    pub(crate) fn over(stream: TcpStream) -> Self {
        stream.set_nodelay(true).unwrap();
        Self { stream, read: Vec::new() }
    }

    /// Connects and sends.
    pub(crate) async fn say(address: SocketAddr, bytes: impl AsRef<[u8]>) -> Self {
        let mut raw = Self::connect(address).await;
        raw.send(bytes).await;
        raw
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Raw<S> {
    /// The same manners over something else.
    pub(crate) fn on(stream: S) -> Self {
        Self { stream, read: Vec::new() }
    }

    /// Sends all of it, unless the server has closed. False if it has.
    pub(crate) async fn send(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        timeout(PATIENCE, self.stream.write_all(bytes.as_ref())).await.expect("the server reads or closes").is_ok()
            && self.stream.flush().await.is_ok()
    }

    /// Reads once; false at the end of the connection, however it came.
    async fn more(&mut self) -> bool {
        let read = timeout(PATIENCE, self.stream.read_buf(&mut self.read)).await.expect("the server writes or closes");
        read.is_ok_and(|n| n > 0)
    }

    /// Takes `count` bytes; none if the connection ends before.
    pub(crate) async fn take(&mut self, count: usize) -> Option<Vec<u8>> {
        while self.read.len() < count {
            if !self.more().await {
                return None;
            }
        }
        Some(self.read.drain(..count).collect())
    }

    /// The next response, with a body of its Content-Length; none if the connection ends before.
    pub(crate) async fn answer(&mut self) -> Option<RawAnswer> {
        let end = loop {
            match self.read.windows(4).position(|w| w == b"\r\n\r\n") {
                Some(end) => break end + 4,
                None if self.more().await => {}
                None => return None,
            }
        };
        let head = String::from_utf8(self.take(end).await?).unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        let mut answer = RawAnswer { status, head, body: String::new() };
        let length = answer.header("content-length").map_or(0, |length| length.parse().unwrap());
        answer.body = String::from_utf8(self.take(length).await?).unwrap();
        Some(answer)
    }

    /// Reads until `wanted` has come; gives all up to its end.
    pub(crate) async fn up_to(&mut self, wanted: &str) -> String {
        loop {
            let found = self.read.windows(wanted.len()).position(|bytes| bytes == wanted.as_bytes());
            match found {
                Some(at) => return String::from_utf8(self.take(at + wanted.len()).await.unwrap()).unwrap(),
                None => assert!(self.more().await, "{wanted} never came, but {}", String::from_utf8_lossy(&self.read)),
            }
        }
    }

    /// Whatever comes until the server closes.
    pub(crate) async fn rest(&mut self) -> Vec<u8> {
        while self.more().await {}
        std::mem::take(&mut self.read)
    }
}

/// A WebSocket whose frames are made by hand.
pub(crate) struct RawSocket(pub(crate) Raw);

impl RawSocket {
    /// Upgrades as this user.
    pub(crate) async fn dial(address: SocketAddr, user: &str) -> Self {
        Self::upgrade(address, &format!("Authorization: Bearer {}\r\n", token(user))).await
    }

    /// Upgrades as nobody yet.
    pub(crate) async fn dial_without_token(address: SocketAddr) -> Self {
        Self::upgrade(address, "").await
    }

    async fn upgrade(address: SocketAddr, lines: &str) -> Self {
        let head = format!(
            "GET /v1/ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{lines}\r\n"
        );
        let mut raw = Raw::say(address, head).await;
        assert_eq!(raw.answer().await.unwrap().status, 101);
        Self(raw)
    }

    /// Upgrades, and takes `$hello`.
    pub(crate) async fn open(address: SocketAddr, user: &str) -> Self {
        let mut socket = Self::dial(address, user).await;
        let (opcode, hello) = socket.frame().await.unwrap();
        assert_eq!((opcode, text(&hello)["type"].as_str()), (1, Some("$hello")));
        socket
    }

    pub(crate) async fn send(&mut self, frame: impl AsRef<[u8]>) -> bool {
        self.0.send(frame).await
    }

    /// The next frame's opcode and payload.
    pub(crate) async fn frame(&mut self) -> Option<(u8, Vec<u8>)> {
        let head = self.0.take(2).await?;
        let length = match head[1] {
            126 => u16::from_be_bytes(self.0.take(2).await?.try_into().unwrap()).into(),
            127 => panic!("larger than any frame of these tests"),
            length => usize::from(length),
        };
        Some((head[0] & 0x0f, self.0.take(length).await?))
    }

    /// The code of the server's Close, which is answered, and after which the connection has to end; 1006 if there was none.
    pub(crate) async fn closed(&mut self) -> u16 {
        while let Some((opcode, payload)) = self.frame().await {
            if opcode == 8 {
                self.send(frame(0x88, payload.get(..2).unwrap_or(&[]))).await;
                self.0.rest().await;
                return payload.first_chunk().map_or(1005, |code| u16::from_be_bytes(*code));
            }
        }
        1006
    }
}

fn text(payload: &[u8]) -> Value {
    serde_json::from_slice(payload).unwrap()
}

/// A masked frame with this first byte (FIN, RSV, opcode).
pub(crate) fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];
    let mut frame = vec![first];
    match payload.len() {
        length @ ..126 => frame.push(0x80 | u8::try_from(length).unwrap()),
        length => {
            frame.push(0x80 | 0x7e);
            frame.extend_from_slice(&u16::try_from(length).unwrap().to_be_bytes());
        }
    }
    frame.extend_from_slice(&MASK);
    frame.extend(payload.iter().zip(MASK.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    frame
}
