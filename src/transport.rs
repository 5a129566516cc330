//! Carriers: they pump a [`Session`] into a socket. Pings, expiry and close codes live here; what to send does not.

pub mod sse;
#[cfg(test)]
mod tests;
pub mod websocket;

use std::{
    cell::RefCell,
    future::poll_fn,
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::{
    io::{AsyncWrite as _, AsyncWriteExt as _},
    time::Instant,
};

use crate::{
    auth::{Credentials, Identity, Rejection},
    engine::{Engine, Start},
    event::{EventType, Timestamp},
    hub::{Arrival, Hub, admission::Place},
    listener::Socket,
    metrics::{Carrier, CarrierLabel, CodeLabel, Metrics, OpenedLabels},
    protocol::{Close, CloseCode, Control, Resume},
    session::{Opening, Outgoing, Session},
    swap::Swap,
};

/// What every stream needs.
pub struct Streams {
    /// Who is connected.
    pub hub: Arc<Hub>,
    /// The log.
    pub engine: Arc<dyn Engine>,
    /// Checks tokens and tickets.
    pub credentials: Arc<Credentials>,
    /// The bounds of a stream; those in force when it began.
    pub limits: Swap<StreamLimits>,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// The wall clock, for the life of tokens.
    pub clock: fn() -> Timestamp,
}

/// The bounds of a stream.
#[derive(Clone, Copy, Debug)]
pub struct StreamLimits {
    /// Between pings.
    pub ping_interval: Duration,
    /// For a pong.
    pub pong_timeout: Duration,
    /// For the first `$auth`.
    pub auth_timeout: Duration,
    /// Bytes of a client's message.
    pub client_message_bytes_max: usize,
    /// A client's frames a second in the long run.
    pub client_frames_per_s_max: u32,
    /// A client's frames at once.
    pub client_frames_burst_max: u32,
}

impl StreamLimits {
    /// Between pings on SSE. Nobody answers those, but a machine that is there acknowledges them, and of two to one that vanished the
    /// second finds the first unacknowledged: within the time that a WebSocket takes for a ping that is not answered.
    pub fn sse_ping_interval(&self) -> Duration {
        self.ping_interval.min((self.ping_interval + self.pong_timeout).mul_f64(0.48))
    }

    /// How long a machine may leave our bytes unacknowledged: less than from one ping to the next.
    pub fn acknowledge_timeout(&self) -> Duration {
        self.sse_ping_interval().mul_f64(0.95)
    }
}

/// What a client asks for, checked, with its place on the node.
pub struct Terms {
    /// Where to begin.
    pub start: Start,
    /// Only these types; all if empty.
    pub types: Vec<EventType>,
    /// Given back when the stream ends.
    pub place: Place,
}

impl Streams {
    async fn open(&self, carrier: Carrier, identity: Identity, terms: &Terms) -> Result<(Session, Counted), CloseCode> {
        let arrival = Arrival { carrier: Some(carrier), since: (self.clock)() };
        let session = Session::open(&self.hub, &self.engine, identity, arrival, terms.start, &terms.types).await?;
        self.still_good(session.identity())?;
        let opening = session.opening();
        let resume = match (opening.gap, opening.resume) {
            (Some(reason), _) => reason.as_str(),
            (None, Resume::Resumed) => "resumed",
            (None, _) => "fresh",
        };
        self.metrics.opened.get_or_create(&OpenedLabels { carrier, resume }).inc();
        self.metrics.sessions.get_or_create(&CarrierLabel { carrier }).inc();
        tracing::debug!(
            session = opening.session,
            carrier = carrier.as_str(),
            resume,
            replayed = opening.replayed,
            "session begun"
        );
        Ok((session, Counted { metrics: Arc::clone(&self.metrics), carrier, code: 0 }))
    }

    /// Whether a token that was good a moment ago was revoked before its session could be seen by whoever revoked it.
    fn still_good(&self, identity: &Identity) -> Result<(), CloseCode> {
        self.credentials.unless_revoked(identity, (self.clock)()).map_err(Rejection::close_code)
    }

    /// The frames that every session begins with.
    fn greeting(&self, opening: Opening, identity: &Identity) -> (Control, Option<Control>) {
        let hello = Control::Hello {
            session: opening.session,
            id: opening.id,
            ping: self.limits.get().ping_interval,
            ttl: self.ttl(identity),
            resume: opening.resume,
            replayed: opening.replayed,
        };
        (hello, opening.gap.map(|reason| Control::Gap { id: opening.head, reason }))
    }

    /// Notes what was written to a socket just now.
    fn count_sent(&self, events: &[Outgoing]) {
        for event in events {
            match event.received {
                Some(received) => self.metrics.delivery_seconds.observe(received.elapsed().as_secs_f64()),
                None => {
                    self.metrics.replayed.inc();
                }
            }
        }
    }

    fn ttl(&self, identity: &Identity) -> Duration {
        identity.expires().since((self.clock)())
    }

    /// When the session has to end unless its token is renewed. Fixed now: a clock that jumps later ends nobody's session.
    fn end_of_token(&self, identity: &Identity) -> Instant {
        Instant::now() + self.ttl(identity) + self.credentials.leeway()
    }
}

/// Writes what `fill` puts into an empty buffer, the same each time. The buffer is the thread's: a session whose socket takes no more
/// keeps what `fill` borrows, which sessions share, and how far it came, and fills the buffer again when it can go on.
async fn write(socket: &mut Socket, fill: impl Fn(&mut Vec<u8>)) -> io::Result<()> {
    /// A larger buffer is given back.
    const KEPT_BYTES: usize = 64 * 1_024;
    thread_local! {
        static OUT: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
    }
    let mut written = 0;
    poll_fn(|context| {
        OUT.with_borrow_mut(|out| {
            out.clear();
            fill(out);
            let done = poll_write_from(Pin::new(&mut *socket), context, out, &mut written);
            if out.capacity() > KEPT_BYTES {
                *out = Vec::new();
            }
            done
        })
    })
    .await?;
    socket.flush().await
}

/// Writes `bytes` from `written` on, and says there how far it came.
fn poll_write_from(
    mut socket: Pin<&mut Socket>,
    context: &mut Context<'_>,
    bytes: &[u8],
    written: &mut usize,
) -> Poll<io::Result<()>> {
    while *written < bytes.len() {
        match ready!(socket.as_mut().poll_write(context, &bytes[*written..]))? {
            0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
            some => *written += some,
        }
    }
    Poll::Ready(Ok(()))
}

/// A session in the figures, until it is dropped.
struct Counted {
    metrics: Arc<Metrics>,
    carrier: Carrier,
    code: u16,
}

impl Counted {
    fn ended(&mut self, close: Close) {
        self.code = close.code.code();
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.metrics.sessions.get_or_create(&CarrierLabel { carrier: self.carrier }).dec();
        self.metrics.closed.get_or_create(&CodeLabel { code: self.code }).inc();
    }
}

/// Refused credentials are told by a code; why exactly is for the log alone.
fn rejected(rejection: Rejection) -> Close {
    rejection.log();
    rejection.close_code().into()
}
