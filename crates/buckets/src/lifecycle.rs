//! Lifecycle rules: objects, old versions and unfinished uploads that go by themselves
//! (<https://docs.aws.amazon.com/AmazonS3/latest/userguide/object-lifecycle-mgmt.html>).

use std::time::Duration;

use percent_encoding::utf8_percent_encode;
use s3s::S3Request;
use s3s::dto::{
    AbortIncompleteMultipartUpload, DeleteBucketLifecycleInput, DeleteBucketLifecycleOutput,
    ExpirationStatus, GetBucketLifecycleConfigurationInput, GetBucketLifecycleConfigurationOutput,
    LifecycleExpiration, LifecycleRule, LifecycleRuleAndOperator, LifecycleRuleFilter,
    NoncurrentVersionExpiration, PutBucketLifecycleConfigurationInput,
    PutBucketLifecycleConfigurationOutput, Tag, Timestamp, TimestampFormat,
};
use serde::{Deserialize, Serialize};
use tracing::{debug, warn};

use crate::list::PLAIN;
use crate::notification::{By, Happened};
use crate::object::{add_version, new_id, shown_id};
use crate::read::{seconds, timestamp};
use crate::record::{Bucket, Content, NULL, Object, Upload, Version, Versioning};
use crate::shelf::{Edit, Held};
use crate::tags::{self, Tags};
use crate::{Buckets, Error, Result};

/// The most rules of a bucket.
const RULES_MAX: usize = 1000;
const ID_CHARS_MAX: usize = 255;
const DAY_MS: i64 = 24 * 3600 * 1000;
/// How often the rules are applied. AWS does it once a day, and lets things be late.
const EVERY: Duration = Duration::from_secs(3600);
/// How many objects are looked at together.
const PAGE: usize = 500;

/// One rule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Rule {
    pub id: String,
    pub enabled: bool,
    /// Whether the prefix stands outside of a filter, as it did once.
    pub old_form: bool,
    pub prefix: String,
    pub tags: Tags,
    pub larger_than: Option<i64>,
    pub smaller_than: Option<i64>,
    pub days: Option<i32>,
    pub date_s: Option<i64>,
    pub lone_markers: bool,
    pub noncurrent_days: Option<i32>,
    pub noncurrent_kept: Option<i32>,
    pub abort_days: Option<i32>,
}

impl Rule {
    fn covers(&self, key: &str, content: &Content) -> bool {
        let size = i64::try_from(content.size).unwrap_or(i64::MAX);
        key.starts_with(&self.prefix)
            && self
                .tags
                .iter()
                .all(|(tag, value)| content.tags.get(tag) == Some(value))
            && self.larger_than.is_none_or(|than| size > than)
            && self.smaller_than.is_none_or(|than| size < than)
    }

    /// Whether a current version is to go.
    fn expires(&self, key: &str, version: &Version, content: &Content, now_ms: i64) -> bool {
        let by_days = self
            .days
            .is_some_and(|days| now_ms >= due(version.modified_ms, days));
        let by_date = self
            .date_s
            .is_some_and(|date| now_ms >= date.saturating_mul(1000));
        self.enabled && (by_days || by_date) && self.covers(key, content)
    }

    /// Whether an old version is to go, which is so since then and has so many newer old versions before it.
    fn expires_old(
        &self,
        key: &str,
        version: &Version,
        since_ms: i64,
        newer: usize,
        now_ms: i64,
    ) -> bool {
        let Some(days) = self.noncurrent_days else {
            return false;
        };
        let kept = usize::try_from(self.noncurrent_kept.unwrap_or_default()).unwrap_or_default();
        let covered = match &version.content {
            Some(content) => self.covers(key, content),
            None => key.starts_with(&self.prefix),
        };
        self.enabled && covered && newer >= kept && now_ms >= due(since_ms, days)
    }
}

/// "Amazon S3 calculates the time by adding the number of days specified in the rule to the object creation time and rounding
/// up the resulting time to the next day at midnight UTC."
fn due(since_ms: i64, days: i32) -> i64 {
    let exact = since_ms.saturating_add(i64::from(days).saturating_mul(DAY_MS));
    exact
        .div_euclid(DAY_MS)
        .saturating_add(1)
        .saturating_mul(DAY_MS)
}

/// `x-amz-expiration`: the day from which a rule removes this version, while it is the current one, and that rule
/// (AmazonS3/latest/userguide/lifecycle-expire-general-considerations.html).
pub(crate) fn expiration(bucket: &Bucket, key: &str, version: &Version) -> Option<String> {
    let content = version.content.as_ref()?;
    let of = |rule: &Rule| {
        let covered = rule.enabled && rule.covers(key, content);
        let by_days = rule.days.map(|days| due(version.modified_ms, days));
        let at_ms = by_days.or(rule.date_s.map(|date| date.saturating_mul(1000)));
        at_ms.filter(|_| covered)
    };
    let rules = bucket.lifecycle.iter();
    let (at_ms, rule) = rules
        .filter_map(|rule| Some((of(rule)?, rule)))
        .min_by_key(|(at_ms, _rule)| *at_ms)?;
    let mut date = Vec::new();
    timestamp(at_ms)
        .format(TimestampFormat::HttpDate, &mut date)
        .ok()?;
    Some(format!(
        "expiry-date=\"{}\", rule-id=\"{}\"",
        String::from_utf8(date).ok()?,
        encoded(&rule.id)
    ))
}

/// The time from which a rule aborts this upload, and that rule.
pub(crate) fn abort(bucket: &Bucket, upload: &Upload) -> Option<(Timestamp, String)> {
    let of = |rule: &Rule| {
        let covered = rule.enabled && upload.key.starts_with(&rule.prefix);
        let days = rule.abort_days.filter(|_| covered);
        days.map(|days| due(upload.initiated_ms, days))
    };
    let rules = bucket.lifecycle.iter();
    let (at_ms, rule) = rules
        .filter_map(|rule| Some((of(rule)?, rule)))
        .min_by_key(|(at_ms, _rule)| *at_ms)?;
    Some((timestamp(at_ms), encoded(&rule.id)))
}

/// The id of a rule, as headers have it.
fn encoded(id: &str) -> String {
    utf8_percent_encode(id, PLAIN).to_string()
}

/// An event, and the version that it is about.
type Told = (&'static str, Option<String>);

/// What the rules make of an object: its new record, and the events that tell of it.
fn apply(
    rules: &[Rule],
    key: &str,
    mut object: Object,
    versioning: Versioning,
    now_ms: i64,
) -> Option<(Edit, Vec<Told>)> {
    let mut told = Vec::new();
    // Old versions first: what becomes old now is not so for long.
    let mut newer = 0;
    let mut since_ms = object.versions.first()?.modified_ms;
    let mut at = 1;
    while at < object.versions.len() {
        let version = &object.versions[at];
        let modified_ms = version.modified_ms;
        if rules
            .iter()
            .any(|rule| rule.expires_old(key, version, since_ms, newer, now_ms))
        {
            told.push((
                "LifecycleExpiration:Delete",
                Some(object.versions.remove(at).id),
            ));
        } else {
            at += 1;
        }
        newer += 1;
        since_ms = modified_ms;
    }
    let newest = object.versions.first()?;
    match &newest.content {
        Some(content)
            if rules
                .iter()
                .any(|rule| rule.expires(key, newest, content, now_ms)) =>
        {
            if versioning == Versioning::Off {
                return Some((Edit::Remove, vec![("LifecycleExpiration:Delete", None)]));
            }
            let id = if versioning == Versioning::Enabled {
                new_id()
            } else {
                NULL.to_owned()
            };
            told.push(("LifecycleExpiration:DeleteMarkerCreated", Some(id.clone())));
            let marker = Version {
                id,
                modified_ms: now_ms,
                content: None,
            };
            object = add_version(Some(object), marker);
        }
        None if object.versions.len() == 1 => {
            let lone =
                |rule: &Rule| rule.enabled && rule.lone_markers && key.starts_with(&rule.prefix);
            if rules.iter().any(lone) {
                return Some((Edit::Remove, told));
            }
        }
        _ => {}
    }
    (!told.is_empty()).then_some((Edit::Put(object), told))
}

impl Buckets {
    /// Applies the rules of all buckets, every hour and when some were changed.
    pub(crate) async fn expire_for_ever(self) {
        loop {
            for bucket in self
                .shelf()
                .list(None)
                .iter()
                .filter(|bucket| !bucket.lifecycle.is_empty())
            {
                match self.expire(bucket).await {
                    Ok(gone) => debug!(bucket = bucket.name, gone, "lifecycle rules were applied"),
                    // The next time finds it again.
                    Err(error) => {
                        warn!(bucket = bucket.name, %error, "lifecycle rules could not be applied")
                    }
                }
            }
            tokio::select! {
                () = tokio::time::sleep(EVERY) => {}
                () = self.0.rules_changed.notified() => {}
            }
        }
    }

    async fn expire(&self, bucket: &Bucket) -> Result<usize> {
        let held = self.shelf().find(&bucket.name)?;
        let (mut gone, mut after) = (0, None);
        loop {
            let page = self
                .shelf()
                .objects(bucket, "", after.as_deref(), PAGE)
                .await?;
            let Some((last, _object)) = page.last() else {
                break;
            };
            after = Some(last.clone());
            for (key, object) in page {
                if apply(
                    &bucket.lifecycle,
                    &key,
                    object,
                    bucket.versioning,
                    self.now_ms(),
                )
                .is_some()
                {
                    gone += self.expire_object(&held, &key).await?;
                }
            }
        }
        for (id, upload) in self.shelf().uploads(bucket).await? {
            let is_old = |rule: &Rule| {
                let days = rule
                    .abort_days
                    .filter(|_| rule.enabled && upload.key.starts_with(&rule.prefix));
                days.is_some_and(|days| self.now_ms() >= due(upload.initiated_ms, days))
            };
            if bucket.lifecycle.iter().any(is_old) {
                self.shelf().end_upload(bucket, &id).await?;
                gone += 1;
            }
        }
        Ok(gone)
    }

    /// Looks at the object once more, as it may be another by now.
    async fn expire_object(&self, held: &Held, key: &str) -> Result<usize> {
        let now_ms = self.now_ms();
        let edited = self.shelf().edit(held, key, |object| {
            let bucket = held.bucket();
            let applied = object.and_then(|object| {
                apply(&bucket.lifecycle, key, object, bucket.versioning, now_ms)
            });
            Ok(applied.unwrap_or((Edit::Keep, Vec::new())))
        });
        let (told, revision) = edited.await?;
        let bucket = held.bucket();
        for (event, id) in &told {
            let happened = Happened {
                event,
                reason: "Lifecycle Expiration",
                key,
                size: None,
                etag: None,
                version: id.as_deref().and_then(|id| shown_id(&bucket, id)),
                revision,
            };
            self.notify(&By::lifecycle(), &bucket, &happened).await?;
        }
        Ok(told.len())
    }

    pub(crate) async fn put_bucket_lifecycle_configuration(
        &self,
        request: S3Request<PutBucketLifecycleConfigurationInput>,
    ) -> Result<PutBucketLifecycleConfigurationOutput> {
        let rules = request
            .input
            .lifecycle_configuration
            .ok_or(Error::MalformedXml)?
            .rules;
        if rules.is_empty() || rules.len() > RULES_MAX {
            return Err(Error::MalformedXml);
        }
        let rules: Vec<Rule> = rules.into_iter().map(rule).collect::<Result<_>>()?;
        let mut ids: Vec<&str> = rules.iter().map(|rule| rule.id.as_str()).collect();
        ids.sort_unstable();
        if ids.windows(2).any(|pair| pair[0] == pair[1]) {
            return Err(Error::InvalidArgument(
                "Rule ID must be unique. Found same ID for more than one rule".to_owned(),
            ));
        }
        let change = |bucket: &mut Bucket| {
            bucket.lifecycle = rules;
            Ok(())
        };
        self.shelf().change(&request.input.bucket, change).await?;
        self.0.rules_changed.notify_one();
        Ok(PutBucketLifecycleConfigurationOutput::default())
    }

    pub(crate) async fn get_bucket_lifecycle_configuration(
        &self,
        request: S3Request<GetBucketLifecycleConfigurationInput>,
    ) -> Result<GetBucketLifecycleConfigurationOutput> {
        let bucket = self.shelf().find(&request.input.bucket)?.bucket();
        match bucket.lifecycle.is_empty() {
            true => Err(Error::NoSuchLifecycleConfiguration),
            false => Ok(GetBucketLifecycleConfigurationOutput {
                rules: Some(bucket.lifecycle.iter().map(shown).collect()),
                ..GetBucketLifecycleConfigurationOutput::default()
            }),
        }
    }

    pub(crate) async fn delete_bucket_lifecycle(
        &self,
        request: S3Request<DeleteBucketLifecycleInput>,
    ) -> Result<DeleteBucketLifecycleOutput> {
        let change = |bucket: &mut Bucket| {
            bucket.lifecycle = Vec::new();
            Ok(())
        };
        self.shelf().change(&request.input.bucket, change).await?;
        Ok(DeleteBucketLifecycleOutput::default())
    }
}

fn positive(days: Option<i32>, action: &str) -> Result<Option<i32>> {
    match days {
        Some(days) if days <= 0 => Err(Error::InvalidArgument(format!(
            "'Days' for {action} action must be a positive integer"
        ))),
        days => Ok(days),
    }
}

fn rule(asked: LifecycleRule) -> Result<Rule> {
    if asked.transitions.is_some_and(|list| !list.is_empty())
        || asked
            .noncurrent_version_transitions
            .is_some_and(|list| !list.is_empty())
    {
        return Err(Error::NotImplemented(
            "Mayfly has the storage class STANDARD only, and no transitions.".to_owned(),
        ));
    }
    let id = asked.id.filter(|id| !id.is_empty()).unwrap_or_else(new_id);
    if id.chars().count() > ID_CHARS_MAX {
        return Err(Error::InvalidArgument(
            "ID length should not exceed allowed limit of 255".to_owned(),
        ));
    }
    let enabled = match asked.status.as_str() {
        ExpirationStatus::ENABLED => true,
        ExpirationStatus::DISABLED => false,
        _ => return Err(Error::MalformedXml),
    };
    let old_form = asked.filter.is_none();
    if old_form == asked.prefix.is_none() {
        return Err(Error::MalformedXml);
    }
    let filter = asked.filter.unwrap_or_default();
    let parts = [
        filter.and.is_some(),
        filter.prefix.is_some(),
        filter.tag.is_some(),
        filter.object_size_greater_than.is_some(),
        filter.object_size_less_than.is_some(),
    ];
    if parts.iter().filter(|there| **there).count() > 1 {
        return Err(Error::MalformedXml);
    }
    let both = filter.and.unwrap_or_default();
    let tagged = both
        .tags
        .unwrap_or_default()
        .into_iter()
        .chain(filter.tag)
        .collect();
    let expiration = asked.expiration.unwrap_or_default();
    let noncurrent = asked.noncurrent_version_expiration;
    let rule = Rule {
        id,
        enabled,
        old_form,
        prefix: asked
            .prefix
            .or(filter.prefix)
            .or(both.prefix)
            .unwrap_or_default(),
        tags: tags::from_body(s3s::dto::Tagging { tag_set: tagged }, tags::OBJECT_TAGS_MAX)?,
        larger_than: filter
            .object_size_greater_than
            .or(both.object_size_greater_than),
        smaller_than: filter.object_size_less_than.or(both.object_size_less_than),
        days: positive(expiration.days, "Expiration")?,
        date_s: expiration.date.as_ref().map(seconds),
        lone_markers: expiration.expired_object_delete_marker == Some(true),
        noncurrent_days: positive(
            noncurrent.as_ref().and_then(|old| old.noncurrent_days),
            "NoncurrentVersionExpiration",
        )?,
        noncurrent_kept: noncurrent.and_then(|old| old.newer_noncurrent_versions),
        abort_days: positive(
            asked
                .abort_incomplete_multipart_upload
                .and_then(|abort| abort.days_after_initiation),
            "AbortIncompleteMultipartUpload",
        )?,
    };
    sound(rule)
}

fn sound(rule: Rule) -> Result<Rule> {
    if rule
        .date_s
        .is_some_and(|date| date.rem_euclid(DAY_MS / 1000) != 0)
    {
        return Err(Error::InvalidArgument(
            "'Date' must be at midnight GMT".to_owned(),
        ));
    }
    let kinds = [
        rule.days.is_some(),
        rule.date_s.is_some(),
        rule.lone_markers,
    ];
    if kinds.iter().filter(|there| **there).count() > 1 {
        return Err(Error::MalformedXml);
    }
    if !kinds.contains(&true) && rule.noncurrent_days.is_none() && rule.abort_days.is_none() {
        return Err(Error::InvalidRequest(
            "At least one action needs to be specified in a rule".to_owned(),
        ));
    }
    let narrowed =
        !rule.tags.is_empty() || rule.larger_than.is_some() || rule.smaller_than.is_some();
    if narrowed && (rule.lone_markers || rule.abort_days.is_some()) {
        return Err(Error::InvalidRequest(
            "AbortIncompleteMultipartUpload and ExpiredObjectDeleteMarker cannot be specified with Tags or sizes.".to_owned(),
        ));
    }
    Ok(rule)
}

fn shown(rule: &Rule) -> LifecycleRule {
    let prefix = Some(rule.prefix.clone()).filter(|prefix| !prefix.is_empty());
    let tag = |(key, value): (&String, &String)| Tag {
        key: Some(key.clone()),
        value: Some(value.clone()),
    };
    let tags: Vec<Tag> = rule.tags.iter().map(tag).collect();
    let parts = usize::from(prefix.is_some())
        + tags.len()
        + usize::from(rule.larger_than.is_some())
        + usize::from(rule.smaller_than.is_some());
    let filter = match parts {
        0 => LifecycleRuleFilter {
            prefix: Some(String::new()),
            ..LifecycleRuleFilter::default()
        },
        1 => LifecycleRuleFilter {
            prefix,
            tag: tags.into_iter().next(),
            object_size_greater_than: rule.larger_than,
            object_size_less_than: rule.smaller_than,
            ..LifecycleRuleFilter::default()
        },
        _ => LifecycleRuleFilter {
            and: Some(LifecycleRuleAndOperator {
                prefix,
                tags: Some(tags).filter(|tags| !tags.is_empty()),
                object_size_greater_than: rule.larger_than,
                object_size_less_than: rule.smaller_than,
            }),
            ..LifecycleRuleFilter::default()
        },
    };
    let expires = rule.days.is_some() || rule.date_s.is_some() || rule.lone_markers;
    LifecycleRule {
        id: Some(rule.id.clone()),
        status: ExpirationStatus::from_static(match rule.enabled {
            true => ExpirationStatus::ENABLED,
            false => ExpirationStatus::DISABLED,
        }),
        prefix: rule.old_form.then(|| rule.prefix.clone()),
        filter: Some(filter).filter(|_| !rule.old_form),
        expiration: expires.then(|| LifecycleExpiration {
            days: rule.days,
            date: rule.date_s.map(|date| timestamp(date.saturating_mul(1000))),
            expired_object_delete_marker: rule.lone_markers.then_some(true),
        }),
        noncurrent_version_expiration: rule.noncurrent_days.map(|days| {
            NoncurrentVersionExpiration {
                noncurrent_days: Some(days),
                newer_noncurrent_versions: rule.noncurrent_kept,
            }
        }),
        abort_incomplete_multipart_upload: rule.abort_days.map(|days| {
            AbortIncompleteMultipartUpload {
                days_after_initiation: Some(days),
            }
        }),
        noncurrent_version_transitions: None,
        transitions: None,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::checksum::{Algorithm, Checksum};

    fn version(id: &str, modified_ms: i64, is_content: bool) -> Version {
        let content = Content {
            size: 10,
            etag: String::new(),
            pieces: Vec::new(),
            upload: None,
            headers: Default::default(),
            metadata: Default::default(),
            tags: Tags::from([("t".to_owned(), "1".to_owned())]),
            checksum: Checksum {
                algorithm: Algorithm::Crc32,
                value: String::new(),
                full_object: true,
            },
        };
        Version {
            id: id.to_owned(),
            modified_ms,
            content: is_content.then_some(content),
        }
    }

    fn none() -> Rule {
        Rule {
            id: String::new(),
            enabled: true,
            old_form: false,
            prefix: String::new(),
            tags: Tags::new(),
            larger_than: None,
            smaller_than: None,
            days: None,
            date_s: None,
            lone_markers: false,
            noncurrent_days: None,
            noncurrent_kept: None,
            abort_days: None,
        }
    }

    /// The ids that are left, newest first; a marker that is new has a dot.
    fn left(rule: &Rule, versions: &[Version], versioning: Versioning, now_ms: i64) -> String {
        let object = Object {
            versions: versions.to_vec(),
        };
        let names = |object: &Object| {
            let known = |version: &Version| versions.iter().any(|own| own.id == version.id);
            let name = |version: &Version| {
                if known(version) {
                    version.id.clone()
                } else {
                    ".".to_owned()
                }
            };
            object
                .versions
                .iter()
                .map(name)
                .collect::<Vec<_>>()
                .join(" ")
        };
        match apply(
            std::slice::from_ref(rule),
            "a/k",
            object.clone(),
            versioning,
            now_ms,
        ) {
            None => names(&object),
            Some((Edit::Put(object), _)) => names(&object),
            Some((Edit::Remove | Edit::Keep, _)) => String::new(),
        }
    }

    #[test]
    fn days_end_at_midnight() {
        assert_eq!(due(0, 1), 2 * DAY_MS);
        assert_eq!(due(1, 1), 2 * DAY_MS);
        assert_eq!(due(DAY_MS - 1, 0), DAY_MS);
    }

    #[test]
    fn current_versions_expire() {
        let one = [version("a", 5, true)];
        let rule = Rule {
            days: Some(1),
            ..none()
        };
        assert_eq!(left(&rule, &one, Versioning::Off, 2 * DAY_MS - 1), "a");
        assert_eq!(left(&rule, &one, Versioning::Off, 2 * DAY_MS), "");
        assert_eq!(left(&rule, &one, Versioning::Enabled, 2 * DAY_MS), ". a");
        for other in [
            Rule {
                enabled: false,
                ..rule.clone()
            },
            Rule {
                prefix: "b".into(),
                ..rule.clone()
            },
            Rule {
                larger_than: Some(10),
                ..rule.clone()
            },
            Rule {
                smaller_than: Some(10),
                ..rule.clone()
            },
            Rule {
                tags: Tags::from([("t".into(), "2".into())]),
                ..rule.clone()
            },
        ] {
            assert_eq!(left(&other, &one, Versioning::Off, 2 * DAY_MS), "a");
        }
        let rule = Rule {
            date_s: Some(100),
            ..none()
        };
        assert_eq!(left(&rule, &one, Versioning::Off, 99_999), "a");
        assert_eq!(left(&rule, &one, Versioning::Off, 100_000), "");
    }

    #[test]
    fn old_versions_expire() {
        let versions = [
            version("d", 3 * DAY_MS, true),
            version("c", 2 * DAY_MS, true),
            version("b", DAY_MS, true),
            version("a", 0, true),
        ];
        let rule = Rule {
            noncurrent_days: Some(1),
            ..none()
        };
        assert_eq!(
            left(&rule, &versions, Versioning::Enabled, 4 * DAY_MS - 1),
            "d c b"
        );
        assert_eq!(left(&rule, &versions, Versioning::Enabled, 9 * DAY_MS), "d");
        let rule = Rule {
            noncurrent_kept: Some(2),
            ..rule
        };
        assert_eq!(
            left(&rule, &versions, Versioning::Enabled, 9 * DAY_MS),
            "d c b"
        );
    }

    #[test]
    fn lone_markers_go() {
        let rule = Rule {
            lone_markers: true,
            ..none()
        };
        assert_eq!(
            left(&rule, &[version("m", 0, false)], Versioning::Enabled, 0),
            ""
        );
        let two = [version("m", 1, false), version("a", 0, true)];
        assert_eq!(left(&rule, &two, Versioning::Enabled, 0), "m a");
    }
}
