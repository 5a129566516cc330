//! `claimr-relay trigger`: a delivery as claimr might send it, signed, over the real way; and what became of it.

mod body;
mod curl;
mod fixture;
mod report;
mod send;
mod sign;

use std::{
    fs,
    io::{self, Read as _},
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use anyhow::Context as _;
use clap::{ArgAction, Args};
use secrecy::SecretString;
use serde_json::Value;

use self::{
    send::{Body, Deliveries, Pace, send},
    sign::{Scheme, Signer},
};
use super::{
    ConfigFile, Failure,
    client::{Client, Target},
    converse,
};
use crate::{
    clock,
    config::{Config, Signature},
    event::{EventType, UserKey},
};

/// Where `dev` serves, and where `serve` does unless it is told otherwise.
const DEFAULT_URL: &str = "http://127.0.0.1:8080/hooks/claimr";
/// Of the URL of a host alone.
const DEFAULT_PATH: &str = "/hooks/claimr";
const SECRET_VARIABLE: &str = "CLAIMR_HOOK_SECRET";
/// The user of `dev`.
const DEFAULT_USER: &str = "acme:alice";
const DEFAULT_REFERRER: &str = "acme:bob";
/// Bytes of a body file that are read; no gateway takes that much.
const FILE_BYTES_MAX: u64 = 16 << 20;
/// For each answer.
const PATIENCE: Duration = Duration::from_secs(15);

/// Sends a realistic claimr delivery, signed
#[derive(Args)]
#[expect(clippy::struct_excessive_bools, reason = "they are the flags of a command line")]
#[command(
    after_help = "The deliveries have shapes that the public evidence about claimr allows; none is a recorded claimr delivery.\n\n\
    Examples:\n  \
    claimr-relay trigger user_reward --user acme:42 --set event_xp=250\n  \
    claimr-relay trigger referral --variant nested --user acme:77 --referrer acme:42 --url http://127.0.0.1:9000 --secret \"$SECRET\"\n  \
    claimr-relay trigger user_activity --count 1000 --rate 200 --config relay.toml\n  \
    claimr-relay trigger user_activity --file delivery.json --print\n  \
    claimr-relay trigger --list\n\n\
    Exit code 1 if a delivery was not taken."
)]
pub struct Trigger {
    /// What claimr would have registered: `user_activity`, `user_reward`, `referral` or `user_login`; any with --file
    #[arg(required_unless_present = "list")]
    scope: Option<String>,
    /// Whom it is about, as platform:account [default: acme:alice, unless --file is given]
    #[arg(long, value_name = "KEY")]
    user: Option<String>,
    /// Who brought the user, as platform:account; of a referral [default: acme:bob]
    #[arg(long, value_name = "KEY")]
    referrer: Option<String>,
    /// Set a member of the body: names joined by dots, then JSON or plain text; may be repeated
    #[arg(long, value_name = "PATH=VALUE")]
    set: Vec<String>,
    /// Which shape; see --list [default: the first]
    #[arg(long, value_name = "NAME", conflicts_with = "file")]
    variant: Option<String>,
    /// Send this body, byte for byte unless another option changes it; `-` for standard input
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// How many to send
    #[arg(long, value_name = "N", default_value = "1", value_parser = clap::value_parser!(u64).range(1..=10_000_000))]
    count: u64,
    /// How many a second [default: as fast as answers come]
    #[arg(long, value_name = "N", value_parser = rate)]
    rate: Option<f64>,
    /// How many may be under way at once; 1 keeps their order
    #[arg(long, value_name = "N", default_value = "16", value_parser = clap::value_parser!(u16).range(1..=1_000))]
    connections: u16,
    /// Send the same delivery each time, so that all but the first are duplicates
    #[arg(long)]
    same: bool,
    /// Where to send it; the scope is added to the path [default: of --config, else `http://127.0.0.1:8080/hooks/claimr`]
    #[arg(long, value_name = "URL")]
    url: Option<String>,
    /// What to sign with [default: of --config, else what the environment variable `CLAIMR_HOOK_SECRET` holds]
    #[arg(long, value_name = "SECRET")]
    secret: Option<String>,
    /// How to sign [default: as --config pins it, else hmac]
    #[arg(long, value_name = "SCHEME", value_enum)]
    scheme: Option<Scheme>,
    #[command(flatten)]
    file_of_gateway: ConfigFile,
    /// Trust the certificates in this PEM file, too
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// List the shapes that there are, and send nothing
    #[arg(long)]
    list: bool,
    /// Print the curl line that would send it, and send nothing
    #[arg(long, action = ArgAction::SetTrue, conflicts_with_all = ["count", "rate"])]
    print: bool,
    /// Show the result as JSON
    #[arg(long)]
    pub(super) json: bool,
}

impl Trigger {
    /// Does it. The code is 1 if a delivery was not taken.
    pub fn run(self) -> Result<ExitCode, Failure> {
        let Some(scope) = self.scope.as_deref().filter(|_| !self.list) else { return report::list(self.json) };
        let body = self.body(scope)?;
        let Destination { target, path, signer } = self.destination(scope)?;
        let deliveries = Deliveries { path, signer, body, run: fastrand::u64(..) };
        if self.print {
            return report::line(&target, &deliveries, self.json);
        }
        let client = Client::new(self.ca.as_deref(), PATIENCE)?;
        if self.count > 1 {
            let pace = Pace { count: self.count, rate: self.rate, connections: self.connections.into() };
            let tally = converse(send(&client, &target, &deliveries, pace))?;
            return report::tally(&tally, self.json);
        }
        let request = deliveries.request(0)?;
        let asking =
            async { client.ask(&target, request).await.map_err(|t| anyhow::anyhow!("{t}\n      -> {}", t.remedy()).into()) };
        let answer = converse(asking)?;
        report::answer(&answer, &target.url(&deliveries.path), self.json)
    }

    fn body(&self, scope: &str) -> Result<Body, Failure> {
        let Some(file) = &self.file else {
            let mut body = fixture::find(scope, self.variant.as_deref())?.body;
            self.change(&mut body, Some(DEFAULT_USER), (scope == "referral").then_some(DEFAULT_REFERRER))?;
            return Ok(if self.same { Body::Fixed(body.to_string().into()) } else { Body::Numbered(body) });
        };
        let raw = read(file).with_context(|| format!("cannot read the body from {}", file.display()))?;
        let is_new_each_time = self.count > 1 && !self.same;
        if self.user.is_none() && self.referrer.is_none() && self.set.is_empty() && !is_new_each_time {
            return Ok(Body::Fixed(raw.into()));
        }
        let mut body = serde_json::from_slice(&raw).map_err(|error| {
            Failure::Usage(format!("{} is not JSON, so nothing can be changed in it: {error}", file.display()))
        })?;
        self.change(&mut body, None, None)?;
        Ok(if is_new_each_time { Body::Numbered(body) } else { Body::Fixed(body.to_string().into()) })
    }

    fn change(&self, body: &mut Value, user: Option<&str>, referrer: Option<&str>) -> Result<(), Failure> {
        let key = |option: &str, text: &str| {
            UserKey::parse(text, None).map_err(|problem| {
                Failure::Usage(format!("{option} {text:?}: {problem}\n      -> write platform:account, such as acme:42"))
            })
        };
        let nobody = |option: &str| Failure::Usage(format!("{option}: the body has no object that could name a person"));
        if let Some(user) = self.user.as_deref().or(user)
            && !body::set_user(body, &key("--user", user)?)
        {
            return Err(nobody("--user"));
        }
        if let Some(referrer) = self.referrer.as_deref().or(referrer)
            && !body::set_referrer(body, &key("--referrer", referrer)?)
        {
            return Err(nobody("--referrer"));
        }
        for change in &self.set {
            let wrong = |problem: &str| Failure::Usage(format!("--set {change:?}: {problem}"));
            let (path, value) = change.split_once('=').ok_or_else(|| wrong("write it path=value, such as event_xp=250"))?;
            let value = serde_json::from_str(value).unwrap_or_else(|_| value.into());
            body::set(body, path, value).map_err(|problem| wrong(&problem))?;
        }
        Ok(())
    }

    fn destination(&self, scope: &str) -> Result<Destination, Failure> {
        EventType::new(scope).ok_or_else(|| {
            Failure::Usage(format!("{scope:?} cannot be a scope: it is made of letters, digits, '_', '.' and '-'"))
        })?;
        let is_complete = self.url.is_some() && self.secret.is_some();
        let config =
            if is_complete || self.file_of_gateway.named().is_none() { None } else { Some(self.file_of_gateway.load()?) };
        let from_config = config.as_ref().map(from_config);
        let (url, secret, signature) = match from_config {
            Some((url, secret, signature)) => (Some(url), secret, signature),
            None => (None, None, Signature::Detect),
        };
        let url = self.url.clone().or(url).unwrap_or_else(|| DEFAULT_URL.to_owned());
        let target = Target::parse(&url).map_err(|problem| Failure::Usage(format!("--url {url:?} {problem}")))?;
        if target.path().contains('?') {
            return Err(Failure::Usage(format!(
                "--url has a query\n      -> name the source's URL alone, such as {DEFAULT_URL}"
            )));
        }
        let from_environment = || std::env::var(SECRET_VARIABLE).ok().filter(|secret| !secret.is_empty());
        let secret = self.secret.clone().map(SecretString::from).or(secret).or_else(|| from_environment().map(Into::into));
        let signer = match (secret, self.scheme) {
            (_, Some(Scheme::None)) => Signer::by_name(SecretString::from(""), Scheme::None)?,
            (Some(secret), Some(scheme)) => Signer::by_name(secret, scheme)?,
            (Some(secret), None) => Signer::new(secret, signature)?,
            (None, _) => return Err(no_secret()),
        };
        Ok(Destination { path: path(&target, scope), target, signer })
    }
}

struct Destination {
    target: Target,
    path: String,
    signer: Signer,
}

fn no_secret() -> Failure {
    Failure::Usage(format!(
        "no secret to sign with\n      -> give the one of the gateway's source: --secret, or {SECRET_VARIABLE}, or --config relay.toml; \
         `claimr-relay dev` prints its own.\n         --scheme none sends it unsigned"
    ))
}

/// Where the gateway of this configuration is reached from its own machine, and what its first source expects.
fn from_config(config: &Config) -> (String, Option<SecretString>, Signature) {
    let mut listen = config.server.listen;
    if listen.ip().is_unspecified() {
        listen.set_ip(if listen.is_ipv4() { [127, 0, 0, 1].into() } else { std::net::Ipv6Addr::LOCALHOST.into() });
    }
    let scheme = if config.server.tls.is_some() { "https" } else { "http" };
    let Some(source) = config.sources.first() else { return (format!("{scheme}://{listen}"), None, Signature::Detect) };
    let now = clock::now();
    let secret = source.secrets.iter().find(|secret| secret.not_after.is_none_or(|end| now <= end));
    let secret = secret.map(|secret| secret.secret.clone());
    (format!("{scheme}://{listen}/hooks/{}", source.name), secret, source.signature.clone())
}

/// The scope is the last segment, unless the URL ends with it already.
fn path(target: &Target, scope: &str) -> String {
    let base = target.path().trim_end_matches('/');
    let base = if base.is_empty() { DEFAULT_PATH } else { base };
    if base.rsplit('/').next() == Some(scope) { base.to_owned() } else { format!("{base}/{scope}") }
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut body = Vec::new();
    let input: Box<dyn io::Read> = if path == "-" { Box::new(io::stdin()) } else { Box::new(fs::File::open(path)?) };
    input.take(FILE_BYTES_MAX + 1).read_to_end(&mut body)?;
    if body.len() as u64 > FILE_BYTES_MAX {
        return Err(io::Error::other(format!("it is larger than {FILE_BYTES_MAX} bytes")));
    }
    Ok(body)
}

fn rate(text: &str) -> Result<f64, String> {
    let rate: f64 = text.parse().map_err(|_| "a number of deliveries a second is wanted, such as 50 or 0.5")?;
    if (0.001..=1_000_000.0).contains(&rate) { Ok(rate) } else { Err("it lies between 0.001 and 1000000".to_owned()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::load::load;

    #[test]
    fn the_scope_ends_the_path() {
        for (url, expected) in [
            ("http://a", "/hooks/claimr/referral"),
            ("http://a/", "/hooks/claimr/referral"),
            ("http://a/hooks/other", "/hooks/other/referral"),
            ("http://a/hooks/other/", "/hooks/other/referral"),
            ("http://a/hooks/other/referral", "/hooks/other/referral"),
            ("http://a/relay/hooks/claimr", "/relay/hooks/claimr/referral"),
        ] {
            assert_eq!(path(&Target::parse(url).unwrap(), "referral"), expected, "{url}");
        }
    }

    #[test]
    fn a_configuration_gives_an_address_that_can_be_called() {
        for (listen, expected) in [
            ("0.0.0.0:80", "http://127.0.0.1:80/hooks/shop"),
            ("[::]:80", "http://[::1]:80/hooks/shop"),
            ("10.1.2.3:80", "http://10.1.2.3:80/hooks/shop"),
        ] {
            let settings = [
                ("SERVER__LISTEN", listen),
                ("AUTH__ISSUER", "i"),
                ("AUTH__AUDIENCE", "a"),
                ("AUTH__KEYS", "[{ alg = \"HS256\", secret = { value = \"0123456789abcdef0123456789abcdef\" } }]"),
                (
                    "SOURCES",
                    "[{ name = \"shop\", secrets = [{ value = \"old\", not_after = \"2001-01-01T00:00:00Z\" }, { value = \"new\" }] }]",
                ),
            ];
            let settings = settings.map(|(key, value)| (format!("CLAIMR_RELAY__{key}"), value.to_owned()));
            let config = load(None, settings).unwrap_or_else(|mistakes| panic!("{mistakes}"));
            let (url, secret, signature) = from_config(&config);
            assert_eq!((url.as_str(), signature), (expected, Signature::Detect));
            assert_eq!(secrecy::ExposeSecret::expose_secret(&secret.unwrap()), "new");
        }
    }

    #[test]
    fn a_rate_is_a_number_that_can_be_kept() {
        assert_eq!((rate("50"), rate("0.5")), (Ok(50.0), Ok(0.5)));
        for text in ["", "fast", "0", "-1", "inf", "NaN", "1e9"] {
            assert!(rate(text).is_err(), "{text}");
        }
    }
}
