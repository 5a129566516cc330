//! `POST /hooks/{source}[/{scope}]`.

use std::{sync::Arc, time::Instant};

use axum::{
    body::{Body, HttpBody as _},
    extract::{Extension, Path, Request, State},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
};
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt as _;
use serde::{Deserialize, Serialize};

use super::{Peer, Problem, Public};
use crate::{
    event::EventType,
    ingest::{Accepted, Refused, Webhook},
};

#[derive(Deserialize)]
pub(super) struct Target {
    source: String,
    scope: Option<String>,
}

pub(super) async fn receive(
    State(public): State<Arc<Public>>,
    Path(target): Path<Target>,
    Extension(Peer(peer)): Extension<Peer>,
    request: Request,
) -> Result<Answer, Problem> {
    let received = Instant::now();
    let source = public.ingest.source(&target.source).ok_or_else(unknown_source)?;
    let scope = target.scope.map(|scope| EventType::new(&scope).ok_or_else(Problem::not_found)).transpose()?;
    let (head, body) = request.into_parts();
    let body = read(&public, &head.headers, body).await;
    let remote = Some(public.settings.get().client_address.of(peer, &head.headers));
    let webhook = |body| Webhook { scope, headers: &head.headers, body, now: (public.clock)(), received, remote };
    match body {
        Ok(body) => Ok(public.ingest.receive(&source, webhook(body)).await.map(Answer)?),
        Err(problem) => {
            source.turned_away(&webhook(Bytes::new()), problem.status.as_u16(), problem.code);
            Err(problem)
        }
    }
}

async fn read(public: &Public, headers: &HeaderMap, body: Body) -> Result<Bytes, Problem> {
    check_type(headers)?;
    let bytes_max = public.settings.get().webhook_body_bytes_max;
    tokio::time::timeout(public.read_timeout, collect(body, bytes_max))
        .await
        .map_err(|_| Problem::new(StatusCode::REQUEST_TIMEOUT, "body_timeout", "the body did not arrive in time").closing())?
}

fn unknown_source() -> Problem {
    Problem::new(StatusCode::NOT_FOUND, "source_unknown", "no source of this name is configured")
}

/// Signatures are over the bytes as sent, and nothing is inflated: there is no content coding, and JSON is the only type.
fn check_type(headers: &HeaderMap) -> Result<(), Problem> {
    let unsupported = |message| Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "content_unsupported", message);
    if headers.contains_key(header::CONTENT_ENCODING) {
        return Err(unsupported("a Content-Encoding is not taken"));
    }
    let essence = |value: &str| value.split(';').next().unwrap_or("").trim().to_ascii_lowercase();
    let content_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).map(essence);
    match content_type.as_deref() {
        Some("application/json") => Ok(()),
        Some(other) if other.starts_with("application/") && other.ends_with("+json") => Ok(()),
        _ => Err(unsupported("the Content-Type has to be application/json")),
    }
}

/// The body, unless it is or becomes larger than `bytes_max`; then reading stops there.
async fn collect(mut body: Body, bytes_max: usize) -> Result<Bytes, Problem> {
    let announced = body.size_hint().lower();
    if announced > bytes_max as u64 {
        return Err(Problem::too_large());
    }
    let mut first = Bytes::new();
    let mut whole = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame =
            frame.map_err(|_| Problem::bad_request("body_broken", "the body ended early or is framed wrongly").closing())?;
        let Ok(data) = frame.into_data() else { continue };
        if first.len() + whole.len() + data.len() > bytes_max {
            return Err(Problem::too_large());
        }
        // Most bodies come in one piece, which is then not copied.
        if first.is_empty() && whole.is_empty() {
            first = data;
            continue;
        }
        if whole.is_empty() {
            whole.reserve(usize::try_from(announced).unwrap_or(0).max(first.len() + data.len()));
            whole.extend_from_slice(&std::mem::take(&mut first));
        }
        whole.extend_from_slice(&data);
    }
    Ok(if whole.is_empty() { first } else { whole.freeze() })
}

/// 200: everything is durable.
pub(super) struct Answer(pub(super) Accepted);

#[derive(Serialize)]
struct AnswerBody {
    status: &'static str,
    ids: Vec<String>,
    duplicate: bool,
    recipients: usize,
    connections: usize,
    #[serde(skip_serializing_if = "is_zero")]
    dead_letters: usize,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_zero(n: &usize) -> bool {
    *n == 0
}

impl IntoResponse for Answer {
    fn into_response(self) -> Response {
        let Accepted { ids, duplicate, recipients, connections, dead_letters } = self.0;
        let ids = ids.iter().map(ToString::to_string).collect();
        let body = AnswerBody { status: "accepted", ids, duplicate, recipients, connections, dead_letters };
        axum::Json(body).into_response()
    }
}

impl From<Refused> for Problem {
    fn from(refused: Refused) -> Self {
        let code = refused.code();
        match refused {
            Refused::Unverified(_) => Self::new(StatusCode::UNAUTHORIZED, code, "the delivery's signature was not accepted"),
            Refused::Invalid(_) => Self::bad_request(code, "the body is not JSON that the gateway accepts; a copy is kept"),
            Refused::Unavailable(_) => {
                Self::come_back(StatusCode::SERVICE_UNAVAILABLE, code, "the delivery was not stored; send it again")
            }
        }
    }
}
