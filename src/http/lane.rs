//! The paths that carry the load, without hyper and the router in between: webhooks, and the beginnings of streams.
//!
//! Only plain requests come this way (see [`Connection`]); for every other one the routes give the same answers, from the same handlers.
//! `docs/performance.md` says what this saves.

use std::{cell::RefCell, mem, sync::Arc, time::UNIX_EPOCH};

use axum::{
    http::{Request, StatusCode, header},
    response::{IntoResponse as _, Response},
};
use futures_util::{FutureExt as _, future::BoxFuture};
use http_body_util::{BodyExt as _, Collected};

use super::{EdgeLimits, Problem, Public, edge, stream, webhook};
use crate::{
    event::Timestamp,
    listener::{Announced, Broken, Connection, Heard, Leave},
    transport::sse::Pump,
};

/// Serves the plain requests of one connection, until it becomes a stream, or ends, or brings something else.
pub async fn serve(public: Arc<Public>, limits: EdgeLimits, mut connection: Connection) -> Leave {
    let mut out = Vec::new();
    loop {
        let request = match connection.next(is_ours).await {
            Heard::Request(request) => request,
            Heard::Other => return Leave::ToHyper(connection),
            Heard::Over => return Leave::Closed,
        };
        out.clear();
        let stays = match answer(&public, limits, request, &mut connection, &mut out).await {
            Answered::Written { stays } => stays,
            Answered::With(response) => put_response(&mut out, response, (public.clock)(), connection.is_closing()).await,
            Answered::Stream(response, start) => {
                put_head(&mut out, &response, (public.clock)());
                out.extend_from_slice(b"\r\n");
                return match connection.write(&out).await {
                    Ok(()) => Leave::AsStream(start.carry(connection)),
                    Err(_) => Leave::Closed,
                };
            }
        };
        if connection.write(&out).await.is_err() || !stays {
            return Leave::Closed;
        }
    }
}

/// What becomes of a request.
enum Answered {
    /// Its answer is in the buffer.
    Written {
        stays: bool,
    },
    With(Response),
    /// A head, and then a stream.
    Stream(Response, Start),
}

/// A stream that only wants its socket.
enum Start {
    WebSocket(stream::Start),
    Sse(Box<Pump>),
}

/// Webhooks, and streams; where a segment is escaped, the router says what it means.
fn is_ours(method: &str, path: &str) -> bool {
    match method {
        "GET" => matches!(path, "/v1/ws" | "/v1/sse"),
        "POST" => path.strip_prefix(HOOKS).is_some_and(|target| {
            let mut segments = target.splitn(3, '/');
            let plain = |segment: Option<&str>| segment.is_none_or(|s| !s.is_empty() && !s.contains('%'));
            plain(segments.next()) && plain(segments.next()) && segments.next().is_none()
        }),
        _ => false,
    }
}

const HOOKS: &str = "/hooks/";

async fn answer(
    public: &Arc<Public>,
    limits: EdgeLimits,
    request: Request<Announced>,
    connection: &mut Connection,
    out: &mut Vec<u8>,
) -> Answered {
    if let Err(problem) = edge::check(&request, limits) {
        return Answered::With(problem.into_response());
    }
    let (head, body) = request.into_parts();
    match head.uri.path() {
        "/v1/ws" => match stream::open_websocket(public, connection.peer(), &head) {
            Ok((response, start)) => Answered::Stream(response, Start::WebSocket(start)),
            Err(response) => Answered::With(*response),
        },
        "/v1/sse" => match stream::open_sse(public, connection.peer(), &head).await {
            Ok((mut response, pump)) => {
                response.headers_mut().insert(header::TRANSFER_ENCODING, header::HeaderValue::from_static("chunked"));
                Answered::Stream(response, Start::Sse(pump))
            }
            Err(response) => Answered::With(*response),
        },
        path => take_webhook(public, path, &head.headers, body, connection, out).await,
    }
}

async fn take_webhook(
    public: &Arc<Public>,
    path: &str,
    headers: &header::HeaderMap,
    announced: Announced,
    connection: &mut Connection,
    out: &mut Vec<u8>,
) -> Answered {
    let mut segments = path.strip_prefix(HOOKS).unwrap_or("").split('/');
    let (source, scope) = (segments.next().unwrap_or(""), segments.next());
    let (peer, mut unread) = (connection.peer(), announced.0 > 0);
    let body = async |bytes_max: usize| {
        if announced.0 > bytes_max as u64 {
            return Err(Problem::too_large());
        }
        unread = false;
        connection.body(announced).await.map_err(|broken| match broken {
            Broken::Late => Problem::body_timeout(),
            Broken::Short => Problem::body_broken(),
        })
    };
    match webhook::take(public, source, scope, peer, headers, body).await {
        Ok(accepted) => {
            let closing = connection.is_closing();
            put_accepted(out, &webhook::Answer(accepted), (public.clock)(), closing);
            Answered::Written { stays: !closing }
        }
        Err(problem) if unread && !connection.skip(announced) => Answered::With(problem.closing().into_response()),
        Err(problem) => Answered::With(problem.into_response()),
    }
}

impl Start {
    fn carry(self, connection: Connection) -> BoxFuture<'static, ()> {
        let mut socket = connection.into_socket();
        let early = socket.upgraded();
        match self {
            Self::WebSocket(start) => start.carry(socket, early).boxed(),
            Self::Sse(pump) => pump.carry(socket).boxed(),
        }
    }
}

fn put_accepted(out: &mut Vec<u8>, answer: &webhook::Answer, now: Timestamp, closing: bool) {
    let body = answer.to_json();
    out.extend_from_slice(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n");
    put_date(out, now);
    put_length(out, body.len(), closing);
    out.extend_from_slice(&body);
}

/// Appends a whole answer, whose body has its end at hand. True if another request may follow.
async fn put_response(out: &mut Vec<u8>, response: Response, now: Timestamp, closing: bool) -> bool {
    put_head(out, &response, now);
    let said = response.headers().get(header::CONNECTION).is_some();
    let body = response.into_body().collect().await.map(Collected::to_bytes).unwrap_or_default();
    put_length(out, body.len(), closing && !said);
    out.extend_from_slice(&body);
    !said && !closing
}

/// Appends status and fields, without the line that ends them.
fn put_head(out: &mut Vec<u8>, response: &Response, now: Timestamp) {
    let status = response.status();
    let line = ["HTTP/1.1 ", status.as_str(), " ", status.canonical_reason().unwrap_or(""), "\r\n"];
    for part in line {
        out.extend_from_slice(part.as_bytes());
    }
    for (name, value) in response.headers() {
        for part in [name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"] {
            out.extend_from_slice(part);
        }
    }
    if status != StatusCode::SWITCHING_PROTOCOLS {
        put_date(out, now);
    }
}

fn put_length(out: &mut Vec<u8>, bytes: usize, closing: bool) {
    let close = if closing { "connection: close\r\n" } else { "" };
    put(out, format_args!("{close}content-length: {bytes}\r\n\r\n"));
}

/// The date is written anew once a second.
fn put_date(out: &mut Vec<u8>, now: Timestamp) {
    thread_local! {
        static DATE: RefCell<(u64, Vec<u8>)> = const { RefCell::new((u64::MAX, Vec::new())) };
    }
    DATE.with_borrow_mut(|(second, line)| {
        if mem::replace(second, now.as_secs()) != now.as_secs() {
            line.clear();
            let date = httpdate::fmt_http_date(UNIX_EPOCH + std::time::Duration::from_secs(now.as_secs()));
            put(line, format_args!("date: {date}\r\n"));
        }
        out.extend_from_slice(line);
    });
}

fn put(out: &mut Vec<u8>, text: std::fmt::Arguments<'_>) {
    // Writing to memory cannot fail.
    let _ = std::io::Write::write_fmt(out, text);
}
