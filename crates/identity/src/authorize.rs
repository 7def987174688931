//! [`Authorizer`] for every service: gathers the policies that apply to a caller, and the facts of the request.

use std::cell::LazyCell;
use std::sync::{Arc, LazyLock, PoisonError};

use wire::{AccountId, Arn, Ask, Authorizer, Caller, CallerKind, Context, Keys};

use crate::handle::LastUsed;
use crate::limits::{LAST_USED_MAX, RESOURCE_POLICIES_MAX};
use crate::policy::{
    Attached, Context as Facts, Decision, Flavour, Policies, Policy, Principal, Request, evaluate,
};
use crate::records::{Identified, Role, Tag, User};
use crate::session::{Session, Who};
use crate::state::Account;
use crate::{Identity, state};

/// How old a noted use may be before it is noted again; AWS's notes are coarser.
const USE_NOTED_MS: i64 = 60_000;

/// Stands for a boundary that no longer exists: it allows nothing.
static NOTHING: LazyLock<Attached> = LazyLock::new(|| {
    constant(
        "missing",
        r#"{"Version":"2012-10-17","Statement":{"Effect":"Deny","Action":"*","Resource":"*"}}"#,
        Flavour::Managed,
    )
});

/// Stands for a resource's policy that cannot be read: it may have held a denial.
static NOBODY: LazyLock<Attached> = LazyLock::new(|| {
    let text = r#"{"Version":"2012-10-17","Statement":{"Effect":"Deny","Principal":"*","Action":"*","Resource":"*"}}"#;
    constant("unreadable", text, Flavour::Resource)
});

fn constant(name: &str, text: &str, flavour: Flavour) -> Attached {
    let policy =
        Policy::parse(text, flavour).expect("a constant, read by every test that authorizes");
    Attached {
        name: name.into(),
        policy: Arc::new(policy),
    }
}

/// What the state says about a caller.
pub(crate) struct Standing {
    pub principal: Principal,
    /// The unique id of the user or role behind the caller.
    pub unique_id: Option<String>,
    pub identity: Vec<Attached>,
    pub boundary: Option<Attached>,
    pub session: Option<Vec<Attached>>,
    pub tags: Vec<Tag>,
    user_name: Option<String>,
}

impl Standing {
    fn bare(principal: Principal) -> Self {
        Self {
            principal,
            unique_id: None,
            identity: Vec::new(),
            boundary: None,
            session: None,
            tags: Vec::new(),
            user_name: None,
        }
    }

    pub fn policies<'a>(&'a self, resource: Option<&'a Attached>) -> Policies<'a> {
        Policies {
            identity: &self.identity,
            boundary: self.boundary.as_ref(),
            session: self.session.as_deref(),
            resource,
        }
    }
}

impl Authorizer for Identity {
    fn authorize(&self, cx: &Context, ask: &Ask<'_>) -> Result<(), String> {
        self.note_use(cx, ask.action);
        if let Some(why) = never(&cx.caller, ask) {
            let Caller { arn, .. } = &cx.caller;
            let Ask {
                action, resource, ..
            } = ask;
            return Err(format!(
                "User: {arn} is not authorized to perform: {action} on resource: {resource}: {why}"
            ));
        }
        let policy = ask.resource_policy.map(|text| self.compiled(text));
        let standing = self.standing(&cx.caller);
        let facts = LazyCell::new(|| facts(cx, &standing, ask.keys));
        let request = Request {
            principal: &standing.principal,
            action: ask.action,
            resource: ask.resource.as_str(),
            resource_account: &owner_of(ask, &cx.caller.account),
            context: &facts,
            resource_policy_required: false,
        };
        let decision = evaluate(&request, &standing.policies(policy.as_ref()));
        match decision.denial(&name_of(&cx.caller), ask.action, ask.resource.as_str()) {
            None => Ok(()),
            Some(sentence) => {
                tracing::debug!(why = ?decision.why, sentence, "denied");
                Err(sentence)
            }
        }
    }
}

impl Identity {
    /// Whether the caller may assume a role: the trust policy must name them, as the resource's policy of the role.
    pub(crate) fn decide_trust(
        &self,
        cx: &Context,
        standing: &Standing,
        role: &state::Held<Role>,
        action: &str,
        arn: &Arn,
        keys: &Keys,
    ) -> Decision {
        let principal = as_trusted(
            &standing.principal,
            standing.unique_id.as_deref(),
            &role.record,
        );
        let request = Request {
            principal: &principal,
            action,
            resource: arn.as_str(),
            resource_account: arn.account(),
            context: &LazyCell::new(|| facts(cx, standing, keys)),
            resource_policy_required: true,
        };
        evaluate(&request, &standing.policies(Some(&role.compiled.trust)))
    }

    /// The policies and tags of a caller. One whose user or role is gone has none.
    pub(crate) fn standing(&self, caller: &Caller) -> Standing {
        let session = caller
            .session
            .as_ref()
            .and_then(|session| session.downcast_ref::<Session>());
        self.0.book.look(&caller.account, |account| {
            let mut standing = standing(account, caller, session);
            if let Some(session) = session {
                add_session(account, &mut standing, session);
            }
            standing
        })
    }

    /// A resource's policy, compiled once. Services hand over the same text for every request.
    fn compiled(&self, text: &Arc<str>) -> Attached {
        let mut known = self
            .0
            .resource_policies
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(compiled) = known.get(text) {
            return compiled.clone().unwrap_or_else(|| NOBODY.clone());
        }
        let compiled = match Policy::parse(text, Flavour::Resource) {
            Ok(policy) => Some(Attached {
                name: "resource".into(),
                policy: Arc::new(policy),
            }),
            Err(error) => {
                tracing::error!(%error, "a resource's policy cannot be read; everyone is denied");
                None
            }
        };
        if known.len() >= RESOURCE_POLICIES_MAX {
            known.clear();
        }
        known.insert(text.clone(), compiled.clone());
        compiled.unwrap_or_else(|| NOBODY.clone())
    }

    fn note_use(&self, cx: &Context, action: &str) {
        let role = match cx.caller.kind {
            CallerKind::RoleSession => cx.caller.user_id.split(':').next(),
            _ => None,
        };
        let service = action.split(':').next().unwrap_or_default();
        let mut uses = self
            .0
            .last_used
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        // Sessions' own keys are not noted: their number has no limit.
        let key = cx
            .caller
            .session
            .is_none()
            .then_some(cx.caller.access_key_id.as_str());
        for id in [key, role].into_iter().flatten() {
            match uses.get_mut(id) {
                Some(known)
                    if cx.now_ms - known.at_ms < USE_NOTED_MS && known.service == service => {}
                _ => {
                    let used = LastUsed {
                        at_ms: cx.now_ms,
                        service: service.to_owned(),
                        region: cx.scope.region.to_string(),
                    };
                    if uses.len() >= LAST_USED_MAX {
                        uses.clear();
                    }
                    uses.insert(id.to_owned(), used);
                }
            }
        }
    }
}

/// What some credentials may never do, whatever the policies say.
fn never(caller: &Caller, ask: &Ask<'_>) -> Option<&'static str> {
    if ask.action == "iam:PassRole" && ask.resource.account() != &*caller.account {
        return Some("Cross-account pass role is not allowed.");
    }
    let session = caller.session.as_ref()?.downcast_ref::<Session>()?;
    // "You cannot call any IAM API operations unless MFA authentication information is included in the request. You cannot
    // call any AWS STS API except AssumeRole or GetCallerIdentity" (STS/latest/APIReference/API_GetSessionToken.html).
    let from_token = !matches!(session.claims.who, Who::Role { .. });
    let barred = ask.action.starts_with("iam:") || ask.action.starts_with("sts:");
    (from_token && barred).then_some("this needs long-term credentials or a role.")
}

/// The account whose policies decide about a resource. ARNs of AWS's managed policies do not say, nor do S3's, whose owner
/// is told beside them.
fn owner_of(ask: &Ask<'_>, caller: &AccountId) -> AccountId {
    let named = AccountId::new(ask.resource.account());
    ask.owner.or(named).unwrap_or(*caller)
}

/// How denials name the caller.
pub(crate) fn name_of(caller: &Caller) -> String {
    match &caller.kind {
        CallerKind::Anonymous => "anonymous".to_owned(),
        CallerKind::Service(name) => name.clone(),
        _ => caller.arn.to_string(),
    }
}

fn standing(account: &Account, caller: &Caller, session: Option<&Session>) -> Standing {
    let id = &caller.account;
    match &caller.kind {
        CallerKind::Anonymous => Standing::bare(Principal::Anonymous),
        CallerKind::Service(name) => Standing::bare(Principal::Service { name: name.clone() }),
        CallerKind::Root => Standing::bare(Principal::Root {
            account: id.to_string(),
        }),
        CallerKind::User => {
            let principal = Principal::User {
                account: id.to_string(),
                arn: caller.arn.to_string(),
            };
            let user = name_in(&caller.arn).and_then(|name| account.user(name).ok());
            match user.filter(|user| user.base.id == caller.user_id) {
                Some(user) => of_user(account, id, user, principal),
                None => Standing::bare(principal),
            }
        }
        CallerKind::RoleSession => {
            let role = match session.map(|session| &session.claims.who) {
                Some(Who::Role { id, name, .. }) => account
                    .get::<Role>(name)
                    .filter(|role| role.record.base.id == *id),
                _ => None,
            };
            let arn = role
                .map(|role| role.record.arn(id).to_string())
                .unwrap_or_default();
            let principal = Principal::Session {
                account: id.to_string(),
                role: arn,
                arn: caller.arn.to_string(),
            };
            match role {
                Some(role) => of_role(account, id, role, principal),
                None => Standing::bare(principal),
            }
        }
        CallerKind::FederatedUser => of_federated(account, id, caller, session),
    }
}

fn of_user(account: &Account, id: &AccountId, user: &User, principal: Principal) -> Standing {
    let mut identity = managed(account, id, &user.base);
    identity.extend(
        account
            .get::<User>(&user.base.name)
            .into_iter()
            .flat_map(|held| held.compiled.iter().cloned()),
    );
    for group in account.groups_of(user) {
        identity.extend(group.compiled.iter().cloned());
        identity.extend(managed(account, id, &group.record.base));
    }
    Standing {
        principal,
        unique_id: Some(user.base.id.clone()),
        identity,
        boundary: boundary(account, id, user.boundary.as_deref()),
        session: None,
        tags: user.tags.clone(),
        user_name: Some(user.base.name.clone()),
    }
}

fn of_role(
    account: &Account,
    id: &AccountId,
    role: &state::Held<Role>,
    principal: Principal,
) -> Standing {
    let mut identity = role.compiled.inline.clone();
    identity.extend(managed(account, id, &role.record.base));
    Standing {
        principal,
        unique_id: Some(role.record.base.id.clone()),
        identity,
        boundary: boundary(account, id, role.record.boundary.as_deref()),
        session: None,
        tags: role.record.tags.clone(),
        user_name: None,
    }
}

/// A federated session has its maker's policies, within session policies; without those it has nothing.
fn of_federated(
    account: &Account,
    id: &AccountId,
    caller: &Caller,
    session: Option<&Session>,
) -> Standing {
    let arn = caller.arn.to_string();
    let by = match session.map(|session| &session.claims.who) {
        Some(Who::Federated { id: by, .. }) => by.clone(),
        _ => return Standing::bare(Principal::Anonymous),
    };
    let Some(by) = by else {
        let principal = Principal::Federated {
            account: id.to_string(),
            user: Arn::root(id).to_string(),
            arn,
        };
        return Standing {
            identity: vec![EVERYTHING.clone()],
            ..Standing::bare(principal)
        };
    };
    let user = account
        .users
        .values()
        .map(|user| &user.record)
        .find(|user| user.base.id == by);
    let maker = user
        .map(|user| user.arn(id).to_string())
        .unwrap_or_default();
    let principal = Principal::Federated {
        account: id.to_string(),
        user: maker,
        arn,
    };
    match user {
        Some(user) => Standing {
            user_name: None,
            ..of_user(account, id, user, principal)
        },
        None => Standing::bare(principal),
    }
}

/// What the root user hands to a federated session: everything, which session policies then limit.
static EVERYTHING: LazyLock<Attached> = LazyLock::new(|| {
    constant(
        "root",
        r#"{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"*","Resource":"*"}}"#,
        Flavour::Managed,
    )
});

fn add_session(account: &Account, standing: &mut Standing, session: &Session) {
    let claims = &session.claims;
    let limited = claims.policies.is_some() || !claims.policy_arns.is_empty();
    if limited || matches!(claims.who, Who::Federated { .. }) {
        let managed = claims
            .policy_arns
            .iter()
            .filter_map(|arn| account.attachable(&session.account, arn));
        standing.session = Some(session.inline.iter().cloned().chain(managed).collect());
    }
    for tag in &claims.tags {
        // "Session tags override the role's tags with the same key" (IAM/latest/UserGuide/id_session-tags.html).
        standing
            .tags
            .retain(|own| !own.key.eq_ignore_ascii_case(&tag.key));
        standing.tags.push(tag.clone());
    }
}

fn managed(account: &Account, id: &AccountId, base: &Identified) -> Vec<Attached> {
    base.attached
        .iter()
        .filter_map(|arn| account.attachable(id, arn))
        .collect()
}

pub(crate) fn boundary(account: &Account, id: &AccountId, arn: Option<&str>) -> Option<Attached> {
    arn.map(|arn| {
        account
            .attachable(id, arn)
            .unwrap_or_else(|| NOTHING.clone())
    })
}

fn name_in(arn: &Arn) -> Option<&str> {
    arn.resource().rsplit('/').next()
}

/// A trust policy means the user or role that had the ARN when the policy was written. To it, one made anew under the
/// same name goes by its unique id.
fn as_trusted(principal: &Principal, unique_id: Option<&str>, role: &Role) -> Principal {
    let renamed = |arn: &String| match (role.trusted_ids.get(arn), unique_id) {
        (Some(trusted), Some(own)) if trusted != own => own.to_owned(),
        _ => arn.clone(),
    };
    match principal {
        Principal::User { account, arn } => Principal::User {
            account: account.clone(),
            arn: renamed(arn),
        },
        Principal::Session { account, role, arn } => Principal::Session {
            account: account.clone(),
            role: renamed(role),
            arn: arn.clone(),
        },
        other => other.clone(),
    }
}

/// The global condition keys (`IAM/latest/UserGuide/reference_policies_condition-keys.html`), and the operation's own.
fn facts(cx: &Context, standing: &Standing, keys: &Keys) -> Facts {
    let mut facts = Facts::default();
    set_time(&mut facts, cx.now_ms);
    if let Some(ip) = cx.source_ip {
        facts.set("aws:SourceIp", ip.to_string());
    }
    facts.set(
        "aws:SecureTransport",
        if cx.secure { "true" } else { "false" },
    );
    if !cx.user_agent.is_empty() {
        facts.set("aws:UserAgent", cx.user_agent.as_str());
    }
    facts.set("aws:RequestedRegion", &*cx.scope.region);
    facts.set("aws:ViaAWSService", "false");
    set_principal(&mut facts, &cx.caller, standing);
    for (key, values) in keys {
        facts.set_all(key, values.clone());
    }
    facts
}

pub(crate) fn set_time(facts: &mut Facts, now_ms: i64) {
    facts.set("aws:EpochTime", now_ms.div_euclid(1000).to_string());
    if let Some(now) = iso(now_ms) {
        facts.set("aws:CurrentTime", now);
    }
}

fn iso(ms: i64) -> Option<String> {
    jiff::Timestamp::from_second(ms.div_euclid(1000))
        .ok()
        .map(|moment| moment.to_string())
}

fn set_principal(facts: &mut Facts, caller: &Caller, standing: &Standing) {
    let (kind, arn) = match &standing.principal {
        Principal::Root { .. } => ("Account", Some(caller.arn.to_string())),
        Principal::User { arn, .. } => ("User", Some(arn.clone())),
        // "For IAM roles, the request context returns the ARN of the role, not the ARN of the user that assumed the role."
        Principal::Session { role, .. } => ("AssumedRole", Some(role.clone())),
        Principal::Federated { arn, .. } => ("FederatedUser", Some(arn.clone())),
        Principal::Service { name } => {
            facts.set("aws:PrincipalIsAWSService", "true");
            facts.set("aws:PrincipalServiceName", name.as_str());
            return;
        }
        Principal::Web { .. } | Principal::Anonymous => {
            facts.set("aws:PrincipalType", "Anonymous");
            facts.set("aws:userid", "anonymous");
            return;
        }
    };
    facts.set("aws:PrincipalIsAWSService", "false");
    facts.set("aws:PrincipalType", kind);
    facts.set("aws:PrincipalAccount", &*caller.account);
    facts.set("aws:userid", caller.user_id.as_str());
    if let Some(arn) = arn {
        facts.set("aws:PrincipalArn", arn);
    }
    if let Some(name) = &standing.user_name {
        facts.set("aws:username", name.as_str());
    }
    for tag in &standing.tags {
        facts.set(&format!("aws:PrincipalTag/{}", tag.key), tag.value.as_str());
    }
    set_session(facts, caller);
}

fn set_session(facts: &mut Facts, caller: &Caller) {
    let Some(session) = caller
        .session
        .as_ref()
        .and_then(|session| session.downcast_ref::<Session>())
    else {
        return;
    };
    // "This key is present in the request context only when the principal uses temporary credentials."
    facts.set("aws:MultiFactorAuthPresent", "false");
    if let Some(issued) = iso(session.claims.issued_ms) {
        facts.set("aws:TokenIssueTime", issued);
    }
    if let Some(identity) = &session.claims.source_identity {
        facts.set("aws:SourceIdentity", identity.as_str());
    }
}
