//! The operator's routes, on their own listener: metrics, health and the inspector. Never reachable through the public one.

use std::sync::Arc;

use axum::{
    Router,
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};

use super::{Problem, inspector};
use crate::{event::Timestamp, metrics::Metrics, probe::Probe, shutdown::Shutdown};

/// What the operator's routes need.
pub struct Admin {
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// Whether the node is leaving.
    pub shutdown: Shutdown,
    /// Whether the way from a webhook to a session is open.
    pub probe: Probe,
    /// The wall clock.
    pub clock: fn() -> Timestamp,
}

/// The operator's routes.
pub fn routes(state: Arc<Admin>) -> Router {
    Router::new()
        .route("/metrics", get(metrics))
        .route("/healthz", get(async || "alive\n"))
        .route("/readyz", get(ready))
        .merge(inspector::routes())
        .fallback(async || Problem::not_found())
        .method_not_allowed_fallback(async || Problem::method_not_allowed())
        .with_state(state)
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
        Ok(()) => "ready\n".into_response(),
        Err(ill) => {
            tracing::error!(%ill, "not ready");
            (StatusCode::SERVICE_UNAVAILABLE, format!("{ill}\n")).into_response()
        }
    }
}
