//! The scenarios in which the log has a past.

use std::{process::Command, time::Instant};

use anyhow::ensure;

use super::{Bench, TOGETHER, latency_cells};
use crate::{
    fill::{Filled, Wanted},
    kernel,
    ledger::{Expected, Mistakes},
    load::{Load, Pace},
    server::{Carrier, Product, Server, Setup},
};

impl Bench<'_> {
    /// A log with so many users that none of them has more events than the log keeps for one.
    fn history_of(&self, events: u64) -> Wanted<'static> {
        const EVENTS_PER_USER: usize = 500;
        let users = usize::try_from(events).unwrap_or(usize::MAX).div_ceil(EVENTS_PER_USER).max(self.sizes.clients);
        Wanted { name: "history", events, users }
    }

    fn with_log(&self, log: &Filled) -> Setup {
        Setup { log: Some(log.folder.clone()), engine: "disk".to_owned(), ..self.setup() }
    }

    fn is_ours(&self) -> bool {
        self.product == Product::ClaimrRelay
    }

    pub(super) fn history(&mut self, carrier: Carrier) -> anyhow::Result<()> {
        for events in self.sizes.events.clone() {
            if !self.is_ours() {
                continue;
            }
            let log = self.history_of(events);
            let setup = if events == 0 { self.setup() } else { self.with_log(&log.filled(&self.sizes.data)?) };
            let server = Server::start(setup)?;
            let mut load = Load::new(&server, Expected::ItsUser, self.sizes.clients)?;
            load.connect(self.sizes.clients, carrier, None, TOGETHER)?;
            let outcome = self.measure(&mut load, Pace::Open(self.sizes.rate))?;
            let mut cells = latency_cells(&outcome);
            cells.insert(0, ("server MiB", Some(kernel::resident(&server.processes()) as f64 / 1_048_576.0)));
            self.row("history", carrier, &events.to_string(), cells, &outcome.mistakes);
        }
        Ok(())
    }

    /// From the start of the process to the first 200 of `/readyz`.
    pub(super) fn start(&mut self) -> anyhow::Result<()> {
        let events = self.sizes.events.last().copied().unwrap_or_default();
        if !self.is_ours() {
            return Ok(());
        }
        let log = self.history_of(events).filled(&self.sizes.data)?;
        for is_cold in [false, true] {
            for number in 1..=self.sizes.starts {
                if is_cold {
                    forget_pages(&log)?;
                }
                let since = Instant::now();
                let server = Server::start(self.with_log(&log))?;
                let seconds = since.elapsed().as_secs_f64();
                let mebibytes = kernel::resident(&server.processes()) as f64 / 1_048_576.0;
                let at =
                    format!("{events} events, {} {number}", if is_cold { "not in the page cache" } else { "in the page cache" });
                let cells = vec![("s until ready", Some(seconds)), ("server MiB", Some(mebibytes))];
                self.row("start", Carrier::WebSocket, &at, cells, &Mistakes::default());
            }
        }
        Ok(())
    }

    /// Everybody comes at once with the same old cursor.
    pub(super) fn resume(&mut self, carrier: Carrier) -> anyhow::Result<()> {
        const AT_ONCE: usize = 1_000;
        if !self.is_ours() {
            return Ok(());
        }
        let (clients, missed) = (self.sizes.clients, self.sizes.missed);
        let events = clients as u64 * u64::from(missed);
        let log = Wanted { name: "resume", events, users: clients }.filled(&self.sizes.data)?;
        let server = Server::start(self.with_log(&log))?;
        let processes = server.processes();
        let mut load = Load::new(&server, Expected::Replay, clients)?;
        let before = kernel::processor_time(&processes);
        load.connect(clients, carrier, Some(&log.cursor), AT_ONCE)?;
        let (half, all) = load.until_heard(missed)?;
        let spent = kernel::processor_time(&processes).saturating_sub(before);
        load.rest(self.sizes.warming)?;
        ensure!(load.ledger.delivered == events, "{} of {events} events were replayed", load.ledger.delivered);
        let cells = vec![
            ("s until half is there", Some(half.as_secs_f64())),
            ("s until all is there", Some(all.as_secs_f64())),
            ("server µs each", Some(spent.as_secs_f64() * 1e6 / events as f64)),
            ("server MiB", Some(kernel::resident(&processes) as f64 / 1_048_576.0)),
        ];
        self.row("resume", carrier, &format!("{clients} clients, {missed} events each"), cells, &load.ledger.mistakes.clone());
        Ok(())
    }
}

/// Takes the log's files out of the machine's page cache; what the disk or its host keep is beyond our reach.
fn forget_pages(log: &Filled) -> anyhow::Result<()> {
    let script = r#"sync; for file in "$0"/*; do dd if="$file" iflag=nocache count=0 status=none || exit 1; done"#;
    ensure!(Command::new("sh").args(["-c", script]).arg(&log.folder).status()?.success(), "dd failed");
    Ok(())
}
