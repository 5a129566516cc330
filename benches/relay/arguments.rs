//! What can be asked for on the command line, and asking for it.

use std::{path::PathBuf, time::Duration};

use anyhow::ensure;
use clap::{Parser, ValueEnum as _};

use crate::{
    fill, plot, results,
    scenarios::{self, Scenario, Sizes},
    server::{Carrier, Product},
};

/// What is measured beside the gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Against {
    /// nchan in nginx: apt-get install nginx-light libnginx-mod-nchan
    Nchan,
}

/// A carrier.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Over {
    Websocket,
    Sse,
    Both,
}

/// Measures the gateway's release binary with thousands of clients.
#[derive(Debug, Parser)]
#[command(name = "relay", after_help = "Example: cargo bench --bench relay -- personal fanout --against nchan")]
pub(crate) struct Arguments {
    /// What to measure; everything if none is named
    scenarios: Vec<Scenario>,
    /// Measure this beside it: personal, saturation, fanout, idle
    #[arg(long)]
    against: Option<Against>,
    /// The carriers of personal, saturation, fanout, idle and resume; the others take WebSocket unless one is named
    #[arg(long)]
    over: Option<Over>,
    /// Connected users; an open file each, here and in the server
    #[arg(long, default_value_t = 10_000)]
    clients: usize,
    /// Events a second, where events come at a rate
    #[arg(long, default_value_t = 10_000.0)]
    rate: f64,
    /// Seconds that are measured, after one of warming up
    #[arg(long, default_value_t = 4.0)]
    seconds: f64,
    /// The sizes of `sessions`
    #[arg(long, value_delimiter = ',', default_value = "1000,5000,10000,19000")]
    sessions: Vec<usize>,
    /// The lengths of the log of `history`; the last is that of `start`. 1.1 GB of disk for a million
    #[arg(long, value_delimiter = ',', default_value = "0,1000000,10000000")]
    events: Vec<u64>,
    /// Events that each client of `resume` missed
    #[arg(long, default_value_t = 100)]
    missed: u32,
    /// `store.engine` where the log's past does not matter: disk or memory
    #[arg(long, default_value = "disk")]
    engine: String,
    /// Where long logs are made
    #[arg(long, default_value = "target/relay-bench")]
    data: PathBuf,
    /// Keep the long logs for the next time, for up to 12 hours
    #[arg(long)]
    keep: bool,
    /// Where the results are added
    #[arg(long, default_value = "target/relay-bench.json")]
    results: PathBuf,
    /// Draw the plots of the results into this folder, and measure nothing
    #[arg(long, value_name = "FOLDER")]
    plot: Option<PathBuf>,
    /// Cargo says so
    #[arg(long, hide = true)]
    bench: bool,
}

impl Arguments {
    /// Does as it was told.
    pub(crate) fn run(self) -> anyhow::Result<()> {
        if let Some(folder) = &self.plot {
            return plot::plot(&results::load(&self.results)?, folder);
        }
        let all = Scenario::value_variants();
        let wanted = if self.scenarios.is_empty() { all } else { &self.scenarios };
        let products: &[Product] =
            if self.against.is_some() { &[Product::ClaimrRelay, Product::Nchan] } else { &[Product::ClaimrRelay] };
        for product in products {
            product.check()?;
        }
        let (sizes, mut good) = (self.sizes(), true);
        let mut rows = Vec::new();
        for scenario in wanted {
            for product in products {
                let mut report = |row: results::Row| {
                    eprintln!("{}", results::tables(std::slice::from_ref(&row)).lines().last().unwrap_or_default());
                    rows.push(row);
                };
                good &= scenarios::run(*scenario, *product, self.carriers(*scenario), &sizes, &mut report)?;
            }
            results::save(&self.results, &rows)?;
        }
        println!("{}", results::tables(&rows));
        if !self.keep {
            fill::clean(&self.data)?;
        }
        ensure!(good, "something was lost, doubled, reordered, misrouted or refused");
        Ok(())
    }

    fn carriers(&self, scenario: Scenario) -> &'static [Carrier] {
        match (self.over, scenario) {
            (Some(Over::Websocket), _) | (None, Scenario::Sessions | Scenario::History) => &[Carrier::WebSocket],
            (Some(Over::Sse), _) => &[Carrier::Sse],
            (Some(Over::Both) | None, _) => &Carrier::BOTH,
        }
    }

    fn sizes(&self) -> Sizes {
        Sizes {
            clients: self.clients,
            rate: self.rate,
            warming: Duration::from_secs(1),
            measured: Duration::from_secs_f64(self.seconds),
            settling: Duration::from_millis(1_500),
            sessions: self.sessions.clone(),
            events: self.events.clone(),
            missed: self.missed,
            starts: 3,
            engine: self.engine.clone(),
            data: self.data.clone(),
        }
    }
}
