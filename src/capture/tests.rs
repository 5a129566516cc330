use super::*;

fn capture(deliveries_max: usize, body_bytes_max: usize) -> Capture {
    Capture::new(CaptureLimits { deliveries_max, body_bytes_max })
}

fn webhook(capture: &Capture, second: u64, outcome: &'static str, body: &'static str) {
    let headers = HeaderMap::from_iter([(http::header::HOST, HeaderValue::from_static("relay.example.com"))]);
    capture.record(Answered {
        at: Timestamp(second * 1000),
        received: Instant::now(),
        source: "claimr",
        scope: None,
        remote: None,
        headers: &headers,
        body: &Bytes::from_static(body.as_bytes()),
        status: 200,
        outcome,
        walk: Walk::default(),
    });
}

fn bodies(capture: &Capture) -> Vec<String> {
    capture.latest().iter().map(|c| String::from_utf8(c.body.to_vec()).unwrap()).collect()
}

#[test]
fn the_latest_are_kept_newest_first_and_cut() {
    let capture = capture(3, 2);
    for (second, body) in ["1", "22", "333", "4444"].into_iter().enumerate() {
        webhook(&capture, second as u64, "accepted", body);
    }
    assert_eq!(bodies(&capture), ["44", "33", "22"]);
    let latest = capture.latest();
    assert_eq!((latest[0].n, latest[0].body_bytes, latest[0].is_whole(), latest[2].is_whole()), (4, 4, false, true));
    assert!(capture.cuts(b"333") && !capture.cuts(b"22"));
}

#[test]
fn a_flood_of_one_kind_leaves_half_to_the_other() {
    let capture = capture(4, 9);
    for (second, (outcome, body)) in [
        ("accepted", "a"),
        ("duplicate", "b"),
        ("accepted", "c"),
        ("signature_invalid", "1"),
        ("signature_missing", "2"),
        ("signature_invalid", "3"),
        ("dead_letter", "4"),
    ]
    .into_iter()
    .enumerate()
    {
        webhook(&capture, second as u64, outcome, body);
    }
    assert_eq!(bodies(&capture), ["4", "3", "c", "b"]);
    for second in 10..20 {
        webhook(&capture, second, "accepted", "d");
    }
    assert_eq!(bodies(&capture), ["d", "d", "4", "3"]);
}

#[test]
fn a_second_has_a_ringful_of_each_kind() {
    let capture = capture(2, 9);
    for _ in 0..10 {
        webhook(&capture, 7, "accepted", "a");
        webhook(&capture, 7, "signature_invalid", "b");
    }
    assert_eq!((capture.latest()[0].n, capture.skipped()), (4, 16));
    webhook(&capture, 8, "accepted", "c");
    // A clock that is set back only begins another second.
    webhook(&capture, 3, "accepted", "d");
    assert_eq!((capture.latest()[0].n, capture.skipped()), (6, 16));
}

#[test]
fn zero_keeps_nothing() {
    let off = capture(0, 9);
    webhook(&off, 1, "accepted", "a");
    assert_eq!((bodies(&off).len(), off.skipped(), off.cuts(b"a long body")), (0, 0, false));
    let without_bodies = capture(2, 0);
    webhook(&without_bodies, 1, "accepted", "a");
    assert_eq!((bodies(&without_bodies), without_bodies.latest()[0].body_bytes), (vec![String::new()], 1));
}

#[test]
fn a_successor_knows_nothing_of_before_and_goes_on_counting() {
    let old = capture(3, 9);
    webhook(&old, 1, "accepted", "old");
    let new = old.successor();
    assert!(bodies(&new).is_empty());
    webhook(&old, 2, "accepted", "late");
    webhook(&new, 3, "accepted", "new");
    assert_eq!((bodies(&new), new.latest()[0].n), (vec!["new".to_owned()], 3));
}
