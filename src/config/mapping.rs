//! Where in a source's payload each field stands.

/// Placeholder.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mapping {}
