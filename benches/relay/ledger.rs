//! What was sent, and what became of it: every delivery is looked at, for loss, repetition, order and whom it reached.

use std::time::Duration;

use serde_json::{Value, json};

/// What deliveries are held against.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Expected {
    /// Each event that was sent reaches its user.
    ItsUser,
    /// Each event that was sent reaches everybody.
    Everybody,
    /// Event `n` of a log reaches user `n` modulo the number of users, one after the other.
    Replay,
}

/// One webhook. Moments are nanoseconds since the load began.
#[derive(Clone, Copy)]
struct Sent {
    due: u64,
    left: u64,
    /// 0: not yet.
    answered: u64,
    reached: u32,
}

/// The books of a run.
pub(crate) struct Ledger {
    pub(crate) expected: Expected,
    users: usize,
    /// Only what was due from here to there is measured; the rest is warming up.
    pub(crate) measured: (u64, u64),
    sends: Vec<Sent>,
    /// By event, or by event and user.
    seen: Vec<u64>,
    pub(crate) answered: u64,
    pub(crate) delivered: u64,
    pub(crate) mistakes: Mistakes,
    latencies: Vec<u64>,
    answers: Vec<u64>,
    /// From when a broadcast was due until the last user had it.
    completions: Vec<u64>,
}

/// What went wrong; all zero in a good run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Mistakes {
    pub(crate) lost: u64,
    pub(crate) doubled: u64,
    /// Before one that was answered before it was sent.
    pub(crate) reordered: u64,
    pub(crate) misrouted: u64,
    /// Webhooks that were not answered with 2xx.
    pub(crate) failed: u64,
    pub(crate) disconnected: u64,
    /// The first of them, in words.
    pub(crate) first: Option<String>,
}

impl Mistakes {
    pub(crate) fn note(&mut self, what: impl Into<String>) {
        self.first.get_or_insert_with(|| what.into());
    }

    /// How many there were.
    pub(crate) fn count(&self) -> u64 {
        self.lost + self.doubled + self.reordered + self.misrouted + self.failed + self.disconnected
    }
}

impl Ledger {
    pub(crate) fn new(expected: Expected, users: usize) -> Self {
        Self {
            expected,
            users,
            measured: (u64::MAX, u64::MAX),
            sends: Vec::new(),
            seen: Vec::new(),
            answered: 0,
            delivered: 0,
            mistakes: Mistakes::default(),
            latencies: Vec::new(),
            answers: Vec::new(),
            completions: Vec::new(),
        }
    }

    /// How many deliveries a webhook causes.
    pub(crate) fn fan(&self) -> u64 {
        if self.expected == Expected::Everybody { self.users as u64 } else { 1 }
    }

    /// Webhooks sent so far, which is the number of the next.
    pub(crate) fn sent(&self) -> u64 {
        self.sends.len() as u64
    }

    pub(crate) fn send(&mut self, due: u64, now: u64) {
        self.sends.push(Sent { due, left: now, answered: 0, reached: 0 });
    }

    /// The webhook `seq` was answered with 2xx.
    pub(crate) fn answer(&mut self, seq: u64, now: u64) {
        self.answered += 1;
        if let Some(send) = usize::try_from(seq).ok().and_then(|seq| self.sends.get_mut(seq)) {
            send.answered = now;
            if (self.measured.0..self.measured.1).contains(&send.due) {
                self.answers.push(now - send.due);
            }
        }
    }

    /// `user` heard event `seq`, which is for `addressee`; `last` is what that user heard before.
    pub(crate) fn deliver(&mut self, user: usize, seq: u64, addressee: usize, last: &mut Option<u64>, now: u64) {
        let before = last.replace(seq.max(last.unwrap_or(0)));
        match self.expected {
            Expected::Replay => self.replayed(user, seq, addressee, before),
            Expected::ItsUser | Expected::Everybody => self.heard(user, seq, addressee, before, now),
        }
    }

    fn replayed(&mut self, user: usize, seq: u64, addressee: usize, before: Option<u64>) {
        let users = self.users as u64;
        let next = before.map_or(user as u64, |before| before + users);
        self.delivered += 1;
        if addressee != user {
            self.mistakes.misrouted += 1;
        } else if seq > next {
            self.mistakes.lost += (seq - next) / users;
        } else if seq < next {
            self.mistakes.doubled += 1;
        }
    }

    fn heard(&mut self, user: usize, seq: u64, addressee: usize, before: Option<u64>, now: u64) {
        let everybody = self.expected == Expected::Everybody;
        let at = usize::try_from(seq).unwrap_or(usize::MAX);
        let bit = if everybody { at.saturating_mul(self.users) + user } else { at };
        let (word, mask) = (bit / 64, 1 << (bit % 64));
        if at >= self.sends.len() || (!everybody && addressee != user) {
            self.mistakes.misrouted += 1;
            return;
        }
        if word >= self.seen.len() {
            self.seen.resize((word + 1).next_power_of_two(), 0);
        }
        if self.seen[word] & mask != 0 {
            self.mistakes.doubled += 1;
            return;
        }
        self.seen[word] |= mask;
        self.delivered += 1;
        // Two that were under way together may come in either order; one that was answered comes before one that was sent then.
        let later = before.filter(|before| *before > seq).and_then(|before| self.sends.get(usize::try_from(before).ok()?));
        let answered = self.sends[at].answered;
        if later.is_some_and(|later| answered != 0 && answered < later.left) {
            self.mistakes.reordered += 1;
        }
        let send = &mut self.sends[at];
        send.reached += 1;
        if (self.measured.0..self.measured.1).contains(&send.due) {
            self.latencies.push(now - send.due);
            if everybody && send.reached as usize == self.users {
                self.completions.push(now - send.due);
            }
        }
    }

    /// Whether everything that was sent has been answered, and reached whom it should.
    pub(crate) fn is_settled(&self) -> bool {
        self.answered + self.mistakes.failed >= self.sent() && self.delivered >= self.answered * self.fan()
    }

    /// Closes the books: what was answered and did not arrive is lost.
    pub(crate) fn close(&mut self) {
        let fan = self.fan();
        self.mistakes.lost +=
            self.sends.iter().filter(|send| send.answered != 0).map(|send| fan - u64::from(send.reached)).sum::<u64>();
    }

    /// Milliseconds from when something was due until a user had it, until the webhook was answered, until the last user had it.
    pub(crate) fn latencies(&mut self) -> Value {
        json!({
            "delivered": quantiles(&mut self.latencies),
            "answered": quantiles(&mut self.answers),
            "complete": quantiles(&mut self.completions),
        })
    }
}

fn quantiles(nanoseconds: &mut [u64]) -> Value {
    nanoseconds.sort_unstable();
    let at = |part: f64| {
        let place = (nanoseconds.len() as f64 * part) as usize;
        nanoseconds.get(place.min(nanoseconds.len().wrapping_sub(1))).map(|ns| Duration::from_nanos(*ns).as_secs_f64() * 1_000.0)
    };
    json!({ "p50": at(0.5), "p99": at(0.99), "max": at(1.0) })
}
