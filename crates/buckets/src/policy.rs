//! What a bucket says of itself: its policy, its block of public access, its ownership controls, its versioning. ACLs are
//! off, as in every new bucket of AWS's, so that policies alone decide.

use s3s::S3Request;
use s3s::dto::{
    BucketVersioningStatus, DeleteBucketOwnershipControlsInput,
    DeleteBucketOwnershipControlsOutput, DeleteBucketPolicyInput, DeleteBucketPolicyOutput,
    DeletePublicAccessBlockInput, DeletePublicAccessBlockOutput, GetBucketAclInput,
    GetBucketAclOutput, GetBucketOwnershipControlsInput, GetBucketOwnershipControlsOutput,
    GetBucketPolicyInput, GetBucketPolicyOutput, GetBucketPolicyStatusInput,
    GetBucketPolicyStatusOutput, GetBucketVersioningInput, GetBucketVersioningOutput,
    GetObjectAclInput, GetObjectAclOutput, GetPublicAccessBlockInput, GetPublicAccessBlockOutput,
    Grant, Grantee, ObjectOwnership, OwnershipControls, OwnershipControlsRule, Permission,
    PolicyStatus, PublicAccessBlockConfiguration, PutBucketAclInput, PutBucketAclOutput,
    PutBucketOwnershipControlsInput, PutBucketOwnershipControlsOutput, PutBucketPolicyInput,
    PutBucketPolicyOutput, PutBucketVersioningInput, PutBucketVersioningOutput, PutObjectAclInput,
    PutObjectAclOutput, PutPublicAccessBlockInput, PutPublicAccessBlockOutput, Type,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use wire::Arn;

use crate::access::Asked;
use crate::list::{canonical_id, owner};
use crate::record::{Bucket, BucketPolicy, Versioning};
use crate::{Buckets, Error, Result};

/// The longest bucket policy (AmazonS3/latest/userguide/bucket-policies.html).
const POLICY_BYTES_MAX: usize = 20 * 1024;

/// The four settings of a block of public access.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PublicAccess {
    pub block_public_acls: bool,
    pub ignore_public_acls: bool,
    pub block_public_policy: bool,
    pub restrict_public_buckets: bool,
}

impl PublicAccess {
    /// What a new bucket has, since April 2023.
    pub const ALL: PublicAccess = PublicAccess {
        block_public_acls: true,
        ignore_public_acls: true,
        block_public_policy: true,
        restrict_public_buckets: true,
    };
}

/// Checks that actions and resources of a policy are a bucket's. The rest of the language is identity's.
fn about_bucket(text: &str, bucket: &str) -> Result<()> {
    let malformed = |text: &str| Error::MalformedPolicy(text.to_owned());
    let policy: Value =
        serde_json::from_str(text).map_err(|_| malformed("This policy contains invalid Json"))?;
    let own = Arn::bucket(bucket);
    // `arn:aws:s3:::photos*` is about this bucket too, if it is called so.
    let is_about = |resource: &str| {
        let of_bucket = resource.split('/').next().unwrap_or_default();
        of_bucket.starts_with("arn:") && covers(of_bucket, own.as_str())
    };
    for statement in each(&policy["Statement"]) {
        for name in ["Resource", "NotResource"] {
            let resources = each(&statement[name]).filter_map(Value::as_str);
            for resource in resources {
                if !is_about(resource) {
                    return Err(malformed("Policy has invalid resource"));
                }
            }
        }
        for name in ["Action", "NotAction"] {
            let mut actions = each(&statement[name]).filter_map(Value::as_str);
            let is_own =
                |action: &str| action == "*" || action.to_ascii_lowercase().starts_with("s3:");
            if !actions.all(is_own) {
                return Err(malformed("Policy has invalid action"));
            }
        }
    }
    Ok(())
}

/// Whether a pattern with `*` and `?` covers a text. Both are short, and only one `*` is ever taken back.
fn covers(pattern: &str, text: &str) -> bool {
    let (pattern, text) = (pattern.as_bytes(), text.as_bytes());
    let (mut p, mut t) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while t < text.len() {
        match pattern.get(p) {
            Some(b'*') => {
                star = Some((p, t));
                p += 1;
            }
            Some(&byte) if byte == b'?' || byte == text[t] => (p, t) = (p + 1, t + 1),
            _ => match star {
                Some((at, taken)) => {
                    star = Some((at, taken + 1));
                    (p, t) = (at + 1, taken + 1);
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|byte| *byte == b'*')
}

/// One or many.
fn each(value: &Value) -> impl Iterator<Item = &Value> {
    match value {
        Value::Array(items) => items.iter(),
        Value::Null => [].iter(),
        one => std::slice::from_ref(one).iter(),
    }
}

impl Buckets {
    pub(crate) async fn put_bucket_policy(
        &self,
        request: S3Request<PutBucketPolicyInput>,
    ) -> Result<PutBucketPolicyOutput> {
        let asked = Asked::of(&request)?;
        let input = request.input;
        if input.policy.len() > POLICY_BYTES_MAX {
            return Err(Error::MalformedPolicy(
                "Policy exceeds the maximum allowed document size.".to_owned(),
            ));
        }
        if !input.policy.trim_start().starts_with('{') {
            return Err(Error::MalformedPolicy(
                "Policies must be valid JSON and the first byte must be '{'".to_owned(),
            ));
        }
        about_bucket(&input.policy, &input.bucket)?;
        let is_public = self
            .language()
            .is_public(&input.policy)
            .map_err(Error::MalformedPolicy)?;
        let change = |bucket: &mut Bucket| {
            if is_public
                && bucket
                    .public_access
                    .is_some_and(|block| block.block_public_policy)
            {
                let sentence = format!(
                    "User: {} is not authorized to perform: s3:PutBucketPolicy on resource: \"{}\" because public policies are prevented by the BlockPublicPolicy setting in S3 Block Public Access.",
                    asked.cx.caller.arn,
                    Arn::bucket(&bucket.name),
                );
                return Err(Error::Denied(sentence));
            }
            bucket.policy = Some(BucketPolicy {
                text: input.policy.into(),
                is_public,
            });
            Ok(())
        };
        self.shelf().change(&input.bucket, change).await?;
        Ok(PutBucketPolicyOutput::default())
    }

    pub(crate) async fn get_bucket_policy(
        &self,
        request: S3Request<GetBucketPolicyInput>,
    ) -> Result<GetBucketPolicyOutput> {
        let bucket = self.shelf().find(&request.input.bucket)?.bucket();
        let policy = bucket.policy.as_ref().ok_or(Error::NoSuchBucketPolicy)?;
        Ok(GetBucketPolicyOutput {
            policy: Some(policy.text.to_string()),
        })
    }

    pub(crate) async fn delete_bucket_policy(
        &self,
        request: S3Request<DeleteBucketPolicyInput>,
    ) -> Result<DeleteBucketPolicyOutput> {
        let change = |bucket: &mut Bucket| {
            bucket.policy = None;
            Ok(())
        };
        self.shelf().change(&request.input.bucket, change).await?;
        Ok(DeleteBucketPolicyOutput::default())
    }

    pub(crate) async fn get_bucket_policy_status(
        &self,
        request: S3Request<GetBucketPolicyStatusInput>,
    ) -> Result<GetBucketPolicyStatusOutput> {
        let bucket = self.shelf().find(&request.input.bucket)?.bucket();
        let policy = bucket.policy.as_ref().ok_or(Error::NoSuchBucketPolicy)?;
        let restricted = bucket
            .public_access
            .is_some_and(|block| block.restrict_public_buckets);
        let status = PolicyStatus {
            is_public: Some(policy.is_public && !restricted),
        };
        Ok(GetBucketPolicyStatusOutput {
            policy_status: Some(status),
        })
    }

    pub(crate) async fn put_public_access_block(
        &self,
        request: S3Request<PutPublicAccessBlockInput>,
    ) -> Result<PutPublicAccessBlockOutput> {
        let asked = request.input.public_access_block_configuration;
        let block = PublicAccess {
            block_public_acls: asked.block_public_acls.unwrap_or_default(),
            ignore_public_acls: asked.ignore_public_acls.unwrap_or_default(),
            block_public_policy: asked.block_public_policy.unwrap_or_default(),
            restrict_public_buckets: asked.restrict_public_buckets.unwrap_or_default(),
        };
        self.set_block(&request.input.bucket, Some(block)).await?;
        Ok(PutPublicAccessBlockOutput::default())
    }

    pub(crate) async fn get_public_access_block(
        &self,
        request: S3Request<GetPublicAccessBlockInput>,
    ) -> Result<GetPublicAccessBlockOutput> {
        let bucket = self.shelf().find(&request.input.bucket)?.bucket();
        let block = bucket
            .public_access
            .ok_or(Error::NoSuchPublicAccessBlockConfiguration)?;
        Ok(GetPublicAccessBlockOutput {
            public_access_block_configuration: Some(PublicAccessBlockConfiguration {
                block_public_acls: Some(block.block_public_acls),
                ignore_public_acls: Some(block.ignore_public_acls),
                block_public_policy: Some(block.block_public_policy),
                restrict_public_buckets: Some(block.restrict_public_buckets),
            }),
        })
    }

    pub(crate) async fn delete_public_access_block(
        &self,
        request: S3Request<DeletePublicAccessBlockInput>,
    ) -> Result<DeletePublicAccessBlockOutput> {
        self.set_block(&request.input.bucket, None).await?;
        Ok(DeletePublicAccessBlockOutput::default())
    }

    async fn set_block(&self, name: &str, block: Option<PublicAccess>) -> Result<()> {
        let change = |bucket: &mut Bucket| {
            bucket.public_access = block;
            Ok(())
        };
        self.shelf().change(name, change).await
    }

    pub(crate) async fn put_bucket_ownership_controls(
        &self,
        request: S3Request<PutBucketOwnershipControlsInput>,
    ) -> Result<PutBucketOwnershipControlsOutput> {
        let rules = request.input.ownership_controls.rules;
        let [rule] = rules.as_slice() else {
            return Err(Error::MalformedXml);
        };
        if rule.object_ownership.as_str() != ObjectOwnership::BUCKET_OWNER_ENFORCED {
            return Err(Error::NotImplemented(
                "Mayfly has no ACLs: the bucket's owner owns every object.".to_owned(),
            ));
        }
        self.set_ownership(&request.input.bucket, true).await?;
        Ok(PutBucketOwnershipControlsOutput::default())
    }

    pub(crate) async fn get_bucket_ownership_controls(
        &self,
        request: S3Request<GetBucketOwnershipControlsInput>,
    ) -> Result<GetBucketOwnershipControlsOutput> {
        let bucket = self.shelf().find(&request.input.bucket)?.bucket();
        if !bucket.ownership {
            return Err(Error::OwnershipControlsNotFound);
        }
        let rule = OwnershipControlsRule {
            object_ownership: ObjectOwnership::from_static(ObjectOwnership::BUCKET_OWNER_ENFORCED),
        };
        Ok(GetBucketOwnershipControlsOutput {
            ownership_controls: Some(OwnershipControls { rules: vec![rule] }),
        })
    }

    pub(crate) async fn delete_bucket_ownership_controls(
        &self,
        request: S3Request<DeleteBucketOwnershipControlsInput>,
    ) -> Result<DeleteBucketOwnershipControlsOutput> {
        self.set_ownership(&request.input.bucket, false).await?;
        Ok(DeleteBucketOwnershipControlsOutput::default())
    }

    async fn set_ownership(&self, name: &str, ownership: bool) -> Result<()> {
        let change = |bucket: &mut Bucket| {
            bucket.ownership = ownership;
            Ok(())
        };
        self.shelf().change(name, change).await
    }

    pub(crate) async fn put_bucket_versioning(
        &self,
        request: S3Request<PutBucketVersioningInput>,
    ) -> Result<PutBucketVersioningOutput> {
        let asked = request.input.versioning_configuration;
        if asked
            .mfa_delete
            .is_some_and(|delete| delete.as_str() != "Disabled")
        {
            return Err(Error::NotImplemented(
                "Mayfly does not implement MFA delete.".to_owned(),
            ));
        }
        let versioning = match asked.status.as_ref().map(BucketVersioningStatus::as_str) {
            Some(BucketVersioningStatus::ENABLED) => Versioning::Enabled,
            Some(BucketVersioningStatus::SUSPENDED) => Versioning::Suspended,
            _ => return Err(Error::MalformedXml),
        };
        let change = |bucket: &mut Bucket| {
            bucket.versioning = versioning;
            Ok(())
        };
        self.shelf().change(&request.input.bucket, change).await?;
        Ok(PutBucketVersioningOutput::default())
    }

    pub(crate) async fn get_bucket_versioning(
        &self,
        request: S3Request<GetBucketVersioningInput>,
    ) -> Result<GetBucketVersioningOutput> {
        let bucket = self.shelf().find(&request.input.bucket)?.bucket();
        let status = match bucket.versioning {
            Versioning::Off => None,
            Versioning::Enabled => Some(BucketVersioningStatus::ENABLED),
            Versioning::Suspended => Some(BucketVersioningStatus::SUSPENDED),
        };
        let status = status.map(BucketVersioningStatus::from_static);
        Ok(GetBucketVersioningOutput {
            status,
            ..GetBucketVersioningOutput::default()
        })
    }

    pub(crate) async fn get_bucket_acl(
        &self,
        request: S3Request<GetBucketAclInput>,
    ) -> Result<GetBucketAclOutput> {
        let bucket = self.shelf().find(&request.input.bucket)?.bucket();
        Ok(GetBucketAclOutput {
            grants: Some(vec![own(&bucket)]),
            owner: Some(owner(&bucket.owner)),
        })
    }

    pub(crate) async fn get_object_acl(
        &self,
        request: S3Request<GetObjectAclInput>,
    ) -> Result<GetObjectAclOutput> {
        let asked = Asked::of(&request)?;
        let input = request.input;
        let bucket = self.shelf().find(&input.bucket)?.bucket();
        self.look(&asked, &bucket, &input.key, input.version_id.as_deref())
            .await?;
        Ok(GetObjectAclOutput {
            grants: Some(vec![own(&bucket)]),
            owner: Some(owner(&bucket.owner)),
            ..GetObjectAclOutput::default()
        })
    }

    pub(crate) async fn put_bucket_acl(
        &self,
        _request: S3Request<PutBucketAclInput>,
    ) -> Result<PutBucketAclOutput> {
        Err(Error::AclsNotSupported)
    }

    pub(crate) async fn put_object_acl(
        &self,
        request: S3Request<PutObjectAclInput>,
    ) -> Result<PutObjectAclOutput> {
        match request.input.acl.as_ref().map(|acl| acl.as_str()) {
            Some("bucket-owner-full-control") => Ok(PutObjectAclOutput::default()),
            _ => Err(Error::AclsNotSupported),
        }
    }
}

/// The one grant that there is.
fn own(bucket: &Bucket) -> Grant {
    Grant {
        grantee: Some(Grantee {
            type_: Type::from_static(Type::CANONICAL_USER),
            id: Some(canonical_id(&bucket.owner)),
            display_name: None,
            email_address: None,
            uri: None,
        }),
        permission: Some(Permission::from_static(Permission::FULL_CONTROL)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resources_of_a_policy() {
        let check = |resource: &str, expected: bool| {
            let policy = format!(r#"{{"Statement":{{"Resource":"{resource}"}}}}"#);
            assert_eq!(
                about_bucket(&policy, "photos").is_ok(),
                expected,
                "{resource}"
            );
        };
        check("arn:aws:s3:::photos", true);
        check("arn:aws:s3:::photos/a*", true);
        check("arn:aws:s3:::photos*", true);
        check("arn:aws:s3:::ph?t*s/*", true);
        check("arn:aws:s3:::*/x", true);
        check("arn:aws:s3:::photos2", false);
        check("arn:aws:s3:::photo", false);
        check("arn:aws:s3:::other/photos", false);
        check("arn:aws:s3:::photos?", false);
        check("*", false);
    }
}
