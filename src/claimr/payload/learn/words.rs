//! The words by which fields are known, in any spelling and at any depth.

use std::cmp::Reverse;

use super::{
    Account,
    scan::{Leaf, Scan},
};
use crate::{
    claimr::payload::{
        json::{Node, Object, Value, is_number},
        people,
    },
    config::{
        Mapping,
        mapping::{AccountPaths, Path},
    },
};

/// What a field's value has to be, for a word to mean the field.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    Text,
    Number,
    /// A text or an integer.
    Id,
    /// A text or a number.
    Any,
}

const FORMS: &[(&str, Form)] = &[
    ("scope", Form::Text),
    ("delivery_id", Form::Id),
    ("time", Form::Any),
    ("campaign_id", Form::Id),
    ("campaign_name", Form::Text),
    ("quest_id", Form::Id),
    ("quest_name", Form::Text),
    ("task_id", Form::Id),
    ("task_name", Form::Text),
    ("name", Form::Text),
    ("points", Form::Number),
    ("total_xp", Form::Number),
    ("ref_xp", Form::Number),
    ("ugc_xp", Form::Number),
    ("xp_mul", Form::Number),
    ("rank", Form::Number),
    ("ref_count", Form::Number),
    ("reward_id", Form::Id),
    ("reward_type", Form::Text),
    ("reward_name", Form::Text),
    ("referral_id", Form::Id),
    ("referral_name", Form::Text),
    ("claimr_id", Form::Id),
    ("referrer_claimr_id", Form::Id),
];

/// Words that mean something else wherever they stand inside of something.
const ONLY_OUTSIDE: &[&str] = &["id", "type", "kind", "date", "xp", "scope", "reward"];

/// One candidate of one field.
pub(super) struct Word {
    pub(super) field: &'static str,
    /// How early it comes among the field's candidates.
    pub(super) rank: usize,
    segments: Vec<String>,
    form: Form,
}

/// One candidate of one field that holds accounts.
struct AccountWord {
    field: &'static str,
    rank: usize,
    paths: AccountPaths,
}

/// All of them.
pub(super) struct Words {
    fields: Vec<Word>,
    accounts: Vec<AccountWord>,
}

impl Words {
    /// The words of `mapping`, and behind them those of the preset.
    pub(super) fn new(mapping: &Mapping) -> Self {
        let preset = Mapping::default();
        let all = [mapping, &preset].map(|mapping| serde_json::to_value(mapping).unwrap_or_default());
        let fields = FORMS.iter().flat_map(|(field, form)| {
            let candidates = all.iter().filter_map(|mapping| mapping[*field].as_array()).flatten();
            let words = candidates.filter_map(|path| path.as_str()).enumerate();
            words.map(|(rank, path)| Word { field, rank, segments: spelled(path.split('.')), form: *form })
        });
        let people = [
            ("accounts", [&mapping.accounts, &preset.accounts]),
            ("referrer_accounts", [&mapping.referrer_accounts, &preset.referrer_accounts]),
        ];
        let accounts = people.into_iter().flat_map(|(field, candidates)| {
            let paths = candidates.into_iter().flatten().cloned().enumerate();
            paths.map(move |(rank, paths)| AccountWord { field, rank, paths })
        });
        Self { fields: fields.collect(), accounts: accounts.collect() }
    }

    /// The field that a member is: the longest word decides.
    pub(super) fn field_of(&self, leaf: &Leaf<'_, '_>) -> Option<&Word> {
        let path = spelled(leaf.path.iter().copied());
        let fits = |word: &&Word| word.form.fits(leaf.node) && rest_before(&path, &word.segments, word.field).is_some();
        let better = |word: &&Word| (word.segments.len(), word.segments.len() == path.len(), Reverse(word.rank));
        self.fields.iter().filter(fits).max_by_key(better)
    }

    /// Every account in an event, with how early its word comes.
    pub(super) fn accounts(&self, object: &Object<'_>, scan: &Scan<'_, '_>) -> Vec<(Account, usize)> {
        let mut found: Vec<(Account, usize, usize)> = Vec::new();
        for AccountWord { field, rank, paths } in &self.accounts {
            let new: Vec<AccountPaths> = match &paths.list {
                Some(list) => in_lists(list, paths, field, scan),
                None => scan.leaves.iter().filter_map(|leaf| at(leaf, paths, field, object, &scan.leaves)).collect(),
            };
            let length = paths.account.segments().len() + paths.list.as_ref().map_or(0, |list| list.segments().len());
            for paths in new {
                let same = |(known, ..): &&mut (Account, usize, usize)| {
                    known.paths.account == paths.account && known.paths.list == paths.list
                };
                let account = Account { field, paths: paths.clone() };
                match found.iter_mut().find(same) {
                    // `referrer.wallet` is the referrer's, although it ends with `wallet`.
                    Some(known) if known.2 < length => *known = (account, *rank, length),
                    Some(_) => {}
                    None => found.push((account, *rank, length)),
                }
            }
        }
        found.into_iter().map(|(account, rank, _)| (account, rank)).collect()
    }
}

impl Form {
    fn fits(self, node: &Node<'_>) -> bool {
        let is_text = matches!(&node.value, Value::Text(text) if !text.is_empty());
        let is_a_number = matches!(node.value, Value::Number);
        match self {
            Self::Text => is_text,
            Self::Number => is_a_number || matches!(&node.value, Value::Text(text) if is_number(text)),
            Self::Id => people::account(node).is_some_and(|id| !id.is_empty()),
            Self::Any => is_text || is_a_number,
        }
    }
}

/// The account that a member is, with the platform beside it, if `paths` without their list mean it.
fn at(
    leaf: &Leaf<'_, '_>,
    paths: &AccountPaths,
    field: &str,
    object: &Object<'_>,
    leaves: &[Leaf<'_, '_>],
) -> Option<AccountPaths> {
    let around = rest_before(&spelled(leaf.path.iter().copied()), &spelled_path(&paths.account), field)?;
    let platform = paths.platform.as_ref().and_then(|platform| {
        let wanted: Vec<String> =
            spelled(leaf.path[..around].iter().copied()).into_iter().chain(spelled_path(platform)).collect();
        leaves.iter().find(|leaf| spelled(leaf.path.iter().copied()) == wanted).map(|leaf| Path::from(leaf.path.join(".")))
    });
    let account = Path::from(leaf.path.join("."));
    let found = AccountPaths { list: None, account, platform, default_platform: paths.default_platform.clone() };
    people::key(object, &found).map(|_| found)
}

fn in_lists(list: &Path, paths: &AccountPaths, field: &str, scan: &Scan<'_, '_>) -> Vec<AccountPaths> {
    let mut found = Vec::new();
    for (path, _, items) in &scan.lists {
        if rest_before(&spelled(path.iter().copied()), &spelled_path(list), field).is_none() {
            continue;
        }
        for item in *items {
            let Some(object) = item.object() else { continue };
            let inner = Scan::of(item, None);
            let accounts = inner.leaves.iter().filter_map(|leaf| at(leaf, paths, field, object, &inner.leaves));
            for account in accounts {
                let account = AccountPaths { list: Some(Path::from(path.join("."))), ..account };
                if !found.contains(&account) {
                    found.push(account);
                }
            }
        }
    }
    found
}

/// Accounts that no word names, but that show what they are: a wallet, an e-mail address.
pub(super) fn by_form(scan: &Scan<'_, '_>) -> Vec<Account> {
    let account = |leaf: &Leaf<'_, '_>| {
        let Value::Text(text) = &leaf.node.value else { return None };
        let platform = people::by_form(text)?.as_str().split(':').next()?.to_owned();
        let anybodys = !spelled(leaf.path.iter().copied()).iter().any(|segment| is_another(segment));
        let paths = AccountPaths::on(&leaf.path.join("."), &platform);
        anybodys.then_some(Account { field: "accounts", paths })
    };
    scan.leaves.iter().filter_map(account).collect()
}

/// How many segments stand before the word that a path ends with; `None` if it does not, or if the word means something else there.
fn rest_before(path: &[String], word: &[String], field: &str) -> Option<usize> {
    let around = path.len().checked_sub(word.len())?;
    let fits = path[around..] == *word && !word.is_empty();
    let elsewhere = around > 0 && word.len() == 1 && ONLY_OUTSIDE.contains(&word[0].as_str());
    let of_another = matches!(field, "accounts" | "claimr_id") && path[..around].iter().any(|segment| is_another(segment));
    (fits && !elsewhere && !of_another).then_some(around)
}

/// Words for somebody who is not the user.
fn is_another(segment: &str) -> bool {
    ["referr", "inviter", "invited_by"].iter().any(|start| segment.starts_with(start))
}

fn spelled_path(path: &Path) -> Vec<String> {
    spelled(path.segments().iter().map(AsRef::as_ref))
}

/// `campaignId`, `campaign-id` and `campaign_id` are one word.
fn spelled<'s>(segments: impl Iterator<Item = &'s str>) -> Vec<String> {
    segments.map(snake_case).collect()
}

fn snake_case(segment: &str) -> String {
    let mut out = String::with_capacity(segment.len() + 4);
    let mut after_lower = false;
    for c in segment.chars() {
        if c.is_uppercase() && after_lower {
            out.push('_');
        }
        after_lower = c.is_lowercase() || c.is_ascii_digit();
        out.extend(if c == '-' { '_' } else { c }.to_lowercase());
    }
    out
}
