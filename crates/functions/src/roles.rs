//! Execution roles: what functions run as.

use std::time::{Duration, SystemTime};

use engine::Credentials;
use identity::{Identity, RoleSession};
use wire::{AccountId, Arn, Ask, Authorizer, Caller, Context, Keys, Scope};

/// Who assumes execution roles.
pub(crate) const SERVICE: &str = "lambda.amazonaws.com";
/// As long as IAM lets a session of a role be.
pub const SESSION_MAX: Duration = Duration::from_secs(12 * 3600);

/// Execution roles, and what callers may do beyond what the router asked. Never touches the disk.
pub trait Roles: Authorizer {
    /// Whether there is this role and it lets Lambda assume it for the function.
    fn assumable(&self, role: &str, function: &Arn) -> bool;

    /// Credentials of a session of the role, named after the function, that are good for so long; the error is for operators.
    fn credentials(
        &self,
        role: &str,
        function: &Arn,
        lasting: Duration,
    ) -> Result<Credentials, String>;

    /// A session of the role, for a service that acts on behalf of `source`; the error is for operators.
    fn session(&self, role: &Arn, service: &str, source: &Arn) -> Result<Caller, String>;

    /// Whether a function in this scope with this role may do this.
    fn may(&self, role: &str, at: &Scope, action: &str, resource: &Arn) -> bool;
}

impl Roles for Identity {
    fn assumable(&self, role: &str, function: &Arn) -> bool {
        Arn::parse(role).is_some_and(|role| self.may_assume(&session(&role, function)).is_ok())
    }

    fn credentials(
        &self,
        role: &str,
        function: &Arn,
        lasting: Duration,
    ) -> Result<Credentials, String> {
        let role = Arn::parse(role).ok_or_else(|| format!("{role} is no ARN"))?;
        let made = self.role_session(&RoleSession {
            duration: lasting,
            ..session(&role, function)
        });
        let made = made.map_err(|error| error.to_string())?;
        let expires_ms = u64::try_from(made.expires_ms).unwrap_or_default();
        Ok(Credentials {
            access_key_id: made.access_key_id,
            secret_access_key: made.secret_access_key,
            session_token: made.session_token,
            expires: SystemTime::UNIX_EPOCH + Duration::from_millis(expires_ms),
        })
    }

    fn session(&self, role: &Arn, service: &str, source: &Arn) -> Result<Caller, String> {
        // A function's name, whatever its qualifier; else the last word, such as a rule's.
        let words = source.resource().strip_prefix("function:");
        let name = match words {
            Some(function) => function.split(':').next(),
            None => source.resource().rsplit([':', '/']).next(),
        };
        let caller = self.role_caller(&RoleSession {
            name: name.unwrap_or(service),
            service,
            ..session(role, source)
        });
        caller.map_err(|error| error.to_string())
    }

    fn may(&self, role: &str, at: &Scope, action: &str, resource: &Arn) -> bool {
        let now = jiff::Timestamp::now();
        let function = Arn::function(at, "logs", None);
        let role = Arn::parse(role);
        let caller = role.and_then(|role| Roles::session(self, &role, SERVICE, &function).ok());
        let Some(caller) = caller else {
            return false;
        };
        let ask = Ask {
            action,
            resource,
            owner: None,
            keys: &Keys::new(),
            resource_policy: None,
        };
        let cx = inside(at, caller, now.as_millisecond());
        self.authorize(&cx, &ask).is_ok()
    }
}

fn session<'a>(role: &'a Arn, function: &'a Arn) -> RoleSession<'a> {
    let name = function.resource().strip_prefix("function:");
    RoleSession {
        role,
        name: name.unwrap_or(function.resource()),
        service: SERVICE,
        source_arn: Some(function),
        region: function.region(),
        duration: SESSION_MAX,
    }
}

/// A request that nobody sent.
pub(crate) fn inside(at: &Scope, caller: Caller, now_ms: i64) -> Context {
    Context {
        request_id: String::new(),
        scope: Scope {
            account: AccountId::new(&caller.account).unwrap_or(at.account),
            region: at.region.clone(),
        },
        caller,
        source_ip: None,
        user_agent: "lambda.amazonaws.com".to_owned(),
        secure: false,
        now_ms,
        host: String::new(),
        trace_id: None,
    }
}
