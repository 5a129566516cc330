//! What holds for every payload.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

/// Words that the mapping looks for, and some that it does not.
const WORDS: [&str; 24] = [
    "data", "event", "body", "user", "referrer", "logins", "accounts", "account", "platform", "wallet", "email", "uid",
    "user_id", "id", "type", "scope", "xp", "points", "reward", "campaign", "name", "referral", "web3", "x",
];

fn any_json() -> impl Strategy<Value = Value> {
    let word = prop::sample::select(&WORDS[..]);
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        word.clone().prop_map(Value::from),
        ".{0,8}".prop_map(Value::from),
        "(eip155:)?0x[0-9a-fA-F]{0,44}".prop_map(Value::from),
    ];
    leaf.prop_recursive(6, 96, 8, move |inner| {
        let key = prop_oneof![8 => word.clone().prop_map(str::to_owned), 1 => ".{0,6}"];
        prop_oneof![
            1 => prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            3 => prop::collection::btree_map(key, inner, 0..10).prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

/// A payload, or one that concerns two people at least, so that no run is without events.
fn any_payload() -> impl Strategy<Value = Value> {
    let referral = |value| json!({"scope": "referral", "uid": "A", "referrer": {"id": "R"}, "more": value, "x": 1});
    prop_oneof![any_json(), any_json().prop_map(referral)]
}

/// Every text and integer in a payload, as an account could be made of it.
fn accounts(value: &Value, out: &mut BTreeSet<String>) {
    match value {
        Value::String(text) => {
            out.insert(text.clone());
        }
        Value::Number(number) => {
            out.insert(number.to_string());
        }
        Value::Array(items) => items.iter().for_each(|item| accounts(item, out)),
        Value::Object(members) => members.values().for_each(|value| accounts(value, out)),
        Value::Null | Value::Bool(_) => {}
    }
}

fn is_named(key: &str, accounts: &BTreeSet<String>) -> bool {
    accounts.iter().any(|account| {
        let platforms = accounts.iter().map(String::as_str).chain(["claimr", "web3", "email"]);
        platforms
            .into_iter()
            .any(|platform| crate::event::UserKey::new(platform, account).is_ok_and(|named| named.as_str() == key))
    })
}

/// The same payload with all the space that JSON allows.
fn spaced(value: &Value) -> String {
    serde_json::to_string_pretty(value).unwrap().replace('\n', " \r\n\t")
}

proptest! {
    #[test]
    fn every_event_is_a_frame_for_people_whom_its_payload_names(value in any_payload()) {
        let source = Source { redact: vec!["/x".into(), "/user/email".into()], referrer_data: vec!["/type".into()], ..source() };
        let reading = read_as(&source, &value.to_string(), None);
        let mut named = BTreeSet::new();
        accounts(&value, &mut named);
        prop_assert_eq!(reading.invalid.is_some(), !(value.is_object() || value.is_array()));
        prop_assert!(reading.drafts.len() + reading.dead_letters.len() > 0);
        for draft in &reading.drafts {
            prop_assert!(!draft.audiences.is_empty());
            for audience in &draft.audiences {
                prop_assert!(!audience.members.contains(['\n', '\r']));
                let frame: Value = serde_json::from_str(&format!("{{{}}}", audience.members)).unwrap();
                prop_assert_eq!(frame["type"].as_str(), Some(draft.kind.as_str()));
                prop_assert!(frame["data"].is_object());
                prop_assert!(frame["data"].get("x").is_none());
                prop_assert!(!audience.keys.is_empty());
                let distinct: BTreeSet<_> = audience.keys.iter().collect();
                prop_assert_eq!(distinct.len(), audience.keys.len());
                for key in &audience.keys {
                    prop_assert!(is_named(key.as_str(), &named), "{} is not named", key);
                }
            }
        }
    }

    #[test]
    fn space_makes_no_difference(value in any_json()) {
        // A payload that names nobody proves little, so that each is also tried with a user.
        let user = json!([{"uid": "A", "more": value}, value]);
        for value in [&value, &user] {
            prop_assert_eq!(audiences(&read(&value.to_string())), audiences(&read(&spaced(value))));
        }
    }

    #[test]
    fn without_redaction_the_data_is_the_payload(value in any_json()) {
        let body = json!({"uid": "A", "more": value}).to_string();
        let [(_, members)] = &audiences(&read(&body))[..] else { panic!("not one audience") };
        prop_assert!(members.ends_with(&format!(r#","data":{body}"#)), "{}", members);
    }

    #[test]
    fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..64), text in r#"[\[{][\[\]{}",:\\ uid0-9e-]{0,40}"#) {
        for body in [bytes, text.into_bytes()] {
            let body = Bytes::from(body);
            let reading = PayloadReader::new(&source()).read_body(&body, Identity::Delivery(None), None, NOW);
            prop_assert!(reading.drafts.len() + reading.dead_letters.len() > 0);
        }
    }
}
