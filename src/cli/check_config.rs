//! `claimr-relay check-config`: all mistakes at once, or the effective configuration.

use clap::Args;
use serde_json::json;

use super::{ConfigFile, Failure, dev::DEV_ISSUER, print};
use crate::{
    config::{Config, Mistake, Mistakes},
    gateway::{Gateway, SettingProblem},
};

/// Finds all mistakes of a configuration at once.
#[derive(Debug, Args)]
#[command(after_help = "Exit code 2 if there is a mistake.\n\n\
                        Examples:\n  claimr-relay check-config --config relay.toml\n  \
                        CLAIMR_RELAY__SERVER__LISTEN=0.0.0.0:80 claimr-relay check-config --config relay.toml --print")]
pub struct CheckConfig {
    #[command(flatten)]
    file: ConfigFile,
    /// Show the effective configuration, with secrets as ***
    #[arg(long)]
    print: bool,
    /// Show the result as JSON
    #[arg(long)]
    pub(super) json: bool,
}

impl CheckConfig {
    /// Shows what came out.
    pub fn run(&self) -> Result<(), Failure> {
        let config = load_checked(&self.file)?;
        match (self.json, self.print) {
            (true, true) => print(&json!({ "ok": true, "mistakes": [], "config": config }).to_string()),
            (true, false) => print(&json!({ "ok": true, "mistakes": [] }).to_string()),
            (false, true) => print(&config.to_toml_redacted()),
            (false, false) => print(&format!("{}: no mistakes", self.file.path()?.display())),
        }
    }
}

/// The configuration, if every part of the gateway can work with it: what `serve` starts with.
pub fn load_checked(file: &ConfigFile) -> Result<Config, Failure> {
    let config = file.load()?;
    let mistakes = component_mistakes(&config);
    if mistakes.is_empty() { Ok(config) } else { Err(Mistakes(mistakes).into()) }
}

/// What only the parts themselves can judge, such as the strength of a key.
fn component_mistakes(config: &Config) -> Vec<Mistake> {
    let mistake = |problem: SettingProblem| Mistake {
        key: problem.setting,
        origin: "the effective configuration".to_owned(),
        problem: problem.problem,
        remedy: "see this setting in src/config/default.toml".to_owned(),
    };
    let issuer = (config.auth.issuer == DEV_ISSUER).then(|| SettingProblem {
        setting: "auth.issuer".to_owned(),
        problem: "this is the issuer of the tokens that `claimr-relay dev` prints".to_owned(),
    });
    issuer.into_iter().chain(Gateway::problems(config)).map(mistake).collect()
}
