//! Which tokens a revocation is about, until when, and how it survives.

use std::time::Duration;

use super::*;
use crate::auth::tests::NOW;

fn key(text: &str) -> UserKey {
    UserKey::parse(text, None).unwrap()
}

fn after(s: u64) -> Timestamp {
    NOW.plus(Duration::from_secs(s))
}

fn token(keys: &[&str], issued: Option<Timestamp>, jti: Option<&str>) -> Identity {
    let mark = TokenMark { issued, id: jti.map(TokenId::of) };
    let mut keys = keys.iter().map(|text| key(text));
    Identity::new(keys.next().unwrap(), keys, after(900), mark).unwrap()
}

fn of_user(text: &str) -> Revocation {
    Revocation { subject: Subject::User(key(text)), at: NOW, until: after(1_000) }
}

fn of_token(jti: &str) -> Revocation {
    Revocation { subject: Subject::Token(jti.to_owned()), at: NOW, until: after(1_000) }
}

#[test]
fn a_user_or_a_token_and_nobody_else() {
    let (before, later) = (Some(Timestamp(NOW.0 - 1)), Some(Timestamp(NOW.0 + 1)));
    for (revocation, identity, covered) in [
        (of_user("acme:42"), token(&["acme:42"], before, None), true),
        (of_user("acme:42"), token(&["acme:42"], Some(NOW), None), true),
        (of_user("acme:42"), token(&["acme:42"], None, None), true),
        (of_user("acme:42"), token(&["acme:42"], later, None), false),
        (of_user("acme:42"), token(&["acme:77", "acme:42"], before, None), true),
        (of_user("acme:42"), token(&["acme:77"], before, Some("acme:42")), false),
        (of_user("acme:42"), token(&["acme:421"], None, None), false),
        (of_token("a"), token(&["acme:42"], later, Some("a")), true),
        (of_token("a"), token(&["acme:42"], before, Some("b")), false),
        (of_token("a"), token(&["acme:42"], before, None), false),
        (of_token(""), token(&["acme:42"], before, Some("")), true),
    ] {
        let revocations = Revocations::in_memory();
        assert!(!revocations.cover(&identity, NOW));
        revocations.add(revocation.clone(), NOW).unwrap();
        assert_eq!(revocations.cover(&identity, NOW), covered, "{revocation:?} {identity:?}");
        assert_eq!(revocation.covers(identity.keys(), identity.mark()), covered, "{revocation:?} {identity:?}");
        assert!(!revocations.cover(&identity, after(1_000)), "it has ended");
        assert!(revocations.remove(&revocation.subject));
        assert!(!revocations.cover(&identity, NOW) && !revocations.remove(&revocation.subject));
    }
}

#[test]
fn what_is_saved_is_found_again() {
    let folder = tempfile::tempdir().unwrap();
    let open = |now| Revocations::open(folder.path(), now).unwrap();
    let revocations = open(NOW);
    assert_eq!(revocations.list(NOW), []);
    let ended = Revocation { until: after(5), ..of_token("ends soon \u{1b}\"") };
    let all = [of_user("acme:é"), Revocation { at: Timestamp(NOW.0 - 7), ..of_token("a") }, ended.clone()];
    for revocation in &all {
        revocations.add(revocation.clone(), NOW).unwrap();
    }
    assert_eq!(open(NOW).list(NOW), [], "not saved yet");
    revocations.save(NOW).unwrap();
    assert_eq!(open(NOW).list(NOW).len(), 3);
    assert_eq!(open(after(5)).list(after(5)), all[..2], "the latest first, without the one that has ended");
    revocations.remove(&all[0].subject);
    revocations.save(NOW).unwrap();
    assert!(!open(NOW).cover(&token(&["acme:é"], None, None), NOW));
    let left: Vec<_> = std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["revocations.json"]);
}

#[test]
fn a_damaged_file_is_named_and_not_taken_for_an_empty_one() {
    let folder = tempfile::tempdir().unwrap();
    for (text, problem) in [
        ("", "not what this release writes"),
        ("{\"format\":1,\"revocations\":[", "not what this release writes"),
        ("{\"format\":2,\"revocations\":[]}", "it has format 2"),
        ("{\"format\":1,\"revocations\":[{\"at_ms\":1,\"until_ms\":2}]}", "neither or both"),
        ("{\"format\":1,\"revocations\":[{\"user\":\"x\",\"at_ms\":1,\"until_ms\":2}]}", "\"x\": "),
    ] {
        std::fs::write(folder.path().join("revocations.json"), text).unwrap();
        let error = Revocations::open(folder.path(), NOW).err().unwrap_or_else(|| panic!("taken: {text}")).to_string();
        assert!(error.contains("revocations.json") && error.contains(problem), "{error}");
    }
}

#[test]
fn there_is_room_for_so_many_and_those_that_have_ended_make_room() {
    let revocations = Revocations::in_memory();
    for i in 0..Revocations::ENTRIES_MAX {
        let until = if i == 7 { after(10) } else { after(1_000) };
        revocations.add(Revocation { until, ..of_token(&i.to_string()) }, NOW).unwrap();
    }
    assert_eq!(revocations.add(of_user("acme:42"), NOW), Err(Full));
    assert_eq!(revocations.add(of_token("8"), NOW), Ok(()), "it replaces the earlier one");
    assert_eq!(revocations.add(of_user("acme:42"), after(10)), Ok(()));
    assert_eq!(revocations.list(after(10)).len(), Revocations::ENTRIES_MAX);
}

#[test]
fn taking_one_back_leaves_the_others_in_force() {
    let revocations = Revocations::in_memory();
    let (one, other) = (of_user("acme:1"), of_user("acme:2"));
    revocations.add(one.clone(), NOW).unwrap();
    revocations.add(other, NOW).unwrap();
    assert!(revocations.remove(&one.subject));
    let covered = ["acme:1", "acme:2"].map(|user| revocations.cover(&token(&[user], None, None), NOW));
    assert_eq!(covered, [false, true]);
    assert_eq!((revocations.list(after(999)).len(), revocations.list(after(1_000)).len()), (1, 0));
}

#[test]
fn users_whose_revocations_have_ended_make_room_too() {
    let revocations = Revocations::in_memory();
    for i in 0..Revocations::ENTRIES_MAX {
        let until = after(if i < 2 { 10 } else { 1_000 });
        revocations.add(Revocation { until, ..of_user(&format!("acme:{i}")) }, NOW).unwrap();
    }
    assert_eq!(revocations.add(of_token("a"), after(9)), Err(Full));
    for jti in ["a", "b"] {
        assert_eq!(revocations.add(of_token(jti), after(10)), Ok(()));
    }
    assert_eq!(revocations.add(of_token("c"), after(10)), Err(Full));
}

#[test]
fn a_file_that_cannot_be_read_is_not_taken_for_none() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("revocations.json")).unwrap();
    assert!(Revocations::open(folder.path(), NOW).is_err());
}
