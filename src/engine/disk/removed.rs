//! Dead letters that were taken out of the lane: their numbers, in a small file beside the segments.
//!
//! A segment that is finished never changes, so the letter's bytes stay in it until retention has come to it; this file is why nobody
//! sees them any more. It names only letters that the lane could still show, so it is never longer than the lane.

use std::{
    collections::BTreeSet,
    fmt::Write as _,
    fs, io,
    path::{Path, PathBuf},
    sync::PoisonError,
};

use super::{index::LetterRow, log::Log, open::write_durably, segment::Unreadable};
use crate::{engine::LetterId, sync::RwLockReadGuard};

const TITLE: &str = "claimr-relay removed dead letters";

/// The numbers in the lane of the letters that were removed.
#[derive(Clone, Default)]
pub(super) struct Removed(BTreeSet<u64>);

impl Removed {
    pub(super) fn path(folder: &Path) -> PathBuf {
        folder.join("removed")
    }

    /// Reads the file, if there is one. It is replaced as a whole, so a crash leaves the old one or the new one.
    pub(super) fn open(folder: &Path) -> Result<Self, Unreadable> {
        let text = match fs::read_to_string(Self::path(folder)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            text => text?,
        };
        let numbers = text.strip_prefix(TITLE).and_then(|rest| rest.lines().skip(1).map(|line| line.parse().ok()).collect());
        numbers.map(Self).ok_or_else(|| Unreadable::Damaged("it is no list of dead letters".to_owned()))
    }

    pub(super) fn has(&self, number: u64) -> bool {
        self.0.contains(&number)
    }

    /// Leaves what was not removed.
    pub(super) fn forget_from<T>(&self, rows: &mut Vec<(LetterRow, T)>) {
        rows.retain(|(row, _)| !self.has(row.number));
    }

    fn save(&self, folder: &Path) -> io::Result<()> {
        let mut text = format!("{TITLE}\n");
        for number in &self.0 {
            // Writing to a String cannot fail.
            let _ = writeln!(text, "{number}");
        }
        write_durably(folder, &Self::path(folder), text.as_bytes())
    }
}

impl Log {
    pub(super) fn removed(&self) -> RwLockReadGuard<'_, Removed> {
        // It is replaced as a whole, so every state is a sound one.
        self.removed.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes letters out of the lane, durably, and says how many were in it. For the writer only: whoever else did the same at the same
    /// time would be overwritten.
    pub(super) fn remove_letters(&self, ids: &[LetterId]) -> io::Result<usize> {
        let mut removed = self.removed().clone();
        let before = removed.0.len();
        let newest = {
            let parts = self.parts();
            let sealed = parts.sealed.iter().flat_map(|segment| segment.letters());
            let rows: Vec<&LetterRow> = sealed.chain(parts.active.letters()).collect();
            let newest = rows.last().map_or(0, |row| row.number);
            let oldest = newest.saturating_sub(self.retention.dead_letters_max as u64);
            let named = rows.iter().filter(|row| row.number > oldest && ids.contains(&LetterId(row.digest)));
            removed.0.extend(named.map(|row| row.number));
            newest
        };
        let count = removed.0.len() - before;
        if count > 0 {
            // Letters that the lane can no longer show need no mention.
            removed.0 = removed.0.split_off(&newest.saturating_sub(self.retention.dead_letters_max as u64));
            removed.save(&self.folder)?;
            *self.removed.write().unwrap_or_else(PoisonError::into_inner) = removed;
        }
        Ok(count)
    }
}
