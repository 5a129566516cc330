//! An SSE stream with a token and with a ticket: do its headers keep proxies from holding it back, and does the first byte come at once?

use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode, header};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use serde_json::Value;
use tokio::time::{sleep_until, timeout};

use super::{Exam, HELLO_PATIENCE, ended, finding::Finding};
use crate::cli::client::{Answer, Connection, Trouble};

const HEADERS: &str = "sse headers";
const BUFFERING: &str = "sse buffering";
const TICKET: &str = "ticket";
const BUFFERING_REMEDY: &str =
    "turn buffering and compression off for /v1/sse; nginx: proxy_buffering off; gzip off; proxy_http_version 1.1;";
/// Of a stream's text that is kept.
const TEXT_BYTES_MAX: usize = 64 * 1_024;

/// An open stream.
pub(super) struct EventStream {
    body: Incoming,
    _connection: Connection,
    /// As `$hello` says.
    pub(super) ping: Duration,
}

/// Opens a stream with the token. It is there if all of it worked.
pub(super) async fn check(exam: &Exam) -> (Vec<Finding>, Option<EventStream>) {
    let bearer = format!("Bearer {}", exam.token());
    let opened = match open(exam, "/v1/sse", &[(header::AUTHORIZATION, &bearer)]).await {
        Ok(opened) => opened,
        Err(Unopened::Held) => {
            let problem = format!("without a token there is an answer; with one, nothing came within {HELLO_PATIENCE:?}");
            let held = Finding::bad(BUFFERING, problem, BUFFERING_REMEDY);
            return (vec![Finding::skipped(HEADERS, "they did not come"), held], None);
        }
        Err(unopened) => {
            let (problem, remedy) = unopened.explained();
            return (vec![Finding::bad(HEADERS, problem, remedy), Finding::skipped(BUFFERING, "there is no stream")], None);
        }
    };
    let headers = about_headers(&opened.headers);
    let (buffering, stream) = first_bytes(opened, BUFFERING).await;
    (vec![headers, buffering], stream)
}

/// Takes a ticket for the token, and opens a stream with it, as native `EventSource` does.
pub(super) async fn ticket(exam: &Exam) -> Finding {
    let answer = match issue(exam).await {
        Ok(answer) => answer,
        Err(trouble) => return Finding::bad(TICKET, trouble.to_string(), trouble.remedy()),
    };
    if answer.error_code().as_deref() == Some("tickets_disabled") {
        return Finding::skipped(TICKET, "this gateway has no auth.ticket_secret, so native EventSource has no way in");
    }
    let body: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
    let Some(ticket) = body["ticket"].as_str().filter(|_| answer.status == StatusCode::OK) else {
        let (problem, remedy) = Unopened::Refused(answer).explained();
        return Finding::bad(TICKET, format!("POST /v1/tickets: {problem}"), remedy);
    };
    match open(exam, &format!("/v1/sse?ticket={ticket}"), &[]).await {
        Ok(opened) => match first_bytes(opened, TICKET).await {
            (_, Some(_)) => Finding::good(TICKET, "issued, and it opens a stream"),
            (finding, None) => finding,
        },
        Err(Unopened::Held) => {
            Finding::bad(TICKET, format!("issued, but no stream came within {HELLO_PATIENCE:?}"), BUFFERING_REMEDY)
        }
        Err(unopened) => {
            let (problem, remedy) = unopened.explained();
            Finding::bad(TICKET, format!("issued, but its stream was refused: {problem}"), remedy)
        }
    }
}

async fn issue(exam: &Exam) -> Result<Answer, Trouble> {
    let mut request = Request::new(Bytes::new());
    *request.method_mut() = Method::POST;
    exam.aim(&mut request, "/v1/tickets")?;
    exam.head(&mut request, &header::AUTHORIZATION, &format!("Bearer {}", exam.token()))?;
    exam.add_origin(&mut request)?;
    exam.client.ask(&exam.target, request).await
}

struct Opened {
    headers: HeaderMap,
    body: Incoming,
    connection: Connection,
}

/// Why there is no stream.
enum Unopened {
    Trouble(Trouble),
    /// No answer in the time in which one without a token came.
    Held,
    Refused(Answer),
}

impl Unopened {
    fn explained(self) -> (String, &'static str) {
        let answer = match self {
            Self::Trouble(trouble) => return (trouble.to_string(), trouble.remedy()),
            Self::Held => return (format!("nothing came within {HELLO_PATIENCE:?}"), BUFFERING_REMEDY),
            Self::Refused(answer) => answer,
        };
        let code = answer.error_code();
        let remedy = match code.as_deref() {
            Some("token_missing") => "let the proxy leave the Authorization header in the request",
            Some("token_expired") => "use a new token; if it is new, compare the clocks",
            Some("token_rejected") => "compare iss, aud and the key with [auth]; the gateway's log says what is wrong with it",
            Some("origin_not_allowed" | "ticket_origin") => "see the line on origins: server.allowed_origins",
            Some("too_many_sessions_of_address") => {
                "behind a proxy all clients have its address: name it in server.trusted_proxies"
            }
            Some("too_many_sessions") => "close some streams of this user, or raise limits.sessions_per_user_max",
            Some(_) => "see the gateway's log",
            None => "check that the proxy passes /v1 on to the gateway",
        };
        let what = code.unwrap_or_else(|| answer.excerpt());
        (format!("{} {what}", answer.status), remedy)
    }
}

async fn open(exam: &Exam, path: &str, headers: &[(header::HeaderName, &str)]) -> Result<Opened, Unopened> {
    let mut request = Request::new(Bytes::new());
    exam.aim(&mut request, path).map_err(Unopened::Trouble)?;
    exam.head(&mut request, &header::ACCEPT, "text/event-stream").map_err(Unopened::Trouble)?;
    for (name, value) in headers {
        exam.head(&mut request, name, value).map_err(Unopened::Trouble)?;
    }
    exam.add_origin(&mut request).map_err(Unopened::Trouble)?;
    let mut connection = exam.client.open(&exam.target).await.map_err(Unopened::Trouble)?;
    let response = match timeout(HELLO_PATIENCE, connection.send(request)).await {
        Ok(response) => response.map_err(Unopened::Trouble)?,
        Err(_) => return Err(Unopened::Held),
    };
    let (head, body) = response.into_parts();
    if head.status == StatusCode::OK {
        return Ok(Opened { headers: head.headers, body, connection });
    }
    let answer = connection.rest(head, body).await.map_err(Unopened::Trouble)?;
    Err(Unopened::Refused(answer))
}

fn about_headers(headers: &HeaderMap) -> Finding {
    let text = |name: header::HeaderName| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or("");
    let content_type = text(header::CONTENT_TYPE);
    if !content_type.starts_with("text/event-stream") {
        let problem = format!("Content-Type is {content_type:?}, which no EventSource takes");
        return Finding::bad(HEADERS, problem, "check that the proxy passes /v1 on to the gateway, and leaves its headers alone");
    }
    if !text(header::CACHE_CONTROL).contains("no-store") {
        let problem = format!("Cache-Control is {:?}, without no-store", text(header::CACHE_CONTROL));
        return Finding::bad(HEADERS, problem, "let the proxy leave Cache-Control alone, and cache nothing under /v1");
    }
    if headers.contains_key(header::CONTENT_ENCODING) {
        let problem = format!("the stream is compressed ({})", text(header::CONTENT_ENCODING));
        return Finding::bad(HEADERS, problem, BUFFERING_REMEDY);
    }
    // nginx takes the hint away when it has followed it, so its absence says nothing.
    let hint = headers.get("x-accel-buffering").map_or("taken away by the proxy", |value| value.to_str().unwrap_or("?"));
    Finding::good(HEADERS, format!("text/event-stream, no-store; X-Accel-Buffering: {hint}"))
}

/// Reads up to `$hello`.
async fn first_bytes(opened: Opened, check: &'static str) -> (Finding, Option<EventStream>) {
    let Opened { mut body, connection, .. } = opened;
    let begun = Instant::now();
    let mut text = String::new();
    let first = async {
        while text.len() < TEXT_BYTES_MAX {
            let Some(Ok(frame)) = body.frame().await else { break };
            text += &String::from_utf8_lossy(&frame.into_data().unwrap_or_default());
            if let Some(ping) = event(&text, "$hello").map(|hello| hello["ping_ms"].as_u64().unwrap_or(0)) {
                return Ok(Duration::from_millis(ping));
            }
            if let Some(bye) = event(&text, "$bye") {
                return Err(bye["code"].as_u64().and_then(|code| u16::try_from(code).ok()));
            }
        }
        Err(None)
    };
    let first = timeout(HELLO_PATIENCE, first).await;
    match first {
        Ok(Ok(ping)) => {
            let detail = format!("none: $hello came {} ms after the headers", begun.elapsed().as_millis());
            (Finding::good(check, detail), Some(EventStream { body, _connection: connection, ping }))
        }
        Ok(Err(code)) => {
            let (problem, remedy) = ended(code);
            (Finding::bad(check, problem, remedy), None)
        }
        Err(_) => {
            let problem =
                format!("the headers came, but $hello did not within {HELLO_PATIENCE:?}: something holds the stream back");
            (Finding::bad(check, problem, BUFFERING_REMEDY), None)
        }
    }
}

/// The data of the event of this name, if it is in a stream's text, in full.
fn event(text: &str, name: &str) -> Option<Value> {
    let (_, event) = text.split_once(&format!("event: {name}\n"))?;
    let (event, _) = event.split_once("\n\n")?;
    serde_json::from_str(event.lines().find_map(|line| line.strip_prefix("data:"))?).ok()
}

impl EventStream {
    /// Listens until `end`; gives the number of pings that came, or nothing if the stream ended.
    pub(super) async fn idle(&mut self, end: tokio::time::Instant) -> Option<u32> {
        let mut pings = 0;
        loop {
            let frame = tokio::select! {
                frame = self.body.frame() => frame?.ok()?,
                () = sleep_until(end) => return Some(pings),
            };
            let data = frame.into_data().unwrap_or_default();
            pings += u32::from(String::from_utf8_lossy(&data).contains(": ping"));
        }
    }
}
