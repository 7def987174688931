//! The operations that s3s calls, each led to the module that knows it. Those that are missing here answer 501.

use s3s::dto::*;
use s3s::{S3, S3Request, S3Response, S3Result};

use crate::Buckets;

/// One line for each operation: its name in s3s, its shapes, and how its result becomes a response.
macro_rules! operations {
    ($($name:ident: $input:ident => $output:ident, $response:expr;)*) => {
        #[async_trait::async_trait]
        impl S3 for Buckets {
            $(
                async fn $name(&self, request: S3Request<$input>) -> S3Result<S3Response<$output>> {
                    Ok($response(Buckets::$name(self, request).await?))
                }
            )*
        }
    };
}

operations! {
    abort_multipart_upload: AbortMultipartUploadInput => AbortMultipartUploadOutput, S3Response::new;
    complete_multipart_upload: CompleteMultipartUploadInput => CompleteMultipartUploadOutput, S3Response::new;
    copy_object: CopyObjectInput => CopyObjectOutput, S3Response::new;
    create_bucket: CreateBucketInput => CreateBucketOutput, S3Response::new;
    create_multipart_upload: CreateMultipartUploadInput => CreateMultipartUploadOutput, S3Response::new;
    delete_bucket: DeleteBucketInput => DeleteBucketOutput, S3Response::new;
    delete_bucket_cors: DeleteBucketCorsInput => DeleteBucketCorsOutput, S3Response::new;
    delete_bucket_encryption: DeleteBucketEncryptionInput => DeleteBucketEncryptionOutput, S3Response::new;
    delete_bucket_lifecycle: DeleteBucketLifecycleInput => DeleteBucketLifecycleOutput, S3Response::new;
    delete_bucket_ownership_controls: DeleteBucketOwnershipControlsInput => DeleteBucketOwnershipControlsOutput, S3Response::new;
    delete_bucket_policy: DeleteBucketPolicyInput => DeleteBucketPolicyOutput, S3Response::new;
    delete_bucket_tagging: DeleteBucketTaggingInput => DeleteBucketTaggingOutput, S3Response::new;
    delete_bucket_website: DeleteBucketWebsiteInput => DeleteBucketWebsiteOutput, S3Response::new;
    delete_object: DeleteObjectInput => DeleteObjectOutput, S3Response::new;
    delete_object_tagging: DeleteObjectTaggingInput => DeleteObjectTaggingOutput, S3Response::new;
    delete_objects: DeleteObjectsInput => DeleteObjectsOutput, S3Response::new;
    delete_public_access_block: DeletePublicAccessBlockInput => DeletePublicAccessBlockOutput, S3Response::new;
    get_bucket_acl: GetBucketAclInput => GetBucketAclOutput, S3Response::new;
    get_bucket_cors: GetBucketCorsInput => GetBucketCorsOutput, S3Response::new;
    get_bucket_encryption: GetBucketEncryptionInput => GetBucketEncryptionOutput, S3Response::new;
    get_bucket_lifecycle_configuration: GetBucketLifecycleConfigurationInput => GetBucketLifecycleConfigurationOutput, S3Response::new;
    get_bucket_location: GetBucketLocationInput => GetBucketLocationOutput, S3Response::new;
    get_bucket_notification_configuration: GetBucketNotificationConfigurationInput => GetBucketNotificationConfigurationOutput, S3Response::new;
    get_bucket_ownership_controls: GetBucketOwnershipControlsInput => GetBucketOwnershipControlsOutput, S3Response::new;
    get_bucket_policy: GetBucketPolicyInput => GetBucketPolicyOutput, S3Response::new;
    get_bucket_policy_status: GetBucketPolicyStatusInput => GetBucketPolicyStatusOutput, S3Response::new;
    get_bucket_tagging: GetBucketTaggingInput => GetBucketTaggingOutput, S3Response::new;
    get_bucket_versioning: GetBucketVersioningInput => GetBucketVersioningOutput, S3Response::new;
    get_bucket_website: GetBucketWebsiteInput => GetBucketWebsiteOutput, S3Response::new;
    get_object: GetObjectInput => GetObjectOutput, std::convert::identity;
    get_object_acl: GetObjectAclInput => GetObjectAclOutput, S3Response::new;
    get_object_attributes: GetObjectAttributesInput => GetObjectAttributesOutput, S3Response::new;
    get_object_tagging: GetObjectTaggingInput => GetObjectTaggingOutput, S3Response::new;
    get_public_access_block: GetPublicAccessBlockInput => GetPublicAccessBlockOutput, S3Response::new;
    head_bucket: HeadBucketInput => HeadBucketOutput, S3Response::new;
    head_object: HeadObjectInput => HeadObjectOutput, std::convert::identity;
    list_buckets: ListBucketsInput => ListBucketsOutput, S3Response::new;
    list_multipart_uploads: ListMultipartUploadsInput => ListMultipartUploadsOutput, S3Response::new;
    list_object_versions: ListObjectVersionsInput => ListObjectVersionsOutput, S3Response::new;
    list_objects: ListObjectsInput => ListObjectsOutput, S3Response::new;
    list_objects_v2: ListObjectsV2Input => ListObjectsV2Output, S3Response::new;
    list_parts: ListPartsInput => ListPartsOutput, S3Response::new;
    put_bucket_acl: PutBucketAclInput => PutBucketAclOutput, S3Response::new;
    put_bucket_cors: PutBucketCorsInput => PutBucketCorsOutput, S3Response::new;
    put_bucket_encryption: PutBucketEncryptionInput => PutBucketEncryptionOutput, S3Response::new;
    put_bucket_lifecycle_configuration: PutBucketLifecycleConfigurationInput => PutBucketLifecycleConfigurationOutput, S3Response::new;
    put_bucket_notification_configuration: PutBucketNotificationConfigurationInput => PutBucketNotificationConfigurationOutput, S3Response::new;
    put_bucket_ownership_controls: PutBucketOwnershipControlsInput => PutBucketOwnershipControlsOutput, S3Response::new;
    put_bucket_policy: PutBucketPolicyInput => PutBucketPolicyOutput, S3Response::new;
    put_bucket_tagging: PutBucketTaggingInput => PutBucketTaggingOutput, S3Response::new;
    put_bucket_versioning: PutBucketVersioningInput => PutBucketVersioningOutput, S3Response::new;
    put_bucket_website: PutBucketWebsiteInput => PutBucketWebsiteOutput, S3Response::new;
    put_object: PutObjectInput => PutObjectOutput, S3Response::new;
    put_object_acl: PutObjectAclInput => PutObjectAclOutput, S3Response::new;
    put_object_tagging: PutObjectTaggingInput => PutObjectTaggingOutput, S3Response::new;
    put_public_access_block: PutPublicAccessBlockInput => PutPublicAccessBlockOutput, S3Response::new;
    upload_part: UploadPartInput => UploadPartOutput, S3Response::new;
    upload_part_copy: UploadPartCopyInput => UploadPartCopyOutput, S3Response::new;
}
