//! [`Operation`]: one AWS operation as a type, with its name, IAM action, resource and body; and what it runs in.

use std::any::Any;
use std::borrow::Cow;
use std::future::Future;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;

use crate::protocol::Protocol;
use crate::shape::{Decoder, Undecodable};
use crate::{AccountId, Arn, Effect, Error, Http, Node, Schema, Scope, Shape};

/// One AWS operation. The struct is the request.
pub trait Operation: Shape + Send + Sync + 'static {
    /// The service whose table it is in, and whose handle it runs on.
    type Service: Service;
    /// The reply.
    type Output: Shape + Send;

    /// AWS's name of the operation.
    const NAME: &'static str;
    /// The IAM action without its prefix, where it is not the name.
    const ACTION: &'static str = Self::NAME;
    /// Where the members travel, for services that speak restJson.
    const HTTP: Http = Http::ROOT;
    /// Whether any caller with valid credentials may run it, as on AWS for `sts:GetCallerIdentity` and a few others.
    const UNRESTRICTED: bool = false;

    /// What it does, for the trail of what happened. Its name says it, mostly.
    const EFFECT: Effect = Effect::of(Self::NAME);

    /// The resource that the action is authorized on; [`Arn::any`] where AWS supports no resource.
    fn resource(&self, at: &Scope) -> Arn;

    /// The same where the ARN depends on state, such as the path of an IAM user that is known by name.
    fn find_resource(&self, _service: &Self::Service, cx: &Context) -> Arn {
        self.resource(&cx.scope)
    }

    /// Condition keys beyond the global ones and the resource's own, such as `lambda:Principal` or `aws:RequestTag/x`.
    fn condition_keys(&self, _service: &Self::Service, _cx: &Context) -> Keys {
        Keys::new()
    }

    /// Permissions needed beside the operation's own, such as `iam:PassRole`.
    fn also_needs(&self, _service: &Self::Service, _cx: &Context) -> Vec<Permission> {
        Vec::new()
    }

    /// Does the work. Reached only by an authorized request.
    fn run(
        self,
        service: &Self::Service,
        cx: &Context,
    ) -> impl Future<Output = Result<Self::Output, Error>> + Send;
}

/// An AWS service: its names on the wire and its operations.
pub trait Service: Send + Sync + Sized + 'static {
    /// The name in ARNs, IAM actions and (mostly) signatures, such as `lambda`.
    const NAME: &'static str;
    /// Other names that clients put into the signature's scope.
    const SIGNING_NAMES: &'static [&'static str] = &[Self::NAME];
    /// botocore's folder of the service's model, for the referee test.
    const MODEL: &'static str;
    /// The protocols that it answers.
    const PROTOCOLS: &'static [Protocol];
    /// What precedes the dot of `X-Amz-Target`, and stands in RPC v2 paths.
    const TARGET_PREFIX: &'static str = "";
    /// The `Version` of Query requests.
    const API_VERSION: &'static str = "";
    /// The namespace of Query replies.
    const XML_NAMESPACE: &'static str = "";
    /// What precedes `#` in awsJson 1.0 error types.
    const ERROR_NAMESPACE: &'static str = "";
    /// Code and status of a request that breaks constraints.
    const VALIDATION: (&'static str, u16) = ("ValidationException", 400);
    /// Code and status of a body that cannot be read.
    const SERIALIZATION: (&'static str, u16) = ("SerializationException", 400);
    /// The operations that are built.
    const OPERATIONS: &'static [Route<Self>];
    /// The operations that AWS has and Mayfly has not.
    const UNBUILT: &'static [Unbuilt];

    /// What a resource says for itself, whichever operation is about it. Asked with the ARN that is authorized.
    fn facts_of(&self, _resource: &Arn) -> ResourceFacts {
        ResourceFacts::default()
    }
}

/// What a resource says for itself when a request about it is authorized.
#[derive(Debug, Default)]
pub struct ResourceFacts {
    /// Its own policy, as JSON, where it has one.
    pub policy: Option<Arc<str>>,
    /// Its condition keys, such as `aws:ResourceTag/x`.
    pub keys: Keys,
}

/// An operation that AWS has and Mayfly has not: answered with 501 and its name.
#[derive(Debug, Clone, Copy)]
pub struct Unbuilt {
    /// AWS's name.
    pub name: &'static str,
    /// Method and path template, for services that speak restJson.
    pub http: Option<(&'static str, &'static str)>,
}

impl Unbuilt {
    /// An operation of a service that is found by name.
    pub const fn named(name: &'static str) -> Self {
        Self { name, http: None }
    }

    /// An operation of a service that is found by method and path.
    pub const fn rest(name: &'static str, method: &'static str, path: &'static str) -> Self {
        Self {
            name,
            http: Some((method, path)),
        }
    }
}

/// What an operation runs in: who asks, where, when.
#[derive(Debug, Clone)]
pub struct Context {
    /// The id of this request, a UUID; in the reply's headers and in our log.
    pub request_id: String,
    /// Who asks.
    pub caller: Caller,
    /// The caller's account, and the region that the request was signed for.
    pub scope: Scope,
    /// Where the request came from; `None` from inside.
    pub source_ip: Option<IpAddr>,
    /// The `User-Agent` header.
    pub user_agent: String,
    /// Whether the request came over TLS.
    pub secure: bool,
    /// The moment of the request, in milliseconds since 1970.
    pub now_ms: i64,
    /// The host the client addressed, with its port, for replies that hold URLs.
    pub host: String,
    /// The `X-Amzn-Trace-Id` header.
    pub trace_id: Option<String>,
}

/// Who sends a request.
#[derive(Clone)]
pub struct Caller {
    /// What kind of principal.
    pub kind: CallerKind,
    /// The principal's ARN, for role sessions the session's. [`Arn::any`] for anonymous callers.
    pub arn: Arn,
    /// The account.
    pub account: AccountId,
    /// The unique id (`AIDA...`, `AROA...:session`, the account id for root).
    pub user_id: String,
    /// The access key that signed.
    pub access_key_id: String,
    /// What the identity service wants to know again when it authorizes (session policies, tags, ...).
    pub session: Option<Arc<dyn Any + Send + Sync>>,
}

impl std::fmt::Debug for Caller {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?} {}", self.kind, self.arn)
    }
}

/// Kinds of principals.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CallerKind {
    /// No credentials.
    Anonymous,
    /// The account itself.
    Root,
    /// An IAM user.
    User,
    /// A session of a role.
    RoleSession,
    /// A session of a federated user.
    FederatedUser,
    /// An AWS service, such as `events.amazonaws.com`.
    Service(String),
}

/// Condition keys and their values.
pub type Keys = Vec<(Cow<'static, str>, Vec<String>)>;

/// A permission beside an operation's own.
#[derive(Debug, Clone)]
pub struct Permission {
    /// The whole action, such as `iam:PassRole`.
    pub action: &'static str,
    /// The resource.
    pub resource: Arn,
    /// Condition keys, such as `iam:PassedToService`.
    pub keys: Keys,
    /// That resource's own policy, as JSON, where it has one.
    pub resource_policy: Option<Arc<str>>,
}

/// What is to be authorized.
#[derive(Debug)]
pub struct Ask<'a> {
    /// The whole action, such as `lambda:InvokeFunction`.
    pub action: &'a str,
    /// The resource.
    pub resource: &'a Arn,
    /// The account that owns the resource, where its ARN does not say (S3's).
    pub owner: Option<AccountId>,
    /// Condition keys beyond the global ones.
    pub keys: &'a Keys,
    /// The resource's own policy, as JSON.
    pub resource_policy: Option<&'a Arc<str>>,
}

/// Decides whether a caller may act. Never touches the disk.
pub trait Authorizer: Send + Sync {
    /// `Err` holds the whole sentence for the user, which names principal, action, resource and the deciding policy.
    fn authorize(&self, cx: &Context, ask: &Ask<'_>) -> Result<(), String>;
}

type Running<'a> = Pin<Box<dyn Future<Output = Result<Node, Failure>> + Send + 'a>>;

/// Why a decoded or half-decoded request failed.
pub(crate) enum Failure {
    Undecodable(Undecodable),
    Denied(String),
    Failed(Error),
}

/// One row of a service's table: an [`Operation`] without its type.
pub struct Route<S> {
    /// AWS's name of the operation.
    pub name: &'static str,
    /// Its HTTP binding.
    pub http: Http,
    /// What it does.
    pub effect: Effect,
    /// The request's form.
    pub input: fn() -> Schema,
    /// The reply's form.
    pub output: fn() -> Schema,
    pub(crate) run: for<'a> fn(&'a S, &'a Context, &'a dyn Authorizer, Node) -> Running<'a>,
}

impl<S: Service> Route<S> {
    /// The row of an operation.
    pub const fn of<O: Operation<Service = S>>() -> Self {
        Self {
            name: O::NAME,
            http: O::HTTP,
            effect: O::EFFECT,
            input: O::schema,
            output: <O::Output as Shape>::schema,
            run: |service, cx, authorizer, node| {
                Box::pin(decode_authorize_run::<O>(service, cx, authorizer, node))
            },
        }
    }
}

/// The only path to [`Operation::run`].
async fn decode_authorize_run<O: Operation>(
    service: &O::Service,
    cx: &Context,
    authorizer: &dyn Authorizer,
    node: Node,
) -> Result<Node, Failure> {
    let operation: O = Decoder::run(node).map_err(Failure::Undecodable)?;
    if !O::UNRESTRICTED {
        authorize(&operation, service, cx, authorizer).map_err(Failure::Denied)?;
    }
    let output = operation.run(service, cx).await.map_err(Failure::Failed)?;
    Ok(output.encode())
}

fn authorize<O: Operation>(
    operation: &O,
    service: &O::Service,
    cx: &Context,
    authorizer: &dyn Authorizer,
) -> Result<(), String> {
    let action = format!("{}:{}", <O::Service as Service>::NAME, O::ACTION);
    let resource = operation.find_resource(service, cx);
    let facts = service.facts_of(&resource);
    let mut keys = operation.condition_keys(service, cx);
    keys.extend(facts.keys);
    authorizer.authorize(
        cx,
        &Ask {
            action: &action,
            resource: &resource,
            owner: None,
            keys: &keys,
            resource_policy: facts.policy.as_ref(),
        },
    )?;
    for permission in operation.also_needs(service, cx) {
        authorizer.authorize(
            cx,
            &Ask {
                action: permission.action,
                resource: &permission.resource,
                owner: None,
                keys: &permission.keys,
                resource_policy: permission.resource_policy.as_ref(),
            },
        )?;
    }
    Ok(())
}
