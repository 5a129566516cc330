//! How much a delivery may cost, and the edges of what counts as a signature.

use super::*;
use crate::claimr::signature::{found::is_standard_signature, shape::split_word};

#[test]
fn a_hostile_delivery_costs_a_bounded_number_of_hmacs() {
    let zeros = "0".repeat(64);
    let mut lines = vec![("x-b".to_owned(), BASE64.encode(&[1; 20])), ("x-c".to_owned(), BASE64.encode(&[1; 64]))];
    for i in 0..30 {
        lines.push((format!("a{i}-signature"), format!("t={},v1={zeros}", T + i)));
        lines.push((format!("x-{i}"), format!("w{i}={zeros} ").repeat(40)));
        lines.push(("x-many".to_owned(), zeros.clone()));
    }
    for family in ["webhook", "svix"] {
        lines.push((format!("{family}-id"), family.to_owned()));
        lines.push((format!("{family}-timestamp"), T.to_string()));
        lines.push((format!("{family}-signature"), format!("v1,{} ", BASE64.encode(&[1; 32])).repeat(40)));
    }
    let lines: Vec<_> = lines.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let hooks = [hook("YWJjZA==", None, 0), hook("YWJjZB==", None, 1)];
    let ring: Vec<_> = hooks.iter().map(|hook| Secret::new(hook, &Signature::Detect).unwrap()).collect();
    let headers = headers(&lines);
    for ring in [&ring[..1], &ring] {
        let mut attempt = Attempt::new(ring, 0, &headers, BODY.as_bytes(), at(T));
        assert_eq!(detect(&mut attempt).err(), Some(Refusal::Invalid));
        let hmacs = attempt.hmacs();
        assert!((4 * ring.len()..=HMACS_PER_SECRET_MAX * ring.len()).contains(&hmacs), "{hmacs}");
    }
}

#[test]
fn a_source_has_eight_secrets_at_most() {
    for (secrets, refused) in [(SECRETS_MAX, false), (SECRETS_MAX + 1, true)] {
        assert_eq!(assemble(&vec![("a", None); secrets], &Signature::Detect).is_err(), refused);
    }
}

#[test]
fn only_two_headers_hold_standard_signatures() {
    let table = [("webhook-signature", true), ("svix-signature", true), ("x-signature", false), ("webhook-id", false)];
    for (name, expected) in table {
        assert_eq!(is_standard_signature(&name.parse().unwrap()), expected, "{name}");
    }
}

/// A sender may name its header as Standard Webhooks does and sign plainly.
#[test]
fn a_standard_name_is_not_a_standard_signature() {
    for name in ["webhook-signature", "svix-signature"] {
        assert_eq!(judge(&detecting(SECRET), &[(name, PLAIN)], BODY, T), "ok", "{name}");
    }
}

#[test]
fn a_word_before_a_value_is_short_and_followed_by_something() {
    let table = [
        ("sha256=abc", "sha256=", "abc"),
        ("a=b", "a=", "b"),
        ("sha-2_56=abc", "sha-2_56=", "abc"),
        ("a b=abc", "", "a b=abc"),
        ("=abc", "", "=abc"),
        ("abc=", "", "abc="),
        ("abc==", "", "abc=="),
        ("abcdefghijklmnop=x", "abcdefghijklmnop=", "x"),
        ("abcdefghijklmnopq=x", "", "abcdefghijklmnopq=x"),
    ];
    for (item, word, value) in table {
        assert_eq!(split_word(item.as_bytes()), (word, value.as_bytes()), "{item}");
    }
}

/// Sixteen shapes are tried; a right signature behind them is not found.
#[test]
fn so_many_shapes_are_tried_and_no_more() {
    let zeros = "0".repeat(64);
    for (others, expected) in [(15, "ok"), (16, "signature_invalid")] {
        let mut lines: Vec<_> = (0..others).map(|i| (format!("a{i:02}-signature"), zeros.clone())).collect();
        lines.push(("x-else".to_owned(), PLAIN.to_owned()));
        let lines: Vec<_> = lines.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        assert_eq!(judge(&detecting(SECRET), &lines, BODY, T), expected, "{others}");
    }
}
