//! claimr-relay: a claimr webhook reaches the connected frontends of the user it concerns, at once, and is never lost.
pub mod auth;
pub mod claimr;
pub mod cli;
pub mod clock;
pub mod config;
pub mod engine;
pub mod event;
pub mod hub;
pub mod protocol;
pub mod telemetry;
