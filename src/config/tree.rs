//! The layers of a configuration as one tree whose every value knows where it comes from: built-in defaults below, the TOML file
//! above them, `CLAIMR_RELAY__…` variables on top.
//!
//! A variable stays the text that it is until a setting says what it wants, so that a secret of digits remains text and
//! `[::1]:8080` an address.

use std::{collections::BTreeMap, fmt, sync::Arc};

use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use super::mistake::{Mistake, Wrong};

/// Variables with this prefix override settings; further double underscores go down into sections.
pub(super) const PREFIX: &str = "CLAIMR_RELAY__";

/// The environment, passed in so that tests need not touch the process's.
pub(super) type Environment = BTreeMap<String, String>;

pub(super) type Table = BTreeMap<String, Node>;

/// A value and where it comes from. It has no `Debug`, because it may be a secret.
#[derive(Clone)]
pub(super) struct Node {
    pub(super) value: Value,
    pub(super) origin: Origin,
}

/// A value of TOML, or the text of a variable that nobody has looked at yet.
#[derive(Clone)]
pub(super) enum Value {
    Text(String),
    Written(String),
    Number(i64),
    Bool(bool),
    Date(String),
    /// What no setting can take, such as a fraction, by its kind.
    Other(&'static str),
    List(Vec<Node>),
    Table(Table),
}

/// Where a value comes from; its order is the order in which mistakes are reported.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Origin {
    Nowhere,
    /// Line 0 is the file as a whole.
    File {
        name: Arc<str>,
        line: usize,
    },
    Variable(Arc<str>),
    Default,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nowhere => f.write_str("not set"),
            Self::File { name, line: 0 } => f.write_str(name),
            Self::File { name, line } => write!(f, "{name}:{line}"),
            Self::Variable(name) => write!(f, "environment variable {name}"),
            Self::Default => f.write_str("default"),
        }
    }
}

impl Node {
    pub(super) fn table(origin: Origin) -> Self {
        Self { value: Value::Table(Table::new()), origin }
    }

    /// What it is, for messages; never its content.
    pub(super) fn kind(&self) -> &'static str {
        match &self.value {
            Value::Text(_) | Value::Written(_) => "text",
            Value::Number(_) => "a number",
            Value::Other(kind) => kind,
            Value::Bool(_) => "true or false",
            Value::Date(_) => "a date",
            Value::List(_) => "a list",
            Value::Table(_) => "a table",
        }
    }

    /// Turns the text of a variable into the list or table that it is written as, in TOML or in JSON.
    pub(super) fn open(&mut self) {
        let Value::Written(text) = &self.value else { return };
        if !text.trim_start().starts_with(['[', '{']) {
            return;
        }
        if let Ok(parsed) = DeValue::parse(text) {
            self.value = from_toml(&parsed, &|_| self.origin.clone());
        } else if let Ok(parsed) = serde_json::from_str(text) {
            self.value = from_json(parsed, &self.origin);
        }
    }

    /// The value for a reader that knows more of its form than this module.
    pub(super) fn into_json(mut self) -> serde_json::Value {
        self.open();
        match self.value {
            Value::Text(text) | Value::Written(text) | Value::Date(text) => text.into(),
            Value::Number(number) => number.into(),
            Value::Bool(yes) => yes.into(),
            Value::Other(_) => serde_json::Value::Null,
            Value::List(nodes) => nodes.into_iter().map(Self::into_json).collect(),
            Value::Table(table) => table.into_iter().map(|(key, node)| (key, node.into_json())).collect(),
        }
    }

    /// This value with `defaults` below it. A list of tables in the defaults has one element: what each element is laid upon.
    pub(super) fn over(mut self, defaults: &Self) -> Self {
        match &defaults.value {
            Value::Table(lower) => {
                self.open();
                if let Value::Table(upper) = &mut self.value {
                    for (key, default) in lower {
                        let node = match upper.remove(key) {
                            Some(node) => Some(node.over(default)),
                            None => default.without_templates(),
                        };
                        upper.extend(node.map(|node| (key.clone(), node)));
                    }
                }
            }
            Value::List(lower) if defaults.is_template() => {
                self.open();
                if let Value::List(upper) = &mut self.value {
                    *upper = std::mem::take(upper).into_iter().map(|node| node.over(&lower[0])).collect();
                }
            }
            _ => {}
        }
        self
    }

    /// A default as it counts where nothing stands above it: lists of tables are templates, and no entries.
    fn without_templates(&self) -> Option<Self> {
        match &self.value {
            Value::List(_) if self.is_template() => None,
            Value::Table(table) => {
                let kept = table.iter().filter_map(|(key, node)| Some((key.clone(), node.without_templates()?)));
                Some(Self { value: Value::Table(kept.collect()), origin: self.origin.clone() })
            }
            _ => Some(self.clone()),
        }
    }

    fn is_template(&self) -> bool {
        matches!(&self.value, Value::List(nodes) if nodes.iter().any(|node| matches!(node.value, Value::Table(_))))
    }
}

/// Reads a TOML document, or says what is wrong with its syntax: the place, but not the text, which may be a secret.
pub(super) fn parse(text: &str, origin: impl Fn(usize) -> Origin) -> Result<Node, Vec<(Origin, Mistake)>> {
    let line = |at: usize| text.get(..at).unwrap_or(text).matches('\n').count() + 1;
    let place = |at: usize| origin(line(at));
    let (document, errors) = DeTable::parse_recoverable(text);
    if errors.is_empty() {
        return Ok(Node { value: Value::Table(table_from_toml(document.get_ref(), &place)), origin: origin(0) });
    }
    let mut mistakes: Vec<(Origin, Mistake)> = Vec::new();
    for error in errors {
        let at = error.span().map_or(0, |span| span.start);
        let place = place(at);
        // What follows an error on its line is mostly its consequence.
        if mistakes.iter().all(|(known, _)| *known != place) {
            let problem = format!("not TOML: {}", error.message());
            let mistake = Mistake {
                key: "syntax".to_owned(),
                origin: place.to_string(),
                problem,
                remedy: format!("mend line {}; text stands in double quotes, a list in [ ], a table in {{ }}", line(at)),
            };
            mistakes.push((place, mistake));
        }
    }
    Err(mistakes)
}

fn table_from_toml(table: &DeTable<'_>, place: &dyn Fn(usize) -> Origin) -> Table {
    let entry = |(key, value): (&Spanned<std::borrow::Cow<'_, str>>, &Spanned<DeValue<'_>>)| {
        let node = Node { value: from_toml(value, place), origin: place(key.span().start) };
        (key.get_ref().to_string(), node)
    };
    table.iter().map(entry).collect()
}

fn from_toml(value: &Spanned<DeValue<'_>>, place: &dyn Fn(usize) -> Origin) -> Value {
    match value.get_ref() {
        DeValue::String(text) => Value::Text(text.to_string()),
        DeValue::Integer(digits) => {
            i64::from_str_radix(digits.as_str(), digits.radix()).map_or(Value::Other("a huge number"), Value::Number)
        }
        DeValue::Float(_) => Value::Other("a fraction"),
        DeValue::Boolean(yes) => Value::Bool(*yes),
        DeValue::Datetime(date) => Value::Date(date.to_string()),
        DeValue::Array(items) => {
            let node = |item: &Spanned<DeValue<'_>>| Node { value: from_toml(item, place), origin: place(item.span().start) };
            Value::List(items.iter().map(node).collect())
        }
        DeValue::Table(table) => Value::Table(table_from_toml(table, place)),
    }
}

fn from_json(value: serde_json::Value, origin: &Origin) -> Value {
    let node = |value| Node { value: from_json(value, origin), origin: origin.clone() };
    match value {
        serde_json::Value::Null => Value::Other("null"),
        serde_json::Value::Bool(yes) => Value::Bool(yes),
        serde_json::Value::Number(number) => number.as_i64().map_or(Value::Other("a number that is not whole"), Value::Number),
        serde_json::Value::String(text) => Value::Text(text),
        serde_json::Value::Array(items) => Value::List(items.into_iter().map(node).collect()),
        serde_json::Value::Object(members) => Value::Table(members.into_iter().map(|(k, v)| (k, node(v))).collect()),
    }
}

/// One step down from a setting; in this order, a list is filled from its start whatever the variables' order.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Step {
    Index(usize),
    Key(String),
}

/// Lays the variables over `root`.
pub(super) fn apply_variables(root: &mut Node, environment: &Environment) -> Vec<(Origin, Mistake)> {
    let step = |text: &str| text.parse().map_or_else(|_| Step::Key(text.to_lowercase()), Step::Index);
    let steps = |name: &str| -> Option<Vec<Step>> { Some(name.strip_prefix(PREFIX)?.split("__").map(step).collect()) };
    let mut settings: Vec<_> = environment.iter().filter_map(|(name, text)| Some((steps(name)?, name, text))).collect();
    settings.sort();
    let mut mistakes = Vec::new();
    for (steps, name, text) in settings {
        let origin = Origin::Variable(name.as_str().into());
        if let Err(wrong) = set(root, &steps, &origin, text) {
            let key = name[PREFIX.len()..].to_lowercase().replace("__", ".");
            let mistake = Mistake { key, origin: origin.to_string(), problem: wrong.problem, remedy: wrong.remedy };
            mistakes.push((origin, mistake));
        }
    }
    mistakes
}

fn set(node: &mut Node, steps: &[Step], origin: &Origin, text: &str) -> Result<(), Wrong> {
    let Some((step, rest)) = steps.split_first() else {
        *node = Node { value: Value::Written(text.to_owned()), origin: origin.clone() };
        return Ok(());
    };
    node.open();
    let new = || match rest.first() {
        Some(Step::Index(_)) => Node { value: Value::List(Vec::new()), origin: origin.clone() },
        _ => Node::table(origin.clone()),
    };
    match (&mut node.value, step) {
        (Value::List(nodes), Step::Index(index)) => {
            if *index > nodes.len() {
                let problem = format!("there are {} entries before it, so it cannot be number {index}", nodes.len());
                return Err(Wrong::new(problem, format!("count on from {}; the first entry is number 0", nodes.len())));
            }
            if *index == nodes.len() {
                nodes.push(new());
            }
            set(&mut nodes[*index], rest, origin, text)
        }
        (Value::Table(table), step) => {
            let key = match step {
                Step::Key(key) => key.clone(),
                Step::Index(index) => index.to_string(),
            };
            set(table.entry(key).or_insert_with(new), rest, origin, text)
        }
        (_, Step::Index(_)) => Err(Wrong::new("what is above it is not a list", "leave the number out of the variable's name")),
        (_, Step::Key(_)) => {
            *node = Node::table(origin.clone());
            set(node, steps, origin, text)
        }
    }
}
