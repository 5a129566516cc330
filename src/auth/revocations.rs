//! Tokens that are refused although they are good: all of one user that were issued up to a moment, or a single one by its `jti`.
//!
//! A revocation ends when no token that it is about can still live. The table is kept in a file of the data folder, which is replaced as a
//! whole, so that it is read back complete or not at all; with the memory engine it goes with the process.

use std::{
    collections::HashMap,
    fs::{self, File},
    io::{self, Write as _},
    path::{Path, PathBuf},
    sync::{
        Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard,
        atomic::{AtomicBool, Ordering},
    },
};

use serde::{Deserialize, Serialize};

use super::{Identity, TokenId, TokenMark};
use crate::event::{Timestamp, UserKey};

/// Whose tokens, or which one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subject {
    /// Every token that proves this key.
    User(UserKey),
    /// The token with this `jti`.
    Token(String),
}

/// One revocation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Revocation {
    /// Whose tokens, or which one.
    pub subject: Subject,
    /// Of a user, tokens that were issued until then, and those that do not say when they were issued.
    pub at: Timestamp,
    /// It is forgotten then.
    pub until: Timestamp,
}

/// What is revoked.
#[derive(Default)]
pub struct Revocations {
    table: RwLock<Table>,
    /// Nearly always: then nobody has to look into the table.
    is_empty: AtomicBool,
    file: Option<Durable>,
}

#[derive(Default)]
struct Table {
    users: HashMap<UserKey, Span>,
    tokens: HashMap<TokenId, (String, Span)>,
    /// Counts the changes.
    version: u64,
}

#[derive(Clone, Copy)]
struct Span {
    at: Timestamp,
    until: Timestamp,
}

struct Durable {
    path: PathBuf,
    /// The version that the file holds. Whoever has the lock writes.
    written: Mutex<u64>,
}

/// The file of revocations cannot be used, so tokens that were revoked could come back.
#[derive(Debug, thiserror::Error)]
#[error("the revocations in {} cannot be read: {problem}; restore the file, or remove it to forget them all", path.display())]
pub struct Unreadable {
    path: PathBuf,
    problem: String,
}

/// The table has no room for another revocation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there are {} revocations", Revocations::ENTRIES_MAX)]
pub struct Full;

impl Subject {
    /// The longest `jti` in bytes that can be revoked by name.
    pub const JTI_BYTES_MAX: usize = 1_024;
}

impl Revocation {
    /// Whether it is about the token with this mark that proves these keys.
    pub fn covers(&self, keys: &[UserKey], mark: TokenMark) -> bool {
        match &self.subject {
            Subject::User(key) => keys.contains(key) && issued_by(mark, self.at),
            Subject::Token(jti) => mark.id == Some(TokenId::of(jti)),
        }
    }
}

fn issued_by(mark: TokenMark, at: Timestamp) -> bool {
    mark.issued.is_none_or(|issued| issued <= at)
}

impl Revocations {
    /// The most revocations at a time; those that have ended do not count.
    pub const ENTRIES_MAX: usize = 100_000;
    const FILE: &str = "revocations.json";

    /// Revocations that go with the process.
    pub fn in_memory() -> Self {
        Self { is_empty: AtomicBool::new(true), ..Self::default() }
    }

    /// The revocations kept in `folder`, which has to be there, and to be ours alone.
    pub fn open(folder: &Path, now: Timestamp) -> Result<Self, Unreadable> {
        let path = folder.join(Self::FILE);
        let unreadable = |problem: String| Unreadable { path: path.clone(), problem };
        let entries = match fs::read(&path) {
            Ok(bytes) => stored(&bytes).map_err(unreadable)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(unreadable(error.to_string())),
        };
        let mut table = Table::default();
        for revocation in entries.into_iter().filter(|revocation| now < revocation.until) {
            table.insert(revocation);
        }
        let is_empty = AtomicBool::new(table.len() == 0);
        Ok(Self { table: RwLock::new(table), is_empty, file: Some(Durable { path, written: Mutex::new(0) }) })
    }

    /// Refuses what `revocation` is about from now on; it replaces an earlier one of the same subject. Not yet [saved](Self::save).
    pub fn add(&self, revocation: Revocation, now: Timestamp) -> Result<(), Full> {
        let mut table = self.write();
        if table.len() >= Self::ENTRIES_MAX {
            table.sweep(now);
        }
        if table.len() >= Self::ENTRIES_MAX && !table.has(&revocation.subject) {
            return Err(Full);
        }
        table.insert(revocation);
        self.is_empty.store(false, Ordering::Release);
        Ok(())
    }

    /// Takes a revocation back; false if there is none. Not yet [saved](Self::save).
    pub fn remove(&self, subject: &Subject) -> bool {
        let mut table = self.write();
        let removed = match subject {
            Subject::User(key) => table.users.remove(key).is_some(),
            Subject::Token(jti) => table.tokens.remove(&TokenId::of(jti)).is_some(),
        };
        table.version += u64::from(removed);
        self.is_empty.store(table.len() == 0, Ordering::Release);
        removed
    }

    /// Every revocation that has not ended, the latest first.
    pub fn list(&self, now: Timestamp) -> Vec<Revocation> {
        let mut all: Vec<_> = self.read().all().filter(|revocation| now < revocation.until).collect();
        all.sort_by_key(|revocation| std::cmp::Reverse(revocation.at));
        all
    }

    /// Whether the token that the identity comes from is revoked.
    pub fn cover(&self, identity: &Identity, now: Timestamp) -> bool {
        if self.is_empty.load(Ordering::Acquire) {
            return false;
        }
        let table = self.read();
        let (keys, mark) = (identity.keys(), identity.mark());
        let by_id = mark.id.and_then(|id| table.tokens.get(&id)).is_some_and(|(_, span)| now < span.until);
        let by_user = |span: &Span| now < span.until && issued_by(mark, span.at);
        by_id || keys.iter().filter_map(|key| table.users.get(key)).any(by_user)
    }

    /// Makes all that was changed before durable: on disk, and found again after a restart. Blocks on the disk; callers at the same time
    /// share a write.
    pub fn save(&self, now: Timestamp) -> io::Result<()> {
        let Some(file) = &self.file else { return Ok(()) };
        let wanted = self.read().version;
        let mut written = file.written.lock().unwrap_or_else(PoisonError::into_inner);
        if *written >= wanted {
            return Ok(());
        }
        let (version, text) = {
            let table = self.read();
            (table.version, stored_form(table.all().filter(|revocation| now < revocation.until)))
        };
        replace(&file.path, &text)?;
        *written = version;
        Ok(())
    }

    fn read(&self) -> RwLockReadGuard<'_, Table> {
        // A panic while it is held can leave no more than a revocation too few, which its caller is told.
        self.table.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Table> {
        self.table.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    fn len(&self) -> usize {
        self.users.len() + self.tokens.len()
    }

    fn has(&self, subject: &Subject) -> bool {
        match subject {
            Subject::User(key) => self.users.contains_key(key),
            Subject::Token(jti) => self.tokens.contains_key(&TokenId::of(jti)),
        }
    }

    fn insert(&mut self, Revocation { subject, at, until }: Revocation) {
        let span = Span { at, until };
        match subject {
            Subject::User(key) => drop(self.users.insert(key, span)),
            Subject::Token(jti) => drop(self.tokens.insert(TokenId::of(&jti), (jti, span))),
        }
        self.version += 1;
    }

    fn sweep(&mut self, now: Timestamp) {
        self.users.retain(|_, span| now < span.until);
        self.tokens.retain(|_, (_, span)| now < span.until);
    }

    fn all(&self) -> impl Iterator<Item = Revocation> {
        let of = |subject, span: &Span| Revocation { subject, at: span.at, until: span.until };
        let users = self.users.iter().map(move |(key, span)| of(Subject::User(key.clone()), span));
        users.chain(self.tokens.values().map(move |(jti, span)| of(Subject::Token(jti.clone()), span)))
    }
}

/// The file, one form for all releases that know this `format`.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    format: u32,
    revocations: Vec<StoredRevocation>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StoredRevocation {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    user: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    jti: Option<String>,
    at_ms: u64,
    until_ms: u64,
}

const FORMAT: u32 = 1;

fn stored(bytes: &[u8]) -> Result<Vec<Revocation>, String> {
    let stored: Stored = serde_json::from_slice(bytes).map_err(|e| format!("it is not what this release writes: {e}"))?;
    if stored.format != FORMAT {
        return Err(format!("it has format {}, and this release knows {FORMAT}", stored.format));
    }
    let read = |row: StoredRevocation| {
        let subject = match (row.user, row.jti) {
            (Some(user), None) => Subject::User(UserKey::parse(&user, None).map_err(|e| format!("{user:?}: {e}"))?),
            (None, Some(jti)) => Subject::Token(jti),
            _ => return Err("an entry names neither or both of user and jti".to_owned()),
        };
        Ok(Revocation { subject, at: Timestamp(row.at_ms), until: Timestamp(row.until_ms) })
    };
    stored.revocations.into_iter().map(read).collect()
}

fn stored_form(revocations: impl Iterator<Item = Revocation>) -> Vec<u8> {
    let row = |Revocation { subject, at, until }| {
        let (user, jti) = match subject {
            Subject::User(key) => (Some(key.as_str().to_owned()), None),
            Subject::Token(jti) => (None, Some(jti)),
        };
        StoredRevocation { user, jti, at_ms: at.0, until_ms: until.0 }
    };
    let stored = Stored { format: FORMAT, revocations: revocations.map(row).collect() };
    // Texts and numbers always have a JSON form.
    serde_json::to_vec(&stored).unwrap_or_default()
}

/// Puts `contents` in the place of the file at `path`: after a crash, either the old or the new one is there.
fn replace(path: &Path, contents: &[u8]) -> io::Result<()> {
    let draft = path.with_extension("tmp");
    let mut file = File::create(&draft)?;
    file.write_all(contents)?;
    file.sync_all()?;
    fs::rename(&draft, path)?;
    path.parent().map_or(Ok(()), |folder| File::open(folder)?.sync_all())
}

#[cfg(test)]
mod tests;
