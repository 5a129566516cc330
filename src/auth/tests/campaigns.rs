//! The lists in a token, `keys` and `campaigns`: what they let their bearer hear, and what they never let anybody be.

use super::*;
use crate::{
    auth::{TokenMark, ticket::Tickets},
    event::UserKey,
};

fn with(claim: &Value) -> String {
    token_with(&claims(&json!({"campaigns": claim})))
}

#[test]
fn a_token_hears_the_campaigns_it_names() {
    let wallet = UserKey::parse("web3:0xabc0", None).unwrap();
    let token = token_with(&claims(&json!({"keys": ["web3:0xABC0"], "campaigns": ["AbCd_123", "a::b", "AbCd_123"]})));
    let person = verify(&hs256(), &token).unwrap();
    let campaigns: Vec<_> = person.keys().iter().filter_map(UserKey::campaign).collect();
    assert_eq!((campaigns, person.keys().len(), person.user().campaign()), (vec!["AbCd_123", "a::b"], 4, None));
    assert_eq!(person.keys()[1], wallet);
    for none in [json!([]), Value::Null] {
        let token = if none.is_null() { good_token() } else { with(&none) };
        assert!(verify(&hs256(), &token).unwrap().keys().iter().all(|key| key.campaign().is_none()));
    }
    let tickets = Tickets::from_config(&hs256()).unwrap();
    assert_eq!(tickets.verify(&tickets.issue(&person, None), None, NOW), Ok(person.clone()));
    let minted = mint(&hs256(), person.user(), &person.keys()[1..], Duration::from_mins(1), NOW).unwrap();
    assert_eq!(verify(&hs256(), &minted).unwrap().keys(), person.keys());
}

#[test]
fn hostile_campaigns_are_refused_with_words() {
    let list = "campaigns is not a list of strings";
    let entry = "campaigns has an entry that is not 1 to 128 printable ASCII characters without a space";
    let many = |count: usize| -> Vec<String> { (0..count).map(|i| format!("c{i}")).collect() };
    for (claim, reason) in [
        (json!("AbCd_123"), list),
        (json!({"a": 1}), list),
        (json!([1]), list),
        (json!([null]), list),
        (json!([["a"]]), list),
        (json!([""]), entry),
        (json!(["a b"]), entry),
        (json!(["a\u{0}"]), entry),
        (json!(["a\r\nid: 9"]), entry),
        (json!(["\u{202e}a"]), entry),
        (json!(["good", "é"]), entry),
        (json!(["x".repeat(129)]), entry),
        (json!(many(33)), "campaigns has more than 32 entries"),
    ] {
        assert_eq!(super::reason(&hs256(), &with(&claim)), reason, "{claim}");
    }
    assert_eq!(super::reason(&hs256(), &with(&json!(many(32)))), "");
    let null = claims(&json!({})).replacen('{', r#"{"campaigns":null,"#, 1);
    assert_eq!(super::reason(&hs256(), &token_with(&null)), list);
    let twice = claims(&json!({})).replacen('{', r#"{"campaigns":[],"campaigns":["a"],"#, 1);
    assert_eq!(super::reason(&hs256(), &token_with(&twice)), "the payload is not a JSON object with each claim once");
    let long: Vec<String> = (0..30).map(|i| format!("{i:0>100}")).collect();
    let roomy = Verifier::new(&hs256(), 8_192).unwrap_or_else(|problems| panic!("{problems:?}"));
    let together = "sub, keys and campaigns are longer than 2,800 bytes together";
    assert_eq!(roomy.verify(&with(&json!(long)), NOW), Err(Rejection::Invalid(together)));
}

#[test]
fn further_keys_are_bounded() {
    let keys = |count: usize| -> Vec<String> { (0..count).map(|i| format!("web3:{i}")).collect() };
    assert_eq!(verify(&hs256(), &token_with(&claims(&json!({"keys": keys(31)})))).unwrap().keys().len(), Identity::KEYS_MAX);
    assert_eq!(reason(&hs256(), &token_with(&claims(&json!({"keys": keys(32)})))), "sub and keys are more than 32 user keys");
    assert_eq!(reason(&hs256(), &token_with(&claims(&json!({"keys": keys(33)})))), "keys has more than 32 entries");
    let long: Vec<String> = (0..12).map(|i| format!("web3:{i:0>236}")).collect();
    let token = token_with(&claims(&json!({"keys": long})));
    let roomy = Verifier::new(&hs256(), 8_192).unwrap_or_else(|problems| panic!("{problems:?}"));
    assert_eq!(
        roomy.verify(&token, NOW),
        Err(Rejection::Invalid("sub, keys and campaigns are longer than 2,800 bytes together"))
    );
}

/// A campaign is heard by those whose token says so in `campaigns`; as a user it is nobody.
#[test]
fn nobody_is_a_campaign() {
    for sub in ["campaign::AbCd_123", ":AbCd_123", "a::campaign::x"] {
        assert_eq!(reason(&hs256(), &token_with(&claims(&json!({"sub": sub})))), "sub is not platform:account", "{sub}");
    }
    for key in ["campaign::AbCd_123", "campaign:eip155::x", ":AbCd_123"] {
        let token = token_with(&claims(&json!({"keys": [key]})));
        assert_eq!(reason(&hs256(), &token), "keys has an entry that is not platform:account", "{key}");
    }
    let campaign = UserKey::of_campaign("AbCd_123").unwrap();
    let person = Identity::new(campaign, [], NOW.plus(Duration::from_mins(1)), TokenMark::default()).unwrap();
    let tickets = Tickets::from_config(&hs256()).unwrap();
    assert!(tickets.verify(&tickets.issue(&person, None), None, NOW).is_err());
}

#[test]
fn the_longest_ticket_still_fits() {
    let user = UserKey::parse(&format!("acme:{}", "u".repeat(200)), None).unwrap();
    let campaigns = (0..32).map(|i| UserKey::of_campaign(&format!("{i:0>71}")).unwrap());
    let mark = TokenMark { issued: Some(NOW), id: Some(crate::auth::TokenId::of("a")) };
    let person = Identity::new(user, campaigns, NOW.plus(Duration::from_mins(1)), mark).unwrap();
    let ticket = Tickets::from_config(&hs256()).unwrap().issue(&person, Some("https://app.example.com"));
    assert!(ticket.len() <= Tickets::BYTES_MAX, "{}", ticket.len());
}
