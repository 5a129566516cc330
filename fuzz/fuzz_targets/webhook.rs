//! See `claimr_relay::fuzzing::webhook`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| claimr_relay::fuzzing::webhook(input));
