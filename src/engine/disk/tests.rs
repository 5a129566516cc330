//! What the disk does to a writer when it fails. `/dev/full` takes no byte, like a disk without space.

use std::{
    fs,
    fs::{File, OpenOptions},
    io,
    os::unix::fs::FileExt as _,
    time::Instant,
};

use super::*;
use crate::{
    engine::Repetition,
    event::{Audience, Dedupe, Draft, EventType},
    hub::{HubLimits, Mailbox, MailboxLimits},
};

const NOON: Timestamp = Timestamp(1_800_000_000_000);
const RETENTION: Retention =
    Retention { max_age: Duration::from_hours(24), max_events_per_user: 100, dead_letters_max: 10, publish_queue_max: 10 };

/// A writer without a thread, and a session that listens.
struct Bench {
    folder: tempfile::TempDir,
    writer: Writer,
    hub: Arc<Hub>,
    session: Mailbox,
}

impl Bench {
    fn new(mend_interval: Duration) -> Self {
        let mailbox = MailboxLimits { events_max: 100, bytes_max: 100_000 };
        let hub = Hub::new(HubLimits { sessions_per_user_max: 9, mailbox });
        let folder = tempfile::tempdir().unwrap();
        let limits = DiskLimits { mend_interval, ..DiskLimits::default() };
        let opened = open::open(folder.path(), RETENTION, limits, NOON).unwrap();
        let session = hub.join(&[user()], &[]).unwrap();
        let writer = Writer::new(opened, HandOn::new(Arc::clone(&hub)), watch::channel(()).0);
        Self { folder, writer, hub, session }
    }

    /// Publishes an event under a delivery id; gives its number, and whether it is a repetition.
    fn publish(&mut self, id: u8) -> io::Result<(u64, Option<Repetition>)> {
        let audience = Audience { keys: vec![user()], members: format!(r#""id_was":{id}"#) };
        let dedupe = Dedupe { key: [id; 16], digest: [id; 16], window: Duration::from_hours(1) };
        let kind = EventType::unknown();
        let draft = Draft { kind, at: NOON, audiences: vec![audience], dedupe: Some(dedupe) };
        let delivery = Delivery { drafts: vec![draft], dead_letters: vec![], received: Instant::now() };
        let durable = self.writer.commit(vec![delivery])?;
        let stored = durable.into_iter().flat_map(|durable| durable.hand_on(&self.hub).events).next().unwrap();
        Ok((stored.position.seq, stored.repetition))
    }

    fn fill_the_disk(&mut self) {
        self.writer.file = Arc::new(OpenOptions::new().read(true).write(true).open("/dev/full").unwrap());
    }

    /// What the session was sent, as numbers.
    fn heard(&mut self) -> Vec<u64> {
        let mut mails = std::collections::VecDeque::new();
        let _ = self.session.poll_take(&mut std::task::Context::from_waker(std::task::Waker::noop()), &mut mails);
        mails.iter().map(|mail| mail.seq).collect()
    }

    /// Every event of a log opened anew: its number, and what its frame says.
    fn reopened(self) -> Vec<String> {
        let folder = self.folder;
        drop(self.writer);
        let opened = open::open(folder.path(), RETENTION, DiskLimits::default(), NOON).unwrap();
        let seqs: Vec<u64> = (1..=opened.log.head()).collect();
        let frames = opened.log.read(&[user()], &seqs).unwrap();
        frames.iter().map(|(_, frame)| String::from_utf8(frame.as_json().to_vec()).unwrap()).collect()
    }
}

fn user() -> UserKey {
    UserKey::new("acme", "1").unwrap()
}

#[test]
fn a_full_disk_refuses_and_the_retry_is_delivered_once() {
    let mut bench = Bench::new(Duration::ZERO);
    bench.publish(1).unwrap();
    bench.fill_the_disk();
    bench.publish(2).unwrap_err();
    assert_eq!((bench.writer.log.head(), bench.heard()), (1, vec![1]));
    // There is space again: the writer finds its file by itself.
    assert_eq!(bench.publish(2).unwrap(), (2, None));
    assert_eq!(bench.publish(2).unwrap(), (2, Some(Repetition::Same)));
    assert_eq!(bench.publish(3).unwrap(), (3, None));
    assert_eq!(bench.heard(), [2, 3]);
    assert_eq!(bench.reopened().len(), 3);
}

#[test]
fn a_group_whose_fdatasync_failed_is_cut_off_before_its_number_is_used_again() {
    let mut bench = Bench::new(Duration::ZERO);
    bench.publish(1).unwrap();
    let (path, durable) = (bench.writer.log.parts().active.path.clone(), bench.writer.durable);
    bench.publish(2).unwrap();
    // The bytes of event 2 are on the disk, but for this writer they are not: as if its fdatasync had failed.
    let whole = fs::read(&path).unwrap();
    let mut bench = Bench::new(Duration::ZERO);
    bench.publish(1).unwrap();
    bench.fill_the_disk();
    bench.publish(8).unwrap_err();
    let path = bench.writer.log.parts().active.path.clone();
    let tail = &whole[usize::try_from(durable).unwrap()..];
    OpenOptions::new().write(true).open(&path).unwrap().write_all_at(tail, durable).unwrap();
    assert_eq!(bench.publish(9).unwrap(), (2, None));
    assert_eq!(fs::metadata(&path).unwrap().len(), durable);
    let events = bench.reopened();
    assert_eq!(events.len(), 2);
    assert!(events[1].contains(r#""id_was":9"#), "{events:?}");
}

#[test]
fn a_disk_that_stays_broken_is_tried_again_only_after_the_interval() {
    let mut bench = Bench::new(Duration::from_hours(1));
    bench.fill_the_disk();
    for _ in 0..3 {
        bench.publish(1).unwrap_err();
    }
    assert_eq!((bench.writer.log.head(), bench.heard()), (0, vec![]));
}

#[test]
fn a_folder_that_is_away_is_an_error_until_it_is_back() {
    let mut bench = Bench::new(Duration::ZERO);
    bench.publish(1).unwrap();
    let away = bench.folder.path().with_extension("away");
    fs::rename(bench.folder.path(), &away).unwrap();
    bench.fill_the_disk();
    for _ in 0..3 {
        bench.publish(2).unwrap_err();
    }
    // What is there can still be read.
    assert_eq!(bench.writer.log.read(&[user()], &[1]).unwrap().len(), 1);
    fs::rename(&away, bench.folder.path()).unwrap();
    assert_eq!(bench.publish(2).unwrap(), (2, None));
    assert_eq!(bench.heard(), [1, 2]);
}

#[test]
fn events_take_the_place_of_zeros_that_were_written_ahead() {
    let mut bench = Bench::new(Duration::ZERO);
    bench.publish(1).unwrap();
    let path = bench.writer.log.parts().active.path.clone();
    let ahead = fs::metadata(&path).unwrap().len();
    for id in 2..50 {
        bench.publish(id).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().len(), ahead, "the file does not grow");
    }
    let contents = fs::read(&path).unwrap();
    assert!(
        contents.len() > 256 * 1024 && contents[usize::try_from(bench.writer.durable).unwrap()..].iter().all(|byte| *byte == 0)
    );
    // As after a crash: nobody gave them back.
    assert_eq!(bench.reopened().len(), 49);
}

#[test]
fn what_was_written_ahead_is_given_back_by_a_segment_that_ends() {
    let mut bench = Bench::new(Duration::ZERO);
    bench.publish(1).unwrap();
    let (path, durable) = (bench.writer.log.parts().active.path.clone(), bench.writer.durable);
    bench.writer.rotate().unwrap();
    assert_eq!(fs::metadata(&path).unwrap().len(), durable);
    bench.publish(2).unwrap();
    assert_eq!(bench.reopened().len(), 2);
}

#[test]
fn a_segment_is_not_written_further_ahead_than_it_may_grow() {
    let mut bench = Bench::new(Duration::ZERO);
    let limit = 64 * 1024;
    Arc::get_mut(&mut bench.writer.log).unwrap().limits.segment_bytes_max = limit;
    bench.publish(1).unwrap();
    let path = bench.writer.log.parts().active.path.clone();
    assert_eq!(fs::metadata(path).unwrap().len(), limit);
}

#[cfg(target_os = "linux")]
#[test]
fn a_disk_without_room_for_zeros_still_takes_events() {
    use nix::{
        fcntl::{FcntlArg, SealFlag, fcntl},
        sys::memfd::{MFdFlags, memfd_create},
    };

    let mut bench = Bench::new(Duration::ZERO);
    // A file that takes a few groups, and cannot grow.
    let file = File::from(memfd_create("small", MFdFlags::MFD_ALLOW_SEALING).unwrap());
    file.set_len(4_096).unwrap();
    fcntl(&file, FcntlArg::F_ADD_SEALS(SealFlag::F_SEAL_GROW)).unwrap();
    bench.writer.file = Arc::new(file);
    bench.publish(1).unwrap();
    bench.publish(2).unwrap();
    assert_eq!(bench.heard(), [1, 2]);
}

/// Found by the stories of `model.rs`: the index file of a segment that was written anew took the place of the old one's bytes.
#[test]
fn whoever_still_asks_a_segment_that_was_written_anew_gets_the_old_answers() {
    let mut bench = Bench::new(Duration::ZERO);
    bench.publish(1).unwrap();
    bench.publish(2).unwrap();
    bench.writer.rotate().unwrap();
    let (log, mut keeper) = (Arc::clone(&bench.writer.log), Keeper::default());
    keeper.retain(&log, NOON).unwrap();
    let old = Arc::clone(&log.parts().sealed[0]);
    keeper.retain(&log, NOON.plus(RETENTION.max_age + Duration::from_secs(1))).unwrap();
    assert_eq!((log.parts().sealed[0].events(), log.parts().sealed[0].mark(log.hash(&user())).unwrap()), (0, Some(2)));
    let rows = old.list(log.hash(&user()), 0, 9).unwrap();
    assert_eq!(rows.iter().map(|row| row.seq).collect::<Vec<_>>(), [2, 1]);
}
