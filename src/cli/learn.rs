//! `claimr-relay learn`: from the deliveries that a running gateway remembers to the lines that pin how its sources sign and where their
//! fields stand.

use anyhow::{Context as _, bail};
use clap::Args;
use http::{Uri, header};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::{Request, body::Bytes, client::conn::http1};
use hyper_util::rt::TokioIo;
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::Value;
use tokio::{net::TcpStream, runtime, time};

use super::{ConfigFile, Failure, print};

/// For the gateway to answer.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(10);
/// Bytes of an answer that are read.
const ANSWER_BYTES_MAX: usize = 16 << 20;

/// Finds out how the sources sign, and where their fields stand, from the deliveries that a running gateway remembers.
#[derive(Args)]
#[command(after_help = "Examples:\n  claimr-relay learn --config relay.toml\n  \
                        claimr-relay learn --url http://127.0.0.1:8081 --source claimr --json")]
pub struct Learn {
    #[command(flatten)]
    file: ConfigFile,
    /// The admin listener [default: `server.admin_listen` of the configuration]
    #[arg(long, value_name = "URL")]
    url: Option<Uri>,
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
        let (url, token) = self.gateway()?;
        let path = self.source.as_ref().map_or("/admin/v1/learn".to_owned(), |name| format!("/admin/v1/learn?source={name}"));
        let runtime = runtime::Builder::new_current_thread().enable_all().build().context("starting a runtime")?;
        let answer = runtime.block_on(async { time::timeout(PATIENCE, get(&url, &path, token.as_ref())).await });
        let answer = answer.with_context(|| format!("{url} does not answer"))??;
        if self.json {
            return print(&answer.to_string());
        }
        let sources = answer["sources"].as_array().into_iter().flatten().map(told);
        print(&sources.collect::<Vec<_>>().join("\n\n"))
    }

    /// Where it is, and what opens it; the configuration says what the arguments do not.
    fn gateway(&self) -> Result<(Uri, Option<SecretString>), Failure> {
        let token = self.token.clone().map(SecretString::from);
        if let Some(url) = &self.url {
            return Ok((url.clone(), token));
        }
        let config = self.file.load()?;
        let url = format!("http://{}", config.server.admin_listen).parse().map_err(anyhow::Error::from)?;
        Ok((url, token.or(config.admin.token)))
    }
}

async fn get(url: &Uri, path: &str, token: Option<&SecretString>) -> anyhow::Result<Value> {
    let authority = url.authority().context("write the address of the admin listener as http://127.0.0.1:8081")?;
    if url.scheme_str() != Some("http") {
        bail!("the admin listener speaks plain HTTP: run this beside it, or through a tunnel, with http://…");
    }
    let port = authority.port_u16().unwrap_or(80);
    let host = authority.host().trim_start_matches('[').trim_end_matches(']');
    let stream = TcpStream::connect((host, port))
        .await
        .with_context(|| format!("cannot connect to {authority}: is the gateway running?"))?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let mut request = Request::get(path).header(header::HOST, authority.as_str());
    if let Some(token) = token {
        request = request.header(header::AUTHORIZATION, format!("Bearer {}", token.expose_secret()));
    }
    let request = request.body(Empty::<Bytes>::new()).context("such a token or source cannot be sent")?;
    let answering = async {
        let response = sender.send_request(request).await?;
        let status = response.status();
        let body =
            Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect().await.map_err(anyhow::Error::from_boxed)?.to_bytes();
        // The connection ends when nobody can send on it any more.
        drop(sender);
        anyhow::Ok((status, body))
    };
    let (_, answer) = tokio::join!(connection, answering);
    let (status, body) = answer?;
    let answer: Value = serde_json::from_slice(&body).context("what answers is no claimr-relay")?;
    if !status.is_success() {
        bail!("the gateway answers {status}: {}", answer["error"]["message"].as_str().unwrap_or("(no reason)"));
    }
    Ok(answer)
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
