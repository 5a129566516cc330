//! Tokens as tables: every algorithm once right, and every trick that is known once refused, with its reason.

mod campaigns;

use std::time::Duration;

use data_encoding::BASE64URL_NOPAD as B64;
use jsonwebtoken::{Algorithm, EncodingKey, crypto};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::{
    Identity, Rejection,
    jwt::{MintError, Verifier, looks_like_jwt, mint},
};
use crate::{
    config::{self, JwtKey, KeyMaterial},
    event::{Timestamp, UserKey},
};

pub(crate) const NOW: Timestamp = Timestamp(1_732_350_000_500);
/// The same moment in whole seconds, as claims have it.
const NOW_S: i64 = 1_732_350_000;
pub(super) const SECRET: &str = "a secret of the tests, 32 bytes!";
const OTHER_SECRET: &str = "another secret, of somebody else";

macro_rules! fixture {
    ($name:literal) => {
        include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/jwt/", $name))
    };
}
pub(super) use fixture;

pub(super) fn auth(keys: Vec<JwtKey>) -> config::Auth {
    config::Auth {
        issuer: "https://app.example.com".into(),
        audience: "claimr-relay".into(),
        default_platform: Some("acme".into()),
        keys,
        jwks: Vec::new(),
        ticket_secret: None,
        leeway: Duration::from_secs(30),
        token_life_max: Duration::from_hours(24),
    }
}

pub(super) fn hmac_key(alg: Algorithm, secret: &str) -> JwtKey {
    let material = KeyMaterial::Secret(secret.to_owned().into());
    JwtKey { alg, material, kid: None, not_after: None, setting: "auth.keys[0]".into() }
}

pub(super) fn public_key(alg: Algorithm, pem: &str) -> JwtKey {
    JwtKey { material: KeyMaterial::PublicPem(pem.into()), ..hmac_key(alg, "") }
}

pub(crate) fn hs256() -> config::Auth {
    auth(vec![hmac_key(Algorithm::HS256, SECRET)])
}

fn named(kid: &str, key: JwtKey) -> JwtKey {
    JwtKey { kid: Some(kid.into()), ..key }
}

fn verify(auth: &config::Auth, token: &str) -> Result<Identity, Rejection> {
    Verifier::new(auth, 4_096).unwrap_or_else(|problems| panic!("{problems:?}")).verify(token, NOW)
}

/// Why the token is refused; "" if it is not.
fn reason(auth: &config::Auth, token: &str) -> &'static str {
    match verify(auth, token) {
        Ok(_) => "",
        Err(Rejection::Expired) => "expired",
        Err(Rejection::Invalid(reason) | Rejection::UnknownKey(reason)) => reason,
        Err(Rejection::Revoked) => "revoked",
        Err(Rejection::WrongOrigin) => "origin",
    }
}

fn good_claims() -> Value {
    json!({"iss": "https://app.example.com", "aud": "claimr-relay", "sub": "42", "iat": NOW_S, "exp": NOW_S + 900})
}

/// The good claims, with some set, and those set to the text "absent" left out.
fn claims(changes: &Value) -> String {
    let mut claims = good_claims();
    for (name, value) in changes.as_object().unwrap() {
        claims[name] = value.clone();
    }
    claims.as_object_mut().unwrap().retain(|_, value| value != "absent");
    claims.to_string()
}

fn sign(header: &str, payload: &str, alg: Algorithm, key: &EncodingKey) -> String {
    let signed = format!("{}.{}", B64.encode(header.as_bytes()), B64.encode(payload.as_bytes()));
    let signature = crypto::sign(signed.as_bytes(), key, alg).unwrap();
    format!("{signed}.{signature}")
}

fn token_of(header: &str, payload: &str) -> String {
    sign(header, payload, Algorithm::HS256, &EncodingKey::from_secret(SECRET.as_bytes()))
}

fn token_with(payload: &str) -> String {
    token_of(r#"{"alg":"HS256","typ":"JWT"}"#, payload)
}

fn good_token() -> String {
    token_with(&good_claims().to_string())
}

/// A signer and the key that fits it, for every algorithm.
fn every_algorithm() -> Vec<(Algorithm, EncodingKey, JwtKey)> {
    let rsa = || EncodingKey::from_rsa_pem(fixture!("rsa-2048.key.pem").as_bytes()).unwrap();
    let mut all: Vec<_> = [Algorithm::HS256, Algorithm::HS384, Algorithm::HS512]
        .map(|alg| (alg, EncodingKey::from_secret(SECRET.as_bytes()), hmac_key(alg, SECRET)))
        .into();
    for alg in [Algorithm::RS256, Algorithm::RS384, Algorithm::RS512, Algorithm::PS256, Algorithm::PS384, Algorithm::PS512] {
        all.push((alg, rsa(), public_key(alg, fixture!("rsa-2048.pem"))));
    }
    let p256 = EncodingKey::from_ec_pem(fixture!("p256.key.pem").as_bytes()).unwrap();
    all.push((Algorithm::ES256, p256, public_key(Algorithm::ES256, fixture!("p256.pem"))));
    let p384 = EncodingKey::from_ec_pem(fixture!("p384.key.pem").as_bytes()).unwrap();
    all.push((Algorithm::ES384, p384, public_key(Algorithm::ES384, fixture!("p384.pem"))));
    let ed25519 = EncodingKey::from_ed_pem(fixture!("ed25519.key.pem").as_bytes()).unwrap();
    all.push((Algorithm::EdDSA, ed25519, public_key(Algorithm::EdDSA, fixture!("ed25519.pem"))));
    all
}

#[test]
fn every_algorithm_passes_with_its_own_key_and_with_no_other() {
    let all = every_algorithm();
    for (signed_with, signer, _) in &all {
        let token = sign(&json!({"alg": signed_with}).to_string(), &good_claims().to_string(), *signed_with, signer);
        for (alg, _, key) in &all {
            let wanted = if alg == signed_with { "" } else { "alg is not the one of its key" };
            assert_eq!(reason(&auth(vec![key.clone()]), &token), wanted, "{signed_with:?} with a key for {alg:?}");
        }
    }
    assert_eq!(all.len(), 12);
}

#[test]
fn no_label_makes_one_algorithm_pass_for_another() {
    // The header says what the key is for; the signature is made with something else.
    let all = every_algorithm();
    for (signed_with, signer, _) in &all {
        for (alg, _, key) in all.iter().filter(|(alg, ..)| alg != signed_with) {
            let token = sign(&json!({"alg": alg}).to_string(), &good_claims().to_string(), *signed_with, signer);
            assert_eq!(reason(&auth(vec![key.clone()]), &token), "the signature is wrong", "{signed_with:?} as {alg:?}");
        }
    }
    // The classic: the public key, which everybody has, as an HMAC secret.
    for pem in [fixture!("rsa-2048.pem"), fixture!("p256.pem")] {
        let token =
            sign(r#"{"alg":"HS256"}"#, &good_claims().to_string(), Algorithm::HS256, &EncodingKey::from_secret(pem.as_bytes()));
        let rs256 = auth(vec![public_key(Algorithm::RS256, fixture!("rsa-2048.pem"))]);
        assert_eq!(reason(&rs256, &token), "alg is not the one of its key");
    }
}

#[test]
fn a_good_token_names_its_person() {
    let keys = json!(["web3:eip155:0xABC0", "acme:42", "43", "web3:0xabc0"]);
    let identity = verify(&hs256(), &token_with(&claims(&json!({"keys": keys, "campaigns": ["a"], "x": null})))).unwrap();
    let keys: Vec<_> = identity.keys().iter().map(UserKey::as_str).collect();
    assert_eq!(keys, ["acme:42", "web3:0xabc0", "acme:43", "campaign::a"]);
    assert_eq!(identity.user().as_str(), "acme:42");
    assert_eq!(identity.expires(), Timestamp((NOW.as_secs() + 900) * 1000));
}

#[test]
fn headers() {
    let unknown_alg = "alg is none that the gateway knows";
    let no_header = "the header is not a JSON object with alg, and each member once";
    let type_wrong = "typ is neither JWT nor at+jwt";
    for (header, wanted) in [
        (r#"{"alg":"HS256"}"#, ""),
        (r#" {"alg":"HS256","typ":"jwt","cty":"x","x5t":"y","unknown":1,"unknown":2}"#, ""),
        (r#"{"alg":"HS256","typ":"application/at+jwt"}"#, ""),
        (r#"{"alg":"HS256","typ":"logout+jwt"}"#, type_wrong),
        (r#"{"alg":"HS256","typ":"JWE"}"#, type_wrong),
        (r#"{"alg":"HS256","typ":1}"#, no_header),
        (r#"{"alg":"none"}"#, unknown_alg),
        (r#"{"alg":"NONE"}"#, unknown_alg),
        (r#"{"alg":"nOnE"}"#, unknown_alg),
        (r#"{"alg":""}"#, unknown_alg),
        (r#"{"alg":"hs256"}"#, unknown_alg),
        (r#"{"alg":"HS256 "}"#, unknown_alg),
        (r#"{"alg":null}"#, no_header),
        (r#"{"alg":["HS256"]}"#, no_header),
        (r#"{"typ":"JWT"}"#, no_header),
        (r#"{"alg":"HS384"}"#, "alg is not the one of its key"),
        (r#"{"alg":"RS256"}"#, "alg is not the one of its key"),
        (r#"{"alg":"none","alg":"HS256"}"#, no_header),
        (r#"{"alg":"none","\u0061lg":"HS256"}"#, no_header),
        (r#"["HS256"]"#, no_header),
        (r#"{"alg":"HS256"} {}"#, no_header),
        ("", no_header),
        (r#"{"alg":"HS256","crit":["exp"]}"#, "the header has crit"),
        (r#"{"alg":"HS256","crit":null}"#, "the header has crit"),
        (r#"{"alg":"HS256","jku":"http://127.0.0.1:1/jwks"}"#, "the header has jku"),
        (r#"{"alg":"HS256","x5u":"http://127.0.0.1:1/cert"}"#, "the header has x5u"),
        (r#"{"alg":"HS256","jwk":{"kty":"oct","k":"AAAA"}}"#, "the header has jwk"),
        (r#"{"alg":"HS256","x5c":[]}"#, "the header has x5c"),
        (r#"{"alg":"HS256","zip":"DEF"}"#, "the header has zip"),
        (r#"{"alg":"HS256","b64":false}"#, "the header has b64"),
        (r#"{"alg":"HS256","kid":"../../etc/passwd"}"#, "no key in auth.keys has its kid"),
        (r#"{"alg":"HS256","kid":""}"#, "no key in auth.keys has its kid"),
        (r#"{"alg":"HS256","kid":null}"#, no_header),
        (r#"{"alg":"HS256","kid":7}"#, no_header),
    ] {
        assert_eq!(reason(&hs256(), &token_of(header, &good_claims().to_string())), wanted, "{header}");
    }
    let long = format!(r#"{{"alg":"HS256","kid":"{}"}}"#, "k".repeat(257));
    assert_eq!(reason(&hs256(), &token_of(&long, "{}")), "kid is longer than 256 bytes");
}

#[test]
fn claims_that_are_missing_or_wrong() {
    let (iss, aud) = ("iss is not auth.issuer", "aud is not auth.audience");
    let aud_type = "aud is neither a string nor a list of strings";
    let keys_type = "keys is not a list of strings";
    let long = "x".repeat(257);
    for (changes, wanted) in [
        (json!({"aud": ["somebody", "claimr-relay"]}), ""),
        (json!({"aud": "absent"}), "aud is missing"),
        (json!({"aud": "claimr"}), aud),
        (json!({"aud": "Claimr-Relay"}), aud),
        (json!({"aud": ""}), aud),
        (json!({"aud": []}), aud),
        (json!({"aud": ["somebody", "else"]}), aud),
        (json!({"aud": ["claimr-relay", 1]}), aud_type),
        (json!({"aud": null}), aud_type),
        (json!({"aud": {"a": "claimr-relay"}}), aud_type),
        (json!({"iss": "absent"}), "iss is missing"),
        (json!({"iss": "https://app.example.com/"}), iss),
        (json!({"iss": "http://127.0.0.1:1"}), iss),
        (json!({"iss": ["https://app.example.com"]}), "iss is not a string"),
        (json!({"iss": null}), "iss is not a string"),
        (json!({"sub": "web3:0xABC0"}), ""),
        (json!({"sub": "x".repeat(250)}), ""),
        (json!({"sub": format!("acme:{}", "x".repeat(251))}), ""),
        (json!({"sub": "absent"}), "sub is missing"),
        (json!({"sub": ""}), "sub is empty"),
        (json!({"sub": 42}), "sub is not a string"),
        (json!({"sub": null}), "sub is not a string"),
        (json!({"sub": ["42"]}), "sub is not a string"),
        (json!({"sub": long}), "sub is longer than 256 bytes"),
        (json!({"sub": "x".repeat(252)}), "sub is longer than 256 bytes with its platform"),
        (json!({"sub": ":42"}), "sub is not platform:account"),
        (json!({"sub": "acme::42"}), "sub is not platform:account"),
        (json!({"jti": ""}), ""),
        (json!({"jti": 7}), "jti is not a string"),
        (json!({"jti": null}), "jti is not a string"),
        (json!({"keys": []}), ""),
        (json!({"keys": null}), keys_type),
        (json!({"keys": "web3:0xabc0"}), keys_type),
        (json!({"keys": [1]}), keys_type),
        (json!({"keys": ["web3:0xabc0", ""]}), "keys has an entry that is not platform:account"),
        (json!({"keys": ["web3:"]}), "keys has an entry that is not platform:account"),
    ] {
        assert_eq!(reason(&hs256(), &token_with(&claims(&changes))), wanted, "{changes}");
    }
    let no_platform = config::Auth { default_platform: None, ..hs256() };
    assert_eq!(reason(&no_platform, &good_token()), "sub has no platform, and auth.default_platform is not set");
    assert_eq!(reason(&no_platform, &token_with(&claims(&json!({"sub": "acme:42"})))), "");
}

#[test]
fn moments() {
    let (exp, nbf, iat) = ("exp is not seconds since 1970", "nbf is not seconds since 1970", "iat is not seconds since 1970");
    let far = "exp is further away than auth.token_life_max";
    // NOW is half a second after NOW_S.
    for (changes, wanted) in [
        (json!({"exp": NOW_S - 29, "iat": NOW_S - 900}), ""),
        (json!({"exp": NOW_S - 29}), ""),
        (json!({"exp": NOW_S - 30, "iat": NOW_S - 900}), "expired"),
        (json!({"exp": NOW_S - 31, "iat": NOW_S - 900}), "expired"),
        (json!({"exp": NOW_S - 31, "iat": "absent"}), "expired"),
        (json!({"exp": NOW_S - 31, "aud": "claimr"}), "aud is not auth.audience"),
        (json!({"exp": 0}), "expired"),
        (json!({"exp": 1_732_350_000.25}), ""),
        (json!({"exp": "absent"}), "exp is missing"),
        (json!({"exp": "never"}), exp),
        (json!({"exp": "1732360000"}), exp),
        (json!({"exp": null}), exp),
        (json!({"exp": true}), exp),
        (json!({"exp": []}), exp),
        (json!({"exp": -1}), exp),
        (json!({"exp": 1e300}), exp),
        (json!({"exp": 1e15}), far),
        (json!({"exp": (NOW_S + 900) * 1000}), far),
        (json!({"exp": NOW_S + 86_400}), ""),
        (json!({"exp": NOW_S + 86_401}), far),
        (json!({"exp": NOW_S + 86_400, "iat": "absent"}), ""),
        (json!({"exp": NOW_S + 86_431, "iat": "absent"}), far),
        (json!({"exp": NOW_S + 60, "iat": NOW_S - 86_400}), far),
        (json!({"iat": NOW_S + 30}), ""),
        (json!({"iat": NOW_S + 31}), "iat is in the future"),
        (json!({"iat": NOW_S + 365 * 86_400, "exp": NOW_S + 366 * 86_400}), "iat is in the future"),
        (json!({"iat": "1732350000"}), iat),
        (json!({"iat": null}), iat),
        (json!({"nbf": NOW_S}), ""),
        (json!({"nbf": NOW_S + 30}), ""),
        (json!({"nbf": 1_732_350_030.5, "iat": 1_732_350_030.5}), ""),
        (json!({"nbf": NOW_S + 300}), "nbf is in the future"),
        (json!({"nbf": "99999999999"}), nbf),
        (json!({"nbf": null}), nbf),
        (json!({"nbf": -1}), nbf),
    ] {
        assert_eq!(reason(&hs256(), &token_with(&claims(&changes))), wanted, "{changes}");
    }
    // Beyond a 64-bit float, which `json!` cannot write.
    assert_eq!(reason(&hs256(), &token_with(&claims(&json!({"exp": 7777})).replace("7777", "1e400"))), exp);
    let strict = config::Auth { leeway: Duration::ZERO, ..hs256() };
    assert_eq!(reason(&strict, &token_with(&claims(&json!({"exp": NOW_S})))), "expired");
    assert_eq!(reason(&strict, &token_with(&claims(&json!({"exp": NOW_S + 1})))), "");
}

#[test]
fn a_claim_counts_only_if_it_stands_once() {
    let not_once = "the payload is not a JSON object with each claim once";
    let good = good_claims().to_string();
    for name in ["iss", "aud", "sub", "exp", "nbf", "iat", "jti", "keys", r"su\u0062"] {
        let one = format!(r#""{name}":"x""#);
        let twice = good.replacen('{', &format!("{{{one},{one},"), 1);
        assert_eq!(reason(&hs256(), &token_with(&twice)), not_once, "{name}");
    }
    assert_eq!(reason(&hs256(), &token_with(&good.replacen('{', r#"{"x":1,"x":2,"#, 1))), "");
    let array = r#"["https://app.example.com","claimr-relay","42",1732360000]"#;
    for payload in [array, "", "null", "[]", "{", &format!("{good} x"), &format!("\u{feff}{good}"), r#"{"iss":"\ud800"#] {
        assert_eq!(reason(&hs256(), &token_with(payload)), not_once, "{payload}");
    }
    assert_eq!(reason(&hs256(), &token_with(&claims(&json!({"sub": "4\\ud8002"})).replace(r"\\", r"\"))), "sub is not a string");
}

#[test]
fn forms_other_than_the_compact_one() {
    let good = good_token();
    let (header, rest) = good.split_once('.').unwrap();
    let (payload, signature) = rest.split_once('.').unwrap();
    let (parts, base64) = ("it is not three parts", "it is not three parts of canonical base64url");
    for (token, wanted) in [
        (String::new(), parts),
        (format!("{header}.{payload}"), parts),
        (format!("{good}."), parts),
        (format!("{good}.{signature}"), parts),
        (format!("{header}.{payload}."), "the signature is wrong"),
        (format!("{header}.{payload}.{signature}="), base64),
        (format!("{header}=.{payload}.{signature}"), base64),
        (format!(" {good}"), base64),
        (format!("{good}\n"), base64),
        (format!("Bearer {good}"), base64),
        (good.replace('.', ".+"), base64),
        (good.replace('.', "./"), base64),
        (format!(r#"{{"protected":"{header}","payload":"{payload}","signature":"{signature}"}}"#), parts),
        ("..".into(), "the header is not a JSON object with alg, and each member once"),
        ("\0.é.\u{202e}".into(), base64),
        (format!("{good}{}", "A".repeat(4_096)), "it is longer than limits.token_bytes_max"),
        ("x".repeat(4_097), "it is longer than limits.token_bytes_max"),
        ("x".repeat(4_096), parts),
    ] {
        assert_eq!(reason(&hs256(), &token), wanted, "{token}");
    }
    // 32 bytes are 43 letters and two spare bits, which only one of four spellings leaves unset.
    let last = signature.chars().next_back().unwrap();
    let spelling = |shift: u8| char::from(last as u8 + shift);
    let respelled = format!("{}{}", &good[..good.len() - 1], spelling(1));
    assert_eq!(reason(&hs256(), &respelled), base64);
}

#[test]
fn signatures_that_are_no_signatures() {
    let (_, private, key) = every_algorithm().into_iter().find(|(alg, ..)| *alg == Algorithm::ES256).unwrap();
    let es256 = auth(vec![key]);
    let good = sign(r#"{"alg":"ES256"}"#, &good_claims().to_string(), Algorithm::ES256, &private);
    let (signed, signature) = good.rsplit_once('.').unwrap();
    let raw = B64.decode(signature.as_bytes()).unwrap();
    let integer = |bytes: &[u8]| [&[2, 33, 0], bytes].concat();
    let der = [vec![0x30, 70], integer(&raw[..32]), integer(&raw[32..])].concat();
    let wrong =
        [vec![0; 64], [vec![0; 32], raw[32..].to_vec()].concat(), der, raw[..63].to_vec(), vec![], [&raw[..], &[0]].concat()];
    for signature in wrong {
        let token = format!("{signed}.{}", B64.encode(&signature));
        assert_eq!(reason(&es256, &token), "the signature is wrong", "{signature:?}");
    }
    assert_eq!(reason(&es256, &good), "");
}

#[test]
fn a_kid_names_its_key_and_no_other() {
    let token = |kid: Option<&str>, secret: &str| {
        let header = kid.map_or(json!({"alg": "HS256"}), |kid| json!({"alg": "HS256", "kid": kid}));
        let signer = EncodingKey::from_secret(secret.as_bytes());
        sign(&header.to_string(), &good_claims().to_string(), Algorithm::HS256, &signer)
    };
    let (ours, theirs) = (hmac_key(Algorithm::HS256, SECRET), hmac_key(Algorithm::HS256, OTHER_SECRET));
    let both = auth(vec![named("a", ours.clone()), named("b", theirs.clone())]);
    let rotating = auth(vec![ours.clone(), theirs.clone(), named("a", ours.clone())]);
    let wrong = "the signature is wrong";
    for (auth, kid, secret, wanted) in [
        (&both, Some("a"), SECRET, ""),
        (&both, Some("b"), OTHER_SECRET, ""),
        (&both, Some("b"), SECRET, wrong),
        (&both, Some("A"), SECRET, "no key in auth.keys has its kid"),
        (&both, None, SECRET, "it has no kid, and every key in auth.keys has one"),
        (&rotating, None, SECRET, ""),
        (&rotating, None, OTHER_SECRET, ""),
        (&rotating, None, "a third secret that nobody knows", wrong),
        (&rotating, Some("a"), OTHER_SECRET, wrong),
    ] {
        assert_eq!(reason(auth, &token(kid, secret)), wanted, "{kid:?} {secret}");
    }
    let until = |end| auth(vec![JwtKey { not_after: Some(end), ..ours.clone() }, theirs.clone()]);
    assert_eq!(reason(&until(NOW), &token(None, SECRET)), "");
    assert_eq!(reason(&until(Timestamp(NOW.0 - 1)), &token(None, SECRET)), wrong);
    let ended = auth(vec![JwtKey { not_after: Some(Timestamp(NOW.0 - 1)), ..ours }]);
    assert_eq!(reason(&ended, &token(None, SECRET)), "its key is past not_after");
}

#[test]
fn no_flipped_bit_passes() {
    for (alg, signer, key) in every_algorithm() {
        let good = sign(&json!({"alg": alg}).to_string(), &good_claims().to_string(), alg, &signer);
        let verifier = Verifier::new(&auth(vec![key]), 4_096).unwrap_or_else(|problems| panic!("{problems:?}"));
        assert!(verifier.verify(&good, NOW).is_ok(), "{alg:?}");
        for bit in 0..good.len() * 8 {
            let mut bytes = good.clone().into_bytes();
            bytes[bit / 8] ^= 1 << (bit % 8);
            if let Ok(token) = String::from_utf8(bytes) {
                assert!(verifier.verify(&token, NOW).is_err(), "{alg:?} {token}");
            }
        }
    }
}

#[test]
fn minted_tokens_pass() {
    let user = UserKey::new("acme", "42").unwrap();
    let wallet = UserKey::new("web3", "0xabc0").unwrap();
    let life = Duration::from_mins(15);
    for alg in [Algorithm::HS256, Algorithm::HS384, Algorithm::HS512] {
        let ended = JwtKey { not_after: Some(Timestamp(0)), ..hmac_key(alg, OTHER_SECRET) };
        let auth = auth(vec![public_key(Algorithm::RS256, fixture!("rsa-2048.pem")), ended, named("k", hmac_key(alg, SECRET))]);
        let token = mint(&auth, &user, std::slice::from_ref(&wallet), life, NOW).unwrap();
        let identity = verify(&auth, &token).unwrap();
        assert_eq!(identity.keys(), [user.clone(), wallet.clone()]);
        assert_eq!(identity.expires(), Timestamp((NOW.as_secs() + 900) * 1000));
        assert!(looks_like_jwt(&token));
    }
    let public_only = auth(vec![public_key(Algorithm::ES256, fixture!("p256.pem"))]);
    assert_eq!(mint(&public_only, &user, &[], life, NOW), Err(MintError::NoSecret));
    let too_long = mint(&hs256(), &user, &[], Duration::from_hours(25), NOW);
    assert_eq!(too_long.unwrap_err().to_string(), "a token may live 86400s at most (auth.token_life_max)");
}

#[test]
fn what_looks_like_a_token_in_a_url() {
    let good = good_token();
    for (text, wanted) in [
        (good.as_str(), true),
        ("eyJhbGciOiJub25lIn0.e30.", true),
        ("eyJhbGciOiJkaXIifQ..aXY.Y2lwaGVy.dGFn", true),
        ("eyJhbGciOiJIUzI1NiJ9==.e30.c2ln", true),
        ("", false),
        ("eyJhbGciOiJIUzI1NiJ9", false),
        ("eyJhbGciOiJIUzI1NiJ9.e30", false),
        ("k3f9000000:1042", false),
        ("crt2_AAAA.BBBB", false),
        ("www.example.com", false),
        ("eyJ a.b.c", false),
    ] {
        assert_eq!(looks_like_jwt(text), wanted, "{text}");
    }
}

proptest! {
    #[test]
    fn no_text_panics_or_passes(text in ".{0,200}|[A-Za-z0-9_-]{0,40}(\\.[A-Za-z0-9_-]{0,40}){0,5}") {
        prop_assert!(verify(&hs256(), &text).is_err());
        let _ = looks_like_jwt(&text);
    }

    #[test]
    fn no_signed_payload_panics(payload in ".{0,200}", claim in "iss|aud|sub|exp|nbf|iat|keys", value in ".{0,30}|-?[0-9]{1,30}(\\.[0-9]{1,5})?(e-?[0-9]{1,4})?") {
        let _ = verify(&hs256(), &token_with(&payload));
        let _ = verify(&hs256(), &token_with(&claims(&json!({claim: 7777})).replace("7777", &value)));
    }
}
