//! A secret, made ready: every key that a scheme derives from it, so that a delivery costs no key schedule.

use aws_lc_rs::hmac::{self, Algorithm, Key, Tag};
use data_encoding::{BASE64_NOPAD, BASE64URL_NOPAD, Encoding};
use secrecy::ExposeSecret as _;

use crate::{
    config::{HmacAlgorithm, HookSecret, Signature},
    event::Timestamp,
};

/// What Standard Webhooks puts before a secret.
pub(super) const STANDARD_PREFIX: &str = "whsec_";

/// One secret of a source. Not printable.
pub(super) struct Secret {
    /// The secret's bytes as key, by [`HmacAlgorithm`] in its order.
    text: [Key; 3],
    /// What the secret stands for in base 64; absent if it is not base 64.
    decoded: Option<Key>,
    /// The secret's HMAC under itself: comparing these instead of the secrets hides even their length.
    own_tag: Tag,
    not_after: Option<Timestamp>,
}

/// How a key is made of a secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum KeyForm {
    /// The secret's bytes.
    Text,
    /// The bytes it stands for in base 64, after `whsec_` if that is there.
    Decoded,
}

impl Secret {
    /// The keys of a configured secret, or what is wrong with it for a source that signs by `signature`.
    pub(super) fn new(hook: &HookSecret, signature: &Signature) -> Result<Self, &'static str> {
        let text = hook.secret.expose_secret();
        if text.is_empty() {
            return Err("the secret is empty");
        }
        if text == STANDARD_PREFIX {
            return Err("nothing stands after whsec_");
        }
        let decoded = standard_key(text);
        match signature {
            Signature::StandardWebhooks if text.starts_with(STANDARD_PREFIX) && decoded.is_none() => {
                return Err("what stands after whsec_ is not base 64");
            }
            Signature::SharedSecret { .. } if !text.bytes().all(|b| b.is_ascii_graphic() || b == b' ') || text != text.trim() => {
                return Err("no header can hold this secret: it must be visible ASCII without spaces around it");
            }
            _ => {}
        }
        Ok(Self { not_after: hook.not_after, ..Self::from_keys(text.as_bytes(), decoded.as_deref()) })
    }

    /// The keys of `text`, and of the bytes that it stands for.
    pub(super) fn from_keys(text: &[u8], decoded: Option<&[u8]>) -> Self {
        let keys = HASHES.map(|hash| Key::new(hash, text));
        let own_tag = hmac::sign(&keys[HmacAlgorithm::Sha256 as usize], text);
        Self { text: keys, decoded: decoded.map(|key| Key::new(hmac::HMAC_SHA256, key)), own_tag, not_after: None }
    }

    /// Whether it still counts.
    pub(super) fn is_valid(&self, now: Timestamp) -> bool {
        self.not_after.is_none_or(|end| now <= end)
    }

    /// The key of that form; decoded keys are for SHA-256 only.
    pub(super) fn key(&self, form: KeyForm, algorithm: HmacAlgorithm) -> Option<&Key> {
        match form {
            KeyForm::Text => Some(&self.text[algorithm as usize]),
            KeyForm::Decoded => self.decoded.as_ref().filter(|_| algorithm == HmacAlgorithm::Sha256),
        }
    }

    /// Whether `value` is the secret itself.
    pub(super) fn is(&self, value: &[u8]) -> bool {
        hmac::verify(&self.text[HmacAlgorithm::Sha256 as usize], value, self.own_tag.as_ref()).is_ok()
    }
}

/// By [`HmacAlgorithm`] in its order.
const HASHES: [Algorithm; 3] = [hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, hmac::HMAC_SHA256, hmac::HMAC_SHA512];

/// The key that Standard Webhooks means by a secret: base 64, after `whsec_` or, as its libraries take it too, without that.
/// Those that pass the secret on as it is use [`KeyForm::Text`].
pub(super) fn standard_key(secret: &str) -> Option<Vec<u8>> {
    let text = secret.strip_prefix(STANDARD_PREFIX).unwrap_or(secret);
    let text = text.trim_end_matches('=');
    let encoding = if text.contains(['-', '_']) { BASE64URL_NOPAD } else { BASE64_NOPAD };
    // An empty key would let everybody sign.
    tolerant(&encoding)?.decode(text.as_bytes()).ok().filter(|key| !key.is_empty())
}

/// Most libraries ignore the bits that are left over at the end, and a secret is what its maker's library takes it for.
fn tolerant(encoding: &Encoding) -> Option<Encoding> {
    let mut specification = encoding.specification();
    specification.check_trailing_bits = false;
    specification.encoding().ok()
}
