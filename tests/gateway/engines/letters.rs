//! What an operator does with the log: takes dead letters out of the lane, and looks at one event.

use claimr_relay::engine::LetterId;

use super::*;

async fn keep(bench: &Bench, bodies: &[&str]) {
    let dead_letters = bodies.iter().map(|body| letter(body)).collect();
    bench.engine.publish(Delivery { dead_letters, ..delivery(vec![]) }).await.unwrap();
}

async fn kept(bench: &Bench) -> Vec<String> {
    let letters = bench.engine.dead_letters(100).await.unwrap();
    letters.iter().map(|letter| String::from_utf8(letter.body.to_vec()).unwrap()).collect()
}

async fn remove(bench: &Bench, bodies: &[&str]) -> usize {
    bench.engine.remove_dead_letters(bodies.iter().map(|body| LetterId::of(&letter(body))).collect()).await.unwrap()
}

#[tokio::test]
async fn a_letter_that_was_taken_out_stays_out_and_may_come_again() {
    for kind in Kind::ALL {
        let mut bench = Bench::new(kind);
        keep(&bench, &["a", "b", "c"]).await;
        assert_eq!(remove(&bench, &["b", "unknown"]).await, 1);
        assert_eq!(remove(&bench, &["b"]).await, 0);
        assert_eq!(kept(&bench).await, ["c", "a"], "{kind:?}");
        if kind.is_durable() {
            bench.reopen(NOON).await;
            assert_eq!(kept(&bench).await, ["c", "a"]);
        }
        keep(&bench, &["b", "a"]).await;
        assert_eq!(kept(&bench).await, ["b", "c", "a"], "{kind:?}");
        if kind.is_durable() {
            bench.reopen(NOON).await;
            keep(&bench, &["b"]).await;
            assert_eq!(kept(&bench).await, ["b", "c", "a"]);
        }
        assert_eq!(remove(&bench, &["a", "b", "c"]).await, 3);
        assert_eq!(kept(&bench).await, [""; 0]);
        for n in 0..7 {
            keep(&bench, &[&n.to_string()]).await;
        }
        assert_eq!(kept(&bench).await, ["6", "5", "4", "3", "2"], "{kind:?}");
    }
}

#[tokio::test]
async fn one_event_is_found_with_everybodys_view() {
    for kind in Kind::ALL {
        let retention = Retention { max_age: HOUR, max_events_per_user: 10, dead_letters_max: 5, publish_queue_max: 64 };
        let limits = DiskLimits { segment_bytes_max: 1_000, mend_interval: Duration::ZERO, ..DiskLimits::default() };
        let bench = Bench::with(kind, retention, limits);
        for n in 1..=20 {
            bench.publish_one(event_at(NOON, &[&format!("acme:{n} claimr:{n}"), "acme:friend"])).await;
        }
        bench.engine.retain(NOON).await.unwrap();
        let found = bench.engine.event(12).await.unwrap().unwrap();
        assert_eq!((found.seq, found.kind.as_str()), (12, "user_activity"));
        let who: Vec<_> = found.views.iter().map(|view| (view.keys.clone(), members(&view.frame))).collect();
        let theirs = (keys("acme:12 claimr:12"), r#""for":"acme:12 claimr:12""#.to_owned());
        assert_eq!(who, [theirs, (keys("acme:friend"), r#""for":"acme:friend""#.to_owned())], "{kind:?}");
        for unknown in [0, 21, u64::MAX] {
            assert_eq!(bench.engine.event(unknown).await.unwrap(), None);
        }
        bench.engine.retain(NOON.plus(2 * HOUR)).await.unwrap();
        assert_eq!(bench.engine.event(12).await.unwrap(), None, "{kind:?}");
        assert!(bench.engine.event(12).await.is_ok());
        bench.engine.close().await;
        assert!(bench.engine.event(12).await.is_err());
        assert!(bench.engine.remove_dead_letters(Vec::new()).await.is_err());
    }
}
