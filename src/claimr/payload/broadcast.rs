//! Which events everybody who follows a campaign hears of, by the source's rules.
//!
//! The people of an event are addressed first and see their own view; a broadcast is one more view of the same event, under the
//! campaign's key, with nothing in it that no rule names.

use super::{
    elements::{Element, first},
    json::{Node, Value},
    people::account,
    pointer::Pointer,
};
use crate::{
    config::{self, Mapping, Shown, mapping::Path},
    event::{EventType, UserKey},
};

/// A rule, ready to be applied.
pub(super) struct Rule {
    types: Box<[EventType]>,
    names: Box<[String]>,
    campaign: Box<[Path]>,
    show: Box<[Shown]>,
    pub(super) fields: Vec<Pointer>,
}

impl Rule {
    pub(super) fn new(rule: &config::Broadcast, mapping: &Mapping) -> Self {
        let campaign = if rule.campaign.is_empty() { &mapping.campaign_id } else { &rule.campaign };
        Self {
            types: rule.types.clone().into(),
            names: rule.names.clone().into(),
            campaign: campaign.clone().into(),
            show: rule.show.clone().into(),
            fields: rule.fields.iter().map(|text| Pointer::new(text)).collect(),
        }
    }

    pub(super) fn shows(&self, member: Shown) -> bool {
        self.show.contains(&member)
    }

    fn means(&self, element: &Element<'_, '_>, mapping: &Mapping) -> bool {
        let is_wanted = |name: &str| self.names.iter().any(|wanted| wanted == name);
        self.types.contains(&element.kind)
            && (self.names.is_empty() || first(&element.layers, &mapping.name, text).is_some_and(is_wanted))
    }
}

/// What the frame would have as its name.
fn text<'t>(node: &'t Node<'_>) -> Option<&'t str> {
    match &node.value {
        Value::Text(text) if !text.is_empty() => Some(text),
        _ => None,
    }
}

/// The rule that decides about an event, and the key of the campaign that hears of it. None if the payload names no campaign there: a later
/// rule may show more than the one that was meant.
pub(super) fn decide<'r>(rules: &'r [Rule], mapping: &Mapping, element: &Element<'_, '_>) -> Option<(&'r Rule, UserKey)> {
    let rule = rules.iter().find(|rule| rule.means(element, mapping))?;
    let key = first(&element.layers, &rule.campaign, |node| UserKey::of_campaign(&account(node)?).ok())?;
    Some((rule, key))
}
