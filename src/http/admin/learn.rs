//! `GET /admin/v1/learn`: how the sources sign, and where their fields stand, as far as the latest deliveries tell.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Query, State, rejection::QueryRejection},
    http::StatusCode,
};
use serde::{Deserialize, Serialize};

use super::{Api, guard::invalid};
use crate::{http::Problem, ingest::Learned};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Which {
    source: Option<String>,
}

#[derive(Serialize)]
pub(super) struct Lessons {
    sources: Vec<Learned>,
}

pub(super) async fn show(
    State(api): State<Arc<Api>>,
    which: Result<Query<Which>, QueryRejection>,
) -> Result<Json<Lessons>, Problem> {
    let Query(Which { source }) = which.map_err(|rejection| invalid(rejection.body_text()))?;
    if source.as_ref().is_some_and(|source| api.ingest.source(source).is_none()) {
        return Err(Problem::new(StatusCode::NOT_FOUND, "source_unknown", "no source of this name is configured"));
    }
    let ingest = Arc::clone(&api.ingest);
    let learning = tokio::task::spawn_blocking(move || ingest.learn(source.as_deref())).await;
    let failed = |_| Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "learning from the deliveries failed");
    Ok(Json(Lessons { sources: learning.map_err(failed)? }))
}
