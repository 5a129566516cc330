//! The operator's routes, on their own listener: metrics, health, and what needs the admin token. Never reachable through the public one.

mod bearer;
mod revocations;

use std::{fmt::Write as _, sync::Arc};

use axum::{
    Router,
    extract::State,
    http::{StatusCode, header},
    middleware::from_fn_with_state,
    response::{IntoResponse, Response},
    routing::get,
};

use super::Problem;
use crate::{event::Timestamp, metrics::Metrics, probe::Probe, shutdown::Shutdown};

pub use bearer::AdminToken;
pub use revocations::Revoking;

/// What the operator's routes need.
pub struct Admin {
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// Whether the node is leaving.
    pub shutdown: Shutdown,
    /// Whether the way from a webhook to a session is open.
    pub probe: Probe,
    /// Takes tokens, until they are revoked.
    pub revoking: Arc<Revoking>,
    /// Who may use the admin API.
    pub token: AdminToken,
    /// The wall clock.
    pub clock: fn() -> Timestamp,
}

/// The operator's routes.
pub fn routes(state: Arc<Admin>) -> Router {
    Router::new()
        .route("/metrics", get(metrics))
        .route("/healthz", get(async || "alive\n"))
        .route("/readyz", get(ready))
        .nest("/admin/v1", api(&state))
        .fallback(async || Problem::not_found())
        .method_not_allowed_fallback(async || Problem::method_not_allowed())
        .with_state(state)
}

/// The admin API, behind its token.
fn api(state: &Arc<Admin>) -> Router<Arc<Admin>> {
    revocations::routes(&state.revoking).layer(from_fn_with_state(Arc::clone(state), bearer::check))
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
            for setting in admin.revoking.credentials.missing_key_sets() {
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
