//! `POST /admin/v1/publish`: an event of the backend's own. `POST /admin/v1/events/{id}/replay`: a stored event once more.

use std::{sync::Arc, time::Instant};

use axum::{
    Json,
    body::Body,
    extract::{Path, State, rejection::PathRejection},
    http::StatusCode,
};
use serde::{Deserialize, Serialize};
use serde_json::{Number, value::RawValue};

use super::{
    Api,
    guard::{invalid, json, segment},
};
use crate::{
    claimr::payload::OwnEvent,
    engine::{Notice, PublishError},
    event::{EventType, Position, UserKey},
    http::{Problem, webhook::Answer},
    ingest::Unpublishable,
};

/// User keys of one event.
const KEYS_MAX: usize = 64;
/// Campaigns of one event.
const CAMPAIGNS_MAX: usize = 64;
/// Characters of an event's name, and of its id.
const TEXT_CHARACTERS_MAX: usize = 256;
/// Bytes of a request beside its data.
const REST_BYTES_MAX: usize = 32 * 1024;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Own {
    #[serde(default)]
    keys: Vec<String>,
    #[serde(default)]
    campaigns: Vec<String>,
    r#type: String,
    data: Option<Box<RawValue>>,
    name: Option<String>,
    points: Option<Number>,
    id: Option<String>,
}

#[derive(Serialize)]
pub(super) struct Told {
    id: String,
    connections: usize,
}

pub(super) async fn publish(State(api): State<Arc<Api>>, body: Body) -> Result<Answer, Problem> {
    let received = Instant::now();
    let data_bytes_max = *api.data_bytes_max.get();
    let own: Own = json(&api, body, data_bytes_max + REST_BYTES_MAX).await?;
    let data = own.data.as_ref().map_or("{}", |data| data.get());
    if data.len() > data_bytes_max {
        return Err(Problem::too_large());
    }
    let keys = keys(&api, &own)?;
    let campaigns = campaigns(&own)?;
    let kind = EventType::new(&own.r#type).ok_or_else(|| invalid("\"type\" is 1 to 64 of [A-Za-z0-9_.-]"))?;
    let is_short =
        |text: &Option<String>| text.as_ref().is_none_or(|text| (1..=TEXT_CHARACTERS_MAX).contains(&text.chars().count()));
    if !is_short(&own.name) || !is_short(&own.id) {
        return Err(invalid("\"name\" and \"id\" are 1 to 256 characters"));
    }
    let event = OwnEvent { keys, campaigns, kind, data, name: own.name.as_deref(), points: own.points, id: own.id.as_deref() };
    Ok(api.ingest.publish(event, (api.clock)(), received).await.map(Answer)?)
}

fn keys(api: &Api, own: &Own) -> Result<Vec<UserKey>, Problem> {
    if own.keys.len() > KEYS_MAX || (own.keys.is_empty() && own.campaigns.is_empty()) {
        return Err(invalid("name 1 to 64 user keys in \"keys\", such as \"acme:42\", or \"campaigns\", or both"));
    }
    own.keys.iter().map(|key| api.user(key)).try_fold(Vec::new(), |keys, key| Ok(with(keys, key?)))
}

fn campaigns(own: &Own) -> Result<Vec<UserKey>, Problem> {
    let wrong = || invalid("\"campaigns\" are at most 64 ids, each 1 to 128 printable ASCII characters without a space");
    if own.campaigns.len() > CAMPAIGNS_MAX {
        return Err(wrong());
    }
    let campaign = |id: &String| UserKey::of_campaign(id).map_err(|_| wrong());
    own.campaigns.iter().map(campaign).try_fold(Vec::new(), |keys, key| Ok(with(keys, key?)))
}

fn with(mut keys: Vec<UserKey>, key: UserKey) -> Vec<UserKey> {
    if !keys.contains(&key) {
        keys.push(key);
    }
    keys
}

/// The event keeps its id, and nothing is stored: whoever has seen it can tell.
pub(super) async fn replay(State(api): State<Arc<Api>>, id: Result<Path<String>, PathRejection>) -> Result<Json<Told>, Problem> {
    let position: Position = segment(id)?.parse().map_err(|_| invalid("the id of an event is <epoch>:<number>"))?;
    let unknown = || Problem::new(StatusCode::NOT_FOUND, "event_unknown", "no event of this id is stored");
    if position.epoch != api.engine.head().epoch {
        return Err(unknown());
    }
    let event = api.engine.event(position.seq).await?.ok_or_else(unknown)?;
    let connections = api.hub.deliver_again(&event);
    api.engine.announce(Notice::Again(position.seq)).await?;
    tracing::info!(id = %position, connections, "an operator sent an event once more");
    Ok(Json(Told { id: position.to_string(), connections }))
}

impl From<Unpublishable> for Problem {
    fn from(error: Unpublishable) -> Self {
        match error {
            Unpublishable::Invalid(invalid_data) => invalid(format!("data: {invalid_data}")),
            Unpublishable::Unavailable(error) => error.into(),
        }
    }
}

impl From<PublishError> for Problem {
    fn from(error: PublishError) -> Self {
        tracing::error!(%error, "the admin API could not publish");
        Self::come_back(StatusCode::SERVICE_UNAVAILABLE, "log_unavailable", "the event was not stored; try again")
    }
}
