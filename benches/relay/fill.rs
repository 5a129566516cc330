//! A log with a past: events as webhooks leave them, put there by the gateway's own parts without the way over sockets.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::{Arc, mpsc},
    thread,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use claimr_relay::{
    claimr::{payload::PayloadReader, signature::Verifier},
    clock::{self, Ages},
    config::{Config, load::load},
    engine::{Engine, Retention, disk::DiskEngine, steady::Steady},
    event::{Delivery, Draft, EventType},
    hub::{Hub, HubLimits, MailboxLimits},
};
use http::HeaderMap;

use crate::{
    server::{Product, Setup, configuration},
    webhook::{NOBODY, Template},
};

/// Events that are stored together.
const TOGETHER: u64 = 500;

/// A log that is filled.
pub(crate) struct Filled {
    pub(crate) folder: PathBuf,
    /// The position before the first event.
    pub(crate) cursor: String,
}

/// A log to be made.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wanted<'a> {
    /// Who uses it, because what one scenario adds another would not expect.
    pub(crate) name: &'a str,
    /// Event `n` is for user `n` modulo `users`.
    pub(crate) events: u64,
    pub(crate) users: usize,
}

impl Wanted<'_> {
    fn paths(self, data: &Path) -> (PathBuf, PathBuf) {
        let folder = data.join(format!("{}-{}", self.name, self.events));
        let note = folder.with_extension("cursor");
        (folder, note)
    }

    /// Makes it below `data`. One that is there already, and young enough for nothing in it to be out of date, is taken as it is.
    pub(crate) fn filled(self, data: &Path) -> anyhow::Result<Filled> {
        const GOOD_FOR: Duration = Duration::from_hours(12);
        let (folder, note) = self.paths(data);
        let age = fs::metadata(&note).and_then(|note| note.modified()).ok().and_then(|modified| modified.elapsed().ok());
        if age.is_none_or(|age| age > GOOD_FOR) {
            // What is half done goes.
            let _ = fs::remove_file(&note);
            let _ = fs::remove_dir_all(&folder);
            fs::create_dir_all(&folder).with_context(|| format!("{}", folder.display()))?;
            fs::write(&note, fill(&folder, self.events, self.users)?)?;
        }
        let cursor = fs::read_to_string(note)?;
        Ok(Filled { folder, cursor })
    }
}

/// Removes every log that was made below `data`, and the folder, if nothing else is in it.
pub(crate) fn clean(data: &Path) -> anyhow::Result<()> {
    let Ok(entries) = fs::read_dir(data) else { return Ok(()) };
    for entry in entries {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "cursor") {
            let _ = fs::remove_dir_all(path.with_extension(""));
            fs::remove_file(path)?;
        }
    }
    let _ = fs::remove_dir(data);
    Ok(())
}

fn fill(folder: &Path, events: u64, users: usize) -> anyhow::Result<String> {
    let since = Instant::now();
    let config = configured(folder)?;
    let log = open(folder, &config)?;
    // What is read while the log is busy with what was read before.
    let (deliveries, inbox) = mpsc::sync_channel::<Delivery>(4);
    let written = thread::scope(|scope| {
        let log = &*log;
        let writer = scope.spawn(move || write(log, inbox));
        // If the writer has failed, it says why.
        let _ = read(&config, events, users, &deliveries);
        drop(deliveries);
        writer.join().unwrap_or_else(|_| anyhow::bail!("the log's writer panicked"))
    })?;
    eprintln!("filled {} with {events} events in {:.0} s", folder.display(), since.elapsed().as_secs_f64());
    Ok(written)
}

fn configured(folder: &Path) -> anyhow::Result<Config> {
    let setup =
        Setup { product: Product::ClaimrRelay, broadcasts: false, engine: "disk".to_owned(), log: Some(folder.to_owned()) };
    let anywhere = ([127, 0, 0, 1], 0).into();
    let file = tempfile::NamedTempFile::new()?;
    fs::write(file.path(), configuration(&setup, folder, anywhere, anywhere))?;
    load(Some(file.path()), []).map_err(|mistakes| anyhow::anyhow!("{mistakes}"))
}

fn open(folder: &Path, config: &Config) -> anyhow::Result<Arc<dyn Engine>> {
    let mailbox = MailboxLimits { events_max: 256, bytes_max: 65_536 };
    let hub = Hub::new(HubLimits { sessions_per_user_max: 20, mailbox });
    let retention = Retention {
        max_age: config.store.max_age,
        max_events_per_user: config.store.max_events_per_user,
        dead_letters_max: config.limits.dead_letters_max,
        publish_queue_max: config.limits.publish_queue_max,
    };
    let log = DiskEngine::open(folder, retention, hub, clock::now())?;
    let ages = Ages::from(log.clock());
    Ok(Steady::new(log, ages, clock::now))
}

/// Checks and reads every webhook as the gateway does.
fn read(config: &Config, events: u64, users: usize, deliveries: &mpsc::SyncSender<Delivery>) -> anyhow::Result<()> {
    let source = &config.sources[0];
    let check = Verifier::new(source).map_err(|problems| anyhow::anyhow!("{problems:?}"))?;
    let (reader, scope) = (PayloadReader::new(source), EventType::new("user_activity"));
    let mut template = Template::new(Product::ClaimrRelay, ([127, 0, 0, 1], 0).into(), false);
    let mut drafts = |seq: u64, user: usize| -> anyhow::Result<Vec<Draft>> {
        let (body, signature) = template.body(seq, user);
        let mut headers = HeaderMap::new();
        headers.insert("x-signature", signature.parse()?);
        let genuine = check.verify(&headers, body, clock::now())?;
        Ok(reader.read(&genuine, scope.as_ref(), clock::now()).drafts)
    };
    let delivery = |drafts| Delivery { drafts, dead_letters: Vec::new(), received: Instant::now() };
    // What everybody has seen before.
    deliveries.send(delivery(drafts(u64::MAX, NOBODY)?))?;
    let mut next = 0;
    while next < events {
        let end = (next + TOGETHER).min(events);
        let mut together = Vec::new();
        for seq in next..end {
            together.extend(drafts(seq, usize::try_from(seq)? % users)?);
        }
        deliveries.send(delivery(together))?;
        next = end;
    }
    Ok(())
}

/// Stores what comes, with the housekeeping that the gateway does once a second, and says where the first of it stands.
fn write(log: &dyn Engine, inbox: mpsc::Receiver<Delivery>) -> anyhow::Result<String> {
    const HOUSEKEEPING: u64 = 200;
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    runtime.block_on(async {
        let mut first = None;
        for (number, delivery) in (0_u64..).zip(inbox) {
            let receipt = log.publish(delivery).await?;
            first = first.or_else(|| receipt.events.first().map(|event| event.position));
            if number % HOUSEKEEPING == 0 {
                log.retain(clock::now()).await?;
            }
        }
        log.close().await;
        Ok(first.context("nothing was stored")?.to_string())
    })
}
