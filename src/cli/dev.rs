//! `claimr-relay dev`: the whole gateway without any configuration, on loopback, with a temporary log and secrets made for this run.
//!
//! It is `serve` with an embedded configuration: the same listeners, the same checks. What it prints can be pasted: a stream to watch, and a
//! signed webhook that shows up in it.

use std::{net::SocketAddr, time::Duration};

use aws_lc_rs::{hmac, rand};
use clap::Args;
use data_encoding::HEXLOWER;
use tempfile::TempDir;

use super::{Failure, environment};
use crate::{
    auth::jwt::mint,
    config::{Config, load::load},
    event::{Timestamp, UserKey},
};

/// Who signs the tokens of this mode. `serve` refuses to trust it, so that none of them ever opens a real stream.
pub const DEV_ISSUER: &str = "claimr-relay dev";
const USER: &str = "acme:alice";
const TOKEN_LIFE: Duration = Duration::from_hours(24);

/// Runs the gateway with an embedded configuration.
#[derive(Debug, Args)]
#[command(after_help = "Everything is made for this run and gone after it: secrets, tokens and the event log.\n\n\
                        Example:\n  claimr-relay dev --listen 127.0.0.1:9000")]
pub struct Dev {
    /// Where webhooks and streams are served
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8080")]
    listen: SocketAddr,
    /// Where metrics and health are served
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8081")]
    admin_listen: SocketAddr,
    /// Listen beyond loopback, although everything needed to send events and to read them is printed here
    #[arg(long)]
    insecure_expose: bool,
}

/// A configuration for one run, and the folder that goes with it.
pub struct Prepared {
    /// What `serve` would have read from a file.
    pub config: Config,
    hook_secret: String,
    token: String,
    _data: TempDir,
}

impl Dev {
    /// Makes secrets and a folder.
    pub fn prepare(&self, now: Timestamp) -> Result<Prepared, Failure> {
        for (flag, address) in [("--listen", self.listen), ("--admin-listen", self.admin_listen)] {
            if !address.ip().is_loopback() && !self.insecure_expose {
                let problem = format!("{flag} {address} is not on loopback, and this mode has no secrets worth the name");
                return Err(Failure::Usage(format!("{problem}\n      -> use `serve`, or add --insecure-expose")));
            }
        }
        let data = TempDir::with_prefix("claimr-relay-dev-").map_err(anyhow::Error::from)?;
        let (hook_secret, jwt_secret, admin_token) = (random_secret()?, random_secret()?, random_secret()?);
        let settings = [
            ("SERVER__LISTEN", self.listen.to_string()),
            ("SERVER__ADMIN_LISTEN", self.admin_listen.to_string()),
            ("STORE__PATH", data.path().display().to_string()),
            ("AUTH__ISSUER", DEV_ISSUER.to_owned()),
            ("AUTH__AUDIENCE", "claimr-relay".to_owned()),
            ("AUTH__DEFAULT_PLATFORM", "acme".to_owned()),
            ("AUTH__KEYS", format!("[{{ alg = \"HS256\", secret = {{ value = \"{jwt_secret}\" }} }}]")),
            ("ADMIN__TOKEN", format!("{{ value = \"{admin_token}\" }}")),
            // Pasting the same line twice is two events here, not a repetition.
            (
                "SOURCES",
                format!("[{{ name = \"claimr\", secrets = [{{ value = \"{hook_secret}\" }}], duplicate_window = \"0s\" }}]"),
            ),
            ("LOG__FORMAT", "text".to_owned()),
        ];
        let settings = settings.into_iter().map(|(key, value)| (format!("CLAIMR_RELAY__{key}"), value));
        let config = load(None, settings.chain(environment()))?;
        let user = UserKey::parse(USER, None).map_err(anyhow::Error::from)?;
        let token = mint(&config.auth, &user, &[], TOKEN_LIFE, now).map_err(anyhow::Error::from)?;
        Ok(Prepared { config, hook_secret, token, _data: data })
    }
}

impl Prepared {
    /// What to paste into two other terminals.
    pub fn instructions(&self, address: SocketAddr, admin: SocketAddr) -> String {
        let body =
            r#"{"account":"alice","platform":"acme","contest_name":"Warm up","event_type":"quest_completed","event_xp":250}"#;
        let key = hmac::Key::new(hmac::HMAC_SHA256, self.hook_secret.as_bytes());
        let signature = HEXLOWER.encode(hmac::sign(&key, body.as_bytes()).as_ref());
        format!(
            "claimr-relay is running with an embedded configuration, until Ctrl-C.\n\n\
             1. Watch the events of {USER}, in a second terminal:\n\n   \
             curl -N http://{address}/v1/sse -H 'Authorization: Bearer {token}'\n\n\
             2. Send a signed webhook, in a third one, and see it arrive:\n\n   \
             curl http://{address}/hooks/claimr/user_activity -H 'Content-Type: application/json' \\\n     \
             -H 'X-Signature: {signature}' \\\n     \
             -d '{body}'\n\n\
             3. Let claimr-relay send what claimr might; `claimr-relay trigger --list` shows the shapes:\n\n   \
             CLAIMR_HOOK_SECRET={secret} claimr-relay trigger user_reward --url http://{address}\n\n\
             Webhooks   http://{address}/hooks/claimr/<scope>   secret {secret}\n\
             Streams    http://{address}/v1/sse   ws://{address}/v1/ws\n\
             Metrics    http://{admin}/metrics\n",
            token = self.token,
            secret = self.hook_secret,
        )
    }
}

fn random_secret() -> Result<String, Failure> {
    let mut bytes = [0; 32];
    rand::fill(&mut bytes).map_err(|_| anyhow::anyhow!("the system gives no random numbers"))?;
    Ok(HEXLOWER.encode(&bytes))
}
