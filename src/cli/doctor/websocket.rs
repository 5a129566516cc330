//! A WebSocket as a browser opens one: is it upgraded, is our subprotocol named and the token not, and does the session begin?

use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::{SinkExt as _, StreamExt as _};
use http::{Request, Response, StatusCode, header};
use hyper::{body::Incoming, upgrade::Upgraded};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::time::{sleep_until, timeout};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{
        self, Message,
        handshake::{client::generate_key, derive_accept_key},
        protocol::{Role, WebSocketConfig},
    },
};

use super::{Exam, HELLO_PATIENCE, ended, finding::Finding};
use crate::{
    cli::client::Trouble,
    protocol::{BEARER_SUBPROTOCOL_PREFIX, SUBPROTOCOL},
};

const UPGRADE: &str = "ws upgrade";
const ECHO: &str = "ws subprotocol";
const HELLO: &str = "ws $hello";
/// A frame is at most a webhook's body and our fields.
const MESSAGE_BYTES_MAX: usize = 1 << 20;
const UPGRADE_REMEDY: &str = "let the proxy pass the upgrade on; nginx: proxy_http_version 1.1; proxy_set_header Upgrade $http_upgrade; \
                              proxy_set_header Connection \"upgrade\";";

/// An open session.
pub(super) struct Socket {
    stream: WebSocketStream<TokioIo<Upgraded>>,
    /// As `$hello` says.
    pub(super) ping: Duration,
}

/// Opens one. The socket is there if all of it worked.
pub(super) async fn check(exam: &Exam) -> (Vec<Finding>, Option<Socket>) {
    let begun = Instant::now();
    let key = generate_key();
    let response = match dial(exam, &key).await {
        Ok(response) => response,
        Err(trouble) => return (refused(trouble.to_string(), trouble.remedy()), None),
    };
    if let Err((problem, remedy)) = is_upgraded(&response, &key) {
        return (refused(problem, remedy), None);
    }
    let upgraded = Finding::good(UPGRADE, format!("101 in {} ms", begun.elapsed().as_millis()));
    let echoed = echoed(&response);
    let stream = match hyper::upgrade::on(response).await {
        Ok(upgraded) => TokioIo::new(upgraded),
        Err(error) => return (refused(format!("101, and then the connection broke: {error}"), UPGRADE_REMEDY), None),
    };
    let config = WebSocketConfig::default().max_message_size(Some(MESSAGE_BYTES_MAX));
    let mut stream = WebSocketStream::from_raw_socket(stream, Role::Client, Some(config)).await;
    if echoed.is_bad() {
        // The token may have been lost with the subprotocol, which must not hide what else there is to see.
        let auth = json!({ "type": "$auth", "token": exam.token() }).to_string();
        drop(stream.send(Message::text(auth)).await);
    }
    let (hello, socket) = greeted(stream).await;
    (vec![upgraded, echoed, hello], socket)
}

async fn dial(exam: &Exam, key: &str) -> Result<Response<Incoming>, Trouble> {
    let mut request = Request::new(Bytes::new());
    exam.aim(&mut request, "/v1/ws")?;
    let protocols = format!("{SUBPROTOCOL}, {BEARER_SUBPROTOCOL_PREFIX}{}", exam.token());
    for (name, value) in [
        (header::CONNECTION, "Upgrade"),
        (header::UPGRADE, "websocket"),
        (header::SEC_WEBSOCKET_VERSION, "13"),
        (header::SEC_WEBSOCKET_KEY, key),
        (header::SEC_WEBSOCKET_PROTOCOL, &protocols),
    ] {
        exam.head(&mut request, &name, value)?;
    }
    exam.add_origin(&mut request)?;
    let mut connection = exam.client.open(&exam.target).await?;
    let response = connection.send(request).await?;
    if response.status() != StatusCode::SWITCHING_PROTOCOLS {
        return Ok(response);
    }
    // The task of the connection hands the socket over and ends.
    connection.detach();
    Ok(response)
}

fn refused(problem: String, remedy: &str) -> Vec<Finding> {
    let skipped = |check| Finding::skipped(check, "there is no WebSocket");
    vec![Finding::bad(UPGRADE, problem, remedy), skipped(ECHO), skipped(HELLO)]
}

fn is_upgraded(response: &Response<Incoming>, key: &str) -> Result<(), (String, &'static str)> {
    let status = response.status();
    let remedy = match status.as_u16() {
        101 => {
            let accept = response.headers().get(header::SEC_WEBSOCKET_ACCEPT).map(header::HeaderValue::as_bytes);
            if accept == Some(derive_accept_key(key.as_bytes()).as_bytes()) {
                return Ok(());
            }
            return Err(("101, but Sec-WebSocket-Accept is not the answer to this handshake".to_owned(), UPGRADE_REMEDY));
        }
        403 => "see the line on origins: server.allowed_origins decides for WebSockets, too",
        429 => "behind a proxy all clients have its address: name it in server.trusted_proxies",
        500..=599 => "see the proxy's log, and the gateway's",
        _ => UPGRADE_REMEDY,
    };
    Err((format!("{status} instead of 101"), remedy))
}

fn echoed(response: &Response<Incoming>) -> Finding {
    match response.headers().get(header::SEC_WEBSOCKET_PROTOCOL).map(|value| value.to_str().unwrap_or("")) {
        Some(SUBPROTOCOL) => Finding::good(ECHO, format!("{SUBPROTOCOL} is named, and the token is not")),
        Some(token) if token.contains(BEARER_SUBPROTOCOL_PREFIX) => Finding::bad(
            ECHO,
            "the answer repeats the token",
            "take the proxy's own handling of WebSockets out: the gateway never does that",
        ),
        Some(_) => Finding::bad(ECHO, "the answer names another subprotocol", "check that this URL is a gateway's"),
        None => {
            let remedy =
                "let the proxy leave Sec-WebSocket-Protocol in the request and in the answer: browsers close a socket without it";
            Finding::bad(ECHO, format!("the answer does not name {SUBPROTOCOL}"), remedy)
        }
    }
}

async fn greeted(mut stream: WebSocketStream<TokioIo<Upgraded>>) -> (Finding, Option<Socket>) {
    let begun = Instant::now();
    let first = async {
        loop {
            match stream.next().await {
                Some(Ok(Message::Text(text))) => {
                    let frame: Value = serde_json::from_str(&text).unwrap_or_default();
                    return match (frame["type"].as_str(), &frame["code"]) {
                        (Some("$hello"), _) => Ok(Duration::from_millis(frame["ping_ms"].as_u64().unwrap_or(0))),
                        (_, code) => Err(code.as_u64().and_then(|code| u16::try_from(code).ok())),
                    };
                }
                Some(Ok(Message::Close(frame))) => return Err(frame.map(|frame| frame.code.into())),
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return Err(None),
            }
        }
    };
    match timeout(HELLO_PATIENCE, first).await {
        Ok(Ok(ping)) => {
            let detail = format!("{} ms after the upgrade; a ping every {} s", begun.elapsed().as_millis(), ping.as_secs());
            (Finding::good(HELLO, detail), Some(Socket { stream, ping }))
        }
        Ok(Err(code)) => {
            let (problem, remedy) = ended(code);
            (Finding::bad(HELLO, problem, remedy), None)
        }
        Err(_) => {
            let problem = format!("nothing came within {HELLO_PATIENCE:?}");
            (Finding::bad(HELLO, problem, "let the proxy pass WebSocket frames on at once, without inspecting them"), None)
        }
    }
}

impl Socket {
    /// Listens until `end`; gives the number of pings that came, or after how long and why it ended.
    pub(super) async fn idle(&mut self, end: tokio::time::Instant) -> Result<u32, Option<u16>> {
        let mut pings = 0;
        loop {
            let message: Option<Result<Message, tungstenite::Error>> = tokio::select! {
                message = self.stream.next() => message,
                () = sleep_until(end) => return Ok(pings),
            };
            match message {
                Some(Ok(Message::Ping(_))) => pings += 1,
                Some(Ok(Message::Close(frame))) => return Err(frame.map(|frame| frame.code.into())),
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return Err(None),
            }
        }
    }
}
