//! See `claimr_relay::fuzzing::framing`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| claimr_relay::fuzzing::framing(input));
