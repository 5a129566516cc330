//! One GET of a key set: bounded in time and size, one connection, nothing followed.

use std::{future::pending, io, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{Request, StatusCode, Uri, header};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    select,
    time::timeout,
};
use tokio_rustls::{
    TlsConnector,
    rustls::{ClientConfig, RootCertStore, crypto::aws_lc_rs, pki_types::ServerName},
};

/// For everything: the name, the connection, TLS, the answer to its last byte.
const PATIENCE: Duration = Duration::from_secs(5);
/// Bytes of a set; 64 RSA keys of 8,192 bits are 90 KiB.
const BODY_BYTES_MAX: usize = 256 * 1_024;
/// Bytes of an answer's head.
const HEAD_BYTES_MAX: usize = 16 * 1_024;

/// Where a set is published, and how to get there.
pub(super) struct Fetcher {
    uri: Uri,
    /// Absent where the set comes from this machine without TLS.
    tls: Option<TlsConnector>,
}

/// Why there is no set; for the operator's log.
#[derive(Debug, thiserror::Error)]
pub(super) enum Trouble {
    #[error("{0} cannot be reached: {1}")]
    Unreachable(String, io::Error),
    #[error("no TLS with {0}: {1}")]
    Tls(String, io::Error),
    #[error("no whole answer within {} s", PATIENCE.as_secs())]
    Slow,
    #[error("the answer is {0}; name the URL that answers 200 itself, since nothing is followed")]
    Redirected(StatusCode),
    #[error("the answer is {0}, not 200")]
    Status(StatusCode),
    #[error("the answer is longer than {BODY_BYTES_MAX} bytes, or broke off: {0}")]
    Body(Box<dyn std::error::Error + Send + Sync>),
    #[error("the connection broke: {0}")]
    Broken(#[from] hyper::Error),
    #[error("the URL cannot be asked for: {0}")]
    Request(#[from] http::Error),
    #[error("TLS cannot be had: {0}")]
    NoTls(#[from] tokio_rustls::rustls::Error),
}

impl Fetcher {
    /// The configuration has checked the URL.
    pub(super) fn new(url: &str) -> Result<Self, Trouble> {
        let uri: Uri = url.parse().map_err(http::Error::from)?;
        let tls = match uri.scheme_str() {
            Some("http") => None,
            // Mozilla's roots.
            _ => Some(connector(RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() })?),
        };
        Ok(Self { uri, tls })
    }

    /// The set as published now.
    pub(super) async fn get(&self) -> Result<Bytes, Trouble> {
        timeout(PATIENCE, self.dial_and_ask()).await.unwrap_or(Err(Trouble::Slow))
    }

    async fn dial_and_ask(&self) -> Result<Bytes, Trouble> {
        let host = self.uri.host().unwrap_or("").trim_matches(['[', ']']);
        let port = self.uri.port_u16().unwrap_or(if self.tls.is_some() { 443 } else { 80 });
        let unreachable = |error| Trouble::Unreachable(format!("{host}:{port}"), error);
        let stream = TcpStream::connect((host, port)).await.map_err(unreachable)?;
        let Some(tls) = &self.tls else { return self.ask(stream).await };
        let failed = |error| Trouble::Tls(host.to_owned(), error);
        let name = ServerName::try_from(host.to_owned()).map_err(|error| failed(io::Error::other(error)))?;
        self.ask(tls.connect(name, stream).await.map_err(failed)?).await
    }

    async fn ask(&self, stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) -> Result<Bytes, Trouble> {
        let builder = http1::Builder::new().max_buf_size(HEAD_BYTES_MAX).to_owned();
        let (mut sender, connection) = builder.handshake(TokioIo::new(stream)).await?;
        let path = self.uri.path_and_query().map_or("/", |path| path.as_str());
        let request = Request::get(path)
            .header(header::HOST, self.uri.authority().map_or("", |authority| authority.as_str()))
            .header(header::ACCEPT, "application/jwk-set+json, application/json")
            .header(header::USER_AGENT, concat!("claimr-relay/", env!("CARGO_PKG_VERSION")))
            .header(header::CONNECTION, "close")
            .body(Empty::<Bytes>::new())?;
        let exchange = async {
            let response = sender.send_request(request).await?;
            match response.status() {
                StatusCode::OK => {}
                status if status.is_redirection() => return Err(Trouble::Redirected(status)),
                status => return Err(Trouble::Status(status)),
            }
            let body = Limited::new(response.into_body(), BODY_BYTES_MAX).collect().await.map_err(Trouble::Body)?;
            Ok(body.to_bytes())
        };
        // The connection moves the exchange on; that it ends first says nothing about what the exchange has received.
        let driven = async {
            drop(connection.await);
            pending().await
        };
        select! {
            result = exchange => result,
            never = driven => never,
        }
    }
}

fn connector(roots: RootCertStore) -> Result<TlsConnector, Trouble> {
    let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}

#[cfg(test)]
mod tests;
