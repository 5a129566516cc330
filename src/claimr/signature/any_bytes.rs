//! What holds for any headers and any body.
//!
//! The input is written as on the wire: header lines, an empty line, the body. A fuzzer cannot guess an HMAC, so `@` and a letter in a
//! header's value stand for one that is right (see [`filled`]).

use std::fmt::Write as _;

use aws_lc_rs::hmac;
use data_encoding::{BASE64, BASE64_NOPAD, BASE64URL_NOPAD, HEXLOWER};
use http::HeaderName;

use super::{
    secret::{STANDARD_PREFIX, standard_key},
    *,
};
use crate::{
    config::{HmacAlgorithm, HmacEncoding, Mapping},
    event::Timestamp,
};

/// The second is base 64 and the last is no longer valid.
const SECRETS: [&str; 4] =
    ["my-secret-key", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "It's a Secret to Everybody", "an old \"secret\" of last year"];
const EXPIRED: usize = 3;
/// Moments at which the published vectors are fresh.
const MOMENTS_S: [u64; 2] = [1_700_000_000, 1_614_265_330];

/// The options: a letter for the scheme, then `v` for the second of [`MOMENTS_S`] and `x` for an explanation.
pub(crate) fn check(options: &[u8], input: &[u8]) {
    let now_s = MOMENTS_S[usize::from(options.contains(&b'v'))];
    let (head, body) = split(input);
    let headers = headers(&filled(head, body, now_s));
    let signature = signature(options.first().copied().unwrap_or_default());
    let allow_unsigned = options.contains(&b'u');
    let now = Timestamp(now_s * 1000);
    let verifier = verifier(&signature, allow_unsigned);
    match verifier.verify(&headers, Bytes::copy_from_slice(body), now) {
        Ok(taken) => {
            assert_eq!(taken.body(), body);
            let Some(found) = taken.scheme() else {
                assert!(allow_unsigned, "an unsigned delivery is taken by a source that wants signatures");
                return;
            };
            let secret = taken.secret().unwrap_or(EXPIRED);
            assert!(secret != EXPIRED, "an old secret counts");
            assert!(is_signed(found, SECRETS[secret], &headers, body, now_s), "{found} was not made by the secret {secret}");
            let pinned = self::verifier(&pinning(found), false).verify(&headers, Bytes::copy_from_slice(body), now);
            assert!(pinned.is_ok(), "{found} was detected, and is refused where it is pinned");
        }
        Err(refusal) => assert!(!(allow_unsigned && refusal == Refusal::Missing)),
    }
    within_the_bounds_of_work(&verifier, &headers, body, now);
    shows_no_secret(&signature, &headers, body);
    if options.contains(&b'x') {
        explains(&headers, body, now);
    }
}

fn split(input: &[u8]) -> (&[u8], &[u8]) {
    input.windows(2).position(|pair| pair == b"\n\n").map_or((input, &[]), |end| (&input[..end], &input[end + 2..]))
}

/// `@a` to `@h`: the body's HMAC under the first secret. `@s`: Stripe's, of now. `@i`: that of Standard Webhooks under the second secret, for
/// the id `i` and now. `@n`: now. `@k`: the first secret.
fn filled(head: &[u8], body: &[u8], now_s: u64) -> Vec<u8> {
    let key = SECRETS[0].as_bytes();
    let [sha256, sha1, sha512] =
        [HmacAlgorithm::Sha256, HmacAlgorithm::Sha1, HmacAlgorithm::Sha512].map(|a| mac(a, key, &[body]));
    let now = now_s.to_string();
    let standard = standard_key(SECRETS[1]).unwrap_or_default();
    let mut out = Vec::with_capacity(head.len() + 128);
    let mut bytes = head.iter();
    while let Some(byte) = bytes.next() {
        if *byte != b'@' {
            out.push(*byte);
            continue;
        }
        let text = match bytes.next() {
            Some(b'a') => HEXLOWER.encode(&sha256),
            Some(b'b') => HEXLOWER.encode(&sha1),
            Some(b'c') => HEXLOWER.encode(&sha512).to_uppercase(),
            Some(b'd') => BASE64.encode(&sha256),
            Some(b'e') => BASE64URL_NOPAD.encode(&sha256),
            Some(b'f') => BASE64_NOPAD.encode(&sha512),
            Some(b'g') => BASE64.encode(&sha1),
            Some(b'h') => HEXLOWER.encode(&mac(HmacAlgorithm::Sha256, SECRETS[EXPIRED].as_bytes(), &[body])),
            Some(b's') => HEXLOWER.encode(&mac(HmacAlgorithm::Sha256, key, &[now.as_bytes(), b".", body])),
            Some(b'i') => BASE64.encode(&mac(HmacAlgorithm::Sha256, &standard, &[b"i.", now.as_bytes(), b".", body])),
            Some(b'n') => now.clone(),
            Some(b'k') => SECRETS[0].to_owned(),
            _ => "@".to_owned(),
        };
        out.extend(text.bytes());
    }
    out
}

fn headers(lines: &[u8]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for line in lines.split(|byte| *byte == b'\n').take(64) {
        let colon = line.iter().position(|byte| *byte == b':').unwrap_or(line.len());
        let value = line.get(colon + 1..).unwrap_or_default().trim_ascii();
        if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(&line[..colon]), HeaderValue::from_bytes(value)) {
            headers.append(name, value);
        }
    }
    headers
}

fn signature(option: u8) -> Signature {
    let hmac = |header: &str, algorithm, encoding, prefix: &str| Signature::Hmac {
        header: header.to_owned(),
        algorithm,
        encoding,
        prefix: prefix.to_owned(),
    };
    match option {
        b'h' => hmac("X-Signature", HmacAlgorithm::Sha256, HmacEncoding::Hex, ""),
        b'g' => hmac("X-Hub-Signature-256", HmacAlgorithm::Sha256, HmacEncoding::Hex, "sha256="),
        b'b' => hmac("X-Signature", HmacAlgorithm::Sha512, HmacEncoding::Base64, ""),
        b's' => Signature::Stripe { header: "Claimr-Signature".to_owned() },
        b'w' => Signature::StandardWebhooks,
        b'p' => Signature::SharedSecret { header: "X-Secret".to_owned() },
        _ => Signature::Detect,
    }
}

/// The configuration that a detected scheme would be pinned by.
fn pinning(found: &Found) -> Signature {
    let header = found.header().unwrap_or_default().to_owned();
    match found {
        Found::Hmac { algorithm, encoding, prefix, .. } => {
            Signature::Hmac { header, algorithm: *algorithm, encoding: *encoding, prefix: prefix.clone() }
        }
        Found::Stripe { .. } => Signature::Stripe { header },
        Found::StandardWebhooks => Signature::StandardWebhooks,
        Found::SharedSecret { .. } => Signature::SharedSecret { header },
    }
}

fn hooks() -> Vec<HookSecret> {
    let hook = |(i, secret): (usize, &&str)| HookSecret {
        secret: (*secret).into(),
        not_after: (i == EXPIRED).then_some(Timestamp(1)),
        setting: format!("sources[0].secrets[{i}]"),
    };
    SECRETS.iter().enumerate().map(hook).collect()
}

fn verifier(signature: &Signature, allow_unsigned: bool) -> Verifier {
    Verifier::assemble("claimr", "sources[0]", &hooks(), allow_unsigned, signature)
        .unwrap_or_else(|problems| panic!("{problems:?}"))
}

/// Whether one of the header's values holds what `secret` makes of the body, told without the code that verifies.
fn is_signed(found: &Found, secret: &str, headers: &HeaderMap, body: &[u8], now_s: u64) -> bool {
    let values = |name: &str| headers.get_all(name).iter().map(HeaderValue::as_bytes).collect::<Vec<_>>();
    let is_fresh = |t: &[u8]| std::str::from_utf8(t).is_ok_and(|t| t.parse::<u64>().is_ok_and(|t| t.abs_diff(now_s) <= 300));
    let text = secret.as_bytes();
    match found {
        Found::Hmac { header, algorithm, encoding, prefix } => {
            let mac = mac(*algorithm, text, &[body]);
            values(header.as_str()).iter().any(|value| holds(value, prefix, &mac, *encoding))
        }
        Found::Stripe { header } => values(header.as_str()).iter().any(|value| {
            let times = value.split(|b| b", ;\t".contains(b)).filter_map(|item| item.strip_prefix(b"t="));
            times
                .filter(|t| is_fresh(t))
                .any(|t| holds(value, "v1=", &mac(HmacAlgorithm::Sha256, text, &[t, b".", body]), HmacEncoding::Hex))
        }),
        Found::StandardWebhooks => ["webhook", "svix"].iter().any(|family| {
            let first = |name: &str| values(&format!("{family}-{name}")).first().copied();
            let (Some(id), Some(t)) = (first("id"), first("timestamp")) else { return false };
            let keys = [Some(text.to_owned()), standard_key(secret)];
            is_fresh(t)
                && keys.iter().flatten().any(|key| {
                    let mac = mac(HmacAlgorithm::Sha256, key, &[id, b".", t, b".", body]);
                    values(&format!("{family}-signature")).iter().any(|value| holds(value, "v1,", &mac, HmacEncoding::Base64))
                })
        }),
        Found::SharedSecret { header } => values(header.as_str()).contains(&text),
    }
}

fn mac(algorithm: HmacAlgorithm, key: &[u8], message: &[&[u8]]) -> Vec<u8> {
    let hash = match algorithm {
        HmacAlgorithm::Sha1 => hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY,
        HmacAlgorithm::Sha256 => hmac::HMAC_SHA256,
        HmacAlgorithm::Sha512 => hmac::HMAC_SHA512,
    };
    hmac::sign(&hmac::Key::new(hash, key), &message.concat()).as_ref().to_vec()
}

fn holds(value: &[u8], prefix: &str, mac: &[u8], encoding: HmacEncoding) -> bool {
    let value = String::from_utf8_lossy(value);
    let has = |value: &str, mac: String| value.contains(&mac);
    match encoding {
        HmacEncoding::Hex => value.contains(prefix) && has(&value.to_ascii_lowercase(), HEXLOWER.encode(mac)),
        HmacEncoding::Base64 => {
            value.contains(prefix) && (has(&value, BASE64_NOPAD.encode(mac)) || has(&value, BASE64URL_NOPAD.encode(mac)))
        }
    }
}

fn within_the_bounds_of_work(verifier: &Verifier, headers: &HeaderMap, body: &[u8], now: Timestamp) {
    let mut attempt = Attempt::new(&verifier.secrets, 0, headers, body, now);
    let _ = detect(&mut attempt);
    assert!(attempt.hmacs() <= HMACS_PER_SECRET_MAX * SECRETS.len(), "{} HMACs", attempt.hmacs());
}

/// What is shown to an operator holds none of the secrets, whoever put them there.
fn shows_no_secret(signature: &Signature, headers: &HeaderMap, body: &[u8]) {
    let mask = Mask::new(&Source {
        broadcast: Vec::new(),
        name: "claimr".to_owned(),
        secrets: hooks(),
        allow_unsigned: false,
        signature: signature.clone(),
        mapping: Mapping::default(),
        redact: Vec::new(),
        referrer_data: Vec::new(),
        duplicate_window: std::time::Duration::ZERO,
        delivery_id_window: std::time::Duration::ZERO,
    });
    let mut shown = mask.text(&String::from_utf8_lossy(body), true);
    for (name, value) in headers {
        let _ = write!(shown, "\n{}", mask.header(name, value.as_bytes()));
    }
    for secret in SECRETS {
        let bare = secret.strip_prefix(STANDARD_PREFIX).unwrap_or(secret);
        assert!(!shown.contains(bare), "{bare:?} is shown: {shown:?}");
    }
}

/// An explanation agrees with the verdict, gives a reason for a refusal, and keeps what only the sender may know.
fn explains(headers: &HeaderMap, body: &[u8], now: Timestamp) {
    let secrets = &SECRETS[..EXPIRED];
    let texts: Vec<_> = secrets.iter().map(|secret| (*secret).into()).collect();
    let explanation = explain(&texts, headers, body, now);
    let verdict = verifier(&Signature::Detect, false).verify(headers, Bytes::copy_from_slice(body), now);
    match (&explanation.verdict, verdict) {
        (Ok(matched), Ok(verified)) => {
            assert_eq!((Some(&matched.found), Some(matched.secret)), (verified.scheme(), verified.secret()));
            assert_eq!(matched.delivery_id.as_deref(), verified.delivery_id());
        }
        (Err(explained), Err(refusal)) => assert_eq!(*explained, refusal),
        (explained, verdict) => panic!("{explained:?} is explained, and {verdict:?} is the verdict"),
    }
    assert_eq!(explanation.verdict.is_err(), !explanation.reasons.is_empty());
    let reasons = explanation.reasons.concat();
    let sent = format!("{headers:?}");
    for secret in secrets {
        let right = HEXLOWER.encode(&mac(HmacAlgorithm::Sha256, secret.as_bytes(), &[body]));
        assert!(!reasons.contains(&right) || sent.contains(&right), "a reason holds the right signature");
        assert!(!reasons.contains(secret) || sent.contains(secret), "a reason holds the secret");
    }
}
