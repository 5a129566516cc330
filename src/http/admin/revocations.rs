//! `/admin/v1/revocations`: ends the life of tokens before their time, at once, on this node and after its restart.

use std::{sync::Arc, time::UNIX_EPOCH};

use axum::{
    Json,
    body::Body,
    extract::{Query, State, rejection::QueryRejection},
    http::StatusCode,
    response::{IntoResponse as _, Response},
};
use serde::{Deserialize, Serialize};
use tokio::task::spawn_blocking;

use super::{Api, guard::bytes};
use crate::{
    auth::{
        Credentials,
        revocations::{Revocation, Subject},
    },
    engine::{Engine, Notice},
    event::{Timestamp, UserKey},
    http::Problem,
    hub::Hub,
};

/// What these routes need.
pub struct Revoking {
    /// Refuses what is revoked.
    pub credentials: Arc<Credentials>,
    /// Knows who is connected with it.
    pub hub: Arc<Hub>,
    /// Tells the gateways that share the log.
    pub engine: Arc<dyn Engine>,
    /// The wall clock.
    pub clock: fn() -> Timestamp,
}

/// Bytes of a request: a jti or a user key, and a moment.
const REQUEST_BYTES_MAX: usize = 16 * 1024;

/// Exactly one of the two.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Wanted {
    user: Option<String>,
    jti: Option<String>,
    until: Option<Moment>,
}

/// A moment as people write it, in UTC, or as the admin API gives it, in ms since 1970.
#[derive(Deserialize)]
#[serde(untagged)]
enum Moment {
    Ms(u64),
    Text(String),
}

/// A revocation as it is shown; moments in ms since 1970.
#[derive(Serialize)]
struct Shown {
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    jti: Option<String>,
    at: u64,
    until: u64,
}

#[derive(Serialize)]
struct Revoked {
    #[serde(flatten)]
    revocation: Shown,
    sessions_closed: usize,
}

#[derive(Serialize)]
pub(super) struct Listed {
    revocations: Vec<Shown>,
}

#[derive(Serialize)]
pub(super) struct Forgotten {
    forgotten: bool,
}

pub(super) async fn list(State(api): State<Arc<Api>>) -> Json<Listed> {
    let state = &api.revoking;
    let revocations = state.credentials.revocations().list((state.clock)());
    Json(Listed { revocations: revocations.into_iter().map(Shown::from).collect() })
}

/// In force first, then the sessions, then the disk: whatever fails later, the token is refused from now on.
pub(super) async fn revoke(State(api): State<Arc<Api>>, body: Body) -> Result<Response, Problem> {
    let wanted = Wanted::read(&bytes(&api, body, REQUEST_BYTES_MAX).await?)?;
    let state = &api.revoking;
    let now = (state.clock)();
    let credentials = &state.credentials;
    let until = match &wanted.until {
        Some(moment) => moment.read().filter(|until| *until > now).ok_or_else(|| {
            let message = "until is a moment to come: in UTC, such as 2026-12-31T00:00:00Z, or in ms since 1970";
            Problem::bad_request("until_invalid", message)
        })?,
        // Until then every token of before has expired, by whoever's clock.
        None => now.plus(credentials.token_life_max()).plus(2 * credentials.leeway()),
    };
    let revocation = Revocation { subject: wanted.subject(state)?, at: now, until };
    credentials.revocations().add(revocation.clone(), now).map_err(|_| {
        Problem::new(
            StatusCode::CONFLICT,
            "revocations_full",
            "there are 100,000 revocations; remove some, or wait until some end",
        )
    })?;
    let sessions_closed = state.hub.revoke(&revocation);
    tracing::info!(subject = ?revocation.subject, sessions_closed, "revoked");
    save(state).await?;
    announce(state, Notice::Revoke(revocation.clone())).await?;
    Ok((StatusCode::CREATED, Json(Revoked { revocation: revocation.into(), sessions_closed })).into_response())
}

/// Names the revocation in the query, `?user=…` or `?jti=…`, or in JSON as it was made. Forgetting twice is no mistake.
pub(super) async fn forget(
    State(api): State<Arc<Api>>,
    query: Result<Query<Wanted>, QueryRejection>,
    body: Body,
) -> Result<Json<Forgotten>, Problem> {
    let (Query(query), body) = (query.map_err(|_| unreadable())?, bytes(&api, body, REQUEST_BYTES_MAX).await?);
    let wanted = match (query.is_empty(), body.is_empty()) {
        (_, true) => query,
        (true, false) => Wanted::read(&body)?,
        (false, false) => return Err(unreadable()),
    };
    let state = &api.revoking;
    let subject = wanted.subject(state)?;
    let forgotten = state.credentials.revocations().remove(&subject);
    tracing::info!(?subject, forgotten, "revocation taken back");
    save(state).await?;
    announce(state, Notice::Forget(subject)).await?;
    Ok(Json(Forgotten { forgotten }))
}

async fn save(state: &Revoking) -> Result<(), Problem> {
    let (credentials, now) = (Arc::clone(&state.credentials), (state.clock)());
    let saved = spawn_blocking(move || credentials.revocations().save(now)).await;
    saved.unwrap_or_else(|panic| Err(panic.into())).map_err(|error| {
        tracing::error!(%error, "the revocations could not be written; what was changed is in force until a restart");
        let message = "it is in force, but could not be written to disk, so it would not survive a restart; send it again";
        Problem::come_back(StatusCode::SERVICE_UNAVAILABLE, "revocations_unsaved", message)
    })
}

/// To the other gateways, if there are any. Without them, the token would be good for whoever they serve.
async fn announce(state: &Revoking, notice: Notice) -> Result<(), Problem> {
    state.engine.announce(notice).await.map_err(|error| {
        tracing::error!(%error, "the other gateways could not be told of the change; it is in force here, until a restart");
        let message = "it is in force on this gateway, but the others could not be told; send it again";
        Problem::come_back(StatusCode::SERVICE_UNAVAILABLE, "revocations_unsaved", message)
    })
}

fn unreadable() -> Problem {
    Problem::bad_request("revocation_invalid", r"send JSON with user or jti, and perhaps until; to DELETE, ?user= or ?jti=")
}

impl Wanted {
    fn is_empty(&self) -> bool {
        self.user.is_none() && self.jti.is_none() && self.until.is_none()
    }

    fn read(body: &[u8]) -> Result<Self, Problem> {
        serde_json::from_slice(body).map_err(|_| unreadable())
    }

    fn subject(&self, state: &Revoking) -> Result<Subject, Problem> {
        match (&self.user, &self.jti) {
            (Some(user), None) => {
                let invalid = |_| Problem::bad_request("user_invalid", "user is a user key, platform:account");
                let platform = state.credentials.default_platform();
                UserKey::parse(user, platform.as_deref()).map(Subject::User).map_err(invalid)
            }
            (None, Some(jti)) if jti.len() <= Subject::JTI_BYTES_MAX => Ok(Subject::Token(jti.clone())),
            (None, Some(_)) => Err(Problem::bad_request("jti_invalid", "a jti of more than 1,024 bytes; revoke its user")),
            _ => Err(unreadable()),
        }
    }
}

impl From<Revocation> for Shown {
    fn from(Revocation { subject, at, until }: Revocation) -> Self {
        let (user, jti) = match subject {
            Subject::User(key) => (Some(key.as_str().to_owned()), None),
            Subject::Token(jti) => (None, Some(jti)),
        };
        Self { user, jti, at: at.0, until: until.0 }
    }
}

impl Moment {
    fn read(&self) -> Option<Timestamp> {
        match self {
            Self::Ms(ms) => Some(Timestamp(*ms)),
            Self::Text(text) => {
                let since = humantime::parse_rfc3339(text).ok()?.duration_since(UNIX_EPOCH).ok()?;
                Some(Timestamp::default().plus(since))
            }
        }
    }
}
