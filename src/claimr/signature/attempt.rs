//! One delivery while it is checked: what was sent, and the HMACs computed so far, each once.

use aws_lc_rs::{
    constant_time::verify_slices_are_equal,
    hmac::{Context, Tag},
};
use http::{HeaderMap, HeaderName, HeaderValue};
use smallvec::SmallVec;

use super::{
    secret::{KeyForm, Secret},
    shape::Mac,
};
use crate::{config::HmacAlgorithm, event::Timestamp};

/// Header lines of one name that are looked at.
const LINES_MAX: usize = 8;
/// Different Stripe timestamps of one delivery that are tried: each is a message of its own.
const TIMED_MAX: usize = 4;
/// The most HMACs that a delivery costs per secret: the body under three hashes; `TIMED_MAX` times `<t>.<body>`; and
/// `<id>.<t>.<body>` of `webhook-` and of `svix-`, each under both forms of the key.
pub const HMACS_PER_SECRET_MAX: usize = 3 + TIMED_MAX + 2 * 2;

/// What a signature is made over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Message<'a> {
    /// The body.
    Body,
    /// `<t>.<body>`.
    Timed(&'a [u8]),
    /// `<id>.<t>.<body>`.
    Identified(&'a [u8], &'a [u8]),
}

/// Who signed a delivery, and what they call it.
pub(super) struct Match {
    /// The index of the secret.
    pub(super) secret: usize,
    /// Present only if it is signed too; visible ASCII.
    pub(super) delivery_id: Option<HeaderValue>,
}

/// One delivery while it is checked.
pub(super) struct Attempt<'a> {
    secrets: &'a [Secret],
    /// The secret to begin with.
    first: usize,
    headers: &'a HeaderMap,
    body: &'a [u8],
    now: Timestamp,
    tags: SmallVec<[(Recipe<'a>, Tag); 2]>,
}

/// All that an HMAC depends on.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Recipe<'a> {
    secret: usize,
    form: KeyForm,
    algorithm: HmacAlgorithm,
    message: Message<'a>,
}

impl<'a> Attempt<'a> {
    pub(super) fn new(secrets: &'a [Secret], first: usize, headers: &'a HeaderMap, body: &'a [u8], now: Timestamp) -> Self {
        Self { secrets, first, headers, body, now, tags: SmallVec::new() }
    }

    pub(super) fn headers(&self) -> &'a HeaderMap {
        self.headers
    }

    pub(super) fn now(&self) -> Timestamp {
        self.now
    }

    /// The first value of a header.
    pub(super) fn value(&self, name: &HeaderName) -> Option<&'a HeaderValue> {
        self.headers.get(name)
    }

    /// Every value of a header, within bounds.
    pub(super) fn values(&self, name: &HeaderName) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        self.headers.get_all(name).iter().take(LINES_MAX).map(HeaderValue::as_bytes)
    }

    /// The first valid secret that made one of `macs` over `message`.
    pub(super) fn signer(
        &mut self,
        message: Message<'a>,
        forms: &[KeyForm],
        algorithm: HmacAlgorithm,
        macs: &[Mac],
    ) -> Option<usize> {
        if macs.is_empty() {
            return None;
        }
        for secret in self.valid_secrets() {
            for &form in forms {
                let Some(tag) = self.tag(Recipe { secret, form, algorithm, message }) else { continue };
                if macs.iter().any(|mac| verify_slices_are_equal(mac.as_ref(), tag.as_ref()).is_ok()) {
                    return Some(secret);
                }
            }
        }
        None
    }

    /// The valid secret that one of `values` is.
    pub(super) fn sharer(&self, mut values: impl Iterator<Item = &'a [u8]>) -> Option<usize> {
        values.find_map(|value| self.valid_secrets().find(|&i| self.secrets[i].is(value)))
    }

    fn valid_secrets(&self) -> impl Iterator<Item = usize> + use<'a> {
        let (secrets, first, now) = (self.secrets, self.first, self.now);
        (0..secrets.len()).map(move |i| (first + i) % secrets.len()).filter(move |&i| secrets[i].is_valid(now))
    }

    fn tag(&mut self, recipe: Recipe<'a>) -> Option<Tag> {
        if let Some((_, tag)) = self.tags.iter().find(|(known, _)| *known == recipe) {
            return Some(*tag);
        }
        if matches!(recipe.message, Message::Timed(_)) && self.timed(&recipe) >= TIMED_MAX {
            return None;
        }
        let mut context = Context::with_key(self.secrets[recipe.secret].key(recipe.form, recipe.algorithm)?);
        match recipe.message {
            Message::Body => {}
            Message::Timed(t) => [t, b"."].iter().for_each(|part| context.update(part)),
            Message::Identified(id, t) => [id, b".", t, b"."].iter().for_each(|part| context.update(part)),
        }
        context.update(self.body);
        let tag = context.sign();
        self.tags.push((recipe, tag));
        Some(tag)
    }

    /// How many HMACs with a Stripe timestamp that secret has already cost.
    fn timed(&self, recipe: &Recipe<'_>) -> usize {
        let same = |known: &Recipe<'_>| known.secret == recipe.secret && matches!(known.message, Message::Timed(_));
        self.tags.iter().filter(|(known, _)| same(known)).count()
    }

    #[cfg(any(test, fuzzing))]
    pub(super) fn hmacs(&self) -> usize {
        self.tags.len()
    }
}
