//! The command line: one file per command, and what they share: where the configuration is, and how a failure is shown.
//!
//! Results go to standard output, everything else to standard error. With `--json` a result, and a failure as well, is one JSON
//! object on standard output.

pub mod check_config;
mod client;
pub mod dev;
pub mod doctor;
pub mod hooks;
pub mod learn;
mod progress;
mod scope;
pub mod token;
pub mod trigger;
pub mod verify;

use std::{
    io::{self, Write},
    path::PathBuf,
    process::ExitCode,
};

use anyhow::Context as _;
use clap::{Args, Parser, Subcommand};
use serde_json::json;
use tokio::runtime;

use crate::config::{
    Config, Mistakes,
    load::{self, load},
};

/// The arguments of the program. Not printable: some of them are secrets.
#[derive(Parser)]
#[command(name = "claimr-relay", version, about = env!("CARGO_PKG_DESCRIPTION"), arg_required_else_help = true)]
#[command(after_help = "Exit codes: 0 done, 1 failed, 2 bad usage or configuration.\n\n\
                        Example:\n  claimr-relay check-config --config relay.toml && claimr-relay serve --config relay.toml")]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Subcommand)]
pub enum Command {
    /// Run the gateway with an embedded configuration, on loopback, to try it
    Dev(dev::Dev),
    /// Run the gateway until a signal stops it
    #[command(after_help = "SIGTERM or SIGINT drains: every client is told to come back elsewhere. A second one ends at once.\n\
                            SIGHUP loads the configuration again: keys, secrets, certificates, origins, sources and most limits, without a disconnect.\n\n\
                            Example:\n  claimr-relay serve --config relay.toml")]
    Serve(ConfigFile),
    /// Find all mistakes of a configuration at once
    CheckConfig(check_config::CheckConfig),
    /// Make a token (JWT) for tests, signed with the first HS key of the configuration
    Token(token::Token),
    /// Send a realistic claimr delivery, signed, and say what became of it
    Trigger(Box<trigger::Trigger>),
    /// Register or remove a webhook at claimr
    Hooks(hooks::Hooks),
    /// Check a gateway from outside, through the proxies in front of it
    Doctor(doctor::Doctor),
    /// Find out which signature scheme and secret match a delivery, or why none does
    Verify(verify::Args),
    /// Find out from real deliveries how claimr signs and where its fields stand
    Learn(learn::Learn),
}

impl Command {
    /// Whether results and failures are shown as JSON.
    pub fn json(&self) -> bool {
        match self {
            Self::Dev(_) | Self::Serve(_) => false,
            Self::CheckConfig(command) => command.json,
            Self::Token(command) => command.json,
            Self::Trigger(command) => command.json,
            Self::Hooks(command) => command.json(),
            Self::Doctor(command) => command.json,
            Self::Verify(command) => command.json,
            Self::Learn(command) => command.json,
        }
    }
}

/// Where the configuration is.
#[derive(Debug, Args)]
pub struct ConfigFile {
    /// The configuration file [default: what the environment variable `CLAIMR_RELAY_CONFIG` names]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

impl ConfigFile {
    /// The configuration, with the process's environment laid over it.
    pub fn load(&self) -> Result<Config, Failure> {
        Ok(load(Some(&self.path()?), environment())?)
    }

    /// The file's path.
    pub fn path(&self) -> Result<PathBuf, Failure> {
        let missing =
            "no configuration file\n      -> name it: --config relay.toml, or CLAIMR_RELAY_CONFIG=relay.toml in the environment";
        self.named().ok_or_else(|| Failure::Usage(missing.to_owned()))
    }

    /// The file that was named, if one was.
    fn named(&self) -> Option<PathBuf> {
        let from_environment = || std::env::var_os("CLAIMR_RELAY_CONFIG").filter(|path| !path.is_empty()).map(PathBuf::from);
        self.config.clone().or_else(from_environment)
    }
}

/// What is not UTF-8 counts as not set: no setting and no secret can hold it.
fn environment() -> impl Iterator<Item = (String, String)> {
    std::env::vars_os().filter_map(|(name, text)| Some((name.into_string().ok()?, text.into_string().ok()?)))
}

/// Why a command did not do what it was asked for.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The configuration is wrong.
    #[error(transparent)]
    Configuration(#[from] load::Mistakes),
    /// The arguments are wrong.
    #[error("{0}")]
    Usage(String),
    /// Anything else.
    #[error("{0:#}")]
    Failed(#[from] anyhow::Error),
}

impl Failure {
    /// Shows it, on standard error or as JSON on standard output, and says what the program ends with.
    pub fn report(&self, as_json: bool) -> ExitCode {
        let shown = if as_json {
            let mut failure = json!({ "ok": false, "error": self.to_string() });
            if let Self::Configuration(Mistakes(mistakes)) = self {
                failure = json!({ "ok": false, "mistakes": mistakes });
            }
            writeln!(io::stdout(), "{failure}")
        } else {
            writeln!(io::stderr(), "claimr-relay: {}", self.to_string().trim_end())
        };
        // If nobody is there to read it, the exit code still says that it failed.
        drop(shown);
        match self {
            Self::Configuration(_) | Self::Usage(_) => ExitCode::from(2),
            Self::Failed(_) => ExitCode::FAILURE,
        }
    }
}

/// Holds a command's conversation with another machine, on this thread.
fn converse<T>(conversation: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let runtime = runtime::Builder::new_current_thread().enable_all().build().context("starting")?;
    let outcome = runtime.block_on(conversation);
    // A host name that is still being looked up must not hold up the end.
    runtime.shutdown_background();
    outcome
}

/// Prints a result, as it is or as JSON.
fn print(text: &str) -> Result<(), Failure> {
    let written = writeln!(io::stdout(), "{}", text.trim_end());
    match written {
        // A reader like `head` may have left; it has what it wanted.
        Err(e) if e.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        written => Ok(written.map_err(anyhow::Error::from)?),
    }
}
