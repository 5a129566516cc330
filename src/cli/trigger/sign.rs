//! The sender's side of signatures: what `claimr::signature` checks, made.

use aws_lc_rs::hmac;
use clap::ValueEnum;
use data_encoding::{BASE64, HEXLOWER};
use http::{HeaderName, HeaderValue};
use secrecy::{ExposeSecret as _, SecretString};

use crate::{
    cli::Failure,
    config::{HmacAlgorithm, HmacEncoding, Signature},
    event::Timestamp,
};

/// How to sign, by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Scheme {
    /// Hexadecimal HMAC-SHA256 of the body in X-Signature
    Hmac,
    /// The same after sha256= in X-Hub-Signature-256
    Github,
    /// t=…,v1=… in Claimr-Signature
    Stripe,
    /// webhook-id, webhook-timestamp and webhook-signature
    StandardWebhooks,
    /// No signature
    None,
}

/// Signs deliveries with one secret. Not printable.
pub(super) struct Signer {
    secret: SecretString,
    /// Absent: unsigned.
    signature: Option<Signature>,
}

impl Signer {
    /// Signs as `signature` says; where that leaves it open, as plain HMAC.
    pub(super) fn new(secret: SecretString, signature: Signature) -> Result<Self, Failure> {
        let signature = if signature == Signature::Detect { hmac_in("X-Signature", "") } else { signature };
        let signer = Self { secret, signature: Some(signature) };
        // What cannot be signed is said before anything is sent.
        signer.headers("probe", Timestamp(0), b"")?;
        Ok(signer)
    }

    /// Signs by a scheme with its usual names.
    pub(super) fn by_name(secret: SecretString, scheme: Scheme) -> Result<Self, Failure> {
        match scheme {
            Scheme::None => Ok(Self { secret, signature: None }),
            Scheme::Hmac => Self::new(secret, Signature::Detect),
            Scheme::Github => Self::new(secret, hmac_in("X-Hub-Signature-256", "sha256=")),
            Scheme::Stripe => Self::new(secret, Signature::Stripe { header: "Claimr-Signature".to_owned() }),
            Scheme::StandardWebhooks => Self::new(secret, Signature::StandardWebhooks),
        }
    }

    /// Whether what it signs is good for a few minutes only.
    pub(super) fn signs_time(&self) -> bool {
        matches!(self.signature, Some(Signature::Stripe { .. } | Signature::StandardWebhooks))
    }

    /// The headers that sign `body`; `id` is the delivery's, where the scheme signs one.
    pub(super) fn headers(&self, id: &str, now: Timestamp, body: &[u8]) -> Result<Vec<(HeaderName, HeaderValue)>, Failure> {
        let seconds = now.as_secs().to_string();
        let text = self.secret.expose_secret().as_bytes();
        let lines = match &self.signature {
            None | Some(Signature::Detect) => Vec::new(),
            Some(Signature::Hmac { header, algorithm, encoding, prefix }) => {
                let tag = hmac::sign(&hmac::Key::new(hash(*algorithm), text), body);
                let value = match encoding {
                    HmacEncoding::Hex => HEXLOWER.encode(tag.as_ref()),
                    HmacEncoding::Base64 => BASE64.encode(tag.as_ref()),
                };
                vec![(header.as_str(), format!("{prefix}{value}"))]
            }
            Some(Signature::Stripe { header }) => {
                let tag = sign(text, &[seconds.as_bytes(), b".", body]);
                vec![(header.as_str(), format!("t={seconds},v1={}", HEXLOWER.encode(tag.as_ref())))]
            }
            Some(Signature::StandardWebhooks) => {
                let tag = sign(&self.standard_key()?, &[id.as_bytes(), b".", seconds.as_bytes(), b".", body]);
                vec![
                    ("webhook-id", id.to_owned()),
                    ("webhook-timestamp", seconds),
                    ("webhook-signature", format!("v1,{}", BASE64.encode(tag.as_ref()))),
                ]
            }
            Some(Signature::SharedSecret { header }) => vec![(header.as_str(), self.secret.expose_secret().to_owned())],
        };
        let line = |(name, value): (&str, String)| {
            let name = name.parse().map_err(|_| Failure::Usage(format!("{name:?} cannot be a header's name")))?;
            let value = value.parse().map_err(|_| Failure::Usage(format!("no header can hold the value of {name}")))?;
            Ok((name, value))
        };
        lines.into_iter().map(line).collect()
    }

    fn standard_key(&self) -> Result<Vec<u8>, Failure> {
        let text = self.secret.expose_secret();
        let Some(encoded) = text.strip_prefix("whsec_") else { return Ok(text.as_bytes().to_vec()) };
        BASE64
            .decode(encoded.as_bytes())
            .map_err(|_| Failure::Usage("what stands after whsec_ in the secret is not base 64".into()))
    }
}

fn hmac_in(header: &str, prefix: &str) -> Signature {
    Signature::Hmac {
        header: header.to_owned(),
        algorithm: HmacAlgorithm::Sha256,
        encoding: HmacEncoding::Hex,
        prefix: prefix.to_owned(),
    }
}

fn hash(algorithm: HmacAlgorithm) -> hmac::Algorithm {
    match algorithm {
        HmacAlgorithm::Sha1 => hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY,
        HmacAlgorithm::Sha256 => hmac::HMAC_SHA256,
        HmacAlgorithm::Sha512 => hmac::HMAC_SHA512,
    }
}

fn sign(key: &[u8], parts: &[&[u8]]) -> hmac::Tag {
    let mut context = hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, key));
    for part in parts {
        context.update(part);
    }
    context.sign()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn signed(secret: &str, scheme: Scheme, id: &str, seconds: u64, body: &str) -> Vec<(String, String)> {
        let signer = Signer::by_name(secret.into(), scheme).unwrap();
        let headers = signer.headers(id, Timestamp(seconds * 1_000), body.as_bytes()).unwrap();
        headers.iter().map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned())).collect()
    }

    /// The published vectors of each scheme.
    #[test]
    fn every_scheme_signs_as_its_sender_does() {
        let body = r#"{"scope":"user_activity","pid":"fLEFzw90"}"#;
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(
            signed("my-secret-key", Scheme::Hmac, "", 0, body),
            [pair("x-signature", "e866cc1d81ed6b995898923beee04fb4713458a8b026848502cad26dc43fc206")]
        );
        assert_eq!(
            signed("It's a Secret to Everybody", Scheme::Github, "", 0, "Hello, World!"),
            [pair("x-hub-signature-256", "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17")]
        );
        assert_eq!(
            signed("my-secret-key", Scheme::Stripe, "", 1_700_000_000, body),
            [pair("claimr-signature", "t=1700000000,v1=2e6846c099abcc33853d3c58fa3af11acca7797c914c2a30d00f1f9babc12e6c")]
        );
        let (secret, id) = ("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "msg_p5jXN8AQM9LWM0D4loKWxJek");
        let headers = signed(secret, Scheme::StandardWebhooks, id, 1_614_265_330, r#"{"test": 2432232314}"#);
        assert_eq!(headers[2], pair("webhook-signature", "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="));
        assert!(signed("s", Scheme::None, "", 0, body).is_empty());
    }

    #[test]
    fn what_cannot_sign_is_refused_before_anything_is_sent() {
        assert!(Signer::by_name("whsec_%%%".to_owned().into(), Scheme::StandardWebhooks).is_err());
        assert!(Signer::new("a\nb".to_owned().into(), Signature::SharedSecret { header: "x-s".to_owned() }).is_err());
        assert!(Signer::new("s".to_owned().into(), Signature::Stripe { header: "a b".to_owned() }).is_err());
    }
}
