//! `[[sources.broadcast]]`: what a rule is, and how a wrong one is told.

use super::*;
use crate::{config::Shown, event::EventType};

fn rule(text: &str) -> String {
    format!("{GOOD}[[sources.broadcast]]\n{text}\n")
}

#[test]
fn a_rule_shows_nothing_that_it_does_not_name() {
    let read = |text: &str| read("relay.toml", text, &environment(&[])).0.unwrap_or_else(|mistakes| panic!("{mistakes}"));
    let types = vec![EventType::new("user_activity").unwrap()];
    let bare = Broadcast { types, names: vec![], campaign: vec![], show: vec![], fields: vec![] };
    assert_eq!(read(&rule("types = [\"user_activity\"]")).sources[0].broadcast, std::slice::from_ref(&bare));
    let full =
        "types = [\"user_activity\"]\nnames = [\"x y\"]\ncampaign = [\"c.id\"]\nshow = [\"quest\", \"name\"]\nfields = [\"/a\"]";
    let full = read(&format!("{}[[sources.broadcast]]\ntypes = [\"user_activity\"]\n", rule(full)));
    let wanted = Broadcast {
        names: vec!["x y".to_owned()],
        campaign: vec!["c.id".into()],
        show: vec![Shown::Quest, Shown::Name],
        fields: vec!["/a".to_owned()],
        ..bare.clone()
    };
    assert_eq!(full.sources[0].broadcast, [wanted, bare]);
    let shown = serde_json::to_value(&full.sources[0].broadcast[0]).unwrap();
    assert_eq!((&shown["types"][0], &shown["show"][0]), (&"user_activity".into(), &"quest".into()));
}

#[test]
fn every_mistake_in_a_rule_is_named() {
    let many = format!("types = [\"a\"]\ncampaign = [{}]", "\"c\",".repeat(33));
    for (text, key, problem, remedy) in [
        ("show = [\"name\"]", "types", "required, but not set", "types = [\"user_activity\"]"),
        ("types = []", "types", "required, but not set", "types = [\"user_activity\"]"),
        ("types = \"user_activity\"", "types", "a list belongs here, not text", "[ ]"),
        ("types = [\"user activity\"]", "types[0]", "is not a type of events", "\"user_activity\""),
        ("types = [\"$bye\"]", "types[0]", "is not a type of events", "[A-Za-z0-9_.-]"),
        ("types = [1]", "types[0]", "text belongs here", "double quotes"),
        ("types = [\"a\"]\nnames = [\"\"]", "names[0]", "empty", "write a value"),
        ("types = [\"a\"]\ncampaign = [\"/campaign/id\"]", "campaign[0]", "a bracket or a slash", "\"campaign.id\""),
        ("types = [\"a\"]\ncampaign = [\"\"]", "campaign[0]", "an empty segment", "\"campaign.id\""),
        (&many, "campaign", "more than 32 candidates", "leave out"),
        ("types = [\"a\"]\nshow = [\"user\"]", "show[0]", "\"user\" is not a choice", "\"name\", \"points\""),
        ("types = [\"a\"]\nshow = [\"referral\"]", "show[0]", "is not a choice", "\"quest\""),
        ("types = [\"a\"]\nfields = [\"quest.name\"]", "fields[0]", "is not a JSON pointer", "\"/quest/name\""),
        ("types = [\"a\"]\nfields = [\"\"]", "fields[0]", "the whole payload", "the member to point at"),
        ("types = [\"a\"]\nfield = [\"/a\"]", "field", "unknown setting", "did you mean sources[0].broadcast[0].fields?"),
        ("types = [\"a\"]\nallow = [\"/a\"]", "allow", "unknown setting", "known here: campaign, fields, names, show, types"),
    ] {
        let found = mistakes(&rule(text));
        assert_eq!(found.len(), 1, "{text}: {found:#?}");
        assert_eq!(found[0].key, format!("sources[0].broadcast[0].{key}"), "{text}");
        assert!(found[0].problem.contains(problem) && found[0].remedy.contains(remedy), "{text}: {found:#?}");
    }
    let found = mistakes(&with("sources.broadcasts = []"));
    assert!(found[0].remedy.contains("did you mean sources[0].broadcast?"), "{found:#?}");
    let found = mistakes(&with("sources.broadcast = true"));
    assert!(found[0].problem.contains("a list belongs here"), "{found:#?}");
}
