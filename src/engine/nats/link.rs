//! The connection to the servers, and what it is allowed to take for granted: a cut is noticed within seconds, whichever way it comes.

use std::time::{Duration, Instant};

use async_nats::{Client, ConnectOptions, Event, ServerAddr, jetstream::context::Context};
use tokio::{sync::watch, time::sleep};

use super::{OpenError, login};
use crate::config::Nats;

/// To reach one server.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// For one of them to take us, at the start.
const CONNECT_PATIENCE: Duration = Duration::from_secs(10);
/// So often all of them are tried, however long that takes.
const TRIES_MIN: u32 = 2;
const RETRY: Duration = Duration::from_millis(250);
/// For them to have the streams ready, at the start.
pub(super) const START_PATIENCE: Duration = Duration::from_secs(20);
/// A connection that swallows what it is given is given up after three of these.
const PING_INTERVAL: Duration = Duration::from_secs(1);
/// Between attempts to come back: long enough for a server that restarts, short enough for sessions that wait.
const RECONNECT_DELAY_MAX: Duration = Duration::from_secs(1);
/// For the server to answer one request of `JetStream`'s.
pub(super) const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);
/// Messages that may wait between the connection and whoever reads them; what is above is read again from the stream.
const SUBSCRIPTION_CAPACITY: usize = 8 * 1024;

/// A connection and the API over it.
#[derive(Clone)]
pub(super) struct Link {
    pub(super) client: Client,
    pub(super) jetstream: Context,
    /// Counts how often the connection was made.
    pub(super) connected: watch::Receiver<u64>,
}

impl Link {
    /// Connects, or says why it cannot. From then on the connection mends itself.
    pub(super) async fn open(settings: &Nats) -> Result<Self, OpenError> {
        let (count, connected) = watch::channel(0_u64);
        let servers = settings.servers.iter().map(|server| server.parse::<ServerAddr>()).collect::<Result<Vec<_>, _>>();
        let servers = servers.map_err(|error| OpenError::Settings(error.to_string()))?;
        let until = Instant::now() + CONNECT_PATIENCE;
        let mut tried = 0;
        let client = loop {
            let count = count.clone();
            let options = login::identify(timed(), settings)?.event_callback(move |event| {
                let count = count.clone();
                async move { note(&event, &count) }
            });
            tried += 1;
            match options.connect(servers.clone()).await {
                Ok(client) => break client,
                // Servers that are busy or starting, and on a machine that stands still now and then time alone says nothing.
                Err(error) if login::may_pass(&error) && (tried < TRIES_MIN || Instant::now() < until) => {
                    tracing::info!(%error, "no NATS server can be used yet; they are asked again");
                    sleep(RETRY).await;
                }
                Err(error) => return Err(OpenError::unreachable(settings, &login::refusal(settings, &error))),
            }
        };
        let jetstream = async_nats::jetstream::ContextBuilder::new().timeout(ANSWER_TIMEOUT).ack_timeout(ANSWER_TIMEOUT);
        let jetstream = jetstream.max_ack_inflight(1 << 20).build(client.clone());
        Ok(Self { client, jetstream, connected })
    }

    /// Whether there is any sense in asking.
    pub(super) fn is_up(&self) -> bool {
        self.client.connection_state() == async_nats::connection::State::Connected
    }
}

fn note(event: &Event, count: &watch::Sender<u64>) {
    match event {
        Event::Connected => {
            count.send_modify(|count| *count += 1);
            tracing::info!("connected to NATS");
        }
        Event::Disconnected => tracing::warn!("the connection to NATS is lost; webhooks are answered 503 until it is back"),
        // What did not fit is noticed by its numbers and read again.
        Event::SlowConsumer(_) => {}
        other => tracing::warn!(event = %other, "NATS"),
    }
}

fn timed() -> ConnectOptions {
    ConnectOptions::new()
        .name("claimr-relay")
        .connection_timeout(CONNECT_TIMEOUT)
        .request_timeout(Some(ANSWER_TIMEOUT))
        .ping_interval(PING_INTERVAL)
        .subscription_capacity(SUBSCRIPTION_CAPACITY)
        .reconnect_delay_callback(|attempts| {
            let delay = Duration::from_millis(50) * u32::try_from(attempts).unwrap_or(u32::MAX).min(20);
            // Not all gateways in the same moment.
            delay.min(RECONNECT_DELAY_MAX).mul_f64(0.5 + fastrand::f64() / 2.0)
        })
}
