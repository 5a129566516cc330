//! Reads a JWK set (RFC 7517): either all of it is sound, or none of it is used.
//!
//! A set with a weak key, a private one or two of one name was not published by somebody who knows what they are doing, or not by whom we
//! think; so it is refused as a whole. What is merely not for us is left out: a key for another use than signatures, such as the encryption
//! keys that some issuers publish beside theirs, a kind of key that we do not know, an algorithm that the configuration does not allow.

use std::collections::HashSet;

use aws_lc_rs::{encoding::AsDer as _, rsa, signature as sig};
use data_encoding::BASE64URL_NOPAD;
use jsonwebtoken::{Algorithm, AlgorithmFamily};
use serde::{Deserialize, de::IgnoredAny};

use crate::auth::keys::{Check, KID_BYTES_MAX, Key, is_strong_rsa, public_algorithm};

/// The most keys of a set: a token is tried with each that has no `kid`.
const KEYS_MAX: usize = 64;
/// 65,537: below it lies what breaks careless padding.
const EXPONENT_MIN: [u8; 3] = [1, 0, 1];

/// The keys of a sound set.
pub(in crate::auth) struct Document {
    /// At least one.
    pub(in crate::auth) keys: Vec<Key>,
    /// How many keys are not for us.
    pub(super) left_out: usize,
}

#[derive(Deserialize)]
struct Set {
    keys: Vec<Jwk>,
}

#[derive(Deserialize)]
struct Jwk {
    kty: String,
    alg: Option<String>,
    #[serde(rename = "use")]
    usage: Option<String>,
    key_ops: Option<Vec<String>>,
    kid: Option<String>,
    crv: Option<String>,
    n: Option<String>,
    e: Option<String>,
    x: Option<String>,
    y: Option<String>,
    d: Option<IgnoredAny>,
    k: Option<IgnoredAny>,
    p: Option<IgnoredAny>,
    q: Option<IgnoredAny>,
    dp: Option<IgnoredAny>,
    dq: Option<IgnoredAny>,
    qi: Option<IgnoredAny>,
    oth: Option<IgnoredAny>,
    #[serde(rename = "priv")]
    seed: Option<IgnoredAny>,
}

/// What keys are made of here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Rsa,
    P256,
    P384,
    Ed25519,
}

/// Reads a set whose keys may be used with `algs`. The error says what is wrong with it, for the operator's log.
pub(in crate::auth) fn read(json: &[u8], algs: &[Algorithm]) -> Result<Document, String> {
    let set: Set = serde_json::from_slice(json).map_err(|e| format!("it is not a JWK set, {{\"keys\":[…]}}: {e}"))?;
    if set.keys.len() > KEYS_MAX {
        return Err(format!("it has {} keys, and at most {KEYS_MAX} are taken", set.keys.len()));
    }
    let mut kids = HashSet::new();
    let mut keys = Vec::new();
    for (i, jwk) in set.keys.iter().enumerate() {
        let at = |problem: String| format!("keys[{i}]: {problem}");
        if jwk.is_for_others() {
            continue;
        }
        jwk.check_purpose().map_err(|problem| at(problem.to_owned()))?;
        if let Some(kid) = &jwk.kid {
            if kid.is_empty() || kid.len() > KID_BYTES_MAX {
                return Err(at(format!("its kid must have 1 to {KID_BYTES_MAX} bytes")));
            }
            if !kids.insert(kid) {
                return Err(at("an earlier key has the same kid".to_owned()));
            }
        }
        keys.extend(jwk.key(algs).map_err(at)?);
    }
    let left_out = set.keys.len() - keys.len();
    match keys.len() {
        0 => Err(format!("it has no key for any of {algs:?}, which jwks.algs allows ({left_out} others)")),
        _ => Ok(Document { keys, left_out }),
    }
}

impl Jwk {
    /// Whether it says that it is for something else than signatures.
    fn is_for_others(&self) -> bool {
        self.usage.as_ref().is_some_and(|usage| usage != "sig")
    }

    /// Is it a public key, and for checking signatures?
    fn check_purpose(&self) -> Result<(), &'static str> {
        if self.kty == "oct" || self.k.is_some() {
            return Err("it is a shared secret, which must never be published");
        }
        let private = [&self.d, &self.p, &self.q, &self.dp, &self.dq, &self.qi, &self.oth, &self.seed];
        if private.into_iter().any(Option::is_some) {
            return Err("it is a private key, which must never be published; its issuer has to replace it");
        }
        if self.key_ops.as_ref().is_some_and(|ops| !ops.iter().any(|op| op == "verify")) {
            return Err("its key_ops have no verify");
        }
        Ok(())
    }

    /// The key, pinned to one algorithm; none if it is not for us.
    fn key(&self, algs: &[Algorithm]) -> Result<Option<Key>, String> {
        let Some(kind) = self.kind()? else { return Ok(None) };
        // Read first: a broken or weak key is a broken set, whatever it may be used for.
        let public = self.public(kind)?;
        let Some(alg) = self.alg(kind, algs)? else { return Ok(None) };
        let Some(algorithm) = public_algorithm(alg) else { return Ok(None) };
        let check =
            sig::ParsedPublicKey::new(algorithm, &public).map_err(|_| format!("it cannot be read as a key for {kind:?}"))?;
        Ok(Some(Key { alg, kid: self.kid.clone(), not_after: None, check: Check::Public(check) }))
    }

    fn kind(&self) -> Result<Option<Kind>, String> {
        let curve = || self.crv.as_deref().ok_or_else(|| "it has no crv".to_owned());
        Ok(match self.kty.as_str() {
            "RSA" => Some(Kind::Rsa),
            "EC" => match curve()? {
                "P-256" => Some(Kind::P256),
                "P-384" => Some(Kind::P384),
                _ => None,
            },
            "OKP" => (curve()? == "Ed25519").then_some(Kind::Ed25519),
            _ => None,
        })
    }

    /// Its own `alg`; without one, the one that its kind leaves.
    fn alg(&self, kind: Kind, algs: &[Algorithm]) -> Result<Option<Algorithm>, String> {
        let fitting = |alg: &Algorithm| match kind {
            Kind::Rsa => alg.family() == AlgorithmFamily::Rsa,
            Kind::P256 => *alg == Algorithm::ES256,
            Kind::P384 => *alg == Algorithm::ES384,
            Kind::Ed25519 => *alg == Algorithm::EdDSA,
        };
        if let Some(name) = &self.alg {
            let Ok(alg) = name.parse::<Algorithm>() else { return Ok(None) };
            if !fitting(&alg) {
                return Err(format!("its alg is {alg:?}, which is not for {kind:?}"));
            }
            return Ok(algs.contains(&alg).then_some(alg));
        }
        let mut left = algs.iter().filter(|alg| fitting(alg));
        match (left.next(), left.next()) {
            (Some(alg), None) => Ok(Some(*alg)),
            (None, _) => Ok(None),
            _ => Err("it has no alg, and jwks.algs allows several for it; leave one of them there".to_owned()),
        }
    }

    /// Its bytes as the verifier takes them.
    fn public(&self, kind: Kind) -> Result<Vec<u8>, String> {
        let part = |name: &str, value: &Option<String>| {
            let text = value.as_ref().ok_or_else(|| format!("it has no {name}"))?;
            BASE64URL_NOPAD.decode(text.as_bytes()).map_err(|_| format!("its {name} is not base64url"))
        };
        let (bytes, length) = match kind {
            Kind::Rsa => return rsa_der(&part("n", &self.n)?, &part("e", &self.e)?),
            Kind::P256 => ([vec![4], part("x", &self.x)?, part("y", &self.y)?].concat(), 65),
            Kind::P384 => ([vec![4], part("x", &self.x)?, part("y", &self.y)?].concat(), 97),
            Kind::Ed25519 => (part("x", &self.x)?, 32),
        };
        // Also where the algorithm will not be used: a point that is not on its curve is found by reading it.
        let any = match kind {
            Kind::P256 => public_algorithm(Algorithm::ES256),
            Kind::P384 => public_algorithm(Algorithm::ES384),
            _ => public_algorithm(Algorithm::EdDSA),
        };
        let sound = bytes.len() == length && any.is_some_and(|any| sig::ParsedPublicKey::new(any, &bytes).is_ok());
        if sound { Ok(bytes) } else { Err(format!("it cannot be read as a key for {kind:?}")) }
    }
}

fn rsa_der(n: &[u8], e: &[u8]) -> Result<Vec<u8>, String> {
    // Some issuers write the sign byte of their big integers.
    let bare = |number: &[u8]| number.iter().copied().skip_while(|byte| *byte == 0).collect::<Vec<u8>>();
    let (n, e) = (bare(n), bare(e));
    if e.len() < EXPONENT_MIN.len() || (e.len() == EXPONENT_MIN.len() && e[..] < EXPONENT_MIN[..]) {
        return Err("its RSA exponent is below 65,537".to_owned());
    }
    let der = rsa::PublicKeyComponents { n: &n, e: &e }.as_der().map_err(|_| "it cannot be read as a key for RSA".to_owned())?;
    if !is_strong_rsa(der.as_ref()) {
        return Err(format!("its RSA modulus has {} bits, and 2,048 to 8,192 are needed", bits(&n)));
    }
    Ok(der.as_ref().to_vec())
}

fn bits(number: &[u8]) -> usize {
    number.len() * 8 - number.first().map_or(0, |first| first.leading_zeros() as usize)
}
