use aws_lc_rs::hmac;
use data_encoding::{BASE64, BASE64_NOPAD, BASE64URL, BASE64URL_NOPAD, HEXLOWER, HEXUPPER};
use http::HeaderName;
use proptest::prelude::*;

use super::*;
use crate::config::{HmacAlgorithm, HmacEncoding};

mod bounds;

const SECRET: &str = "my-secret-key";
const BODY: &str = r#"{"scope":"user_activity","pid":"fLEFzw90"}"#;
const PLAIN: &str = "e866cc1d81ed6b995898923beee04fb4713458a8b026848502cad26dc43fc206";
const T: u64 = 1_700_000_000;

fn at(seconds: u64) -> Timestamp {
    Timestamp(seconds * 1000)
}

fn hook(secret: &str, not_after: Option<u64>, i: usize) -> HookSecret {
    HookSecret { secret: secret.into(), not_after: not_after.map(at), setting: format!("sources[0].secrets[{i}]") }
}

fn assemble(secrets: &[(&str, Option<u64>)], signature: &Signature) -> Result<Verifier, Vec<Problem>> {
    let hooks: Vec<_> = secrets.iter().enumerate().map(|(i, (secret, end))| hook(secret, *end, i)).collect();
    Verifier::assemble("claimr", "sources[0]", &hooks, false, signature)
}

fn pinned(secret: &str, signature: &Signature) -> Verifier {
    assemble(&[(secret, None)], signature).unwrap_or_else(|problems| panic!("{problems:?}"))
}

fn detecting(secret: &str) -> Verifier {
    pinned(secret, &Signature::Detect)
}

/// Header lines as they stand.
type Lines<'a> = &'a [(&'a str, &'a str)];

fn headers(lines: Lines<'_>) -> HeaderMap {
    let line = |(name, value): &(&str, &str)| (name.parse::<HeaderName>().unwrap(), value.parse::<HeaderValue>().unwrap());
    let mut headers = HeaderMap::new();
    for (name, value) in lines.iter().map(line) {
        headers.append(name, value);
    }
    headers
}

/// The outcome in a word: `ok`, or the refusal's code.
fn judge(verifier: &Verifier, lines: Lines<'_>, body: &str, now: u64) -> &'static str {
    verifier.verify(&headers(lines), body.to_owned().into(), at(now)).map_or_else(Refusal::code, |_| "ok")
}

fn mac(hash: hmac::Algorithm, key: &[u8], message: &str) -> Vec<u8> {
    hmac::sign(&hmac::Key::new(hash, key), message.as_bytes()).as_ref().to_vec()
}

fn sha256(key: &[u8], message: &str) -> Vec<u8> {
    mac(hmac::HMAC_SHA256, key, message)
}

fn stripe(t: &str, body: &str) -> String {
    format!("t={t},v1={}", HEXLOWER.encode(&sha256(SECRET.as_bytes(), &format!("{t}.{body}"))))
}

fn standard(key: &[u8], id: &str, t: &str, body: &str) -> String {
    format!("v1,{}", BASE64.encode(&sha256(key, &format!("{id}.{t}.{body}"))))
}

#[test]
fn the_published_vectors_verify_and_say_how_to_pin_them() {
    let table: [(&str, &str, u64, Lines<'_>, &str); 4] = [
        (
            "It's a Secret to Everybody",
            "Hello, World!",
            T,
            &[("X-Hub-Signature-256", "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17")],
            r#"signature = { scheme = "hmac", header = "x-hub-signature-256", algorithm = "sha256", encoding = "hex", prefix = "sha256=" }"#,
        ),
        (
            "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
            r#"{"test": 2432232314}"#,
            1_614_265_330,
            &[
                ("webhook-id", "msg_p5jXN8AQM9LWM0D4loKWxJek"),
                ("webhook-timestamp", "1614265330"),
                ("webhook-signature", "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="),
            ],
            r#"signature = { scheme = "standard-webhooks" }"#,
        ),
        (
            SECRET,
            BODY,
            T,
            &[("X-Claimr-Signature", PLAIN)],
            r#"signature = { scheme = "hmac", header = "x-claimr-signature", algorithm = "sha256", encoding = "hex", prefix = "" }"#,
        ),
        (
            SECRET,
            BODY,
            T,
            &[("Claimr-Signature", "t=1700000000,v1=2e6846c099abcc33853d3c58fa3af11acca7797c914c2a30d00f1f9babc12e6c")],
            r#"signature = { scheme = "stripe", header = "claimr-signature" }"#,
        ),
    ];
    for (secret, body, now, lines, toml) in table {
        let verified = detecting(secret).verify(&headers(lines), body.into(), at(now)).unwrap();
        assert_eq!(verified.scheme().unwrap().to_toml(), toml);
        assert_eq!((verified.body(), verified.secret()), (&Bytes::from(body), Some(0)));
        assert_eq!(verified.delivery_id(), (lines.len() == 3).then_some("msg_p5jXN8AQM9LWM0D4loKWxJek"));
    }
}

#[test]
fn every_hash_and_encoding_verifies_in_any_header() {
    let hashes = [
        (HmacAlgorithm::Sha1, hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY),
        (HmacAlgorithm::Sha256, hmac::HMAC_SHA256),
        (HmacAlgorithm::Sha512, hmac::HMAC_SHA512),
    ];
    for (algorithm, hash) in hashes {
        let value = mac(hash, SECRET.as_bytes(), BODY);
        let texts = [
            (HmacEncoding::Hex, HEXLOWER.encode(&value)),
            (HmacEncoding::Hex, HEXUPPER.encode(&value)),
            (HmacEncoding::Base64, BASE64.encode(&value)),
            (HmacEncoding::Base64, BASE64_NOPAD.encode(&value)),
            (HmacEncoding::Base64, BASE64URL.encode(&value)),
            (HmacEncoding::Base64, BASE64URL_NOPAD.encode(&value)),
        ];
        for (encoding, text) in texts {
            for (header, prefix) in [("X-Signature", ""), ("authorization", ""), ("q", "sha256="), ("cookie", "sig_v-1=")] {
                let value = format!("{prefix}{text}");
                let lines = [("host", "a"), ("x-request-id", &"0".repeat(64)), (header, value.as_str())];
                let verified = detecting(SECRET).verify(&headers(&lines), BODY.into(), at(T)).unwrap();
                let header = header.to_lowercase();
                let expected = Found::Hmac { header: header.parse().unwrap(), algorithm, encoding, prefix: prefix.to_owned() };
                assert_eq!(verified.scheme(), Some(&expected));
                let pin = Signature::Hmac { header, algorithm, encoding, prefix: prefix.into() };
                assert_eq!(judge(&pinned(SECRET, &pin), &lines, BODY, T), "ok", "{value}");
            }
        }
    }
}

#[test]
fn a_signature_that_is_not_right_is_invalid_and_none_is_missing() {
    let (cut, upper, long) = (&PLAIN[..63], PLAIN.to_uppercase(), format!("{PLAIN}0"));
    let other = HEXLOWER.encode(&sha256(b"another", BODY));
    let spaced = HEXLOWER.encode(&sha256(SECRET.as_bytes(), r#"{"scope": "user_activity", "pid": "fLEFzw90"}"#));
    let digest = BASE64.encode(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, BODY.as_bytes()).as_ref());
    let table: [(Lines<'_>, &str); 14] = [
        (&[], "signature_missing"),
        (
            &[("host", "a"), ("user-agent", "claimr"), ("content-type", "application/json"), ("content-length", "42")],
            "signature_missing",
        ),
        (&[("webhook-id", "msg_1"), ("webhook-timestamp", "1700000000")], "signature_missing"),
        (&[("x-signature", &upper)], "ok"),
        (&[("x-signature", "")], "signature_invalid"),
        (&[("x-signature", cut)], "signature_invalid"),
        (&[("x-signature", &long)], "signature_invalid"),
        (&[("x-signature", &other)], "signature_invalid"),
        (&[("x-anything", &other)], "signature_invalid"),
        (&[("x-signature", &spaced)], "signature_invalid"),
        (&[("x-hmac-sha256", "nonsense")], "signature_invalid"),
        (&[("digest", &digest)], "signature_invalid"),
        (&[("x-signature", &other), ("x-signature", PLAIN)], "ok"),
        (&[("x-signature", &format!("sha256={other}, sha256={PLAIN}"))], "ok"),
    ];
    for (lines, outcome) in table {
        assert_eq!(judge(&detecting(SECRET), lines, BODY, T), outcome, "{lines:?}");
    }
    let pin = Signature::Hmac {
        header: "X-Signature".into(),
        algorithm: HmacAlgorithm::Sha256,
        encoding: HmacEncoding::Hex,
        prefix: "v0=".into(),
    };
    let right = format!("v0={PLAIN}");
    for (lines, outcome) in [
        (&[("x-signature", right.as_str())][..], "ok"),
        (&[("x-signature", PLAIN)], "signature_invalid"),
        (&[("x-signature", "")], "signature_invalid"),
        (&[("x-other", right.as_str())], "signature_missing"),
    ] {
        assert_eq!(judge(&pinned(SECRET, &pin), lines, BODY, T), outcome, "{lines:?}");
    }
}

#[test]
fn no_flipped_bit_verifies() {
    let verifier = detecting(SECRET);
    assert_eq!(judge(&verifier, &[("x-signature", PLAIN)], BODY, T), "ok");
    let right = sha256(SECRET.as_bytes(), BODY);
    for bit in 0..right.len() * 8 {
        let mut wrong = right.clone();
        wrong[bit / 8] ^= 1 << (bit % 8);
        for text in [HEXLOWER.encode(&wrong), BASE64.encode(&wrong), format!("sha256={}", HEXLOWER.encode(&wrong))] {
            assert_eq!(judge(&verifier, &[("x-signature", &text)], BODY, T), "signature_invalid", "bit {bit}");
        }
        let mut body = BODY.as_bytes().to_vec();
        body[bit / 8] ^= 1 << (bit % 8);
        let refusal = verifier.verify(&headers(&[("x-signature", PLAIN)]), body.into(), at(T)).unwrap_err();
        assert_eq!(refusal, Refusal::Invalid, "bit {bit} of the body");
    }
    // The spare bits at the end of base 64 are no second spelling of the same signature.
    let text = BASE64_NOPAD.encode(&right);
    let twins = BASE64_NOPAD.specification().symbols.chars().filter(|c| !text.ends_with(*c)).collect::<Vec<_>>();
    for twin in twins {
        assert_eq!(judge(&verifier, &[("x-signature", &format!("{}{twin}", &text[..42]))], BODY, T), "signature_invalid");
    }
}

#[test]
fn timestamps_are_judged_before_and_without_the_signature() {
    let vendor = Signature::Stripe { header: "Claimr-Signature".into() };
    let verifiers = [detecting(SECRET), pinned(SECRET, &vendor), pinned(SECRET, &Signature::StandardWebhooks)];
    let table = [
        ("1700000000", "ok", "signature_invalid"),
        ("1699999701", "ok", "signature_invalid"),
        ("1700000299", "ok", "signature_invalid"),
        ("1699999700", "ok", "signature_invalid"),
        ("1700000300", "ok", "signature_invalid"),
        ("1699999699", "timestamp_stale", "timestamp_stale"),
        ("1700000301", "timestamp_stale", "timestamp_stale"),
        ("1700000000000", "timestamp_stale", "timestamp_stale"),
        ("0", "timestamp_stale", "timestamp_stale"),
        ("9223372036854775808", "timestamp_stale", "timestamp_stale"),
        ("18446744073709551616", "timestamp_malformed", "timestamp_malformed"),
        ("+1700000000", "timestamp_malformed", "timestamp_malformed"),
        ("-1700000000", "timestamp_malformed", "timestamp_malformed"),
        ("17e8", "timestamp_malformed", "timestamp_malformed"),
        ("1700000000.0", "timestamp_malformed", "timestamp_malformed"),
        ("0x6553f100", "timestamp_malformed", "timestamp_malformed"),
        ("", "timestamp_malformed", "timestamp_malformed"),
    ];
    for (t, right, wrong) in table {
        let (good, bad) = (stripe(t, BODY), stripe(t, "{}"));
        for verifier in &verifiers[..2] {
            assert_eq!(judge(verifier, &[("Claimr-Signature", &good)], BODY, T), right, "{good}");
            assert_eq!(judge(verifier, &[("Claimr-Signature", &bad)], BODY, T), wrong, "{bad}");
        }
        let (good, bad) = (standard(SECRET.as_bytes(), "m", t, BODY), standard(SECRET.as_bytes(), "m", t, "{}"));
        for (id, timestamp, signature) in
            [("webhook-id", "webhook-timestamp", "webhook-signature"), ("svix-id", "svix-timestamp", "svix-signature")]
        {
            for verifier in [&verifiers[0], &verifiers[2]] {
                assert_eq!(judge(verifier, &[(id, "m"), (timestamp, t), (signature, &good)], BODY, T), right, "{t}");
                assert_eq!(judge(verifier, &[(id, "m"), (timestamp, t), (signature, &bad)], BODY, T), wrong, "{t}");
                assert_eq!(judge(verifier, &[(id, "m"), (signature, &good)], BODY, T), "timestamp_missing");
            }
        }
    }
    for verifier in &verifiers[..2] {
        let no_t = format!("v1={}", "0".repeat(64));
        assert_eq!(judge(verifier, &[("Claimr-Signature", &no_t)], BODY, T), "timestamp_missing");
        assert_eq!(judge(verifier, &[("Claimr-Signature", "")], BODY, T), "signature_invalid");
    }
}

#[test]
fn a_clock_before_1970_and_at_the_end_of_time_refuses_calmly() {
    let verifier = detecting(SECRET);
    for now in [Timestamp(0), Timestamp(u64::MAX)] {
        let refusal = verifier.verify(&headers(&[("a-signature", &stripe("1700000000", BODY))]), BODY.into(), now).unwrap_err();
        assert_eq!(refusal, Refusal::TimestampStale);
    }
}

#[test]
fn standard_webhooks_takes_what_its_libraries_make() {
    let key = b"\xfb\xff\xbe a key of 24 bytes...";
    let (padded, url) = (BASE64.encode(key), BASE64URL_NOPAD.encode(key));
    let sign = |key: &[u8]| standard(key, "msg_1", "1700000000", BODY);
    let junk = format!("v1,{}", BASE64.encode(&[0; 32]));
    let list = |right: &str| format!("v1a,abc {junk} {right}");
    let table = [
        (format!("whsec_{padded}"), sign(key), "ok"),
        (format!("whsec_{url}"), sign(key), "ok"),
        (padded.clone(), sign(key), "ok"),
        ("plain words!".into(), sign(b"plain words!"), "ok"),
        (format!("whsec_{padded}"), list(&sign(key)), "ok"),
        (format!("whsec_{padded}"), format!("{junk}, {}", sign(key)), "ok"),
        (format!("whsec_{padded}"), junk.clone(), "signature_invalid"),
        (format!("whsec_{padded}"), "v1,".into(), "signature_invalid"),
        (format!("whsec_{padded}"), sign(key).replace("v1,", "v2,"), "signature_invalid"),
        (format!("whsec_{padded}"), sign(b""), "signature_invalid"),
    ];
    for (secret, signature, outcome) in table {
        for verifier in [detecting(&secret), pinned(&secret, &Signature::StandardWebhooks)] {
            let lines = [("webhook-id", "msg_1"), ("webhook-timestamp", "1700000000"), ("webhook-signature", signature.as_str())];
            assert_eq!(judge(&verifier, &lines, BODY, T), outcome, "{secret} {signature}");
            assert_ne!(judge(&verifier, &[("webhook-id", "msg_2"), lines[1], lines[2]], BODY, T), "ok", "another id");
            assert_ne!(
                judge(&verifier, &[lines[0], ("webhook-timestamp", "1700000001"), lines[2]], BODY, T),
                "ok",
                "another time"
            );
            assert_ne!(judge(&verifier, &lines[1..], BODY, T), "ok", "no id");
        }
    }
    for id in ["", "a b", &"x".repeat(257)] {
        let signature = standard(SECRET.as_bytes(), id, "1700000000", BODY);
        let lines = [("svix-id", id), ("svix-timestamp", "1700000000"), ("svix-signature", signature.as_str())];
        assert_eq!(judge(&detecting(SECRET), &lines, BODY, T), "signature_invalid", "{id:?}");
    }
}

#[test]
fn stripe_takes_any_of_several_signatures_in_any_vendors_header() {
    let right = stripe("1700000000", BODY);
    let v1 = right.split_once(',').unwrap().1;
    let zeros = "0".repeat(64);
    let table = [
        (format!("t=1700000000,v1={zeros},{v1}"), "ok"),
        (format!("t=1700000000, v1={zeros}, {v1}, v0=abc"), "ok"),
        (format!("{v1},t=1700000000"), "ok"),
        (right.replace("v1", "v0"), "signature_invalid"),
        (format!("t=1700000001,{v1}"), "signature_invalid"),
        (format!("t=1700000000,{}", &v1[..66]), "signature_invalid"),
        // A signature of the body alone does not count beside a timestamp.
        (format!("t=1700000000,v1={PLAIN}"), "signature_invalid"),
    ];
    for (value, outcome) in table {
        for header in ["Stripe-Signature", "Acme-Webhook-Signature"] {
            assert_eq!(judge(&detecting(SECRET), &[(header, &value)], BODY, T), outcome, "{value}");
            let pin = Signature::Stripe { header: header.into() };
            assert_eq!(judge(&pinned(SECRET, &pin), &[(header, &value)], BODY, T), outcome, "{value}");
        }
    }
    let lines = [("a-signature", "t=1,v1=00"), ("a-signature", right.as_str())];
    assert_eq!(judge(&detecting(SECRET), &lines, BODY, T), "ok");
}

#[test]
fn a_secret_counts_until_its_end() {
    let verifier = assemble(&[("new", None), (SECRET, Some(T))], &Signature::Detect).unwrap();
    let new = HEXLOWER.encode(&sha256(b"new", BODY));
    let by = |value: &str| {
        let proven = verifier.verify(&headers(&[("x-signature", value)]), BODY.into(), at(T));
        proven.unwrap().secret()
    };
    for _ in 0..2 {
        assert_eq!((by(PLAIN), by(&new)), (Some(1), Some(0)));
    }
    assert_eq!(judge(&verifier, &[("x-signature", PLAIN)], BODY, T), "ok");
    let late = verifier.verify(&headers(&[("x-signature", PLAIN)]), BODY.into(), Timestamp(T * 1000 + 1)).unwrap_err();
    assert_eq!(late, Refusal::Invalid);
    assert_eq!(judge(&verifier, &[("x-signature", &new)], BODY, T + 1), "ok");
}

#[test]
fn the_secret_itself_counts_only_where_it_is_pinned() {
    let pin = Signature::SharedSecret { header: "X-Webhook-Secret".into() };
    for secret in [SECRET, PLAIN] {
        let shared = [("x-webhook-secret", secret)];
        assert_eq!(judge(&pinned(secret, &pin), &shared, BODY, T), "ok");
        assert_ne!(judge(&detecting(secret), &shared, BODY, T), "ok");
        assert_ne!(judge(&detecting(secret), &[("x-signature", secret)], BODY, T), "ok");
    }
    for (value, outcome) in
        [("my-secret-ke", "signature_invalid"), ("", "signature_invalid"), ("My-secret-key", "signature_invalid")]
    {
        assert_eq!(judge(&pinned(SECRET, &pin), &[("x-webhook-secret", value)], BODY, T), outcome);
    }
    assert_eq!(judge(&pinned(SECRET, &pin), &[("x-other", SECRET)], BODY, T), "signature_missing");
    let rotating = assemble(&[("a", Some(T - 1)), ("b", None)], &pin).unwrap();
    assert_eq!(judge(&rotating, &[("x-webhook-secret", "a")], BODY, T), "signature_invalid");
    assert_eq!(judge(&rotating, &[("x-webhook-secret", "b")], BODY, T), "ok");
}

#[test]
fn what_was_learned_from_one_delivery_narrows_nothing() {
    let verifier = detecting(SECRET);
    let (good, other) = (stripe("1700000000", BODY), HEXLOWER.encode(&sha256(b"another", BODY)));
    for _ in 0..2 {
        assert_eq!(judge(&verifier, &[("x-signature", PLAIN)], BODY, T), "ok");
        assert_eq!(judge(&verifier, &[("stripe-signature", &good)], BODY, T), "ok");
        assert_eq!(judge(&verifier, &[("y-signature", &format!("sha256={PLAIN}"))], BODY, T), "ok");
        assert_eq!(judge(&verifier, &[("x-signature", &other)], BODY, T), "signature_invalid");
        assert_eq!(judge(&verifier, &[("stripe-signature", &good)], BODY, T + 301), "timestamp_stale");
        assert_eq!(judge(&verifier, &[], BODY, T), "signature_missing");
    }
    assert_eq!(verifier.learned.get().unwrap().header(), Some("x-signature"));
}

#[test]
fn unsigned_deliveries_need_leave_and_a_wrong_signature_is_never_one() {
    let open = Verifier::assemble("claimr", "sources[0]", &[], true, &Signature::Detect).unwrap();
    assert_eq!(judge(&open, &[("x-signature", "whatever")], BODY, T), "ok");
    let verified = open.verify(&HeaderMap::new(), BODY.into(), at(T)).unwrap();
    assert_eq!((verified.scheme(), verified.secret(), verified.delivery_id()), (None, None, None));
    let half = Verifier::assemble("claimr", "sources[0]", &[hook(SECRET, None, 0)], true, &Signature::Detect).unwrap();
    assert_eq!(judge(&half, &[], BODY, T), "ok");
    assert_eq!(judge(&half, &[("x-signature", PLAIN)], BODY, T), "ok");
    assert_eq!(judge(&half, &[("x-signature", &"0".repeat(64))], BODY, T), "signature_invalid");
}

#[test]
fn settings_that_cannot_work_are_named() {
    let hmac = |header: &str, prefix: &str| Signature::Hmac {
        header: header.into(),
        algorithm: HmacAlgorithm::Sha256,
        encoding: HmacEncoding::Hex,
        prefix: prefix.into(),
    };
    let shared = Signature::SharedSecret { header: "x-secret".into() };
    let table: [(&[&str], Signature, &[&str]); 10] = [
        (&[], Signature::Detect, &["sources[0].secrets"]),
        (&["", "a", "whsec_"], Signature::Detect, &["sources[0].secrets[0]", "sources[0].secrets[2]"]),
        (&["a"; 9], Signature::Detect, &["sources[0].secrets"]),
        (&["whsec_not base 64"], Signature::StandardWebhooks, &["sources[0].secrets[0]"]),
        (&["whsec_not base 64", "words, plain"], Signature::Detect, &[]),
        (&["words, plain"], Signature::StandardWebhooks, &[]),
        (&["a"], hmac("X Signature", ""), &["sources[0].signature.header"]),
        (&["a"], hmac("X-Signature", "sha\n256="), &["sources[0].signature.prefix"]),
        (&["", "a"], Signature::Stripe { header: String::new() }, &["sources[0].secrets[0]", "sources[0].signature.header"]),
        (&[" a", "a\n", "é", "a b"], shared, &["sources[0].secrets[0]", "sources[0].secrets[1]", "sources[0].secrets[2]"]),
    ];
    for (secrets, signature, settings) in table {
        let secrets: Vec<_> = secrets.iter().map(|secret| (*secret, None)).collect();
        let problems = assemble(&secrets, &signature).err().unwrap_or_default();
        assert_eq!(problems.iter().map(|p| p.setting.as_str()).collect::<Vec<_>>(), settings, "{problems:?}");
    }
}

#[test]
fn nothing_prints_a_secret_or_a_body() {
    let verified = detecting(SECRET).verify(&headers(&[("x-signature", PLAIN)]), BODY.into(), at(T)).unwrap();
    let problems = assemble(&[("whsec_CANARY!", None)], &Signature::StandardWebhooks).err().unwrap();
    let printed = format!("{verified:?} {problems:?}");
    assert!(!printed.contains("fLEFzw90") && !printed.contains(SECRET) && !printed.contains("CANARY"), "{printed}");
}

fn any_line() -> impl Strategy<Value = (String, Vec<u8>)> {
    let name = "x-signature|webhook-(id|timestamp|signature)|svix-(id|timestamp|signature)|a-signature|[a-z]{1,8}";
    let shaped = "(t=)?[+0-9]{0,20},?(v1[=,])?[0-9a-fA-F]{60,66}|(v1,|sha256=)?[A-Za-z0-9+/_-]{43}=? ?|t=1700000000,v1=[0-9a-f]{64}|1700000000";
    let value = prop_oneof![shaped.prop_map(String::into_bytes), proptest::collection::vec(any::<u8>(), 0..200)];
    (name.prop_map(|name: String| name), value)
}

proptest! {
    #[test]
    fn no_stranger_verifies_and_nothing_panics(
        lines in proptest::collection::vec(any_line(), 0..20),
        body in proptest::collection::vec(any::<u8>(), 0..100),
        pin in 0..4usize,
    ) {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            if let Ok(value) = HeaderValue::from_bytes(&value) {
                headers.append(HeaderName::from_bytes(name.as_bytes()).unwrap(), value);
            }
        }
        let signature = [
            Signature::Detect,
            Signature::StandardWebhooks,
            Signature::Stripe { header: "a-signature".into() },
            Signature::SharedSecret { header: "x-signature".into() },
        ];
        let outcome = pinned(SECRET, &signature[pin]).verify(&headers, body.into(), at(T));
        prop_assert!(outcome.is_err());
    }

    #[test]
    fn what_is_detected_verifies_when_it_is_pinned(word in "([a-zA-Z0-9_-]{1,16}=)?", name in "[a-z][a-z0-9-]{0,20}", body: Vec<u8>) {
        let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, SECRET.as_bytes()), &body);
        let value = format!("{word}{}", HEXLOWER.encode(tag.as_ref()));
        let headers = headers(&[(&name, &value)]);
        let found = detecting(SECRET).verify(&headers, body.clone().into(), at(T)).unwrap().scheme().unwrap().clone();
        let Found::Hmac { header, algorithm, encoding, prefix } = found else { panic!("{found}") };
        let pin = Signature::Hmac { header: header.as_str().into(), algorithm, encoding, prefix };
        prop_assert!(pinned(SECRET, &pin).verify(&headers, body.into(), at(T)).is_ok());
    }
}
