//! What the gateway costs, measured from outside: `tests/run bench [scenario…]`, or `cargo bench --bench relay -- --help`.
//!
//! The release binary runs on the first core; the load, all clients and senders on one thread, on the last. Every delivery is checked: for
//! loss, repetition, order, and whom it reached. One clock times both ends, and where a rate is given, times count from when a webhook was
//! due, so that neither a slow server nor a slow load can hide behind the other.
//!
//! `cargo test` runs all of it in small, so that it works when it is needed.

#![expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "figures are for people, who look at three digits of them"
)]

// The kernel's interfaces that it stands on are Linux's.
#[cfg(target_os = "linux")]
mod arguments;
#[cfg(target_os = "linux")]
mod fill;
#[cfg(target_os = "linux")]
mod kernel;
#[cfg(target_os = "linux")]
mod ledger;
#[cfg(target_os = "linux")]
mod load;
#[cfg(target_os = "linux")]
mod plot;
#[cfg(target_os = "linux")]
mod results;
#[cfg(target_os = "linux")]
mod scenarios;
#[cfg(target_os = "linux")]
mod sender;
#[cfg(target_os = "linux")]
mod server;
#[cfg(target_os = "linux")]
mod smoke;
#[cfg(target_os = "linux")]
mod subscriber;
#[cfg(target_os = "linux")]
mod webhook;

#[cfg(target_os = "linux")]
fn main() -> anyhow::Result<()> {
    use clap::Parser as _;
    // Each client is an open file; the server takes over the limit.
    let (_, hard) = rlimit::getrlimit(rlimit::Resource::NOFILE)?;
    rlimit::increase_nofile_limit(hard)?;
    // Cargo says so to benchmarks, and not to tests.
    if std::env::args().any(|argument| argument == "--bench") { arguments::Arguments::parse().run() } else { smoke::run() }
}

#[cfg(not(target_os = "linux"))]
fn main() {
    eprintln!("this benchmark runs on Linux only");
}
