//! `GET /admin/v1/connections`: who is connected to this node.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Query, State, rejection::QueryRejection},
};
use serde::{Deserialize, Serialize};

use super::{Api, guard::invalid};
use crate::{
    event::{Epoch, Position, UserKey},
    http::Problem,
    hub::{Member, MemberView},
    metrics::Carrier,
};

/// Sessions in an answer, unless the request says otherwise.
const LIMIT: usize = 100;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Page {
    limit: Option<usize>,
}

#[derive(Serialize)]
pub(super) struct Connections {
    total: usize,
    sessions: Vec<SessionView>,
}

/// A session as the operator sees it.
#[derive(Serialize)]
pub(super) struct SessionView {
    /// As in its `$hello`.
    session: String,
    user: String,
    keys: Vec<String>,
    campaigns: Vec<String>,
    carrier: &'static str,
    since: u64,
    /// The newest live event that it was handed.
    newest: Option<String>,
    queued_events: usize,
    queued_bytes: usize,
    types: Vec<String>,
}

pub(super) async fn list(
    State(api): State<Arc<Api>>,
    page: Result<Query<Page>, QueryRejection>,
) -> Result<Json<Connections>, Problem> {
    let Query(Page { limit }) = page.map_err(|rejection| invalid(rejection.body_text()))?;
    let members = api.hub.members();
    let total = members.iter().filter(|member| member.carrier().is_some()).count();
    Ok(Json(Connections { total, sessions: views(&members, api.engine.head().epoch, limit.unwrap_or(LIMIT)) }))
}

/// The longest connected first; the probe's sessions are nobody's.
pub(super) fn views(members: &[Member], epoch: Epoch, limit: usize) -> Vec<SessionView> {
    let mut found: Vec<(Carrier, MemberView)> =
        members.iter().filter_map(|member| Some((member.carrier()?, member.view()))).collect();
    found.sort_unstable_by_key(|(_, view)| (view.arrival.since, view.session));
    found.into_iter().take(limit).map(|(carrier, view)| SessionView::new(carrier, &view, epoch)).collect()
}

impl SessionView {
    fn new(carrier: Carrier, view: &MemberView, epoch: Epoch) -> Self {
        Self {
            session: format!("{:x}", view.session),
            user: view.keys.first().map(ToString::to_string).unwrap_or_default(),
            keys: view.keys.iter().filter(|key| key.campaign().is_none()).map(ToString::to_string).collect(),
            campaigns: view.keys.iter().filter_map(UserKey::campaign).map(str::to_owned).collect(),
            carrier: match carrier {
                Carrier::WebSocket => "websocket",
                Carrier::Sse => "sse",
            },
            since: view.arrival.since.0,
            newest: (view.newest > 0).then(|| Position { epoch, seq: view.newest }.to_string()),
            queued_events: view.queued_events,
            queued_bytes: view.queued_bytes,
            types: view.types.iter().map(ToString::to_string).collect(),
        }
    }
}
