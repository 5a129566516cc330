//! Everything that is tested from outside the library, in one binary: one link instead of many.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod admin;
mod broadcast;
mod canary;
mod chaos;
mod cli;
mod deploy;
mod dev;
mod doctor;
mod engines;
mod examples;
mod floods;
mod harness;
mod hooks;
mod hostile_http;
mod hostile_websocket;
mod isolation;
mod keys;
mod lane;
mod layering;
mod life;
mod nats;
mod odd_requests;
mod openapi;
mod operations;
mod power_loss;
mod reload;
mod resume;
mod revocations;
mod security;
mod streams;
mod tls;
mod tokens;
mod trigger;
mod waiting;
mod webhooks;
