//! What is stored of buckets and objects. An object with all its versions is one record, so that each change of it is one
//! compare-and-swap; its content is blobs that the record names.

use std::collections::BTreeMap;
use std::sync::Arc;

use s3s::dto::ServerSideEncryption;
use serde::{Deserialize, Serialize};
use store::Digest;
use store::record::Record;

use crate::checksum::Checksum;
use crate::cors::CorsRule;
use crate::lifecycle::Rule;
use crate::notification::Notifications;
use crate::policy::PublicAccess;
use crate::seal::Salt;
use crate::website::Website;

/// A bucket.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Bucket {
    /// Never used twice: a bucket made again under the same name has none of the old one's objects.
    pub id: String,
    pub name: String,
    /// The account that made it.
    pub owner: String,
    pub region: String,
    pub created_ms: i64,
    pub versioning: Versioning,
    pub tags: BTreeMap<String, String>,
    pub policy: Option<BucketPolicy>,
    /// `None` once it was deleted; a new bucket blocks everything.
    pub public_access: Option<PublicAccess>,
    /// Whether there are ownership controls. They can say one thing only: the owner owns everything, and ACLs are off.
    pub ownership: bool,
    pub lifecycle: Vec<Rule>,
    pub cors: Vec<CorsRule>,
    pub notifications: Notifications,
    /// What its encryption says of bucket keys, which only AWS's KMS has.
    #[serde(default)]
    pub bucket_key: bool,
    #[serde(default)]
    pub website: Option<Website>,
}

/// A bucket's policy.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct BucketPolicy {
    #[serde(with = "shared")]
    pub text: Arc<str>,
    /// Whether it lets in everyone (AmazonS3/latest/userguide/access-control-block-public-access.html).
    pub is_public: bool,
}

/// Text that is shared in memory, and plain in the store.
mod shared {
    use std::sync::Arc;

    use serde::{Deserialize, Deserializer, Serializer};

    pub fn serialize<S: Serializer>(text: &Arc<str>, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(text)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Arc<str>, D::Error> {
        String::deserialize(from).map(Into::into)
    }
}

/// Whether old versions are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Versioning {
    /// Never was on.
    Off,
    Enabled,
    /// Was on: what is new has the id `null`.
    Suspended,
}

/// An object: its versions, the newest first. Never empty.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Object {
    pub versions: Vec<Version>,
}

/// One version.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Version {
    /// [`NULL`] where it was made while versioning was not enabled.
    pub id: String,
    pub modified_ms: i64,
    /// `None` is a delete marker.
    pub content: Option<Content>,
}

/// The id of versions made while versioning is not enabled.
pub(crate) const NULL: &str = "null";

/// What an object is.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Content {
    pub size: u64,
    /// Without quotes.
    pub etag: String,
    pub pieces: Vec<Piece>,
    /// The multipart upload that it is from.
    pub upload: Option<String>,
    /// `content-type` and the like, as they came.
    pub headers: BTreeMap<String, String>,
    /// `x-amz-meta-` headers, without that.
    pub metadata: BTreeMap<String, String>,
    pub tags: BTreeMap<String, String>,
    pub checksum: Checksum,
}

/// Consecutive bytes of an object; with multipart uploads each is a part.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Piece {
    /// Of what is on disk.
    pub digest: Digest,
    /// Of what it says.
    pub size: u64,
    /// What it is sealed with; nothing, before content was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub salt: Option<Salt>,
    /// Whether it is a record of the store, written with the object's own, and not a file.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub small: bool,
}

/// A multipart upload that is neither complete nor aborted.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Upload {
    pub key: String,
    pub initiated_ms: i64,
    /// The principal that began it.
    pub initiator: String,
    pub headers: BTreeMap<String, String>,
    pub metadata: BTreeMap<String, String>,
    pub tags: BTreeMap<String, String>,
    pub algorithm: crate::checksum::Algorithm,
    pub full_object: bool,
    /// Whether the client named an algorithm, and so has to name the parts' checksums.
    pub named_algorithm: bool,
}

/// A part of an upload.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct UploadedPart {
    pub piece: Piece,
    pub md5: String,
    pub modified_ms: i64,
    /// In the upload's algorithm, base64.
    pub checksum: String,
}

/// Content of at most so many bytes is a record of the store: one sync of the disk instead of three (decision 024).
pub(crate) const SMALL_BYTES_MAX: u64 = 64 << 10;

store::first_version!(Bucket, ObjectV1, Upload, UploadedPartV1);

/// What objects were before content was sealed: whoever read a newer one as this would hand out what is sealed.
#[derive(Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct ObjectV1(Object);

/// What objects were before small content was a record: whoever read a newer one as this would look for a file.
#[derive(Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct ObjectV2(Object);

impl Record for ObjectV2 {
    const VERSION: u32 = 2;
    type Previous = ObjectV1;

    fn migrate(previous: ObjectV1) -> Self {
        ObjectV2(previous.0)
    }
}

impl Record for Object {
    const VERSION: u32 = 3;
    type Previous = ObjectV2;

    fn migrate(previous: ObjectV2) -> Self {
        previous.0
    }
}

/// The same of parts.
#[derive(Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct UploadedPartV1(UploadedPart);

impl Record for UploadedPart {
    const VERSION: u32 = 2;
    type Previous = UploadedPartV1;

    fn migrate(previous: UploadedPartV1) -> Self {
        previous.0
    }
}

impl Content {
    /// What replies say about the encryption on disk.
    pub fn encryption(&self) -> Option<ServerSideEncryption> {
        let is_sealed = self.pieces.iter().all(|piece| piece.salt.is_some());
        is_sealed.then(|| ServerSideEncryption::from_static(ServerSideEncryption::AES256))
    }
}

impl Object {
    /// The newest version, unless it is a delete marker.
    pub fn current(&self) -> Option<(&Version, &Content)> {
        let newest = self.versions.first()?;
        Some((newest, newest.content.as_ref()?))
    }

    /// A version by its id.
    pub fn version(&self, id: &str) -> Option<&Version> {
        self.versions.iter().find(|version| version.id == id)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn objects_of_earlier_builds_are_read() {
        let digest = Digest::of(b"hello");
        let salt = "01".repeat(16);
        let object = |piece: &str| {
            format!(
                r#"{{"versions": [{{"id": "null", "modified_ms": 1, "content": {{
                    "size": 5, "etag": "e", "pieces": [{piece}], "upload": null, "headers": {{}}, "metadata": {{}},
                    "tags": {{}}, "checksum": {{"algorithm": "Crc32", "value": "", "full_object": true}}
                }}}}]}}"#
            )
        };
        for (version, piece, sealed, small) in [
            (
                1,
                format!(r#"{{"digest": "{digest}", "size": 5}}"#),
                false,
                false,
            ),
            (
                2,
                format!(r#"{{"digest": "{digest}", "size": 5, "salt": "{salt}"}}"#),
                true,
                false,
            ),
            (
                3,
                format!(r#"{{"digest": "{digest}", "size": 5, "salt": "{salt}", "small": true}}"#),
                true,
                true,
            ),
        ] {
            let stored = format!(r#"{{"v": {version}, "record": {}}}"#, object(&piece));
            let read: Object = store::record::decode(stored.as_bytes()).unwrap();
            let piece = read.current().unwrap().1.pieces[0];
            assert_eq!((piece.digest, piece.size), (digest, 5), "{version}");
            assert_eq!((piece.salt.is_some(), piece.small), (sealed, small));
        }
    }
}
