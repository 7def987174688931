//! What a function's tags ask of the engine, beside what AWS's own settings do.

use std::collections::BTreeMap;
use std::sync::Arc;

use engine::{FunctionSpec, NetworkPolicy};

use crate::error::Error;
use crate::{Config, Inner};

/// Whether environments are forks of a template without SnapStart. Not one of AWS's.
pub(crate) const TEMPLATE_TAG: &str = "mayfly:template";
/// End the key of a specification, so that no environment serves two wishes.
const INTERNET_SUFFIX: &str = "+internet";
const TEMPLATE_SUFFIX: &str = "+template";

/// What is to be had by tags.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Wishes {
    pub network: NetworkPolicy,
    pub template: bool,
}

impl Wishes {
    /// The key of a specification with these wishes.
    pub(crate) fn key_for(self, mut key: String) -> String {
        if self.network == NetworkPolicy::Internet {
            key += INTERNET_SUFFIX;
        }
        if self.template {
            key += TEMPLATE_SUFFIX;
        }
        key
    }
}

impl Config {
    /// What a function with these tags has.
    pub(crate) fn wishes_of(&self, tags: &BTreeMap<String, String>) -> Wishes {
        Wishes {
            network: self.network_of(tags),
            template: match tags.get(TEMPLATE_TAG).map(String::as_str) {
                None => self.templates,
                // Not understood is no template, which is what AWS does.
                Some(value) => value == "true",
            },
        }
    }

    /// Refuses tags of ours that mean nothing or would have no effect.
    pub(crate) fn check_own_tags(&self, tags: &BTreeMap<String, String>) -> Result<(), Error> {
        match tags.get(TEMPLATE_TAG).map(String::as_str) {
            None | Some("true" | "false") => self.check_internet_tag(tags),
            Some(_) => Err(Error::TemplateTag),
        }
    }
}

impl Inner {
    /// The same specification under other wishes.
    pub(crate) fn under(&self, spec: &Arc<FunctionSpec>, wishes: Wishes) -> Arc<FunctionSpec> {
        let had = Wishes {
            network: spec.network,
            template: spec.template,
        };
        if had == wishes {
            return Arc::clone(spec);
        }
        let plain = [TEMPLATE_SUFFIX, INTERNET_SUFFIX]
            .iter()
            .fold(spec.key.as_str(), |key, suffix| {
                key.strip_suffix(suffix).unwrap_or(key)
            });
        let spec = Arc::new(FunctionSpec {
            key: wishes.key_for(plain.to_owned()),
            network: wishes.network,
            template: wishes.template,
            ..FunctionSpec::clone(spec)
        });
        self.code.keep(&spec);
        spec
    }
}
