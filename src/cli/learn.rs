//! `claimr-relay learn`: from the deliveries that a running gateway remembers to the lines that pin how its sources sign and where their
//! fields stand.

use anyhow::{Context as _, anyhow};
use bytes::Bytes;
use clap::Args;
use http::{Request, header};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::Value;

use super::{
    ConfigFile, Failure,
    client::{Client, Target},
    converse, print,
};

/// For the gateway to answer.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(10);

/// Finds out how the sources sign, and where their fields stand, from the deliveries that a running gateway remembers.
#[derive(Args)]
#[command(after_help = "Examples:\n  claimr-relay learn --config relay.toml\n  \
                        claimr-relay learn --url http://127.0.0.1:8081 --source claimr --json")]
pub struct Learn {
    #[command(flatten)]
    file: ConfigFile,
    /// The admin listener [default: `server.admin_listen` of the configuration]
    #[arg(long, value_name = "URL")]
    url: Option<String>,
    /// The admin token [default: `admin.token` of the configuration]
    #[arg(long, value_name = "TOKEN")]
    token: Option<String>,
    /// Only this source
    #[arg(long, value_name = "NAME")]
    source: Option<String>,
    /// Show the result as JSON
    #[arg(long)]
    pub(super) json: bool,
}

impl Learn {
    /// Asks the gateway, and prints the lines of every source.
    pub fn run(&self) -> Result<(), Failure> {
        let (target, token) = self.gateway()?;
        let query = self.source.as_ref().map_or(String::new(), |name| format!("?source={name}"));
        let mut request = Request::get(target.below("/admin/v1/learn") + &query);
        if let Some(token) = &token {
            request = request.header(header::AUTHORIZATION, format!("Bearer {}", token.expose_secret()));
        }
        let unfit = |_| Failure::Usage("such a token or source cannot be sent".to_owned());
        let request = request.body(Bytes::new()).map_err(unfit)?;
        let client = Client::new(None, PATIENCE)?;
        let answer = converse(async {
            client.ask(&target, request).await.map_err(|trouble| anyhow!("{trouble}\n      -> {}", trouble.remedy()).into())
        })?;
        let (status, excerpt) = (answer.status, answer.excerpt());
        let answer: Value = serde_json::from_slice(&answer.body).context("what answers is no claimr-relay's admin listener")?;
        if !status.is_success() {
            let reason = answer["error"]["message"].as_str().unwrap_or(&excerpt);
            return Err(anyhow!("the gateway answers {status}: {reason}").into());
        }
        if self.json {
            return print(&answer.to_string());
        }
        let sources = answer["sources"].as_array().into_iter().flatten().map(told);
        print(&sources.collect::<Vec<_>>().join("\n\n"))
    }

    /// Where it is, and what opens it; the configuration says what the arguments do not.
    fn gateway(&self) -> Result<(Target, Option<SecretString>), Failure> {
        let parse = |url: &str| Target::parse(url).map_err(|problem| Failure::Usage(format!("--url {problem}")));
        let token = self.token.clone().map(SecretString::from);
        if let Some(url) = &self.url {
            return Ok((parse(url)?, token));
        }
        let config = self.file.load()?;
        let target = parse(&format!("http://{}", config.server.admin_listen))?;
        Ok((target, token.or(config.admin.token)))
    }
}

/// One source: lines for the configuration, with all else as comments, so that it can be pasted as it is.
fn told(source: &Value) -> String {
    let text = |name: &str| source[name].as_str().unwrap_or_default();
    let mut lines = vec![format!(
        "# {}: {} of the {} deliveries that are remembered are genuine",
        text("source"),
        source["verified"],
        source["deliveries"]
    )];
    lines.extend(source["unknown"].as_array().into_iter().flatten().filter_map(|note| Some(format!("# - {}", note.as_str()?))));
    lines.push(text("toml").to_owned());
    lines.join("\n")
}
