//! See `claimr_relay::fuzzing::log_record`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| claimr_relay::fuzzing::log_record(input));
