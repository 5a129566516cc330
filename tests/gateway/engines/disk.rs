//! What only a log on disk can suffer: restarts, kills, damage, strangers in its folder, and a full queue.

use std::{fs, path::Path};

use claimr_relay::{engine::disk::OpenError, protocol::GapReason};
use futures_util::future::join_all;

use super::*;

fn bench() -> Bench {
    Bench::new(Kind::Disk)
}

/// Segments of a few events.
fn small_bench(max_events_per_user: usize) -> Bench {
    let retention = Retention { max_events_per_user, ..bench().retention };
    Bench::with(Kind::Disk, retention, DiskLimits { segment_bytes_max: 16 * 1024, ..DiskLimits::default() })
}

fn open(path: &Path) -> Result<Arc<DiskEngine>, OpenError> {
    DiskEngine::open(path, bench().retention, hub(), NOON)
}

/// The files of a folder whose names end with `end`, in their order.
fn files(path: &Path, end: &str) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|file| file.to_str().unwrap().ends_with(end));
    files.sort();
    files
}

/// What a kill would leave at this moment.
fn image(of: &Path) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for file in files(of, "") {
        fs::copy(&file, folder.path().join(file.file_name().unwrap())).unwrap();
    }
    folder
}

async fn published(count: usize) -> Bench {
    let bench = bench();
    for i in 0..count {
        let id = u8::try_from(i).unwrap();
        let letters = vec![letter(&format!("letter {i}"))];
        let delivery = Delivery { dead_letters: letters, ..delivery(vec![with_id(event("acme:1 web3:0x1"), id, id, DAY)]) };
        bench.engine.publish(delivery).await.unwrap();
    }
    bench
}

#[tokio::test]
async fn a_restart_changes_nothing() {
    let mut bench = published(10).await;
    let before = (bench.engine.head(), bench.read("acme:1", &[1, 5, 10]).await, bench.engine.dead_letters(9).await.unwrap());
    for _ in 0..3 {
        bench.reopen(NOON).await;
        let after = (bench.engine.head(), bench.read("acme:1", &[1, 5, 10]).await, bench.engine.dead_letters(9).await.unwrap());
        assert_eq!(after, before);
        assert_eq!(bench.missed("web3:0x1", bench.cursor(7)).await, Backlog::Complete(vec![8, 9, 10]));
        let retry = bench.publish(vec![with_id(event("acme:1 web3:0x1"), 3, 3, DAY)]).await;
        assert_eq!((numbers(&retry), retry.events[0].repetition), (vec![4], Some(Repetition::Same)));
    }
    assert_eq!(bench.publish_one(event("acme:1")).await, 11);
}

#[tokio::test]
async fn a_kill_at_any_moment_loses_nothing_that_was_acknowledged() {
    let bench = small_bench(1000);
    for round in 1..=20 {
        join_all((0..10).map(|_| bench.publish(vec![event("acme:1"), event("acme:2")]))).await;
        bench.engine.retain(NOON).await.unwrap();
        let image = image(&bench.path());
        let engine = open(image.path()).unwrap();
        assert_eq!(engine.head(), Position { seq: round * 20, ..bench.engine.head() });
        let query = Missed { keys: &keys("acme:1 acme:2"), start: bench.cursor(0), upto: round * 20, types: &[] };
        assert_eq!(engine.missed(query).await.unwrap(), Backlog::Complete((1..=round * 20).collect()));
    }
    assert!(files(&bench.path(), ".idx").len() > 2, "the log never began a second segment");
}

#[tokio::test]
async fn a_second_engine_is_refused_until_the_first_is_gone() {
    let bench = published(1).await;
    let error = open(&bench.path()).err().unwrap();
    assert!(matches!(&error, OpenError::Locked { path } if *path == bench.path()), "{error}");
    assert!(error.to_string().contains("stop that one"));
    bench.engine.close().await;
    let second = open(&bench.path()).unwrap();
    assert_eq!(second.head(), bench.engine.head());
    drop(second);
    assert_eq!(open(&bench.path()).unwrap().head(), bench.engine.head());
}

#[tokio::test]
async fn a_torn_end_is_dropped_and_the_log_goes_on() {
    let bench = published(5).await;
    bench.engine.close().await;
    let log = files(&bench.path(), ".log").pop().unwrap();
    let sound = fs::read(&log).unwrap();
    // Part of a group that was being written, zeros that the disk had not filled yet, and noise.
    let seed = fastrand::u64(..);
    let mut random = fastrand::Rng::with_seed(seed);
    for _ in 0..50 {
        let mut torn = sound.clone();
        match random.u8(..3) {
            0 => torn.extend_from_slice(&sound[56..56 + random.usize(1..200)]),
            1 => torn.resize(sound.len() + random.usize(1..5000), 0),
            _ => torn.extend((0..random.usize(1..5000)).map(|_| random.u8(..))),
        }
        // Zeros that were written ahead for groups that did not come.
        torn.resize(torn.len() + random.usize(..5000), 0);
        fs::write(&log, &torn).unwrap();
        let engine = open(&bench.path()).unwrap();
        assert_eq!(engine.head().seq, 5, "seed {seed}");
        engine.close().await;
        assert_eq!(fs::read(&log).unwrap(), sound, "seed {seed}");
    }
    let engine = open(&bench.path()).unwrap();
    assert_eq!(numbers(&engine.publish(delivery(vec![event("acme:1")])).await.unwrap()), [6]);
}

#[tokio::test]
async fn a_flipped_byte_is_named_and_never_a_panic() {
    let bench = published(5).await;
    bench.engine.close().await;
    let log = files(&bench.path(), ".log").pop().unwrap();
    let sound = fs::read(&log).unwrap();
    // The last group cannot be told from a torn one; everything before it can.
    let last_group = sound.windows(4).rposition(|window| window == b"CRLG").unwrap();
    for at in (0..last_group).step_by(3) {
        let mut flipped = sound.clone();
        flipped[at] ^= 0x10;
        fs::write(&log, &flipped).unwrap();
        let error = open(&bench.path()).err().unwrap_or_else(|| panic!("byte {at} went unnoticed"));
        assert!(matches!(&error, OpenError::Corrupt { path, .. } if *path == log), "byte {at}: {error}");
        assert_eq!(fs::read(&log).unwrap(), flipped, "evidence is not touched");
    }
}

#[tokio::test]
async fn damage_in_a_finished_segment_is_named_when_it_is_read() {
    let mut bench = small_bench(1000);
    for _ in 0..300 {
        bench.publish_one(event("acme:1")).await;
    }
    bench.engine.retain(NOON).await.unwrap();
    let log = files(&bench.path(), ".log").remove(0);
    let mut bytes = fs::read(&log).unwrap();
    bytes[300] ^= 1;
    fs::write(&log, bytes).unwrap();
    bench.reopen(NOON).await;
    let error = bench.engine.read(&keys("acme:1"), &(1..=9).collect::<Vec<_>>()).await.unwrap_err();
    assert!(error.to_string().contains("is damaged at byte"), "{error}");
    // An index can be made again.
    for index in files(&bench.path(), ".idx").iter().skip(1) {
        let mut bytes = fs::read(index).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        fs::write(index, bytes).unwrap();
    }
    bench.reopen(NOON).await;
    assert_eq!(bench.missed("acme:1", bench.cursor(0)).await, Backlog::Complete((1..=300).collect()));
}

#[tokio::test]
async fn strange_folders_are_refused_by_name() {
    let text = |format: &str| format!("claimr-relay event log\nformat {format}\nepoch 0123456789\nseed 00\n");
    for (contents, newer) in [
        (text("2"), Some(2)),
        (text("4000000000"), Some(4_000_000_000)),
        (text("0"), None),
        (text(""), None),
        (text("99999999999"), None),
        (String::new(), None),
        ("something else".into(), None),
        ("claimr-relay event log\nformat 1\nepoch x\nseed 00\n".into(), None),
        ("claimr-relay event log\nformat 1\n".into(), None),
    ] {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("format"), &contents).unwrap();
        let error = open(folder.path()).err().unwrap();
        match (&error, newer) {
            (OpenError::NewerFormat { found, known: 1, .. }, Some(newer)) => assert_eq!(*found, newer),
            (OpenError::Corrupt { .. }, None) => {}
            _ => panic!("{contents:?}: {error}"),
        }
        assert!(error.to_string().contains(folder.path().to_str().unwrap()));
    }
}

#[tokio::test]
async fn a_number_that_none_can_follow_is_refused_by_name() {
    let bench = published(1).await;
    bench.engine.close().await;
    let only = files(&bench.path(), ".log").pop().unwrap();
    for (number, is_taken) in
        [("000000000002", true), ("1000000000000", true), ("9223372036854775808", false), ("18446744073709551615", false)]
    {
        let image = image(&bench.path());
        let renamed = image.path().join(format!("{number}.log"));
        fs::rename(image.path().join(only.file_name().unwrap()), &renamed).unwrap();
        match open(image.path()) {
            Ok(engine) => assert!(is_taken && engine.head().seq == 1, "{number}"),
            Err(error) => {
                assert!(!is_taken && matches!(&error, OpenError::Corrupt { path, .. } if *path == renamed), "{error}");
                assert!(error.to_string().contains("restore the folder from a backup"), "{error}");
                assert!(renamed.exists(), "evidence is not touched");
            }
        }
    }
}

#[tokio::test]
async fn files_that_spell_a_number_in_another_way_are_somebody_elses() {
    let bench = published(3).await;
    bench.engine.close().await;
    let image = image(&bench.path());
    let strangers = ["1.log", "+00000000001.log", "20261121.log", "0000000000001.log", "2.idx", "99999999999999999999.log"];
    for stranger in strangers {
        fs::write(image.path().join(stranger), "not ours").unwrap();
    }
    assert_eq!(open(image.path()).unwrap().head(), bench.engine.head());
    for stranger in strangers {
        assert_eq!(fs::read(image.path().join(stranger)).unwrap(), b"not ours", "{stranger}");
    }
}

#[tokio::test]
async fn empty_and_missing_files_are_named_and_foreign_ones_left_alone() {
    let bench = small_bench(1000);
    for _ in 0..300 {
        bench.publish_one(event("acme:1")).await;
    }
    bench.engine.close().await;
    for file in files(&bench.path(), ".log") {
        for is_emptied in [true, false] {
            let image = image(&bench.path());
            let copy = image.path().join(file.file_name().unwrap());
            let is_last = Some(&file) == files(&bench.path(), ".log").last();
            let is_first = file == files(&bench.path(), ".log")[0];
            if is_emptied {
                fs::write(&copy, "").unwrap();
            } else {
                fs::remove_file(&copy).unwrap();
            }
            // The oldest ones are gone one day in any case, and of the last nobody knows that it was there.
            let is_noticed = is_emptied || !(is_last || is_first);
            assert_eq!(matches!(open(image.path()), Err(OpenError::Corrupt { .. })), is_noticed, "{}", file.display());
        }
    }
    let image = image(&bench.path());
    fs::write(image.path().join("lost+found"), "").unwrap();
    fs::write(image.path().join("000000000001.tmp"), "half a segment").unwrap();
    fs::remove_file(image.path().join("format")).unwrap();
    assert!(matches!(open(image.path()), Err(OpenError::Corrupt { .. })), "without its name, the log is no log");
    fs::copy(bench.path().join("format"), image.path().join("format")).unwrap();
    assert_eq!(open(image.path()).unwrap().head(), bench.engine.head());
}

#[tokio::test]
async fn a_path_that_cannot_be_a_folder_is_an_error_with_a_remedy() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let error = open(file.path()).err().unwrap();
    assert!(matches!(error, OpenError::Io { .. }), "{error}");
    assert!(error.to_string().contains("check that the folder can be written"), "{error}");
}

#[tokio::test]
async fn a_full_queue_refuses_at_once() {
    let retention = Retention { publish_queue_max: 1, ..bench().retention };
    let bench = Bench::with(Kind::Disk, retention, DiskLimits { group_deliveries_max: 1, ..DiskLimits::default() });
    let answers = join_all((0..1000).map(|_| bench.engine.publish(delivery(vec![event("acme:1")])))).await;
    let accepted = answers.iter().filter(|answer| answer.is_ok()).count() as u64;
    assert!(answers.iter().all(|answer| matches!(answer, Ok(_) | Err(PublishError::Overloaded))));
    assert!((1..1000).contains(&accepted), "{accepted} accepted");
    assert_eq!(bench.engine.head().seq, accepted);
    assert_eq!(bench.missed("acme:1", bench.cursor(0)).await, Backlog::Complete((1..=accepted).collect()));
}

#[tokio::test]
async fn a_delivery_whose_sender_hung_up_is_stored_all_the_same() {
    let mut bench = bench();
    let mut session = bench.join("acme:1");
    let mut publish = bench.engine.publish(delivery(vec![event("acme:1")]));
    let _ = publish.as_mut().poll(&mut Context::from_waker(Waker::noop()));
    drop(publish);
    bench.reopen(NOON).await;
    assert_eq!((bench.engine.head().seq, take(&mut session)), (1, vec![1]));
}

#[tokio::test]
async fn space_is_reclaimed_when_one_user_is_told_far_more_than_is_kept() {
    let bench = small_bench(20);
    let limit = 20 * bench.limits.segment_bytes_max;
    for _ in 0..100 {
        join_all((0..50).map(|_| bench.publish(vec![event("acme:1"), event("acme:1")]))).await;
        bench.engine.retain(NOON).await.unwrap();
        // The housekeeping may take one away between the two looks.
        let size: u64 = files(&bench.path(), "").iter().filter_map(|file| Some(fs::metadata(file).ok()?.len())).sum();
        assert!(size < limit, "{size} bytes");
    }
    assert_eq!(bench.engine.head().seq, 10_000);
    assert_eq!(bench.missed("acme:1", bench.cursor(9_979)).await, Backlog::Gap(GapReason::Evicted));
    assert_eq!(bench.missed("acme:1", bench.cursor(9_980)).await, Backlog::Complete((9_981..=10_000).collect()));
}

#[tokio::test]
async fn space_is_reclaimed_when_events_are_too_old() {
    let mut bench = small_bench(1000);
    for day in 0..50 {
        let at = NOON.plus(DAY * day);
        join_all((0..50).map(|user| {
            let who = format!("acme:{user}");
            bench.publish(vec![event_at(at, &[who.as_str()])])
        }))
        .await;
        for _ in 0..3 {
            bench.engine.retain(at).await.unwrap();
        }
        // The housekeeping may take one away between the two looks.
        let size: u64 = files(&bench.path(), "").iter().filter_map(|file| Some(fs::metadata(file).ok()?.len())).sum();
        assert!(size < 6 * bench.limits.segment_bytes_max, "{size} bytes on day {day}");
    }
    bench.reopen(NOON.plus(DAY * 49)).await;
    assert_eq!(bench.missed("acme:7", bench.cursor(1)).await, Backlog::Gap(GapReason::Evicted));
    assert_eq!(bench.missed("acme:99", bench.cursor(2_400)).await, Backlog::Complete(vec![]));
}

#[tokio::test]
async fn closing_waits_for_the_housekeeping() {
    let mut bench = small_bench(5);
    for round in 1..=20 {
        join_all((0..100).map(|_| bench.publish(vec![event("acme:1"), event("acme:2")]))).await;
        tokio::join!(async { drop(bench.engine.retain(NOON).await) }, bench.engine.close());
        bench.reopen(NOON).await;
        let newest = (round * 200 - 9..=round * 200).collect();
        assert_eq!(bench.missed("acme:1 acme:2", Start::Since(NOON)).await, Backlog::Complete(newest));
    }
}
