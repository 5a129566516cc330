use std::{collections::VecDeque, task::Context};

use super::*;
use crate::{
    event::{Epoch, Position},
    protocol::{Frame, View},
};

fn hub(events_max: usize, bytes_max: usize) -> Arc<Hub> {
    Hub::new(HubLimits { sessions_per_user_max: 2, mailbox: MailboxLimits { events_max, bytes_max } })
}

fn keys(text: &str) -> Vec<UserKey> {
    text.split(' ').map(|key| UserKey::parse(key, None).unwrap()).collect()
}

fn event(seq: u64, kind: &str, people: &[&str]) -> Published {
    let frame = Frame::encode(Position { epoch: Epoch::from_random(1), seq }, r#""type":"t""#);
    let views = people.iter().map(|person| View { keys: keys(person), frame: frame.clone() }).collect();
    Published { seq, kind: EventType::new(kind).unwrap(), views }
}

/// The numbers that wait, or the code that the session ended with.
fn take(mailbox: &mut Mailbox) -> Result<Vec<u64>, CloseCode> {
    let mut out = VecDeque::new();
    match mailbox.poll_take(&mut Context::from_waker(std::task::Waker::noop()), &mut out) {
        std::task::Poll::Ready(Err(close)) => Err(close.code),
        _ => Ok(out.iter().map(|mail| mail.seq).collect()),
    }
}

#[test]
fn an_event_reaches_each_session_of_its_people_once_and_nobody_else() {
    let hub = hub(9, 9_999);
    let mut both = hub.join(&keys("acme:1 web3:0x1"), &[]).unwrap();
    let mut second = hub.join(&keys("web3:0x1"), &[]).unwrap();
    let mut stranger = hub.join(&keys("acme:2"), &[]).unwrap();
    assert_eq!(hub.deliver(&event(1, "t", &["acme:1 web3:0x1", "acme:3"]), Instant::now()), 2);
    assert_eq!((take(&mut both), take(&mut second), take(&mut stranger)), (Ok(vec![1]), Ok(vec![1]), Ok(vec![])));
}

#[test]
fn leaving_takes_away_only_oneself() {
    let hub = hub(9, 9_999);
    let first = hub.join(&keys("acme:1 acme:9"), &[]).unwrap();
    let mut second = hub.join(&keys("acme:1"), &[]).unwrap();
    drop(first);
    assert_eq!((hub.sessions(), hub.keys()), (1, 1));
    assert_eq!(hub.deliver(&event(1, "t", &["acme:1 acme:9"]), Instant::now()), 1);
    assert_eq!(take(&mut second), Ok(vec![1]));
    drop(second);
    assert_eq!((hub.sessions(), hub.keys()), (0, 0));
}

#[test]
fn a_full_mailbox_ends_its_session_and_no_other() {
    for (events_max, bytes_max) in [(3, 9_999), (9, 3 * 60)] {
        let hub = hub(events_max, bytes_max);
        let mut slow = hub.join(&keys("acme:1"), &[]).unwrap();
        let mut quick = hub.join(&keys("acme:1"), &[]).unwrap();
        for seq in 1..=5 {
            hub.deliver(&event(seq, "t", &["acme:1"]), Instant::now());
            assert_eq!(take(&mut quick), Ok(vec![seq]));
        }
        assert_eq!(take(&mut slow), Err(CloseCode::SlowConsumer));
    }
}

#[test]
fn a_user_has_a_bounded_number_of_sessions() {
    let hub = hub(9, 9_999);
    // Hearing somebody else's key does not use up that user's sessions.
    let _friend = hub.join(&keys("acme:2 acme:1"), &[]).unwrap();
    let _first = hub.join(&keys("acme:1"), &[]).unwrap();
    let second = hub.join(&keys("acme:1"), &[]).unwrap();
    assert_eq!(hub.join(&keys("acme:1"), &[]).err(), Some(CloseCode::TooManySessions));
    drop(second);
    assert!(hub.join(&keys("acme:1"), &[]).is_ok());
}

#[test]
fn a_session_hears_only_the_types_it_asked_for() {
    let hub = hub(9, 9_999);
    let mut session = hub.join(&keys("acme:1"), &[EventType::new("user_reward").unwrap()]).unwrap();
    hub.deliver(&event(1, "user_activity", &["acme:1"]), Instant::now());
    hub.deliver(&event(2, "user_reward", &["acme:1"]), Instant::now());
    assert_eq!(take(&mut session), Ok(vec![2]));
}

#[test]
fn everybody_is_told_when_all_are_closed() {
    let hub = hub(9, 9_999);
    let mut sessions: Vec<_> = ["acme:1 acme:2", "acme:2", "acme:1"].map(|k| hub.join(&keys(k), &[]).unwrap()).into();
    assert_eq!(hub.members().len(), 3);
    for member in hub.members() {
        member.close(CloseCode::Draining.into());
    }
    assert!(sessions.iter_mut().all(|session| take(session) == Err(CloseCode::Draining)));
}

#[test]
fn what_is_sent_again_comes_once_and_out_of_turn() {
    let hub = hub(9, 9_999);
    let mut session = hub.join(&keys("acme:1 web3:0x1"), &[]).unwrap();
    let mut choosy = hub.join(&keys("acme:1"), &[EventType::new("other").unwrap()]).unwrap();
    let old = event(1, "t", &["acme:1 web3:0x1"]);
    assert_eq!(hub.deliver(&event(5, "t", &["acme:1"]), Instant::now()), 1);
    assert_eq!(hub.deliver_again(&old), 1);
    assert_eq!(hub.deliver(&event(6, "t", &["acme:1"]), Instant::now()), 1);
    assert_eq!((take(&mut session), take(&mut choosy)), (Ok(vec![5, 1, 6]), Ok(vec![])));
    assert_eq!(hub.members_of(&keys("acme:1")[0]).len(), 2);
    let view = hub.members_of(&keys("web3:0x1")[0])[0].view();
    assert_eq!((view.newest, view.queued_events, view.keys), (6, 0, keys("acme:1 web3:0x1")));
}

/// The keys of a follower of `C` who is counted under a name of its own.
fn follower(n: usize) -> Vec<UserKey> {
    vec![UserKey::new("acme", &n.to_string()).unwrap(), UserKey::of_campaign("C").unwrap()]
}

fn broadcast(seq: u64, person: &str) -> Published {
    let mut event = event(seq, "t", &[person]);
    let frame = Frame::encode(Position { epoch: Epoch::from_random(1), seq }, r#""type":"t","broadcast":true"#);
    event.views.push(View { keys: vec![UserKey::of_campaign("C").unwrap()], frame });
    event
}

#[test]
fn whoever_an_event_is_about_sees_their_own_view_and_once() {
    let hub = hub(9, 9_999);
    let mut person = hub.join(&follower(1), &[]).unwrap();
    let mut other = hub.join(&follower(2), &[]).unwrap();
    let mut stranger = hub.join(&keys("acme:3"), &[]).unwrap();
    assert_eq!(hub.deliver(&broadcast(1, "acme:1"), Instant::now()), 2);
    assert_eq!(hub.deliver_again(&broadcast(1, "acme:1")), 2);
    let frames = |mailbox: &mut Mailbox| -> Vec<bool> {
        let mut out = VecDeque::new();
        let _ = mailbox.poll_take(&mut Context::from_waker(std::task::Waker::noop()), &mut out);
        out.iter().map(|mail| mail.frame.as_json().ends_with(b"\"broadcast\":true}")).collect()
    };
    assert_eq!((frames(&mut person), frames(&mut other)), (vec![false; 2], vec![true; 2]));
    assert_eq!(take(&mut stranger), Ok(vec![]));
    assert_eq!(hub.members().len(), 3);
}

/// However they come and go, the hub knows the crowd, hands each event to each of it, and keeps nothing of those who left.
#[test]
fn a_crowd_comes_and_goes() {
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let hub = hub(9, 9_999);
    let mut crowd: Vec<(usize, Mailbox)> = Vec::new();
    for (seq, size) in [1, 33, 32, 5, 2_000, 700, 1_500, 0, 40].into_iter().enumerate() {
        while crowd.len() > size {
            crowd.swap_remove(random.usize(..crowd.len()));
        }
        while crowd.len() < size {
            let number = random.usize(..);
            crowd.push((number, hub.join(&follower(number), &[]).unwrap()));
        }
        assert_eq!((hub.sessions(), hub.members().len()), (size, size));
        assert_eq!(hub.keys(), if size == 0 { 0 } else { size + 1 });
        let seq = seq as u64 + 1;
        assert_eq!(hub.deliver(&broadcast(seq, "acme:nobody"), Instant::now()), size);
        assert!(crowd.iter_mut().all(|(_, mailbox)| take(mailbox) == Ok(vec![seq])));
    }
}

/// An event on its way to a crowd holds nobody up, and reaches whoever stays.
#[test]
fn a_crowd_changes_while_an_event_is_handed_on() {
    const STAY: usize = 300;
    let hub = hub(9, 9_999);
    let mut stay: Vec<_> = (0..STAY).map(|n| hub.join(&follower(n), &[]).unwrap()).collect();
    let mut passing: Vec<_> = (STAY..2 * STAY).map(|n| hub.join(&follower(n), &[]).unwrap()).collect();
    let key = UserKey::of_campaign("C").unwrap();
    let mut come = 2 * STAY..;
    let reached = hub.each(&key, |slot| {
        // A lock that the delivery held would never be free.
        drop(passing.pop());
        stay.push(hub.join(&follower(come.next().unwrap()), &[]).unwrap());
        slot.put(7, &EventType::unknown(), &Frame::encode(Position { epoch: Epoch::from_random(1), seq: 7 }, ""), Instant::now())
    });
    assert_eq!((reached, hub.sessions()), (2 * STAY, STAY + 2 * STAY));
    assert!(stay[..STAY].iter_mut().all(|mailbox| take(mailbox) == Ok(vec![7])));
    assert_eq!(hub.deliver(&broadcast(8, "acme:nobody"), Instant::now()), 3 * STAY);
    drop(stay);
    assert_eq!((hub.sessions(), hub.keys()), (0, 0));
}

#[test]
fn what_is_sent_again_reaches_every_session_of_a_person() {
    let hub = hub(9, 9_999);
    let mut sessions = ["acme:1", "acme:1 web3:0x1", "web3:0x1"].map(|k| hub.join(&keys(k), &[]).unwrap());
    let numbers: HashSet<u64> = sessions.iter().map(Mailbox::session).collect();
    assert_eq!((numbers.len(), hub.deliver_again(&event(1, "t", &["acme:1 web3:0x1"]))), (3, 3));
    assert!(sessions.iter_mut().all(|session| take(session) == Ok(vec![1])));
}
