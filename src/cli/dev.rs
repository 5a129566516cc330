//! `claimr-relay dev`: the whole gateway without any configuration, on loopback, with a temporary log and secrets made for this run.
//!
//! It is `serve` with an embedded configuration: the same listeners, the same checks; and a demo page at `/dev`. What it prints can be
//! pasted: a signed webhook that shows up on that page, and a stream to watch.

use std::{
    future::Future,
    net::{SocketAddr, TcpListener},
    path::PathBuf,
    pin::Pin,
    time::Duration,
};

use aws_lc_rs::{hmac, rand};
use clap::Args;
use data_encoding::HEXLOWER;
use secrecy::SecretString;
use tempfile::TempDir;
use tokio::{select, sync::mpsc};

use super::{Failure, environment};
use crate::{
    auth::jwt::mint,
    clock,
    config::{Config, EngineKind, Log, load::load},
    event::{Timestamp, UserKey},
    gateway::Gateway,
    http::dev::{Demo, Restart, origins},
};

/// Who signs the tokens of this mode. `serve` refuses to trust it, so that none of them ever opens a real stream.
pub const DEV_ISSUER: &str = "claimr-relay dev";
const USER: &str = "acme:alice";
const TOKEN_LIFE: Duration = Duration::from_hours(24);

/// Resolves when the program is to end.
pub type Stop = Pin<Box<dyn Future<Output = ()>>>;

/// Runs the gateway with an embedded configuration.
#[derive(Debug, Args)]
#[command(after_help = "Everything is made for this run and gone after it: secrets, tokens and the event log.\n\n\
                        Example:\n  claimr-relay dev --listen 127.0.0.1:9000")]
pub struct Dev {
    /// Where webhooks, streams and the demo page are served
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8080")]
    listen: SocketAddr,
    /// Where metrics, health and the inspector are served
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8081")]
    admin_listen: SocketAddr,
    /// Let pages of this origin connect too, such as <http://localhost:5173>; may be given several times
    #[arg(long, value_name = "ORIGIN")]
    origin: Vec<String>,
    /// Listen beyond loopback, although everything needed to send events and to read them is printed here
    #[arg(long)]
    insecure_expose: bool,
}

/// A configuration for one run, and the folder that goes with it.
pub struct Prepared {
    config: Config,
    hook_secret: String,
    admin_token: String,
    token: String,
    data: TempDir,
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
        let (listen, admin_listen) = (with_port(self.listen)?, with_port(self.admin_listen)?);
        let data = TempDir::with_prefix("claimr-relay-dev-").map_err(anyhow::Error::from)?;
        let (hook_secret, jwt_secret, admin_token) = (random_secret()?, random_secret()?, random_secret()?);
        let settings = [
            ("SERVER__LISTEN", listen.to_string()),
            ("SERVER__ADMIN_LISTEN", admin_listen.to_string()),
            ("SERVER__ALLOWED_ORIGINS", serde_json::json!(self.origin).to_string()),
            ("STORE__PATH", log_folder(&data, 0).display().to_string()),
            ("AUTH__ISSUER", DEV_ISSUER.to_owned()),
            ("AUTH__AUDIENCE", "claimr-relay".to_owned()),
            ("AUTH__DEFAULT_PLATFORM", "acme".to_owned()),
            ("AUTH__KEYS", format!("[{{ alg = \"HS256\", secret = {{ value = \"{jwt_secret}\" }} }}]")),
            // Signer and gateway share one clock here, and the demo shows how tokens end.
            ("AUTH__LEEWAY", "1s".to_owned()),
            ("ADMIN__TOKEN", format!("{{ value = \"{admin_token}\" }}")),
            // Pasting the same line twice is two events here, not a repetition. Who follows the campaign hears of what others do.
            (
                "SOURCES",
                format!(
                    "[{{ name = \"claimr\", secrets = [{{ value = \"{hook_secret}\" }}], duplicate_window = \"0s\", \
                     broadcast = [{{ types = [\"user_activity\", \"user_reward\"], show = [\"name\", \"points\", \"quest\"] }}] }}]"
                ),
            ),
            ("LOG__FORMAT", "text".to_owned()),
        ];
        let settings = settings.into_iter().map(|(key, value)| (format!("CLAIMR_RELAY__{key}"), value));
        let mut config = load(None, settings.chain(environment()))?;
        // Whatever else may connect, the demo page has to.
        config.server.allowed_origins.extend(origins(config.server.listen));
        let user = UserKey::parse(USER, None).map_err(anyhow::Error::from)?;
        let token = mint(&config.auth, &user, &[], TOKEN_LIFE, now).map_err(anyhow::Error::from)?;
        Ok(Prepared { config, hook_secret, admin_token, token, data })
    }
}

impl Prepared {
    /// How this run logs.
    pub fn log(&self) -> &Log {
        &self.config.log
    }

    /// Serves until `stop`, and begins again whenever the demo page asks for it: a real drain, a closed log, and new listeners on the same
    /// addresses. `serving` is told what to do next, once.
    pub async fn run(mut self, mut stop: Stop, serving: impl FnOnce(String)) -> anyhow::Result<()> {
        let mut serving = Some(serving);
        for run in 1_u32.. {
            let (restart, mut asked) = mpsc::channel(1);
            let gateway = Gateway::bind(self.config.clone())?.with_demo(self.demo(restart));
            let (address, admin) = (gateway.address()?, gateway.admin_address()?);
            tracing::info!(%address, %admin, run, "serving");
            if let Some(serving) = serving.take() {
                serving(self.instructions(address, admin));
            }
            let mut again = None;
            let until = async {
                select! {
                    () = &mut stop => {}
                    restart = asked.recv() => again = restart,
                }
            };
            gateway.run(until).await;
            match again {
                None => break,
                Some(Restart { keep_log: true }) => {}
                Some(Restart { keep_log: false }) => {
                    self.config.store.engine = EngineKind::Disk { path: log_folder(&self.data, run) }
                }
            }
        }
        Ok(())
    }

    fn demo(&self, restart: mpsc::Sender<Restart>) -> Demo {
        Demo {
            auth: self.config.auth.clone(),
            hook_secret: SecretString::from(self.hook_secret.as_str()),
            address: self.config.server.listen,
            inspector: self.inspector(self.config.server.admin_listen),
            restart,
            clock: clock::now,
        }
    }

    /// The token travels behind `#`, which browsers keep to themselves.
    fn inspector(&self, admin: SocketAddr) -> String {
        format!("http://{admin}/#token={}", self.admin_token)
    }

    /// What to open, and what to paste into two other terminals.
    fn instructions(&self, address: SocketAddr, admin: SocketAddr) -> String {
        let body =
            r#"{"account":"alice","platform":"acme","contest_name":"Warm up","event_type":"quest_completed","event_xp":250}"#;
        let key = hmac::Key::new(hmac::HMAC_SHA256, self.hook_secret.as_bytes());
        let signature = HEXLOWER.encode(hmac::sign(&key, body.as_bytes()).as_ref());
        format!(
            "claimr-relay is running with an embedded configuration, until Ctrl-C.\n\n\
             Open       http://{address}/dev\n           \
             sign in as alice there, then send her this from another terminal, and see it arrive:\n\n   \
             curl http://{address}/hooks/claimr/user_activity -H 'Content-Type: application/json' \\\n     \
             -H 'X-Signature: {signature}' \\\n     \
             -d '{body}'\n\n\
             Or let claimr-relay send what claimr might; `claimr-relay trigger --list` shows the shapes:\n\n   \
             CLAIMR_HOOK_SECRET={secret} claimr-relay trigger user_reward --url http://{address}\n\n\
             Without a browser, watch the events of {USER} like this:\n\n   \
             curl -N http://{address}/v1/sse -H 'Authorization: Bearer {token}'\n\n\
             Inspector  {inspector}\n\
             Webhooks   http://{address}/hooks/claimr/<scope>\n\
             Secret     {secret}\n\
             Token      {token}\n\
             Streams    http://{address}/v1/sse   ws://{address}/v1/ws\n\
             Metrics    http://{admin}/metrics\n",
            token = self.token,
            secret = self.hook_secret,
            inspector = self.inspector(admin),
        )
    }
}

/// The log of a run; a log that is lost on purpose is followed by one in a folder of its own.
fn log_folder(data: &TempDir, run: u32) -> PathBuf {
    data.path().join(format!("log-{run}"))
}

/// The origins of the demo page have its port in them, and a restart needs it again, so a free one is chosen before anything starts.
fn with_port(address: SocketAddr) -> Result<SocketAddr, Failure> {
    if address.port() != 0 {
        return Ok(address);
    }
    let chosen = TcpListener::bind(address).and_then(|listener| listener.local_addr());
    Ok(chosen.map_err(|error| anyhow::anyhow!("no port is free on {}: {error}", address.ip()))?)
}

fn random_secret() -> Result<String, Failure> {
    let mut bytes = [0; 32];
    rand::fill(&mut bytes).map_err(|_| anyhow::anyhow!("the system gives no random numbers"))?;
    Ok(HEXLOWER.encode(&bytes))
}
