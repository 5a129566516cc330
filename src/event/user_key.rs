//! `platform:account`, normalised: the one spelling under which a person is addressed and connected.
//!
//! claimr writes the same wallet as `eip155:0xabc…` on `web3`, as `0xABC…` on `<id>::web3` and as `0xabc…` on `web3`. Tokens
//! and payloads go through the same rules here, so that they meet. Nothing else is folded: base58 (Solana), claimr's own ids
//! and a customer's ids are case-sensitive, and two Unicode spellings are two people.

mod campaign;

use std::{borrow::Borrow, fmt, sync::Arc};

pub use campaign::InvalidCampaign;

/// One identity of one person: `web3:0xabc…`, `acme:42`, `discord:99`, `email:a@b.c`, `claimr:IjKl7890`; or a
/// [campaign](UserKey::of_campaign), to which an event can be addressed as to a person.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UserKey(Arc<str>);

impl UserKey {
    /// The longest key in bytes, after normalising.
    pub const BYTES_MAX: usize = 256;

    /// Normalises and joins a platform and an account.
    ///
    /// The platform loses a leading `<id>::`; the account loses `eip155:` or `eip155:<chain>:`, and is lower-cased if what is left
    /// is `0x` and hexadecimal digits.
    pub fn new(platform: &str, account: &str) -> Result<Self, InvalidUserKey> {
        let platform = platform.rsplit_once("::").map_or(platform, |(_, name)| name);
        let account = without_chain(account);
        if platform.is_empty() || account.is_empty() {
            return Err(InvalidUserKey::Empty);
        }
        // `acme` + `:web3:0xabc` reads like `acme::web3:0xabc`, claimr's way to write another user on another platform.
        if account.starts_with(':') {
            return Err(InvalidUserKey::AccountWithColonFirst);
        }
        // A colon here would let one platform speak for another's accounts: `a:b` + `c` and `a` + `b:c` read the same.
        if platform.contains(':') {
            return Err(InvalidUserKey::PlatformWithColon);
        }
        if is_null_address(account) {
            return Err(InvalidUserKey::NullAddress);
        }
        if platform.len() + 1 + account.len() > Self::BYTES_MAX {
            return Err(InvalidUserKey::TooLong);
        }
        let mut key = String::with_capacity(platform.len() + 1 + account.len());
        key.push_str(platform);
        key.push(':');
        if is_hex_address(account) {
            key.extend(account.chars().map(|c| c.to_ascii_lowercase()));
        } else {
            key.push_str(account);
        }
        Ok(Self(key.into()))
    }

    /// Reads `platform:account`, split at the first colon; a text without a colon is an account on `default_platform`.
    pub fn parse(text: &str, default_platform: Option<&str>) -> Result<Self, InvalidUserKey> {
        match (text.split_once(':'), default_platform) {
            (Some((platform, account)), _) => Self::new(platform, account),
            (None, Some(platform)) => Self::new(platform, text),
            (None, None) => Err(InvalidUserKey::NoPlatform),
        }
    }

    /// The normalised text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// `eip155:0xabc` and `eip155:137:0xabc` are the wallet `0xabc`.
fn without_chain(account: &str) -> &str {
    let mut account = account;
    while let Some(rest) = account.strip_prefix("eip155:") {
        account = match rest.split_once(':') {
            Some((chain, wallet)) if !chain.is_empty() && chain.bytes().all(|b| b.is_ascii_digit()) => wallet,
            _ => rest,
        };
    }
    account
}

fn is_hex_address(account: &str) -> bool {
    let digits = account.strip_prefix("0x").or_else(|| account.strip_prefix("0X"));
    digits.is_some_and(|d| !d.is_empty() && d.bytes().all(|b| b.is_ascii_hexdigit()))
}

/// `0x000…`, with which senders say that a person has no wallet. Taken as an identity it would make all of those people one.
fn is_null_address(account: &str) -> bool {
    is_hex_address(account) && account[2..].bytes().all(|b| b == b'0')
}

impl Borrow<str> for UserKey {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for UserKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for UserKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

/// Why a text names no user.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidUserKey {
    /// No platform, or no account.
    #[error("the platform or the account is empty")]
    Empty,
    /// The platform has a single colon in it.
    #[error("the platform has a colon in it")]
    PlatformWithColon,
    /// The account starts with a colon.
    #[error("the account starts with a colon")]
    AccountWithColonFirst,
    /// The account is the address of nobody, `0x000…`.
    #[error("0x000… is the address of nobody")]
    NullAddress,
    /// More than [`UserKey::BYTES_MAX`].
    #[error("longer than {} bytes", UserKey::BYTES_MAX)]
    TooLong,
    /// No colon, and no default platform is configured.
    #[error("it has no platform, and no default platform is configured")]
    NoPlatform,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn key(platform: &str, account: &str) -> String {
        UserKey::new(platform, account).map_or_else(|e| e.to_string(), |k| k.as_str().to_owned())
    }

    #[test]
    fn every_spelling_of_a_wallet_is_one_user() {
        for (platform, account) in
            [("web3", "eip155:0xAbC0"), ("web3", "eip155:137:0xABC0"), ("AbCd_123::web3", "0XABC0"), ("web3", "0xabc0")]
        {
            assert_eq!(key(platform, account), "web3:0xabc0");
        }
        for text in ["web3:eip155:0xABC0", "web3:eip155:1:0xABC0", "web3:0xabc0"] {
            assert_eq!(UserKey::parse(text, None).unwrap().as_str(), "web3:0xabc0", "{text}");
        }
    }

    #[test]
    fn nothing_else_is_folded() {
        let distinct = [
            "acme:Ab",
            "acme:ab",
            "acme:ab ",
            "acme:caf\u{e9}",
            "acme:cafe\u{301}",
            "web3:0xZZ",
            "web3:0xzz",
            "a:b:c",
            "ab:c",
            "solana:7EcDhSYGxXyscszYEp35KHN8vvw3svAuLKTzXwCFLtV",
            "email:A@b.c",
            "email:a@b.c",
        ];
        let keys: std::collections::HashSet<_> = distinct.iter().map(|t| UserKey::parse(t, None).unwrap()).collect();
        assert_eq!(keys.len(), distinct.len());
        assert_eq!(UserKey::new("a:b", "c"), Err(InvalidUserKey::PlatformWithColon));
        assert_eq!(UserKey::new("web3", "0x0000000000000000000000000000000000000000"), Err(InvalidUserKey::NullAddress));
        assert_eq!(UserKey::parse("acme::web3:0xabc", None), Err(InvalidUserKey::AccountWithColonFirst));
    }

    #[test]
    fn a_text_without_platform_needs_the_default() {
        assert_eq!(UserKey::parse("42", Some("acme")).unwrap().as_str(), "acme:42");
        assert_eq!(UserKey::parse("42", None), Err(InvalidUserKey::NoPlatform));
        assert_eq!(UserKey::parse(":42", None), Err(InvalidUserKey::Empty));
        assert_eq!(UserKey::parse("acme:", None), Err(InvalidUserKey::Empty));
        assert_eq!(UserKey::parse(&format!("a:{}", "x".repeat(255)), None), Err(InvalidUserKey::TooLong));
    }

    proptest! {
        #[test]
        fn normalising_twice_changes_nothing(text in "[a-z0-9:xX]{0,24}|.{0,40}") {
            if let Ok(key) = UserKey::parse(&text, Some("acme")) {
                prop_assert_eq!(UserKey::parse(key.as_str(), None), Ok(key));
            }
        }
    }
}
