//! The index of a finished segment, in a file: sorted tables that are searched in place, so that the log's length costs no memory.
//!
//! Only two Bloom filters and the types stay in memory, about two bytes an event and key (that of the de-duplication keys in `seen`, beside
//! those of the other segments). The file can always be made again from its segment: one that is damaged or belongs to another segment is
//! not an error, it is ignored.
//!
//! What is looked for are hashes, and hashes lie evenly: where an entry stands in its table follows from its value, to within a few hundred
//! places. So a look-up is one read of those places. Halving the table took fifteen, and made them most of what a resume costs.

use std::{cmp::Ordering, fs::File, io, os::unix::fs::FileExt as _, path::Path};

use xxhash_rust::xxh3::xxh3_64;

use super::{
    index::{LetterRow, Place, Post, Row, Tables},
    record::{ITEM_HEAD, KeyHash, Reader, put_first},
    segment::HEAD_BYTES,
};
use crate::{
    engine::first::First,
    event::{EventType, Timestamp},
};

const MAGIC: [u8; 8] = *b"CRLIDX02";
/// Magic, segment, checksum, then eight counts.
const HEAD: usize = 8 + 8 + 8 + 8 * 8;

/// An open index file.
pub(super) struct IndexFile {
    file: File,
    rows: Table,
    posts: Table,
    marks: Table,
    seen: Table,
    letters: Vec<LetterRow>,
    kinds: Vec<EventType>,
    key_filter: Filter,
    /// Its entries are words.
    seen_filter: Table,
    /// After this moment nothing in here is recognised as a repetition.
    seen_until: Timestamp,
}

#[derive(Clone, Copy)]
struct Table {
    offset: u64,
    count: usize,
}

impl IndexFile {
    /// The bytes of the index of segment `id`.
    pub(super) fn encode(tables: &Tables, id: u64) -> Vec<u8> {
        let mut key_filter = Filter::new(tables.posts.len() + tables.marks.len());
        tables.posts.iter().map(|post| post.key).chain(tables.marks.keys().copied()).for_each(|key| key_filter.add(key.0));
        let mut seen_filter = Filter::new(tables.seen.len());
        tables.seen.keys().for_each(|key| seen_filter.add(seen_hash(key)));
        let kinds: Vec<&str> = tables.kinds.iter().map(EventType::as_str).collect();
        let kinds = kinds.join("\n");
        let seen_until = tables.seen.values().map(|first| first.until.0).max().unwrap_or(0);
        let counts = [
            tables.rows.len() as u64,
            tables.posts.len() as u64,
            tables.marks.len() as u64,
            tables.seen.len() as u64,
            tables.letters.len() as u64,
            kinds.len() as u64,
            key_filter.0.len() as u64,
            seen_until,
        ];
        let mut out = Vec::with_capacity(HEAD + tables.rows.len() * 128);
        out.extend_from_slice(&MAGIC);
        out.extend_from_slice(&id.to_le_bytes());
        out.extend_from_slice(&[0; 8]);
        out.extend(counts.map(u64::to_le_bytes).as_flattened());
        tables.rows.iter().for_each(|row| row.put(&mut out));
        tables.posts.iter().for_each(|post| post.put(&mut out));
        tables.marks.iter().for_each(|(key, seq)| (*key, *seq).put(&mut out));
        tables.seen.iter().for_each(|(key, first)| (*key, *first).put(&mut out));
        tables.letters.iter().for_each(|letter| letter.put(&mut out));
        out.extend_from_slice(kinds.as_bytes());
        key_filter.0.iter().chain(&seen_filter.0).for_each(|word| out.extend_from_slice(&word.to_le_bytes()));
        let check = xxh3_64(&out[24..]);
        out[16..24].copy_from_slice(&check.to_le_bytes());
        out
    }

    /// Opens the index of segment `id`, which has `segment_bytes`; `None` if the file is not that, or damaged.
    pub(super) fn open(path: &Path, id: u64, segment_bytes: u64) -> io::Result<Option<Self>> {
        let bytes = match std::fs::read(path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        Ok(Self::parse(File::open(path)?, &bytes, id, segment_bytes))
    }

    pub(super) fn parse(file: File, bytes: &[u8], id: u64, segment_bytes: u64) -> Option<Self> {
        let mut read = Reader(bytes);
        (read.array()? == MAGIC && read.u64()? == id).then_some(())?;
        (read.u64()? == xxh3_64(read.0)).then_some(())?;
        let mut count = || usize::try_from(read.u64()?).ok();
        let [rows, posts, marks, seen, letters, kinds, key_words] =
            [count()?, count()?, count()?, count()?, count()?, count()?, count()?];
        let seen_until = Timestamp(read.u64()?);
        let mut table = |count: usize, width: usize| {
            let offset = (bytes.len() - read.0.len()) as u64;
            let bytes = read.take(count.checked_mul(width)?)?;
            Some((Table { offset, count }, bytes))
        };
        let (rows, events) = table(rows, Row::BYTES)?;
        let (posts, _) = table(posts, Post::BYTES)?;
        let (marks, _) = table(marks, Mark::BYTES)?;
        let (seen, _) = table(seen, SeenEntry::BYTES)?;
        let (_, letters) = table(letters, LetterRow::BYTES)?;
        let letters = letters
            .chunks_exact(LetterRow::BYTES)
            .map(|bytes| LetterRow::read(&mut Reader(bytes)))
            .collect::<Option<Vec<_>>>()?;
        // A checksum may be right around anything. What cannot be true of the segment is made again from it.
        let events = events.chunks_exact(Row::BYTES).map(|bytes| Some(Row::read(&mut Reader(bytes))?.place));
        let mut places = events.chain(letters.iter().map(|letter| Some(letter.place)));
        places.all(|place| place.is_some_and(|place| is_within(place, segment_bytes))).then_some(())?;
        let kinds = std::str::from_utf8(read.take(kinds)?).ok()?;
        let kinds = kinds.lines().map(EventType::new).collect::<Option<_>>()?;
        let key_filter = Filter::read(read.take(key_words.checked_mul(8)?)?);
        let seen_filter = Table { offset: (bytes.len() - read.0.len()) as u64, count: read.0.len() / 8 };
        Some(Self { file, rows, posts, marks, seen, letters, kinds, key_filter, seen_filter, seen_until })
    }

    /// The newest events of a key, newest first, at most `max`, of which each number is above `after`.
    pub(super) fn list(&self, key: KeyHash, after: u64, max: usize) -> io::Result<Vec<Row>> {
        let mut rows = Vec::new();
        if !self.key_filter.may_have(key.0) {
            return Ok(rows);
        }
        for post in self.equal(self.posts, key.0, |post: &Post| post.key.cmp(&key))?.iter().rev().take(max) {
            let row: Row = self.entry(self.rows, post.row as usize)?;
            if row.seq <= after {
                break;
            }
            rows.push(row);
        }
        Ok(rows)
    }

    /// The highest number that was taken from a key's list.
    pub(super) fn mark(&self, key: KeyHash) -> io::Result<Option<u64>> {
        if self.marks.count == 0 || !self.key_filter.may_have(key.0) {
            return Ok(None);
        }
        Ok(self.equal(self.marks, key.0, |mark: &Mark| mark.0.cmp(&key))?.first().map(|mark| mark.1))
    }

    /// What is remembered under `key`, if a repetition could still be recognised `at` this moment.
    pub(super) fn first(&self, key: [u8; 16], at: Timestamp) -> io::Result<Option<First>> {
        if at > self.seen_until {
            return Ok(None);
        }
        let place = key.first_chunk().map_or(0, |half| u64::from_be_bytes(*half));
        Ok(self.equal(self.seen, place, |entry: &SeenEntry| entry.0.cmp(&key))?.first().map(|entry| entry.1))
    }

    /// Which de-duplication keys [`Self::first`] may know.
    pub(super) fn seen_filter(&self) -> io::Result<Filter> {
        let mut bytes = vec![0; self.seen_filter.count * 8];
        self.file.read_exact_at(&mut bytes, self.seen_filter.offset)?;
        Ok(Filter::read(&bytes))
    }

    /// One event.
    pub(super) fn row(&self, seq: u64) -> io::Result<Option<Row>> {
        let at = self.search(self.rows, |row: Row| row.seq < seq)?;
        let found = if at < self.rows.count { Some(self.entry::<Row>(self.rows, at)?) } else { None };
        Ok(found.filter(|row| row.seq == seq))
    }

    /// The highest number that was stored before `limit`.
    pub(super) fn last_before(&self, limit: Timestamp) -> io::Result<Option<u64>> {
        let count = self.search(self.rows, |row: Row| row.stamp < limit)?;
        count.checked_sub(1).map(|at| Ok(self.entry::<Row>(self.rows, at)?.seq)).transpose()
    }

    /// The last event.
    pub(super) fn last_row(&self) -> io::Result<Option<Row>> {
        self.rows.count.checked_sub(1).map(|at| self.entry(self.rows, at)).transpose()
    }

    /// How many events the segment has.
    pub(super) fn events(&self) -> usize {
        self.rows.count
    }

    /// After this moment nothing in here is recognised as a repetition.
    pub(super) fn seen_until(&self) -> Timestamp {
        self.seen_until
    }

    /// The dead letters of the segment, in their order.
    pub(super) fn letters(&self) -> &[LetterRow] {
        &self.letters
    }

    /// The types of the segment's events.
    pub(super) fn kinds(&self) -> &[EventType] {
        &self.kinds
    }

    /// All of it.
    pub(super) fn tables(&self) -> io::Result<Tables> {
        Ok(Tables {
            rows: self.all(self.rows)?,
            kinds: self.kinds.clone(),
            posts: self.all(self.posts)?,
            marks: self.all::<Mark>(self.marks)?.into_iter().collect(),
            seen: self.all::<SeenEntry>(self.seen)?.into_iter().collect(),
            letters: self.letters.clone(),
        })
    }

    /// The events, and those of each key.
    pub(super) fn lists(&self) -> io::Result<(Vec<Row>, Vec<Post>)> {
        Ok((self.all(self.rows)?, self.all(self.posts)?))
    }

    fn all<E: Entry>(&self, table: Table) -> io::Result<Vec<E>> {
        let mut bytes = vec![0; table.count * E::BYTES];
        self.file.read_exact_at(&mut bytes, table.offset)?;
        bytes.chunks_exact(E::BYTES).map(|bytes| E::read(&mut Reader(bytes)).ok_or_else(damaged)).collect()
    }

    fn entry<E: Entry>(&self, table: Table, at: usize) -> io::Result<E> {
        let mut bytes = [0; ENTRY_BYTES_MAX];
        let bytes = &mut bytes[..E::BYTES];
        if at >= table.count {
            return Err(damaged());
        }
        self.file.read_exact_at(bytes, table.offset + (at * E::BYTES) as u64)?;
        E::read(&mut Reader(bytes)).ok_or_else(damaged)
    }

    /// The entries of a sorted table that are equal to what is looked for, which is where `place` is among all numbers of 64 bits.
    fn equal<E: Entry>(&self, table: Table, place: u64, compare: impl Fn(&E) -> Ordering) -> io::Result<Vec<E>> {
        let guess = usize::try_from((table.count as u128 * u128::from(place)) >> 64).unwrap_or(0);
        // A key with many events pushes the others aside.
        let mut reach = (2 * table.count.isqrt()).max(32);
        loop {
            let (start, end) = (guess.saturating_sub(reach), guess.saturating_add(reach).min(table.count));
            let mut bytes = vec![0; (end - start) * E::BYTES];
            self.file.read_exact_at(&mut bytes, table.offset + (start * E::BYTES) as u64)?;
            let entry = |at: usize| E::read(&mut Reader(&bytes[at * E::BYTES..])).ok_or_else(damaged);
            let low = halve(end - start, |at| Ok(compare(&entry(at)?).is_lt()))?;
            let high = low + halve(end - start - low, |at| Ok(compare(&entry(low + at)?).is_le()))?;
            if (start == 0 || low > 0) && (end == table.count || high < end - start) {
                return (low..high).map(entry).collect();
            }
            reach = reach.saturating_mul(8);
        }
    }

    /// How many entries at the start of a sorted table come `before`.
    fn search<E: Entry>(&self, table: Table, before: impl Fn(E) -> bool) -> io::Result<usize> {
        halve(table.count, |at| Ok(before(self.entry(table, at)?)))
    }
}

/// Whether an item can stand there in a segment of `segment_bytes`.
fn is_within(place: Place, segment_bytes: u64) -> bool {
    let (offset, bytes) = (u64::from(place.offset), u64::from(place.bytes));
    offset >= HEAD_BYTES as u64 && bytes >= ITEM_HEAD as u64 && offset + bytes <= segment_bytes
}

/// How many of so many sorted things, at their start, are `before` something.
fn halve(count: usize, before: impl Fn(usize) -> io::Result<bool>) -> io::Result<usize> {
    let (mut low, mut high) = (0, count);
    while low < high {
        let middle = low + (high - low) / 2;
        if before(middle)? {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    Ok(low)
}

fn damaged() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "the index file is damaged")
}

/// An entry of a table, of fixed width.
trait Entry: Sized {
    const BYTES: usize;
    fn put(&self, out: &mut Vec<u8>);
    fn read(read: &mut Reader<'_>) -> Option<Self>;
}

const ENTRY_BYTES_MAX: usize = 48;

impl Entry for Row {
    const BYTES: usize = 36;

    fn put(&self, out: &mut Vec<u8>) {
        out.extend([self.seq, self.at.0, self.stamp.0].map(u64::to_le_bytes).as_flattened());
        out.extend([self.kind, self.place.offset, self.place.bytes].map(u32::to_le_bytes).as_flattened());
    }

    fn read(read: &mut Reader<'_>) -> Option<Self> {
        let (seq, at, stamp) = (read.u64()?, Timestamp(read.u64()?), Timestamp(read.u64()?));
        let kind = read.u32()?;
        Some(Self { seq, at, stamp, kind, place: Place { offset: read.u32()?, bytes: read.u32()? } })
    }
}

impl Entry for Post {
    const BYTES: usize = 12;

    fn put(&self, out: &mut Vec<u8>) {
        out.extend(self.key.0.to_le_bytes());
        out.extend(self.row.to_le_bytes());
    }

    fn read(read: &mut Reader<'_>) -> Option<Self> {
        Some(Self { key: KeyHash(read.u64()?), row: read.u32()? })
    }
}

type Mark = (KeyHash, u64);

impl Entry for Mark {
    const BYTES: usize = 16;

    fn put(&self, out: &mut Vec<u8>) {
        out.extend([self.0.0, self.1].map(u64::to_le_bytes).as_flattened());
    }

    fn read(read: &mut Reader<'_>) -> Option<Self> {
        Some((KeyHash(read.u64()?), read.u64()?))
    }
}

type SeenEntry = ([u8; 16], First);

impl Entry for SeenEntry {
    const BYTES: usize = 48;

    fn put(&self, out: &mut Vec<u8>) {
        put_first(out, self.0, &self.1);
    }

    fn read(read: &mut Reader<'_>) -> Option<Self> {
        read.first()
    }
}

impl Entry for LetterRow {
    const BYTES: usize = 32;

    fn put(&self, out: &mut Vec<u8>) {
        out.extend(self.number.to_le_bytes());
        out.extend(self.digest);
        out.extend([self.place.offset, self.place.bytes].map(u32::to_le_bytes).as_flattened());
    }

    fn read(read: &mut Reader<'_>) -> Option<Self> {
        let (number, digest) = (read.u64()?, read.array()?);
        Some(Self { number, digest, place: Place { offset: read.u32()?, bytes: read.u32()? } })
    }
}

/// By what a filter knows a de-duplication key.
pub(super) fn seen_hash(key: &[u8; 16]) -> u64 {
    xxh3_64(key)
}

/// A Bloom filter: says "no" for certain, and "maybe" wrongly about once in a thousand times.
pub(super) struct Filter(Vec<u64>);

impl Filter {
    const BITS_PER_ENTRY: usize = 16;
    const PROBES: u32 = 5;

    /// An empty one for so many entries. Filters for about as many are as large, because only those can stand side by side.
    fn new(entries: usize) -> Self {
        let words = (entries * Self::BITS_PER_ENTRY).div_ceil(64);
        Self(vec![0; words.next_multiple_of((words.next_power_of_two() / 8).max(1))])
    }

    fn read(bytes: &[u8]) -> Self {
        let (words, _) = bytes.as_chunks::<8>();
        Self(words.iter().map(|word| u64::from_le_bytes(*word)).collect())
    }

    /// How many bits it has.
    pub(super) fn bits(&self) -> usize {
        self.0.len() * 64
    }

    /// The bits, in words of 64, the lowest first.
    pub(super) fn words(&self) -> &[u64] {
        &self.0
    }

    /// Which bits of a filter of so many belong to a hash.
    pub(super) fn probes(hash: u64, bits: usize) -> impl Iterator<Item = usize> {
        let step = hash.rotate_left(32) | 1;
        let bits = (bits as u64).max(1);
        (0..Self::PROBES).map(move |i| usize::try_from(hash.wrapping_add(step.wrapping_mul(u64::from(i))) % bits).unwrap_or(0))
    }

    fn add(&mut self, hash: u64) {
        for bit in Self::probes(hash, self.bits()) {
            self.0[bit / 64] |= 1 << (bit % 64);
        }
    }

    fn may_have(&self, hash: u64) -> bool {
        !self.0.is_empty() && Self::probes(hash, self.bits()).all(|bit| self.0[bit / 64] & (1 << (bit % 64)) != 0)
    }
}

#[cfg(test)]
mod tests;
