//! What everybody who follows a campaign sees of somebody's event: what a rule names, and never whose it was.

use super::*;
use crate::config::{Broadcast, Shown};

const ALL: [Shown; 8] =
    [Shown::OccurredAt, Shown::Name, Shown::Points, Shown::Campaign, Shown::Quest, Shown::Task, Shown::Totals, Shown::Reward];

fn rule(types: &[&str]) -> Broadcast {
    let types = types.iter().map(|text| EventType::new(text).unwrap()).collect();
    Broadcast { types, names: Vec::new(), campaign: Vec::new(), show: Vec::new(), fields: Vec::new() }
}

fn texts(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}

fn with(broadcast: Vec<Broadcast>) -> Source {
    Source { broadcast, ..source() }
}

/// What the campaign's followers see, if they see the event: the key, and the frame's members.
fn seen(source: &Source, body: &str, scope: Option<&str>) -> Option<(String, String)> {
    let mut found = audiences(&read_as(source, body, scope));
    let last = found.pop()?;
    assert!(found.iter().all(|(keys, _)| !keys.contains("campaign::")), "people come first: {found:?}");
    last.0.starts_with("campaign::").then_some(last)
}

const EVERYTHING: &str = r#"{"scope":"user_activity","campaign_id":"AbCd_123","campaign_name":"SECRET-Summer","event_type":"task_completed","points":77001,
    "user":{"id":"SECRET-1","account":"SECRET-2","platform":"acme","email":"SECRET-3@example.com","xp":77002,"rank":77003,
        "logins":[{"account":"SECRET-4","platform":"acme"}]},"timestamp":77004,
    "wallet":"0xAbC0000000000000000000000000000000000001","total_xp":77005,"event_xp":77006,"team":"SECRET-5",
    "reward":{"id":"SECRET-6","type":"SECRET-7","name":"SECRET-8","code":"SECRET-9"},"quest":{"id":"SECRET-10","name":"SECRET-11"},
    "task":{"id":"SECRET-12","name":"SECRET-13"},"ref_id":"SECRET-14","ref_name":"SECRET-15",
    "referrer":{"id":"SECRET-16","account":"SECRET-17","platform":"acme"}}"#;

#[test]
fn without_more_words_a_rule_tells_that_something_happened_and_nothing_else() {
    let bare = with(vec![rule(&["user_activity", "referral"])]);
    for scope in ["user_activity", "referral"] {
        let (key, members) = seen(&bare, EVERYTHING, Some(scope)).unwrap();
        let expected =
            format!(r#""type":"{scope}","at":1732350000123,"broadcast":true,"campaign":{{"id":"AbCd_123"}},"data":{{}}"#);
        assert_eq!((key.as_str(), members), ("campaign::AbCd_123", expected));
    }
    // Who it is about sees all of it, as without the rule.
    let own = audiences(&read_as(&bare, EVERYTHING, None)).remove(0);
    assert_eq!(own, audiences(&read(EVERYTHING)).remove(0));
    assert_eq!(seen(&source(), EVERYTHING, None), None);
}

#[test]
fn each_word_of_a_rule_shows_its_own_and_no_more() {
    for (shown, expected) in [
        (vec![Shown::OccurredAt], r#""occurred_at":77004,"campaign":{"id":"AbCd_123"}"#),
        (vec![Shown::Name], r#""name":"task_completed","campaign":{"id":"AbCd_123"}"#),
        (vec![Shown::Points], r#""points":77006,"campaign":{"id":"AbCd_123"}"#),
        (vec![Shown::Campaign], r#""campaign":{"id":"AbCd_123","name":"SECRET-Summer"}"#),
        (vec![Shown::Quest], r#""campaign":{"id":"AbCd_123"},"quest":{"id":"SECRET-10","name":"SECRET-11"}"#),
        (vec![Shown::Task], r#""campaign":{"id":"AbCd_123"},"task":{"id":"SECRET-12","name":"SECRET-13"}"#),
        (vec![Shown::Totals], r#""campaign":{"id":"AbCd_123"},"totals":{"xp":77005,"rank":77003}"#),
        (vec![Shown::Reward], r#""campaign":{"id":"AbCd_123"},"reward":{"id":"SECRET-6","type":"SECRET-7","name":"SECRET-8"}"#),
    ] {
        let source = with(vec![Broadcast { show: shown.clone(), ..rule(&["user_activity"]) }]);
        let (_, members) = seen(&source, EVERYTHING, None).unwrap();
        assert_eq!(
            members,
            format!(r#""type":"user_activity","at":1732350000123,"broadcast":true,{expected},"data":{{}}"#),
            "{shown:?}"
        );
    }
    let fields = texts(&["/team", "/user/rank", "/nothing"]);
    let source = with(vec![Broadcast { fields, ..rule(&["user_activity"]) }]);
    assert!(seen(&source, EVERYTHING, None).unwrap().1.ends_with(r#""data":{"user":{"rank":77003},"team":"SECRET-5"}"#));
}

#[test]
fn with_everything_shown_nobody_is_named_still() {
    let source = with(vec![Broadcast { show: ALL.to_vec(), ..rule(&["user_activity", "referral"]) }]);
    for scope in ["user_activity", "referral"] {
        let (_, members) = seen(&source, EVERYTHING, Some(scope)).unwrap();
        for secret in
            ["SECRET-1\"", "SECRET-2", "SECRET-3", "SECRET-4", "SECRET-14", "SECRET-15", "SECRET-16", "SECRET-17", "bC0"]
        {
            assert!(!members.contains(secret), "{secret}: {members}");
        }
    }
}

#[test]
fn what_is_redacted_cannot_be_broadcast() {
    let rules = vec![Broadcast { show: ALL.to_vec(), fields: texts(&["/reward", "/team", "/rank"]), ..rule(&["user_activity"]) }];
    let source = Source { redact: texts(&["/reward", "/team", "/total_xp"]), ..with(rules) };
    let (_, members) = seen(&source, EVERYTHING, None).unwrap();
    for secret in ["SECRET-5", "SECRET-6", "SECRET-7", "SECRET-8", "77005", "team"] {
        assert!(!members.contains(secret), "{secret}: {members}");
    }
}

#[test]
fn the_first_rule_that_means_the_event_decides() {
    let named = |names: &[&str], shown| Broadcast { names: texts(names), show: vec![shown], ..rule(&["user_activity"]) };
    let elsewhere = Broadcast { campaign: vec!["nowhere".into(), "quest.id".into()], ..rule(&["user_reward"]) };
    let rules = vec![named(&["quest_completed"], Shown::Quest), named(&["task_completed"], Shown::Name), elsewhere];
    let source = with([rules, vec![rule(&["user_activity", "user_reward", "unknown"])]].concat());
    let body = |kind: &str, rest: &str| format!(r#"{{"uid":"A","pid":"C","event_type":"{kind}","quest":{{"id":"q"}}{rest}}}"#);
    for (scope, body, expected) in [
        (Some("user_activity"), body("quest_completed", ""), Some(r#""campaign":{"id":"C"},"quest":{"id":"q"},"data":{}"#)),
        (Some("user_activity"), body("task_completed", ""), Some(r#""name":"task_completed","campaign":{"id":"C"},"data":{}"#)),
        (Some("user_activity"), body("else", ""), Some(r#""campaign":{"id":"C"},"data":{}"#)),
        (Some("user_reward"), body("else", ""), Some(r#""campaign":{"id":"q"},"data":{}"#)),
        (Some("user_reward"), body("else", "").replace("\"q\"", "null"), None),
        (Some("user_login"), body("else", ""), None),
        (None, body("else", ""), Some(r#""campaign":{"id":"C"},"data":{}"#)),
        (
            None,
            format!(r#"{{"pid":"C","data":{}}}"#, body("else", "").replace("\"pid\":\"C\",", "")),
            Some(r#""campaign":{"id":"C"},"data":{}"#),
        ),
    ] {
        let found = seen(&source, &body, scope).map(|(_, members)| members);
        assert_eq!(found.as_deref().map(|m| m.split_once("\"broadcast\":true,").unwrap().1), expected, "{scope:?} {body}");
    }
}

#[test]
fn hostile_campaigns_in_a_payload_are_themselves_or_nothing() {
    let source = with(vec![rule(&["unknown"])]);
    let long = format!("\"{}\"", "x".repeat(129));
    for (id, expected) in [
        (r#""AbCd_123""#, Some("AbCd_123")),
        ("7", Some("7")),
        (r#""a::b""#, Some("a::b")),
        (r#""campaign::x""#, Some("campaign::x")),
        (r#""acme:42""#, Some("acme:42")),
        (r#""\",\"type\":\"$bye""#, Some(r#"","type":"$bye"#)),
        (r#""\\""#, Some(r"\")),
        (r#""""#, None),
        (r#"" ""#, None),
        (r#""a\u0000""#, None),
        (r#""x\r\nid: 9\r\ndata: pwn""#, None),
        (r#""\u202ea""#, None),
        ("null", None),
        ("1.5", None),
        ("{}", None),
        ("[\"a\"]", None),
        (&long, None),
    ] {
        let found = seen(&source, &format!(r#"{{"uid":"A","pid":{id}}}"#), None);
        assert_eq!(found.as_ref().map(|(key, _)| key.as_str()), expected.map(|id| format!("campaign::{id}")).as_deref(), "{id}");
        if let Some((_, members)) = found {
            let frame: Value = serde_json::from_str(&format!("{{{members}}}")).unwrap();
            assert_eq!((&frame["campaign"]["id"], &frame["type"]), (&json!(expected), &json!("unknown")), "{id}");
            assert!(!members.contains(['\n', '\r']));
        }
    }
}

#[test]
fn an_account_cannot_speak_for_a_campaign() {
    for body in [
        r#"{"account":":AbCd_123","platform":"campaign"}"#,
        r#"{"account":"AbCd_123","platform":"campaign:"}"#,
        r#"{"account":"AbCd_123","platform":"campaign::"}"#,
        r#"{"account":"eip155::AbCd_123","platform":"campaign"}"#,
        r#"{"account":"campaign::AbCd_123"}"#,
    ] {
        assert_eq!(audiences(&read(body)), [], "{body}");
    }
    assert_eq!(keys(&read(r#"{"account":"AbCd_123","platform":"campaign"}"#)), "campaign:AbCd_123");
}

#[test]
fn of_a_list_each_event_is_broadcast_to_its_own_campaign() {
    let source = with(vec![rule(&["unknown"])]);
    let body = r#"{"pid":"C","data":[{"uid":"A"},{"uid":"B","pid":"D"},{"x":1}]}"#;
    let reading = read_as(&source, body, None);
    let keys: Vec<_> = audiences(&reading).into_iter().map(|(keys, _)| keys).collect();
    assert_eq!((keys.join(" ").as_str(), reading.dead_letters.len()), ("claimr:A campaign::C claimr:B campaign::D", 1));
    assert!(reading.drafts.iter().all(|draft| draft.people().count() == 1));
    let trace = PayloadReader::new(&source).trace(&Bytes::from_static(body.as_bytes()), None).unwrap();
    let campaigns: Vec<_> = trace.events.iter().map(|event| event.campaign.as_ref().and_then(UserKey::campaign)).collect();
    assert_eq!(campaigns, [Some("C"), Some("D")]);
}
