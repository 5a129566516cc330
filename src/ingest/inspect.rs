//! What became of a webhook, step by step, as an operator may see it. Found out from what was remembered only when somebody asks.

use http::HeaderMap;
use serde::Serialize;

use super::{Ingest, Source};
use crate::{
    capture::{Captured, Proof, Walk},
    claimr::signature::{self, Refusal},
    engine::Repetition,
    event::{EventType, UserKey},
};

/// Which of the remembered webhooks to tell of.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    /// At most so many, the newest.
    pub limit: usize,
    /// Only of this source.
    pub source: Option<String>,
    /// Only with this outcome.
    pub outcome: Option<String>,
    /// Only those that named this user.
    pub user: Option<UserKey>,
}

/// One webhook, with nothing secret in it.
#[derive(Debug, Serialize)]
pub struct Inspected {
    n: u64,
    at: u64,
    source: String,
    scope: Option<String>,
    status: u16,
    outcome: &'static str,
    took_us: u128,
    remote: Option<String>,
    headers: Vec<(String, String)>,
    content_type: Option<String>,
    body: String,
    body_bytes: usize,
    steps: Vec<Told>,
}

/// A step that the webhook reached, in microseconds after its first byte.
#[derive(Debug, Serialize)]
#[serde(tag = "step", rename_all = "snake_case")]
enum Told {
    Received {
        us: u128,
    },
    Verified {
        us: u128,
        ok: bool,
        scheme: Option<&'static str>,
        header: Option<String>,
        secret: Option<usize>,
        why: Option<String>,
    },
    Addressed {
        us: u128,
        events: Vec<Event>,
        dead_letters: usize,
        why: Option<String>,
    },
    Stored {
        us: u128,
        ids: Vec<String>,
        repetition: Vec<Option<&'static str>>,
    },
    Delivered {
        us: u128,
        connections: usize,
    },
}

#[derive(Debug, Serialize)]
struct Event {
    r#type: String,
    people: Vec<Person>,
    /// Whose followers heard of it.
    campaign: Option<String>,
}

#[derive(Debug, Serialize)]
struct Person {
    keys: Vec<String>,
    from: Vec<String>,
}

impl Ingest {
    /// The remembered webhooks that are `wanted`, newest first. Computes for some milliseconds if many were refused.
    pub fn inspect(&self, wanted: &Wanted) -> Vec<Inspected> {
        let is_wanted = |captured: &Captured| {
            wanted.source.as_ref().is_none_or(|source| *source == captured.source)
                && wanted.outcome.as_ref().is_none_or(|outcome| outcome == captured.outcome)
        };
        let sources = self.sources.get();
        let latest = sources.capture.latest();
        let told = latest.iter().filter(|captured| is_wanted(captured)).filter_map(|captured| {
            let source = sources.by_name.get(&captured.source)?;
            let events = source.events_of(captured);
            let names = |user: &UserKey| events.iter().flat_map(|e| &e.people).any(|p| p.keys.iter().any(|k| k == user.as_str()));
            wanted.user.as_ref().is_none_or(names).then(|| source.tell(captured, events))
        });
        told.take(wanted.limit).collect()
    }

    /// How many webhooks were not remembered because too many came in a second.
    pub fn skipped(&self) -> u64 {
        self.sources.get().capture.skipped()
    }

    /// What of a stored text may be shown, whatever source it came from: all but the sources' secrets, and at most `bytes_max` of it.
    pub fn shown(&self, stored: &[u8], bytes_max: usize) -> String {
        let is_cut = stored.len() > bytes_max;
        let text = String::from_utf8_lossy(&stored[..stored.len().min(bytes_max)]).into_owned();
        self.sources.get().by_name.values().fold(text, |text, source| source.mask.text(&text, is_cut))
    }
}

impl Source {
    fn tell(&self, captured: &Captured, events: Vec<Event>) -> Inspected {
        let content_type = captured.headers.get(http::header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
        Inspected {
            n: captured.n,
            at: captured.at.0,
            source: captured.source.clone(),
            scope: captured.scope.as_ref().map(ToString::to_string),
            status: captured.status,
            outcome: captured.outcome,
            took_us: captured.took.as_micros(),
            remote: captured.remote.map(|address| address.to_string()),
            headers: self.masked(&captured.headers),
            content_type: content_type.map(|text| self.mask.text(text, false)),
            body: self.mask.text(&String::from_utf8_lossy(&captured.body), !captured.is_whole()),
            body_bytes: captured.body_bytes,
            steps: self.steps(captured, events),
        }
    }

    fn masked(&self, headers: &HeaderMap) -> Vec<(String, String)> {
        let shown = |(name, value): (&http::HeaderName, &http::HeaderValue)| {
            (name.as_str().to_owned(), self.mask.header(name, value.as_bytes()))
        };
        headers.iter().map(shown).collect()
    }

    fn steps(&self, captured: &Captured, events: Vec<Event>) -> Vec<Told> {
        let Walk { verified, addressed, stored, connections } = &captured.walk;
        let mut steps = vec![Told::Received { us: 0 }];
        if let Some(step) = verified {
            steps.push(self.verified(step.after.as_micros(), &step.what, captured));
        }
        if let Some(step) = addressed {
            let nobody = || "nobody is named under any of the mapping's paths; see `claimr-relay learn`".to_owned();
            let why = match step.what.invalid {
                Some(invalid) => Some(invalid.to_string()),
                None => (step.what.dead_letters > 0).then(nobody),
            };
            steps.push(Told::Addressed { us: step.after.as_micros(), events, dead_letters: step.what.dead_letters, why });
        }
        if let Some(step) = stored {
            let us = step.after.as_micros();
            let repetition = step.what.iter().map(|stored| stored.repetition.map(repetition)).collect();
            steps.push(Told::Stored {
                us,
                ids: step.what.iter().map(|stored| stored.position.to_string()).collect(),
                repetition,
            });
            steps.push(Told::Delivered { us, connections: *connections });
        }
        steps
    }

    fn verified(&self, us: u128, result: &Result<Proof, Refusal>, captured: &Captured) -> Told {
        match result {
            Ok(Proof { found: Some(found), secret }) => {
                let header = found.header().map(str::to_owned);
                Told::Verified { us, ok: true, scheme: Some(found.scheme()), header, secret: *secret, why: None }
            }
            Ok(_) => {
                let why = Some("unsigned, which this source takes".to_owned());
                Told::Verified { us, ok: true, scheme: None, header: None, secret: None, why }
            }
            Err(refusal) => {
                let why = captured.why.get_or_init(|| self.mask.text(&self.why(*refusal, captured), false)).clone();
                Told::Verified { us, ok: false, scheme: None, header: None, secret: None, why: Some(why) }
            }
        }
    }

    /// Why a delivery was refused, in words.
    pub(super) fn why(&self, refusal: Refusal, captured: &Captured) -> String {
        if !captured.is_whole() {
            return format!("{refusal}; the body is longer than limits.captured_body_bytes_max, so it cannot be looked into");
        }
        let explanation = signature::explain(&self.secrets, &captured.headers, &captured.body, captured.at);
        match explanation.verdict {
            Ok(matched) => format!(
                "{refusal} under the scheme that is pinned with the secrets that count now; it would under secret {}, with {}",
                matched.secret, matched.found
            ),
            Err(_) => explanation.reasons.join(" "),
        }
    }

    /// Whom the delivery named, and by which fields; nobody if it did not prove itself.
    fn events_of(&self, captured: &Captured) -> Vec<Event> {
        if !captured.is_verified() {
            return Vec::new();
        }
        if captured.is_whole() {
            let trace = self.reader.trace(&captured.body, captured.scope.as_ref()).unwrap_or_default();
            return trace
                .events
                .into_iter()
                .map(|event| Event::new(&event.kind, event.people.into_iter().map(|p| (p.keys, p.from)), event.campaign.as_ref()))
                .collect();
        }
        let remembered = captured.walk.addressed.iter().flat_map(|step| &step.what.people);
        let event = |(kind, people): &(EventType, Vec<Vec<UserKey>>)| {
            Event::new(kind, people.iter().map(|keys| (keys.clone(), Vec::new())), None)
        };
        remembered.map(event).collect()
    }
}

impl Event {
    fn new(kind: &EventType, people: impl Iterator<Item = (Vec<UserKey>, Vec<String>)>, campaign: Option<&UserKey>) -> Self {
        let people = people.map(|(keys, from)| Person { keys: keys.iter().map(ToString::to_string).collect(), from });
        let campaign = campaign.and_then(UserKey::campaign).map(str::to_owned);
        Self { r#type: kind.to_string(), people: people.collect(), campaign }
    }
}

fn repetition(repetition: Repetition) -> &'static str {
    match repetition {
        Repetition::Same => "same",
        Repetition::OtherBody => "other_body",
    }
}
