//! `POST /hooks/{source}[/{scope}]`.

use std::{net::SocketAddr, sync::Arc, time::Instant};

use axum::{
    body::{Body, HttpBody as _},
    extract::{Extension, Path, Request, State, rejection::PathRejection},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt as _;
use serde::{Deserialize, Serialize, Serializer};

use super::{Peer, Problem, Public};
use crate::{
    event::{EventType, Position},
    ingest::{Accepted, Refused, Webhook},
};

#[derive(Deserialize)]
pub(super) struct Target {
    source: String,
    scope: Option<String>,
}

pub(super) async fn receive(
    State(public): State<Arc<Public>>,
    target: Result<Path<Target>, PathRejection>,
    Extension(Peer(peer)): Extension<Peer>,
    request: Request,
) -> Result<Answer, Problem> {
    // What is no text is the name of nothing.
    let Path(target) = target.map_err(|_| Problem::not_found())?;
    let (head, body) = request.into_parts();
    let body = async |bytes_max| {
        let body = tokio::time::timeout(public.read_timeout, collect(body, bytes_max));
        body.await.map_err(|_| Problem::body_timeout())?
    };
    take(&public, &target.source, target.scope.as_deref(), peer, &head.headers, body).await.map(Answer)
}

/// Takes a webhook, whose `body` is read only when its head is found good; at most so many bytes as that is told.
pub(super) async fn take(
    public: &Public,
    source: &str,
    scope: Option<&str>,
    peer: SocketAddr,
    headers: &HeaderMap,
    body: impl AsyncFnOnce(usize) -> Result<Bytes, Problem>,
) -> Result<Accepted, Problem> {
    let received = Instant::now();
    let source = public.ingest.source(source).ok_or_else(unknown_source)?;
    let scope = scope.map(|scope| EventType::new(scope).ok_or_else(Problem::not_found)).transpose()?;
    let settings = public.settings.get();
    let body = match check_type(headers) {
        Ok(()) => body(settings.webhook_body_bytes_max).await,
        Err(problem) => Err(problem),
    };
    let remote = Some(settings.client_address.of(peer, headers));
    let webhook = |body| Webhook { scope, headers, body, now: (public.clock)(), received, remote };
    match body {
        Ok(body) => Ok(public.ingest.receive(&source, webhook(body)).await?),
        Err(problem) => {
            source.turned_away(&webhook(Bytes::new()), problem.status.as_u16(), problem.code);
            Err(problem)
        }
    }
}

fn unknown_source() -> Problem {
    Problem::new(StatusCode::NOT_FOUND, "source_unknown", "no source of this name is configured")
}

/// Signatures are over the bytes as sent, and nothing is inflated: there is no content coding, and JSON is the only type.
fn check_type(headers: &HeaderMap) -> Result<(), Problem> {
    const START: &[u8] = b"application/";
    let unsupported = |message| Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "content_unsupported", message);
    if headers.contains_key(header::CONTENT_ENCODING) {
        return Err(unsupported("a Content-Encoding is not taken"));
    }
    let mut lines = headers.get_all(header::CONTENT_TYPE).iter().map(HeaderValue::as_bytes);
    // Of several, each reader may believe another one.
    let (Some(value), None) = (lines.next(), lines.next()) else {
        return Err(unsupported("there is to be one Content-Type, application/json"));
    };
    let essence = value.split(|b| *b == b';').next().unwrap_or_default().trim_ascii();
    let json = essence.split_at_checked(START.len()).is_some_and(|(start, kind)| {
        let suffix = kind.len().checked_sub(b"+json".len()).map(|at| &kind[at..]);
        start.eq_ignore_ascii_case(START)
            && (kind.eq_ignore_ascii_case(b"json") || suffix.is_some_and(|suffix| suffix.eq_ignore_ascii_case(b"+json")))
    });
    if json { Ok(()) } else { Err(unsupported("the Content-Type has to be application/json")) }
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
        let frame = frame.map_err(|_| Problem::body_broken())?;
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
struct AnswerBody<'a> {
    status: &'static str,
    #[serde(serialize_with = "as_text")]
    ids: &'a [Position],
    duplicate: bool,
    recipients: usize,
    connections: usize,
    #[serde(skip_serializing_if = "is_zero")]
    dead_letters: usize,
}

fn as_text<S: Serializer>(ids: &&[Position], serializer: S) -> Result<S::Ok, S::Error> {
    struct Text<'a>(&'a Position);
    impl Serialize for Text<'_> {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            serializer.collect_str(self.0)
        }
    }
    serializer.collect_seq(ids.iter().map(Text))
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_zero(n: &usize) -> bool {
    *n == 0
}

impl Answer {
    /// The body of the answer.
    pub(super) fn to_json(&self) -> Vec<u8> {
        let Accepted { ref ids, duplicate, recipients, connections, dead_letters } = self.0;
        let body = AnswerBody { status: "accepted", ids, duplicate, recipients, connections, dead_letters };
        // Nothing in it can fail to be written.
        serde_json::to_vec(&body).unwrap_or_default()
    }
}

impl IntoResponse for Answer {
    fn into_response(self) -> Response {
        ([(header::CONTENT_TYPE, "application/json")], self.to_json()).into_response()
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
