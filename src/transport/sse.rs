//! `GET /v1/sse`: a response body that is the session, written to the socket by us, or handed to whoever writes it.
//!
//! Native `EventSource` clients die for ever on any answer but 200, so whoever may come back later is told so inside a stream: `retry:` and
//! `$bye`. Every stream begins with a random `retry:`, so that clients cut off together do not come back together.

use std::{convert::Infallible, io::Write as _, pin::Pin, sync::Arc, time::Duration};

use axum::body::Body;
use bytes::Bytes;
use futures_util::stream;
use smallvec::SmallVec;
use tokio::{
    io::AsyncReadExt as _,
    select,
    time::{Instant, Sleep, sleep_until},
};

use super::{Counted, Streams, Terms, write};
use crate::{
    auth::Identity,
    hub::admission::Place,
    listener::Socket,
    metrics::Carrier,
    protocol::{Close, CloseCode, Control},
    session::{Next, Outgoing, Session},
};

/// A comment: clients see bytes, pages see nothing.
const PING: &str = ": ping\n\n";

/// How long a client waits before it dials again, by what cut it off.
mod retry {
    use std::{ops::Range, time::Duration};

    /// A stream that broke.
    pub(super) const BROKEN_MS: Range<u64> = 2_000..5_000;
    /// A node that has no place.
    pub(super) const OVERLOADED_MS: Range<u64> = 5_000..15_000;
    /// A node that is leaving.
    pub(super) const DRAINING_MS: Range<u64> = 10_000..20_000;

    pub(super) fn draw(range: Range<u64>) -> Duration {
        Duration::from_millis(fastrand::u64(range))
    }
}

/// Begins a session; or says why there is none.
pub async fn open(streams: Arc<Streams>, identity: Identity, terms: Terms) -> Result<Box<Pump>, CloseCode> {
    let (session, counted) = streams.open(Carrier::Sse, identity, &terms).await?;
    let (hello, gap) = streams.greeting(session.opening(), session.identity());
    let mut first = retry_line(retry::draw(retry::BROKEN_MS)) + &hello.to_sse();
    if let Some(gap) = gap {
        first += &gap.to_sse();
    }
    let ping_interval = streams.limits.get().sse_ping_interval();
    let (ping_at, end_of_token) = (Instant::now() + ping_interval, streams.end_of_token(session.identity()));
    let alarm = Box::pin(sleep_until(ping_at.min(end_of_token)));
    let (first, session, place) = (Some(first), Some(session), terms.place);
    Ok(Box::new(Pump { first, session, streams, counted, ping_interval, ping_at, end_of_token, alarm, _place: place }))
}

/// A whole stream that says only when to come back.
pub fn refusal(code: CloseCode) -> Body {
    Body::from(goodbye(Close { code, retry_after: None }))
}

/// A session that is pumped into a body.
pub struct Pump {
    /// Has to be written before anything else.
    first: Option<String>,
    /// Gone once it is over: it leaves the hub before its last words are said, so that whoever hears them can come back at once.
    session: Option<Session>,
    streams: Arc<Streams>,
    counted: Counted,
    ping_interval: Duration,
    ping_at: Instant,
    end_of_token: Instant,
    alarm: Pin<Box<Sleep>>,
    _place: Place,
}

impl Pump {
    /// The body, for whoever writes it.
    pub fn into_body(self: Box<Self>) -> Body {
        Body::from_stream(stream::unfold(self, async |mut pump| {
            let bytes = match pump.next().await? {
                Piece::Bytes(bytes) => bytes,
                Piece::Events(events) => match &events[..] {
                    [event] => event.frame.as_sse().clone(),
                    events => events.iter().map(|event| &event.frame.as_sse()[..]).collect::<Vec<_>>().concat().into(),
                },
            };
            Some((Ok::<_, Infallible>(bytes), pump))
        }))
    }

    /// Writes the body to `socket` in chunks, until it ends or the client leaves.
    pub async fn carry(mut self: Box<Self>, mut socket: Socket) {
        // A client that has asked has nothing to add; what it sends all the same is dropped, within the bounds of the socket.
        let mut scrap = [0; 64];
        loop {
            let piece = select! {
                piece = self.next() => piece,
                read = socket.read(&mut scrap) => {
                    if read.is_ok_and(|n| n > 0) {
                        continue;
                    }
                    return;
                }
            };
            let ends = piece.is_none();
            if write(&mut socket, |out| put_chunk(out, piece.as_ref())).await.is_err() || ends {
                return;
            }
        }
    }

    /// What comes next; nothing after `$bye`. May be dropped while it waits without losing anything.
    async fn next(&mut self) -> Option<Piece> {
        if let Some(first) = self.first.take() {
            return Some(Piece::Bytes(first.into()));
        }
        let session = self.session.as_mut()?;
        let step = select! {
            next = session.next() => next,
            () = &mut self.alarm => match self.beat() {
                Ok(()) => return Some(Piece::Bytes(Bytes::from_static(PING.as_bytes()))),
                Err(close) => Err(close),
            },
        };
        Some(match step {
            Ok(Next::Gap(id, reason)) => Piece::Bytes(Control::Gap { id, reason }.to_sse().into()),
            Ok(Next::Events(events)) => {
                self.streams.count_sent(&events);
                Piece::Events(events)
            }
            Err(close) => {
                self.counted.ended(close);
                self.session = None;
                Piece::Bytes(goodbye(close))
            }
        })
    }

    fn beat(&mut self) -> Result<(), Close> {
        let now = Instant::now();
        if now >= self.end_of_token {
            return Err(CloseCode::TokenExpired.into());
        }
        self.ping_at = now + self.ping_interval;
        self.alarm.as_mut().reset(self.ping_at.min(self.end_of_token));
        Ok(())
    }
}

/// A part of the body.
enum Piece {
    Bytes(Bytes),
    Events(Vec<Outgoing>),
}

/// Appends a piece as one chunk (RFC 9112, section 7.1); the last, empty one, if there is none.
fn put_chunk(out: &mut Vec<u8>, piece: Option<&Piece>) {
    let parts: SmallVec<[&[u8]; 4]> = match piece {
        None => SmallVec::new(),
        Some(Piece::Bytes(bytes)) => SmallVec::from_slice(&[&bytes[..]]),
        Some(Piece::Events(events)) => events.iter().map(|event| &event.frame.as_sse()[..]).collect(),
    };
    let bytes: usize = parts.iter().map(|part| part.len()).sum();
    // Writing to memory cannot fail.
    let _ = write!(out, "{bytes:x}\r\n");
    for part in parts {
        out.extend_from_slice(part);
    }
    out.extend_from_slice(b"\r\n");
}

fn goodbye(close: Close) -> Bytes {
    let wait = match close.code {
        CloseCode::Draining => retry::DRAINING_MS,
        CloseCode::Overloaded | CloseCode::TooManySessions | CloseCode::RateExceeded => retry::OVERLOADED_MS,
        _ => retry::BROKEN_MS,
    };
    let wait = retry::draw(wait);
    // `retry:` is for native EventSource, which knows no other advice; `$bye` is for clients that read it, and may name an earlier time.
    let patient = matches!(close.code.code(), 4000 | 4200..=4299);
    let close = Close { retry_after: close.retry_after.or(patient.then_some(wait)), ..close };
    (retry_line(wait) + &Control::Bye(close).to_sse()).into()
}

fn retry_line(wait: Duration) -> String {
    format!("retry: {}\n\n", wait.as_millis())
}
