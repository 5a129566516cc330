//! The hub and its mailboxes in every order in which the log's writer, sessions and their neighbours may take turns (`sync/explore.rs`).
//!
//! Every story was seen to fail; these mistakes were made by hand in the code as it stood:
//!
//! | mistake | the story that fails |
//! | --- | --- |
//! | wake before the event is in the queue, or not at all | `whoever_waits_is_woken_and_hears_everything_in_order` |
//! | look into the queue, let go of the lock, and only then leave the waker | the same |
//! | keep the first waker instead of the last | `the_waker_that_counts_is_the_last_one` |
//! | end without a wake-up | `whoever_waits_hears_of_the_end_and_of_nothing_after_it` |
//! | leave the queue as it is at the end, or put into it after the end | `once_it_is_over_nothing_comes_any_more` |
//! | look whether it is over, let go of the lock, and only then end it | `the_first_reason_stands` |
//! | put without looking at the number | `an_event_under_two_keys_comes_once` |
//! | drop the newest or the oldest event of a full mailbox instead of ending | `a_mailbox_is_bounded_and_overflowing_is_the_end` |
//! | leave by look-then-act in any of three ways | `a_goodbye_takes_nobody_else_away` |
//! | count the sessions, let go of the entry, and only then join | `two_who_come_at_once_do_not_both_get_the_last_place` |

use std::{collections::VecDeque, future::poll_fn, task::Context};

use shuttle::{future::block_on, thread};

use super::*;
use crate::{
    event::{Epoch, Position},
    protocol::{Close, Frame, View},
    sync::explore::{ALL, every_order, many_orders},
};

fn hub(sessions_per_user_max: usize, events_max: usize) -> Arc<Hub> {
    Hub::new(HubLimits { sessions_per_user_max, mailbox: MailboxLimits { events_max, bytes_max: 9_999 } })
}

fn key(text: &str) -> UserKey {
    UserKey::parse(text, None).unwrap()
}

/// An event for one person who has `keys`.
fn event(seq: u64, keys: &[&str]) -> Published {
    let frame = Frame::encode(Position { epoch: Epoch::from_random(1), seq }, r#""type":"t""#);
    Published { seq, kind: EventType::unknown(), views: vec![View { keys: keys.iter().map(|k| key(k)).collect(), frame }] }
}

/// The log's writer, which delivers `seqs` to one person's keys, and says how many sessions each event reached.
fn writer(hub: &Arc<Hub>, seqs: std::ops::RangeInclusive<u64>, keys: &'static [&'static str]) -> thread::JoinHandle<Vec<usize>> {
    let hub = Arc::clone(hub);
    thread::spawn(move || seqs.map(|seq| hub.deliver(&event(seq, keys), Instant::now())).collect())
}

/// The hub's end of the only session there is.
fn slot(hub: &Hub) -> Arc<Slot> {
    Arc::clone(&hub.members()[0].0)
}

/// A writer that is at the mailbox already, and says which events were put there.
fn putter(slot: Arc<Slot>, seqs: std::ops::RangeInclusive<u64>) -> thread::JoinHandle<Vec<usize>> {
    let put = move |seq| {
        let view = &event(seq, &["acme:1"]).views[0];
        usize::from(slot.put(seq, &EventType::unknown(), &view.frame, Instant::now()))
    };
    thread::spawn(move || seqs.map(put).collect())
}

/// Waits as a session does, and gives the numbers of what came.
fn next(mailbox: &mut Mailbox) -> Result<Vec<u64>, Close> {
    let mut mail = VecDeque::new();
    block_on(poll_fn(|context| mailbox.poll_take(context, &mut mail)))?;
    Ok(mail.iter().map(|mail| mail.seq).collect())
}

/// What is there now, without waiting.
fn now(mailbox: &mut Mailbox) -> Result<Vec<u64>, Close> {
    let mut mail = VecDeque::new();
    let mut context = Context::from_waker(std::task::Waker::noop());
    match mailbox.poll_take(&mut context, &mut mail) {
        std::task::Poll::Ready(Err(close)) => Err(close),
        _ => Ok(mail.iter().map(|mail| mail.seq).collect()),
    }
}

/// Takes until `last` came or the session was ended; nothing comes after the end.
fn until(mailbox: &mut Mailbox, last: u64) -> (Vec<u64>, Option<Close>) {
    let mut heard = Vec::new();
    while heard.last() != Some(&last) {
        match next(mailbox) {
            Ok(seqs) => heard.extend(seqs),
            Err(close) => {
                assert_eq!((now(mailbox), mailbox.closed()), (Err(close), Some(close)));
                return (heard, Some(close));
            }
        }
    }
    (heard, None)
}

#[test]
fn whoever_waits_is_woken_and_hears_everything_in_order() {
    every_order(ALL, || {
        let hub = hub(9, 9);
        let mut session = hub.join(&[key("acme:1")], &[]).unwrap();
        let writer = putter(slot(&hub), 1..=3);
        assert_eq!(until(&mut session, 3), (vec![1, 2, 3], None));
        assert_eq!(writer.join().unwrap(), [1, 1, 1]);
    });
}

#[test]
fn an_event_under_two_keys_comes_once() {
    every_order(3, || {
        let hub = hub(9, 9);
        let mut session = hub.join(&[key("acme:1"), key("web3:0x1")], &[]).unwrap();
        let writer = writer(&hub, 1..=2, &["acme:1", "web3:0x1"]);
        assert_eq!(until(&mut session, 2), (vec![1, 2], None));
        assert_eq!(writer.join().unwrap(), [1, 1]);
    });
}

/// A session's wait may be dropped and begun again by another task: whoever waits last is woken.
#[test]
fn the_waker_that_counts_is_the_last_one() {
    every_order(ALL, || {
        let hub = hub(9, 9);
        let mut session = hub.join(&[key("acme:1")], &[]).unwrap();
        let writer = putter(slot(&hub), 1..=2);
        let mut heard = now(&mut session).unwrap();
        while heard.last() != Some(&2) {
            heard.extend(next(&mut session).unwrap());
        }
        assert_eq!(heard, [1, 2]);
        writer.join().unwrap();
    });
}

#[test]
fn whoever_waits_hears_of_the_end_and_of_nothing_after_it() {
    every_order(3, || {
        let hub = hub(9, 9);
        let mut session = hub.join(&[key("acme:1")], &[]).unwrap();
        let writer = putter(slot(&hub), 1..=2);
        let member = hub.members_of(&key("acme:1")).remove(0);
        let closer = thread::spawn(move || member.close(CloseCode::Draining.into()));
        let (heard, close) = until(&mut session, u64::MAX);
        let reached = writer.join().unwrap();
        closer.join().unwrap();
        assert_eq!(close, Some(CloseCode::Draining.into()));
        assert!([&[] as &[u64], &[1], &[1, 2]].contains(&heard.as_slice()), "{heard:?}");
        assert!(reached.is_sorted_by(|a, b| a >= b) && heard.len() <= reached.iter().sum(), "{heard:?} {reached:?}");
    });
}

#[test]
fn the_first_reason_stands() {
    every_order(ALL, || {
        let hub = hub(9, 9);
        let mut session = hub.join(&[key("acme:1")], &[]).unwrap();
        let ends = [CloseCode::Draining, CloseCode::TokenRevoked].map(|code| {
            let slot = slot(&hub);
            thread::spawn(move || slot.close(code.into()).then_some(Close::from(code)))
        });
        let heard = next(&mut session).unwrap_err();
        let first: Vec<_> = ends.into_iter().filter_map(|end| end.join().unwrap()).collect();
        assert_eq!((first.as_slice(), session.closed()), (&[heard][..], Some(heard)));
    });
}

#[test]
fn once_it_is_over_nothing_comes_any_more() {
    every_order(ALL, || {
        let hub = hub(9, 9);
        let mut session = hub.join(&[key("acme:1")], &[]).unwrap();
        let writer = putter(slot(&hub), 1..=2);
        let over = Close::from(CloseCode::Draining);
        slot(&hub).close(over);
        assert_eq!(now(&mut session), Err(over));
        writer.join().unwrap();
        assert_eq!((now(&mut session), slot(&hub).view().queued_events), (Err(over), 0));
    });
}

/// One event fits. A session that is slower than that is ended, at once and for good; it never holds more, and never has a hole.
#[test]
fn a_mailbox_is_bounded_and_overflowing_is_the_end() {
    every_order(ALL, || {
        let hub = hub(9, 1);
        let mut session = hub.join(&[key("acme:1")], &[]).unwrap();
        let writer = putter(slot(&hub), 1..=3);
        let (mut heard, mut end) = (Vec::new(), None);
        while heard.last() != Some(&3) && end.is_none() {
            match next(&mut session) {
                Ok(seqs) => {
                    assert_eq!(seqs, [heard.len() as u64 + 1]);
                    heard.extend(seqs);
                }
                Err(close) => end = Some(close),
            }
        }
        let reached = writer.join().unwrap();
        if let Some(close) = end {
            assert_eq!((close, reached[2]), (CloseCode::SlowConsumer.into(), 0));
            assert_eq!((hub.deliver(&event(4, &["acme:1"]), Instant::now()), now(&mut session)), (0, Err(close)));
        }
    });
}

/// A client that comes back before its old session has gone keeps its new one.
#[test]
fn a_goodbye_takes_nobody_else_away() {
    every_order(ALL, || {
        let hub = hub(9, 9);
        let old = hub.join(&[key("acme:1")], &[]).unwrap();
        let goodbye = thread::spawn(move || drop(old));
        let mut new = hub.join(&[key("acme:1")], &[]).unwrap();
        // Whom the old session hears it does not matter; the new one does.
        assert!((1..=2).contains(&hub.deliver(&event(1, &["acme:1"]), Instant::now())));
        goodbye.join().unwrap();
        assert_eq!((hub.deliver(&event(2, &["acme:1"]), Instant::now()), now(&mut new)), (1, Ok(vec![1, 2])));
        assert_eq!((hub.sessions(), hub.keys()), (1, 1));
        drop(new);
        assert_eq!((hub.sessions(), hub.keys()), (0, 0));
    });
}

#[test]
fn two_who_come_at_once_do_not_both_get_the_last_place() {
    every_order(ALL, || {
        let hub = hub(1, 9);
        let other = {
            let hub = Arc::clone(&hub);
            thread::spawn(move || hub.join(&[key("acme:1"), key("web3:0x1")], &[]).ok())
        };
        let one = hub.join(&[key("acme:1")], &[]).ok();
        let other = other.join().unwrap();
        assert_ne!(one.is_some(), other.is_some());
        assert_eq!((hub.sessions(), hub.keys()), (1, if one.is_some() { 1 } else { 2 }));
        drop((one, other));
        assert_eq!((hub.sessions(), hub.keys()), (0, 0));
    });
}

/// Everything at once: a writer, an operator who ends sessions, and people who come, listen and go.
#[test]
fn a_busy_hub_is_empty_when_all_have_gone() {
    many_orders(1_000, || {
        let hub = hub(2, 2);
        let writer = writer(&hub, 1..=6, &["acme:1", "web3:0x1"]);
        let people = [["acme:1", "web3:0x1"], ["web3:0x1", "acme:1"], ["acme:1", "acme:2"]].map(|keys| {
            let hub = Arc::clone(&hub);
            thread::spawn(move || {
                for _ in 0..2 {
                    let Ok(mut session) = hub.join(&keys.map(key), &[]) else { continue };
                    let mut heard = now(&mut session).unwrap_or_default();
                    heard.extend(now(&mut session).unwrap_or_default());
                    let whole = heard.first().is_none_or(|first| heard.iter().copied().eq(*first..first + heard.len() as u64));
                    assert!(whole, "{heard:?} has a hole");
                }
            })
        });
        for member in hub.members() {
            member.close(CloseCode::Draining.into());
        }
        for person in people {
            person.join().unwrap();
        }
        writer.join().unwrap();
        assert_eq!((hub.sessions(), hub.keys()), (0, 0));
    });
}
