//! One file of the log: a head, then groups. The last one grows; the others never change, they are only replaced as a whole.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
    sync::Arc,
};

use bytes::Bytes;
use xxhash_rust::xxh3::xxh3_64;

use super::{
    index::{Index, LetterRow, Place, Post, Row, Tables},
    index_file::{Filter, IndexFile},
    record::{self, GROUP_HEAD, ITEM_HEAD, Item, KeyHash, Reader},
};
use crate::{
    engine::first::First,
    event::{EventType, Timestamp},
};

const MAGIC: [u8; 8] = *b"CRLSEG01";
/// Bytes of a segment before its first group.
pub(super) const HEAD_BYTES: usize = 56;
/// In place of the last number in the head of a segment that grows.
const GROWS: u64 = u64::MAX;
/// An item of more bytes than these is read only once the segment itself says that it is that long.
const UNASKED_BYTES_MAX: usize = 64 * 1024;

/// The head of a segment's file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Head {
    /// Random: tells which index file belongs to it.
    pub(super) id: u64,
    /// The number of the first event that it has or had a place for.
    pub(super) first: u64,
    /// If it replaced several: the file number of the last of them; else its own.
    pub(super) through: u64,
    /// If it replaced others: the last event number of theirs, and when that was stored.
    pub(super) replaced: Option<(u64, Timestamp)>,
}

impl Head {
    /// The head of a segment that grows.
    pub(super) fn growing(file: u64, first: u64) -> Self {
        Self { id: fastrand::u64(..), first, through: file, replaced: None }
    }

    fn to_bytes(self) -> [u8; HEAD_BYTES] {
        let (last, stamp) = self.replaced.unwrap_or((GROWS, Timestamp(0)));
        let mut bytes = [0; HEAD_BYTES];
        bytes[..8].copy_from_slice(&MAGIC);
        bytes[8..48].copy_from_slice([self.id, self.first, self.through, last, stamp.0].map(u64::to_le_bytes).as_flattened());
        let check = xxh3_64(&bytes[..48]);
        bytes[48..].copy_from_slice(&check.to_le_bytes());
        bytes
    }

    pub(super) fn read(bytes: &[u8]) -> Option<Self> {
        let head = bytes.get(..HEAD_BYTES)?;
        let mut read = Reader(head);
        (read.array()? == MAGIC).then_some(())?;
        let (id, first, through, last, stamp) = (read.u64()?, read.u64()?, read.u64()?, read.u64()?, Timestamp(read.u64()?));
        let sound = read.u64()? == xxh3_64(&head[..48]);
        let replaced = (last != GROWS).then_some((last, stamp));
        // Numbers begin with 1, and a segment ends where it begins at the earliest.
        let in_order = first > 0 && replaced.is_none_or(|(last, _)| last >= first - 1);
        (sound && in_order).then_some(Self { id, first, through, replaced })
    }
}

/// An open segment.
pub(super) struct Segment {
    /// Its file's number: files are read in the order of their numbers.
    pub(super) number: u64,
    pub(super) path: PathBuf,
    pub(super) file: Arc<File>,
    pub(super) head: Head,
    /// Bytes of the file that count.
    pub(super) bytes: u64,
    /// The number of the last event that it has or had; one less than the first if none.
    pub(super) last: u64,
    /// When that was stored; zero if none.
    pub(super) last_stamp: Timestamp,
    pub(super) index: Lookup,
}

/// Where a segment is looked up.
pub(super) enum Lookup {
    Memory(Index),
    File(IndexFile),
}

/// Why a segment's bytes cannot be taken.
#[derive(Debug)]
pub(super) enum Unreadable {
    Io(io::Error),
    Damaged(String),
}

impl From<io::Error> for Unreadable {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl Segment {
    pub(super) fn new(number: u64, path: PathBuf, file: File, head: Head, bytes: u64, index: Lookup) -> Self {
        let (last, last_stamp) = head.replaced.unwrap_or((head.first - 1, Timestamp(0)));
        let mut segment = Self { number, path, file: Arc::new(file), head, bytes, last, last_stamp, index };
        if let Lookup::Memory(index) = &segment.index
            && let Some(row) = index.rows.last().filter(|row| row.seq > segment.last)
        {
            (segment.last, segment.last_stamp) = (row.seq, row.stamp);
        }
        segment
    }

    /// Opens the file, by its index if that is sound, else by reading it through. What follows the last whole group is cut off if `is_last`.
    pub(super) fn open(folder: &Path, number: u64, seed: u64, is_last: bool) -> Result<Self, Unreadable> {
        let path = path_of(folder, number, "log");
        let file = OpenOptions::new().read(true).write(true).open(&path)?;
        let length = file.metadata()?.len();
        let mut head = [0; HEAD_BYTES];
        if length < HEAD_BYTES as u64 {
            return Err(Unreadable::Damaged(format!("{length} bytes are no segment")));
        }
        file.read_exact_at(&mut head, 0)?;
        let head = Head::read(&head).ok_or_else(|| Unreadable::Damaged("its head is damaged".to_owned()))?;
        if !is_last
            && let Some(index) = IndexFile::open(&path_of(folder, number, "idx"), head.id, length)?
            && let Some((last, stamp)) = index.last_row()?.map(|row| (row.seq, row.stamp)).or(head.replaced)
        {
            let mut segment = Self::new(number, path, file, head, length, Lookup::File(index));
            if head.replaced.is_none() {
                (segment.last, segment.last_stamp) = (last, stamp);
            }
            return Ok(segment);
        }
        let contents = fs::read(&path)?;
        let (index, sound) = scan(&contents, head.first, seed)?;
        if sound < contents.len() {
            // An acknowledged group was durable before the next was written: what is torn with nothing sound behind it is the end.
            if !is_last || record::has_group(&contents[sound + 1..]) {
                return Err(Unreadable::Damaged(format!("the bytes from {sound} on are damaged")));
            }
            // Zeros were written ahead of groups that never came.
            let torn = contents[sound..].iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
            if torn > 0 {
                tracing::warn!(file = %path.display(), bytes = torn, "dropped the torn end of the log");
            }
            file.set_len(sound as u64)?;
            file.sync_all()?;
        }
        Ok(Self::new(number, path, file, head, sound as u64, Lookup::Memory(index)))
    }

    /// How many events it has.
    pub(super) fn events(&self) -> usize {
        match &self.index {
            Lookup::Memory(index) => index.rows.len(),
            Lookup::File(index) => index.events(),
        }
    }

    /// The newest events of a key, newest first, at most `max`, of which each number is above `after`.
    pub(super) fn list(&self, key: KeyHash, after: u64, max: usize) -> io::Result<Vec<Row>> {
        match &self.index {
            Lookup::Memory(index) => Ok(index.list(key).take(max).take_while(|row| row.seq > after).copied().collect()),
            Lookup::File(index) => index.list(key, after, max),
        }
    }

    /// One event.
    pub(super) fn row(&self, seq: u64) -> io::Result<Option<Row>> {
        match &self.index {
            Lookup::Memory(index) => {
                Ok(index.rows.binary_search_by_key(&seq, |row| row.seq).ok().and_then(|at| index.rows.get(at)).copied())
            }
            Lookup::File(index) => index.row(seq),
        }
    }

    /// The highest number that was taken from a key's list and is remembered here.
    pub(super) fn mark(&self, key: KeyHash) -> io::Result<Option<u64>> {
        match &self.index {
            Lookup::Memory(index) => Ok(index.marks.get(&key).copied()),
            Lookup::File(index) => index.mark(key),
        }
    }

    /// What is remembered under a de-duplication key, if a repetition could still be recognised `at` this moment.
    pub(super) fn first(&self, key: [u8; 16], at: Timestamp) -> io::Result<Option<First>> {
        match &self.index {
            Lookup::Memory(index) => Ok(index.seen.get(&key).copied()),
            Lookup::File(index) => index.first(key, at),
        }
    }

    /// Which de-duplication keys [`Self::first`] may know; `None` if it has no file that says so.
    pub(super) fn seen_filter(&self) -> io::Result<Option<Filter>> {
        match &self.index {
            Lookup::Memory(_) => Ok(None),
            Lookup::File(index) => index.seen_filter().map(Some),
        }
    }

    /// The highest number here that was stored before `limit`.
    pub(super) fn last_before(&self, limit: Timestamp) -> io::Result<Option<u64>> {
        match &self.index {
            Lookup::Memory(index) => {
                let count = index.rows.partition_point(|row| row.stamp < limit);
                Ok(count.checked_sub(1).and_then(|at| index.rows.get(at)).map(|row| row.seq))
            }
            Lookup::File(index) => index.last_before(limit),
        }
    }

    /// Its dead letters, in their order.
    pub(super) fn letters(&self) -> &[LetterRow] {
        match &self.index {
            Lookup::Memory(index) => &index.letters,
            Lookup::File(index) => index.letters(),
        }
    }

    /// The types of its events.
    pub(super) fn kinds(&self) -> &[EventType] {
        match &self.index {
            Lookup::Memory(index) => &index.kinds,
            Lookup::File(index) => index.kinds(),
        }
    }

    /// After this moment nothing in here is recognised as a repetition.
    pub(super) fn seen_until(&self) -> Timestamp {
        match &self.index {
            Lookup::Memory(index) => index.seen.values().map(|first| first.until).max().unwrap_or_default(),
            Lookup::File(index) => index.seen_until(),
        }
    }

    /// All of its index.
    pub(super) fn tables(&self) -> io::Result<Tables> {
        match &self.index {
            Lookup::Memory(index) => Ok(index.tables()),
            Lookup::File(index) => index.tables(),
        }
    }

    /// The events, and those of each key in no order: much less than all of its index.
    pub(super) fn lists(&self) -> io::Result<(Vec<Row>, Vec<Post>)> {
        match &self.index {
            Lookup::Memory(index) => Ok(index.lists()),
            Lookup::File(index) => index.lists(),
        }
    }

    /// Whether its index still has to be written to a file.
    pub(super) fn is_unindexed(&self) -> bool {
        matches!(self.index, Lookup::Memory(_))
    }

    /// Writes its index to a file, and gives the same segment that looks things up there.
    pub(super) fn with_index_file(&self, tables: &Tables) -> io::Result<Self> {
        let (draft, path) = (self.path.with_extension("tmp"), self.path.with_extension("idx"));
        // Not made durable: a file that a crash has torn fails its checksum and is made again. A new file each time: whoever asks the
        // segment that this one replaces still reads the old one.
        fs::write(&draft, IndexFile::encode(tables, self.head.id))?;
        fs::rename(draft, &path)?;
        let index = IndexFile::open(&path, self.head.id, self.bytes)?.ok_or_else(|| damaged(&path, 0))?;
        Ok(Self {
            number: self.number,
            path: self.path.clone(),
            file: Arc::clone(&self.file),
            head: self.head,
            bytes: self.bytes,
            last: self.last,
            last_stamp: self.last_stamp,
            index: Lookup::File(index),
        })
    }

    /// Reads an item's bytes, head included, and checks them.
    pub(super) fn item(&self, place: Place) -> io::Result<Bytes> {
        read_item(&self.file, &self.path, place)
    }

    /// Removes its files. Whoever still reads them can finish.
    pub(super) fn remove(&self) -> io::Result<()> {
        fs::remove_file(&self.path)?;
        match fs::remove_file(self.path.with_extension("idx")) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }
}

/// A segment's file before it bears its name.
pub(super) struct Draft {
    folder: PathBuf,
    number: u64,
    file: File,
    head: Head,
    /// Bytes written.
    pub(super) bytes: u64,
}

impl Draft {
    /// Begins the file `number` with `head`.
    pub(super) fn begin(folder: &Path, number: u64, head: Head) -> io::Result<Self> {
        let path = path_of(folder, number, "tmp");
        let mut file = OpenOptions::new().read(true).write(true).create(true).truncate(true).open(path)?;
        file.write_all(&head.to_bytes())?;
        Ok(Self { folder: folder.to_owned(), number, file, head, bytes: HEAD_BYTES as u64 })
    }

    /// Appends whole groups.
    pub(super) fn append(&mut self, groups: &[u8]) -> io::Result<()> {
        self.file.write_all(groups)?;
        self.bytes += groups.len() as u64;
        Ok(())
    }

    /// Makes the file durable, and only then gives it its name, which it may take from another.
    pub(super) fn finish(self, index: Index) -> io::Result<Segment> {
        self.file.sync_all()?;
        let path = path_of(&self.folder, self.number, "log");
        fs::rename(path_of(&self.folder, self.number, "tmp"), &path)?;
        sync_folder(&self.folder)?;
        Ok(Segment::new(self.number, path, self.file, self.head, self.bytes, Lookup::Memory(index)))
    }
}

/// Reads and checks the item at `place`, head included. The place may come from a damaged index: what it says costs no memory that the
/// segment does not have the bytes for.
pub(super) fn read_item(file: &File, path: &Path, place: Place) -> io::Result<Bytes> {
    let (start, size) = (u64::from(place.offset), place.bytes as usize);
    let read = |bytes: &mut [u8], at: u64| {
        file.read_exact_at(bytes, at).map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => damaged(path, place.offset),
            _ => error,
        })
    };
    let mut bytes = vec![0; size.min(UNASKED_BYTES_MAX)];
    read(&mut bytes, start)?;
    let known = bytes.len();
    if size > known {
        let announced = Reader(&bytes).u32().map_or(0, |payload| payload as usize);
        if announced + ITEM_HEAD != size || start + u64::from(place.bytes) > file.metadata()?.len() {
            return Err(damaged(path, place.offset));
        }
        bytes.resize(size, 0);
        read(&mut bytes[known..], start + known as u64)?;
    }
    match record::item(&bytes) {
        Some(payload) if payload.len() + ITEM_HEAD == bytes.len() => Ok(bytes.into()),
        _ => Err(damaged(path, place.offset)),
    }
}

/// The error for bytes that are not what was written.
pub(super) fn damaged(path: &Path, offset: u32) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("{} is damaged at byte {offset}", path.display()))
}

/// Indexes the groups of a segment whose events have numbers from `first` on; also gives how many bytes from the start are sound.
pub(super) fn scan(contents: &[u8], first: u64, seed: u64) -> Result<(Index, usize), Unreadable> {
    let mut index = Index::default();
    let mut at = HEAD_BYTES;
    let mut next = first;
    while let Some(body) = record::group(contents.get(at..).unwrap_or_default()) {
        let start = at + GROUP_HEAD;
        for item in record::items(body) {
            let decoded = item.and_then(|(offset, payload)| {
                let place =
                    Place { offset: u32::try_from(start + offset).ok()?, bytes: u32::try_from(ITEM_HEAD + payload.len()).ok()? };
                let item = Item::decode(payload)?;
                if let Item::Event(event, ..) = &item {
                    // What is looked up relies on their order.
                    next = event.seq.checked_add(1).filter(|_| event.seq >= next)?;
                }
                index.add(item, place, seed)
            });
            if decoded.is_none() {
                return Err(Unreadable::Damaged(format!("the group at byte {at} cannot be decoded")));
            }
        }
        at = start + body.len();
    }
    Ok((index, at))
}

/// The path of a segment's file.
pub(super) fn path_of(folder: &Path, number: u64, extension: &str) -> PathBuf {
    folder.join(format!("{number:012}.{extension}"))
}

/// Makes names in a folder durable.
pub(super) fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests;
