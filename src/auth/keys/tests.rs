//! Weak, misplaced and ended keys.

use super::*;
use crate::auth::tests::{NOW, SECRET, auth, fixture, hmac_key, public_key};

fn problems(auth: &config::Auth) -> Vec<KeyProblem> {
    KeyRing::new(auth, Vec::new()).err().unwrap_or_default()
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
    let ring = KeyRing::new(&auth(vec![key]), Vec::new()).unwrap_or_else(|problems| panic!("{problems:?}"));
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, SECRET.as_bytes()), b"m");
    let check = |now| ring.check((Algorithm::HS256, None), b"m", tag.as_ref(), now);
    assert_eq!(check(NOW), Ok(()));
    assert_eq!(check(Timestamp(NOW.0 + 1)), Err(Rejection::Invalid("its key is past not_after")));
}
