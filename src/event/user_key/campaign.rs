//! `campaign::<id>`: the keys that everybody who follows a campaign hears, beside their own.
//!
//! They live in the same log and the same hub as the keys of people, so cursors, retention and resuming know nothing of them. Nobody can
//! name one by accident or on purpose: no platform has a colon in it and no account starts with one, so [`UserKey::new`] and
//! [`UserKey::parse`] never make this text. Only whoever is known to mean a campaign calls [`UserKey::of_campaign`].

use super::{InvalidUserKey, UserKey};

/// What stands before the id.
const PREFIX: &str = "campaign::";

impl UserKey {
    /// The longest id of a campaign in bytes.
    pub const CAMPAIGN_BYTES_MAX: usize = 128;

    /// The key under which a campaign is heard. An id is 1 to 128 printable ASCII characters without a space, and counts as it is written.
    pub fn of_campaign(id: &str) -> Result<Self, InvalidCampaign> {
        let good = (1..=Self::CAMPAIGN_BYTES_MAX).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_graphic());
        if good { Ok(Self(format!("{PREFIX}{id}").into())) } else { Err(InvalidCampaign) }
    }

    /// The id of the campaign whose key this is; `None` if it is a person's.
    pub fn campaign(&self) -> Option<&str> {
        self.0.strip_prefix(PREFIX)
    }

    /// Reads what [`UserKey::as_str`] gave before, whether it was a person's or a campaign's. For what the gateway itself has written
    /// only: from outside, a campaign must not come as a user key.
    pub fn stored(text: &str) -> Result<Self, InvalidUserKey> {
        match text.strip_prefix(PREFIX) {
            Some(id) => Self::of_campaign(id).map_err(|_| InvalidUserKey::AccountWithColonFirst),
            None => Self::parse(text, None),
        }
    }
}

/// The text is no campaign's id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a campaign's id is 1 to {} printable ASCII characters without a space", UserKey::CAMPAIGN_BYTES_MAX)]
pub struct InvalidCampaign;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn hostile_ids_are_refused_and_odd_ones_are_themselves() {
        let long = "x".repeat(UserKey::CAMPAIGN_BYTES_MAX);
        for id in ["AbCd_123", "a::b", ":", "::", "campaign::x", "web3:0xABC0", "\"},{", "$x", "eip155:0xA", &long] {
            let key = UserKey::of_campaign(id).unwrap();
            assert_eq!((key.campaign(), UserKey::stored(key.as_str())), (Some(id), Ok(key.clone())), "{id}");
        }
        for id in ["", " ", "a b", "a\0", "a\r\nid: 9", "é", "\u{202e}a", "a\u{200b}", "\x7f", &format!("{long}x")] {
            assert_eq!(UserKey::of_campaign(id), Err(InvalidCampaign), "{id:?}");
        }
    }

    #[test]
    fn no_user_key_is_a_campaigns() {
        let ways = [
            UserKey::parse("campaign::x", None),
            UserKey::parse(":x", Some("campaign")),
            UserKey::parse("campaign::x", Some("campaign")),
            UserKey::parse("campaign:eip155::x", None),
            UserKey::new("campaign", ":x"),
            UserKey::new("campaign:", "x"),
            UserKey::new("campaign::", "x"),
            UserKey::new("a::campaign", ":x"),
            UserKey::new("", "campaign::x"),
            UserKey::new("campaign", "eip155:1::x"),
        ];
        for way in ways {
            assert!(way.is_err(), "{way:?}");
        }
        assert_eq!(UserKey::parse("campaign:x", None).unwrap().campaign(), None);
        assert_ne!(UserKey::parse("campaign:x", None).ok(), UserKey::of_campaign("x").ok());
    }

    proptest! {
        #[test]
        fn nothing_that_names_a_user_names_a_campaign(platform in "(campaign|[a-c:]){0,3}", account in "(eip155:|campaign|[a-c0-9:]){0,5}") {
            for key in [UserKey::new(&platform, &account), UserKey::parse(&account, Some(&platform)), UserKey::parse(&account, None)].into_iter().flatten() {
                prop_assert_eq!(key.campaign(), None);
                prop_assert_eq!(UserKey::stored(key.as_str()), Ok(key));
            }
        }
    }
}
