//! Over TLS, only from who can show a certificate that is trusted. (What an answer may be is told from outside, in `tests/gateway/keys`.)

use std::net::SocketAddr;

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        ServerConfig,
        pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
    },
};

use super::*;

macro_rules! fixture {
    ($name:literal) => {
        include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/tls/", $name))
    };
}

fn certificate() -> CertificateDer<'static> {
    CertificateDer::from_pem_slice(fixture!("localhost.pem")).unwrap()
}

/// Answers one request over TLS with an empty set.
async fn issuer(listener: TcpListener) {
    let key = PrivateKeyDer::from_pem_slice(fixture!("localhost.key.pem")).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate()], key)
        .unwrap();
    let (stream, _) = listener.accept().await.unwrap();
    let Ok(mut stream) = TlsAcceptor::from(Arc::new(config)).accept(stream).await else { return };
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    let head = String::from_utf8(head).unwrap();
    assert!(head.starts_with("GET /keys?x=1 HTTP/1.1\r\nhost: localhost:"), "{head}");
    stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 11\r\n\r\n{\"keys\":[]}").await.unwrap();
    let _ = stream.shutdown().await;
}

async fn fetched(host: &str, trusted: bool) -> Result<Bytes, Trouble> {
    let listener = TcpListener::bind(SocketAddr::from(([0, 0, 0, 0], 0))).await.unwrap();
    let url = format!("https://{host}:{}/keys?x=1", listener.local_addr().unwrap().port());
    let mut fetcher = Fetcher::new(&url).unwrap();
    if trusted {
        let mut roots = RootCertStore::empty();
        roots.add(certificate()).unwrap();
        fetcher.tls = Some(connector(roots).unwrap());
    }
    tokio::join!(fetcher.get(), issuer(listener)).0
}

#[tokio::test]
async fn only_who_shows_a_trusted_certificate_of_the_name_is_heard() {
    assert_eq!(fetched("localhost", true).await.unwrap(), "{\"keys\":[]}");
    for (host, trusted, why) in [("localhost", false, "UnknownIssuer"), ("127.0.0.2", true, "not valid for")] {
        let trouble = fetched(host, trusted).await.unwrap_err().to_string();
        assert!(trouble.starts_with(&format!("no TLS with {host}: ")) && trouble.contains(why), "{trouble}");
    }
}
