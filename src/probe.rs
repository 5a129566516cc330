//! Is the whole way open? A real event is appended to the log and has to come out of a real mailbox.
//!
//! Anything less (a flag, a ping of the disk) stays green while the writer hangs.

use std::{
    collections::VecDeque,
    future::poll_fn,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use tokio::time::timeout;

use crate::{
    engine::{Engine, PublishError},
    event::{Audience, Delivery, Draft, EventType, Timestamp, UserKey},
    hub::Hub,
};

/// Sends events to itself.
pub struct Probe {
    hub: Arc<Hub>,
    engine: Arc<dyn Engine>,
    key: UserKey,
    last_good: Mutex<Option<Instant>>,
}

/// What is wrong.
#[derive(Debug, thiserror::Error)]
pub enum Ill {
    /// The log does not take events.
    #[error(transparent)]
    Log(#[from] PublishError),
    /// The event did not come back in time.
    #[error("an event was not stored and delivered within {} s", Probe::PATIENCE.as_secs())]
    Slow,
}

impl Probe {
    /// For the event to come back.
    const PATIENCE: Duration = Duration::from_secs(5);
    /// A good result counts for this long, so that asking often does not fill the log.
    const FRESH: Duration = Duration::from_secs(1);

    /// A probe of this log and this hub, under a key of its own that nobody can guess.
    pub fn new(hub: Arc<Hub>, engine: Arc<dyn Engine>) -> Self {
        let key = UserKey::new("relay-probe", &format!("{:016x}", fastrand::u64(..)));
        let key = key.expect("a name and a hexadecimal number are a user key");
        Self { hub, engine, key, last_good: Mutex::default() }
    }

    /// Sends one event round.
    pub async fn check(&self, now: Timestamp) -> Result<(), Ill> {
        if self.good_until().is_some_and(|until| Instant::now() < until) {
            return Ok(());
        }
        timeout(Self::PATIENCE, self.round(now)).await.unwrap_or(Err(Ill::Slow))?;
        *self.last_good.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
        Ok(())
    }

    async fn round(&self, now: Timestamp) -> Result<(), Ill> {
        let keys = [self.key.clone()];
        // Several may ask at once; who finds no place is as well served by the answer of the others.
        let Ok(mut mailbox) = self.hub.join(&keys, &[]) else { return Ok(()) };
        let audience = Audience { keys: keys.into(), members: r#""type":"probe""#.to_owned() };
        let draft = Draft { kind: EventType::unknown(), at: now, audiences: vec![audience], dedupe: None };
        let delivery = Delivery { drafts: vec![draft], dead_letters: Vec::new(), received: Instant::now() };
        self.engine.publish(delivery).await?;
        let mut mail = VecDeque::new();
        poll_fn(|context| mailbox.poll_take(context, &mut mail)).await.map_err(|_| Ill::Slow)
    }

    fn good_until(&self) -> Option<Instant> {
        self.last_good.lock().unwrap_or_else(PoisonError::into_inner).map(|good| good + Self::FRESH)
    }
}
