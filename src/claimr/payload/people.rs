//! Whom does an event concern? The user keys that a payload names, for the user and for the referrer.

use std::{borrow::Cow, fmt};

use super::json::{Node, Object, Value};
use crate::{
    config::mapping::{AccountPaths, Path},
    event::UserKey,
};

/// The most keys under which one person is addressed by one event; those found first count.
pub(super) const KEYS_MAX: usize = 64;

/// The platform of claimr's own user ids.
const CLAIMR: &str = "claimr";
const WEB3: &str = "web3";
const EMAIL: &str = "email";

/// Every key that `object` gives one person: claimr's id first, then the accounts in the order of their candidates; no repetitions.
/// A value that makes no user key (too long, empty, a fraction) is passed over.
pub(super) fn keys(object: &Object<'_>, claimr_id: &[Path], accounts: &[AccountPaths]) -> Vec<UserKey> {
    let mut keys = Vec::new();
    each_key(object, claimr_id, accounts, |key, _| add(&mut keys, Some(key)));
    keys
}

/// Which candidate found a key.
#[derive(Clone, Copy)]
pub(super) enum Origin<'p> {
    ClaimrId(&'p Path),
    Account(&'p AccountPaths),
}

/// `user.id`, `account+platform`, `user.logins[].account+platform`.
impl fmt::Display for Origin<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let paths = match self {
            Self::ClaimrId(path) => return f.write_str(path.as_str()),
            Self::Account(paths) => paths,
        };
        if let Some(list) = &paths.list {
            write!(f, "{}[].", list.as_str())?;
        }
        f.write_str(paths.account.as_str())?;
        paths.platform.as_ref().map_or(Ok(()), |platform| write!(f, "+{}", platform.as_str()))
    }
}

/// Tells of every key in the order of the candidates, also of those that were found before.
pub(super) fn each_key<'p>(
    object: &Object<'_>,
    claimr_id: &'p [Path],
    accounts: &'p [AccountPaths],
    mut found: impl FnMut(UserKey, Origin<'p>),
) {
    let own_id = |path| Some((UserKey::new(CLAIMR, &account(find(object, path)?)?).ok()?, path));
    if let Some((key, path)) = claimr_id.iter().find_map(own_id) {
        found(key, Origin::ClaimrId(path));
    }
    for paths in accounts {
        let mut tell = |object| key(object, paths).into_iter().for_each(|key| found(key, Origin::Account(paths)));
        match &paths.list {
            None => tell(object),
            Some(list) => {
                if let Some(Node { value: Value::List(items), .. }) = find(object, list) {
                    items.iter().filter_map(Node::object).for_each(tell);
                }
            }
        }
    }
}

fn add(keys: &mut Vec<UserKey>, key: Option<UserKey>) {
    if let Some(key) = key
        && keys.len() < KEYS_MAX
        && !keys.contains(&key)
    {
        keys.push(key);
    }
}

/// Makes one list of the keys of two people who turn out to be one.
pub(super) fn join(keys: &mut Vec<UserKey>, more: Vec<UserKey>) {
    for key in more {
        add(keys, Some(key));
    }
}

pub(super) fn key(object: &Object<'_>, paths: &AccountPaths) -> Option<UserKey> {
    let account = account(find(object, &paths.account)?)?;
    match paths.platform.as_ref().and_then(|path| find(object, path)) {
        Some(Node { value: Value::Text(platform), .. }) => return UserKey::new(platform, &account).ok(),
        // `null` says nothing; anything else says something that we do not understand, which is no reason to guess.
        Some(node) if node.raw != "null" => return None,
        _ => {}
    }
    match &paths.default_platform {
        Some(platform) => UserKey::new(platform, &account).ok(),
        None => by_form(&account),
    }
}

/// The key of an account that says itself what it is.
pub(super) fn by_form(account: &str) -> Option<UserKey> {
    if let Some(wallet) = UserKey::new(WEB3, account).ok().filter(is_evm_address) {
        return Some(wallet);
    }
    let (local, domain) = account.split_once('@')?;
    let no_address = |c: char| c.is_whitespace() || c.is_control() || matches!(c, ':' | '@');
    let plain = !local.is_empty() && !local.contains(no_address) && !domain.contains(no_address);
    let dotted = domain.split('.').count() > 1 && domain.split('.').all(|label| !label.is_empty());
    if plain && dotted { UserKey::new(EMAIL, account).ok() } else { None }
}

fn is_evm_address(key: &UserKey) -> bool {
    let digits = key.as_str().strip_prefix("web3:0x");
    digits.is_some_and(|d| d.len() == 40 && d.bytes().all(|b| b.is_ascii_hexdigit()))
}

/// An account or id as text. A number counts if every reader understands the same digits: an integer of at most 64 bits.
pub(super) fn account<'t>(node: &'t Node<'_>) -> Option<Cow<'t, str>> {
    match &node.value {
        Value::Text(text) => Some(Cow::Borrowed(text)),
        Value::Number if is_integer(node.raw) => Some(Cow::Borrowed(node.raw)),
        _ => None,
    }
}

fn is_integer(raw: &str) -> bool {
    raw != "-0" && (raw.parse::<u64>().is_ok() || raw.parse::<i64>().is_ok())
}

/// What stands at a path.
pub(super) fn find<'t, 'a>(object: &'t Object<'a>, path: &Path) -> Option<&'t Node<'a>> {
    let (last, way) = path.segments().split_last()?;
    way.iter().try_fold(object, |object, key| object.get(key)?.object())?.get(last)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Mapping;

    fn keys_of(body: &str) -> Vec<String> {
        let node = Node::parse(body).unwrap();
        let mapping = Mapping::default();
        let found = keys(node.object().unwrap(), &mapping.claimr_id, &mapping.accounts);
        found.iter().map(|key| key.as_str().to_owned()).collect()
    }

    const WALLET: &str = "0xAbC0000000000000000000000000000000000001";
    const KEY: &str = "web3:0xabc0000000000000000000000000000000000001";

    #[test]
    fn ids_come_in_many_spellings() {
        let long = "x".repeat(300);
        let table: [(String, &[&str]); 36] = [
            (r#"{"account":"42","platform":"acme"}"#.into(), &["acme:42"]),
            (r#"{"account":42,"platform":"acme"}"#.into(), &["acme:42"]),
            (r#"{"account":-7,"platform":"acme"}"#.into(), &["acme:-7"]),
            (r#"{"account":18446744073709551615,"platform":"acme"}"#.into(), &["acme:18446744073709551615"]),
            (r#"{"account":18446744073709551616,"platform":"acme"}"#.into(), &[]),
            (r#"{"account":42.0,"platform":"acme"}"#.into(), &[]),
            (r#"{"account":4e1,"platform":"acme"}"#.into(), &[]),
            (r#"{"account":-0,"platform":"acme"}"#.into(), &[]),
            (r#"{"account":true,"platform":"acme"}"#.into(), &[]),
            (r#"{"account":null,"platform":"acme"}"#.into(), &[]),
            (r#"{"account":"","platform":"acme"}"#.into(), &[]),
            (r#"{"account":["42"],"platform":"acme"}"#.into(), &[]),
            (r#"{"account":"42","platform":""}"#.into(), &[]),
            (r#"{"account":"42","platform":7}"#.into(), &[]),
            (format!(r#"{{"account":"{long}","platform":"acme"}}"#), &[]),
            // Without a platform only what shows its form counts.
            (r#"{"account":"42"}"#.into(), &[]),
            (r#"{"account":"42","platform":null}"#.into(), &[]),
            (format!(r#"{{"account":"{WALLET}"}}"#), &[KEY]),
            (format!(r#"{{"event_account":"eip155:137:{WALLET}"}}"#), &[KEY]),
            (format!(r#"{{"event_account":"{WALLET}0"}}"#), &[]),
            (r#"{"event_account":"a@example.com"}"#.into(), &["email:a@example.com"]),
            (r#"{"event_account":"@a:example.com"}"#.into(), &[]),
            (r#"{"event_account":"a@b"}"#.into(), &[]),
            (r#"{"event_account":"a@b@c.d"}"#.into(), &[]),
            (r#"{"event_account":"a b@c.d"}"#.into(), &[]),
            // Wallets in claimr's three spellings are one person.
            (format!(r#"{{"account":"{WALLET}","platform":"AbCd_123::web3","wallet":"eip155:{WALLET}"}}"#), &[KEY]),
            (
                r#"{"wallet":"7EcDhSYGxXyscszYEp35KHN8vvw3svAuLKTzXwCFLtV"}"#.into(),
                &["web3:7EcDhSYGxXyscszYEp35KHN8vvw3svAuLKTzXwCFLtV"],
            ),
            (r#"{"email":"A@example.com"}"#.into(), &["email:A@example.com"]),
            // claimr's id: the first candidate that is one.
            (r#"{"claimr_id":"A","user":{"id":"B"},"uid":"C","user_id":"D"}"#.into(), &["claimr:A"]),
            (r#"{"claimr_id":null,"user":{"id":""},"uid":1.5,"user_id":7}"#.into(), &["claimr:7"]),
            (r#"{"user":"B"}"#.into(), &[]),
            (r#"{"claimr_id":"AbCd_123::IjKl7890"}"#.into(), &["claimr:AbCd_123::IjKl7890"]),
            // Lists.
            (r#"{"logins":[{"account":1,"platform":"x"},7,{"account":"2"},{"account":"1","platform":"x"}]}"#.into(), &["x:1"]),
            (r#"{"user":{"accounts":[{"account":"1","platform":"x"}],"email":"e@f.g"}}"#.into(), &["email:e@f.g", "x:1"]),
            (r#"{"accounts":{"account":"1","platform":"x"}}"#.into(), &[]),
            // What is known of a referral's code is not whose it is.
            (r#"{"ref_id":"RfId0001","referrer_id":"IjKl7890"}"#.into(), &[]),
        ];
        for (body, expected) in table {
            assert_eq!(keys_of(&body), expected, "{body}");
        }
    }

    #[test]
    fn one_person_has_a_bounded_number_of_keys() {
        let logins: Vec<_> = (0..1_000).map(|i| format!(r#"{{"account":{i},"platform":"x"}}"#)).collect();
        let keys = keys_of(&format!(r#"{{"uid":"A","logins":[{}]}}"#, logins.join(",")));
        assert_eq!(keys.len(), KEYS_MAX);
        assert_eq!((keys[0].as_str(), keys[63].as_str()), ("claimr:A", "x:62"));
    }
}
