//! What is in a bucket: keys in the order of their bytes, and common prefixes up to a delimiter.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use s3s::S3Request;
use s3s::dto::{
    ChecksumAlgorithm, CommonPrefix, DeleteMarkerEntry, ETag, EncodingType,
    ListObjectVersionsInput, ListObjectVersionsOutput, ListObjectsInput, ListObjectsOutput,
    ListObjectsV2Input, ListObjectsV2Output, Object as Listed, ObjectStorageClass, ObjectVersion,
    ObjectVersionStorageClass, Owner,
};

use crate::read::{kind, timestamp};
use crate::record::{Bucket, Content, Object, Version};
use crate::{Buckets, Error, Result};

/// The most entries of one page.
pub(crate) const PAGE_MAX: usize = 1000;
/// Behind every key that begins with what is before it.
const LAST: char = char::MAX;
/// What `encoding-type=url` leaves as it is.
pub(crate) const PLAIN: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'*')
    .remove(b'/');

/// The canonical id of an account, which is no secret and says nothing: AWS's is 64 hexadecimal digits too.
pub(crate) fn canonical_id(account: &str) -> String {
    store::Digest::of(format!("s3 canonical user {account}").as_bytes()).to_hex()
}

/// An account as owner.
pub(crate) fn owner(account: &str) -> Owner {
    Owner {
        id: Some(canonical_id(account)),
        display_name: None,
    }
}

/// What is asked for.
pub(crate) struct Query {
    pub prefix: String,
    pub delimiter: Option<String>,
    /// Only keys and common prefixes behind this.
    pub after: Option<String>,
    pub limit: usize,
}

/// One entry of a page.
pub(crate) enum Entry {
    Key(String, Object),
    Prefix(String),
}

impl Entry {
    fn name(&self) -> &str {
        match self {
            Entry::Key(name, _) | Entry::Prefix(name) => name,
        }
    }
}

/// How many entries a client may ask for; beyond [`PAGE_MAX`] it gets as many.
pub(crate) fn limit(asked: Option<i32>, name: &str) -> Result<usize> {
    match asked {
        None => Ok(PAGE_MAX),
        Some(asked) => {
            let asked = usize::try_from(asked);
            let negative = |_| {
                Error::InvalidArgument(format!(
                    "Argument {name} must be an integer between 0 and 2147483647"
                ))
            };
            Ok(asked.map_err(negative)?.min(PAGE_MAX))
        }
    }
}

/// Encodes a name where the client asks for it, as XML cannot hold every character.
pub(crate) fn encoded(text: &str, encoding: Option<&EncodingType>) -> String {
    match encoding {
        Some(_) => utf8_percent_encode(text, PLAIN).to_string(),
        None => text.to_owned(),
    }
}

/// Knows one encoding only.
pub(crate) fn sound_encoding(encoding: Option<&EncodingType>) -> Result<()> {
    match encoding.map(EncodingType::as_str) {
        None | Some("url") => Ok(()),
        Some(_) => Err(Error::InvalidArgument(
            "Invalid Encoding Method specified in Request".to_owned(),
        )),
    }
}

/// The common prefix that a key counts under.
pub(crate) fn common_prefix<'k>(
    key: &'k str,
    prefix: &str,
    delimiter: Option<&str>,
) -> Option<&'k str> {
    let delimiter = delimiter.filter(|delimiter| !delimiter.is_empty())?;
    let rest = key.get(prefix.len()..)?;
    let end = prefix.len() + rest.find(delimiter)? + delimiter.len();
    key.get(..end)
}

/// A parameter without a value is one that is not there.
fn said(parameter: Option<String>) -> Option<String> {
    parameter.filter(|value| !value.is_empty())
}

impl Buckets {
    /// A page of entries, and whether there are more. `counts` says how many entries an object is; none hides it.
    pub(crate) async fn entries(
        &self,
        bucket: &Bucket,
        query: &Query,
        counts: impl Fn(&str, &Object) -> usize,
    ) -> Result<(Vec<Entry>, bool)> {
        let mut entries: Vec<Entry> = Vec::new();
        let mut count = 0;
        let mut after = query.after.clone();
        // A marker that is a common prefix, or within one, is behind all of it.
        if let Some(marker) = &query.after
            && let Some(common) = common_prefix(marker, &query.prefix, query.delimiter.as_deref())
            && marker.starts_with(&query.prefix)
            && common == marker
        {
            after = Some(format!("{common}{LAST}{LAST}"));
        }
        loop {
            let page = self
                .shelf()
                .objects(bucket, &query.prefix, after.as_deref(), PAGE_MAX + 1)
                .await?;
            if page.is_empty() {
                return Ok((entries, false));
            }
            let mut skip: Option<String> = None;
            for (key, object) in page {
                after = Some(key.clone());
                if skip.as_ref().is_some_and(|skip| key.starts_with(skip)) {
                    continue;
                }
                let here = counts(&key, &object);
                if here == 0 {
                    continue;
                }
                if count >= query.limit {
                    return Ok((entries, query.limit > 0));
                }
                match common_prefix(&key, &query.prefix, query.delimiter.as_deref()) {
                    Some(common) => {
                        // Further keys of it are skipped: on this page here, and on the next ones by starting behind.
                        skip = Some(common.to_owned());
                        let begun = query
                            .after
                            .as_ref()
                            .is_some_and(|marker| marker.starts_with(common));
                        if !begun {
                            entries.push(Entry::Prefix(common.to_owned()));
                            count += 1;
                        }
                    }
                    None => {
                        count += here;
                        entries.push(Entry::Key(key, object));
                    }
                }
            }
            if let (Some(skip), Some(last)) = (&skip, &after)
                && last.starts_with(skip)
            {
                after = Some(format!("{skip}{LAST}{LAST}"));
            }
        }
    }

    pub(crate) async fn list_objects_v2(
        &self,
        request: S3Request<ListObjectsV2Input>,
    ) -> Result<ListObjectsV2Output> {
        let mut input = request.input;
        input.delimiter = said(input.delimiter);
        let bucket = self.shelf().find(&input.bucket)?.bucket();
        sound_encoding(input.encoding_type.as_ref())?;
        let token = input
            .continuation_token
            .as_deref()
            .map(from_token)
            .transpose()?;
        let query = Query {
            prefix: input.prefix.clone().unwrap_or_default(),
            delimiter: input.delimiter.clone(),
            after: token.or_else(|| input.start_after.clone()),
            limit: limit(input.max_keys, "maxKeys")?,
        };
        let (entries, more) = self
            .entries(&bucket, &query, |_, object| {
                usize::from(object.current().is_some())
            })
            .await?;
        let encoding = input.encoding_type.as_ref();
        let next = entries
            .last()
            .filter(|_| more)
            .map(|last| token_of(last.name()));
        let count = entries.len();
        let (contents, prefixes) =
            shown(entries, encoding, input.fetch_owner == Some(true), &bucket);
        Ok(ListObjectsV2Output {
            name: Some(input.bucket),
            prefix: Some(encoded(&query.prefix, encoding)),
            delimiter: input
                .delimiter
                .map(|delimiter| encoded(&delimiter, encoding)),
            max_keys: i32::try_from(query.limit).ok(),
            key_count: i32::try_from(count).ok(),
            is_truncated: Some(more),
            continuation_token: input.continuation_token,
            next_continuation_token: next,
            start_after: input.start_after.map(|after| encoded(&after, encoding)),
            contents: Some(contents),
            common_prefixes: Some(prefixes),
            encoding_type: input.encoding_type,
            ..ListObjectsV2Output::default()
        })
    }

    pub(crate) async fn list_objects(
        &self,
        request: S3Request<ListObjectsInput>,
    ) -> Result<ListObjectsOutput> {
        let mut input = request.input;
        input.delimiter = said(input.delimiter);
        let bucket = self.shelf().find(&input.bucket)?.bucket();
        sound_encoding(input.encoding_type.as_ref())?;
        let query = Query {
            prefix: input.prefix.clone().unwrap_or_default(),
            delimiter: input.delimiter.clone(),
            after: input.marker.clone().filter(|marker| !marker.is_empty()),
            limit: limit(input.max_keys, "maxKeys")?,
        };
        let (entries, more) = self
            .entries(&bucket, &query, |_, object| {
                usize::from(object.current().is_some())
            })
            .await?;
        let encoding = input.encoding_type.as_ref();
        // Without a delimiter the last key is the marker, and need not be told.
        let next = entries.last().filter(|_| more && input.delimiter.is_some());
        let next_marker = next.map(|last| encoded(last.name(), encoding));
        let (contents, prefixes) = shown(entries, encoding, true, &bucket);
        Ok(ListObjectsOutput {
            name: Some(input.bucket),
            prefix: Some(encoded(&query.prefix, encoding)),
            marker: Some(encoded(
                input.marker.as_deref().unwrap_or_default(),
                encoding,
            )),
            delimiter: input
                .delimiter
                .map(|delimiter| encoded(&delimiter, encoding)),
            max_keys: i32::try_from(query.limit).ok(),
            is_truncated: Some(more),
            next_marker,
            contents: Some(contents),
            common_prefixes: Some(prefixes),
            encoding_type: input.encoding_type,
            ..ListObjectsOutput::default()
        })
    }

    pub(crate) async fn list_object_versions(
        &self,
        request: S3Request<ListObjectVersionsInput>,
    ) -> Result<ListObjectVersionsOutput> {
        let mut input = request.input;
        input.delimiter = said(input.delimiter);
        let bucket = self.shelf().find(&input.bucket)?.bucket();
        sound_encoding(input.encoding_type.as_ref())?;
        let encoding = input.encoding_type.as_ref();
        let limit = limit(input.max_keys, "maxKeys")?;
        let key_marker = input.key_marker.clone().filter(|marker| !marker.is_empty());
        let version_marker = input
            .version_id_marker
            .clone()
            .filter(|marker| !marker.is_empty());
        if version_marker.is_some() && key_marker.is_none() {
            let text = "A version-id marker cannot be specified without a key marker.";
            return Err(Error::InvalidArgument(text.to_owned()));
        }
        let mut page = VersionPage {
            limit,
            ..VersionPage::default()
        };
        // The page begins within the versions of one object.
        if let (Some(key), Some(version)) = (&key_marker, &version_marker)
            && let Some(object) = self.shelf().object(&bucket, key).await?
        {
            let at = object.versions.iter().position(|own| own.id == *version);
            page.push(key, &object, at.map_or(0, |at| at + 1));
        }
        let query = Query {
            prefix: input.prefix.clone().unwrap_or_default(),
            delimiter: input.delimiter.clone(),
            after: key_marker,
            // One more tells whether there are more.
            limit: limit.saturating_add(1).saturating_sub(page.rows.len()),
        };
        let (entries, more) = self
            .entries(&bucket, &query, |_, object| object.versions.len())
            .await?;
        for entry in &entries {
            match entry {
                Entry::Key(key, object) => page.push(key, object, 0),
                Entry::Prefix(prefix) => page.push_prefix(prefix),
            }
        }
        page.more |= more;
        let next = page.rows.last().filter(|_| page.more && limit > 0);
        let mut output = ListObjectVersionsOutput {
            name: Some(input.bucket),
            prefix: Some(encoded(&query.prefix, encoding)),
            key_marker: Some(encoded(
                input.key_marker.as_deref().unwrap_or_default(),
                encoding,
            )),
            version_id_marker: input.version_id_marker,
            delimiter: input
                .delimiter
                .map(|delimiter| encoded(&delimiter, encoding)),
            max_keys: i32::try_from(limit).ok(),
            is_truncated: Some(page.more && limit > 0),
            next_key_marker: next.map(|row| encoded(row.name(), encoding)),
            next_version_id_marker: next.and_then(VersionRow::version_id),
            encoding_type: input.encoding_type.clone(),
            ..ListObjectVersionsOutput::default()
        };
        let (mut versions, mut markers, mut prefixes) = (Vec::new(), Vec::new(), Vec::new());
        for row in page.rows {
            match row {
                VersionRow::Prefix(prefix) => prefixes.push(CommonPrefix {
                    prefix: Some(encoded(&prefix, encoding)),
                }),
                VersionRow::Version(key, version, is_latest) => match &version.content {
                    Some(content) => versions.push(shown_version(
                        &key, &version, content, is_latest, encoding, &bucket,
                    )),
                    None => markers.push(DeleteMarkerEntry {
                        key: Some(encoded(&key, encoding)),
                        version_id: Some(version.id),
                        is_latest: Some(is_latest),
                        last_modified: Some(timestamp(version.modified_ms)),
                        owner: Some(owner(&bucket.owner)),
                    }),
                },
            }
        }
        output.versions = Some(versions);
        output.delete_markers = Some(markers);
        output.common_prefixes = Some(prefixes);
        Ok(output)
    }
}

#[derive(Default)]
struct VersionPage {
    rows: Vec<VersionRow>,
    limit: usize,
    more: bool,
}

enum VersionRow {
    Version(String, Box<Version>, bool),
    Prefix(String),
}

impl VersionRow {
    fn name(&self) -> &str {
        match self {
            VersionRow::Version(name, ..) | VersionRow::Prefix(name) => name,
        }
    }

    fn version_id(&self) -> Option<String> {
        match self {
            VersionRow::Version(_, version, _) => Some(version.id.clone()),
            VersionRow::Prefix(_) => None,
        }
    }
}

impl VersionPage {
    fn push(&mut self, key: &str, object: &Object, from: usize) {
        for (at, version) in object.versions.iter().enumerate().skip(from) {
            self.add(VersionRow::Version(
                key.to_owned(),
                Box::new(version.clone()),
                at == 0,
            ));
        }
    }

    fn push_prefix(&mut self, prefix: &str) {
        self.add(VersionRow::Prefix(prefix.to_owned()));
    }

    fn add(&mut self, row: VersionRow) {
        match self.rows.len() < self.limit {
            true => self.rows.push(row),
            false => self.more = true,
        }
    }
}

fn shown(
    entries: Vec<Entry>,
    encoding: Option<&EncodingType>,
    with_owner: bool,
    bucket: &Bucket,
) -> (Vec<Listed>, Vec<CommonPrefix>) {
    let (mut contents, mut prefixes) = (Vec::new(), Vec::new());
    for entry in entries {
        match entry {
            Entry::Prefix(prefix) => prefixes.push(CommonPrefix {
                prefix: Some(encoded(&prefix, encoding)),
            }),
            Entry::Key(key, object) => {
                if let Some((version, content)) = object.current() {
                    contents.push(Listed {
                        key: Some(encoded(&key, encoding)),
                        size: i64::try_from(content.size).ok(),
                        e_tag: Some(ETag::Strong(content.etag.clone())),
                        last_modified: Some(timestamp(version.modified_ms)),
                        storage_class: Some(ObjectStorageClass::from_static(
                            ObjectStorageClass::STANDARD,
                        )),
                        owner: with_owner.then(|| owner(&bucket.owner)),
                        checksum_algorithm: Some(vec![ChecksumAlgorithm::from_static(
                            content.checksum.algorithm.name(),
                        )]),
                        checksum_type: Some(kind(&content.checksum)),
                        ..Listed::default()
                    });
                }
            }
        }
    }
    (contents, prefixes)
}

fn shown_version(
    key: &str,
    version: &Version,
    content: &Content,
    is_latest: bool,
    encoding: Option<&EncodingType>,
    bucket: &Bucket,
) -> ObjectVersion {
    ObjectVersion {
        key: Some(encoded(key, encoding)),
        version_id: Some(version.id.clone()),
        is_latest: Some(is_latest),
        size: i64::try_from(content.size).ok(),
        e_tag: Some(ETag::Strong(content.etag.clone())),
        last_modified: Some(timestamp(version.modified_ms)),
        storage_class: Some(ObjectVersionStorageClass::from_static(
            ObjectVersionStorageClass::STANDARD,
        )),
        owner: Some(owner(&bucket.owner)),
        checksum_algorithm: Some(vec![ChecksumAlgorithm::from_static(
            content.checksum.algorithm.name(),
        )]),
        checksum_type: Some(kind(&content.checksum)),
        ..ObjectVersion::default()
    }
}

/// Where a list goes on. Clients must not read it, so it does not look as if they could.
pub(crate) fn token_of(name: &str) -> String {
    URL_SAFE_NO_PAD.encode(format!("1{name}"))
}

pub(crate) fn from_token(token: &str) -> Result<String> {
    let bytes = URL_SAFE_NO_PAD.decode(token).ok();
    let text = bytes.and_then(|bytes| String::from_utf8(bytes).ok());
    let name = text
        .as_deref()
        .and_then(|text| text.strip_prefix('1'))
        .map(str::to_owned);
    name.ok_or_else(|| {
        Error::InvalidArgument("The continuation token provided is incorrect".to_owned())
    })
}
