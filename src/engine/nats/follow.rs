//! Follows the stream from its first message to its newest, in order and without a hole, and hands on.
//!
//! One consumer of its own for each gateway, without acknowledgements: the server pushes, and its numbers tell whether anything is missing on the
//! way. Whatever is suspicious (a number too many, silence, a connection that was made anew, bytes that make no sense) has one remedy: a new
//! consumer. So joining before replaying stays exact: what the head has reached has been handed on.
//!
//! A new consumer begins with the last message that was taken, not after it: if that one is another now, so is the stream, whatever its name and
//! its numbers say (a server lost its end and has grown past it again; an operator brought back an old one).

use std::{
    sync::{Arc, PoisonError, atomic::Ordering},
    time::{Duration, Instant},
};

use async_nats::{
    HeaderMap, HeaderValue, Message, StatusCode, Subscriber,
    jetstream::{
        self,
        consumer::{AckPolicy, DeliverPolicy, push},
        stream::{Info, Stream},
    },
};
use futures_util::StreamExt as _;
use tokio::time::{MissedTickBehavior, interval, sleep};

use super::{Shared, streams};

/// An idle server says so this often.
const HEARTBEAT: Duration = Duration::from_secs(1);
/// Without any word for so long, the consumer is taken for dead.
const SILENCE_MAX: Duration = Duration::from_millis(3_500);
/// The server forgets a consumer that nobody listens to.
const CONSUMER_IDLE_MAX: Duration = Duration::from_secs(30);
/// Between attempts to get a consumer.
const RETRY: Duration = Duration::from_millis(250);
/// Of a long load, a line in the log.
const PROGRESS: Duration = Duration::from_secs(5);

/// Why a consumer was given up.
#[derive(Debug, thiserror::Error)]
pub(super) enum Lost {
    #[error("nothing was heard for {} ms", SILENCE_MAX.as_millis())]
    Silent,
    #[error("messages are missing on the way")]
    Hole,
    #[error("the connection was made anew")]
    Reconnected,
    #[error("the log was replaced")]
    Replaced,
    #[error("the stream has more, and nothing of it came")]
    Stalled,
    #[error("this is another stream than the one that was followed")]
    Strange,
    #[error("the subscription ended")]
    Ended,
    #[error("{0}")]
    Refused(String),
}

/// What is done with the messages of a stream.
pub(super) trait Follower: Send {
    /// The number of the last message that was taken.
    fn taken(&self) -> u64;

    /// Looks at the stream as it is when a consumer of it begins.
    fn meet(&mut self, stream: &Info) -> Result<(), Lost>;

    /// Takes the message at `seq`, which is above the last, and which the server stored at `stored`, in ns since 1970. `pending` more are in
    /// the stream.
    fn take(&mut self, seq: u64, message: &jetstream::Message, stored: i128, pending: u64);

    /// Takes notice of a message at `seq` that was taken before.
    fn know(&mut self, _seq: u64, _stored: i128, _pending: u64) -> Result<(), Lost> {
        Ok(())
    }

    /// A consumer begins that has `pending` messages.
    fn begin_again(&mut self, _pending: u64) {}
}

/// A consumer of a stream, and what has come of it.
struct Tail {
    subscriber: Subscriber,
    /// How many messages it has sent.
    sent: u64,
    heard: Instant,
}

/// Follows `stream` until the engine is closed.
pub(super) async fn follow(shared: &Shared, stream: &Stream, follower: &mut impl Follower) {
    loop {
        let lost = tokio::select! {
            lost = attempt(shared, stream, follower) => lost,
            () = shared.closed.cancelled() => return,
        };
        tracing::info!(reason = %lost, after = follower.taken(), "following the stream anew");
        if !matches!(lost, Lost::Reconnected | Lost::Hole | Lost::Replaced | Lost::Stalled) {
            sleep(RETRY).await;
        }
    }
}

/// Takes every message up to `upto`, or up to the newest there is, and says how many.
pub(super) async fn load(shared: &Shared, stream: &Stream, follower: &mut impl Follower, upto: u64) -> Result<u64, Lost> {
    let (mut tail, mut pending) = Tail::open(shared, stream, follower).await?;
    let (mut loaded, mut told) = (0, Instant::now());
    while pending > 0 && follower.taken() < upto {
        let Some(message) = tokio::time::timeout(SILENCE_MAX, tail.subscriber.next()).await.map_err(|_| Lost::Silent)? else {
            return Err(Lost::Ended);
        };
        let Some(left) = tail.take(shared, message, follower).await? else { continue };
        pending = left;
        loaded += 1;
        if told.elapsed() > PROGRESS {
            tracing::info!(loaded, left, "reading the log");
            told = Instant::now();
        }
    }
    Ok(loaded)
}

async fn attempt(shared: &Shared, stream: &Stream, follower: &mut impl Follower) -> Lost {
    let mut connected = shared.link.connected.clone();
    connected.mark_unchanged();
    let (mut replaced, mut stalled) = (shared.replaced.subscribe(), shared.stalled.subscribe());
    let (mut tail, pending) = match Tail::open(shared, stream, follower).await {
        Ok(opened) => opened,
        Err(lost) => return lost,
    };
    follower.begin_again(pending);
    let mut ticks = interval(HEARTBEAT);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            // First of all: what waits is of the log of before.
            biased;
            _ = replaced.changed() => return Lost::Replaced,
            _ = connected.changed() => return Lost::Reconnected,
            _ = stalled.changed() => return Lost::Stalled,
            message = tail.subscriber.next() => {
                let Some(message) = message else { return Lost::Ended };
                if let Err(lost) = tail.take(shared, message, follower).await {
                    return lost;
                }
            }
            _ = ticks.tick() => {
                if tail.heard.elapsed() > SILENCE_MAX {
                    return Lost::Silent;
                }
            }
        }
    }
}

impl Tail {
    /// A consumer that begins at the last message that was taken, and how many messages it has before it.
    async fn open(shared: &Shared, stream: &Stream, follower: &mut impl Follower) -> Result<(Self, u64), Lost> {
        let refused = |error: &dyn std::fmt::Display| Lost::Refused(error.to_string());
        let inbox = shared.link.client.new_inbox();
        // Listened to before the server is asked to send: on one connection the order holds.
        let subscriber = shared.link.client.subscribe(inbox.clone()).await.map_err(|e| refused(&e))?;
        let config = push::Config {
            deliver_subject: inbox,
            deliver_policy: DeliverPolicy::ByStartSequence { start_sequence: follower.taken().max(1) },
            ack_policy: AckPolicy::None,
            flow_control: true,
            idle_heartbeat: HEARTBEAT,
            inactive_threshold: CONSUMER_IDLE_MAX,
            num_replicas: 1,
            memory_storage: true,
            ..push::Config::default()
        };
        let consumer = stream.create_consumer(config).await.map_err(|e| refused(&e))?;
        // Only now: a stream that comes in the place of this one ends its consumers.
        let name = &stream.cached_info().config.name;
        follower.meet(shared.link.jetstream.get_stream(name).await.map_err(|e| refused(&e))?.cached_info())?;
        let pending = consumer.cached_info().num_pending;
        Ok((Self { subscriber, sent: 0, heard: Instant::now() }, pending))
    }

    /// Hands a message to the follower, and says how many are left; `None` if it was the server's own.
    async fn take(&mut self, shared: &Shared, message: Message, follower: &mut impl Follower) -> Result<Option<u64>, Lost> {
        self.heard = Instant::now();
        if message.status.is_some() {
            return self.heartbeat(shared, message).await.map(|()| None);
        }
        let message = jetstream::Message { message, context: shared.link.jetstream.clone() };
        // Only the server knows where we listen, so this is damage; and damage is a hole.
        let told =
            message.info().map(|i| (i.stream_sequence, i.consumer_sequence, i.pending, i.published.unix_timestamp_nanos()));
        let (seq, sent, pending, stored) = told.map_err(|_| Lost::Hole)?;
        if sent != self.sent + 1 {
            return Err(Lost::Hole);
        }
        self.sent = sent;
        if seq > follower.taken() {
            follower.take(seq, &message, stored, pending);
        } else {
            follower.know(seq, stored, pending)?;
        }
        Ok(Some(pending))
    }

    /// The server says that it is there, how much it has sent, and perhaps asks whether we keep up.
    async fn heartbeat(&self, shared: &Shared, message: Message) -> Result<(), Lost> {
        if message.status != Some(StatusCode::IDLE_HEARTBEAT) {
            return Err(Lost::Refused(message.description.unwrap_or_default()));
        }
        let stalled = header(message.headers.as_ref(), "Nats-Consumer-Stalled").map(|subject| subject.to_owned().into());
        if let Some(answer) = message.reply.or(stalled) {
            // What cannot be sent now is asked for again, or the consumer falls silent.
            let _ = shared.link.client.publish(answer, bytes::Bytes::new()).await;
        }
        let sent = header(message.headers.as_ref(), "Nats-Last-Consumer").and_then(|text| text.parse::<u64>().ok());
        if sent.is_some_and(|sent| sent > self.sent) { Err(Lost::Hole) } else { Ok(()) }
    }
}

fn header<'h>(headers: Option<&'h HeaderMap>, name: &str) -> Option<&'h str> {
    headers?.get(name).map(HeaderValue::as_str)
}

/// The one who follows the events.
pub(super) struct Events {
    pub(super) shared: Arc<Shared>,
    /// Whether the past has been read, so that what comes is news.
    pub(super) live: bool,
    /// How often the log had been replaced when the past was begun.
    replaced: u64,
    /// The last message that was taken: its number, and when the server stored it, in ns since 1970. No other has both.
    last: (u64, i128),
}

impl Follower for Events {
    fn taken(&self) -> u64 {
        self.shared.index().head().seq
    }

    fn meet(&mut self, stream: &Info) -> Result<(), Lost> {
        let epoch = self.shared.index().head().epoch;
        match streams::epoch_of(stream) {
            Some(found) if found == epoch => return Ok(()),
            // The guard knows what to do, and is to do it before anything is taken for ours.
            Some(_) => self.shared.alarm.notify_one(),
            None => {}
        }
        Err(Lost::Strange)
    }

    fn begin_again(&mut self, pending: u64) {
        let replaced = *self.shared.replaced.borrow();
        if self.replaced == replaced {
            return self.past_is_read(pending);
        }
        // Of an empty log nobody can have missed anything since.
        (self.replaced, self.live, self.last) = (replaced, pending == 0, (0, 0));
        self.shared.begun.store(replaced, Ordering::Release);
        self.shared.doubt(false);
    }

    fn take(&mut self, seq: u64, message: &jetstream::Message, stored: i128, pending: u64) {
        if self.live && seq > self.taken() + 1 {
            self.shared.miss(seq - 1);
        }
        self.last = (seq, stored);
        self.shared.take(seq, &message.payload, millis(stored), self.live);
        self.past_is_read(pending);
    }

    fn know(&mut self, seq: u64, stored: i128, pending: u64) -> Result<(), Lost> {
        if seq == self.last.0 && stored != self.last.1 {
            self.shared.estrange("the last message that was read is another now");
            return Err(Lost::Strange);
        }
        self.past_is_read(pending);
        Ok(())
    }
}

impl Events {
    /// Who has read nothing yet.
    pub(super) fn of_the_past(shared: Arc<Shared>) -> Self {
        Self { shared, live: false, replaced: 0, last: (0, 0) }
    }

    /// Who came while the past of another log was read has heard nothing of it, and begins anew.
    fn past_is_read(&mut self, pending: u64) {
        if !self.live && pending == 0 && self.replaced > 0 {
            self.live = true;
            self.shared.end_sessions();
        }
    }
}

/// Nanoseconds since 1970 as milliseconds.
pub(super) fn millis(nanos: i128) -> u64 {
    u64::try_from(nanos / 1_000_000).unwrap_or_default()
}

impl Shared {
    /// What every lock here guards is sound between any two statements that could panic.
    pub(super) fn index(&self) -> std::sync::MutexGuard<'_, super::index::Index> {
        self.index.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
