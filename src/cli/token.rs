//! `claimr-relay token`: a token as a customer's backend would sign it, for tests.

use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use serde_json::json;

use super::{ConfigFile, Failure, print};
use crate::{auth::jwt, clock, event::UserKey};

/// Makes a token for tests.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  claimr-relay token --config relay.toml --user acme:42\n  \
                        claimr-relay token --config relay.toml --user acme:42 --key web3:0xAbC0 --ttl 2h --json\n  \
                        claimr-relay token --config relay.toml --user acme:42 --campaign AbCd_123")]
pub struct Token {
    #[command(flatten)]
    file: ConfigFile,
    /// Whom the token is for: platform:account, or an account on `auth.default_platform`
    #[arg(long, value_name = "KEY")]
    user: String,
    /// How long the token is good for, such as 90s, 15m or 2h; at most `auth.token_life_max`
    #[arg(long, value_name = "DURATION", default_value = "15m", value_parser = life)]
    ttl: Duration,
    /// A further user key of the same person; may be repeated
    #[arg(long = "key", value_name = "KEY")]
    keys: Vec<String>,
    /// A campaign whose broadcasts the token hears; may be repeated
    #[arg(long = "campaign", value_name = "ID")]
    campaigns: Vec<String>,
    /// Show the result as JSON
    #[arg(long)]
    pub(super) json: bool,
}

impl Token {
    /// Prints the token alone, so that it can be taken into a variable of a shell.
    pub fn run(&self) -> Result<(), Failure> {
        let auth = self.file.load()?.auth;
        let key = |option: &str, text: &str| {
            UserKey::parse(text, auth.default_platform.as_deref())
                .map_err(|e| Failure::Usage(format!("{option} {text:?}: {e}\n      -> write platform:account, such as acme:42")))
        };
        let user = key("--user", &self.user)?;
        let mut keys = self.keys.iter().map(|text| key("--key", text)).collect::<Result<Vec<_>, _>>()?;
        for id in &self.campaigns {
            let campaign = UserKey::of_campaign(id);
            keys.push(
                campaign.map_err(|e| Failure::Usage(format!("--campaign {id:?}: {e}\n      -> write an id such as AbCd_123")))?,
            );
        }
        let now = clock::now();
        let token = jwt::mint(&auth, &user, &keys, self.ttl, now).context("no token")?;
        if !self.json {
            return print(&token);
        }
        let keys: Vec<_> = keys.iter().filter(|key| key.campaign().is_none()).map(UserKey::as_str).collect();
        let expires_at = now.plus(self.ttl).as_secs();
        let shown = json!({
            "ok": true, "token": token, "user": user.as_str(), "keys": keys, "campaigns": self.campaigns, "expires_at": expires_at
        });
        print(&shown.to_string())
    }
}

/// Tokens count in whole seconds.
fn life(text: &str) -> Result<Duration, String> {
    let life = humantime::parse_duration(text).map_err(|e| format!("{e}; write a number and its unit, such as 15m"))?;
    if life.as_secs() == 0 { Err("shorter than a second".to_owned()) } else { Ok(life) }
}
