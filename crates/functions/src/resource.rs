//! What a function or layer says for itself when a request about it is authorized: its own policy, and its tags.

use wire::{Arn, ResourceFacts};

use crate::Functions;
use crate::name::{LayerVersionRef, scope_of};

impl Functions {
    /// By the ARN that is authorized. What is not there says nothing.
    pub(crate) fn facts(&self, resource: &Arn) -> ResourceFacts {
        let about = match resource.resource().split_once(':') {
            Some(("function", name)) => self.function_facts(resource, name),
            Some(("layer", _)) => self.layer_facts(resource),
            _ => None,
        };
        about.unwrap_or_default()
    }

    /// A function has tags; it, its versions and its aliases each have a policy of their own.
    fn function_facts(&self, arn: &Arn, name: &str) -> Option<ResourceFacts> {
        let (name, qualifier) = name.split_once(':').unwrap_or((name, ""));
        let function = self.inner.functions.get(&scope_of(arn)?, name)?;
        Some(ResourceFacts {
            policy: function.policy(qualifier),
            keys: wire::tags::resource_tags(&function.record.tags),
        })
    }

    /// Of layers, versions have policies.
    fn layer_facts(&self, arn: &Arn) -> Option<ResourceFacts> {
        let layer = LayerVersionRef::of(arn)?;
        Some(ResourceFacts {
            policy: self.layer_policy(&layer.scope, &layer.name, layer.version),
            keys: Vec::new(),
        })
    }
}
