//! Why does this delivery verify, or why not? For people who hold the secret; nothing here is for an answer to a stranger.
//!
//! The check itself is the gateway's own, under `detect`. If it refuses, it is asked again about what usually went wrong: another
//! moment, a body that was not left as it was sent, a secret that was not copied whole, a signature that was cut, another hash.

use std::fmt::Write as _;

use aws_lc_rs::{digest, hmac};
use data_encoding::{BASE64_NOPAD, BASE64URL_NOPAD, HEXLOWER};
use http::{HeaderMap, HeaderValue};
use secrecy::{ExposeSecret, SecretString};

use super::{
    Found, Refusal, TOLERANCE_S,
    attempt::Attempt,
    detect,
    found::{STANDARD_HEADERS, seconds},
    guess::{other_bodies, other_secrets},
    secret::{STANDARD_PREFIX, Secret, standard_key},
    shape::{candidates, is_likely, items, split_word},
};
use crate::event::Timestamp;

/// Other moments that are tried, from the delivery's own timestamps.
const MOMENTS_MAX: usize = 4;
/// Characters that a cut signature must at least have, so that no word matches by chance.
const CUT_CHARS_MIN: usize = 8;

/// What the gateway makes of a delivery, and why.
#[derive(Debug)]
pub struct Explanation {
    /// As the gateway would decide it.
    pub verdict: Result<Matched, Refusal>,
    /// If it is refused: what was found out, the most likely cause first, with its remedy. Never empty then; never
    /// holds a secret, nor a right signature that was not sent.
    pub reasons: Vec<String>,
}

/// How a delivery is signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Matched {
    /// The scheme; prints as the configuration line that pins it.
    pub found: Found,
    /// The secret, counted from 0.
    pub secret: usize,
    /// The signed delivery id.
    pub delivery_id: Option<String>,
}

/// Checks a delivery under `detect` against `secrets`, and finds out why if it is refused.
pub fn explain(secrets: &[SecretString], headers: &HeaderMap, body: &[u8], now: Timestamp) -> Explanation {
    let texts: Vec<&str> = secrets.iter().map(ExposeSecret::expose_secret).collect();
    let ring: Vec<Secret> = texts.iter().map(|text| Secret::from_keys(text.as_bytes(), standard_key(text).as_deref())).collect();
    let case = Case { texts, ring, headers, body, now };
    // An empty key is one that everybody has.
    if case.texts.iter().any(|text| text.is_empty() || *text == STANDARD_PREFIX) || case.texts.is_empty() {
        let reason = "A secret is empty: give the one that the sender signs with.".to_owned();
        return Explanation { verdict: Err(Refusal::Invalid), reasons: vec![reason] };
    }
    match case.ask(&case.ring, body, now) {
        Ok(matched) => Explanation { verdict: Ok(matched), reasons: Vec::new() },
        Err(refusal) => Explanation { verdict: Err(refusal), reasons: case.reasons(refusal) },
    }
}

struct Case<'a> {
    texts: Vec<&'a str>,
    ring: Vec<Secret>,
    headers: &'a HeaderMap,
    body: &'a [u8],
    now: Timestamp,
}

impl Case<'_> {
    fn ask(&self, ring: &[Secret], body: &[u8], now: Timestamp) -> Result<Matched, Refusal> {
        let (found, by) = detect(&mut Attempt::new(ring, 0, self.headers, body, now))?;
        let delivery_id = by.delivery_id.as_ref().and_then(|id| id.to_str().ok()).map(str::to_owned);
        Ok(Matched { found, secret: by.secret, delivery_id })
    }

    /// The answer if the delivery had come in time.
    fn ask_in_time(&self, ring: &[Secret], body: &[u8]) -> Option<(Matched, Timestamp)> {
        self.moments().into_iter().find_map(|moment| Some((self.ask(ring, body, moment).ok()?, moment)))
    }

    /// Now, and when the delivery says it was sent.
    fn moments(&self) -> Vec<Timestamp> {
        let standard =
            STANDARD_HEADERS.iter().filter_map(|[_, timestamp, _]| self.headers.get(timestamp)).map(HeaderValue::as_bytes);
        let stripe = self.headers.values().flat_map(|v| items(v.as_bytes())).filter_map(|item| item.strip_prefix(b"t="));
        let sent = standard.chain(stripe).filter_map(seconds).map(|s| Timestamp(s.saturating_mul(1000)));
        std::iter::once(self.now).chain(sent.take(MOMENTS_MAX)).collect()
    }

    fn reasons(&self, refusal: Refusal) -> Vec<String> {
        let mut reasons: Vec<String> = [self.untimely(), self.other_body(), self.other_secret(), self.shared_secret()]
            .into_iter()
            .flatten()
            .chain(self.other_values())
            .collect();
        if reasons.is_empty() {
            reasons = self.nothing_matches(refusal);
        }
        reasons
    }

    fn untimely(&self) -> Option<String> {
        let (matched, moment) = self.ask_in_time(&self.ring, self.body)?;
        let (sent, now) = (moment.as_secs(), self.now.as_secs());
        let side = if sent < now { "before" } else { "after" };
        let mut reason = format!(
            "The signature is right ({}, secret {}), but its timestamp {sent} is {} s {side} the time of this check; at most \
             {TOLERANCE_S} s are allowed. ",
            matched.found.scheme(),
            matched.secret + 1,
            sent.abs_diff(now),
        );
        reason += if (sent / 1000).abs_diff(now) < 366 * 86_400 {
            "The sender seems to count milliseconds where the scheme has seconds."
        } else {
            "An old recording is refused for that alone; otherwise set the clocks right."
        };
        Some(reason)
    }

    fn other_body(&self) -> Option<String> {
        other_bodies(self.body).into_iter().find_map(|(change, body)| {
            let (matched, _) = self.ask_in_time(&self.ring, &body)?;
            Some(format!(
                "The signature is right ({}, secret {}) for this body {change}. The sender signs the bytes that it sends: keep \
                 them as they are, and do not parse and write them again.",
                matched.found.scheme(),
                matched.secret + 1
            ))
        })
    }

    fn other_secret(&self) -> Option<String> {
        self.texts.iter().enumerate().find_map(|(i, text)| {
            other_secrets(text).into_iter().find_map(|(change, key)| {
                let ring = [Secret::from_keys(&key, std::str::from_utf8(&key).ok().and_then(standard_key).as_deref())];
                let (matched, _) = self.ask_in_time(&ring, self.body)?;
                Some(format!("The signature is right ({}) under secret {} {change}.", matched.found.scheme(), i + 1))
            })
        })
    }

    fn shared_secret(&self) -> Option<String> {
        let (name, whole) = self.headers.iter().find_map(|(name, value)| {
            let is_secret = |value: &[u8]| self.ring.iter().any(|secret| secret.is(value));
            let value = value.as_bytes();
            let whole = is_secret(value);
            (whole || items(value).any(|item| is_secret(item) || is_secret(split_word(item).1))).then_some((name.clone(), whole))
        })?;
        Some(if whole {
            let pin = Found::SharedSecret { header: name.clone() };
            format!(
                "`{name}` holds the secret itself. That proves nothing about the body, so it is never detected; if the \
                 sender has nothing better, pin it: {pin}"
            )
        } else {
            format!(
                "`{name}` holds the secret itself with something around it. It can be pinned only where the secret is the whole \
                 value, so give the whole value as the secret."
            )
        })
    }

    /// Values that are a cut signature, or one of a kind that the gateway does not take.
    fn other_values(&self) -> Vec<String> {
        let wanted = self.wanted();
        let lines =
            self.headers.iter().flat_map(|(name, line)| items(line.as_bytes()).map(move |item| (name, split_word(item).1)));
        lines
            .filter_map(|(name, value)| {
                wanted.iter().find_map(|wanted| wanted.describe(value)).map(|what| format!("`{name}` {what}"))
            })
            .collect()
    }

    /// What a value may be compared with: HMACs under every secret, and plain hashes.
    fn wanted(&self) -> Vec<Wanted> {
        let mut wanted = Vec::new();
        for (i, text) in self.texts.iter().enumerate() {
            for (name, algorithm, taken) in [
                ("SHA-256", hmac::HMAC_SHA256, true),
                ("SHA-1", hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, true),
                ("SHA-512", hmac::HMAC_SHA512, true),
                ("SHA-384", hmac::HMAC_SHA384, false),
                ("SHA-224", hmac::HMAC_SHA224, false),
            ] {
                let bytes = hmac::sign(&hmac::Key::new(algorithm, text.as_bytes()), self.body).as_ref().to_vec();
                wanted.push(Wanted { what: format!("HMAC-{name} of the body under secret {}", i + 1), bytes, taken });
            }
        }
        for (name, algorithm) in
            [("SHA-256", &digest::SHA256), ("SHA-1", &digest::SHA1_FOR_LEGACY_USE_ONLY), ("SHA-512", &digest::SHA512)]
        {
            let bytes = digest::digest(algorithm, self.body).as_ref().to_vec();
            wanted.push(Wanted {
                what: format!("{name} of the body without any secret, which everybody can make"),
                bytes,
                taken: false,
            });
        }
        wanted
    }

    fn nothing_matches(&self, refusal: Refusal) -> Vec<String> {
        let mut reasons = match refusal {
            Refusal::TimestampMissing => vec![
                "The scheme signs a timestamp, and there is none: `webhook-timestamp`, `svix-timestamp`, or `t=` beside `v1=`."
                    .to_owned(),
            ],
            Refusal::TimestampMalformed => {
                vec!["The signature's timestamp is not plain digits: it must be seconds since 1970, with no sign.".to_owned()]
            }
            _ => Vec::new(),
        };
        for found in candidates(self.headers).0 {
            let place = found.header().map_or_else(|| "the signature header".to_owned(), |name| format!("`{name}`"));
            reasons.push(format!(
                "The shape of {place} is that of {found}, but no given secret made it for this body: either it was signed with \
                 another secret, or the body is not byte for byte what was signed."
            ));
        }
        if reasons.is_empty() {
            reasons.extend(self.headers.iter().filter(|(name, _)| is_likely(name.as_str())).map(|(name, value)| {
                format!("`{name}` has {} characters, which are no HMAC in hex or base 64: was it cut?", value.len())
            }));
        }
        if reasons.is_empty() {
            let mut names = String::new();
            for name in self.headers.keys() {
                let _ = write!(names, " `{name}`");
            }
            let names = if names.is_empty() { " none".to_owned() } else { names };
            reasons.push(format!(
                "No header looks like a signature. Given:{names}. Was the webhook registered with a secret, and does every proxy \
                 on the way keep its headers?"
            ));
        }
        reasons
    }
}

/// A value that would explain a header.
struct Wanted {
    what: String,
    bytes: Vec<u8>,
    /// Whether the gateway takes it where it is whole.
    taken: bool,
}

impl Wanted {
    fn describe(&self, value: &[u8]) -> Option<String> {
        let bare: &[u8] = value.strip_suffix(b"==").or_else(|| value.strip_suffix(b"=")).unwrap_or(value);
        let texts =
            [HEXLOWER.encode(&self.bytes), BASE64_NOPAD.encode(&self.bytes), BASE64URL_NOPAD.encode(&self.bytes)].into_iter();
        texts.enumerate().find_map(|(i, text)| {
            let same = |a: &[u8], b: &[u8]| if i == 0 { a.eq_ignore_ascii_case(b) } else { a == b };
            if bare.len() < CUT_CHARS_MIN || bare.len() > text.len() || !same(bare, &text.as_bytes()[..bare.len()]) {
                return None;
            }
            let (sent, whole) = (bare.len(), text.len());
            match (sent < whole, self.taken) {
                (true, _) => Some(format!("holds the first {sent} of the {whole} characters of the {}: it was cut.", self.what)),
                (false, false) => Some(format!("holds the {}; that is not taken.", self.what)),
                (false, true) => None,
            }
        })
    }
}

#[cfg(test)]
mod tests;
