//! `POST /v1/tickets`: a bearer token for a stream ticket, which native `EventSource` can carry in its URL.

use std::sync::Arc;

use axum::{
    extract::State,
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::Response,
};
use serde::Serialize;

use super::{
    Problem, Public,
    origin::readable_by,
    stream::{bearer, unauthorized},
};

#[derive(Serialize)]
struct Ticket {
    ticket: String,
    ttl_ms: u64,
}

pub(super) async fn issue(State(public): State<Arc<Public>>, headers: HeaderMap) -> Result<Response, Response> {
    let origin = public.origins.check(&headers).map_err(|problem| readable_by(None, problem))?;
    let ticket = make(&public, &headers, origin).map_err(|problem| readable_by(origin, problem))?;
    let fresh = [(header::CACHE_CONTROL, HeaderValue::from_static("no-store"))];
    Ok(readable_by(origin, (fresh, axum::Json(ticket))))
}

fn make(public: &Public, headers: &HeaderMap, origin: Option<&HeaderValue>) -> Result<Ticket, Problem> {
    let streams = &public.streams;
    let tickets = streams.tickets.as_ref().ok_or_else(|| {
        Problem::new(StatusCode::NOT_FOUND, "tickets_disabled", "the gateway has no auth.ticket_secret to sign tickets with")
    })?;
    let token = bearer(headers)?.ok_or_else(|| unauthorized(None))?;
    let now = (public.clock)();
    let identity = streams.tokens.verify(token, now).map_err(|rejection| unauthorized(Some(rejection)))?;
    let origin = origin.and_then(|origin| origin.to_str().ok());
    let ttl_ms = identity.expires().0.saturating_sub(now.0);
    Ok(Ticket { ticket: tickets.issue(&identity, origin), ttl_ms })
}
