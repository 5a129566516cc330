//! By which fields people are named; dead letters that are read again; events of the backend's own.

use super::*;

fn traced(body: &str) -> String {
    let trace = PayloadReader::new(&source()).trace(&Bytes::copy_from_slice(body.as_bytes()), None).unwrap();
    let person = |person: &TracedPerson| {
        let pairs = person.keys.iter().zip(&person.from).map(|(key, from)| format!("{key} by {from}"));
        pairs.collect::<Vec<_>>().join(", ")
    };
    let events = trace.events.iter().map(|event| {
        let people: Vec<_> = event.people.iter().map(person).collect();
        format!("{}: {}", event.kind, people.join(" & "))
    });
    format!("{} dead {}", events.collect::<Vec<_>>().join("; "), trace.dead_letters)
}

#[test]
fn every_key_comes_with_the_field_that_named_it() {
    for (body, expected) in [
        (r#"{"scope":"a","account":"42","platform":"acme"}"#, "a: acme:42 by account+platform dead 0"),
        (r#"{"uid":"A","email":"a@b.c"}"#, "unknown: claimr:A by uid, email:a@b.c by email dead 0"),
        (
            r#"{"user":{"id":"A","logins":[{"account":"1","platform":"x"},{"account":"2","platform":"x"}]}}"#,
            "unknown: claimr:A by user.id, x:1 by user.logins[].account+platform, x:2 by user.logins[].account+platform dead 0",
        ),
        (r#"{"scope":"referral","uid":"A","referrer":{"id":"R"}}"#, "referral: claimr:A by uid & claimr:R by referrer.id dead 0"),
        (r#"[{"uid":"A"},{"x":1}]"#, "unknown: claimr:A by uid dead 1"),
    ] {
        assert_eq!(traced(body), expected, "{body}");
    }
    assert!(PayloadReader::new(&source()).trace(&Bytes::from_static(b"{"), None).is_err());
}

#[test]
fn a_letter_that_is_read_again_is_known_by_its_id_unless_it_names_itself() {
    let read = |body: &'static str, id: &str| {
        let letter = DeadLetter {
            at: NOW,
            source: "claimr".into(),
            scope: None,
            reason: DeadReason::NoUser,
            body: Bytes::from_static(body.as_bytes()),
        };
        PayloadReader::new(&source()).read_letter(&letter, id, NOW).drafts[0].dedupe.unwrap()
    };
    let plain = r#"{"uid":"A"}"#;
    assert_eq!(read(plain, "1"), read(plain, "1"));
    assert_ne!(read(plain, "1").key, read(plain, "2").key);
    assert_eq!(read(plain, "1").window, source().delivery_id_window);
    let named = r#"{"uid":"A","delivery_id":"d"}"#;
    assert_eq!(read(named, "1"), read(named, "2"));
}

#[test]
fn an_event_of_the_backends_own_is_framed_like_others() {
    let own = |data, id| OwnEvent {
        keys: vec![UserKey::parse("acme:42", None).unwrap()],
        campaigns: Vec::new(),
        kind: EventType::new("app_notice").unwrap(),
        data,
        name: Some("Hi \"you\"\n"),
        points: Some(5.into()),
        id,
    };
    let draft = own("{ \"a\": [1.50, \"x\"] }", Some("1")).draft(NOW).unwrap();
    let members = format!(r#""type":"app_notice","at":{},"name":"Hi \"you\"\n","points":5,"data":{{"a":[1.50,"x"]}}"#, NOW.0);
    assert_eq!(draft.audiences[0].members, members);
    let again = own(r#"{"a":[1.50,"x"]}"#, Some("1")).draft(NOW.plus(Duration::from_secs(9))).unwrap();
    assert_eq!(again.dedupe, draft.dedupe);
    assert_ne!(own("{}", Some("1")).draft(NOW).unwrap().dedupe.unwrap().digest, draft.dedupe.unwrap().digest);
    assert_eq!(own("{}", None).draft(NOW).unwrap().dedupe, None);
    for data in ["[]", "7", "{", "{\"a\":1,\"a\":2}", ""] {
        assert!(own(data, None).draft(NOW).is_err(), "{data}");
    }
}
