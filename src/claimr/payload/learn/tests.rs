use super::*;
use crate::config::load::load;

fn reader(mapping: &str) -> PayloadReader {
    let source = format!("[{{ name = \"claimr\", secrets = [{{ value = \"s\" }}], mapping = {{ {mapping} }} }}]");
    let key = "[{ alg = \"HS256\", secret = { value = \"0123456789012345678901234567890123\" } }]".to_owned();
    let settings = [("SOURCES", source), ("AUTH__KEYS", key), ("AUTH__ISSUER", "i".into()), ("AUTH__AUDIENCE", "a".into())];
    let settings = settings.into_iter().map(|(key, value)| (format!("CLAIMR_RELAY__{key}"), value));
    PayloadReader::new(&load(None, settings).unwrap_or_else(|mistakes| panic!("{mistakes}")).sources[0])
}

fn learned(bodies: &[&str]) -> Proposal {
    let reader = reader("");
    let mut learner = Learner::new(&reader);
    for body in bodies {
        learner.see(&reader, &Bytes::copy_from_slice(body.as_bytes()), None).unwrap();
    }
    learner.propose()
}

const FLAT: &str = r#"{"scope":"user_activity","campaign_id":"AbCd_123","campaign_name":"Summer","contest_id":"EfGh-456","event_type":"task_completed","event_account":"0xAbC0000000000000000000000000000000000001","event_xp":100,"claimr_id":"IjKl7890","user_id":"IjKl7890","wallet":"0xAbC0000000000000000000000000000000000001","email":"a@example.com","team":null,"total_xp":1250.5,"ref_xp":0,"rank":42}"#;
const NESTED: &str = r#"{"scope":"user_activity","campaign":{"id":"AbCd_123","name":"Summer"},"contest":{"id":"EfGh-456"},"event":{"type":"quest_completed","xp":250},"user":{"id":"IjKl7890","xp":1500.5,"logins":[{"account":"eip155:0xAbC0000000000000000000000000000000000001","platform":"web3"},{"account":"42","platform":"acme"}]}}"#;
const WRAPPED: &str =
    r#"{"data":{"account":"42","platform":"acme","pid":"AbCd_123","reward":{"id":"rw_1","type":"Gift Codes","name":"Coffee"}}}"#;
const REFERRAL: &str = r#"{"scope":"referral","user":{"id":"NewUser1","account":"77","platform":"acme"},"referrer":{"id":"IjKl7890","account":"42","platform":"acme","wallet":"0xAbC0000000000000000000000000000000000001"}}"#;

#[test]
fn what_the_preset_reads_is_pinned_as_it_stood() {
    for (body, lines) in [
        (
            FLAT,
            &[
                r#"scope = ["scope"]"#,
                r#"campaign_id = ["campaign_id"]"#,
                r#"campaign_name = ["campaign_name"]"#,
                r#"quest_id = ["contest_id"]"#,
                r#"name = ["event_type"]"#,
                r#"points = ["event_xp"]"#,
                r#"total_xp = ["total_xp"]"#,
                r#"ref_xp = ["ref_xp"]"#,
                r#"rank = ["rank"]"#,
                r#"claimr_id = ["claimr_id", "user_id"]"#,
                r#"accounts = [{ account = "event_account" }, { account = "wallet", default_platform = "web3" }, { account = "email", default_platform = "email" }]"#,
            ][..],
        ),
        (
            NESTED,
            &[
                r#"scope = ["scope"]"#,
                r#"campaign_id = ["campaign.id"]"#,
                r#"campaign_name = ["campaign.name"]"#,
                r#"quest_id = ["contest.id"]"#,
                r#"name = ["event.type"]"#,
                r#"points = ["event.xp"]"#,
                r#"total_xp = ["user.xp"]"#,
                r#"claimr_id = ["user.id"]"#,
                r#"accounts = [{ list = "user.logins", account = "account", platform = "platform" }]"#,
            ],
        ),
        (
            WRAPPED,
            &[
                r#"envelopes = ["data"]"#,
                r#"campaign_id = ["pid"]"#,
                r#"reward_id = ["reward.id"]"#,
                r#"reward_type = ["reward.type"]"#,
                r#"reward_name = ["reward.name"]"#,
                r#"accounts = [{ account = "account", platform = "platform" }]"#,
            ],
        ),
        (
            REFERRAL,
            &[
                r#"scope = ["scope"]"#,
                r#"claimr_id = ["user.id"]"#,
                r#"accounts = [{ account = "user.account", platform = "user.platform" }]"#,
                r#"referrer_claimr_id = ["referrer.id"]"#,
                r#"referrer_accounts = [{ account = "referrer.account", platform = "referrer.platform" }, { account = "referrer.wallet", default_platform = "web3" }]"#,
            ],
        ),
    ] {
        assert_eq!(learned(&[body]).lines, lines, "{body}");
    }
}

#[test]
fn what_nobody_knew_is_found_by_its_words_or_its_form() {
    for (body, lines) in [
        (
            r#"{"info":{"campaignId":"c","player":{"account":42,"platform":"acme"}},"eventXp":"5"}"#,
            &[
                r#"campaign_id = ["info.campaignId"]"#,
                r#"points = ["eventXp"]"#,
                r#"accounts = [{ account = "info.player.account", platform = "info.player.platform" }]"#,
            ][..],
        ),
        (
            r#"{"who":"0xAbC0000000000000000000000000000000000001","contact":{"mail":"a@b.c"}}"#,
            &[
                r#"accounts = [{ account = "who", default_platform = "web3" }, { account = "contact.mail", default_platform = "email" }]"#,
            ],
        ),
        (
            r#"{"pid":"c","items":[{"account":"1","platform":"x"},{"account":"2","platform":"x"}]}"#,
            &[
                r#"envelopes = ["items"]"#,
                r#"campaign_id = ["pid"]"#,
                r#"accounts = [{ account = "account", platform = "platform" }]"#,
            ],
        ),
    ] {
        let proposal = learned(&[body]);
        assert_eq!(proposal.lines, lines, "{body}");
        // The lines load, and address what nobody was named in before.
        let mended = reader(&proposal.lines.join(", "));
        let trace = mended.trace(&Bytes::copy_from_slice(body.as_bytes()), None).unwrap();
        assert!(!trace.events.is_empty() && trace.dead_letters == 0, "{body}: {trace:?}");
    }
}

#[test]
fn what_cannot_be_told_is_said() {
    let proposal = learned(&[r#"{"nick":"bob","level":{"now":7}}"#]);
    assert!(proposal.notes[0].contains("1 of 1 events name nobody") && proposal.notes[0].contains("level.now, nick"));
    let notes = learned(&[r#"{"id":"same","uid":"A"}"#, r#"{"id":"same","uid":"B"}"#]);
    assert!(notes.lines.contains(&"delivery_id = []".to_owned()), "{notes:?}");
    assert!(notes.notes.iter().any(|note| note.starts_with("id is no id of a delivery")), "{notes:?}");
    let retried = learned(&[r#"{"id":"d1","uid":"A"}"#; 2]);
    assert!(retried.events == 1 && retried.notes.iter().any(|note| note.starts_with("one delivery cannot show")), "{retried:?}");
    assert_eq!(learned(&[]).notes.len(), 1);
}

#[test]
fn a_proposal_can_be_loaded_whatever_characters_its_names_have() {
    // JSON writes U+007F as it is, and TOML does not take it.
    for name in ["who\u{7f}", "who\\u0001", "who\\\"", "\u{202e}who", "who\\n?"] {
        let lines = learned(&[&format!(r#"{{"{name}":{{"wallet":"0xAbC0000000000000000000000000000000000001"}}}}"#)]).lines;
        assert_eq!(lines.len(), 1, "{name:?}");
        reader(&lines[0]);
    }
}
