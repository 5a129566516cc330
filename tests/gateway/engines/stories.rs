//! What a log promises, one promise at a time, of each engine.

use claimr_relay::protocol::GapReason;
use futures_util::future::join_all;

use super::*;

macro_rules! stories {
    ($($name:ident)*) => {
        mod memory {
            $(#[tokio::test] async fn $name() { super::$name(super::Bench::new(super::Kind::Memory)).await; })*
        }
        mod disk {
            $(#[tokio::test] async fn $name() { super::$name(super::Bench::new(super::Kind::Disk)).await; })*
        }
        mod nats_2_9 {
            use super::NatsVersion::Debian;
            $(#[tokio::test] async fn $name() { super::$name(super::Bench::new(super::Kind::Nats(Debian))).await; })*
        }
        mod nats {
            use super::NatsVersion::Current;
            $(#[tokio::test] async fn $name() { super::$name(super::Bench::new(super::Kind::Nats(Current))).await; })*
        }
    };
}

stories! {
    events_are_numbered_from_one_without_gaps
    a_delivery_is_one_entry_and_each_person_reads_their_own_view
    a_repetition_is_recognised_and_nothing_is_written
    a_repetition_inside_one_delivery_is_recognised
    a_hundred_retries_at_once_are_one_event
    a_repetition_is_forgotten_after_its_window
    a_clock_set_back_makes_no_retry_a_new_event
    events_are_handed_on_in_the_order_of_the_log
    an_event_reaches_a_session_once_however_many_keys_match
    a_user_keeps_so_many_events_and_learns_of_the_loss
    one_person_loses_nothing_by_anothers_load
    a_broadcast_is_another_view_of_the_same_event
    broadcasts_and_own_events_come_in_the_order_of_the_log
    a_campaign_keeps_so_many_events_and_costs_nobody_theirs
    old_events_go_and_whoever_lost_none_resumes_after_them
    very_old_cursors_are_refused_for_everybody
    a_clock_set_back_removes_nothing
    a_clock_set_forward_and_back_loses_nothing_new
    cursors_that_the_log_never_gave_are_gaps
    only_the_wanted_types_are_missed
    since_gives_what_is_still_there
    only_what_concerns_the_reader_can_be_read
    dead_letters_are_bounded_and_newest_first
    nothing_is_taken_after_closing
}

async fn events_are_numbered_from_one_without_gaps(bench: Bench) {
    assert_eq!(bench.engine.head().seq, 0);
    for seq in 1..=5 {
        let receipt = bench.publish(vec![event("acme:1")]).await;
        assert_eq!((numbers(&receipt), bench.engine.head().seq), (vec![seq], seq));
        assert_eq!(receipt.events[0].position.epoch, bench.engine.head().epoch);
    }
    assert_eq!(bench.missed("acme:1", bench.cursor(0)).await, Backlog::Complete(vec![1, 2, 3, 4, 5]));
    assert_eq!(bench.missed("acme:1", bench.cursor(3)).await, Backlog::Complete(vec![4, 5]));
    assert_eq!(bench.missed("acme:1", Start::Live).await, Backlog::Complete(vec![]));
    assert_eq!(bench.missed("acme:2", bench.cursor(0)).await, Backlog::Complete(vec![]));
}

async fn a_delivery_is_one_entry_and_each_person_reads_their_own_view(bench: Bench) {
    let referral = event_at(NOON, &["acme:77 claimr:New", "acme:42 claimr:Old"]);
    let receipt = bench.publish(vec![referral, event("acme:42")]).await;
    assert_eq!(numbers(&receipt), [1, 2]);
    assert_eq!(bench.read("claimr:New", &[1, 2]).await, [(1, r#""for":"acme:77 claimr:New""#.to_owned())]);
    let both = bench.read("claimr:Old acme:42", &[1, 2]).await;
    assert_eq!(both, [(1, r#""for":"acme:42 claimr:Old""#.to_owned()), (2, r#""for":"acme:42""#.to_owned())]);
    assert_eq!(bench.missed("claimr:Old acme:42", bench.cursor(0)).await, Backlog::Complete(vec![1, 2]));
    // Who is both people of an event sees the view of the person named first.
    assert_eq!(bench.read("acme:42 acme:77", &[1]).await, [(1, r#""for":"acme:77 claimr:New""#.to_owned())]);
}

async fn a_repetition_is_recognised_and_nothing_is_written(bench: Bench) {
    let mut session = bench.join("acme:1");
    bench.publish_one(with_id(event("acme:1"), 1, 1, DAY)).await;
    for (body, expected) in [(1, Repetition::Same), (2, Repetition::OtherBody)] {
        let receipt = bench.publish(vec![with_id(event("acme:1"), 1, body, DAY)]).await;
        assert_eq!((receipt.events[0].position.seq, receipt.events[0].repetition), (1, Some(expected)));
        assert_eq!((receipt.connections, bench.engine.head().seq), (0, 1));
    }
    assert_eq!(take(&mut session), [1]);
}

async fn a_repetition_inside_one_delivery_is_recognised(bench: Bench) {
    let twice = || vec![with_id(event("acme:1"), 1, 1, DAY), with_id(event("acme:1"), 1, 1, DAY), event("acme:1")];
    let receipt = bench.publish(twice()).await;
    assert_eq!(numbers(&receipt), [1, 1, 2]);
    assert_eq!(receipt.events.iter().filter(|stored| stored.repetition.is_some()).count(), 1);
    assert_eq!(numbers(&bench.publish(twice()).await), [1, 1, 3]);
}

async fn a_hundred_retries_at_once_are_one_event(bench: Bench) {
    let mut session = bench.join("acme:1");
    let retries = (0..100).map(|_| bench.publish(vec![with_id(event("acme:1"), 7, 7, DAY)]));
    let receipts = join_all(retries).await;
    assert_eq!(receipts.iter().filter(|receipt| receipt.events[0].repetition.is_none()).count(), 1);
    assert!(receipts.iter().all(|receipt| numbers(receipt) == [1]));
    assert_eq!(take(&mut session), [1]);
}

async fn a_repetition_is_forgotten_after_its_window(bench: Bench) {
    let window = Duration::from_secs(10);
    let draft = |after_s| with_id(event_at(NOON.plus(Duration::from_secs(after_s)), &["acme:1"]), 1, 1, window);
    for (after_s, seq) in [(0, 1), (10, 1), (11, 2), (21, 2), (22, 3)] {
        assert_eq!(bench.publish_one(draft(after_s)).await, seq, "{after_s} s after the first");
        bench.engine.retain(NOON.plus(Duration::from_secs(after_s))).await.unwrap();
    }
}

async fn a_clock_set_back_makes_no_retry_a_new_event(bench: Bench) {
    bench.publish_one(with_id(event("acme:1"), 1, 1, HOUR)).await;
    let retry = with_id(event_at(NOON.minus(DAY), &["acme:1"]), 1, 1, HOUR);
    assert_eq!(bench.publish_one(retry).await, 1);
}

async fn events_are_handed_on_in_the_order_of_the_log(bench: Bench) {
    let mut session = bench.join("acme:1");
    let bench = &bench;
    let receipts = join_all((0..200).map(|_| bench.publish(vec![event("acme:1"), event("acme:1")]))).await;
    assert_eq!(take(&mut session), (1..=400).collect::<Vec<_>>());
    assert!(receipts.iter().all(|receipt| receipt.events[0].position.seq + 1 == receipt.events[1].position.seq));
    assert!(receipts.iter().all(|receipt| receipt.connections == 2));
}

async fn an_event_reaches_a_session_once_however_many_keys_match(bench: Bench) {
    let mut session = bench.join("acme:1 web3:0x1");
    let receipt = bench.publish(vec![event_at(NOON, &["acme:1 web3:0x1", "acme:1"])]).await;
    assert_eq!((receipt.connections, take(&mut session)), (1, vec![1]));
    assert_eq!(bench.missed("acme:1 web3:0x1", bench.cursor(0)).await, Backlog::Complete(vec![1]));
    assert_eq!(bench.read("acme:1 web3:0x1", &[1]).await.len(), 1);
}

async fn a_user_keeps_so_many_events_and_learns_of_the_loss(bench: Bench) {
    let bench = with_retention(&bench, Retention { max_events_per_user: 3, ..retention() });
    for _ in 0..5 {
        bench.publish_one(event("acme:1")).await;
    }
    assert_eq!(bench.missed("acme:1", bench.cursor(1)).await, Backlog::Gap(GapReason::Evicted));
    assert_eq!(bench.missed("acme:1", bench.cursor(2)).await, Backlog::Complete(vec![3, 4, 5]));
    assert_eq!(bench.missed("acme:2", bench.cursor(0)).await, Backlog::Complete(vec![]));
    assert_eq!(bench.missed("acme:1", Start::Since(Timestamp(0))).await, Backlog::Complete(vec![3, 4, 5]));
    assert_eq!(bench.read("acme:1", &[1, 2, 3]).await.len(), 1);
}

async fn one_person_loses_nothing_by_anothers_load(bench: Bench) {
    let bench = with_retention(&bench, Retention { max_events_per_user: 3, ..retention() });
    let shared = bench.publish_one(event_at(NOON, &["acme:1", "acme:2"])).await;
    for _ in 0..5 {
        bench.publish_one(event("acme:1")).await;
    }
    assert_eq!(bench.missed("acme:2", bench.cursor(0)).await, Backlog::Complete(vec![shared]));
    assert_eq!(bench.read("acme:2", &[shared]).await, [(shared, r#""for":"acme:2""#.to_owned())]);
    assert_eq!(bench.read("acme:1", &[shared]).await, []);
}

async fn a_broadcast_is_another_view_of_the_same_event(bench: Bench) {
    let mut sessions =
        ["acme:1 campaign::C", "acme:2 campaign::C", "acme:3", "campaign:C", "acme:4 campaign::D"].map(|who| bench.join(who));
    let receipt = bench.publish(vec![event_at(NOON, &["acme:1", "campaign::C"])]).await;
    assert_eq!((receipt.connections, numbers(&receipt)), (2, vec![1]));
    assert_eq!(sessions.each_mut().map(take), [vec![1], vec![1], vec![], vec![], vec![]]);
    for (who, sees) in [
        ("acme:1 campaign::C", Some("acme:1")),
        ("acme:1", Some("acme:1")),
        ("acme:2 campaign::C", Some("campaign::C")),
        ("acme:2 campaign::D", None),
        ("campaign:C", None),
        ("acme:2", None),
    ] {
        let sees: Vec<_> = sees.into_iter().map(|who| (1, format!(r#""for":"{who}""#))).collect();
        assert_eq!(bench.read(who, &[1]).await, sees, "{who}");
        let missed = sees.iter().map(|(seq, _)| *seq).collect();
        assert_eq!(bench.missed(who, bench.cursor(0)).await, Backlog::Complete(missed), "{who}");
    }
    let stored = bench.engine.event(1).await.unwrap().unwrap();
    let campaigns: Vec<_> = stored.views.iter().map(|view| view.keys[0].campaign()).collect();
    assert_eq!(campaigns, [None, Some("C")]);
    assert_eq!(bench.hub.deliver_again(&stored), 2);
}

async fn broadcasts_and_own_events_come_in_the_order_of_the_log(bench: Bench) {
    let mut session = bench.join("acme:1 campaign::C campaign::D");
    let events = ["acme:1", "campaign::C", "acme:2", "campaign::D", "acme:1", "campaign::E", "campaign::C"].map(event);
    let both = event_at(NOON, &["acme:9", "campaign::D"]);
    bench.publish(events.into_iter().chain([both]).collect()).await;
    let heard = vec![1, 2, 4, 5, 7, 8];
    assert_eq!(take(&mut session), heard);
    assert_eq!(bench.missed("acme:1 campaign::C campaign::D", bench.cursor(0)).await, Backlog::Complete(heard));
    assert_eq!(bench.missed("acme:1 campaign::C campaign::D", bench.cursor(4)).await, Backlog::Complete(vec![5, 7, 8]));
    assert_eq!(bench.missed("acme:1", bench.cursor(0)).await, Backlog::Complete(vec![1, 5]));
}

async fn a_campaign_keeps_so_many_events_and_costs_nobody_theirs(bench: Bench) {
    let bench = with_retention(&bench, Retention { max_events_per_user: 3, ..retention() });
    for person in 1..=5 {
        bench.publish_one(event_at(NOON, &[&format!("acme:{person}"), "campaign::C"])).await;
    }
    assert_eq!(bench.missed("acme:9 campaign::C", bench.cursor(1)).await, Backlog::Gap(GapReason::Evicted));
    assert_eq!(bench.missed("acme:9 campaign::C", bench.cursor(2)).await, Backlog::Complete(vec![3, 4, 5]));
    assert_eq!(bench.missed("acme:1", bench.cursor(0)).await, Backlog::Complete(vec![1]));
    assert_eq!(bench.read("acme:1", &[1]).await, [(1, r#""for":"acme:1""#.to_owned())]);
    assert_eq!(bench.read("acme:9 campaign::C", &[1]).await, []);
    bench.engine.retain(NOON.plus(DAY * 2)).await.unwrap();
    assert_eq!(bench.missed("acme:9 campaign::C", bench.cursor(4)).await, Backlog::Gap(GapReason::Evicted));
    assert_eq!(bench.missed("acme:9 campaign::C", bench.cursor(5)).await, Backlog::Complete(vec![]));
}

async fn old_events_go_and_whoever_lost_none_resumes_after_them(bench: Bench) {
    bench.publish_one(event("acme:1")).await;
    bench.publish_one(event_at(NOON.plus(HOUR * 20), &["acme:2"])).await;
    let later = NOON.plus(HOUR * 30);
    bench.engine.retain(later).await.unwrap();
    assert_eq!(bench.missed("acme:1", bench.cursor(0)).await, Backlog::Gap(GapReason::Evicted));
    assert_eq!(bench.missed("acme:1", bench.cursor(1)).await, Backlog::Complete(vec![]));
    assert_eq!(bench.missed("acme:2", bench.cursor(0)).await, Backlog::Complete(vec![2]));
    assert_eq!(bench.missed("acme:1 acme:2", bench.cursor(0)).await, Backlog::Gap(GapReason::Evicted));
    assert_eq!(bench.read("acme:1 acme:2", &[1, 2]).await.len(), 1);
}

async fn very_old_cursors_are_refused_for_everybody(bench: Bench) {
    for hours in 0..80 {
        let at = NOON.plus(HOUR * hours);
        bench.publish_one(event_at(at, &["acme:1"])).await;
        bench.engine.retain(at).await.unwrap();
    }
    assert_eq!(bench.missed("acme:9", bench.cursor(1)).await, Backlog::Gap(GapReason::Evicted));
    assert_eq!(bench.missed("acme:9", bench.cursor(50)).await, Backlog::Complete(vec![]));
    assert_eq!(bench.missed("acme:1", bench.cursor(50)).await, Backlog::Gap(GapReason::Evicted));
    assert_eq!(bench.missed("acme:1", bench.cursor(60)).await, Backlog::Complete((61..=80).collect()));
}

async fn a_clock_set_back_removes_nothing(bench: Bench) {
    bench.publish_one(event("acme:1")).await;
    bench.engine.retain(NOON.minus(DAY * 3)).await.unwrap();
    bench.publish_one(event_at(NOON.minus(DAY * 2), &["acme:1"])).await;
    bench.engine.retain(NOON.plus(HOUR)).await.unwrap();
    assert_eq!(bench.missed("acme:1", bench.cursor(0)).await, Backlog::Complete(vec![1, 2]));
}

async fn a_clock_set_forward_and_back_loses_nothing_new(bench: Bench) {
    bench.engine.retain(NOON.plus(DAY * 365)).await.unwrap();
    bench.publish_one(event("acme:1")).await;
    bench.engine.retain(NOON.plus(HOUR)).await.unwrap();
    bench.engine.retain(NOON.plus(DAY * 3)).await.unwrap();
    assert_eq!(bench.missed("acme:1", bench.cursor(0)).await, Backlog::Complete(vec![1]));
}

async fn cursors_that_the_log_never_gave_are_gaps(bench: Bench) {
    bench.publish_one(event("acme:1")).await;
    let other = Bench::new(bench.kind);
    assert_ne!(other.engine.head().epoch, bench.engine.head().epoch);
    for (start, reason) in [
        (Start::After("x".parse()), GapReason::InvalidCursor),
        (other.cursor(0), GapReason::OtherEpoch),
        (bench.cursor(2), GapReason::AheadOfHead),
        (bench.cursor(u64::MAX), GapReason::AheadOfHead),
    ] {
        assert_eq!(bench.missed("acme:1", start).await, Backlog::Gap(reason));
    }
}

async fn only_the_wanted_types_are_missed(bench: Bench) {
    for name in ["user_activity", "user_reward", "referral", "user_reward"] {
        bench.publish_one(Draft { kind: kind(name), ..event("acme:1") }).await;
    }
    let types = [kind("user_reward"), kind("no_such_type")];
    assert_eq!(bench.missed_types("acme:1", bench.cursor(0), &types).await, Backlog::Complete(vec![2, 4]));
    assert_eq!(bench.missed_types("acme:1", bench.cursor(0), &types[1..]).await, Backlog::Complete(vec![]));
}

async fn since_gives_what_is_still_there(bench: Bench) {
    for minutes in [0, 10, 20] {
        bench.publish_one(event_at(NOON.plus(Duration::from_mins(minutes)), &["acme:1"])).await;
    }
    let since = |minutes| Start::Since(NOON.plus(Duration::from_mins(minutes)));
    assert_eq!(bench.missed("acme:1", since(10)).await, Backlog::Complete(vec![2, 3]));
    assert_eq!(bench.missed("acme:1", since(21)).await, Backlog::Complete(vec![]));
    bench.engine.retain(NOON.plus(DAY).plus(Duration::from_mins(15))).await.unwrap();
    assert_eq!(bench.missed("acme:1", since(0)).await, Backlog::Complete(vec![3]));
}

async fn only_what_concerns_the_reader_can_be_read(bench: Bench) {
    bench.publish(vec![event("acme:1"), event("acme:2"), event("acme:1")]).await;
    let seqs: Vec<u64> = bench.read("acme:1", &[3, 2, 1, 0, 99, u64::MAX]).await.into_iter().map(|(seq, _)| seq).collect();
    assert_eq!(seqs, [3, 1]);
    assert_eq!(bench.read("acme:3", &[1, 2, 3]).await, []);
    assert_eq!(bench.read("acme:1", &[]).await, []);
}

async fn dead_letters_are_bounded_and_newest_first(bench: Bench) {
    let post = async |body: &str| {
        let delivery = Delivery { dead_letters: vec![letter(body)], ..delivery(vec![]) };
        assert_eq!(bench.engine.publish(delivery).await.unwrap(), Receipt::default());
    };
    for n in 0..8 {
        post(&format!("letter {n}")).await;
    }
    // A sender that tries the same again and again does not push out the others.
    for _ in 0..9 {
        post("letter 7").await;
    }
    let all: Vec<DeadLetter> = (3..8).rev().map(|n| letter(&format!("letter {n}"))).collect();
    assert_eq!(bench.engine.dead_letters(100).await.unwrap(), all);
    assert_eq!(bench.engine.dead_letters(2).await.unwrap(), all[..2]);
    assert_eq!(bench.engine.head().seq, 0);
}

async fn nothing_is_taken_after_closing(bench: Bench) {
    bench.publish_one(event("acme:1")).await;
    let (keys, engine) = (keys("acme:1"), &bench.engine);
    engine.close().await;
    engine.close().await;
    assert!(matches!(engine.publish(delivery(vec![event("acme:1")])).await, Err(PublishError::Closed)));
    let query = Missed { keys: &keys, start: bench.cursor(0), upto: 1, types: &[] };
    assert!(engine.missed(query).await.is_err());
    assert!(engine.missed(Missed { start: Start::Live, ..query }).await.is_err());
    assert!(engine.read(&keys, &[1]).await.is_err());
    assert!(engine.retain(NOON).await.is_err());
    assert!(engine.dead_letters(1).await.is_err());
    assert_eq!(engine.head().seq, 1);
}

fn retention() -> Retention {
    Retention { max_age: DAY, max_events_per_user: 1000, dead_letters_max: 5, publish_queue_max: 4096 }
}

fn with_retention(bench: &Bench, retention: Retention) -> Bench {
    Bench::with(bench.kind, retention, bench.limits)
}
