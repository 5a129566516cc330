//! TLS in front of everything else: the certificate in force, and the handshake.
//!
//! A handshake is a part of the wait for a connection's first request: it happens in the connection's own task, in its turn among those that
//! wait, and within their time. What comes after it is the same code as without TLS.

#[cfg(test)]
mod tests;

use std::{io, net::SocketAddr, sync::Arc};

use tokio::{
    io::AsyncWriteExt as _,
    net::TcpStream,
    select,
    time::{Instant, sleep_until},
};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        self, ServerConfig,
        crypto::aws_lc_rs,
        server::NoServerSessionStorage,
        sign::{CertifiedKey, SingleCertAndKey},
    },
};

use super::{
    intake::{Intake, Upgraded},
    socket::{Common, Socket},
    stream::{Metered, Stream},
};
use crate::{config, swap::Swap};

/// How a listener speaks TLS, until a reload says otherwise.
pub struct Tls(Swap<ServerConfig>);

/// Another certificate, ready to be put in force.
pub struct NextTls(ServerConfig);

impl NextTls {
    /// Makes everything ready that could fail, which is drawing a key for tickets.
    pub fn new(settings: &config::Tls) -> Result<Self, rustls::Error> {
        server_config(settings.pair()).map(Self)
    }
}

impl Tls {
    /// Begins with this certificate.
    pub fn new(NextTls(config): NextTls) -> Self {
        Self(Swap::new(config))
    }

    /// Puts another certificate in force for the handshakes that begin from now on. Tickets of before are good for nothing any more.
    pub fn replace(&self, NextTls(config): NextTls) {
        self.0.set(config);
    }
}

/// TLS 1.3 and 1.2; whatever name a client asks for, it is shown the same certificate.
fn server_config(pair: Arc<CertifiedKey>) -> Result<ServerConfig, rustls::Error> {
    let mut config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(SingleCertAndKey::from(pair)));
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    // Who comes back shows a ticket, and is spared the signature; nothing has to be remembered for it. A page opens one connection.
    config.ticketer = aws_lc_rs::Ticketer::new()?;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 1;
    Ok(config)
}

/// Who was met at the port.
enum Met {
    Secured(Stream),
    /// It said this much in the clear.
    PlainHttp(TcpStream),
}

/// The handshake of a connection that came at `since`; nothing if the connection is over.
pub(super) async fn shake_hands(
    stream: TcpStream,
    peer: SocketAddr,
    tls: &Tls,
    common: &Arc<Common>,
    since: Instant,
) -> Option<Stream> {
    let met = select! {
        met = meet(stream, tls) => met,
        () = sleep_until(since + common.limits.read_timeout) => return None,
        () = common.shutdown.closing() => return None,
    };
    match met {
        Ok(Met::Secured(stream)) => Some(stream),
        Ok(Met::PlainHttp(stream)) => {
            let mut socket = Socket::new(Stream::Plain(stream), Arc::clone(common), Intake::new(Upgraded::default()));
            // Whoever has gone meanwhile need not be told.
            let _ = socket.write_all(wants_tls().as_bytes()).await;
            None
        }
        Err(error) => {
            tracing::debug!(%peer, %error, "no TLS was agreed on");
            None
        }
    }
}

async fn meet(stream: TcpStream, tls: &Tls) -> io::Result<Met> {
    /// Of what is written and not taken by the kernel yet; more waits where it came from.
    const BUFFER_BYTES_MAX: usize = 16 * 1_024;
    let mut first = [0];
    let seen = stream.peek(&mut first).await?;
    // A record of TLS begins with 22, a request with its method.
    if first[..seen].iter().any(u8::is_ascii_uppercase) {
        return Ok(Met::PlainHttp(stream));
    }
    let acceptor = TlsAcceptor::from(tls.0.get());
    let stream = acceptor.accept_with(Metered::new(stream), |session| session.set_buffer_limit(Some(BUFFER_BYTES_MAX))).await?;
    Ok(Met::Secured(Stream::Secured(Box::new(stream))))
}

/// What a request in the clear is answered, in the form of all errors.
fn wants_tls() -> String {
    let body = r#"{"error":{"code":"tls_required","message":"this port speaks TLS; use https:// or wss://"}}"#;
    let head = "HTTP/1.1 400 Bad Request\r\ncontent-type: application/json\r\nconnection: close\r\ncontent-length";
    format!("{head}: {}\r\n\r\n{body}", body.len())
}
