//! The way from the settings to a log that can be served from: connect, find or make the streams, read everything.

use std::{
    fmt,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64},
    },
    time::{Duration, Instant},
};

use async_nats::jetstream::message::PublishMessage;
use tokio::{
    sync::{Notify, Semaphore, watch},
    time::sleep,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    NatsLimits, OpenError, Shared,
    follow::{self, Follower as _},
    index::{Index, IndexLimits},
    link::{self, Link},
    presence::Presence,
    read::Cache,
    streams::{self, Streams},
};
use crate::{clock::Ages, config::Nats, engine::Retention, event::Timestamp, hub::Hub};

/// Between two attempts while the servers find each other.
const RETRY: Duration = Duration::from_millis(500);
/// So often they are asked, however long that takes.
const ATTEMPTS_MIN: u32 = 3;

/// Everything up to the moment from which the gateway can serve.
pub(super) async fn begin(
    settings: &Nats,
    retention: Retention,
    limits: NatsLimits,
    hub: Arc<Hub>,
) -> Result<follow::Events, OpenError> {
    let link = Link::open(settings).await?;
    check_server(&link)?;
    let streams = patiently(async || Streams::open(&link, settings, &retention).await).await?;
    let opened_at = patiently(async || servers_clock(&link, &streams, &settings.stream).await).await?;
    let shared = share(settings, retention, limits, hub, link, streams, opened_at);
    let upto = shared.streams.events.cached_info().state.last_sequence;
    let mut events = follow::Events::of_the_past(Arc::clone(&shared));
    let loaded = read_all(&mut events, upto).await?;
    events.live = true;
    shared.index().skip(upto);
    shared.reached.send_replace(upto);
    tell(&shared, settings, loaded);
    Ok(events)
}

/// Asks again while the servers are still finding each other.
async fn patiently<T>(mut ask: impl AsyncFnMut() -> Result<T, OpenError>) -> Result<T, OpenError> {
    let until = Instant::now() + link::START_PATIENCE;
    let mut asked = 0;
    loop {
        asked += 1;
        match ask().await {
            // On a machine that stands still now and then, time alone says nothing.
            Err(OpenError::NotReady { name, reason }) if asked < ATTEMPTS_MIN || Instant::now() < until => {
                tracing::info!(stream = name, reason, "the NATS servers are not ready; they are asked again");
                sleep(RETRY).await;
            }
            answer => return answer,
        }
    }
}

/// Takes every event up to `upto`, however often that stops, as long as it goes on.
async fn read_all(events: &mut follow::Events, upto: u64) -> Result<u64, OpenError> {
    let shared = Arc::clone(&events.shared);
    let (mut from, mut until) = (events.taken(), Instant::now() + link::START_PATIENCE);
    loop {
        let lost = match follow::load(&shared, &shared.streams.events, events, upto).await {
            Ok(loaded) => return Ok(loaded),
            Err(lost) => lost,
        };
        if events.taken() > from {
            (from, until) = (events.taken(), Instant::now() + link::START_PATIENCE);
        }
        if Instant::now() > until {
            return Err(OpenError::stream(&shared.name, &lost));
        }
        tracing::info!(reason = %lost, "reading the log goes on after a stop");
        sleep(RETRY).await;
    }
}

fn share(
    settings: &Nats,
    retention: Retention,
    limits: NatsLimits,
    hub: Arc<Hub>,
    link: Link,
    streams: Streams,
    opened_at: Timestamp,
) -> Arc<Shared> {
    let index_limits = IndexLimits {
        max_age: retention.max_age,
        max_events_per_user: retention.max_events_per_user,
        events_max: settings.events_max,
    };
    let floor = streams.events.cached_info().state.first_sequence.saturating_sub(1);
    let index = Index::new(streams.epoch, floor, index_limits);
    Arc::new(Shared {
        name: settings.stream.clone(),
        node: format!("{:016x}", fastrand::u64(..)),
        link,
        streams,
        retention,
        limits,
        hub,
        index: Mutex::new(index),
        cache: Mutex::new(Cache::new(settings.cache_bytes_max)),
        flights: Mutex::default(),
        reached: watch::Sender::new(floor),
        fetches: Semaphore::new(limits.fetches_max),
        publishing: Arc::new(Semaphore::new(retention.publish_queue_max.clamp(1, Semaphore::MAX_PERMITS))),
        turns: Semaphore::new(1),
        presence: Presence::default(),
        junk: AtomicU64::new(0),
        doubtful: AtomicBool::new(false),
        estranged: AtomicBool::new(false),
        alarm: Notify::new(),
        stalled: watch::Sender::new(0),
        heard: AtomicU64::new(u64::MAX),
        replaced: watch::Sender::new(0),
        begun: AtomicU64::new(0),
        closed: CancellationToken::new(),
        tasks: TaskTracker::new(),
        clock: Ages::from(opened_at),
    })
}

/// What an operator wants to know of the log that was found.
fn tell(shared: &Shared, settings: &Nats, loaded: u64) {
    let server = shared.link.client.server_info();
    let head = shared.index().head();
    tracing::info!(
        server = server.server_name,
        version = server.version,
        stream = settings.stream,
        replicas = settings.replicas,
        atomic_batches = shared.streams.is_atomic,
        events = loaded,
        %head,
        "the log in NATS is open"
    );
    if settings.replicas == 1 {
        tracing::warn!("the stream is kept on one server: what is acknowledged survives its power loss only if it syncs always");
    }
}

fn check_server(link: &Link) -> Result<(), OpenError> {
    let info = link.client.server_info();
    if !link.client.is_server_compatible(2, 9, 0) {
        return Err(OpenError::Server(format!("it is version {}, and 2.9 or later is needed", info.version)));
    }
    if !info.headers {
        return Err(OpenError::Server("it does not take headers".to_owned()));
    }
    let needed = streams::message_bytes_max(256 * 1024);
    if info.max_payload < needed {
        let has = info.max_payload;
        return Err(OpenError::Server(format!("its max_payload is {has} bytes; {needed} are needed for the largest webhooks")));
    }
    Ok(())
}

/// What time it is on the server, by a message of our own: no request tells it on every version.
async fn servers_clock(link: &Link, streams: &Streams, name: &str) -> Result<Timestamp, OpenError> {
    // A stream that was found a moment ago has no leader now and then.
    let failed = |error: &dyn fmt::Display| OpenError::NotReady { name: name.to_owned(), reason: error.to_string() };
    let subject = format!("{name}.c.hello");
    let sent = link.jetstream.send_publish(subject, PublishMessage::build()).await.map_err(|e| failed(&e))?;
    let seq = sent.await.map_err(|e| failed(&e))?.sequence;
    let message = match streams.control.get_raw_message(seq).await {
        Ok(message) => message,
        // Another gateway said hello in between, and only the last one is kept: that was just now as well.
        Err(_) => streams.control.get_last_raw_message_by_subject(&format!("{name}.c.hello")).await.map_err(|e| failed(&e))?,
    };
    Ok(Timestamp(follow::millis(message.time.unix_timestamp_nanos())))
}
