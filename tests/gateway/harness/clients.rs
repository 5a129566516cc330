//! Users with clients that are not ours: tokio-tungstenite, and SSE read as the HTML standard says.

use std::net::SocketAddr;

use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::Value;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    time::timeout,
};
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream,
    tungstenite::{self, Message, client::IntoClientRequest as _, handshake::client::Request},
};

use super::{PATIENCE, Relay};

/// How a client comes: with which token, from where on.
#[derive(Clone, Debug, Default)]
pub(crate) struct Dial {
    pub(crate) token: Option<String>,
    pub(crate) query: String,
    pub(crate) headers: Vec<(String, String)>,
}

impl Dial {
    pub(crate) fn token(token: &str) -> Self {
        Self { token: Some(token.to_owned()), ..Self::default() }
    }

    pub(crate) fn after(self, cursor: &str) -> Self {
        self.query(&format!("last_event_id={cursor}"))
    }

    pub(crate) fn query(mut self, query: &str) -> Self {
        self.query += if self.query.is_empty() { "?" } else { "&" };
        self.query += query;
        self
    }

    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }
}

/// A WebSocket client.
pub(crate) struct WebSocket<S = MaybeTlsStream<TcpStream>>(WebSocketStream<S>);

impl WebSocket {
    /// Dials; the error is the HTTP status of a refused handshake.
    pub(crate) async fn dial(address: SocketAddr, dial: Dial) -> Result<Self, u16> {
        match Self::connect(address, dial).await {
            Ok(socket) => Ok(socket),
            Err(tungstenite::Error::Http(response)) => Err(response.status().as_u16()),
            Err(error) => panic!("{error}"),
        }
    }

    /// Dials a gateway that may not be there.
    pub(crate) async fn try_dial(address: SocketAddr, dial: Dial) -> Option<Self> {
        Self::connect(address, dial).await.ok()
    }

    async fn connect(address: SocketAddr, dial: Dial) -> Result<Self, tungstenite::Error> {
        tokio_tungstenite::connect_async(request("ws", address, dial)).await.map(|(socket, _)| Self(socket))
    }

    /// Dials and takes `$hello`.
    pub(crate) async fn open(relay: &Relay, dial: Dial) -> (Self, Value) {
        let mut socket = Self::dial(relay.address, dial).await.unwrap();
        let hello = socket.json().await;
        assert_eq!(hello["type"], "$hello", "{hello}");
        (socket, hello)
    }
}

fn request(scheme: &str, address: SocketAddr, dial: Dial) -> Request {
    let mut request = format!("{scheme}://{address}/v1/ws{}", dial.query).into_client_request().unwrap();
    if let Some(token) = &dial.token {
        request.headers_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
    }
    for (name, value) in dial.headers {
        let name: reqwest::header::HeaderName = name.parse().unwrap();
        request.headers_mut().append(name, value.parse().unwrap());
    }
    request
}

impl<S: AsyncRead + AsyncWrite + Unpin> WebSocket<S> {
    /// Upgrades a connection that is there, and takes `$hello`.
    pub(crate) async fn over(stream: S, address: SocketAddr, dial: Dial) -> Self {
        let (socket, _) = tokio_tungstenite::client_async(request("wss", address, dial), stream).await.unwrap();
        let mut socket = Self(socket);
        let hello = socket.json().await;
        assert_eq!(hello["type"], "$hello", "{hello}");
        socket
    }

    /// The connection below.
    pub(crate) fn stream(&mut self) -> &mut S {
        self.0.get_mut()
    }

    /// The next text message.
    pub(crate) async fn json(&mut self) -> Value {
        match self.next().await {
            Ok(value) => value,
            Err(code) => panic!("closed with {code}"),
        }
    }

    /// The next text message, or the code of the server's Close; 1006 if there was none.
    pub(crate) async fn next(&mut self) -> Result<Value, u16> {
        loop {
            match timeout(PATIENCE, self.0.next()).await.expect("a message in time") {
                Some(Ok(Message::Text(text))) => return Ok(serde_json::from_str(&text).unwrap()),
                Some(Ok(Message::Close(frame))) => return Err(frame.map_or(1005, |frame| frame.code.into())),
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return Err(1006),
            }
        }
    }

    /// The next `count` events, by their points.
    pub(crate) async fn points(&mut self, count: usize) -> Vec<u64> {
        let mut points = Vec::new();
        while points.len() < count {
            let frame = self.json().await;
            points.extend(frame["points"].as_u64());
        }
        points
    }

    /// The code that the server closes with, whatever comes before; and its `$bye`, if one came.
    pub(crate) async fn closed(&mut self) -> (u16, Value) {
        let mut last = Value::Null;
        loop {
            match self.next().await {
                Ok(value) if value["type"] == "$bye" => last = value,
                Ok(_) => {}
                Err(code) => return (code, last),
            }
        }
    }

    pub(crate) async fn send(&mut self, message: impl Into<Message>) {
        assert!(self.try_send(message).await);
    }

    /// Sends, unless the server has closed. False if it has.
    pub(crate) async fn try_send(&mut self, message: impl Into<Message>) -> bool {
        self.0.send(message.into()).await.is_ok()
    }
}

/// An SSE client over HTTP.
pub(crate) struct Sse {
    response: reqwest::Response,
    buffer: String,
    /// The last `id`, as `EventSource` keeps it.
    pub(crate) last_event_id: String,
    /// The last `retry`, in milliseconds.
    pub(crate) retry: Option<u64>,
}

/// One dispatched event.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct SseEvent {
    /// `message` if it has no name.
    pub(crate) name: String,
    pub(crate) data: Value,
}

impl Sse {
    /// Dials; the error is the status and body of a refusal.
    pub(crate) async fn dial(relay: &Relay, dial: Dial) -> Result<Self, (u16, Value)> {
        let response = Self::get(&relay.http, relay.address, dial).await.unwrap();
        let status = response.status().as_u16();
        if status != 200 {
            return Err((status, response.json().await.unwrap_or(Value::Null)));
        }
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        Ok(Self { response, buffer: String::new(), last_event_id: String::new(), retry: None })
    }

    /// Dials a gateway that may not be there.
    pub(crate) async fn try_dial(http: &reqwest::Client, address: SocketAddr, dial: Dial) -> Option<Self> {
        let response = Self::get(http, address, dial).await.ok().filter(|response| response.status() == 200)?;
        Some(Self { response, buffer: String::new(), last_event_id: String::new(), retry: None })
    }

    async fn get(http: &reqwest::Client, address: SocketAddr, dial: Dial) -> reqwest::Result<reqwest::Response> {
        let mut request = http.get(format!("http://{address}/v1/sse{}", dial.query));
        if let Some(token) = &dial.token {
            request = request.bearer_auth(token);
        }
        for (name, value) in dial.headers {
            request = request.header(name, value);
        }
        request.send().await
    }

    /// Dials and takes `$hello`.
    pub(crate) async fn open(relay: &Relay, dial: Dial) -> (Self, Value) {
        let mut stream = Self::dial(relay, dial).await.unwrap();
        let hello = stream.event().await;
        assert_eq!(hello.name, "$hello", "{hello:?}");
        (stream, hello.data)
    }

    pub(crate) async fn event(&mut self) -> SseEvent {
        self.next().await.expect("the stream goes on")
    }

    /// The next event, or none if the stream ended.
    pub(crate) async fn next(&mut self) -> Option<SseEvent> {
        loop {
            while let Some(end) = self.buffer.find("\n\n") {
                let block: String = self.buffer.drain(..end + 2).collect();
                if let Some(event) = self.dispatch(&block) {
                    return Some(event);
                }
            }
            let chunk = timeout(PATIENCE, self.response.chunk()).await.expect("bytes in time").ok().flatten()?;
            self.buffer += std::str::from_utf8(&chunk).unwrap();
        }
    }

    fn dispatch(&mut self, block: &str) -> Option<SseEvent> {
        let (mut name, mut data) = ("message".to_owned(), String::new());
        for line in block.lines() {
            match line.split_once(": ") {
                Some(("id", id)) => id.clone_into(&mut self.last_event_id),
                Some(("event", event)) => event.clone_into(&mut name),
                Some(("data", text)) => data += text,
                Some(("retry", ms)) => self.retry = Some(ms.parse().unwrap()),
                Some(("", _)) | None => {}
                Some(other) => panic!("a field that SSE does not have: {other:?}"),
            }
        }
        (!data.is_empty()).then(|| SseEvent { name, data: serde_json::from_str(&data).unwrap() })
    }

    /// The next `count` events, by their points.
    pub(crate) async fn points(&mut self, count: usize) -> Vec<u64> {
        let mut points = Vec::new();
        while points.len() < count {
            points.extend(self.event().await.data["points"].as_u64());
        }
        points
    }
}
