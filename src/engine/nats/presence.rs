//! How many sessions each user has on the other gateways, about half a second ago.
//!
//! Every gateway tells the others what changed, and now and then all of it; nothing of it is stored, and a gateway that falls silent counts no
//! more. So a user's limit holds over all gateways, but for sessions that arrive at several of them within that half second.
//!
//! Users go over the bus as hashes under a secret of the gateway that counts them: nobody can prepare a user that is taken for another.

use std::{
    collections::HashMap,
    sync::{Arc, PoisonError, RwLock},
    time::{Duration, Instant},
};

use async_nats::Message;
use bytes::{Buf, BufMut, Bytes};
use futures_util::StreamExt as _;
use tokio::time::{MissedTickBehavior, interval, sleep};
use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::Shared;
use crate::event::UserKey;

/// Between two words of a gateway.
const TELL: Duration = Duration::from_millis(400);
/// Between two complete accounts.
const TELL_ALL: Duration = Duration::from_secs(10);
/// After this, a gateway that says nothing is gone.
const SILENCE_MAX: Duration = Duration::from_secs(5);
const MAGIC: [u8; 4] = *b"CRP\x01";
/// Users in one message; more go in several.
const USERS_PER_MESSAGE: usize = 40_000;
const HEAD_BYTES: usize = 4 + 8 + 8 + 1;
const USER_BYTES: usize = 8 + 2;
/// Gateways that are listened to; a flood of invented ones ends here.
const PEERS_MAX: usize = 256;
/// Users of all of them together, of 16 bytes each: a flood of invented users ends here.
const USERS_MAX: usize = 4_000_000;

/// What the others have said.
#[derive(Default)]
pub(super) struct Presence(RwLock<HashMap<u64, Peer>>);

struct Peer {
    seed: u64,
    users: HashMap<u64, u16>,
    heard: Instant,
}

impl Presence {
    /// How many sessions `user` has elsewhere.
    pub(super) fn of(&self, user: &UserKey) -> usize {
        let peers = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let alive = peers.values().filter(|peer| peer.heard.elapsed() < SILENCE_MAX);
        let count = |peer: &Peer| peer.users.get(&hash(user, peer.seed)).copied().map_or(0, usize::from);
        alive.map(count).sum()
    }

    /// Takes a word; says whether it is from a gateway that was not known. `None`: it is not what a gateway of this release says.
    pub(super) fn hear(&self, message: &[u8], own: u64) -> Option<bool> {
        self.hear_of(message, own, USERS_MAX)
    }

    /// The same, with as many users at most.
    fn hear_of(&self, message: &[u8], own: u64, users_max: usize) -> Option<bool> {
        let mut read = message;
        let (head, _) = read.split_at_checked(HEAD_BYTES)?;
        if head[..4] != MAGIC || head[HEAD_BYTES - 1] > 1 {
            return None;
        }
        read.advance(4);
        let (node, seed, is_all) = (read.get_u64_le(), read.get_u64_le(), read.get_u8() == 1);
        if !read.len().is_multiple_of(USER_BYTES) || read.len() / USER_BYTES > USERS_PER_MESSAGE {
            return None;
        }
        if node == own {
            return Some(false);
        }
        let mut peers = self.0.write().unwrap_or_else(PoisonError::into_inner);
        peers.retain(|_, peer| peer.heard.elapsed() < SILENCE_MAX);
        if peers.len() >= PEERS_MAX && !peers.contains_key(&node) {
            return None;
        }
        let known: usize = peers.values().map(|peer| peer.users.len()).sum();
        if known + read.len() / USER_BYTES > users_max {
            return None;
        }
        let is_new = !peers.contains_key(&node);
        let peer = peers.entry(node).or_insert_with(|| Peer { seed, users: HashMap::new(), heard: Instant::now() });
        if is_all || peer.seed != seed {
            peer.users.clear();
        }
        (peer.seed, peer.heard) = (seed, Instant::now());
        while read.has_remaining() {
            match (read.get_u64_le(), read.get_u16_le()) {
                (user, 0) => drop(peer.users.remove(&user)),
                (user, count) => drop(peer.users.insert(user, count)),
            }
        }
        Some(is_new)
    }
}

fn hash(user: &UserKey, seed: u64) -> u64 {
    xxh3_64_with_seed(user.as_str().as_bytes(), seed)
}

/// What this gateway has said.
struct Told {
    node: u64,
    seed: u64,
    users: HashMap<u64, u16>,
    changes: u64,
    all: Instant,
}

/// Tells and hears until the engine is closed.
pub(super) async fn keep_count(shared: Arc<Shared>) {
    let subject = format!("{}.p", shared.name);
    let mut told =
        Told { node: fastrand::u64(..), seed: fastrand::u64(..), users: HashMap::new(), changes: u64::MAX, all: Instant::now() };
    loop {
        let Ok(mut words) = shared.link.client.subscribe(subject.clone()).await else {
            sleep(TELL).await;
            continue;
        };
        let mut ticks = interval(TELL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut wants_all = true;
        loop {
            tokio::select! {
                word = words.next() => match word {
                    Some(word) => wants_all |= shared.hear(&word, told.node),
                    None => break,
                },
                _ = ticks.tick() => {
                    // What a connection that is down would pile up is old when it is up again.
                    if shared.link.is_up() {
                        for message in told.next(&shared, std::mem::take(&mut wants_all)) {
                            let _ = shared.link.client.publish(subject.clone(), message).await;
                        }
                    } else {
                        wants_all = true;
                    }
                }
                () = shared.closed.cancelled() => return,
            }
        }
    }
}

impl Shared {
    fn hear(&self, word: &Message, own: u64) -> bool {
        self.presence.hear(&word.payload, own).unwrap_or_else(|| {
            self.pass_over(0, word.payload.len(), "word of a gateway");
            false
        })
    }
}

impl Told {
    /// What is to be said now: at least that we are here.
    fn next(&mut self, shared: &Shared, wants_all: bool) -> Vec<Bytes> {
        let all = wants_all || self.all.elapsed() > TELL_ALL;
        let changes = shared.hub.changes();
        if !all && changes == self.changes {
            return vec![message(self.node, self.seed, false, &[])];
        }
        self.changes = changes;
        let counts = shared.hub.users().into_iter();
        let now: HashMap<u64, u16> =
            counts.map(|(user, count)| (hash(&user, self.seed), u16::try_from(count).unwrap_or(u16::MAX))).collect();
        let said: Vec<(u64, u16)> = if all {
            self.all = Instant::now();
            now.iter().map(|(user, count)| (*user, *count)).collect()
        } else {
            let new = now.iter().filter(|(user, count)| self.users.get(user) != Some(count)).map(|(user, count)| (*user, *count));
            let gone = self.users.keys().filter(|user| !now.contains_key(user)).map(|user| (*user, 0));
            new.chain(gone).collect()
        };
        self.users = now;
        if said.is_empty() {
            return vec![message(self.node, self.seed, all, &[])];
        }
        let parts = said.chunks(USERS_PER_MESSAGE).enumerate();
        parts.map(|(i, part)| message(self.node, self.seed, all && i == 0, part)).collect()
    }
}

/// A word of the gateway `node`: some of its users, as hashes under `seed`, or a complete account that begins here.
pub(super) fn message(node: u64, seed: u64, all: bool, users: &[(u64, u16)]) -> Bytes {
    let mut out = Vec::with_capacity(HEAD_BYTES + users.len() * USER_BYTES);
    out.put_slice(&MAGIC);
    out.put_u64_le(node);
    out.put_u64_le(seed);
    out.put_u8(u8::from(all));
    for (user, count) in users {
        out.put_u64_le(*user);
        out.put_u16_le(*count);
    }
    out.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_each_gateway_says_adds_up_and_what_it_takes_back_goes() {
        let (presence, user) = (Presence::default(), UserKey::parse("acme:1", None).unwrap());
        let other = UserKey::parse("acme:2", None).unwrap();
        let say = |node, all, count| {
            let seed = node + 100;
            presence.hear(&message(node, seed, all, &[(hash(&user, seed), count)]), 9)
        };
        assert_eq!((say(1, true, 2), say(2, false, 3), say(9, true, 7)), (Some(true), Some(true), Some(false)));
        assert_eq!((presence.of(&user), presence.of(&other)), (5, 0));
        assert_eq!(say(1, false, 0), Some(false));
        assert_eq!(presence.of(&user), 3);
        presence.hear(&message(2, 102, true, &[]), 9).unwrap();
        assert_eq!(presence.of(&user), 0);
    }

    #[test]
    fn a_flood_of_invented_users_ends_at_a_bound_and_takes_no_more_memory() {
        let presence = Presence::default();
        let hear = |node, all, users: &[(u64, u16)]| presence.hear_of(&message(node, 1, all, users), 9, 1_000);
        for i in 0..10 {
            let users: Vec<_> = (i * 100..(i + 1) * 100).map(|user| (user, 1)).collect();
            assert!(hear(i % 4, false, &users).is_some(), "message {i}");
        }
        assert_eq!(hear(0, false, &[(5_000, 1)]), None);
        // Whoever is known can still say that they are there, or that they have nobody any more, which makes room.
        assert_eq!(hear(0, false, &[]), Some(false));
        assert_eq!(hear(0, true, &[]), Some(false));
        assert_eq!(hear(0, false, &[(5_000, 1)]), Some(false));
    }
}
