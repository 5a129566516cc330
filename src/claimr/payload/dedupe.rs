//! How a repeated event is recognised: by the sender's id, else by its bytes.

use std::time::Duration;

use aws_lc_rs::digest::{Context, SHA256, digest};

use super::elements::Element;
use crate::event::Dedupe;

/// What every event of one delivery shares.
pub(super) struct Deduper<'r> {
    source: &'r str,
    body: &'r str,
    body_digest: [u8; 16],
    /// Of the signature's scheme; it is the delivery's, whatever the payload says.
    delivery_id: Option<&'r str>,
    /// Of a dead letter that is read again: stands in where neither the scheme nor the payload names the delivery.
    letter_id: Option<&'r str>,
    windows: Windows,
}

/// How long a repetition is recognised; zero: never.
#[derive(Clone, Copy, Debug)]
pub(super) struct Windows {
    /// By an id.
    pub(super) id: Duration,
    /// By the bytes.
    pub(super) body: Duration,
}

impl<'r> Deduper<'r> {
    pub(super) fn new(source: &'r str, windows: Windows, body: &'r str, delivery_id: Option<&'r str>) -> Self {
        let delivery_id = delivery_id.filter(|id| !id.is_empty());
        Self { source, windows, body, body_digest: sha256(body), delivery_id, letter_id: None }
    }

    /// Of the dead letter that is known by `id`.
    pub(super) fn of_letter(self, id: &'r str) -> Self {
        Self { letter_id: Some(id), ..self }
    }

    /// `index` is the element's place in the body. It counts wherever what identifies the event is the whole delivery's.
    pub(super) fn dedupe(&self, element: &Element<'_, '_>, index: usize) -> Option<Dedupe> {
        let index = index.to_string();
        let kind = element.kind.as_str();
        let (key, window) = match (self.delivery_id, &element.id) {
            (Some(id), _) => (self.key(&["delivery", kind, id, &index]), self.windows.id),
            (None, Some((id, true))) => (self.key(&["envelope", kind, id, &index]), self.windows.id),
            (None, Some((id, false))) => (self.key(&["event", kind, id]), self.windows.id),
            (None, None) => match self.letter_id {
                Some(id) => (self.key(&["letter", kind, id, &index]), self.windows.id),
                None => (self.body_key(kind, &index), self.windows.body),
            },
        };
        let is_body = element.whole.raw.len() == self.body.len();
        let digest = if is_body { self.body_digest } else { sha256(element.whole.raw) };
        (!window.is_zero()).then_some(Dedupe { key, digest, window })
    }

    fn key(&self, parts: &[&str]) -> [u8; 16] {
        hash(self.source, parts.iter().map(|part| part.as_bytes()))
    }

    fn body_key(&self, kind: &str, index: &str) -> [u8; 16] {
        hash(self.source, [b"body".as_slice(), kind.as_bytes(), &self.body_digest, index.as_bytes()].into_iter())
    }
}

/// How an event of the backend's own is recognised by the `id` that the backend gave it. No source has an empty name.
pub(super) fn own(id: &str, content: &str, window: Duration) -> Dedupe {
    let key = hash("", [b"own".as_slice(), id.as_bytes()].into_iter());
    Dedupe { key, digest: sha256(content), window }
}

/// The lengths make the parts unambiguous: `ab` + `c` is not `a` + `bc`.
fn hash<'p>(source: &'p str, parts: impl Iterator<Item = &'p [u8]>) -> [u8; 16] {
    let mut context = Context::new(&SHA256);
    for part in std::iter::once(source.as_bytes()).chain(parts) {
        context.update(&(part.len() as u64).to_le_bytes());
        context.update(part);
    }
    half(context.finish().as_ref())
}

fn sha256(text: &str) -> [u8; 16] {
    half(digest(&SHA256, text.as_bytes()).as_ref())
}

/// Nobody gains by a collision that takes 2^64 bodies to find, and the log keeps half as much.
fn half(digest: &[u8]) -> [u8; 16] {
    digest.first_chunk().copied().unwrap_or_default()
}
