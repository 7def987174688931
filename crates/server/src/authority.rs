//! Identity, as the services see it that must not know identity.

use std::time::Duration;

use delivery::Sender;
use identity::policy::{Flavour, Policy};
use identity::{Identity, RoleSession};
use wire::{AccountId, Arn, Ask, Authorizer, Caller, CallerKind, Context, Scope};

/// How long the session of a role is good in which one delivery is judged.
const SESSION: Duration = Duration::from_secs(900);

/// Decides for EventBridge and for those to whom it delivers.
#[derive(Clone)]
pub struct Authority(pub Identity);

impl Authorizer for Authority {
    fn authorize(&self, cx: &Context, ask: &Ask<'_>) -> Result<(), String> {
        self.0.authorize(cx, ask)
    }
}

impl events::Authority for Authority {
    fn check_policy(&self, policy: &str) -> Result<(), String> {
        let parsed = Policy::parse(policy, Flavour::Resource);
        parsed.map(drop).map_err(|error| error.to_string())
    }

    fn may_deliver(
        &self,
        sender: &Sender,
        home: AccountId,
        at: &Scope,
        ask: &Ask<'_>,
    ) -> Result<(), String> {
        let caller = match &sender.role {
            Some(role) => self.in_role(role, sender, at)?,
            None => root(home),
        };
        self.0.authorize(&inside(caller, at, sender), ask)
    }
}

impl buckets::Language for Authority {
    fn is_public(&self, policy: &str) -> Result<bool, String> {
        let parsed = Policy::parse(policy, Flavour::Resource);
        parsed
            .map(|policy| policy.is_public())
            .map_err(|error| error.to_string())
    }
}

impl telemetry::Writers for Authority {
    fn may_write(&self, sender: &Sender, at: &Scope, ask: &Ask<'_>) -> Result<(), String> {
        let caller = match &sender.role {
            Some(role) => self.in_role(role, sender, at)?,
            None => service(sender, at),
        };
        self.0.authorize(&inside(caller, at, sender), ask)
    }
}

impl Authority {
    /// The sender as its role, if that trusts the sender's service.
    fn in_role(&self, role: &Arn, sender: &Sender, at: &Scope) -> Result<Caller, String> {
        let made = self.0.role_session(&RoleSession {
            role,
            name: "events",
            service: &sender.service,
            source_arn: Some(&sender.arn),
            region: &at.region,
            duration: SESSION,
        });
        let made = made.map_err(|error| error.to_string())?;
        let token = Some(made.session_token.as_str());
        let found = self
            .0
            .find_key(&made.access_key_id, token, jiff::Timestamp::now());
        let found = found.map_err(|_| format!("The role {role} is not there."))?;
        Ok(found.caller)
    }
}

/// The account as a whole.
fn root(account: AccountId) -> Caller {
    Caller {
        kind: CallerKind::Root,
        arn: Arn::root(&account),
        account,
        user_id: account.to_string(),
        access_key_id: String::new(),
        session: None,
    }
}

/// The service itself.
fn service(sender: &Sender, at: &Scope) -> Caller {
    Caller {
        kind: CallerKind::Service(sender.service.clone()),
        arn: Arn::any(),
        account: at.account,
        user_id: sender.service.clone(),
        access_key_id: String::new(),
        session: None,
    }
}

/// A request that nobody sent.
fn inside(caller: Caller, at: &Scope, sender: &Sender) -> Context {
    Context {
        request_id: String::new(),
        caller,
        scope: at.clone(),
        source_ip: None,
        user_agent: sender.service.clone(),
        secure: true,
        now_ms: jiff::Timestamp::now().as_millisecond(),
        host: String::new(),
        trace_id: None,
    }
}
