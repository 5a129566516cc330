//! The keys that tokens may be signed with: parsed once, each pinned to one algorithm, and none of them weak.
//!
//! Which key a token may use: a token with a `kid` only the key of that very `kid`; a token without one only keys without one, of
//! which there may be several while they are rotated. So nobody who holds one key can pass for the holder of another. A signer
//! whose library always sets a `kid` needs that `kid` in the configuration, even if there is only one key; the log says so.

use std::collections::HashSet;

use aws_lc_rs::{encoding::AsDer, hmac, rsa::PublicEncryptingKey, signature as sig};
use jsonwebtoken::{Algorithm, AlgorithmFamily};
use secrecy::{ExposeSecret, SecretString};

use super::Rejection;
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
pub(super) struct KeyRing(Vec<Key>);

struct Key {
    alg: Algorithm,
    kid: Option<String>,
    not_after: Option<Timestamp>,
    check: Check,
}

enum Check {
    /// Boxed, because it holds its hash states, more than a kilobyte.
    Hmac(Box<hmac::Key>),
    Public(sig::ParsedPublicKey),
}

impl KeyRing {
    /// Parses every key, and reports what is wrong with any of them, and with the ticket secret, at once.
    pub(super) fn new(auth: &config::Auth) -> Result<Self, Vec<KeyProblem>> {
        let mut problems = Vec::new();
        let mut report = |setting: &str, problem: String| problems.push(KeyProblem { setting: setting.to_owned(), problem });
        if auth.keys.is_empty() {
            report(
                "auth.keys",
                "no key is configured, so no token could be accepted; add one with `alg` and `secret`".to_owned(),
            );
        }
        let mut kids = HashSet::new();
        let mut keys = Vec::with_capacity(auth.keys.len());
        for key in &auth.keys {
            if let Some(kid) = &key.kid {
                if kid.is_empty() || kid.len() > KID_BYTES_MAX {
                    report(&key.setting, format!("its kid must have 1 to {KID_BYTES_MAX} bytes; shorten it or leave it out"));
                } else if !kids.insert(kid) {
                    report(&key.setting, "an earlier key has the same kid; give each key its own".to_owned());
                }
            }
            match Check::new(key) {
                Ok(check) => keys.push(Key { alg: key.alg, kid: key.kid.clone(), not_after: key.not_after, check }),
                Err(problem) => report(&key.setting, problem),
            }
        }
        if let Some(Err(problem)) = auth.ticket_secret.as_ref().map(strong) {
            report("auth.ticket_secret", problem);
        }
        if problems.is_empty() { Ok(Self(keys)) } else { Err(problems) }
    }

    /// Whether the one key that `kid` names, or one of those without a `kid`, signed `message` with `alg`.
    pub(super) fn check(
        &self,
        (alg, kid): (Algorithm, Option<&str>),
        message: &[u8],
        signature: &[u8],
        now: Timestamp,
    ) -> Result<(), Rejection> {
        let (mut named, mut of_alg, mut in_time) = (false, false, false);
        for key in self.0.iter().filter(|key| key.kid.as_deref() == kid) {
            named = true;
            if key.alg != alg {
                continue;
            }
            of_alg = true;
            if key.not_after.is_some_and(|end| now > end) {
                continue;
            }
            in_time = true;
            if key.check.passes(message, signature) {
                return Ok(());
            }
        }
        Err(Rejection::Invalid(match (named, of_alg, in_time) {
            (false, ..) if kid.is_some() => "no key in auth.keys has its kid",
            (false, ..) => "it has no kid, and every key in auth.keys has one",
            (_, false, _) => "alg is not the one of its key",
            (.., false) => "its key is past not_after",
            _ => "the signature is wrong",
        }))
    }
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
fn public_algorithm(alg: Algorithm) -> Option<&'static dyn sig::VerificationAlgorithm> {
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
fn is_strong_rsa(der: &[u8]) -> bool {
    let x509 = sig::RsaSubjectPublicKey::from_der(der).ok().and_then(|key| key.as_der().ok());
    x509.is_some_and(|x509| PublicEncryptingKey::from_der(x509.as_ref()).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::tests::{NOW, SECRET, auth, fixture, hmac_key, public_key};

    fn problems(auth: &config::Auth) -> Vec<KeyProblem> {
        KeyRing::new(auth).err().unwrap_or_default()
    }

    #[test]
    fn weak_and_misplaced_keys_are_refused_with_a_remedy() {
        let (hs, rs) = (Algorithm::HS256, Algorithm::RS256);
        let (p256, p384, rsa) = (fixture!("p256.pem"), fixture!("p384.pem"), fixture!("rsa-2048.pem"));
        let two = format!("{p256}{p384}");
        let odd = rsa.replace("PUBLIC KEY", "PARAMETERS");
        let broken = p256.replace("MFkw", "MFkx");
        for (key, wanted) in [
            (hmac_key(hs, SECRET), None),
            (hmac_key(hs, &"x".repeat(32)), None),
            (hmac_key(hs, ""), Some("0 bytes")),
            (hmac_key(hs, &"x".repeat(31)), Some("31 bytes, and at least 32")),
            (hmac_key(Algorithm::HS512, "short"), Some("openssl rand -hex 32")),
            (hmac_key(hs, rsa), Some("is a PEM file")),
            (hmac_key(rs, SECRET), Some("set `public_key`")),
            (public_key(hs, rsa), Some("set `secret`")),
            (public_key(rs, rsa), None),
            (public_key(rs, fixture!("rsa-2048-pkcs1.pem")), None),
            (public_key(Algorithm::PS512, rsa), None),
            (public_key(rs, fixture!("rsa-1024.pem")), Some("2,048 and 8,192 bits")),
            (public_key(Algorithm::PS256, fixture!("rsa-1024.pem")), Some("2,048 and 8,192 bits")),
            (public_key(rs, p256), Some("a key for P-256, but RS256 wants RSA")),
            (public_key(rs, fixture!("rsa-2048.key.pem")), Some("is a private key")),
            (public_key(Algorithm::ES256, fixture!("p256.key.pem")), Some("is a private key")),
            (public_key(Algorithm::ES256, p256), None),
            (public_key(Algorithm::ES256, p384), Some("a key for P-384, but ES256 wants P-256")),
            (public_key(Algorithm::ES384, p256), Some("a key for P-256, but ES384 wants P-384")),
            (public_key(Algorithm::ES384, fixture!("p521.pem")), Some("a key for P-521")),
            (public_key(Algorithm::ES256, rsa), Some("a key for RSA, but ES256")),
            (public_key(Algorithm::ES256, fixture!("rsa-2048-pkcs1.pem")), Some("not a public key")),
            (public_key(Algorithm::ES256, fixture!("certificate.pem")), Some("openssl x509")),
            (public_key(Algorithm::ES256, &broken), Some("cannot be read as a key for P-256")),
            (public_key(Algorithm::ES256, &two), Some("not one PEM public key")),
            (public_key(Algorithm::EdDSA, fixture!("ed25519.pem")), None),
            (public_key(Algorithm::EdDSA, p256), Some("EdDSA wants Ed25519")),
            (public_key(rs, ""), Some("not one PEM public key")),
            (public_key(rs, SECRET), Some("not one PEM public key")),
            (public_key(rs, &odd), Some("not a public key")),
        ] {
            let found = problems(&auth(vec![key.clone()]));
            let text = found.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
            match wanted {
                None => assert_eq!(text, "", "{key:?}"),
                Some(wanted) => assert!(text.starts_with("auth.keys[0]: ") && text.contains(wanted), "{key:?} → {text}"),
            }
            assert!(!text.contains(SECRET), "{text}");
        }
    }

    #[test]
    fn all_problems_come_at_once() {
        let at = |i: usize, kid: Option<&str>, key: JwtKey| JwtKey {
            kid: kid.map(str::to_owned),
            setting: format!("auth.keys[{i}]"),
            ..key
        };
        let strong = || hmac_key(Algorithm::HS256, SECRET);
        let keys = vec![
            at(0, Some("a"), strong()),
            at(1, Some("a"), strong()),
            at(2, Some(""), strong()),
            at(3, Some(&"k".repeat(257)), strong()),
            at(4, Some("b"), hmac_key(Algorithm::HS256, "short")),
            at(5, None, strong()),
            at(6, None, strong()),
        ];
        let found = problems(&config::Auth { ticket_secret: Some("weak".to_owned().into()), ..auth(keys) });
        let settings: Vec<_> = found.iter().map(|p| p.setting.as_str()).collect();
        assert_eq!(settings, ["auth.keys[1]", "auth.keys[2]", "auth.keys[3]", "auth.keys[4]", "auth.ticket_secret"]);
        assert_eq!(problems(&auth(vec![]))[0].setting, "auth.keys");
    }

    #[test]
    fn a_key_counts_up_to_its_last_moment() {
        let key = JwtKey { not_after: Some(NOW), ..hmac_key(Algorithm::HS256, SECRET) };
        let ring = KeyRing::new(&auth(vec![key])).unwrap_or_else(|problems| panic!("{problems:?}"));
        let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, SECRET.as_bytes()), b"m");
        let check = |now| ring.check((Algorithm::HS256, None), b"m", tag.as_ref(), now);
        assert_eq!(check(NOW), Ok(()));
        assert_eq!(check(Timestamp(NOW.0 + 1)), Err(Rejection::Invalid("its key is past not_after")));
    }
}
