//! Puts a delivery into the stream, and answers when the server has stored all of it and it has come round to the sessions of this gateway.
//!
//! - **One event is one message**, whoever it concerns, so there is no hole between its recipients.
//! - **A delivery of several events** goes as one atomic batch where the servers know that (2.12). Elsewhere its messages go one after the
//!   other, each under a name of its own, and each only when the one before is stored, which keeps their order: if a crash cuts it short, the
//!   webhook was not answered, and the retry adds what is missing.
//! - **A repetition** is recognised by the index. Of two gateways that take the same webhook at the same moment neither has it there; then the
//!   server does, because both name it alike ([`record::message_id`]).
//! - **No answer** does not mean that nothing was stored. So the same name is sent again for a few seconds; after that the sender is told to
//!   come again, and whatever was stored makes its retry a repetition.

use std::{
    collections::HashMap,
    sync::{Arc, PoisonError, atomic::Ordering},
    time::Instant,
};

use async_nats::{
    HeaderMap,
    jetstream::{
        context::{PublishError as Refused, PublishErrorKind},
        message::PublishMessage,
        publish::PublishAck,
    },
};
use bytes::Bytes;
use tokio::{
    sync::oneshot,
    time::{sleep, timeout},
};
use xxhash_rust::xxh3::Xxh3;

use super::{Shared, apply::Flight, record};
use crate::{
    engine::{PublishError, Receipt, Repetition, Stored, first::First},
    event::{Delivery, Draft, Position, UserKey},
};

/// How often a message is named anew because the server has one of that name whose window is over. Once is what happens in practice.
const NAMES_MAX: usize = 64;
const RETRY: std::time::Duration = std::time::Duration::from_millis(100);

/// One event of a delivery that is being published.
struct Passenger<'d> {
    draft: &'d Draft,
    /// By which this gateway knows its message again.
    sender: u64,
    landing: oneshot::Receiver<(u64, usize)>,
    /// The event of the same name that came before, once its window is over.
    after: Option<u64>,
    settled: Option<(Stored, usize)>,
}

/// What has to be sent.
struct Outgoing {
    passenger: usize,
    id: String,
    message: Bytes,
    subject: String,
}

/// Takes the flights of a delivery back when it is over, however it ends.
struct Flights<'s> {
    shared: &'s Shared,
    senders: Vec<u64>,
}

impl Drop for Flights<'_> {
    fn drop(&mut self) {
        let mut flights = self.shared.flights.lock().unwrap_or_else(PoisonError::into_inner);
        for sender in &self.senders {
            flights.remove(sender);
        }
    }
}

impl Shared {
    /// Answers [`crate::engine::Engine::publish`].
    pub(super) async fn publish(self: Arc<Self>, delivery: Delivery) -> Result<Receipt, PublishError> {
        if !self.link.is_up() {
            return Err(PublishError::Unavailable("there is no connection to NATS".to_owned()));
        }
        if self.doubtful.load(Ordering::Acquire) {
            return Err(PublishError::Unavailable("the stream has lost messages, or is gone".to_owned()));
        }
        for letter in &delivery.dead_letters {
            self.keep_letter(letter).await?;
        }
        let mut passengers: Vec<_> = delivery.drafts.iter().map(|draft| self.board(draft, delivery.received)).collect();
        let _flights = Flights { shared: &self, senders: passengers.iter().map(|passenger| passenger.sender).collect() };
        let mut may_batch = self.streams.is_atomic;
        // Where they cannot go as one, no other such delivery of this gateway comes between them.
        let deadline = Instant::now() + self.limits.publish_patience;
        let _turn = match passengers.len() {
            // Those who wait do so within their own time, not one after the other within everybody's.
            2.. if !may_batch => match timeout(self.limits.publish_patience, self.turns.acquire()).await {
                Ok(turn) => Some(turn.map_err(|_| PublishError::Closed)?),
                Err(_) => return Err(PublishError::Unavailable("earlier deliveries are still on their way".to_owned())),
            },
            _ => None,
        };
        let head = self.index().head();
        for _ in 0..passengers.len() + NAMES_MAX {
            let outgoing = self.plan(&mut passengers, delivery.received, may_batch);
            match outgoing.as_slice() {
                [] => return self.receipt(&passengers, head),
                [out] => self.send_until_stored(&mut passengers[out.passenger], out, deadline).await?,
                // What a batch refuses, one by one says why.
                batch => may_batch = self.batch(&mut passengers, batch).await.is_ok(),
            }
        }
        Err(PublishError::Unavailable("the server takes the event for another one".to_owned()))
    }

    fn board<'d>(&self, draft: &'d Draft, received: Instant) -> Passenger<'d> {
        let (landed, landing) = oneshot::channel();
        let sender = fastrand::u64(..);
        let flight = Flight { received, landed };
        self.flights.lock().unwrap_or_else(PoisonError::into_inner).insert(sender, flight);
        Passenger { draft, sender, landing, after: None, settled: None }
    }

    /// Settles what is known to be a repetition, and says what has to be sent next: all that is left, or the first of it.
    fn plan(&self, passengers: &mut [Passenger<'_>], received: Instant, all: bool) -> Vec<Outgoing> {
        let mut outgoing: Vec<Outgoing> = Vec::new();
        let mut firsts: HashMap<[u8; 16], First> = HashMap::new();
        let index = self.index();
        for (number, passenger) in passengers.iter_mut().enumerate() {
            if passenger.settled.is_some() {
                continue;
            }
            if !all && !outgoing.is_empty() {
                break;
            }
            let draft = passenger.draft;
            let Some(dedupe) = draft.dedupe else {
                outgoing.push(self.outgoing(number, passenger, format!("{:016x}", passenger.sender), received));
                continue;
            };
            if firsts.get(&dedupe.key).is_some_and(|first| first.judge(dedupe.digest, draft.at).is_some()) {
                // Repeats an event of its own delivery: settled when that one has its number.
                continue;
            }
            let known = index.first(&dedupe.key);
            if let Some((first, repetition)) = known.and_then(|first| Some((first, first.judge(dedupe.digest, draft.at)?))) {
                let stored = Stored { position: index.position(first.seq), repetition: Some(repetition) };
                passenger.settled = Some((stored, 0));
                continue;
            }
            let after = passenger.after.or(known.map(|first| first.seq)).unwrap_or_default();
            firsts.insert(dedupe.key, First::new(&dedupe, 0, draft.at));
            outgoing.push(self.outgoing(number, passenger, record::message_id(&dedupe, after), received));
        }
        outgoing
    }

    fn outgoing(&self, number: usize, passenger: &Passenger<'_>, id: String, received: Instant) -> Outgoing {
        let age_us = u32::try_from(received.elapsed().as_micros()).unwrap_or(u32::MAX);
        let message = record::encode(passenger.draft, passenger.sender, age_us);
        Outgoing { passenger: number, id, message, subject: self.subject(passenger.draft) }
    }

    /// The subject of the set of keys that the event concerns, whatever their order. The keys themselves are in the message: they may be long,
    /// or full of what no subject may hold.
    fn subject(&self, draft: &Draft) -> String {
        let mut keys: Vec<&str> = draft.audiences.iter().flat_map(|audience| &audience.keys).map(UserKey::as_str).collect();
        keys.sort_unstable();
        keys.dedup();
        let mut hash = Xxh3::new();
        for key in keys {
            hash.update(&(key.len() as u64).to_le_bytes());
            hash.update(key.as_bytes());
        }
        format!("{}.e.{:032x}", self.name, hash.digest128())
    }

    /// Sends all as one: the server stores all of it or nothing.
    async fn batch(&self, passengers: &mut [Passenger<'_>], outgoing: &[Outgoing]) -> Result<(), Refused> {
        let batch = format!("{:032x}", fastrand::u128(..));
        let mut commit = None;
        for (number, out) in outgoing.iter().enumerate() {
            let mut headers = HeaderMap::new();
            headers.insert("Nats-Batch-Id", batch.as_str());
            headers.insert("Nats-Batch-Sequence", (number + 1).to_string().as_str());
            headers.insert("Nats-Msg-Id", out.id.as_str());
            if number + 1 == outgoing.len() {
                headers.insert("Nats-Batch-Commit", "1");
                let message = PublishMessage::build().payload(out.message.clone()).headers(headers);
                commit = Some(self.link.jetstream.send_publish(out.subject.clone(), message).await?);
            } else {
                let sent = self.link.client.publish_with_headers(out.subject.clone(), headers, out.message.clone()).await;
                sent.map_err(|error| Refused::with_source(PublishErrorKind::Other, error))?;
            }
        }
        let Some(commit) = commit else { return Ok(()) };
        let last = commit.await?.sequence;
        for (out, seq) in outgoing.iter().rev().zip((1..=last).rev()) {
            self.settle(&mut passengers[out.passenger], seq).await;
        }
        Ok(())
    }

    /// Sends one message until it is stored, or known to be there.
    async fn send_until_stored(
        &self,
        passenger: &mut Passenger<'_>,
        out: &Outgoing,
        deadline: Instant,
    ) -> Result<(), PublishError> {
        loop {
            let refused = match self.send(out).await {
                Ok(ack) => {
                    self.acknowledged(passenger, &ack).await;
                    return Ok(());
                }
                Err(refused) => refused,
            };
            if let Ok((seq, reached)) = passenger.landing.try_recv() {
                // No answer, but there it is.
                passenger.settled = Some((self.stored(seq), reached));
                return Ok(());
            }
            if Instant::now() >= deadline || !self.link.is_up() {
                return Err(PublishError::Unavailable(refused.to_string()));
            }
            sleep(RETRY).await;
        }
    }

    async fn send(&self, out: &Outgoing) -> Result<PublishAck, Refused> {
        let message = PublishMessage::build().payload(out.message.clone()).message_id(&out.id);
        self.link.jetstream.send_publish(out.subject.clone(), message).await?.await
    }

    async fn acknowledged(&self, passenger: &mut Passenger<'_>, ack: &PublishAck) {
        if !ack.duplicate {
            return self.settle(passenger, ack.sequence).await;
        }
        let mut reached = self.reached.subscribe();
        // Until it is known here whose it is: the next round judges.
        let known = timeout(self.limits.hand_on_patience, reached.wait_for(|reached| *reached >= ack.sequence)).await;
        if let Ok((seq, sessions)) = passenger.landing.try_recv() {
            passenger.settled = Some((self.stored(seq), sessions));
        } else if known.is_ok() {
            passenger.after = Some(ack.sequence);
        } else {
            // This gateway lags behind; the server's word is good.
            let stored = Stored { repetition: Some(Repetition::Same), ..self.stored(ack.sequence) };
            passenger.settled = Some((stored, 0));
        }
    }

    /// Waits until the event, which is stored at `seq`, has come round to this gateway's sessions; but not for ever.
    async fn settle(&self, passenger: &mut Passenger<'_>, seq: u64) {
        let landed = timeout(self.limits.hand_on_patience, &mut passenger.landing).await;
        let sessions = landed.ok().and_then(Result::ok).map_or(0, |(_, sessions)| sessions);
        passenger.settled = Some((self.stored(seq), sessions));
    }

    fn stored(&self, seq: u64) -> Stored {
        Stored { position: self.index().position(seq), repetition: None }
    }

    /// What became of the delivery, which was begun when the log stood at `head`.
    fn receipt(&self, passengers: &[Passenger<'_>], head: Position) -> Result<Receipt, PublishError> {
        let settled = passengers.iter().filter_map(|passenger| passenger.settled);
        let (events, connections): (Vec<Stored>, Vec<_>) = settled.unzip();
        // New events have new numbers. If not, others had them before, and the log is not the one that it was.
        let is_strange = |stored: &Stored| stored.repetition.is_none() && stored.position.seq <= head.seq;
        let is_ours = self.index().head().epoch == head.epoch;
        if is_ours && events.iter().any(is_strange) {
            self.estrange("a new event was given an old number");
        } else if is_ours {
            return Ok(Receipt { events, connections: connections.iter().sum() });
        }
        // What was stored may be gone with the log of before. If it is not, the sender's retry is a repetition.
        Err(PublishError::Unavailable("the log was replaced meanwhile".to_owned()))
    }
}
