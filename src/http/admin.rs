//! The operator's routes, on their own listener: metrics, health, the admin API, and the inspector over it. Never reachable through the
//! public one.

mod connections;
mod dead_letters;
mod deliveries;
mod events;
mod guard;
mod learn;
mod revocations;
mod users;

use std::{fmt::Write as _, sync::Arc, time::Duration};

use axum::{
    Router,
    extract::State,
    http::{StatusCode, header},
    middleware,
    response::{IntoResponse, Response},
    routing::{delete, get, post},
};

use super::{Problem, inspector};
use crate::{
    engine::{Engine, EngineError},
    event::Timestamp,
    hub::Hub,
    ingest::Ingest,
    metrics::Metrics,
    probe::Probe,
    shutdown::Shutdown,
    swap::Swap,
};
pub use guard::Guard;
pub use revocations::Revoking;

/// What the operator's routes need.
pub struct Admin {
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// Whether the node is leaving.
    pub shutdown: Shutdown,
    /// Whether the way from a webhook to a session is open.
    pub probe: Probe,
    /// What the admin API needs.
    pub api: Arc<Api>,
    /// The wall clock.
    pub clock: fn() -> Timestamp,
}

/// What the admin API needs.
pub struct Api {
    /// Knows what became of webhooks.
    pub ingest: Arc<Ingest>,
    /// Knows who is connected.
    pub hub: Arc<Hub>,
    /// Knows what happened.
    pub engine: Arc<dyn Engine>,
    /// Knows who may ask.
    pub guard: Guard,
    /// Takes tokens, until they are revoked; knows the platform of a user key without a colon.
    pub revoking: Arc<Revoking>,
    /// For a request's body to arrive.
    pub read_timeout: Duration,
    /// Bytes of the data of a backend's own event.
    pub data_bytes_max: Swap<usize>,
    /// The wall clock.
    pub clock: fn() -> Timestamp,
}

/// The operator's routes.
pub fn routes(state: Arc<Admin>) -> Router {
    Router::new()
        .route("/metrics", get(metrics))
        .route("/healthz", get(async || "alive\n"))
        .route("/readyz", get(ready))
        .route("/openapi.json", get(async || described(include_str!("admin/openapi.json"))))
        .route("/openapi-public.json", get(async || described(include_str!("openapi.json"))))
        .nest("/admin/v1", api(&state.api))
        .merge(inspector::routes())
        .fallback(async || Problem::not_found())
        .method_not_allowed_fallback(async || Problem::method_not_allowed())
        .with_state(state)
}

/// The admin API, behind its guard. docs/admin-api.md tells what each route is good for, openapi.json what it takes and gives.
fn api(state: &Arc<Api>) -> Router<Arc<Admin>> {
    Router::new()
        .route("/deliveries", get(deliveries::list))
        .route("/connections", get(connections::list))
        .route("/users/{key}", get(users::show))
        .route("/users/{key}/sessions", delete(users::disconnect))
        .route("/dead-letters", get(dead_letters::list))
        .route("/dead-letters/replay", post(dead_letters::replay))
        .route("/events/{id}/replay", post(events::replay))
        .route("/publish", post(events::publish))
        .route("/learn", get(learn::show))
        .route("/revocations", get(revocations::list).post(revocations::revoke).delete(revocations::forget))
        .fallback(async || Problem::not_found())
        .method_not_allowed_fallback(async || Problem::method_not_allowed())
        .layer(middleware::from_fn_with_state(Arc::clone(state), guard::watch))
        .with_state(Arc::clone(state))
}

fn described(document: &'static str) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "application/json")], document)
}

/// A log that cannot be read is told like one that cannot be written.
impl From<EngineError> for Problem {
    fn from(error: EngineError) -> Self {
        tracing::error!(%error, "the admin API could not read the log");
        Self::come_back(StatusCode::SERVICE_UNAVAILABLE, "log_unavailable", "the log cannot be read now")
    }
}

async fn metrics(State(admin): State<Arc<Admin>>) -> Response {
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(header::CONTENT_TYPE, kind)], admin.metrics.expose()).into_response()
}

/// Whether new streams and webhooks should be sent here.
async fn ready(State(admin): State<Arc<Admin>>) -> Response {
    if admin.shutdown.is_draining() {
        return (StatusCode::SERVICE_UNAVAILABLE, "draining\n").into_response();
    }
    match admin.probe.check((admin.clock)()).await {
        Ok(()) => {
            let mut text = "ready\n".to_owned();
            // No reason to send nobody here: webhooks are taken, and so are the tokens of other keys.
            for setting in admin.api.revoking.credentials.missing_key_sets() {
                let _ = writeln!(text, "warning: {setting} has no keys, so its tokens are refused; see the log");
            }
            text.into_response()
        }
        Err(ill) => {
            tracing::error!(%ill, "not ready");
            (StatusCode::SERVICE_UNAVAILABLE, format!("{ill}\n")).into_response()
        }
    }
}
