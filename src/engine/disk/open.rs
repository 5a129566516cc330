//! Opening a folder: lock it, check what it is, and put the segments together.

use std::{
    collections::VecDeque,
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, Write as _},
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{
    DiskLimits,
    index::Index,
    keep,
    log::{Log, Parts},
    removed::Removed,
    seen::Seen,
    segment::{Draft, Head, Segment, Unreadable, path_of, sync_folder},
    writer::Lane,
};
use crate::{
    engine::Retention,
    event::{Epoch, Timestamp},
    sync::{
        Mutex, RwLock,
        atomic::{AtomicBool, AtomicU64},
    },
};

/// The format that this release writes and reads.
const FORMAT: u32 = 1;
const TITLE: &str = "claimr-relay event log";
/// Files are counted from 1, so none of ours ever has a number above this, and there is always one that follows.
const NUMBER_MAX: u64 = u64::MAX / 2;

/// Why a folder cannot be opened as a log.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process, or another engine of this one, has it open.
    #[error("the log in {} is locked: another claimr-relay uses it; stop that one, or set another store.path", path.display())]
    Locked {
        /// The folder.
        path: PathBuf,
    },
    /// A newer release wrote it.
    #[error(
        "the log in {} has format {found}, and this release knows up to {known}: start the newer release again, or set another \
         store.path",
        path.display()
    )]
    NewerFormat {
        /// The folder.
        path: PathBuf,
        /// Its format.
        found: u32,
        /// The newest format that this release knows.
        known: u32,
    },
    /// Bytes are not what was written, and more than an unfinished write is lost.
    #[error(
        "the log is damaged: {}: {what}; restore the folder from a backup, or move it away to start with an empty log",
        path.display()
    )]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// The operating system refuses.
    #[error("the log in {} cannot be opened: {source}; check that the folder can be written and has space", path.display())]
    Io {
        /// The folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// What was found in a folder.
pub(super) struct Opened {
    pub(super) log: Log,
    pub(super) lane: Lane,
    pub(super) next_file: u64,
    pub(super) lock: FolderLock,
}

/// Opens the log in `folder`, which is created if it is not there.
pub(super) fn open(folder: &Path, retention: Retention, limits: DiskLimits, now: Timestamp) -> Result<Opened, OpenError> {
    let failed = |source| OpenError::Io { path: folder.to_owned(), source };
    fs::create_dir_all(folder).map_err(failed)?;
    let lock = lock(folder)?;
    let numbers = segment_numbers(folder).map_err(failed)?;
    if let Some(number) = numbers.last().filter(|last| **last > NUMBER_MAX) {
        let what = format!("no segment has a number above {NUMBER_MAX}");
        return Err(OpenError::Corrupt { path: path_of(folder, *number, "log"), what });
    }
    let (epoch, seed) = identity(folder, numbers.is_empty())?;
    let mut segments = open_segments(folder, &numbers, seed)?;
    let next_file = numbers.last().map_or(1, |last| last + 1);
    let head = segments.last().map_or(0, |last| last.last);
    let forgotten = segments.first().map_or(0, |oldest| oldest.head.first - 1);
    let (active, next_file) = if let Some(active) = segments.pop_if(|last| last.head.replaced.is_none()) {
        (active, next_file)
    } else {
        let draft = Draft::begin(folder, next_file, Head::growing(next_file, head + 1)).map_err(failed)?;
        (draft.finish(Index::default()).map_err(failed)?, next_file + 1)
    };
    let removed = Removed::open(folder).map_err(|error| match error {
        Unreadable::Io(source) => OpenError::Io { path: folder.to_owned(), source },
        Unreadable::Damaged(what) => OpenError::Corrupt { path: Removed::path(folder), what },
    })?;
    let lane = lane(&segments, &active, retention.dead_letters_max, &removed);
    let clock = segments.iter().map(|segment| segment.last_stamp).chain([active.last_stamp, now]).max().unwrap_or(now);
    let sealed = Arc::new(segments.into_iter().map(Arc::new).collect());
    let log = Log {
        folder: folder.to_owned(),
        epoch,
        seed,
        retention,
        limits,
        head: AtomicU64::new(head),
        closed: AtomicBool::new(false),
        seen: Mutex::new(Seen::of(&sealed)),
        parts: RwLock::new(Parts { sealed, active, aged: 0, floor: forgotten, clock }),
        removed: RwLock::new(removed),
    };
    keep::age(&log, now).map_err(failed)?;
    Ok(Opened { log, lane, next_file, lock })
}

/// Keeps others out of the folder until it is dropped.
pub(super) struct FolderLock(File);

impl Drop for FolderLock {
    /// A process that was being started at this moment has the file open too for a while, and would hold a lock that only went with the file.
    fn drop(&mut self) {
        // What cannot be unlocked goes with the process.
        let _ = self.0.unlock();
    }
}

fn lock(folder: &Path) -> Result<FolderLock, OpenError> {
    let failed = |source| OpenError::Io { path: folder.to_owned(), source };
    let file = OpenOptions::new().write(true).create(true).truncate(false).open(folder.join("lock")).map_err(failed)?;
    match file.try_lock() {
        Ok(()) => Ok(FolderLock(file)),
        Err(TryLockError::WouldBlock) => Err(OpenError::Locked { path: folder.to_owned() }),
        Err(TryLockError::Error(source)) => Err(failed(source)),
    }
}

/// The numbers of the segments' files, ascending. What a crash has left half done is removed: drafts, and indexes of segments that
/// are gone. A file that bears a number in another spelling than ours is somebody else's.
fn segment_numbers(folder: &Path) -> io::Result<Vec<u64>> {
    let (mut numbers, mut indexes) = (Vec::new(), Vec::new());
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let extension = path.extension().and_then(|extension| extension.to_str());
        let number = path.file_stem().and_then(|stem| stem.to_str()).and_then(|stem| stem.parse::<u64>().ok());
        let number = number.filter(|number| path == path_of(folder, *number, extension.unwrap_or_default()));
        match (extension, number) {
            (Some("log"), Some(number)) => numbers.push(number),
            (Some("idx"), Some(number)) => indexes.push((number, path)),
            (Some("tmp"), _) => fs::remove_file(&path)?,
            _ => {}
        }
    }
    numbers.sort_unstable();
    for (_, orphan) in indexes.iter().filter(|(number, _)| numbers.binary_search(number).is_err()) {
        fs::remove_file(orphan)?;
    }
    Ok(numbers)
}

/// Reads which log this is, or makes it a new one.
fn identity(folder: &Path, is_empty: bool) -> Result<(Epoch, u64), OpenError> {
    let path = folder.join("format");
    let failed = |source| OpenError::Io { path: folder.to_owned(), source };
    let corrupt = |what: &str| OpenError::Corrupt { path: path.clone(), what: what.to_owned() };
    let text = match fs::read(&path) {
        Ok(bytes) => String::from_utf8(bytes).map_err(|_| corrupt("it is not text"))?,
        Err(error) if error.kind() == io::ErrorKind::NotFound && is_empty => {
            let (epoch, seed) = (Epoch::from_random(fastrand::u64(..)), fastrand::u64(..));
            let text = format!("{TITLE}\nformat {FORMAT}\nepoch {epoch}\nseed {seed:016x}\n");
            write_durably(folder, &path, text.as_bytes()).map_err(failed)?;
            return Ok((epoch, seed));
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(corrupt("it is missing, but segments are here")),
        Err(error) => return Err(failed(error)),
    };
    let mut lines = text.lines();
    if lines.next() != Some(TITLE) {
        return Err(corrupt("it does not say that this folder holds an event log"));
    }
    let mut value = |name: &str| lines.next().and_then(|line| line.strip_prefix(name)?.strip_prefix(' ')).map(str::to_owned);
    match value("format").and_then(|format| format.parse().ok()) {
        Some(FORMAT) => {}
        Some(found) if found > FORMAT => {
            return Err(OpenError::NewerFormat { path: folder.to_owned(), found, known: FORMAT });
        }
        _ => return Err(corrupt("it names no format that ever was")),
    }
    let epoch = value("epoch").and_then(|epoch| epoch.parse().ok()).ok_or_else(|| corrupt("it names no epoch"))?;
    let seed = value("seed").and_then(|seed| u64::from_str_radix(&seed, 16).ok()).ok_or_else(|| corrupt("it names no seed"))?;
    Ok((epoch, seed))
}

pub(super) fn write_durably(folder: &Path, path: &Path, contents: &[u8]) -> io::Result<()> {
    let draft = path.with_extension("tmp");
    let mut file = File::create(&draft)?;
    file.write_all(contents)?;
    file.sync_all()?;
    fs::rename(&draft, path)?;
    sync_folder(folder)
}

/// Opens the segments and checks that none is missing. Those that a crash left beside their replacement are removed.
fn open_segments(folder: &Path, numbers: &[u64], seed: u64) -> Result<Vec<Segment>, OpenError> {
    let mut segments: Vec<Segment> = Vec::with_capacity(numbers.len());
    for number in numbers {
        let path = path_of(folder, *number, "log");
        let corrupt = |what| OpenError::Corrupt { path: path.clone(), what };
        if segments.last().is_some_and(|newest| *number <= newest.head.through) {
            fs::remove_file(&path).map_err(|source| OpenError::Io { path: folder.to_owned(), source })?;
            continue;
        }
        let is_last = Some(number) == numbers.last();
        let segment = Segment::open(folder, *number, seed, is_last).map_err(|error| match error {
            Unreadable::Io(source) => OpenError::Io { path: folder.to_owned(), source },
            Unreadable::Damaged(what) => corrupt(what),
        })?;
        if let Some(newest) = segments.last()
            && segment.head.first - 1 != newest.last
        {
            let what = format!("it begins with event {}, but the one before ends with {}", segment.head.first, newest.last);
            return Err(corrupt(what));
        }
        segments.push(segment);
    }
    Ok(segments)
}

/// The dead letters that are kept.
fn lane(sealed: &[Segment], active: &Segment, max: usize, removed: &Removed) -> Lane {
    let rows = sealed.iter().chain([active]).rev().flat_map(|segment| segment.letters().iter().rev()).take(max);
    let mut kept = VecDeque::new();
    let mut last = 0;
    for row in rows {
        last = last.max(row.number);
        if !removed.has(row.number) {
            kept.push_front(row.digest);
        }
    }
    Lane { last, kept }
}
