//! `GET /v1/ws` after the upgrade: one task for each connection.
//!
//! The server judges liveness by protocol ping and pong; the `$ping` text beside it is for pages, which cannot see protocol frames.
//! A write that waits blocks only its own session: its mailbox fills, it is closed with 4001, and the socket's write stall ends it.

use std::{io, sync::Arc, time::Duration};

use axum::extract::ws::{CloseFrame, Message, Utf8Bytes, WebSocket};
use futures_util::{SinkExt as _, StreamExt as _};
use tokio::{
    pin, select,
    time::{Instant, sleep_until, timeout},
};

use super::{Counted, StreamLimits, Streams, Terms, rejected};
use crate::{
    auth::Identity,
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

/// Serves one connection until it ends. Without a `token`, the first frame has to bring one.
pub async fn serve(socket: WebSocket, streams: Arc<Streams>, token: Option<String>, terms: Terms) {
    let limits = *streams.limits.get();
    let mut connection = Connection { socket, streams, limits, patience: Patience::new(&limits) };
    let mut counted = None;
    let Err(end) = connection.run(token, terms, &mut counted).await;
    match end {
        End::Left => {}
        End::Closed => connection.read_to_end().await,
        End::Close(close) => {
            tracing::debug!(code = close.code.code(), "session closed");
            if let Some(counted) = &mut counted {
                counted.ended(close);
            }
            connection.close(close).await;
        }
    }
}

/// Tells a client that was let in for nothing else why it cannot stay: browsers hide the status of a refused handshake.
pub async fn refuse(socket: WebSocket, streams: Arc<Streams>, close: Close) {
    let limits = *streams.limits.get();
    Connection { socket, streams, limits, patience: Patience::new(&limits) }.close(close).await;
}

struct Connection {
    socket: WebSocket,
    streams: Arc<Streams>,
    limits: StreamLimits,
    patience: Patience,
}

type Never = std::convert::Infallible;

impl Connection {
    async fn run(&mut self, token: Option<String>, terms: Terms, counted: &mut Option<Counted>) -> Result<Never, End> {
        let identity = match token {
            Some(token) => verify(&self.streams, &token).await?,
            None => self.first_auth().await?,
        };
        let streams = Arc::clone(&self.streams);
        let (session, count) = streams.open(Carrier::WebSocket, identity, &terms).await?;
        *counted = Some(count);
        let (hello, gap) = streams.greeting(session.opening(), session.identity());
        self.queue(hello).await?;
        if let Some(gap) = gap {
            self.queue(gap).await?;
        }
        self.flush().await?;
        // Kept for its place only.
        let _place = terms.place;
        self.pump(session).await
    }

    async fn pump(&mut self, mut session: Session) -> Result<Never, End> {
        let mut pulse = Pulse::new(&self.limits, self.streams.end_of_token(session.identity()));
        let alarm = sleep_until(pulse.next());
        pin!(alarm);
        loop {
            select! {
                next = session.next() => self.send(next?).await?,
                message = self.socket.next() => self.take(message, &mut session, &mut pulse).await?,
                () = &mut alarm => self.beat(&mut pulse).await?,
            }
            if alarm.deadline() != pulse.next() {
                alarm.as_mut().reset(pulse.next());
            }
        }
    }

    /// Writes a batch with one flush, then notes how long its events took from their webhooks.
    async fn send(&mut self, next: Next) -> Result<(), End> {
        match next {
            Next::Gap(id, reason) => {
                self.queue(Control::Gap { id, reason }).await?;
                self.flush().await
            }
            Next::Events(events) => {
                for event in &events {
                    // A frame is UTF-8 by construction.
                    let text = Utf8Bytes::try_from(event.frame.as_json()).map_err(|_| CloseCode::StateReplaced)?;
                    self.socket.feed(Message::Text(text)).await.map_err(|_| End::Left)?;
                }
                self.flush().await?;
                self.streams.count_sent(&events);
                Ok(())
            }
        }
    }

    async fn beat(&mut self, pulse: &mut Pulse) -> Result<(), End> {
        let now = Instant::now();
        if now >= pulse.end_of_token {
            return Err(CloseCode::TokenExpired.into());
        }
        if pulse.pong_due.is_some_and(|due| now >= due) {
            return Err(CloseCode::NoPong.into());
        }
        if now >= pulse.ping_at {
            pulse.ping_at = now + self.limits.ping_interval;
            pulse.pong_due.get_or_insert(now + self.limits.pong_timeout);
            self.queue(Control::Ping).await?;
            self.socket.feed(Message::Ping(bytes::Bytes::new())).await.map_err(|_| End::Left)?;
            self.flush().await?;
        }
        Ok(())
    }

    /// Takes one frame of the client.
    async fn take(&mut self, message: Incoming, session: &mut Session, pulse: &mut Pulse) -> Result<(), End> {
        match self.read(message)? {
            Said::Auth(token) => {
                session.renew(verify(&self.streams, &token).await?)?;
                self.streams.still_good(session.identity())?;
                pulse.end_of_token = self.streams.end_of_token(session.identity());
                let ttl = self.streams.ttl(session.identity());
                self.queue(Control::AuthOk { ttl }).await?;
                self.flush().await
            }
            Said::Nonsense => {
                self.queue(Control::BadMessage).await?;
                self.flush().await
            }
            Said::Pong => {
                pulse.pong_due = None;
                Ok(())
            }
            Said::Ping => Ok(()),
        }
    }

    /// What the client said; an end if it may not say it.
    fn read(&mut self, message: Incoming) -> Result<Said, End> {
        let message = message.ok_or(End::Left)?.map_err(|error| code_of(error).map_or(End::Left, End::from))?;
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
            Message::Close(_) => Err(End::Closed),
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

    async fn queue(&mut self, control: Control) -> Result<(), End> {
        self.socket.feed(Message::Text(control.to_json().into())).await.map_err(|_| End::Left)
    }

    async fn flush(&mut self) -> Result<(), End> {
        self.socket.flush().await.map_err(|_| End::Left)
    }

    /// `$bye`, then Close with the same code. Waits for the client's Close, so that ours is not lost in a reset.
    async fn close(mut self, close: Close) {
        let reason = close.code.reason();
        if close.code.code() >= 4000 {
            let _ = self.queue(Control::Bye(close)).await;
        }
        let frame = CloseFrame { code: close.code.code(), reason: reason.into() };
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

type Incoming = Option<Result<Message, axum::Error>>;

/// A broken frame ends with the code that RFC 6455 has for it; a broken connection just ends.
pub(crate) fn code_of(error: axum::Error) -> Option<CloseCode> {
    use tungstenite::{Error, error::ProtocolError};
    match error.into_inner().downcast_ref::<Error>()? {
        Error::Capacity(_) => Some(CloseCode::TooBig),
        Error::Utf8(_) => Some(CloseCode::InvalidText),
        Error::Protocol(ProtocolError::ResetWithoutClosingHandshake) => None,
        Error::Protocol(_) => Some(CloseCode::ProtocolError),
        // The socket's own budget of bytes, which also counts what the library swallows.
        Error::Io(error) if error.kind() == io::ErrorKind::QuotaExceeded => Some(CloseCode::RateExceeded),
        _ => None,
    }
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
