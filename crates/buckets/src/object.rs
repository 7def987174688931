//! Objects: written, copied, deleted, tagged.

use std::collections::BTreeMap;
use std::sync::Arc;

use http::HeaderMap;
use s3s::S3Request;
use s3s::dto::{
    CopyObjectInput, CopyObjectOutput, CopyObjectResult, CopySource, Delete, DeleteObjectInput,
    DeleteObjectOutput, DeleteObjectTaggingInput, DeleteObjectTaggingOutput, DeleteObjectsInput,
    DeleteObjectsOutput, DeletedObject, ETag, ETagCondition, GetObjectTaggingInput,
    GetObjectTaggingOutput, ObjectIdentifier, PutObjectInput, PutObjectOutput,
    PutObjectTaggingInput, PutObjectTaggingOutput,
};
use wire::{Arn, Keys, Signed};

use crate::access::{Asked, expected_owner};
use crate::checksum::{self, Checksum, Expected, fill};
use crate::condition::push_tags;
use crate::content::{self, Small};
use crate::notification::{By, Happened};
use crate::read::{Conditions, timestamp};
use crate::record::{Bucket, Content, NULL, Object, Version, Versioning};
use crate::shelf::{Edit, Held};
use crate::tags::{self, OBJECT_TAGS_MAX, Tags};
use crate::{Buckets, Error, Result, lifecycle};

/// The most that one request uploads or copies (AmazonS3/latest/userguide/upload-objects.html).
pub(crate) const PUT_BYTES_MAX: u64 = 5 << 30;
/// The most bytes of user-defined metadata (AmazonS3/latest/userguide/UsingMetadata.html).
const METADATA_BYTES_MAX: usize = 2048;
/// The most objects that one request deletes.
const DELETES_MAX: usize = 1000;
/// Headers that are kept with an object.
const KEPT_HEADERS: &[&str] = &[
    "cache-control",
    "content-disposition",
    "content-encoding",
    "content-language",
    "content-type",
    "expires",
];
const CONTENT_TYPE_DEFAULT: &str = "binary/octet-stream";

/// What a writer takes the object to be.
#[derive(Clone, Default)]
pub(crate) struct WriteConditions {
    pub if_match: Option<ETagCondition>,
    pub if_none_match: Option<ETagCondition>,
}

impl WriteConditions {
    /// `If-None-Match` takes `*` only (AmazonS3/latest/userguide/conditional-writes.html).
    pub fn sound(self) -> Result<Self> {
        match &self.if_none_match {
            Some(ETagCondition::ETag(_)) => Err(Error::NotImplemented(
                "If-None-Match with a value other than * is not implemented.".to_owned(),
            )),
            _ => Ok(self),
        }
    }

    pub fn hold(&self, object: Option<&Object>) -> Result<()> {
        let current = object.and_then(Object::current);
        if self.if_none_match.is_some() && current.is_some() {
            return Err(Error::PreconditionFailed);
        }
        match (&self.if_match, current) {
            (None, _) | (Some(ETagCondition::Any), Some(_)) => Ok(()),
            (Some(_), None) => Err(Error::NoSuchKey { marker: None }),
            (Some(ETagCondition::ETag(etag)), Some((_version, content)))
                if etag.value() == content.etag =>
            {
                Ok(())
            }
            (Some(_), Some(_)) => Err(Error::PreconditionFailed),
        }
    }
}

/// The headers that are kept with an object.
pub(crate) fn kept_headers(headers: &HeaderMap) -> BTreeMap<String, String> {
    let text = |name: &&str| {
        Some((
            (*name).to_owned(),
            headers.get(*name)?.to_str().ok()?.to_owned(),
        ))
    };
    let mut kept: BTreeMap<String, String> = KEPT_HEADERS.iter().filter_map(text).collect();
    let kind = kept.entry("content-type".to_owned());
    kind.or_insert_with(|| CONTENT_TYPE_DEFAULT.to_owned());
    kept
}

/// User-defined metadata.
pub(crate) fn checked_metadata(
    metadata: Option<s3s::dto::Metadata>,
) -> Result<BTreeMap<String, String>> {
    let metadata: BTreeMap<String, String> = metadata.unwrap_or_default().into_iter().collect();
    let bytes: usize = metadata
        .iter()
        .map(|(name, value)| name.len() + value.len())
        .sum();
    match bytes > METADATA_BYTES_MAX {
        true => Err(Error::MetadataTooLarge),
        false => Ok(metadata),
    }
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

pub(crate) fn new_id() -> String {
    uuid::Uuid::new_v4().simple().to_string()
}

/// The version id that a reply shows: none while versioning never was on.
pub(crate) fn shown_id(bucket: &Bucket, id: &str) -> Option<String> {
    (bucket.versioning != Versioning::Off).then(|| id.to_owned())
}

/// The version id that the reply to a write shows. While versioning is suspended it is `null`, and writes do not tell it,
/// as the samples of AmazonS3/latest/API/API_PutObject.html show; reads do.
pub(crate) fn made_id(bucket: &Bucket, id: &str) -> Option<String> {
    (bucket.versioning == Versioning::Enabled).then(|| id.to_owned())
}

/// Puts a version on top, in place of the one with the id `null` where it has that id itself.
pub(crate) fn add_version(object: Option<Object>, version: Version) -> Object {
    let mut object = object.unwrap_or_default();
    if version.id == NULL {
        object.versions.retain(|old| old.id != NULL);
    }
    object.versions.insert(0, version);
    object
}

/// A write that is on disk.
pub(crate) struct Written {
    pub version: Version,
    /// Grows with every write of the server.
    pub revision: u64,
}

impl Buckets {
    /// Writes a new version, if the conditions hold.
    pub(crate) async fn commit(
        &self,
        held: &Held,
        key: &str,
        content: Content,
        small: Option<&Small>,
        conditions: &WriteConditions,
    ) -> Result<Written> {
        let now_ms = self.now_ms();
        let upload = content.upload.clone();
        let (version, revision) = self
            .shelf()
            .edit_with(held, key, small, |object| {
                // A completion that is told twice writes once.
                let current = object.as_ref().and_then(Object::current);
                if let (Some(upload), Some((version, content))) = (&upload, current)
                    && content.upload.as_ref() == Some(upload)
                {
                    return Ok((Edit::Keep, version.clone()));
                }
                conditions.hold(object.as_ref())?;
                let enabled = held.bucket().versioning == Versioning::Enabled;
                let version = Version {
                    id: if enabled { new_id() } else { NULL.to_owned() },
                    modified_ms: now_ms,
                    content: Some(content.clone()),
                };
                Ok((Edit::Put(add_version(object, version.clone())), version))
            })
            .await?;
        Ok(Written { version, revision })
    }

    /// Tells that there is something new.
    pub(crate) async fn created(
        &self,
        asked: &Asked,
        held: &Held,
        key: &str,
        written: &Written,
        event: &'static str,
        reason: &'static str,
    ) -> Result<()> {
        let bucket = held.bucket();
        let content = written.version.content.as_ref();
        let happened = Happened {
            event,
            reason,
            key,
            size: content.map(|content| content.size),
            etag: content.map(|content| content.etag.as_str()),
            version: shown_id(&bucket, &written.version.id),
            revision: written.revision,
        };
        self.notify(&By::request(asked), &bucket, &happened).await
    }

    pub(crate) async fn put_object(
        &self,
        request: S3Request<PutObjectInput>,
    ) -> Result<PutObjectOutput> {
        let asked = Asked::of(&request)?;
        let input = request.input;
        let held = self.shelf().find(&input.bucket)?;
        match asked.length {
            Some(length) if length > PUT_BYTES_MAX => return Err(Error::EntityTooLarge),
            // A form ends where its boundary is.
            None if !matches!(asked.signed, Signed::Form { .. }) => {
                return Err(Error::MissingContentLength);
            }
            _ => {}
        }
        let conditions = WriteConditions {
            if_match: input.if_match,
            if_none_match: input.if_none_match,
        }
        .sound()?;
        let expected = Expected::read(&request.headers)?;
        let tags = tags::from_header(input.tagging.as_deref())?;
        let metadata = checked_metadata(input.metadata)?;
        if conditions.if_match.is_some() || conditions.if_none_match.is_some() {
            // Before the body is read, and once more when it is written.
            conditions.hold(
                self.shelf()
                    .object(&held.bucket(), &input.key)
                    .await?
                    .as_ref(),
            )?;
        }
        let algorithm = expected.algorithm().unwrap_or(checksum::DEFAULT);
        let sums = expected.sums(None);
        let (piece, summed, small) = content::receive_any(
            self.vessel(),
            &asked,
            input.body,
            sums,
            asked.length,
            PUT_BYTES_MAX,
        )
        .await?;
        expected.verify(&summed, &asked.trailers)?;
        let content = Content {
            size: summed.size,
            etag: hex(&summed.md5),
            pieces: vec![piece],
            upload: None,
            headers: kept_headers(&request.headers),
            metadata,
            tags,
            checksum: Checksum {
                algorithm,
                value: summed.kept,
                full_object: true,
            },
        };
        let written = self
            .commit(
                &held,
                &input.key,
                content.clone(),
                small.as_ref(),
                &conditions,
            )
            .await?;
        self.created(
            &asked,
            &held,
            &input.key,
            &written,
            "ObjectCreated:Put",
            "PutObject",
        )
        .await?;
        let bucket = held.bucket();
        let mut output = PutObjectOutput {
            server_side_encryption: content.encryption(),
            e_tag: Some(ETag::Strong(content.etag)),
            version_id: made_id(&bucket, &written.version.id),
            expiration: lifecycle::expiration(&bucket, &input.key, &written.version),
            checksum_type: Some(s3s::dto::ChecksumType::from_static(
                s3s::dto::ChecksumType::FULL_OBJECT,
            )),
            ..PutObjectOutput::default()
        };
        fill!(output, &content.checksum);
        Ok(output)
    }

    /// The source of a copy: its bucket, its version, and what it is. The caller must be allowed to read it.
    pub(crate) async fn copy_source(
        &self,
        asked: &Asked,
        source: &CopySource,
        expected: Option<&str>,
    ) -> Result<(Arc<Bucket>, Version, Content)> {
        let CopySource::Bucket {
            bucket,
            key,
            version_id,
        } = source
        else {
            return Err(Error::NotImplemented(
                "Mayfly has no access points.".to_owned(),
            ));
        };
        let bucket = self.shelf().find(bucket)?.bucket();
        expected_owner(expected, &bucket)?;
        let object = self.shelf().object(&bucket, key).await?;
        let version = match (&object, version_id) {
            (Some(object), Some(id)) => object.version(id),
            (Some(object), None) => object.versions.first(),
            (None, _) => None,
        };
        let content = version.and_then(|version| version.content.as_ref());
        self.authorize_read(asked, &bucket, key, version_id.as_deref(), content)?;
        match (version, content) {
            (Some(version), Some(content)) => Ok((bucket, version.clone(), content.clone())),
            (Some(_marker), None) if version_id.is_some() => Err(Error::InvalidRequest(
                "The source of a copy request may not specifically refer to a delete marker by version id.".to_owned(),
            )),
            (_, None) if version_id.is_some() => Err(self.missing(asked, &bucket, Error::NoSuchVersion)),
            _ => Err(self.missing(asked, &bucket, Error::NoSuchKey { marker: None })),
        }
    }

    pub(crate) async fn copy_object(
        &self,
        request: S3Request<CopyObjectInput>,
    ) -> Result<CopyObjectOutput> {
        let asked = Asked::of(&request)?;
        let input = request.input;
        let held = self.shelf().find(&input.bucket)?;
        let owner = input.expected_source_bucket_owner.as_deref();
        let (from, version, source) = self.copy_source(&asked, &input.copy_source, owner).await?;
        Conditions::new(
            input.copy_source_if_match,
            input.copy_source_if_none_match,
            input.copy_source_if_modified_since,
            input.copy_source_if_unmodified_since,
        )
        .hold_for_copy(&source, &version)?;
        if source.size > PUT_BYTES_MAX {
            return Err(Error::InvalidRequest(
                "The specified copy source is larger than the maximum allowable size for a copy source: 5368709120".to_owned(),
            ));
        }
        let new_metadata = replaces(
            input.metadata_directive.as_ref().map(|it| it.as_str()),
            "metadata",
        )?;
        let new_tags = replaces(
            input.tagging_directive.as_ref().map(|it| it.as_str()),
            "tagging",
        )?;
        let CopySource::Bucket {
            key, version_id, ..
        } = &input.copy_source
        else {
            return Err(Error::NotImplemented(
                "Mayfly has no access points.".to_owned(),
            ));
        };
        let is_itself = from.name == input.bucket && **key == *input.key && version_id.is_none();
        if is_itself && !new_metadata && !new_tags {
            return Err(Error::InvalidRequest(
                "This copy request is illegal because it is trying to copy an object to itself without changing the object's metadata, storage class, website redirect location or encryption attributes.".to_owned(),
            ));
        }
        let mut content = Content {
            upload: None,
            ..source
        };
        if new_metadata {
            content.headers = kept_headers(&request.headers);
            content.metadata = checked_metadata(input.metadata)?;
        }
        if new_tags {
            content.tags = tags::from_header(input.tagging.as_deref())?;
        }
        // One copy is one object of one part, whose checksum is of the whole.
        let algorithm = input.checksum_algorithm.as_ref().map(|it| it.as_str());
        let small = self.settle_copy(&asked, &mut content, algorithm).await?;
        let written = self
            .commit(
                &held,
                &input.key,
                content.clone(),
                small.as_ref(),
                &WriteConditions::default(),
            )
            .await?;
        self.created(
            &asked,
            &held,
            &input.key,
            &written,
            "ObjectCreated:Copy",
            "CopyObject",
        )
        .await?;
        let mut result = CopyObjectResult {
            e_tag: Some(ETag::Strong(content.etag.clone())),
            last_modified: Some(timestamp(written.version.modified_ms)),
            checksum_type: Some(s3s::dto::ChecksumType::from_static(
                s3s::dto::ChecksumType::FULL_OBJECT,
            )),
            ..CopyObjectResult::default()
        };
        fill!(result, &content.checksum);
        let bucket = held.bucket();
        Ok(CopyObjectOutput {
            copy_object_result: Some(result),
            server_side_encryption: content.encryption(),
            copy_source_version_id: shown_id(&from, &version.id),
            version_id: made_id(&bucket, &written.version.id),
            expiration: lifecycle::expiration(&bucket, &input.key, &written.version),
            ..CopyObjectOutput::default()
        })
    }

    /// Makes the content of a copy: the same blob where the source is one, else its pieces put together. Returns what is to
    /// be written with the copy's record.
    async fn settle_copy(
        &self,
        asked: &Arc<Asked>,
        content: &mut Content,
        algorithm: Option<&str>,
    ) -> Result<Option<Small>> {
        let algorithm = algorithm.map(checksum::Algorithm::parse).transpose()?;
        let same = algorithm.is_none_or(|algorithm| algorithm == content.checksum.algorithm);
        if let ([piece], true, true) = (
            content.pieces.as_slice(),
            same,
            content.checksum.full_object,
        ) && !content.etag.contains('-')
        {
            if piece.small {
                let found = content::small(self.vessel(), piece).await?;
                let missing =
                    || Error::Internal(format!("the content {} is missing", piece.digest));
                return Ok(Some(found.ok_or_else(missing)?));
            }
            if self.objects().touch(&piece.digest).await? {
                return Ok(None);
            }
        }
        let kept = algorithm.unwrap_or(content.checksum.algorithm);
        let range = 0..content.size;
        let stream = content::read(self.vessel(), &content.pieces, &range).await?;
        let body = s3s::dto::StreamingBlob::from(content::body(stream));
        let sums = Expected::read(&HeaderMap::new())?.sums(Some(kept));
        let (piece, summed, small) = content::receive_any(
            self.vessel(),
            asked,
            Some(body),
            sums,
            Some(content.size),
            PUT_BYTES_MAX,
        )
        .await?;
        content.pieces = vec![piece];
        content.etag = hex(&summed.md5);
        content.checksum = Checksum {
            algorithm: kept,
            value: summed.kept,
            full_object: true,
        };
        Ok(small)
    }

    pub(crate) async fn delete_object(
        &self,
        request: S3Request<DeleteObjectInput>,
    ) -> Result<DeleteObjectOutput> {
        let asked = Asked::of(&request)?;
        let input = request.input;
        if input.mfa.is_some() {
            return Err(Error::NotImplemented(
                "Mayfly does not implement MFA delete.".to_owned(),
            ));
        }
        let held = self.shelf().find(&input.bucket)?;
        let conditions = WriteConditions {
            if_match: input.if_match,
            if_none_match: None,
        };
        let deleted = self
            .delete(
                &asked,
                &held,
                &input.key,
                input.version_id.as_deref(),
                &conditions,
            )
            .await?;
        Ok(DeleteObjectOutput {
            delete_marker: deleted.marker.then_some(true),
            version_id: deleted.version,
            ..DeleteObjectOutput::default()
        })
    }

    pub(crate) async fn delete_objects(
        &self,
        request: S3Request<DeleteObjectsInput>,
    ) -> Result<DeleteObjectsOutput> {
        let asked = Asked::of(&request)?;
        let input = request.input;
        let held = self.shelf().find(&input.bucket)?;
        let Delete { objects, quiet } = input.delete;
        if objects.is_empty() || objects.len() > DELETES_MAX {
            return Err(Error::MalformedXml);
        }
        let (mut done, mut failed) = (Vec::new(), Vec::new());
        for object in objects {
            let (key, version) = (object.key.clone(), object.version_id.clone());
            match self.delete_one(&asked, &held, object).await {
                Ok(deleted) => done.push(DeletedObject {
                    key: Some(key),
                    version_id: version,
                    delete_marker: deleted.marker.then_some(true),
                    delete_marker_version_id: deleted.version.filter(|_| deleted.marker),
                }),
                Err(error) => failed.push(s3s::dto::Error {
                    code: Some(error.code().0.to_owned()),
                    message: Some(error.to_string()),
                    key: Some(key),
                    version_id: version,
                }),
            }
        }
        let loud = quiet != Some(true);
        Ok(DeleteObjectsOutput {
            deleted: Some(done).filter(|_| loud),
            errors: Some(failed),
            ..DeleteObjectsOutput::default()
        })
    }

    async fn delete_one(
        &self,
        asked: &Asked,
        held: &Held,
        object: ObjectIdentifier,
    ) -> Result<Deleted> {
        let bucket = held.bucket();
        let found = self.shelf().object(&bucket, &object.key).await?;
        let version = object.version_id.as_deref();
        let content = found.as_ref().and_then(|found| match version {
            Some(id) => found.version(id)?.content.as_ref(),
            None => Some(found.current()?.1),
        });
        let mut keys = Keys::new();
        push_tags(&mut keys, "s3:ExistingObjectTag/", content);
        let action = match version {
            Some(id) => {
                keys.push(("s3:VersionId".into(), vec![id.to_owned()]));
                "s3:DeleteObjectVersion"
            }
            None => "s3:DeleteObject",
        };
        let arn = Arn::object(&bucket.name, &object.key);
        self.authorize(asked, action, &arn, Some(&bucket), &keys)?;
        let conditions = WriteConditions {
            if_match: object.e_tag.map(ETagCondition::ETag),
            if_none_match: None,
        };
        self.delete(asked, held, &object.key, version, &conditions)
            .await
    }

    /// Deletes a version, or hides the object behind a delete marker, or removes it, as the bucket's versioning has it.
    async fn delete(
        &self,
        asked: &Asked,
        held: &Held,
        key: &str,
        version: Option<&str>,
        conditions: &WriteConditions,
    ) -> Result<Deleted> {
        if key.is_empty() || key.contains('\0') {
            return Err(Error::InvalidArgument("The key is not valid.".to_owned()));
        }
        let now_ms = self.now_ms();
        let (deleted, revision) = self
            .shelf()
            .edit(held, key, |object| {
                if conditions.if_match.is_some() {
                    conditions.hold(object.as_ref())?;
                }
                let versioning = held.bucket().versioning;
                Ok(match version {
                    Some(id) => delete_version(object, id),
                    None => hide(object, versioning, now_ms),
                })
            })
            .await?;
        let happened = Happened {
            event: match deleted.hidden {
                true => "ObjectRemoved:DeleteMarkerCreated",
                false => "ObjectRemoved:Delete",
            },
            reason: "DeleteObject",
            key,
            size: None,
            etag: None,
            version: deleted.version.clone(),
            revision,
        };
        if deleted.changed {
            self.notify(&By::request(asked), &held.bucket(), &happened)
                .await?;
        }
        Ok(deleted)
    }

    pub(crate) async fn get_object_tagging(
        &self,
        request: S3Request<GetObjectTaggingInput>,
    ) -> Result<GetObjectTaggingOutput> {
        let asked = Asked::of(&request)?;
        let input = request.input;
        let bucket = self.shelf().find(&input.bucket)?.bucket();
        let (version, content) = self
            .look(&asked, &bucket, &input.key, input.version_id.as_deref())
            .await?;
        Ok(GetObjectTaggingOutput {
            tag_set: tags::to_body(&content.tags),
            version_id: shown_id(&bucket, &version.id),
        })
    }

    pub(crate) async fn put_object_tagging(
        &self,
        request: S3Request<PutObjectTaggingInput>,
    ) -> Result<PutObjectTaggingOutput> {
        let asked = Asked::of(&request)?;
        let input = request.input;
        let given = input.tagging.tag_set.iter();
        let given: Vec<_> = given
            .map(|tag| {
                (
                    tag.key.clone().unwrap_or_default(),
                    tag.value.clone().unwrap_or_default(),
                )
            })
            .collect();
        self.authorize_tagging(&asked, &input.bucket, &input.key, &given)?;
        let tags = tags::from_body(input.tagging, OBJECT_TAGS_MAX)?;
        let version_id = self
            .tag(
                &asked,
                &input.bucket,
                &input.key,
                input.version_id.as_deref(),
                &tags,
            )
            .await?;
        Ok(PutObjectTaggingOutput { version_id })
    }

    pub(crate) async fn delete_object_tagging(
        &self,
        request: S3Request<DeleteObjectTaggingInput>,
    ) -> Result<DeleteObjectTaggingOutput> {
        let asked = Asked::of(&request)?;
        let input = request.input;
        let none = Tags::new();
        let version_id = self
            .tag(
                &asked,
                &input.bucket,
                &input.key,
                input.version_id.as_deref(),
                &none,
            )
            .await?;
        Ok(DeleteObjectTaggingOutput { version_id })
    }

    async fn tag(
        &self,
        asked: &Asked,
        bucket: &str,
        key: &str,
        version: Option<&str>,
        tags: &Tags,
    ) -> Result<Option<String>> {
        let held = self.shelf().find(bucket)?;
        let edited = self.shelf().edit(&held, key, |object| {
            let mut object = object.ok_or(Error::NoSuchKey { marker: None })?;
            let found = match version {
                Some(id) => object
                    .versions
                    .iter_mut()
                    .find(|own| own.id == id)
                    .ok_or(Error::NoSuchVersion)?,
                None => object
                    .versions
                    .first_mut()
                    .ok_or(Error::NoSuchKey { marker: None })?,
            };
            let id = found.id.clone();
            let content = found.content.as_mut().ok_or(Error::MarkerHasNoContent)?;
            content.tags.clone_from(tags);
            let told = (id, content.etag.clone());
            Ok((Edit::Put(object), told))
        });
        match edited.await {
            Ok(((id, etag), revision)) => {
                let bucket = held.bucket();
                let version = shown_id(&bucket, &id);
                let happened = Happened {
                    event: if tags.is_empty() {
                        "ObjectTagging:Delete"
                    } else {
                        "ObjectTagging:Put"
                    },
                    reason: "PutObjectTagging",
                    key,
                    size: None,
                    etag: Some(&etag),
                    version: version.clone(),
                    revision,
                };
                self.notify(&By::request(asked), &bucket, &happened).await?;
                Ok(version)
            }
            Err(error @ (Error::NoSuchKey { .. } | Error::NoSuchVersion)) => {
                Err(self.missing(asked, &held.bucket(), error))
            }
            Err(error) => Err(error),
        }
    }
}

/// What a deletion did.
struct Deleted {
    /// The version that is gone, or the delete marker that was made.
    version: Option<String>,
    /// Whether that is a delete marker.
    marker: bool,
    /// Whether anything changed.
    changed: bool,
    /// Whether the object is behind a new delete marker now.
    hidden: bool,
}

impl Deleted {
    fn nothing(version: Option<&str>) -> Self {
        Deleted {
            version: version.map(str::to_owned),
            marker: false,
            changed: false,
            hidden: false,
        }
    }
}

fn delete_version(object: Option<Object>, id: &str) -> (Edit, Deleted) {
    let Some(mut object) = object else {
        return (Edit::Keep, Deleted::nothing(Some(id)));
    };
    let Some(at) = object.versions.iter().position(|version| version.id == id) else {
        return (Edit::Keep, Deleted::nothing(Some(id)));
    };
    let gone = object.versions.remove(at);
    let deleted = Deleted {
        version: Some(gone.id),
        marker: gone.content.is_none(),
        changed: true,
        hidden: false,
    };
    match object.versions.is_empty() {
        true => (Edit::Remove, deleted),
        false => (Edit::Put(object), deleted),
    }
}

fn hide(object: Option<Object>, versioning: Versioning, now_ms: i64) -> (Edit, Deleted) {
    if versioning == Versioning::Off {
        let changed = object.is_some();
        let edit = if changed { Edit::Remove } else { Edit::Keep };
        return (
            edit,
            Deleted {
                changed,
                ..Deleted::nothing(None)
            },
        );
    }
    let id = match versioning {
        Versioning::Enabled => new_id(),
        Versioning::Off | Versioning::Suspended => NULL.to_owned(),
    };
    let marker = Version {
        id: id.clone(),
        modified_ms: now_ms,
        content: None,
    };
    let deleted = Deleted {
        version: Some(id),
        marker: true,
        changed: true,
        hidden: true,
    };
    (Edit::Put(add_version(object, marker)), deleted)
}

fn replaces(directive: Option<&str>, what: &str) -> Result<bool> {
    match directive {
        None | Some("COPY") => Ok(false),
        Some("REPLACE") => Ok(true),
        Some(_) => Err(Error::InvalidArgument(format!("Unknown {what} directive."))),
    }
}
