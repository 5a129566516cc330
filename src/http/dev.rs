//! The demo page of `claimr-relay dev`, and the small backend behind it, which plays the customer's (it signs tokens) and claimr (it signs
//! webhooks and posts them over real HTTP).
//!
//! These routes exist only where [`Gateway::with_demo`](crate::gateway::Gateway::with_demo) put them: `serve` has none of them. They hand
//! out tokens and secrets, so they answer only to pages of this very address: a foreign Host (DNS rebinding), a foreign Origin, or a
//! POST that a form could send is refused.

mod delivery;
mod post;

use std::{
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use axum::{
    Json, Router,
    extract::{DefaultBodyLimit, Request, State, rejection::JsonRejection},
    http::{HeaderMap, Method, StatusCode, header},
    middleware::{self, Next},
    response::{IntoResponse as _, Response},
    routing::{get, post},
};
use bytes::Bytes;
use secrecy::SecretString;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::{
    Problem,
    page::{self, File},
};
use crate::{
    auth::jwt::mint,
    config,
    event::{Timestamp, UserKey},
    hub::Hub,
    protocol::CloseCode,
};

use delivery::{Delivery, Scope};

/// What the demo needs to know of the gateway it belongs to.
pub struct Demo {
    /// Signs tokens, as the customer's backend would.
    pub auth: config::Auth,
    /// Signs webhooks, as claimr would.
    pub hook_secret: SecretString,
    /// The public address.
    pub address: SocketAddr,
    /// Where the operator's page is, with what it takes to open it.
    pub inspector: String,
    /// Takes one restart at a time.
    pub restart: mpsc::Sender<Restart>,
    /// The wall clock.
    pub clock: fn() -> Timestamp,
}

/// The gateway is to drain, to close its log, and to begin again on the same address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Restart {
    /// Whether it finds its log again, or an empty one: then every cursor is of another epoch.
    pub keep_log: bool,
}

/// The origins under which a page of `address` can be opened on its own machine.
pub fn origins(address: SocketAddr) -> Vec<String> {
    hosts(address).into_iter().map(|host| format!("http://{host}")).collect()
}

fn hosts(address: SocketAddr) -> Vec<String> {
    let port = address.port();
    let mut hosts = vec![format!("127.0.0.1:{port}"), format!("localhost:{port}"), format!("[::1]:{port}"), address.to_string()];
    if port == 80 {
        hosts.extend(["127.0.0.1".to_owned(), "localhost".to_owned(), "[::1]".to_owned(), address.ip().to_string()]);
    }
    hosts
}

struct Dev {
    demo: Demo,
    hub: Arc<Hub>,
    hosts: Vec<String>,
    deliveries: AtomicU64,
}

// `claimr-relay.js` is client-js's script tag as built: `cd client-js && npm ci && npm run build`, then
// `cp dist/claimr-relay.min.js ../src/http/dev/claimr-relay.js`.
const FILES: &[File] = &[
    File::html("/dev", include_str!("dev/demo.html")),
    File::css("/dev/demo.css", include_str!("dev/demo.css")),
    File::js("/dev/demo.js", include_str!("dev/demo.js")),
    File::js("/dev/connection.js", include_str!("dev/connection.js")),
    File::js("/dev/feed.js", include_str!("dev/feed.js")),
    File::js("/dev/snippets.js", include_str!("dev/snippets.js")),
    File::js("/dev/wire.js", include_str!("dev/wire.js")),
    File::js("/dev/claimr-relay.js", include_str!("dev/claimr-relay.js")),
    File::css("/dev/theme.css", page::THEME_CSS),
    File::js("/dev/theme.js", page::THEME_JS),
    File::js("/dev/dom.js", page::DOM_JS),
];

/// The demo's routes.
pub fn routes(demo: Demo, hub: Arc<Hub>) -> Router {
    const BODY_BYTES_MAX: usize = 4 * 1024;
    let hosts = hosts(demo.address);
    // A policy has no words for IPv6 addresses; there 'self' has to do.
    let sockets: Vec<String> = hosts.iter().filter(|host| !host.starts_with('[')).map(|host| format!("ws://{host}")).collect();
    let dev = Arc::new(Dev { demo, hub, hosts, deliveries: AtomicU64::new(0) });
    page::routes(FILES, &sockets)
        .route("/dev/api/config", get(configuration))
        .route("/dev/api/token", post(token))
        .route("/dev/api/trigger", post(trigger))
        .route("/dev/api/burst", post(burst))
        .route("/dev/api/drop", post(drop_sessions))
        .route("/dev/api/restart", post(restart))
        .method_not_allowed_fallback(async || Problem::method_not_allowed())
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .route_layer(middleware::from_fn_with_state(Arc::clone(&dev), guard))
        .with_state(dev)
}

/// Lets through what a page of ours asks.
async fn guard(State(dev): State<Arc<Dev>>, request: Request, next: Next) -> Response {
    match check(&dev, request.method(), request.headers()) {
        Ok(()) => next.run(request).await,
        Err(problem) => problem.into_response(),
    }
}

fn check(dev: &Dev, method: &Method, headers: &HeaderMap) -> Result<(), Problem> {
    let text = |name| headers.get(name).map(|value| value.to_str().unwrap_or("?"));
    let own_host = |host: &str| dev.hosts.iter().any(|own| own.eq_ignore_ascii_case(host));
    // A name that somebody else's DNS points at loopback makes their page look like ours in all but this.
    if !text(header::HOST).is_some_and(own_host) {
        return Err(forbidden("host_not_local", "the demo is served under 127.0.0.1 and localhost only"));
    }
    if method != Method::POST {
        return Ok(());
    }
    let own_origin = text(header::ORIGIN).is_none_or(|origin| origin.strip_prefix("http://").is_some_and(own_host));
    let same_site = text(header::HeaderName::from_static("sec-fetch-site")).is_none_or(|site| site == "same-origin");
    if !own_origin || !same_site {
        return Err(forbidden("origin_not_allowed", "only the demo's own page may ask for this"));
    }
    // No form can send this type, so no page can without being asked for its origin first.
    if text(header::CONTENT_TYPE).is_none_or(|kind| kind.split(';').next() != Some("application/json")) {
        let message = "the Content-Type has to be application/json";
        return Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "content_unsupported", message));
    }
    Ok(())
}

fn forbidden(code: &'static str, message: &'static str) -> Problem {
    Problem::new(StatusCode::FORBIDDEN, code, message)
}

type Asked<T> = Result<Json<T>, JsonRejection>;

fn understood<T>(asked: Asked<T>) -> Result<T, Problem> {
    asked.map(|Json(value)| value).map_err(|_| Problem::bad_request("request_invalid", "the request's body is not as expected"))
}

/// Any user will do: nothing is behind the names but their events.
fn user_key(user: &str) -> Result<UserKey, Problem> {
    UserKey::parse(user, Some("acme")).map_err(|_| Problem::bad_request("user_invalid", "a user is platform:account"))
}

async fn configuration(State(dev): State<Arc<Dev>>) -> Json<Value> {
    Json(json!({ "version": env!("CARGO_PKG_VERSION"), "inspector": dev.demo.inspector }))
}

#[derive(Deserialize)]
struct TokenFor {
    user: String,
    ttl_s: u64,
    /// Whose broadcasts it hears.
    #[serde(default)]
    campaigns: Vec<String>,
}

/// What every customer's backend has one of: a token for its signed-in user.
async fn token(State(dev): State<Arc<Dev>>, asked: Asked<TokenFor>) -> Result<Json<Value>, Problem> {
    let TokenFor { user, ttl_s, campaigns } = understood(asked)?;
    let user = user_key(&user)?;
    let campaigns: Result<Vec<_>, _> = campaigns.iter().map(|id| UserKey::of_campaign(id)).collect();
    let campaigns = campaigns.map_err(|_| Problem::bad_request("campaign_invalid", "a campaign has an id such as AbCd_123"))?;
    let now = (dev.demo.clock)();
    let token = mint(&dev.demo.auth, &user, &campaigns, Duration::from_secs(ttl_s.max(1)), now)
        .map_err(|_| Problem::bad_request("ttl_invalid", "a token lives 24 hours at most"))?;
    Ok(Json(json!({ "token": token, "user": user.as_str(), "ttl_ms": ttl_s.max(1) * 1_000 })))
}

#[derive(Deserialize)]
struct Trigger {
    scope: Scope,
    user: String,
    /// Whether it is sent, or only made.
    #[serde(default = "yes")]
    send: bool,
}

fn yes() -> bool {
    true
}

/// Plays claimr: signs a delivery and posts it to the gateway's own webhook route.
async fn trigger(State(dev): State<Arc<Dev>>, asked: Asked<Trigger>) -> Result<Json<Value>, Problem> {
    let Trigger { scope, user, send } = understood(asked)?;
    let number = dev.deliveries.fetch_add(1, Ordering::Relaxed);
    let delivery = Delivery::new(scope, &user_key(&user)?, number, &dev.demo.hook_secret);
    let curl = delivery.curl(dev.demo.address);
    if !send {
        return Ok(Json(json!({ "curl": curl })));
    }
    let begun = Instant::now();
    let (status, answer) = dev.post(&delivery).await?;
    let took_us = u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX);
    Ok(Json(json!({ "status": status, "answer": answer, "took_us": took_us, "curl": curl })))
}

#[derive(Deserialize)]
struct OfUser {
    user: String,
}

/// Makes every session of the user a slow reader: one delivery holds more than may wait for a session, so it is ended with 4001.
async fn burst(State(dev): State<Arc<Dev>>, asked: Asked<OfUser>) -> Result<Json<Value>, Problem> {
    /// A session may be quick enough to take each event before the next one is there.
    const DELIVERIES_MAX: usize = 3;
    let user = user_key(&understood(asked)?.user)?;
    let members = dev.hub.members_of(&user);
    let mut overflown = members.is_empty();
    for _ in 0..DELIVERIES_MAX {
        let number = dev.deliveries.fetch_add(1, Ordering::Relaxed);
        let (_, answer) = dev.post(&Delivery::large(&user, number, &dev.demo.hook_secret)).await?;
        let handed_on = answer["connections"].as_u64().unwrap_or(0);
        overflown |= handed_on < (members.len() * Delivery::LARGE_EVENTS) as u64;
        if overflown {
            break;
        }
    }
    if !overflown {
        // Then at least the end of a slow reader is shown.
        for member in &members {
            member.close(CloseCode::SlowConsumer.into());
        }
    }
    Ok(Json(json!({ "sessions": members.len(), "overflown": overflown })))
}

/// Ends the user's sessions as if their line had gone dead.
async fn drop_sessions(State(dev): State<Arc<Dev>>, asked: Asked<OfUser>) -> Result<Json<Value>, Problem> {
    let members = dev.hub.members_of(&user_key(&understood(asked)?.user)?);
    for member in &members {
        member.close(CloseCode::NoPong.into());
    }
    Ok(Json(json!({ "closed": members.len() })))
}

#[derive(Deserialize)]
struct RestartAsked {
    keep_log: bool,
}

async fn restart(State(dev): State<Arc<Dev>>, asked: Asked<RestartAsked>) -> Result<(StatusCode, Json<Value>), Problem> {
    let RestartAsked { keep_log } = understood(asked)?;
    // A full channel holds a restart that is about to happen, which is what was asked for.
    let _ = dev.demo.restart.try_send(Restart { keep_log });
    Ok((StatusCode::ACCEPTED, Json(json!({ "restarting": true }))))
}

impl Dev {
    /// The status and the body of the gateway's answer, over a connection of its own, like any sender's.
    async fn post(&self, delivery: &Delivery) -> Result<(u16, Value), Problem> {
        let (status, body) = post::post(loopback(self.demo.address), delivery).await.map_err(|error| {
            tracing::warn!(%error, "the demo's webhook could not be sent");
            Problem::come_back(StatusCode::BAD_GATEWAY, "webhook_not_sent", "the gateway could not be reached over loopback")
        })?;
        Ok((status, parsed(&body)))
    }
}

fn parsed(body: &Bytes) -> Value {
    serde_json::from_slice(body).unwrap_or(Value::Null)
}

/// An address to connect to, for one to listen on.
fn loopback(mut address: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() {
        address.set_ip(if address.is_ipv4() { Ipv4Addr::LOCALHOST.into() } else { Ipv6Addr::LOCALHOST.into() });
    }
    address
}
