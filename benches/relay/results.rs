//! What was measured, as tables for people and as a file that the plots are made from.

use std::{collections::BTreeSet, fmt::Write as _, fs, path::Path};

use serde::{Deserialize, Serialize};

/// One line of a table.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Row {
    pub(crate) scenario: String,
    /// Product and carrier.
    pub(crate) of: String,
    /// What makes it another line: a size, a rate.
    pub(crate) at: String,
    /// Column and figure.
    pub(crate) cells: Vec<(String, Option<f64>)>,
}

impl Row {
    pub(crate) fn cell(&self, name: &str) -> Option<f64> {
        self.cells.iter().find(|(column, _)| column == name)?.1
    }
}

/// One table for each scenario, in Markdown.
pub(crate) fn tables(rows: &[Row]) -> String {
    let mut out = String::new();
    for group in rows.chunk_by(|a, b| a.scenario == b.scenario) {
        let Some(first) = group.first() else { continue };
        let columns: Vec<&str> = first.cells.iter().map(|(column, _)| column.as_str()).collect();
        // Writing to a String cannot fail.
        let _ = writeln!(out, "\n{}\n\n| | | {} |", first.scenario, columns.join(" | "));
        let _ = writeln!(out, "|{}", " --- |".repeat(columns.len() + 2));
        for row in group {
            let cells: Vec<String> = row.cells.iter().map(|(_, figure)| figure.map(shown).unwrap_or_default()).collect();
            let _ = writeln!(out, "| {} | {} | {} |", row.of, row.at, cells.join(" | "));
        }
    }
    out
}

/// Three digits that count, or all of a whole number.
pub(crate) fn shown(figure: f64) -> String {
    match figure.abs() {
        0.0 => "0".to_owned(),
        below if below < 1.0 => format!("{figure:.3}"),
        below if below < 10.0 => format!("{figure:.2}"),
        below if below < 100.0 => format!("{figure:.1}"),
        _ => grouped(figure),
    }
}

fn grouped(figure: f64) -> String {
    let digits = format!("{figure:.0}");
    let (sign, digits) = digits.strip_prefix('-').map_or(("", digits.as_str()), |rest| ("-", rest));
    let mut out = String::from(sign);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// All that the file has.
pub(crate) fn load(file: &Path) -> anyhow::Result<Vec<Row>> {
    if file.exists() { Ok(serde_json::from_slice(&fs::read(file)?)?) } else { Ok(Vec::new()) }
}

/// Adds `rows` to the file, in place of earlier ones of the same line.
pub(crate) fn save(file: &Path, rows: &[Row]) -> anyhow::Result<()> {
    let line = |row: &Row| (row.scenario.clone(), row.of.clone(), row.at.clone());
    let new: BTreeSet<_> = rows.iter().map(line).collect();
    let mut all = load(file)?;
    all.retain(|row| !new.contains(&line(row)));
    all.extend_from_slice(rows);
    if let Some(folder) = file.parent() {
        fs::create_dir_all(folder)?;
    }
    Ok(fs::write(file, serde_json::to_string_pretty(&all)? + "\n")?)
}
