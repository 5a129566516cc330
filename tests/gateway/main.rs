//! Everything that is tested from outside the library, in one binary: one link instead of many.

mod cli;
mod engines;
