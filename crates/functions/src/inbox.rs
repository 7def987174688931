//! Deliveries to functions: each becomes an asynchronous invocation, once, if the sender may invoke the function.
//!
//! A sender that names a role acts with what that role may do; any other needs a statement in the function's policy for
//! its service principal, as AddPermission writes it
//! (<https://docs.aws.amazon.com/lambda/latest/dg/access-control-resource-based.html>).

use std::sync::Arc;

use async_trait::async_trait;
use delivery::{Delivery, Recipient, Refusal};
use store::Digest;
use wire::{Arn, Ask, Caller, CallerKind, Context, Keys};

use crate::Functions;
use crate::error::Error;
use crate::event::Origin;
use crate::invoke::{Call, EVENT_BYTES_MAX, checked};
use crate::name::FunctionRef;
use crate::roles::inside;
use crate::state::Function;

/// What senders need.
const ACTION: &str = "lambda:InvokeFunction";

/// Takes deliveries to functions, versions and aliases.
pub(crate) struct Inbox(pub Functions);

#[async_trait]
impl Recipient for Inbox {
    fn takes(&self, to: &Arn) -> bool {
        to.service() == "lambda" && to.resource().starts_with("function:")
    }

    async fn receive(&self, delivery: &Delivery) -> Result<(), Refusal> {
        let to = &delivery.to;
        let (named, function) = self.function(delivery)?;
        let qualifier = named.own_qualifier();
        self.admit(delivery)?;
        let call = Call {
            function,
            arn: to.clone(),
            request_id: request_id(delivery),
            trace_id: Some(self.0.trace_id_or_new(delivery.trace_id.as_deref())),
        };
        let payload = checked(delivery.payload.clone(), "Event", EVENT_BYTES_MAX);
        let accept = async |payload| {
            let origin = Origin::Delivery;
            self.0.accept_event(&call, qualifier, payload, origin).await
        };
        match payload {
            Ok(payload) => accept(payload).await.map_err(refusal),
            Err(error) => Err(refusal(error)),
        }
    }
}

impl Functions {
    /// Whether a delivery has a function to go to that would let in its sender, as it is now.
    ///
    /// # Errors
    /// Why not.
    pub fn would_receive(&self, delivery: &Delivery) -> Result<(), Refusal> {
        let inbox = Inbox(self.clone());
        inbox.function(delivery)?;
        inbox.admit(delivery)
    }
}

impl Inbox {
    /// The function that a delivery is for, as it is named.
    fn function(&self, delivery: &Delivery) -> Result<(FunctionRef, Arc<Function>), Refusal> {
        let to = &delivery.to;
        let missing = || {
            let error = Error::FunctionNotFound(to.clone());
            Refusal::permanent("NO_RESOURCE", error.to_string())
        };
        let named = FunctionRef::parse(to.as_str()).ok_or_else(missing)?;
        let at = named.scope(&delivery.scope);
        let functions = &self.0.inner.functions;
        let function = functions.get(&at, named.name()).ok_or_else(missing)?;
        Ok((named, function))
    }

    /// Whether the sender may invoke the function.
    fn admit(&self, delivery: &Delivery) -> Result<(), Refusal> {
        let (from, to) = (&delivery.from, &delivery.to);
        let facts = self.0.facts(to);
        let roles = &self.0.inner.roles;
        let caller = match &from.role {
            None => service(delivery),
            Some(role) => {
                let session = roles.session(role, &from.service, &from.arn);
                session.map_err(|why| Refusal::permanent("FAILED_TO_ASSUME_ROLE", why))?
            }
        };
        let mut keys: Keys = vec![
            ("aws:SourceArn".into(), vec![from.arn.to_string()]),
            (
                "aws:SourceAccount".into(),
                vec![delivery.scope.account.to_string()],
            ),
        ];
        keys.extend(facts.keys);
        let ask = Ask {
            action: ACTION,
            resource: to,
            owner: None,
            keys: &keys,
            resource_policy: facts.policy.as_ref(),
        };
        let cx = Context {
            user_agent: from.service.clone(),
            ..inside(&delivery.scope, caller, self.0.inner.clock.now_ms())
        };
        let verdict = roles.authorize(&cx, &ask);
        verdict.map_err(|why| Refusal::permanent("NO_PERMISSIONS", why))
    }
}

/// The sender as a service principal.
fn service(delivery: &Delivery) -> Caller {
    Caller {
        kind: CallerKind::Service(delivery.from.service.clone()),
        arn: Arn::any(),
        account: delivery.scope.account,
        user_id: String::new(),
        access_key_id: String::new(),
        session: None,
    }
}

/// The id of the invocation: the same each time the delivery comes, so that it is taken once.
fn request_id(delivery: &Delivery) -> String {
    let digest = Digest::of(format!("{}\0{}", delivery.to, delivery.id).as_bytes());
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&digest.as_bytes()[..16]);
    uuid::Builder::from_random_bytes(bytes)
        .into_uuid()
        .to_string()
}

/// AWS's code for what went wrong (<https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-rule-dlq.html>).
fn refusal(error: Error) -> Refusal {
    match error {
        Error::FunctionNotFound(_) => Refusal::permanent("NO_RESOURCE", error.to_string()),
        Error::PayloadNotJson(_) => Refusal::permanent("INVALID_JSON", error.to_string()),
        Error::PayloadTooLarge { .. } => Refusal::permanent("INVALID_PARAMETER", error.to_string()),
        Error::Internal(cause) => {
            tracing::error!(cause, "a delivery to a function failed");
            Refusal::transient("INTERNAL_ERROR", "An internal error occurred.")
        }
        error => Refusal::transient("ERROR_FROM_TARGET", error.to_string()),
    }
}
