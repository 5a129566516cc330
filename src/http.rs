//! The API at a glance: the public routes here, the operator's in [`admin`].

pub mod admin;
mod client_address;
pub mod dev;
mod edge;
mod error;
mod inspector;
mod lane;
mod origin;
mod page;
mod stream;
mod ticket;
mod webhook;

use std::{net::SocketAddr, sync::Arc, time::Duration};

use axum::{
    Router,
    body::Body,
    extract::Request,
    response::{IntoResponse as _, Response},
    routing::{get, post},
};
use futures_util::future::{Either, FutureExt as _, ready};
use hyper::body::Incoming;
use tower_service::Service as _;

use crate::{event::Timestamp, hub::admission::Admission, ingest::Ingest, shutdown::Shutdown, swap::Swap, transport::Streams};

pub use client_address::ClientAddress;
pub use edge::EdgeLimits;
use error::Problem;
pub use lane::serve as lane;
pub use origin::Origins;
#[cfg(any(test, fuzzing))]
pub(crate) use stream::any_query::check as any_query;

/// What the public routes need.
pub struct Public {
    /// Takes webhooks.
    pub ingest: Arc<Ingest>,
    /// Takes streams.
    pub streams: Arc<Streams>,
    /// Gives out places for streams.
    pub admission: Arc<Admission>,
    /// What a reload replaces.
    pub settings: Swap<Settings>,
    /// For a webhook's body to arrive.
    pub read_timeout: Duration,
    /// Whether the node is leaving.
    pub shutdown: Shutdown,
    /// The wall clock.
    pub clock: fn() -> Timestamp,
}

/// What a reload replaces.
pub struct Settings {
    /// Whose pages may connect.
    pub origins: Origins,
    /// Who the peer is behind trusted proxies.
    pub client_address: ClientAddress,
    /// Bytes of a webhook's body.
    pub webhook_body_bytes_max: usize,
}

/// The peer of a request's connection.
#[derive(Clone, Copy, Debug)]
struct Peer(SocketAddr);

/// The public routes.
pub fn public(state: Arc<Public>) -> Router {
    Router::new()
        .route("/hooks/{source}", post(webhook::receive))
        .route("/hooks/{source}/{scope}", post(webhook::receive))
        .route("/v1/ws", get(stream::websocket))
        .route("/v1/sse", get(stream::sse).options(origin::preflight))
        .route("/v1/tickets", post(ticket::issue).options(origin::preflight))
        .fallback(async || Problem::not_found())
        .method_not_allowed_fallback(async || Problem::method_not_allowed())
        .with_state(state)
}

/// Answers one request of `peer`: first what no route may see, then the routes.
pub fn answer(
    router: &Router,
    limits: EdgeLimits,
    request: Request<Incoming>,
    peer: SocketAddr,
) -> impl Future<Output = Response> + use<> {
    if let Err(problem) = edge::check(&request, limits) {
        return Either::Left(ready(problem.into_response()));
    }
    let mut request = request.map(Body::new);
    request.extensions_mut().insert(Peer(peer));
    Either::Right(router.clone().call(request).map(|Ok(response)| response))
}
