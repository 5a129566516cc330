//! HTTP/1.1 as the commands speak it: one connection to the host that was named, plain or TLS. Nothing is followed, nothing is stored, no
//! proxy of the environment is used: a command talks to whom it was told to, and shows what that one says.

use std::{io, path::Path, sync::Arc, time::Duration};

use anyhow::Context as _;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, Uri, header, response};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::{body::Incoming, client::conn::http1};
use hyper_util::rt::TokioIo;
use tokio::{net::TcpStream, task::JoinSet, time::timeout};
use tokio_rustls::{
    TlsConnector,
    client::TlsStream,
    rustls::{
        ClientConfig, RootCertStore,
        crypto::aws_lc_rs,
        pki_types::{CertificateDer, ServerName, pem::PemObject as _},
    },
};
use tokio_util::either::Either;

use super::Failure;

/// Bytes of an answer that are read; what the commands ask for is far smaller.
const ANSWER_BYTES_MAX: usize = 256 * 1_024;

/// Where to connect, and the path to begin with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Target {
    encrypted: bool,
    host: String,
    port: u16,
    /// Host and port as they were written.
    place: String,
    /// Begins with a slash.
    path: String,
}

impl Target {
    /// Reads `http://…` or `https://…`. `ws` and `wss` are the same two by another name.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let example = "write it in full, such as https://relay.example.com";
        let uri: Uri = text.parse().map_err(|error| format!("is not a URL ({error}); {example}"))?;
        let encrypted = match uri.scheme_str() {
            Some("https" | "wss") => true,
            Some("http" | "ws") => false,
            _ => return Err(format!("begins with neither https:// nor http://; {example}")),
        };
        let authority = uri.authority().map_or("", |authority| authority.as_str());
        if authority.contains('@') {
            return Err("has a user name in it, which is not sent; leave it out".to_owned());
        }
        if text.contains('#') {
            return Err("has a fragment (#…), which is never sent; leave it out".to_owned());
        }
        let host = uri.host().unwrap_or("").trim_matches(['[', ']']).to_owned();
        if host.is_empty() {
            return Err(format!("has no host; {example}"));
        }
        let port = uri.port_u16().unwrap_or(if encrypted { 443 } else { 80 });
        let path = uri.path_and_query().map_or("/", |path| path.as_str()).to_owned();
        Ok(Self { encrypted, host, port, place: authority.to_owned(), path })
    }

    /// Whether what is sent stays on this machine.
    pub(super) fn is_loopback(&self) -> bool {
        self.host == "localhost" || self.host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
    }

    /// Whether TLS is spoken.
    pub(super) fn is_encrypted(&self) -> bool {
        self.encrypted
    }

    /// Path and query as written.
    pub(super) fn path(&self) -> &str {
        &self.path
    }

    /// `path` below this target's own.
    pub(super) fn below(&self, path: &str) -> String {
        format!("{}{path}", self.path.trim_end_matches('/'))
    }

    /// The URL of a path on this host.
    pub(super) fn url(&self, path: &str) -> String {
        format!("{}://{}{path}", if self.encrypted { "https" } else { "http" }, self.place)
    }
}

/// Why there was no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum Trouble {
    /// Nobody listens there.
    #[error("nothing listens on {0}: connection refused")]
    Refused(String),
    /// The name or the way is wrong.
    #[error("{0} cannot be reached: {1}")]
    Unreachable(String, io::Error),
    /// TLS was not agreed on.
    #[error("no TLS with {0}: {1}")]
    Tls(String, io::Error),
    /// Nothing came in time.
    #[error("no answer from {0} within {1:?}")]
    Slow(String, Duration),
    /// It ended too early, or is not HTTP.
    #[error("the connection to {0} broke: {1}")]
    Broken(String, String),
}

impl Trouble {
    /// What to do about it.
    pub(super) fn remedy(&self) -> &'static str {
        match self {
            Self::Refused(_) => "start a gateway there (to try it: claimr-relay dev), or name another one with --url",
            Self::Unreachable(..) => "check the host name, and that a firewall lets this machine through",
            Self::Tls(..) => {
                "check the certificate's name, chain and dates; name a CA of your own with --ca; for a port without TLS write http://"
            }
            Self::Slow(..) => "check that the port is the right one, and what the proxy in front of it waits for",
            Self::Broken(..) => "check that this port speaks HTTP/1.1 (and https:// if it speaks TLS), and the proxy's log",
        }
    }
}

/// Bytes in both directions.
type Stream = Either<TcpStream, TlsStream<TcpStream>>;

/// What every connection of a command shares.
#[derive(Clone)]
pub(super) struct Client {
    tls: TlsConnector,
    /// For a connection to open, and for an answer to come.
    patience: Duration,
}

impl Client {
    /// A client that trusts Mozilla's roots, and the certificates in the PEM file `ca`.
    pub(super) fn new(ca: Option<&Path>, patience: Duration) -> Result<Self, Failure> {
        let mut roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
        if let Some(path) = ca {
            let usage = |problem: String| Failure::Usage(format!("--ca {}: {problem}", path.display()));
            let certificates = CertificateDer::pem_file_iter(path).map_err(|error| usage(error.to_string()))?;
            let before = roots.len();
            for certificate in certificates {
                let certificate = certificate.map_err(|error| usage(error.to_string()))?;
                roots.add(certificate).map_err(|error| usage(error.to_string()))?;
            }
            if roots.len() == before {
                return Err(usage("no certificate in it\n      -> name a PEM file with BEGIN CERTIFICATE".to_owned()));
            }
        }
        let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .context("TLS")?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Self { tls: TlsConnector::from(Arc::new(config)), patience })
    }

    /// Opens a connection.
    pub(super) async fn open(&self, target: &Target) -> Result<Connection, Trouble> {
        let opening = async {
            let stream = self.dial(target).await?;
            let broken = |error: hyper::Error| Trouble::Broken(target.place.clone(), error.to_string());
            let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
            let mut driver = JoinSet::new();
            driver.spawn(async move { drop(connection.with_upgrades().await) });
            let host = HeaderValue::from_str(&target.place).map_err(|e| Trouble::Broken(target.place.clone(), e.to_string()))?;
            Ok(Connection { sender, host, place: target.place.clone(), patience: self.patience, driver })
        };
        timeout(self.patience, opening).await.unwrap_or_else(|_| Err(Trouble::Slow(target.place.clone(), self.patience)))
    }

    /// One request on a connection of its own, and the whole answer.
    pub(super) async fn ask(&self, target: &Target, request: Request<Bytes>) -> Result<Answer, Trouble> {
        self.open(target).await?.ask(request).await
    }

    async fn dial(&self, target: &Target) -> Result<Stream, Trouble> {
        let place = || target.place.clone();
        let stream = TcpStream::connect((target.host.as_str(), target.port)).await.map_err(|error| match error.kind() {
            io::ErrorKind::ConnectionRefused => Trouble::Refused(place()),
            _ => Trouble::Unreachable(place(), error),
        })?;
        // A small request must not wait for the acknowledgement of the one before it.
        stream.set_nodelay(true).map_err(|error| Trouble::Unreachable(place(), error))?;
        if !target.encrypted {
            return Ok(Either::Left(stream));
        }
        let name = ServerName::try_from(target.host.clone()).map_err(|error| Trouble::Tls(place(), io::Error::other(error)))?;
        let stream = self.tls.connect(name, stream).await.map_err(|error| Trouble::Tls(place(), error))?;
        Ok(Either::Right(stream))
    }
}

/// An open connection, for one request after the other.
pub(super) struct Connection {
    sender: http1::SendRequest<Full<Bytes>>,
    host: HeaderValue,
    place: String,
    patience: Duration,
    /// Ends with the connection.
    driver: JoinSet<()>,
}

/// A whole answer.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

impl Connection {
    /// Whether the other side has ended it.
    pub(super) fn is_closed(&self) -> bool {
        self.sender.is_closed()
    }

    /// Sends a request whose URI is a path; gives the head of the answer. Host and User-Agent are added.
    pub(super) async fn send(&mut self, request: Request<Bytes>) -> Result<Response<Incoming>, Trouble> {
        let mut request = request.map(Full::new);
        request.headers_mut().insert(header::HOST, self.host.clone());
        let agent = HeaderValue::from_static(concat!("claimr-relay/", env!("CARGO_PKG_VERSION")));
        request.headers_mut().insert(header::USER_AGENT, agent);
        let sending = async {
            self.sender.ready().await?;
            self.sender.send_request(request).await
        };
        let answer = timeout(self.patience, sending).await.map_err(|_| Trouble::Slow(self.place.clone(), self.patience))?;
        answer.map_err(|error| Trouble::Broken(self.place.clone(), error.to_string()))
    }

    /// Sends a request; gives the whole answer.
    pub(super) async fn ask(&mut self, request: Request<Bytes>) -> Result<Answer, Trouble> {
        let (head, body) = self.send(request).await?.into_parts();
        self.rest(head, body).await
    }

    /// Lets the connection live until it ends by itself: what it was upgraded to is somebody else's now.
    pub(super) fn detach(mut self) {
        self.driver.detach_all();
    }

    /// The whole answer whose head came.
    pub(super) async fn rest(&self, head: response::Parts, body: Incoming) -> Result<Answer, Trouble> {
        let body = timeout(self.patience, Limited::new(body, ANSWER_BYTES_MAX).collect()).await;
        let body = body.map_err(|_| Trouble::Slow(self.place.clone(), self.patience))?;
        let body = body.map_err(|error| Trouble::Broken(self.place.clone(), error.to_string()))?;
        Ok(Answer { status: head.status, headers: head.headers, body: body.to_bytes() })
    }
}

impl Answer {
    /// The `code` of an error as a gateway writes it.
    pub(super) fn error_code(&self) -> Option<String> {
        let body: serde_json::Value = serde_json::from_slice(&self.body).ok()?;
        Some(body.pointer("/error/code")?.as_str()?.to_owned())
    }

    /// The beginning of the body, fit for a terminal.
    pub(super) fn excerpt(&self) -> String {
        const CHARS_MAX: usize = 300;
        let text = String::from_utf8_lossy(&self.body);
        let mut excerpt: String = text.trim().chars().take(CHARS_MAX).flat_map(char::escape_debug).collect();
        excerpt = excerpt.replace("\\\"", "\"").replace("\\'", "'");
        if excerpt.is_empty() { "(an empty body)".to_owned() } else { excerpt }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_says_where_to_connect() {
        let table = [
            ("http://127.0.0.1:8080", (false, "127.0.0.1", 8080, "/", true)),
            ("https://relay.example.com", (true, "relay.example.com", 443, "/", false)),
            ("wss://relay.example.com:8443/relay", (true, "relay.example.com", 8443, "/relay", false)),
            ("ws://[::1]:9/a?b=c", (false, "::1", 9, "/a?b=c", true)),
            ("http://localhost/", (false, "localhost", 80, "/", true)),
        ];
        for (text, expected) in table {
            let target = Target::parse(text).unwrap();
            let found = (target.encrypted, target.host.as_str(), target.port, target.path.as_str(), target.is_loopback());
            assert_eq!(found, expected, "{text}");
        }
        let base = Target::parse("https://a.example/relay/").unwrap();
        assert_eq!(base.url(&base.below("/v1/ws")), "https://a.example/relay/v1/ws");
    }

    #[test]
    fn what_is_no_url_is_refused_with_a_reason() {
        for (text, says) in [
            ("relay.example.com", "neither https:// nor http://"),
            ("ftp://a", "neither https:// nor http://"),
            ("https://", "not a URL"),
            ("https://user:pass@a", "user name"),
            ("https://a/#b", "fragment"),
            ("https://a b", "not a URL"),
            ("", "not a URL"),
        ] {
            let problem = Target::parse(text).unwrap_err();
            assert!(problem.contains(says), "{text}: {problem}");
        }
    }

    #[test]
    fn what_others_wrote_cannot_steer_a_terminal() {
        let body = Bytes::from("  {\"a\":\"\u{1b}[2Jé\"}\r\nnext");
        let answer = Answer { status: StatusCode::OK, headers: HeaderMap::new(), body };
        assert_eq!(answer.excerpt(), "{\"a\":\"\\u{1b}[2Jé\"}\\r\\nnext");
    }

    #[tokio::test]
    async fn who_never_answers_is_not_waited_for_for_ever() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let target = Target::parse(&format!("http://{}", listener.local_addr().unwrap())).unwrap();
        let client = Client::new(None, Duration::from_millis(50)).unwrap_or_else(|failure| panic!("{failure}"));
        let trouble = client.ask(&target, Request::new(Bytes::new())).await.unwrap_err();
        assert!(matches!(trouble, Trouble::Slow(..)), "{trouble}");
    }
}
