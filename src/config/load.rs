//! From defaults, file and variables to a [`Config`], or to every mistake in them.

use std::{collections::BTreeSet, fs::File, io::Read, path::Path, sync::Arc};

pub use super::mistake::{Mistake, Mistakes};
use super::{
    Config,
    reader::Report,
    sections,
    tree::{self, Environment, Node, Origin},
};

/// The reference of all settings, and the lowest layer.
pub const DEFAULTS: &str = include_str!("default.toml");

/// The largest configuration file, in bytes.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// Loads the file, if there is one, under the `CLAIMR_RELAY__…` variables of `environment`, over the defaults.
///
/// `environment` is the whole environment: secrets written as `{ env = … }` come from it as well. Files with secrets are read
/// relative to the folder that the process runs in.
///
/// # Errors
/// All mistakes at once, in the order of the file; none of them shows a secret.
pub fn load(path: Option<&Path>, environment: impl IntoIterator<Item = (String, String)>) -> Result<Config, Mistakes> {
    let environment = environment.into_iter().collect();
    let text = path.map(|path| Ok((path, read_file(path)?))).transpose().map_err(|mistake| Mistakes(vec![mistake]))?;
    let (name, text) = text.as_ref().map_or(("", ""), |(path, text)| (path.to_str().unwrap_or("configuration file"), text));
    read(name, text, &environment).0
}

/// What [`load`] does, on a text; and the settings that were asked for.
pub(super) fn read(name: &str, text: &str, environment: &Environment) -> (Result<Config, Mistakes>, BTreeSet<String>) {
    let name: Arc<str> = name.into();
    let whole = if name.is_empty() { Origin::Nowhere } else { Origin::File { name: name.clone(), line: 0 } };
    let mut root = match tree::parse(text, |line| Origin::File { name: name.clone(), line }) {
        Ok(root) => root,
        Err(mistakes) => return (Err(Report::new(environment, whole, mistakes).finish().0), BTreeSet::new()),
    };
    let mistakes = tree::apply_variables(&mut root, environment);
    let defaults = tree::parse(DEFAULTS, |_| Origin::Default).unwrap_or_else(|_| Node::table(Origin::Default));
    let report = Report::new(environment, whole, mistakes);
    let config = sections::config(&report, root.over(&defaults));
    let (mistakes, known) = report.finish();
    match config {
        Ok(config) if mistakes.0.is_empty() => (Ok(config), known),
        _ => (Err(mistakes), known),
    }
}

fn read_file(path: &Path) -> Result<String, Mistake> {
    let mistake = |problem: String, remedy: &str| Mistake {
        key: "configuration file".to_owned(),
        origin: path.display().to_string(),
        problem,
        remedy: remedy.to_owned(),
    };
    let mut text = String::new();
    let file = File::open(path).map_err(|e| mistake(format!("cannot be opened: {e}"), "name an existing, readable file"))?;
    let read = file.take(FILE_BYTES_MAX + 1).read_to_string(&mut text);
    read.map_err(|e| mistake(format!("cannot be read: {e}"), "name a readable TOML file in UTF-8"))?;
    if text.len() as u64 > FILE_BYTES_MAX {
        return Err(mistake(format!("longer than {FILE_BYTES_MAX} bytes"), "name the configuration file"));
    }
    Ok(text)
}
