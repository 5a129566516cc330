//! Where an event stands in the log, and the cursor by which a client names that place.

use std::{fmt, str::FromStr};

/// Names one log for ever: a new log draws a new epoch, so that a cursor of another log is recognised.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Epoch([u8; Epoch::LEN]);

impl Epoch {
    const LEN: usize = 10;
    /// Crockford's base 32: no letter that looks like another.
    const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";

    /// An epoch from 50 of the given random bits.
    pub fn from_random(bits: u64) -> Self {
        let mut text = [0; Self::LEN];
        for (i, letter) in text.iter_mut().enumerate() {
            *letter = Self::ALPHABET[usize::from((bits >> (5 * i)).to_le_bytes()[0] & 31)];
        }
        Self(text)
    }

    /// The epoch as text: ten characters, none of which needs escaping in JSON, in a URL or in SSE.
    pub fn as_str(&self) -> &str {
        // Only letters of the alphabet get in.
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

impl FromStr for Epoch {
    type Err = InvalidCursor;

    fn from_str(text: &str) -> Result<Self, InvalidCursor> {
        let letters: [u8; Self::LEN] = text.as_bytes().try_into().map_err(|_| InvalidCursor)?;
        if letters.iter().all(|l| Self::ALPHABET.contains(l)) { Ok(Self(letters)) } else { Err(InvalidCursor) }
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A place in one log. Its text, `<epoch>:<seq>`, is the event's id and the client's cursor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Position {
    /// Which log.
    pub epoch: Epoch,
    /// The event's number there: the first is 1, and 0 is the place before it.
    pub seq: u64,
}

impl Position {
    /// A place in no log. Who resumes from it is told of a gap, always.
    pub const NOWHERE: Self = Self { epoch: Epoch([Epoch::ALPHABET[0]; Epoch::LEN]), seq: 0 };
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.epoch, self.seq)
    }
}

impl FromStr for Position {
    type Err = InvalidCursor;

    /// Takes exactly what [`Position`] prints: no sign, no leading zero, no space.
    fn from_str(text: &str) -> Result<Self, InvalidCursor> {
        let (epoch, digits) = text.split_once(':').ok_or(InvalidCursor)?;
        let canonical = digits.bytes().all(|b| b.is_ascii_digit()) && (digits == "0" || !digits.starts_with('0'));
        if !canonical {
            return Err(InvalidCursor);
        }
        Ok(Self { epoch: epoch.parse()?, seq: digits.parse().map_err(|_| InvalidCursor)? })
    }
}

/// The text is not a cursor that any log of ours could have given out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a cursor")]
pub struct InvalidCursor;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_printed_position_reads_back(bits: u64, seq: u64) {
            let position = Position { epoch: Epoch::from_random(bits), seq };
            prop_assert_eq!(position.to_string().parse(), Ok(position));
        }

        #[test]
        fn what_is_read_prints_the_same(text in "[0-9a-z]{9,11}:[+-]?[0-9]{0,21}") {
            if let Ok(position) = text.parse::<Position>() {
                prop_assert_eq!(position.to_string(), text);
            }
        }

        #[test]
        fn no_text_panics(text in ".*") {
            let _ = text.parse::<Position>();
        }
    }

    #[test]
    fn strange_cursors_are_refused() {
        let longest = "9".repeat(10_240);
        for text in [
            "",
            "1:",
            ":1",
            "-1",
            "18446744073709551616",
            &longest,
            "\0",
            "é:1",
            "azNmOToxMDQy",
            "0123456789:18446744073709551616",
            "0123456789:01",
            "0123456789:+1",
            "0123456789:-1",
            "0123456789: 1",
            "0123456789:1\n",
            "012345678l:1",
            "0123456789:",
            "0123456789",
        ] {
            assert_eq!(text.parse::<Position>(), Err(InvalidCursor), "{text:?}");
        }
    }
}
