//! claimr-relay: arguments, allocator, signals; everything else is in the library.
fn main() {}
