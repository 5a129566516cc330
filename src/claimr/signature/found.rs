//! The schemes: where each keeps its signature, what it signs, and the configuration line that pins it.

use std::{fmt, iter};

use http::{HeaderName, HeaderValue};
use smallvec::SmallVec;

use super::{
    Refusal,
    attempt::{Attempt, Match, Message},
    secret::KeyForm,
    shape::{Mac, items, words},
};
use crate::{
    config::{HmacAlgorithm, HmacEncoding, Signature},
    event::Timestamp,
};

/// Seconds that a signed timestamp may be before or after now.
pub const TOLERANCE_S: u64 = 300;
/// Signatures of one header that are compared.
const SIGNATURES_MAX: usize = 16;
/// Bytes of the longest delivery id.
const DELIVERY_ID_BYTES_MAX: usize = 256;

/// Id, timestamp and signature of Standard Webhooks, and of Svix, from which it came.
pub(super) static STANDARD_HEADERS: [[HeaderName; 3]; 2] = [
    [
        HeaderName::from_static("webhook-id"),
        HeaderName::from_static("webhook-timestamp"),
        HeaderName::from_static("webhook-signature"),
    ],
    [HeaderName::from_static("svix-id"), HeaderName::from_static("svix-timestamp"), HeaderName::from_static("svix-signature")],
];

type Macs = SmallVec<[Mac; 2]>;

/// How a delivery is signed, in full: it can be pinned. Prints as the configuration line that does so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// HMAC of the body.
    Hmac {
        /// The header.
        header: HeaderName,
        /// The hash.
        algorithm: HmacAlgorithm,
        /// How the value is written.
        encoding: HmacEncoding,
        /// What stands before it, such as `sha256=`.
        prefix: String,
    },
    /// `t=<unix s>,v1=<hex>[,v1=…]`, HMAC-SHA256 of `<t>.<body>`.
    Stripe {
        /// The header.
        header: HeaderName,
    },
    /// `v1,<base64> …` in `webhook-signature` or `svix-signature`, HMAC-SHA256 of `<id>.<timestamp>.<body>`.
    StandardWebhooks,
    /// The secret itself. Never found, only pinned.
    SharedSecret {
        /// The header.
        header: HeaderName,
    },
}

impl Found {
    /// What the configuration pins, `None` if it leaves it to the headers; or the setting that cannot work, and why.
    pub(super) fn pinned(signature: &Signature) -> Result<Option<Self>, (&'static str, String)> {
        let name = |header: &str| {
            HeaderName::from_bytes(header.as_bytes()).map_err(|_| ("header", format!("{header:?} cannot be a header's name")))
        };
        Ok(Some(match signature {
            Signature::Detect => return Ok(None),
            Signature::StandardWebhooks => Self::StandardWebhooks,
            Signature::Stripe { header } => Self::Stripe { header: name(header)? },
            Signature::SharedSecret { header } => Self::SharedSecret { header: name(header)? },
            Signature::Hmac { header, algorithm, encoding, prefix } => {
                if !prefix.bytes().all(|b| b.is_ascii_graphic() || b == b' ') {
                    return Err(("prefix", format!("no header can hold {prefix:?}")));
                }
                Self::Hmac { header: name(header)?, algorithm: *algorithm, encoding: *encoding, prefix: prefix.clone() }
            }
        }))
    }

    /// The scheme's name in the configuration.
    pub fn scheme(&self) -> &'static str {
        match self {
            Self::Hmac { .. } => "hmac",
            Self::Stripe { .. } => "stripe",
            Self::StandardWebhooks => "standard-webhooks",
            Self::SharedSecret { .. } => "shared-secret",
        }
    }

    /// The header, in lower case, where the configuration names one.
    pub fn header(&self) -> Option<&str> {
        match self {
            Self::Hmac { header, .. } | Self::Stripe { header } | Self::SharedSecret { header } => Some(header.as_str()),
            Self::StandardWebhooks => None,
        }
    }

    /// The line of a `[[sources]]` table that pins this.
    pub fn to_toml(&self) -> String {
        self.to_string()
    }

    /// Whether a valid secret signed the delivery this way.
    pub(super) fn check(&self, attempt: &mut Attempt<'_>) -> Result<Match, Refusal> {
        let secret = match self {
            Self::StandardWebhooks => return standard_webhooks(attempt),
            Self::Stripe { header } => return stripe(attempt, header),
            Self::Hmac { header, algorithm, encoding, prefix } => {
                present(attempt, header)?;
                let macs: Macs = attempt
                    .values(header)
                    .flat_map(|line| iter::once(line).chain(items(line)))
                    .filter_map(|item| Mac::read(item.strip_prefix(prefix.as_bytes())?, *algorithm, *encoding))
                    .take(SIGNATURES_MAX)
                    .collect();
                attempt.signer(Message::Body, &[KeyForm::Text], *algorithm, &macs)
            }
            Self::SharedSecret { header } => {
                present(attempt, header)?;
                attempt.sharer(attempt.values(header))
            }
        };
        secret.map(|secret| Match { secret, delivery_id: None }).ok_or(Refusal::Invalid)
    }
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "signature = {{ scheme = \"{}\"", self.scheme())?;
        if let Some(header) = self.header() {
            write!(f, ", header = \"{header}\"")?;
        }
        if let Self::Hmac { algorithm, encoding, prefix, .. } = self {
            let (algorithm, encoding) = (algorithm_name(*algorithm), encoding_name(*encoding));
            // Of visible ASCII, Rust and TOML write the same.
            write!(f, ", algorithm = \"{algorithm}\", encoding = \"{encoding}\", prefix = {prefix:?}")?;
        }
        f.write_str(" }")
    }
}

fn algorithm_name(algorithm: HmacAlgorithm) -> &'static str {
    match algorithm {
        HmacAlgorithm::Sha1 => "sha1",
        HmacAlgorithm::Sha256 => "sha256",
        HmacAlgorithm::Sha512 => "sha512",
    }
}

fn encoding_name(encoding: HmacEncoding) -> &'static str {
    match encoding {
        HmacEncoding::Hex => "hex",
        HmacEncoding::Base64 => "base64",
    }
}

/// Whether a header is where Standard Webhooks or Svix keep their signatures.
pub(super) fn is_standard_signature(name: &HeaderName) -> bool {
    STANDARD_HEADERS.iter().any(|[.., signature]| signature == name)
}

fn present(attempt: &Attempt<'_>, header: &HeaderName) -> Result<(), Refusal> {
    attempt.value(header).map(|_| ()).ok_or(Refusal::Missing)
}

fn standard_webhooks(attempt: &mut Attempt<'_>) -> Result<Match, Refusal> {
    let mut refusal = Refusal::Missing;
    for headers in &STANDARD_HEADERS {
        match standard_family(attempt, headers) {
            Err(other) => refusal = refusal.max(other),
            matched => return matched,
        }
    }
    Err(refusal)
}

fn standard_family(attempt: &mut Attempt<'_>, [id, timestamp, signature]: &[HeaderName; 3]) -> Result<Match, Refusal> {
    present(attempt, signature)?;
    let timestamp = attempt.value(timestamp).map(HeaderValue::as_bytes);
    let timestamp = fresh(timestamp, attempt.now())?;
    let id = attempt.value(id).filter(|id| is_delivery_id(id.as_bytes())).ok_or(Refusal::Invalid)?;
    let macs: Macs = attempt
        .values(signature)
        .flat_map(words)
        .filter_map(|word| Mac::read(word.strip_prefix(b"v1,")?, HmacAlgorithm::Sha256, HmacEncoding::Base64))
        .take(SIGNATURES_MAX)
        .collect();
    let message = Message::Identified(id.as_bytes(), timestamp);
    let secret = attempt.signer(message, &[KeyForm::Decoded, KeyForm::Text], HmacAlgorithm::Sha256, &macs);
    secret.map(|secret| Match { secret, delivery_id: Some(id.clone()) }).ok_or(Refusal::Invalid)
}

fn stripe(attempt: &mut Attempt<'_>, header: &HeaderName) -> Result<Match, Refusal> {
    let mut refusal = Refusal::Missing;
    for line in attempt.values(header) {
        match stripe_line(attempt, line) {
            Err(other) => refusal = refusal.max(other),
            matched => return matched,
        }
    }
    Err(refusal)
}

fn stripe_line<'a>(attempt: &mut Attempt<'a>, line: &'a [u8]) -> Result<Match, Refusal> {
    let t = items(line).find_map(|item| item.strip_prefix(b"t="));
    let mut signatures = items(line).filter_map(|item| item.strip_prefix(b"v1=")).peekable();
    if t.is_none() && signatures.peek().is_none() {
        return Err(Refusal::Invalid);
    }
    let t = fresh(t, attempt.now())?;
    let read = |value| Mac::read(value, HmacAlgorithm::Sha256, HmacEncoding::Hex);
    let macs: Macs = signatures.filter_map(read).take(SIGNATURES_MAX).collect();
    let secret = attempt.signer(Message::Timed(t), &[KeyForm::Text], HmacAlgorithm::Sha256, &macs);
    secret.map(|secret| Match { secret, delivery_id: None }).ok_or(Refusal::Invalid)
}

/// Takes a timestamp that is plain digits, in seconds, and not off by more than the tolerance.
fn fresh(timestamp: Option<&[u8]>, now: Timestamp) -> Result<&[u8], Refusal> {
    let text = timestamp.ok_or(Refusal::TimestampMissing)?;
    let seconds = seconds(text).ok_or(Refusal::TimestampMalformed)?;
    if now.as_secs().abs_diff(seconds) > TOLERANCE_S { Err(Refusal::TimestampStale) } else { Ok(text) }
}

/// Digits only: no sign, exponent, fraction or space, and at most 2^64 − 1.
pub(super) fn seconds(text: &[u8]) -> Option<u64> {
    let digits = text.iter().all(u8::is_ascii_digit);
    std::str::from_utf8(text).ok().filter(|_| digits)?.parse().ok()
}

/// Ids become keys of the log and words in answers and logs, so they are short and visible.
fn is_delivery_id(id: &[u8]) -> bool {
    (1..=DELIVERY_ID_BYTES_MAX).contains(&id.len()) && id.iter().all(u8::is_ascii_graphic)
}
