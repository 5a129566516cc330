//! What holds for any body.

use std::{collections::HashSet, fmt, time::Duration};

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::Value as Json;

use super::{json::DEPTH_MAX, *};
use crate::{
    config::{Signature, load::load},
    event::{Epoch, Position, UserKey},
    protocol::Frame,
};

const NOW: Timestamp = Timestamp(1_732_350_000_123);
/// Bytes of an event's normalised members: each at most 1 KiB, with its name.
const NORMALISED_BYTES_MAX: usize = 32 * 1024;

/// The options: `r` for a source that redacts, or another letter; `l` to learn; then a `/` and the scope of the URL.
pub(crate) fn check(options: &[u8], body: &[u8]) {
    let text = String::from_utf8_lossy(options);
    let (letters, scope) = text.split_once('/').unwrap_or((&text, ""));
    let (scope, redacts) = (EventType::new(scope), letters.contains('r'));
    let reader = PayloadReader::new(&source(redacts));
    let body = Bytes::copy_from_slice(body);
    let reading = reader.read_body(&body, Identity::Delivery(None), scope.as_ref(), NOW);
    is_json_as_serde_json_has_it(&body, reading.invalid);
    assert!(reading.drafts.len() + reading.dead_letters.len() > 0, "a body is lost without a trace");
    assert!(reading.drafts.len() <= elements::ELEMENTS_MAX);
    for draft in &reading.drafts {
        is_sound(draft, &body, redacts);
    }
    let written: usize = reading.drafts.iter().flat_map(|draft| &draft.audiences).map(|audience| audience.members.len()).sum();
    assert!(
        written <= 2 * (body.len() + reading.drafts.len() * NORMALISED_BYTES_MAX),
        "{written} bytes are made of {}",
        body.len()
    );
    match reading.invalid {
        Some(fault) => {
            assert!(fault.position() <= body.len());
            assert!(reading.drafts.is_empty() && reading.dead_letters.len() == 1);
            assert_eq!(reading.dead_letters[0].body, body);
        }
        None => assert!(reading.dead_letters.iter().all(|letter| letter.body.len() <= body.len())),
    }
    is_traced(&reader, &body, scope.as_ref(), &reading);
    if letters.contains('l') {
        is_learned(&reader, &body, scope.as_ref(), &reading);
    }
}

fn source(redacts: bool) -> Source {
    let pointers = |texts: &[&str]| if redacts { texts.iter().map(|text| (*text).to_owned()).collect() } else { Vec::new() };
    Source {
        broadcast: Vec::new(),
        name: "claimr".to_owned(),
        secrets: Vec::new(),
        allow_unsigned: true,
        signature: Signature::Detect,
        mapping: Mapping::default(),
        redact: pointers(&["/email", "/user/email", "/logins/0"]),
        referrer_data: pointers(&["/event_type", "/user/id"]),
        duplicate_window: Duration::from_secs(10),
        delivery_id_window: Duration::from_hours(24),
    }
}

fn is_sound(draft: &Draft, body: &Bytes, redacts: bool) {
    assert!(matches!(draft.audiences.len(), 1 | 2));
    let keys: Vec<&UserKey> = draft.audiences.iter().flat_map(|audience| &audience.keys).collect();
    assert_eq!(keys.iter().collect::<HashSet<_>>().len(), keys.len(), "a key stands twice: {keys:?}");
    for key in keys {
        assert_eq!(UserKey::parse(key.as_str(), None).as_ref(), Ok(key), "{key:?} is not normal");
    }
    let position = Position { epoch: Epoch::from_random(1), seq: 1 };
    for Audience { keys, members } in &draft.audiences {
        assert!(!keys.is_empty(), "an audience of nobody");
        assert!(members.len() <= body.len() + NORMALISED_BYTES_MAX);
        assert!(!members.contains(['\n', '\r']), "a line break in {members:?}");
        let frame = Frame::encode(position, members);
        assert_eq!(Frame::from_stored(frame.as_sse().clone()).as_ref(), Some(&frame));
        let frame: Json = match serde_json::from_slice(frame.as_json()) {
            Ok(frame) => frame,
            Err(error) => {
                assert!(is_near_the_end_of_f64(members), "{error}: {members}");
                continue;
            }
        };
        assert_eq!((frame["type"].as_str(), frame["at"].as_u64()), (Some(draft.kind.as_str()), Some(NOW.0)));
        assert!(frame["data"].is_object());
        assert!(!redacts || frame["data"].get("email").is_none(), "what is redacted is shown");
    }
}

/// Beyond `serde_json`'s own grammar, only what is documented is refused.
fn is_json_as_serde_json_has_it(body: &[u8], invalid: Option<InvalidPayload>) {
    let text = String::from_utf8_lossy(body);
    match (serde_json::from_slice::<Strict>(body), invalid.map(InvalidPayload::why)) {
        (Ok(_), None | Some("more than 1000 events")) | (Err(_), Some(_)) => {}
        (Ok(json), Some("neither an object nor a list")) => assert_eq!(json.depth, 0),
        (Ok(json), Some("nested too deep")) => assert!(json.depth > DEPTH_MAX),
        (Ok(json), Some("a key that stands twice in one object")) => assert!(json.repeats),
        (_, Some("a number out of range") | None) => assert!(is_near_the_end_of_f64(&text), "{text}"),
        (Ok(_), Some(why)) => panic!("{why}, but serde_json takes {text}"),
    }
    if let (Ok(json), None) = (serde_json::from_slice::<Strict>(body), invalid) {
        assert!((1..=DEPTH_MAX).contains(&json.depth) && !json.repeats, "{text}");
    }
}

/// Here `serde_json`, which is a little off in its last digits, and the exact reading may differ about what is out of range.
fn is_near_the_end_of_f64(text: &str) -> bool {
    text.replace('.', "").contains("1797693134862315")
}

/// What `serde_json` takes, and what of it we may refuse.
#[derive(Default)]
struct Strict {
    depth: usize,
    repeats: bool,
}

impl<'de> Deserialize<'de> for Strict {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(StrictVisitor)
    }
}

struct StrictVisitor;

impl Strict {
    fn around(&mut self, inner: &Self) {
        self.depth = self.depth.max(inner.depth + 1);
        self.repeats |= inner.repeats;
    }
}

impl<'de> Visitor<'de> for StrictVisitor {
    type Value = Strict;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_bool<E>(self, _: bool) -> Result<Strict, E> {
        Ok(Strict::default())
    }

    fn visit_i64<E>(self, _: i64) -> Result<Strict, E> {
        Ok(Strict::default())
    }

    fn visit_u64<E>(self, _: u64) -> Result<Strict, E> {
        Ok(Strict::default())
    }

    fn visit_f64<E>(self, _: f64) -> Result<Strict, E> {
        Ok(Strict::default())
    }

    fn visit_str<E>(self, _: &str) -> Result<Strict, E> {
        Ok(Strict::default())
    }

    fn visit_unit<E>(self) -> Result<Strict, E> {
        Ok(Strict::default())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Strict, A::Error> {
        let mut outer = Strict { depth: 1, repeats: false };
        while let Some(inner) = seq.next_element::<Strict>()? {
            outer.around(&inner);
        }
        Ok(outer)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Strict, A::Error> {
        let (mut outer, mut keys) = (Strict { depth: 1, repeats: false }, HashSet::new());
        while let Some((key, inner)) = map.next_entry::<String, Strict>()? {
            outer.around(&inner);
            outer.repeats |= !keys.insert(key);
        }
        Ok(outer)
    }
}

/// Who looks into a delivery afterwards sees whom it concerned.
fn is_traced(reader: &PayloadReader, body: &Bytes, scope: Option<&EventType>, reading: &Reading) {
    let Ok(trace) = reader.trace(body, scope) else { return assert!(reading.invalid.is_some()) };
    assert!(reading.invalid.is_none());
    assert_eq!((trace.events.len(), trace.dead_letters), (reading.drafts.len(), reading.dead_letters.len()));
    for (event, draft) in trace.events.iter().zip(&reading.drafts) {
        assert_eq!(event.kind, draft.kind);
        let traced: Vec<_> = event.people.iter().map(|person| &person.keys).collect();
        assert_eq!(traced, draft.audiences.iter().map(|audience| &audience.keys).collect::<Vec<_>>());
        assert!(event.people.iter().flat_map(|person| &person.from).all(|from| !from.is_empty()), "{event:?}");
    }
}

/// What is proposed can be put into a configuration.
fn is_learned(reader: &PayloadReader, body: &Bytes, scope: Option<&EventType>, reading: &Reading) {
    let mut learner = Learner::new(reader);
    let seen = learner.see(reader, body, scope);
    assert_eq!(seen.err(), reading.invalid);
    let mapping = learner.propose().lines.join("\n");
    let source =
        format!("{{ name = \"claimr\", secrets = [{{ value = \"s\" }}], mapping = {{ {} }} }}", mapping.replace('\n', ", "));
    let key = "[{ alg = \"HS256\", secret = { value = \"0123456789012345678901234567890123\" } }]".to_owned();
    let settings = [("SOURCES__0", source), ("AUTH__KEYS", key), ("AUTH__ISSUER", "i".into()), ("AUTH__AUDIENCE", "a".into())];
    let settings = settings.into_iter().map(|(key, value)| (format!("CLAIMR_RELAY__{key}"), value));
    if let Err(mistakes) = load(None, settings) {
        panic!("the proposal cannot be loaded: {mistakes}\n{mapping}");
    }
}
