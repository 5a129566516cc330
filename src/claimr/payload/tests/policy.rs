//! Who may see what.

use super::*;

fn restricted(redact: &[&str], referrer_data: &[&str]) -> Source {
    let texts = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
    Source { redact: texts(redact), referrer_data: texts(referrer_data), ..source() }
}

#[test]
fn the_referrer_learns_nothing_of_the_person_they_referred() {
    let body = r#"{"scope":"referral","campaign_id":"C","campaign_name":"Summer","event_type":"join","points":"SECRET-0",
        "user":{"id":"SECRET-1","account":"SECRET-2","platform":"acme","email":"SECRET-3@example.com","xp":77001,"rank":77002,
            "logins":[{"account":"SECRET-4","platform":"acme"}]},
        "wallet":"0xAbC0000000000000000000000000000000000001","total_xp":77003,"event_xp":77004,"team":"SECRET-5",
        "reward":{"id":"SECRET-6","type":"Gift Codes","name":"SECRET-7","code":"SECRET-8"},"quest":{"id":"SECRET-9"},
        "task":{"id":"SECRET-10","name":"SECRET-11"},"ref_id":"SECRET-12","ref_name":"SECRET-13","timestamp":77005,
        "referrer":{"id":"R","account":"42","platform":"acme"}}"#;
    for source in [restricted(&[], &[]), restricted(&[], &["/campaign_name", "/referrer/id", "/nothing"])] {
        let reading = read_as(&source, body, None);
        let [own, other] = &audiences(&reading)[..] else { panic!("not two audiences") };
        assert_eq!(other.0, "claimr:R acme:42");
        for secret in ["SECRET", "secret", "7700", "abc0", "AbC0", "Gift"] {
            assert!(!other.1.contains(secret), "{secret}: {}", other.1);
        }
        assert!(own.1.contains("SECRET-8") && own.1.contains("\"role\":\"referred\""));
    }
    let reading = read_as(&restricted(&[], &["/campaign_name", "/referrer/id", "/nothing"]), body, None);
    let expected = r#""type":"referral","at":1732350000123,"name":"join","campaign":{"id":"C","name":"Summer"},"referral":{"role":"referrer"},"data":{"campaign_name":"Summer","referrer":{"id":"R"}}"#;
    assert_eq!(audiences(&reading)[1].1, expected);
}

#[test]
fn only_a_referral_reaches_the_referrer() {
    let body = REFERRAL.replace(r#""scope":"referral","#, "");
    for (scope, people) in [(None, 1), (Some("user_activity"), 1), (Some("referral"), 2)] {
        assert_eq!(audiences(&read_as(&source(), &body, scope)).len(), people);
    }
    let mut source = source();
    source.mapping.referral_scopes = vec!["invited".into()];
    assert_eq!(audiences(&read_as(&source, REFERRAL, Some("invited"))).len(), 2);
    assert_eq!(audiences(&read_as(&source, REFERRAL, None)).len(), 1);
}

#[test]
fn one_person_in_both_roles_is_one_audience() {
    let body =
        r#"{"scope":"referral","user":{"id":"A","account":"1","platform":"x"},"referrer":{"id":"B","account":1,"platform":"x"}}"#;
    let reading = read(body);
    assert_eq!(keys(&reading), "claimr:A x:1 claimr:B");
    assert_eq!(frame(&reading)["referral"], json!({"role": "referred"}));
}

#[test]
fn a_referral_that_names_only_the_referrer_is_the_referrers() {
    let reading = read_as(&source(), r#"{"data":{"referrer_id":"R","reward":{"code":"X"}}}"#, Some("referral"));
    assert_eq!(keys(&reading), "claimr:R");
    assert_eq!(audiences(&reading)[0].1, r#""type":"referral","at":1732350000123,"referral":{"role":"referrer"},"data":{}"#);
}

#[test]
fn which_of_the_two_is_the_user_is_configuration() {
    let mut source = source();
    let mapping = &mut source.mapping;
    (mapping.claimr_id, mapping.accounts) = (vec!["invited.id".into()], Vec::new());
    (mapping.referrer_claimr_id, mapping.referrer_accounts) = (vec!["user.id".into()], Vec::new());
    let reading = read_as(&source, r#"{"user":{"id":"R"},"invited":{"id":"A"}}"#, Some("referral"));
    let keys: Vec<_> = audiences(&reading).into_iter().map(|(keys, _)| keys).collect();
    assert_eq!(keys, ["claimr:A", "claimr:R"]);
}

#[test]
fn redacted_members_address_their_owner_and_are_seen_by_nobody() {
    let reading = read_as(&restricted(&["/email", "/campaign_name", "/total_xp"], &[]), ACTIVITY, None);
    assert_eq!(keys(&reading), format!("claimr:IjKl7890 {WALLET} email:a@example.com"));
    let members = &audiences(&reading)[0].1;
    for secret in ["example.com", "Summer", "1250.5", "\"email\""] {
        assert!(!members.contains(secret), "{secret}: {members}");
    }
    assert!(members.contains(r#""wallet":"0xAbC0000000000000000000000000000000000001","team":null,"ref_xp":0"#));
}

#[test]
fn redaction_reaches_into_envelopes_from_inside_and_from_outside() {
    for pointer in ["/reward", "/data/reward", "reward", "/data", ""] {
        let members = &audiences(&read_as(&restricted(&[pointer], &[""]), ENVELOPED, None))[0].1;
        assert!(!members.contains("reward") && !members.contains("Coffee"), "{pointer}: {members}");
    }
    let reading = read_as(&restricted(&["/data"], &[]), ENVELOPED, None);
    assert_eq!(audiences(&reading)[0].1, r#""type":"unknown","at":1732350000123,"data":{}"#);
    let escaped = r#"{"uid":"A","\u0065mail":"SECRET","data":1.50}"#;
    let members = &audiences(&read_as(&restricted(&["/email"], &[]), escaped, None))[0].1;
    assert!(members.ends_with(r#""data":{"uid":"A","data":1.50}"#), "{members}");
    let list = r#"{"sent":1,"data":[{"uid":"A","s":"SECRET"},{"uid":"B","s":"SECRET"}]}"#;
    for (_, members) in audiences(&read_as(&restricted(&["/s"], &[]), list, None)) {
        assert!(!members.contains("SECRET"), "{members}");
    }
}

#[test]
fn what_is_redacted_cannot_be_allowed_to_the_referrer() {
    let reading = read_as(&restricted(&["/referrer/account", "/ref_id"], &["/referrer", "/ref_id"]), REFERRAL, None);
    assert_eq!(audiences(&reading)[1].0, "claimr:IjKl7890 acme:42");
    assert!(audiences(&reading)[1].1.ends_with(r#""data":{"referrer":{"id":"IjKl7890","platform":"acme"}}"#));
}

#[test]
fn hostile_text_stays_inside_its_string() {
    let name = "n".repeat(200_000);
    let body = format!(
        r#"{{"uid":"A\u0000B","event_type":"x\r\nid: 9\r\ndata: pwn","pid":"\u0000","campaign_name":"{name}","contest_name":"{}\"}},\u2028","account":"{}","platform":"acme"}}"#,
        '\u{202e}', '\u{200f}'
    );
    let reading = read(&body);
    assert_eq!(keys(&reading), "claimr:A\0B acme:\u{200f}");
    let frame = frame(&reading);
    assert_eq!(frame["name"], "x\r\nid: 9\r\ndata: pwn");
    // A long text is in the data, whole, and only there.
    assert_eq!((&frame["campaign"], frame["data"]["campaign_name"].as_str()), (&json!({"id": "\0"}), Some(&*name)));
    assert_eq!(frame["quest"]["name"], "\u{202e}\"},\u{2028}");
    assert!(!audiences(&reading)[0].1.contains(['\n', '\r']));
}
