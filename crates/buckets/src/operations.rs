//! What is told of the operations: for `docs/coverage.md`, and for its comparison with AWS's model. They are no
//! [`wire::Operation`]s, as their shapes are s3s's; their names, parameters and headers are compared.

use crate::access::{HEADERS, OPERATIONS, QUERY};

/// The operations that AWS has and Mayfly has not. They answer 501.
const UNBUILT: &[&str] = &[
    "CreateBucketMetadataConfiguration",
    "CreateBucketMetadataTableConfiguration",
    "CreateSession",
    "DeleteBucketAnalyticsConfiguration",
    "DeleteBucketIntelligentTieringConfiguration",
    "DeleteBucketInventoryConfiguration",
    "DeleteBucketMetadataConfiguration",
    "DeleteBucketMetadataTableConfiguration",
    "DeleteBucketMetricsConfiguration",
    "DeleteBucketReplication",
    "DeleteObjectAnnotation",
    "GetBucketAbac",
    "GetBucketAccelerateConfiguration",
    "GetBucketAnalyticsConfiguration",
    "GetBucketIntelligentTieringConfiguration",
    "GetBucketInventoryConfiguration",
    "GetBucketLifecycle",
    "GetBucketLogging",
    "GetBucketMetadataConfiguration",
    "GetBucketMetadataTableConfiguration",
    "GetBucketMetricsConfiguration",
    "GetBucketNotification",
    "GetBucketReplication",
    "GetBucketRequestPayment",
    "GetObjectAnnotation",
    "GetObjectLegalHold",
    "GetObjectLockConfiguration",
    "GetObjectRetention",
    "GetObjectTorrent",
    "ListBucketAnalyticsConfigurations",
    "ListBucketIntelligentTieringConfigurations",
    "ListBucketInventoryConfigurations",
    "ListBucketMetricsConfigurations",
    "ListDirectoryBuckets",
    "ListObjectAnnotations",
    "PutBucketAbac",
    "PutBucketAccelerateConfiguration",
    "PutBucketAnalyticsConfiguration",
    "PutBucketIntelligentTieringConfiguration",
    "PutBucketInventoryConfiguration",
    "PutBucketLifecycle",
    "PutBucketLogging",
    "PutBucketMetricsConfiguration",
    "PutBucketNotification",
    "PutBucketReplication",
    "PutBucketRequestPayment",
    "PutObjectAnnotation",
    "PutObjectLegalHold",
    "PutObjectLockConfiguration",
    "PutObjectRetention",
    "RenameObject",
    "RestoreObject",
    "SelectObjectContent",
    "UpdateBucketMetadataAnnotationTableConfiguration",
    "UpdateBucketMetadataInventoryTableConfiguration",
    "UpdateBucketMetadataJournalTableConfiguration",
    "UpdateObjectEncryption",
    "WriteGetObjectResponse",
];

/// One operation that is built.
pub struct Described {
    /// AWS's name.
    pub name: &'static str,
    /// The parameters of the query that it takes.
    pub query: Vec<&'static str>,
}

/// The operations that are built.
pub fn built() -> impl Iterator<Item = Described> {
    OPERATIONS.iter().map(|row| Described {
        name: row.name,
        query: row.query.iter().chain(QUERY).copied().collect(),
    })
}

/// The names of those that are not.
pub fn unbuilt() -> &'static [&'static str] {
    UNBUILT
}

/// The `x-amz-` headers that operations take.
pub fn headers() -> &'static [&'static str] {
    HEADERS
}
