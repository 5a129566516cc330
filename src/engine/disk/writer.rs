//! The one thread that writes: takes what deliveries wait, appends them as one group, makes it durable, and has it handed on.
//!
//! A delivery that comes alone is written at once; under load the group is what came while the disk was busy.
//!
//! After a failed write or fdatasync nobody knows what the disk holds. Nothing of the group is taken for stored then; before
//! the next one, the file is cut back to the last group that was durable, closed for good, and a new one is begun, so
//! that a number that was used in vain cannot come to name two events.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    fs::{File, OpenOptions},
    io, mem,
    os::unix::fs::FileExt as _,
    sync::{Arc, atomic::Ordering},
    thread,
    time::Instant,
};

use smallvec::SmallVec;
use tokio::sync::{mpsc, oneshot, watch};

use super::{
    hand_on::{Answer, Durable, HandOn},
    index::{Index, LetterRow, Place},
    log::Log,
    open::{FolderLock, Opened},
    record::{self, EventHead, KeyHash},
    segment::{self, Head, Lookup},
};
use crate::{
    engine::{
        LetterId, PublishError, Receipt, Stored,
        first::{First, letter_digest},
    },
    event::{DeadLetter, Delivery, Draft, Timestamp},
    protocol::{Frame, Published, View},
};

/// What the writer is asked to do.
pub(super) enum Command {
    /// Store a delivery and say what became of it.
    Publish(Delivery, Answer),
    /// Take dead letters out of the lane, and say how many were in it.
    RemoveLetters(Vec<LetterId>, oneshot::Sender<io::Result<usize>>),
    /// Begin a new segment if this one holds anything, so that the housekeeping gets at it.
    Rotate,
    /// Write what waits, and end.
    Close,
}

/// The writer's own state.
pub(super) struct Writer {
    pub(super) log: Arc<Log>,
    pub(super) file: Arc<File>,
    /// Bytes of the active segment that are durable.
    pub(super) durable: u64,
    /// Bytes of its file: behind what is durable come zeros, see [`Writer::reserve`]. `None` if it is to grow by its groups alone.
    reserved: Option<u64>,
    next_file: u64,
    /// When writing failed and the file has not been mended since.
    broken: Option<Instant>,
    lane: Lane,
    /// Held while the log is open; freed when the writer ends.
    _lock: FolderLock,
    pub(super) hand_on: HandOn,
    /// Tells those who wait for the end, by being dropped.
    _done: watch::Sender<()>,
}

/// The dead letters that are kept: the number of the last, and the digests, oldest first.
#[derive(Default)]
pub(super) struct Lane {
    pub(super) last: u64,
    pub(super) kept: VecDeque<[u8; 16]>,
}

/// What one group is going to add, known to nobody until it is durable.
#[derive(Default)]
struct Group {
    bytes: Vec<u8>,
    events: Vec<Planned>,
    firsts: HashMap<[u8; 16], First>,
    letters: Vec<([u8; 16], Place)>,
    letter_digests: HashSet<[u8; 16]>,
    clock: Timestamp,
}

/// An event to be indexed.
struct Planned {
    head: EventHead,
    place: Place,
    keys: Vec<KeyHash>,
}

type Waiting = (Delivery, Answer);

/// Zeros that are written at once: about as much as 250 events. Writing four times as many took long enough for p99 to show.
const RESERVE_BYTES: usize = 256 * 1024;

impl Writer {
    /// A writer of the log that was opened, which drops `done` when it has ended.
    pub(super) fn new(opened: Opened, hand_on: HandOn, done: watch::Sender<()>) -> Self {
        let log = Arc::new(opened.log);
        let (file, durable) = {
            let parts = log.parts();
            (Arc::clone(&parts.active.file), parts.active.bytes)
        };
        let Opened { lane, next_file, lock, .. } = opened;
        let reserved = Some(durable);
        Self { log, file, durable, reserved, next_file, broken: None, lane, _lock: lock, hand_on, _done: done }
    }

    /// Works until the engine is closed or dropped.
    pub(super) fn run(mut self, mut commands: mpsc::Receiver<Command>) {
        let mut put_off = None;
        while let Some(command) = put_off.take().or_else(|| commands.blocking_recv()) {
            match command {
                Command::Publish(delivery, answer) => {
                    let first = (delivery, answer);
                    let (group, next) = self.gather(first, &mut commands);
                    put_off = next;
                    self.publish(group);
                }
                Command::Rotate => {
                    // Logged where it happens; the next call of the housekeeping asks again.
                    let _ = self.rotate();
                }
                // Nobody may be left to hear the answer; the letters are gone all the same.
                Command::RemoveLetters(ids, answer) => drop(answer.send(self.remove_letters(&ids))),
                Command::Close => commands.close(),
            }
        }
        // Whoever opens the log does it otherwise, as after a crash.
        let _ = self.give_back();
    }

    /// Takes dead letters out of the lane, so that the same ones may come again.
    fn remove_letters(&mut self, ids: &[LetterId]) -> io::Result<usize> {
        let removed = self.log.remove_letters(ids)?;
        self.lane.kept.retain(|digest| !ids.contains(&LetterId(*digest)));
        Ok(removed)
    }

    /// Adds to the first delivery what else waits, within the bounds of a group.
    ///
    /// A processor that others want is left to them for a moment, since what they do with it may be to bring more: that costs a delivery
    /// nothing when nobody wants it, and is what makes groups large when the machine is busy. Only of few that come quickly one after the
    /// other, some are made to wait for each other, because flushing for each would cost more than all the rest of their way.
    fn gather(&self, first: Waiting, commands: &mut mpsc::Receiver<Command>) -> (Vec<Waiting>, Option<Command>) {
        let limits = &self.log.limits;
        let (mut bytes, mut paused, mut before) = (weight(&first.0), false, 0);
        let mut group = vec![first];
        loop {
            while group.len() < limits.group_deliveries_max && bytes < limits.group_bytes_max {
                match commands.try_recv() {
                    Ok(Command::Publish(delivery, answer)) => {
                        bytes += weight(&delivery);
                        group.push((delivery, answer));
                    }
                    Ok(other) => return (group, Some(other)),
                    Err(_) => break,
                }
            }
            let quick = 2..limits.group_deliveries_few;
            if group.len() >= limits.group_deliveries_enough || bytes >= limits.group_bytes_max {
                return (group, None);
            } else if group.len() > before {
                before = group.len();
                thread::yield_now();
            } else if quick.contains(&group.len()) && !paused {
                paused = true;
                thread::sleep(limits.group_pause);
            } else {
                return (group, None);
            }
        }
    }

    /// Stores a group and leaves it to be handed on; or says to all of it that it could not be stored.
    pub(super) fn publish(&mut self, waiting: Vec<Waiting>) {
        let (deliveries, answers): (Vec<_>, Vec<_>) = waiting.into_iter().unzip();
        match self.commit(deliveries) {
            Ok(durable) => self.hand_on.take(durable.into_iter().zip(answers).collect()),
            Err(error) => {
                for answer in answers {
                    // Nobody may be left to hear it.
                    let _ = answer.send(Err(PublishError::Unavailable(error.to_string())));
                }
            }
        }
    }

    /// Stores deliveries as one group, which may be handed on then.
    pub(super) fn commit(&mut self, deliveries: Vec<Delivery>) -> io::Result<Vec<Durable>> {
        self.prepare()?;
        let mut group = Group { clock: self.log.parts().clock, ..Group::default() };
        let body = record::begin_group(&mut group.bytes);
        let durable = deliveries.into_iter().map(|delivery| self.plan(&mut group, delivery)).collect::<io::Result<_>>()?;
        if group.bytes.len() > body {
            record::end_group(&mut group.bytes, body);
            self.append(&group.bytes)?;
            self.show(&mut group);
        }
        Ok(durable)
    }

    /// Adds what is new in a delivery to the group.
    fn plan(&self, group: &mut Group, delivery: Delivery) -> io::Result<Durable> {
        for letter in &delivery.dead_letters {
            self.plan_letter(group, letter);
        }
        let mut planned = Durable { receipt: Receipt::default(), events: SmallVec::new(), received: delivery.received };
        for draft in delivery.drafts {
            let stored = match self.repetition(group, &draft)? {
                Some(repeated) => repeated,
                None => self.plan_event(group, draft, &mut planned),
            };
            planned.receipt.events.push(stored);
        }
        Ok(planned)
    }

    fn repetition(&self, group: &Group, draft: &Draft) -> io::Result<Option<Stored>> {
        let Some(dedupe) = draft.dedupe else { return Ok(None) };
        let first = match group.firsts.get(&dedupe.key) {
            Some(first) => Some(*first),
            None => self.log.first(dedupe.key, draft.at)?,
        };
        let judged = first.and_then(|first| Some((first.seq, first.judge(dedupe.digest, draft.at)?)));
        Ok(judged.map(|(seq, repetition)| Stored { position: self.log.position(seq), repetition: Some(repetition) }))
    }

    fn plan_event(&self, group: &mut Group, draft: Draft, planned: &mut Durable) -> Stored {
        let seq = self.log.head() + 1 + group.events.len() as u64;
        let position = self.log.position(seq);
        group.clock = group.clock.max(draft.at);
        let head = EventHead { seq, at: draft.at, stamp: group.clock, kind: draft.kind.clone() };
        let views: Vec<View> = draft
            .audiences
            .into_iter()
            .map(|audience| View { frame: Frame::encode(position, &audience.members), keys: audience.keys })
            .collect();
        let offset = group.bytes.len();
        record::put_event(&mut group.bytes, &head, draft.dedupe.as_ref(), &views);
        if let Some(dedupe) = draft.dedupe {
            group.firsts.insert(dedupe.key, First::new(&dedupe, seq, draft.at));
        }
        let place = self.place(offset, group.bytes.len());
        let keys = views.iter().flat_map(|view| &view.keys).map(|key| self.log.hash(key)).collect();
        planned.events.push(Published { seq, kind: draft.kind, views });
        group.events.push(Planned { head, place, keys });
        Stored { position, repetition: None }
    }

    fn plan_letter(&self, group: &mut Group, letter: &DeadLetter) {
        let digest = letter_digest(letter);
        if self.lane.kept.contains(&digest) || !group.letter_digests.insert(digest) {
            return;
        }
        let offset = group.bytes.len();
        let number = self.lane.last + 1 + group.letters.len() as u64;
        record::put_letter(&mut group.bytes, number, digest, letter);
        group.letters.push((digest, self.place(offset, group.bytes.len())));
    }

    /// Where bytes of the group come to stand in the segment.
    fn place(&self, start: usize, end: usize) -> Place {
        let offset = u32::try_from(self.durable + start as u64).unwrap_or(u32::MAX);
        Place { offset, bytes: u32::try_from(end - start).unwrap_or(u32::MAX) }
    }

    fn append(&mut self, group: &[u8]) -> io::Result<()> {
        let written = self.file.write_all_at(group, self.durable).and_then(|()| {
            self.reserve(self.durable + group.len() as u64);
            self.file.sync_data()
        });
        match &written {
            Ok(()) => self.durable += group.len() as u64,
            Err(error) => {
                tracing::error!(%error, folder = %self.log.folder.display(), "the log cannot be written");
                self.broken = Some(Instant::now());
            }
        }
        written
    }

    /// Lets zeros follow what ends at `end`, if that makes the file grow, for the groups to come. A group that takes their place is all
    /// that its fdatasync has to write; one that makes the file grow costs the file's metadata too, which is twice the time.
    fn reserve(&mut self, end: u64) {
        static ZEROS: [u8; RESERVE_BYTES] = [0; RESERVE_BYTES];
        let Some(reserved) = self.reserved.filter(|reserved| end > *reserved) else { return };
        let room = usize::try_from(self.log.limits.segment_bytes_max.saturating_sub(end)).unwrap_or(usize::MAX);
        let zeros = &ZEROS[..room.min(RESERVE_BYTES)];
        // A disk that has no room for zeros may have it for events.
        let written = self.file.write_all_at(zeros, end).is_ok();
        self.reserved = written.then_some(reserved.max(end + zeros.len() as u64));
    }

    /// Ends the file where what is durable ends.
    fn give_back(&mut self) -> io::Result<()> {
        if self.reserved.is_none_or(|reserved| reserved > self.durable) && self.broken.is_none() {
            self.file.set_len(self.durable)?;
            self.file.sync_all()?;
            self.reserved = Some(self.durable);
        }
        Ok(())
    }

    /// Lets everybody see the group, which is durable.
    fn show(&mut self, group: &mut Group) {
        {
            let mut parts = self.log.parts_mut();
            parts.clock = parts.clock.max(group.clock);
            parts.active.bytes = self.durable;
            if let Some(event) = group.events.last() {
                (parts.active.last, parts.active.last_stamp) = (event.head.seq, event.head.stamp);
            }
            if let Lookup::Memory(index) = &mut parts.active.index {
                for event in &mut group.events {
                    index.add_event(&event.head, event.place, mem::take(&mut event.keys));
                }
                index.seen.extend(group.firsts.drain());
                let letters = group.letters.iter().zip(self.lane.last + 1..);
                index.letters.extend(letters.map(|((digest, place), number)| LetterRow {
                    number,
                    digest: *digest,
                    place: *place,
                }));
            }
        }
        self.lane.last += group.letters.len() as u64;
        self.lane.kept.extend(group.letters.iter().map(|(digest, _)| *digest));
        let excess = self.lane.kept.len().saturating_sub(self.log.retention.dead_letters_max);
        self.lane.kept.drain(..excess);
        if let Some(event) = group.events.last() {
            self.log.head.store(event.head.seq, Ordering::Release);
        }
    }

    /// Makes the log fit to be written: begins a new segment when this one is full, and tries again after a failure, but not more
    /// often than the interval says.
    fn prepare(&mut self) -> io::Result<()> {
        let Some(since) = self.broken else {
            return if self.durable >= self.log.limits.segment_bytes_max { self.rotate() } else { Ok(()) };
        };
        if since.elapsed() < self.log.limits.mend_interval {
            return Err(io::Error::other("an earlier write failed"));
        }
        let folder = self.log.folder.display().to_string();
        let mended = self.mend();
        match &mended {
            Ok(()) => tracing::info!(folder, "the log can be written again"),
            Err(error) => {
                tracing::error!(%error, folder, "the log still cannot be written");
                self.broken = Some(Instant::now());
            }
        }
        mended
    }

    fn mend(&mut self) -> io::Result<()> {
        let path = self.log.parts().active.path.clone();
        let file = OpenOptions::new().write(true).open(path)?;
        file.set_len(self.durable)?;
        file.sync_all()?;
        self.begin_segment()?;
        self.broken = None;
        // What cannot take its groups is not asked for more.
        self.reserved = None;
        Ok(())
    }

    pub(super) fn rotate(&mut self) -> io::Result<()> {
        let is_empty = self.durable <= segment::HEAD_BYTES as u64;
        if is_empty || self.broken.is_some() {
            return Ok(());
        }
        // A segment that does not grow any more has nothing behind its groups.
        self.give_back().and_then(|()| self.begin_segment()).inspect_err(|error| {
            tracing::error!(%error, folder = %self.log.folder.display(), "could not begin a new segment of the log");
        })
    }

    fn begin_segment(&mut self) -> io::Result<()> {
        let number = self.next_file;
        let head = Head::growing(number, self.log.head() + 1);
        let segment = segment::Draft::begin(&self.log.folder, number, head)?.finish(Index::default())?;
        self.next_file += 1;
        self.file = Arc::clone(&segment.file);
        self.durable = segment.bytes;
        self.reserved = Some(segment.bytes);
        let mut parts = self.log.parts_mut();
        let full = mem::replace(&mut parts.active, segment);
        Arc::make_mut(&mut parts.sealed).push(Arc::new(full));
        Ok(())
    }
}

/// About how many bytes a delivery takes.
fn weight(delivery: &Delivery) -> usize {
    let events = delivery.drafts.iter().flat_map(|draft| &draft.audiences).map(|audience| audience.members.len() + 128);
    let letters = delivery.dead_letters.iter().map(|letter| letter.body.len() + 128);
    events.chain(letters).sum()
}
