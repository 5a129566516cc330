//! Stream tickets: what a page that was asked for its token once puts into the URL of an `EventSource`, which cannot send headers.
//!
//! A ticket is good for SSE only, for the person and until the end of the token that it was given for, and for one Origin. Any node
//! with the same configuration takes it, and a restart does not matter: its key is derived from the configuration.
//!
//! `crt2_<payload>.<HMAC-SHA-256>`, both base64url. The payload is binary: the expiry in ms (8 bytes, big-endian); a byte whose bits say
//! which of the next three are there: the SHA-256 of the Origin, the token's `iat` in ms (8 bytes), the digest of its `jti` (16 bytes); then
//! each user key, and each campaign's, after a byte that holds its length less one. Everything left of the dot is signed. So a ticket is revoked with its token.
//! No ticket is a JWT, since it has two parts, and no JWT is a ticket, since `crt2_` does not decode to a `{`.

use std::time::Duration;

use aws_lc_rs::{digest, hmac};
use data_encoding::BASE64URL_NOPAD;
use jsonwebtoken::AlgorithmFamily;
use secrecy::ExposeSecret;

use super::{Identity, Rejection, TokenId, TokenMark};
use crate::{
    config::{self, KeyMaterial},
    event::{Timestamp, UserKey},
};

/// Issues and verifies stream tickets.
pub struct Tickets {
    key: hmac::Key,
    leeway: Duration,
}

impl Tickets {
    /// The longest ticket in bytes. The bounds of an [`Identity`] keep every issued one below it.
    pub const BYTES_MAX: usize = 4_096;
    const PREFIX: &str = "crt2_";
    const LABEL: &str = "claimr-relay ticket v2";

    /// Derives the signing key from `auth.ticket_secret`, or else from the first HMAC key; `None` when there is neither.
    ///
    /// [`Verifier::new`](super::jwt::Verifier::new) has refused weak secrets before.
    pub fn from_config(auth: &config::Auth) -> Option<Self> {
        let first_hmac = || {
            auth.keys.iter().find_map(|key| match &key.material {
                KeyMaterial::Secret(secret) if key.alg.family() == AlgorithmFamily::Hmac => Some(secret),
                _ => None,
            })
        };
        let secret = auth.ticket_secret.as_ref().or_else(first_hmac)?;
        // A ticket is no wider than its token: another issuer or audience under the same secret has another key. Never a JWT's
        // signature, either: a space is in the label, and never in what a JWT signs.
        let label = format!("{}\0{}\0{}", Self::LABEL, auth.issuer, auth.audience);
        let base = hmac::Key::new(hmac::HMAC_SHA256, secret.expose_secret().as_bytes());
        let key = hmac::Key::new(hmac::HMAC_SHA256, hmac::sign(&base, label.as_bytes()).as_ref());
        Some(Self { key, leeway: auth.leeway })
    }

    /// A ticket for the person, until the end of the token that proved who they are. `origin` is the page that asked, if a page did.
    pub fn issue(&self, identity: &Identity, origin: Option<&str>) -> String {
        let payload = write(identity, origin.map(origin_digest));
        let mut ticket = String::with_capacity(Self::PREFIX.len() + payload.len() * 4 / 3 + 48);
        ticket.push_str(Self::PREFIX);
        BASE64URL_NOPAD.encode_append(&payload, &mut ticket);
        let tag = hmac::sign(&self.key, ticket.as_bytes());
        ticket.push('.');
        BASE64URL_NOPAD.encode_append(tag.as_ref(), &mut ticket);
        ticket
    }

    /// Whom the ticket speaks for, if a request with this `Origin` header may use it.
    ///
    /// | issued for | request without Origin | with the same | with another |
    /// | --- | --- | --- | --- |
    /// | an Origin | yes | yes | no |
    /// | none | yes | – | no |
    ///
    /// A browser names the Origin of every page but one of the same Origin, whose `GET` has none; so an absent header is never a
    /// stranger's page. A ticket that no page asked for is for programs; a backend that fetches tickets for its pages sends their
    /// Origin along.
    pub fn verify(&self, ticket: &str, origin: Option<&str>, now: Timestamp) -> Result<Identity, Rejection> {
        if ticket.len() > Self::BYTES_MAX {
            return Err(Rejection::Invalid("the ticket is longer than 4,096 bytes"));
        }
        let parts = ticket.split_once('.').and_then(|(signed, tag)| Some((signed, signed.strip_prefix(Self::PREFIX)?, tag)));
        let (signed, payload, tag) = parts.ok_or(Rejection::Invalid("it is not a ticket of this version"))?;
        let tag = decode(tag)?;
        hmac::verify(&self.key, signed.as_bytes(), &tag).map_err(|_| Rejection::Invalid("the ticket's signature is wrong"))?;
        let (identity, bound) =
            read(&decode(payload)?).ok_or(Rejection::Invalid("the ticket's payload is of another version"))?;
        if origin.is_some() && origin.map(origin_digest) != bound {
            return Err(Rejection::WrongOrigin);
        }
        identity.unless_expired(self.leeway, now)
    }
}

/// The bits that say what a payload has.
const BOUND: u8 = 1;
const ISSUED: u8 = 2;
const ID: u8 = 4;

type OriginDigest = [u8; digest::SHA256_OUTPUT_LEN];

/// A digest has the same length for every Origin, which bounds the ticket.
fn origin_digest(origin: &str) -> OriginDigest {
    let mut bytes = OriginDigest::default();
    bytes.copy_from_slice(digest::digest(&digest::SHA256, origin.as_bytes()).as_ref());
    bytes
}

fn decode(part: &str) -> Result<Vec<u8>, Rejection> {
    BASE64URL_NOPAD.decode(part.as_bytes()).map_err(|_| Rejection::Invalid("the ticket is not canonical base64url"))
}

fn write(identity: &Identity, bound: Option<OriginDigest>) -> Vec<u8> {
    let TokenMark { issued, id } = identity.mark();
    let flag = |bit, set: bool| if set { bit } else { 0 };
    let mut payload = identity.expires().0.to_be_bytes().to_vec();
    payload.push(flag(BOUND, bound.is_some()) | flag(ISSUED, issued.is_some()) | flag(ID, id.is_some()));
    payload.extend(bound.iter().flatten());
    payload.extend(issued.iter().flat_map(|issued| issued.0.to_be_bytes()));
    payload.extend(id.iter().flat_map(|id| id.0));
    for key in identity.keys() {
        // A key has 3 to 256 bytes.
        let less_one = key.as_str().len() - 1;
        payload.push(u8::try_from(less_one).unwrap_or(u8::MAX));
        payload.extend(key.as_str().bytes());
    }
    payload
}

fn read(payload: &[u8]) -> Option<(Identity, Option<OriginDigest>)> {
    let (expires, rest) = payload.split_first_chunk::<8>()?;
    let (flags, rest) = rest.split_first()?;
    if flags & !(BOUND | ISSUED | ID) != 0 {
        return None;
    }
    let (bound, rest) = part(flags & BOUND, rest)?;
    let (issued, rest) = part(flags & ISSUED, rest)?;
    let (id, mut rest) = part(flags & ID, rest)?;
    let mark = TokenMark { issued: issued.map(|ms| Timestamp(u64::from_be_bytes(ms))), id: id.map(TokenId) };
    let mut keys = Vec::new();
    while let Some((less_one, tail)) = rest.split_first() {
        let (key, tail) = tail.split_at_checked(usize::from(*less_one) + 1)?;
        keys.push(UserKey::stored(std::str::from_utf8(key).ok()?).ok()?);
        rest = tail;
    }
    let mut keys = keys.into_iter();
    let user = keys.next().filter(|user| user.campaign().is_none())?;
    let identity = Identity::new(user, keys, Timestamp(u64::from_be_bytes(*expires)), mark).ok()?;
    Some((identity, bound))
}

/// The first `N` bytes, if `flag` says that they are there.
fn part<const N: usize>(flag: u8, bytes: &[u8]) -> Option<(Option<[u8; N]>, &[u8])> {
    if flag == 0 {
        return Some((None, bytes));
    }
    bytes.split_first_chunk().map(|(part, rest)| (Some(*part), rest))
}

#[cfg(test)]
mod tests;
