//! The trail: a call that changed something, or was refused to, becomes AWS's event `AWS API Call via CloudTrail` on the default bus of its account
//! and region, so that a rule can react to anything that happens
//! (<https://docs.aws.amazon.com/eventbridge/latest/ref/events-ref-cloudtrail.html>).
//!
//! The call does not wait for it: what it tells goes into a bounded queue in memory. A crash loses what is in there, and what
//! finds it full is dropped and counted.

use std::sync::atomic::{AtomicU64, Ordering};

use events::{Events, NewEvent};
use jiff::Timestamp;
use serde::Serialize;
use tokio::sync::mpsc;
use tracing::{debug, warn};
use wire::{Caller, CallerKind, Context, Http, Node, Region, Scope, Seen, Touched, Witness};

/// Calls that wait to become events.
const WAITING_MAX: usize = 4096;
/// The largest request or reply that is told: "maximum 100 KB", above which the field's content is omitted.
const FIELD_BYTES_MAX: usize = 100 * 1024;
/// The version of the record's format that this is.
const VERSION: &str = "1.11";
/// Where the calls of services that know no regions are told.
const GLOBAL_REGION: &str = "us-east-1";
/// The operations whose name in the trail has a `v2` after their date.
const SECOND_VERSION: &[&str] = &[
    "AddPermission",
    "RemovePermission",
    "TagResource",
    "UntagResource",
    "UpdateFunctionCode",
    "UpdateFunctionConfiguration",
];

/// The operations of S3 that have another name in the trail
/// (<https://docs.aws.amazon.com/AmazonS3/latest/userguide/cloudtrail-logging-s3-info.html>).
const S3_NAMES: &[(&str, &str)] = &[
    ("DeletePublicAccessBlock", "DeleteBucketPublicAccessBlock"),
    ("PutBucketLifecycleConfiguration", "PutBucketLifecycle"),
    (
        "PutBucketNotificationConfiguration",
        "PutBucketNotification",
    ),
    ("PutPublicAccessBlock", "PutBucketPublicAccessBlock"),
];

/// The side on which calls are told.
pub struct Trail {
    events: Events,
    waiting: mpsc::Sender<Told>,
    dropped: AtomicU64,
}

/// The other side: makes events of calls until it is dropped.
pub struct Scribe {
    events: Events,
    waiting: mpsc::Receiver<Told>,
}

/// What is kept of a call until it is an event.
struct Told {
    at: Scope,
    time_ms: i64,
    source: String,
    detail: Detail,
}

impl Trail {
    /// A trail to these buses.
    pub fn new(events: Events) -> (Trail, Scribe) {
        let (sender, receiver) = mpsc::channel(WAITING_MAX);
        let trail = Trail {
            events: events.clone(),
            waiting: sender,
            dropped: AtomicU64::default(),
        };
        let scribe = Scribe {
            events,
            waiting: receiver,
        };
        (trail, scribe)
    }

    /// How many calls found the queue full.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }
}

impl Witness for Trail {
    fn wants(&self, cx: &Context, service: &'static str) -> bool {
        // Ours is not a service that AWS's trail knows.
        service != "mayfly" && self.events.has_rules(&place(&cx.scope, service))
    }

    fn saw(&self, call: Seen<'_>) {
        let told = Told::of(call);
        if self.waiting.try_send(told).is_err() {
            let before = self.dropped.fetch_add(1, Ordering::Relaxed);
            if before.is_power_of_two() || before == 0 {
                warn!(
                    dropped = before + 1,
                    "calls are not told to EventBridge: too many at once"
                );
            }
        }
    }
}

impl Scribe {
    /// Works until it is dropped.
    pub async fn run(mut self) {
        while let Some(told) = self.waiting.recv().await {
            let detail = match serde_json::to_string(&told.detail) {
                Ok(detail) => detail,
                Err(error) => {
                    warn!(%error, "a call cannot be told");
                    continue;
                }
            };
            let event = NewEvent {
                id: &told.detail.event_id,
                source: &told.source,
                detail_type: "AWS API Call via CloudTrail",
                at: &told.at,
                time_ms: told.time_ms,
                resources: &[],
                detail: &detail,
            };
            if let Err(error) = self.events.put(&event).await {
                warn!(%error, name = told.detail.event_name, "a call was not told to EventBridge");
            } else {
                debug!(name = told.detail.event_name, "a call is told");
            }
        }
    }
}

/// Where a call is told: global services have one region.
fn place(at: &Scope, service: &str) -> Scope {
    match (service, Region::new(GLOBAL_REGION)) {
        ("iam", Some(region)) => Scope {
            account: at.account,
            region,
        },
        _ => at.clone(),
    }
}

/// CloudTrail's record (<https://docs.aws.amazon.com/awscloudtrail/latest/userguide/cloudtrail-event-reference-record-contents.html>).
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Detail {
    event_version: &'static str,
    user_identity: UserIdentity,
    event_time: String,
    event_source: String,
    event_name: String,
    aws_region: String,
    #[serde(rename = "sourceIPAddress")]
    source_ip_address: String,
    user_agent: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    error_code: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error_message: Option<String>,
    request_parameters: Option<Node>,
    response_elements: Option<Node>,
    #[serde(skip_serializing_if = "Option::is_none")]
    additional_event_data: Option<Node>,
    #[serde(rename = "requestID")]
    request_id: String,
    #[serde(rename = "eventID")]
    event_id: String,
    read_only: bool,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    resources: Vec<Resource>,
    event_type: &'static str,
    management_event: bool,
    recipient_account_id: String,
    event_category: &'static str,
}

#[derive(Serialize)]
struct Resource {
    #[serde(rename = "accountId")]
    account_id: String,
    #[serde(rename = "type")]
    kind: &'static str,
    #[serde(rename = "ARN")]
    arn: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct UserIdentity {
    #[serde(rename = "type")]
    kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    principal_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    arn: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    account_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    access_key_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user_name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    session_context: Option<SessionContext>,
    #[serde(skip_serializing_if = "Option::is_none")]
    invoked_by: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct SessionContext {
    session_issuer: SessionIssuer,
}

/// The role of a session. Its ARN is left out: a session does not say the path of its role.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct SessionIssuer {
    #[serde(rename = "type")]
    kind: &'static str,
    principal_id: String,
    account_id: String,
    user_name: String,
}

impl Told {
    fn of(call: Seen<'_>) -> Told {
        let Context { scope, caller, .. } = call.cx;
        let at = place(scope, call.service);
        let host = match call.service {
            "cloudwatch" => "monitoring",
            other => other,
        };
        let moment = Timestamp::from_millisecond(call.cx.now_ms).unwrap_or_default();
        let ip = call.cx.source_ip.map(|ip| ip.to_string());
        let (reply, refused) = match call.reply {
            Ok(reply) => (reply, None),
            Err(refused) => (Node::Null, Some((refused.code, refused.message))),
        };
        let (error_code, error_message) = refused.unzip();
        let resources = call.resources.into_iter().map(Resource::from);
        let detail = Detail {
            event_version: VERSION,
            user_identity: UserIdentity::of(caller),
            event_time: moment.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
            event_source: format!("{host}.amazonaws.com"),
            event_name: event_name(call.service, call.operation, &call.http),
            aws_region: at.region.to_string(),
            source_ip_address: ip.unwrap_or_else(|| "AWS Internal".to_owned()),
            user_agent: call.cx.user_agent.clone(),
            error_code: error_code.map(String::from),
            error_message,
            request_parameters: within_limit(call.request),
            response_elements: within_limit(reply),
            additional_event_data: within_limit(call.additional),
            request_id: call.cx.request_id.clone(),
            event_id: uuid::Uuid::new_v4().to_string(),
            read_only: false,
            resources: resources.collect(),
            event_type: "AwsApiCall",
            management_event: true,
            recipient_account_id: at.account.to_string(),
            event_category: "Management",
        };
        Told {
            at,
            time_ms: call.cx.now_ms,
            source: format!("aws.{host}"),
            detail,
        }
    }
}

impl From<Touched> for Resource {
    fn from(touched: Touched) -> Self {
        Resource {
            account_id: touched.account.to_string(),
            kind: touched.kind,
            arn: touched.arn.to_string(),
        }
    }
}

impl UserIdentity {
    fn of(caller: &Caller) -> UserIdentity {
        let kind = match &caller.kind {
            CallerKind::Root => "Root",
            CallerKind::User => "IAMUser",
            CallerKind::RoleSession => "AssumedRole",
            CallerKind::FederatedUser => "FederatedUser",
            CallerKind::Service(_) => "AWSService",
            CallerKind::Anonymous => "Unknown",
        };
        if let CallerKind::Service(name) = &caller.kind {
            return UserIdentity {
                kind,
                principal_id: None,
                arn: None,
                account_id: None,
                access_key_id: None,
                user_name: None,
                session_context: None,
                invoked_by: Some(name.clone()),
            };
        }
        let resource = caller.arn.resource();
        let user_name = match caller.kind {
            CallerKind::User => resource.rsplit('/').next().map(str::to_owned),
            _ => None,
        };
        UserIdentity {
            kind,
            principal_id: Some(caller.user_id.clone()),
            arn: Some(caller.arn.to_string()),
            account_id: Some(caller.account.to_string()),
            access_key_id: Some(caller.access_key_id.clone()),
            user_name,
            session_context: SessionContext::of(caller),
            invoked_by: None,
        }
    }
}

impl SessionContext {
    fn of(caller: &Caller) -> Option<SessionContext> {
        let role = caller.arn.resource().strip_prefix("assumed-role/")?;
        let (role, _session) = role.split_once('/')?;
        let (id, _session) = caller.user_id.split_once(':')?;
        Some(SessionContext {
            session_issuer: SessionIssuer {
                kind: "Role",
                principal_id: id.to_owned(),
                account_id: caller.account.to_string(),
                user_name: role.to_owned(),
            },
        })
    }
}

/// The operation's name; Lambda's have the date of their path after them, such as `CreateFunction20150331`.
fn event_name(service: &str, operation: &str, http: &Http) -> String {
    if service == "s3" {
        let other = S3_NAMES.iter().find(|(own, _)| *own == operation);
        return other.map_or(operation, |(_, other)| other).to_owned();
    }
    let first = http.path.trim_start_matches('/').split('/').next();
    let date = first.filter(|first| {
        first.len() == 10 && first.bytes().all(|b| b.is_ascii_digit() || b == b'-')
    });
    let Some(date) = date else {
        return operation.to_owned();
    };
    let version = if SECOND_VERSION.contains(&operation) {
        "v2"
    } else {
        ""
    };
    format!("{operation}{}{version}", date.replace('-', ""))
}

/// The field, unless there is nothing in it or too much.
fn within_limit(field: Node) -> Option<Node> {
    if matches!(&field, Node::Null) || matches!(&field, Node::Map(members) if members.is_empty()) {
        return None;
    }
    let size = serde_json::to_vec(&field).map_or(usize::MAX, |text| text.len());
    (size <= FIELD_BYTES_MAX).then_some(field)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_awss_dates() {
        let check = |operation: &str, path: &'static str, expected: &str| {
            let service = if path == "/{Bucket}" { "s3" } else { "lambda" };
            let name = event_name(service, operation, &Http::new("POST", path, 200));
            assert_eq!(name, expected);
        };
        check(
            "CreateFunction",
            "/2015-03-31/functions",
            "CreateFunction20150331",
        );
        check(
            "AddPermission",
            "/2015-03-31/functions/{FunctionName}/policy",
            "AddPermission20150331v2",
        );
        check("PutRule", "/", "PutRule");
        check("CreateSchedule", "/schedules/{Name}", "CreateSchedule");
        check("CreateBucket", "/{Bucket}", "CreateBucket");
        check(
            "PutBucketLifecycleConfiguration",
            "/{Bucket}",
            "PutBucketLifecycle",
        );
    }
}
