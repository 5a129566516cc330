//! `GET /admin/v1/deliveries`: the latest webhooks, and what became of each.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Query, State, rejection::QueryRejection},
    http::StatusCode,
};
use serde::{Deserialize, Serialize};

use super::{Api, guard::invalid};
use crate::{
    event::UserKey,
    http::Problem,
    ingest::{Inspected, Wanted},
};

/// Deliveries in an answer, unless the request says otherwise.
const LIMIT: usize = 50;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Filter {
    limit: Option<usize>,
    source: Option<String>,
    outcome: Option<String>,
    user: Option<String>,
}

#[derive(Serialize)]
pub(super) struct Deliveries {
    deliveries: Vec<Inspected>,
    /// Came in seconds of which a ringful was remembered already.
    skipped: u64,
}

pub(super) async fn list(
    State(api): State<Arc<Api>>,
    filter: Result<Query<Filter>, QueryRejection>,
) -> Result<Json<Deliveries>, Problem> {
    let Query(filter) = filter.map_err(|rejection| invalid(rejection.body_text()))?;
    let user = filter.user.map(|user| api.user(&user)).transpose()?;
    let wanted = Wanted { limit: filter.limit.unwrap_or(LIMIT), source: filter.source, outcome: filter.outcome, user };
    let deliveries = api.inspect(wanted).await?;
    Ok(Json(Deliveries { deliveries, skipped: api.ingest.skipped() }))
}

impl Api {
    /// Looks into remembered webhooks, which may compute for a while, where it makes nobody wait.
    pub(super) async fn inspect(&self, wanted: Wanted) -> Result<Vec<Inspected>, Problem> {
        let ingest = Arc::clone(&self.ingest);
        let looking = tokio::task::spawn_blocking(move || ingest.inspect(&wanted)).await;
        looking.map_err(|_| Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "looking into the deliveries failed"))
    }

    /// A user key as an operator writes it.
    pub(super) fn user(&self, text: &str) -> Result<UserKey, Problem> {
        UserKey::parse(text, self.revoking.credentials.default_platform().as_deref())
            .map_err(|error| invalid(format!("the user key: {error}")))
    }
}
