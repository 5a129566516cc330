use std::time::Duration;

use serde_json::{Value, json};

use super::*;
use crate::{
    config::{Signature, mapping::AccountPaths},
    event::UserKey,
};

mod any_payload;
mod broadcast;
mod policy;
mod repetition;
mod trace;

const NOW: Timestamp = Timestamp(1_732_350_000_123);
const WALLET: &str = "web3:0xabc0000000000000000000000000000000000001";

/// The five bodies of the evidence page; none is a real delivery.
const ACTIVITY: &str = r#"{"scope":"user_activity","campaign_id":"AbCd_123","campaign_name":"Summer","contest_id":"EfGh-456","contest_name":"Warm up","event_type":"task_completed","event_account":"0xAbC0000000000000000000000000000000000001","event_xp":100,"claimr_id":"IjKl7890","user_id":"IjKl7890","wallet":"0xAbC0000000000000000000000000000000000001","email":"a@example.com","team":null,"total_xp":1250.5,"ref_xp":0,"ugc_xp":0,"xp_mul":1,"ref_count":0,"rank":42}"#;
const NESTED: &str = r#"{"scope":"user_activity","campaign":{"id":"AbCd_123","name":"Summer"},"contest":{"id":"EfGh-456"},"event":{"type":"quest_completed","xp":250},"user":{"id":"IjKl7890","xp":1500.5,"xp_mul":1.5,"rank":40,"logins":[{"account":"eip155:0xAbC0000000000000000000000000000000000001","platform":"web3"},{"account":"42","platform":"acme"}]}}"#;
const ENVELOPED: &str = r#"{"data":{"account":"42","platform":"acme","pid":"AbCd_123","reward":{"id":"rw_1","type":"Gift Codes","name":"Coffee","code":"GIFT-XXXX"},"xp":0}}"#;
const REFERRAL: &str = r#"{"scope":"referral","pid":"AbCd_123","user":{"id":"NewUser1","account":"77","platform":"acme"},"referrer":{"id":"IjKl7890","account":"42","platform":"acme"},"event_type":"referral_join","ref_id":"RfId0001"}"#;
const LIST: &str =
    r#"[{"account":"42","platform":"acme","event_type":"sign_in"},{"account":"77","platform":"acme","event_type":"sign_in"}]"#;

fn source() -> Source {
    Source {
        name: "claimr".into(),
        secrets: Vec::new(),
        allow_unsigned: true,
        signature: Signature::Detect,
        mapping: Mapping::default(),
        redact: Vec::new(),
        referrer_data: Vec::new(),
        broadcast: Vec::new(),
        duplicate_window: Duration::from_secs(10),
        delivery_id_window: Duration::from_hours(24),
    }
}

fn read_as(source: &Source, body: &str, scope: Option<&str>) -> Reading {
    let scope = scope.and_then(EventType::new);
    PayloadReader::new(source).read_body(&Bytes::copy_from_slice(body.as_bytes()), Identity::Delivery(None), scope.as_ref(), NOW)
}

fn read(body: &str) -> Reading {
    read_as(&source(), body, None)
}

/// The members of each audience of each event, and its keys.
fn audiences(reading: &Reading) -> Vec<(String, String)> {
    let keys = |a: &Audience| a.keys.iter().map(UserKey::as_str).collect::<Vec<_>>().join(" ");
    reading.drafts.iter().flat_map(|draft| &draft.audiences).map(|a| (keys(a), a.members.clone())).collect()
}

/// The only audience's frame without its id.
fn frame(reading: &Reading) -> Value {
    let [(_, members)] = &audiences(reading)[..] else { panic!("not one audience: {reading:?}") };
    serde_json::from_str(&format!("{{{members}}}")).unwrap()
}

fn keys(reading: &Reading) -> String {
    let [(keys, _)] = &audiences(reading)[..] else { panic!("not one audience: {reading:?}") };
    keys.clone()
}

/// The members of a frame as its user sees it.
fn own(kind: &str, rest: &str, data: &str) -> String {
    format!(r#""type":"{kind}","at":1732350000123,{rest},"data":{data}"#)
}

#[test]
fn the_bodies_of_the_evidence_reach_the_people_they_name() {
    let inner = &ENVELOPED[r#"{"data":"#.len()..ENVELOPED.len() - 1];
    let activity = r#""name":"task_completed","points":100,"campaign":{"id":"AbCd_123","name":"Summer"},"quest":{"id":"EfGh-456","name":"Warm up"},"totals":{"xp":1250.5,"ref_xp":0,"ugc_xp":0,"xp_mul":1,"rank":42,"ref_count":0}"#;
    let nested = r#""name":"quest_completed","points":250,"campaign":{"id":"AbCd_123","name":"Summer"},"quest":{"id":"EfGh-456"},"totals":{"xp":1500.5,"xp_mul":1.5,"rank":40}"#;
    let enveloped =
        r#""campaign":{"id":"AbCd_123"},"totals":{"xp":0},"reward":{"id":"rw_1","type":"Gift Codes","name":"Coffee"}"#;
    for (body, keys, members) in [
        (ACTIVITY, format!("claimr:IjKl7890 {WALLET} email:a@example.com"), own("user_activity", activity, ACTIVITY)),
        (NESTED, format!("claimr:IjKl7890 {WALLET} acme:42"), own("user_activity", nested, NESTED)),
        (ENVELOPED, "acme:42".to_owned(), own("unknown", enveloped, inner)),
    ] {
        let reading = read(body);
        assert_eq!(audiences(&reading), [(keys, members)]);
        assert_eq!((reading.dead_letters.len(), reading.invalid, reading.drafts[0].at), (0, None, NOW));
    }
}

#[test]
fn a_referral_is_one_event_for_two_people() {
    let reading = read(REFERRAL);
    assert_eq!(reading.drafts.len(), 1);
    let common = r#""name":"referral_join","campaign":{"id":"AbCd_123"},"referral":"#;
    assert_eq!(
        audiences(&reading),
        [
            (
                "claimr:NewUser1 acme:77".to_owned(),
                own("referral", &format!(r#"{common}{{"role":"referred","id":"RfId0001"}}"#), REFERRAL),
            ),
            ("claimr:IjKl7890 acme:42".to_owned(), own("referral", &format!(r#"{common}{{"role":"referrer"}}"#), "{}")),
        ]
    );
}

#[test]
fn a_list_is_an_event_for_each_element() {
    let reading = read(LIST);
    assert_eq!(reading.drafts.len(), 2);
    let event = |account: &str| {
        let data = format!(r#"{{"account":"{account}","platform":"acme","event_type":"sign_in"}}"#);
        (format!("acme:{account}"), own("unknown", r#""name":"sign_in""#, &data))
    };
    assert_eq!(audiences(&reading), [event("42"), event("77")]);
}

#[test]
fn the_type_is_the_urls_last_segment_else_the_payloads_scope() {
    for (body, scope, kind) in [
        (ACTIVITY, Some("user_reward"), "user_reward"),
        (ACTIVITY, None, "user_activity"),
        (ENVELOPED, Some("user_reward"), "user_reward"),
        (ENVELOPED, None, "unknown"),
        (r#"{"uid":"A","scope":"x\r\nid: 9\r\ndata: pwn"}"#, None, "unknown"),
        (r#"{"uid":"A","scope":"$bye"}"#, None, "unknown"),
        (r#"{"uid":"A","scope":7}"#, None, "unknown"),
        (r#"{"scope":"user_login","data":{"uid":"A"}}"#, None, "user_login"),
    ] {
        let reading = read_as(&source(), body, scope);
        assert_eq!((reading.drafts[0].kind.as_str(), &frame(&reading)["type"]), (kind, &json!(kind)), "{body}");
    }
}

#[test]
fn an_event_keeps_its_meaning_in_every_envelope_and_list() {
    let members = |body: &str| audiences(&read(body));
    for body in [ACTIVITY, NESTED, REFERRAL] {
        let plain = members(body);
        for name in ["data", "payload", "event", "body"] {
            assert_eq!(members(&format!(r#"{{"{name}":{body},"sent":1}}"#)), plain);
            assert_eq!(members(&format!(r#"{{"{name}":[{body}]}}"#)), plain);
            assert_eq!(members(&format!(r#"{{"data":{{"{name}":{body}}}}}"#)), plain);
        }
        assert_eq!(members(&format!("[{body}]")), plain);
        let spaced = body.replace("\":", "\" :\r\n\t").replace(",\"", " , \"").replace('{', "{ ");
        assert_eq!(members(&format!("\n{spaced}\n ")), plain);
    }
}

#[test]
fn what_stands_around_an_event_serves_as_fallback() {
    let body = r#"{"id":"d1","type":"quest_completed","pid":"P","xp":7,"data":[{"uid":"A","cid":"C"},{"uid":"B","pid":"Q"}]}"#;
    let reading = read(body);
    assert_eq!(audiences(&reading), [
        ("claimr:A".into(), r#""type":"unknown","at":1732350000123,"name":"quest_completed","campaign":{"id":"P"},"quest":{"id":"C"},"totals":{"xp":7},"data":{"uid":"A","cid":"C"}"#.to_owned()),
        ("claimr:B".into(), r#""type":"unknown","at":1732350000123,"name":"quest_completed","campaign":{"id":"Q"},"totals":{"xp":7},"data":{"uid":"B","pid":"Q"}"#.to_owned()),
    ]);
}

#[test]
fn fields_are_taken_in_every_form_that_they_come_in() {
    for (members, expected) in [
        (r#""pid":7,"cid":"8","aid":9.5"#, json!({"campaign": {"id": "7"}, "quest": {"id": "8"}, "task": {"id": "9.5"}})),
        (r#""campaign_id":null,"pid":"","campaign":{"id":"c","name":5}"#, json!({"campaign": {"id": "c"}})),
        (r#""points":"12.50","rank":"1e3""#, json!({"points": 12.5, "totals": {"rank": 1000.0}})),
        (r#""points":"a lot","rank":" 1","event_xp":null,"xp_mul":"1e400""#, json!({})),
        (r#""event":{"xp":1},"event_xp":0"#, json!({"points": 0})),
        (r#""kind":"k","type":"t""#, json!({"name": "t"})),
        (r#""timestamp":"2026-01-01","date":7"#, json!({"occurred_at": "2026-01-01"})),
        (r#""created_at":1732350000"#, json!({"occurred_at": 1_732_350_000})),
        (r#""reward":"Coffee""#, json!({"reward": {"name": "Coffee"}})),
        (r#""reward_id":5,"reward_type":"Points""#, json!({"reward": {"id": "5", "type": "Points"}})),
        (r#""ref_id":"R""#, json!({})),
        // Of two numbers named xp, the user's is the total; points are never one.
        (r#""xp":100,"user":{"xp":1500}"#, json!({"totals": {"xp": 1500}})),
    ] {
        let body = format!(r#"{{"uid":"A",{members}}}"#);
        let mut frame = frame(&read(&body));
        let rest = frame.as_object_mut().unwrap();
        assert_eq!(rest.remove("data").unwrap(), serde_json::from_str::<Value>(&body).unwrap());
        rest.retain(|name, _| !matches!(name.as_str(), "type" | "at"));
        assert_eq!(frame, expected, "{members}");
    }
    let reading = read(r#"{"event":{"uid":"A","type":"t","xp":5}}"#);
    assert_eq!((&frame(&reading)["points"], frame(&reading).get("totals")), (&json!(5), None));
    let exact = &audiences(&read(r#"{"uid":"A","points":"1250.50","rank":12345678901234567890123,"xp":1E2}"#))[0].1;
    assert!(exact.contains(r#""points":1250.50,"totals":{"xp":1E2,"rank":12345678901234567890123}"#), "{exact}");
}

#[test]
fn toml_overrides_the_preset_field_by_field() {
    let mut source = source();
    source.mapping.campaign_id = vec!["where.it.is".into()];
    source.mapping.accounts = vec![AccountPaths::each("people", "no", "on"), AccountPaths::on("me", "acme")];
    source.mapping.claimr_id = Vec::new();
    let body = r#"{"where":{"it":{"is":"C"}},"campaign_id":"x","claimr_id":"x","me":7,"people":[{"no":1,"on":"y"}],"points":3}"#;
    let reading = read_as(&source, body, None);
    assert_eq!(keys(&reading), "y:1 acme:7");
    assert_eq!((&frame(&reading)["campaign"], &frame(&reading)["points"]), (&json!({"id": "C"}), &json!(3)));
}

#[test]
fn an_element_without_identity_is_a_dead_letter_of_its_own() {
    let reading = read(r#" [ {"uid":"A"} , {"x" : 1} , 7 , {"uid":"B"} ] "#);
    let keys: Vec<_> = audiences(&reading).into_iter().map(|(keys, _)| keys).collect();
    assert_eq!(keys, ["claimr:A", "claimr:B"]);
    let bodies: Vec<_> = reading.dead_letters.iter().map(|letter| letter.body.as_ref()).collect();
    assert_eq!(bodies, [br#"{"x" : 1}"#.as_slice(), b"7"]);
    assert!(reading.dead_letters.iter().all(|letter| letter.reason == DeadReason::NoUser));
}

#[test]
fn a_body_that_names_nobody_is_kept_whole() {
    for body in [" {} ", "[]", r#"{"data":[{"x":1}]}"#, r#"{"email":"","claimr_id":null}"#] {
        let reading = read_as(&source(), body, Some("user_reward"));
        let letter = DeadLetter {
            at: NOW,
            source: "claimr".into(),
            scope: EventType::new("user_reward"),
            reason: DeadReason::NoUser,
            body: Bytes::from_static(body.as_bytes()),
        };
        assert_eq!(reading, Reading { drafts: Vec::new(), dead_letters: vec![letter], invalid: None });
    }
}

#[test]
fn what_is_not_our_json_is_kept_whole_and_not_echoed() {
    let many = format!("[{}]", vec![r#"{"uid":"A"}"#; 1_001].join(","));
    let not_utf8 = b"{\"uid\":\"SECRET\xff\"}".to_vec();
    let texts =
        [r#"{"uid":"SECRET""#, r#"{"uid":"SECRET","x":NaN}"#, r#"{"uid":"SECRET","uid":"B"}"#, "\"SECRET\"", "7", "", &many];
    let bodies: Vec<Vec<u8>> = texts.iter().map(|text| text.as_bytes().to_vec()).chain([not_utf8]).collect();
    for body in bodies {
        let reading = PayloadReader::new(&source()).read_body(&body.clone().into(), Identity::Delivery(Some("d1")), None, NOW);
        let invalid = reading.invalid.unwrap();
        assert!(!invalid.to_string().contains("SECRET") && invalid.position() <= body.len(), "{invalid}");
        assert_eq!((reading.drafts.len(), reading.dead_letters.len()), (0, 1));
        assert_eq!((reading.dead_letters[0].reason, &reading.dead_letters[0].body[..]), (DeadReason::PayloadInvalid, &body[..]));
    }
}
