//! Events of the customer's own backend: stored and pushed like a webhook's.

use std::time::Instant;

use super::{Accepted, Ingest};
use crate::{
    claimr::payload::{InvalidPayload, OwnEvent},
    engine::PublishError,
    event::{Delivery, Timestamp},
};

/// Why a backend's own event was not published.
#[derive(Debug, thiserror::Error)]
pub enum Unpublishable {
    /// Mend it.
    #[error("data: {0}")]
    Invalid(#[from] InvalidPayload),
    /// Come back later.
    #[error(transparent)]
    Unavailable(#[from] PublishError),
}

impl Ingest {
    /// Stores and pushes an event of the backend's own. Each of its keys counts as a recipient.
    pub async fn publish(&self, event: OwnEvent<'_>, now: Timestamp, received: Instant) -> Result<Accepted, Unpublishable> {
        let recipients = event.keys.len();
        let drafts = vec![event.draft(now)?];
        let receipt = self.engine.publish(Delivery { drafts, dead_letters: Vec::new(), received }).await?;
        self.count("admin", &receipt);
        Ok(Accepted::new(&receipt, recipients, 0))
    }
}
