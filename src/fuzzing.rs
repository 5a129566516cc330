//! What holds for any bytes that a stranger, a sender, a disk or an operator may hand to the gateway: one function for each place
//! that reads them. Each panics if something does not hold, and stands beside what it checks.
//!
//! libFuzzer calls them with what it makes up (`fuzz/`), the ordinary tests with the seeds in `fuzz/seeds` and mutations of them. An input
//! is a line of options, which a check reads as it likes, and the bytes behind it. Nothing of this is in the gateway's binary.

#[cfg(test)]
mod tests;

use crate::{config::any_text, gateway::Gateway};

macro_rules! targets {
    ($($(#[$doc:meta])* $name:ident => $check:path;)*) => {
        $($(#[$doc])* pub fn $name(input: &[u8]) {
            let (options, bytes) = parts(input);
            $check(options, bytes);
        })*

        /// Every check under its name.
        pub const TARGETS: &[(&str, fn(&[u8]))] = &[$((stringify!($name), $name)),*];
    };
}

targets! {
    /// Headers and a body: only what one of our secrets signed is taken, and no refusal, explanation or display shows a secret.
    signature => crate::claimr::signature::any_bytes::check;
    /// A body: either events whose frames are sound, or a dead letter; what is JSON is what `serde_json` says, less documented exceptions.
    webhook => crate::claimr::payload::any_bytes::check;
    /// Tokens, tickets and key sets: only what our key signed is taken, and only for whom it names.
    token => crate::auth::any_bytes::check;
    /// A client's messages and the bytes of its WebSocket.
    client_frame => crate::transport::websocket::any_bytes::check;
    /// `Last-Event-ID`, and the query of a stream's URL.
    cursor => crate::http::any_query;
    /// Segments, records and indexes of the log on disk.
    log_record => crate::engine::disk::any_bytes::check;
    /// What comes over the bus between gateways: events, notices, words about sessions, dead letters.
    bus_message => crate::engine::nats::any_bytes::check;
    /// A configuration file and variables.
    configuration => parts_of_a_configuration;
    /// The bytes of an HTTP/1.1 connection: however they are cut, the verdict is the same.
    framing => crate::listener::any_bytes;
}

/// The first line, and what follows it.
fn parts(input: &[u8]) -> (&[u8], &[u8]) {
    let end = input.iter().position(|byte| *byte == b'\n').unwrap_or(input.len());
    (&input[..end], input.get(end + 1..).unwrap_or_default())
}

/// What has no mistake by itself may still not suit the parts of the gateway, which then say so.
fn parts_of_a_configuration(options: &[u8], text: &[u8]) {
    let Some(config) = any_text::check(options, text) else { return };
    for problem in Gateway::problems(&config) {
        assert!(!problem.setting.is_empty() && !problem.problem.is_empty());
        assert!(!problem.problem.contains(any_text::CANARY), "{}", problem.setting);
    }
}
