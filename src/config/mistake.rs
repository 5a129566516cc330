//! What an operator has to mend: every mistake of a configuration, in words that say what to write instead.

use std::fmt;

/// All mistakes of a configuration, in the order of the file; never empty.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Mistakes(pub Vec<Mistake>);

/// One mistake. No field ever holds a secret, nor the content of a file or of a variable that a secret comes from.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Mistake {
    /// The setting, such as `sources[0].secrets[1]`.
    pub key: String,
    /// Where its value stands: `relay.toml:12`, `environment variable CLAIMR_RELAY__SERVER__LISTEN`, `default`, or `not set`.
    pub origin: String,
    /// What is wrong.
    pub problem: String,
    /// What to write instead.
    pub remedy: String,
}

impl std::error::Error for Mistakes {}

/// A paragraph for each mistake, set apart by empty lines.
impl fmt::Display for Mistakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.len() {
            1 => writeln!(f, "1 mistake in the configuration")?,
            count => writeln!(f, "{count} mistakes in the configuration")?,
        }
        self.0.iter().try_for_each(|mistake| write!(f, "\n{mistake}\n"))
    }
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "  {}  ({})\n      {}\n      -> {}", self.key, self.origin, self.problem, self.remedy)
    }
}

/// What is wrong with one value, before it is known which setting it belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Wrong {
    pub(super) problem: String,
    pub(super) remedy: String,
}

impl Wrong {
    pub(super) fn new(problem: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { problem: problem.into(), remedy: remedy.into() }
    }
}
