//! The settings of `[store.nats]`: where the servers are, which log on them is ours, and who we are.

use std::path::PathBuf;

use secrecy::SecretString;
use serde::Serialize;

use super::{
    mistake::Wrong,
    print,
    reader::{Reported, Section},
    secrets,
    tree::{Node, Value},
    values::{self, count},
};

/// A log in NATS `JetStream` that many gateways share.
#[derive(Clone, Debug, Serialize)]
pub struct Nats {
    /// The servers of one cluster, `nats://host:port` or `tls://host:port`, tried in this order; never empty, and without user or password.
    pub servers: Vec<String>,
    /// The log's name: of the stream with the events, and the beginning of its subjects and of the names of the other streams.
    pub stream: String,
    /// On how many servers each message is kept: 1 or 3.
    pub replicas: usize,
    /// Who we are.
    pub login: Login,
    /// How the servers are known, and we to them.
    pub tls: NatsTls,
    /// Events that the log holds at most; each costs memory on every gateway. The oldest go first.
    pub events_max: usize,
    /// Bytes of the latest events that each gateway keeps to serve replays from.
    pub cache_bytes_max: usize,
}

/// Who the gateway is to the servers.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Login {
    /// Nobody in particular.
    Anonymous,
    /// By the text of a `.creds` file: a JWT and the seed of its key.
    Credentials(#[serde(serialize_with = "print::secret")] SecretString),
    /// By the seed of an nkey.
    Nkey(#[serde(serialize_with = "print::secret")] SecretString),
    /// By a token.
    Token(#[serde(serialize_with = "print::secret")] SecretString),
    /// By name and password.
    User {
        /// The name.
        user: String,
        /// The password.
        #[serde(serialize_with = "print::secret")]
        password: SecretString,
    },
}

/// How the servers are known, and we to them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct NatsTls {
    /// Whether to talk in TLS only; always so with a `tls://` server.
    pub required: bool,
    /// PEM file with the authorities that sign the servers' certificates; absent: those of the system.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca: Option<PathBuf>,
    /// PEM files of our own certificate and its key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client: Option<(PathBuf, PathBuf)>,
}

const NAME_BYTES_MAX: usize = 64;

/// Reads `store.nats`, which has defaults for all but its servers.
pub(super) fn nats(store: &Section<'_>) -> Result<Nats, Reported> {
    let form = |node: &Node| {
        Wrong::new(format!("a table belongs here, not {}", node.kind()), "write nats = { url = \"nats://nats.internal:4222\" }")
    };
    let example = "nats = { url = \"nats://nats.internal:4222\" }";
    let table = store.table("nats", form)?.ok_or_else(|| store.missing("nats", example))?;
    let servers = servers(&table);
    let stream = table.optional("stream", stream_name);
    let replicas = table.optional("replicas", replica_count);
    let login = login(&table);
    let tls = tls(&table);
    let events_max = table.optional("events_max", count(1000));
    let cache_bytes_max = table.optional("cache_bytes_max", count(0));
    Ok(Nats {
        servers: servers?,
        stream: stream?.unwrap_or_else(|| "claimr-relay".to_owned()),
        replicas: replicas?.unwrap_or(1),
        login: login?,
        tls: tls?,
        events_max: events_max?.unwrap_or(2_000_000),
        cache_bytes_max: cache_bytes_max?.unwrap_or(64 * 1024 * 1024),
    })
}

/// One server, or a list of them.
fn servers(table: &Section<'_>) -> Result<Vec<String>, Reported> {
    let example = "url = \"nats://nats.internal:4222\"";
    let is_list = |node: &Node| match &node.value {
        Value::List(_) => true,
        Value::Written(text) => text.trim_start().starts_with('['),
        _ => false,
    };
    let found = match table.node("url").map(is_list) {
        None => return Err(table.missing("url", example)),
        Some(true) => table.list("url", server)?,
        Some(false) => vec![table.required("url", example, server)?],
    };
    if found.is_empty() { Err(table.missing("url", example)) } else { Ok(found) }
}

fn server(node: &Node) -> Result<String, Wrong> {
    let text = values::text(node)?;
    let remedy = "write \"nats://host:4222\", or \"tls://host:4222\"";
    let rest = text.strip_prefix("nats://").or_else(|| text.strip_prefix("tls://"));
    let rest = rest.ok_or_else(|| Wrong::new("not the address of a NATS server", remedy))?;
    if rest.contains('@') {
        // Whatever stands there may be a secret, so it is not repeated.
        return Err(Wrong::new("has a login in it", "write user and password, token, nkey or credentials beside the url"));
    }
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_' | b':' | b'[' | b']');
    if rest.is_empty() || !rest.bytes().all(plain) {
        return Err(Wrong::new("not the address of a NATS server", remedy));
    }
    Ok(text.to_owned())
}

fn stream_name(node: &Node) -> Result<String, Wrong> {
    let name = values::text(node)?;
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-');
    if name.is_empty() || name.len() > NAME_BYTES_MAX || !name.bytes().all(plain) {
        return Err(Wrong::new(
            "not the name of a stream",
            "write 1 to 64 of A-Z, a-z, 0-9, '_' and '-', such as \"claimr-relay\"",
        ));
    }
    Ok(name.to_owned())
}

fn replica_count(node: &Node) -> Result<usize, Wrong> {
    match count::<usize>(1)(node)? {
        replicas @ (1 | 3) => Ok(replicas),
        replicas => Err(Wrong::new(format!("{replicas} replicas"), "write 1, or 3: then one server may be lost")),
    }
}

#[derive(Clone, Copy)]
enum Way {
    Credentials,
    Nkey,
    Token,
    User,
}

fn login(table: &Section<'_>) -> Result<Login, Reported> {
    let credentials = secrets::optional(table, "credentials", 1);
    let nkey = secrets::optional(table, "nkey", 1);
    let token = secrets::optional(table, "token", 1);
    let user = table.optional("user", values::name);
    let password = secrets::optional(table, "password", 1);
    let (credentials, nkey, token, user, password) = (credentials?, nkey?, token?, user?, password?);
    let ways = [
        (credentials.is_some(), "credentials", Way::Credentials),
        (nkey.is_some(), "nkey", Way::Nkey),
        (token.is_some(), "token", Way::Token),
        (user.is_some() || password.is_some(), "user", Way::User),
    ];
    let mut given = ways.into_iter().filter(|(is_given, ..)| *is_given);
    let Some((_, _, way)) = given.next() else { return Ok(Login::Anonymous) };
    if let Some((_, key, _)) = given.next() {
        let remedy = "keep one of credentials, nkey, token, and user with password";
        return Err(table.wrong(key, Wrong::new("there is another way to log in beside this", remedy)));
    }
    match (way, credentials, nkey, token, user, password) {
        (Way::Credentials, Some(text), ..) => Ok(Login::Credentials(text)),
        (Way::Nkey, _, Some(seed), ..) => Ok(Login::Nkey(seed)),
        (Way::Token, _, _, Some(token), ..) => Ok(Login::Token(token)),
        (_, _, _, _, Some(user), Some(password)) => Ok(Login::User { user, password }),
        (_, _, _, _, None, _) => Err(table.missing("user", "user = \"claimr-relay\", the name that the password belongs to")),
        _ => Err(table.missing("password", "password = { env = \"NATS_PASSWORD\" }")),
    }
}

fn tls(table: &Section<'_>) -> Result<NatsTls, Reported> {
    let Some(tls) = table.table("tls", values::table_expected)? else { return Ok(NatsTls::default()) };
    let required = tls.optional("required", values::yes_or_no);
    let ca = tls.optional("ca", values::path);
    let cert = tls.optional("cert", values::path);
    let key = tls.optional("key", values::path);
    let client = match (cert?, key?) {
        (Some(cert), Some(key)) => Some((cert, key)),
        (None, None) => None,
        (Some(_), None) => return Err(tls.missing("key", "key = \"client.key.pem\", the key of the certificate")),
        (None, Some(_)) => return Err(tls.missing("cert", "cert = \"client.pem\", the certificate of the key")),
    };
    Ok(NatsTls { required: required?.unwrap_or(true), ca: ca?, client })
}
