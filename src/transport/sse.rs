//! `GET /v1/sse`: a response body that is the session.
//!
//! Native `EventSource` clients die for ever on any answer but 200, so whoever may come back later is told so inside a stream: `retry:` and
//! `$bye`. Every stream begins with a random `retry:`, so that clients cut off together do not come back together.

use std::{convert::Infallible, pin::Pin, sync::Arc, time::Duration};

use axum::body::Body;
use bytes::Bytes;
use futures_util::stream;
use tokio::{
    select,
    time::{Instant, Sleep, sleep_until},
};

use super::{Counted, Streams, Terms};
use crate::{
    auth::Identity,
    hub::admission::Place,
    metrics::Carrier,
    protocol::{Close, CloseCode, Control},
    session::{Next, Session},
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

/// Begins a session and gives the body that carries it; or says why there is none.
pub async fn open(streams: Arc<Streams>, identity: Identity, terms: Terms) -> Result<Body, CloseCode> {
    let (session, counted) = streams.open(Carrier::Sse, identity, &terms).await?;
    let (hello, gap) = streams.greeting(session.opening(), session.identity());
    let mut first = retry_line(retry::draw(retry::BROKEN_MS)) + &hello.to_sse();
    if let Some(gap) = gap {
        first += &gap.to_sse();
    }
    let ping_interval = streams.limits.get().sse_ping_interval();
    let (ping_at, end_of_token) = (Instant::now() + ping_interval, streams.end_of_token(session.identity()));
    let alarm = Box::pin(sleep_until(ping_at.min(end_of_token)));
    let (first, place) = (Some(first), terms.place);
    let pump = Pump { first, session, streams, counted, ping_interval, ping_at, end_of_token, alarm, _place: place };
    Ok(Body::from_stream(stream::unfold(Some(Box::new(pump)), async |pump| pump?.next().await)))
}

/// A whole stream that says only when to come back.
pub fn refusal(code: CloseCode) -> Body {
    Body::from(goodbye(Close { code, retry_after: None }))
}

struct Pump {
    first: Option<String>,
    session: Session,
    streams: Arc<Streams>,
    counted: Counted,
    ping_interval: Duration,
    ping_at: Instant,
    end_of_token: Instant,
    alarm: Pin<Box<Sleep>>,
    _place: Place,
}

/// Boxed, because it is moved from step to step.
type Step = (Result<Bytes, Infallible>, Option<Box<Pump>>);

impl Pump {
    /// The next bytes, and what pumps on after them: nothing after `$bye`.
    async fn next(mut self: Box<Self>) -> Option<Step> {
        if let Some(first) = self.first.take() {
            return Some((Ok(first.into()), Some(self)));
        }
        let step = select! {
            next = self.session.next() => next,
            () = &mut self.alarm => self.beat(),
        };
        match step {
            Ok(next) => Some((Ok(self.encode(next)), Some(self))),
            Err(close) => {
                self.counted.ended(close);
                Some((Ok(goodbye(close)), None))
            }
        }
    }

    fn beat(&mut self) -> Result<Next, Close> {
        let now = Instant::now();
        if now >= self.end_of_token {
            return Err(CloseCode::TokenExpired.into());
        }
        self.ping_at = now + self.ping_interval;
        self.alarm.as_mut().reset(self.ping_at.min(self.end_of_token));
        Ok(Next::Events(Vec::new()))
    }

    /// The bytes of a batch. A lone event is shared, not copied.
    fn encode(&self, next: Next) -> Bytes {
        let events = match next {
            Next::Gap(id, reason) => return Control::Gap { id, reason }.to_sse().into(),
            Next::Events(events) => events,
        };
        self.streams.count_sent(&events);
        match &events[..] {
            [] => Bytes::from_static(PING.as_bytes()),
            [event] => event.frame.as_sse(),
            events => events.iter().map(|event| event.frame.as_sse()).collect::<Vec<_>>().concat().into(),
        }
    }
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
