//! claimr-relay: a claimr webhook reaches the connected frontends of the user it concerns, at once, and is never lost.
//!
//! ```text
//!  claimr ──POST /hooks──▶ http ─▶ ingest ─▶ claimr (signature, payload) ─▶ engine ─▶ hub ─▶ session ─▶ transport ──▶ browser
//!                                                                           │ log                  ▲
//!                                                                           └──── replay ──────────┘
//! ```
//!
//! The modules in the order in which a reader meets them:
//!
//! | module | is |
//! | --- | --- |
//! | [`gateway`] | the parts put together |
//! | [`listener`], [`http`] | connections; routes |
//! | [`ingest`], [`claimr`] | the life of a webhook; what we know of its sender |
//! | [`capture`] | what became of the latest webhooks |
//! | [`engine`] | the log |
//! | [`hub`], [`session`], [`transport`] | who is connected; one client's stream; the carriers |
//! | [`auth`] | who a client is |
//! | [`event`], [`protocol`] | the nouns; the frames |
//! | [`config`], [`swap`], [`metrics`], [`shutdown`], [`clock`] | what an operator decides, changes and sees; the end; the only clock |

pub mod auth;
pub mod capture;
pub mod claimr;
pub mod cli;
pub mod clock;
pub mod config;
pub mod engine;
pub mod event;
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub mod fuzzing;
pub mod gateway;
pub mod http;
pub mod hub;
pub mod ingest;
pub mod listener;
pub mod metrics;
pub mod probe;
pub mod protocol;
pub mod session;
pub mod shutdown;
pub mod swap;
mod sync;
pub mod telemetry;
pub mod transport;
