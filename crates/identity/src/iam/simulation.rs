//! Simulations: what the evaluator would say, and which context keys policies ask for
//! (`IAM/latest/UserGuide/access_policies_testing-policies.html`).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use wire::{AccountId, Arn, Context, List, Shape, text};

use super::holders::check_arn;
use super::paging::{listing, page};
use super::shapes::{Document, Marker, MaxItems, Unfulfilled};
use super::target::Target;
use super::{Iam, id, operation};
use crate::Error;
use crate::authorize::boundary;
use crate::policy::{
    Attached, Context as Facts, Effect, Flavour, Matched, Policies, Policy, PolicyKind, Principal,
    Request, Why, evaluate, matching,
};
use crate::records::{Group, Identified, Role, User};
use crate::state::Account;

text! {
    /// An action.
    pub struct ActionName: 3..=128;
    /// An ARN, or `*`.
    pub struct ResourceName: 1..=2_048;
    /// A user, group or role.
    pub struct SourceArn: 20..=2_048;
    /// A condition key.
    pub struct ContextKeyName: 5..=256;
    /// An EC2 scenario.
    pub struct ResourceHandlingOption: 1..=64;
}

/// The types of condition keys. Values are compared as each operator asks, whatever is said here.
#[derive(Debug, Clone, Copy, Shape)]
#[shape(rename_all = "camelCase")]
#[allow(missing_docs)]
pub enum ContextKeyType {
    String,
    StringList,
    Numeric,
    NumericList,
    Boolean,
    BooleanList,
    Ip,
    IpList,
    Binary,
    BinaryList,
    Date,
    DateList,
}

/// A condition key with its values.
#[derive(Debug, Shape)]
pub struct ContextEntry {
    context_key_name: Option<ContextKeyName>,
    context_key_values: Option<Vec<String>>,
    context_key_type: Option<ContextKeyType>,
}

/// Results of one page.
const PAGE_ITEMS_MAX: i64 = 100;

/// At most so many of everything that a simulation multiplies.
const LIST_MAX: usize = 100;
type Actions = List<ActionName, 1, LIST_MAX>;
type Resources = List<ResourceName, 0, LIST_MAX>;
type Documents = List<Document, 0, LIST_MAX>;
type Entries = List<ContextEntry, 0, LIST_MAX>;

/// What the simulation says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Shape)]
#[shape(rename_all = "camelCase")]
pub enum EvalDecision {
    /// Allowed.
    Allowed,
    /// Denied by a statement.
    ExplicitDeny,
    /// Not allowed by any.
    ImplicitDeny,
}

/// Where a policy comes from.
#[derive(Debug, Clone, Copy, Shape)]
#[shape(rename_all = "kebab-case")]
pub enum PolicySourceType {
    /// A user's.
    User,
    /// A group's.
    Group,
    /// A role's.
    Role,
    /// AWS's.
    AwsManaged,
    /// The account's own managed policy.
    UserManaged,
    /// The resource's.
    Resource,
    /// Part of the request.
    None,
}

/// A place in a document, both counted from one.
#[derive(Debug, Shape)]
pub struct Position {
    line: usize,
    column: usize,
}

/// A statement that applied.
#[derive(Debug, Shape)]
pub struct StatementShape {
    source_policy_id: String,
    source_policy_type: PolicySourceType,
    start_position: Position,
    end_position: Position,
}

/// What a permissions boundary says.
#[derive(Debug, Shape)]
pub struct BoundaryDetail {
    allowed_by_permissions_boundary: bool,
}

/// The outcome for one action on one resource.
#[derive(Debug, Shape)]
pub struct EvaluationResult {
    eval_action_name: String,
    eval_resource_name: String,
    eval_decision: EvalDecision,
    matched_statements: Vec<StatementShape>,
    missing_context_values: Vec<String>,
    permissions_boundary_decision_detail: Option<BoundaryDetail>,
    eval_decision_details: Option<BTreeMap<String, EvalDecision>>,
}

listing! {
    /// Outcomes.
    EvaluationResults { evaluation_results: EvaluationResult }
}

operation! {
    /// Evaluates policies that come with the request.
    SimulateCustomPolicy {
        policy_input_list: Documents,
        permissions_boundary_policy_input_list: Option<Documents>,
        action_names: Actions,
        resource_arns: Option<Resources>,
        resource_policy: Option<Document>,
        resource_owner: Option<ResourceName>,
        caller_arn: Option<ResourceName>,
        context_entries: Option<Entries>,
        resource_handling_option: Option<ResourceHandlingOption>,
        max_items: Option<MaxItems>,
        ordered_organization_policy_input_list: Option<Unfulfilled>,
        marker: Option<Marker>,
    } -> EvaluationResults;
    on |op| Target::None;
    run |op, iam, cx| {
        let mut stage = Stage::new(cx, &op.policy_input_list, op.permissions_boundary_policy_input_list.as_deref())?;
        stage.set_caller(op.caller_arn.as_deref(), op.resource_policy.as_deref(), op.resource_owner.as_deref())?;
        let facts = stage.facts(op.context_entries.as_deref());
        let page = page(questions(&op.action_names, op.resource_arns.as_deref()), op.marker.as_ref(), at_most(op.max_items))?;
        Ok(EvaluationResults::of(page.map(|(action, resource)| stage.ask(action, resource, &facts))))
    }
}

operation! {
    /// Evaluates the policies of a user, group or role, and more that come with the request.
    SimulatePrincipalPolicy {
        policy_source_arn: SourceArn,
        policy_input_list: Option<Documents>,
        permissions_boundary_policy_input_list: Option<Documents>,
        action_names: Actions,
        resource_arns: Option<Resources>,
        resource_policy: Option<Document>,
        resource_owner: Option<ResourceName>,
        caller_arn: Option<ResourceName>,
        context_entries: Option<Entries>,
        resource_handling_option: Option<ResourceHandlingOption>,
        max_items: Option<MaxItems>,
        policy_exclusion_list: Option<Unfulfilled>,
        marker: Option<Marker>,
    } -> EvaluationResults;
    on |op| Target::Arn(&op.policy_source_arn);
    run |op, iam, cx| {
        let boundary = op.permissions_boundary_policy_input_list.as_deref();
        let mut stage = Stage::new(cx, op.policy_input_list.as_deref().unwrap_or_default(), boundary)?;
        stage.add_source(iam, cx, &op.policy_source_arn)?;
        stage.set_caller(op.caller_arn.as_deref(), op.resource_policy.as_deref(), op.resource_owner.as_deref())?;
        let facts = stage.facts(op.context_entries.as_deref());
        let page = page(questions(&op.action_names, op.resource_arns.as_deref()), op.marker.as_ref(), at_most(op.max_items))?;
        Ok(EvaluationResults::of(page.map(|(action, resource)| stage.ask(action, resource, &facts))))
    }
}

/// A policy with what replies say of it.
struct Source {
    attached: Attached,
    text: String,
    id: String,
    kind: PolicySourceType,
}

impl Source {
    fn input(text: &Document, at: usize, list: &str) -> Result<Self, Error> {
        let id = format!("{list}.{}", at + 1);
        Ok(Self {
            attached: attached(&id, text, Flavour::Inline)?,
            text: text.to_string(),
            id,
            kind: PolicySourceType::None,
        })
    }
}

fn attached(name: &str, text: &str, flavour: Flavour) -> Result<Attached, Error> {
    let policy =
        Policy::parse(text, flavour).map_err(|error| Error::InvalidInput(error.to_string()))?;
    Ok(Attached {
        name: name.into(),
        policy: Arc::new(policy),
    })
}

/// Everything a simulation needs but the question.
struct Stage {
    sources: Vec<Source>,
    boundary: Option<Source>,
    resource: Option<Source>,
    caller: Principal,
    owner: AccountId,
    /// Facts about the principal that the request need not say.
    facts: Facts,
}

impl Stage {
    fn new(
        cx: &Context,
        inputs: &[Document],
        boundary: Option<&[Document]>,
    ) -> Result<Self, Error> {
        let source = |list| move |(at, text)| Source::input(text, at, list);
        let sources = inputs
            .iter()
            .enumerate()
            .map(source("PolicyInputList"))
            .collect::<Result<_, _>>()?;
        let boundary = match boundary {
            None | Some([]) => None,
            Some([text]) => Some(Source::input(
                text,
                0,
                "PermissionsBoundaryPolicyInputList",
            )?),
            Some(_) => {
                return Err(Error::InvalidInput(
                    "There can be only one permissions boundary policy.".to_owned(),
                ));
            }
        };
        let account = id(cx);
        // Without a caller the simulation is of a user that nothing is known about.
        let arn = Arn::user(&account, "/", "simulated").to_string();
        let caller = Principal::User {
            account: account.to_string(),
            arn,
        };
        Ok(Self {
            sources,
            boundary,
            resource: None,
            caller,
            owner: account,
            facts: Facts::default(),
        })
    }

    fn add_source(&mut self, iam: &Iam, cx: &Context, text: &str) -> Result<(), Error> {
        check_arn(text)?;
        let arn = Arn::parse(text).ok_or_else(|| Error::InvalidArn(text.to_owned()))?;
        let name = arn.resource().rsplit('/').next().unwrap_or_default();
        iam.look(cx, |account| match arn.resource().split('/').next() {
            Some("user") => self.add_user(account, cx, account.user(name)?, &arn),
            Some("group") => {
                let group = account.group(name)?;
                same(&arn, &group.arn(&id(cx)), "group", name)?;
                self.add_holder(account, cx, &group.base, PolicySourceType::Group)
            }
            Some("role") => self.add_role(account, cx, account.role(name)?, &arn),
            _ => Err(Error::InvalidInput(format!(
                "Invalid Entity Arn: {arn} does not clearly define entity type and name."
            ))),
        })
    }

    fn add_user(
        &mut self,
        account: &Account,
        cx: &Context,
        user: &User,
        arn: &Arn,
    ) -> Result<(), Error> {
        same(arn, &user.arn(&id(cx)), "user", &user.base.name)?;
        self.add_holder(account, cx, &user.base, PolicySourceType::User)?;
        let groups: Vec<&Group> = account.groups_of(user).map(|group| &group.record).collect();
        for group in groups {
            self.add_holder(account, cx, &group.base, PolicySourceType::Group)?;
        }
        self.facts.set("aws:username", user.base.name.as_str());
        self.facts.set("aws:userid", user.base.id.as_str());
        self.add_tags(&user.tags);
        self.caller = Principal::User {
            account: id(cx).to_string(),
            arn: arn.to_string(),
        };
        self.add_boundary(account, cx, user.boundary.as_deref());
        Ok(())
    }

    fn add_role(
        &mut self,
        account: &Account,
        cx: &Context,
        role: &Role,
        arn: &Arn,
    ) -> Result<(), Error> {
        same(arn, &role.arn(&id(cx)), "role", &role.base.name)?;
        self.add_holder(account, cx, &role.base, PolicySourceType::Role)?;
        self.add_tags(&role.tags);
        let session = Arn::assumed_role(&id(cx), &role.base.name, "simulated");
        self.caller = Principal::Session {
            account: id(cx).to_string(),
            role: arn.to_string(),
            arn: session.to_string(),
        };
        self.add_boundary(account, cx, role.boundary.as_deref());
        Ok(())
    }

    fn add_holder(
        &mut self,
        account: &Account,
        cx: &Context,
        base: &Identified,
        kind: PolicySourceType,
    ) -> Result<(), Error> {
        let word = match kind {
            PolicySourceType::Group => "group",
            PolicySourceType::Role => "role",
            _ => "user",
        };
        for (name, text) in &base.inline {
            let id = format!("{word}_{}_{name}", base.name);
            let source = Source {
                attached: attached(&id, text, Flavour::Inline)?,
                text: text.clone(),
                id,
                kind,
            };
            self.sources.push(source);
        }
        self.sources.extend(
            base.attached
                .iter()
                .filter_map(|arn| managed(account, cx, arn)),
        );
        Ok(())
    }

    fn add_tags(&mut self, tags: &[crate::records::Tag]) {
        for tag in tags {
            self.facts
                .set(&format!("aws:PrincipalTag/{}", tag.key), tag.value.as_str());
        }
    }

    /// The boundary that the principal has, unless the request brings another.
    fn add_boundary(&mut self, account: &Account, cx: &Context, arn: Option<&str>) {
        if self.boundary.is_some() {
            return;
        }
        let Some(arn) = arn else { return };
        self.boundary = managed(account, cx, arn).or_else(|| {
            let attached = boundary(account, &id(cx), Some(arn))?;
            Some(Source {
                attached,
                text: String::new(),
                id: arn.to_owned(),
                kind: PolicySourceType::UserManaged,
            })
        });
    }

    fn set_caller(
        &mut self,
        caller: Option<&str>,
        policy: Option<&str>,
        owner: Option<&str>,
    ) -> Result<(), Error> {
        let invalid = |text: &str| {
            Error::InvalidInput(format!(
                "Invalid Entity Arn: {text} does not clearly define entity type and name."
            ))
        };
        if let Some(text) = caller {
            let arn = Arn::parse(text)
                .filter(|arn| arn.resource().starts_with("user/"))
                .ok_or_else(|| invalid(text))?;
            let account = AccountId::new(arn.account()).ok_or_else(|| invalid(text))?;
            self.caller = Principal::User {
                account: account.to_string(),
                arn: arn.to_string(),
            };
        }
        if let Some(text) = policy {
            let attached = attached("ResourcePolicy", text, Flavour::Resource)?;
            let id = "ResourcePolicy".to_owned();
            self.resource = Some(Source {
                attached,
                text: text.to_owned(),
                id,
                kind: PolicySourceType::Resource,
            });
        }
        if let Some(text) = owner {
            let account = Arn::parse(text)
                .map_or_else(|| AccountId::new(text), |arn| AccountId::new(arn.account()));
            self.owner = account.ok_or_else(|| invalid(text))?;
        }
        Ok(())
    }

    /// What is known of the principal, and what the request adds.
    fn facts(&self, entries: Option<&[ContextEntry]>) -> Facts {
        let mut facts = self.facts.clone();
        for entry in entries.unwrap_or_default() {
            if let Some(key) = &entry.context_key_name {
                facts.set_all(key, entry.context_key_values.clone().unwrap_or_default());
            }
        }
        facts
    }

    fn ask(&self, action: &str, resource: &str, facts: &Facts) -> EvaluationResult {
        let request = Request {
            principal: &self.caller,
            action,
            resource,
            resource_account: &self.owner,
            context: facts,
            resource_policy_required: false,
        };
        let identity: Vec<Attached> = self
            .sources
            .iter()
            .map(|source| source.attached.clone())
            .collect();
        let policies = Policies {
            identity: &identity,
            boundary: self.boundary.as_ref().map(|source| &source.attached),
            session: None,
            resource: self.resource.as_ref().map(|source| &source.attached),
        };
        let why = evaluate(&request, &policies).why;
        let decision = match why {
            Why::Allowed(_) | Why::Root => EvalDecision::Allowed,
            Why::ExplicitDeny(_) => EvalDecision::ExplicitDeny,
            Why::ImplicitDeny(_) => EvalDecision::ImplicitDeny,
        };
        let matched = self.matched(&request);
        EvaluationResult {
            eval_action_name: action.to_owned(),
            eval_resource_name: resource.to_owned(),
            eval_decision: decision,
            matched_statements: matched
                .iter()
                .filter(|(_, one)| decides(one, decision))
                .map(|(source, one)| shape(source, one))
                .collect(),
            missing_context_values: self.missing(facts),
            permissions_boundary_decision_detail: self.boundary.as_ref().map(|source| {
                let matched = matching(
                    PolicyKind::Boundary,
                    std::slice::from_ref(&source.attached),
                    &request,
                );
                let has = |effect| matched.iter().any(|one| one.effect == effect);
                BoundaryDetail {
                    allowed_by_permissions_boundary: has(Effect::Allow) && !has(Effect::Deny),
                }
            }),
            eval_decision_details: None,
        }
    }

    fn matched<'a>(&'a self, request: &Request<'_>) -> Vec<(&'a Source, Matched)> {
        let of = |source: &'a Source, kind| {
            matching(kind, std::slice::from_ref(&source.attached), request)
                .into_iter()
                .map(move |one| (source, one))
        };
        let identity = self
            .sources
            .iter()
            .flat_map(|source| of(source, PolicyKind::Identity));
        let resource = self
            .resource
            .iter()
            .flat_map(|source| of(source, PolicyKind::Resource));
        identity.chain(resource).collect()
    }

    /// Keys that policies ask for and nobody gave.
    fn missing(&self, facts: &Facts) -> Vec<String> {
        let sources = self
            .sources
            .iter()
            .chain(&self.boundary)
            .chain(&self.resource);
        let keys: BTreeSet<&str> = sources
            .flat_map(|source| source.attached.policy.context_keys())
            .collect();
        keys.into_iter()
            .filter(|key| !facts.has(key))
            .map(str::to_owned)
            .collect()
    }
}

/// Every action on every resource, in order.
fn questions<'a>(
    actions: &'a [ActionName],
    resources: Option<&'a [ResourceName]>,
) -> Vec<(String, (&'a str, &'a str))> {
    let resources: Vec<&str> = match resources {
        Some(list) if !list.is_empty() => list.iter().map(|name| &**name).collect(),
        _ => vec!["*"],
    };
    let on_each = |(at, action): (usize, &'a ActionName)| {
        let each = resources.iter().enumerate();
        let row = |(on, resource): (usize, &&'a str)| {
            (format!("{at:05}/{on:05}"), (&**action, *resource))
        };
        each.map(row).collect::<Vec<_>>()
    };
    actions.iter().enumerate().flat_map(on_each).collect()
}

/// "IAM might return fewer than the MaxItems number of results, even when there are more results available": a page is never
/// longer than its default, for each result costs an evaluation of everything that the request brought.
fn at_most(asked: Option<MaxItems>) -> Option<MaxItems> {
    asked.min(MaxItems::new(PAGE_ITEMS_MAX))
}

fn same(asked: &Arn, found: &Arn, noun: &str, name: &str) -> Result<(), Error> {
    if asked == found {
        Ok(())
    } else {
        Err(Error::not_found(noun, name))
    }
}

fn managed(account: &Account, cx: &Context, arn: &str) -> Option<Source> {
    if let Some(policy) = crate::managed::find(arn) {
        return Some(Source {
            attached: policy.attached(),
            text: policy.document.clone(),
            id: policy.name.clone(),
            kind: PolicySourceType::AwsManaged,
        });
    }
    let held = account.held_policy(&id(cx), arn)?;
    Some(Source {
        attached: held.compiled.clone(),
        text: held.record.default().document.clone(),
        id: held.record.name.clone(),
        kind: PolicySourceType::UserManaged,
    })
}

/// "The statements that determined the result": denials when denied, else what allows.
fn decides(matched: &Matched, decision: EvalDecision) -> bool {
    match decision {
        EvalDecision::ExplicitDeny => matched.effect == Effect::Deny,
        EvalDecision::Allowed => matched.effect == Effect::Allow,
        EvalDecision::ImplicitDeny => false,
    }
}

fn shape(source: &Source, matched: &Matched) -> StatementShape {
    let position = |at: usize| {
        let before = source.text.get(..at).unwrap_or_default();
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        Position {
            line: before.matches('\n').count() + 1,
            column: before[line_start..].chars().count() + 1,
        }
    };
    StatementShape {
        source_policy_id: source.id.clone(),
        source_policy_type: source.kind,
        start_position: position(matched.span.start),
        end_position: position(matched.span.end),
    }
}

/// Names of condition keys.
#[derive(Debug, Shape)]
pub struct ContextKeys {
    context_key_names: Vec<String>,
}

operation! {
    /// Lists the context keys that policies in the request read.
    GetContextKeysForCustomPolicy { policy_input_list: Documents } -> ContextKeys;
    on |op| Target::None;
    run |op, iam, cx| Stage::new(cx, &op.policy_input_list, None).map(|stage| keys_of(&stage))
}

operation! {
    /// Lists the context keys that the policies of a user, group or role read, and more policies in the request.
    GetContextKeysForPrincipalPolicy { policy_source_arn: SourceArn, policy_input_list: Option<Documents> } -> ContextKeys;
    on |op| Target::Arn(&op.policy_source_arn);
    run |op, iam, cx| {
        let mut stage = Stage::new(cx, op.policy_input_list.as_deref().unwrap_or_default(), None)?;
        stage.add_source(iam, cx, &op.policy_source_arn)?;
        stage.boundary = None;
        Ok(keys_of(&stage))
    }
}

fn keys_of(stage: &Stage) -> ContextKeys {
    ContextKeys {
        context_key_names: stage.missing(&Facts::default()),
    }
}
