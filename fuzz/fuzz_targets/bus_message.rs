//! See `claimr_relay::fuzzing::bus_message`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| claimr_relay::fuzzing::bus_message(input));
