//! The policy language: documents, and what they say about a request.
//!
//! A document is parsed strictly and compiled once; evaluation then never parses, recurses or fails. An explicit deny
//! anywhere wins, everything not allowed is denied, and a decision says which kind of policy made it.
//! Nothing here knows where policies are kept or who is attached to what: [`evaluate`] is given both.

mod condition;
mod context;
mod document;
mod error;
mod evaluate;
mod glob;
mod principal;
mod value;

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::Arc;

use condition::Condition;
pub use context::{Context, Known};
pub use error::PolicyError;
pub use evaluate::{
    Attached, Decision, Matched, Policies, PolicyKind, Request, Why, evaluate, matching,
};
use glob::{Answer, Pattern};
pub use principal::Principal;
use principal::{Grant, Principals};

/// The longest document IAM takes from the wire (`policyDocumentType`). Smaller quotas depend on where it is attached.
pub const DOCUMENT_BYTES_MAX: usize = 131_072;

/// Keys whose conditions make a statement for everyone one for a few.
const NARROWING: &[&str] = &[
    "aws:principalaccount",
    "aws:principalarn",
    "aws:principalorgid",
    "aws:principalorgpaths",
    "aws:sourceaccount",
    "aws:sourcearn",
    "aws:sourceip",
    "aws:sourceorgid",
    "aws:sourceowner",
    "aws:sourcevpc",
    "aws:sourcevpce",
    "aws:userid",
    "s3:dataaccesspointaccount",
    "s3:dataaccesspointarn",
];

/// What a document is for; each has elements that it must or must not have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flavour {
    /// A managed policy, also as a permissions boundary: version 2012-10-17 only.
    Managed,
    /// A policy inside a user, group or role, or handed to STS for one session.
    Inline,
    /// A policy on a resource: names its principals.
    Resource,
    /// A role's trust policy: names who may assume it, and is its own resource.
    Trust,
}

/// A compiled policy document.
#[derive(Debug, Clone)]
pub struct Policy {
    id: Option<String>,
    statements: Vec<Statement>,
}

impl Policy {
    /// Reads and compiles a document. Never panics, and takes time in proportion to the text.
    ///
    /// # Errors
    /// [`PolicyError`], with the sentence AWS answers, for anything but a valid document of this flavour.
    pub fn parse(text: &str, flavour: Flavour) -> Result<Self, PolicyError> {
        document::parse(text, flavour)
    }

    /// The document's `Id`.
    pub fn id(&self) -> Option<&str> {
        self.id.as_deref()
    }

    /// The `Sid` of each statement, in order.
    pub fn sids(&self) -> impl Iterator<Item = Option<&str>> {
        self.statements
            .iter()
            .map(|statement| statement.sid.as_deref())
    }

    /// Every context key that conditions and variables read, in lower case.
    pub fn context_keys(&self) -> BTreeSet<&str> {
        self.statements.iter().flat_map(Statement::keys).collect()
    }

    /// Whether a statement allows something to everyone, and no condition narrows that to known principals or networks
    /// (AmazonS3/latest/userguide/access-control-block-public-access.html, "The meaning of public").
    pub fn is_public(&self) -> bool {
        self.statements.iter().any(|statement| {
            let everyone = statement
                .principals
                .as_ref()
                .is_some_and(Principals::is_everyone);
            let narrowed = statement
                .conditions
                .iter()
                .flat_map(Condition::keys)
                .any(|key| NARROWING.contains(&key.to_ascii_lowercase().as_str()));
            statement.effect == Effect::Allow && everyone && !narrowed
        })
    }

    /// The user, role and session ARNs named as principals.
    pub fn principal_arns(&self) -> impl Iterator<Item = &str> {
        self.statements
            .iter()
            .filter_map(|statement| statement.principals.as_ref())
            .flat_map(Principals::arns)
    }
}

/// The characters IAM counts against its quotas: "IAM does not count white space when calculating the size of a policy"
/// (`IAM/latest/UserGuide/reference_iam-quotas.html`).
pub fn size_without_white_space(text: &str) -> usize {
    text.chars().filter(|char| !char.is_whitespace()).count()
}

/// What a statement does when it applies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// Permits, unless something denies.
    Allow,
    /// Forbids, whatever else permits.
    Deny,
}

#[derive(Debug, Clone)]
struct Statement {
    sid: Option<Arc<str>>,
    effect: Effect,
    /// Present in resource-based and trust policies only.
    principals: Option<Principals>,
    actions: Actions,
    /// Absent in trust policies only.
    resources: Option<Resources>,
    conditions: Vec<Condition>,
    /// Where in the document it stands, for simulations.
    span: Range<usize>,
}

#[derive(Debug, Clone)]
struct Actions {
    patterns: Vec<Pattern>,
    not: bool,
}

#[derive(Debug, Clone)]
struct Resources {
    patterns: Vec<Pattern>,
    not: bool,
}

impl Statement {
    /// Whether the statement applies, and how directly it names who asks.
    fn applies(&self, request: &Request<'_>, action: &str) -> Option<Grant> {
        if !self.actions.cover(action, request.context) {
            return None;
        }
        let grant = match &self.principals {
            Some(principals) => principals.grant(request.principal, self.effect)?,
            None => Grant::Direct,
        };
        let here = self
            .resources
            .as_ref()
            .is_none_or(|resources| resources.cover(request, self.effect));
        let holds = here
            && self
                .conditions
                .iter()
                .all(|condition| condition.holds(request.context, self.effect));
        holds.then_some(grant)
    }

    fn keys(&self) -> impl Iterator<Item = &str> {
        let resources = self
            .resources
            .iter()
            .flat_map(|resources| &resources.patterns)
            .flat_map(Pattern::keys);
        self.conditions
            .iter()
            .flat_map(Condition::keys)
            .chain(resources)
    }
}

impl Actions {
    fn cover(&self, lower_case_action: &str, context: &dyn Known) -> bool {
        let named = self
            .patterns
            .iter()
            .any(|pattern| pattern.matches(lower_case_action, context) == Answer::Yes);
        named != self.not
    }
}

impl Resources {
    /// A pattern with an unresolved variable names nothing. Under `NotResource` that would widen the statement: an `Allow`
    /// then does not apply at all.
    fn cover(&self, request: &Request<'_>, effect: Effect) -> bool {
        let mut unresolved = false;
        for pattern in &self.patterns {
            match pattern.matches(request.resource, request.context) {
                Answer::Yes => return !self.not,
                Answer::No => {}
                Answer::Unresolved => unresolved = true,
            }
        }
        self.not && !(unresolved && effect == Effect::Allow)
    }
}
