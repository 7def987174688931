//! What EventBridge Scheduler needs of the services around it: roles to act in, and the operations that its universal
//! targets name, run in this process as the schedule's role.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use async_trait::async_trait;
use delivery::{Delivery, Recipient, Refusal};
use events::scheduler::{PRINCIPAL, Surroundings, operation_of};
use identity::{CannotAssume, Identity, RoleSession};
use store::Clock;
use wire::{Arn, Caller, Context, Error, Router};

/// The SDKs' names of services in lower case, where botocore's folders are named otherwise.
const SDK_NAMES: &[(&str, &str)] = &[("eventbridge", "events"), ("cloudwatchlogs", "logs")];
/// How long a session for one invocation lasts: the shortest that STS makes.
const SESSION: Duration = Duration::from_secs(900);

/// The services by their operations, once they are there.
pub struct Platform {
    identity: Identity,
    clock: Arc<dyn Clock>,
    router: RwLock<Option<Arc<Router>>>,
}

impl Platform {
    /// Without operations yet.
    pub fn new(identity: Identity, clock: Arc<dyn Clock>) -> Arc<Self> {
        Arc::new(Self {
            identity,
            clock,
            router: RwLock::default(),
        })
    }

    /// Gives or takes the operations. The router holds services that hold this, so it is taken when they stop.
    pub fn set_router(&self, router: Option<Router>) {
        let mut slot = self.router.write().unwrap_or_else(PoisonError::into_inner);
        *slot = router.map(Arc::new);
    }

    fn router(&self) -> Option<Arc<Router>> {
        let slot = self.router.read().unwrap_or_else(PoisonError::into_inner);
        slot.clone()
    }

    /// A session of the schedule's role.
    fn caller(&self, delivery: &Delivery) -> Result<Caller, Refusal> {
        let failed = |why: String| Refusal::transient("INTERNAL_ERROR", why);
        let role = delivery.from.role.as_ref();
        let role = role.ok_or_else(|| failed("The schedule has no role.".to_owned()))?;
        let made = self
            .identity
            .role_session(&session(role, &delivery.from.arn));
        let made = made.map_err(|error| match error {
            CannotAssume::Failed(error) => failed(error.to_string()),
            refused => Refusal::permanent("NO_PERMISSIONS", refused.to_string()),
        })?;
        let now = jiff::Timestamp::from_millisecond(self.clock.now_ms());
        let now = now.map_err(|error| failed(error.to_string()))?;
        let found = self
            .identity
            .find_key(&made.access_key_id, Some(&made.session_token), now)
            .map_err(|refusal| failed(format!("{refusal:?}")))?;
        Ok(found.caller)
    }
}

/// botocore's name of a service, and AWS's name of an operation.
fn names(service: &str, operation: &str) -> (String, String) {
    let renamed = SDK_NAMES.iter().find(|(sdk, _)| *sdk == service);
    let model = renamed.map_or(service, |(_, model)| model);
    let mut letters = operation.chars();
    let first = letters.next().map(|letter| letter.to_ascii_uppercase());
    (model.to_owned(), first.into_iter().chain(letters).collect())
}

/// A session on behalf of a schedule's group.
fn session<'a>(role: &'a Arn, group: &'a Arn) -> RoleSession<'a> {
    RoleSession {
        role,
        name: "aws-scheduler",
        service: PRINCIPAL,
        source_arn: Some(group),
        region: group.region(),
        duration: SESSION,
    }
}

impl Surroundings for Platform {
    fn assumable(&self, role: &Arn, group: &Arn) -> bool {
        self.identity.may_assume(&session(role, group)).is_ok()
    }

    fn check_operation(
        &self,
        service: &str,
        operation: &str,
        input: Option<&str>,
    ) -> Result<(), String> {
        let (model, name) = names(service, operation);
        let router = self.router();
        let call = router
            .as_ref()
            .and_then(|router| router.operation(&model, &name));
        let Some(call) = call else {
            return Err(format!(
                "Mayfly has no operation {operation} of a service {service} yet. Write the service as the SDKs do in lower case and the operation in camelCase, as in aws-sdk:lambda:invoke."
            ));
        };
        match call.parameters(input.unwrap_or("{}").as_bytes()) {
            Ok(_) => Ok(()),
            Err(error) => Err(format!(
                "Invalid RequestJson provided. Reason {}",
                error.message
            )),
        }
    }
}

/// Runs the operations of universal targets.
pub struct UniversalTargets(pub Arc<Platform>);

#[async_trait]
impl Recipient for UniversalTargets {
    fn takes(&self, to: &Arn) -> bool {
        operation_of(to).is_some()
    }

    async fn receive(&self, delivery: &Delivery) -> Result<(), Refusal> {
        let platform = &self.0;
        let (service, operation) = operation_of(&delivery.to).unwrap_or_default();
        let (model, name) = names(service, operation);
        let router = platform.router();
        let Some(call) = router
            .as_ref()
            .and_then(|router| router.operation(&model, &name))
        else {
            let why = format!("Mayfly has no operation {operation} of a service {service}.");
            return Err(Refusal::permanent("NO_RESOURCE", why));
        };
        let cx = Context {
            request_id: uuid::Uuid::new_v4().to_string(),
            caller: platform.caller(delivery)?,
            scope: delivery.scope.clone(),
            source_ip: None,
            user_agent: PRINCIPAL.to_owned(),
            secure: true,
            now_ms: platform.clock.now_ms(),
            host: String::new(),
            trace_id: delivery.trace_id.clone(),
        };
        let parameters = call.parameters(&delivery.payload).map_err(refusal)?;
        let ran = call.run(parameters, &cx, &platform.identity).await;
        ran.map(drop).map_err(refusal)
    }
}

/// What the operation answered. A client would try again what failed on the server's side, and what was throttled.
fn refusal(error: Error) -> Refusal {
    let transient = error.status >= 500 || error.status == 429;
    let code = match error.status {
        403 => "NO_PERMISSIONS",
        404 => "NO_RESOURCE",
        429 => "THROTTLING",
        500.. => "INTERNAL_ERROR",
        _ => "INVALID_PARAMETER",
    };
    Refusal {
        code,
        message: format!("{}: {}", error.code, error.message),
        transient,
    }
}
