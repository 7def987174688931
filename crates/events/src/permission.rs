//! The resource policy of a bus: who may put events on it from elsewhere
//! (<https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-event-bus-perms.html>).

use std::collections::BTreeMap;

use serde_json::{Value, json};
use wire::{AccountId, Arn, Context, Operation, Scope, Shape, text};

use crate::Events;
use crate::error::Error;
use crate::names::{BusRef, OwnBusName};
use crate::record::BusRecord;

/// The whole policy, as JSON.
const POLICY_BYTES_MAX: usize = 10_240;

text! {
    /// What is allowed.
    pub struct Action: 1..=64, "events:[a-zA-Z]+";
    /// Which account is allowed to.
    pub struct Principal: 1..=12, r"(\d{12}|\*)";
    /// Names a statement within a policy.
    pub struct StatementId: 1..=64, "[a-zA-Z0-9-_]+";
}

/// Which accounts of all that are named.
#[derive(Debug, Shape)]
pub struct Condition {
    #[shape(name = "Type")]
    kind: String,
    key: String,
    value: String,
}

/// Adds a statement, or replaces the whole policy
/// (<https://docs.aws.amazon.com/eventbridge/latest/APIReference/API_PutPermission.html>).
#[derive(Debug, Shape)]
pub struct PutPermission {
    event_bus_name: Option<OwnBusName>,
    action: Option<Action>,
    principal: Option<Principal>,
    statement_id: Option<StatementId>,
    condition: Option<Condition>,
    policy: Option<String>,
}

impl Operation for PutPermission {
    type Service = Events;
    type Output = ();
    const NAME: &'static str = "PutPermission";

    fn resource(&self, at: &Scope) -> Arn {
        BusRef::of(self.event_bus_name.as_deref(), at).arn()
    }

    async fn run(self, events: &Events, cx: &Context) -> Result<(), wire::Error> {
        let bus = BusRef::of(self.event_bus_name.as_deref(), &cx.scope);
        events.bus(&bus)?;
        let text = match &self.policy {
            Some(policy) => Some(self.whole(policy)?),
            None => None,
        };
        let statement = match text {
            Some(_) => Value::Null,
            None => self.statement(&bus)?,
        };
        let put = |record: &mut BusRecord| {
            let policy = match &text {
                Some(text) => text.clone(),
                None => with(record.policy.as_deref(), &statement)?,
            };
            if policy.len() > POLICY_BYTES_MAX {
                return Err(Error::PolicyTooLong(policy.len()));
            }
            let sound = events.inner.authority.check_policy(&policy);
            sound
                .map_err(|why| Error::Invalid(format!("The policy is not valid. Reason: {why}")))?;
            record.policy = Some(policy);
            Ok(())
        };
        Ok(events.change_bus(&bus, cx.now_ms, put).await?)
    }
}

impl PutPermission {
    /// The policy that is given as a whole; then nothing else may be.
    fn whole(&self, policy: &str) -> Result<String, Error> {
        let alone = self.action.is_none()
            && self.principal.is_none()
            && self.statement_id.is_none()
            && self.condition.is_none();
        match alone {
            true => Ok(policy.to_owned()),
            false => Err(Error::Invalid(
                "Policy cannot be given together with Action, Principal, StatementId or Condition."
                    .to_owned(),
            )),
        }
    }

    fn statement(&self, bus: &BusRef) -> Result<Value, Error> {
        let missing = |name| Error::Invalid(format!("Parameter {name} must be specified."));
        let action = self.action.as_deref().ok_or_else(|| missing("Action"))?;
        let principal = self.principal.as_deref();
        let principal = principal.ok_or_else(|| missing("Principal"))?;
        let sid = self.statement_id.as_deref();
        let sid = sid.ok_or_else(|| missing("StatementId"))?;
        if action != "events:PutEvents" {
            let text = format!("Provided value in parameter 'action' is not supported: {action}");
            return Err(Error::Invalid(text));
        }
        let principal = match AccountId::new(principal) {
            Some(account) => json!({ "AWS": Arn::root(&account).as_str() }),
            None => json!(principal),
        };
        let mut statement = json!({
            "Sid": sid,
            "Effect": "Allow",
            "Principal": principal,
            "Action": action,
            "Resource": bus.arn().as_str(),
        });
        if let Some(Condition { kind, key, value }) = &self.condition {
            if kind != "StringEquals" || key != "aws:PrincipalOrgID" {
                let text = "The only condition supported is StringEquals on aws:PrincipalOrgID.";
                return Err(Error::Invalid(text.to_owned()));
            }
            statement["Condition"] = json!({ kind.as_str(): { key.as_str(): value } });
        }
        Ok(statement)
    }
}

/// The statements of a policy.
fn statements(policy: Option<&str>) -> Result<(BTreeMap<String, Value>, Vec<Value>), Error> {
    let Some(policy) = policy else {
        return Ok((BTreeMap::new(), Vec::new()));
    };
    let damaged = |error: serde_json::Error| Error::Internal(error.to_string());
    let mut rest: BTreeMap<String, Value> = serde_json::from_str(policy).map_err(damaged)?;
    let statements = match rest.remove("Statement") {
        Some(Value::Array(statements)) => statements,
        Some(one) => vec![one],
        None => Vec::new(),
    };
    Ok((rest, statements))
}

fn policy_json(rest: &BTreeMap<String, Value>, statements: Vec<Value>) -> String {
    let version = rest.get("Version").cloned();
    let version = version.unwrap_or_else(|| json!("2012-10-17"));
    let mut policy = json!({ "Version": version, "Statement": statements });
    if let Some(id) = rest.get("Id") {
        policy["Id"] = id.clone();
    }
    policy.to_string()
}

fn sid(statement: &Value) -> Option<&str> {
    statement.get("Sid")?.as_str()
}

/// The policy with a statement, in place of the one with the same id.
fn with(policy: Option<&str>, statement: &Value) -> Result<String, Error> {
    let (rest, mut all) = statements(policy)?;
    match all.iter_mut().find(|known| sid(known) == sid(statement)) {
        Some(known) => *known = statement.clone(),
        None => all.push(statement.clone()),
    }
    Ok(policy_json(&rest, all))
}

/// Removes a statement, or all (<https://docs.aws.amazon.com/eventbridge/latest/APIReference/API_RemovePermission.html>).
#[derive(Debug, Shape)]
pub struct RemovePermission {
    statement_id: Option<StatementId>,
    remove_all_permissions: Option<bool>,
    event_bus_name: Option<OwnBusName>,
}

impl Operation for RemovePermission {
    type Service = Events;
    type Output = ();
    const NAME: &'static str = "RemovePermission";

    fn resource(&self, at: &Scope) -> Arn {
        BusRef::of(self.event_bus_name.as_deref(), at).arn()
    }

    async fn run(self, events: &Events, cx: &Context) -> Result<(), wire::Error> {
        let bus = BusRef::of(self.event_bus_name.as_deref(), &cx.scope);
        events.bus(&bus)?;
        let all = self.remove_all_permissions == Some(true);
        if !all && self.statement_id.is_none() {
            let text = "Parameter StatementId or RemoveAllPermissions must be specified.";
            return Err(Error::Invalid(text.to_owned()).into());
        }
        let remove = |record: &mut BusRecord| {
            if all {
                record.policy = None;
                return Ok(());
            }
            let (rest, mut statements) = statements(record.policy.as_deref())?;
            let before = statements.len();
            statements.retain(|statement| sid(statement) != self.statement_id.as_deref());
            if statements.len() == before {
                return Err(Error::NoStatement);
            }
            record.policy = (!statements.is_empty()).then(|| policy_json(&rest, statements));
            Ok(())
        };
        Ok(events.change_bus(&bus, cx.now_ms, remove).await?)
    }
}
