//! Whatever a client brings to say who it is, checked by the rules in force, which a reload replaces as a whole.

use std::{sync::Arc, time::Duration};

use futures_util::future::join_all;

use super::{
    Identity, KeySetHome, Rejection,
    jwks::KeySet,
    jwt::{KeyProblem, Verifier},
    revocations::Revocations,
    ticket::Tickets,
};
use crate::{config, event::Timestamp, swap::Swap};

/// Takes tokens and tickets.
pub struct Credentials {
    in_force: Swap<InForce>,
    revocations: Revocations,
    home: KeySetHome,
}

struct InForce {
    verifier: Verifier,
    tickets: Option<Tickets>,
    leeway: Duration,
    token_life_max: Duration,
    default_platform: Option<String>,
}

/// New rules, found to be good and not yet in force.
pub struct Prepared {
    in_force: InForce,
    /// Key sets that stay, with what the new rules say of them.
    adjusted: Vec<(Arc<KeySet>, config::Jwks)>,
}

impl Credentials {
    /// Puts the rules of `auth` in force, and begins to fetch its key sets; or says all that is wrong with its keys. Tokens above
    /// `token_bytes_max` bytes are refused unread.
    pub fn new(
        auth: &config::Auth,
        token_bytes_max: usize,
        revocations: Revocations,
        home: KeySetHome,
    ) -> Result<Self, Vec<KeyProblem>> {
        let prepared = prepare(auth, token_bytes_max, &[], &home)?;
        Ok(Self { in_force: Swap::new(prepared.in_force), revocations, home })
    }

    /// Checks new rules without putting them in force.
    pub fn prepare(&self, auth: &config::Auth, token_bytes_max: usize) -> Result<Prepared, Vec<KeyProblem>> {
        prepare(auth, token_bytes_max, self.in_force.get().verifier.sets(), &self.home)
    }

    /// Puts new rules in force. Sessions that began under the old ones go on until their tokens expire.
    pub fn replace(&self, prepared: Prepared) {
        for (set, config) in prepared.adjusted {
            set.adjust(config);
        }
        self.in_force.set(prepared.in_force);
    }

    /// Whom a token speaks for. A token that names a key nobody knows waits up to 2 s for its key set to be fetched, if it may be.
    pub async fn token(&self, token: &str, now: Timestamp) -> Result<Identity, Rejection> {
        let in_force = self.in_force.get();
        let verified = match in_force.verifier.verify(token, now) {
            Err(Rejection::UnknownKey(_)) if !in_force.verifier.sets().is_empty() => {
                // Boxed, because it is rare, and every connection's future would have room for it.
                Box::pin(join_all(in_force.verifier.sets().iter().map(|set| set.refreshed()))).await;
                in_force.verifier.verify(token, now)
            }
            verified => verified,
        };
        let identity = verified?;
        self.unless_revoked(&identity, now)?;
        Ok(identity)
    }

    /// Whom a ticket speaks for, if a request with this `Origin` header may use it.
    pub fn ticket(&self, ticket: &str, origin: Option<&str>, now: Timestamp) -> Result<Identity, Rejection> {
        let in_force = self.in_force.get();
        let tickets =
            in_force.tickets.as_ref().ok_or(Rejection::Invalid("there is no auth.ticket_secret to check tickets with"))?;
        let identity = tickets.verify(ticket, origin, now)?;
        self.unless_revoked(&identity, now)?;
        Ok(identity)
    }

    /// A ticket for the person; none if there is nothing to sign it with. `origin` is the page that asked, if a page did.
    pub fn issue_ticket(&self, identity: &Identity, origin: Option<&str>) -> Option<String> {
        self.in_force.get().tickets.as_ref().map(|tickets| tickets.issue(identity, origin))
    }

    /// Refuses a person whose token was revoked.
    ///
    /// A session asks once more when it has joined the hub: who revokes looks for sessions after writing the revocation down, so of the two
    /// at least one sees the other.
    pub fn unless_revoked(&self, identity: &Identity, now: Timestamp) -> Result<(), Rejection> {
        if self.revocations.cover(identity, now) { Err(Rejection::Revoked) } else { Ok(()) }
    }

    /// How far the clocks of those who sign tokens may be behind ours.
    pub fn leeway(&self) -> Duration {
        self.in_force.get().leeway
    }

    /// The longest life of a token.
    pub fn token_life_max(&self) -> Duration {
        self.in_force.get().token_life_max
    }

    /// The platform of a subject without a colon.
    pub fn default_platform(&self) -> Option<String> {
        self.in_force.get().default_platform.clone()
    }

    /// What is revoked.
    pub fn revocations(&self) -> &Revocations {
        &self.revocations
    }

    /// The settings of key sets that have no keys now, so that none of their tokens is taken.
    pub fn missing_key_sets(&self) -> Vec<String> {
        self.in_force.get().verifier.sets().iter().filter_map(|set| set.missing()).collect()
    }
}

fn prepare(
    auth: &config::Auth,
    token_bytes_max: usize,
    running: &[Arc<KeySet>],
    home: &KeySetHome,
) -> Result<Prepared, Vec<KeyProblem>> {
    // Before anything is fetched for keys that cannot be used.
    Verifier::new(auth, token_bytes_max)?;
    let mut adjusted = Vec::new();
    let sets = auth.jwks.iter().map(|config| match running.iter().find(|set| set.serves(config)) {
        Some(set) => {
            adjusted.push((Arc::clone(set), config.clone()));
            Arc::clone(set)
        }
        None => KeySet::start(config, home),
    });
    let verifier = Verifier::with_sets(auth, token_bytes_max, sets.collect())?;
    let in_force = InForce {
        verifier,
        tickets: Tickets::from_config(auth),
        leeway: auth.leeway,
        token_life_max: auth.token_life_max,
        default_platform: auth.default_platform.clone(),
    };
    Ok(Prepared { in_force, adjusted })
}
