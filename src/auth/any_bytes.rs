//! What holds for any token, ticket and key set.

use std::{collections::BTreeMap, sync::LazyLock, time::Duration};

use aws_lc_rs::hmac;
use data_encoding::BASE64URL_NOPAD;
use jsonwebtoken::Algorithm;
use serde_json::{Value, value::RawValue};

use super::{
    jwks,
    jwt::{Verifier, looks_like_jwt},
    ticket::Tickets,
    *,
};
use crate::config::{self, JwtKey, KeyMaterial};

const SECRET: &str = "a secret of the tests, 32 bytes!";
const NOW: Timestamp = Timestamp(1_732_350_000_500);
const ISSUER: &str = "https://app.example.com";
const AUDIENCE: &str = "claimr-relay";
const ORIGIN: &str = "https://app.example.com";

static AUTH: LazyLock<config::Auth> = LazyLock::new(|| config::Auth {
    issuer: ISSUER.to_owned(),
    audience: AUDIENCE.to_owned(),
    default_platform: Some("acme".to_owned()),
    keys: vec![
        key(Algorithm::HS256, KeyMaterial::Secret(SECRET.into()), None),
        key(Algorithm::RS256, public("rsa-2048"), Some("rsa")),
        key(Algorithm::ES256, public("p256"), Some("es")),
        key(Algorithm::EdDSA, public("ed25519"), None),
    ],
    jwks: Vec::new(),
    ticket_secret: None,
    leeway: Duration::from_secs(30),
    token_life_max: Duration::from_hours(24),
});
static VERIFIER: LazyLock<Verifier> =
    LazyLock::new(|| Verifier::new(&AUTH, 4_096).unwrap_or_else(|problems| panic!("{problems:?}")));

fn key(alg: Algorithm, material: KeyMaterial, kid: Option<&str>) -> JwtKey {
    JwtKey { alg, material, kid: kid.map(str::to_owned), not_after: None, setting: "auth.keys[0]".to_owned() }
}

fn public(name: &str) -> KeyMaterial {
    let pem = match name {
        "rsa-2048" => include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/jwt/rsa-2048.pem")),
        "p256" => include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/jwt/p256.pem")),
        _ => include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/jwt/ed25519.pem")),
    };
    KeyMaterial::PublicPem(pem.to_owned())
}

/// The options begin with a letter for what the input is; a number may follow.
pub(crate) fn check(options: &[u8], input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    let _ = looks_like_jwt(&text);
    let at = options.iter().skip(1).fold(0usize, |at, byte| at.wrapping_mul(31).wrapping_add(usize::from(*byte)));
    match options.first() {
        Some(b'm') => signed_by_us(&text, at),
        Some(b'k') => key_set(input),
        Some(b'p') => signed_ticket(input, at),
        Some(b't') => {
            assert!(tickets().verify(&text, None, NOW).is_err_and(|r| r != Rejection::Expired) || is_our_ticket(&text));
        }
        _ => as_it_comes(&text),
    }
}

/// A token that nobody signed with our secret is refused, and not as one that was good once. Of the other keys nobody here has the private
/// part.
fn as_it_comes(token: &str) {
    match VERIFIER.verify(token, NOW) {
        Err(Rejection::Invalid(_) | Rejection::UnknownKey(_)) => {}
        verdict => assert!(is_our_token(token), "{verdict:?} for a token that we did not sign"),
    }
}

fn mac(secret: &hmac::Key, text: &str) -> String {
    BASE64URL_NOPAD.encode(hmac::sign(secret, text.as_bytes()).as_ref())
}

fn token_key() -> hmac::Key {
    hmac::Key::new(hmac::HMAC_SHA256, SECRET.as_bytes())
}

fn is_our_token(token: &str) -> bool {
    token.rsplit_once('.').is_some_and(|(signed, signature)| mac(&token_key(), signed) == signature)
}

/// `text` is a header, a line feed and claims, which are signed here. What is taken says what RFC 8725 wants it to.
fn signed_by_us(text: &str, at: usize) {
    let (header, claims) = text.split_once('\n').unwrap_or((r#"{"alg":"HS256"}"#, text));
    let signed = format!("{}.{}", BASE64URL_NOPAD.encode(header.as_bytes()), BASE64URL_NOPAD.encode(claims.as_bytes()));
    let token = format!("{signed}.{}", mac(&token_key(), &signed));
    let verdict = VERIFIER.verify(&token, NOW);
    if token.len() > 4_096 {
        assert_eq!(verdict, Err(Rejection::Invalid("it is longer than limits.token_bytes_max")));
    }
    if let Ok(identity) = &verdict {
        says_so(header, claims, identity);
        is_bounded(identity);
        becomes_a_ticket(identity, at);
    }
    let flipped = flipped(&token, at);
    assert!(matches!(VERIFIER.verify(&flipped, NOW), Err(Rejection::Invalid(_) | Rejection::UnknownKey(_))), "{flipped}");
}

/// The text with one bit of a letter turned, still ASCII.
fn flipped(text: &str, at: usize) -> String {
    let mut bytes = text.as_bytes().to_vec();
    let place = at % bytes.len();
    bytes[place] ^= 1 << (at / bytes.len() % 6);
    String::from_utf8(bytes).unwrap_or_default()
}

/// What the claims say by another reader of JSON, which looks only at those that matter.
fn says_so(header: &str, claims: &str, identity: &Identity) {
    let [header, claims] = [header, claims].map(|json| {
        let members: BTreeMap<String, &RawValue> =
            serde_json::from_str(json).unwrap_or_else(|error| panic!("taken, but no object: {error}"));
        move |name: &str| members.get(name).map_or(Value::Null, |raw| serde_json::from_str(raw.get()).unwrap_or_default())
    });
    assert_eq!(header("alg"), "HS256");
    for name in ["crit", "jku", "jwk", "x5u", "x5c", "zip", "b64", "kid"] {
        assert!(header(name).is_null(), "a header with {name} is taken");
    }
    let now = 1_732_350_000.5;
    let is_ours = |aud: &Value| *aud == AUDIENCE;
    let aud = claims("aud");
    assert!(is_ours(&aud) || aud.as_array().is_some_and(|auds| auds.iter().any(is_ours)), "{aud}");
    assert_eq!(claims("iss"), ISSUER);
    let [exp, iat, nbf] = ["exp", "iat", "nbf"].map(|name| claims(name).as_f64());
    assert!(exp.is_some_and(|exp| exp > now - 30.1 && exp - iat.unwrap_or(now + 30.0) <= 86_400.1), "{exp:?}, {iat:?}");
    assert!(iat.is_none_or(|iat| iat <= now + 30.1) && nbf.is_none_or(|nbf| nbf <= now + 30.1), "{iat:?}, {nbf:?}");
    let sub = claims("sub");
    assert_eq!(UserKey::parse(sub.as_str().unwrap_or_default(), Some("acme")).as_ref(), Ok(identity.user()));
    let listed = |name: &str| claims(name).as_array().map_or(0, Vec::len);
    assert!(identity.keys().len() <= 1 + listed("keys") + listed("campaigns"));
    let campaigns = identity.keys().iter().filter(|key| key.campaign().is_some()).count();
    assert!(campaigns <= listed("campaigns"), "a campaign that is not in the claim of that name");
}

fn is_bounded(identity: &Identity) {
    assert!(identity.keys().len() <= Identity::KEYS_MAX);
    assert!(identity.keys().iter().map(|key| key.as_str().len()).sum::<usize>() <= Identity::KEYS_BYTES_MAX);
    for key in identity.keys() {
        // A person's, or a campaign's.
        assert_eq!(UserKey::stored(key.as_str()).as_ref(), Ok(key));
    }
}

fn tickets() -> Tickets {
    Tickets::from_config(&AUTH).unwrap_or_else(|| panic!("there is an HMAC key"))
}

/// A ticket says the same as its token, to nobody else, and not after it was changed.
fn becomes_a_ticket(identity: &Identity, at: usize) {
    let tickets = tickets();
    let ticket = tickets.issue(identity, Some(ORIGIN));
    assert!(ticket.len() <= Tickets::BYTES_MAX);
    assert_eq!(tickets.verify(&ticket, Some(ORIGIN), NOW).as_ref(), Ok(identity));
    assert_eq!(tickets.verify(&ticket, Some("https://evil.example"), NOW), Err(Rejection::WrongOrigin));
    assert!(matches!(tickets.verify(&flipped(&ticket, at), Some(ORIGIN), NOW), Err(Rejection::Invalid(_))));
}

/// The ticket's key, derived without the code that verifies.
fn ticket_key() -> hmac::Key {
    let label = format!("claimr-relay ticket v2\0{ISSUER}\0{AUDIENCE}");
    hmac::Key::new(hmac::HMAC_SHA256, hmac::sign(&token_key(), label.as_bytes()).as_ref())
}

fn is_our_ticket(ticket: &str) -> bool {
    ticket.split_once('.').is_some_and(|(signed, tag)| mac(&ticket_key(), signed) == tag)
}

/// Any payload under our own signature: what it cannot be is refused, and what is taken is within bounds.
fn signed_ticket(payload: &[u8], at: usize) {
    let signed = format!("crt2_{}", BASE64URL_NOPAD.encode(payload));
    let ticket = format!("{signed}.{}", mac(&ticket_key(), &signed));
    let origin = [None, Some(ORIGIN)][at % 2];
    match tickets().verify(&ticket, origin, NOW) {
        Ok(identity) => is_bounded(&identity),
        Err(rejection) => assert!(rejection != Rejection::Invalid("the ticket's signature is wrong")),
    }
}

/// What an issuer publishes is a set of sound keys for the allowed algorithms, or refused.
fn key_set(json: &[u8]) {
    let algs = [Algorithm::RS256, Algorithm::ES256, Algorithm::EdDSA];
    let Ok(document) = jwks::document::read(json, &algs) else { return };
    assert!((1..=64).contains(&document.keys.len()));
    assert!(document.keys.iter().all(|key| algs.contains(&key.alg)));
    let mut kids: Vec<_> = document.keys.iter().filter_map(|key| key.kid.as_ref()).collect();
    assert!(kids.iter().all(|kid| (1..=256).contains(&kid.len())));
    kids.sort_unstable();
    assert!(kids.windows(2).all(|pair| pair[0] != pair[1]), "a kid stands twice");
}
