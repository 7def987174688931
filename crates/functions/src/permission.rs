//! Resource policies: AddPermission, RemovePermission, GetPolicy. A policy belongs to the function, or to one version or
//! alias, and covers just the ARN that is called (<https://docs.aws.amazon.com/lambda/latest/dg/access-control-resource-based.html>).

use serde_json::{Map, Value, json};
use wire::{AccountId, Arn, Context, Http, Keys, Operation, Scope, Shape, text};

use crate::Functions;
use crate::error::Error;
use crate::name::{FunctionRef, LATEST, Qualifier};
use crate::record::{FunctionRecord, Statement, new_id};
use crate::state::{Function, policy_json, version_number};
use crate::version::check_revision;

/// The whole policy as JSON.
const POLICY_BYTES_MAX: usize = 20_480;

text! {
    /// Names a statement within a policy.
    pub struct StatementId: 1..=100, "([a-zA-Z0-9-_]+)";

    /// Names a statement that is to be removed.
    pub struct NamespacedStatementId: 1..=100, "([a-zA-Z0-9-_.]+)";

    /// What is allowed.
    pub struct Action: 0..=10_000, r"(lambda:[*]|lambda:[a-zA-Z]+|[*])";

    /// Who is allowed to.
    pub struct Principal: 0..=2048, r"[^\s]+";

    /// On whose behalf.
    pub struct SourceArn: 0..=10_000, r"arn:(aws[a-zA-Z0-9-]*):([a-zA-Z0-9\-])+:((eusc-)?[a-z]{2}((-gov)|(-iso([a-z]?)))?-[a-z]+-\d{1})?:(\d{12})?:(.*)";

    /// From which account.
    pub struct SourceAccount: 0..=12, r"\d{12}";

    /// A secret of Alexa's.
    pub struct EventSourceToken: 0..=256, r"[a-zA-Z0-9._\-]+";

    /// An organization.
    pub struct PrincipalOrgId: 12..=34, "o-[a-z0-9]{10,32}";
}

/// How a function URL finds out who calls.
#[derive(Debug, Clone, Copy, Shape)]
pub enum FunctionUrlAuthType {
    #[shape(name = "NONE")]
    None,
    #[shape(name = "AWS_IAM")]
    AwsIam,
}

/// Adds a statement (<https://docs.aws.amazon.com/lambda/latest/api/API_AddPermission.html>).
#[derive(Debug, Shape)]
pub struct AddPermission {
    function_name: FunctionRef,
    statement_id: StatementId,
    action: Action,
    principal: Principal,
    source_arn: Option<SourceArn>,
    function_url_auth_type: Option<FunctionUrlAuthType>,
    invoked_via_function_url: Option<bool>,
    source_account: Option<SourceAccount>,
    event_source_token: Option<EventSourceToken>,
    qualifier: Option<Qualifier>,
    revision_id: Option<String>,
    #[shape(name = "PrincipalOrgID")]
    principal_org_id: Option<PrincipalOrgId>,
}

/// See [`AddPermission`].
#[derive(Debug, Shape)]
pub struct AddPermissionOutput {
    statement: Option<String>,
}

impl Operation for AddPermission {
    type Service = Functions;
    type Output = AddPermissionOutput;
    const NAME: &'static str = "AddPermission";
    const HTTP: Http = Http::new("POST", "/2015-03-31/functions/{FunctionName}/policy", 201)
        .query(&[("Qualifier", "Qualifier")]);

    fn resource(&self, at: &Scope) -> Arn {
        self.function_name
            .qualified_arn(at, self.qualifier.as_ref())
    }

    fn condition_keys(&self, _: &Functions, _: &Context) -> Keys {
        let mut keys: Keys = vec![("lambda:Principal".into(), vec![self.principal.to_string()])];
        if let Some(kind) = self.function_url_auth_type {
            keys.push(("lambda:FunctionUrlAuthType".into(), vec![kind.to_string()]));
        }
        keys
    }

    async fn run(
        self,
        functions: &Functions,
        cx: &Context,
    ) -> Result<AddPermissionOutput, wire::Error> {
        let (function, qualifier) =
            functions.find(&self.function_name, self.qualifier.as_ref(), cx)?;
        let qualifier = qualifier.as_deref();
        if qualifier == Some(LATEST) {
            return Err(Error::PolicyOnLatest.into());
        }
        let principal = principal(&self.principal)?;
        let change = functions
            .inner
            .change(&function.at, &function.name, |function, record| {
                check_revision(
                    self.revision_id.as_deref(),
                    revision(function, record, qualifier)?,
                )?;
                let statement = Statement {
                    sid: self.statement_id.to_string(),
                    effect: "Allow".to_owned(),
                    principal: principal.clone(),
                    action: self.action.to_string(),
                    resource: function.arn(qualifier).to_string(),
                    condition: self.condition(),
                };
                let key = qualifier.unwrap_or_default().to_owned();
                add(record.policies.entry(key).or_default(), &statement)?;
                *revision_mut(record, qualifier)? = new_id();
                Ok(statement)
            });
        let (_, statement) = change.await?;
        Ok(AddPermissionOutput {
            statement: Some(statement_json(&statement)),
        })
    }
}

impl AddPermission {
    fn condition(&self) -> Option<Value> {
        let mut equals = Map::new();
        let mut equal = |key: &str, value: Option<String>| {
            if let Some(value) = value {
                equals.insert(key.to_owned(), Value::String(value));
            }
        };
        equal(
            "AWS:SourceAccount",
            self.source_account.as_ref().map(ToString::to_string),
        );
        equal(
            "aws:PrincipalOrgID",
            self.principal_org_id.as_ref().map(ToString::to_string),
        );
        equal(
            "lambda:EventSourceToken",
            self.event_source_token.as_ref().map(ToString::to_string),
        );
        equal(
            "lambda:FunctionUrlAuthType",
            self.function_url_auth_type.map(|kind| kind.to_string()),
        );
        let mut condition = Map::new();
        if let Some(source) = &self.source_arn {
            let like = json!({ "AWS:SourceArn": source.as_str() });
            condition.insert("ArnLike".to_owned(), like);
        }
        if !equals.is_empty() {
            condition.insert("StringEquals".to_owned(), Value::Object(equals));
        }
        if let Some(via) = self.invoked_via_function_url {
            let is = json!({ "lambda:InvokedViaFunctionUrl": via.to_string() });
            condition.insert("Bool".to_owned(), is);
        }
        (!condition.is_empty()).then_some(Value::Object(condition))
    }
}

/// A service, an account or one of its principals, or everyone.
pub(crate) fn principal(text: &str) -> Result<Value, Error> {
    if text == "*" {
        return Ok(Value::String(text.to_owned()));
    }
    if let Some(account) = AccountId::new(text) {
        return Ok(json!({ "AWS": Arn::root(&account).as_str() }));
    }
    if let Some(arn) = Arn::parse(text) {
        let sound = matches!(arn.service(), "iam" | "sts") && !text.contains('*');
        return match sound && AccountId::new(arn.account()).is_some() {
            true => Ok(json!({ "AWS": text })),
            false => Err(Error::InvalidPrincipal),
        };
    }
    let service = text.ends_with(".amazonaws.com") || text.ends_with(".alexa.com");
    match service && !text.starts_with('.') && !text.contains('*') {
        true => Ok(json!({ "Service": text })),
        false => Err(Error::InvalidPrincipal),
    }
}

/// Adds a statement to a policy, if its id is new and the policy stays small enough.
pub(crate) fn add(policy: &mut Vec<Statement>, statement: &Statement) -> Result<(), Error> {
    if policy.iter().any(|known| known.sid == statement.sid) {
        return Err(Error::StatementExists(statement.sid.clone()));
    }
    policy.push(statement.clone());
    let size = policy_json(policy).len();
    match size <= POLICY_BYTES_MAX {
        true => Ok(()),
        false => Err(Error::PolicyTooLong(size)),
    }
}

/// A statement as AWS prints it.
pub(crate) fn statement_json(statement: &Statement) -> String {
    serde_json::to_string(statement).expect("a statement is made of strings and JSON values")
}

/// The revision of what a policy belongs to; also tells whether that is there.
fn revision<'a>(
    function: &Function,
    record: &'a FunctionRecord,
    qualifier: Option<&str>,
) -> Result<&'a str, Error> {
    let Some(qualifier) = qualifier.filter(|qualifier| *qualifier != LATEST) else {
        return Ok(&record.latest_head.revision_id);
    };
    let arn = || function.arn(Some(qualifier));
    match version_number(qualifier) {
        Some(number) => {
            let version = record.versions.get(&number);
            let version = version.ok_or_else(|| Error::FunctionNotFound(arn()))?;
            Ok(&version.head.revision_id)
        }
        None => {
            let alias = record.aliases.get(qualifier);
            Ok(&alias
                .ok_or_else(|| Error::AliasNotFound(arn()))?
                .revision_id)
        }
    }
}

fn revision_mut<'a>(
    record: &'a mut FunctionRecord,
    qualifier: Option<&str>,
) -> Result<&'a mut String, Error> {
    let Some(qualifier) = qualifier.filter(|qualifier| *qualifier != LATEST) else {
        return Ok(&mut record.latest_head.revision_id);
    };
    let head = match version_number(qualifier) {
        Some(number) => {
            let version = record.versions.get_mut(&number);
            version.map(|version| &mut version.head.revision_id)
        }
        None => {
            let alias = record.aliases.get_mut(qualifier);
            alias.map(|alias| &mut alias.revision_id)
        }
    };
    head.ok_or(Error::NotThere)
}

/// Removes a statement (<https://docs.aws.amazon.com/lambda/latest/api/API_RemovePermission.html>).
#[derive(Debug, Shape)]
pub struct RemovePermission {
    function_name: FunctionRef,
    statement_id: NamespacedStatementId,
    qualifier: Option<Qualifier>,
    revision_id: Option<String>,
}

impl Operation for RemovePermission {
    type Service = Functions;
    type Output = ();
    const NAME: &'static str = "RemovePermission";
    const HTTP: Http = Http::new(
        "DELETE",
        "/2015-03-31/functions/{FunctionName}/policy/{StatementId}",
        204,
    )
    .query(&[("Qualifier", "Qualifier"), ("RevisionId", "RevisionId")]);

    fn resource(&self, at: &Scope) -> Arn {
        self.function_name
            .qualified_arn(at, self.qualifier.as_ref())
    }

    fn condition_keys(&self, functions: &Functions, cx: &Context) -> Keys {
        let mut keys = Keys::new();
        let at = self.function_name.scope(&cx.scope);
        let function = functions
            .inner
            .functions
            .get(&at, self.function_name.name());
        let qualifier = self.function_name.qualifier(self.qualifier.as_ref());
        if let (Some(function), Ok(qualifier)) = (function, qualifier) {
            let policy = function.record.policies.get(&qualifier.unwrap_or_default());
            let named = |s: &&Statement| s.sid == self.statement_id.as_str();
            let statement = policy.and_then(|policy| policy.iter().find(named));
            keys.extend(statement.and_then(|statement| principal_key(&statement.principal)));
        }
        keys
    }

    async fn run(self, functions: &Functions, cx: &Context) -> Result<(), wire::Error> {
        let at = self.function_name.reach(&cx.scope)?;
        let name = self.function_name.name();
        let qualifier = self.function_name.qualifier(self.qualifier.as_ref())?;
        let qualifier = qualifier.as_deref();
        if functions.inner.functions.get(&at, name).is_none() {
            return Err(Error::NoPolicyFor(Arn::function(&at, name, None)).into());
        }
        let change = functions.inner.change(&at, name, |function, record| {
            let current = revision(function, record, qualifier)?.to_owned();
            let key = match qualifier {
                None | Some(LATEST) => "",
                Some(qualifier) => qualifier,
            };
            let policy = record.policies.get_mut(key).ok_or(Error::NoPolicy)?;
            let sid = self.statement_id.as_str();
            let index = policy.iter().position(|statement| statement.sid == sid);
            let index = index.ok_or_else(|| Error::StatementNotFound(sid.to_owned()))?;
            check_revision(self.revision_id.as_deref(), &current)?;
            policy.remove(index);
            if policy.is_empty() {
                record.policies.remove(key);
            }
            *revision_mut(record, qualifier)? = new_id();
            Ok(())
        });
        change.await?;
        Ok(())
    }
}

/// `lambda:Principal` of a statement that is there.
fn principal_key(principal: &Value) -> Option<(std::borrow::Cow<'static, str>, Vec<String>)> {
    let text = match principal {
        Value::String(text) => text.clone(),
        Value::Object(kinds) => kinds.values().next()?.as_str()?.to_owned(),
        _ => return None,
    };
    Some(("lambda:Principal".into(), vec![text]))
}

/// The policy (<https://docs.aws.amazon.com/lambda/latest/api/API_GetPolicy.html>).
#[derive(Debug, Shape)]
pub struct GetPolicy {
    function_name: FunctionRef,
    qualifier: Option<Qualifier>,
}

/// See [`GetPolicy`].
#[derive(Debug, Shape)]
pub struct GetPolicyOutput {
    policy: Option<String>,
    revision_id: Option<String>,
}

impl Operation for GetPolicy {
    type Service = Functions;
    type Output = GetPolicyOutput;
    const NAME: &'static str = "GetPolicy";
    const HTTP: Http = Http::new("GET", "/2015-03-31/functions/{FunctionName}/policy", 200)
        .query(&[("Qualifier", "Qualifier")]);

    fn resource(&self, at: &Scope) -> Arn {
        self.function_name.arn(at)
    }

    async fn run(
        self,
        functions: &Functions,
        cx: &Context,
    ) -> Result<GetPolicyOutput, wire::Error> {
        let (function, qualifier) =
            functions.find(&self.function_name, self.qualifier.as_ref(), cx)?;
        let qualifier = qualifier.as_deref();
        let revision = revision(&function, &function.record, qualifier)?;
        let key = qualifier.filter(|qualifier| *qualifier != LATEST);
        let policy = function.policy(key.unwrap_or_default());
        let policy = policy.ok_or(Error::NotThere)?;
        Ok(GetPolicyOutput {
            policy: Some(policy.to_string()),
            revision_id: Some(revision.to_owned()),
        })
    }
}
