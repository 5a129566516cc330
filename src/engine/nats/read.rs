//! Reads events back: the latest from memory, older ones from the stream, a bounded number at a time so that one long replay leaves room for
//! others.

use std::{collections::VecDeque, sync::PoisonError};

use async_nats::jetstream::stream::{DirectGetErrorKind, LastRawMessageErrorKind};
use bytes::Bytes;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};

use super::{Shared, record::Record};
use crate::{
    engine::EngineError,
    event::UserKey,
    protocol::{Frame, Published},
};

/// Messages that one page asks the server for at the same time.
const FETCHES_PER_PAGE: usize = 16;

/// The latest messages, oldest first.
pub(super) struct Cache {
    bytes_max: usize,
    bytes: usize,
    messages: VecDeque<(u64, Bytes)>,
}

impl Cache {
    pub(super) fn new(bytes_max: usize) -> Self {
        Self { bytes_max, bytes: 0, messages: VecDeque::new() }
    }

    /// Keeps a message that is newer than all that are here.
    pub(super) fn keep(&mut self, seq: u64, message: &Bytes) {
        if message.len() > self.bytes_max || self.messages.back().is_some_and(|(newest, _)| *newest >= seq) {
            return;
        }
        self.bytes += message.len();
        // A copy, because what came from the socket holds on to everything that came with it.
        self.messages.push_back((seq, Bytes::copy_from_slice(message)));
        while self.bytes > self.bytes_max {
            let Some((_, oldest)) = self.messages.pop_front() else { break };
            self.bytes -= oldest.len();
        }
    }

    fn get(&self, seq: u64) -> Option<Bytes> {
        let at = self.messages.binary_search_by_key(&seq, |(seq, _)| *seq).ok()?;
        Some(self.messages[at].1.clone())
    }

    /// Forgets everything: what comes is another log.
    pub(super) fn clear(&mut self) {
        *self = Self::new(self.bytes_max);
    }
}

impl Shared {
    pub(super) fn forget_messages(&self) {
        self.cache.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// Answers [`crate::engine::Engine::read`].
    pub(super) async fn read(&self, keys: &[UserKey], seqs: &[u64]) -> Result<Vec<(u64, Frame)>, EngineError> {
        self.open()?;
        let (readable, origin) = {
            let index = self.index();
            (index.readable(keys, seqs), index.head())
        };
        let messages = stream::iter(readable).map(|seq| async move { Ok((seq, self.message(seq).await?)) });
        let messages: Vec<(u64, Option<Bytes>)> = messages.buffered(FETCHES_PER_PAGE).try_collect().await?;
        if self.index().head().epoch != origin.epoch {
            // What stands there now is of another log.
            return Err(EngineError::Unavailable("the log was replaced meanwhile".to_owned()));
        }
        let frame = |(seq, message): (u64, Option<Bytes>)| {
            let message = message?;
            let position = crate::event::Position { seq, ..origin };
            Some((seq, Record::decode(&message, seq)?.frame_for(keys, position)?))
        };
        Ok(messages.into_iter().filter_map(frame).collect())
    }

    /// Answers [`crate::engine::Engine::event`].
    pub(super) async fn event(&self, seq: u64) -> Result<Option<Published>, EngineError> {
        self.open()?;
        let position = {
            let index = self.index();
            if !index.has(seq) {
                return Ok(None);
            }
            index.position(seq)
        };
        let Some(message) = self.message(seq).await? else { return Ok(None) };
        let decode = |record: Record<'_>| Some(Published { seq, views: record.decode_views(position)?, kind: record.kind });
        Ok(Record::decode(&message, seq).and_then(decode))
    }

    /// The message at `seq`, from memory or from the stream; `None` if the stream has it no more.
    async fn message(&self, seq: u64) -> Result<Option<Bytes>, EngineError> {
        if let Some(message) = self.cache.lock().unwrap_or_else(PoisonError::into_inner).get(seq) {
            return Ok(Some(message));
        }
        let _turn = self.fetches.acquire().await.map_err(|_| EngineError::Closed)?;
        match self.streams.events.direct_get(seq).await {
            Ok(message) => return Ok(Some(message.payload)),
            // A server that lags behind does not have it yet: only the one that leads knows that it is gone.
            Err(error) if matches!(error.kind(), DirectGetErrorKind::NotFound) => {}
            Err(error) => tracing::debug!(%error, seq, "a direct read failed; the leader is asked"),
        }
        match self.streams.events.get_raw_message(seq).await {
            Ok(message) => Ok(Some(message.payload)),
            Err(error) if matches!(error.kind(), LastRawMessageErrorKind::NoMessageFound) => Ok(None),
            Err(error) => Err(EngineError::Unavailable(error.to_string())),
        }
    }
}
