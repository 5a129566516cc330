//! JWTs of the customer's backend, checked as RFC 8725 wants it: one algorithm per key, every claim that matters required, and
//! nothing in the token that tells us how to check it.
//!
//! The `jsonwebtoken` crate would check `nbf` and a missing `iss` or `aud` only when told, takes the last of two equal claims, and
//! reads the clock itself. So it only signs here; signatures are checked by aws-lc with keys parsed once, and claims by us.

use std::{sync::Arc, time::Duration};

use data_encoding::BASE64URL_NOPAD;
use jsonwebtoken::{AlgorithmFamily, EncodingKey};
use secrecy::ExposeSecret;
use serde::Serialize;

use super::{
    Identity, Rejection,
    claims::{Header, Rules},
    jwks::KeySet,
    keys::KeyRing,
};
use crate::{
    config::{self, KeyMaterial},
    event::{Timestamp, UserKey},
};

pub use super::keys::KeyProblem;

/// Checks tokens against the configured keys and rules. Cheap to use from many tasks at once.
pub struct Verifier {
    keys: KeyRing,
    rules: Rules,
    token_bytes_max: usize,
}

impl Verifier {
    /// Parses the keys; what is wrong with any of them, or with the ticket secret, comes back at once, each with its setting.
    ///
    /// A token above `token_bytes_max` bytes will be refused unread. Knows no key set: [`Credentials`](super::Credentials) does.
    pub fn new(auth: &config::Auth, token_bytes_max: usize) -> Result<Self, Vec<KeyProblem>> {
        Self::with_sets(auth, token_bytes_max, Vec::new())
    }

    /// As [`Verifier::new`], with sets of keys behind the configured ones.
    pub(super) fn with_sets(
        auth: &config::Auth,
        token_bytes_max: usize,
        sets: Vec<Arc<KeySet>>,
    ) -> Result<Self, Vec<KeyProblem>> {
        let rules = Rules {
            issuer: auth.issuer.clone(),
            audience: auth.audience.clone(),
            default_platform: auth.default_platform.clone(),
            leeway: auth.leeway,
            life_max: auth.token_life_max,
        };
        Ok(Self { keys: KeyRing::new(auth, sets)?, rules, token_bytes_max })
    }

    /// The sets behind the configured keys.
    pub(super) fn sets(&self) -> &[Arc<KeySet>] {
        self.keys.sets()
    }

    /// Whom the token speaks for, by the keys at hand. Its claims are not read before its signature was found right.
    pub fn verify(&self, token: &str, now: Timestamp) -> Result<Identity, Rejection> {
        if token.len() > self.token_bytes_max {
            return Err(Rejection::Invalid("it is longer than limits.token_bytes_max"));
        }
        let (header, payload, signature) = three_parts(token).ok_or(Rejection::Invalid("it is not three parts"))?;
        let signed = &token[..header.len() + 1 + payload.len()];
        let header = Header::read(&decode(header)?)?;
        let selector = (header.alg, header.kid.as_deref());
        self.keys.check(selector, signed.as_bytes(), &decode(signature)?, now)?;
        self.rules.apply(&decode(payload)?, now)
    }
}

fn three_parts(token: &str) -> Option<(&str, &str, &str)> {
    let mut parts = token.split('.');
    let three = (parts.next()?, parts.next()?, parts.next()?);
    parts.next().is_none().then_some(three)
}

/// Takes only what an encoder writes: no padding, no `+/`, no spare bits set. So no token has a second spelling.
fn decode(part: &str) -> Result<Vec<u8>, Rejection> {
    BASE64URL_NOPAD.decode(part.as_bytes()).map_err(|_| Rejection::Invalid("it is not three parts of canonical base64url"))
}

/// Whether a text from a URL is a signed (three parts) or encrypted (five parts) JWT, which does not belong there.
pub fn looks_like_jwt(text: &str) -> bool {
    let letter = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b'=');
    // `eyJ` is what every header starts with that is written without spaces: `{"`.
    text.starts_with("eyJ") && text.bytes().all(letter) && matches!(text.split('.').count(), 3 | 5)
}

/// Why no token was made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MintError {
    /// Nothing to sign with.
    #[error(
        "auth.keys has no HMAC secret in force: of asymmetric keys the gateway knows the public part only, so sign with yours"
    )]
    NoSecret,
    /// The gateway would refuse the token.
    #[error("a token may live {}s at most (auth.token_life_max)", .0.as_secs())]
    LifeTooLong(Duration),
    /// The library refused.
    #[error("the token could not be signed: {0}")]
    Signing(String),
}

#[derive(Serialize)]
struct MintedClaims<'a> {
    iss: &'a str,
    aud: &'a str,
    sub: &'a str,
    iat: u64,
    exp: u64,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    keys: &'a [&'a str],
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    campaigns: &'a [&'a str],
}

/// A token for `user`, who has the `further` keys as well, of which some may be campaigns', signed with the first HMAC key in force: for trying things out and tests.
/// `life` counts in whole seconds.
pub fn mint(
    auth: &config::Auth,
    user: &UserKey,
    further: &[UserKey],
    life: Duration,
    now: Timestamp,
) -> Result<String, MintError> {
    if life > auth.token_life_max {
        return Err(MintError::LifeTooLong(auth.token_life_max));
    }
    let in_force = auth.keys.iter().filter(|key| key.not_after.is_none_or(|end| now <= end));
    let secrets = in_force.filter_map(|key| match &key.material {
        KeyMaterial::Secret(secret) if key.alg.family() == AlgorithmFamily::Hmac => Some((key, secret)),
        _ => None,
    });
    let (key, secret) = secrets.into_iter().next().ok_or(MintError::NoSecret)?;
    let campaigns: Vec<&str> = further.iter().filter_map(UserKey::campaign).collect();
    let further: Vec<&str> = further.iter().filter(|key| key.campaign().is_none()).map(UserKey::as_str).collect();
    let iat = now.as_secs();
    let claims = MintedClaims {
        iss: &auth.issuer,
        aud: &auth.audience,
        sub: user.as_str(),
        iat,
        exp: iat.saturating_add(life.as_secs()),
        keys: &further,
        campaigns: &campaigns,
    };
    let mut header = jsonwebtoken::Header::new(key.alg);
    header.kid.clone_from(&key.kid);
    let signer = EncodingKey::from_secret(secret.expose_secret().as_bytes());
    jsonwebtoken::encode(&header, &claims, &signer).map_err(|e| MintError::Signing(e.to_string()))
}
