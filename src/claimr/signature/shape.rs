//! What header values look like: signatures in hex and base 64, lists of them, and which schemes a delivery could be using.
//!
//! The length of a value decides its hash and encoding, because no two combinations have a length in common.

use data_encoding::{BASE64_NOPAD, BASE64URL_NOPAD, HEXLOWER_PERMISSIVE};
use http::HeaderMap;
use smallvec::SmallVec;

use super::{Found, Refusal, found};
use crate::config::{HmacAlgorithm, HmacEncoding};

/// Candidate schemes of one delivery that are tried.
const CANDIDATES_MAX: usize = 16;
/// Members of one header line that are looked at.
const ITEMS_MAX: usize = 32;
/// Bytes of a header line that are looked at under `detect`.
const LINE_BYTES_MAX: usize = 4_096;
/// Bytes of the word in `<word>=` before a signature.
const WORD_BYTES_MAX: usize = 16;
/// Bytes of the longest HMAC.
const MAC_BYTES_MAX: usize = 64;

/// The value of a signature.
#[derive(Clone, Copy)]
pub(super) struct Mac {
    bytes: [u8; MAC_BYTES_MAX],
    len: usize,
}

impl Mac {
    /// Reads a value of exactly the algorithm's length: hex of either case; or base 64, standard or URL-safe, padded or not.
    pub(super) fn read(text: &[u8], algorithm: HmacAlgorithm, encoding: HmacEncoding) -> Option<Self> {
        let len = bytes_of(algorithm);
        let (codec, text) = match encoding {
            HmacEncoding::Hex => (HEXLOWER_PERMISSIVE, text),
            HmacEncoding::Base64 if text.iter().any(|b| matches!(b, b'-' | b'_')) => (BASE64URL_NOPAD, unpadded(text)),
            HmacEncoding::Base64 => (BASE64_NOPAD, unpadded(text)),
        };
        if text.len() != codec.encode_len(len) {
            return None;
        }
        let mut bytes = [0; MAC_BYTES_MAX];
        codec.decode_mut(text, &mut bytes[..len]).ok()?;
        Some(Self { bytes, len })
    }
}

impl AsRef<[u8]> for Mac {
    fn as_ref(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

/// Bytes of an HMAC.
fn bytes_of(algorithm: HmacAlgorithm) -> usize {
    match algorithm {
        HmacAlgorithm::Sha1 => 20,
        HmacAlgorithm::Sha256 => 32,
        HmacAlgorithm::Sha512 => 64,
    }
}

/// Base 64 without its padding, which is taken only where it fills up a group of four.
fn unpadded(text: &[u8]) -> &[u8] {
    let bare = text.strip_suffix(b"==").or_else(|| text.strip_suffix(b"=")).unwrap_or(text);
    if text.len().is_multiple_of(4) { bare } else { text }
}

/// The members of a list that is separated by commas, semicolons or spaces, as senders and proxies write several signatures.
pub(super) fn items(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    line.split(|b| matches!(b, b',' | b';' | b' ' | b'\t')).filter(|item| !item.is_empty()).take(ITEMS_MAX)
}

/// The members of a list that is separated by spaces, which in Standard Webhooks have a comma inside. A proxy that joins two
/// lines adds one at the end.
pub(super) fn words(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    let words = line.split(|b| matches!(b, b' ' | b'\t')).map(|word| word.strip_suffix(b",").unwrap_or(word));
    words.filter(|word| !word.is_empty()).take(ITEMS_MAX)
}

/// A signature's `<word>=`, if it has one, its hash and its encoding.
pub(super) fn plain(item: &[u8]) -> Option<(&str, HmacAlgorithm, HmacEncoding)> {
    let (prefix, value) = split_word(item);
    let (algorithm, encoding) = match value.len() {
        40 => (HmacAlgorithm::Sha1, HmacEncoding::Hex),
        64 => (HmacAlgorithm::Sha256, HmacEncoding::Hex),
        128 => (HmacAlgorithm::Sha512, HmacEncoding::Hex),
        27 | 28 => (HmacAlgorithm::Sha1, HmacEncoding::Base64),
        43 | 44 => (HmacAlgorithm::Sha256, HmacEncoding::Base64),
        86 | 88 => (HmacAlgorithm::Sha512, HmacEncoding::Base64),
        _ => return None,
    };
    Mac::read(value, algorithm, encoding).map(|_| (prefix, algorithm, encoding))
}

/// `sha256=` and what follows. The padding of base 64 is no such word: it stands farther behind than a word may.
pub(super) fn split_word(item: &[u8]) -> (&str, &[u8]) {
    let is_word = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_');
    let split = item.iter().position(|b| *b == b'=').filter(|&end| {
        (1..=WORD_BYTES_MAX).contains(&end) && item[..end].iter().all(is_word) && item.get(end + 1).is_some_and(|b| *b != b'=')
    });
    let (word, value) = item.split_at(split.map_or(0, |end| end + 1));
    (std::str::from_utf8(word).unwrap_or_default(), value)
}

/// The schemes that these headers have the shape of, those in headers named like a signature first; and how to refuse if none of
/// them matches: a header that is named like a signature counts as one even if its value cannot be.
pub(super) fn candidates(headers: &HeaderMap) -> (SmallVec<[Found; 2]>, Refusal) {
    let mut candidates = SmallVec::new();
    for likely in [true, false] {
        for (name, line) in headers.iter().filter(|(name, _)| is_likely(name.as_str()) == likely) {
            if line.len() <= LINE_BYTES_MAX {
                collect(name, line.as_bytes(), &mut candidates);
            }
        }
    }
    let named = headers.keys().any(|name| is_likely(name.as_str()));
    (candidates, if named { Refusal::Invalid } else { Refusal::Missing })
}

/// Whether a header is there to carry a signature: `X-Signature`, `Stripe-Signature`, `X-Sig`, `X-Hmac-Sha256`, `Digest`.
pub(super) fn is_likely(name: &str) -> bool {
    ["sig", "hmac", "digest"].iter().any(|part| name.contains(part))
}

fn collect(name: &http::HeaderName, line: &[u8], candidates: &mut SmallVec<[Found; 2]>) {
    let mut add = |found: Found| {
        if candidates.len() < CANDIDATES_MAX && !candidates.contains(&found) {
            candidates.push(found);
        }
    };
    // A value that belongs to a scheme with a timestamp counts under that scheme only.
    if found::is_standard_signature(name) && words(line).any(|word| word.starts_with(b"v1,")) {
        return add(Found::StandardWebhooks);
    }
    if items(line).any(|item| item.starts_with(b"v1=")) {
        add(Found::Stripe { header: name.clone() });
        if items(line).any(|item| item.starts_with(b"t=")) {
            return;
        }
    }
    for (prefix, algorithm, encoding) in items(line).filter_map(plain) {
        add(Found::Hmac { header: name.clone(), algorithm, encoding, prefix: prefix.to_owned() });
    }
}
