//! See `claimr_relay::fuzzing::token`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| claimr_relay::fuzzing::token(input));
