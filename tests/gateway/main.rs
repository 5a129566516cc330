//! Everything that is tested from outside the library, in one binary: one link instead of many.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod cli;
mod crash;
mod engines;
mod examples;
mod harness;
mod keys;
mod layering;
mod life;
mod reload;
mod resume;
mod revocations;
mod streams;
mod tokens;
mod webhooks;
