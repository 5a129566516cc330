//! The streams that make up one log: found or made, checked for what would break a promise, and brought to this configuration.
//!
//! | stream | subjects | holds |
//! | --- | --- | --- |
//! | `<name>` | `<name>.e.<people>` | the events; a message's number is the event's |
//! | `<name>-letters` | `<name>.l.<letter>` | the dead letters, one for each name |
//! | `<name>-control` | `<name>.c.…` | what every gateway has to know: revocations, sessions to end, events to send once more |

use std::time::Duration;

use async_nats::jetstream::{
    ErrorCode,
    context::{CreateStreamError, CreateStreamErrorKind, GetStreamError, GetStreamErrorKind},
    stream::{Config, DiscardPolicy, Info, RetentionPolicy, StorageType, Stream},
};

use super::{OpenError, link::Link};
use crate::{config::Nats, engine::Retention, event::Epoch};

/// What precedes the epoch in a stream's description, where it is found by every gateway.
const EPOCH_MARK: &str = "claimr-relay log, epoch ";
/// For how long the server recognises a message that it has. Longer repetitions are recognised by the index; this is for two gateways at
/// the same moment, and for an answer that got lost.
const DUPLICATE_WINDOW: Duration = Duration::from_mins(2);
/// The shortest life of a message, for logs that forget quickly.
const AGE_MARGIN_MIN: Duration = Duration::from_mins(1);
/// How long ended sessions and events sent once more have to be known: gateways that were cut off for longer had their sessions end anyway.
/// Revocations stay as long as they are in force, so this is no retention of the stream.
const CONTROL_MESSAGES_PER_SUBJECT: i64 = 1;
/// A message's head and the keys of its people, beside what they see.
const MESSAGE_HEAD_BYTES: usize = 64 * 1024;

/// The streams of one log.
#[derive(Clone)]
pub(super) struct Streams {
    pub(super) events: Stream,
    pub(super) letters: Stream,
    pub(super) control: Stream,
    pub(super) epoch: Epoch,
    /// Whether several messages can be stored all or nothing.
    pub(super) is_atomic: bool,
}

impl Streams {
    /// Finds or makes the streams.
    pub(super) async fn open(link: &Link, settings: &Nats, retention: &Retention) -> Result<Self, OpenError> {
        let name = &settings.stream;
        let epoch = Epoch::from_random(fastrand::u64(..));
        // Older servers forget that they were asked, and would be asked again at every start.
        let atomic = link.client.is_server_compatible(2, 12, 0);
        let events = ensure(link, events_config(settings, retention, Some(epoch), atomic)).await?;
        let info = events.cached_info();
        let Some(epoch) = epoch_of(info) else {
            return Err(OpenError::unsafe_stream(name, "its description does not hold an epoch, and could not be changed"));
        };
        let is_atomic = info.config.allow_atomic_publish;
        let letters = ensure(link, letters_config(settings, retention)).await?;
        let control = ensure(link, control_config(settings)).await?;
        Ok(Self { events, letters, control, epoch, is_atomic })
    }
}

/// The epoch that a stream carries.
pub(super) fn epoch_of(info: &Info) -> Option<Epoch> {
    epoch_in(info.config.description.as_deref()?)
}

/// The epoch that a description carries.
pub(super) fn epoch_in(description: &str) -> Option<Epoch> {
    description.strip_prefix(EPOCH_MARK)?.parse().ok()
}

/// The description that carries `epoch`.
pub(super) fn description(epoch: Epoch) -> String {
    format!("{EPOCH_MARK}{epoch}")
}

fn base(settings: &Nats, name: String, subject: String) -> Config {
    Config {
        name,
        subjects: vec![subject],
        retention: RetentionPolicy::Limits,
        storage: StorageType::File,
        discard: DiscardPolicy::Old,
        num_replicas: settings.replicas,
        allow_direct: true,
        max_bytes: -1,
        max_messages: -1,
        max_messages_per_subject: -1,
        max_message_size: -1,
        max_consumers: -1,
        duplicate_window: DUPLICATE_WINDOW,
        ..Config::default()
    }
}

fn events_config(settings: &Nats, retention: &Retention, epoch: Option<Epoch>, atomic: bool) -> Config {
    let name = settings.stream.clone();
    let subject = format!("{name}.e.*");
    // The index draws the line; the server keeps a little more, so that a gateway that starts draws the same one.
    let max_age = retention.max_age.saturating_add((retention.max_age / 8).max(AGE_MARGIN_MIN));
    Config {
        max_age: max_age.min(Duration::from_hours(24 * 365 * 100)),
        duplicate_window: DUPLICATE_WINDOW.min(max_age),
        max_messages: count(settings.events_max),
        max_messages_per_subject: count(retention.max_events_per_user.saturating_add(1)),
        description: epoch.map(description),
        allow_atomic_publish: atomic,
        ..base(settings, name, subject)
    }
}

fn letters_config(settings: &Nats, retention: &Retention) -> Config {
    let (name, subject) = (format!("{}-letters", settings.stream), format!("{}.l.*", settings.stream));
    // None are written if none are to be kept; the server takes 0 for no limit.
    Config {
        max_messages: count(retention.dead_letters_max.max(1)),
        max_messages_per_subject: 1,
        ..base(settings, name, subject)
    }
}

fn control_config(settings: &Nats) -> Config {
    let (name, subject) = (format!("{}-control", settings.stream), format!("{}.c.>", settings.stream));
    Config { max_messages_per_subject: CONTROL_MESSAGES_PER_SUBJECT, ..base(settings, name, subject) }
}

fn count(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}

/// The stream of that name as `wanted` says.
async fn ensure(link: &Link, wanted: Config) -> Result<Stream, OpenError> {
    let name = wanted.name.clone();
    let jetstream = &link.jetstream;
    let found = match jetstream.get_stream(&name).await {
        Ok(stream) => stream,
        Err(error) if is_missing(&error.kind()) => match jetstream.create_stream(wanted.clone()).await {
            Ok(stream) => stream,
            // Another gateway made it at the same moment, under an epoch of its own.
            Err(error) if is_taken(&error.kind()) => {
                jetstream.get_stream(&name).await.map_err(|e| OpenError::stream(&name, &e))?
            }
            Err(error) => return Err(not_made(&name, &error)),
        },
        Err(error) => return Err(not_found(&name, &error)),
    };
    let info = found.cached_info();
    if let Some(problem) = unsafe_because(&info.config, &wanted) {
        return Err(OpenError::unsafe_stream(&name, problem));
    }
    let changed = adapted(info, &wanted);
    if !differs(&changed, &info.config) {
        return Ok(found);
    }
    tracing::info!(stream = name, "the stream is brought to this configuration");
    jetstream.update_stream(changed).await.map_err(|error| OpenError::stream(&name, &error))?;
    jetstream.get_stream(&name).await.map_err(|error| OpenError::stream(&name, &error))
}

/// Whether the server knows no such stream.
pub(super) fn is_missing(kind: &GetStreamErrorKind) -> bool {
    matches!(kind, GetStreamErrorKind::JetStream(error) if error.error_code() == ErrorCode::STREAM_NOT_FOUND)
}

/// What servers of a cluster say that have not found each other yet: no leader, no peers with room, no answer.
fn is_transient(code: ErrorCode) -> bool {
    [
        ErrorCode::CLUSTER_NO_PEERS,
        ErrorCode::CLUSTER_NOT_AVAILABLE,
        ErrorCode::CLUSTER_NOT_LEADER,
        ErrorCode::INSUFFICIENT_RESOURCES,
    ]
    .contains(&code)
}

fn not_found(name: &str, error: &GetStreamError) -> OpenError {
    match error.kind() {
        GetStreamErrorKind::JetStream(e) if !is_transient(e.error_code()) => OpenError::stream(name, error),
        GetStreamErrorKind::JetStream(_) | GetStreamErrorKind::Request => {
            OpenError::NotReady { name: name.to_owned(), reason: error.to_string() }
        }
        _ => OpenError::stream(name, error),
    }
}

fn not_made(name: &str, error: &CreateStreamError) -> OpenError {
    match error.kind() {
        CreateStreamErrorKind::JetStream(e) if !is_transient(e.error_code()) => OpenError::stream(name, error),
        CreateStreamErrorKind::JetStream(_) | CreateStreamErrorKind::TimedOut => {
            OpenError::NotReady { name: name.to_owned(), reason: error.to_string() }
        }
        _ => OpenError::stream(name, error),
    }
}

fn is_taken(kind: &CreateStreamErrorKind) -> bool {
    matches!(kind, CreateStreamErrorKind::JetStream(error) if error.error_code() == ErrorCode::STREAM_NAME_EXIST)
}

/// What cannot be changed, or must not be by us, and would break a promise.
fn unsafe_because(found: &Config, wanted: &Config) -> Option<&'static str> {
    let problems = [
        (
            found.retention != RetentionPolicy::Limits,
            "its retention is not by limits, so readers would take messages from each other",
        ),
        (found.storage != StorageType::File, "it is kept in memory, so a restart would lose what was acknowledged"),
        (found.discard != DiscardPolicy::Old, "it refuses new messages when it is full, instead of forgetting old ones"),
        (found.no_ack, "it does not acknowledge what it stores"),
        (found.sealed, "it is sealed, so nothing can be added"),
        (found.mirror.is_some() || found.sources.is_some(), "it takes messages from other streams"),
        (found.subject_transform.is_some(), "it renames the subjects of its messages"),
        (found.subjects != wanted.subjects, "its subjects are not those of a log of claimr-relay: name another stream"),
    ];
    problems.into_iter().find_map(|(is_bad, why)| is_bad.then_some(why))
}

/// What was found, with what we have a say in.
fn adapted(found: &Info, wanted: &Config) -> Config {
    let has_epoch = wanted.description.is_none() || epoch_of(found).is_some();
    Config {
        max_age: wanted.max_age,
        max_messages: wanted.max_messages,
        max_messages_per_subject: wanted.max_messages_per_subject,
        num_replicas: wanted.num_replicas,
        allow_direct: true,
        duplicate_window: wanted.duplicate_window,
        allow_atomic_publish: found.config.allow_atomic_publish || wanted.allow_atomic_publish,
        description: if has_epoch { found.config.description.clone() } else { wanted.description.clone() },
        ..found.config.clone()
    }
}

/// Whether there is anything to change.
fn differs(a: &Config, b: &Config) -> bool {
    a.max_age != b.max_age
        || a.max_messages != b.max_messages
        || a.max_messages_per_subject != b.max_messages_per_subject
        || a.num_replicas != b.num_replicas
        || a.allow_direct != b.allow_direct
        || a.duplicate_window != b.duplicate_window
        || a.description != b.description
        || a.allow_atomic_publish != b.allow_atomic_publish
}

/// The most bytes that an event of a webhook of `body` bytes takes: what two people see of it.
pub(super) fn message_bytes_max(body: usize) -> usize {
    body.saturating_mul(2).saturating_add(MESSAGE_HEAD_BYTES)
}
