//! STS, the service (`STS/latest/APIReference`): who one is, and temporary credentials.

use std::time::Duration;

use wire::{
    AccountId, Arn, CallerKind, Context, Effect, Keys, List, Operation, Protocol, Route, Scope,
    Service, Shape, Timestamp, Unbuilt, number, text,
};

use crate::authorize::name_of;
use crate::credentials::{Draft, SessionCredentials, find_role};
use crate::iam::{Tags, Unfulfilled};
use crate::limits::{SESSION_POLICY_ARNS_MAX, SESSION_POLICY_SIZE_MAX, TOKEN_BYTES_MAX};
use crate::policy::{Flavour, Policy, size_without_white_space};
use crate::records::Tag;
use crate::session::{Session, Who};
use crate::{Error, Identity, ids};

/// The STS service.
#[derive(Clone)]
pub struct Sts(pub Identity);

impl Service for Sts {
    const NAME: &'static str = "sts";
    const MODEL: &'static str = "sts";
    const PROTOCOLS: &'static [Protocol] = &[Protocol::Query];
    const API_VERSION: &'static str = "2011-06-15";
    const XML_NAMESPACE: &'static str = "https://sts.amazonaws.com/doc/2011-06-15/";
    const VALIDATION: (&'static str, u16) = ("ValidationError", 400);
    const SERIALIZATION: (&'static str, u16) = ("MalformedInput", 400);
    const OPERATIONS: &'static [Route<Self>] = &[
        Route::of::<GetCallerIdentity>(),
        Route::of::<AssumeRole>(),
        Route::of::<GetSessionToken>(),
        Route::of::<GetFederationToken>(),
        Route::of::<GetAccessKeyInfo>(),
    ];
    const UNBUILT: &'static [Unbuilt] = &[
        Unbuilt::named("AssumeRoleWithSAML"),
        Unbuilt::named("AssumeRoleWithWebIdentity"),
        Unbuilt::named("AssumeRoot"),
        Unbuilt::named("DecodeAuthorizationMessage"),
        Unbuilt::named("GetDelegatedAccessToken"),
        Unbuilt::named("GetWebIdentityToken"),
    ];
}

text! {
    /// A role, as text: one that is no ARN is refused as one that nobody may assume.
    pub struct RoleArn: 20..=2_048;
    /// What a session is called; part of its ARN.
    pub struct SessionName: 2..=64, r"[\w+=,.@-]*";
    /// What a federated user is called.
    pub struct FederatedName: 2..=32, r"[\w+=,.@-]*";
    /// A session policy.
    pub struct SessionPolicy: 1..=131_072;
    /// A managed session policy.
    pub struct SessionPolicyArn: 20..=2_048;
    /// A secret between two accounts.
    pub struct ExternalId: 2..=1_224, r"[\w+=,.@:\/-]*";
    /// An access key id, of anyone.
    pub struct AnyKeyId: 16..=128, r"[\w]*";
    /// A tag's key.
    pub struct TransitiveKey: 1..=128;
    /// A multi-factor device.
    pub struct SerialNumber: 9..=256;
    /// A multi-factor code.
    pub struct TokenCode: 6..=6, r"[\d]*";
}
number! {
    /// Seconds of a role's session.
    pub struct RoleSeconds: 900..=43_200;
    /// Bytes that a token has at least, for those who test with long ones.
    pub struct TokenBytesMin: 0..=4_096;
    /// Seconds of a user's session.
    pub struct UserSeconds: 900..=129_600;
}

/// How long a role's session lasts when nobody says.
const ROLE_SECONDS: i64 = 3_600;
/// How long a session may last that was made by a session: "a maximum of one hour".
const CHAINED_SECONDS_MAX: i64 = 3_600;
/// How long a user's session lasts when nobody says, and the longest of the root user's.
const USER_SECONDS: i64 = 43_200;
const ROOT_SECONDS_MAX: i64 = 3_600;

/// A managed session policy.
#[derive(Debug, Shape)]
pub struct PolicyDescriptorType {
    #[shape(name = "arn")]
    arn: Option<SessionPolicyArn>,
}

type PolicyArns = List<PolicyDescriptorType, 0, SESSION_POLICY_ARNS_MAX>;

/// Temporary credentials in replies.
#[derive(Debug, Shape)]
pub struct CredentialsShape {
    access_key_id: String,
    secret_access_key: String,
    session_token: String,
    expiration: Timestamp,
}

impl From<SessionCredentials> for CredentialsShape {
    fn from(made: SessionCredentials) -> Self {
        Self {
            access_key_id: made.access_key_id,
            secret_access_key: made.secret_access_key,
            session_token: made.session_token,
            expiration: Timestamp(made.expires_ms.div_euclid(1000) * 1000),
        }
    }
}

/// Who one is. Needs no permission: "no permissions are required to perform this operation".
///
/// See `STS/latest/APIReference/API_GetCallerIdentity.html`.
#[derive(Debug, Shape)]
pub struct GetCallerIdentity {}

/// Who one is.
#[derive(Debug, Shape)]
pub struct CallerIdentity {
    user_id: String,
    account: String,
    arn: String,
}

impl Operation for GetCallerIdentity {
    type Service = Sts;
    type Output = CallerIdentity;
    const NAME: &'static str = "GetCallerIdentity";
    const UNRESTRICTED: bool = true;

    fn resource(&self, _: &Scope) -> Arn {
        Arn::any()
    }

    async fn run(self, _: &Sts, cx: &Context) -> Result<CallerIdentity, wire::Error> {
        if cx.caller.kind == CallerKind::Anonymous {
            return Err(Error::AccessDenied("Access denied").into());
        }
        Ok(CallerIdentity {
            user_id: cx.caller.user_id.clone(),
            account: cx.caller.account.to_string(),
            arn: cx.caller.arn.to_string(),
        })
    }
}

/// Makes a session of a role. The role's trust policy decides, so the usual authorization is left to `run`.
///
/// See `STS/latest/APIReference/API_AssumeRole.html`.
#[derive(Debug, Shape)]
pub struct AssumeRole {
    role_arn: RoleArn,
    role_session_name: SessionName,
    policy_arns: Option<PolicyArns>,
    policy: Option<SessionPolicy>,
    duration_seconds: Option<RoleSeconds>,
    tags: Option<Tags>,
    transitive_tag_keys: Option<List<TransitiveKey, 0, 50>>,
    external_id: Option<ExternalId>,
    serial_number: Option<SerialNumber>,
    token_code: Option<TokenCode>,
    source_identity: Option<SessionName>,
    provided_contexts: Option<Unfulfilled>,
    minimum_session_token_size: Option<TokenBytesMin>,
}

/// The session of a role.
#[derive(Debug, Shape)]
pub struct AssumedRoleUser {
    assumed_role_id: String,
    arn: String,
}

/// A role's session and its credentials.
#[derive(Debug, Shape)]
pub struct AssumeRoleOutput {
    credentials: CredentialsShape,
    assumed_role_user: AssumedRoleUser,
    packed_policy_size: Option<usize>,
    source_identity: Option<String>,
    session_token_size: usize,
    session_token_utilization: usize,
}

impl Operation for AssumeRole {
    type Service = Sts;
    type Output = AssumeRoleOutput;
    const NAME: &'static str = "AssumeRole";
    /// As CloudTrail has it: a session is not a resource.
    const EFFECT: Effect = Effect::Reads;
    const UNRESTRICTED: bool = true;

    fn resource(&self, _: &Scope) -> Arn {
        Arn::parse(&self.role_arn).unwrap_or_else(Arn::any)
    }

    async fn run(self, sts: &Sts, cx: &Context) -> Result<AssumeRoleOutput, wire::Error> {
        self.assume(&sts.0, cx).map_err(Into::into)
    }
}

/// What assuming a role settles about it.
struct Assumed {
    account: AccountId,
    id: String,
    name: String,
    seconds_max: i64,
}

impl AssumeRole {
    fn assume(self, identity: &Identity, cx: &Context) -> Result<AssumeRoleOutput, Error> {
        match cx.caller.kind {
            CallerKind::Root => {
                return Err(Error::AccessDenied(
                    "Roles may not be assumed by root accounts.",
                ));
            }
            CallerKind::FederatedUser => {
                return Err(Error::AccessDenied(
                    "Roles may not be assumed by federated users.",
                ));
            }
            _ => {}
        }
        if self.serial_number.is_some() || self.token_code.is_some() {
            return Err(Error::AccessDenied(
                "MultiFactorAuthentication failed with invalid MFA one time pass code.",
            ));
        }
        let (tags, transitive) = self.session_tags(cx)?;
        let role = self.trusting_role(identity, cx, &tags)?;
        let duration = self.duration(cx, role.seconds_max)?;
        let limits = SessionLimits::new(self.policy.as_ref(), self.policy_arns.as_ref(), &tags)?;
        let source_identity = self
            .source_identity
            .map(SessionName::into_string)
            .or_else(|| {
                // "The source identity is set for the whole chain" (IAM/latest/UserGuide/id_credentials_temp_control-access_monitor.html).
                session_of(cx)?.claims.source_identity.clone()
            });
        let session = self.role_session_name.into_string();
        let who = Who::Role {
            id: role.id.clone(),
            name: role.name.clone(),
            session: session.clone(),
        };
        let credentials = identity.issue(Draft {
            policies: limits.policies,
            policy_arns: limits.arns,
            tags,
            transitive,
            source_identity: source_identity.clone(),
            token_bytes_min: bytes_min(self.minimum_session_token_size),
            ..Draft::new(role.account, who, duration)
        })?;
        Ok(AssumeRoleOutput {
            session_token_size: credentials.session_token.len(),
            session_token_utilization: utilization(&credentials),
            credentials: credentials.into(),
            assumed_role_user: AssumedRoleUser {
                assumed_role_id: format!("{}:{session}", role.id),
                arn: Arn::assumed_role(&role.account, &role.name, &session).to_string(),
            },
            packed_policy_size: limits.packed_percent,
            source_identity,
        })
    }

    /// The tags of the new session: those asked for, and those that pass on from the caller's session.
    fn session_tags(&self, cx: &Context) -> Result<(Vec<Tag>, Vec<String>), Error> {
        let mut tags = crate::iam::new_tags(self.tags.as_ref())?;
        let mut transitive: Vec<String> = self
            .transitive_tag_keys
            .iter()
            .flat_map(|keys| keys.iter().map(|key| key.to_string()))
            .collect();
        if let Some(session) = session_of(cx) {
            for key in &session.claims.transitive {
                let Some(passed) = session
                    .claims
                    .tags
                    .iter()
                    .find(|tag| tag.key.eq_ignore_ascii_case(key))
                else {
                    continue;
                };
                if tags.iter().any(|tag| tag.key.eq_ignore_ascii_case(key)) {
                    return Err(Error::InvalidInput(format!(
                        "One of the specified transitive tag keys can't be set because it conflicts with a transitive \
                         tag key from the calling session: {key}"
                    )));
                }
                tags.push(passed.clone());
                transitive.push(key.clone());
            }
        }
        Ok((tags, transitive))
    }

    fn keys(&self, tags: &[Tag]) -> Keys {
        let mut keys = crate::iam::request_tags(self.tags.as_ref());
        keys.push((
            "sts:RoleSessionName".into(),
            vec![self.role_session_name.to_string()],
        ));
        keys.extend(
            self.external_id
                .iter()
                .map(|id| ("sts:ExternalId".into(), vec![id.to_string()])),
        );
        keys.extend(
            self.source_identity
                .iter()
                .map(|id| ("sts:SourceIdentity".into(), vec![id.to_string()])),
        );
        if let Some(transitive) = &self.transitive_tag_keys {
            let names = transitive.iter().map(|key| key.to_string()).collect();
            keys.push(("sts:TransitiveTagKeys".into(), names));
        }
        if self.tags.is_none() && !tags.is_empty() {
            keys.extend(wire::tags::tag_keys(
                tags.iter().map(|tag| tag.key.as_str()),
            ));
        }
        keys
    }

    /// The role, if its trust policy and the caller's own policies let the caller assume it.
    fn trusting_role(
        &self,
        identity: &Identity,
        cx: &Context,
        tags: &[Tag],
    ) -> Result<Assumed, Error> {
        let may_not = |action| Error::MayNot {
            who: name_of(&cx.caller),
            action,
            resource: self.role_arn.to_string(),
        };
        let missing = || may_not("sts:AssumeRole");
        let arn = Arn::parse(&self.role_arn)
            .ok_or_else(|| Error::Validation(format!("{} is invalid", self.role_arn)))?;
        let account = AccountId::new(arn.account()).ok_or_else(missing)?;
        let standing = identity.standing(&cx.caller);
        let keys = self.keys(tags);
        let mut actions = vec!["sts:AssumeRole"];
        actions.extend((!tags.is_empty()).then_some("sts:TagSession"));
        actions.extend(
            self.source_identity
                .is_some()
                .then_some("sts:SetSourceIdentity"),
        );
        // Found once and held by itself: the state is looked at again while deciding.
        let role = identity
            .0
            .book
            .look(&account, |found| find_role(found, &account, &arn).cloned());
        let role = role.ok_or_else(missing)?;
        for action in actions {
            let decision = identity.decide_trust(cx, &standing, &role, action, &arn, &keys);
            if !decision.allowed() {
                tracing::debug!(why = ?decision.why, action, role = %arn, "not trusted");
                return Err(may_not(action));
            }
        }
        Ok(Assumed {
            account,
            id: role.record.base.id.clone(),
            name: role.record.base.name.clone(),
            seconds_max: role.record.session_seconds_max,
        })
    }

    fn duration(&self, cx: &Context, seconds_max: i64) -> Result<Duration, Error> {
        let seconds = self.duration_seconds.map_or(ROLE_SECONDS, RoleSeconds::get);
        if cx.caller.kind == CallerKind::RoleSession && seconds > CHAINED_SECONDS_MAX {
            return Err(Error::Validation(
                "The requested DurationSeconds exceeds the 1 hour session limit for roles assumed by role chaining"
                    .to_owned(),
            ));
        }
        if seconds > seconds_max {
            return Err(Error::Validation(
                "The requested DurationSeconds exceeds the MaxSessionDuration set for this role."
                    .to_owned(),
            ));
        }
        Ok(lasting(seconds))
    }
}

fn lasting(seconds: i64) -> Duration {
    Duration::from_secs(seconds.unsigned_abs())
}

fn bytes_min(asked: Option<TokenBytesMin>) -> usize {
    asked.map_or(0, |bytes| usize::try_from(bytes.get()).unwrap_or(0))
}

/// How full a token is, in percent of the longest that STS gives out.
fn utilization(made: &SessionCredentials) -> usize {
    (made.session_token.len() * 100).div_ceil(TOKEN_BYTES_MAX)
}

fn session_of(cx: &Context) -> Option<&Session> {
    cx.caller.session.as_ref()?.downcast_ref()
}

/// Session policies, checked.
struct SessionLimits {
    policies: Option<Vec<String>>,
    arns: Vec<String>,
    packed_percent: Option<usize>,
}

impl SessionLimits {
    fn new(
        policy: Option<&SessionPolicy>,
        arns: Option<&PolicyArns>,
        tags: &[Tag],
    ) -> Result<Self, Error> {
        if let Some(text) = policy {
            Policy::parse(text, Flavour::Inline)?;
        }
        let arns: Vec<String> = arns
            .iter()
            .flat_map(|arns| {
                arns.iter()
                    .filter_map(|one| one.arn.as_ref())
                    .map(|arn| arn.to_string())
            })
            .collect();
        if let Some(arn) = arns.iter().find(|arn| Arn::parse(arn).is_none()) {
            return Err(Error::Validation(format!("{arn} is invalid")));
        }
        let text = policy.map_or(0, |text| size_without_white_space(text));
        let tag_size: usize = tags.iter().map(|tag| tag.key.len() + tag.value.len()).sum();
        let size = text + tag_size + arns.iter().map(String::len).sum::<usize>();
        let percent = (size * 100).div_ceil(SESSION_POLICY_SIZE_MAX);
        if percent > 100 {
            return Err(Error::PackedPolicy { percent });
        }
        Ok(Self {
            policies: policy.map(|text| vec![compact(text)]),
            arns,
            packed_percent: (size > 0).then_some(percent),
        })
    }
}

/// A policy without its white space: that does not count against the limit, and would make tokens of any length.
fn compact(policy: &str) -> String {
    let value: Result<serde_json::Value, _> = serde_json::from_str(policy);
    value.map_or_else(|_| policy.to_owned(), |value| value.to_string())
}

/// Makes a session of the calling user. Needs no permission: "no permissions are required for users to perform this
/// operation".
///
/// See `STS/latest/APIReference/API_GetSessionToken.html`.
#[derive(Debug, Shape)]
pub struct GetSessionToken {
    duration_seconds: Option<UserSeconds>,
    serial_number: Option<SerialNumber>,
    token_code: Option<TokenCode>,
    minimum_session_token_size: Option<TokenBytesMin>,
}

/// Temporary credentials.
#[derive(Debug, Shape)]
pub struct SessionTokenOutput {
    credentials: CredentialsShape,
    session_token_size: usize,
    session_token_utilization: usize,
}

impl Operation for GetSessionToken {
    type Service = Sts;
    type Output = SessionTokenOutput;
    const NAME: &'static str = "GetSessionToken";
    const UNRESTRICTED: bool = true;

    fn resource(&self, _: &Scope) -> Arn {
        Arn::any()
    }

    async fn run(self, sts: &Sts, cx: &Context) -> Result<SessionTokenOutput, wire::Error> {
        self.make(&sts.0, cx).map_err(Into::into)
    }
}

impl GetSessionToken {
    fn make(self, identity: &Identity, cx: &Context) -> Result<SessionTokenOutput, Error> {
        if self.serial_number.is_some() || self.token_code.is_some() {
            return Err(Error::AccessDenied(
                "MultiFactorAuthentication failed with invalid MFA one time pass code.",
            ));
        }
        let (who, seconds) = match (&cx.caller.kind, session_of(cx)) {
            (_, Some(_)) => {
                return Err(Error::AccessDenied(
                    "Cannot call GetSessionToken with session credentials",
                ));
            }
            (CallerKind::Root, None) => (Who::Root, self.seconds().min(ROOT_SECONDS_MAX)),
            (CallerKind::User, None) => (
                Who::User {
                    id: cx.caller.user_id.clone(),
                },
                self.seconds(),
            ),
            _ => {
                return Err(Error::AccessDenied(
                    "Cannot call GetSessionToken without long-term credentials",
                ));
            }
        };
        let credentials = identity.issue(Draft {
            token_bytes_min: bytes_min(self.minimum_session_token_size),
            ..Draft::new(cx.caller.account, who, lasting(seconds))
        })?;
        Ok(SessionTokenOutput {
            session_token_size: credentials.session_token.len(),
            session_token_utilization: utilization(&credentials),
            credentials: credentials.into(),
        })
    }

    fn seconds(&self) -> i64 {
        self.duration_seconds.map_or(USER_SECONDS, UserSeconds::get)
    }
}

/// Makes a session of a name that the caller makes up, limited by session policies.
///
/// See `STS/latest/APIReference/API_GetFederationToken.html`.
#[derive(Debug, Shape)]
pub struct GetFederationToken {
    name: FederatedName,
    policy: Option<SessionPolicy>,
    policy_arns: Option<PolicyArns>,
    duration_seconds: Option<UserSeconds>,
    tags: Option<Tags>,
    minimum_session_token_size: Option<TokenBytesMin>,
}

/// The session of a federated user.
#[derive(Debug, Shape)]
pub struct FederatedUser {
    federated_user_id: String,
    arn: String,
}

/// A federated user's session and its credentials.
#[derive(Debug, Shape)]
pub struct FederationTokenOutput {
    credentials: CredentialsShape,
    federated_user: FederatedUser,
    packed_policy_size: Option<usize>,
    session_token_size: usize,
    session_token_utilization: usize,
}

impl Operation for GetFederationToken {
    type Service = Sts;
    type Output = FederationTokenOutput;
    const NAME: &'static str = "GetFederationToken";

    fn resource(&self, at: &Scope) -> Arn {
        federated(&at.account, &self.name)
    }

    fn condition_keys(&self, _: &Sts, _: &Context) -> Keys {
        crate::iam::request_tags(self.tags.as_ref())
    }

    async fn run(self, sts: &Sts, cx: &Context) -> Result<FederationTokenOutput, wire::Error> {
        self.make(&sts.0, cx).map_err(Into::into)
    }
}

fn federated(account: &AccountId, name: &str) -> Arn {
    Arn::global("sts", account, format_args!("federated-user/{name}"))
}

impl GetFederationToken {
    fn make(self, identity: &Identity, cx: &Context) -> Result<FederationTokenOutput, Error> {
        let (id, longest) = match (&cx.caller.kind, session_of(cx)) {
            (CallerKind::Root, None) => (None, ROOT_SECONDS_MAX),
            (CallerKind::User, None) => (Some(cx.caller.user_id.clone()), i64::MAX),
            _ => {
                return Err(Error::AccessDenied(
                    "Cannot call GetFederationToken with session credentials",
                ));
            }
        };
        let tags = crate::iam::new_tags(self.tags.as_ref())?;
        let limits = SessionLimits::new(self.policy.as_ref(), self.policy_arns.as_ref(), &tags)?;
        let seconds = self
            .duration_seconds
            .map_or(USER_SECONDS, UserSeconds::get)
            .min(longest);
        let account = cx.caller.account;
        let who = Who::Federated {
            id,
            name: self.name.to_string(),
        };
        let credentials = identity.issue(Draft {
            policies: limits.policies,
            policy_arns: limits.arns,
            tags,
            token_bytes_min: bytes_min(self.minimum_session_token_size),
            ..Draft::new(account, who, lasting(seconds))
        })?;
        Ok(FederationTokenOutput {
            session_token_size: credentials.session_token.len(),
            session_token_utilization: utilization(&credentials),
            credentials: credentials.into(),
            federated_user: FederatedUser {
                federated_user_id: format!("{account}:{}", self.name),
                arn: federated(&account, &self.name).to_string(),
            },
            packed_policy_size: limits.packed_percent,
        })
    }
}

/// Shows the account that an access key id belongs to, which is part of the id.
///
/// See `STS/latest/APIReference/API_GetAccessKeyInfo.html`.
#[derive(Debug, Shape)]
pub struct GetAccessKeyInfo {
    access_key_id: AnyKeyId,
}

/// An account.
#[derive(Debug, Shape)]
pub struct AccessKeyInfo {
    account: String,
}

impl Operation for GetAccessKeyInfo {
    type Service = Sts;
    type Output = AccessKeyInfo;
    const NAME: &'static str = "GetAccessKeyInfo";

    fn resource(&self, _: &Scope) -> Arn {
        Arn::any()
    }

    async fn run(self, _: &Sts, _: &Context) -> Result<AccessKeyInfo, wire::Error> {
        let invalid =
            || Error::Validation(format!("Invalid access key ID: {}", self.access_key_id));
        let account = ids::account_of_key(&self.access_key_id).ok_or_else(invalid)?;
        Ok(AccessKeyInfo {
            account: account.to_string(),
        })
    }
}
