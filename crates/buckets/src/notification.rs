//! Notifications: what happens to objects is told to functions and to EventBridge
//! (<https://docs.aws.amazon.com/AmazonS3/latest/userguide/EventNotifications.html>). What is to be told is in the outbox
//! before the request that caused it is answered.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use delivery::{Delivery, RetryPolicy, Sender, parameter};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use s3s::S3Request;
use s3s::dto::{
    EventBridgeConfiguration, FilterRule, FilterRuleName, GetBucketNotificationConfigurationInput,
    GetBucketNotificationConfigurationOutput, LambdaFunctionConfiguration,
    NotificationConfigurationFilter, PutBucketNotificationConfigurationInput,
    PutBucketNotificationConfigurationOutput, S3KeyFilter,
};
use serde::{Deserialize, Serialize};
use serde_json::json;
use wire::{AccountId, Arn, Region, Scope};

use crate::access::Asked;
use crate::list::canonical_id;
use crate::object::new_id;
use crate::record::Bucket;
use crate::{Buckets, Error, Result};

/// As whom S3 acts.
const PRINCIPAL: &str = "s3.amazonaws.com";
/// The most configurations of a bucket.
const CONFIGURATIONS_MAX: usize = 100;
/// The longest prefix or suffix.
const FILTER_BYTES_MAX: usize = 1024;
/// What keys keep in an event: the rest is encoded as in a form.
const PLAIN: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'*')
    .remove(b'/')
    .remove(b' ');

/// Events that happen here.
const EVENTS: &[&str] = &[
    "ObjectCreated:Put",
    "ObjectCreated:Copy",
    "ObjectCreated:CompleteMultipartUpload",
    "ObjectRemoved:Delete",
    "ObjectRemoved:DeleteMarkerCreated",
    "ObjectTagging:Put",
    "ObjectTagging:Delete",
    "LifecycleExpiration:Delete",
    "LifecycleExpiration:DeleteMarkerCreated",
];
/// Events that AWS has, of features that are not built.
const EVENTS_UNBUILT: &[&str] = &[
    "IntelligentTiering",
    "LifecycleTransition",
    "ObjectAcl:Put",
    "ObjectCreated:Post",
    "ObjectRestore",
    "ReducedRedundancyLostObject",
    "Replication",
];

/// What a bucket tells, and whom.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Notifications {
    pub functions: Vec<FunctionTarget>,
    pub event_bridge: bool,
}

/// A function that is told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct FunctionTarget {
    pub id: String,
    pub arn: String,
    /// As the client named them, without `s3:`.
    pub events: Vec<String>,
    pub prefix: Option<String>,
    pub suffix: Option<String>,
}

impl FunctionTarget {
    fn wants(&self, event: &str, key: &str) -> bool {
        self.events.iter().any(|own| covers(own, event))
            && self
                .prefix
                .as_ref()
                .is_none_or(|prefix| key.starts_with(prefix.as_str()))
            && self
                .suffix
                .as_ref()
                .is_none_or(|suffix| key.ends_with(suffix.as_str()))
    }

    /// Every event that it may be told.
    fn expanded(&self) -> BTreeSet<&'static str> {
        EVENTS
            .iter()
            .copied()
            .filter(|event| self.events.iter().any(|own| covers(own, event)))
            .collect()
    }

    /// "Two configurations of one event type must not match the same key": their prefixes or their suffixes must differ.
    fn overlaps(&self, other: &FunctionTarget) -> bool {
        let text = |text: &Option<String>| text.clone().unwrap_or_default();
        let (a, b) = (text(&self.prefix), text(&other.prefix));
        let prefixes = a.starts_with(&b) || b.starts_with(&a);
        let (a, b) = (text(&self.suffix), text(&other.suffix));
        let suffixes = a.ends_with(&b) || b.ends_with(&a);
        prefixes && suffixes && !self.expanded().is_disjoint(&other.expanded())
    }
}

fn covers(pattern: &str, event: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(start) => event.starts_with(start),
        None => pattern == event,
    }
}

/// Something that happened to an object.
pub(crate) struct Happened<'a> {
    /// Without `s3:`.
    pub event: &'static str,
    /// The operation, for EventBridge: `PutObject`.
    pub reason: &'static str,
    pub key: &'a str,
    /// The size of what is new.
    pub size: Option<u64>,
    /// The entity tag of what it is about.
    pub etag: Option<&'a str>,
    pub version: Option<String>,
    /// The revision of the write that did it.
    pub revision: u64,
}

/// Who did it.
pub(crate) struct By {
    principal: String,
    requester: String,
    source_ip: Option<String>,
    request_id: String,
    trace_id: Option<String>,
}

impl By {
    /// Whoever sent a request.
    pub fn request(asked: &Asked) -> By {
        let cx = &asked.cx;
        By {
            principal: format!("AWS:{}", cx.caller.user_id),
            requester: cx.caller.account.to_string(),
            source_ip: Some(
                cx.source_ip
                    .map_or_else(|| "127.0.0.1".to_owned(), |ip| ip.to_string()),
            ),
            request_id: cx.request_id.clone(),
            trace_id: cx.trace_id.clone(),
        }
    }

    /// S3 itself, for a lifecycle rule.
    pub fn lifecycle() -> By {
        By {
            principal: PRINCIPAL.to_owned(),
            requester: PRINCIPAL.to_owned(),
            source_ip: None,
            request_id: new_id(),
            trace_id: None,
        }
    }
}

impl Buckets {
    /// Puts what happened into the outbox for everyone who is to know.
    pub(crate) async fn notify(
        &self,
        by: &By,
        bucket: &Bucket,
        happened: &Happened<'_>,
    ) -> Result<()> {
        let told = &bucket.notifications;
        for target in told
            .functions
            .iter()
            .filter(|target| target.wants(happened.event, happened.key))
        {
            let Some(to) = Arn::parse(&target.arn) else {
                continue;
            };
            let payload = document(by, bucket, happened, target, self.now_ms()).to_string();
            self.tell(
                by,
                bucket,
                to,
                &target.id,
                happened,
                payload,
                BTreeMap::new(),
            )
            .await?;
        }
        if told.event_bridge {
            let at = scope_of(bucket)?;
            let detail = detail(by, bucket, happened).to_string();
            let resources = json!([Arn::bucket(&bucket.name).as_str()]).to_string();
            let parameters = BTreeMap::from([
                (parameter::SOURCE.to_owned(), "aws.s3".to_owned()),
                (
                    parameter::DETAIL_TYPE.to_owned(),
                    detail_type(happened.event).to_owned(),
                ),
                (parameter::RESOURCES.to_owned(), resources),
            ]);
            self.tell(
                by,
                bucket,
                Arn::event_bus(&at, "default"),
                "EventBridge",
                happened,
                detail,
                parameters,
            )
            .await?;
        }
        Ok(())
    }

    #[allow(clippy::too_many_arguments)]
    async fn tell(
        &self,
        by: &By,
        bucket: &Bucket,
        to: Arn,
        configuration: &str,
        happened: &Happened<'_>,
        payload: String,
        parameters: BTreeMap<String, String>,
    ) -> Result<()> {
        let delivery = Delivery {
            // A write has one revision, and happens once.
            id: format!(
                "{}/{}/{}>{configuration}",
                bucket.id,
                sequencer(happened),
                happened.event
            ),
            scope: scope_of(bucket)?,
            to,
            from: sender(bucket),
            payload: Bytes::from(payload),
            parameters,
            retry: RetryPolicy::DEFAULT,
            dead_letter: None,
            attempt_mark: None,
            trace_id: by.trace_id.clone(),
            accepted_ms: self.now_ms(),
        };
        let put = self.outbox().put(&delivery).await;
        put.map(drop)
            .map_err(|error| Error::Internal(error.to_string()))
    }

    pub(crate) async fn put_bucket_notification_configuration(
        &self,
        request: S3Request<PutBucketNotificationConfigurationInput>,
    ) -> Result<PutBucketNotificationConfigurationOutput> {
        let input = request.input;
        let asked = input.notification_configuration;
        let others = [
            (
                "queues",
                asked
                    .queue_configurations
                    .is_some_and(|list| !list.is_empty()),
            ),
            (
                "topics",
                asked
                    .topic_configurations
                    .is_some_and(|list| !list.is_empty()),
            ),
        ];
        if let Some((kind, _)) = others.iter().find(|(_, there)| *there) {
            return Err(Error::NotImplemented(format!(
                "Mayfly does not implement notifications to {kind} yet."
            )));
        }
        let bucket = self.shelf().find(&input.bucket)?.bucket();
        let functions = asked.lambda_function_configurations.unwrap_or_default();
        if functions.len() > CONFIGURATIONS_MAX {
            return Err(Error::InvalidArgument(format!(
                "A bucket has at most {CONFIGURATIONS_MAX} notification configurations."
            )));
        }
        let functions: Vec<FunctionTarget> =
            functions.into_iter().map(target).collect::<Result<_>>()?;
        distinct(&functions)?;
        if input.skip_destination_validation != Some(true) {
            for target in &functions {
                self.check_destination(&bucket, target)?;
            }
        }
        let notifications = Notifications {
            functions,
            event_bridge: asked.event_bridge_configuration.is_some(),
        };
        let change = |bucket: &mut Bucket| {
            bucket.notifications = notifications;
            Ok(())
        };
        self.shelf().change(&input.bucket, change).await?;
        Ok(PutBucketNotificationConfigurationOutput::default())
    }

    /// Whether a function is there, and its policy lets the bucket invoke it.
    fn check_destination(&self, bucket: &Bucket, target: &FunctionTarget) -> Result<()> {
        let refused = || {
            Error::InvalidArgument(
                "Unable to validate the following destination configurations".to_owned(),
            )
        };
        let to = Arn::parse(&target.arn).ok_or_else(refused)?;
        if to.region() != bucket.region {
            let text = "The notification destination service region is not valid for the bucket location constraint";
            return Err(Error::InvalidArgument(text.to_owned()));
        }
        let delivery = Delivery {
            id: target.id.clone(),
            scope: scope_of(bucket)?,
            to,
            from: sender(bucket),
            payload: Bytes::new(),
            parameters: BTreeMap::new(),
            retry: RetryPolicy::DEFAULT,
            dead_letter: None,
            attempt_mark: None,
            trace_id: None,
            accepted_ms: self.now_ms(),
        };
        self.destinations().check(&delivery).map_err(|why| {
            tracing::debug!(why, "a destination of notifications is refused");
            refused()
        })
    }

    pub(crate) async fn get_bucket_notification_configuration(
        &self,
        request: S3Request<GetBucketNotificationConfigurationInput>,
    ) -> Result<GetBucketNotificationConfigurationOutput> {
        let bucket = self.shelf().find(&request.input.bucket)?.bucket();
        let told = &bucket.notifications;
        let functions: Vec<_> = told.functions.iter().map(shown).collect();
        Ok(GetBucketNotificationConfigurationOutput {
            lambda_function_configurations: Some(functions).filter(|list| !list.is_empty()),
            event_bridge_configuration: told.event_bridge.then(EventBridgeConfiguration::default),
            ..GetBucketNotificationConfigurationOutput::default()
        })
    }
}

fn scope_of(bucket: &Bucket) -> Result<Scope> {
    let account = AccountId::new(&bucket.owner);
    let region = Region::new(bucket.region.as_str());
    let (Some(account), Some(region)) = (account, region) else {
        return Err(Error::Internal(format!(
            "the bucket {} is nowhere",
            bucket.name
        )));
    };
    Ok(Scope { account, region })
}

fn sender(bucket: &Bucket) -> Sender {
    Sender {
        service: PRINCIPAL.to_owned(),
        arn: Arn::bucket(&bucket.name),
        role: None,
    }
}

/// Grows with every write of one key; hexadecimal, so that texts of the same length compare.
fn sequencer(happened: &Happened<'_>) -> String {
    format!("{:018X}", happened.revision)
}

/// The event that functions get (AmazonS3/latest/userguide/notification-content-structure.html).
fn document(
    by: &By,
    bucket: &Bucket,
    happened: &Happened<'_>,
    target: &FunctionTarget,
    now_ms: i64,
) -> serde_json::Value {
    let key = utf8_percent_encode(happened.key, PLAIN)
        .to_string()
        .replace(' ', "+");
    let mut object = json!({ "key": key });
    if let Some(size) = happened.size {
        object["size"] = size.into();
    }
    if let Some(etag) = happened.etag {
        object["eTag"] = etag.into();
    }
    if let Some(version) = &happened.version {
        object["versionId"] = version.as_str().into();
    }
    // Events that came later have a later version, and other members.
    let is_old =
        happened.event.starts_with("ObjectCreated") || happened.event.starts_with("ObjectRemoved");
    if !happened.event.starts_with("ObjectTagging") {
        object["sequencer"] = sequencer(happened).into();
    }
    let time = jiff::Timestamp::from_millisecond(now_ms).unwrap_or_default();
    json!({
        "Records": [{
            "eventVersion": if is_old { "2.1" } else { "2.3" },
            "eventSource": "aws:s3",
            "awsRegion": bucket.region,
            "eventTime": format!("{time:.3}"),
            "eventName": happened.event,
            "userIdentity": { "principalId": by.principal },
            "requestParameters": { "sourceIPAddress": by.source_ip.as_deref().unwrap_or(PRINCIPAL) },
            "responseElements": { "x-amz-request-id": by.request_id, "x-amz-id-2": by.request_id },
            "s3": {
                "s3SchemaVersion": "1.0",
                "configurationId": target.id,
                "bucket": {
                    "name": bucket.name,
                    "ownerIdentity": { "principalId": canonical_id(&bucket.owner) },
                    "arn": Arn::bucket(&bucket.name).as_str(),
                },
                "object": object,
            },
        }]
    })
}

/// The detail of the event that EventBridge gets (AmazonS3/latest/userguide/ev-events.html).
fn detail(by: &By, bucket: &Bucket, happened: &Happened<'_>) -> serde_json::Value {
    let mut object = json!({ "key": happened.key });
    if let Some(size) = happened.size {
        object["size"] = size.into();
    }
    if let Some(etag) = happened.etag {
        object["etag"] = etag.into();
    }
    if let Some(version) = &happened.version {
        object["version-id"] = version.as_str().into();
    }
    if !happened.event.starts_with("ObjectTagging") {
        object["sequencer"] = sequencer(happened).into();
    }
    let mut detail = json!({
        "version": "0",
        "bucket": { "name": bucket.name },
        "object": object,
        "request-id": by.request_id,
        "requester": by.requester,
    });
    if let Some(ip) = &by.source_ip {
        detail["source-ip-address"] = ip.as_str().into();
    }
    if !happened.event.starts_with("ObjectTagging") {
        detail["reason"] = happened.reason.into();
    }
    match happened.event.split_once(':') {
        Some(("ObjectRemoved" | "LifecycleExpiration", "Delete")) => {
            detail["deletion-type"] = "Permanently Deleted".into();
        }
        Some(("ObjectRemoved" | "LifecycleExpiration", _)) => {
            detail["deletion-type"] = "Delete Marker Created".into();
        }
        _ => {}
    }
    detail
}

fn detail_type(event: &str) -> &'static str {
    match event {
        "ObjectTagging:Put" => "Object Tags Added",
        "ObjectTagging:Delete" => "Object Tags Deleted",
        event if event.starts_with("ObjectCreated") => "Object Created",
        _ => "Object Deleted",
    }
}

fn target(asked: LambdaFunctionConfiguration) -> Result<FunctionTarget> {
    if asked.events.is_empty() {
        return Err(Error::MalformedXml);
    }
    let events: Vec<String> = asked
        .events
        .into_iter()
        .map(|event| event_name(String::from(event)))
        .collect::<Result<_>>()?;
    let rules = asked
        .filter
        .and_then(|filter| filter.key)
        .and_then(|key| key.filter_rules)
        .unwrap_or_default();
    let (prefix, suffix) = filters(rules)?;
    Ok(FunctionTarget {
        id: asked.id.unwrap_or_else(new_id),
        arn: asked.lambda_function_arn,
        events,
        prefix,
        suffix,
    })
}

fn event_name(event: String) -> Result<String> {
    let unknown = || {
        Error::InvalidArgument(format!(
            "The event '{event}' is not supported for notifications"
        ))
    };
    let name = event.strip_prefix("s3:").ok_or_else(unknown)?;
    let is_wild = |name: &str| {
        let family = name.strip_suffix(":*");
        family.is_some_and(|family| {
            EVENTS
                .iter()
                .any(|own| own.split(':').next() == Some(family))
        })
    };
    if EVENTS.contains(&name) || is_wild(name) {
        return Ok(name.to_owned());
    }
    match EVENTS_UNBUILT
        .iter()
        .any(|own| name == *own || name.starts_with(&format!("{own}:")))
    {
        true => Err(Error::NotImplemented(format!(
            "The event '{event}' is of a feature that Mayfly does not implement yet."
        ))),
        false => Err(unknown()),
    }
}

fn filters(rules: Vec<FilterRule>) -> Result<(Option<String>, Option<String>)> {
    let (mut prefix, mut suffix) = (None, None);
    for rule in rules {
        let name = rule
            .name
            .as_ref()
            .map(|name| name.as_str().to_ascii_lowercase());
        let value = rule.value.ok_or(Error::MalformedXml)?;
        if value.len() > FILTER_BYTES_MAX {
            return Err(Error::InvalidArgument(
                "Size of filter rule value cannot exceed 1024 bytes in UTF-8 representation"
                    .to_owned(),
            ));
        }
        let (slot, name) = match name.as_deref() {
            Some("prefix") => (&mut prefix, "prefix"),
            Some("suffix") => (&mut suffix, "suffix"),
            _ => {
                return Err(Error::InvalidArgument(
                    "filter rule name must be either prefix or suffix".to_owned(),
                ));
            }
        };
        if slot.replace(value).is_some() {
            return Err(Error::InvalidArgument(format!(
                "Cannot specify more than one {name} rule in a filter."
            )));
        }
    }
    Ok((prefix, suffix))
}

fn distinct(targets: &[FunctionTarget]) -> Result<()> {
    for (at, one) in targets.iter().enumerate() {
        for other in &targets[..at] {
            if one.id == other.id {
                return Err(Error::InvalidArgument(
                    "Same ID used for multiple configurations. IDs must be unique".to_owned(),
                ));
            }
            if one.overlaps(other) {
                let filtered = [one, other]
                    .iter()
                    .any(|target| target.prefix.is_some() || target.suffix.is_some());
                let text = match filtered {
                    true => {
                        "Configuration is ambiguously defined. Cannot have overlapping suffixes in two rules if the prefixes are overlapping for the same event type."
                    }
                    false => {
                        "Configurations overlap. Configurations on the same bucket cannot share a common event type."
                    }
                };
                return Err(Error::InvalidArgument(text.to_owned()));
            }
        }
    }
    Ok(())
}

fn shown(target: &FunctionTarget) -> LambdaFunctionConfiguration {
    let rule = |name: &'static str, value: &Option<String>| {
        let value = value.clone()?;
        Some(FilterRule {
            name: Some(FilterRuleName::from_static(name)),
            value: Some(value),
        })
    };
    let rules: Vec<_> = [
        rule("Prefix", &target.prefix),
        rule("Suffix", &target.suffix),
    ]
    .into_iter()
    .flatten()
    .collect();
    LambdaFunctionConfiguration {
        id: Some(target.id.clone()),
        lambda_function_arn: target.arn.clone(),
        events: target
            .events
            .iter()
            .map(|event| format!("s3:{event}").into())
            .collect(),
        filter: Some(rules).filter(|rules| !rules.is_empty()).map(|rules| {
            NotificationConfigurationFilter {
                key: Some(S3KeyFilter {
                    filter_rules: Some(rules),
                }),
            }
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(events: &[&str], prefix: Option<&str>, suffix: Option<&str>) -> FunctionTarget {
        FunctionTarget {
            id: new_id(),
            arn: String::new(),
            events: events.iter().map(|event| (*event).to_owned()).collect(),
            prefix: prefix.map(str::to_owned),
            suffix: suffix.map(str::to_owned),
        }
    }

    #[test]
    fn overlaps() {
        let check = |a: &FunctionTarget, b: &FunctionTarget, expected| {
            assert_eq!(
                (a.overlaps(b), b.overlaps(a)),
                (expected, expected),
                "{a:?} {b:?}"
            );
        };
        let all = target(&["ObjectCreated:*"], None, None);
        check(&all, &target(&["ObjectCreated:Put"], None, None), true);
        check(&all, &target(&["ObjectRemoved:*"], None, None), false);
        check(&all, &target(&["ObjectCreated:Put"], Some("a"), None), true);
        let (a, b) = (Some("images/"), Some("images/old/"));
        let jpg = target(&["ObjectCreated:*"], a, Some(".jpg"));
        check(&jpg, &target(&["ObjectCreated:*"], b, Some(".jpg")), true);
        check(&jpg, &target(&["ObjectCreated:*"], b, Some(".png")), false);
        check(
            &jpg,
            &target(&["ObjectCreated:*"], Some("logs/"), Some(".jpg")),
            false,
        );
        check(&jpg, &target(&["ObjectCreated:*"], a, None), true);
    }

    #[test]
    fn filters_and_patterns() {
        let jpg = target(
            &["ObjectCreated:*", "ObjectRemoved:Delete"],
            Some("in/"),
            Some(".jpg"),
        );
        assert!(jpg.wants("ObjectCreated:Copy", "in/a.jpg"));
        assert!(jpg.wants("ObjectRemoved:Delete", "in/.jpg"));
        assert!(!jpg.wants("ObjectRemoved:DeleteMarkerCreated", "in/a.jpg"));
        assert!(!jpg.wants("ObjectCreated:Put", "out/a.jpg"));
        assert!(!jpg.wants("ObjectCreated:Put", "in/a.png"));
        assert!(event_name("s3:ObjectCreated:*".into()).is_ok());
        for unknown in [
            "ObjectCreated:*",
            "s3:ObjectCreated",
            "s3:*",
            "s3:Object*",
            "s3:Nothing:*",
        ] {
            assert!(
                matches!(event_name(unknown.into()), Err(Error::InvalidArgument(_))),
                "{unknown}"
            );
        }
        assert!(matches!(
            event_name("s3:ObjectRestore:*".into()),
            Err(Error::NotImplemented(_))
        ));
    }
}
