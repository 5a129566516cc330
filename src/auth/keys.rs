//! The keys that tokens may be signed with: parsed once, each pinned to one algorithm, and none of them weak.
//!
//! Which key a token may use: a token with a `kid` only the key of that very `kid`; a token without one only keys without one, of
//! which there may be several while they are rotated. So nobody who holds one key can pass for the holder of another. A signer
//! whose library always sets a `kid` needs that `kid` in the configuration, even if there is only one key; the log says so.
//!
//! Where a key of the configuration and one of a fetched set have the same `kid`, the configuration's is the key of that `kid`; of two
//! sets, the first one's is.

use std::{collections::HashSet, sync::Arc};

use aws_lc_rs::{encoding::AsDer, hmac, rsa::PublicEncryptingKey, signature as sig};
use jsonwebtoken::{Algorithm, AlgorithmFamily};
use secrecy::{ExposeSecret, SecretString};

use super::{Rejection, jwks::KeySet};
use crate::{
    config::{self, JwtKey, KeyMaterial},
    event::Timestamp,
};

/// The shortest HMAC secret in bytes: the strength of SHA-256.
pub(super) const SECRET_BYTES_MIN: usize = 32;
/// The longest `kid` in bytes.
pub(super) const KID_BYTES_MAX: usize = 256;

/// Why the gateway does not start with a key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{setting}: {problem}")]
pub struct KeyProblem {
    /// Where the key stands, such as `auth.keys[1]`.
    pub setting: String,
    /// What is wrong with it, and what to do. Never shows the key.
    pub problem: String,
}

/// Every key, ready to check signatures with.
pub(super) struct KeyRing {
    own: Vec<Key>,
    sets: Vec<Arc<KeySet>>,
}

/// One key.
pub(super) struct Key {
    pub(super) alg: Algorithm,
    pub(super) kid: Option<String>,
    pub(super) not_after: Option<Timestamp>,
    pub(super) check: Check,
}

/// How a signature of a key is checked.
pub(super) enum Check {
    /// Boxed, because it holds its hash states, more than a kilobyte.
    Hmac(Box<hmac::Key>),
    /// A public key.
    Public(sig::ParsedPublicKey),
}

/// How near the keys of one place came to a token; the later, the nearer.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Miss {
    NotHere,
    OtherAlgorithm,
    Ended,
    WrongSignature,
}

impl KeyRing {
    /// Parses every key, and reports what is wrong with any of them, and with the ticket secret, at once. `sets` stand behind them.
    pub(super) fn new(auth: &config::Auth, sets: Vec<Arc<KeySet>>) -> Result<Self, Vec<KeyProblem>> {
        let mut problems = Vec::new();
        let mut report = |setting: &str, problem: String| problems.push(KeyProblem { setting: setting.to_owned(), problem });
        if auth.keys.is_empty() && auth.jwks.is_empty() {
            report(
                "auth.keys",
                "no key is configured, so no token could be accepted; add one with `alg` and `secret`".to_owned(),
            );
        }
        let mut kids = HashSet::new();
        let mut own = Vec::with_capacity(auth.keys.len());
        for key in &auth.keys {
            if let Some(kid) = &key.kid {
                if kid.is_empty() || kid.len() > KID_BYTES_MAX {
                    report(&key.setting, format!("its kid must have 1 to {KID_BYTES_MAX} bytes; shorten it or leave it out"));
                } else if !kids.insert(kid) {
                    report(&key.setting, "an earlier key has the same kid; give each key its own".to_owned());
                }
            }
            match Check::new(key) {
                Ok(check) => own.push(Key { alg: key.alg, kid: key.kid.clone(), not_after: key.not_after, check }),
                Err(problem) => report(&key.setting, problem),
            }
        }
        if let Some(Err(problem)) = auth.ticket_secret.as_ref().map(strong) {
            report("auth.ticket_secret", problem);
        }
        if problems.is_empty() { Ok(Self { own, sets }) } else { Err(problems) }
    }

    /// The sets behind the configured keys.
    pub(super) fn sets(&self) -> &[Arc<KeySet>] {
        &self.sets
    }

    /// Whether the one key that `kid` names, or one of those without a `kid`, signed `message` with `alg`.
    pub(super) fn check(
        &self,
        (alg, kid): (Algorithm, Option<&str>),
        message: &[u8],
        signature: &[u8],
        now: Timestamp,
    ) -> Result<(), Rejection> {
        let try_all = |keys: &[Key]| check_with(keys, (alg, kid), message, signature, now);
        let mut nearest = match try_all(&self.own) {
            Ok(()) => return Ok(()),
            Err(miss) => miss,
        };
        for set in &self.sets {
            // Where the kid is known, it is decided.
            if kid.is_some() && nearest != Miss::NotHere {
                break;
            }
            match try_all(&set.keys()) {
                Ok(()) => return Ok(()),
                Err(miss) => nearest = nearest.max(miss),
            }
        }
        Err(match nearest {
            Miss::NotHere if kid.is_some() => Rejection::UnknownKey("no key in auth.keys has its kid"),
            Miss::NotHere => Rejection::UnknownKey("it has no kid, and every key in auth.keys has one"),
            Miss::OtherAlgorithm => Rejection::Invalid("alg is not the one of its key"),
            Miss::Ended => Rejection::Invalid("its key is past not_after"),
            Miss::WrongSignature => Rejection::Invalid("the signature is wrong"),
        })
    }
}

fn check_with(
    keys: &[Key],
    (alg, kid): (Algorithm, Option<&str>),
    message: &[u8],
    signature: &[u8],
    now: Timestamp,
) -> Result<(), Miss> {
    let mut nearest = Miss::NotHere;
    for key in keys.iter().filter(|key| key.kid.as_deref() == kid) {
        let miss = if key.alg != alg {
            Miss::OtherAlgorithm
        } else if key.not_after.is_some_and(|end| now > end) {
            Miss::Ended
        } else if key.check.passes(message, signature) {
            return Ok(());
        } else {
            Miss::WrongSignature
        };
        nearest = nearest.max(miss);
    }
    Err(nearest)
}

impl Check {
    fn new(key: &JwtKey) -> Result<Self, String> {
        let alg = key.alg;
        match (public_algorithm(alg), &key.material) {
            (None, KeyMaterial::Secret(secret)) => {
                strong(secret)?;
                Ok(Self::Hmac(Box::new(hmac::Key::new(hmac_algorithm(alg), secret.expose_secret().as_bytes()))))
            }
            (None, KeyMaterial::PublicPem(_)) => Err(format!(
                "{alg:?} is signed with a shared secret, but a public key is given; set `secret`, or the alg that the key is for"
            )),
            (Some(_), KeyMaterial::Secret(_)) => {
                Err(format!("{alg:?} is checked with a public key, but a secret is given; set `public_key`"))
            }
            (Some(public), KeyMaterial::PublicPem(pem)) => Ok(Self::Public(public_key(alg, public, pem)?)),
        }
    }

    /// In constant time where a secret is involved.
    fn passes(&self, message: &[u8], signature: &[u8]) -> bool {
        match self {
            Self::Hmac(key) => hmac::verify(key, message, signature).is_ok(),
            Self::Public(key) => key.verify_sig(message, signature).is_ok(),
        }
    }
}

fn strong(secret: &SecretString) -> Result<(), String> {
    let secret = secret.expose_secret();
    if secret.trim_start().starts_with("-----BEGIN") {
        // Whoever has a public key could sign with it.
        return Err(
            "its secret is a PEM file; set `public_key` and an asymmetric alg, or draw a secret: openssl rand -hex 32".to_owned()
        );
    }
    if secret.len() < SECRET_BYTES_MIN {
        let bytes = secret.len();
        return Err(format!(
            "its secret has {bytes} bytes, and at least {SECRET_BYTES_MIN} are needed; draw one: openssl rand -hex 32"
        ));
    }
    Ok(())
}

fn hmac_algorithm(alg: Algorithm) -> hmac::Algorithm {
    match alg {
        Algorithm::HS384 => hmac::HMAC_SHA384,
        Algorithm::HS512 => hmac::HMAC_SHA512,
        _ => hmac::HMAC_SHA256,
    }
}

/// How a public key checks signatures of `alg`; `None` for HMAC. RSA below 2,048 bits passes none of them.
pub(super) fn public_algorithm(alg: Algorithm) -> Option<&'static dyn sig::VerificationAlgorithm> {
    Some(match alg {
        Algorithm::RS256 => &sig::RSA_PKCS1_2048_8192_SHA256,
        Algorithm::RS384 => &sig::RSA_PKCS1_2048_8192_SHA384,
        Algorithm::RS512 => &sig::RSA_PKCS1_2048_8192_SHA512,
        Algorithm::PS256 => &sig::RSA_PSS_2048_8192_SHA256,
        Algorithm::PS384 => &sig::RSA_PSS_2048_8192_SHA384,
        Algorithm::PS512 => &sig::RSA_PSS_2048_8192_SHA512,
        Algorithm::ES256 => &sig::ECDSA_P256_SHA256_FIXED,
        Algorithm::ES384 => &sig::ECDSA_P384_SHA384_FIXED,
        Algorithm::EdDSA => &sig::ED25519,
        _ => return None,
    })
}

fn public_key(
    alg: Algorithm,
    public: &'static dyn sig::VerificationAlgorithm,
    text: &str,
) -> Result<sig::ParsedPublicKey, String> {
    let blocks = pem::parse_many(text).unwrap_or_default();
    let [block] = blocks.as_slice() else {
        return Err("it is not one PEM public key; make one: openssl pkey -in private.pem -pubout".to_owned());
    };
    match block.tag() {
        "PUBLIC KEY" => {}
        "RSA PUBLIC KEY" if alg.family() == AlgorithmFamily::Rsa => {}
        "CERTIFICATE" => {
            return Err(
                "it is a certificate; take the public key out: openssl x509 -in certificate.pem -pubkey -noout".to_owned()
            );
        }
        tag if tag.ends_with("PRIVATE KEY") => {
            return Err("it is a private key, which only the signer may have; give its public part: \
                        openssl pkey -in private.pem -pubout"
                .to_owned());
        }
        _ => return Err("it is PEM, but not a public key; make one: openssl pkey -in private.pem -pubout".to_owned()),
    }
    let der = block.contents();
    let wanted = kind_for(alg);
    match kind_of(der) {
        Some(kind) if kind == wanted => {}
        Some(kind) => return Err(format!("it is a key for {kind}, but {alg:?} wants {wanted}; change the alg or the key")),
        None => return Err(format!("it cannot be read as a key for {wanted}, which {alg:?} wants; change the alg or the key")),
    }
    if alg.family() == AlgorithmFamily::Rsa && !is_strong_rsa(der) {
        return Err("its RSA modulus is not within 2,048 and 8,192 bits; make a key: openssl genrsa 3072".to_owned());
    }
    sig::ParsedPublicKey::new(public, der).map_err(|_| format!("it cannot be read as a key for {wanted}; make a new one"))
}

fn kind_for(alg: Algorithm) -> &'static str {
    match alg {
        Algorithm::ES256 => "P-256",
        Algorithm::ES384 => "P-384",
        Algorithm::EdDSA => "Ed25519",
        _ => "RSA",
    }
}

/// The kind of key that `der` is, whatever it was meant for.
fn kind_of(der: &[u8]) -> Option<&'static str> {
    let kinds: [(&str, &'static dyn sig::VerificationAlgorithm); 5] = [
        ("RSA", &sig::RSA_PKCS1_2048_8192_SHA256),
        ("P-256", &sig::ECDSA_P256_SHA256_FIXED),
        ("P-384", &sig::ECDSA_P384_SHA384_FIXED),
        ("P-521", &sig::ECDSA_P521_SHA512_FIXED),
        ("Ed25519", &sig::ED25519),
    ];
    kinds.into_iter().find(|(_, algorithm)| sig::ParsedPublicKey::new(*algorithm, der).is_ok()).map(|(kind, _)| kind)
}

/// The key type of the encryption side is the one that checks its size when it is made.
pub(super) fn is_strong_rsa(der: &[u8]) -> bool {
    let x509 = sig::RsaSubjectPublicKey::from_der(der).ok().and_then(|key| key.as_der().ok());
    x509.is_some_and(|x509| PublicEncryptingKey::from_der(x509.as_ref()).is_ok())
}

#[cfg(test)]
mod tests;
