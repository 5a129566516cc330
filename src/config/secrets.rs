//! Secrets stand behind `{ env = … }`, `{ file = … }` or `{ value = … }`, never bare, so that nobody writes one by accident.
//!
//! No message here holds the content of a secret, nor a text that may have been meant as one.

use std::{fs::File, io::Read};

use secrecy::SecretString;

use super::{
    mistake::Wrong,
    reader::{Reported, Section},
    tree::{Node, Origin},
    values,
};

/// The largest file that a secret is read from, in bytes; a chain of certificates fits.
const FILE_BYTES_MAX: u64 = 65_536;

/// Says how a secret is written, for one that is not.
pub(super) fn form(node: &Node) -> Wrong {
    let remedy = match &node.origin {
        Origin::Variable(name) => {
            format!("set {name}__VALUE to the text itself, or {name}__FILE to the path of a file that holds it")
        }
        _ => "write { env = \"VARIABLE\" }, { file = \"path\" } or { value = \"…\" }".to_owned(),
    };
    Wrong::new(format!("a secret says where it comes from, and is not {}", node.kind()), remedy)
}

/// A secret that may be absent, at least `bytes_min` long.
pub(super) fn optional(section: &Section<'_>, key: &'static str, bytes_min: usize) -> Result<Option<SecretString>, Reported> {
    let Some(table) = section.table(key, form)? else { return Ok(None) };
    let text = content(&table)?;
    if text.len() < bytes_min {
        let problem = format!("only {} bytes long; {bytes_min} are needed", text.len());
        return Err(section.wrong(key, Wrong::new(problem, "make one with: openssl rand -base64 48")));
    }
    Ok(Some(text.into()))
}

/// The text that `table` says how to get.
pub(super) fn content(table: &Section<'_>) -> Result<String, Reported> {
    let sources = ["env", "file", "value"].map(|key| (key, table.node(key).cloned()));
    let mut given: Vec<_> = sources.into_iter().filter_map(|(key, node)| Some((key, node?))).collect();
    // A variable overrides the file, also where the file gets the secret in another way.
    if given.iter().any(|(_, node)| matches!(node.origin, Origin::Variable(_))) {
        given.retain(|(_, node)| matches!(node.origin, Origin::Variable(_)));
    }
    let at = |wrong| table.report.add(table.path.clone(), &table.origin, wrong);
    let [(key, node)] = given.as_slice() else {
        let problem = if given.is_empty() { "says nowhere where it comes from" } else { "comes from more than one place" };
        return Err(at(Wrong::new(problem, "write exactly one of env, file and value")));
    };
    let told = values::text(node).map_err(|wrong| table.wrong(key, wrong))?;
    let read = match *key {
        "env" => from_variable(table, told),
        "file" => from_file(told),
        _ => Ok(told.to_owned()),
    };
    match read {
        Ok(text) if text.is_empty() => Err(table.wrong(key, Wrong::new("the secret is empty", "put the secret there"))),
        read => read.map_err(|wrong| table.wrong(key, wrong)),
    }
}

fn from_variable(table: &Section<'_>, name: &str) -> Result<String, Wrong> {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    if name.is_empty() || name.len() > 128 || !name.bytes().all(plain) || name.starts_with(|c: char| c.is_ascii_digit()) {
        // It may be the secret itself.
        return Err(Wrong::new(
            "not the name of an environment variable",
            "write the variable's name; a secret itself is a value",
        ));
    }
    let missing = || {
        let remedy = format!("set {name} to the secret in the environment that the gateway is started in");
        Wrong::new(format!("the environment variable {name} is not set"), remedy)
    };
    table.report.environment.get(name).cloned().ok_or_else(missing)
}

/// The file's text, less one line break at its end, which editors and `echo` put there.
fn from_file(path: &str) -> Result<String, Wrong> {
    let wrong = |why: String| {
        let remedy =
            "put the secret into that file, readable for the gateway; a relative path starts where the gateway is started";
        Wrong::new(format!("the file {path:?} {why}"), remedy)
    };
    let mut text = String::new();
    let file = File::open(path).map_err(|e| wrong(format!("cannot be opened: {e}")))?;
    file.take(FILE_BYTES_MAX + 1).read_to_string(&mut text).map_err(|e| wrong(format!("cannot be read: {e}")))?;
    if text.len() as u64 > FILE_BYTES_MAX {
        return Err(wrong(format!("is longer than {FILE_BYTES_MAX} bytes")));
    }
    if text.ends_with('\n') {
        text.pop();
        if text.ends_with('\r') {
            text.pop();
        }
    }
    Ok(text)
}
