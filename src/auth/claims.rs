//! What a JWT says, read strictly: its header before the signature is checked, its claims after.
//!
//! JSON leaves open which of two members of one name counts, and libraries differ; here a repeated member that matters refuses the
//! token, so that we cannot be shown another token than the signer's library wrote. So do `null` for "absent" and a number in a string.

use std::time::Duration;

use jsonwebtoken::Algorithm;
use serde::{
    Deserialize, Deserializer,
    de::{DeserializeOwned, IgnoredAny},
};
use serde_json::value::RawValue;

use super::{Identity, Rejection, TokenId, TokenMark, keys::KID_BYTES_MAX};
use crate::event::{InvalidUserKey, Timestamp, UserKey};

/// The longest `sub` in bytes.
const SUB_BYTES_MAX: usize = 256;

/// The parts of a JOSE header that select the key.
#[derive(Debug)]
pub(super) struct Header {
    pub(super) alg: Algorithm,
    pub(super) kid: Option<String>,
}

#[derive(Deserialize)]
struct HeaderMembers {
    alg: String,
    #[serde(default, deserialize_with = "present")]
    kid: Option<String>,
    #[serde(default, deserialize_with = "present")]
    typ: Option<String>,
    #[serde(default, deserialize_with = "present")]
    crit: Option<IgnoredAny>,
    #[serde(default, deserialize_with = "present")]
    jku: Option<IgnoredAny>,
    #[serde(default, deserialize_with = "present")]
    jwk: Option<IgnoredAny>,
    #[serde(default, deserialize_with = "present")]
    x5u: Option<IgnoredAny>,
    #[serde(default, deserialize_with = "present")]
    x5c: Option<IgnoredAny>,
    #[serde(default, deserialize_with = "present")]
    zip: Option<IgnoredAny>,
    #[serde(default, deserialize_with = "present")]
    b64: Option<IgnoredAny>,
}

impl Header {
    /// Reads a header that nobody has vouched for yet.
    pub(super) fn read(json: &[u8]) -> Result<Self, Rejection> {
        let members: HeaderMembers =
            object(json).ok_or(Rejection::Invalid("the header is not a JSON object with alg, and each member once"))?;
        // Each of them asks the verifier to trust a key, or to do a thing, that the token itself brings along.
        for (found, reason) in [
            (members.crit, "the header has crit"),
            (members.jku, "the header has jku"),
            (members.jwk, "the header has jwk"),
            (members.x5u, "the header has x5u"),
            (members.x5c, "the header has x5c"),
            (members.zip, "the header has zip"),
            (members.b64, "the header has b64"),
        ] {
            refuse_if(found.is_some(), reason)?;
        }
        refuse_if(members.typ.is_some_and(|typ| !names_a_token(&typ)), "typ is neither JWT nor at+jwt")?;
        refuse_if(members.kid.as_ref().is_some_and(|kid| kid.len() > KID_BYTES_MAX), "kid is longer than 256 bytes")?;
        let alg = members.alg.parse().map_err(|_| Rejection::Invalid("alg is none that the gateway knows"))?;
        Ok(Self { alg, kid: members.kid })
    }
}

/// A JWT of another declared type, such as `logout+jwt`, has the same claims but says another thing (RFC 8725, 3.11).
fn names_a_token(typ: &str) -> bool {
    let typ = typ.to_ascii_lowercase();
    matches!(typ.strip_prefix("application/").unwrap_or(&typ), "jwt" | "at+jwt")
}

/// What the claims of a good token must say.
#[derive(Debug)]
pub(super) struct Rules {
    pub(super) issuer: String,
    pub(super) audience: String,
    pub(super) default_platform: Option<String>,
    pub(super) leeway: Duration,
    pub(super) life_max: Duration,
}

/// Each claim as written, so that each can be refused with its own reason.
#[derive(Deserialize)]
struct Claims<'a> {
    #[serde(borrow, default, deserialize_with = "present")]
    iss: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    aud: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    sub: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    exp: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    nbf: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    iat: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    jti: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    keys: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    campaigns: Option<&'a RawValue>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Audience {
    One(String),
    Many(Vec<String>),
}

impl Rules {
    /// Reads claims whose signature was checked. That the life is over is said last: such a token was good once.
    pub(super) fn apply(&self, json: &[u8], now: Timestamp) -> Result<Identity, Rejection> {
        let claims: Claims<'_> =
            object(json).ok_or(Rejection::Invalid("the payload is not a JSON object with each claim once"))?;
        self.check_party(&claims)?;
        let (issued, expires) = self.check_life(&claims, now)?;
        let id = claims.jti.map(|raw| read::<String>(raw, "jti is not a string")).transpose()?;
        let mark = TokenMark { issued, id: id.as_deref().map(TokenId::of) };
        self.person(&claims, expires, mark)?.unless_expired(self.leeway, now)
    }

    /// Did the right one say it, and to us?
    fn check_party(&self, claims: &Claims<'_>) -> Result<(), Rejection> {
        let iss: String = required(claims.iss, "iss is missing", "iss is not a string")?;
        refuse_if(iss != self.issuer, "iss is not auth.issuer")?;
        let ours = match required(claims.aud, "aud is missing", "aud is neither a string nor a list of strings")? {
            Audience::One(aud) => aud == self.audience,
            Audience::Many(auds) => auds.contains(&self.audience),
        };
        refuse_if(!ours, "aud is not auth.audience")
    }

    /// Has its life begun, and is it short enough? Returns when it was issued, and its end.
    fn check_life(&self, claims: &Claims<'_>, now: Timestamp) -> Result<(Option<Timestamp>, Timestamp), Rejection> {
        let latest_now = now.plus(self.leeway);
        let exp = moment(claims.exp, "exp is not seconds since 1970")?.ok_or(Rejection::Invalid("exp is missing"))?;
        let nbf = moment(claims.nbf, "nbf is not seconds since 1970")?;
        refuse_if(nbf.is_some_and(|nbf| nbf > latest_now), "nbf is in the future")?;
        let iat = moment(claims.iat, "iat is not seconds since 1970")?;
        refuse_if(iat.is_some_and(|iat| iat > latest_now), "iat is in the future")?;
        // A token that does not say when it was issued counts as issued now, by the signer's clock.
        refuse_if(exp.since(iat.unwrap_or(latest_now)) > self.life_max, "exp is further away than auth.token_life_max")?;
        Ok((iat, exp))
    }

    fn person(&self, claims: &Claims<'_>, expires: Timestamp, mark: TokenMark) -> Result<Identity, Rejection> {
        let platform = self.default_platform.as_deref();
        let sub: String = required(claims.sub, "sub is missing", "sub is not a string")?;
        refuse_if(sub.is_empty(), "sub is empty")?;
        refuse_if(sub.len() > SUB_BYTES_MAX, "sub is longer than 256 bytes")?;
        let user = UserKey::parse(&sub, platform).map_err(|e| match e {
            InvalidUserKey::NoPlatform => Rejection::Invalid("sub has no platform, and auth.default_platform is not set"),
            InvalidUserKey::TooLong => Rejection::Invalid("sub is longer than 256 bytes with its platform"),
            _ => Rejection::Invalid("sub is not platform:account"),
        })?;
        let further = texts(claims.keys, "keys is not a list of strings")?;
        refuse_if(further.len() > Identity::KEYS_MAX, "keys has more than 32 entries")?;
        let further: Result<Vec<_>, _> = further.iter().map(|text| UserKey::parse(text, platform)).collect();
        let further = further.map_err(|_| Rejection::Invalid("keys has an entry that is not platform:account"))?;
        let campaigns = texts(claims.campaigns, "campaigns is not a list of strings")?;
        refuse_if(campaigns.len() > Identity::CAMPAIGNS_MAX, "campaigns has more than 32 entries")?;
        let campaigns: Result<Vec<_>, _> = campaigns.iter().map(|id| UserKey::of_campaign(id)).collect();
        let wrong = "campaigns has an entry that is not 1 to 128 printable ASCII characters without a space";
        let campaigns = campaigns.map_err(|_| Rejection::Invalid(wrong))?;
        Identity::new(user, further.into_iter().chain(campaigns), expires, mark)
    }
}

fn refuse_if(bad: bool, reason: &'static str) -> Result<(), Rejection> {
    if bad { Err(Rejection::Invalid(reason)) } else { Ok(()) }
}

fn required<T: DeserializeOwned>(raw: Option<&RawValue>, missing: &'static str, wrong: &'static str) -> Result<T, Rejection> {
    read(raw.ok_or(Rejection::Invalid(missing))?, wrong)
}

fn read<T: DeserializeOwned>(raw: &RawValue, wrong: &'static str) -> Result<T, Rejection> {
    serde_json::from_str(raw.get()).map_err(|_| Rejection::Invalid(wrong))
}

/// A claim that is a list of texts; none if it is absent.
fn texts(raw: Option<&RawValue>, wrong: &'static str) -> Result<Vec<String>, Rejection> {
    raw.map_or(Ok(Vec::new()), |raw| read(raw, wrong))
}

/// A `NumericDate`: a JSON number, whole or not, never negative.
fn moment(raw: Option<&RawValue>, wrong: &'static str) -> Result<Option<Timestamp>, Rejection> {
    raw.map(|raw| {
        let since_1970 = Duration::try_from_secs_f64(read(raw, wrong)?).map_err(|_| Rejection::Invalid(wrong))?;
        Ok(Timestamp(0).plus(since_1970))
    })
    .transpose()
}

/// Reads one JSON object, and nothing after it. (Serde would take an array of the fields' values for a struct, too.)
fn object<'a, T: Deserialize<'a>>(json: &'a [u8]) -> Option<T> {
    let text = std::str::from_utf8(json).ok()?;
    text.trim_ascii_start().starts_with('{').then(|| serde_json::from_str(text).ok())?
}

/// A member that is there has a value: `null` does not mean "absent".
fn present<'de, T: Deserialize<'de>, D: Deserializer<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}
