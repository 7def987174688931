//! Who may: every operation with its IAM action and resource, and the condition keys of S3
//! (<https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazons3.html>). What is not in the table is
//! refused, and so is whatever a request asks beside it.

use std::collections::HashSet;
use std::sync::{Arc, OnceLock};

use http::{HeaderMap, Method};
use percent_encoding::percent_decode_str;
use s3s::access::{S3Access, S3AccessContext};
use s3s::path::S3Path;
use s3s::{S3Request, S3Result};
use wire::{
    AccountId, Arn, Ask, BodyFault, CallerKind, Context, Keys, Signed, StorageRequest, Trailers,
};

use crate::condition::{keys, push_request_tags, push_tags};
use crate::record::{Bucket, Content, Object};
use crate::{Buckets, Error, Result, encryption};

/// A request, as the front door handed it over.
pub(crate) struct Asked {
    pub cx: Context,
    pub signed: Signed,
    pub trailers: Trailers,
    /// The length of the body, where it is known.
    pub length: Option<u64>,
    /// The operation, once it is known.
    pub operation: OnceLock<&'static str>,
    /// Of PutObjectTagging: the action, and the condition keys that do not come in the body.
    pub tagging: OnceLock<(&'static str, Keys)>,
    /// The object under this key, where the check of access has read it.
    pub found: OnceLock<(String, Option<Object>)>,
    /// Why the body broke off, if it did.
    pub fault: OnceLock<BodyFault>,
}

impl Asked {
    /// The request that an operation is of.
    pub fn of<T>(request: &S3Request<T>) -> Result<Arc<Asked>> {
        let asked = request.extensions.get::<Arc<Asked>>();
        asked
            .cloned()
            .ok_or_else(|| Error::Internal("a request that nobody verified".to_owned()))
    }

    /// A request that nothing is known of yet.
    pub fn anew(request: &StorageRequest) -> Asked {
        Asked {
            signed: request.signed,
            trailers: request.trailers.clone(),
            length: request.length,
            ..Asked::inside(request.context.clone())
        }
    }

    /// A request that does not come over S3's wire.
    pub fn inside(cx: Context) -> Asked {
        Asked {
            cx,
            signed: Signed::Header,
            trailers: Trailers::default(),
            length: None,
            operation: OnceLock::new(),
            tagging: OnceLock::new(),
            found: OnceLock::new(),
            fault: OnceLock::new(),
        }
    }

    /// A request of whoever it is, without a signature and a body.
    pub fn unsigned(cx: Context) -> Asked {
        Asked {
            signed: Signed::Not,
            ..Asked::inside(cx)
        }
    }

    pub fn account(&self) -> String {
        self.cx.caller.account.to_string()
    }
}

/// What an operation is about.
#[derive(Clone, Copy, PartialEq, Eq)]
enum On {
    /// The caller's account.
    Account,
    /// A bucket that is not there yet.
    NewBucket,
    /// A bucket.
    Bucket,
    /// A key, whether there is an object or not.
    Key,
    /// An object that is there, whose tags count.
    Object,
    /// Several objects, which the body names: authorized one by one where they are known.
    Objects,
}

/// One operation.
pub(crate) struct Row {
    /// AWS's name.
    pub name: &'static str,
    action: &'static str,
    /// The action where a version is named.
    versioned: Option<&'static str>,
    on: On,
    /// The parameters that it knows, beside the ones that all know.
    pub query: &'static [&'static str],
}

const fn row(
    name: &'static str,
    action: &'static str,
    on: On,
    query: &'static [&'static str],
) -> Row {
    Row {
        name,
        action,
        versioned: None,
        on,
        query,
    }
}

const fn versioned(
    name: &'static str,
    action: &'static str,
    version_action: &'static str,
    on: On,
    query: &'static [&'static str],
) -> Row {
    Row {
        name,
        action,
        versioned: Some(version_action),
        on,
        query,
    }
}

/// Parameters of GetObject and HeadObject.
const READING: &[&str] = &[
    "versionId",
    "partNumber",
    "response-cache-control",
    "response-content-disposition",
    "response-content-encoding",
    "response-content-language",
    "response-content-type",
    "response-expires",
];

/// The operations that are built.
pub(crate) const OPERATIONS: &[Row] = &[
    row(
        "AbortMultipartUpload",
        "s3:AbortMultipartUpload",
        On::Key,
        &["uploadId"],
    ),
    row(
        "CompleteMultipartUpload",
        "s3:PutObject",
        On::Key,
        &["uploadId"],
    ),
    row("CopyObject", "s3:PutObject", On::Key, &[]),
    row("CreateBucket", "s3:CreateBucket", On::NewBucket, &[]),
    row(
        "CreateMultipartUpload",
        "s3:PutObject",
        On::Key,
        &["uploads"],
    ),
    row("DeleteBucket", "s3:DeleteBucket", On::Bucket, &[]),
    row(
        "DeleteBucketCors",
        "s3:PutBucketCORS",
        On::Bucket,
        &["cors"],
    ),
    row(
        "DeleteBucketEncryption",
        "s3:PutEncryptionConfiguration",
        On::Bucket,
        &["encryption"],
    ),
    row(
        "DeleteBucketLifecycle",
        "s3:PutLifecycleConfiguration",
        On::Bucket,
        &["lifecycle"],
    ),
    row(
        "DeleteBucketOwnershipControls",
        "s3:PutBucketOwnershipControls",
        On::Bucket,
        &["ownershipControls"],
    ),
    row(
        "DeleteBucketPolicy",
        "s3:DeleteBucketPolicy",
        On::Bucket,
        &["policy"],
    ),
    row(
        "DeleteBucketTagging",
        "s3:PutBucketTagging",
        On::Bucket,
        &["tagging"],
    ),
    row(
        "DeleteBucketWebsite",
        "s3:DeleteBucketWebsite",
        On::Bucket,
        &["website"],
    ),
    versioned(
        "DeleteObject",
        "s3:DeleteObject",
        "s3:DeleteObjectVersion",
        On::Object,
        &["versionId"],
    ),
    versioned(
        "DeleteObjectTagging",
        "s3:DeleteObjectTagging",
        "s3:DeleteObjectVersionTagging",
        On::Object,
        &["tagging", "versionId"],
    ),
    row("DeleteObjects", "s3:DeleteObject", On::Objects, &["delete"]),
    row(
        "DeletePublicAccessBlock",
        "s3:PutBucketPublicAccessBlock",
        On::Bucket,
        &["publicAccessBlock"],
    ),
    row("GetBucketAcl", "s3:GetBucketAcl", On::Bucket, &["acl"]),
    row("GetBucketCors", "s3:GetBucketCORS", On::Bucket, &["cors"]),
    row(
        "GetBucketEncryption",
        "s3:GetEncryptionConfiguration",
        On::Bucket,
        &["encryption"],
    ),
    row(
        "GetBucketLifecycleConfiguration",
        "s3:GetLifecycleConfiguration",
        On::Bucket,
        &["lifecycle"],
    ),
    row(
        "GetBucketLocation",
        "s3:GetBucketLocation",
        On::Bucket,
        &["location"],
    ),
    row(
        "GetBucketNotificationConfiguration",
        "s3:GetBucketNotification",
        On::Bucket,
        &["notification"],
    ),
    row(
        "GetBucketOwnershipControls",
        "s3:GetBucketOwnershipControls",
        On::Bucket,
        &["ownershipControls"],
    ),
    row(
        "GetBucketPolicy",
        "s3:GetBucketPolicy",
        On::Bucket,
        &["policy"],
    ),
    row(
        "GetBucketPolicyStatus",
        "s3:GetBucketPolicyStatus",
        On::Bucket,
        &["policyStatus"],
    ),
    row(
        "GetBucketTagging",
        "s3:GetBucketTagging",
        On::Bucket,
        &["tagging"],
    ),
    row(
        "GetBucketVersioning",
        "s3:GetBucketVersioning",
        On::Bucket,
        &["versioning"],
    ),
    row(
        "GetBucketWebsite",
        "s3:GetBucketWebsite",
        On::Bucket,
        &["website"],
    ),
    versioned(
        "GetObject",
        "s3:GetObject",
        "s3:GetObjectVersion",
        On::Object,
        READING,
    ),
    versioned(
        "GetObjectAcl",
        "s3:GetObjectAcl",
        "s3:GetObjectVersionAcl",
        On::Object,
        &["acl", "versionId"],
    ),
    versioned(
        "GetObjectAttributes",
        "s3:GetObjectAttributes",
        "s3:GetObjectVersionAttributes",
        On::Object,
        &["attributes", "versionId"],
    ),
    versioned(
        "GetObjectTagging",
        "s3:GetObjectTagging",
        "s3:GetObjectVersionTagging",
        On::Object,
        &["tagging", "versionId"],
    ),
    row(
        "GetPublicAccessBlock",
        "s3:GetBucketPublicAccessBlock",
        On::Bucket,
        &["publicAccessBlock"],
    ),
    row("HeadBucket", "s3:ListBucket", On::Bucket, &[]),
    versioned(
        "HeadObject",
        "s3:GetObject",
        "s3:GetObjectVersion",
        On::Object,
        READING,
    ),
    row(
        "ListBuckets",
        "s3:ListAllMyBuckets",
        On::Account,
        &[
            "bucket-region",
            "continuation-token",
            "max-buckets",
            "prefix",
        ],
    ),
    row(
        "ListMultipartUploads",
        "s3:ListBucketMultipartUploads",
        On::Bucket,
        &[
            "uploads",
            "delimiter",
            "encoding-type",
            "key-marker",
            "max-uploads",
            "prefix",
            "upload-id-marker",
        ],
    ),
    row(
        "ListObjectVersions",
        "s3:ListBucketVersions",
        On::Bucket,
        &[
            "versions",
            "delimiter",
            "encoding-type",
            "key-marker",
            "max-keys",
            "prefix",
            "version-id-marker",
        ],
    ),
    row(
        "ListObjects",
        "s3:ListBucket",
        On::Bucket,
        &["delimiter", "encoding-type", "marker", "max-keys", "prefix"],
    ),
    row(
        "ListObjectsV2",
        "s3:ListBucket",
        On::Bucket,
        &[
            "list-type",
            "continuation-token",
            "delimiter",
            "encoding-type",
            "fetch-owner",
            "max-keys",
            "prefix",
            "start-after",
        ],
    ),
    row(
        "ListParts",
        "s3:ListMultipartUploadParts",
        On::Key,
        &["uploadId", "max-parts", "part-number-marker"],
    ),
    row("PutBucketAcl", "s3:PutBucketAcl", On::Bucket, &["acl"]),
    row("PutBucketCors", "s3:PutBucketCORS", On::Bucket, &["cors"]),
    row(
        "PutBucketEncryption",
        "s3:PutEncryptionConfiguration",
        On::Bucket,
        &["encryption"],
    ),
    row(
        "PutBucketLifecycleConfiguration",
        "s3:PutLifecycleConfiguration",
        On::Bucket,
        &["lifecycle"],
    ),
    row(
        "PutBucketNotificationConfiguration",
        "s3:PutBucketNotification",
        On::Bucket,
        &["notification"],
    ),
    row(
        "PutBucketOwnershipControls",
        "s3:PutBucketOwnershipControls",
        On::Bucket,
        &["ownershipControls"],
    ),
    row(
        "PutBucketPolicy",
        "s3:PutBucketPolicy",
        On::Bucket,
        &["policy"],
    ),
    row(
        "PutBucketTagging",
        "s3:PutBucketTagging",
        On::Bucket,
        &["tagging"],
    ),
    row(
        "PutBucketVersioning",
        "s3:PutBucketVersioning",
        On::Bucket,
        &["versioning"],
    ),
    row(
        "PutBucketWebsite",
        "s3:PutBucketWebsite",
        On::Bucket,
        &["website"],
    ),
    row("PutObject", "s3:PutObject", On::Key, &[]),
    versioned(
        "PutObjectAcl",
        "s3:PutObjectAcl",
        "s3:PutObjectVersionAcl",
        On::Object,
        &["acl", "versionId"],
    ),
    versioned(
        "PutObjectTagging",
        "s3:PutObjectTagging",
        "s3:PutObjectVersionTagging",
        On::Object,
        &["tagging", "versionId"],
    ),
    row(
        "PutPublicAccessBlock",
        "s3:PutBucketPublicAccessBlock",
        On::Bucket,
        &["publicAccessBlock"],
    ),
    row(
        "UploadPart",
        "s3:PutObject",
        On::Key,
        &["partNumber", "uploadId"],
    ),
    row(
        "UploadPartCopy",
        "s3:PutObject",
        On::Key,
        &["partNumber", "uploadId"],
    ),
];

/// Operations that the root user of the owning account may always run, lest a policy lock everyone out
/// (AmazonS3/latest/API/API_PutBucketPolicy.html).
const NEVER_LOCKED: &[&str] = &["DeleteBucketPolicy", "GetBucketPolicy", "PutBucketPolicy"];

/// `x-amz-` headers that operations know. The rest is refused, as AWS refuses what it does not know.
pub(crate) const HEADERS: &[&str] = &[
    "x-amz-acl",
    "x-amz-bucket-object-lock-enabled",
    "x-amz-bypass-governance-retention",
    "x-amz-checksum-algorithm",
    "x-amz-checksum-crc32",
    "x-amz-checksum-crc32c",
    "x-amz-checksum-crc64nvme",
    "x-amz-checksum-mode",
    "x-amz-checksum-sha1",
    "x-amz-checksum-sha256",
    "x-amz-checksum-type",
    "x-amz-confirm-remove-self-bucket-access",
    "x-amz-copy-source",
    "x-amz-copy-source-if-match",
    "x-amz-copy-source-if-modified-since",
    "x-amz-copy-source-if-none-match",
    "x-amz-copy-source-if-unmodified-since",
    "x-amz-copy-source-range",
    "x-amz-date",
    "x-amz-expected-bucket-owner",
    "x-amz-max-parts",
    "x-amz-metadata-directive",
    "x-amz-mp-object-size",
    "x-amz-object-attributes",
    "x-amz-object-ownership",
    "x-amz-part-number-marker",
    "x-amz-request-payer",
    "x-amz-server-side-encryption",
    "x-amz-sdk-checksum-algorithm",
    "x-amz-skip-destination-validation",
    "x-amz-source-expected-bucket-owner",
    "x-amz-storage-class",
    "x-amz-tagging",
    "x-amz-tagging-directive",
    "x-amz-trailer",
    "x-amz-user-agent",
];

/// Parameters that every operation knows.
pub(crate) const QUERY: &[&str] = &["x-id"];

pub(crate) struct Access(pub Buckets);

#[async_trait::async_trait]
impl S3Access for Access {
    async fn check(&self, cx: &mut S3AccessContext<'_>) -> S3Result<()> {
        let asked = cx.extensions_mut().get::<Arc<Asked>>().cloned();
        let unverified = || Error::Internal("a request that nobody verified".to_owned());
        let asked = asked.ok_or_else(unverified)?;
        let request = Request {
            asked: &asked,
            operation: cx.s3_op().name(),
            method: cx.method(),
            path: cx.s3_path(),
            query: query_of(cx.uri().query().unwrap_or_default()),
            headers: cx.headers(),
        };
        Ok(self.0.check(&request).await?)
    }
}

pub(crate) struct Request<'a> {
    pub(crate) asked: &'a Asked,
    operation: &'a str,
    method: &'a Method,
    path: &'a S3Path,
    query: Vec<(String, String)>,
    headers: &'a HeaderMap,
}

impl Request<'_> {
    pub(crate) fn parameter(&self, name: &str) -> Option<&str> {
        let found = self.query.iter().find(|(own, _value)| own == name);
        found.map(|(_name, value)| value.as_str())
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }
}

/// The parameters of a query. `+` is a space.
pub(crate) fn query_of(query: &str) -> Vec<(String, String)> {
    let decoded = |text: &str| {
        let spaced = text.replace('+', " ");
        percent_decode_str(&spaced).decode_utf8_lossy().into_owned()
    };
    let parts = query.split('&').filter(|part| !part.is_empty());
    let pairs = parts.map(|part| part.split_once('=').unwrap_or((part, "")));
    pairs
        .map(|(name, value)| (decoded(name), decoded(value)))
        .collect()
}

impl Buckets {
    async fn check(&self, request: &Request<'_>) -> Result<()> {
        let name = request.operation;
        let unbuilt = || Error::NotImplemented(format!("Mayfly does not implement s3:{name} yet."));
        let row = OPERATIONS
            .iter()
            .find(|row| row.name == name)
            .ok_or_else(unbuilt)?;
        // It is asked once for each request.
        let _ = request.asked.operation.set(row.name);
        known(row, request)?;
        let Some(name) = request.path.get_bucket_name() else {
            return self.authorize(
                request.asked,
                row.action,
                &Arn::any(),
                None,
                &keys(request, None),
            );
        };
        if row.on == On::NewBucket {
            let arn = Arn::bucket(name);
            return self.authorize(request.asked, row.action, &arn, None, &keys(request, None));
        }
        let bucket = self.shelf().find(name)?.bucket();
        expected_owner(request.header("x-amz-expected-bucket-owner"), &bucket)?;
        let caller = &request.asked.cx.caller;
        let is_root = caller.kind == CallerKind::Root && *caller.account == *bucket.owner;
        if is_root && caller.session.is_none() && NEVER_LOCKED.contains(&row.name) {
            return Ok(());
        }
        match (row.on, request.path.get_object_key()) {
            (On::Objects, _) => Ok(()),
            (_, None) => {
                let arn = Arn::bucket(name);
                self.authorize(
                    request.asked,
                    row.action,
                    &arn,
                    Some(&bucket),
                    &keys(request, None),
                )
            }
            (on, Some(key)) => self.check_key(request, row, on, &bucket, key).await,
        }
    }

    async fn check_key(
        &self,
        request: &Request<'_>,
        row: &Row,
        on: On,
        bucket: &Bucket,
        key: &str,
    ) -> Result<()> {
        if key.contains('\0') {
            return Err(Error::InvalidArgument(
                "Object keys must not contain NUL.".to_owned(),
            ));
        }
        let version = request.parameter("versionId");
        let object = match on {
            On::Object => self.shelf().object(bucket, key).await?,
            _ => None,
        };
        let content = object.as_ref().and_then(|object| match version {
            Some(id) => object.version(id)?.content.as_ref(),
            None => object.current().map(|(_version, content)| content),
        });
        let keys = keys(request, content);
        if on == On::Object {
            // It is asked once for each request.
            let _ = request.asked.found.set((key.to_owned(), object));
        }
        let arn = Arn::object(&bucket.name, key);
        let action = version.and(row.versioned).unwrap_or(row.action);
        if row.name == "PutObjectTagging" {
            // It is asked once for each request.
            let _ = request.asked.tagging.set((action, keys));
            return Ok(());
        }
        self.authorize(request.asked, action, &arn, Some(bucket), &keys)?;
        if action == "s3:GetObjectAttributes" {
            self.authorize(request.asked, "s3:GetObject", &arn, Some(bucket), &keys)?;
        }
        if row.action == "s3:PutObject" && request.header("x-amz-tagging").is_some() {
            self.authorize(
                request.asked,
                "s3:PutObjectTagging",
                &arn,
                Some(bucket),
                &keys,
            )?;
        }
        if row.action == "s3:PutObject" && request.header("x-amz-acl").is_some() {
            self.authorize(request.asked, "s3:PutObjectAcl", &arn, Some(bucket), &keys)?;
        }
        Ok(())
    }

    /// Whether an object may be tagged so. It is the operation's to ask, since the tags come in its body.
    pub(crate) fn authorize_tagging(
        &self,
        asked: &Asked,
        bucket: &str,
        key: &str,
        tags: &[(String, String)],
    ) -> Result<()> {
        let unasked = || Error::Internal("tagging that nobody has looked at".to_owned());
        let (action, keys) = asked.tagging.get().ok_or_else(unasked)?;
        let mut keys = keys.clone();
        push_request_tags(&mut keys, tags);
        let bucket = self.shelf().find(bucket)?.bucket();
        let arn = Arn::object(&bucket.name, key);
        self.authorize(asked, action, &arn, Some(&bucket), &keys)
    }

    /// Asks the evaluator, with the bucket's policy as the resource's.
    pub(crate) fn authorize(
        &self,
        asked: &Asked,
        action: &str,
        resource: &Arn,
        bucket: Option<&Bucket>,
        keys: &Keys,
    ) -> Result<()> {
        let owner = bucket.and_then(|bucket| AccountId::new(&bucket.owner));
        let policy = bucket.and_then(|bucket| bucket.policy.as_ref());
        let restricted = bucket.is_some_and(|bucket| {
            bucket
                .public_access
                .is_some_and(|block| block.restrict_public_buckets)
        });
        let is_own =
            owner == Some(asked.cx.caller.account) && asked.cx.caller.kind != CallerKind::Anonymous;
        let is_service = matches!(asked.cx.caller.kind, CallerKind::Service(_));
        // A public policy counts for the owner's own people only, where the bucket restricts it.
        let policy =
            policy.filter(|policy| !(policy.is_public && restricted) || is_own || is_service);
        let mut keys = keys.clone();
        if let Some(owner) = owner {
            keys.push(("s3:ResourceAccount".into(), vec![owner.to_string()]));
            keys.push(("aws:ResourceAccount".into(), vec![owner.to_string()]));
        }
        let ask = Ask {
            action,
            resource,
            owner,
            keys: &keys,
            resource_policy: policy.map(|policy| &policy.text),
        };
        self.authorizer()
            .authorize(&asked.cx, &ask)
            .map_err(|sentence| {
                if asked.cx.caller.kind == CallerKind::Anonymous {
                    return Error::Denied("Access Denied".to_owned());
                }
                // S3 puts the resource into quotes, as its names may hold anything.
                let (plain, quoted) = (
                    format!("on resource: {resource}"),
                    format!("on resource: \"{resource}\""),
                );
                Error::Denied(sentence.replacen(&plain, &quoted, 1))
            })
    }

    /// Whether an object may be read, for copies.
    pub(crate) fn authorize_read(
        &self,
        asked: &Asked,
        bucket: &Bucket,
        key: &str,
        version: Option<&str>,
        content: Option<&Content>,
    ) -> Result<()> {
        let mut keys = Keys::new();
        push_tags(&mut keys, "s3:ExistingObjectTag/", content);
        let action = match version {
            Some(id) => {
                keys.push(("s3:VersionId".into(), vec![id.to_owned()]));
                "s3:GetObjectVersion"
            }
            None => "s3:GetObject",
        };
        self.authorize(
            asked,
            action,
            &Arn::object(&bucket.name, key),
            Some(bucket),
            &keys,
        )
    }

    /// What a missing object is told as: who may not list the bucket does not learn that it is missing.
    pub(crate) fn missing(&self, asked: &Asked, bucket: &Bucket, error: Error) -> Error {
        let arn = Arn::bucket(&bucket.name);
        let may_list = self.authorize(asked, "s3:ListBucket", &arn, Some(bucket), &Keys::new());
        may_list.err().unwrap_or(error)
    }
}

/// Refuses an owner that is not the bucket's.
pub(crate) fn expected_owner(expected: Option<&str>, bucket: &Bucket) -> Result<()> {
    match expected {
        Some(owner) if owner != bucket.owner => Err(Error::Denied("Access Denied".to_owned())),
        _ => Ok(()),
    }
}

/// Refuses what the operation does not know. Some operations differ from others only in a parameter, so one that is not known
/// might make a deletion of what was meant as a question.
fn known(row: &Row, request: &Request<'_>) -> Result<()> {
    let mut seen = HashSet::new();
    for (name, _value) in &request.query {
        let known = row.query.contains(&name.as_str()) || QUERY.contains(&name.as_str());
        // AWS leaves parameters that begin so to its users.
        let is_users = name.starts_with("x-") && !name.starts_with("x-amz-");
        if !known && !is_users {
            let text = format!(
                "Mayfly does not implement the parameter '{name}' of s3:{} yet.",
                row.name
            );
            return Err(Error::NotImplemented(text));
        }
        if !seen.insert(name) {
            return Err(Error::InvalidArgument(format!(
                "The parameter '{name}' is there more than once."
            )));
        }
    }
    for name in request.headers.keys().map(http::HeaderName::as_str) {
        let plain = !name.starts_with("x-amz-") || name.starts_with("x-amz-meta-");
        if name.starts_with("x-amz-grant-") {
            return Err(match row.on {
                On::NewBucket => Error::InvalidBucketAclWithObjectOwnership,
                _ => Error::AclsNotSupported,
            });
        }
        if !plain && !HEADERS.contains(&name) {
            let text = format!(
                "A header you provided implies functionality that is not implemented: {name}"
            );
            return Err(Error::NotImplemented(text));
        }
    }
    headers_sound(row, request)
}

fn headers_sound(row: &Row, request: &Request<'_>) -> Result<()> {
    if request.method == Method::POST
        && request
            .header("content-type")
            .is_some_and(|kind| kind.starts_with("multipart/form-data"))
    {
        return Err(Error::NotImplemented(
            "Mayfly does not implement s3:PostObject yet.".to_owned(),
        ));
    }
    encryption::sound(row.name, request.header("x-amz-server-side-encryption"))?;
    if let Some(class) = request
        .header("x-amz-storage-class")
        .filter(|class| *class != "STANDARD")
    {
        let text = format!("Mayfly has the storage class STANDARD only, not '{class}'.");
        return Err(Error::NotImplemented(text));
    }
    if request
        .header("x-amz-bucket-object-lock-enabled")
        .is_some_and(|on| !on.eq_ignore_ascii_case("false"))
    {
        return Err(Error::NotImplemented(
            "Mayfly does not implement object lock yet.".to_owned(),
        ));
    }
    if request
        .header("x-amz-bypass-governance-retention")
        .is_some_and(|on| on.eq_ignore_ascii_case("true"))
    {
        let text =
            "x-amz-bypass-governance-retention is only applicable to Object Lock enabled buckets.";
        return Err(Error::InvalidArgument(text.to_owned()));
    }
    match (row.on, request.header("x-amz-acl")) {
        (_, None)
        | (On::NewBucket, Some("private"))
        | (On::Object, Some("bucket-owner-full-control")) => Ok(()),
        // Both say what is so anyway: the owner of the bucket owns the object, and nobody else has a grant.
        (On::Key, Some("bucket-owner-full-control" | "private")) => Ok(()),
        (On::Key, Some(_))
            if row.name == "CreateMultipartUpload"
                || row.name == "PutObject"
                || row.name == "CopyObject" =>
        {
            Err(Error::AclsNotSupported)
        }
        (On::NewBucket, Some(_)) => Err(Error::InvalidBucketAclWithObjectOwnership),
        (_, Some(_)) => Err(Error::AclsNotSupported),
    }
}
