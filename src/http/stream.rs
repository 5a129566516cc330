//! `GET /v1/ws` and `GET /v1/sse`, up to the point where a carrier takes over.
//!
//! Browsers hide the status of a refused WebSocket handshake, so refusals that a page should understand are told after the upgrade.
//! Native `EventSource` gives up for ever on any status but 200, so whoever may come back later is told so inside a stream.

#[cfg(any(test, fuzzing))]
pub(super) mod any_query;
#[cfg(test)]
mod conformance;
mod handshake;

use std::{net::SocketAddr, str::FromStr as _, sync::Arc, time::Instant};

use axum::{
    body::Body,
    extract::{Extension, Query, Request, State},
    http::{HeaderMap, HeaderValue, StatusCode, header, request::Parts},
    response::{IntoResponse, Response},
};
use bytes::BytesMut;
use futures_util::future::{BoxFuture, FutureExt as _};
use hyper_util::rt::TokioIo;

use super::{Peer, Problem, Public, origin::readable_by};
use crate::{
    auth::{Identity, Rejection, jwt},
    engine::Start as Beginning,
    event::{EventType, Position},
    hub::admission::{NoPlace, Place},
    listener::Socket,
    metrics::CodeLabel,
    protocol::{BEARER_SUBPROTOCOL_PREFIX, Close, CloseCode, SUBPROTOCOL},
    transport::{
        Streams, Terms,
        sse::{self as sse_carrier, Pump},
        websocket as websocket_carrier,
    },
};

use handshake::Handshake;

pub(super) type Parameters = Query<Vec<(String, String)>>;

pub(super) async fn websocket(
    State(public): State<Arc<Public>>,
    Extension(Peer(peer)): Extension<Peer>,
    mut request: Request,
) -> Response {
    let upgrade = hyper::upgrade::on(&mut request);
    let (head, _) = request.into_parts();
    match open_websocket(&public, peer, &head) {
        Ok((response, start)) => {
            public.shutdown.spawn(async move {
                // Our listener serves no other sockets than its own.
                if let Some(parts) = upgrade.await.ok().and_then(|upgraded| upgraded.downcast::<TokioIo<Socket>>().ok()) {
                    start.carry(parts.io.into_inner(), BytesMut::from(parts.read_buf)).await;
                }
            });
            response
        }
        Err(response) => *response,
    }
}

/// Answers a handshake; what goes on then is served by the [`Start`].
pub(super) fn open_websocket(public: &Arc<Public>, peer: SocketAddr, head: &Parts) -> Result<(Response, Start), Box<Response>> {
    let Query(query) = Parameters::try_from_uri(&head.uri).map_err(refused)?;
    start_websocket(public, peer, &query, head).map_err(|problem| {
        public.count_refused(problem.status.as_u16());
        refused(problem)
    })
}

fn start_websocket(
    public: &Arc<Public>,
    peer: SocketAddr,
    query: &[(String, String)],
    head: &Parts,
) -> Result<(Response, Start), Problem> {
    let headers = &head.headers;
    public.settings.get().origins.check(headers)?;
    let handshake = Handshake::of(head)?;
    refuse_token_in_url(query)?;
    // Before the upgrade, because after it a connection costs more than a flood should be able to ask for.
    let place = match public.place(peer, headers) {
        Err(Refusal::Address(problem)) => return Err(problem),
        Err(Refusal::Node(close)) => Err(close),
        Ok(place) => Ok(place),
    };
    let offer = Offer::of(headers);
    let response = handshake.response(offer.protocol.as_deref());
    let terms = place.and_then(|place| {
        let token = offer.token?;
        if offer.protocol.is_some_and(|protocol| protocol != SUBPROTOCOL) {
            return Err(CloseCode::ProtocolVersion.into());
        }
        let (start, types) = asked(query, None, (public.clock)()).map_err(|_| Close::from(CloseCode::BadRequest))?;
        Ok((token, Terms { start, types, place }))
    });
    if let Err(close) = &terms {
        public.count_refused(close.code.code());
    }
    Ok((response, Start { streams: Arc::clone(&public.streams), terms }))
}

/// A WebSocket that was granted, and has no socket yet.
pub(super) struct Start {
    streams: Arc<Streams>,
    /// The token, if one came with the handshake, and what the client asks for; or what it is told and sent away with.
    terms: Result<(Option<String>, Terms), Close>,
}

impl Start {
    /// Serves the stream on `socket`, of which `early` was read already, to its end.
    pub(super) fn carry(self, socket: Socket, early: BytesMut) -> BoxFuture<'static, ()> {
        let Self { streams, terms } = self;
        let limits = *streams.limits.get();
        let socket = websocket_carrier::accept(socket, early, limits.client_message_bytes_max);
        match terms {
            Ok((token, terms)) => websocket_carrier::serve(socket, streams, token, terms),
            Err(close) => websocket_carrier::refuse(socket, streams, close).boxed(),
        }
    }
}

pub(super) async fn sse(State(public): State<Arc<Public>>, Extension(Peer(peer)): Extension<Peer>, request: Request) -> Response {
    let (head, _) = request.into_parts();
    match open_sse(&public, peer, &head).await {
        Ok((response, pump)) => response.map(|_| pump.into_body()),
        Err(response) => *response,
    }
}

#[expect(clippy::unnecessary_box_returns, reason = "as an error it is passed up in a box")]
fn refused(answer: impl IntoResponse) -> Box<Response> {
    Box::new(answer.into_response())
}

/// The head of a stream's answer, and what pumps its body; or another answer.
pub(super) async fn open_sse(
    public: &Arc<Public>,
    peer: SocketAddr,
    head: &Parts,
) -> Result<(Response, Box<Pump>), Box<Response>> {
    let headers = &head.headers;
    let Query(query) = Parameters::try_from_uri(&head.uri).map_err(refused)?;
    let origin = match public.settings.get().origins.check(headers) {
        Ok(origin) => origin,
        Err(problem) => return Err(refused(readable_by(None, problem))),
    };
    match start_sse(public, peer, &query, headers, origin).await {
        Ok(Ok(pump)) => Ok((readable_by(origin, event_stream(Body::empty())), pump)),
        Ok(Err(close)) => {
            public.count_refused(close.code.code());
            Err(refused(readable_by(origin, event_stream(sse_carrier::refusal(close.code)))))
        }
        Err(problem) => {
            public.count_refused(problem.status.as_u16());
            Err(refused(readable_by(origin, problem)))
        }
    }
}

/// A session; or a close that is told inside the stream, to clients that would never come back otherwise.
async fn start_sse(
    public: &Arc<Public>,
    peer: SocketAddr,
    query: &[(String, String)],
    headers: &HeaderMap,
    origin: Option<&HeaderValue>,
) -> Result<Result<Box<Pump>, Close>, Problem> {
    refuse_token_in_url(query)?;
    let (identity, native) = identify(public, query, headers, origin).await?;
    let cursor = headers.get("last-event-id").map(|value| value.to_str().unwrap_or(""));
    let (start, types) = asked(query, cursor, (public.clock)())?;
    let pump = match public.place(peer, headers) {
        Ok(place) => {
            let terms = Terms { start, types, place };
            sse_carrier::open(Arc::clone(&public.streams), identity, terms).await.map_err(Close::from)
        }
        Err(Refusal::Address(problem)) => return Err(problem),
        Err(Refusal::Node(close)) => Err(close),
    };
    match pump {
        Err(close) if !native => Err(no_session(close.code)),
        told => Ok(told),
    }
}

fn event_stream(body: Body) -> Response {
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream")),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store, no-transform")),
        (header::HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no")),
    ];
    (headers, body).into_response()
}

/// Who asks for an SSE stream, and whether it may be a native `EventSource`: that is who comes with a ticket.
async fn identify(
    public: &Public,
    query: &[(String, String)],
    headers: &HeaderMap,
    origin: Option<&HeaderValue>,
) -> Result<(Identity, bool), Problem> {
    let (credentials, now) = (&public.streams.credentials, (public.clock)());
    if let Some(token) = bearer(headers)? {
        let identity = credentials.token(token, now).await.map_err(|rejection| unauthorized(Some(rejection)))?;
        return Ok((identity, false));
    }
    let Some(ticket) = parameter(query, "ticket") else { return Err(unauthorized(None)) };
    let origin = origin.and_then(|origin| origin.to_str().ok());
    let identity = credentials.ticket(ticket, origin, now).map_err(|rejection| unauthorized(Some(rejection)))?;
    Ok((identity, true))
}

/// The token in `Authorization: Bearer`, if there is that header.
pub(super) fn bearer(headers: &HeaderMap) -> Result<Option<&str>, Problem> {
    let malformed = || unauthorized(Some(Rejection::Invalid("the Authorization header is not one Bearer token")));
    let mut lines = headers.get_all(header::AUTHORIZATION).iter();
    let Some(line) = lines.next() else { return Ok(None) };
    let (scheme, token) = line.to_str().ok().and_then(|text| text.split_once(' ')).ok_or_else(malformed)?;
    if lines.next().is_some() || !scheme.eq_ignore_ascii_case("bearer") {
        return Err(malformed());
    }
    Ok(Some(token.trim()))
}

/// 401, or 403 for credentials that are good elsewhere. Why exactly is for the log alone.
pub(super) fn unauthorized(rejection: Option<Rejection>) -> Problem {
    if let Some(rejection) = rejection {
        rejection.log();
    }
    let (code, message) = match rejection {
        None => ("token_missing", "a token is needed"),
        Some(Rejection::Expired) => ("token_expired", "the token is expired"),
        Some(Rejection::Revoked) => ("token_revoked", "the token was revoked"),
        Some(Rejection::Invalid(_) | Rejection::UnknownKey(_)) => ("token_rejected", "the token is not accepted"),
        Some(Rejection::WrongOrigin) => {
            return Problem::new(StatusCode::FORBIDDEN, "ticket_origin", "the ticket is bound to another origin");
        }
    };
    Problem::new(StatusCode::UNAUTHORIZED, code, message).with(header::WWW_AUTHENTICATE, "Bearer")
}

/// A token in a URL ends up in logs, histories and referrers, so it is refused before anything else looks at it.
pub(super) fn refuse_token_in_url(query: &[(String, String)]) -> Result<(), Problem> {
    const NAMES: [&str; 6] = ["token", "access_token", "jwt", "id_token", "authorization", "auth"];
    let in_url = |(name, value): &(String, String)| {
        NAMES.iter().any(|n| name.eq_ignore_ascii_case(n)) || jwt::looks_like_jwt(name) || jwt::looks_like_jwt(value)
    };
    if query.iter().any(in_url) {
        let message = "a token does not belong in a URL: use Authorization, the WebSocket subprotocol, or a ticket";
        return Err(Problem::bad_request("token_in_url", message));
    }
    Ok(())
}

/// Where the stream begins and what it holds. The header wins, because `EventSource` keeps an old query in its URL for ever.
fn asked(
    query: &[(String, String)],
    cursor: Option<&str>,
    now: crate::event::Timestamp,
) -> Result<(Beginning, Vec<EventType>), Problem> {
    let types = match parameter(query, "types") {
        Some(list) => list.split(',').map(|text| EventType::new(text.trim())).collect::<Option<Vec<_>>>(),
        None => Some(Vec::new()),
    };
    let types = types.ok_or_else(|| Problem::bad_request("types_invalid", "types is a list of event types, joined by commas"))?;
    let start = match (cursor.or_else(|| parameter(query, "last_event_id")), parameter(query, "since")) {
        (Some(cursor), _) => Beginning::After(Position::from_str(cursor)),
        (None, Some(since)) => {
            let since = humantime::parse_duration(since)
                .map_err(|_| Problem::bad_request("since_invalid", "since is a duration such as 30s or 5m"))?;
            Beginning::Since(now.minus(since))
        }
        (None, None) => Beginning::Live,
    };
    Ok((start, types))
}

fn parameter<'a>(query: &'a [(String, String)], name: &str) -> Option<&'a str> {
    query.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
}

/// What a client offers in `Sec-WebSocket-Protocol` and `Authorization`.
struct Offer {
    /// What to echo: ours if it is offered, else a stranger's, because a browser that hears none of those it offered never learns the code
    /// that we close with. The token that may stand among them is not one.
    protocol: Option<String>,
    /// The token, if one came with the handshake.
    token: Result<Option<String>, Close>,
}

impl Offer {
    fn of(headers: &HeaderMap) -> Self {
        let lines = headers.get_all(header::SEC_WEBSOCKET_PROTOCOL).iter();
        let offered: Vec<&str> = lines.flat_map(|line| line.to_str().unwrap_or("").split(',').map(str::trim)).collect();
        let mut tokens = offered.iter().filter_map(|p| p.strip_prefix(BEARER_SUBPROTOCOL_PREFIX));
        let token = match (bearer(headers), tokens.next(), tokens.next()) {
            // It was meant as a token, and is none as it is spelled.
            _ if offered.iter().any(|p| is_misspelled_token(p)) => Err(CloseCode::TokenRejected.into()),
            (Ok(Some(token)), None, _) | (Ok(None), Some(token), None) => Ok(Some(token.to_owned())),
            (Ok(None), None, _) => Ok(None),
            _ => Err(CloseCode::TokenRejected.into()),
        };
        let is_token = |p: &str| p.starts_with(BEARER_SUBPROTOCOL_PREFIX) || is_misspelled_token(p);
        let mut protocols = offered.iter().filter(|p| !p.is_empty() && !is_token(p));
        let protocol = if offered.contains(&SUBPROTOCOL) { Some(SUBPROTOCOL) } else { protocols.next().copied() };
        Self { protocol: protocol.map(str::to_owned), token }
    }
}

/// Whether a token was offered as a protocol, but not behind the prefix as it has to be. It must not be echoed: answers are logged, too.
fn is_misspelled_token(protocol: &str) -> bool {
    let start = protocol.as_bytes().get(..BEARER_SUBPROTOCOL_PREFIX.len());
    let is_prefixed = start.is_some_and(|start| start.eq_ignore_ascii_case(BEARER_SUBPROTOCOL_PREFIX.as_bytes()));
    !protocol.starts_with(BEARER_SUBPROTOCOL_PREFIX) && (is_prefixed || jwt::looks_like_jwt(protocol))
}

/// Why there is no place for a stream, by who is told how.
enum Refusal {
    /// Told by status, before anything is spent on it.
    Address(Problem),
    /// Told inside the stream.
    Node(Close),
}

impl Public {
    fn place(&self, peer: SocketAddr, headers: &HeaderMap) -> Result<Place, Refusal> {
        let away = |code| Refusal::Node(Close { code, retry_after: Some(come_back_after()) });
        if self.shutdown.is_draining() {
            return Err(away(CloseCode::Draining));
        }
        let address = self.settings.get().client_address.of(peer, headers);
        self.admission.enter(address, Instant::now()).map_err(|no_place| match no_place {
            NoPlace::NodeFull => away(CloseCode::Overloaded),
            NoPlace::AddressFull | NoPlace::AddressTooFast => Refusal::Address(Problem::come_back(
                StatusCode::TOO_MANY_REQUESTS,
                "too_many_sessions_of_address",
                "this address has or opens too many sessions",
            )),
        })
    }

    fn count_refused(&self, code: u16) {
        self.streams.metrics.refused.get_or_create(&CodeLabel { code }).inc();
    }
}

/// Spread, so that those who were sent away together do not come back together.
fn come_back_after() -> std::time::Duration {
    std::time::Duration::from_millis(fastrand::u64(5_000..15_000))
}

fn no_session(code: CloseCode) -> Problem {
    match code {
        CloseCode::TooManySessions => {
            Problem::come_back(StatusCode::TOO_MANY_REQUESTS, "too_many_sessions", "this user has too many sessions")
        }
        CloseCode::TokenRevoked => unauthorized(Some(Rejection::Revoked)),
        CloseCode::Draining => Problem::come_back(StatusCode::SERVICE_UNAVAILABLE, "draining", "the gateway is shutting down"),
        CloseCode::Overloaded => Problem::come_back(StatusCode::SERVICE_UNAVAILABLE, "overloaded", "the gateway is full"),
        _ => Problem::come_back(StatusCode::SERVICE_UNAVAILABLE, "log_unavailable", "the log cannot be read"),
    }
}
