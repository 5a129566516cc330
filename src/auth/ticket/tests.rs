//! Whom a ticket speaks for, from where, until when, and nothing else.

use jsonwebtoken::Algorithm;
use proptest::prelude::*;

use super::*;
use crate::auth::{
    jwt::{Verifier, looks_like_jwt, mint},
    tests::{NOW, SECRET, auth, fixture, hmac_key, hs256, public_key},
};

const APP: &str = "https://app.example.com";

fn tickets() -> Tickets {
    Tickets::from_config(&hs256()).unwrap()
}

fn person(keys: &[&str]) -> Identity {
    marked(keys, TokenMark { issued: Some(NOW), id: Some(TokenId::of("a token")) })
}

fn marked(keys: &[&str], mark: TokenMark) -> Identity {
    let mut keys = keys.iter().map(|text| UserKey::parse(text, None).unwrap());
    Identity::new(keys.next().unwrap(), keys, NOW.plus(Duration::from_mins(15)), mark).unwrap()
}

#[test]
fn a_ticket_is_marked_as_its_token_is() {
    for issued in [None, Some(NOW)] {
        for id in [None, Some(TokenId::of("a")), Some(TokenId::of(""))] {
            let person = marked(&["acme:42"], TokenMark { issued, id });
            let ticket = tickets().issue(&person, Some(APP));
            assert_eq!(tickets().verify(&ticket, Some(APP), NOW), Ok(person));
        }
    }
}

#[test]
fn a_ticket_that_is_too_long_is_not_read() {
    let too_long = Err(Rejection::Invalid("the ticket is longer than 4,096 bytes"));
    let no_ticket = Err(Rejection::Invalid("it is not a ticket of this version"));
    for (bytes, refusal) in [(4_096, no_ticket), (4_097, too_long.clone()), (9_999, too_long)] {
        assert_eq!(tickets().verify(&"x".repeat(bytes), None, NOW), refusal, "{bytes}");
    }
}

#[test]
fn a_ticket_speaks_for_the_person_of_the_token() {
    let person = person(&["acme:42", "web3:0xabc0", "email:é@b.c"]);
    for origin in [None, Some(APP)] {
        let ticket = tickets().issue(&person, origin);
        assert_eq!(tickets().verify(&ticket, origin, NOW), Ok(person.clone()), "{origin:?}");
        assert!(ticket.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b)), "{ticket}");
    }
}

#[test]
fn origins() {
    for (issued_for, presented_by, good) in [
        (Some(APP), Some(APP), true),
        (Some(APP), None, true),
        (Some(APP), Some("https://app.example.com:444"), false),
        (Some(APP), Some("http://app.example.com"), false),
        (Some(APP), Some("https://app.example.com.evil.io"), false),
        (Some(APP), Some("null"), false),
        (Some(APP), Some(""), false),
        (None, None, true),
        (None, Some(APP), false),
        (None, Some(""), false),
    ] {
        let ticket = tickets().issue(&person(&["acme:42"]), issued_for);
        let result = tickets().verify(&ticket, presented_by, NOW).map(|_| ());
        let wanted = if good { Ok(()) } else { Err(Rejection::WrongOrigin) };
        assert_eq!(result, wanted, "{issued_for:?} {presented_by:?}");
    }
}

#[test]
fn a_ticket_ends_with_its_token() {
    let auth = hs256();
    let verifier = Verifier::new(&auth, 4_096).unwrap_or_else(|problems| panic!("{problems:?}"));
    let user = UserKey::new("acme", "42").unwrap();
    let token = mint(&auth, &user, &[], Duration::from_mins(15), NOW).unwrap();
    let identity = verifier.verify(&token, NOW).unwrap();
    let ticket = tickets().issue(&identity, None);
    let end = identity.expires();
    for (now, good) in [(NOW, true), (end, true), (Timestamp(end.0 + 29_999), true), (Timestamp(end.0 + 30_000), false)] {
        let wanted = if good { Ok(identity.clone()) } else { Err(Rejection::Expired) };
        assert_eq!(verifier.verify(&token, now), wanted, "token at {now:?}");
        assert_eq!(tickets().verify(&ticket, None, now), wanted, "ticket at {now:?}");
    }
}

#[test]
fn token_and_ticket_never_pass_for_each_other() {
    let auth = hs256();
    let verifier = Verifier::new(&auth, 4_096).unwrap_or_else(|problems| panic!("{problems:?}"));
    let token = mint(&auth, &UserKey::new("acme", "42").unwrap(), &[], Duration::from_mins(15), NOW).unwrap();
    let ticket = tickets().issue(&person(&["acme:42"]), None);
    assert!(!looks_like_jwt(&ticket));
    for ticket in [ticket.clone(), format!("{ticket}."), format!("e30.{ticket}"), ticket.replacen("crt2_", "", 1)] {
        assert!(verifier.verify(&ticket, NOW).is_err(), "{ticket}");
    }
    let (signed, signature) = token.rsplit_once('.').unwrap();
    for token in [token.clone(), format!("crt2_{token}"), format!("crt2_{}.{signature}", signed.replace('.', ""))] {
        assert!(tickets().verify(&token, None, NOW).is_err(), "{token}");
    }
}

#[test]
fn the_key_comes_from_the_configuration() {
    let first = hmac_key(Algorithm::HS384, SECRET);
    let second = hmac_key(Algorithm::HS256, "another secret, of somebody else");
    let public = public_key(Algorithm::ES256, fixture!("p256.pem"));
    let explicit = |secret: &str| Some(secret.to_owned().into());
    let ticket = tickets().issue(&person(&["acme:42"]), None);
    for (auth, good) in [
        (hs256(), true),
        (auth(vec![public.clone(), first.clone(), second.clone()]), true),
        (auth(vec![second, first.clone()]), false),
        (config::Auth { ticket_secret: explicit(SECRET), ..auth(vec![public.clone()]) }, true),
        (config::Auth { ticket_secret: explicit("a secret for nothing but tickets!"), ..hs256() }, false),
        (config::Auth { audience: "claimr-relay-staging".into(), ..hs256() }, false),
        (config::Auth { issuer: "https://staging.example.com".into(), ..hs256() }, false),
    ] {
        let result = Tickets::from_config(&auth).unwrap().verify(&ticket, None, NOW).map(|_| ());
        let wanted = if good { Ok(()) } else { Err(Rejection::Invalid("the ticket's signature is wrong")) };
        assert_eq!(result, wanted, "{auth:?}");
    }
    assert!(Tickets::from_config(&auth(vec![public])).is_none());
}

#[test]
fn no_changed_ticket_passes() {
    let good = tickets().issue(&person(&["acme:42"]), Some(APP));
    let changed = [format!("{good}="), format!("{good}\n"), format!(" {good}"), good.replace('.', ".."), "x".repeat(5_000)];
    let flipped = (0..good.len() * 8).filter_map(|bit| {
        let mut bytes = good.clone().into_bytes();
        bytes[bit / 8] ^= 1 << (bit % 8);
        String::from_utf8(bytes).ok()
    });
    for ticket in flipped.chain((0..good.len()).map(|end| good[..end].to_owned())).chain(changed) {
        assert!(matches!(tickets().verify(&ticket, Some(APP), NOW), Err(Rejection::Invalid(_))), "{ticket}");
    }
}

#[test]
fn the_largest_person_fits_into_a_ticket() {
    let mut keys: Vec<String> = (0..Identity::KEYS_MAX - 1).map(|i| format!("web3:{i:0>80}")).collect();
    let rest = Identity::KEYS_BYTES_MAX - keys.iter().map(String::len).sum::<usize>();
    keys.push(format!("a:{}", "x".repeat(rest - 2)));
    let person = person(&keys.iter().map(String::as_str).collect::<Vec<_>>());
    let ticket = tickets().issue(&person, Some(&"https://a.example".repeat(100)));
    assert!(ticket.len() <= Tickets::BYTES_MAX, "{}", ticket.len());
    assert_eq!(tickets().verify(&ticket, None, NOW), Ok(person));
}

proptest! {
    #[test]
    fn every_person_and_origin_reads_back(
        accounts in proptest::collection::vec(".{1,40}", 1..20),
        origin in proptest::option::of(".{0,60}"),
        expires in NOW.0..,
        issued in proptest::option::of(any::<u64>()),
        jti in proptest::option::of(".{0,20}"),
    ) {
        let mark = TokenMark { issued: issued.map(Timestamp), id: jti.as_deref().map(TokenId::of) };
        let mut keys = accounts.iter().filter_map(|account| UserKey::new("acme", account).ok());
        if let Some(user) = keys.next()
            && let Ok(person) = Identity::new(user, keys, Timestamp(expires), mark)
        {
            let ticket = tickets().issue(&person, origin.as_deref());
            prop_assert!(ticket.len() <= Tickets::BYTES_MAX);
            prop_assert_eq!(tickets().verify(&ticket, origin.as_deref(), NOW), Ok(person));
        }
    }

    #[test]
    fn no_text_passes_and_no_payload_panics(text in ".{0,200}|crt2_[A-Za-z0-9_-]{0,60}\\.[A-Za-z0-9_-]{43}", payload: Vec<u8>) {
        prop_assert!(tickets().verify(&text, None, NOW).is_err());
        let _ = read(&payload);
    }
}
