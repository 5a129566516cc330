//! The whole life of a webhook: verify → read → publish → answer.
//!
//! The answer is given only after every recipient's event is durable in the log. What verifies but cannot be read or addressed
//! is kept as a dead letter, in the same step, so that mending the mapping is never too late.

mod inspect;
mod learn;
mod own;
mod replay;

use std::{
    collections::{HashMap, HashSet},
    net::IpAddr,
    sync::Arc,
    time::Instant,
};

use bytes::Bytes;
use http::HeaderMap;
use prometheus_client::metrics::counter::Counter;
use secrecy::SecretString;

use crate::{
    capture::{Addressed, Answered, Capture, Proof, Step, Walk},
    claimr::{
        payload::PayloadReader,
        signature::{self, Mask},
    },
    config,
    engine::{Engine, PublishError, Receipt, Repetition},
    event::{Delivery, Draft, EventType, Position, Timestamp, UserKey},
    metrics::{KindLabel, Metrics, WebhookLabels},
    swap::Swap,
    telemetry::REFUSALS,
};

pub use inspect::{Inspected, Wanted};
pub use learn::Learned;
pub use own::Unpublishable;
pub use replay::{ReplayError, Replayed};

/// Takes webhooks for every configured source, and tells what became of them.
pub struct Ingest {
    sources: Swap<Sources>,
    engine: Arc<dyn Engine>,
    metrics: Arc<Metrics>,
}

/// Every sender, found to be good.
pub struct Sources {
    by_name: HashMap<String, Arc<Source>>,
    /// What came for them. Other sources begin with none of it, because only these know what of it is secret.
    capture: Arc<Capture>,
}

/// One sender, ready to be checked and understood.
pub struct Source {
    name: String,
    verifier: signature::Verifier,
    reader: PayloadReader,
    accepted: Counter,
    /// Only to explain afterwards why a delivery was refused.
    secrets: Vec<SecretString>,
    mask: Mask,
    /// Of all sources that came into force with this one: what it remembers late is forgotten with them.
    capture: Arc<Capture>,
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
    /// Who sent it, as far as trusted proxies tell.
    pub remote: Option<IpAddr>,
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

impl Accepted {
    fn new(receipt: &Receipt, recipients: usize, dead_letters: usize) -> Self {
        Self {
            duplicate: !receipt.events.is_empty() && receipt.events.iter().all(|event| event.repetition.is_some()),
            ids: receipt.events.iter().map(|event| event.position).collect(),
            recipients,
            connections: receipt.connections,
            dead_letters,
        }
    }
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

    /// The HTTP status of the answer.
    pub fn status(&self) -> u16 {
        match self {
            Self::Unverified(_) => 401,
            Self::Invalid(_) => 400,
            Self::Unavailable(_) => 503,
        }
    }
}

impl Ingest {
    /// Prepares every source; or says all that is wrong with them.
    pub fn new(
        sources: &[config::Source],
        engine: Arc<dyn Engine>,
        metrics: Arc<Metrics>,
        capture: Capture,
    ) -> Result<Self, Vec<signature::Problem>> {
        let sources = Sources::new(sources, &metrics, capture)?;
        Ok(Self { sources: Swap::new(sources), engine, metrics })
    }

    /// Checks new sources without putting them in force.
    pub fn prepare(&self, sources: &[config::Source]) -> Result<Sources, Vec<signature::Problem>> {
        Sources::new(sources, &self.metrics, self.sources.get().capture.successor())
    }

    /// The source that `/hooks/<name>` means.
    pub fn source(&self, name: &str) -> Option<Arc<Source>> {
        self.sources.get().by_name.get(name).cloned()
    }

    /// Puts new sources in force; webhooks on their way are seen through by the old ones. What was remembered of earlier ones is forgotten.
    pub fn replace(&self, sources: Sources) {
        self.sources.set(sources);
    }

    /// Sees a webhook through to its answer.
    pub async fn receive(&self, source: &Source, webhook: Webhook<'_>) -> Result<Accepted, Refused> {
        let received = webhook.received;
        let mut walk = Walk::default();
        let result = self.store(source, &webhook, &mut walk).await;
        source.remember(&webhook, &result, walk);
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
                let code = refused.code();
                self.counter(source, code).inc();
                if REFUSALS.admit("webhook refused", &source.name, code, Instant::now()) {
                    tracing::warn!(source = source.name, code, reason = %refused, "webhook refused");
                }
            }
        }
        result
    }

    async fn store(&self, source: &Source, webhook: &Webhook<'_>, walk: &mut Walk) -> Result<Accepted, Refused> {
        let received = webhook.received;
        let verified = source.verifier.verify(webhook.headers, webhook.body.clone(), webhook.now);
        let proof = verified.as_ref().map(|v| Proof { found: v.shared_scheme(), secret: v.secret() }).map_err(|refusal| *refusal);
        walk.verified = Step::since(received, proof);
        let verified = verified?;
        let reading = source.reader.read(&verified, webhook.scope.as_ref(), webhook.now);
        let (recipients, dead_letters) = (count_people(&reading.drafts), reading.dead_letters.len());
        let people = if source.capture.cuts(&webhook.body) { Addressed::people_of(&reading.drafts) } else { Vec::new() };
        walk.addressed = Step::since(received, Addressed { dead_letters, invalid: reading.invalid, people });
        for letter in &reading.dead_letters {
            self.metrics.dead_letters.get_or_create(&KindLabel { kind: letter.reason.as_str() }).inc();
        }
        let delivery = Delivery { drafts: reading.drafts, dead_letters: reading.dead_letters, received: webhook.received };
        let receipt = self.engine.publish(delivery).await?;
        if let Some(invalid) = reading.invalid {
            return Err(Refused::Invalid(invalid.to_string()));
        }
        self.count(&source.name, &receipt);
        let accepted = Accepted::new(&receipt, recipients, dead_letters);
        walk.connections = receipt.connections;
        walk.stored = Step::since(received, receipt.events);
        Ok(accepted)
    }

    fn count(&self, source: &str, receipt: &Receipt) {
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
                    if !REFUSALS.admit("repetition", source, "other_body", Instant::now()) {
                        continue;
                    }
                    tracing::warn!(
                        source,
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

impl Sources {
    fn new(sources: &[config::Source], metrics: &Metrics, capture: Capture) -> Result<Self, Vec<signature::Problem>> {
        let capture = Arc::new(capture);
        let mut problems = Vec::new();
        let mut by_name = HashMap::new();
        for source in sources {
            match signature::Verifier::new(source) {
                Ok(verifier) => {
                    let labels = WebhookLabels { source: source.name.clone(), outcome: "accepted" };
                    let accepted = metrics.webhooks.get_or_create(&labels).clone();
                    let (name, reader, mask) = (source.name.clone(), PayloadReader::new(source), Mask::new(source));
                    let secrets = source.secrets.iter().map(|hook| hook.secret.clone()).collect();
                    let capture = Arc::clone(&capture);
                    let ready = Source { name, verifier, reader, accepted, secrets, mask, capture };
                    by_name.insert(source.name.clone(), Arc::new(ready));
                }
                Err(found) => problems.extend(found),
            }
        }
        if problems.is_empty() { Ok(Self { by_name, capture }) } else { Err(problems) }
    }
}

impl Source {
    /// Remembers a webhook that was answered before its signature was looked at, with the code of the answer.
    pub fn turned_away(&self, webhook: &Webhook<'_>, status: u16, code: &'static str) {
        self.capture.record(answered(self, webhook, status, code, Walk::default()));
    }

    fn remember(&self, webhook: &Webhook<'_>, result: &Result<Accepted, Refused>, walk: Walk) {
        let (status, outcome) = match result {
            Ok(accepted) if accepted.duplicate => (200, "duplicate"),
            Ok(accepted) if accepted.ids.is_empty() => (200, "dead_letter"),
            Ok(_) => (200, "accepted"),
            Err(refused) => (refused.status(), refused.code()),
        };
        self.capture.record(answered(self, webhook, status, outcome, walk));
    }
}

fn answered<'a>(source: &'a Source, webhook: &'a Webhook<'_>, status: u16, outcome: &'static str, walk: Walk) -> Answered<'a> {
    Answered {
        at: webhook.now,
        received: webhook.received,
        source: &source.name,
        scope: webhook.scope.as_ref(),
        remote: webhook.remote,
        headers: webhook.headers,
        body: &webhook.body,
        status,
        outcome,
        walk,
    }
}

/// People over all events, each once. A person is known by the first key, the strongest identity that the payload names.
fn count_people(drafts: &[Draft]) -> usize {
    match drafts {
        [draft] => draft.people().count(),
        _ => drafts.iter().flat_map(Draft::people).map(|a| &a.keys[0]).collect::<HashSet<&UserKey>>().len(),
    }
}
