//! Dead letters that are tried again, by the mapping of now.

use std::time::Instant;

use super::Ingest;
use crate::{
    engine::{EngineError, LetterId, PublishError},
    event::{DeadLetter, Delivery, Position, Timestamp},
};

/// What became of one letter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Replayed {
    /// Its events are stored, and handed to so many sessions; it has left the lane.
    Delivered(Vec<Position>, usize),
    /// All of it was stored before, here; it has left the lane.
    Duplicate(Vec<Position>),
    /// It still names nobody, or its source is configured no more; it stays.
    StillDead,
}

/// Why replaying stopped.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// The event was not stored; the letter stays.
    #[error(transparent)]
    Publish(#[from] PublishError),
    /// The lane could not be changed; the letter stays, and its event is a repetition when it is tried again.
    #[error(transparent)]
    Lane(#[from] EngineError),
}

impl Ingest {
    /// Tries a letter again. Its events are recognised as repetitions of what came of it before, or of the same delivery, unless
    /// they are forced to be new. Parts that still name nobody stay as letters of their own.
    pub async fn replay(&self, letter: &DeadLetter, force: bool, now: Timestamp) -> Result<Replayed, ReplayError> {
        let Some(source) = self.source(&letter.source) else { return Ok(Replayed::StillDead) };
        let id = LetterId::of(letter);
        let mut reading = source.reader.read_letter(letter, &id.to_string(), now);
        if reading.drafts.is_empty() {
            return Ok(Replayed::StillDead);
        }
        if force {
            reading.drafts.iter_mut().for_each(|draft| draft.dedupe = None);
        }
        let delivery = Delivery { drafts: reading.drafts, dead_letters: reading.dead_letters, received: Instant::now() };
        let receipt = self.engine.publish(delivery).await?;
        // Only now: a crash in between leaves the letter, and de-duplication sees that its event is stored.
        self.engine.remove_dead_letters(vec![id]).await?;
        self.count(&source.name, &receipt);
        let is_new = receipt.events.iter().any(|event| event.repetition.is_none());
        let ids = receipt.events.iter().map(|event| event.position).collect();
        Ok(if is_new { Replayed::Delivered(ids, receipt.connections) } else { Replayed::Duplicate(ids) })
    }
}
