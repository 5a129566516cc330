//! Looks after the stream itself: what the server removed from it, and whether it is still the same log.
//!
//! A log that lost its end (a server that was cut from power before it had synced, an old backup) would use numbers a second time, and a cursor
//! would mean two events. So whoever sees that gives the stream a new epoch: then every old cursor is a `$gap`. That the stream is shorter than
//! what was read may pass, and is waited for; that an old number has a new message is certain, and is not.
//!
//! And whether what the stream has does come: a consumer may be alive and send nothing.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use async_nats::jetstream::stream::{Config, Info, LastRawMessageErrorKind};
use tokio::time::{MissedTickBehavior, interval};

use super::{
    Shared,
    index::Index,
    streams::{self, Streams},
};
use crate::{
    config::Nats,
    event::{Epoch, Position},
};

/// Between two looks.
const LOOK: Duration = Duration::from_secs(1);
/// Every so many looks the other streams are looked at.
const LOOKS_ASIDE: u64 = 5;
/// For so many looks a consumer may send nothing of what the stream has.
const IDLE_LOOKS_MAX: u32 = 3;

/// Looks until the engine is closed.
pub(super) async fn guard(shared: Arc<Shared>, settings: Nats) {
    let mut ticks = interval(LOOK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut strange, mut looks) = (0, 0_u64);
    let (mut events, mut notices) = (Lag::default(), Lag::default());
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            () = shared.alarm.notified() => {}
            () = shared.closed.cancelled() => return,
        }
        // Before the question, so that what comes meanwhile is not held against the answer.
        let head = shared.index().head();
        match shared.link.jetstream.get_stream(&shared.name).await {
            Ok(stream) => {
                let info = stream.cached_info();
                strange = shared.look(info, head.seq, strange).await;
                if events.grows(head.seq, info.state.last_sequence) {
                    shared.hurry_events(head, info.state.last_sequence).await;
                }
            }
            Err(error) if streams::is_missing(&error.kind()) => {
                strange += 1;
                shared.doubt(true);
                tracing::error!(stream = shared.name, "the stream is gone");
                if strange >= shared.limits.doubt_s {
                    begin_again(&shared, &settings).await;
                }
            }
            // No answer is no news.
            Err(error) => tracing::debug!(%error, "the stream could not be looked at"),
        }
        looks += 1;
        if looks.is_multiple_of(LOOKS_ASIDE) {
            shared.look_aside(&settings, &mut notices).await;
        }
    }
}

async fn begin_again(shared: &Shared, settings: &Nats) {
    match Streams::open(&shared.link, settings, &shared.retention).await {
        Ok(streams) => tracing::warn!(epoch = %streams.epoch, "the streams were made anew where they were gone"),
        Err(error) => tracing::error!(%error, "the streams could not be made"),
    }
}

/// For how long a reader has had nothing of what is there for it.
#[derive(Default)]
struct Lag {
    read: u64,
    last: u64,
    idle_looks: u32,
}

impl Lag {
    /// Takes what was read before the stream said that it goes up to `last`; whether that has been the same too often, and less than there
    /// was a look ago.
    fn grows(&mut self, read: u64, last: u64) -> bool {
        let is_idle = read == self.read && read < self.last;
        self.idle_looks = if is_idle { self.idle_looks + 1 } else { 0 };
        (self.read, self.last) = (read, last);
        let is_too_long = self.idle_looks >= IDLE_LOOKS_MAX;
        if is_too_long {
            self.idle_looks = 0;
        }
        is_too_long
    }
}

impl Shared {
    /// Judges what the leader says; returns for how many looks it has been strange.
    async fn look(&self, info: &Info, head: u64, strange: u32) -> u32 {
        let epoch = self.index().head().epoch;
        let is_certain = self.estranged.load(Ordering::Acquire);
        match streams::epoch_of(info) {
            Some(found) if found != epoch => {
                // Nothing is added before the new one is followed: its first events would be taken for the past, and end sessions once more.
                self.doubt(true);
                self.replace(found, info);
                return 0;
            }
            Some(_) if info.state.last_sequence >= head && !is_certain => {
                self.index().truncate(info.state.first_sequence.saturating_sub(1));
                self.doubt(self.begun.load(Ordering::Acquire) != *self.replaced.borrow());
                return 0;
            }
            _ => {}
        }
        self.doubt(true);
        let (has, was) = (info.state.last_sequence, head);
        tracing::error!(
            stream = self.name,
            has,
            was,
            "the stream has lost messages that it had acknowledged, or its description"
        );
        if is_certain || strange + 1 >= self.limits.doubt_s {
            let description = Some(streams::description(Epoch::from_random(fastrand::u64(..))));
            match self.link.jetstream.update_stream(Config { description, ..info.config.clone() }).await {
                Ok(_) => self.alarm.notify_one(),
                Err(error) => tracing::error!(%error, "the stream could not be given a new epoch"),
            }
        }
        strange + 1
    }

    /// It is certain that numbers of our log mean other events now: nothing is added until it has a new epoch.
    pub(super) fn estrange(&self, proof: &'static str) {
        tracing::error!(stream = self.name, proof, "the stream is not the one that it was");
        self.doubt(true);
        self.estranged.store(true, Ordering::Release);
        self.alarm.notify_one();
    }

    /// The stream has more than `head`, up to `last`, and nothing of it has come for a while.
    async fn hurry_events(&self, head: Position, last: u64) {
        let all = format!("{}.e.*", self.name);
        match self.streams.events.raw_message_builder().sequence(head.seq + 1).next_by_subject(all.as_str()).send().await {
            Ok(_) => {
                tracing::warn!(head = head.seq, last, "the server sends nothing of what the stream has; it is asked anew");
                self.stalled.send_modify(|times| *times += 1);
            }
            // Purged before it was read, and nothing came since to show the hole.
            Err(error) if matches!(error.kind(), LastRawMessageErrorKind::NoMessageFound) && self.index().head() == head => {
                self.miss(last);
                self.reached.send_replace(last);
            }
            Err(error) => tracing::debug!(%error, "the stream could not be looked at"),
        }
    }

    /// Whether the other streams are there, and whether the notices come.
    async fn look_aside(&self, settings: &Nats, lag: &mut Lag) {
        let heard = self.heard.load(Ordering::Acquire);
        for name in [&self.streams.control, &self.streams.letters].map(|stream| &stream.cached_info().config.name) {
            match self.link.jetstream.get_stream(name).await {
                Ok(stream) if *name == self.streams.control.cached_info().config.name => {
                    if lag.grows(heard, stream.cached_info().state.last_sequence) {
                        self.stalled.send_modify(|times| *times += 1);
                    }
                }
                Err(error) if streams::is_missing(&error.kind()) => {
                    tracing::error!(stream = name, "the stream is gone");
                    begin_again(self, settings).await;
                }
                Ok(_) | Err(_) => {}
            }
        }
    }

    /// While it is unclear which log this is, nothing is added to it.
    pub(super) fn doubt(&self, doubted: bool) {
        self.doubtful.store(doubted, Ordering::Release);
    }

    /// Another log stands where ours was: nothing of what is known is true any more, and every session begins anew.
    fn replace(&self, epoch: Epoch, info: &Info) {
        let floor = info.state.first_sequence.saturating_sub(1);
        {
            let mut index = self.index();
            *index = Index::new(epoch, floor, index.limits());
        }
        self.forget_messages();
        self.estranged.store(false, Ordering::Release);
        self.reached.send_replace(floor);
        self.replaced.send_modify(|times| *times += 1);
        self.end_sessions();
        tracing::warn!(%epoch, "the log was replaced; every session begins anew");
    }
}
