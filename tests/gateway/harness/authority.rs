//! An authority that clients trust, and the certificates that it signs.

use std::{
    fs, io,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tokio::net::TcpStream;
use tokio_rustls::{
    TlsConnector,
    client::TlsStream,
    rustls::{
        ClientConfig, RootCertStore, SupportedProtocolVersion,
        crypto::aws_lc_rs,
        pki_types::{CertificateDer, ServerName},
    },
};

/// Signs certificates for this machine.
pub(crate) struct Authority(CertifiedIssuer<'static, KeyPair>);

/// A certificate and its key, in files.
pub(crate) struct Pair {
    pub(crate) cert: PathBuf,
    pub(crate) key: PathBuf,
    pub(crate) der: CertificateDer<'static>,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    /// Writes its own certificate, for `--ca`.
    pub(crate) fn write(&self, folder: &Path) -> PathBuf {
        let file = folder.join("ca.pem");
        fs::write(&file, self.0.pem()).unwrap();
        file
    }

    /// Writes a new certificate of `localhost` and 127.0.0.1 to `relay.pem` and its key to `relay.key.pem`, over what is there.
    pub(crate) fn issue(&self, folder: &Path) -> Pair {
        self.issue_as(folder, |_| {})
    }

    /// The same with something else about it.
    pub(crate) fn issue_as(&self, folder: &Path, change: impl FnOnce(&mut CertificateParams)) -> Pair {
        let names = ["localhost", "127.0.0.1"].map(str::to_owned);
        let mut params = CertificateParams::new(names).unwrap();
        change(&mut params);
        let own = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&own, &self.0).unwrap();
        let (cert, key) = (folder.join("relay.pem"), folder.join("relay.key.pem"));
        fs::write(&cert, certificate.pem()).unwrap();
        fs::write(&key, own.serialize_pem()).unwrap();
        Pair { cert, key, der: certificate.der().clone() }
    }

    /// A client that trusts this authority alone.
    pub(crate) fn client(&self, versions: &[&'static SupportedProtocolVersion], protocols: &[&str]) -> TlsConnector {
        let mut roots = RootCertStore::empty();
        roots.add(self.0.der().clone()).unwrap();
        let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()));
        let config = config.with_protocol_versions(versions).unwrap().with_root_certificates(roots);
        let mut config = config.with_no_client_auth();
        config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
        TlsConnector::from(Arc::new(config))
    }
}

impl Pair {
    /// The setting that names its files.
    pub(crate) fn setting(&self) -> String {
        format!("server.tls = {{ cert = {:?}, key = {:?} }}\n", self.cert.display().to_string(), self.key.display().to_string())
    }
}

/// Connects, and shakes hands.
pub(crate) async fn secured(client: &TlsConnector, address: SocketAddr) -> io::Result<TlsStream<TcpStream>> {
    let stream = TcpStream::connect(address).await.unwrap();
    stream.set_nodelay(true).unwrap();
    client.connect(ServerName::try_from("localhost").unwrap(), stream).await
}
