//! One line on standard error that tells how far a long command is; only on a terminal, so that logs and pipes stay clean.

use std::{
    io::{self, IsTerminal as _, Write as _},
    time::{Duration, Instant},
};

/// The line. Dropping it takes it away.
pub(super) struct Progress {
    on_terminal: bool,
    shown: Option<Instant>,
}

impl Progress {
    /// Often enough to look alive.
    const EVERY: Duration = Duration::from_millis(100);

    /// Nothing is shown yet.
    pub(super) fn new() -> Self {
        Self { on_terminal: io::stderr().is_terminal(), shown: None }
    }

    /// Shows what `line` makes instead of what was there, unless that is very young.
    pub(super) fn show(&mut self, line: impl FnOnce() -> String) {
        let young = self.shown.is_some_and(|shown| shown.elapsed() < Self::EVERY);
        if self.on_terminal && !young {
            write(&line());
            self.shown = Some(Instant::now());
        }
    }

    /// Takes the line away, so that a result can be printed in its place.
    pub(super) fn clear(&mut self) {
        if self.shown.take().is_some() {
            write("");
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.clear();
    }
}

fn write(line: &str) {
    const BEGINNING_OF_A_CLEAR_LINE: &str = "\r\x1b[K";
    let mut out = io::stderr();
    // Nobody misses a line of progress that cannot be shown.
    drop(write!(out, "{BEGINNING_OF_A_CLEAR_LINE}{line}").and_then(|()| out.flush()));
}
