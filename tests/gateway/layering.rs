//! The layers of the house: nothing imports upward, `axum` stays at the edge, and no file grows out of sight.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// Bottom to top; modules of one row may know each other.
const LAYERS: &[&[&str]] = &[
    &["event", "clock", "config", "metrics", "shutdown", "swap", "sync", "telemetry"],
    &["protocol", "listener"],
    &["claimr", "auth", "hub"],
    &["engine"],
    &["capture"],
    &["ingest", "session", "probe"],
    &["transport"],
    &["http"],
    &["gateway"],
    &["cli"],
    &["fuzzing"],
];
/// Axum is a thing of the edge. (The listener and the gateway hand its requests and routers on.)
const AXUM_IN: &[&str] = &["http", "transport", "listener", "gateway"];
const LINES_MAX: usize = 500;

fn sources(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { sources(&path) } else { vec![path] }).collect()
}

pub(crate) fn rust_files(folder: &str) -> Vec<(PathBuf, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let files = sources(&root).into_iter().filter(|path| path.extension().is_some_and(|e| e == "rs"));
    files.map(|path| (path.strip_prefix(&root).unwrap().to_owned(), fs::read_to_string(&path).unwrap())).collect()
}

fn module_of(file: &Path) -> String {
    file.components().next().unwrap().as_os_str().to_str().unwrap().trim_end_matches(".rs").to_owned()
}

fn layer_of(module: &str) -> Option<usize> {
    LAYERS.iter().position(|row| row.contains(&module))
}

/// Every module named after `crate::` in code, in single paths and in groups.
fn imports(text: &str) -> Vec<String> {
    let code: String = text.lines().map(|line| line.split("//").next().unwrap_or("")).collect::<Vec<_>>().join("\n");
    let mut found = Vec::new();
    for (at, _) in code.match_indices("crate::") {
        let rest = &code[at + "crate::".len()..];
        let Some(group) = rest.strip_prefix('{') else {
            found.push(rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect());
            continue;
        };
        let (mut depth, mut item) = (0, String::new());
        for c in group.chars() {
            match c {
                '{' => depth += 1,
                '}' if depth == 0 => break,
                '}' => depth -= 1,
                ',' if depth == 0 => found.push(std::mem::take(&mut item)),
                c if depth == 0 => item.push(c),
                _ => {}
            }
        }
        found.push(item);
    }
    let first = |item: String| item.trim().split("::").next().unwrap_or("").trim().to_owned();
    found.into_iter().map(first).filter(|module| !module.is_empty()).collect()
}

#[test]
fn nothing_imports_upward() {
    let mut seen = 0;
    for (file, text) in rust_files("src") {
        let module = module_of(&file);
        if module == "lib" || module == "main" {
            continue;
        }
        let own = layer_of(&module).unwrap_or_else(|| panic!("{}: `{module}` has no layer", file.display()));
        for import in imports(&text) {
            let Some(other) = layer_of(&import) else { continue };
            assert!(other <= own, "{} imports `{import}`, which is above it", file.display());
            seen += 1;
        }
    }
    assert!(seen > 50, "the test reads imports at all: {seen}");
}

#[test]
fn axum_stays_at_the_edge() {
    for (file, text) in rust_files("src") {
        let module = module_of(&file);
        assert!(!text.contains("axum::") || AXUM_IN.contains(&module.as_str()), "{} uses axum", file.display());
    }
}

#[test]
fn nats_is_known_to_its_engine_only() {
    for (file, text) in rust_files("src") {
        let is_its_engine = file.to_str().unwrap().starts_with("engine/nats");
        assert!(!text.contains("async_nats") || is_its_engine, "{} uses async-nats", file.display());
    }
}

#[test]
fn no_file_grows_out_of_sight() {
    for folder in ["src", "tests", "benches"] {
        for (file, text) in rust_files(folder) {
            let lines = text.lines().count();
            assert!(lines <= LINES_MAX, "{folder}/{} has {lines} lines", file.display());
            assert!(file.file_name().unwrap() != "mod.rs", "{folder}/{}: modules are `foo.rs` and `foo/`", file.display());
            assert!(text.starts_with("//!") || file.ends_with("tests.rs"), "{folder}/{} says what it is for", file.display());
        }
    }
}

#[test]
fn groups_and_single_paths_are_both_read() {
    let text = "use crate::{event::{Epoch, Position}, hub::Hub, session};\nlet x = crate::auth::jwt::f(); // crate::comment::x";
    assert_eq!(imports(text), ["event", "hub", "session", "auth"]);
}
