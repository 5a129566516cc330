//! See `claimr_relay::fuzzing::client_frame`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| claimr_relay::fuzzing::client_frame(input));
