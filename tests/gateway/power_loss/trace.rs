//! What a process did to its folder, read from `strace -f -s … -xx`: in order, with the bytes.

use std::collections::HashMap;

/// One thing that happened. A call that takes time is two of them, so that what came in between is seen.
#[derive(Debug)]
pub(crate) enum Step {
    /// A file came to be, empty, under a name of the folder.
    Create { file: usize, name: String },
    /// Bytes were given to the kernel.
    Write { file: usize, offset: usize, bytes: Vec<u8> },
    /// The file was cut or extended.
    Truncate { file: usize, size: usize },
    /// A name was given to another file.
    Rename { from: String, to: String },
    /// A name was taken away.
    Unlink { name: String },
    /// What came before is asked to be durable: of a file, or of the folder's names if there is none.
    SyncBegins { file: Option<usize>, call: usize },
    /// And now it is.
    SyncEnds { call: usize },
    /// An event was acknowledged.
    Acknowledged { seq: u64, key: String, n: u64 },
}

/// The steps of a trace, as far as they concern `folder` or are acknowledgements on standard output.
pub(crate) fn read(trace: &str, folder: &str) -> Vec<Step> {
    let mut reader = Reader { folder: format!("{folder}/"), ..Reader::default() };
    for line in trace.lines() {
        reader.line(line);
    }
    reader.steps
}

#[derive(Default)]
struct Reader {
    folder: String,
    steps: Vec<Step>,
    /// What descriptors stand for: a file of the folder with the place of its next `write`, or the folder itself.
    open: HashMap<i64, Target>,
    names: HashMap<String, usize>,
    files: usize,
    /// Calls that have begun, by thread.
    begun: HashMap<String, (String, Option<usize>)>,
    syncs: usize,
}

#[derive(Clone, Copy)]
enum Target {
    File { file: usize, at: usize },
    Folder,
}

impl Reader {
    fn line(&mut self, line: &str) {
        let Some((thread, rest)) = line.split_once(' ') else { return };
        let rest = rest.trim_start();
        if let Some(head) = rest.strip_suffix("<unfinished ...>") {
            let sync = self.begins(head);
            self.begun.insert(thread.to_owned(), (head.trim_end().to_owned(), sync));
        } else if let Some(resumed) = rest.strip_prefix("<... ") {
            let Some((_, tail)) = resumed.split_once(" resumed>") else { return };
            let Some((head, sync)) = self.begun.remove(thread) else { return };
            self.call(&(head + tail), sync);
        } else {
            let sync = self.begins(rest);
            self.call(rest, sync);
        }
    }

    /// What counts from the moment a call begins: a sync covers what came before it, and a descriptor that is being closed may be
    /// another thread's before the call returns.
    fn begins(&mut self, call: &str) -> Option<usize> {
        let (name, arguments) = call.split_once('(')?;
        if name == "close" {
            self.open.remove(&number(arguments)?);
        }
        if name != "fsync" && name != "fdatasync" {
            return None;
        }
        let target = *self.open.get(&number(arguments)?)?;
        self.syncs += 1;
        let file = match target {
            Target::File { file, .. } => Some(file),
            Target::Folder => None,
        };
        self.steps.push(Step::SyncBegins { file, call: self.syncs });
        Some(self.syncs)
    }

    /// A call that has ended.
    fn call(&mut self, call: &str, sync: Option<usize>) {
        let (Some((name, arguments)), Some((_, result))) = (call.split_once('('), call.rsplit_once(" = ")) else { return };
        let Some(result) = number(result).filter(|result| *result >= 0) else { return };
        let texts = texts(arguments);
        match name {
            "openat" => self.opened(&texts[0], arguments, result),
            "pwrite64" => {
                let (_, behind) = arguments.rsplit_once('"').unwrap();
                let offset = behind.split(", ").nth(2).and_then(number);
                self.wrote(arguments, &texts[0], Some(offset.expect("pwrite64 says where")));
            }
            "write" => self.wrote(arguments, &texts[0], None),
            "ftruncate" => {
                let size = arguments.split(", ").nth(1).and_then(number).unwrap_or(0);
                if let Some(Target::File { file, .. }) = number(arguments).and_then(|fd| self.open.get(&fd)).copied() {
                    self.steps.push(Step::Truncate { file, size: index(size) });
                }
            }
            "rename" => self.renamed(&texts[0], &texts[1]),
            "unlink" => {
                if let Some(name) = self.name(&texts[0]) {
                    self.names.remove(&name);
                    self.steps.push(Step::Unlink { name });
                }
            }
            _ => self.steps.extend(sync.map(|call| Step::SyncEnds { call })),
        }
    }

    fn opened(&mut self, path: &[u8], arguments: &str, fd: i64) {
        let path = [path, b"/"].concat();
        if path == self.folder.as_bytes() {
            self.open.insert(fd, Target::Folder);
            return;
        }
        let Some(name) = self.name(&path[..path.len() - 1]) else { return };
        let file = match self.names.get(&name) {
            Some(file) if !arguments.contains("O_TRUNC") => *file,
            Some(file) => {
                self.steps.push(Step::Truncate { file: *file, size: 0 });
                *file
            }
            None => {
                self.files += 1;
                self.names.insert(name.clone(), self.files);
                self.steps.push(Step::Create { file: self.files, name });
                self.files
            }
        };
        self.open.insert(fd, Target::File { file, at: 0 });
    }

    fn wrote(&mut self, arguments: &str, bytes: &[u8], offset: Option<i64>) {
        let Some(fd) = number(arguments) else { return };
        if fd == 1 {
            let text = std::str::from_utf8(bytes).unwrap();
            let [_, seq, key, n] = text.split_whitespace().collect::<Vec<_>>()[..] else { panic!("{text}") };
            self.steps.push(Step::Acknowledged { seq: seq.parse().unwrap(), key: key.to_owned(), n: n.parse().unwrap() });
        } else if let Some(Target::File { file, at }) = self.open.get_mut(&fd) {
            let place = offset.map_or(*at, index);
            *at = place + bytes.len();
            self.steps.push(Step::Write { file: *file, offset: place, bytes: bytes.to_vec() });
        }
    }

    fn renamed(&mut self, from: &[u8], to: &[u8]) {
        let (Some(from), Some(to)) = (self.name(from), self.name(to)) else { return };
        let file = self.names.remove(&from).unwrap();
        self.names.insert(to.clone(), file);
        self.steps.push(Step::Rename { from, to });
    }

    /// A path's name in the folder.
    fn name(&self, path: &[u8]) -> Option<String> {
        std::str::from_utf8(path).ok()?.strip_prefix(&self.folder).map(str::to_owned)
    }
}

/// The number that a text begins with.
fn number(text: &str) -> Option<i64> {
    let digits = text.trim_start().find(|c: char| !c.is_ascii_digit() && c != '-').unwrap_or(text.len());
    text.trim_start()[..digits].parse().ok()
}

fn index(number: i64) -> usize {
    usize::try_from(number).unwrap()
}

/// The quoted texts among a call's arguments: `"\x2f\x74"`.
fn texts(arguments: &str) -> Vec<Vec<u8>> {
    let quoted = arguments.split('"').skip(1).step_by(2);
    quoted.map(|text| data_encoding::HEXLOWER.decode(text.replace("\\x", "").as_bytes()).unwrap_or_default()).collect()
}
