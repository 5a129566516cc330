//! What is measured, each as a story: a fresh server, its clients, a load, and the line of a table.

mod past;

use std::{path::PathBuf, time::Duration};

use serde_json::Value;

use crate::{
    kernel,
    ledger::{Expected, Mistakes},
    load::{Load, Outcome, Pace},
    results::Row,
    server::{Carrier, Product, Server, Setup},
};

/// A scenario.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Scenario {
    /// Events for one user each, at a rate: what one costs, and how long it takes
    Personal,
    /// Events for one user each, as many as it takes
    Saturation,
    /// Events for everybody: two a second, and as many as it takes
    Fanout,
    /// What a session costs that hears nothing
    Idle,
    /// Whether an event costs more where more are connected
    Sessions,
    /// Whether an event costs more where the log is longer
    History,
    /// How long it takes to start with a long log
    Start,
    /// How long it takes until everybody has what they missed, after all were away
    Resume,
}

/// How large everything is.
#[derive(Clone, Debug)]
pub(crate) struct Sizes {
    pub(crate) clients: usize,
    /// Personal events a second, where a rate is given.
    pub(crate) rate: f64,
    pub(crate) warming: Duration,
    pub(crate) measured: Duration,
    /// Between the last connection and the look at the memory.
    pub(crate) settling: Duration,
    /// Sessions of `sessions`.
    pub(crate) sessions: Vec<usize>,
    /// Lengths of the log of `history`; the last is that of `start`.
    pub(crate) events: Vec<u64>,
    /// Events that each client of `resume` missed.
    pub(crate) missed: u32,
    pub(crate) starts: usize,
    pub(crate) engine: String,
    /// Where long logs are.
    pub(crate) data: PathBuf,
}

/// Runs a scenario with one product, and hands on each line as soon as it is there. True if nothing was wrong.
pub(crate) fn run(
    scenario: Scenario,
    product: Product,
    carriers: &[Carrier],
    sizes: &Sizes,
    report: &mut dyn FnMut(Row),
) -> anyhow::Result<bool> {
    let mut bench = Bench { product, sizes, report, good: true };
    for carrier in carriers {
        match scenario {
            Scenario::Personal => bench.personal(*carrier)?,
            Scenario::Saturation => bench.saturation(*carrier)?,
            Scenario::Fanout => bench.fanout(*carrier)?,
            Scenario::Idle => bench.idle(*carrier)?,
            Scenario::Sessions => bench.sessions(*carrier)?,
            Scenario::History => bench.history(*carrier)?,
            Scenario::Start => {}
            Scenario::Resume => bench.resume(*carrier)?,
        }
    }
    if scenario == Scenario::Start {
        bench.start()?;
    }
    Ok(bench.good)
}

/// What a scenario has at hand.
struct Bench<'a> {
    product: Product,
    sizes: &'a Sizes,
    report: &'a mut dyn FnMut(Row),
    good: bool,
}

/// Handshakes that are under way together.
const TOGETHER: usize = 64;

impl Bench<'_> {
    fn setup(&self) -> Setup {
        Setup { product: self.product, broadcasts: false, engine: self.sizes.engine.clone(), log: None }
    }

    fn row(&mut self, scenario: &str, carrier: Carrier, at: &str, cells: Vec<(&str, Option<f64>)>, wrong: &Mistakes) {
        let mut cells: Vec<(String, Option<f64>)> = cells.into_iter().map(|(name, figure)| (name.to_owned(), figure)).collect();
        cells.push(("wrong".to_owned(), Some(wrong.count() as f64)));
        if wrong.count() > 0 {
            // What nchan does is shown, and no fault of ours.
            self.good &= self.product != Product::ClaimrRelay;
            eprintln!("{scenario}, {}, {}: {wrong:?}", self.product.name(), carrier.name());
        }
        let of = format!("{}, {}", self.product.name(), carrier.name());
        (self.report)(Row { scenario: scenario.to_owned(), of, at: at.to_owned(), cells });
    }

    fn personal(&mut self, carrier: Carrier) -> anyhow::Result<()> {
        for rate in [self.sizes.rate / 10.0, self.sizes.rate] {
            let server = Server::start(self.setup())?;
            let mut load = Load::new(&server, Expected::ItsUser, self.sizes.clients)?;
            load.connect(self.sizes.clients, carrier, None, TOGETHER)?;
            let outcome = self.measure(&mut load, Pace::Open(rate))?;
            self.row("personal", carrier, &format!("{rate:.0}/s"), latency_cells(&outcome), &outcome.mistakes);
        }
        Ok(())
    }

    fn saturation(&mut self, carrier: Carrier) -> anyhow::Result<()> {
        const UNDER_WAY: u64 = 1_000;
        let server = Server::start(self.setup())?;
        let mut load = Load::new(&server, Expected::ItsUser, self.sizes.clients)?;
        load.connect(self.sizes.clients, carrier, None, TOGETHER)?;
        let outcome = self.measure(&mut load, Pace::Closed(UNDER_WAY))?;
        self.row("saturation", carrier, "closed loop", speed_cells(&outcome), &outcome.mistakes);
        Ok(())
    }

    fn fanout(&mut self, carrier: Carrier) -> anyhow::Result<()> {
        for (at, pace) in [("2/s", Pace::Open(2.0)), ("closed loop", Pace::Closed(2))] {
            let server = Server::start(Setup { broadcasts: true, ..self.setup() })?;
            let mut load = Load::new(&server, Expected::Everybody, self.sizes.clients)?;
            load.connect(self.sizes.clients, carrier, None, TOGETHER)?;
            let outcome = self.measure(&mut load, pace)?;
            let mut cells = speed_cells(&outcome);
            cells.push(("last has it, ms p50", outcome.figures["latency_ms"]["complete"]["p50"].as_f64()));
            self.row("fanout", carrier, at, cells, &outcome.mistakes);
        }
        Ok(())
    }

    fn idle(&mut self, carrier: Carrier) -> anyhow::Result<()> {
        let server = Server::start(self.setup())?;
        let mut load = Load::new(&server, Expected::ItsUser, self.sizes.clients)?;
        let bytes = self.connect_and_weigh(&server, &mut load, self.sizes.clients, carrier)?;
        let mistakes = load.ledger.mistakes.clone();
        let at = format!("{} sessions", self.sizes.clients);
        self.row("idle", carrier, &at, vec![("resident bytes per session", Some(bytes))], &mistakes);
        Ok(())
    }

    fn sessions(&mut self, carrier: Carrier) -> anyhow::Result<()> {
        /// Files that the load and the server need for everything else.
        const OTHER_FILES: usize = 300;
        let files = rlimit::getrlimit(rlimit::Resource::NOFILE).map_or(1_024, |(soft, _)| soft);
        let room = usize::try_from(files).unwrap_or(usize::MAX).saturating_sub(OTHER_FILES);
        for count in &self.sizes.sessions {
            if *count > room {
                eprintln!("sessions: {count} are more than {files} open files allow");
                continue;
            }
            let server = Server::start(self.setup())?;
            let mut load = Load::new(&server, Expected::ItsUser, *count)?;
            let bytes = self.connect_and_weigh(&server, &mut load, *count, carrier)?;
            let outcome = self.measure(&mut load, Pace::Open(self.sizes.rate))?;
            let mut cells = vec![("resident bytes per session", Some(bytes))];
            cells.extend(latency_cells(&outcome));
            self.row("sessions", carrier, &count.to_string(), cells, &outcome.mistakes);
        }
        Ok(())
    }

    fn measure(&self, load: &mut Load<'_>, pace: Pace) -> anyhow::Result<Outcome> {
        load.run(pace, self.sizes.warming, self.sizes.measured)
    }

    /// Connects, waits until nothing moves, and says what each session added to the server's memory.
    fn connect_and_weigh(&self, server: &Server, load: &mut Load<'_>, count: usize, carrier: Carrier) -> anyhow::Result<f64> {
        let before = kernel::resident(&server.processes());
        load.connect(count, carrier, None, TOGETHER)?;
        load.rest(self.sizes.settling)?;
        Ok((kernel::resident(&server.processes()) as f64 - before as f64) / count as f64)
    }
}

fn speed_cells(outcome: &Outcome) -> Vec<(&'static str, Option<f64>)> {
    let figure = |name: &str| outcome.figures[name].as_f64();
    vec![
        ("deliveries/s", figure("deliveries_per_s")),
        ("server µs each", figure("server_us_per_delivery")),
        ("p50 ms", outcome.figures["latency_ms"]["delivered"]["p50"].as_f64()),
        ("p99 ms", outcome.figures["latency_ms"]["delivered"]["p99"].as_f64()),
        ("server % of a core", figure("server_core_percent")),
        ("load % of a core", figure("load_core_percent")),
        ("others % of a core", figure("others_core_percent")),
    ]
}

fn latency_cells(outcome: &Outcome) -> Vec<(&'static str, Option<f64>)> {
    let figure = |value: &Value| value.as_f64();
    let latency = &outcome.figures["latency_ms"];
    vec![
        ("deliveries/s", figure(&outcome.figures["deliveries_per_s"])),
        ("server µs each", figure(&outcome.figures["server_us_per_delivery"])),
        ("p50 ms", figure(&latency["delivered"]["p50"])),
        ("p99 ms", figure(&latency["delivered"]["p99"])),
        ("max ms", figure(&latency["delivered"]["max"])),
        ("answer p99 ms", figure(&latency["answered"]["p99"])),
        ("overdue", figure(&outcome.figures["overdue"])),
        ("load % of a core", figure(&outcome.figures["load_core_percent"])),
        ("others % of a core", figure(&outcome.figures["others_core_percent"])),
    ]
}
