//! A gateway on free ports, and the people around it: claimr, a customer's backend, and users with WebSocket and SSE clients.
//!
//! Waiting is for a condition, never for a time; [`PATIENCE`] only turns a hang into a failure.

mod authority;
mod clients;
mod issuer;
mod nats;
mod process;
mod program;
mod raw;

use std::{
    fmt::Write as _,
    net::SocketAddr,
    path::Path,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use aws_lc_rs::hmac;
use claimr_relay::{
    config::load::load,
    gateway::{Gateway, Refused, Reloader},
    hub::{Hub, admission::Admission},
};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::oneshot;
use tokio_util::task::AbortOnDropHandle;

pub(crate) use authority::{Authority, Pair, secured};
pub(crate) use clients::{Dial, Sse, WebSocket};
pub(crate) use issuer::{Issuer, SigningKey};
pub(crate) use nats::{NatsServer, NatsVersion};
pub(crate) use process::Process;
pub(crate) use program::{Said, claimr_relay, shell};
pub(crate) use raw::{Raw, RawAnswer, RawSocket, frame};

/// After this, what is waited for will not come.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);
pub(crate) const HOOK_SECRET: &str = "hook-secret-of-the-tests";
pub(crate) const JWT_SECRET: &str = "jwt-secret-of-the-tests-0123456789abcdef";
pub(crate) const ORIGIN: &str = "https://app.example.com";

/// A running gateway. Dropping it kills it; [`Relay::stop`] drains it.
pub(crate) struct Relay {
    pub(crate) address: SocketAddr,
    pub(crate) admin: SocketAddr,
    pub(crate) http: reqwest::Client,
    pub(crate) hub: Arc<Hub>,
    pub(crate) admission: Arc<Admission>,
    folder: TempDir,
    settings: String,
    listen: SocketAddr,
    reloader: Reloader,
    stop: Option<oneshot::Sender<()>>,
    running: AbortOnDropHandle<()>,
}

/// The configuration of every test, less what `settings` says otherwise.
pub(crate) fn configuration(folder: &Path, listen: SocketAddr, settings: &str) -> String {
    let mut text = format!(
        r#"
[server]
listen = "{listen}"
admin_listen = "127.0.0.1:0"
allowed_origins = ["{ORIGIN}"]
drain_window = "1s"
[store]
engine = "disk"
path = "{data}"
[auth]
issuer = "https://app.example.com"
audience = "claimr-relay"
default_platform = "acme"
[[auth.keys]]
alg = "HS256"
secret = {{ value = "{JWT_SECRET}" }}
[[sources]]
name = "claimr"
secrets = [{{ value = "{HOOK_SECRET}" }}]
[limits]
sessions_per_address_max = 10000
new_sessions_per_address_per_s_max = 10000
"#,
        data = folder.join("data").display(),
    );
    // Later tests say what differs: `key.path = value` lines, which replace the line of the same key or extend its table; and tables of
    // their own after those.
    let tables = settings.find("[[").unwrap_or(settings.len());
    let (settings, tables) = settings.split_at(tables);
    for line in settings.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let (path, value) = line.split_once('=').expect("a setting is `table.key = value`");
        let (table, key) = path.trim().rsplit_once('.').expect("a setting has a table");
        let header = if table == "sources" || table == "auth.keys" { format!("[[{table}]]\n") } else { format!("[{table}]\n") };
        let at = text.find(&header).map(|at| at + header.len());
        let at = at.unwrap_or_else(|| {
            let _ = write!(text, "{header}");
            text.len()
        });
        let end = text[at..].find("\n[").map_or(text.len(), |end| at + end + 1);
        let old = text[at..end].lines().find(|l| l.split('=').next().is_some_and(|k| k.trim() == key)).map(str::to_owned);
        match old {
            Some(old) => text = text.replacen(&old, &format!("{key} ={value}"), 1),
            None => text.insert_str(at, &format!("{key} ={value}\n")),
        }
    }
    text + tables
}

impl Relay {
    /// A gateway with the tests' configuration.
    pub(crate) async fn start() -> Self {
        Self::with("").await
    }

    /// A gateway whose configuration differs by lines such as `limits.sessions_per_user_max = 2`.
    pub(crate) async fn with(settings: &str) -> Self {
        let folder = TempDir::new().unwrap();
        Self::launch(folder, settings.to_owned(), "127.0.0.1:0".parse().unwrap()).await
    }

    #[expect(clippy::unused_async, reason = "starting is awaited, as stopping is")]
    async fn launch(folder: TempDir, settings: String, listen: SocketAddr) -> Self {
        let file = folder.path().join("relay.toml");
        std::fs::write(&file, configuration(folder.path(), listen, &settings)).unwrap();
        let config = load(Some(&file), std::iter::empty()).unwrap_or_else(|mistakes| panic!("{mistakes}"));
        let gateway = Gateway::bind(config).unwrap();
        let (address, admin) = (gateway.address().unwrap(), gateway.admin_address().unwrap());
        let (hub, admission, reloader) = (gateway.hub(), gateway.admission(), gateway.reloader());
        let (stop, stopped) = oneshot::channel();
        #[expect(clippy::disallowed_methods, reason = "the gateway itself is the task")]
        let running = AbortOnDropHandle::new(tokio::spawn(gateway.run(async {
            let _ = stopped.await;
        })));
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        Self { address, admin, http, hub, admission, folder, settings, listen, reloader, stop: Some(stop), running }
    }

    /// Takes up a configuration that differs from the tests' by these settings.
    pub(crate) fn reload(&self, settings: &str) -> Result<(), Refused> {
        let file = self.folder.path().join("relay.toml");
        std::fs::write(&file, configuration(self.folder.path(), self.listen, settings)).unwrap();
        self.reloader.apply(load(Some(&file), std::iter::empty()).unwrap_or_else(|mistakes| panic!("{mistakes}")))
    }

    /// A request to the admin listener, with a JSON body if it is not null.
    pub(crate) async fn ask_admin(&self, method: &str, path: &str, body: &Value) -> Answer {
        self.ask_admin_with(&[("x-claimr-relay", "1")], method, path, body).await
    }

    pub(crate) async fn ask_admin_with(&self, headers: &[(&str, &str)], method: &str, path: &str, body: &Value) -> Answer {
        let mut request = self.http.request(method.parse().unwrap(), format!("http://{}{path}", self.admin));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if !body.is_null() {
            request = request.json(body);
        }
        let response = request.send().await.unwrap();
        let status = response.status().as_u16();
        let text = response.text().await.unwrap();
        Answer { status, body: serde_json::from_str(&text).unwrap_or(Value::String(text)) }
    }

    /// Where the disk log is.
    pub(crate) fn data_folder(&self) -> std::path::PathBuf {
        self.folder.path().join("data")
    }

    /// A ticket for whom the token names.
    pub(crate) async fn ticket(&self, token: &str) -> Answer {
        self.post("/v1/tickets", &[("authorization", &format!("Bearer {token}"))], b"").await
    }

    /// Drains and ends.
    pub(crate) async fn stop(mut self) -> Stopped {
        drop(self.stop.take());
        tokio::time::timeout(Duration::from_secs(30), &mut self.running).await.expect("a drain ends within 30 s").unwrap();
        Stopped { folder: self.folder, settings: self.settings, address: self.address }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// A delivery of claimr: `body` signed and posted to `/hooks/claimr/user_activity`.
    pub(crate) async fn deliver(&self, body: &Value) -> Answer {
        self.deliver_to("/hooks/claimr/user_activity", &body.to_string()).await
    }

    pub(crate) async fn deliver_to(&self, path: &str, body: &str) -> Answer {
        self.post(path, &[("x-signature", &sign(body.as_bytes()))], body.as_bytes()).await
    }

    /// Any POST of JSON.
    pub(crate) async fn post(&self, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        let mut request = self.http.post(self.url(path)).body(body.to_vec());
        if !headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("content-type")) {
            request = request.header("content-type", "application/json");
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let response = request.send().await.unwrap();
        let status = response.status().as_u16();
        let text = response.text().await.unwrap();
        Answer { status, body: serde_json::from_str(&text).unwrap_or(Value::String(text)) }
    }

    /// An event for `acme:<user>` whose `n` tells it apart; panics unless it was accepted.
    pub(crate) async fn event(&self, user: &str, n: usize) -> Answer {
        let answer = self.deliver(&event(user, n)).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        answer
    }

    /// One metric's value by its name and labels as exposed, 0 if it is not there yet.
    pub(crate) async fn metric(&self, line: &str) -> u64 {
        let text = self.http.get(format!("http://{}/metrics", self.admin)).send().await.unwrap().text().await.unwrap();
        let value = text.lines().find_map(|l| l.strip_prefix(line)?.strip_prefix(' '));
        value.map_or(0, |value| value.trim().parse().unwrap())
    }
}

/// A gateway that ended; its folder and its port are still there.
pub(crate) struct Stopped {
    folder: TempDir,
    settings: String,
    address: SocketAddr,
}

impl Stopped {
    pub(crate) async fn start(self) -> Relay {
        Relay::launch(self.folder, self.settings, self.address).await
    }

    /// The same folder and port under further settings.
    pub(crate) async fn start_with(mut self, settings: &str) -> Relay {
        self.settings = format!("{}\n{settings}", self.settings);
        self.start().await
    }
}

/// What a webhook was answered.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: Value,
}

impl Answer {
    pub(crate) fn id(&self) -> String {
        self.body["ids"][0].as_str().unwrap_or_else(|| panic!("no id in {self:?}")).to_owned()
    }

    pub(crate) fn code(&self) -> &str {
        self.body["error"]["code"].as_str().unwrap_or("")
    }
}

/// A payload for `acme:<user>`; `n` is its points and makes it unlike others.
pub(crate) fn event(user: &str, n: usize) -> Value {
    json!({"account": user, "platform": "acme", "event_type": "task_completed", "event_xp": n})
}

/// The plain signature of the tests' hook secret: hex HMAC-SHA256.
pub(crate) fn sign(body: &[u8]) -> String {
    sign_with(HOOK_SECRET, body)
}

/// The same with another secret.
pub(crate) fn sign_with(secret: &str, body: &[u8]) -> String {
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes()), body);
    data_encoding::HEXLOWER.encode(tag.as_ref())
}

/// A token of the tests' backend for `acme:<user>`, good for ten minutes.
pub(crate) fn token(user: &str) -> String {
    token_with(&json!({"sub": user}))
}

/// A token with these claims over the usual ones; a claim that is null is left out.
pub(crate) fn token_with(claims: &Value) -> String {
    token_of(&json!({"alg": "HS256", "typ": "JWT"}), &usual_claims(claims), JWT_SECRET)
}

/// These claims over the usual ones; a claim that is null is left out.
pub(crate) fn usual_claims(claims: &Value) -> Value {
    let mut all = json!({"iss": "https://app.example.com", "aud": "claimr-relay", "exp": unix_now() + 600});
    for (name, value) in claims.as_object().unwrap() {
        all[name] = value.clone();
    }
    all.as_object_mut().unwrap().retain(|_, value| !value.is_null());
    all
}

/// A token of exactly these parts.
pub(crate) fn token_of(header: &Value, claims: &Value, secret: &str) -> String {
    let encode = |part: &[u8]| data_encoding::BASE64URL_NOPAD.encode(part);
    let signed = format!("{}.{}", encode(header.to_string().as_bytes()), encode(claims.to_string().as_bytes()));
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes()), signed.as_bytes());
    format!("{signed}.{}", encode(tag.as_ref()))
}

#[expect(clippy::disallowed_methods, reason = "tests are at the edge too")]
pub(crate) fn unix_now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

/// An address that nobody listens on, for a process that is killed and started again on the same one.
pub(crate) fn free_address() -> SocketAddr {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

/// Waits until `condition` holds.
pub(crate) async fn until(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let waiting = async {
        while !condition().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, waiting).await.unwrap_or_else(|_| panic!("never happened: {what}"));
}
