//! The name of a dead letter, as the operator uses it.

use std::{fmt, str::FromStr};

use data_encoding::HEXLOWER;

use super::first::letter_digest;
use crate::event::DeadLetter;

/// Names a dead letter by what it holds: the lane has no two that hold the same. Prints as 32 hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LetterId(pub(super) [u8; 16]);

impl LetterId {
    /// The name of `letter`.
    pub fn of(letter: &DeadLetter) -> Self {
        Self(letter_digest(letter))
    }
}

impl fmt::Display for LetterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&HEXLOWER.encode(&self.0))
    }
}

/// A text is no name of a dead letter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the id of a dead letter is 32 hexadecimal digits")]
pub struct InvalidLetterId;

impl FromStr for LetterId {
    type Err = InvalidLetterId;

    fn from_str(text: &str) -> Result<Self, InvalidLetterId> {
        let bytes = HEXLOWER.decode(text.as_bytes()).map_err(|_| InvalidLetterId)?;
        bytes.try_into().map(Self).map_err(|_| InvalidLetterId)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_reads_as_it_prints() {
        let id = LetterId([0xab; 16]);
        assert_eq!(id.to_string().parse(), Ok(id));
        for text in ["", "ab", "AB", &"g".repeat(32), &"a".repeat(34)] {
            assert_eq!(text.parse::<LetterId>(), Err(InvalidLetterId), "{text:?}");
        }
    }
}
