//! The log on disk: an append-only file in segments, one writer, and an index that grows with the disk and not with memory.
//!
//! A delivery is one entry in a group, a group is one write and one fdatasync, and what is acknowledged survives a kill
//! or a power loss. Groups take the place of zeros that were written ahead of them, so that the file need not grow with each. The
//! parts, in the order of an event's journey: `writer` appends, `hand_on` tells; `record` is what the bytes mean; `segment` is one
//! file, `index` and `index_file` say what is in it, `seen` which of them may know an event; `log` answers questions; `keep` gives
//! space back; `open` is the morning after.
//!
//! Why not a storage engine: the log needs no random writes. An LSM tree spent 45 µs of CPU on an event that concerns four keys,
//! most of it on merging what is only ever appended and dropped whole; it dropped the rest of its journal in silence when a
//! byte in the middle was damaged, and waited for ever for space on a full disk.

#[cfg(any(test, fuzzing))]
pub(crate) mod any_bytes;
mod hand_on;
mod index;
mod index_file;
mod keep;
mod log;
mod open;
mod record;
mod removed;
mod seen;
mod segment;
mod writer;

use std::{
    io,
    path::Path,
    sync::{Arc, Mutex, PoisonError, atomic::Ordering},
    thread::{self, JoinHandle},
    time::Duration,
};

use futures_util::future::{BoxFuture, FutureExt as _, ready};
use tokio::sync::{
    mpsc::{self, error::TrySendError},
    oneshot, watch,
};

use super::{Backlog, Engine, EngineError, LetterId, Missed, PublishError, Receipt, Retention, Start};
use crate::{
    event::{DeadLetter, Delivery, Position, Timestamp, UserKey},
    hub::Hub,
    protocol::{Frame, Published},
};
use hand_on::HandOn;
use keep::Keeper;
use log::Log;
pub use open::OpenError;
use writer::{Command, Writer};

/// The sizes that the log works in. The defaults suit everybody; tests use small ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DiskLimits {
    /// Bytes after which a segment is finished; at most 1 GiB. The index of the segment that grows is in memory, about a quarter of this.
    pub segment_bytes_max: u64,
    /// Deliveries that are made durable together.
    pub group_deliveries_max: usize,
    /// Bytes after which no further delivery is added to a group.
    pub group_bytes_max: usize,
    /// How long the writer waits for more company when a delivery has some already, but little; zero: not at all. A lone one never waits.
    pub group_pause: Duration,
    /// Fewer deliveries than these, but more than one, are little company.
    pub group_deliveries_few: usize,
    /// So many deliveries are made durable at once although others may be about to come: they are for the next group, which is made while
    /// the disk is busy with this one.
    pub group_deliveries_enough: usize,
    /// How long after a failed write the next is tried.
    pub mend_interval: Duration,
}

impl Default for DiskLimits {
    fn default() -> Self {
        Self {
            segment_bytes_max: 32 * 1024 * 1024,
            group_deliveries_max: 1024,
            group_bytes_max: 4 * 1024 * 1024,
            // An fdatasync takes about 50 µs of CPU. Measured at 10,000 deliveries a second on one core, CPU for each: 64 µs without waiting, 52 to 56
            // with half a millisecond, 44 with one. Where the queue is longer anyway, waiting would gain nothing.
            group_pause: Duration::from_millis(1),
            group_deliveries_few: 8,
            group_deliveries_enough: 32,
            mend_interval: Duration::from_secs(1),
        }
    }
}

/// A log that survives the process.
pub struct DiskEngine {
    log: Arc<Log>,
    keeper: Arc<Mutex<Keeper>>,
    commands: mpsc::Sender<Command>,
    /// Changes when the writer has ended.
    done: watch::Receiver<()>,
    writer: Mutex<Option<JoinHandle<()>>>,
}

impl DiskEngine {
    /// Opens the log in the folder `path`, which is created if it is not there, and hands on to `hub`.
    pub fn open(path: &Path, retention: Retention, hub: Arc<Hub>, now: Timestamp) -> Result<Arc<Self>, OpenError> {
        Self::open_with(path, retention, DiskLimits::default(), hub, now)
    }

    /// Opens the log with sizes of the caller's choice.
    pub fn open_with(
        path: &Path,
        retention: Retention,
        limits: DiskLimits,
        hub: Arc<Hub>,
        now: Timestamp,
    ) -> Result<Arc<Self>, OpenError> {
        let limits = DiskLimits { segment_bytes_max: limits.segment_bytes_max.min(1 << 30), ..limits };
        let opened = open::open(path, retention, limits, now)?;
        let (commands, inbox) = mpsc::channel(retention.publish_queue_max.max(1));
        let (ended, done) = watch::channel(());
        let writer = Writer::new(opened, HandOn::new(hub), ended);
        let log = Arc::clone(&writer.log);
        let writer = thread::Builder::new()
            .name("log-writer".to_owned())
            .spawn(move || writer.run(inbox))
            .map_err(|source| OpenError::Io { path: path.to_owned(), source })?;
        Ok(Arc::new(Self { log, keeper: Arc::default(), commands, done, writer: Mutex::new(Some(writer)) }))
    }

    /// The latest moment that the log knows of: when it was opened, or when its newest event was stored, if that seems to be later.
    pub fn clock(&self) -> Timestamp {
        self.log.parts().clock
    }

    /// Asks the log a question on a thread that may wait for the disk.
    async fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&Log) -> io::Result<T> + Send + 'static,
    ) -> Result<T, EngineError> {
        if self.log.closed.load(Ordering::Acquire) {
            return Err(EngineError::Closed);
        }
        let log = Arc::clone(&self.log);
        let answer = tokio::task::spawn_blocking(move || question(&log)).await;
        let answer = answer.map_err(|error| EngineError::Unavailable(error.to_string()))?;
        answer.map_err(|error| EngineError::Unavailable(error.to_string()))
    }
}

impl Engine for DiskEngine {
    fn publish(&self, delivery: Delivery) -> BoxFuture<'_, Result<Receipt, PublishError>> {
        async move {
            let (answer, receipt) = oneshot::channel();
            self.commands.try_send(Command::Publish(delivery, answer)).map_err(|error| match error {
                TrySendError::Full(_) => PublishError::Overloaded,
                TrySendError::Closed(_) => PublishError::Closed,
            })?;
            receipt.await.unwrap_or(Err(PublishError::Closed))
        }
        .boxed()
    }

    fn head(&self) -> Position {
        self.log.position(self.log.head())
    }

    fn missed<'a>(&'a self, query: Missed<'a>) -> BoxFuture<'a, Result<Backlog, EngineError>> {
        let (keys, types) = (query.keys.to_vec(), query.types.to_vec());
        let (start, upto) = (query.start, query.upto);
        // Most sessions begin here, and need no thread for it.
        if start == Start::Live && !self.log.closed.load(Ordering::Acquire) {
            return ready(Ok(Backlog::Complete(Vec::new()))).boxed();
        }
        self.ask(move |log| log.missed(&Missed { keys: &keys, start, upto, types: &types })).boxed()
    }

    fn read<'a>(&'a self, keys: &'a [UserKey], seqs: &'a [u64]) -> BoxFuture<'a, Result<Vec<(u64, Frame)>, EngineError>> {
        let (keys, seqs) = (keys.to_vec(), seqs.to_vec());
        self.ask(move |log| log.read(&keys, &seqs)).boxed()
    }

    fn retain(&self, now: Timestamp) -> BoxFuture<'_, Result<(), EngineError>> {
        async move {
            let keeper = Arc::clone(&self.keeper);
            let keep = move |log: &Log| {
                let mut keeper = keeper.lock().unwrap_or_else(PoisonError::into_inner);
                // Once the engine is closed, the folder may be another's.
                if log.closed.load(Ordering::Acquire) { Ok(false) } else { keeper.retain(log, now) }
            };
            if self.ask(keep).await? {
                // If the queue is full or closed, the next call asks again.
                let _ = self.commands.try_send(Command::Rotate);
            }
            Ok(())
        }
        .boxed()
    }

    fn dead_letters(&self, limit: usize) -> BoxFuture<'_, Result<Vec<DeadLetter>, EngineError>> {
        self.ask(move |log| log.dead_letters(limit)).boxed()
    }

    fn remove_dead_letters(&self, ids: Vec<LetterId>) -> BoxFuture<'_, Result<usize, EngineError>> {
        async move {
            let (answer, removed) = oneshot::channel();
            self.commands.send(Command::RemoveLetters(ids, answer)).await.map_err(|_| EngineError::Closed)?;
            removed.await.map_err(|_| EngineError::Closed)?.map_err(|error| EngineError::Unavailable(error.to_string()))
        }
        .boxed()
    }

    fn event(&self, seq: u64) -> BoxFuture<'_, Result<Option<Published>, EngineError>> {
        self.ask(move |log| log.event(seq)).boxed()
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        async move {
            self.log.closed.store(true, Ordering::Release);
            // The folder must not be free before the housekeeping has left it.
            let keeper = Arc::clone(&self.keeper);
            let _ = tokio::task::spawn_blocking(move || drop(keeper.lock())).await;
            // An error says that the writer has ended already.
            let _ = self.commands.send(Command::Close).await;
            let _ = self.done.clone().changed().await;
        }
        .boxed()
    }
}

impl Drop for DiskEngine {
    /// Waits until what was published is durable and the folder is free.
    fn drop(&mut self) {
        self.log.closed.store(true, Ordering::Release);
        drop(self.keeper.lock());
        let (nobody, _) = mpsc::channel(1);
        self.commands = nobody;
        let writer = self.writer.get_mut().unwrap_or_else(PoisonError::into_inner).take();
        if writer.is_some_and(|writer| writer.join().is_err()) {
            tracing::error!(folder = %self.log.folder.display(), "the log's writer panicked");
        }
    }
}

#[cfg(test)]
mod tests;

#[cfg(test)]
#[cfg(feature = "model")]
mod model;
