//! Is it claimr, what does it say, and whom does it concern? Everything the gateway knows about senders lives here.
//!
//! [`signature`] turns bytes into [`Verified`](signature::Verified) bytes; [`payload`] takes nothing else, and turns them into the
//! drafts and dead letters of a delivery by the source's mapping.

pub mod payload;
pub mod signature;
