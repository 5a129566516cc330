//! A connection whose requests are read here, as long as they are plain ones that somebody waits for; hyper gets the rest.
//!
//! What is read here is little on purpose: HTTP/1.1, GET without a body or POST with a Content-Length, for the paths that carry the load.
//! Whatever else a request has or lacks makes it [`Heard::Other`]: then nothing of it was taken, and hyper and the routes answer it, and
//! all that follows on this connection. So nothing is refused here, and no answer can differ by who read the request.

use std::{io, net::SocketAddr, ops::Range, pin::Pin, sync::Arc};

use axum::http::{HeaderName, HeaderValue, Method, Request, Uri, header};
use bytes::{Buf as _, Bytes, BytesMut};
use smallvec::SmallVec;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    select,
    time::{Instant, Sleep, sleep_until},
};
use tokio_util::sync::WaitForCancellationFutureOwned;

use super::{
    framing::decimal,
    socket::{Common, Socket},
    waiting::Turn,
};

/// A connection between two requests, or in the middle of one.
pub struct Connection {
    socket: Socket,
    /// Read, and not taken yet.
    buffer: BytesMut,
    peer: SocketAddr,
    /// Held until the first request has come.
    turn: Option<Turn>,
    /// When the wait for the first request began; taken by who waits for it.
    since: Option<Instant>,
    common: Arc<Common>,
    /// Goes off at the latest when a request has to be there. Rearmed only when it goes off too early, since most requests are quick.
    alarm: Pin<Box<Sleep>>,
    closing: Pin<Box<WaitForCancellationFutureOwned>>,
}

/// What a connection brought.
#[expect(clippy::large_enum_variant, reason = "it is taken apart at once, and a box would cost each webhook an allocation")]
pub enum Heard {
    /// A request, all of it, with the bytes of its body.
    Request(Request<Announced>),
    /// Something that is not for us to answer; it is still there.
    Other,
    /// Nothing, and nothing will come.
    Over,
}

/// A body that is still to be read: so many bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Announced(pub u64);

/// Why a body cannot be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Broken {
    /// It did not arrive in time.
    Late,
    /// The peer left before its end.
    Short,
}

#[expect(clippy::large_enum_variant, reason = "as for what is made of it")]
enum Parsed {
    Request(Request<Announced>),
    Partial,
    Other,
}

impl Connection {
    /// As much is read of a connection that has said nothing yet.
    const FIRST_READ_BYTES: usize = 2 * 1_024;
    /// Requests with more fields are hyper's, and then too many for most limits.
    const FIELDS_MAX: usize = 64;

    pub(super) fn new(socket: Socket, peer: SocketAddr, turn: Turn, since: Instant, common: Arc<Common>) -> Self {
        let alarm = Box::pin(sleep_until(since + common.limits.read_timeout));
        let closing = Box::pin(common.shutdown.closing_owned());
        Self { socket, buffer: BytesMut::new(), peer, turn: Some(turn), since: Some(since), common, alarm, closing }
    }

    /// Who is at the other end.
    pub fn peer(&self) -> SocketAddr {
        self.peer
    }

    /// Whether this should be the last answer on this connection.
    pub fn is_closing(&self) -> bool {
        self.common.shutdown.is_closing()
    }

    /// Waits for the next request of those that are `wanted` by method and path.
    pub async fn next(&mut self, wanted: fn(&str, &str) -> bool) -> Heard {
        let deadline = self.since.take().unwrap_or_else(Instant::now) + self.common.limits.read_timeout;
        loop {
            match self.parse(wanted) {
                Parsed::Request(request) => {
                    self.turn = None;
                    return Heard::Request(request);
                }
                Parsed::Other => return Heard::Other,
                Parsed::Partial if self.buffer.len() >= self.common.limits.header_bytes_max => return Heard::Other,
                Parsed::Partial => {}
            }
            self.buffer.reserve(Self::FIRST_READ_BYTES);
            let idle = self.buffer.is_empty();
            let read = select! {
                biased;
                read = self.socket.read_buf(&mut self.buffer) => read,
                () = &mut self.alarm => {
                    if Instant::now() >= deadline {
                        return Heard::Over;
                    }
                    self.alarm.as_mut().reset(deadline);
                    continue;
                }
                () = &mut self.closing, if idle => return Heard::Over,
            };
            match read {
                Ok(n) if n > 0 => {}
                // A head that was cut off is told so; hyper sees the same end.
                Ok(_) if !idle => return Heard::Other,
                _ => return Heard::Over,
            }
        }
    }

    /// The body that a request announced, without a copy.
    pub async fn body(&mut self, Announced(bytes): Announced) -> Result<Bytes, Broken> {
        let deadline = Instant::now() + self.common.limits.read_timeout;
        let whole = usize::try_from(bytes).map_err(|_| Broken::Short)?;
        while self.buffer.len() < whole {
            self.buffer.reserve(whole - self.buffer.len());
            let read = select! {
                biased;
                read = self.socket.read_buf(&mut self.buffer) => read,
                () = &mut self.alarm => {
                    if Instant::now() >= deadline {
                        return Err(Broken::Late);
                    }
                    self.alarm.as_mut().reset(deadline);
                    continue;
                }
            };
            if !read.is_ok_and(|n| n > 0) {
                return Err(Broken::Short);
            }
        }
        Ok(self.buffer.split_to(whole).freeze())
    }

    /// Drops the body that a request announced, if all of it is here already; else nothing can follow it.
    pub fn skip(&mut self, Announced(bytes): Announced) -> bool {
        let whole = usize::try_from(bytes).ok().filter(|whole| *whole <= self.buffer.len());
        whole.map(|whole| self.buffer.advance(whole)).is_some()
    }

    /// Writes all of `bytes`.
    pub async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.socket.write_all(bytes).await?;
        self.socket.flush().await
    }

    /// The socket, from which what was read and not taken is read again.
    pub fn into_socket(self) -> Socket {
        self.into_parts().0
    }

    /// The same, and the place among those that wait, if no request has come yet.
    pub(super) fn into_parts(mut self) -> (Socket, Option<Turn>) {
        self.socket.unread(self.buffer);
        (self.socket, self.turn)
    }

    /// Takes the head of a plain request from the buffer; and nothing else.
    fn parse(&mut self, wanted: fn(&str, &str) -> bool) -> Parsed {
        if self.buffer.is_empty() {
            return Parsed::Partial;
        }
        let mut fields = [httparse::EMPTY_HEADER; Self::FIELDS_MAX];
        let mut head = httparse::Request::new(&mut fields);
        let bytes = match head.parse(&self.buffer) {
            Ok(httparse::Status::Complete(bytes)) => bytes,
            Ok(httparse::Status::Partial) => return Parsed::Partial,
            Err(_) => return Parsed::Other,
        };
        let (Some(method), Some(target), Some(1)) = (head.method, head.path, head.version) else { return Parsed::Other };
        let path = target.split('?').next().unwrap_or(target);
        if bytes > self.common.limits.header_bytes_max || !wanted(method, path) {
            return Parsed::Other;
        }
        let Some(plain) = Plain::of(&self.buffer, method, target, head.headers) else { return Parsed::Other };
        let request = plain.request(&self.buffer.split_to(bytes).freeze());
        Parsed::Request(request)
    }
}

/// A request that can be read in one way only, by where its parts stand in the bytes of its head.
struct Plain {
    method: Method,
    uri: Uri,
    fields: SmallVec<[Field; 16]>,
    body: Announced,
}

struct Field {
    name: HeaderName,
    value: Range<usize>,
}

impl Plain {
    fn of(buffer: &[u8], method: &str, target: &str, fields: &[httparse::Header<'_>]) -> Option<Self> {
        let method = Method::from_bytes(method.as_bytes()).ok()?;
        let mut plain = Self { method, uri: target.parse().ok()?, fields: SmallVec::new(), body: Announced(0) };
        let mut length = None;
        for field in fields {
            let name = HeaderName::from_bytes(field.name.as_bytes()).ok()?;
            match name {
                header::CONTENT_LENGTH if length.is_none() => length = Some(decimal(field.value)?),
                // They change how the connection goes on, or how the body is read.
                header::CONTENT_LENGTH | header::TRANSFER_ENCODING | header::EXPECT | header::TE | header::TRAILER => {
                    return None;
                }
                header::CONNECTION if !stays_open(field.value) => return None,
                _ => {}
            }
            // The value is a part of the buffer, since the head was parsed in place.
            let start = field.value.as_ptr().addr() - buffer.as_ptr().addr();
            plain.fields.push(Field { name, value: start..start + field.value.len() });
        }
        plain.body = match (plain.method == Method::POST, length) {
            (true, Some(length)) => Announced(length),
            (false, None | Some(0)) => Announced(0),
            _ => return None,
        };
        Some(plain)
    }

    /// The request, whose values share the bytes of its head.
    fn request(self, head: &Bytes) -> Request<Announced> {
        let mut request = Request::new(self.body);
        *request.method_mut() = self.method;
        *request.uri_mut() = self.uri;
        let headers = request.headers_mut();
        headers.reserve(self.fields.len());
        for Field { name, value } in self.fields {
            let value = HeaderValue::from_maybe_shared(head.slice(value));
            headers.append(name, value.expect("the parser takes the bytes that a value may have, and no others"));
        }
        request
    }
}

/// Whether a Connection header leaves the connection to us: it is kept, or it becomes a WebSocket.
fn stays_open(value: &[u8]) -> bool {
    let known = |option: &[u8]| option.eq_ignore_ascii_case(b"keep-alive") || option.eq_ignore_ascii_case(b"upgrade");
    value.split(|b| *b == b',').all(|option| known(option.trim_ascii()))
}
