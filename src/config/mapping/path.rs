//! A place in a payload, `campaign.id`; and the places that together name an account.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::event::UserKey;

/// Names of members from the outermost object inwards, joined by dots. Any text can be held; [`Path::problem`] says whether it is
/// a path, and one that is not finds nothing.
#[derive(Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(from = "String", into = "String")]
pub struct Path {
    text: Box<str>,
    segments: Box<[Box<str>]>,
}

impl Path {
    /// The longest path in bytes.
    pub const BYTES_MAX: usize = 256;
    /// The deepest path.
    pub const SEGMENTS_MAX: usize = 8;

    /// The path as it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The names of members, outermost first; none if the path is malformed.
    pub fn segments(&self) -> &[Box<str>] {
        &self.segments
    }

    /// Why the path can find nothing, if it cannot.
    pub fn problem(&self) -> Option<String> {
        Self::malformed(&self.text).map(|why| format!("{:?} {why}", shortened(&self.text)))
    }

    fn malformed(text: &str) -> Option<String> {
        if text.len() > Self::BYTES_MAX {
            return Some(format!("is longer than {} bytes", Self::BYTES_MAX));
        }
        if text.split('.').count() > Self::SEGMENTS_MAX {
            return Some(format!("has more than {} segments", Self::SEGMENTS_MAX));
        }
        if text.split('.').any(|segment| segment.trim() != segment || segment.is_empty()) {
            return Some("has an empty segment, or one with a space at its edge; write it like campaign.id".to_owned());
        }
        if text.contains(['[', ']', '/', '\\']) {
            return Some("has a bracket or a slash in it; write it like campaign.id".to_owned());
        }
        None
    }
}

/// A message about a path must not be as long as the path.
fn shortened(text: &str) -> String {
    text.chars().take(64).collect()
}

impl From<&str> for Path {
    fn from(text: &str) -> Self {
        let sound = Self::malformed(text).is_none();
        let segments = if sound { text.split('.').map(Into::into).collect() } else { Box::default() };
        Self { text: text.into(), segments }
    }
}

impl From<String> for Path {
    fn from(text: String) -> Self {
        text.as_str().into()
    }
}

impl From<Path> for String {
    fn from(path: Path) -> Self {
        path.text.into()
    }
}

impl fmt::Debug for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.text, f)
    }
}

/// Where one account, or a list of accounts, stands.
///
/// The platform is what `platform` finds; if it finds nothing, `default_platform`. Without either only an account that shows what it
/// is makes a key: `0x` and 40 hexadecimal digits a wallet (`web3:`), `a@b.c` an address (`email:`). Anything else is passed
/// over rather than guessed, because a wrong guess would address somebody else.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct AccountPaths {
    /// A list whose elements each hold an account; the other paths then start at the element.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub list: Option<Path>,
    /// The account: a string, or an integer.
    pub account: Path,
    /// The platform's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform: Option<Path>,
    /// The platform of an account whose payload names none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default_platform: Option<String>,
}

impl AccountPaths {
    /// An account without any platform.
    pub fn alone(account: &str) -> Self {
        Self { list: None, account: account.into(), platform: None, default_platform: None }
    }

    /// An account with its platform beside it.
    pub fn pair(account: &str, platform: &str) -> Self {
        Self { platform: Some(platform.into()), ..Self::alone(account) }
    }

    /// An account that is always on one platform.
    pub fn on(account: &str, platform: &str) -> Self {
        Self { default_platform: Some(platform.to_owned()), ..Self::alone(account) }
    }

    /// A list of accounts, each with its platform beside it.
    pub fn each(list: &str, account: &str, platform: &str) -> Self {
        Self { list: Some(list.into()), ..Self::pair(account, platform) }
    }

    /// Why it can find nothing, or nobody, if so.
    pub fn problem(&self) -> Option<String> {
        let paths = [self.list.as_ref(), Some(&self.account), self.platform.as_ref()];
        paths.into_iter().flatten().find_map(Path::problem).or_else(|| {
            let platform = self.default_platform.as_deref()?;
            let why = UserKey::new(platform, "0").err()?;
            Some(format!("default_platform {:?} makes no user key: {why}", shortened(platform)))
        })
    }
}
