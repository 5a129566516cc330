//! `claimr-relay doctor`: what a page would meet at a gateway, looked at from outside, through whatever stands in front of it.

mod finding;
mod reach;
mod sse;
mod token;
mod websocket;

use std::{path::PathBuf, process::ExitCode, time::Duration};

use bytes::Bytes;
use clap::Args;
use http::{HeaderName, HeaderValue, Request, header};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Value, json};
use tokio::time::Instant;

use self::{finding::Finding, sse::EventStream, websocket::Socket};
use super::{
    Failure,
    client::{Client, Target, Trouble},
    converse, print,
    progress::Progress,
};
use crate::clock;

const TOKEN_VARIABLE: &str = "CLAIMR_RELAY_TOKEN";
/// For an ordinary answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// For the first frame of a session, which a gateway sends at once. What takes longer was held back.
const HELLO_PATIENCE: Duration = Duration::from_secs(2);

/// Checks a gateway from outside: proxies, origins, WebSocket, SSE, tickets, clocks
#[derive(Args)]
#[command(after_help = "Examples:\n  \
    claimr-relay doctor --url https://relay.example.com --origin https://app.example.com --token \"$TOKEN\"\n  \
    CLAIMR_RELAY_TOKEN=… claimr-relay doctor --url https://relay.example.com --idle 70s --json\n\n\
    Exit code 0: all is well; 1: something is not; 2: bad usage.")]
pub struct Doctor {
    /// Where the gateway is reached, as a page would
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:8080")]
    url: String,
    /// A token of any user [default: what the environment variable `CLAIMR_RELAY_TOKEN` holds]
    #[arg(long, value_name = "JWT")]
    token: Option<String>,
    /// The origin of the pages that connect, such as `https://app.example.com`
    #[arg(long, value_name = "ORIGIN")]
    origin: Option<String>,
    /// Keep a WebSocket and a stream open for so long without events, to see whether the proxy lets them be
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    idle: Option<Duration>,
    /// Trust the certificates in this PEM file, too
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// Show the result as JSON
    #[arg(long)]
    pub(super) json: bool,
}

impl Doctor {
    /// Looks at everything. The code is 1 if something is bad.
    pub fn run(self) -> Result<ExitCode, Failure> {
        let exam = self.exam()?;
        let mut report = Report { as_json: self.json, findings: Vec::new(), progress: Progress::new() };
        converse(async { examine(&exam, self.idle, &mut report).await })?;
        report.finish(&self.url)
    }

    fn exam(&self) -> Result<Exam, Failure> {
        let target = Target::parse(&self.url).map_err(|problem| Failure::Usage(format!("--url {:?} {problem}", self.url)))?;
        if target.path().contains('?') {
            let remedy = "name the gateway alone, such as https://relay.example.com";
            return Err(Failure::Usage(format!("--url has a query, in which a token would be no secret\n      -> {remedy}")));
        }
        let from_environment = || std::env::var(TOKEN_VARIABLE).ok().filter(|token| !token.is_empty());
        let token = self.token.clone().or_else(from_environment).ok_or_else(|| {
            Failure::Usage(format!(
                "no token\n      -> give one of any user: --token, or {TOKEN_VARIABLE}; to make one: claimr-relay token --config relay.toml --user acme:42"
            ))
        })?;
        let token = token.trim().to_owned();
        if !token.bytes().all(|b| b.is_ascii_graphic()) {
            return Err(Failure::Usage("--token: no header can hold it\n      -> give the JWT alone".to_owned()));
        }
        let origin = self.origin.as_deref().map(|text| text.strip_suffix('/').unwrap_or(text).to_owned());
        if let Some(origin) = &origin {
            let is_origin = Target::parse(origin).is_ok_and(|target| target.path() == "/") && !origin.ends_with('/');
            if !is_origin || !origin.starts_with("http") {
                return Err(Failure::Usage(format!(
                    "--origin {origin:?} is no origin\n      -> write scheme and host alone, such as https://app.example.com"
                )));
            }
        }
        Ok(Exam { client: Client::new(self.ca.as_deref(), PATIENCE)?, target, token: token.into(), origin })
    }
}

fn duration(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text).map_err(|error| format!("{error}; write a number and its unit, such as 70s"))
}

/// Whom to look at, and as whom.
struct Exam {
    client: Client,
    target: Target,
    token: SecretString,
    origin: Option<String>,
}

impl Exam {
    fn token(&self) -> &str {
        self.token.expose_secret()
    }

    /// Sends `request` to a path of the gateway.
    fn aim(&self, request: &mut Request<Bytes>, path: &str) -> Result<(), Trouble> {
        let path = self.target.below(path);
        *request.uri_mut() = path.parse().map_err(|_| Trouble::Broken(self.target.url(&path), "this is no URL".to_owned()))?;
        Ok(())
    }

    fn head(&self, request: &mut Request<Bytes>, name: &HeaderName, value: &str) -> Result<(), Trouble> {
        let unfit = |_| Trouble::Broken(self.target.url(""), format!("no header can hold the value of {name}"));
        request.headers_mut().insert(name, HeaderValue::from_str(value).map_err(unfit)?);
        Ok(())
    }

    fn add_origin(&self, request: &mut Request<Bytes>) -> Result<(), Trouble> {
        self.origin.as_ref().map_or(Ok(()), |origin| self.head(request, &header::ORIGIN, origin))
    }
}

/// The whole examination; what needs something that is bad is not looked at.
async fn examine(exam: &Exam, idle: Option<Duration>, report: &mut Report) -> Result<(), Failure> {
    report.begin("the way");
    let (finding, answer) = reach::reachable(exam).await;
    report.add(finding)?;
    let Some(answer) = answer else { return Ok(()) };
    let now = reach::server_time(&answer.headers).unwrap_or_else(clock::now);
    report.add(reach::clocks(&answer))?;
    report.add(token::check(exam.token(), now))?;
    report.begin("origins");
    report.add(reach::own_origin(exam).await)?;
    report.add(reach::strangers(exam).await)?;
    report.begin("WebSocket");
    let (findings, socket) = websocket::check(exam).await;
    findings.into_iter().try_for_each(|finding| report.add(finding))?;
    // What is not looked at again must not count against the limits of this user.
    let socket = socket.filter(|_| idle.is_some());
    report.begin("SSE");
    let (findings, stream) = sse::check(exam).await;
    findings.into_iter().try_for_each(|finding| report.add(finding))?;
    let stream = stream.filter(|_| idle.is_some());
    report.begin("tickets");
    report.add(sse::ticket(exam).await)?;
    match idle {
        Some(idle) => stay(idle, socket, stream, report).await,
        None => report.add(Finding::skipped("idle", "--idle 70s keeps both open for so long")),
    }
}

/// Keeps both open without events, and sees whether pings come through and nobody cuts them off.
async fn stay(idle: Duration, socket: Option<Socket>, stream: Option<EventStream>, report: &mut Report) -> Result<(), Failure> {
    const REMEDY: &str =
        "raise the proxy's idle time-out well above the pings (nginx: proxy_read_timeout 1h;), or lower limits.ping_interval_s";
    let begun = Instant::now();
    let end = begun + idle;
    let websocket = async {
        let mut socket = socket?;
        Some((socket.ping, socket.idle(end).await.map_err(|code| (ended(code), begun.elapsed()))))
    };
    let sse = async {
        let mut stream = stream?;
        let why = || (("the stream ended".to_owned(), REMEDY), begun.elapsed());
        Some((stream.ping, stream.idle(end).await.ok_or_else(why)))
    };
    let mut ticks = tokio::time::interval(Duration::from_millis(200));
    let both = async { tokio::join!(websocket, sse) };
    tokio::pin!(both);
    let (websocket, sse) = loop {
        tokio::select! {
            both = &mut both => break both,
            _ = ticks.tick() => report.wait(begun.elapsed(), idle),
        }
    };
    for (check, outcome) in [("idle ws", websocket), ("idle sse", sse)] {
        report.add(match outcome {
            None => Finding::skipped(check, "it is not open"),
            Some((_, Err(((problem, remedy), after)))) => {
                let remedy = if problem.contains("without a word") { REMEDY } else { remedy };
                Finding::bad(check, format!("{problem}, after {} s", after.as_secs()), remedy)
            }
            Some((ping, Ok(0))) if ping < idle => {
                let problem = format!("no ping came in {} s, although one is sent every {} s", idle.as_secs(), ping.as_secs());
                Finding::bad(check, problem, "something holds the stream back: turn the proxy's buffering off")
            }
            Some((ping, Ok(0))) => {
                let detail = format!("open after {} s, too soon for a ping (every {} s)", idle.as_secs(), ping.as_secs());
                Finding::good(check, detail)
            }
            Some((_, Ok(pings))) => {
                let s = if pings == 1 { "" } else { "s" };
                Finding::good(check, format!("open after {} s, with {pings} ping{s}", idle.as_secs()))
            }
        })?;
    }
    Ok(())
}

/// What it means that a session ended with this code, and what to do.
fn ended(code: Option<u16>) -> (String, &'static str) {
    let Some(code) = code else {
        return ("the connection ended without a word".to_owned(), "see the proxy's log, and the gateway's");
    };
    let (what, remedy) = match code {
        4000 => ("the gateway is stopping", "try again when it is back"),
        4100 => ("the token is expired", "use a new one; if it is new, compare the clocks"),
        4101 => {
            ("the token is rejected", "compare iss, aud and the key with [auth]; the gateway's log says what is wrong with it")
        }
        4102 => ("the token is revoked", "use a token of another user"),
        4103 => ("no token arrived", "let the proxy leave Sec-WebSocket-Protocol in the request"),
        4200 => ("the gateway is full", "see limits.sessions_max"),
        4201 => ("this user has too many sessions", "close some, or raise limits.sessions_per_user_max"),
        4406 => ("another version of the protocol is wanted", "use a claimr-relay of the gateway's version"),
        _ => ("the session was closed", "look the code up in docs/protocol.md"),
    };
    (format!("{what} ({code})"), remedy)
}

/// The lines so far.
struct Report {
    as_json: bool,
    findings: Vec<Finding>,
    progress: Progress,
}

impl Report {
    fn begin(&mut self, what: &str) {
        self.progress.show(|| format!("looking at {what} ..."));
    }

    fn wait(&mut self, so_far: Duration, of: Duration) {
        self.progress.show(|| format!("both are open and idle: {} of {} s", so_far.as_secs(), of.as_secs()));
    }

    fn add(&mut self, finding: Finding) -> Result<(), Failure> {
        self.progress.clear();
        if !self.as_json {
            print(&finding.to_text())?;
        }
        self.findings.push(finding);
        Ok(())
    }

    fn finish(self, url: &str) -> Result<ExitCode, Failure> {
        let is_well = !self.findings.iter().any(Finding::is_bad);
        if self.as_json {
            let checks: Vec<Value> = self.findings.iter().map(Finding::to_json).collect();
            print(&json!({ "ok": is_well, "url": url, "checks": checks }).to_string())?;
        }
        Ok(if is_well { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}
