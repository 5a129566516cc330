//! The plots of `docs/performance.md`, drawn from the results: bars in panels, with their figures on them.

use std::{fmt::Write as _, fs, path::Path};

use crate::results::{Row, shown};

/// One group of bars with a title.
struct Panel<'a> {
    title: &'a str,
    bars: Vec<Bar>,
}

struct Bar {
    name: String,
    figure: f64,
    is_ours: bool,
}

const PANEL: f64 = 300.0;
const BAR: f64 = 18.0;
const GAP: f64 = 8.0;
const TOP: f64 = 30.0;
/// Where bars begin, and how long the longest is.
const LEFT: f64 = 108.0;
const LENGTH: f64 = 120.0;

/// Writes the plots into a folder.
pub(crate) fn plot(rows: &[Row], folder: &Path) -> anyhow::Result<()> {
    let beside = |scenario: &str, at: &str, column: &str| -> Vec<Bar> {
        let of_it = rows.iter().filter(|row| row.scenario == scenario && row.at.contains(at));
        of_it
            .filter_map(|row| {
                Some(Bar { name: row.of.clone(), figure: row.cell(column)?, is_ours: !row.of.starts_with("nchan") })
            })
            .collect()
    };
    let along = |scenario: &str, unit: &str, column: &str| -> Vec<Bar> {
        let of_it = rows.iter().filter(|row| row.scenario == scenario && row.of.ends_with("WebSocket"));
        let name = |at: &str| at.parse().map_or(at.to_owned(), shown) + " " + unit;
        of_it.filter_map(|row| Some(Bar { name: name(&row.at), figure: row.cell(column)?, is_ours: true })).collect()
    };
    let peers = [
        Panel { title: "broadcast deliveries a second", bars: beside("fanout", "closed loop", "deliveries/s") },
        Panel { title: "personal events a second", bars: beside("saturation", "", "deliveries/s") },
        Panel { title: "bytes of an idle session", bars: beside("idle", "", "resident bytes per session") },
    ];
    let flat = [
        Panel { title: "µs of processor for an event", bars: along("sessions", "sessions", "server µs each") },
        Panel { title: "bytes of a session", bars: along("sessions", "sessions", "resident bytes per session") },
        Panel { title: "µs of processor for an event", bars: along("history", "events", "server µs each") },
    ];
    fs::write(folder.join("performance.svg"), draw(&peers))?;
    fs::write(folder.join("performance-flat.svg"), draw(&flat))?;
    Ok(())
}

fn draw(panels: &[Panel<'_>]) -> String {
    let rows = panels.iter().map(|panel| panel.bars.len()).max().unwrap_or(0);
    let (width, height) = (PANEL * panels.len() as f64, TOP + rows as f64 * (BAR + GAP) + GAP);
    // Its own colours, on paper of its own, because pages may be dark or light.
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" font-family=\"system-ui, sans-serif\" font-size=\"11\">\n\
         <rect width=\"{width}\" height=\"{height}\" fill=\"#ffffff\"/>\n"
    );
    for (panel, left) in panels.iter().zip((0..).map(|at| f64::from(at) * PANEL)) {
        // Writing to a String cannot fail.
        let _ = writeln!(svg, "<text x=\"{}\" y=\"18\" font-size=\"13\" fill=\"#1c2330\">{}</text>", left + 8.0, panel.title);
        let longest = panel.bars.iter().map(|bar| bar.figure).fold(1.0, f64::max);
        for (bar, at) in panel.bars.iter().zip(0..) {
            let (y, length) = (TOP + f64::from(at) * (BAR + GAP), bar.figure / longest * LENGTH);
            let (text_y, color) = (y + BAR * 0.72, if bar.is_ours { "#2f6fdf" } else { "#9aa3b2" });
            let name = bar.name.replace("claimr-relay, ", "");
            let _ = writeln!(
                svg,
                "<text x=\"{}\" y=\"{text_y}\" text-anchor=\"end\" fill=\"#1c2330\">{name}</text>",
                left + LEFT - 6.0
            );
            let _ = writeln!(
                svg,
                "<rect x=\"{}\" y=\"{y}\" width=\"{length:.1}\" height=\"{BAR}\" rx=\"2\" fill=\"{color}\"/>",
                left + LEFT
            );
            let figure = shown(bar.figure);
            let _ =
                writeln!(svg, "<text x=\"{:.1}\" y=\"{text_y}\" fill=\"#1c2330\">{figure}</text>", left + LEFT + length + 5.0);
        }
    }
    svg + "</svg>\n"
}
