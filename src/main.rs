//! claimr-relay: arguments, allocator, signals; everything else is in the library.

use std::{
    io::{self, Write as _},
    process::ExitCode,
};

use anyhow::Context as _;
use claimr_relay::{
    cli::{
        Cli, Command, ConfigFile, Failure,
        check_config::load_checked,
        dev::{Dev, Stop},
        verify,
    },
    clock,
    config::{Config, Log, Mistakes},
    gateway::{Gateway, Reloader, SettingProblem},
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
        Command::Serve(file) => load_checked(&file).and_then(|config| serve(config, &file)).map(done),
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

fn serve(config: Config, file: &ConfigFile) -> Result<(), Failure> {
    let log = config.log.clone();
    run(&log, |stop| gateway(config, file, stop))
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

/// Serves until `stop` is there, and everybody was told to leave. Until then each SIGHUP loads `file` again.
async fn gateway(config: Config, file: &ConfigFile, stop: Stop) -> anyhow::Result<()> {
    // Only here, where there is something to load again: elsewhere a terminal that goes away ends us.
    let mut hangup = signal(SignalKind::hangup()).context("listening for signals")?;
    let gateway = Gateway::bind(config)?;
    let reloader = gateway.reloader();
    tracing::info!(address = %gateway.address()?, admin = %gateway.admin_address()?, "serving");
    let running = gateway.run(stop);
    tokio::pin!(running);
    loop {
        select! {
            () = &mut running => return Ok(()),
            _ = hangup.recv() => reload(&reloader, file),
        }
    }
}

/// Takes up the configuration file as it is now; or says all that is wrong with it, and changes nothing.
fn reload(reloader: &Reloader, file: &ConfigFile) {
    let refused = match load_checked(file) {
        Ok(config) => match reloader.apply(config) {
            Ok(()) => return tracing::info!("the configuration is loaded again and in force"),
            Err(refused) => {
                for SettingProblem { setting, problem } in refused.0 {
                    tracing::error!(key = setting, problem, "mistake in the configuration");
                }
                "it asks for what a running gateway cannot do".to_owned()
            }
        },
        Err(Failure::Configuration(Mistakes(mistakes))) => {
            for mistake in &mistakes {
                let (key, origin) = (&mistake.key, &mistake.origin);
                tracing::error!(key, origin, problem = mistake.problem, remedy = mistake.remedy, "mistake in the configuration");
            }
            "it has mistakes".to_owned()
        }
        Err(failure) => failure.to_string(),
    };
    tracing::error!(reason = refused, "the configuration was not loaded again; the one in force stays");
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
