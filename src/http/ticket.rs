//! `POST /v1/tickets`: a bearer token for a stream ticket, which native `EventSource` can carry in its URL.

use std::sync::Arc;

use axum::{
    extract::State,
    http::{HeaderMap, HeaderValue, StatusCode, Uri, header},
    response::{IntoResponse, Response},
};
use serde::Serialize;

use super::{
    Problem, Public,
    origin::readable_by,
    stream::{Parameters, bearer, refuse_token_in_url, unauthorized},
};

#[derive(Serialize)]
struct Ticket {
    ticket: String,
    ttl_ms: u64,
}

pub(super) async fn issue(State(public): State<Arc<Public>>, uri: Uri, headers: HeaderMap) -> Result<Response, Response> {
    let query = Parameters::try_from_uri(&uri).map_err(IntoResponse::into_response)?;
    let origin = public.settings.get().origins.check(&headers).map_err(|problem| readable_by(None, problem))?;
    refuse_token_in_url(&query).map_err(|problem| readable_by(origin, problem))?;
    let ticket = make(&public, &headers, origin).await.map_err(|problem| readable_by(origin, problem))?;
    let fresh = [(header::CACHE_CONTROL, HeaderValue::from_static("no-store"))];
    Ok(readable_by(origin, (fresh, axum::Json(ticket))))
}

async fn make(public: &Public, headers: &HeaderMap, origin: Option<&HeaderValue>) -> Result<Ticket, Problem> {
    let credentials = &public.streams.credentials;
    let token = bearer(headers)?.ok_or_else(|| unauthorized(None))?;
    let now = (public.clock)();
    let identity = credentials.token(token, now).await.map_err(|rejection| unauthorized(Some(rejection)))?;
    let origin = origin.and_then(|origin| origin.to_str().ok());
    let ttl_ms = identity.expires().0.saturating_sub(now.0);
    let ticket = credentials.issue_ticket(&identity, origin).ok_or_else(|| {
        Problem::new(StatusCode::NOT_FOUND, "tickets_disabled", "the gateway has no auth.ticket_secret to sign tickets with")
    })?;
    Ok(Ticket { ticket, ttl_ms })
}
