//! How many sessions one address, and the whole node, may have. A place is given back by dropping it.

use std::{net::IpAddr, sync::Arc, time::Instant};

use crate::{
    config::network_of,
    swap::Swap,
    sync::{
        atomic::{AtomicUsize, Ordering},
        dashmap::{DashMap, mapref::entry::Entry},
    },
};

/// The bounds of [`Admission`].
#[derive(Clone, Copy, Debug)]
pub struct AdmissionLimits {
    /// Sessions of the whole node.
    pub sessions_max: usize,
    /// Sessions of one address.
    pub sessions_per_address_max: usize,
    /// New sessions of one address in a second; as many may come at once.
    pub new_sessions_per_address_per_s_max: u32,
}

/// Why there is no place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoPlace {
    /// The node is full.
    NodeFull,
    /// The address has too many sessions.
    AddressFull,
    /// The address opens sessions too quickly.
    AddressTooFast,
}

/// Gives out places for sessions.
pub struct Admission {
    limits: Swap<AdmissionLimits>,
    sessions: AtomicUsize,
    addresses: DashMap<IpAddr, Address>,
    /// When this many addresses are remembered, idle ones are forgotten.
    sweep_at: AtomicUsize,
}

struct Address {
    sessions: usize,
    /// A token bucket of new sessions: how many may come now, as of `refilled`.
    allowance: f64,
    refilled: Instant,
}

/// The right to one session. Dropping it gives the place back.
pub struct Place {
    admission: Arc<Admission>,
    address: IpAddr,
}

impl Admission {
    /// So many addresses are remembered before idle ones are forgotten for the first time.
    const ADDRESSES_BEFORE_SWEEP: usize = 10_000;

    /// Nobody is here yet.
    pub fn new(limits: AdmissionLimits) -> Arc<Self> {
        Arc::new(Self {
            limits: Swap::new(limits),
            sessions: AtomicUsize::new(0),
            addresses: DashMap::new(),
            sweep_at: AtomicUsize::new(Self::ADDRESSES_BEFORE_SWEEP),
        })
    }

    /// Bounds those who come from now on; nobody has to leave.
    pub fn set_limits(&self, limits: AdmissionLimits) {
        self.limits.set(limits);
    }

    /// Takes a place for a session from `address` at `now`.
    pub fn enter(self: &Arc<Self>, address: IpAddr, now: Instant) -> Result<Place, NoPlace> {
        let (address, limits) = (network_of(address), self.limits.get());
        if self.addresses.len() >= self.sweep_at.load(Ordering::Relaxed) {
            self.forget_idle(now);
        }
        {
            let mut entry = self.addresses.entry(address).or_insert_with(|| Address {
                sessions: 0,
                allowance: f64::from(limits.new_sessions_per_address_per_s_max),
                refilled: now,
            });
            entry.admit(now, &limits)?;
        }
        // Made before the node's limit is asked, so that refusing gives everything back by dropping it.
        let place = Place { admission: Arc::clone(self), address };
        if self.sessions.fetch_add(1, Ordering::Relaxed) >= limits.sessions_max {
            return Err(NoPlace::NodeFull);
        }
        Ok(place)
    }

    /// Forgets addresses without a session whose rate has recovered. The next sweep comes when twice as many are there as stayed, so
    /// that a sweep costs each newcomer a constant; the gateway asks for one every second besides.
    pub fn forget_idle(&self, now: Instant) {
        let full = f64::from(self.limits.get().new_sessions_per_address_per_s_max);
        self.addresses.retain(|_, a| a.sessions > 0 || a.allowance_at(now, full) < full);
        self.sweep_at.store((2 * self.addresses.len()).max(Self::ADDRESSES_BEFORE_SWEEP), Ordering::Relaxed);
    }

    /// How many addresses are remembered now.
    pub fn addresses(&self) -> usize {
        self.addresses.len()
    }

    /// How many places are taken now.
    pub fn sessions(&self) -> usize {
        self.sessions.load(Ordering::Relaxed)
    }
}

impl Address {
    fn allowance_at(&self, now: Instant, per_s: f64) -> f64 {
        (self.allowance + now.saturating_duration_since(self.refilled).as_secs_f64() * per_s).min(per_s)
    }

    fn admit(&mut self, now: Instant, limits: &AdmissionLimits) -> Result<(), NoPlace> {
        self.allowance = self.allowance_at(now, f64::from(limits.new_sessions_per_address_per_s_max));
        self.refilled = now;
        if self.sessions >= limits.sessions_per_address_max {
            return Err(NoPlace::AddressFull);
        }
        if self.allowance < 1.0 {
            return Err(NoPlace::AddressTooFast);
        }
        self.allowance -= 1.0;
        self.sessions += 1;
        Ok(())
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.admission.sessions.fetch_sub(1, Ordering::Relaxed);
        if let Entry::Occupied(mut entry) = self.admission.addresses.entry(self.address) {
            entry.get_mut().sessions -= 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn admission(sessions_max: usize, per_address: usize, per_s: u32) -> Arc<Admission> {
        Admission::new(AdmissionLimits {
            sessions_max,
            sessions_per_address_max: per_address,
            new_sessions_per_address_per_s_max: per_s,
        })
    }

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn places_come_back_when_they_are_dropped() {
        let (admission, now) = (admission(3, 2, 100), Instant::now());
        let enter = |from| admission.enter(address(from), now);
        let (first, _second) = (enter("10.0.0.1").ok(), enter("10.0.0.1").ok());
        assert_eq!(enter("10.0.0.1").err(), Some(NoPlace::AddressFull));
        let _third = enter("10.0.0.2").ok();
        assert_eq!(enter("10.0.0.3").err(), Some(NoPlace::NodeFull));
        assert_eq!(admission.sessions(), 3);
        drop(first);
        assert!(enter("10.0.0.1").is_ok());
        assert_eq!(admission.sessions(), 2);
    }

    #[test]
    fn an_address_that_dials_too_fast_waits_its_turn() {
        let (admission, now) = (admission(100, 100, 2), Instant::now());
        let enter = |from, after_ms| admission.enter(address(from), now + Duration::from_millis(after_ms)).err();
        assert_eq!((enter("10.0.0.1", 0), enter("10.0.0.1", 0)), (None, None));
        assert_eq!((enter("10.0.0.1", 400), enter("10.0.0.2", 400)), (Some(NoPlace::AddressTooFast), None));
        assert_eq!((enter("10.0.0.1", 600), enter("10.0.0.1", 601)), (None, Some(NoPlace::AddressTooFast)));
    }

    /// Case F4: the map is empty again when everybody has gone.
    #[test]
    fn ten_thousand_visitors_leave_nothing_behind() {
        let (admission, now) = (admission(10_000, 1, 1), Instant::now());
        let places: Vec<Place> =
            (0..10_000_u32).map(|n| admission.enter(IpAddr::from(n.to_be_bytes()), now).ok().unwrap()).collect();
        assert_eq!((admission.sessions(), admission.addresses()), (10_000, 10_000));
        drop(places);
        admission.forget_idle(now);
        assert_eq!((admission.sessions(), admission.addresses()), (0, 10_000), "their rate is still remembered");
        admission.forget_idle(now + Duration::from_secs(1));
        assert_eq!(admission.addresses(), 0);
    }

    /// A sweep costs as much as there are addresses, so it comes when there are many, and then when twice as many are there as stayed.
    #[test]
    fn newcomers_sweep_when_there_are_many() {
        let (admission, start) = (admission(100_000, 1, 1), Instant::now());
        let later = start + Duration::from_secs(1);
        let enter = |n: u32, now| admission.enter(IpAddr::from(n.to_be_bytes()), now).ok();
        let staying: Vec<_> = (0..6_000).filter_map(|n| enter(n, start)).collect();
        (6_000..9_999).for_each(|n| drop(enter(n, start)));
        drop(enter(9_999, later));
        assert_eq!(admission.addresses(), 10_000, "one too few for a sweep");
        drop(enter(10_000, later));
        assert_eq!(admission.addresses(), 6_002, "those who stay, and the two who came just now");
        (20_000..25_999).for_each(|n| drop(enter(n, later)));
        let after = later + Duration::from_secs(1);
        drop(enter(30_000, after));
        assert_eq!(admission.addresses(), 12_002, "not yet twice as many as were there after the sweep");
        drop(enter(30_001, after));
        assert_eq!((admission.addresses(), staying.len()), (6_002, 6_000));
    }

    #[test]
    fn an_ipv6_network_is_one_address() {
        let (admission, now) = (admission(9, 1, 9), Instant::now());
        let _one = admission.enter(address("2001:db8::1"), now).ok();
        assert_eq!(admission.enter(address("2001:db8::ffff:1"), now).err(), Some(NoPlace::AddressFull));
        assert!(admission.enter(address("2001:db8:0:1::1"), now).is_ok());
        let _v4 = admission.enter(address("::ffff:10.0.0.1"), now).ok();
        assert_eq!(admission.enter(address("10.0.0.1"), now).err(), Some(NoPlace::AddressFull));
    }
}
