//! The life of the process: serving, draining, closing. Every task belongs to it, so that the end can wait for each.
//!
//! - **draining**: readiness is red, new streams are sent elsewhere, live sessions are told to leave one by one; webhooks are served.
//! - **closing**: no new connection is accepted, requests that have begun are finished, and after a deadline what is left is dropped.

use std::{future::Future, time::Duration};

use tokio_util::{
    sync::{CancellationToken, WaitForCancellationFutureOwned},
    task::TaskTracker,
};

/// Shared by everything that starts a task or has to know that the end has begun. Cheap to clone.
#[derive(Clone, Default)]
pub struct Shutdown {
    tasks: TaskTracker,
    draining: CancellationToken,
    closing: CancellationToken,
    aborted: CancellationToken,
}

impl Shutdown {
    /// Runs a task until it ends, or until what is left is dropped.
    pub fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let aborted = self.aborted.clone();
        self.tasks.spawn(async move {
            tokio::select! {
                () = aborted.cancelled() => {}
                () = task => {}
            }
        });
    }

    /// Counts a task that a library spawns for us among ours.
    pub fn track<F: Future<Output = ()>>(&self, task: F) -> impl Future<Output = ()> + use<F> {
        self.tasks.track_future(task)
    }

    /// Whether new streams are still welcome.
    pub fn is_draining(&self) -> bool {
        self.draining.is_cancelled()
    }

    /// Begins to drain.
    pub fn drain(&self) {
        self.draining.cancel();
    }

    /// Resolves once no new connection may be accepted.
    pub async fn closing(&self) {
        self.closing.cancelled().await;
    }

    /// Resolves as [`Shutdown::closing`] does, for those who keep the wait.
    pub fn closing_owned(&self) -> WaitForCancellationFutureOwned {
        self.closing.clone().cancelled_owned()
    }

    /// Whether every answer should be the last on its connection.
    pub fn is_closing(&self) -> bool {
        self.closing.is_cancelled()
    }

    /// Stops accepting, waits for the tasks, and drops those that are not done after `patience`. True if all ended by themselves.
    pub async fn close(&self, patience: Duration) -> bool {
        self.draining.cancel();
        self.closing.cancel();
        self.tasks.close();
        let all_ended = tokio::time::timeout(patience, self.tasks.wait()).await.is_ok();
        self.aborted.cancel();
        all_ended
    }
}
