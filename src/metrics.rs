//! Every figure the gateway publishes, in one block. Labels come from the configuration or from our own words, never from input.

use std::fmt::{self, Write as _};

use prometheus_client::{
    encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder, text::encode},
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::{Registry, Unit},
};

/// All metrics of one gateway.
pub struct Metrics {
    registry: Registry,
    /// Webhooks by source and by what became of them.
    pub webhooks: Family<WebhookLabels, Counter>,
    /// Events that entered the log.
    pub events: Counter,
    /// Parts of deliveries that were recognised as repetitions, by kind.
    pub repetitions: Family<KindLabel, Counter>,
    /// Parts of deliveries that reached nobody, by reason.
    pub dead_letters: Family<KindLabel, Counter>,
    /// From the first byte of a webhook to the answer, when it was stored.
    pub publish_seconds: Histogram,
    /// From the first byte of a webhook to the write into a session's socket, for live events.
    pub delivery_seconds: Histogram,
    /// Sessions now, by carrier.
    pub sessions: Family<CarrierLabel, Gauge>,
    /// Sessions begun, by carrier and by how they stood to their cursor.
    pub opened: Family<OpenedLabels, Counter>,
    /// Sessions ended by the gateway, by close code; 0 where the client left.
    pub closed: Family<CodeLabel, Counter>,
    /// Streams that were refused before they became sessions, by HTTP status or close code.
    pub refused: Family<CodeLabel, Counter>,
    /// Connections that were closed because too many had not asked for anything yet: of their `address`, or of the `listener`.
    pub waiting_closed: Family<KindLabel, Counter>,
    /// Events sent from the log to sessions that had missed them.
    pub replayed: Counter,
    /// Fetches of key sets: `loaded`, or `refused` for whatever reason.
    pub key_sets: Family<KindLabel, Counter>,
}

/// What a webhook is counted under.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct WebhookLabels {
    /// The source's configured name; empty if the URL names none.
    pub source: String,
    /// The answer's code, or `accepted`, or `duplicate`.
    pub outcome: &'static str,
}

/// A word of ours.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct KindLabel {
    /// The word.
    pub kind: &'static str,
}

/// WebSocket or SSE.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Carrier {
    /// `/v1/ws`.
    WebSocket,
    /// `/v1/sse`.
    Sse,
}

impl Carrier {
    /// The word in figures, logs and the admin API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::WebSocket => "websocket",
            Self::Sse => "sse",
        }
    }
}

impl EncodeLabelValue for Carrier {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> fmt::Result {
        encoder.write_str(self.as_str())
    }
}

/// The carrier of a session.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct CarrierLabel {
    /// The carrier.
    pub carrier: Carrier,
}

/// How a session began.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct OpenedLabels {
    /// The carrier.
    pub carrier: Carrier,
    /// `fresh`, `resumed`, or why there is a gap.
    pub resume: &'static str,
}

/// A close code or an HTTP status.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct CodeLabel {
    /// The number.
    pub code: u16,
}

impl Default for Metrics {
    fn default() -> Self {
        // From 100 µs, below which nothing durable happens, to 10 s, above which nobody speaks of live.
        let seconds =
            || Histogram::new([1e-4, 2.5e-4, 5e-4, 1e-3, 2.5e-3, 5e-3, 1e-2, 2.5e-2, 5e-2, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0]);
        let mut metrics = Self {
            registry: Registry::with_prefix("claimr_relay"),
            webhooks: Family::default(),
            events: Counter::default(),
            repetitions: Family::default(),
            dead_letters: Family::default(),
            publish_seconds: seconds(),
            delivery_seconds: seconds(),
            sessions: Family::default(),
            opened: Family::default(),
            closed: Family::default(),
            refused: Family::default(),
            waiting_closed: Family::default(),
            replayed: Counter::default(),
            key_sets: Family::default(),
        };
        metrics.register();
        // There from the start, so that the first refusal is a rise from zero.
        for kind in ["loaded", "refused"] {
            drop(metrics.key_sets.get_or_create(&KindLabel { kind }));
        }
        for kind in ["address", "listener"] {
            drop(metrics.waiting_closed.get_or_create(&KindLabel { kind }));
        }
        metrics
    }
}

impl Metrics {
    fn register(&mut self) {
        let r = &mut self.registry;
        r.register("webhooks", "Webhooks by source and outcome", self.webhooks.clone());
        r.register("events", "Events that entered the log", self.events.clone());
        r.register("repetitions", "Events recognised as repetitions", self.repetitions.clone());
        r.register("dead_letters", "Parts of deliveries that reached nobody", self.dead_letters.clone());
        r.register_with_unit("publish", "From a webhook's first byte to its answer", Unit::Seconds, self.publish_seconds.clone());
        r.register_with_unit(
            "delivery",
            "From a webhook's first byte to the socket write",
            Unit::Seconds,
            self.delivery_seconds.clone(),
        );
        r.register("sessions", "Sessions now", self.sessions.clone());
        r.register("sessions_opened", "Sessions begun, by how they stood to their cursor", self.opened.clone());
        r.register("sessions_closed", "Sessions ended, by close code; 0: the client left", self.closed.clone());
        r.register("streams_refused", "Streams refused before they became sessions", self.refused.clone());
        let closed = self.waiting_closed.clone();
        r.register("waiting_connections_closed", "Connections closed because too many had not asked for anything yet", closed);
        r.register("events_replayed", "Events sent from the log to sessions that had missed them", self.replayed.clone());
        r.register("key_set_fetches", "Fetches of key sets: loaded, or refused for whatever reason", self.key_sets.clone());
    }

    /// The exposition in the `OpenMetrics` text format, version 1.0.0.
    pub fn expose(&self) -> String {
        let mut text = String::new();
        // Writing to a String cannot fail.
        let _ = encode(&mut text, &self.registry);
        text
    }
}
