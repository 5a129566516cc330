//! `GET /v1/ws` after the upgrade: one task for each connection.
//!
//! The server judges liveness by protocol ping and pong; the `$ping` text beside it is for pages, which cannot see protocol frames.
//! A write that waits blocks only its own session: its mailbox fills, it is closed with 4001, and the socket's write stall ends it.

#[cfg(any(test, fuzzing))]
pub(crate) mod any_bytes;

use std::{io, sync::Arc, time::Duration};

use bytes::{Bytes, BytesMut};
use futures_util::{
    SinkExt as _, StreamExt as _,
    future::{BoxFuture, FutureExt as _},
};
use tokio::{
    pin, select,
    time::{Instant, sleep_until, timeout},
};

use tokio_tungstenite::WebSocketStream;
use tungstenite::{
    Message,
    protocol::{CloseFrame, Role, WebSocketConfig},
};

use super::{Counted, StreamLimits, Streams, Terms, rejected, write};
use crate::{
    auth::Identity,
    hub::admission::Place,
    listener::Socket,
    metrics::Carrier,
    protocol::{ClientMessage, Close, CloseCode, Control},
    session::{Next, Session},
};

/// For the client to answer our Close, once it is written.
const CLOSE_PATIENCE: Duration = Duration::from_secs(2);

/// How a connection ends.
enum End {
    /// The connection broke.
    Left,
    /// The client closes it; the library has our answer ready.
    Closed,
    /// We close it.
    Close(Close),
}

impl<T: Into<Close>> From<T> for End {
    fn from(close: T) -> Self {
        Self::Close(close.into())
    }
}

/// A WebSocket over our own sockets.
pub(crate) type WebSocket = WebSocketStream<Socket>;

/// Speaks WebSocket on a socket whose handshake is done, and of which `early` was read already.
pub(crate) async fn accept(socket: Socket, early: BytesMut, message_bytes_max: usize) -> WebSocket {
    // Small, since every idle connection has one: what clients send is a token now and then.
    const READ_BUFFER_BYTES: usize = 128;
    let config = WebSocketConfig::default()
        .read_buffer_size(READ_BUFFER_BYTES)
        .write_buffer_size(0)
        .max_message_size(Some(message_bytes_max))
        .max_frame_size(Some(message_bytes_max));
    WebSocketStream::from_partially_read(socket, early.into(), Role::Server, Some(config)).await
}

/// Serves one connection until it ends. Without a `token`, the first frame has to bring one.
///
/// The way to the first frame has a box of its own: there are as many of this future as there are sessions.
pub(crate) fn serve(
    socket: impl Future<Output = WebSocket> + Send + 'static,
    streams: Arc<Streams>,
    token: Option<String>,
    terms: Terms,
) -> BoxFuture<'static, ()> {
    let beginning = async { Connection::new(socket.await, streams).begin(token, terms).await }.boxed();
    async move {
        if let Some(live) = beginning.await {
            live.run().await;
        }
    }
    .boxed()
}

/// Tells a client that was let in for nothing else why it cannot stay: browsers hide the status of a refused handshake.
pub(crate) async fn refuse(socket: impl Future<Output = WebSocket>, streams: Arc<Streams>, close: Close) {
    Connection::new(socket.await, streams).close(close).await;
}

struct Connection {
    socket: WebSocket,
    streams: Arc<Streams>,
    limits: Arc<StreamLimits>,
    patience: Patience,
}

/// A connection with its session.
struct Live {
    connection: Connection,
    session: Session,
    pulse: Pulse,
    counted: Counted,
    _place: Place,
}

type Never = std::convert::Infallible;

impl Live {
    async fn run(mut self: Box<Self>) {
        let Err(end) = self.pump().await;
        if let End::Close(close) = end {
            self.counted.ended(close);
        }
        // The session leaves the hub before the last words are said.
        let Self { connection, .. } = *self;
        connection.end(end).boxed().await;
    }

    async fn pump(&mut self) -> Result<Never, End> {
        let alarm = sleep_until(self.pulse.next());
        pin!(alarm);
        loop {
            select! {
                next = self.session.next() => self.connection.send(next?).await?,
                message = self.connection.socket.next() => self.take(message).boxed().await?,
                () = &mut alarm => self.beat().boxed().await?,
            }
            if alarm.deadline() != self.pulse.next() {
                alarm.as_mut().reset(self.pulse.next());
            }
        }
    }

    async fn beat(&mut self) -> Result<(), End> {
        let Self { connection, pulse, .. } = self;
        let now = Instant::now();
        if now >= pulse.end_of_token {
            return Err(CloseCode::TokenExpired.into());
        }
        if pulse.pong_due.is_some_and(|due| now >= due) {
            return Err(CloseCode::NoPong.into());
        }
        if now >= pulse.ping_at {
            pulse.ping_at = now + connection.limits.ping_interval;
            pulse.pong_due.get_or_insert(now + connection.limits.pong_timeout);
            connection.tell(Control::Ping).await?;
            connection.socket.send(Message::Ping(Bytes::new())).await.map_err(|_| End::Left)?;
        }
        Ok(())
    }

    /// Takes one frame of the client.
    async fn take(&mut self, message: Incoming) -> Result<(), End> {
        let Self { connection, session, pulse, .. } = self;
        match connection.read(message)? {
            Said::Auth(token) => {
                let streams = Arc::clone(&connection.streams);
                session.renew(verify(&streams, &token).await?)?;
                streams.still_good(session.identity())?;
                pulse.end_of_token = streams.end_of_token(session.identity());
                let ttl = streams.ttl(session.identity());
                connection.tell(Control::AuthOk { ttl }).await
            }
            Said::Nonsense => connection.tell(Control::BadMessage).await,
            Said::Pong => {
                pulse.pong_due = None;
                Ok(())
            }
            Said::Ping => Ok(()),
        }
    }
}

impl Connection {
    fn new(socket: WebSocket, streams: Arc<Streams>) -> Self {
        let limits = streams.limits.get();
        let patience = Patience::new(&limits);
        Self { socket, streams, limits, patience }
    }

    /// The way to a session; nothing if there is none, and the client was told so.
    async fn begin(mut self, token: Option<String>, terms: Terms) -> Option<Box<Live>> {
        match self.open(token, &terms).await {
            Ok((session, counted)) => {
                let pulse = Pulse::new(&self.limits, self.streams.end_of_token(session.identity()));
                Some(Box::new(Live { connection: self, session, pulse, counted, _place: terms.place }))
            }
            Err(end) => {
                self.end(end).await;
                None
            }
        }
    }

    async fn open(&mut self, token: Option<String>, terms: &Terms) -> Result<(Session, Counted), End> {
        let identity = match token {
            Some(token) => verify(&self.streams, &token).await?,
            None => self.first_auth().await?,
        };
        let (session, counted) = self.streams.open(Carrier::WebSocket, identity, terms).await?;
        let (hello, gap) = self.streams.greeting(session.opening(), session.identity());
        self.write(|out| {
            for control in [Some(&hello), gap.as_ref()].into_iter().flatten() {
                put_text(out, control.to_json().as_bytes());
            }
        })
        .await?;
        Ok((session, counted))
    }

    async fn end(mut self, end: End) {
        match end {
            End::Left => {}
            End::Closed => self.read_to_end().await,
            End::Close(close) => {
                tracing::debug!(code = close.code.code(), "session closed");
                self.close(close).await;
            }
        }
    }

    /// Writes a batch at once, then notes how long its events took from their webhooks.
    async fn send(&mut self, next: Next) -> Result<(), End> {
        match next {
            Next::Gap(id, reason) => self.tell(Control::Gap { id, reason }).await,
            Next::Events(events) => {
                self.write(|out| events.iter().for_each(|event| put_text(out, event.frame.as_json()))).await?;
                self.streams.count_sent(&events);
                Ok(())
            }
        }
    }

    /// What the client said; an end if it may not say it.
    fn read(&mut self, message: Incoming) -> Result<Said, End> {
        let message = message.ok_or(End::Left)?.map_err(|error| code_of(&error).map_or(End::Left, End::from))?;
        self.patience.frame()?;
        match message {
            Message::Text(text) => match ClientMessage::parse(&text) {
                Some(ClientMessage::Auth { token }) => {
                    self.patience.strikes = 0;
                    Ok(Said::Auth(token))
                }
                None => self.patience.nonsense(),
            },
            Message::Pong(_) => Ok(Said::Pong),
            // The library answers it.
            Message::Ping(_) => Ok(Said::Ping),
            Message::Binary(_) => Err(CloseCode::Unsupported.into()),
            // A lone frame is never read from the library, only written to it.
            Message::Close(_) | Message::Frame(_) => Err(End::Closed),
        }
    }

    /// Waits for the first frame, which has to be `$auth`.
    async fn first_auth(&mut self) -> Result<Identity, End> {
        let by = self.limits.auth_timeout;
        let first = async {
            loop {
                let message = self.socket.next().await;
                if matches!(message, Some(Ok(Message::Binary(_)))) {
                    return Err(CloseCode::TokenMissing.into());
                }
                match self.read(message)? {
                    Said::Auth(token) => return verify(&self.streams, &token).await,
                    Said::Nonsense => return Err(CloseCode::TokenMissing.into()),
                    Said::Ping | Said::Pong => {}
                }
            }
        };
        timeout(by, first).await.unwrap_or(Err(CloseCode::TokenMissing.into()))
    }

    async fn tell(&mut self, control: Control) -> Result<(), End> {
        self.write(|out| put_text(out, control.to_json().as_bytes())).await
    }

    /// Writes whole frames, behind whatever the library still has to write.
    async fn write(&mut self, fill: impl Fn(&mut Vec<u8>)) -> Result<(), End> {
        self.socket.flush().await.map_err(|_| End::Left)?;
        write(self.socket.get_mut(), fill).await.map_err(|_| End::Left)
    }

    /// `$bye`, then Close with the same code. Waits for the client's Close, so that ours is not lost in a reset.
    async fn close(mut self, close: Close) {
        let reason = close.code.reason();
        if close.code.code() >= 4000 {
            let _ = self.tell(Control::Bye(close)).await;
        }
        let frame = CloseFrame { code: close.code.code().into(), reason: reason.into() };
        // Who answers no ping answers no Close either, and is not to be counted as connected for so much longer.
        if self.socket.send(Message::Close(Some(frame))).await.is_err() || close.code == CloseCode::NoPong {
            return;
        }
        self.read_to_end().await;
    }

    /// Lets the library say and hear what is left to say. Where the client closed first, its answer to that.
    async fn read_to_end(&mut self) {
        let _ = timeout(CLOSE_PATIENCE, async { while let Some(Ok(_)) = self.socket.next().await {} }).await;
    }
}

async fn verify(streams: &Streams, token: &str) -> Result<Identity, End> {
    Ok(streams.credentials.token(token, (streams.clock)()).await.map_err(rejected)?)
}

/// A frame of the client, understood.
enum Said {
    Auth(String),
    Ping,
    Pong,
    Nonsense,
}

type Incoming = Option<Result<Message, tungstenite::Error>>;

/// A broken frame ends with the code that RFC 6455 has for it; a broken connection just ends.
pub(crate) fn code_of(error: &tungstenite::Error) -> Option<CloseCode> {
    use tungstenite::{Error, error::ProtocolError};
    match error {
        Error::Capacity(_) => Some(CloseCode::TooBig),
        Error::Utf8(_) => Some(CloseCode::InvalidText),
        Error::Protocol(ProtocolError::ResetWithoutClosingHandshake) => None,
        Error::Protocol(_) => Some(CloseCode::ProtocolError),
        // The socket's own budget of bytes, which also counts what the library swallows.
        Error::Io(error) if error.kind() == io::ErrorKind::QuotaExceeded => Some(CloseCode::RateExceeded),
        _ => None,
    }
}

/// Appends an unmasked text frame (RFC 6455, section 5.2).
fn put_text(out: &mut Vec<u8>, text: &[u8]) {
    const FINAL_TEXT: u8 = 0x81;
    out.push(FINAL_TEXT);
    match (u8::try_from(text.len()), u16::try_from(text.len())) {
        (Ok(bytes @ ..126), _) => out.push(bytes),
        (_, Ok(bytes)) => {
            out.push(126);
            out.extend_from_slice(&bytes.to_be_bytes());
        }
        _ => {
            out.push(127);
            out.extend_from_slice(&(text.len() as u64).to_be_bytes());
        }
    }
    out.extend_from_slice(text);
}

/// When something is due on a quiet connection.
struct Pulse {
    ping_at: Instant,
    pong_due: Option<Instant>,
    end_of_token: Instant,
}

impl Pulse {
    fn new(limits: &StreamLimits, end_of_token: Instant) -> Self {
        // The first ping comes at a random time, so that sessions that began together do not beat together.
        let first_ping = limits.ping_interval.mul_f64(fastrand::f64().mul_add(0.5, 0.5));
        Self { ping_at: Instant::now() + first_ping, pong_due: None, end_of_token }
    }

    fn next(&self) -> Instant {
        let ping = self.pong_due.map_or(self.ping_at, |due| due.min(self.ping_at));
        ping.min(self.end_of_token)
    }
}

/// What we still put up with: a token bucket of frames, and how many messages in a row made no sense.
struct Patience {
    frames: f64,
    refilled: Instant,
    per_s: f64,
    burst: f64,
    strikes: u8,
}

impl Patience {
    /// So many messages in a row that make no sense end the session.
    const STRIKES_MAX: u8 = 3;

    fn new(limits: &StreamLimits) -> Self {
        let burst = f64::from(limits.client_frames_burst_max);
        let per_s = f64::from(limits.client_frames_per_s_max);
        let refilled = Instant::now();
        Self { frames: burst, refilled, per_s, burst, strikes: 0 }
    }

    fn frame(&mut self) -> Result<(), End> {
        let now = Instant::now();
        self.frames = (self.frames + (now - self.refilled).as_secs_f64() * self.per_s).min(self.burst) - 1.0;
        self.refilled = now;
        if self.frames < 0.0 { Err(CloseCode::RateExceeded.into()) } else { Ok(()) }
    }

    fn nonsense(&mut self) -> Result<Said, End> {
        self.strikes += 1;
        if self.strikes >= Self::STRIKES_MAX { Err(CloseCode::BadRequest.into()) } else { Ok(Said::Nonsense) }
    }
}
