//! A client that comes back gets everything it missed, or is told plainly that it did not: cases E.

use std::sync::Arc;

use serde_json::json;

use crate::harness::{Dial, Relay, Sse, WebSocket, event, token};

#[tokio::test]
async fn a_client_that_comes_back_gets_what_it_missed_in_order_and_once() {
    for engine in ["memory", "disk"] {
        let relay = Relay::with(&format!("store.engine = \"{engine}\"")).await;
        let (socket, hello) = WebSocket::open(&relay, Dial::token(&token("42"))).await;
        drop(socket);
        let mut last = String::new();
        for n in 1..=200 {
            last = relay.event("42", n).await.id();
            relay.event("77", 1_000).await;
        }
        let all: Vec<u64> = (1..=200).collect();

        let cursor = hello["id"].as_str().unwrap();
        let (mut socket, hello) = WebSocket::open(&relay, Dial::token(&token("42")).after(cursor)).await;
        assert_eq!((&hello["resume"], &hello["replayed"], &hello["id"]), (&json!("resumed"), &json!(200), &json!(cursor)));
        assert_eq!(socket.points(200).await, all);

        let (mut stream, _) = Sse::open(&relay, Dial::token(&token("42")).header("last-event-id", cursor).after("ignored")).await;
        assert_eq!(stream.points(200).await, all);
        assert_eq!(stream.last_event_id, last);

        relay.event("42", 201).await;
        assert_eq!((socket.points(1).await, stream.points(1).await), (vec![201], vec![201]));
    }
}

#[tokio::test]
async fn a_cursor_that_cannot_be_served_is_a_gap_and_then_live() {
    let relay = Relay::with("store.max_events_per_user = 2").await;
    let first = relay.event("42", 1).await.id();
    for n in 2..=4 {
        relay.event("42", n).await;
    }
    let (epoch, _) = first.split_once(':').unwrap();
    let (ahead, long) = (format!("{epoch}:99"), format!("{epoch}:{}", "9".repeat(4_000)));
    let table = [
        (first.as_str(), "evicted"),
        ("0123456789:1", "other_epoch"),
        (&ahead, "ahead_of_head"),
        ("", "invalid_cursor"),
        ("1:", "invalid_cursor"),
        ("-1", "invalid_cursor"),
        ("18446744073709551616", "invalid_cursor"),
        ("%00", "invalid_cursor"),
        ("%C3%A9:1", "invalid_cursor"),
        ("azNmOToxMDQy", "invalid_cursor"),
        (&long, "invalid_cursor"),
    ];
    for (n, (cursor, reason)) in (5..).zip(table) {
        let (mut socket, hello) = WebSocket::open(&relay, Dial::token(&token("42")).after(cursor)).await;
        assert_eq!(hello["resume"], "gap", "{cursor:.40}");
        let gap = socket.json().await;
        assert_eq!((&gap["type"], &gap["reason"]), (&json!("$gap"), &json!(reason)), "{cursor:.40}");
        // Whoever is cut off before the `$gap` came has only the cursor of `$hello`, and must hear of the gap next time.
        assert_ne!(gap["id"], hello["id"], "{cursor:.40}");
        let (_, again) = WebSocket::open(&relay, Dial::token(&token("42")).after(hello["id"].as_str().unwrap())).await;
        assert_eq!(again["resume"], "gap", "{cursor:.40}");
        let (mut stream, _) = Sse::open(&relay, Dial::token(&token("42")).after(cursor)).await;
        let gap = stream.event().await;
        assert_eq!((gap.name.as_str(), &gap.data["reason"]), ("$gap", &json!(reason)), "{cursor:.40}");
        assert_eq!(gap.data["id"], stream.last_event_id);
        relay.event("42", n).await;
        let n = u64::try_from(n).unwrap();
        assert_eq!((socket.points(1).await, stream.points(1).await), (vec![n], vec![n]));
    }
}

#[tokio::test]
async fn somebody_elses_cursor_shows_nothing_of_theirs() {
    let relay = Relay::start().await;
    let cursor = relay.event("42", 1).await.id();
    relay.event("42", 2).await;
    relay.event("77", 3).await;
    let (mut socket, hello) = WebSocket::open(&relay, Dial::token(&token("77")).after(&cursor)).await;
    assert_eq!((&hello["resume"], &hello["replayed"]), (&json!("resumed"), &json!(1)));
    assert_eq!(socket.points(1).await, [3]);
}

#[tokio::test]
async fn a_restart_on_disk_loses_nothing_and_in_memory_is_a_gap() {
    for (engine, resume) in [("disk", "resumed"), ("memory", "gap")] {
        let relay = Relay::with(&format!("store.engine = \"{engine}\"")).await;
        let cursor = relay.event("42", 1).await.id();
        relay.event("42", 2).await;
        let relay = relay.stop().await.start().await;
        let (mut socket, hello) = WebSocket::open(&relay, Dial::token(&token("42")).after(&cursor)).await;
        assert_eq!(hello["resume"], resume, "{engine}");
        relay.event("42", 3).await;
        assert_eq!(socket.points(1).await, if engine == "disk" { [2] } else { [3] });
    }
}

#[tokio::test]
async fn since_and_types_choose_what_is_sent() {
    let relay = Relay::start().await;
    relay.event("42", 1).await;
    relay.deliver_to("/hooks/claimr/user_reward", &event("42", 2).to_string()).await;
    relay.event("42", 3).await;
    let dial = || Dial::token(&token("42")).query("since=1m").query("types=user_reward,referral");
    let (mut socket, hello) = WebSocket::open(&relay, dial()).await;
    assert_eq!((&hello["resume"], &hello["replayed"]), (&json!("fresh"), &json!(1)));
    relay.event("42", 4).await;
    relay.deliver_to("/hooks/claimr/user_reward", &event("42", 5).to_string()).await;
    assert_eq!(socket.points(2).await, [2, 5]);
    // The cursor of `$hello` is before what is replayed: who is cut off right after it misses nothing.
    let (mut again, _) = WebSocket::open(&relay, Dial::token(&token("42")).after(hello["id"].as_str().unwrap())).await;
    assert_eq!(again.points(3).await, [2, 3, 4]);
    for query in ["since=yesterday", "types=,", "types=a%20b"] {
        assert_eq!(Sse::dial(&relay, Dial::token(&token("42")).query(query)).await.err().unwrap().0, 400, "{query}");
        let mut socket = WebSocket::dial(relay.address, Dial::token(&token("42")).query(query)).await.unwrap();
        assert_eq!(socket.closed().await.0, 4400, "{query}");
    }
}

/// Sessions begin at random moments of a stream of events; each must see one unbroken run of numbers.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_that_arrive_during_a_replay_come_once_and_in_order() {
    const EVENTS: usize = 600;
    let relay = Arc::new(Relay::with("limits.sessions_per_user_max = 1000").await);
    let start = relay.event("42", 0).await.id();
    let publish = async {
        for n in 1..=EVENTS {
            relay.event("42", n).await;
        }
    };
    let resume = async {
        for round in 0..60 {
            let (mut socket, hello) = WebSocket::open(&relay, Dial::token(&token("42")).after(&start)).await;
            let replayed = usize::try_from(hello["replayed"].as_u64().unwrap()).unwrap();
            let some = (replayed + round % 7).min(EVENTS);
            let expected: Vec<u64> = (1..=u64::try_from(some).unwrap()).collect();
            assert_eq!(socket.points(some).await, expected);
        }
    };
    tokio::join!(publish, resume);
}
