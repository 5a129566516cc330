//! `/admin/v1/users/{key}`: did this user get that reward, and when? And: end the user's sessions.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Path, State, rejection::PathRejection},
};
use serde::Serialize;
use serde_json::value::RawValue;

use super::{
    Api,
    connections::{SessionView, views},
    guard::segment,
};
use crate::{
    engine::{Backlog, EngineError, Missed, Notice, Start},
    event::{Timestamp, UserKey},
    http::Problem,
    ingest::{Inspected, Wanted},
    protocol::CloseCode,
};

/// Events, and deliveries, in an answer.
const EVENTS_MAX: usize = 100;

#[derive(Serialize)]
pub(super) struct UserView {
    user: String,
    sessions: Vec<SessionView>,
    /// Business frames, newest first.
    events: Vec<Box<RawValue>>,
    deliveries: Vec<Inspected>,
}

#[derive(Serialize)]
pub(super) struct Closed {
    closed: usize,
}

pub(super) async fn show(
    State(api): State<Arc<Api>>,
    key: Result<Path<String>, PathRejection>,
) -> Result<Json<UserView>, Problem> {
    let user = api.user(&segment(key)?)?;
    let events = api.events_of(&user).await?;
    let wanted = Wanted { limit: EVENTS_MAX, user: Some(user.clone()), ..Wanted::default() };
    let deliveries = api.inspect(wanted).await?;
    let sessions = views(&api.hub.members_of(&user), api.engine.head().epoch, usize::MAX);
    Ok(Json(UserView { user: user.to_string(), sessions, events, deliveries }))
}

/// Their token proves nothing any more, in the operator's eyes; so they are told to come back with a new one.
pub(super) async fn disconnect(
    State(api): State<Arc<Api>>,
    key: Result<Path<String>, PathRejection>,
) -> Result<Json<Closed>, Problem> {
    let user = api.user(&segment(key)?)?;
    let mut closed = 0;
    for member in api.hub.members_of(&user).iter().filter(|member| member.carrier().is_some()) {
        member.close(CloseCode::TokenRevoked.into());
        closed += 1;
    }
    tracing::info!(%user, closed, "an operator ended a user's sessions");
    // Here they are gone already; those on other gateways follow within a second.
    api.engine.announce(Notice::Disconnect(user)).await?;
    Ok(Json(Closed { closed }))
}

impl Api {
    /// The newest events of a user as the user sees them.
    async fn events_of(&self, user: &UserKey) -> Result<Vec<Box<RawValue>>, EngineError> {
        let keys = [user.clone()];
        let query = Missed { keys: &keys, start: Start::Since(Timestamp(0)), upto: self.engine.head().seq, types: &[] };
        let Backlog::Complete(numbers) = self.engine.missed(query).await? else { return Ok(Vec::new()) };
        let newest: Vec<u64> = numbers.iter().rev().take(EVENTS_MAX).copied().collect();
        let frames = self.engine.read(&keys, &newest).await?;
        let json = |frame: &[u8]| RawValue::from_string(self.ingest.shown(frame, usize::MAX)).ok();
        Ok(frames.iter().filter_map(|(_, frame)| json(frame.as_json())).collect())
    }
}
