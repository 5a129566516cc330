//! The settings of `server.tls`: the certificate that the public listener shows, and its key.
//!
//! Both files are read here and held against each other, so what leaves this module can be served, and a reload with a pair that cannot be
//! served fails before anything is changed. No message holds anything of the key's file.

use std::{
    fmt,
    fs::File,
    io::Read as _,
    path::PathBuf,
    sync::Arc,
    time::{Duration, SystemTime},
};

use serde::Serialize;
use tokio_rustls::rustls::{
    CertificateError, Error, InconsistentKeys, RootCertStore,
    client::verify_server_cert_signed_by_trust_anchor,
    crypto::aws_lc_rs,
    pki_types::{
        CertificateDer, PrivateKeyDer, UnixTime,
        pem::{self, PemObject as _},
    },
    server::ParsedCertificate,
    sign::{CertifiedKey, SigningKey},
};

use super::{
    mistake::Wrong,
    reader::{Reported, Section},
    tree::Node,
    values,
};
use crate::event::Timestamp;

/// The largest file of certificates, or of a key, in bytes.
const FILE_BYTES_MAX: u64 = 65_536;

/// What the public listener shows who it is with.
#[derive(Clone, Serialize)]
pub struct Tls {
    /// PEM file with the server's certificate, and behind it those that lead to an authority that clients know.
    pub cert: PathBuf,
    /// PEM file with the key of the first of them.
    pub key: PathBuf,
    #[serde(skip)]
    pair: Arc<CertifiedKey>,
}

impl Tls {
    /// The certificates and the key as they stood in the files when those were read.
    pub fn pair(&self) -> Arc<CertifiedKey> {
        Arc::clone(&self.pair)
    }

    /// What clients will hold against the dates of the server's own certificate at `now`; nothing if they are right.
    pub fn out_of_date(&self, now: Timestamp) -> Option<String> {
        let certificate = ParsedCertificate::try_from(self.pair.cert.first()?).ok()?;
        let now = UnixTime::since_unix_epoch(Duration::from_millis(now.0));
        let algorithms = aws_lc_rs::default_provider().signature_verification_algorithms.all;
        // The dates come first, before an authority is looked for; here is none, so that nothing else is judged.
        let verified = verify_server_cert_signed_by_trust_anchor(&certificate, &RootCertStore::empty(), &[], now, algorithms);
        match verified {
            Err(Error::InvalidCertificate(CertificateError::ExpiredContext { not_after, .. })) => {
                Some(format!("the certificate ended at {}", moment(not_after)))
            }
            Err(Error::InvalidCertificate(CertificateError::NotValidYetContext { not_before, .. })) => {
                Some(format!("the certificate begins at {}", moment(not_before)))
            }
            _ => None,
        }
    }
}

fn moment(time: UnixTime) -> String {
    let time = SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(time.as_secs()));
    time.map_or_else(|| "the end of time".to_owned(), |time| humantime::format_rfc3339_seconds(time).to_string())
}

/// Whatever the library shows of a key, it is not shown here.
impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls").field("cert", &self.cert).field("key", &self.key).finish_non_exhaustive()
    }
}

/// Reads `server.tls`, if it is there.
pub(super) fn tls(server: &Section<'_>) -> Result<Option<Tls>, Reported> {
    let form = |node: &Node| {
        let remedy = "write tls = { cert = \"fullchain.pem\", key = \"privkey.pem\" }";
        Wrong::new(format!("a table belongs here, not {}", node.kind()), remedy)
    };
    let Some(tls) = server.table("tls", form)? else { return Ok(None) };
    let chain = tls.required("cert", "cert = \"fullchain.pem\", the file with the certificate of the key", certificates);
    let key = tls.required("key", "key = \"privkey.pem\", the file with the key of the certificate", private_key);
    let ((cert, chain), (key, signing)) = (chain?, key?);
    let pair = CertifiedKey::new(chain, signing);
    match pair.keys_match() {
        // What cannot be told is no mistake that could be named.
        Ok(()) | Err(Error::InconsistentKeys(InconsistentKeys::Unknown)) => {
            Ok(Some(Tls { cert: cert.into(), key: key.into(), pair: Arc::new(pair) }))
        }
        Err(Error::InconsistentKeys(_)) => {
            let problem = format!("the key in {key:?} does not belong to the first certificate in {cert:?}");
            let remedy = "name the key that the certificate was made for; of a chain, the server's own certificate comes first";
            Err(tls.wrong("key", Wrong::new(problem, remedy)))
        }
        Err(_) => {
            let problem = format!("the first certificate in {cert:?} is broken");
            Err(tls.wrong("cert", Wrong::new(problem, "name a file with X.509 certificates (version 3) as they were issued")))
        }
    }
}

/// The chain in the file that `node` names.
fn certificates(node: &Node) -> Result<(String, Vec<CertificateDer<'static>>), Wrong> {
    let path = values::name(node)?;
    let remedy = "name a PEM file with BEGIN CERTIFICATE: the server's own first, then those that lead to an authority";
    let bytes = read(&path, remedy)?;
    let chain: Result<Vec<_>, pem::Error> = CertificateDer::pem_slice_iter(&bytes).collect();
    match chain {
        Ok(chain) if chain.is_empty() => Err(Wrong::new(format!("the file {path:?} has no certificate in it"), remedy)),
        Ok(chain) => Ok((path, chain)),
        // Not told in the library's words, which repeat lines: the two files may have been mistaken for each other.
        Err(_) => Err(Wrong::new(format!("the file {path:?} is not PEM that can be read"), remedy)),
    }
}

/// The key in the file that `node` names.
fn private_key(node: &Node) -> Result<(String, Arc<dyn SigningKey>), Wrong> {
    let path = values::name(node)?;
    let remedy = "name a PEM file with BEGIN PRIVATE KEY (or RSA PRIVATE KEY, EC PRIVATE KEY)";
    let bytes = read(&path, remedy)?;
    let wrong = |why: &str, remedy: &str| Err(Wrong::new(format!("the file {path:?} {why}"), remedy));
    let key = match PrivateKeyDer::from_pem_slice(&bytes) {
        Ok(key) => key,
        Err(_) if String::from_utf8_lossy(&bytes).contains("ENCRYPTED") => {
            let remedy =
                "take the passphrase off (openssl pkey -in encrypted.pem -out privkey.pem), and let only the gateway read it";
            return wrong("has a key that is encrypted with a passphrase, which nobody could give at a start", remedy);
        }
        Err(pem::Error::NoItemsFound) => return wrong("has no private key in it", remedy),
        Err(_) => return wrong("is not PEM that can be read", remedy),
    };
    match aws_lc_rs::default_provider().key_provider.load_private_key(key) {
        Ok(key) => Ok((path, key)),
        Err(_) => wrong(
            "has a key that TLS cannot use",
            "use RSA with at least 2,048 bits, ECDSA on P-256, P-384 or P-521, or Ed25519, with a certificate for it",
        ),
    }
}

fn read(path: &str, remedy: &str) -> Result<Vec<u8>, Wrong> {
    let wrong = |why: String| {
        let remedy =
            format!("{remedy}; readable for the gateway, and if the path is relative, from where the gateway is started");
        Wrong::new(format!("the file {path:?} {why}"), remedy)
    };
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(|e| wrong(format!("cannot be opened: {e}")))?;
    file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(|e| wrong(format!("cannot be read: {e}")))?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(wrong(format!("is longer than {FILE_BYTES_MAX} bytes")));
    }
    Ok(bytes)
}
