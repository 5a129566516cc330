//! See `claimr_relay::fuzzing::cursor`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| claimr_relay::fuzzing::cursor(input));
