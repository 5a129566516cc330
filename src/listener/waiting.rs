//! Connections whose first request has not come: only so many at once, and only so many of one address. They hold an open file each,
//! which webhooks and sessions need, and cost their maker nothing.
//!
//! Above a bound the connection that has waited longest is closed, not the newest. A sender of webhooks sends its request as soon as it is
//! connected, so it waits for a moment only; whoever is here to fill the node is what has waited longest. Were the newest refused, as
//! many silent connections as the bound would keep everybody else out, for nothing, as long as they like.
//!
//! A sender that opens many connections at once is given a moment to ask on them before its address is held to its bound; the
//! listener's bound holds at once, but for those whose request has come and was not looked at yet.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, hash_map::Entry},
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use prometheus_client::metrics::{counter::Counter, family::Family};
use tokio::task::AbortHandle;

use crate::{config::network_of, metrics::KindLabel};

/// For a sender that opens many connections at once to ask on each.
const MOMENT: Duration = Duration::from_secs(1);

/// The bounds of connections without a request, of one listener.
#[derive(Clone, Copy, Debug)]
pub struct WaitingLimits {
    /// Of everybody.
    pub connections_max: usize,
    /// Of one address, of those that have waited for a second; an IPv6 network of 64 bits is one.
    pub connections_per_address_max: usize,
}

/// What a listener has to know of those who come, and what it tells of them.
#[derive(Clone)]
pub struct Visitors {
    /// Whether many clients come from an address: a trusted proxy's. It is not bounded by itself.
    pub is_shared: Arc<dyn Fn(IpAddr) -> bool + Send + Sync>,
    /// Connections that were closed because too many waited: of their `address`, or of the `listener`.
    pub closed: Family<KindLabel, Counter>,
}

/// The connections of a listener that have not asked for anything yet.
pub(super) struct Waiting {
    limits: WaitingLimits,
    visitors: Visitors,
    line: Mutex<Line>,
}

/// In the order of their numbers, which is that of their coming.
#[derive(Default)]
struct Line {
    next: u64,
    all: BTreeMap<u64, Connection>,
    by_address: HashMap<IpAddr, BTreeSet<u64>>,
}

struct Connection {
    /// None for a proxy's.
    address: Option<IpAddr>,
    since: Instant,
    /// Ends it; there once its task is.
    task: Option<AbortHandle>,
}

/// A connection's place among those that wait. Given back when its first request comes, or when it ends.
pub(super) struct Turn {
    waiting: Arc<Waiting>,
    number: u64,
}

impl Waiting {
    pub(super) fn new(limits: WaitingLimits, visitors: Visitors) -> Arc<Self> {
        Arc::new(Self { limits, visitors, line: Mutex::default() })
    }

    /// Makes room for a connection from `address`, and has `spawn` serve it. Called by one task, for one connection after the other.
    pub(super) fn admit(self: &Arc<Self>, address: IpAddr, spawn: impl FnOnce(Turn) -> AbortHandle) {
        let address = (!(self.visitors.is_shared)(address)).then(|| network_of(address));
        let number = self.join(address);
        let task = spawn(Turn { waiting: Arc::clone(self), number });
        // It may have asked or gone meanwhile.
        if let Some(connection) = self.line().all.get_mut(&number) {
            connection.task = Some(task);
        }
    }

    /// Whether the next connection will cost another one its place. Whoever asked already should be served first, to make room.
    pub(super) fn is_full(&self) -> bool {
        self.line().all.len() >= self.limits.connections_max
    }

    fn join(&self, address: Option<IpAddr>) -> u64 {
        let now = Instant::now();
        let mut line = self.line();
        let mut closed = Vec::new();
        while let Some(number) =
            address.and_then(|address| line.longest_of(address, self.limits.connections_per_address_max, now))
        {
            closed.extend(self.close(&mut line, number, "address"));
        }
        if line.all.len() >= self.limits.connections_max
            && let Some(number) = line.all.keys().next().copied()
        {
            closed.extend(self.close(&mut line, number, "listener"));
        }
        let number = line.join(address, now);
        drop(line);
        for task in closed {
            task.abort();
        }
        number
    }

    fn close(&self, line: &mut Line, number: u64, kind: &'static str) -> Option<AbortHandle> {
        self.visitors.closed.get_or_create(&KindLabel { kind }).inc();
        line.leave(number)
    }

    fn line(&self) -> MutexGuard<'_, Line> {
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Line {
    /// Who of the address has waited longest, if too many have and that one had its moment.
    fn longest_of(&self, address: IpAddr, connections_max: usize, now: Instant) -> Option<u64> {
        let numbers = self.by_address.get(&address).filter(|numbers| numbers.len() >= connections_max)?;
        let longest = *numbers.first()?;
        (now.saturating_duration_since(self.all.get(&longest)?.since) >= MOMENT).then_some(longest)
    }

    fn join(&mut self, address: Option<IpAddr>, now: Instant) -> u64 {
        self.next += 1;
        self.all.insert(self.next, Connection { address, since: now, task: None });
        if let Some(address) = address {
            self.by_address.entry(address).or_default().insert(self.next);
        }
        self.next
    }

    /// Forgets a connection; gives what would end it.
    fn leave(&mut self, number: u64) -> Option<AbortHandle> {
        let connection = self.all.remove(&number)?;
        if let Some(address) = connection.address
            && let Entry::Occupied(mut numbers) = self.by_address.entry(address)
        {
            numbers.get_mut().remove(&number);
            if numbers.get().is_empty() {
                numbers.remove();
            }
        }
        connection.task
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.waiting.line().leave(self.number);
    }
}
