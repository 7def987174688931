//! From policies to a decision (`IAM/latest/UserGuide/reference_policies_evaluation-logic.html`).

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use super::{Effect, Grant, Known, Policy, Principal};

/// One question: may this principal do this to that?
#[derive(Clone, Copy)]
pub struct Request<'a> {
    /// Who asks.
    pub principal: &'a Principal,
    /// The action, `service:Name`.
    pub action: &'a str,
    /// The resource's ARN, or `*` for actions without one.
    pub resource: &'a str,
    /// The account that owns the resource; for actions without a resource, the caller's.
    pub resource_account: &'a str,
    /// The facts that conditions and variables may ask for.
    pub context: &'a dyn Known,
    /// Whether the resource's own policy must name the principal, as role trust policies must; otherwise within one account
    /// an identity-based policy alone suffices.
    pub resource_policy_required: bool,
}

/// A policy under the name it is attached with.
#[derive(Debug, Clone)]
pub struct Attached {
    /// What logs and simulations call it.
    pub name: Arc<str>,
    /// The compiled document.
    pub policy: Arc<Policy>,
}

/// All policies that apply to a request.
#[derive(Debug, Clone, Copy, Default)]
pub struct Policies<'a> {
    /// Inline and managed policies of the user and their groups, or of the role.
    pub identity: &'a [Attached],
    /// The permissions boundary, if the user or role has one.
    pub boundary: Option<&'a Attached>,
    /// The session policies, if the session was made with any. An empty list allows nothing.
    pub session: Option<&'a [Attached]>,
    /// The policy of the resource, if it has one.
    pub resource: Option<&'a Attached>,
}

/// The kinds of policy a decision can come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PolicyKind {
    /// Of the user, group or role.
    Identity,
    /// Of the resource.
    Resource,
    /// Of the role that is to be assumed.
    Trust,
    /// The permissions boundary.
    Boundary,
    /// Handed to STS with the session.
    Session,
}

impl PolicyKind {
    /// As AWS names it in denials (`IAM/latest/UserGuide/troubleshoot_access-denied.html`).
    fn phrase(self) -> &'static str {
        match self {
            Self::Identity => "identity-based policy",
            Self::Resource => "resource-based policy",
            Self::Trust => "role trust policy",
            Self::Boundary => "permissions boundary",
            Self::Session => "session policy",
        }
    }
}

impl fmt::Display for PolicyKind {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.phrase())
    }
}

/// The statement that decided, or one that applied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Matched {
    /// The kind of its policy.
    pub kind: PolicyKind,
    /// Its policy's name.
    pub policy: Arc<str>,
    /// Its `Sid`.
    pub sid: Option<Arc<str>>,
    /// What it says.
    pub effect: Effect,
    /// Where it stands in the document, in bytes.
    pub span: Range<usize>,
}

/// Why a request is allowed or denied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Why {
    /// A statement allows it and nothing denies it.
    Allowed(Matched),
    /// The root user needs no policy within its own account.
    Root,
    /// A statement denies it.
    ExplicitDeny(Matched),
    /// No policy of this kind allows it, and one would have to.
    ImplicitDeny(PolicyKind),
}

/// The answer to a [`Request`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// Which policy decided, and how.
    pub why: Why,
}

impl Decision {
    /// Whether the request may go on.
    pub fn allowed(&self) -> bool {
        matches!(self.why, Why::Allowed(_) | Why::Root)
    }

    /// AWS's sentence for a denial; `None` when allowed. Anonymous callers go by "anonymous", as AWS calls them.
    pub fn denial(&self, principal_arn: &str, action: &str, resource: &str) -> Option<String> {
        let reason = match &self.why {
            Why::Allowed(_) | Why::Root => return None,
            Why::ExplicitDeny(matched) => {
                let article = if matched.kind == PolicyKind::Identity {
                    "an"
                } else {
                    "a"
                };
                format!("with an explicit deny in {article} {}", matched.kind)
            }
            Why::ImplicitDeny(kind) => format!("because no {kind} allows the {action} action"),
        };
        Some(format!(
            "User: {principal_arn} is not authorized to perform: {action} on resource: {resource} {reason}"
        ))
    }
}

/// Decides one request.
pub fn evaluate(request: &Request<'_>, policies: &Policies<'_>) -> Decision {
    Decision {
        why: decide(request, policies),
    }
}

fn decide(request: &Request<'_>, policies: &Policies<'_>) -> Why {
    let action = request.action.to_ascii_lowercase();
    let scan = |kind, attached: &[Attached]| Scan::of(kind, attached, request, &action);
    let resource_kind = if request.resource_policy_required {
        PolicyKind::Trust
    } else {
        PolicyKind::Resource
    };

    let identity = scan(PolicyKind::Identity, policies.identity);
    let boundary = policies
        .boundary
        .map(|boundary| scan(PolicyKind::Boundary, std::slice::from_ref(boundary)));
    let session = policies
        .session
        .map(|session| scan(PolicyKind::Session, session));
    let resource = policies
        .resource
        .map(|resource| scan(resource_kind, std::slice::from_ref(resource)))
        .unwrap_or_default();

    let scans = [
        Some(&identity),
        Some(&resource),
        boundary.as_ref(),
        session.as_ref(),
    ];
    if let Some(deny) = scans
        .into_iter()
        .flatten()
        .find_map(|scan| scan.deny.clone())
    {
        return Why::ExplicitDeny(deny);
    }
    let limits = Limits {
        boundary: boundary.as_ref(),
        session: session.as_ref(),
    };
    let Some(account) = request.principal.account() else {
        // Services, other providers' users and strangers have no identity-based policies.
        return resource
            .allow
            .map_or(Why::ImplicitDeny(resource_kind), |(allow, _)| {
                Why::Allowed(allow)
            });
    };
    if account != request.resource_account {
        return cross_account(
            request.principal,
            identity,
            resource,
            &limits,
            resource_kind,
        );
    }
    if matches!(request.principal, Principal::Root { .. }) && !request.resource_policy_required {
        return limits.session_allows().map_or(Why::Root, Why::ImplicitDeny);
    }
    same_account(request, identity, resource, &limits, resource_kind)
}

/// Within one account the identity's or the resource's policy suffices.
fn same_account(
    request: &Request<'_>,
    identity: Scan,
    resource: Scan,
    limits: &Limits<'_>,
    resource_kind: PolicyKind,
) -> Why {
    let delegated = match resource.allow {
        // "Resource-based policies that grant permissions to an IAM user ARN or a role session ARN are not limited by an
        // implicit deny in a permissions boundary or session policy" (reference_policies_evaluation-logic, single account).
        Some((allow, Grant::Direct)) => return Why::Allowed(allow),
        Some((allow, Grant::Role)) => {
            return limits
                .missing()
                .map_or(Why::Allowed(allow), Why::ImplicitDeny);
        }
        Some((_, Grant::Account)) => true,
        None => false,
    };
    if request.resource_policy_required && !delegated {
        return Why::ImplicitDeny(resource_kind);
    }
    match identity.allow {
        None => Why::ImplicitDeny(PolicyKind::Identity),
        Some((allow, _)) => limits
            .missing()
            .map_or(Why::Allowed(allow), Why::ImplicitDeny),
    }
}

/// Across accounts both sides must agree: the trusted account's identity, and the trusting account's resource
/// (`IAM/latest/UserGuide/reference_policies_evaluation-logic-cross-account.html`).
fn cross_account(
    who: &Principal,
    identity: Scan,
    resource: Scan,
    limits: &Limits<'_>,
    resource_kind: PolicyKind,
) -> Why {
    let own_side = match (who, identity.allow) {
        (Principal::Root { .. }, _) => limits.session_allows(),
        (_, None) => Some(PolicyKind::Identity),
        (_, Some(_)) => limits.missing(),
    };
    match (own_side, resource.allow) {
        (Some(kind), _) => Why::ImplicitDeny(kind),
        (None, None) => Why::ImplicitDeny(resource_kind),
        (None, Some((allow, _))) => Why::Allowed(allow),
    }
}

/// What the policies of one kind say.
#[derive(Debug, Default)]
struct Scan {
    deny: Option<Matched>,
    /// The most direct of the statements that allow.
    allow: Option<(Matched, Grant)>,
}

impl Scan {
    fn of(kind: PolicyKind, attached: &[Attached], request: &Request<'_>, action: &str) -> Self {
        let mut scan = Self::default();
        for one in attached {
            for statement in &one.policy.statements {
                let better = match (statement.effect, &scan.allow) {
                    (Effect::Deny, _) => true,
                    (Effect::Allow, Some((_, grant))) => *grant < Grant::Direct,
                    (Effect::Allow, None) => true,
                };
                if !better {
                    continue;
                }
                let Some(grant) = statement.applies(request, action) else {
                    continue;
                };
                match statement.effect {
                    Effect::Deny => {
                        scan.deny = Some(matched(kind, one, statement));
                        return scan;
                    }
                    Effect::Allow
                        if scan.allow.as_ref().is_none_or(|(_, known)| *known < grant) =>
                    {
                        scan.allow = Some((matched(kind, one, statement), grant));
                    }
                    Effect::Allow => {}
                }
            }
        }
        scan
    }
}

/// The kinds of policy that only limit.
struct Limits<'a> {
    boundary: Option<&'a Scan>,
    session: Option<&'a Scan>,
}

impl Limits<'_> {
    /// The first limiting kind that does not allow.
    fn missing(&self) -> Option<PolicyKind> {
        match self.boundary {
            Some(Scan { allow: None, .. }) => Some(PolicyKind::Boundary),
            _ => self.session_allows(),
        }
    }

    /// The root user has no boundary, but a federated session of it has session policies.
    fn session_allows(&self) -> Option<PolicyKind> {
        matches!(self.session, Some(Scan { allow: None, .. })).then_some(PolicyKind::Session)
    }
}

/// Every statement of these policies that applies to the request, for simulations.
pub fn matching(kind: PolicyKind, attached: &[Attached], request: &Request<'_>) -> Vec<Matched> {
    let action = request.action.to_ascii_lowercase();
    let statements = attached.iter().flat_map(|one| {
        one.policy
            .statements
            .iter()
            .map(move |statement| (one, statement))
    });
    statements
        .filter(|(_, statement)| statement.applies(request, &action).is_some())
        .map(|(one, statement)| matched(kind, one, statement))
        .collect()
}

fn matched(kind: PolicyKind, one: &Attached, statement: &super::Statement) -> Matched {
    Matched {
        kind,
        policy: one.name.clone(),
        sid: statement.sid.clone(),
        effect: statement.effect,
        span: statement.span.clone(),
    }
}
