//! Papers for servers and gateways of the tests' own: authorities that sign certificates, and operators that sign logins.

use std::{
    fs,
    path::{Path, PathBuf},
};

use claimr_relay::config::NatsTls;
use data_encoding::BASE64URL_NOPAD;
use nkeys::KeyPair;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer};
use serde_json::{Value, json};
use tempfile::TempDir;

/// An authority with a folder of its own, where its certificate is `ca.pem`.
pub(super) struct Authority {
    pub(super) folder: TempDir,
    issuer: Issuer<'static, rcgen::KeyPair>,
}

impl Authority {
    pub(super) fn new(name: &str) -> Self {
        let folder = TempDir::new().unwrap();
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = rcgen::KeyPair::generate().unwrap();
        fs::write(folder.path().join("ca.pem"), params.self_signed(&key).unwrap().pem()).unwrap();
        Self { folder, issuer: Issuer::new(params, key) }
    }

    pub(super) fn ca(&self) -> PathBuf {
        self.folder.path().join("ca.pem")
    }

    /// A certificate for `name`, and its key, as files.
    pub(super) fn certify(&self, name: &str) -> (PathBuf, PathBuf) {
        let key = rcgen::KeyPair::generate().unwrap();
        let certificate = CertificateParams::new(vec![name.to_owned()]).unwrap().signed_by(&key, &self.issuer).unwrap();
        let [cert, path] = ["pem", "key.pem"].map(|ending| self.folder.path().join(format!("{name}.{ending}")));
        fs::write(&cert, certificate.pem()).unwrap();
        fs::write(&path, key.serialize_pem()).unwrap();
        (cert, path)
    }

    /// What makes a server speak TLS as `name`; `more` is added.
    pub(super) fn server(&self, name: &str, more: &str) -> String {
        let (cert, key) = self.certify(name);
        let [cert, key, ca] = [cert, key, self.ca()].map(|path| path.display().to_string());
        format!("tls {{ cert_file: \"{cert}\", key_file: \"{key}\", ca_file: \"{ca}\", timeout: 10, {more} }}\n")
    }

    /// What makes a gateway trust this authority.
    pub(super) fn trusted(&self) -> NatsTls {
        NatsTls { required: true, ca: Some(self.ca()), client: None }
    }
}

/// An operator of servers that take logins as JWTs, with one account.
pub(super) struct Operator {
    operator: KeyPair,
    account: KeyPair,
}

impl Operator {
    pub(super) fn new() -> Self {
        Self { operator: KeyPair::new_operator(), account: KeyPair::new_account() }
    }

    /// What makes a server trust this operator, and keep streams of its account.
    pub(super) fn server(&self) -> String {
        let system = KeyPair::new_account();
        let operator = jwt(&self.operator, &self.operator, &json!({"type": "operator", "version": 2}));
        let account = |key: &KeyPair, storage: i64| {
            let limits = json!({
                "subs": -1, "data": -1, "payload": -1, "imports": -1, "exports": -1, "wildcards": true, "conn": -1, "leaf": -1,
                "mem_storage": storage, "disk_storage": storage, "streams": storage, "consumer": storage,
            });
            jwt(&self.operator, key, &json!({"type": "account", "version": 2, "limits": limits}))
        };
        let accounts = [(&system, 0), (&self.account, -1)].map(|(key, storage)| {
            let (name, claims) = (key.public_key(), account(key, storage));
            format!("{name}: {claims}")
        });
        let (system, accounts) = (system.public_key(), accounts.join("\n"));
        format!("operator: {operator}\nsystem_account: {system}\nresolver: MEMORY\nresolver_preload {{\n{accounts}\n}}\n")
    }

    /// The text of a `.creds` file of a new user.
    pub(super) fn credentials(&self) -> String {
        let user = KeyPair::new_user();
        let claims = jwt(&self.account, &user, &json!({"type": "user", "version": 2, "subs": -1, "data": -1, "payload": -1}));
        let seed = user.seed().unwrap();
        format!(
            "-----BEGIN NATS USER JWT-----\n{claims}\n------END NATS USER JWT------\n\n\
             ************************* IMPORTANT *************************\nKeep it.\n\n\
             -----BEGIN USER NKEY SEED-----\n{seed}\n------END USER NKEY SEED------\n"
        )
    }
}

/// What `issuer` says of `subject`, in the form of NATS.
fn jwt(issuer: &KeyPair, subject: &KeyPair, nats: &Value) -> String {
    let part = |value: &Value| BASE64URL_NOPAD.encode(value.to_string().as_bytes());
    let head = part(&json!({"typ": "JWT", "alg": "ed25519-nkey"}));
    let body = json!({
        "jti": "tests", "iat": 1_700_000_000, "iss": issuer.public_key(), "sub": subject.public_key(), "name": "tests", "nats": nats,
    });
    let signed = format!("{head}.{}", part(&body));
    let signature = BASE64URL_NOPAD.encode(&issuer.sign(signed.as_bytes()).unwrap());
    format!("{signed}.{signature}")
}

/// A file with `text`.
pub(super) fn file(folder: &Path, name: &str, text: &str) -> PathBuf {
    let path = folder.join(name);
    fs::write(&path, text).unwrap();
    path
}
