//! Stream tickets: what a page that was asked for its token once puts into the URL of an `EventSource`, which cannot send headers.
//!
//! A ticket is good for SSE only, for the person and until the end of the token that it was given for, and for one Origin. Any node
//! with the same configuration takes it, and a restart does not matter: its key is derived from the configuration.
//!
//! `crt1_<payload>.<HMAC-SHA-256>`, both base64url. The payload is binary: the expiry in ms (8 bytes, big-endian), 0 or 1 and the
//! SHA-256 of the Origin, then each user key after a byte that holds its length less one. Everything left of the dot is signed.
//! No ticket is a JWT, since it has two parts, and no JWT is a ticket, since `crt1_` does not decode to a `{`.

use std::time::Duration;

use aws_lc_rs::{digest, hmac};
use data_encoding::BASE64URL_NOPAD;
use jsonwebtoken::AlgorithmFamily;
use secrecy::ExposeSecret;

use super::{Identity, Rejection};
use crate::{
    config::{self, KeyMaterial},
    event::{Timestamp, UserKey},
};

/// Issues and verifies stream tickets.
pub struct Tickets {
    key: hmac::Key,
    leeway: Duration,
}

impl Tickets {
    /// The longest ticket in bytes. The bounds of an [`Identity`] keep every issued one below it.
    pub const BYTES_MAX: usize = 4_096;
    const PREFIX: &str = "crt1_";
    const LABEL: &str = "claimr-relay ticket v1";

    /// Derives the signing key from `auth.ticket_secret`, or else from the first HMAC key; `None` when there is neither.
    ///
    /// [`Verifier::new`](super::jwt::Verifier::new) has refused weak secrets before.
    pub fn from_config(auth: &config::Auth) -> Option<Self> {
        let first_hmac = || {
            auth.keys.iter().find_map(|key| match &key.material {
                KeyMaterial::Secret(secret) if key.alg.family() == AlgorithmFamily::Hmac => Some(secret),
                _ => None,
            })
        };
        let secret = auth.ticket_secret.as_ref().or_else(first_hmac)?;
        // A ticket is no wider than its token: another issuer or audience under the same secret has another key. Never a JWT's
        // signature, either: a space is in the label, and never in what a JWT signs.
        let label = format!("{}\0{}\0{}", Self::LABEL, auth.issuer, auth.audience);
        let base = hmac::Key::new(hmac::HMAC_SHA256, secret.expose_secret().as_bytes());
        let key = hmac::Key::new(hmac::HMAC_SHA256, hmac::sign(&base, label.as_bytes()).as_ref());
        Some(Self { key, leeway: auth.leeway })
    }

    /// A ticket for the person, until the end of the token that proved who they are. `origin` is the page that asked, if a page did.
    pub fn issue(&self, identity: &Identity, origin: Option<&str>) -> String {
        let payload = write(identity, origin.map(origin_digest));
        let mut ticket = String::with_capacity(Self::PREFIX.len() + payload.len() * 4 / 3 + 48);
        ticket.push_str(Self::PREFIX);
        BASE64URL_NOPAD.encode_append(&payload, &mut ticket);
        let tag = hmac::sign(&self.key, ticket.as_bytes());
        ticket.push('.');
        BASE64URL_NOPAD.encode_append(tag.as_ref(), &mut ticket);
        ticket
    }

    /// Whom the ticket speaks for, if a request with this `Origin` header may use it.
    ///
    /// | issued for | request without Origin | with the same | with another |
    /// | --- | --- | --- | --- |
    /// | an Origin | yes | yes | no |
    /// | none | yes | – | no |
    ///
    /// A browser names the Origin of every page but one of the same Origin, whose `GET` has none; so an absent header is never a
    /// stranger's page. A ticket that no page asked for is for programs; a backend that fetches tickets for its pages sends their
    /// Origin along.
    pub fn verify(&self, ticket: &str, origin: Option<&str>, now: Timestamp) -> Result<Identity, Rejection> {
        if ticket.len() > Self::BYTES_MAX {
            return Err(Rejection::Invalid("the ticket is longer than 4,096 bytes"));
        }
        let parts = ticket.split_once('.').and_then(|(signed, tag)| Some((signed, signed.strip_prefix(Self::PREFIX)?, tag)));
        let (signed, payload, tag) = parts.ok_or(Rejection::Invalid("it is not a ticket of this version"))?;
        let tag = decode(tag)?;
        hmac::verify(&self.key, signed.as_bytes(), &tag).map_err(|_| Rejection::Invalid("the ticket's signature is wrong"))?;
        let (identity, bound) =
            read(&decode(payload)?).ok_or(Rejection::Invalid("the ticket's payload is of another version"))?;
        if origin.is_some() && origin.map(origin_digest) != bound {
            return Err(Rejection::WrongOrigin);
        }
        identity.unless_expired(self.leeway, now)
    }
}

type OriginDigest = [u8; digest::SHA256_OUTPUT_LEN];

/// A digest has the same length for every Origin, which bounds the ticket.
fn origin_digest(origin: &str) -> OriginDigest {
    let mut bytes = OriginDigest::default();
    bytes.copy_from_slice(digest::digest(&digest::SHA256, origin.as_bytes()).as_ref());
    bytes
}

fn decode(part: &str) -> Result<Vec<u8>, Rejection> {
    BASE64URL_NOPAD.decode(part.as_bytes()).map_err(|_| Rejection::Invalid("the ticket is not canonical base64url"))
}

fn write(identity: &Identity, bound: Option<OriginDigest>) -> Vec<u8> {
    let mut payload = identity.expires().0.to_be_bytes().to_vec();
    payload.push(u8::from(bound.is_some()));
    payload.extend(bound.iter().flatten());
    for key in identity.keys() {
        // A key has 3 to 256 bytes.
        let less_one = key.as_str().len() - 1;
        payload.push(u8::try_from(less_one).unwrap_or(u8::MAX));
        payload.extend(key.as_str().bytes());
    }
    payload
}

fn read(payload: &[u8]) -> Option<(Identity, Option<OriginDigest>)> {
    let (expires, rest) = payload.split_first_chunk::<8>()?;
    let (bound, mut rest) = match rest.split_first()? {
        (0, rest) => (None, rest),
        (1, rest) => rest.split_first_chunk().map(|(digest, rest)| (Some(*digest), rest))?,
        _ => return None,
    };
    let mut keys = Vec::new();
    while let Some((less_one, tail)) = rest.split_first() {
        let (key, tail) = tail.split_at_checked(usize::from(*less_one) + 1)?;
        keys.push(UserKey::parse(std::str::from_utf8(key).ok()?, None).ok()?);
        rest = tail;
    }
    let mut keys = keys.into_iter();
    let identity = Identity::new(keys.next()?, keys, Timestamp(u64::from_be_bytes(*expires))).ok()?;
    Some((identity, bound))
}

#[cfg(test)]
mod tests {
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
        let mut keys = keys.iter().map(|text| UserKey::parse(text, None).unwrap());
        Identity::new(keys.next().unwrap(), keys, NOW.plus(Duration::from_mins(15))).unwrap()
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
        for ticket in [ticket.clone(), format!("{ticket}."), format!("e30.{ticket}"), ticket.replacen("crt1_", "", 1)] {
            assert!(verifier.verify(&ticket, NOW).is_err(), "{ticket}");
        }
        let (signed, signature) = token.rsplit_once('.').unwrap();
        for token in [token.clone(), format!("crt1_{token}"), format!("crt1_{}.{signature}", signed.replace('.', ""))] {
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
        ) {
            let mut keys = accounts.iter().filter_map(|account| UserKey::new("acme", account).ok());
            if let Some(user) = keys.next()
                && let Ok(person) = Identity::new(user, keys, Timestamp(expires))
            {
                let ticket = tickets().issue(&person, origin.as_deref());
                prop_assert!(ticket.len() <= Tickets::BYTES_MAX);
                prop_assert_eq!(tickets().verify(&ticket, origin.as_deref(), NOW), Ok(person));
            }
        }

        #[test]
        fn no_text_passes_and_no_payload_panics(text in ".{0,200}|crt1_[A-Za-z0-9_-]{0,60}\\.[A-Za-z0-9_-]{43}", payload: Vec<u8>) {
            prop_assert!(tickets().verify(&text, None, NOW).is_err());
            let _ = read(&payload);
        }
    }
}
