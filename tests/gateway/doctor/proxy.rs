//! A proxy with one fault: it reads the head of a connection's first request, the head of the answer, and passes bytes on; or does not.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, copy, split},
    net::{TcpListener, TcpStream},
    task::JoinSet,
    time::timeout,
};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        ServerConfig,
        crypto::aws_lc_rs,
        pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
    },
};
use tokio_util::task::AbortOnDropHandle;

/// What a proxy does wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// Nothing; but it speaks TLS.
    Tls,
    /// Keeps the body of a stream until it ends.
    HoldBody,
    /// Keeps all of a stream until it ends.
    HoldAll,
    /// Says that streams are compressed.
    Compress,
    /// Speaks HTTP/1.1 for itself alone.
    NoUpgrade,
    NoSubprotocolIn,
    NoSubprotocolOut,
    EchoToken,
    NoAuthorization,
    /// Adds its own answer for every page.
    OwnCors,
    NoOrigin,
    /// Its clock is an hour and more behind.
    OldDate,
    BadGateway,
    Redirect,
    /// Wants a password of its own.
    Login,
    /// Ends connections that are silent for a moment.
    CutIdle,
}

/// A running proxy. Dropping it ends it.
pub(super) struct Proxy {
    address: SocketAddr,
    fault: Fault,
    _running: AbortOnDropHandle<()>,
}

impl Proxy {
    pub(super) async fn start(upstream: SocketAddr, fault: Fault) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let tls = (fault == Fault::Tls).then(acceptor);
        #[expect(clippy::disallowed_methods, reason = "the proxy itself is the task")]
        let running = AbortOnDropHandle::new(tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                let tls = tls.clone();
                connections.spawn(async move {
                    match tls {
                        None => drop(pass(client, upstream, fault).await),
                        Some(tls) => {
                            if let Ok(client) = tls.accept(client).await {
                                drop(pass(client, upstream, fault).await);
                            }
                        }
                    }
                });
            }
        }));
        Self { address, fault, _running: running }
    }

    pub(super) fn url(&self) -> String {
        let scheme = if self.fault == Fault::Tls { "https" } else { "http" };
        format!("{scheme}://{}", self.address)
    }
}

fn acceptor() -> TlsAcceptor {
    let file = |name: &str| format!("{}/tests/fixtures/proxy-tls/{name}", env!("CARGO_MANIFEST_DIR"));
    let certificate = CertificateDer::from_pem_file(file("localhost.pem")).unwrap();
    let key = PrivateKeyDer::from_pem_file(file("localhost.key.pem")).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()));
    let config = config.with_safe_default_protocol_versions().unwrap().with_no_client_auth();
    TlsAcceptor::from(Arc::new(config.with_single_cert(vec![certificate], key).unwrap()))
}

/// The life of a connection. An error is an end like any other.
async fn pass(client: impl AsyncRead + AsyncWrite + Unpin, upstream: SocketAddr, fault: Fault) -> std::io::Result<()> {
    let (mut from_client, mut to_client) = split(client);
    let (request, rest) = head(&mut from_client).await?;
    let own = match fault {
        Fault::BadGateway => "HTTP/1.1 502 Bad Gateway\r\ncontent-length: 4\r\n\r\noops",
        Fault::Redirect => "HTTP/1.1 301 Moved Permanently\r\nlocation: https://elsewhere.example/\r\ncontent-length: 0\r\n\r\n",
        Fault::Login => "HTTP/1.1 401 Unauthorized\r\nwww-authenticate: Basic\r\ncontent-length: 5\r\n\r\nlogin",
        _ => "",
    };
    if !own.is_empty() {
        return to_client.write_all(own.as_bytes()).await;
    }
    let (mut from_upstream, mut to_upstream) = TcpStream::connect(upstream).await?.into_split();
    to_upstream.write_all(inbound(fault, &request).as_bytes()).await?;
    to_upstream.write_all(&rest).await?;
    let upward = async { drop(copy(&mut from_client, &mut to_upstream).await) };
    let downward = async {
        let (answer, rest) = head(&mut from_upstream).await?;
        let is_stream = answer.contains("text/event-stream");
        let mut held = outbound(fault, &request, &answer).into_bytes();
        if !is_stream || fault != Fault::HoldAll {
            to_client.write_all(&std::mem::take(&mut held)).await?;
        }
        held.extend_from_slice(&rest);
        if is_stream && matches!(fault, Fault::HoldAll | Fault::HoldBody) {
            from_upstream.read_to_end(&mut held).await?;
        }
        to_client.write_all(&held).await?;
        if fault != Fault::CutIdle {
            return copy(&mut from_upstream, &mut to_client).await.map(drop);
        }
        let mut bytes = [0; 1_024];
        while let Ok(n) = timeout(Duration::from_millis(300), from_upstream.read(&mut bytes)).await {
            to_client.write_all(&bytes[..n?]).await?;
        }
        Ok(())
    };
    tokio::select! {
        () = upward => Ok(()),
        ended = downward => ended,
    }
}

/// A head up to and with its empty line, and the bytes after it.
async fn head(from: &mut (impl AsyncRead + Unpin)) -> std::io::Result<(String, Vec<u8>)> {
    let mut bytes = Vec::new();
    loop {
        if let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            let rest = bytes.split_off(end + 4);
            return Ok((String::from_utf8_lossy(&bytes).into_owned(), rest));
        }
        if from.read_buf(&mut bytes).await? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
    }
}

fn inbound(fault: Fault, head: &str) -> String {
    match fault {
        Fault::NoUpgrade => without(&without(head, "upgrade"), "connection"),
        Fault::NoSubprotocolIn => without(head, "sec-websocket-protocol"),
        Fault::NoAuthorization => without(head, "authorization"),
        Fault::NoOrigin => without(head, "origin"),
        _ => head.to_owned(),
    }
}

fn outbound(fault: Fault, request: &str, head: &str) -> String {
    match fault {
        Fault::NoSubprotocolOut => without(head, "sec-websocket-protocol"),
        Fault::EchoToken if head.starts_with("HTTP/1.1 101") => {
            let offered = request.lines().find(|line| is(line, "sec-websocket-protocol")).unwrap_or("");
            with(&without(head, "sec-websocket-protocol"), offered)
        }
        Fault::OwnCors => with(head, "access-control-allow-origin: *"),
        Fault::Compress if head.contains("text/event-stream") => with(head, "content-encoding: gzip"),
        Fault::OldDate => with(&without(head, "date"), "date: Tue, 15 Nov 1994 08:12:31 GMT"),
        _ => head.to_owned(),
    }
}

fn is(line: &str, name: &str) -> bool {
    line.split(':').next().is_some_and(|before| before.eq_ignore_ascii_case(name))
}

fn without(head: &str, name: &str) -> String {
    head.split_inclusive("\r\n").filter(|line| !is(line, name)).collect()
}

fn with(head: &str, line: &str) -> String {
    format!("{}\r\n{line}\r\n\r\n", head.trim_end())
}
