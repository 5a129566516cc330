//! One client's stream, whatever carries it: first what was missed, then what happens.
//!
//! Join before replay: the session joins the hub, then reads the head, then replays up to that head, then goes live. An event in between
//! arrives twice, from the log and in the mailbox, and the second is dropped by its number; never does it not arrive at all.

use std::{collections::VecDeque, future::poll_fn, sync::Arc, time::Instant};

use crate::{
    auth::Identity,
    engine::{Backlog, Engine, EngineError, Missed, Start},
    event::{EventType, Position},
    hub::{Arrival, Hub, Mail, Mailbox},
    protocol::{Close, CloseCode, Frame, GapReason, Resume},
    telemetry::REFUSALS,
};

/// A session from its first frame on.
pub struct Session {
    mailbox: Mailbox,
    engine: Arc<dyn Engine>,
    identity: Identity,
    opening: Opening,
    /// Numbers still to be read from the log; ascending.
    backlog: VecDeque<u64>,
    /// Live events up to here are in the backlog, or were before the session began.
    live_after: u64,
}

/// What `$hello` says of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Opening {
    /// The session's number.
    pub session: u64,
    /// Where the client stands before anything that follows. If there is a gap, that is nowhere: whoever is cut off before hearing of it
    /// has to hear of it next time.
    pub id: Position,
    /// Where the log stood. After a gap, the client goes on from here.
    pub head: Position,
    /// Why its own cursor cannot be served, if it cannot.
    pub gap: Option<GapReason>,
    /// Whether it came with a cursor at all.
    pub resume: Resume,
    /// How many events follow from the log before live ones.
    pub replayed: usize,
}

/// What comes next on a stream.
#[derive(Clone, Debug)]
pub enum Next {
    /// Events, in order.
    Events(Vec<Outgoing>),
    /// Events were removed from the log while they were waiting to be sent; live ones follow from here.
    Gap(Position, GapReason),
}

/// An event to be sent.
#[derive(Clone, Debug)]
pub struct Outgoing {
    /// Its encoding.
    pub frame: Frame,
    /// When its webhook arrived; absent if it comes from the log.
    pub received: Option<Instant>,
}

impl Session {
    /// Read from the log at a time, so that a long replay holds little memory and lets others go in between.
    const PAGE_EVENTS: usize = 64;

    /// Begins a session for `identity` at `start`, with only `types` (all if empty).
    pub async fn open(
        hub: &Arc<Hub>,
        engine: &Arc<dyn Engine>,
        identity: Identity,
        arrival: Arrival,
        start: Start,
        types: &[EventType],
    ) -> Result<Self, CloseCode> {
        let mailbox = hub.join_as(arrival, identity.keys(), types)?;
        mailbox.marked(identity.mark());
        let head = engine.head();
        let query = Missed { keys: identity.keys(), start, upto: head.seq, types };
        let backlog = engine.missed(query).await.map_err(|error| log_failed(&error))?;

        let (gap, backlog) = match backlog {
            Backlog::Complete(numbers) => (None, numbers),
            Backlog::Gap(reason) => (Some(reason), Vec::new()),
        };
        let (resume, id) = match (start, gap) {
            (_, Some(_)) => (Resume::Gap, Position::NOWHERE),
            (Start::After(Ok(cursor)), None) => (Resume::Resumed, cursor),
            // A replay that begins before the head must be resumable from its first event.
            (_, None) => (Resume::Fresh, Position { seq: backlog.first().map_or(head.seq, |first| first - 1), ..head }),
        };
        let opening = Opening { session: mailbox.session(), id, head, gap, resume, replayed: backlog.len() };
        Ok(Self { mailbox, engine: Arc::clone(engine), identity, opening, backlog: backlog.into(), live_after: head.seq })
    }

    /// What to tell the client first.
    pub fn opening(&self) -> Opening {
        self.opening
    }

    /// Who it is.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// Takes a newer token of the same person. Another person's is forbidden; one that proves other keys asks for a new session, since
    /// this one hears what the old token proved.
    pub fn renew(&mut self, identity: Identity) -> Result<(), CloseCode> {
        if identity.user() != self.identity.user() {
            return Err(CloseCode::Forbidden);
        }
        let proves = |key| identity.keys().contains(key);
        if identity.keys().len() != self.identity.keys().len() || !self.identity.keys().iter().all(proves) {
            return Err(CloseCode::StateReplaced);
        }
        self.mailbox.marked(identity.mark());
        self.identity = identity;
        Ok(())
    }

    /// Waits for what comes next. May be dropped while it waits without losing anything.
    pub async fn next(&mut self) -> Result<Next, Close> {
        if !self.backlog.is_empty() {
            return self.next_page().await;
        }
        let mut mail = VecDeque::new();
        loop {
            poll_fn(|context| self.mailbox.poll_take(context, &mut mail)).await?;
            let live = mail.drain(..).filter(|mail| mail.again || mail.seq > self.live_after);
            let outgoing = |mail: Mail| Outgoing { frame: mail.frame, received: (!mail.again).then_some(mail.received) };
            let events: Vec<_> = live.map(outgoing).collect();
            if !events.is_empty() {
                return Ok(Next::Events(events));
            }
        }
    }

    async fn next_page(&mut self) -> Result<Next, Close> {
        if let Some(close) = self.mailbox.closed() {
            return Err(close);
        }
        let page: Vec<u64> = self.backlog.iter().take(Self::PAGE_EVENTS).copied().collect();
        let frames = self.engine.read(self.identity.keys(), &page).await.map_err(|error| log_failed(&error))?;
        if frames.len() < page.len() {
            // Retention overtook the replay. What is left of it is not the whole, so it is not sent as if it were.
            self.backlog.clear();
            return Ok(Next::Gap(self.opening.head, GapReason::Evicted));
        }
        self.backlog.drain(..page.len());
        Ok(Next::Events(frames.into_iter().map(|(_, frame)| Outgoing { frame, received: None }).collect()))
    }
}

fn log_failed(error: &EngineError) -> CloseCode {
    match error {
        EngineError::Closed => CloseCode::Draining,
        EngineError::Unavailable(reason) => {
            // Every session says so at once.
            if REFUSALS.admit("the log cannot be read", "", "state_replaced", Instant::now()) {
                tracing::error!(%reason, "the log cannot be read");
            }
            CloseCode::StateReplaced
        }
    }
}

#[cfg(test)]
#[cfg(feature = "model")]
mod model;
