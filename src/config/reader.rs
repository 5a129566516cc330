//! How settings are read from the tree: asking for a setting is what makes it known.
//!
//! A [`Section`] hands out values by key and notes each mistake instead of stopping at the first. When it is dropped, the keys that
//! nobody asked for are unknown. So a setting's name stands in one place, where it is read and checked.

use std::{cell::RefCell, collections::BTreeSet};

use super::{
    mistake::{Mistake, Mistakes, Wrong},
    tree::{Environment, Node, Origin, PREFIX, Table, Value},
};

/// The mistake is noted in the [`Report`]; there is nothing to go on with.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reported;

/// Every mistake found so far, and every setting that was asked for.
pub(super) struct Report<'e> {
    /// Where secrets by `{ env = … }` are looked up.
    pub(super) environment: &'e Environment,
    /// Where settings would stand that are not set.
    whole: Origin,
    mistakes: RefCell<Vec<(Origin, Mistake)>>,
    known: RefCell<BTreeSet<String>>,
    unknown: RefCell<Vec<Unknown>>,
}

struct Unknown {
    section: String,
    key: String,
    origin: Origin,
    siblings: Vec<&'static str>,
}

impl<'e> Report<'e> {
    pub(super) fn new(environment: &'e Environment, whole: Origin, mistakes: Vec<(Origin, Mistake)>) -> Self {
        let mistakes = RefCell::new(mistakes);
        Self { environment, whole, mistakes, known: RefCell::default(), unknown: RefCell::default() }
    }

    /// All mistakes, and every setting that was asked for, `sources[].name` for those in lists.
    pub(super) fn finish(self) -> (Mistakes, BTreeSet<String>) {
        let known = self.known.into_inner();
        let mut mistakes = self.mistakes.into_inner();
        for unknown in self.unknown.into_inner() {
            let mistake = Mistake {
                key: join(&unknown.section, &spelled(&unknown.key)),
                origin: unknown.origin.to_string(),
                problem: "unknown setting".to_owned(),
                remedy: unknown.remedy(&known),
            };
            mistakes.push((unknown.origin, mistake));
        }
        mistakes.sort_by(|(a, _), (b, _)| a.cmp(b));
        (Mistakes(mistakes.into_iter().map(|(_, mistake)| mistake).collect()), known)
    }

    pub(super) fn add(&self, key: String, origin: &Origin, wrong: Wrong) -> Reported {
        let mistake = Mistake { key, origin: origin.to_string(), problem: wrong.problem, remedy: wrong.remedy };
        self.mistakes.borrow_mut().push((origin.clone(), mistake));
        Reported
    }
}

impl Unknown {
    fn remedy(&self, known: &BTreeSet<String>) -> String {
        let distance = |sibling: &&&str| strsim::damerau_levenshtein(sibling, &self.key);
        let near = |sibling: &&&str| distance(sibling) <= 1 + self.key.len() / 4;
        if let Some(sibling) = self.siblings.iter().filter(near).min_by_key(distance) {
            return format!("did you mean {}?", self.spell(&join(&self.section, sibling)));
        }
        let elsewhere = |path: &&String| path.rsplit('.').next() == Some(&self.key);
        if let Some(path) = known.iter().find(elsewhere) {
            return format!("did you mean {}?", self.spell(path));
        }
        let mut siblings = self.siblings.clone();
        siblings.sort_unstable();
        format!("remove it; known here: {}", siblings.join(", "))
    }

    /// As a variable, if it was given as one.
    fn spell(&self, path: &str) -> String {
        match &self.origin {
            Origin::Variable(_) => format!("{PREFIX}{}", path.replace(['.', '['], "__").replace(']', "").to_uppercase()),
            _ => path.to_owned(),
        }
    }
}

fn join(section: &str, key: &str) -> String {
    if section.is_empty() { key.to_owned() } else { format!("{section}.{key}") }
}

/// A key that we do not know, in quotes unless it is plain: so an empty one is seen, and one with a line break breaks no line.
fn spelled(key: &str) -> String {
    let plain = !key.is_empty() && key.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'));
    if plain { key.to_owned() } else { format!("{key:?}") }
}

/// The values that must differ, and the sections that have them.
pub(super) type Seen = RefCell<Vec<(String, String)>>;

/// A table of the configuration that is being read.
pub(super) struct Section<'r> {
    pub(super) report: &'r Report<'r>,
    /// Its own setting, such as `sources[0]`; empty at the top.
    pub(super) path: String,
    pub(super) origin: Origin,
    table: Table,
    asked: RefCell<Vec<&'static str>>,
}

impl<'r> Section<'r> {
    pub(super) fn new(report: &'r Report<'r>, path: String, origin: Origin, table: Table) -> Self {
        Self { report, path, origin, table, asked: RefCell::default() }
    }

    /// The setting's full name.
    pub(super) fn key(&self, key: &str) -> String {
        join(&self.path, key)
    }

    /// Notes what is wrong with the setting `key` of this section.
    pub(super) fn wrong(&self, key: &str, wrong: Wrong) -> Reported {
        let origin = self.table.get(key).map_or_else(|| self.place(), |node| node.origin.clone());
        self.report.add(self.key(key), &origin, wrong)
    }

    /// Where something would stand that is missing here.
    fn place(&self) -> Origin {
        match self.origin {
            Origin::File { .. } => self.origin.clone(),
            _ => self.report.whole.clone(),
        }
    }

    /// The value of `key`, which is now known, ready to be taken as a list or table too.
    pub(super) fn node(&self, key: &'static str) -> Option<&Node> {
        self.asked.borrow_mut().push(key);
        let generic: String = self.key(key).split(['[', ']']).enumerate().map(generic_part).collect();
        self.report.known.borrow_mut().insert(generic);
        self.table.get(key)
    }

    /// A setting that may be absent.
    pub(super) fn optional<T>(
        &self,
        key: &'static str,
        read: impl FnOnce(&Node) -> Result<T, Wrong>,
    ) -> Result<Option<T>, Reported> {
        let value = self.node(key).map(read).transpose();
        value.map_err(|wrong| self.wrong(key, wrong))
    }

    /// A setting that has a default, or that the operator must write; `example` is what they could write.
    pub(super) fn required<T>(
        &self,
        key: &'static str,
        example: &str,
        read: impl FnOnce(&Node) -> Result<T, Wrong>,
    ) -> Result<T, Reported> {
        self.optional(key, read)?.ok_or_else(|| self.missing(key, example))
    }

    /// Notes that a setting must be written.
    pub(super) fn missing(&self, key: &str, example: &str) -> Reported {
        self.wrong(key, Wrong::new("required, but not set", format!("write {example}")))
    }

    /// A list of texts and the like; every wrong entry is noted.
    pub(super) fn list<T>(&self, key: &'static str, read: impl Fn(&Node) -> Result<T, Wrong>) -> Result<Vec<T>, Reported> {
        let entries = self.entries(key)?;
        let read = |(path, node): (String, Node)| read(&node).map_err(|wrong| self.report.add(path, &node.origin, wrong));
        all(entries.into_iter().map(read))
    }

    /// A table inside this one. `wrong` says what to write if it is something else.
    pub(super) fn table(&self, key: &'static str, wrong: impl Fn(&Node) -> Wrong) -> Result<Option<Section<'r>>, Reported> {
        let Some(node) = self.node(key).cloned() else { return Ok(None) };
        self.opened(self.key(key), node, wrong).map(Some)
    }

    /// A list of tables; every entry is read, whatever is wrong with those before it.
    pub(super) fn tables<T>(
        &self,
        key: &'static str,
        wrong: impl Fn(&Node) -> Wrong,
        read: impl Fn(&Section<'r>) -> Result<T, Reported>,
    ) -> Result<Vec<T>, Reported> {
        let entries = self.entries(key)?;
        all(entries.into_iter().map(|(path, node)| read(&self.opened(path, node, &wrong)?)))
    }

    fn opened(&self, path: String, mut node: Node, wrong: impl Fn(&Node) -> Wrong) -> Result<Section<'r>, Reported> {
        node.open();
        match node.value {
            Value::Table(table) => Ok(Section::new(self.report, path, node.origin, table)),
            _ => Err(self.report.add(path, &node.origin, wrong(&node))),
        }
    }

    fn entries(&self, key: &'static str) -> Result<Vec<(String, Node)>, Reported> {
        let Some(mut node) = self.node(key).cloned() else { return Ok(Vec::new()) };
        node.open();
        let path = |(i, node)| (format!("{}[{i}]", self.key(key)), node);
        match node.value {
            Value::List(nodes) => Ok(nodes.into_iter().enumerate().map(path).collect()),
            _ => Err(self.wrong(key, Wrong::new(format!("a list belongs here, not {}", node.kind()), "put it into [ ]"))),
        }
    }

    /// Takes `value` for `key` unless a section before this one, whose values are in `seen`, has the same.
    pub(super) fn unique(&self, key: &'static str, value: String, seen: &Seen) -> Result<String, Reported> {
        let first = seen.borrow().iter().find(|(_, other)| *other == value).map(|(path, _)| path.clone());
        if let Some(path) = first {
            return Err(self.wrong(key, Wrong::new(format!("the same {key} as {path}"), format!("give each a {key} of its own"))));
        }
        seen.borrow_mut().push((self.path.clone(), value.clone()));
        Ok(value)
    }
}

impl Drop for Section<'_> {
    fn drop(&mut self) {
        let asked = self.asked.take();
        for (key, node) in &self.table {
            if !asked.contains(&key.as_str()) {
                let unknown = Unknown {
                    section: self.path.clone(),
                    key: key.clone(),
                    origin: node.origin.clone(),
                    siblings: asked.clone(),
                };
                self.report.unknown.borrow_mut().push(unknown);
            }
        }
    }
}

/// All values, or none; every one of them is read first.
fn all<T>(values: impl Iterator<Item = Result<T, Reported>>) -> Result<Vec<T>, Reported> {
    let values: Vec<_> = values.collect();
    values.into_iter().collect()
}

/// `sources[3].name` is known as `sources[].name`: every second part stands between brackets.
fn generic_part((i, part): (usize, &str)) -> &str {
    if i % 2 == 1 { "[]" } else { part }
}
