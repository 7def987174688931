//! Buckets: made, found, listed, tagged, removed. Their names are unique in the whole server.

use std::net::Ipv4Addr;

use s3s::S3Request;
use s3s::dto::{
    Bucket as Listed, BucketLocationConstraint, CreateBucketInput, CreateBucketOutput,
    DeleteBucketEncryptionInput, DeleteBucketEncryptionOutput, DeleteBucketInput,
    DeleteBucketOutput, DeleteBucketTaggingInput, DeleteBucketTaggingOutput,
    GetBucketEncryptionInput, GetBucketEncryptionOutput, GetBucketLocationInput,
    GetBucketLocationOutput, GetBucketTaggingInput, GetBucketTaggingOutput, HeadBucketInput,
    HeadBucketOutput, ListBucketsInput, ListBucketsOutput, ObjectOwnership,
    PutBucketEncryptionInput, PutBucketEncryptionOutput, PutBucketTaggingInput,
    PutBucketTaggingOutput, ServerSideEncryption, ServerSideEncryptionByDefault,
    ServerSideEncryptionConfiguration, ServerSideEncryptionRule,
};
use wire::Region;

use crate::access::Asked;
use crate::list::{from_token, owner, token_of};
use crate::notification::Notifications;
use crate::object::new_id;
use crate::policy::PublicAccess;
use crate::read::timestamp;
use crate::record::{Bucket, Versioning};
use crate::tags::{self, BUCKET_TAGS_MAX, Tags};
use crate::{Buckets, Error, Result};

/// The most buckets of an account (general-reference, S3 quotas).
const BUCKETS_MAX: usize = 10_000;
/// The region that needs no location constraint, and may have none.
const REGION_UNSAID: &str = "us-east-1";
/// How names must not begin and end (AmazonS3/latest/userguide/bucketnamingrules.html).
const PREFIXES_RESERVED: &[&str] = &["xn--", "sthree-", "amzn-s3-demo-"];
const SUFFIXES_RESERVED: &[&str] = &["-s3alias", "--ol-s3", ".mrap", "--x-s3", "--table-s3"];

/// Whether a bucket may have this name.
pub(crate) fn is_legal(name: &str) -> bool {
    let edge =
        |byte: Option<&u8>| byte.is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    let legal = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'.' | b'-');
    (3..=63).contains(&name.len())
        && name.bytes().all(legal)
        && edge(name.as_bytes().first())
        && edge(name.as_bytes().last())
        && !name.contains("..")
        && name.parse::<Ipv4Addr>().is_err()
        && !PREFIXES_RESERVED
            .iter()
            .any(|prefix| name.starts_with(prefix))
        && !SUFFIXES_RESERVED
            .iter()
            .any(|suffix| name.ends_with(suffix))
}

/// The region that a new bucket is to be in.
fn region_of(constraint: Option<&str>, asked: &str) -> Result<String> {
    match constraint {
        None if asked == REGION_UNSAID => Ok(asked.to_owned()),
        None => Err(Error::IllegalLocationConstraint {
            constraint: "unspecified".to_owned(),
        }),
        Some("EU") => Ok("eu-west-1".to_owned()),
        // "If you are creating a bucket in us-east-1, you do not need to specify the location constraint", and must not.
        Some(REGION_UNSAID) | Some("") => Err(Error::InvalidLocationConstraint),
        Some(region) if Region::new(region).is_none() => Err(Error::InvalidLocationConstraint),
        // The old global endpoint makes buckets everywhere.
        Some(region) if region == asked || asked == REGION_UNSAID => Ok(region.to_owned()),
        Some(region) => Err(Error::IllegalLocationConstraint {
            constraint: region.to_owned(),
        }),
    }
}

impl Buckets {
    pub(crate) async fn create_bucket(
        &self,
        request: S3Request<CreateBucketInput>,
    ) -> Result<CreateBucketOutput> {
        let asked = Asked::of(&request)?;
        let input = request.input;
        if !is_legal(&input.bucket) {
            return Err(Error::InvalidBucketName);
        }
        let configuration = input.create_bucket_configuration;
        if configuration
            .as_ref()
            .is_some_and(|it| it.location.is_some() || it.bucket.is_some())
        {
            return Err(Error::NotImplemented(
                "Mayfly has no directory buckets.".to_owned(),
            ));
        }
        let constraint = configuration.and_then(|configuration| configuration.location_constraint);
        let region = region_of(
            constraint.as_ref().map(BucketLocationConstraint::as_str),
            &asked.cx.scope.region,
        )?;
        let ownership = input.object_ownership.as_ref().map(ObjectOwnership::as_str);
        if ownership.is_some_and(|ownership| ownership != ObjectOwnership::BUCKET_OWNER_ENFORCED) {
            return Err(Error::NotImplemented(
                "Mayfly has no ACLs: the bucket's owner owns every object.".to_owned(),
            ));
        }
        let owner = asked.account();
        if self.shelf().list(Some(&owner)).len() >= BUCKETS_MAX {
            return Err(Error::TooManyBuckets);
        }
        let bucket = Bucket {
            id: new_id(),
            name: input.bucket.clone(),
            owner: owner.clone(),
            region,
            created_ms: self.now_ms(),
            versioning: Versioning::Off,
            tags: Tags::new(),
            policy: None,
            public_access: Some(PublicAccess::ALL),
            ownership: true,
            lifecycle: Vec::new(),
            cors: Vec::new(),
            notifications: Notifications::default(),
            bucket_key: false,
            website: None,
        };
        match self.shelf().create(bucket).await? {
            None => {}
            Some(there) if there.owner != owner => return Err(Error::BucketAlreadyExists),
            // Twice is once, where AWS began.
            Some(there)
                if there.region == REGION_UNSAID && *asked.cx.scope.region == *REGION_UNSAID => {}
            Some(_) => return Err(Error::BucketAlreadyOwnedByYou),
        }
        Ok(CreateBucketOutput {
            location: Some(format!("/{}", input.bucket)),
        })
    }

    pub(crate) async fn head_bucket(
        &self,
        request: S3Request<HeadBucketInput>,
    ) -> Result<HeadBucketOutput> {
        let bucket = self.shelf().find(&request.input.bucket)?.bucket();
        Ok(HeadBucketOutput {
            bucket_region: Some(bucket.region.clone()),
            ..HeadBucketOutput::default()
        })
    }

    pub(crate) async fn list_buckets(
        &self,
        request: S3Request<ListBucketsInput>,
    ) -> Result<ListBucketsOutput> {
        let asked = Asked::of(&request)?;
        let input = request.input;
        let max = input.max_buckets.map(usize::try_from).transpose();
        let max = max
            .ok()
            .filter(|max| max.is_none_or(|max| (1..=BUCKETS_MAX).contains(&max)));
        let max = max.ok_or_else(|| {
            Error::InvalidArgument("max-buckets must be between 1 and 10000".to_owned())
        })?;
        let after = input
            .continuation_token
            .as_deref()
            .map(from_token)
            .transpose()?;
        let prefix = input.prefix.clone().unwrap_or_default();
        let mut all = self.shelf().list(Some(&asked.account()));
        all.retain(|bucket| {
            bucket.name.starts_with(&prefix)
                && after.as_ref().is_none_or(|after| bucket.name > *after)
                && input
                    .bucket_region
                    .as_ref()
                    .is_none_or(|region| bucket.region == *region)
        });
        let shown: Vec<_> = all.iter().take(max.unwrap_or(BUCKETS_MAX)).collect();
        let more = shown.len() < all.len();
        let next = shown
            .last()
            .filter(|_| more)
            .map(|last| token_of(&last.name));
        let listed = |bucket: &&std::sync::Arc<Bucket>| Listed {
            name: Some(bucket.name.clone()),
            creation_date: Some(timestamp(bucket.created_ms)),
            bucket_region: Some(bucket.region.clone()),
        };
        Ok(ListBucketsOutput {
            buckets: Some(shown.iter().map(listed).collect()),
            owner: Some(owner(&asked.account())),
            continuation_token: next,
            prefix: input.prefix,
        })
    }

    pub(crate) async fn delete_bucket(
        &self,
        request: S3Request<DeleteBucketInput>,
    ) -> Result<DeleteBucketOutput> {
        self.shelf().remove(&request.input.bucket).await?;
        Ok(DeleteBucketOutput::default())
    }

    pub(crate) async fn get_bucket_location(
        &self,
        request: S3Request<GetBucketLocationInput>,
    ) -> Result<GetBucketLocationOutput> {
        let bucket = self.shelf().find(&request.input.bucket)?.bucket();
        let constraint = Some(bucket.region.clone()).filter(|region| region != REGION_UNSAID);
        Ok(GetBucketLocationOutput {
            location_constraint: constraint.map(BucketLocationConstraint::from),
        })
    }

    pub(crate) async fn get_bucket_tagging(
        &self,
        request: S3Request<GetBucketTaggingInput>,
    ) -> Result<GetBucketTaggingOutput> {
        let bucket = self.shelf().find(&request.input.bucket)?.bucket();
        match bucket.tags.is_empty() {
            true => Err(Error::NoSuchTagSet),
            false => Ok(GetBucketTaggingOutput {
                tag_set: tags::to_body(&bucket.tags),
            }),
        }
    }

    pub(crate) async fn put_bucket_tagging(
        &self,
        request: S3Request<PutBucketTaggingInput>,
    ) -> Result<PutBucketTaggingOutput> {
        let tags = tags::from_body(request.input.tagging, BUCKET_TAGS_MAX)?;
        self.set_tags(&request.input.bucket, tags).await?;
        Ok(PutBucketTaggingOutput::default())
    }

    pub(crate) async fn delete_bucket_tagging(
        &self,
        request: S3Request<DeleteBucketTaggingInput>,
    ) -> Result<DeleteBucketTaggingOutput> {
        self.set_tags(&request.input.bucket, Tags::new()).await?;
        Ok(DeleteBucketTaggingOutput::default())
    }

    pub(crate) async fn get_bucket_encryption(
        &self,
        request: S3Request<GetBucketEncryptionInput>,
    ) -> Result<GetBucketEncryptionOutput> {
        let bucket = self.shelf().find(&request.input.bucket)?.bucket();
        let rule = ServerSideEncryptionRule {
            apply_server_side_encryption_by_default: Some(ServerSideEncryptionByDefault {
                kms_master_key_id: None,
                sse_algorithm: ServerSideEncryption::from_static(ServerSideEncryption::AES256),
            }),
            bucket_key_enabled: Some(bucket.bucket_key),
        };
        Ok(GetBucketEncryptionOutput {
            server_side_encryption_configuration: Some(ServerSideEncryptionConfiguration {
                rules: vec![rule],
            }),
        })
    }

    /// There is one way to encrypt, and no way not to.
    pub(crate) async fn put_bucket_encryption(
        &self,
        request: S3Request<PutBucketEncryptionInput>,
    ) -> Result<PutBucketEncryptionOutput> {
        let input = request.input;
        let [rule] = input.server_side_encryption_configuration.rules.as_slice() else {
            return Err(Error::MalformedXml);
        };
        if let Some(default) = &rule.apply_server_side_encryption_by_default {
            match default.sse_algorithm.as_str() {
                ServerSideEncryption::AES256 if default.kms_master_key_id.is_none() => {}
                ServerSideEncryption::AES256 => {
                    let text = "a KMSMasterKeyID is not applicable if the default sse algorithm is not aws:kms or aws:kms:dsse";
                    return Err(Error::InvalidArgument(text.to_owned()));
                }
                ServerSideEncryption::AWS_KMS | ServerSideEncryption::AWS_KMS_DSSE => {
                    return Err(Error::NotImplemented(
                        "Mayfly has no KMS: it encrypts with AES256 (SSE-S3).".to_owned(),
                    ));
                }
                _ => return Err(Error::MalformedXml),
            }
        }
        self.set_bucket_key(&input.bucket, rule.bucket_key_enabled == Some(true))
            .await?;
        Ok(PutBucketEncryptionOutput::default())
    }

    pub(crate) async fn delete_bucket_encryption(
        &self,
        request: S3Request<DeleteBucketEncryptionInput>,
    ) -> Result<DeleteBucketEncryptionOutput> {
        self.set_bucket_key(&request.input.bucket, false).await?;
        Ok(DeleteBucketEncryptionOutput::default())
    }

    async fn set_bucket_key(&self, name: &str, enabled: bool) -> Result<()> {
        let change = |bucket: &mut Bucket| {
            bucket.bucket_key = enabled;
            Ok(())
        };
        self.shelf().change(name, change).await
    }

    async fn set_tags(&self, name: &str, tags: Tags) -> Result<()> {
        let change = |bucket: &mut Bucket| {
            bucket.tags = tags;
            Ok(())
        };
        self.shelf().change(name, change).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        for name in ["abc", "my-bucket", "my.bucket.1", "123", &"a".repeat(63)] {
            assert!(is_legal(name), "{name}");
        }
        for name in [
            "ab",
            "Abc",
            "a_b",
            "-ab",
            "ab-",
            "a..b",
            "1.2.3.4",
            "xn--a",
            "a-s3alias",
            "a/b",
            "",
            &"a".repeat(64),
        ] {
            assert!(!is_legal(name), "{name}");
        }
    }

    #[test]
    fn regions() {
        let check = |constraint, asked, expected: Option<&str>| {
            assert_eq!(
                region_of(constraint, asked).ok().as_deref(),
                expected,
                "{constraint:?} {asked}"
            );
        };
        check(None, "us-east-1", Some("us-east-1"));
        check(None, "eu-west-1", None);
        check(Some("eu-west-1"), "eu-west-1", Some("eu-west-1"));
        check(Some("eu-west-1"), "us-east-1", Some("eu-west-1"));
        check(Some("eu-west-1"), "eu-west-2", None);
        check(Some("EU"), "us-east-1", Some("eu-west-1"));
        check(Some("us-east-1"), "us-east-1", None);
        check(Some("nowhere"), "us-east-1", None);
    }
}
