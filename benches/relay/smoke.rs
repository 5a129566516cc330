//! Every scenario in small, against the debug binary, as one test: nothing may be lost, doubled, reordered or misrouted. Times are not looked at.

use std::{
    collections::BTreeSet,
    env,
    time::{Duration, Instant},
};

use anyhow::{Context as _, ensure};
use clap::ValueEnum as _;

use crate::{
    results::Row,
    scenarios::{self, Scenario, Sizes},
    server::{Carrier, Product},
};

const NAME: &str = "bench::relay";

/// Runs it, unless the arguments of the test run name other tests.
pub(crate) fn run() -> anyhow::Result<()> {
    let names: Vec<String> = env::args().skip(1).filter(|argument| !argument.starts_with('-')).collect();
    if env::args().any(|argument| argument == "--list")
        || (!names.is_empty() && !names.iter().any(|name| NAME.contains(name.as_str())))
    {
        return Ok(());
    }
    let since = Instant::now();
    let data = tempfile::tempdir()?;
    let sizes = Sizes {
        clients: 20,
        rate: 500.0,
        warming: Duration::from_millis(20),
        measured: Duration::from_millis(100),
        settling: Duration::ZERO,
        sessions: vec![10, 20],
        events: vec![0, 1_000],
        missed: 10,
        starts: 1,
        engine: "disk".to_owned(),
        data: data.path().to_owned(),
    };
    let mut rows: Vec<Row> = Vec::new();
    for scenario in Scenario::value_variants() {
        let good = scenarios::run(*scenario, Product::ClaimrRelay, &Carrier::BOTH, &sizes, &mut |row| rows.push(row));
        let good = good.with_context(|| format!("{scenario:?}"))?;
        ensure!(good, "{scenario:?}: something was lost, doubled, reordered, misrouted or refused");
    }
    let lines: BTreeSet<&str> = rows.iter().map(|row| row.scenario.as_str()).collect();
    ensure!(lines.len() == Scenario::value_variants().len(), "some have no result: {lines:?}");
    println!("test {NAME} ... ok ({:.1} s)", since.elapsed().as_secs_f64());
    Ok(())
}
