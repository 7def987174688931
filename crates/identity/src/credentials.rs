//! Whose access key, and how sessions are made.

use std::cell::LazyCell;
use std::sync::Arc;
use std::time::Duration;

use wire::sigv4::Refusal;
use wire::{AccountId, Arn, Caller, CallerKind};

use crate::policy::{Context as Facts, Policies, Principal, Request, evaluate};
use crate::records::{AccessKey, Role, User};
use crate::session::{Claims, Session, Who};
use crate::state::{Account, Owner, State};
use crate::{Error, Identity, ids};

/// Dev mode's access key id of [`DEV_ACCOUNT`], and every dev credential's secret.
const DEV_WORD: &str = "test";
/// The account that dev mode's key pair belongs to.
const DEV_ACCOUNT: &str = "000000000000";

/// An access key and who it stands for.
pub struct Found {
    /// The secret access key.
    pub secret: Box<[u8]>,
    /// The principal.
    pub caller: Caller,
}

/// A service that wants to act in a role.
#[derive(Debug, Clone, Copy)]
pub struct RoleSession<'a> {
    /// The role.
    pub role: &'a Arn,
    /// The session's name; for a function, the function's.
    pub name: &'a str,
    /// Who asks, such as `lambda.amazonaws.com`.
    pub service: &'a str,
    /// On whose behalf, for trust policies with `aws:SourceArn`.
    pub source_arn: Option<&'a Arn>,
    /// The region that the session is for.
    pub region: &'a str,
    /// How long.
    pub duration: Duration,
}

/// Temporary credentials.
#[derive(Clone)]
pub struct SessionCredentials {
    /// `ASIA...`
    pub access_key_id: String,
    /// The secret access key.
    pub secret_access_key: String,
    /// The session token.
    pub session_token: String,
    /// When they end, in milliseconds since 1970.
    pub expires_ms: i64,
}

/// Not the secrets.
impl std::fmt::Debug for SessionCredentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SessionCredentials")
            .field("access_key_id", &self.access_key_id)
            .finish_non_exhaustive()
    }
}

/// Why a service cannot act in a role.
#[derive(Debug, thiserror::Error)]
pub enum CannotAssume {
    /// There is no such role. Lambda tells users the same as for [`CannotAssume::NotTrusted`].
    #[error("there is no role {0}")]
    NoRole(Arn),
    /// The role's trust policy does not name the service, or denies it.
    #[error("the trust policy of {role} does not let {service} assume the role")]
    NotTrusted {
        /// The role.
        role: Arn,
        /// The service.
        service: String,
    },
    /// No randomness.
    #[error(transparent)]
    Failed(#[from] Error),
}

impl Identity {
    /// The secret and the owner of an access key; a session's only together with its token.
    ///
    /// # Errors
    /// [`Refusal::UnknownClient`] when there is no such key, it is inactive, or its owner is gone;
    /// [`Refusal::ExpiredToken`] when the session is over.
    pub fn find_key(
        &self,
        access_key_id: &str,
        session_token: Option<&str>,
        now: jiff::Timestamp,
    ) -> Result<Found, Refusal> {
        match session_token {
            Some(token) => self.find_session(access_key_id, token, now),
            None => self
                .find_long_term(access_key_id)
                .or_else(|refusal| self.find_dev(access_key_id).ok_or(refusal)),
        }
    }

    fn find_long_term(&self, key_id: &str) -> Result<Found, Refusal> {
        self.0.book.read(|state| {
            let (id, owner) = state.owner(key_id).ok_or(Refusal::UnknownClient)?;
            let account = state.account(id).ok_or(Refusal::UnknownClient)?;
            let (keys, caller) = match owner {
                Owner::Root => (
                    &account.root().ok_or(Refusal::UnknownClient)?.keys,
                    root_caller(id, key_id),
                ),
                Owner::User(name) => {
                    let user = account.user(name).map_err(|_| Refusal::UnknownClient)?;
                    (&user.keys, user_caller(id, user, key_id))
                }
            };
            let key = keys
                .iter()
                .find(|key| key.id == key_id && key.active)
                .ok_or(Refusal::UnknownClient)?;
            Ok(Found {
                secret: key.secret.as_bytes().into(),
                caller,
            })
        })
    }

    fn find_dev(&self, key_id: &str) -> Option<Found> {
        if !self.0.settings.dev {
            return None;
        }
        let account = AccountId::new(if key_id == DEV_WORD {
            DEV_ACCOUNT
        } else {
            key_id
        })?;
        Some(Found {
            secret: DEV_WORD.as_bytes().into(),
            caller: root_caller(&account, key_id),
        })
    }

    fn find_session(
        &self,
        key_id: &str,
        token: &str,
        now: jiff::Timestamp,
    ) -> Result<Found, Refusal> {
        let session = self.0.sessions.find(token).ok_or(Refusal::UnknownClient)?;
        if session.claims.key_id != key_id {
            return Err(Refusal::UnknownClient);
        }
        if session.claims.expires_ms <= now.as_millisecond() {
            return Err(Refusal::ExpiredToken);
        }
        let caller = self
            .0
            .book
            .read(|state| session_caller(state, self, &session))
            .ok_or(Refusal::UnknownClient)?;
        Ok(Found {
            secret: session.claims.secret.as_bytes().into(),
            caller: Caller {
                session: Some(session),
                ..caller
            },
        })
    }

    /// Lets a service act in a role, as Lambda does in a function's execution role. No disk, no waiting.
    ///
    /// # Errors
    /// [`CannotAssume`] when there is no such role or its trust policy does not name the service.
    pub fn role_session(&self, ask: &RoleSession<'_>) -> Result<SessionCredentials, CannotAssume> {
        Ok(self.issue(self.role_draft(ask)?)?)
    }

    /// Who a service is that acts in a role by itself, and so needs no keys of a session.
    ///
    /// # Errors
    /// As [`Identity::role_session`].
    pub fn role_caller(&self, ask: &RoleSession<'_>) -> Result<Caller, CannotAssume> {
        let draft = self.role_draft(ask)?;
        let session = Arc::new(Session {
            account: draft.account,
            claims: self.claims(draft)?,
            inline: Vec::new(),
        });
        let book = &self.0.book;
        let caller = book.read(|state| session_caller(state, self, &session));
        Ok(Caller {
            session: Some(session),
            ..caller.ok_or_else(|| CannotAssume::NoRole(ask.role.clone()))?
        })
    }

    fn role_draft(&self, ask: &RoleSession<'_>) -> Result<Draft, CannotAssume> {
        let (account, id, name) = self.trusts_service(ask)?;
        let who = Who::Role {
            id,
            name,
            session: ask.name.to_owned(),
        };
        Ok(Draft::new(account, who, ask.duration))
    }

    /// Whether [`Identity::role_session`] would succeed, for checks when a role is configured.
    ///
    /// # Errors
    /// As [`Identity::role_session`].
    pub fn may_assume(&self, ask: &RoleSession<'_>) -> Result<(), CannotAssume> {
        self.trusts_service(ask).map(drop)
    }

    fn trusts_service(
        &self,
        ask: &RoleSession<'_>,
    ) -> Result<(AccountId, String, String), CannotAssume> {
        let no_role = || CannotAssume::NoRole(ask.role.clone());
        let account = AccountId::new(ask.role.account()).ok_or_else(no_role)?;
        let facts = LazyCell::new(|| {
            let mut facts = Facts::default();
            facts.set("aws:PrincipalIsAWSService", "true");
            facts.set("aws:PrincipalServiceName", ask.service);
            facts.set("aws:RequestedRegion", ask.region);
            facts.set("sts:RoleSessionName", ask.name);
            if let Some(source) = ask.source_arn {
                facts.set("aws:SourceArn", source.as_str());
                facts.set("aws:SourceAccount", source.account());
            }
            crate::authorize::set_time(&mut facts, self.0.clock.now_ms());
            facts
        });
        self.0.book.look(&account, |found| {
            let role = find_role(found, &account, ask.role).ok_or_else(no_role)?;
            let request = Request {
                principal: &Principal::Service {
                    name: ask.service.to_owned(),
                },
                action: "sts:AssumeRole",
                resource: ask.role.as_str(),
                resource_account: &account,
                context: &facts,
                resource_policy_required: true,
            };
            let policies = Policies {
                resource: Some(&role.compiled.trust),
                ..Policies::default()
            };
            if !evaluate(&request, &policies).allowed() {
                return Err(CannotAssume::NotTrusted {
                    role: ask.role.clone(),
                    service: ask.service.to_owned(),
                });
            }
            Ok((
                account,
                role.record.base.id.clone(),
                role.record.base.name.clone(),
            ))
        })
    }

    /// Makes the credentials of a session.
    pub(crate) fn issue(&self, draft: Draft) -> Result<SessionCredentials, Error> {
        let bytes_min = draft.token_bytes_min;
        let claims = self.claims(draft)?;
        Ok(SessionCredentials {
            session_token: self.0.sessions.seal(&claims, bytes_min)?,
            access_key_id: claims.key_id,
            secret_access_key: claims.secret,
            expires_ms: claims.expires_ms,
        })
    }

    fn claims(&self, draft: Draft) -> Result<Claims, Error> {
        let issued_ms = self.0.clock.now_ms();
        let lasts_ms = i64::try_from(draft.duration.as_millis()).unwrap_or(i64::MAX);
        Ok(Claims {
            key_id: ids::access_key("ASIA", &draft.account)?,
            secret: ids::secret()?,
            account: draft.account.to_string(),
            issued_ms,
            expires_ms: issued_ms.saturating_add(lasts_ms),
            who: draft.who,
            policies: draft.policies,
            policy_arns: draft.policy_arns,
            tags: draft.tags,
            transitive: draft.transitive,
            source_identity: draft.source_identity,
        })
    }
}

/// A session that is about to be.
pub(crate) struct Draft {
    pub account: AccountId,
    pub who: Who,
    pub duration: Duration,
    pub policies: Option<Vec<String>>,
    pub policy_arns: Vec<String>,
    pub tags: Vec<crate::records::Tag>,
    pub transitive: Vec<String>,
    pub source_identity: Option<String>,
    /// How long the token is made at least.
    pub token_bytes_min: usize,
}

impl Draft {
    pub fn new(account: AccountId, who: Who, duration: Duration) -> Self {
        Self {
            account,
            who,
            duration,
            policies: None,
            policy_arns: Vec::new(),
            tags: Vec::new(),
            transitive: Vec::new(),
            source_identity: None,
            token_bytes_min: 0,
        }
    }
}

/// A role by its whole ARN.
pub(crate) fn find_role<'a>(
    account: &'a Account,
    id: &AccountId,
    arn: &Arn,
) -> Option<&'a Arc<crate::state::Held<Role>>> {
    let name = arn.resource().strip_prefix("role/")?.rsplit('/').next()?;
    account
        .get::<Role>(name)
        .filter(|role| role.record.arn(id) == *arn)
}

fn root_caller(account: &AccountId, key_id: &str) -> Caller {
    Caller {
        kind: CallerKind::Root,
        arn: Arn::root(account),
        account: *account,
        user_id: account.to_string(),
        access_key_id: key_id.to_owned(),
        session: None,
    }
}

fn user_caller(account: &AccountId, user: &User, key_id: &str) -> Caller {
    Caller {
        kind: CallerKind::User,
        arn: user.arn(account),
        account: *account,
        user_id: user.base.id.clone(),
        access_key_id: key_id.to_owned(),
        session: None,
    }
}

/// Who a session stands for, if they still exist as they were.
fn session_caller(state: &State, identity: &Identity, session: &Session) -> Option<Caller> {
    let (id, claims) = (&session.account, &session.claims);
    let root_since = || match state.account(id).and_then(Account::root) {
        Some(root) => Some(root.created_ms),
        None => identity.0.settings.dev.then_some(0),
    };
    let by_id = |wanted: &String| {
        let users = state.account(id)?.users.values();
        users
            .map(|user| &user.record)
            .find(|user| user.base.id == *wanted)
    };
    match &claims.who {
        Who::Root => (root_since()? <= claims.issued_ms).then(|| root_caller(id, &claims.key_id)),
        Who::User { id: wanted } => Some(user_caller(id, by_id(wanted)?, &claims.key_id)),
        Who::Role {
            id: wanted,
            name,
            session,
        } => {
            let role = state
                .account(id)?
                .role(name)
                .ok()
                .filter(|role| role.base.id == *wanted)?;
            Some(Caller {
                kind: CallerKind::RoleSession,
                arn: Arn::assumed_role(id, &role.base.name, session),
                account: *id,
                user_id: format!("{wanted}:{session}"),
                access_key_id: claims.key_id.clone(),
                session: None,
            })
        }
        Who::Federated { id: by, name } => {
            let alive = match by {
                Some(by) => by_id(by).is_some(),
                None => root_since()? <= claims.issued_ms,
            };
            alive.then(|| Caller {
                kind: CallerKind::FederatedUser,
                arn: Arn::global("sts", id, format_args!("federated-user/{name}")),
                account: *id,
                user_id: format!("{id}:{name}"),
                access_key_id: claims.key_id.clone(),
                session: None,
            })
        }
    }
}

/// Keys without their secrets, newest last; for lists.
pub(crate) fn find_access_key<'a>(
    keys: &'a mut [AccessKey],
    id: &str,
) -> Result<&'a mut AccessKey, Error> {
    keys.iter_mut()
        .find(|key| key.id == id)
        .ok_or_else(|| Error::NoAccessKey(id.to_owned()))
}
