//! claimr-relay: arguments, allocator, signals; everything else is in the library.

use std::{
    io::{self, Write as _},
    process::ExitCode,
};

use anyhow::Context as _;
use claimr_relay::{
    cli::{
        Cli, Command, Failure,
        check_config::load_checked,
        dev::{Dev, Stop},
        verify,
    },
    clock,
    config::{Config, Log},
    gateway::Gateway,
    telemetry,
};
use clap::Parser as _;
use tokio::{
    runtime, select,
    signal::unix::{Signal, SignalKind, signal},
    sync::oneshot,
};

#[cfg(not(target_env = "msvc"))]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    let command = Cli::parse().command;
    let as_json = command.json();
    let done = |()| ExitCode::SUCCESS;
    let outcome = match command {
        Command::Dev(command) => dev(&command).map(done),
        Command::Serve(file) => load_checked(&file).and_then(serve).map(done),
        Command::CheckConfig(command) => command.run().map(done),
        Command::Token(command) => command.run().map(done),
        Command::Trigger(command) => command.run(),
        Command::Hooks(command) => command.run(),
        Command::Doctor(command) => command.run(),
        Command::Learn(command) => command.run().map(done),
        Command::Verify(arguments) => verify::run(arguments, clock::now()).map_err(Failure::from),
    };
    outcome.unwrap_or_else(|failure| failure.report(as_json))
}

fn dev(command: &Dev) -> Result<(), Failure> {
    let prepared = command.prepare(clock::now())?;
    let log = prepared.log().clone();
    // A reader like `head` may have left; the gateway runs all the same.
    let show = |instructions: String| drop(writeln!(io::stdout(), "{instructions}"));
    run(&log, |stop| prepared.run(stop, show))
}

fn serve(config: Config) -> Result<(), Failure> {
    let log = config.log.clone();
    run(&log, |stop| gateway(config, stop))
}

/// Runs what `begin` makes of a wish to stop, until a signal is that wish.
fn run<F>(log: &Log, begin: impl FnOnce(Stop) -> F) -> Result<(), Failure>
where
    F: Future<Output = anyhow::Result<()>>,
{
    telemetry::init(log).context("logging")?;
    // As many workers as the machine, or the container, has processors for us.
    let runtime = runtime::Builder::new_multi_thread().enable_all().build().context("starting threads")?;
    let outcome = runtime.block_on(async {
        let mut signals = Signals::new().context("listening for signals")?;
        let (stop, stopped) = oneshot::channel::<()>();
        tracing::info!(version = env!("CARGO_PKG_VERSION"), "starting");
        let running = begin(Box::pin(async { drop(stopped.await) }));
        tokio::pin!(running);
        select! {
            ended = &mut running => return ended,
            name = signals.next() => tracing::info!(signal = name, "stopping; the next signal ends at once"),
        }
        drop(stop);
        select! {
            ended = &mut running => ended,
            name = signals.next() => anyhow::bail!("{name} came again before everybody was told to leave"),
        }
    });
    // Whatever still runs has had its time, and must not hold up the end.
    runtime.shutdown_background();
    Ok(outcome?)
}

/// Serves until `stop` is there, and everybody was told to leave.
async fn gateway(config: Config, stop: Stop) -> anyhow::Result<()> {
    let gateway = Gateway::bind(config)?;
    tracing::info!(address = %gateway.address()?, admin = %gateway.admin_address()?, "serving");
    gateway.run(stop).await;
    Ok(())
}

/// What a service manager, or a person at a terminal, says to end the program.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    /// The next signal's name.
    async fn next(&mut self) -> &'static str {
        select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}
