//! claimr-relay: arguments, allocator, signals; everything else is in the library.

use std::{future::pending, io, net::SocketAddr, process::ExitCode};

use anyhow::Context as _;
use claimr_relay::{
    cli::{Cli, Command, ConfigFile, Failure, check_config::load_checked, dev::Dev, verify},
    clock,
    config::{Config, Mistakes},
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
        Command::Serve(file) => load_checked(&file).and_then(|config| run(config, Some(&file), |_, _| ())).map(done),
        Command::CheckConfig(command) => command.run().map(done),
        Command::Token(command) => command.run().map(done),
        Command::Verify(arguments) => verify::run(arguments, clock::now()).map_err(Failure::from),
    };
    outcome.unwrap_or_else(|failure| failure.report(as_json))
}

fn dev(command: &Dev) -> Result<(), Failure> {
    let prepared = command.prepare(clock::now())?;
    let config = prepared.config.clone();
    run(config, None, |address, admin| println!("{}", prepared.instructions(address, admin)))
}

/// Runs a gateway until a signal stops it. `serving` is told its addresses; SIGHUP loads `file` again, if there is one.
fn run(config: Config, file: Option<&ConfigFile>, serving: impl FnOnce(SocketAddr, SocketAddr)) -> Result<(), Failure> {
    telemetry::init(&config.log).context("logging")?;
    // As many workers as the machine, or the container, has processors for us.
    let runtime = runtime::Builder::new_multi_thread().enable_all().build().context("starting threads")?;
    let outcome = runtime.block_on(async {
        let mut signals = Signals::new(file.is_some()).context("listening for signals")?;
        let (stop, stopped) = oneshot::channel::<()>();
        tracing::info!(version = env!("CARGO_PKG_VERSION"), "starting");
        let gateway = Gateway::bind(config)?;
        let (address, admin, reloader) = (gateway.address()?, gateway.admin_address()?, gateway.reloader());
        tracing::info!(%address, %admin, "serving");
        serving(address, admin);
        let running = gateway.run(async { drop(stopped.await) });
        tokio::pin!(running);
        select! {
            () = &mut running => return Ok(()),
            name = signals.stop_or_reload(|| reload(&reloader, file)) => {
                tracing::info!(signal = name, "stopping; the next signal ends at once");
            }
        }
        drop(stop);
        select! {
            () = &mut running => Ok(()),
            name = signals.stop() => anyhow::bail!("{name} came again before everybody was told to leave"),
        }
    });
    // Whatever still runs has had its time, and must not hold up the end.
    runtime.shutdown_background();
    Ok(outcome?)
}

/// Takes up the configuration file as it is now; or says all that is wrong with it, and changes nothing.
fn reload(reloader: &Reloader, file: Option<&ConfigFile>) {
    let Some(file) = file else { return };
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

/// What a service manager, or a person at a terminal, says to the program.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    /// Only where there is something to load again: else a terminal that goes away ends us.
    hangup: Option<Signal>,
}

impl Signals {
    fn new(reloads: bool) -> io::Result<Self> {
        let hangup = reloads.then(|| signal(SignalKind::hangup())).transpose()?;
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())?, hangup })
    }

    /// The name of the next signal that ends the program.
    async fn stop(&mut self) -> &'static str {
        select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }

    /// The same; until then each SIGHUP calls `reload`.
    async fn stop_or_reload(&mut self, reload: impl Fn()) -> &'static str {
        loop {
            let hangup = async {
                match &mut self.hangup {
                    Some(hangup) => hangup.recv().await,
                    None => pending().await,
                }
            };
            select! {
                _ = self.terminate.recv() => return "SIGTERM",
                _ = self.interrupt.recv() => return "SIGINT",
                _ = hangup => reload(),
            }
        }
    }
}
