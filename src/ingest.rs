//! The whole life of a webhook: verify → read → publish → answer.
//!
//! The answer is given only after every recipient's event is durable in the log. What verifies but cannot be read or addressed
//! is kept as a dead letter, in the same step, so that mending the mapping is never too late.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Instant,
};

use bytes::Bytes;
use http::HeaderMap;
use prometheus_client::metrics::counter::Counter;

use crate::{
    claimr::{payload::PayloadReader, signature},
    config,
    engine::{Engine, PublishError, Receipt, Repetition},
    event::{Delivery, Draft, EventType, Position, Timestamp, UserKey},
    metrics::{KindLabel, Metrics, WebhookLabels},
    swap::Swap,
};

/// Takes webhooks for every configured source.
pub struct Ingest {
    sources: Swap<Sources>,
    engine: Arc<dyn Engine>,
    metrics: Arc<Metrics>,
}

/// Every sender by its name, found to be good.
pub struct Sources(HashMap<String, Arc<Source>>);

/// One sender, ready to be checked and understood.
pub struct Source {
    name: String,
    verifier: signature::Verifier,
    reader: PayloadReader,
    accepted: Counter,
}

/// One request as it came in.
pub struct Webhook<'a> {
    /// The last segment of the URL, if it has one.
    pub scope: Option<EventType>,
    /// As received.
    pub headers: &'a HeaderMap,
    /// As received.
    pub body: Bytes,
    /// The wall clock.
    pub now: Timestamp,
    /// When the request's first byte was read.
    pub received: Instant,
}

/// The answer to a webhook that is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Accepted {
    /// Where each event stands, in the order of the body.
    pub ids: Vec<Position>,
    /// Whether all of it was there before.
    pub duplicate: bool,
    /// How many people it concerns.
    pub recipients: usize,
    /// How many sessions it was handed to.
    pub connections: usize,
    /// How many parts of it concern nobody we can name.
    pub dead_letters: usize,
}

/// Why a webhook was not stored, by what the sender can do.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// Sign it, and rightly.
    #[error(transparent)]
    Unverified(#[from] signature::Refusal),
    /// Send what is JSON; a copy is kept as a dead letter.
    #[error("the body is not the JSON that the gateway accepts: {0}")]
    Invalid(String),
    /// Come back later.
    #[error(transparent)]
    Unavailable(#[from] PublishError),
}

impl Refused {
    /// The code in the answer and in the metrics.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Unverified(refusal) => refusal.code(),
            Self::Invalid(_) => "payload_invalid",
            Self::Unavailable(PublishError::Overloaded) => "overloaded",
            Self::Unavailable(PublishError::Unavailable(_)) => "log_unavailable",
            Self::Unavailable(PublishError::Closed) => "draining",
        }
    }
}

impl Ingest {
    /// Prepares every source; or says all that is wrong with them.
    pub fn new(
        sources: &[config::Source],
        engine: Arc<dyn Engine>,
        metrics: Arc<Metrics>,
    ) -> Result<Self, Vec<signature::Problem>> {
        let sources = Self::prepare(sources, &metrics)?;
        Ok(Self { sources: Swap::new(sources), engine, metrics })
    }

    /// Checks new sources without putting them in force.
    pub fn prepare(sources: &[config::Source], metrics: &Metrics) -> Result<Sources, Vec<signature::Problem>> {
        let mut problems = Vec::new();
        let mut ready = HashMap::new();
        for source in sources {
            match signature::Verifier::new(source) {
                Ok(verifier) => {
                    let labels = WebhookLabels { source: source.name.clone(), outcome: "accepted" };
                    let accepted = metrics.webhooks.get_or_create(&labels).clone();
                    let reader = PayloadReader::new(source);
                    let ready_source = Source { name: source.name.clone(), verifier, reader, accepted };
                    ready.insert(source.name.clone(), Arc::new(ready_source));
                }
                Err(found) => problems.extend(found),
            }
        }
        if problems.is_empty() { Ok(Sources(ready)) } else { Err(problems) }
    }

    /// The source that `/hooks/<name>` means.
    pub fn source(&self, name: &str) -> Option<Arc<Source>> {
        self.sources.get().0.get(name).cloned()
    }

    /// Puts new sources in force; webhooks on their way are seen through by the old ones.
    pub fn replace(&self, sources: Sources) {
        self.sources.set(sources);
    }

    /// Sees a webhook through to its answer.
    pub async fn receive(&self, source: &Source, webhook: Webhook<'_>) -> Result<Accepted, Refused> {
        let received = webhook.received;
        let result = self.store(source, webhook).await;
        match &result {
            Ok(accepted) => {
                if accepted.duplicate {
                    self.counter(source, "duplicate").inc()
                } else {
                    source.accepted.inc()
                };
                self.metrics.publish_seconds.observe(received.elapsed().as_secs_f64());
            }
            Err(refused) => {
                self.counter(source, refused.code()).inc();
                tracing::warn!(source = source.name, code = refused.code(), reason = %refused, "webhook refused");
            }
        }
        result
    }

    async fn store(&self, source: &Source, webhook: Webhook<'_>) -> Result<Accepted, Refused> {
        let verified = source.verifier.verify(webhook.headers, webhook.body, webhook.now)?;
        let reading = source.reader.read(&verified, webhook.scope.as_ref(), webhook.now);
        let (recipients, dead_letters) = (count_people(&reading.drafts), reading.dead_letters.len());
        for letter in &reading.dead_letters {
            self.metrics.dead_letters.get_or_create(&KindLabel { kind: letter.reason.as_str() }).inc();
        }
        let delivery = Delivery { drafts: reading.drafts, dead_letters: reading.dead_letters, received: webhook.received };
        let receipt = self.engine.publish(delivery).await?;
        if let Some(invalid) = reading.invalid {
            return Err(Refused::Invalid(invalid.to_string()));
        }
        self.count(source, &receipt);
        Ok(Accepted {
            duplicate: !receipt.events.is_empty() && receipt.events.iter().all(|event| event.repetition.is_some()),
            ids: receipt.events.iter().map(|event| event.position).collect(),
            recipients,
            connections: receipt.connections,
            dead_letters,
        })
    }

    fn count(&self, source: &Source, receipt: &Receipt) {
        for event in &receipt.events {
            match event.repetition {
                None => {
                    self.metrics.events.inc();
                }
                Some(Repetition::Same) => {
                    self.metrics.repetitions.get_or_create(&KindLabel { kind: "same" }).inc();
                }
                Some(Repetition::OtherBody) => {
                    self.metrics.repetitions.get_or_create(&KindLabel { kind: "other_body" }).inc();
                    tracing::warn!(
                        source = source.name,
                        first = %event.position,
                        "a delivery id came again over another body, and the first stands; \
                         if that field is no delivery id here, set sources.mapping.delivery_id"
                    );
                }
            }
        }
    }

    fn counter(&self, source: &Source, outcome: &'static str) -> Counter {
        self.metrics.webhooks.get_or_create(&WebhookLabels { source: source.name.clone(), outcome }).clone()
    }
}

/// People over all events, each once. A person is known by the first key, the strongest identity that the payload names.
fn count_people(drafts: &[Draft]) -> usize {
    match drafts {
        [draft] => draft.audiences.len(),
        _ => drafts.iter().flat_map(|draft| &draft.audiences).map(|a| &a.keys[0]).collect::<HashSet<&UserKey>>().len(),
    }
}
