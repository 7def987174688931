//! Execution roles, as functions need them, answered by identity.

use std::time::{Duration, UNIX_EPOCH};

use engine::Credentials;
use functions::Roles;
use identity::{Identity, RoleSession};
use jiff::Timestamp;
use wire::{Arn, Ask, Authorizer, Context, Keys, Region, Scope};

/// Who assumes execution roles.
const LAMBDA: &str = "lambda.amazonaws.com";
/// The region of what has none.
const GLOBAL_REGION: &str = "us-east-1";
/// How long the credentials of an environment are good; it is replaced before they end.
const SESSION: Duration = Duration::from_secs(12 * 3600);

/// The roles that identity knows.
pub struct RolesOf(pub Identity);

impl Roles for RolesOf {
    fn assumable(&self, role: &str) -> bool {
        Arn::parse(role).is_some_and(|role| self.0.may_assume(&session(&role, "check")).is_ok())
    }

    fn credentials(&self, role: &str, name: &str) -> Result<Credentials, String> {
        let role = Arn::parse(role).ok_or_else(|| format!("{role} is not an ARN"))?;
        let made = self.0.role_session(&session(&role, name));
        let made = made.map_err(|cause| cause.to_string())?;
        let expires_ms = u64::try_from(made.expires_ms).map_err(|cause| cause.to_string())?;
        Ok(Credentials {
            access_key_id: made.access_key_id,
            secret_access_key: made.secret_access_key,
            session_token: made.session_token,
            expires: UNIX_EPOCH + Duration::from_millis(expires_ms),
        })
    }

    fn may(&self, role: &str, action: &str, resource: &Arn) -> bool {
        let answer = Arn::parse(role).and_then(|role| self.ask(&role, action, resource));
        answer.unwrap_or(false)
    }
}

impl RolesOf {
    /// Asks as a session of the role would. `None` when there can be no such session.
    fn ask(&self, role: &Arn, action: &str, resource: &Arn) -> Option<bool> {
        let made = self.0.role_session(&session(role, "check")).ok()?;
        let now = Timestamp::now();
        let token = Some(made.session_token.as_str());
        let caller = self
            .0
            .find_key(&made.access_key_id, token, now)
            .ok()?
            .caller;
        let context = Context {
            request_id: String::new(),
            scope: Scope {
                account: caller.account,
                region: Region::new(resource.region()).or_else(|| Region::new(GLOBAL_REGION))?,
            },
            caller,
            source_ip: None,
            user_agent: String::new(),
            secure: true,
            now_ms: now.as_millisecond(),
            host: String::new(),
            trace_id: None,
        };
        let ask = Ask {
            action,
            resource,
            keys: &Keys::new(),
            resource_policy: None,
        };
        Some(self.0.authorize(&context, &ask).is_ok())
    }
}

fn session<'a>(role: &'a Arn, name: &'a str) -> RoleSession<'a> {
    RoleSession {
        role,
        name,
        service: LAMBDA,
        source_arn: None,
        region: GLOBAL_REGION,
        duration: SESSION,
    }
}
