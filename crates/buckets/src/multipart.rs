//! Multipart uploads (AmazonS3/latest/userguide/mpuoverview.html). A part is content of its own until the upload is complete;
//! the object then consists of the parts as they are.

use std::collections::BTreeSet;

use s3s::S3Request;
use s3s::dto::{
    AbortMultipartUploadInput, AbortMultipartUploadOutput, ChecksumAlgorithm, ChecksumType,
    CommonPrefix, CompleteMultipartUploadInput, CompleteMultipartUploadOutput, CompletedPart,
    CopyPartResult, CopySource, CreateMultipartUploadInput, CreateMultipartUploadOutput, ETag,
    Initiator, ListMultipartUploadsInput, ListMultipartUploadsOutput, ListPartsInput,
    ListPartsOutput, MultipartUpload, Part, ServerSideEncryption, StorageClass,
    UploadPartCopyInput, UploadPartCopyOutput, UploadPartInput, UploadPartOutput,
};

use crate::access::Asked;
use crate::checksum::{self, Algorithm, Checksum, Expected, Summed, fill};
use crate::content;
use crate::list::{canonical_id, common_prefix, encoded, limit, owner, sound_encoding};
use crate::object::{
    PUT_BYTES_MAX, WriteConditions, checked_metadata, hex, kept_headers, made_id, new_id, shown_id,
};
use crate::read::{Conditions, timestamp};
use crate::record::{Bucket, Content, Piece, Upload, UploadedPart};
use crate::{Buckets, Error, Result, lifecycle, tags};

/// The least that a part has, unless it is the last.
const PART_BYTES_MIN: u64 = 5 << 20;
/// The most parts of an upload.
const PARTS_MAX: u16 = 10_000;
/// The most that an object has.
const OBJECT_BYTES_MAX: u64 = 5 << 40;
/// The most uploads into one bucket that are under way: a list of them is made in memory.
const UPLOADS_MAX: usize = 10_000;

fn part_number(number: i32) -> Result<u16> {
    let number = u16::try_from(number)
        .ok()
        .filter(|number| (1..=PARTS_MAX).contains(number));
    number.ok_or_else(|| {
        Error::InvalidArgument(
            "Part number must be an integer between 1 and 10000, inclusive".to_owned(),
        )
    })
}

fn part_checksum(algorithm: Algorithm, value: &str) -> Checksum {
    Checksum {
        algorithm,
        value: value.to_owned(),
        full_object: true,
    }
}

impl Buckets {
    pub(crate) async fn create_multipart_upload(
        &self,
        request: S3Request<CreateMultipartUploadInput>,
    ) -> Result<CreateMultipartUploadOutput> {
        let asked = Asked::of(&request)?;
        let input = request.input;
        let held = self.shelf().find(&input.bucket)?;
        let named = input
            .checksum_algorithm
            .as_ref()
            .map(|name| Algorithm::parse(name.as_str()))
            .transpose()?;
        let algorithm = named.unwrap_or(checksum::DEFAULT);
        let full_object = match input.checksum_type.as_ref().map(ChecksumType::as_str) {
            None => algorithm == Algorithm::Crc64Nvme,
            Some(ChecksumType::FULL_OBJECT) if algorithm.combines() => true,
            Some(ChecksumType::COMPOSITE) if algorithm != Algorithm::Crc64Nvme => false,
            Some(kind) => {
                let text = format!(
                    "The {kind} checksum type cannot be used with the {} checksum algorithm.",
                    algorithm.name().to_lowercase()
                );
                return Err(Error::InvalidRequest(text));
            }
        };
        if self.shelf().uploads(&held.bucket()).await?.len() >= UPLOADS_MAX {
            let text = format!(
                "The bucket has {UPLOADS_MAX} multipart uploads under way. Complete or abort some."
            );
            return Err(Error::InvalidRequest(text));
        }
        let upload = Upload {
            key: input.key.clone(),
            initiated_ms: self.now_ms(),
            initiator: asked.cx.caller.arn.to_string(),
            headers: kept_headers(&request.headers),
            metadata: checked_metadata(input.metadata)?,
            tags: tags::from_header(input.tagging.as_deref())?,
            algorithm,
            full_object,
            named_algorithm: named.is_some(),
        };
        let id = new_id();
        self.shelf().begin_upload(&held, &id, &upload).await?;
        let (abort_date, abort_rule_id) = lifecycle::abort(&held.bucket(), &upload).unzip();
        Ok(CreateMultipartUploadOutput {
            abort_date,
            abort_rule_id,
            bucket: Some(input.bucket),
            key: Some(input.key),
            upload_id: Some(id),
            server_side_encryption: sealed(),
            checksum_algorithm: named.map(|_| ChecksumAlgorithm::from_static(algorithm.name())),
            checksum_type: named.map(|_| kind_of(&upload)),
            ..CreateMultipartUploadOutput::default()
        })
    }

    pub(crate) async fn upload_part(
        &self,
        request: S3Request<UploadPartInput>,
    ) -> Result<UploadPartOutput> {
        let asked = Asked::of(&request)?;
        let input = request.input;
        let bucket = self.shelf().find(&input.bucket)?.bucket();
        let number = part_number(input.part_number)?;
        let upload = self
            .shelf()
            .upload(&bucket, &input.key, &input.upload_id)
            .await?;
        let length = asked.length.ok_or(Error::MissingContentLength)?;
        if length > PUT_BYTES_MAX {
            return Err(Error::EntityTooLarge);
        }
        let expected = Expected::read(&request.headers)?;
        if upload.named_algorithm
            && expected
                .algorithm()
                .is_some_and(|sent| sent != upload.algorithm)
        {
            let text = format!(
                "Checksum Type mismatch occurred, expected checksum Type: {}, actual checksum Type: {}",
                upload.algorithm.name().to_lowercase(),
                expected
                    .algorithm()
                    .map_or("null", Algorithm::name)
                    .to_lowercase()
            );
            return Err(Error::InvalidRequest(text));
        }
        let sums = expected.sums(Some(upload.algorithm));
        let (piece, summed) =
            content::receive(self.vessel(), &asked, input.body, sums, PUT_BYTES_MAX).await?;
        expected.verify(&summed, &asked.trailers)?;
        let part = self.uploaded(piece, summed);
        self.keep_part(&bucket, &input.key, &input.upload_id, number, &part)
            .await?;
        let mut output = UploadPartOutput {
            server_side_encryption: sealed(),
            e_tag: Some(ETag::Strong(part.md5)),
            ..UploadPartOutput::default()
        };
        fill!(output, &part_checksum(upload.algorithm, &part.checksum));
        Ok(output)
    }

    pub(crate) async fn upload_part_copy(
        &self,
        request: S3Request<UploadPartCopyInput>,
    ) -> Result<UploadPartCopyOutput> {
        let asked = Asked::of(&request)?;
        let input = request.input;
        let bucket = self.shelf().find(&input.bucket)?.bucket();
        let number = part_number(input.part_number)?;
        let upload = self
            .shelf()
            .upload(&bucket, &input.key, &input.upload_id)
            .await?;
        let owner = input.expected_source_bucket_owner.as_deref();
        let (from, version, source) = self.copy_source(&asked, &input.copy_source, owner).await?;
        Conditions::new(
            input.copy_source_if_match,
            input.copy_source_if_none_match,
            input.copy_source_if_modified_since,
            input.copy_source_if_unmodified_since,
        )
        .hold_for_copy(&source, &version)?;
        debug_assert!(matches!(input.copy_source, CopySource::Bucket { .. }));
        let range = copied_range(input.copy_source_range.as_deref(), source.size)?;
        if range.end - range.start > PUT_BYTES_MAX {
            return Err(Error::EntityTooLarge);
        }
        let stream = content::read(self.vessel(), &source.pieces, &range).await?;
        let body = s3s::dto::StreamingBlob::from(content::body(stream));
        let sums = Expected::read(&http::HeaderMap::new())?.sums(Some(upload.algorithm));
        let (piece, summed) =
            content::receive(self.vessel(), &asked, Some(body), sums, PUT_BYTES_MAX).await?;
        let part = self.uploaded(piece, summed);
        self.keep_part(&bucket, &input.key, &input.upload_id, number, &part)
            .await?;
        let mut result = CopyPartResult {
            e_tag: Some(ETag::Strong(part.md5)),
            last_modified: Some(timestamp(part.modified_ms)),
            ..CopyPartResult::default()
        };
        fill!(result, &part_checksum(upload.algorithm, &part.checksum));
        Ok(UploadPartCopyOutput {
            copy_part_result: Some(result),
            server_side_encryption: sealed(),
            copy_source_version_id: shown_id(&from, &version.id),
            ..UploadPartCopyOutput::default()
        })
    }

    fn uploaded(&self, piece: Piece, summed: Summed) -> UploadedPart {
        UploadedPart {
            piece,
            md5: hex(&summed.md5),
            modified_ms: self.now_ms(),
            checksum: summed.kept,
        }
    }

    /// Notes a part, unless its upload ended while it came.
    async fn keep_part(
        &self,
        bucket: &Bucket,
        key: &str,
        id: &str,
        number: u16,
        part: &UploadedPart,
    ) -> Result<()> {
        self.shelf().upload(bucket, key, id).await?;
        self.shelf().put_part(bucket, id, number, part).await
    }

    pub(crate) async fn complete_multipart_upload(
        &self,
        request: S3Request<CompleteMultipartUploadInput>,
    ) -> Result<CompleteMultipartUploadOutput> {
        let asked = Asked::of(&request)?;
        let input = request.input;
        let held = self.shelf().find(&input.bucket)?;
        let bucket = held.bucket();
        let conditions = WriteConditions {
            if_match: input.if_match,
            if_none_match: input.if_none_match,
        }
        .sound()?;
        let upload = match self
            .shelf()
            .upload(&bucket, &input.key, &input.upload_id)
            .await
        {
            Ok(upload) => upload,
            // Told once more by a client that missed the answer.
            Err(Error::NoSuchUpload) => {
                return self.completed(&bucket, &input.key, &input.upload_id).await;
            }
            Err(error) => return Err(error),
        };
        let listed = input
            .multipart_upload
            .and_then(|list| list.parts)
            .unwrap_or_default();
        if listed.is_empty() {
            return Err(Error::MalformedXml);
        }
        let kept = self.shelf().parts(&bucket, &input.upload_id).await?;
        let mut parts: Vec<&UploadedPart> = Vec::with_capacity(listed.len());
        let mut last = 0;
        for part in &listed {
            let number = part_number(part.part_number.ok_or(Error::MalformedXml)?)?;
            if number <= last {
                return Err(Error::InvalidPartOrder);
            }
            last = number;
            let found = kept.get(&number).ok_or(Error::InvalidPart)?;
            same_part(part, found, upload.algorithm)?;
            parts.push(found);
        }
        let small = parts
            .iter()
            .rev()
            .skip(1)
            .any(|part| part.piece.size < PART_BYTES_MIN);
        if small {
            return Err(Error::EntityTooSmall);
        }
        let size = parts.iter().map(|part| part.piece.size).sum();
        if size > OBJECT_BYTES_MAX {
            return Err(Error::EntityTooLarge);
        }
        if input
            .mpu_object_size
            .is_some_and(|said| u64::try_from(said) != Ok(size))
        {
            let text =
                "The provided 'x-amz-mp-object-size' header does not match what was computed.";
            return Err(Error::InvalidRequest(text.to_owned()));
        }
        let sums: Vec<(&str, u64)> = parts
            .iter()
            .map(|part| (part.checksum.as_str(), part.piece.size))
            .collect();
        let checksum = checksum::of_parts(upload.algorithm, upload.full_object, &sums);
        let checksum =
            checksum.ok_or_else(|| Error::Internal("a part's checksum is not one".to_owned()))?;
        let said = Expected::read(&request.headers)?;
        said.verify_whole(&checksum)?;
        let content = Content {
            size,
            etag: etag_of(&parts)?,
            pieces: parts.iter().map(|part| part.piece).collect(),
            upload: Some(input.upload_id.clone()),
            headers: upload.headers,
            metadata: upload.metadata,
            tags: upload.tags,
            checksum,
        };
        let written = self
            .commit(&held, &input.key, content, None, &conditions)
            .await?;
        let (event, reason) = (
            "ObjectCreated:CompleteMultipartUpload",
            "CompleteMultipartUpload",
        );
        self.created(&asked, &held, &input.key, &written, event, reason)
            .await?;
        // Last: a crash before this leaves the upload, and the client's next try tells once more.
        self.shelf().end_upload(&bucket, &input.upload_id).await?;
        completed(&bucket, &input.key, &written.version)
    }

    /// The answer to a completion that was told before.
    async fn completed(
        &self,
        bucket: &Bucket,
        key: &str,
        id: &str,
    ) -> Result<CompleteMultipartUploadOutput> {
        let object = self
            .shelf()
            .object(bucket, key)
            .await?
            .ok_or(Error::NoSuchUpload)?;
        let is_its = |content: &Content| content.upload.as_deref() == Some(id);
        let mut versions = object.versions.iter();
        let found = versions.find(|version| version.content.as_ref().is_some_and(is_its));
        completed(bucket, key, found.ok_or(Error::NoSuchUpload)?)
    }

    pub(crate) async fn abort_multipart_upload(
        &self,
        request: S3Request<AbortMultipartUploadInput>,
    ) -> Result<AbortMultipartUploadOutput> {
        let input = request.input;
        let bucket = self.shelf().find(&input.bucket)?.bucket();
        self.shelf()
            .upload(&bucket, &input.key, &input.upload_id)
            .await?;
        self.shelf().end_upload(&bucket, &input.upload_id).await?;
        Ok(AbortMultipartUploadOutput::default())
    }

    pub(crate) async fn list_parts(
        &self,
        request: S3Request<ListPartsInput>,
    ) -> Result<ListPartsOutput> {
        let input = request.input;
        let bucket = self.shelf().find(&input.bucket)?.bucket();
        let upload = self
            .shelf()
            .upload(&bucket, &input.key, &input.upload_id)
            .await?;
        let max = limit(input.max_parts, "max-parts")?;
        let after = u16::try_from(input.part_number_marker.unwrap_or_default()).unwrap_or(u16::MAX);
        let kept = self.shelf().parts(&bucket, &input.upload_id).await?;
        let behind: Vec<_> = kept.range(after.saturating_add(1)..).collect();
        let parts: Vec<Part> = behind
            .iter()
            .take(max)
            .map(|(number, part)| shown_part(**number, part, &upload))
            .collect();
        let more = behind.len() > max;
        let next = parts.last().and_then(|part| part.part_number);
        let (abort_date, abort_rule_id) = lifecycle::abort(&bucket, &upload).unzip();
        Ok(ListPartsOutput {
            abort_date,
            abort_rule_id,
            bucket: Some(input.bucket),
            key: Some(input.key),
            upload_id: Some(input.upload_id),
            max_parts: i32::try_from(max).ok(),
            part_number_marker: Some(i32::from(after)),
            next_part_number_marker: next.filter(|_| more),
            is_truncated: Some(more),
            parts: Some(parts),
            initiator: Some(initiator(&upload)),
            owner: Some(owner(&bucket.owner)),
            storage_class: Some(StorageClass::from_static(StorageClass::STANDARD)),
            checksum_algorithm: upload
                .named_algorithm
                .then(|| ChecksumAlgorithm::from_static(upload.algorithm.name())),
            checksum_type: upload.named_algorithm.then(|| kind_of(&upload)),
            ..ListPartsOutput::default()
        })
    }

    pub(crate) async fn list_multipart_uploads(
        &self,
        request: S3Request<ListMultipartUploadsInput>,
    ) -> Result<ListMultipartUploadsOutput> {
        let input = request.input;
        let bucket = self.shelf().find(&input.bucket)?.bucket();
        sound_encoding(input.encoding_type.as_ref())?;
        let encoding = input.encoding_type.as_ref();
        let max = limit(input.max_uploads, "max-uploads")?;
        let prefix = input.prefix.clone().unwrap_or_default();
        let key_marker = input.key_marker.clone().unwrap_or_default();
        let id_marker = input.upload_id_marker.clone().unwrap_or_default();
        let mut all = self.shelf().uploads(&bucket).await?;
        // By key, and of one key by time.
        all.sort_by(|(a_id, a), (b_id, b)| {
            (&a.key, a.initiated_ms, a_id).cmp(&(&b.key, b.initiated_ms, b_id))
        });
        all.retain(|(_id, upload)| upload.key.starts_with(&prefix));
        let from = match all
            .iter()
            .position(|(id, upload)| upload.key == key_marker && *id == id_marker)
        {
            Some(at) => at + 1,
            None => all.partition_point(|(_id, upload)| upload.key <= key_marker),
        };
        let (mut uploads, mut prefixes) = (Vec::new(), BTreeSet::new());
        let (mut more, mut next) = (false, None);
        for (id, upload) in all.into_iter().skip(from) {
            let common =
                common_prefix(&upload.key, &prefix, input.delimiter.as_deref()).map(str::to_owned);
            if common.as_ref().is_some_and(|common| {
                prefixes.contains(common) || key_marker.starts_with(common.as_str())
            }) {
                continue;
            }
            if uploads.len() + prefixes.len() >= max {
                more = max > 0;
                break;
            }
            match common {
                Some(common) => {
                    next = Some((common.clone(), String::new()));
                    prefixes.insert(common);
                }
                None => {
                    next = Some((upload.key.clone(), id.clone()));
                    uploads.push(shown_upload(id, &upload, &bucket, encoding));
                }
            }
        }
        let next = next.filter(|_| more);
        Ok(ListMultipartUploadsOutput {
            bucket: Some(input.bucket),
            prefix: Some(encoded(&prefix, encoding)),
            delimiter: input
                .delimiter
                .map(|delimiter| encoded(&delimiter, encoding)),
            key_marker: Some(encoded(&key_marker, encoding)),
            upload_id_marker: Some(id_marker),
            next_key_marker: next.as_ref().map(|(key, _id)| encoded(key, encoding)),
            next_upload_id_marker: next.map(|(_key, id)| id),
            max_uploads: i32::try_from(max).ok(),
            is_truncated: Some(more),
            uploads: Some(uploads),
            common_prefixes: Some(
                prefixes
                    .into_iter()
                    .map(|prefix| CommonPrefix {
                        prefix: Some(encoded(&prefix, encoding)),
                    })
                    .collect(),
            ),
            encoding_type: input.encoding_type,
            ..ListMultipartUploadsOutput::default()
        })
    }
}

/// What replies say about parts: whatever is written now is sealed.
fn sealed() -> Option<ServerSideEncryption> {
    Some(ServerSideEncryption::from_static(
        ServerSideEncryption::AES256,
    ))
}

fn kind_of(upload: &Upload) -> ChecksumType {
    ChecksumType::from_static(match upload.full_object {
        true => ChecksumType::FULL_OBJECT,
        false => ChecksumType::COMPOSITE,
    })
}

/// Whether a part is the one that the client means.
fn same_part(said: &CompletedPart, kept: &UploadedPart, algorithm: Algorithm) -> Result<()> {
    let etag = said.e_tag.as_ref().ok_or(Error::MalformedXml)?;
    if etag.value() != kept.md5 {
        return Err(Error::InvalidPart);
    }
    let sums = [
        (Algorithm::Crc32, &said.checksum_crc32),
        (Algorithm::Crc32c, &said.checksum_crc32c),
        (Algorithm::Crc64Nvme, &said.checksum_crc64nvme),
        (Algorithm::Sha1, &said.checksum_sha1),
        (Algorithm::Sha256, &said.checksum_sha256),
    ];
    for (own, value) in sums {
        let Some(value) = value else { continue };
        if own != algorithm || checksum::decoded(own, value)? != kept.checksum {
            return Err(Error::InvalidPart);
        }
    }
    Ok(())
}

/// The MD5 of the parts' MD5s, and how many there are.
fn etag_of(parts: &[&UploadedPart]) -> Result<String> {
    use s3s::crypto::{Checksum as _, Md5};
    let mut md5 = Md5::new();
    for part in parts {
        let digits = part.md5.as_bytes().chunks_exact(2);
        for pair in digits {
            let byte = std::str::from_utf8(pair)
                .ok()
                .and_then(|pair| u8::from_str_radix(pair, 16).ok());
            md5.update(&[
                byte.ok_or_else(|| Error::Internal("a part's MD5 is not one".to_owned()))?
            ]);
        }
    }
    Ok(format!("{}-{}", hex(md5.finalize().as_ref()), parts.len()))
}

fn completed(
    bucket: &Bucket,
    key: &str,
    version: &crate::record::Version,
) -> Result<CompleteMultipartUploadOutput> {
    let content = version.content.as_ref().ok_or(Error::NoSuchUpload)?;
    let mut output = CompleteMultipartUploadOutput {
        bucket: Some(bucket.name.clone()),
        key: Some(key.to_owned()),
        location: Some(format!("/{}/{key}", bucket.name)),
        server_side_encryption: content.encryption(),
        e_tag: Some(ETag::Strong(content.etag.clone())),
        version_id: made_id(bucket, &version.id),
        expiration: lifecycle::expiration(bucket, key, version),
        checksum_type: Some(crate::read::kind(&content.checksum)),
        ..CompleteMultipartUploadOutput::default()
    };
    fill!(output, &content.checksum);
    Ok(output)
}

/// `bytes=0-99`, and nothing looser.
fn copied_range(range: Option<&str>, size: u64) -> Result<std::ops::Range<u64>> {
    let Some(range) = range else {
        return Ok(0..size);
    };
    let bounds = range
        .strip_prefix("bytes=")
        .and_then(|range| range.split_once('-'));
    let bounds =
        bounds.and_then(|(from, to)| Some((from.parse::<u64>().ok()?, to.parse::<u64>().ok()?)));
    let bad = || {
        let text = "The x-amz-copy-source-range value must be of the form bytes=first-last where first and last are the zero-based offsets of the first and last bytes to copy";
        Error::InvalidArgument(text.to_owned())
    };
    let (from, to) = bounds.filter(|(from, to)| from <= to).ok_or_else(bad)?;
    if to >= size {
        let text = format!("Range specified is not valid for source object of size: {size}");
        return Err(Error::InvalidArgument(text));
    }
    Ok(from..to + 1)
}

fn initiator(upload: &Upload) -> Initiator {
    Initiator {
        id: Some(upload.initiator.clone()),
        display_name: None,
    }
}

fn shown_part(number: u16, part: &UploadedPart, upload: &Upload) -> Part {
    let mut shown = Part {
        part_number: Some(i32::from(number)),
        e_tag: Some(ETag::Strong(part.md5.clone())),
        size: i64::try_from(part.piece.size).ok(),
        last_modified: Some(timestamp(part.modified_ms)),
        ..Part::default()
    };
    if upload.named_algorithm {
        fill!(shown, &part_checksum(upload.algorithm, &part.checksum));
    }
    shown
}

fn shown_upload(
    id: String,
    upload: &Upload,
    bucket: &Bucket,
    encoding: Option<&s3s::dto::EncodingType>,
) -> MultipartUpload {
    MultipartUpload {
        key: Some(encoded(&upload.key, encoding)),
        upload_id: Some(id),
        initiated: Some(timestamp(upload.initiated_ms)),
        initiator: Some(initiator(upload)),
        owner: Some(s3s::dto::Owner {
            id: Some(canonical_id(&bucket.owner)),
            display_name: None,
        }),
        storage_class: Some(StorageClass::from_static(StorageClass::STANDARD)),
        checksum_algorithm: upload
            .named_algorithm
            .then(|| ChecksumAlgorithm::from_static(upload.algorithm.name())),
        checksum_type: upload.named_algorithm.then(|| kind_of(upload)),
    }
}
