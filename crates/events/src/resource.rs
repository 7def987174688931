//! What a bus or a rule says for itself when a request about it is authorized: the policy of the bus, tags, and which
//! account made a rule.

use std::sync::Arc;

use wire::{Arn, Keys, ResourceFacts};

use crate::Events;
use crate::names::{BusRef, rule_of_arn};
use crate::record::{bus_key, rule_key};

impl Events {
    /// By the ARN that is authorized. What is not there says nothing.
    pub(crate) fn facts(&self, resource: &Arn) -> ResourceFacts {
        if let Some(bus) = BusRef::of_arn(resource) {
            return self.bus_facts(&bus);
        }
        let Some((bus, rule)) = rule_of_arn(resource) else {
            return ResourceFacts::default();
        };
        let held = self.inner.rules.get(&rule_key(&bus, &rule));
        let keys = held.map_or_else(Keys::new, |held| {
            let mut keys = wire::tags::resource_tags(&held.record.tags);
            let creator = held.record.created_by.clone();
            keys.push(("events:creatorAccount".into(), vec![creator]));
            keys
        });
        ResourceFacts {
            policy: self.policy_of(&bus),
            keys,
        }
    }

    fn bus_facts(&self, bus: &BusRef) -> ResourceFacts {
        let held = self.inner.buses.get(&bus_key(bus));
        ResourceFacts {
            policy: self.policy_of(bus),
            keys: held.map_or_else(Keys::new, |held| {
                wire::tags::resource_tags(&held.record.tags)
            }),
        }
    }

    /// A bus's resource policy, for the authorizer.
    pub(crate) fn policy_of(&self, bus: &BusRef) -> Option<Arc<str>> {
        let held = self.inner.buses.get(&bus_key(bus))?;
        held.record.policy.as_deref().map(Arc::from)
    }
}
