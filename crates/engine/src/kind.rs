//! What slots have in common with the functions that fit them.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::launch::has_extensions;
use crate::parked::{Briefing, Call, Knowledge};
use crate::runtimes::Runtime;
use crate::spec::{FunctionSpec, NetworkPolicy};
use crate::templates::Template;
use crate::variables::binds_at_start;
use crate::zygotes::Zygotes;

/// What slots have in common with a function that fits them.
#[derive(Clone)]
pub(crate) struct Kind {
    pub(crate) runtime: Arc<Runtime>,
    pub(crate) network: NetworkPolicy,
    /// With an interpreter that waits.
    pub(crate) parked: bool,
    /// Which has loaded AWS's SDK.
    pub(crate) sdk: bool,
    /// Without it yet: what a fork that a call waits for finds ready.
    pub(crate) bare: bool,
    pub(crate) owner: Owner,
}

/// Whom the slots of a kind are for.
#[derive(Clone)]
pub(crate) enum Owner {
    Anybody,
    /// One version, whose files they have.
    Version(Arc<FunctionSpec>),
    /// One version, of whose template they are forks.
    Template(Arc<FunctionSpec>, Arc<Template>),
}

impl Kind {
    /// The slots that a function fits. What its own variables change when an interpreter starts cannot be parked.
    pub(crate) fn of(zygotes: &Zygotes, spec: &FunctionSpec) -> Kind {
        let variables = spec.platform_env.iter().chain(&spec.env);
        let parked = spec.runtime.waiting.is_some()
            && !variables.map(|(name, _)| name.as_str()).any(binds_at_start);
        Kind {
            runtime: spec.runtime.clone(),
            network: spec.network,
            parked,
            sdk: parked && zygotes.suits_sdk(spec),
            bare: false,
            owner: Owner::Anybody,
        }
    }

    /// Of the slots that a version fits, those that are furnished for it; one with a template needs none.
    pub(crate) fn furnished(&self, spec: &Arc<FunctionSpec>) -> Option<Kind> {
        (!spec.wants_template()).then(|| self.for_version(spec))
    }

    /// Of the slots that a version fits, those with its files.
    pub(crate) fn for_version(&self, spec: &Arc<FunctionSpec>) -> Kind {
        Kind {
            owner: Owner::Version(spec.clone()),
            ..self.clone()
        }
    }

    /// The forks of a version's template.
    pub(crate) fn of_template(spec: &Arc<FunctionSpec>, template: Arc<Template>) -> Kind {
        Kind {
            runtime: spec.runtime.clone(),
            network: spec.network,
            parked: true,
            sdk: false,
            bare: false,
            owner: Owner::Template(spec.clone(), template),
        }
    }

    /// The bare slots that its own can be made of, if forks can. They have no files of a version but a template's.
    pub(crate) fn bare(&self) -> Option<Kind> {
        let owner = match &self.owner {
            Owner::Version(_) => Owner::Anybody,
            other => other.clone(),
        };
        (self.parked && self.runtime.forks).then(|| Kind {
            bare: true,
            owner,
            ..self.clone()
        })
    }

    /// What the interpreter of a slot of this name is told, ahead or for a call.
    pub(crate) fn briefing(&self, name: &str, call: Option<Call<'_>>) -> Briefing {
        match (&self.owner, call) {
            (Owner::Version(spec), None) => Briefing::furnished(spec),
            // Extensions start before it does.
            (Owner::Version(spec), Some(_)) if has_extensions(spec) => {
                Briefing::none(Knowledge::Nothing)
            }
            (Owner::Version(spec), Some(_)) => {
                Briefing::whole(spec, name, call, Knowledge::Nothing)
            }
            (Owner::Anybody, _) => Briefing::none(Knowledge::Nothing),
            // Its template has them, or what init made of them.
            (Owner::Template(spec, template), _) if call.is_some() || template.resumes => {
                Briefing::whole(spec, name, call, Knowledge::Function)
            }
            (Owner::Template(..), _) => Briefing::none(Knowledge::Function),
        }
    }

    pub(crate) fn template(&self) -> Option<&Arc<Template>> {
        match &self.owner {
            Owner::Template(_, template) => Some(template),
            _ => None,
        }
    }

    /// The version whose files its slots have.
    pub(crate) fn version(&self) -> Option<&Arc<FunctionSpec>> {
        match &self.owner {
            Owner::Anybody => None,
            Owner::Version(spec) | Owner::Template(spec, _) => Some(spec),
        }
    }

    /// What one of its slots takes, as a multiple of what one takes whose process is forked: an interpreter that is
    /// executed shares nothing.
    pub(crate) fn weight(&self, zygotes: bool) -> usize {
        let forked = (zygotes && self.runtime.forks) || self.template().is_some();
        match self.parked && !self.bare && !forked {
            true => 4,
            false => 1,
        }
    }

    pub(crate) fn is_furnished(&self) -> bool {
        matches!(self.owner, Owner::Version(_))
    }

    pub(crate) fn is_retired(&self) -> bool {
        let template = self.template();
        template.is_some_and(|template| template.retired.load(Ordering::Acquire))
    }

    pub(crate) fn key(&self) -> String {
        let Kind {
            runtime,
            network,
            parked,
            sdk,
            bare,
            owner,
        } = self;
        match owner {
            Owner::Anybody => format!(
                "{}/{}/{network:?}/{parked}/{sdk}/{bare}",
                runtime.id, runtime.digest
            ),
            Owner::Version(spec) => format!("{VERSION_KEY}{}", spec.key),
            Owner::Template(spec, _) if *bare => format!("{BARE_KEY}{}", spec.key),
            Owner::Template(spec, _) => format!("{TEMPLATE_KEY}{}", spec.key),
        }
    }
}

/// What the keys of kinds that belong to a version begin with.
const VERSION_KEY: &str = "version:";
const TEMPLATE_KEY: &str = "template:";
const BARE_KEY: &str = "bare:";

/// Whether a kind's key is that of one of these versions.
pub(crate) fn is_of(key: &str, key_prefix: &str) -> bool {
    let version = key
        .strip_prefix(VERSION_KEY)
        .or_else(|| key.strip_prefix(TEMPLATE_KEY))
        .or_else(|| key.strip_prefix(BARE_KEY));
    version.is_some_and(|version| version.starts_with(key_prefix))
}
