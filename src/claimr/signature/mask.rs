//! What of a delivery may be shown to an operator: never a secret, never a whole signature, never a credential.
//!
//! A signature keeps its first characters, its length and its alphabet, which is what tells one scheme from another. A secret, or what a
//! header of such a name holds, keeps nothing.

use http::HeaderName;
use secrecy::{ExposeSecret as _, SecretString};

use super::{
    secret::STANDARD_PREFIX,
    shape::{is_likely, plain, split_word},
};
use crate::config::{HmacEncoding, Signature, Source};

/// What stands in place of a credential.
const MASKED: &str = "(masked)";
/// What is cut out of a text.
const SECRET: &str = "***";
/// Characters of a signature that are shown.
const SHOWN_CHARS: usize = 4;
/// A word of this length, in which letters and digits mix, may be a credential.
const OPAQUE_CHARS_MIN: usize = 16;
/// Beside a signature, words from this length on may be a part of it.
const PART_CHARS_MIN: usize = 8;

/// Names that hold nothing of worth to a thief, whatever it looks like.
const HARMLESS: &[&str] = &[
    "accept",
    "accept-encoding",
    "accept-language",
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "date",
    "forwarded",
    "host",
    "svix-id",
    "svix-timestamp",
    "traceparent",
    "transfer-encoding",
    "user-agent",
    "via",
    "webhook-id",
    "webhook-timestamp",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-proto",
    "x-real-ip",
    "x-request-id",
];
/// Parts of names whose headers hold credentials.
const CREDENTIALS: &[&str] = &["auth", "cookie", "secret", "token", "passw", "credential", "api-key", "apikey"];

/// Knows the secrets of one source, to keep them from being shown.
pub struct Mask {
    /// Longest first, in every spelling.
    secrets: Vec<SecretString>,
    /// Where the secret itself is sent.
    shared_in: Option<String>,
}

impl Mask {
    /// A mask for what `source` sends.
    pub fn new(source: &Source) -> Self {
        let shared_in = match &source.signature {
            Signature::SharedSecret { header } => Some(header.to_ascii_lowercase()),
            _ => None,
        };
        let mut secrets: Vec<String> = Vec::new();
        for secret in &source.secrets {
            let text = secret.secret.expose_secret();
            for text in [text, text.trim(), text.strip_prefix(STANDARD_PREFIX).unwrap_or(text)] {
                // As it is, and as it stands in JSON.
                let quoted = serde_json::Value::from(text).to_string();
                secrets.extend([text.to_owned(), quoted[1..quoted.len() - 1].to_owned()]);
            }
        }
        secrets.retain(|secret| !secret.is_empty());
        secrets.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
        secrets.dedup();
        Self { secrets: secrets.into_iter().map(SecretString::from).collect(), shared_in }
    }

    /// A header's value as it may be shown.
    pub fn header(&self, name: &HeaderName, value: &[u8]) -> String {
        let text = String::from_utf8_lossy(value);
        let name = name.as_str();
        let is_credential = CREDENTIALS.iter().any(|part| name.contains(part)) || self.shared_in.as_deref() == Some(name);
        if is_credential || self.secrets.iter().any(|secret| text.contains(secret.expose_secret())) {
            return MASKED.to_owned();
        }
        if HARMLESS.contains(&name) {
            return text.into_owned();
        }
        let named = is_likely(name);
        text.split_inclusive([',', ';', ' ', '\t']).map(|item| masked(item, named)).collect()
    }

    /// A text without the secrets in it. If it `is_cut`, what a secret begins with is no more shown at its end.
    pub fn text(&self, text: &str, is_cut: bool) -> String {
        let mut clean = text.to_owned();
        for secret in &self.secrets {
            if clean.contains(secret.expose_secret()) {
                clean = clean.replace(secret.expose_secret(), SECRET);
            }
        }
        let longest = |secret: &SecretString| {
            let ends = secret.expose_secret().char_indices().map(|(end, _)| &secret.expose_secret()[..end]);
            ends.filter(|start| !start.is_empty() && clean.ends_with(start)).map(str::len).max()
        };
        let tail = if is_cut { self.secrets.iter().filter_map(longest).max().unwrap_or(0) } else { 0 };
        clean.truncate(clean.len() - tail);
        clean
    }
}

/// One member of a header's list, with what separates it from the next.
fn masked(item: &str, named: bool) -> String {
    let separator = item.chars().next_back().filter(|c| matches!(c, ',' | ';' | ' ' | '\t'));
    let bare = &item[..item.len() - separator.map_or(0, char::len_utf8)];
    let mut shown = if let Some((word, _, encoding)) = plain(bare.as_bytes()) {
        let value = &bare[word.len()..];
        let alphabet = match encoding {
            HmacEncoding::Hex => "hex digits",
            HmacEncoding::Base64 => "base 64 characters",
        };
        format!("{word}{}… ({} {alphabet})", value.get(..SHOWN_CHARS).unwrap_or(""), value.len())
    } else if is_opaque(split_word(bare.as_bytes()).1, named) {
        format!("({} characters)", bare.chars().count())
    } else {
        bare.to_owned()
    };
    shown.extend(separator);
    shown
}

fn is_opaque(value: &[u8], named: bool) -> bool {
    let has = |kind: fn(&u8) -> bool| value.iter().any(kind);
    let mixed = has(u8::is_ascii_digit) && has(u8::is_ascii_alphabetic);
    let letters = has(|b| !b.is_ascii_digit());
    value.len() >= 2 * OPAQUE_CHARS_MIN
        || (value.len() >= OPAQUE_CHARS_MIN && mixed)
        || (named && value.len() >= PART_CHARS_MIN && letters)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::load::load;

    const HEX: &str = "e866cc1d81ed6b995898923beee04fb4713458a8b026848502cad26dc43fc206";

    fn mask(signature: &str, secret: &str) -> Mask {
        let source = format!("[{{ name = \"claimr\", secrets = [{{ value = '{secret}' }}], signature = {signature} }}]");
        let key = "[{ alg = \"HS256\", secret = { value = \"0123456789012345678901234567890123\" } }]".to_owned();
        let settings = [("SOURCES", source), ("AUTH__KEYS", key), ("AUTH__ISSUER", "i".into()), ("AUTH__AUDIENCE", "a".into())];
        let settings = settings.into_iter().map(|(key, value)| (format!("CLAIMR_RELAY__{key}"), value));
        Mask::new(&load(None, settings).unwrap_or_else(|mistakes| panic!("{mistakes}")).sources[0])
    }

    #[test]
    fn signatures_keep_their_shape_and_credentials_nothing() {
        let mask = mask("\"detect\"", "my-secret-key");
        let base64 = "g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";
        for (name, value, shown) in [
            ("x-signature", HEX, "e866… (64 hex digits)"),
            ("x-hub-signature-256", &format!("sha256={HEX}"), "sha256=e866… (64 hex digits)"),
            ("webhook-signature", &format!("v1,{base64} v2,x"), "v1,g0hM… (44 base 64 characters) v2,x"),
            ("acme-signature", &format!("t=1700000000,v1={HEX}"), "t=1700000000,v1=e866… (64 hex digits)"),
            ("x-signature", &HEX[..40], "e866… (40 hex digits)"),
            ("x-signature", &HEX[..39], "(39 characters)"),
            ("x-signature", "", ""),
            ("x-signature", "my-secret-key", MASKED),
            ("x-other", "key=my-secret-key;v=1", MASKED),
            ("user-agent", "claimr my-secret-key", MASKED),
            ("authorization", "Bearer abc", MASKED),
            ("cookie", "a=b", MASKED),
            ("x-webhook-secret", "another", MASKED),
            ("x-claimr-token", "abc", MASKED),
            ("x-opaque", "Ab3dEf6hIj9lMn2p", "(16 characters)"),
            ("x-opaque", "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiI0MiJ9.sig", "(41 characters)"),
            ("x-claimr-event", "user_activity", "user_activity"),
            ("x-timestamp", "1700000000", "1700000000"),
            ("x-request-id", "6f1ed002-ab5c-4b21-9a7e-2f1b7e1d0c11", "6f1ed002-ab5c-4b21-9a7e-2f1b7e1d0c11"),
            ("host", "relay.example.com", "relay.example.com"),
        ] {
            assert_eq!(mask.header(&name.parse().unwrap(), value.as_bytes()), shown, "{name}: {value}");
        }
    }

    #[test]
    fn where_the_secret_itself_is_sent_nothing_is_shown() {
        let mask = mask(r#"{ scheme = "shared-secret", header = "X-Claimr" }"#, "my-secret-key");
        assert_eq!(mask.header(&"x-claimr".parse().unwrap(), b"wrong"), MASKED);
    }

    #[test]
    fn no_secret_stays_in_a_text() {
        let mask = mask("\"detect\"", r#"whsec_ab"cd"#);
        for (text, is_cut, clean) in [
            ("nothing", true, "nothing"),
            (r#"{"a":"whsec_ab\"cd"}"#, false, r#"{"a":"***"}"#),
            (r#"x ab"cd y whsec_ab"cd"#, false, "x *** y ***"),
            ("cut whsec_a", true, "cut "),
            ("not cut whsec_a", false, "not cut whsec_a"),
        ] {
            assert_eq!(mask.text(text, is_cut), clean, "{text}");
        }
    }
}
