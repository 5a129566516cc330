//! Which events are the same event again.

use std::collections::HashSet;

use super::*;
use crate::event::Dedupe;

fn dedupes_of(source: &Source, body: &str, delivery_id: Option<&str>, scope: Option<&str>) -> Vec<Option<Dedupe>> {
    let scope = scope.and_then(EventType::new);
    let body = Bytes::copy_from_slice(body.as_bytes());
    let reading = PayloadReader::new(source).read_body(&body, Identity::Delivery(delivery_id), scope.as_ref(), NOW);
    reading.drafts.into_iter().map(|draft| draft.dedupe).collect()
}

fn dedupes(body: &str, delivery_id: Option<&str>) -> Vec<Dedupe> {
    dedupes_of(&source(), body, delivery_id, None).into_iter().flatten().collect()
}

#[test]
fn an_id_identifies_an_event_whatever_its_bytes_and_bytes_do_without_one() {
    // (body, id of the scheme) twice; whether they have the same key, and the same digest.
    for (first, second, same_key, same_digest) in [
        ((ACTIVITY, Some("d1")), (ACTIVITY, Some("d1")), true, true),
        ((ACTIVITY, Some("d1")), (NESTED, Some("d1")), true, false),
        ((ACTIVITY, Some("d1")), (ACTIVITY, Some("d2")), false, true),
        ((ACTIVITY, None), (ACTIVITY, None), true, true),
        ((ACTIVITY, None), (ACTIVITY, Some("d1")), false, true),
        ((ACTIVITY, Some("")), (ACTIVITY, None), true, true),
        ((ACTIVITY, None), (NESTED, None), false, false),
        ((r#"{"uid":"A"}"#, None), (r#"{"uid":"A" }"#, None), false, false),
        ((r#"{"uid":"A","id":"e1"}"#, None), (r#"{"uid":"B","id":"e1"}"#, None), true, false),
        ((r#"{"uid":"A","id":"7"}"#, None), (r#"{"uid":"A","id":7}"#, None), true, false),
        ((r#"{"uid":"A","id":7.5}"#, None), (r#"{"uid":"B","id":7.5}"#, None), false, false),
        ((r#"{"uid":"A","id":"e1"}"#, Some("d1")), (r#"{"uid":"A","id":"e1"}"#, Some("d2")), false, true),
        ((r#"{"uid":"A","id":"x","event_id":"e1"}"#, None), (r#"{"uid":"A","id":"y","event_id":"e1"}"#, None), true, false),
        // The envelope's id is the delivery's, and the one inside is something else's.
        ((r#"{"id":"e1","data":{"uid":"A","id":"x"}}"#, None), (r#"{"id":"e1","data":{"uid":"B","id":"y"}}"#, None), true, false),
        (
            (r#"{"id":"e1","data":{"uid":"A","id":"x"}}"#, None),
            (r#"{"id":"e2","data":{"uid":"A","id":"x"}}"#, None),
            false,
            false,
        ),
    ] {
        let (one, two) = (dedupes(first.0, first.1)[0], dedupes(second.0, second.1)[0]);
        assert_eq!(one.key == two.key, same_key, "{first:?} {second:?}");
        assert_eq!(one.digest == two.digest, same_digest, "{first:?} {second:?}");
    }
}

#[test]
fn each_window_counts_for_its_own_kind_and_zero_turns_it_off() {
    let by_id = r#"{"uid":"A","id":"e1"}"#;
    assert_eq!(dedupes(by_id, None)[0].window, Duration::from_hours(24));
    assert_eq!(dedupes(ACTIVITY, Some("d1"))[0].window, Duration::from_hours(24));
    assert_eq!(dedupes(ACTIVITY, None)[0].window, Duration::from_secs(10));
    let without_body = Source { duplicate_window: Duration::ZERO, ..source() };
    assert_eq!(dedupes_of(&without_body, ACTIVITY, None, None), [None]);
    assert!(dedupes_of(&without_body, by_id, None, None)[0].is_some());
    let without_id = Source { delivery_id_window: Duration::ZERO, ..source() };
    assert_eq!(dedupes_of(&without_id, by_id, None, None), [None]);
}

#[test]
fn the_events_of_one_body_are_distinct() {
    let twins = r#"[{"uid":"A"},{"uid":"A"}]"#;
    let around = r#"{"id":"d1","data":[{"uid":"A"},{"uid":"A"}]}"#;
    for (body, id) in [(twins, None), (twins, Some("d1")), (around, None)] {
        let events = dedupes(body, id);
        assert_ne!(events[0].key, events[1].key, "{body}");
        assert_eq!(events[0].digest, events[1].digest);
    }
    // An id of the element's own is the same in whatever company it comes.
    let alone = dedupes(r#"[{"uid":"A","id":"e1"}]"#, None)[0];
    assert_eq!(dedupes(r#"[{"uid":"B"},{"uid":"A","id":"e1"}]"#, None)[1], alone);
}

#[test]
fn sources_scopes_and_kinds_of_ids_do_not_meet() {
    let other = Source { name: "other".into(), ..source() };
    let scopes = [None, Some("user_activity"), Some("user_reward")];
    let mut keys = HashSet::new();
    for source in [&source(), &other] {
        for scope in scopes {
            for (body, id) in [(r#"{"uid":"A","id":"1"}"#, None), (r#"{"uid":"A"}"#, Some("1")), (r#"{"uid":"A"}"#, None)] {
                keys.insert(dedupes_of(source, body, id, scope)[0].unwrap().key);
            }
        }
    }
    assert_eq!(keys.len(), 2 * 3 * 3);
}
