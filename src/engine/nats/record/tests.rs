use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::event::{Audience, Epoch};

const HERE: u64 = 42;

fn position() -> Position {
    Position { epoch: Epoch::from_random(7), seq: HERE }
}

fn key(text: &str) -> UserKey {
    UserKey::parse(text, None).unwrap()
}

fn draft() -> Draft {
    let audience =
        |keys: &[&str], members: &str| Audience { keys: keys.iter().map(|k| key(k)).collect(), members: members.to_owned() };
    Draft {
        kind: EventType::new("user_reward").unwrap(),
        at: Timestamp(5),
        audiences: vec![audience(&["acme:1", "web3:0x1"], r#""for":1"#), audience(&["acme:2"], r#""for":2"#)],
        dedupe: Some(Dedupe { key: [1; 16], digest: [2; 16], window: Duration::from_millis(9) }),
    }
}

#[test]
fn an_event_comes_back_as_it_was_sent() {
    let bytes = encode(&draft(), 77, 1_000);
    let record = Record::decode(&bytes, HERE).unwrap();
    assert_eq!((record.sender, record.at, record.age_us, record.kind.as_str()), (77, Timestamp(5), 1_000, "user_reward"));
    assert_eq!(record.first, Some(([1; 16], First { digest: [2; 16], seq: HERE, until: Timestamp(14) })));
    let views = record.decode_views(position()).unwrap();
    assert_eq!(views.iter().map(|view| view.keys.len()).collect::<Vec<_>>(), [2, 1]);
    assert_eq!(views[1].frame, Frame::encode(position(), r#""for":2"#));
    assert_eq!(record.frame_for(&[key("acme:2"), key("acme:3")], position()), Some(views[1].frame.clone()));
    assert_eq!(record.frame_for(&[key("acme:3")], position()), None);
    assert!(record.names(|key| key == "web3:0x1") && !record.names(|key| key == "web3:0x2"));
}

#[test]
fn what_could_break_out_of_its_frame_is_not_sent() {
    for members in ["\"a\":1}\n\nid: x", "\"a\":1\r", "\"a\":1},{\"b\":2", "", "\"a\":NaN", "a"] {
        let mut draft = draft();
        members.clone_into(&mut draft.audiences[0].members);
        let bytes = encode(&draft, 0, 0);
        let record = Record::decode(&bytes, HERE).unwrap();
        assert_eq!(record.decode_views(position()), None, "{members:?}");
        assert_eq!(record.frame_for(&[key("acme:1")], position()), None, "{members:?}");
    }
}

#[test]
fn an_event_names_a_bounded_number_of_keys() {
    let of = |views: usize, keys: usize| {
        let keys = |view: usize| (0..keys).map(move |i| key(&format!("acme:{view}-{i}"))).collect();
        let audiences = (0..views).map(|view| Audience { keys: keys(view), members: r#""a":1"#.to_owned() }).collect();
        encode(&Draft { audiences, ..draft() }, 1, 2)
    };
    for (views, keys, is_taken) in
        [(1, KEYS_MAX, true), (1, KEYS_MAX + 1, false), (KEYS_MAX, 1, true), (KEYS_MAX + 1, 1, false), (2, KEYS_MAX, false)]
    {
        assert_eq!(Record::decode(&of(views, keys), HERE).is_some(), is_taken, "{views} people with {keys} keys each");
    }
}

#[test]
fn no_part_of_a_message_and_no_other_version_is_taken_for_one() {
    let whole = encode(&draft(), 1, 2);
    for end in 0..whole.len() {
        assert!(Record::decode(&whole[..end], HERE).is_none(), "{end} bytes of it");
    }
    assert!(Record::decode(&[&whole[..], b"x"].concat(), HERE).is_none());
    let mut later = whole.to_vec();
    later[3] += 1;
    assert!(Record::decode(&later, HERE).is_none());
    let nobody = Draft { audiences: Vec::new(), ..draft() };
    assert!(Record::decode(&encode(&nobody, 1, 2), HERE).is_some_and(|record| record.views().next().is_none()));
}

proptest! {
    #[test]
    fn no_bytes_panic(bytes: Vec<u8>, at in 0..400_usize, byte: u8) {
        let look = |bytes: &[u8]| {
            if let Some(record) = Record::decode(bytes, HERE) {
                let _ = (record.decode_views(position()), record.frame_for(&[key("acme:1")], position()));
            }
        };
        look(&bytes);
        let mut spoilt = encode(&draft(), 1, 2).to_vec();
        let at = at % spoilt.len();
        spoilt[at] = byte;
        look(&spoilt);
        look(&[&spoilt[..at], &bytes].concat());
    }
}
