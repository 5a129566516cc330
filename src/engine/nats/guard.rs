//! Looks after the stream itself: what the server removed from it, and whether it is still the same log.
//!
//! A log that lost its end (a server that was cut from power before it had synced, an old backup) would use numbers a second time, and a cursor
//! would mean two events. So whoever sees that gives the stream a new epoch: then every old cursor is a `$gap`.

use std::{sync::Arc, time::Duration};

use async_nats::jetstream::stream::{Config, Info};
use tokio::time::{MissedTickBehavior, interval};

use super::{
    Shared,
    index::Index,
    streams::{self, Streams},
};
use crate::{config::Nats, event::Epoch};

/// Between two looks.
const LOOK: Duration = Duration::from_secs(1);

/// Looks until the engine is closed.
pub(super) async fn guard(shared: Arc<Shared>, settings: Nats) {
    let mut ticks = interval(LOOK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut strange = 0;
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            () = shared.closed.cancelled() => return,
        }
        // Before the question, so that what comes meanwhile is not held against the answer.
        let head = shared.index().head();
        match shared.link.jetstream.get_stream(&shared.name).await {
            Ok(stream) => strange = shared.look(stream.cached_info(), head.seq, strange).await,
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
    }
}

async fn begin_again(shared: &Shared, settings: &Nats) {
    match Streams::open(&shared.link, settings, &shared.retention).await {
        Ok(streams) => tracing::warn!(epoch = %streams.epoch, "an empty log takes its place"),
        Err(error) => tracing::error!(%error, "the streams could not be made"),
    }
}

impl Shared {
    /// Judges what the leader says; returns for how many looks it has been strange.
    async fn look(&self, info: &Info, head: u64, strange: u32) -> u32 {
        let epoch = self.index().head().epoch;
        match streams::epoch_of(info) {
            Some(found) if found != epoch => {
                self.replace(found, info);
                self.doubt(false);
                return 0;
            }
            Some(_) if info.state.last_sequence >= head => {
                self.index().truncate(info.state.first_sequence.saturating_sub(1));
                self.doubt(false);
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
        if strange + 1 >= self.limits.doubt_s {
            let description = Some(streams::description(Epoch::from_random(fastrand::u64(..))));
            let renewed = self.link.jetstream.update_stream(Config { description, ..info.config.clone() }).await;
            if let Err(error) = renewed {
                tracing::error!(%error, "the stream could not be given a new epoch");
            }
        }
        strange + 1
    }

    /// While it is unclear which log this is, nothing is added to it.
    fn doubt(&self, doubted: bool) {
        self.doubtful.store(doubted, std::sync::atomic::Ordering::Release);
    }

    /// Another log stands where ours was: nothing of what is known is true any more, and every session begins anew.
    fn replace(&self, epoch: Epoch, info: &Info) {
        let floor = info.state.first_sequence.saturating_sub(1);
        {
            let mut index = self.index();
            *index = Index::new(epoch, floor, index.limits());
        }
        self.forget_messages();
        self.reached.send_replace(floor);
        self.replaced.send_modify(|times| *times += 1);
        self.end_sessions();
        tracing::warn!(%epoch, "the log was replaced; every session begins anew");
    }
}
