//! Which rules of a bus an event matches: an index of patterns for each bus, kept as rules come and go.

use std::collections::HashMap;
use std::sync::{PoisonError, RwLock};

use crate::event::Event;
use crate::names::BusRef;
use crate::pattern::{self, Index, Pattern};
use crate::record::{RuleRecord, read_rule_key};

/// The patterns of all rules that are enabled.
#[derive(Default)]
pub(crate) struct Matcher {
    /// By the ARN of the bus; the ids are names of rules.
    buses: RwLock<HashMap<String, Index<String>>>,
}

impl Matcher {
    /// Takes note of a rule's record, or (`None`) of its removal.
    pub(crate) fn note(&self, key: &str, rule: Option<&RuleRecord>) {
        let Some((bus, name)) = read_rule_key(key) else {
            tracing::error!(key, "a rule has an odd key");
            return;
        };
        let pattern = rule.filter(|rule| rule.enabled());
        let pattern = pattern.and_then(|rule| rule.pattern.as_deref());
        let pattern = pattern.and_then(|text| match Pattern::parse(text) {
            Ok(pattern) => Some(pattern),
            Err(error) => {
                let why = error.reason();
                tracing::error!(
                    key,
                    why,
                    "a rule's pattern cannot be read; it matches nothing"
                );
                None
            }
        });
        let mut buses = self.buses.write().unwrap_or_else(PoisonError::into_inner);
        let index = buses.entry(bus.arn().to_string()).or_default();
        match pattern {
            Some(pattern) => index.add(name.to_owned(), pattern),
            None => {
                // One that was not there need not go.
                let _ = index.remove(&name.to_owned());
            }
        }
    }

    /// Whether a bus has any rule with a pattern.
    pub(crate) fn has_rules(&self, bus: &BusRef) -> bool {
        let buses = self.buses.read().unwrap_or_else(PoisonError::into_inner);
        let index = buses.get(bus.arn().as_str());
        index.is_some_and(|index| !index.is_empty())
    }

    /// The names of the rules that an event matches.
    pub(crate) fn matches(&self, bus: &BusRef, event: &Event) -> Vec<String> {
        let buses = self.buses.read().unwrap_or_else(PoisonError::into_inner);
        let Some(index) = buses.get(bus.arn().as_str()) else {
            return Vec::new();
        };
        match pattern::Event::parse(&event.document) {
            Ok(read) => index.matches(&read),
            Err(why) => {
                tracing::error!(id = event.id, %why, "an event cannot be read");
                Vec::new()
            }
        }
    }
}
