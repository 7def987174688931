//! Objects read: conditions, ranges, parts, headers of the reply.

use std::ops::Range;
use std::time::{Duration, UNIX_EPOCH};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, header};
use s3s::dto::{
    Checksum as ChecksumShape, ChecksumType, ETag, ETagCondition, GetObjectAttributesInput,
    GetObjectAttributesOutput, GetObjectAttributesParts, GetObjectInput, GetObjectOutput,
    HeadObjectInput, HeadObjectOutput, StorageClass, StreamingBlob, Timestamp, TimestampFormat,
};
use s3s::{S3Request, S3Response};
use wire::Context;

use crate::access::Asked;
use crate::checksum::{Checksum, fill};
use crate::content;
use crate::object::shown_id;
use crate::record::{Bucket, Content, Version};
use crate::{Buckets, Error, Result, lifecycle};

/// A time as s3s has it.
pub(crate) fn timestamp(ms: i64) -> Timestamp {
    let since = Duration::from_millis(u64::try_from(ms).unwrap_or_default());
    Timestamp::from(UNIX_EPOCH + since)
}

/// Seconds since 1970, which is what HTTP dates tell.
pub(crate) fn seconds(at: &Timestamp) -> i64 {
    let mut text = Vec::new();
    if at.format(TimestampFormat::EpochSeconds, &mut text).is_err() {
        return 0;
    }
    let text = String::from_utf8(text).unwrap_or_default();
    let whole = text.split('.').next().unwrap_or_default();
    whole.parse().unwrap_or_default()
}

/// The kind of a checksum.
pub(crate) fn kind(checksum: &Checksum) -> ChecksumType {
    ChecksumType::from_static(match checksum.full_object {
        true => ChecksumType::FULL_OBJECT,
        false => ChecksumType::COMPOSITE,
    })
}

/// Conditions of a read.
#[derive(Default)]
pub(crate) struct Conditions {
    if_match: Option<ETagCondition>,
    if_none_match: Option<ETagCondition>,
    if_modified_since: Option<i64>,
    if_unmodified_since: Option<i64>,
}

enum Verdict {
    Holds,
    Fails,
    /// The client has it already.
    Unchanged,
}

impl Conditions {
    pub fn new(
        if_match: Option<ETagCondition>,
        if_none_match: Option<ETagCondition>,
        if_modified_since: Option<Timestamp>,
        if_unmodified_since: Option<Timestamp>,
    ) -> Self {
        Conditions {
            if_match,
            if_none_match,
            if_modified_since: if_modified_since.as_ref().map(seconds),
            if_unmodified_since: if_unmodified_since.as_ref().map(seconds),
        }
    }

    /// AmazonS3/latest/API/API_GetObject.html, "Consideration 1" and "2": an entity tag outweighs a date.
    fn judge(&self, content: &Content, version: &Version) -> Verdict {
        let modified = version.modified_ms.div_euclid(1000);
        let matches = |condition: &ETagCondition| match condition {
            ETagCondition::Any => true,
            ETagCondition::ETag(etag) => etag.value() == content.etag,
        };
        let stays = match (&self.if_match, self.if_unmodified_since) {
            (Some(condition), _) => matches(condition),
            (None, Some(since)) => modified <= since,
            (None, None) => true,
        };
        if !stays {
            return Verdict::Fails;
        }
        let is_new = match (&self.if_none_match, self.if_modified_since) {
            (Some(condition), _) => !matches(condition),
            (None, Some(since)) => modified > since,
            (None, None) => true,
        };
        if is_new {
            Verdict::Holds
        } else {
            Verdict::Unchanged
        }
    }

    fn hold(&self, content: &Content, version: &Version) -> Result<()> {
        match self.judge(content, version) {
            Verdict::Holds => Ok(()),
            Verdict::Fails => Err(Error::PreconditionFailed),
            Verdict::Unchanged => Err(Error::NotModified(Box::new(unchanged(content, version)))),
        }
    }

    pub fn hold_for_copy(&self, content: &Content, version: &Version) -> Result<()> {
        match self.judge(content, version) {
            Verdict::Holds => Ok(()),
            Verdict::Fails | Verdict::Unchanged => Err(Error::PreconditionFailed),
        }
    }
}

fn unchanged(content: &Content, version: &Version) -> HeaderMap {
    let mut headers = HeaderMap::new();
    if let Ok(etag) = HeaderValue::from_str(&format!("\"{}\"", content.etag)) {
        headers.insert(header::ETAG, etag);
    }
    let mut date = Vec::new();
    let written = timestamp(version.modified_ms).format(TimestampFormat::HttpDate, &mut date);
    if let (Ok(()), Ok(date)) = (written, HeaderValue::from_bytes(&date)) {
        headers.insert(header::LAST_MODIFIED, date);
    }
    headers
}

/// The part of an object that a reply has.
struct Shown {
    range: Range<u64>,
    /// For `Content-Range`, where it is a part.
    told: Option<String>,
    parts: Option<i32>,
}

fn shown(content: &Content, range: Option<s3s::dto::Range>, part: Option<i32>) -> Result<Shown> {
    let told = |range: &Range<u64>| {
        format!(
            "bytes {}-{}/{}",
            range.start,
            range.end.saturating_sub(1),
            content.size
        )
    };
    match (range, part) {
        (Some(_), Some(_)) => Err(Error::InvalidRequest(
            "Cannot specify both Range header and partNumber query parameter.".to_owned(),
        )),
        (None, None) => Ok(Shown {
            range: 0..content.size,
            told: None,
            parts: None,
        }),
        (Some(range), None) => {
            let range = range.check(content.size);
            let range =
                range.map_err(|_unsatisfiable| Error::InvalidRange { size: content.size })?;
            Ok(Shown {
                told: Some(told(&range)),
                range,
                parts: None,
            })
        }
        (None, Some(part)) => {
            if !(1..=10_000).contains(&part) {
                return Err(Error::InvalidArgument(
                    "Part number must be an integer between 1 and 10000, inclusive".to_owned(),
                ));
            }
            let at = usize::try_from(part - 1).unwrap_or(usize::MAX);
            let sizes: Vec<u64> = content.pieces.iter().map(|piece| piece.size).collect();
            let size = sizes.get(at).ok_or(Error::InvalidPartNumber)?;
            let start: u64 = sizes[..at].iter().sum();
            let range = start..start + size;
            let parts = content
                .upload
                .as_ref()
                .and_then(|_| i32::try_from(sizes.len()).ok());
            let told = Some(told(&range)).filter(|_| content.size > 0);
            Ok(Shown { told, range, parts })
        }
    }
}

/// The kept header that is not text to s3s.
fn expires(content: &Content, overridden: bool) -> HeaderMap {
    let mut headers = HeaderMap::new();
    let kept = content.headers.get("expires").filter(|_| !overridden);
    if let Some(value) = kept.and_then(|text| HeaderValue::from_str(text).ok()) {
        headers.insert(header::EXPIRES, value);
    }
    headers
}

macro_rules! describe {
    ($output:ident, $input:expr, $bucket:expr, $version:expr, $content:expr, $shown:expr) => {{
        let kept = |name: &str| $content.headers.get(name).cloned();
        $output {
            accept_ranges: Some("bytes".to_owned()),
            cache_control: kept("cache-control"),
            content_disposition: kept("content-disposition"),
            content_encoding: kept("content-encoding"),
            content_language: kept("content-language"),
            content_type: kept("content-type"),
            content_length: i64::try_from($shown.range.end - $shown.range.start).ok(),
            content_range: $shown.told.clone(),
            e_tag: Some(ETag::Strong($content.etag.clone())),
            // An old version goes by other rules, of which nothing is told.
            expiration: match $input.version_id {
                None => lifecycle::expiration($bucket, &$input.key, &$version),
                Some(_) => None,
            },
            last_modified: Some(timestamp($version.modified_ms)),
            metadata: Some($content.metadata.clone().into_iter().collect()),
            parts_count: $shown.parts,
            server_side_encryption: $content.encryption(),
            version_id: shown_id($bucket, &$version.id),
            ..$output::default()
        }
    }};
}

impl Buckets {
    /// The version that a read is about. Who may not list learns of nothing that is missing.
    pub(crate) async fn look(
        &self,
        asked: &Asked,
        bucket: &Bucket,
        key: &str,
        version: Option<&str>,
    ) -> Result<(Version, Content)> {
        // What is answered is what was asked about.
        let object = match asked.found.get() {
            Some((found, object)) if found == key => object.clone(),
            _ => self.shelf().object(bucket, key).await?,
        };
        let missing = |error| self.missing(asked, bucket, error);
        let Some(object) = object else {
            return Err(missing(match version {
                Some(_) => Error::NoSuchVersion,
                None => Error::NoSuchKey { marker: None },
            }));
        };
        let found = match version {
            Some(id) => object
                .version(id)
                .ok_or_else(|| missing(Error::NoSuchVersion))?,
            None => object
                .versions
                .first()
                .ok_or_else(|| missing(Error::NoSuchKey { marker: None }))?,
        };
        match (&found.content, version) {
            (Some(content), _) => Ok((found.clone(), content.clone())),
            (None, Some(_)) => Err(Error::MarkerHasNoContent),
            (None, None) => Err(missing(Error::NoSuchKey {
                marker: Some(found.id.clone()),
            })),
        }
    }

    pub(crate) async fn get_object(
        &self,
        request: S3Request<GetObjectInput>,
    ) -> Result<S3Response<GetObjectOutput>> {
        let asked = Asked::of(&request)?;
        let input = request.input;
        let bucket = self.shelf().find(&input.bucket)?.bucket();
        let (version, content) = self
            .look(&asked, &bucket, &input.key, input.version_id.as_deref())
            .await?;
        let conditions = Conditions::new(
            input.if_match,
            input.if_none_match,
            input.if_modified_since,
            input.if_unmodified_since,
        );
        conditions.hold(&content, &version)?;
        let shown = shown(&content, input.range, input.part_number)?;
        let mut output = describe!(GetObjectOutput, input, &bucket, version, content, shown);
        output.tag_count = i32::try_from(content.tags.len())
            .ok()
            .filter(|count| *count > 0);
        if input.checksum_mode.is_some() && shown.told.is_none() {
            fill!(output, &content.checksum);
            output.checksum_type = Some(kind(&content.checksum));
        }
        let stream = content::read(self.vessel(), &content.pieces, &shown.range).await?;
        output.body = Some(StreamingBlob::from(content::body(stream)));
        let headers = expires(&content, input.response_expires.is_some());
        Ok(S3Response::with_headers(output, headers))
    }

    pub(crate) async fn head_object(
        &self,
        request: S3Request<HeadObjectInput>,
    ) -> Result<S3Response<HeadObjectOutput>> {
        let asked = Asked::of(&request)?;
        let input = request.input;
        let bucket = self.shelf().find(&input.bucket)?.bucket();
        let (version, content) = self
            .look(&asked, &bucket, &input.key, input.version_id.as_deref())
            .await?;
        let conditions = Conditions::new(
            input.if_match,
            input.if_none_match,
            input.if_modified_since,
            input.if_unmodified_since,
        );
        conditions.hold(&content, &version)?;
        let shown = shown(&content, input.range, input.part_number)?;
        let mut output = describe!(HeadObjectOutput, input, &bucket, version, content, shown);
        output.content_type = input.response_content_type.or(output.content_type);
        output.content_language = input.response_content_language.or(output.content_language);
        output.cache_control = input.response_cache_control.or(output.cache_control);
        output.content_disposition = input
            .response_content_disposition
            .or(output.content_disposition);
        output.content_encoding = input.response_content_encoding.or(output.content_encoding);
        output.expires = input.response_expires;
        if input.checksum_mode.is_some() && shown.told.is_none() {
            fill!(output, &content.checksum);
            output.checksum_type = Some(kind(&content.checksum));
        }
        let mut headers = expires(&content, output.expires.is_some());
        if !content.tags.is_empty() {
            headers.insert("x-amz-tagging-count", content.tags.len().into());
        }
        let status = shown
            .told
            .as_ref()
            .map(|_| http::StatusCode::PARTIAL_CONTENT);
        let mut response = S3Response::with_headers(output, headers);
        response.status = status;
        Ok(response)
    }

    /// The content of an object as GetObject would answer it to this caller, whole.
    ///
    /// # Errors
    /// As GetObject's; [`Error::EntityTooLarge`] if there is more than `bytes_max`.
    pub async fn read(
        &self,
        cx: &Context,
        bucket: &str,
        key: &str,
        version: Option<&str>,
        bytes_max: u64,
    ) -> std::result::Result<Bytes, Error> {
        let asked = Asked::inside(cx.clone());
        let bucket = self.shelf().find(bucket)?.bucket();
        let object = self.shelf().object(&bucket, key).await?;
        let found = object.as_ref().and_then(|object| match version {
            Some(id) => object.version(id),
            None => object.versions.first(),
        });
        let content = found.and_then(|found| found.content.as_ref());
        self.authorize_read(&asked, &bucket, key, version, content)?;
        let (_version, content) = self.look(&asked, &bucket, key, version).await?;
        if content.size > bytes_max {
            return Err(Error::EntityTooLarge);
        }
        content::whole(content::read(self.vessel(), &content.pieces, &(0..content.size)).await?)
            .await
    }

    pub(crate) async fn get_object_attributes(
        &self,
        request: S3Request<GetObjectAttributesInput>,
    ) -> Result<GetObjectAttributesOutput> {
        let asked = Asked::of(&request)?;
        let input = request.input;
        let bucket = self.shelf().find(&input.bucket)?.bucket();
        let (version, content) = self
            .look(&asked, &bucket, &input.key, input.version_id.as_deref())
            .await?;
        let mut output = GetObjectAttributesOutput {
            last_modified: Some(timestamp(version.modified_ms)),
            version_id: shown_id(&bucket, &version.id),
            ..GetObjectAttributesOutput::default()
        };
        // They come as one list, with commas.
        let lists = input.object_attributes.iter().map(|list| list.as_str());
        for attribute in lists.flat_map(|list| list.split(',')).map(str::trim) {
            match attribute {
                "ETag" => output.e_tag = Some(ETag::Strong(content.etag.clone())),
                "ObjectSize" => output.object_size = i64::try_from(content.size).ok(),
                "StorageClass" => {
                    output.storage_class = Some(StorageClass::from_static(StorageClass::STANDARD))
                }
                "Checksum" => {
                    let mut shape = ChecksumShape::default();
                    fill!(shape, &content.checksum);
                    shape.checksum_type = Some(kind(&content.checksum));
                    output.checksum = Some(shape);
                }
                "ObjectParts" if content.upload.is_some() => {
                    output.object_parts = Some(GetObjectAttributesParts {
                        total_parts_count: i32::try_from(content.pieces.len()).ok(),
                        ..GetObjectAttributesParts::default()
                    });
                }
                "ObjectParts" => {}
                other => {
                    return Err(Error::InvalidArgument(format!(
                        "Invalid attribute name specified: {other}"
                    )));
                }
            }
        }
        Ok(output)
    }
}
