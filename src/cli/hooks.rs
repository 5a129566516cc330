//! `claimr-relay hooks`: registers a webhook at claimr, or removes it, over claimr's documented API:
//!
//! ```text
//! POST   /hook {"scope","uri","secret","hook_id","pids":[]} → {"success":true}
//! DELETE /hook {"scope","hook_id"}
//! ```
//!
//! with `Authorization: Bearer <organisation API token>`. A hook's key is (scope, hook id). There is no documented way to list hooks.

mod answer;

use std::{fs, path::PathBuf, process::ExitCode, time::Duration};

use anyhow::Context as _;
use bytes::Bytes;
use clap::{Args, Subcommand};
use http::{HeaderValue, Method, Request, header};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Value, json};

use super::{
    Failure,
    client::{Client, Target, Trouble},
    converse, print, scope,
};

const TOKEN_VARIABLE: &str = "CLAIMR_API_TOKEN";
const SECRET_VARIABLE: &str = "CLAIMR_HOOK_SECRET";
/// For claimr's answer.
const PATIENCE: Duration = Duration::from_secs(15);

/// Registers or removes a webhook at claimr
#[derive(Args)]
#[command(
    after_help = "The API token of the organisation is read from the environment variable CLAIMR_API_TOKEN. claimr has no documented \
    way to list hooks.\n\n\
    Examples:\n  \
    claimr-relay hooks add --scope user_reward --hook-id relay-rewards --url https://relay.example.com/hooks/claimr/user_reward\n  \
    claimr-relay hooks remove --scope user_reward --hook-id relay-rewards"
)]
pub struct Hooks {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    /// Register a webhook at claimr
    Add(Add),
    /// Remove a webhook at claimr
    Remove(Remove),
}

/// What both do.
#[derive(Args)]
struct Common {
    /// What fires it: `user_activity`, `user_reward`, `referral` or `user_login`
    #[arg(long, value_name = "SCOPE", value_parser = scope::known)]
    scope: String,
    /// The hook's name; with the scope it is the hook's key
    #[arg(long, value_name = "ID", value_parser = hook_id)]
    hook_id: String,
    /// Where claimr's API is; it may differ by customer
    #[arg(long, value_name = "URL", default_value = "https://prod.claimr.io/api/v1")]
    api_base: String,
    /// Print the request, without secrets, and send nothing
    #[arg(long)]
    dry_run: bool,
    /// Trust the certificates in this PEM file, too
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// Show the result as JSON
    #[arg(long)]
    json: bool,
}

/// Registers a webhook at claimr
#[derive(Args)]
#[command(after_help = "The API token of the organisation is read from the environment variable CLAIMR_API_TOKEN.\n\n\
    Example:\n  \
    claimr-relay hooks add --scope user_reward --hook-id relay-rewards \\\n    \
    --url https://relay.example.com/hooks/claimr/user_reward --secret-env CLAIMR_HOOK_SECRET")]
struct Add {
    #[command(flatten)]
    common: Common,
    /// Where claimr shall post to: https, and reachable from the internet
    #[arg(long, value_name = "URL")]
    url: String,
    /// A campaign to narrow it to; may be repeated [default: all campaigns]
    #[arg(long = "pid", value_name = "PID")]
    pids: Vec<String>,
    /// The environment variable with the secret that claimr shall sign with [default: `CLAIMR_HOOK_SECRET`]
    #[arg(long, value_name = "NAME", group = "signed")]
    secret_env: Option<String>,
    /// The file with that secret
    #[arg(long, value_name = "FILE", group = "signed")]
    secret_file: Option<PathBuf>,
    /// That secret itself; other users of this machine can see it while the command runs
    #[arg(long, value_name = "SECRET", group = "signed")]
    secret: Option<String>,
    /// Register it without a secret: deliveries are not signed, and anybody who finds the URL can send some
    #[arg(long, group = "signed")]
    unsigned: bool,
    /// The member of the request that holds the URL; one page of claimr's documentation calls it `url`
    #[arg(long, value_name = "NAME", default_value = "uri")]
    uri_field: String,
}

/// Removes a webhook at claimr
#[derive(Args)]
#[command(after_help = "The API token of the organisation is read from the environment variable CLAIMR_API_TOKEN.\n\n\
    Example:\n  claimr-relay hooks remove --scope user_reward --hook-id relay-rewards")]
struct Remove {
    #[command(flatten)]
    common: Common,
}

impl Hooks {
    /// Does it; the code is always 0.
    pub fn run(self) -> Result<ExitCode, Failure> {
        match &self.action {
            Action::Add(add) => add.run()?,
            Action::Remove(Remove { common }) => {
                let body = json!({ "scope": common.scope, "hook_id": common.hook_id });
                common.perform(&Method::DELETE, &body, None, &format!("removed {} of {}", common.hook_id, common.scope))?;
            }
        }
        Ok(ExitCode::SUCCESS)
    }

    pub(super) fn json(&self) -> bool {
        match &self.action {
            Action::Add(add) => add.common.json,
            Action::Remove(remove) => remove.common.json,
        }
    }
}

impl Add {
    fn run(&self) -> Result<(), Failure> {
        let target = checked_url("--url", &self.url)?;
        if target.path() == "/" {
            let remedy = format!("{}/hooks/claimr/{}", self.url.trim_end_matches('/'), self.common.scope);
            return Err(Failure::Usage(format!(
                "--url {:?} has no path\n      -> a gateway takes deliveries at {remedy}",
                self.url
            )));
        }
        let last = target.path().rsplit('/').next().unwrap_or("");
        if last != self.common.scope && scope::known(last).is_ok() {
            let problem =
                format!("--url ends with {last}, so the gateway would take what claimr sends for {} as that", self.common.scope);
            return Err(Failure::Usage(format!(
                "{problem}\n      -> end it with {}, or with the source's name",
                self.common.scope
            )));
        }
        if ["", "scope", "secret", "hook_id", "pids"].contains(&self.uri_field.as_str()) {
            return Err(Failure::Usage(format!("--uri-field {:?} cannot hold the URL\n      -> uri or url", self.uri_field)));
        }
        let secret = self.secret()?;
        let Common { scope, hook_id, .. } = &self.common;
        let mut body = json!({ "scope": scope, self.uri_field.as_str(): self.url, "hook_id": hook_id, "pids": self.pids });
        if secret.is_some() {
            body["secret"] = "***".into();
        }
        let done = format!("registered {hook_id}: claimr posts {scope} to {}", self.url);
        self.common.perform(&Method::POST, &body, secret.as_ref(), &done)
    }

    fn secret(&self) -> Result<Option<SecretString>, Failure> {
        if self.unsigned {
            return Ok(None);
        }
        let text = if let Some(secret) = &self.secret {
            eprintln!(
                "claimr-relay: other users of this machine can see --secret while this runs; --secret-env and --secret-file hide it"
            );
            secret.clone()
        } else if let Some(file) = &self.secret_file {
            let text = fs::read_to_string(file).with_context(|| format!("cannot read the secret from {}", file.display()))?;
            text.strip_suffix('\n').map(|text| text.strip_suffix('\r').unwrap_or(text).to_owned()).unwrap_or(text)
        } else {
            let name = self.secret_env.as_deref().unwrap_or(SECRET_VARIABLE);
            std::env::var(name).ok().filter(|text| !text.is_empty()).ok_or_else(|| {
                Failure::Usage(format!(
                    "no secret: the environment variable {name} is not set\n      -> set it to the secret of the gateway's source, or give \
                     --secret-file; --unsigned does without"
                ))
            })?
        };
        if text.is_empty() {
            return Err(Failure::Usage("the secret is empty\n      -> give the secret of the gateway's source".to_owned()));
        }
        Ok(Some(text.into()))
    }
}

impl Common {
    /// Sends `body`, in which `secret`, if there is one, takes the place of `***`; says `done` when claimr has done it.
    fn perform(&self, method: &Method, body: &Value, secret: Option<&SecretString>, done: &str) -> Result<(), Failure> {
        let base = checked_url("--api-base", &self.api_base)?;
        let url = base.url(&base.below("/hook"));
        if self.dry_run {
            return self.show_request(method, &url, body);
        }
        let request = Self::request(method, &base, body, secret)?;
        let client = Client::new(self.ca.as_deref(), PATIENCE)?;
        let answer = converse(async { client.ask(&base, request).await.map_err(|trouble| unreached(&trouble).into()) })?;
        answer::judge(&answer, method).map_err(|refusal| {
            // An API may repeat in its refusal what it was sent.
            let secret = secret.map_or("", |secret| secret.expose_secret());
            let refusal = if secret.is_empty() { refusal } else { refusal.replace(secret, "***") };
            anyhow::anyhow!("{method} {url}: {refusal}")
        })?;
        if self.json {
            let result = json!({ "ok": true, "status": answer.status.as_u16(), "scope": self.scope, "hook_id": self.hook_id });
            return print(&result.to_string());
        }
        print(done)
    }

    fn request(method: &Method, base: &Target, body: &Value, secret: Option<&SecretString>) -> Result<Request<Bytes>, Failure> {
        let token = std::env::var(TOKEN_VARIABLE).ok().filter(|token| !token.trim().is_empty()).ok_or_else(|| {
            let remedy = "set it to your organisation's API token of claimr; --dry-run shows the request without it";
            Failure::Usage(format!("the environment variable {TOKEN_VARIABLE} is not set\n      -> {remedy}"))
        })?;
        let unfit = |_| Failure::Usage(format!("{TOKEN_VARIABLE}: no header can hold it"));
        let mut bearer = HeaderValue::try_from(format!("Bearer {}", token.trim())).map_err(unfit)?;
        bearer.set_sensitive(true);
        let mut body = body.clone();
        if let Some(secret) = secret {
            body["secret"] = secret.expose_secret().into();
        }
        let request = Request::builder().method(method).uri(base.below("/hook"));
        let request = request.header(header::AUTHORIZATION, bearer).header(header::CONTENT_TYPE, "application/json");
        let request = request.header(header::ACCEPT, "application/json").body(body.to_string().into());
        request.map_err(|error| Failure::Usage(format!("--api-base: {error}")))
    }

    fn show_request(&self, method: &Method, url: &str, body: &Value) -> Result<(), Failure> {
        if self.json {
            return print(
                &json!({ "ok": true, "dry_run": true, "method": method.as_str(), "url": url, "body": body }).to_string(),
            );
        }
        print(&format!("{method} {url}\nAuthorization: Bearer ***\nContent-Type: application/json\n\n{body}"))
    }
}

fn unreached(trouble: &Trouble) -> anyhow::Error {
    let remedy = match trouble {
        Trouble::Slow(..) => {
            "claimr may have done it all the same; doing it again is safe, because (scope, hook id) is the hook's key"
        }
        Trouble::Tls(..) => "check --api-base; --ca trusts a certificate of your own",
        _ => "check --api-base, and that this machine may reach it",
    };
    anyhow::anyhow!("{trouble}\n      -> {remedy}")
}

/// A URL that secrets, or people's data, may be sent to.
fn checked_url(option: &str, text: &str) -> Result<Target, Failure> {
    let target = Target::parse(text).map_err(|problem| Failure::Usage(format!("{option} {text:?} {problem}")))?;
    if !text.starts_with("http") {
        return Err(Failure::Usage(format!("{option} {text:?} begins with neither https:// nor http://")));
    }
    if !target.is_encrypted() && !target.is_loopback() {
        let problem = "is not https, and everybody on the way could read it";
        return Err(Failure::Usage(format!("{option} {text:?} {problem}\n      -> http:// is taken for this machine alone")));
    }
    Ok(target)
}

fn hook_id(text: &str) -> Result<String, String> {
    let plain = !text.is_empty() && text.trim() == text && !text.chars().any(char::is_control);
    if plain { Ok(text.to_owned()) } else { Err("a hook id is a name of your choice, such as relay-rewards".to_owned()) }
}
