//! Streams that are not what they were, and consumers that fall silent: whatever is done to them behind the gateways' backs, nobody may believe to
//! have everything who has not.

use std::{
    collections::VecDeque,
    sync::Mutex,
    task::{Context, Poll, Waker},
};

use async_nats::jetstream::{self, stream::Stream};
use claimr_relay::{
    auth::revocations::{Revocation, Subject},
    engine::PublishError,
    event::{DeadLetter, DeadReason},
};

use super::*;

/// No doubt ends by itself: what is noticed is noticed because it is certain.
fn open_patient(name: &str) -> (Arc<NatsEngine>, Arc<Hub>) {
    let (hub, limits) = (hub(), NatsLimits { doubt_s: 1_000, ..NatsLimits::default() });
    let engine = NatsEngine::open(settings(NatsVersion::Current.shared(), name), retention(), limits, Arc::clone(&hub));
    (engine.unwrap(), hub)
}

async fn stranger() -> jetstream::Context {
    jetstream::new(async_nats::connect(NatsVersion::Current.shared()).await.unwrap())
}

async fn publish(engine: &NatsEngine, count: usize) -> Position {
    let mut last = engine.head();
    for _ in 0..count {
        last = engine.publish(one("acme:1", engine.clock())).await.unwrap().events[0].position;
    }
    last
}

/// Deletes the stream and makes it again as it was, with the same epoch in its description.
async fn made_again(stranger: &jetstream::Context, name: &str) -> Stream {
    let config = stranger.get_stream(name).await.unwrap().cached_info().config.clone();
    stranger.delete_stream(name).await.unwrap();
    stranger.create_stream(config).await.unwrap()
}

async fn is_another_log(engine: &NatsEngine, old: Position, mailbox: &Mailbox) {
    is_closed(mailbox, 4003).await;
    until("it has another epoch", async || engine.head().epoch != old.epoch).await;
    let keys = [UserKey::parse("acme:1", None).unwrap()];
    let missed = Missed { keys: &keys, start: Start::After(Ok(old)), upto: engine.head().seq, types: &[] };
    assert_eq!(engine.missed(missed).await.unwrap(), Backlog::Gap(GapReason::OtherEpoch));
    until("events are taken again", async || engine.publish(one("acme:1", engine.clock())).await.is_ok()).await;
}

#[tokio::test]
async fn a_new_event_under_an_old_number_is_another_log_and_is_not_acknowledged_by_the_old_one() {
    let (name, stranger) = (log_name(), stranger().await);
    let (engine, hub) = open_patient(&name);
    let old = publish(&engine, 10).await;
    let mailbox = hub.join(&[UserKey::parse("acme:1", None).unwrap()], &[]).unwrap();
    made_again(&stranger, &name).await;
    // It is refused because of its number, or because the stream was seen to be too short before; never answered with a cursor of the old log.
    let refused = engine.publish(one("acme:1", engine.clock())).await.unwrap_err();
    assert!(matches!(refused, PublishError::Unavailable(_)), "{refused}");
    // Should it be only in doubt: it grows past what was read.
    for _ in 0..10 {
        stranger.publish(format!("{name}.e.1"), "junk".into()).await.unwrap().await.unwrap();
    }
    is_another_log(&engine, old, &mailbox).await;
}

#[tokio::test]
async fn a_stream_that_grew_past_what_was_read_of_another_is_known_by_its_last_message() {
    let (name, stranger) = (log_name(), stranger().await);
    let (engine, hub) = open_patient(&name);
    let old = publish(&engine, 3).await;
    let mailbox = hub.join(&[UserKey::parse("acme:1", None).unwrap()], &[]).unwrap();
    made_again(&stranger, &name).await;
    for _ in 0..10 {
        stranger.publish(format!("{name}.e.1"), "junk".into()).await.unwrap().await.unwrap();
    }
    is_another_log(&engine, old, &mailbox).await;
}

/// What the gateway hears from others.
fn listening(engine: &NatsEngine) -> Arc<Mutex<Vec<Notice>>> {
    let heard = Arc::new(Mutex::new(Vec::new()));
    let notices = Arc::clone(&heard);
    engine.listen(Box::new(move |notice| notices.lock().unwrap().push(notice))).unwrap();
    heard
}

/// A consumer that is alive, and sends nothing. (A server whose copy of the stream lags behind makes such ones; here a stranger does.)
async fn pause_consumers(stream: &Stream, name: &str) {
    use futures_util::TryStreamExt as _;
    let client = async_nats::connect(NatsVersion::Current.shared()).await.unwrap();
    let consumers: Vec<String> = stream.consumer_names().try_collect().await.unwrap();
    assert!(!consumers.is_empty());
    for consumer in consumers {
        let subject = format!("$JS.API.CONSUMER.PAUSE.{name}.{consumer}");
        let answer = client.request(subject, r#"{"pause_until":"2100-01-01T00:00:00Z"}"#.into()).await.unwrap();
        assert!(answer.payload.windows(13).any(|part| part == br#""paused":true"#), "{answer:?}");
    }
}

#[tokio::test]
async fn consumers_that_fall_silent_are_replaced() {
    let (name, stranger) = (log_name(), stranger().await);
    let ((engine, hub), (other, _)) = (open_patient(&name), open_patient(&name));
    let heard = listening(&engine);
    other.listen(Box::new(|_| ())).unwrap();
    let mut mailbox = hub.join(&[UserKey::parse("acme:1", None).unwrap()], &[]).unwrap();
    for stream in [name.clone(), format!("{name}-control")] {
        pause_consumers(&stranger.get_stream(&stream).await.unwrap(), &stream).await;
    }
    let last = publish(&other, 3).await;
    revoke(&other, "acme:2").await;
    until("everything is handed on", async || engine.head() == last).await;
    let mut mails = VecDeque::new();
    assert!(matches!(mailbox.poll_take(&mut Context::from_waker(Waker::noop()), &mut mails), Poll::Ready(Ok(()))));
    assert_eq!(mails.iter().map(|mail| mail.seq).collect::<Vec<_>>(), [1, 2, 3]);
    until("the notice is heard", async || heard.lock().unwrap().len() == 1).await;
}

/// Everything that came while nothing was heard is purged, and nothing comes after it that would show the hole.
#[tokio::test]
async fn what_is_purged_before_it_was_read_is_noticed_without_another_event() {
    let (name, stranger) = (log_name(), stranger().await);
    let ((engine, hub), (other, _)) = (open_patient(&name), open_patient(&name));
    let first = publish(&engine, 1).await;
    let keys = [UserKey::parse("acme:1", None).unwrap()];
    let mailbox = hub.join(&keys, &[]).unwrap();
    let stream = stranger.get_stream(&name).await.unwrap();
    pause_consumers(&stream, &name).await;
    let last = publish(&other, 3).await;
    stream.purge().await.unwrap();
    until("it is noticed", async || engine.head() == last).await;
    let missed = Missed { keys: &keys, start: Start::After(Ok(first)), upto: last.seq, types: &[] };
    match engine.missed(missed).await.unwrap() {
        // It was read in time after all.
        Backlog::Complete(seqs) => assert_eq!((seqs.len(), mailbox.closed()), (3, None)),
        Backlog::Gap(reason) => {
            assert_eq!(reason, GapReason::Evicted);
            is_closed(&mailbox, 4003).await;
        }
    }
}

async fn revoke(engine: &NatsEngine, user: &str) {
    let subject = Subject::User(UserKey::parse(user, None).unwrap());
    let notice = Notice::Revoke(Revocation { subject, at: engine.clock(), until: engine.clock().plus(Duration::from_hours(1)) });
    until("it is announced", async || engine.announce(notice.clone()).await.is_ok()).await;
}

/// The stream of the notices counts from one again. Whoever goes on from its old number would be deaf to revocations.
#[tokio::test]
async fn notices_are_heard_though_their_stream_was_made_anew_and_so_are_letters_kept() {
    let (name, stranger) = (log_name(), stranger().await);
    let ((engine, _), (other, _)) = (open_patient(&name), open_patient(&name));
    let heard = listening(&engine);
    other.listen(Box::new(|_| ())).unwrap();
    for n in 0..5 {
        revoke(&other, &format!("acme:{n}")).await;
    }
    until("they are heard", async || heard.lock().unwrap().len() == 5).await;
    for gone in ["control", "letters"] {
        stranger.delete_stream(format!("{name}-{gone}")).await.unwrap();
    }
    revoke(&other, "acme:9").await;
    let is_nine = |notice: &Notice| matches!(notice, Notice::Revoke(Revocation { subject: Subject::User(user), .. }) if user.as_str() == "acme:9");
    until("the new one is heard", async || heard.lock().unwrap().iter().any(is_nine)).await;
    let letter = DeadLetter {
        at: engine.clock(),
        source: "claimr".to_owned(),
        scope: None,
        reason: DeadReason::NoUser,
        body: bytes::Bytes::from_static(b"{}"),
    };
    let delivery = || Delivery { drafts: Vec::new(), dead_letters: vec![letter.clone()], received: Instant::now() };
    until("letters are kept again", async || engine.publish(delivery()).await.is_ok()).await;
    assert_eq!(engine.dead_letters(9).await.unwrap(), [letter]);
}

/// A machine that was suspended counts on from before, and one may be set wrong: what it takes is as old as the servers say, within a minute.
#[tokio::test]
async fn an_event_is_about_as_old_as_the_servers_say() {
    let (engine, _hub) = open(settings(NatsVersion::Current.shared(), &log_name())).unwrap();
    let (now, hour, minutes) = (engine.clock(), Duration::from_hours(1), Duration::from_mins(5));
    for at in [now.minus(hour), now, now.plus(hour)] {
        engine.publish(one("acme:1", at)).await.unwrap();
    }
    let keys = [UserKey::parse("acme:1", None).unwrap()];
    for (since, seqs) in [(now.minus(minutes), vec![1, 2, 3]), (now.plus(minutes), vec![])] {
        let missed = Missed { keys: &keys, start: Start::Since(since), upto: engine.head().seq, types: &[] };
        assert_eq!(engine.missed(missed).await.unwrap(), Backlog::Complete(seqs));
    }
}
