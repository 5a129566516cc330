//! Everything that is tested from outside the library, in one binary: one link instead of many.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod canary;
mod chaos;
mod cli;
mod engines;
mod examples;
mod harness;
mod isolation;
mod layering;
mod life;
mod operations;
mod power_loss;
mod resume;
mod streams;
mod tokens;
mod webhooks;
