//! What `trigger` changes in a body: who it is about, single members, and which delivery it is. Every change keeps the form that the body
//! has: a list of logins stays one, columns stay columns.

use std::hash::Hasher as _;

use data_encoding::BASE64URL_NOPAD;
use serde_json::{Map, Value, json};
use xxhash_rust::xxh3::Xxh3;

use crate::event::UserKey;

type Object = Map<String, Value>;

/// Members that an event may be wrapped in.
const ENVELOPES: [&str; 4] = ["data", "payload", "event", "body"];
/// Members of an event that hold claimr's id of the user; within `user` it is `id`, too.
const CLAIMR_IDS: [&str; 3] = ["claimr_id", "user_id", "uid"];
const LOGINS: [&str; 2] = ["logins", "accounts"];
/// Members by which an event names somebody.
const NAMES: [&str; 8] = ["user", "account", "event_account", "wallet", "evm_address", "email", "logins", "accounts"];

/// Makes the first event of `body` one of `user`. False if there is no object that could name anybody.
pub(super) fn set_user(body: &mut Value, user: &UserKey) -> bool {
    let Some(event) = event(body) else { return false };
    match event.get_mut("user") {
        Some(Value::Object(person)) => name(person, &["id", "claimr_id"], user),
        _ => name(event, &CLAIMR_IDS, user),
    }
    true
}

/// Makes `referrer` the one who brought the user of the first event.
pub(super) fn set_referrer(body: &mut Value, referrer: &UserKey) -> bool {
    let Some(event) = event(body) else { return false };
    let id = claimr_id(referrer);
    if let Some(Value::Object(person)) = event.get_mut("referrer") {
        name(person, &["id", "claimr_id"], referrer);
    } else if event.contains_key("referrer_id") {
        event.insert("referrer_id".to_owned(), id.into());
    } else {
        let (platform, account) = parts(referrer);
        event.insert("referrer".to_owned(), json!({ "account": account, "platform": platform }));
    }
    true
}

/// Gives every event of `body` an id of its own under `delivery_id`, unless it has one.
pub(super) fn identify(body: &mut Value, id: &str) {
    match body {
        Value::Object(object) => {
            object.entry("delivery_id").or_insert_with(|| id.into());
        }
        Value::Array(events) => {
            for (n, event) in events.iter_mut().enumerate() {
                identify(event, &format!("{id}-{n}"));
            }
        }
        _ => {}
    }
}

/// Puts `value` where `path` says: names, and places in lists, joined by dots. Objects on the way are made.
pub(super) fn set(body: &mut Value, path: &str, value: Value) -> Result<(), String> {
    let mut place = body;
    let mut walked = String::new();
    for segment in path.split('.') {
        if segment.is_empty() {
            return Err("a name between two dots is empty".to_owned());
        }
        if place.is_null() {
            *place = json!({});
        }
        place = match place {
            Value::Object(object) => object.entry(segment).or_insert(Value::Null),
            Value::Array(list) => {
                let length = list.len();
                let at = segment.parse().ok().and_then(|at: usize| list.get_mut(at));
                at.ok_or_else(|| format!("{} is a list of {length}, without {segment}", named(&walked)))?
            }
            _ => return Err(format!("{} is neither an object nor a list", named(&walked))),
        };
        walked += if walked.is_empty() { "" } else { "." };
        walked += segment;
    }
    *place = value;
    Ok(())
}

fn named(walked: &str) -> &str {
    if walked.is_empty() { "the body" } else { walked }
}

/// The object that names, or could name, somebody: the first of a list, and what is in an envelope.
fn event(body: &mut Value) -> Option<&mut Object> {
    match body {
        Value::Array(events) => events.first_mut().and_then(event),
        Value::Object(object) => {
            let named = NAMES.iter().chain(&CLAIMR_IDS).any(|name| object.contains_key(*name));
            let wraps = |name: &&&str| object.get(**name).is_some_and(|inner| inner.is_object() || inner.is_array());
            match ENVELOPES.iter().find(wraps) {
                Some(envelope) if !named => object.get_mut(*envelope).and_then(event),
                _ => Some(object),
            }
        }
        _ => None,
    }
}

/// Makes `person` be `key`: every place that can say so does, and no place names somebody else.
fn name(person: &mut Object, ids: &[&str], key: &UserKey) {
    let (platform, account) = parts(key);
    let mut said = false;
    for id in ids {
        if person.contains_key(*id) {
            person.insert((*id).to_owned(), claimr_id(key).into());
            said |= platform == "claimr";
        }
    }
    for (member, is_its) in [
        ("wallet", platform == "web3"),
        ("evm_address", platform == "web3"),
        ("email", platform == "email"),
        // It says whose event it is on whatever platform; alone it says enough of a wallet or an address only.
        ("event_account", true),
    ] {
        if person.contains_key(member) {
            person.insert(member.to_owned(), if is_its { account.into() } else { Value::Null });
            said |= is_its && member != "event_account";
        }
    }
    for list in LOGINS {
        if person.get(list).is_some_and(Value::is_array) {
            let logins = if platform == "claimr" { json!([]) } else { json!([{ "account": account, "platform": platform }]) };
            person.insert(list.to_owned(), logins);
            said |= platform != "claimr";
        }
    }
    if person.contains_key("account") || !said {
        let claimr = platform == "claimr" && said;
        let value = |text: &str| if claimr { Value::Null } else { text.into() };
        person.insert("account".to_owned(), value(account));
        person.insert("platform".to_owned(), value(platform));
    }
}

fn parts(key: &UserKey) -> (&str, &str) {
    key.as_str().split_once(':').unwrap_or((key.as_str(), ""))
}

/// claimr's own id of a user: the same for the same user every time, of the form that claimr's ids have.
fn claimr_id(key: &UserKey) -> String {
    let (platform, account) = parts(key);
    if platform == "claimr" {
        return account.to_owned();
    }
    let mut hash = Xxh3::new();
    hash.write(key.as_str().as_bytes());
    BASE64URL_NOPAD.encode(&hash.finish().to_be_bytes()[..6])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(text: &str) -> UserKey {
        UserKey::parse(text, None).unwrap()
    }

    #[test]
    fn a_user_is_named_in_the_form_that_the_body_has() {
        let id = claimr_id(&user("acme:42"));
        assert_eq!(id.len(), 8);
        let table = [
            ("acme:42", json!({"claimr_id": "x", "wallet": "0x1", "email": "e"}), {
                json!({"claimr_id": id, "wallet": null, "email": null, "account": "42", "platform": "acme"})
            }),
            ("email:a@b.c", json!({"wallet": "0x1", "email": "e"}), json!({"wallet": null, "email": "a@b.c"})),
            ("web3:0xAB", json!({"event_account": "x", "wallet": "0x1"}), json!({"event_account": "0xab", "wallet": "0xab"})),
            ("claimr:New", json!({"claimr_id": "x", "wallet": "0x1"}), json!({"claimr_id": "New", "wallet": null})),
            ("claimr:New", json!({"account": "1"}), json!({"account": "New", "platform": "claimr"})),
            ("acme:42", json!({"user": {"id": "x", "logins": [1, 2]}}), {
                json!({"user": {"id": id, "logins": [{"account": "42", "platform": "acme"}]}})
            }),
            ("acme:42", json!({"event": {"type": "t"}, "user": {"account": "1", "platform": "p"}}), {
                json!({"event": {"type": "t"}, "user": {"account": "42", "platform": "acme"}})
            }),
            ("acme:42", json!([{"data": [{"account": "1"}]}, {"account": "1"}]), {
                json!([{"data": [{"account": "42", "platform": "acme"}]}, {"account": "1"}])
            }),
        ];
        for (key, mut body, expected) in table {
            let before = body.to_string();
            assert!(set_user(&mut body, &user(key)));
            assert_eq!(body, expected, "{key} in {before}");
        }
        assert!(!set_user(&mut json!(7), &user("acme:42")) && !set_user(&mut json!([]), &user("acme:42")));
    }

    #[test]
    fn a_referrer_is_named_where_there_is_a_place() {
        let bob = user("acme:bob");
        let table = [
            (json!({"account": "1", "referrer": {"account": "2"}}), json!({"account": "bob", "platform": "acme"})),
            (json!({"account": "1"}), json!({"account": "bob", "platform": "acme"})),
        ];
        for (mut body, expected) in table {
            assert!(set_referrer(&mut body, &bob));
            assert_eq!(body["referrer"], expected);
        }
        let mut flat = json!({"claimr_id": "1", "referrer_id": "2"});
        assert!(set_referrer(&mut flat, &bob));
        assert_eq!(flat, json!({"claimr_id": "1", "referrer_id": claimr_id(&bob)}));
    }

    #[test]
    fn members_are_set_by_their_path() {
        let mut body = json!({"a": {"list": [{"x": 1}]}, "n": null});
        for (path, value) in
            [("a.b", json!(1)), ("a.list.0.x", json!("2")), ("n.deep.er", json!([])), ("a.list.0.y", json!(null))]
        {
            set(&mut body, path, value).unwrap();
        }
        assert_eq!(body, json!({"a": {"b": 1, "list": [{"x": "2", "y": null}]}, "n": {"deep": {"er": []}}}));
        for (path, says) in [
            ("a.b.c", "a.b is neither"),
            ("a.list.1", "a.list is a list of 1, without 1"),
            ("a..b", "empty"),
            ("", "empty"),
            ("a.list.x", "without x"),
        ] {
            let problem = set(&mut body, path, Value::Null).unwrap_err();
            assert!(problem.contains(says), "{path}: {problem}");
        }
    }

    #[test]
    fn every_event_gets_an_id_of_its_own() {
        let mut body = json!([{"a": 1}, {"delivery_id": "own"}]);
        identify(&mut body, "d");
        assert_eq!(body, json!([{"a": 1, "delivery_id": "d-0"}, {"delivery_id": "own"}]));
    }
}
