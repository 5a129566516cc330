//! The log in NATS `JetStream`: many gateways share it, and each hands on to its own sessions.
//!
//! ```text
//!  webhook ─▶ gateway A ── publish ──▶ stream <name>: 1 2 3 4 … ──▶ every gateway, in order: index, cache, hub ─▶ sessions
//!                       ◀── ack: 4 ──┘  (1 or 3 servers)
//! ```
//!
//! The stream is the log: the number of a message is the number of its event, and the epoch stands in the stream's description.
//!
//! **Every gateway follows the whole stream** (`follow`), by one consumer, in order. Why not only what its own sessions want to hear: in a
//! cluster, interest in a subject reaches the server that leads the stream some time after the subscription, and nothing tells when. An event
//! in between would be missing in silence, until the next on that very subject showed the hole. Who hears everything knows exactly
//! what it has handed on: that is its head, and joining before replaying stays as exact as with the log on disk. The cost is the
//! work for events that concern nobody here; it is measured in docs/scaling.md.
//!
//! **Every gateway keeps the index of the whole log in memory** (`index`), which comes for free with following it. So what a session missed
//! is answered on the spot and exactly, by the same rules as in the other engines, and a thousand sessions that come over from a gateway that died
//! ask the servers for nothing but old bodies (`read`). Searching the stream by subject instead would cost the servers a consumer, or
//! a request for each event, of each resume.
//!
//! **One event is one message** (`record`), because a session that proves several keys of a person must see the event once, under one number; so
//! a message for each key is impossible. Its subject is a hash of all keys that it concerns: that bounds by itself what the stream keeps of
//! people who get very much. The keys are in the message.
//!
//! **Times** are those of the servers: [`NatsEngine::clock`] is theirs, and `steady` counts on from it, so that the gateways agree on ages whatever
//! their own clocks say.
//!
//! Everything runs on one thread with a runtime of its own: it is the one that may hand on, and it is not held up by sockets.

#[cfg(any(test, fuzzing))]
pub(crate) mod any_bytes;
mod apply;
mod control;
mod follow;
mod guard;
mod index;
mod letters;
mod link;
mod login;
mod open;
mod presence;
mod publish;
mod read;
mod record;
mod streams;

use std::{
    collections::HashMap,
    fmt,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
        mpsc::{SyncSender, sync_channel},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use futures_util::future::{BoxFuture, FutureExt as _, ready};
use tokio::{
    runtime::{self, Handle},
    sync::{Notify, Semaphore, watch},
};
use tokio_util::{
    sync::{CancellationToken, DropGuard},
    task::TaskTracker,
};

use super::{Backlog, Engine, EngineError, LetterId, Listener, Missed, Notice, PublishError, Receipt, Retention};
use crate::{
    clock::Ages,
    config::Nats,
    event::{DeadLetter, Delivery, Position, Timestamp, UserKey},
    hub::Hub,
    protocol::{Frame, Published},
};
use apply::Flight;
use index::Index;
use link::Link;
pub(crate) use login::problems;
use presence::Presence;
use read::Cache;
use streams::Streams;

/// The times and sizes that the log works in. The defaults suit everybody; tests use others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NatsLimits {
    /// How long a delivery is tried before its sender is told to come again.
    pub publish_patience: Duration,
    /// How long an answer waits for the event to come round to this gateway's own sessions.
    pub hand_on_patience: Duration,
    /// Messages that are read from the stream at the same time.
    pub fetches_max: usize,
    /// A message above this is not looked at.
    pub message_bytes_max: usize,
    /// By so much the time of an event may be apart from the server's.
    pub clock_apart_max: Duration,
    /// Seconds for which the stream must be gone, or have lost its end, before the log begins anew: a server that is about to lose its lead may
    /// be behind for some.
    pub doubt_s: u32,
}

impl Default for NatsLimits {
    fn default() -> Self {
        Self {
            publish_patience: Duration::from_secs(4),
            hand_on_patience: Duration::from_secs(2),
            fetches_max: 64,
            message_bytes_max: 4 * 1024 * 1024,
            clock_apart_max: Duration::from_mins(1),
            doubt_s: 15,
        }
    }
}

/// Why the log could not be opened.
#[derive(Clone, Debug, thiserror::Error)]
pub enum OpenError {
    /// No server, or none that takes us.
    #[error("no NATS server of {servers} can be used: {reason}")]
    Unreachable {
        /// Where it was tried.
        servers: String,
        /// Why not.
        reason: String,
    },
    /// A setting that only the connection could judge.
    #[error("{0}")]
    Settings(String),
    /// The servers cannot do what is needed.
    #[error("the NATS server cannot be used: {0}")]
    Server(String),
    /// A stream could not be found or made.
    #[error("the stream \"{name}\": {reason}")]
    Stream {
        /// Its name.
        name: String,
        /// What the server says.
        reason: String,
    },
    /// A stream could not be found or made yet: the servers are still finding each other.
    #[error("the stream \"{name}\": {reason}")]
    NotReady {
        /// Its name.
        name: String,
        /// What the server says.
        reason: String,
    },
    /// A stream that would break a promise.
    #[error("the stream \"{name}\" cannot be used: {reason}")]
    Unsafe {
        /// Its name.
        name: String,
        /// Which promise.
        reason: String,
    },
}

impl OpenError {
    fn unreachable(settings: &Nats, reason: &dyn fmt::Display) -> Self {
        Self::Unreachable { servers: settings.servers.join(", "), reason: reason.to_string() }
    }

    fn stream(name: &str, reason: &dyn fmt::Display) -> Self {
        Self::Stream { name: name.to_owned(), reason: reason.to_string() }
    }

    fn unsafe_stream(name: &str, reason: &str) -> Self {
        Self::Unsafe { name: name.to_owned(), reason: reason.to_owned() }
    }
}

/// A log that many gateways share.
pub struct NatsEngine {
    shared: Arc<Shared>,
    /// Of the thread that everything runs on.
    handle: Handle,
    thread: Mutex<Option<JoinHandle<()>>>,
    /// Ends the thread with the engine.
    _alive: DropGuard,
}

/// What the parts of the engine share.
struct Shared {
    /// The log's name, and the beginning of its subjects.
    name: String,
    /// By which this gateway knows its own notices.
    node: String,
    link: Link,
    streams: Streams,
    retention: Retention,
    limits: NatsLimits,
    hub: Arc<Hub>,
    index: Mutex<Index>,
    cache: Mutex<Cache>,
    /// This gateway's own events that are on their way, by their senders' numbers.
    flights: Mutex<HashMap<u64, Flight>>,
    /// The number of the last event that was handed on.
    reached: watch::Sender<u64>,
    fetches: Semaphore,
    publishing: Arc<Semaphore>,
    /// Deliveries of several events that go one by one.
    turns: Semaphore,
    presence: Presence,
    /// Messages that were passed over.
    junk: AtomicU64,
    /// Whether it is unclear which log this is.
    doubtful: AtomicBool,
    /// Whether it is certain that this is another log, though it has the epoch of ours.
    estranged: AtomicBool,
    /// Wakes the guard before its time.
    alarm: Notify,
    /// How often a consumer sent nothing though there was something.
    stalled: watch::Sender<u64>,
    /// The number of the last notice that was taken; `u64::MAX` while nobody follows them.
    heard: AtomicU64,
    /// How often another log came in the place of ours.
    replaced: watch::Sender<u64>,
    /// Which of these is being followed.
    begun: AtomicU64,
    closed: CancellationToken,
    tasks: TaskTracker,
    /// The servers' clock, counted on from when the log was opened.
    clock: Ages,
}

impl NatsEngine {
    /// Connects, finds or makes the streams, and reads the whole log; then hands on to `hub` whatever comes. Blocks until then.
    pub fn open(settings: Nats, retention: Retention, limits: NatsLimits, hub: Arc<Hub>) -> Result<Arc<Self>, OpenError> {
        let (ready, opened) = sync_channel(1);
        let name = settings.stream.clone();
        let run = move || run(&settings, retention, limits, hub, &ready);
        let thread = thread::Builder::new().name("log-nats".to_owned()).spawn(run);
        let thread = thread.map_err(|error| OpenError::Settings(format!("no thread can be started: {error}")))?;
        let ended = |_| OpenError::stream(&name, &"opening it ended early");
        let (shared, handle) = opened.recv().map_err(ended)??;
        let alive = shared.closed.clone().drop_guard();
        let others = Arc::downgrade(&shared);
        shared.hub.count_elsewhere(Box::new(move |user| others.upgrade().map_or(0, |shared| shared.presence.of(user))));
        Ok(Arc::new(Self { shared, handle, thread: Mutex::new(Some(thread)), _alive: alive }))
    }

    /// The latest moment that the log knows of, by the servers' clock.
    pub fn clock(&self) -> Timestamp {
        self.shared.index().clock().max(self.shared.now())
    }

    /// How many messages of the bus were passed over, because nobody could read them.
    pub fn junk(&self) -> u64 {
        self.shared.junk.load(Ordering::Relaxed)
    }
}

type Opened = Result<(Arc<Shared>, Handle), OpenError>;

/// The thread of the engine.
fn run(settings: &Nats, retention: Retention, limits: NatsLimits, hub: Arc<Hub>, ready: &SyncSender<Opened>) {
    let runtime = match runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return drop(ready.send(Err(OpenError::Settings(format!("no runtime can be started: {error}"))))),
    };
    runtime.block_on(async {
        let mut events = match Box::pin(open::begin(settings, retention, limits, hub)).await {
            Ok(events) => events,
            Err(error) => return drop(ready.send(Err(error))),
        };
        let shared = Arc::clone(&events.shared);
        let stream = shared.streams.events.clone();
        if ready.send(Ok((Arc::clone(&shared), Handle::current()))).is_ok() {
            shared.tasks.spawn(guard::guard(Arc::clone(&shared), settings.clone()));
            shared.tasks.spawn(presence::keep_count(Arc::clone(&shared)));
            follow::follow(&shared, &stream, &mut events).await;
        }
    });
    // What is left has had its time.
    runtime.shutdown_background();
}

impl Shared {
    /// What time it is for the servers.
    fn now(&self) -> Timestamp {
        self.clock.now()
    }

    fn open(&self) -> Result<(), EngineError> {
        if self.closed.is_cancelled() || self.publishing.is_closed() { Err(EngineError::Closed) } else { Ok(()) }
    }
}

impl Engine for NatsEngine {
    fn publish(&self, delivery: Delivery) -> BoxFuture<'_, Result<Receipt, PublishError>> {
        let shared = Arc::clone(&self.shared);
        let place = Arc::clone(&shared.publishing).try_acquire_owned();
        let place = match place {
            Ok(place) => place,
            Err(tokio::sync::TryAcquireError::NoPermits) => return ready(Err(PublishError::Overloaded)).boxed(),
            Err(tokio::sync::TryAcquireError::Closed) => return ready(Err(PublishError::Closed)).boxed(),
        };
        // A task of its own: whoever asked may leave, and the delivery is stored as a whole all the same.
        let publishing = self.handle.spawn(async move {
            let receipt = shared.publish(delivery).await;
            drop(place);
            receipt
        });
        async move { publishing.await.unwrap_or(Err(PublishError::Closed)) }.boxed()
    }

    fn head(&self) -> Position {
        self.shared.index().head()
    }

    fn missed<'a>(&'a self, query: Missed<'a>) -> BoxFuture<'a, Result<Backlog, EngineError>> {
        ready(self.shared.open().map(|()| self.shared.index().missed(&query))).boxed()
    }

    fn read<'a>(&'a self, keys: &'a [UserKey], seqs: &'a [u64]) -> BoxFuture<'a, Result<Vec<(u64, Frame)>, EngineError>> {
        self.shared.read(keys, seqs).boxed()
    }

    fn retain(&self, now: Timestamp) -> BoxFuture<'_, Result<(), EngineError>> {
        ready(self.shared.open().map(|()| self.shared.index().retain(now))).boxed()
    }

    fn dead_letters(&self, limit: usize) -> BoxFuture<'_, Result<Vec<DeadLetter>, EngineError>> {
        self.shared.letters(limit).boxed()
    }

    fn remove_dead_letters(&self, ids: Vec<LetterId>) -> BoxFuture<'_, Result<usize, EngineError>> {
        async move { self.shared.remove_letters(&ids).await }.boxed()
    }

    fn event(&self, seq: u64) -> BoxFuture<'_, Result<Option<Published>, EngineError>> {
        self.shared.event(seq).boxed()
    }

    fn announce(&self, notice: Notice) -> BoxFuture<'_, Result<(), EngineError>> {
        async move { self.shared.announce(&notice).await }.boxed()
    }

    fn listen(&self, listener: Listener) -> Result<(), EngineError> {
        let (known, heard) = sync_channel(1);
        drop(self.handle.spawn(control::follow_notices(Arc::clone(&self.shared), listener, known)));
        heard.recv().unwrap_or(Err(EngineError::Closed))
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        async move {
            // New deliveries are refused; those on their way are through, or have given up, when all places are free.
            let places = self.shared.retention.publish_queue_max.max(1);
            let patience = self.shared.limits.publish_patience + self.shared.limits.hand_on_patience;
            let all = Arc::clone(&self.shared.publishing).acquire_many_owned(u32::try_from(places).unwrap_or(u32::MAX));
            let _ = tokio::time::timeout(patience, all).await;
            self.shared.publishing.close();
            self.shared.closed.cancel();
            let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
            if let Some(thread) = thread {
                let _ = tokio::task::spawn_blocking(move || thread.join()).await;
            }
        }
        .boxed()
    }
}
