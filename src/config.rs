//! What an operator decides: typed, documented, and checked before anything starts.
//!
//! [`load`](load::load) merges the built-in defaults, the TOML file and `CLAIMR_RELAY__…` variables, and reports every mistake at once,
//! each with its key, where the value came from, and the remedy. What leaves this module is complete and consistent; secrets are
//! resolved and cannot be printed.

#[cfg(any(test, fuzzing))]
pub(crate) mod any_text;
mod broadcast;
mod jwt_keys;
pub mod load;
pub mod mapping;
mod mistake;
mod nats;
mod network;
mod print;
mod reader;
mod reload;
mod secrets;
mod sections;
mod sources;
#[cfg(test)]
mod tests;
mod tls;
mod tree;
mod values;

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use secrecy::SecretString;
use serde::Serialize;

use crate::event::Timestamp;

pub use broadcast::{Broadcast, Shown};
pub use mapping::Mapping;
pub use mistake::{Mistake, Mistakes};
pub use nats::{Login, Nats, NatsTls};
pub use network::{Network, network_of};
pub use tls::Tls;

/// Everything that `serve` needs to know.
#[derive(Clone, Debug, Serialize)]
pub struct Config {
    /// Where to listen and for whom.
    pub server: Server,
    /// The event log.
    pub store: Store,
    /// Who may connect.
    pub auth: Auth,
    /// The admin listener's protection.
    pub admin: Admin,
    /// Who sends webhooks; at least one, names unique.
    pub sources: Vec<Source>,
    /// The bounds of everything.
    pub limits: Limits,
    /// How to log.
    pub log: Log,
}

/// Where to listen and for whom.
#[derive(Clone, Debug, Serialize)]
pub struct Server {
    /// The public listener: webhooks, streams, tickets.
    pub listen: SocketAddr,
    /// The admin listener: metrics, health, admin API.
    pub admin_listen: SocketAddr,
    /// Origins of pages that may connect, exact `scheme://host[:port]`.
    pub allowed_origins: Vec<String>,
    /// Networks whose `X-Forwarded-For`, or else `Forwarded`, counts, as `address/prefix`.
    pub trusted_proxies: Vec<Network>,
    /// At most this long from the stop signal until the last session was told to leave.
    #[serde(serialize_with = "print::duration")]
    pub drain_window: Duration,
    /// The public listener's certificate; absent: it speaks plain HTTP.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<Tls>,
}

/// The event log.
#[derive(Clone, Debug, Serialize)]
pub struct Store {
    /// Which log.
    #[serde(flatten)]
    pub engine: EngineKind,
    /// How long an event can be resumed from.
    #[serde(serialize_with = "print::duration")]
    pub max_age: Duration,
    /// How many events each user key, and each campaign, keeps.
    pub max_events_per_user: usize,
}

/// Which log.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "engine", rename_all = "lowercase")]
pub enum EngineKind {
    /// In memory: nothing survives a restart.
    Memory,
    /// On disk.
    Disk {
        /// The folder.
        path: PathBuf,
    },
    /// In NATS `JetStream`, shared with other gateways.
    Nats {
        /// Where and how.
        nats: Box<Nats>,
    },
}

/// Who may connect.
#[derive(Clone, Debug, Serialize)]
pub struct Auth {
    /// The `iss` that tokens must carry.
    pub issuer: String,
    /// The `aud` that tokens must carry.
    pub audience: String,
    /// The platform of a `sub` without a colon.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub default_platform: Option<String>,
    /// The keys that tokens may be signed with; empty only if there is a set of keys.
    pub keys: Vec<JwtKey>,
    /// Sets of such keys, fetched from their issuers.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub jwks: Vec<Jwks>,
    /// Signs stream tickets; absent: derived from the first HMAC key.
    #[serde(serialize_with = "print::secret", skip_serializing_if = "Option::is_none")]
    pub ticket_secret: Option<SecretString>,
    /// How far clocks may disagree; at most 30 s.
    #[serde(serialize_with = "print::duration")]
    pub leeway: Duration,
    /// The longest life of a token; at most 24 h.
    #[serde(serialize_with = "print::duration")]
    pub token_life_max: Duration,
}

/// A key that tokens may be signed with.
#[derive(Clone, Debug, Serialize)]
pub struct JwtKey {
    /// The only algorithm it is good for.
    pub alg: jsonwebtoken::Algorithm,
    /// Secret or public key.
    #[serde(flatten)]
    pub material: KeyMaterial,
    /// The `kid` that selects it; a key without one serves tokens without one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kid: Option<String>,
    /// No token signed with it is taken after this moment.
    #[serde(serialize_with = "print::moment_if_any", skip_serializing_if = "Option::is_none")]
    pub not_after: Option<Timestamp>,
    /// The setting it came from, such as `auth.keys[0]`, for messages.
    #[serde(skip)]
    pub setting: String,
}

/// A set of public keys (RFC 7517) that is fetched from where its issuer publishes it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Jwks {
    /// `https://…`, or `http://…` on loopback.
    pub url: String,
    /// The algorithms that its keys may be used with; none of them symmetric.
    pub algs: Vec<jsonwebtoken::Algorithm>,
    /// From one fetch to the next; at least 30 s.
    #[serde(serialize_with = "print::duration")]
    pub refresh: Duration,
    /// How long the last good set is used while no other can be had.
    #[serde(serialize_with = "print::duration")]
    pub stale_max: Duration,
    /// The setting it came from, such as `auth.keys[1].jwks`, for messages.
    #[serde(skip)]
    pub setting: String,
}

/// What a signature is checked with.
#[derive(Clone, Debug, Serialize)]
pub enum KeyMaterial {
    /// HS*: the secret's bytes.
    #[serde(rename = "secret", serialize_with = "print::secret")]
    Secret(SecretString),
    /// RS*, PS*, ES*, `EdDSA`: a PEM public key.
    #[serde(rename = "public_key")]
    PublicPem(String),
}

/// The admin listener's protection.
#[derive(Clone, Debug, Serialize)]
pub struct Admin {
    /// The bearer token; absent only on loopback.
    #[serde(serialize_with = "print::secret", skip_serializing_if = "Option::is_none")]
    pub token: Option<SecretString>,
}

/// A sender of webhooks.
#[derive(Clone, Debug, Serialize)]
pub struct Source {
    /// The path segment: `/hooks/<name>`.
    pub name: String,
    /// What its signatures are checked with; several while rotating.
    pub secrets: Vec<HookSecret>,
    /// Whether deliveries are taken without any signature.
    pub allow_unsigned: bool,
    /// Where its signature stands.
    pub signature: Signature,
    /// Where in its payload each field stands.
    pub mapping: Mapping,
    /// JSON pointers (RFC 6901) of members that no client may see.
    pub redact: Vec<String>,
    /// JSON pointers of the members that a referrer may see of the event of the person they referred.
    pub referrer_data: Vec<String>,
    /// Which of its events everybody who follows a campaign hears of; nobody but the people concerned if empty.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub broadcast: Vec<Broadcast>,
    /// A body without a delivery id counts as a repetition within this time; zero: never.
    #[serde(serialize_with = "print::duration")]
    pub duplicate_window: Duration,
    /// A delivery id is remembered for this long.
    #[serde(serialize_with = "print::duration")]
    pub delivery_id_window: Duration,
}

/// A webhook secret.
#[derive(Clone, Debug, Serialize)]
pub struct HookSecret {
    /// The secret as the sender has it.
    #[serde(rename = "value", serialize_with = "print::secret")]
    pub secret: SecretString,
    /// It is not taken after this moment.
    #[serde(serialize_with = "print::moment_if_any", skip_serializing_if = "Option::is_none")]
    pub not_after: Option<Timestamp>,
    /// The setting it came from, such as `sources[0].secrets[1]`, for messages.
    #[serde(skip)]
    pub setting: String,
}

/// Where a source's signature stands and how it is made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "scheme", rename_all = "kebab-case")]
pub enum Signature {
    /// Any header, any documented scheme; a plain shared secret never counts.
    Detect,
    /// HMAC of the raw body.
    Hmac {
        /// The header.
        header: String,
        /// The hash.
        algorithm: HmacAlgorithm,
        /// How the value is written.
        encoding: HmacEncoding,
        /// What stands before it, such as `sha256=`.
        prefix: String,
    },
    /// `t=<unix s>,v1=<hex>` over `<t>.<body>`.
    Stripe {
        /// The header.
        header: String,
    },
    /// `webhook-id`, `webhook-timestamp`, `webhook-signature`, or the same with `svix-`.
    StandardWebhooks,
    /// The secret itself in a header.
    SharedSecret {
        /// The header.
        header: String,
    },
}

/// The hash under an HMAC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum HmacAlgorithm {
    /// SHA-1.
    Sha1,
    /// SHA-256.
    Sha256,
    /// SHA-512.
    Sha512,
}

/// How an HMAC is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum HmacEncoding {
    /// Hexadecimal digits of either case.
    Hex,
    /// Base 64, standard or URL-safe, with or without padding.
    Base64,
}

/// How to log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Log {
    /// Directives as of `RUST_LOG`, such as `info` or `info,claimr_relay=debug`.
    pub filter: String,
    /// One JSON object a line, or text for people.
    pub format: LogFormat,
    /// Lines a second about webhooks that are refused for the same reason, and about credentials; the rest is counted in one line.
    pub refusals_per_s_max: u32,
}

/// The form of log lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// One JSON object a line.
    Json,
    /// Text for people.
    Text,
}

/// The limits whose zero is no mistake: no limit of its own, or keep none.
const ZERO_HAS_A_MEANING: [&str; 5] =
    ["waiting_connections_max", "sessions_max", "dead_letters_max", "captured_deliveries_max", "captured_body_bytes_max"];

macro_rules! limits {
    ($($(#[$doc:meta])* $name:ident: $type:ty = $default:literal;)*) => {
        /// The bounds of everything: one named setting each under `[limits]`, its unit last.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
        pub struct Limits { $($(#[$doc])* pub $name: $type,)* }

        impl Default for Limits {
            fn default() -> Self { Self { $($name: $default,)* } }
        }

        impl Limits {
            fn read(section: &reader::Section<'_>) -> Result<Self, reader::Reported> {
                $(
                    let name = stringify!($name);
                    let min = i64::from(!ZERO_HAS_A_MEANING.contains(&name));
                    let $name = section.required(name, &format!("{name} = {}", $default), values::count(min));
                )*
                Ok(Self { $($name: $name?,)* })
            }
        }
    };
}

limits! {
    /// Bytes of a request's head; above it 431.
    header_bytes_max: usize = 16_384;
    /// Header fields of a request; above it 431.
    header_fields_max: usize = 64;
    /// Bytes of a request's target; above it 414.
    uri_bytes_max: usize = 8_192;
    /// Seconds within which a request's head, and then its body, must have arrived.
    read_timeout_s: u64 = 10;
    /// Connections to one listener whose first request has not come; above it the one that waits longest is closed; 0: a quarter of the
    /// files that are kept for webhooks.
    waiting_connections_max: usize = 0;
    /// The same of one address that is no trusted proxy; those count that have waited for a second.
    waiting_connections_per_address_max: usize = 64;
    /// Seconds that a client may leave bytes of ours unread before its connection is dropped.
    write_stall_s: u64 = 90;
    /// Bytes of a webhook's body; above it 413.
    webhook_body_bytes_max: usize = 262_144;
    /// Bytes of a token; above it the token is refused unread.
    token_bytes_max: usize = 4_096;
    /// Bytes of a WebSocket message of a client; above it 1009.
    client_message_bytes_max: usize = 4_096;
    /// WebSocket frames a second that a client may send in the long run; above it 4202.
    client_frames_per_s_max: u32 = 20;
    /// WebSocket frames that a client may send at once.
    client_frames_burst_max: u32 = 40;
    /// Bytes a second that a client may send on a WebSocket in the long run, frame headers included; above it 4202.
    client_bytes_per_s_max: u32 = 1_024;
    /// Bytes that a client may send on a WebSocket at once.
    client_bytes_burst_max: u32 = 32_768;
    /// Seconds within which a WebSocket without a token must send one; then 4103.
    auth_timeout_s: u64 = 5;
    /// Sessions of one user; above it 4201.
    sessions_per_user_max: usize = 20;
    /// Sessions of one address; above it 429.
    sessions_per_address_max: usize = 200;
    /// New sessions of one address in a second; above it 429.
    new_sessions_per_address_per_s_max: u32 = 50;
    /// Sessions of this node; above it 503 and 4200; 0: the limit of open files less a reserve for webhooks.
    sessions_max: usize = 0;
    /// Seconds between pings.
    ping_interval_s: u64 = 25;
    /// Seconds that a WebSocket client may take to answer a ping; then 4002.
    pong_timeout_s: u64 = 10;
    /// Events that may wait for one session; above it 4001.
    mailbox_events_max: usize = 256;
    /// Bytes that may wait for one session; above it 4001.
    mailbox_bytes_max: usize = 65_536;
    /// Deliveries that may wait for the log; above it 503.
    publish_queue_max: usize = 4_096;
    /// Dead letters that are kept; the oldest go first.
    dead_letters_max: usize = 1_000;
    /// The latest webhooks, with what became of each, that are remembered for the admin API; 0: none.
    captured_deliveries_max: usize = 200;
    /// Bytes of a remembered webhook's body; what is longer is cut; 0: no bodies.
    captured_body_bytes_max: usize = 16_384;
}
