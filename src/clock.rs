//! The edge of the program, where clocks are read; everywhere else `now` is a parameter.
//!
//! There are two. [`now`] is the wall clock: it says when something happened, and whether a token is still good. It can jump, when somebody
//! sets it or a machine wakes up. What is counted in it would be forgotten too soon or kept too long, so ages are counted by [`Ages`].

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use crate::event::Timestamp;

/// What time it is. A clock before 1970 counts as 1970.
#[expect(clippy::disallowed_methods, reason = "this is the one place that reads the wall clock")]
pub fn now() -> Timestamp {
    Timestamp::default().plus(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default())
}

/// The clock that ages are counted by: it begins at some moment and goes exactly as fast as time does, whatever happens to the wall clock.
#[derive(Clone, Copy, Debug)]
pub struct Ages {
    began_at: Timestamp,
    began: Instant,
}

impl Ages {
    /// A clock that begins at `moment`.
    pub fn from(moment: Timestamp) -> Self {
        Self { began_at: moment, began: Instant::now() }
    }

    /// What this clock shows.
    pub fn now(&self) -> Timestamp {
        self.began_at.plus(self.began.elapsed())
    }

    /// What this clock showed at `moment` of a wall clock that shows `wall` now.
    pub fn at(&self, moment: Timestamp, wall: Timestamp) -> Timestamp {
        let now = self.now();
        if moment <= wall { now.minus(wall.since(moment)) } else { now.plus(moment.since(wall)) }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_moment_of_the_wall_clock_is_as_long_ago_by_the_clock_of_ages() {
        let (wall, minute) = (now(), Duration::from_mins(1));
        let ages = Ages::from(wall.minus(Duration::from_hours(24)));
        let since = |moment| ages.at(moment, wall);
        let off = |a: Timestamp, b: Timestamp| a.since(b).max(b.since(a));
        assert!(off(since(wall.minus(minute)), ages.now().minus(minute)) < minute / 2);
        assert!(off(since(wall.plus(minute)), ages.now().plus(minute)) < minute / 2);
    }
}
