//! `/admin/v1/dead-letters`: what was genuine and reached nobody, and trying it again once the mapping is mended.

use std::sync::Arc;

use axum::{
    Json,
    body::Body,
    extract::{Query, State, rejection::QueryRejection},
};
use serde::{Deserialize, Serialize};

use super::{
    Api,
    guard::{invalid, json},
};
use crate::{
    engine::LetterId,
    event::{DeadLetter, Position},
    http::Problem,
    ingest::{ReplayError, Replayed},
};

/// Letters in an answer, unless the request says otherwise.
const LIMIT: usize = 100;
/// Bytes of a letter's body in an answer.
const SHOWN_BYTES_MAX: usize = 16 * 1024;
/// Bytes of a request that names letters: some ten thousand of them.
const REQUEST_BYTES_MAX: usize = 512 * 1024;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Page {
    limit: Option<usize>,
}

#[derive(Serialize)]
pub(super) struct DeadLetters {
    dead_letters: Vec<LetterView>,
}

#[derive(Serialize)]
struct LetterView {
    id: String,
    at: u64,
    source: String,
    scope: Option<String>,
    reason: &'static str,
    /// Cut.
    body: String,
    body_bytes: usize,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Which {
    #[serde(default)]
    ids: Vec<String>,
    #[serde(default)]
    all: bool,
    #[serde(default)]
    force: bool,
}

#[derive(Serialize)]
pub(super) struct Results {
    results: Vec<LetterResult>,
}

#[derive(Serialize)]
struct LetterResult {
    id: String,
    status: &'static str,
    ids: Vec<String>,
    connections: usize,
}

pub(super) async fn list(
    State(api): State<Arc<Api>>,
    page: Result<Query<Page>, QueryRejection>,
) -> Result<Json<DeadLetters>, Problem> {
    let Query(Page { limit }) = page.map_err(|rejection| invalid(rejection.body_text()))?;
    let letters = api.engine.dead_letters(limit.unwrap_or(LIMIT)).await?;
    let view = |letter: &DeadLetter| LetterView {
        id: LetterId::of(letter).to_string(),
        at: letter.at.0,
        source: letter.source.clone(),
        scope: letter.scope.as_ref().map(ToString::to_string),
        reason: letter.reason.as_str(),
        body: api.ingest.shown(&letter.body, SHOWN_BYTES_MAX),
        body_bytes: letter.body.len(),
    };
    Ok(Json(DeadLetters { dead_letters: letters.iter().map(view).collect() }))
}

pub(super) async fn replay(State(api): State<Arc<Api>>, body: Body) -> Result<Json<Results>, Problem> {
    let which: Which = json(&api, body, REQUEST_BYTES_MAX).await?;
    if which.ids.is_empty() != which.all {
        return Err(invalid("name letters with \"ids\", or all of them with \"all\": true"));
    }
    let ids: Vec<LetterId> = which
        .ids
        .iter()
        .map(|id| id.parse())
        .collect::<Result<_, _>>()
        .map_err(|_| invalid("\"ids\" are the ids of dead letters, 32 hexadecimal digits each"))?;
    // Oldest first, which is the order in which they would have been accepted.
    let letters = api.engine.dead_letters(usize::MAX).await?;
    let letters = letters.iter().rev().map(|letter| (LetterId::of(letter), letter));
    let letters: Vec<_> = letters.filter(|(id, _)| which.all || ids.contains(id)).collect();
    let mut results = Vec::with_capacity(letters.len());
    for (id, letter) in &letters {
        let replayed = api.ingest.replay(letter, which.force, (api.clock)()).await?;
        results.push(LetterResult::new(*id, replayed));
    }
    tracing::info!(letters = results.len(), force = which.force, "an operator replayed dead letters");
    let unknown = ids.iter().filter(|id| !letters.iter().any(|(known, _)| known == *id));
    results.extend(unknown.map(|id| LetterResult { id: id.to_string(), status: "unknown", ids: Vec::new(), connections: 0 }));
    Ok(Json(Results { results }))
}

impl LetterResult {
    fn new(id: LetterId, replayed: Replayed) -> Self {
        let texts = |ids: Vec<Position>| ids.iter().map(ToString::to_string).collect();
        let (status, ids, connections) = match replayed {
            Replayed::Delivered(ids, connections) => ("delivered", texts(ids), connections),
            Replayed::Duplicate(ids) => ("duplicate", texts(ids), 0),
            Replayed::StillDead => ("still_dead", Vec::new(), 0),
        };
        Self { id: id.to_string(), status, ids, connections }
    }
}

impl From<ReplayError> for Problem {
    fn from(error: ReplayError) -> Self {
        match error {
            ReplayError::Publish(error) => error.into(),
            ReplayError::Lane(error) => error.into(),
        }
    }
}
