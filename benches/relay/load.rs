//! The load: thousands of clients and the senders of webhooks, on one thread, with one clock for all of them.

use std::time::{Duration, Instant};

use anyhow::{bail, ensure};
use serde_json::{Value, json};

use crate::{
    kernel::{self, Poller, connect},
    ledger::{Expected, Ledger, Mistakes},
    sender::{Heard, Sender},
    server::{Carrier, Server},
    subscriber::{Ended, Stage, Subscriber},
    webhook::{NOBODY, Template},
};

/// Numbers from here on are senders', those below clients'.
const SENDERS: u64 = 1 << 32;
/// Connections that send.
const SENDERS_MAX: usize = 64;
/// Turns without any progress after which nothing more is waited for. Turns, and not seconds, because a machine may be stopped for a while.
const TURNS_MAX: u32 = 1_000;
/// How long a turn takes in which nothing happens.
const TURN: Duration = Duration::from_millis(10);

/// When webhooks are sent.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Pace {
    /// So many a second, whatever becomes of them, at random moments; a delivery's time counts from when its webhook was due.
    Open(f64),
    /// As fast as they are answered, with at most so many on their way to their users.
    Closed(u64),
}

/// What a run measured.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) figures: Value,
    pub(crate) mistakes: Mistakes,
}

/// Everything that talks to one server.
pub(crate) struct Load<'a> {
    server: &'a Server,
    poller: Poller,
    clients: Vec<Subscriber>,
    senders: Vec<Sender>,
    /// Senders that wait for nothing.
    idle: Vec<usize>,
    template: Template,
    pub(crate) ledger: Ledger,
    open: usize,
    began: Instant,
    buffer: Vec<u8>,
}

/// What the processors had done at a moment.
struct Moment {
    at: Instant,
    server: Duration,
    load: Duration,
    machine: Duration,
    delivered: u64,
}

impl<'a> Load<'a> {
    pub(crate) fn new(server: &'a Server, expected: Expected, clients: usize) -> anyhow::Result<Self> {
        kernel::pin()?;
        Ok(Self {
            server,
            poller: Poller::new()?,
            clients: Vec::with_capacity(clients),
            senders: Vec::new(),
            idle: Vec::new(),
            template: Template::new(server.setup.product, server.public, server.setup.broadcasts),
            ledger: Ledger::new(expected, clients),
            open: 0,
            began: Instant::now(),
            buffer: vec![0; 256 * 1_024],
        })
    }

    fn now(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    /// Connects `count` clients, at most `together` handshakes at a time, until all streams are open.
    pub(crate) fn connect(
        &mut self,
        count: usize,
        carrier: Carrier,
        cursor: Option<&str>,
        together: usize,
    ) -> anyhow::Result<()> {
        let requests: Vec<String> =
            (0..count).map(|user| self.server.stream_request(user, carrier, cursor)).collect::<Result<_, _>>()?;
        self.began = Instant::now();
        let mut requests = requests.into_iter().enumerate();
        let mut patience = Patience::default();
        while self.open < count {
            while self.clients.len() < self.open + together
                && let Some((user, request)) = requests.next()
            {
                let socket = connect(self.server.public, user)?;
                self.poller.add(&socket, user as u64, true)?;
                self.clients.push(Subscriber::new(socket, user, carrier, self.server.setup.product, request));
            }
            self.turn(TURN)?;
            if self.ledger.mistakes.disconnected > 0 || patience.is_over(self.open as u64) {
                bail!("{} of {count} streams are open: {:?}; {}", self.open, self.ledger.mistakes, self.server.last_words());
            }
        }
        Ok(())
    }

    /// Goes on for so long.
    pub(crate) fn rest(&mut self, long: Duration) -> anyhow::Result<()> {
        let end = Instant::now() + long;
        while Instant::now() < end {
            self.turn(end.saturating_duration_since(Instant::now()).min(Duration::from_millis(100)))?;
        }
        Ok(())
    }

    /// Goes on until every client has heard `each` events; says when half of them had, and when all, since they began to connect.
    pub(crate) fn until_heard(&mut self, each: u32) -> anyhow::Result<(Duration, Duration)> {
        let (mut half, mut patience) = (None, Patience::default());
        loop {
            self.turn(TURN)?;
            let delivered = self.ledger.delivered;
            let all = u64::from(each) * self.clients.len() as u64;
            if half.is_none() && delivered * 2 >= all {
                half = Some(self.began.elapsed());
            }
            if delivered >= all && self.clients.iter().all(|client| client.heard >= each) {
                let all = self.began.elapsed();
                return Ok((half.unwrap_or(all), all));
            }
            if self.ledger.mistakes.count() > 0 || patience.is_over(delivered) {
                bail!("{delivered} of {all} events were heard: {:?}", self.ledger.mistakes);
            }
        }
    }

    /// Sends webhooks for `warming` and then for `measured`, waits for what is still under way, and closes the books.
    pub(crate) fn run(&mut self, pace: Pace, warming: Duration, measured: Duration) -> anyhow::Result<Outcome> {
        ensure!(self.open > 0, "nobody is connected");
        for number in self.senders.len()..SENDERS_MAX {
            let sender = self.sender_to(number)?;
            self.senders.push(sender);
            self.idle.push(number);
        }
        let (start, processes) = (self.now(), self.server.processes());
        let from = start + nanoseconds(warming);
        let end = from + nanoseconds(measured);
        self.ledger.measured = (from, end);
        let mut due = start;
        let mut first = None;
        loop {
            let now = self.now();
            if first.is_none() && now >= from {
                first = Some(self.moment(&processes));
            }
            // At least once, however short it is.
            self.send_what_is_due(pace, &mut due)?;
            if now >= end {
                break;
            }
            let next = if first.is_none() { from } else { end };
            let next = if matches!(pace, Pace::Open(_)) && !self.idle.is_empty() { next.min(due) } else { next };
            self.turn(Duration::from_nanos(next.saturating_sub(self.now())).min(Duration::from_millis(100)))?;
        }
        let last = self.moment(&processes);
        let first = first.unwrap_or_else(|| self.moment(&processes));
        let overdue = if let Pace::Open(rate) = pace { (end.saturating_sub(due)) as f64 / 1e9 * rate } else { 0.0 };
        self.settle(warming)?;
        ensure!(self.ledger.delivered > 0, "nothing was delivered; {}", self.server.last_words());
        Ok(self.outcome(&first, &last, overdue))
    }

    fn sender_to(&self, number: usize) -> anyhow::Result<Sender> {
        let socket = connect(self.server.public, number)?;
        self.poller.add(&socket, SENDERS + number as u64, true)?;
        Ok(Sender::new(socket))
    }

    fn send_what_is_due(&mut self, pace: Pace, due: &mut u64) -> anyhow::Result<()> {
        while let Some(number) = self.idle.last().copied() {
            let now = self.now();
            match pace {
                Pace::Open(_) if *due > now => break,
                Pace::Open(_) => {}
                Pace::Closed(window) => {
                    let fan = self.ledger.fan();
                    if (self.ledger.sent() + 1 - self.ledger.mistakes.failed) * fan > self.ledger.delivered + window * fan {
                        break;
                    }
                    *due = now;
                }
            }
            self.idle.pop();
            let seq = self.ledger.sent();
            let user = if self.ledger.expected == Expected::Everybody { NOBODY } else { fastrand::usize(..self.clients.len()) };
            let request = self.template.request(seq, user);
            // Before it goes, because it may arrive before the call returns.
            self.ledger.send(*due, now);
            if !self.senders[number].send(request, seq) {
                self.poller.change(&self.senders[number].socket, SENDERS + number as u64, true)?;
            }
            if let Pace::Open(rate) = pace {
                *due += (-(1.0 - fastrand::f64()).ln() / rate * 1e9) as u64;
            }
        }
        Ok(())
    }

    /// Waits until all that was sent has arrived, or nothing comes any more; and then a little, for what comes twice.
    fn settle(&mut self, a_little: Duration) -> anyhow::Result<()> {
        let mut patience = Patience::default();
        while !self.ledger.is_settled() && !patience.is_over(self.ledger.delivered + self.ledger.answered) {
            self.turn(TURN)?;
        }
        self.rest(a_little)?;
        self.ledger.close();
        Ok(())
    }

    fn moment(&self, processes: &[u32]) -> Moment {
        Moment {
            at: Instant::now(),
            server: kernel::processor_time(processes),
            load: kernel::processor_time(&[std::process::id()]),
            machine: kernel::machine_time(),
            delivered: self.ledger.delivered,
        }
    }

    fn outcome(&mut self, first: &Moment, last: &Moment, overdue: f64) -> Outcome {
        let seconds = (last.at - first.at).as_secs_f64();
        let (server, load) = (last.server.saturating_sub(first.server), last.load.saturating_sub(first.load));
        let others = last.machine.saturating_sub(first.machine).saturating_sub(server + load);
        let delivered = last.delivered - first.delivered;
        let percent = |time: Duration| (time.as_secs_f64() / seconds * 100.0).round();
        let figures = json!({
            "deliveries_per_s": (delivered as f64 / seconds).round(),
            "server_us_per_delivery": (delivered > 0).then(|| server.as_secs_f64() * 1e6 / delivered as f64),
            "latency_ms": self.ledger.latencies(),
            "server_core_percent": percent(server),
            "load_core_percent": percent(load),
            "others_core_percent": percent(others),
            "overdue": overdue.round(),
        });
        Outcome { figures, mistakes: self.ledger.mistakes.clone() }
    }

    /// Waits, for at most so long, and handles what is ready.
    fn turn(&mut self, at_most: Duration) -> anyhow::Result<()> {
        let count = self.poller.wait(at_most)?;
        for ready in 0..count {
            let Some(ready) = self.poller.ready(ready) else { continue };
            if ready.number >= SENDERS {
                self.sender(usize::try_from(ready.number - SENDERS)?, ready)?;
            } else {
                let client = usize::try_from(ready.number)?;
                if let Err(ended) = self.client(client, ready) {
                    self.lose(client, ended)?;
                }
            }
        }
        Ok(())
    }

    fn client(&mut self, number: usize, ready: kernel::Ready) -> Result<(), Ended> {
        let now = self.now();
        let client = &mut self.clients[number];
        if client.stage == Stage::Connecting && ready.to_write {
            client.ask()?;
            self.poller.change(&client.socket, number as u64, false).map_err(|error| Some(error.to_string()))?;
        }
        if ready.to_read {
            let was_open = client.stage == Stage::Open;
            client.read(&mut self.buffer, &mut self.ledger, now)?;
            self.open += usize::from(!was_open && client.stage == Stage::Open);
        }
        Ok(())
    }

    fn lose(&mut self, number: usize, ended: Ended) -> anyhow::Result<()> {
        let client = &mut self.clients[number];
        self.open -= usize::from(client.stage == Stage::Open);
        client.stage = Stage::Gone;
        self.ledger.mistakes.disconnected += 1;
        self.ledger.mistakes.note(ended.unwrap_or_default());
        // In its place comes one that the poller does not know, because one that has ended is always ready.
        client.socket = connect(self.server.public, number)?;
        Ok(())
    }

    fn sender(&mut self, number: usize, ready: kernel::Ready) -> anyhow::Result<()> {
        let sender = &mut self.senders[number];
        if ready.to_write && sender.flush() {
            self.poller.change(&sender.socket, SENDERS + number as u64, false)?;
        }
        if !ready.to_read {
            return Ok(());
        }
        let heard = sender.read(&mut self.buffer);
        match (heard, sender.waits_for) {
            (Heard::Part, _) => return Ok(()),
            (Heard::Good, Some(seq)) => self.ledger.answer(seq, self.now()),
            // A server may close one that has had nothing to send for long.
            (Heard::Broken(_), None) => {
                self.senders[number] = self.sender_to(number)?;
                return Ok(());
            }
            (Heard::Broken(why), Some(_)) => bail!("{why}; {}", self.server.last_words()),
            (Heard::Good, None) => bail!("an answer to nothing"),
            (Heard::Bad(answer), _) => {
                self.ledger.mistakes.failed += 1;
                self.ledger.mistakes.note(format!("a webhook was answered with {answer}"));
            }
        }
        self.senders[number].waits_for = None;
        self.idle.push(number);
        Ok(())
    }
}

/// Ends when nothing has changed for long.
#[derive(Default)]
struct Patience {
    seen: u64,
    turns: u32,
}

impl Patience {
    fn is_over(&mut self, progress: u64) -> bool {
        self.turns = if progress == self.seen { self.turns + 1 } else { 0 };
        self.seen = progress;
        self.turns > TURNS_MAX
    }
}

fn nanoseconds(long: Duration) -> u64 {
    u64::try_from(long.as_nanos()).unwrap_or(u64::MAX)
}
