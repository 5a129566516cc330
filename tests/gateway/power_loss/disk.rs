//! A disk that may lose power: what of a folder is durable, what is on its way, and what could be found the next morning.
//!
//! Data that was not synced is there or not, sector by sector, whatever came first. Names that were not synced are there up to some moment:
//! file systems with a journal keep their order.

use std::{
    collections::{BTreeMap, HashMap},
    fs,
    path::Path,
};

use super::trace::Step;

const SECTOR: usize = 512;

#[derive(Default)]
pub(crate) struct Disk {
    files: HashMap<usize, Stored>,
    names: BTreeMap<String, usize>,
    /// Changes of names that are on their way.
    renames: Vec<Naming>,
    syncs: HashMap<usize, Sync>,
}

#[derive(Default)]
struct Stored {
    durable: Vec<u8>,
    pending: Vec<Change>,
}

#[derive(Clone)]
enum Change {
    Write { offset: usize, bytes: Vec<u8> },
    Truncate(usize),
}

#[derive(Clone)]
enum Naming {
    Add(String, usize),
    Move(String, String),
    Remove(String),
}

/// A sync on its way: how many changes it makes durable.
struct Sync {
    file: Option<usize>,
    changes: usize,
}

impl Disk {
    pub(crate) fn step(&mut self, step: &Step) {
        match step {
            Step::Create { file, name } => {
                self.files.insert(*file, Stored::default());
                self.renames.push(Naming::Add(name.clone(), *file));
            }
            Step::Write { file, offset, bytes } => {
                self.change(*file, Change::Write { offset: *offset, bytes: bytes.clone() });
            }
            Step::Truncate { file, size } => self.change(*file, Change::Truncate(*size)),
            Step::Rename { from, to } => self.renames.push(Naming::Move(from.clone(), to.clone())),
            Step::Unlink { name } => self.renames.push(Naming::Remove(name.clone())),
            Step::SyncBegins { file, call } => {
                let changes = file.map_or(self.renames.len(), |file| self.files[&file].pending.len());
                self.syncs.insert(*call, Sync { file: *file, changes });
            }
            Step::SyncEnds { call } => self.synced(*call),
            Step::Acknowledged { .. } => {}
        }
    }

    fn change(&mut self, file: usize, change: Change) {
        self.files.get_mut(&file).unwrap().pending.push(change);
    }

    fn synced(&mut self, call: usize) {
        let Some(sync) = self.syncs.remove(&call) else { return };
        if let Some(file) = sync.file {
            let stored = self.files.get_mut(&file).unwrap();
            for change in stored.pending.drain(..sync.changes) {
                apply(&mut stored.durable, &change);
            }
            // Others that were on their way for the same file find less to do.
            for other in self.syncs.values_mut().filter(|other| other.file == Some(file)) {
                other.changes = other.changes.saturating_sub(sync.changes);
            }
        } else {
            for naming in self.renames.drain(..sync.changes) {
                rename(&mut self.names, &naming);
            }
            for other in self.syncs.values_mut().filter(|other| other.file.is_none()) {
                other.changes = other.changes.saturating_sub(sync.changes);
            }
        }
    }

    /// Writes to `folder` what could be found if the power went now.
    pub(crate) fn crash(&self, folder: &Path, random: &mut fastrand::Rng) {
        let mut names = self.names.clone();
        let survived = random.usize(..=self.renames.len());
        self.renames[..survived].iter().for_each(|naming| rename(&mut names, naming));
        fs::create_dir_all(folder).unwrap();
        for (name, file) in names {
            fs::write(folder.join(name), self.files[&file].crashed(random)).unwrap();
        }
    }
}

impl Stored {
    fn crashed(&self, random: &mut fastrand::Rng) -> Vec<u8> {
        let mut bytes = self.durable.clone();
        // Mostly all or nothing; else anything.
        let mood = random.u8(..4);
        for change in &self.pending {
            match change {
                _ if mood == 0 => {}
                _ if mood == 1 => apply(&mut bytes, change),
                Change::Truncate(_) if random.bool() => apply(&mut bytes, change),
                Change::Truncate(_) => {}
                Change::Write { offset, bytes: written } => {
                    let (mut at, end) = (*offset, offset + written.len());
                    while at < end {
                        let next = ((at / SECTOR + 1) * SECTOR).min(end);
                        if random.bool() {
                            let piece = written[at - offset..next - offset].to_vec();
                            apply(&mut bytes, &Change::Write { offset: at, bytes: piece });
                        }
                        at = next;
                    }
                }
            }
        }
        bytes
    }
}

fn apply(bytes: &mut Vec<u8>, change: &Change) {
    match change {
        Change::Truncate(size) => bytes.resize(*size, 0),
        Change::Write { offset, bytes: written } => {
            let end = offset + written.len();
            bytes.resize(bytes.len().max(end), 0);
            bytes[*offset..end].copy_from_slice(written);
        }
    }
}

fn rename(names: &mut BTreeMap<String, usize>, naming: &Naming) {
    match naming {
        Naming::Add(name, file) => drop(names.insert(name.clone(), *file)),
        Naming::Move(from, to) => {
            if let Some(file) = names.remove(from) {
                names.insert(to.clone(), file);
            }
        }
        Naming::Remove(name) => drop(names.remove(name)),
    }
}
