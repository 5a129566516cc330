//! Everything that is tested from outside the library, in one binary: one link instead of many.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod cli;
mod crash;
mod dev;
mod engines;
mod examples;
mod harness;
mod layering;
mod life;
mod resume;
mod streams;
mod tokens;
mod webhooks;
