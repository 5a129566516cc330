//! Who we are to the servers, and how they are known to us; and in words of the configuration what is wrong with that, before the start and when a
//! server refuses.
//!
//! The files of certificates are read anew for each connection, so that new ones need no restart; the login is what it was at the start.

use std::{error::Error, io, path::Path, sync::Arc};

use async_nats::{ConnectError, ConnectErrorKind, ConnectOptions};
use nkeys::{KeyPair, KeyPairType};
use secrecy::ExposeSecret as _;
use tokio_rustls::rustls::{
    self, CertificateError, ClientConfig, RootCertStore,
    crypto::aws_lc_rs,
    pki_types::{
        CertificateDer, PrivateKeyDer,
        pem::{self, PemObject as _},
    },
};

use super::OpenError;
use crate::config::{Login, Nats, NatsTls};

/// What is wrong with the login and the files of certificates: each by its key, never with what is in it.
pub(crate) fn problems(settings: &Nats) -> Vec<(&'static str, String)> {
    let login = match &settings.login {
        Login::Credentials(text) => credentials(ConnectOptions::new(), text.expose_secret()).err(),
        Login::Nkey(seed) => {
            let is_seed =
                KeyPair::from_seed(seed.expose_secret().trim()).is_ok_and(|key| key.key_pair_type() == KeyPairType::User);
            (!is_seed).then(|| ("store.nats.nkey", "not the seed of a user's nkey, which begins with SU".to_owned()))
        }
        Login::Anonymous | Login::Token(_) | Login::User { .. } => None,
    };
    login.into_iter().chain(authorities(&settings.tls).err()).chain(certificate(&settings.tls).err()).collect()
}

/// The options with the login and the certificates of `settings`.
pub(super) fn identify(options: ConnectOptions, settings: &Nats) -> Result<ConnectOptions, OpenError> {
    let refused = |(key, problem)| OpenError::Settings(format!("{key}: {problem}"));
    if let Some(problem) = problems(settings).into_iter().next() {
        return Err(refused(problem));
    }
    let mut options = match &settings.login {
        Login::Anonymous => options,
        Login::Credentials(text) => credentials(options, text.expose_secret()).map_err(refused)?,
        Login::Nkey(seed) => options.nkey(seed.expose_secret().trim().to_owned()),
        Login::Token(token) => options.token(token.expose_secret().to_owned()),
        Login::User { user, password } => options.user_and_password(user.clone(), password.expose_secret().to_owned()),
    };
    if let Some(ca) = &settings.tls.ca {
        options = options.add_root_certificates(ca.clone());
    }
    if let Some((certificate, key)) = &settings.tls.client {
        options = options.add_client_certificate(certificate.clone(), key.clone());
    }
    // Servers that others tell us of come without a scheme, and are not to be talked to more openly than the one that is written down.
    let is_written = settings.servers.iter().any(|server| server.starts_with("tls://"));
    Ok(options.require_tls(settings.tls.required || is_written))
}

type Problem = (&'static str, String);

fn credentials(options: ConnectOptions, text: &str) -> Result<ConnectOptions, Problem> {
    // The client wants the last line to be ended, and whoever reads a secret from a file takes that end away.
    let refused = |_: io::Error| {
        let problem = "not the text of a .creds file, which has a user's JWT and the seed of its key".to_owned();
        ("store.nats.credentials", problem)
    };
    options.credentials(&format!("{text}\n")).map_err(refused)
}

fn authorities(tls: &NatsTls) -> Result<(), Problem> {
    let Some(path) = &tls.ca else { return Ok(()) };
    let mut store = RootCertStore::empty();
    for certificate in certificates("store.nats.tls.ca", path)? {
        store
            .add(certificate)
            .map_err(|error| ("store.nats.tls.ca", format!("the file {} holds no authority: {error}", path.display())))?;
    }
    Ok(())
}

/// Whether our certificate and its key are there, and belong together.
fn certificate(tls: &NatsTls) -> Result<(), Problem> {
    let Some((certificate, path)) = &tls.client else { return Ok(()) };
    let chain = certificates("store.nats.tls.cert", certificate)?;
    let key =
        PrivateKeyDer::from_pem_file(path).map_err(|error| ("store.nats.tls.key", unreadable(path, "private key", &error)))?;
    let config =
        ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider())).with_safe_default_protocol_versions();
    let config = config.map(|config| config.with_root_certificates(RootCertStore::empty()).with_client_auth_cert(chain, key));
    match config.and_then(|config| config) {
        Ok(_) => Ok(()),
        Err(error) => Err((
            "store.nats.tls.key",
            format!("the file {} is not the key of the certificate in {}: {error}", path.display(), certificate.display()),
        )),
    }
}

fn certificates(key: &'static str, path: &Path) -> Result<Vec<CertificateDer<'static>>, Problem> {
    let read = CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let found = read.map_err(|error| (key, unreadable(path, "certificate", &error)))?;
    if found.is_empty() { Err((key, unreadable(path, "certificate", &pem::Error::NoItemsFound))) } else { Ok(found) }
}

fn unreadable(path: &Path, what: &str, error: &pem::Error) -> String {
    match error {
        pem::Error::Io(error) => format!("the file {} cannot be read: {error}", path.display()),
        _ => format!("the file {} holds no {what} in PEM", path.display()),
    }
}

/// Whether it may help to try again: nobody was reached, rather than somebody who refused us or whom we refused.
pub(super) fn may_pass(error: &ConnectError) -> bool {
    matches!(error.kind(), ConnectErrorKind::Io | ConnectErrorKind::TimedOut | ConnectErrorKind::Dns)
        && tls_error(error).is_none()
}

/// Why no connection was made, with the setting that would mend it. What the servers and the client say holds no secret.
pub(super) fn refusal(settings: &Nats, error: &ConnectError) -> String {
    let remedy = match error.kind() {
        ConnectErrorKind::AuthorizationViolation | ConnectErrorKind::Authentication => Some(login_remedy(&settings.login)),
        _ => tls_error(error).and_then(|error| tls_remedy(&settings.tls, error)),
    };
    remedy.map_or_else(|| error.to_string(), |remedy| format!("{error}; {remedy}"))
}

fn login_remedy(login: &Login) -> &'static str {
    match login {
        Login::Anonymous => "it wants a login: set store.nats.credentials, nkey, token, or user and password",
        Login::Credentials(_) => "it does not take store.nats.credentials",
        Login::Nkey(_) => "it does not take store.nats.nkey",
        Login::Token(_) => "it does not take store.nats.token",
        Login::User { .. } => "it does not take store.nats.user and store.nats.password",
    }
}

/// What TLS says, wherever it stands among the causes.
fn tls_error<'e>(error: &'e (dyn Error + 'static)) -> Option<&'e rustls::Error> {
    let inner = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
    let found = error.downcast_ref::<rustls::Error>().or_else(|| inner?.downcast_ref());
    found.or_else(|| tls_error(error.source()?))
}

fn tls_remedy(tls: &NatsTls, error: &rustls::Error) -> Option<&'static str> {
    Some(match error {
        rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer) if tls.ca.is_some() => {
            "its certificate is signed by nobody in store.nats.tls.ca"
        }
        rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer) => {
            "its certificate is signed by none of the system's authorities: set store.nats.tls.ca"
        }
        rustls::Error::InvalidCertificate(
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
        ) => "its certificate is for another name than the one in store.nats.url",
        rustls::Error::AlertReceived(_) if tls.client.is_none() => {
            "it may want a certificate of ours: set store.nats.tls.cert and store.nats.tls.key"
        }
        rustls::Error::AlertReceived(_) => "it does not take the certificate in store.nats.tls.cert",
        rustls::Error::InvalidMessage(_) => "it does not speak TLS, which store.nats.tls.required or a tls:// address wants",
        _ => return None,
    })
}
