//! [`Error`]: why an S3 request fails, with AWS's code and sentence (AmazonS3/latest/API/ErrorResponses.html).

use http::{HeaderMap, HeaderValue, StatusCode};
use s3s::{S3Error, S3ErrorCode};
use wire::BodyFault;

/// A failed request.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The caller may not; the whole sentence.
    #[error("{0}")]
    Denied(String),
    /// No bucket has this name.
    #[error("The specified bucket does not exist")]
    NoSuchBucket,
    /// No object has this key, or only a delete marker.
    #[error("The specified key does not exist.")]
    NoSuchKey {
        /// The id of the delete marker that hides it.
        marker: Option<String>,
    },
    /// The object has no such version.
    #[error("The specified version does not exist.")]
    NoSuchVersion,
    /// A delete marker has no content.
    #[error("The specified method is not allowed against this resource.")]
    MarkerHasNoContent,
    /// No such multipart upload.
    #[error(
        "The specified upload does not exist. The upload ID may be invalid, or the upload may have been aborted or completed."
    )]
    NoSuchUpload,
    /// The name is taken, by the caller.
    #[error("Your previous request to create the named bucket succeeded and you already own it.")]
    BucketAlreadyOwnedByYou,
    /// The name is taken, by somebody else.
    #[error(
        "The requested bucket name is not available. The bucket namespace is shared by all users of the system. Please select a different name and try again."
    )]
    BucketAlreadyExists,
    /// Only empty buckets are deleted.
    #[error("The bucket you tried to delete is not empty")]
    BucketNotEmpty,
    /// A name that no bucket may have.
    #[error("The specified bucket is not valid.")]
    InvalidBucketName,
    /// As many buckets as an account may have.
    #[error("You have attempted to create more buckets than allowed")]
    TooManyBuckets,
    /// Not a region.
    #[error("The specified location-constraint is not valid")]
    InvalidLocationConstraint,
    /// Not the region that the request is sent to.
    #[error(
        "The {constraint} location constraint is incompatible for the region specific endpoint this request was sent to."
    )]
    IllegalLocationConstraint {
        /// The region, or `unspecified`.
        constraint: String,
    },
    /// A condition of the request does not hold.
    #[error("At least one of the pre-conditions you specified did not hold")]
    PreconditionFailed,
    /// The client has it already.
    #[error("Not Modified")]
    NotModified(Box<HeaderMap>),
    /// Others write the same key all the time.
    #[error(
        "The conditional request cannot succeed due to a conflicting operation against this resource."
    )]
    Conflict,
    /// Something else goes on with the bucket.
    #[error(
        "A conflicting conditional operation is currently in progress against this resource. Try again."
    )]
    OperationAborted,
    /// The content is not what the client says.
    #[error("The {0} you specified did not match what we received.")]
    BadDigest(String),
    /// What the client says is no digest.
    #[error("The {0} you specified is not valid.")]
    InvalidDigest(String),
    /// Parts that are not there, or others.
    #[error(
        "One or more of the specified parts could not be found. The part may not have been uploaded, or the specified entity tag may not match the part's entity tag."
    )]
    InvalidPart,
    /// Parts must be listed in order.
    #[error(
        "The list of parts was not in ascending order. The parts list must be specified in order by part number."
    )]
    InvalidPartOrder,
    /// Only the last part may be small.
    #[error("Your proposed upload is smaller than the minimum allowed size")]
    EntityTooSmall,
    /// Larger than one request may be.
    #[error("Your proposed upload exceeds the maximum allowed size")]
    EntityTooLarge,
    /// Nothing of the content is in the range.
    #[error("The requested range is not satisfiable")]
    InvalidRange {
        /// The content's size.
        size: u64,
    },
    /// There is no such part.
    #[error("The requested partnumber is not satisfiable")]
    InvalidPartNumber,
    /// A value is not valid.
    #[error("{0}")]
    InvalidArgument(String),
    /// The request as a whole is not valid.
    #[error("{0}")]
    InvalidRequest(String),
    /// More than there may be.
    #[error("{0}")]
    BadRequest(String),
    /// A tag is not valid.
    #[error("{0}")]
    InvalidTag(String),
    /// Too many bytes of `x-amz-meta-` headers.
    #[error("Your metadata headers exceed the maximum allowed metadata size")]
    MetadataTooLarge,
    /// The body has not the form of the operation's.
    #[error(
        "The XML you provided was not well-formed or did not validate against our published schema"
    )]
    MalformedXml,
    /// The policy is not one; AWS's sentence.
    #[error("{0}")]
    MalformedPolicy(String),
    /// The state of the bucket forbids it.
    #[error("{0}")]
    InvalidBucketState(String),
    /// There is no policy.
    #[error("The bucket policy does not exist")]
    NoSuchBucketPolicy,
    /// There are no tags.
    #[error("The TagSet does not exist")]
    NoSuchTagSet,
    /// There is no CORS configuration.
    #[error("The CORS configuration does not exist")]
    NoSuchCorsConfiguration,
    /// There is no lifecycle configuration.
    #[error("The lifecycle configuration does not exist")]
    NoSuchLifecycleConfiguration,
    /// There is no website.
    #[error("The specified bucket does not have a website configuration")]
    NoSuchWebsiteConfiguration,
    /// There is no public-access block.
    #[error("The public access block configuration was not found")]
    NoSuchPublicAccessBlockConfiguration,
    /// There are no ownership controls.
    #[error("The bucket ownership controls were not found")]
    OwnershipControlsNotFound,
    /// ACLs are disabled, as on AWS since 2023.
    #[error("The bucket does not allow ACLs")]
    AclsNotSupported,
    /// So a bucket cannot be made with one either.
    #[error("Bucket cannot have ACLs set with ObjectOwnership's BucketOwnerEnforced setting")]
    InvalidBucketAclWithObjectOwnership,
    /// Not an algorithm that S3 itself encrypts with.
    #[error("The encryption request that you specified is not valid. The valid value is AES256.")]
    InvalidEncryptionAlgorithm,
    /// The client must say how long the content is.
    #[error("You must provide the Content-Length HTTP header.")]
    MissingContentLength,
    /// AWS can, Mayfly cannot.
    #[error("{0}")]
    NotImplemented(String),
    /// The body broke off, or is not what was signed.
    #[error(transparent)]
    Body(#[from] BodyFault),
    /// The store failed, or holds what it should not.
    #[error("We encountered an internal error. Please try again.")]
    Internal(String),
}

impl From<store::Error> for Error {
    fn from(error: store::Error) -> Self {
        Error::Internal(error.to_string())
    }
}

impl Error {
    /// AWS's code and HTTP status.
    pub fn code(&self) -> (&str, u16) {
        match self {
            Error::Denied(_) => ("AccessDenied", 403),
            Error::NoSuchBucket => ("NoSuchBucket", 404),
            Error::NoSuchKey { .. } => ("NoSuchKey", 404),
            Error::NoSuchVersion => ("NoSuchVersion", 404),
            Error::MarkerHasNoContent => ("MethodNotAllowed", 405),
            Error::NoSuchUpload => ("NoSuchUpload", 404),
            Error::BucketAlreadyOwnedByYou => ("BucketAlreadyOwnedByYou", 409),
            Error::BucketAlreadyExists => ("BucketAlreadyExists", 409),
            Error::BucketNotEmpty => ("BucketNotEmpty", 409),
            Error::InvalidBucketName => ("InvalidBucketName", 400),
            Error::TooManyBuckets => ("TooManyBuckets", 400),
            Error::InvalidLocationConstraint => ("InvalidLocationConstraint", 400),
            Error::IllegalLocationConstraint { .. } => ("IllegalLocationConstraintException", 400),
            Error::PreconditionFailed => ("PreconditionFailed", 412),
            Error::NotModified(_) => ("NotModified", 304),
            Error::Conflict => ("ConditionalRequestConflict", 409),
            Error::OperationAborted => ("OperationAborted", 409),
            Error::BadDigest(_) => ("BadDigest", 400),
            Error::InvalidDigest(_) => ("InvalidDigest", 400),
            Error::InvalidPart => ("InvalidPart", 400),
            Error::InvalidPartOrder => ("InvalidPartOrder", 400),
            Error::EntityTooSmall => ("EntityTooSmall", 400),
            Error::EntityTooLarge => ("EntityTooLarge", 400),
            Error::InvalidRange { .. } => ("InvalidRange", 416),
            Error::InvalidPartNumber => ("InvalidPartNumber", 416),
            Error::InvalidArgument(_) => ("InvalidArgument", 400),
            Error::InvalidRequest(_) => ("InvalidRequest", 400),
            Error::BadRequest(_) => ("BadRequest", 400),
            Error::InvalidTag(_) => ("InvalidTag", 400),
            Error::MetadataTooLarge => ("MetadataTooLarge", 400),
            Error::MalformedXml => ("MalformedXML", 400),
            Error::MalformedPolicy(_) => ("MalformedPolicy", 400),
            Error::InvalidBucketState(_) => ("InvalidBucketState", 409),
            Error::NoSuchBucketPolicy => ("NoSuchBucketPolicy", 404),
            Error::NoSuchTagSet => ("NoSuchTagSet", 404),
            Error::NoSuchCorsConfiguration => ("NoSuchCORSConfiguration", 404),
            Error::NoSuchLifecycleConfiguration => ("NoSuchLifecycleConfiguration", 404),
            Error::NoSuchWebsiteConfiguration => ("NoSuchWebsiteConfiguration", 404),
            Error::NoSuchPublicAccessBlockConfiguration => {
                ("NoSuchPublicAccessBlockConfiguration", 404)
            }
            Error::OwnershipControlsNotFound => ("OwnershipControlsNotFoundError", 404),
            Error::AclsNotSupported => ("AccessControlListNotSupported", 400),
            Error::InvalidBucketAclWithObjectOwnership => {
                ("InvalidBucketAclWithObjectOwnership", 400)
            }
            Error::InvalidEncryptionAlgorithm => ("InvalidEncryptionAlgorithmError", 400),
            Error::MissingContentLength => ("MissingContentLength", 411),
            Error::NotImplemented(_) => ("NotImplemented", 501),
            Error::Body(fault) => (fault.code, fault.status),
            Error::Internal(_) => ("InternalError", 500),
        }
    }

    fn headers(&self) -> Option<HeaderMap> {
        let one = |name: &'static str, value: &str| {
            let value = HeaderValue::from_str(value).ok()?;
            Some(
                [(http::HeaderName::from_static(name), value)]
                    .into_iter()
                    .collect(),
            )
        };
        match self {
            Error::NotModified(headers) => Some((**headers).clone()),
            Error::NoSuchKey { marker: Some(id) } => {
                let mut headers: HeaderMap = one("x-amz-delete-marker", "true")?;
                headers.insert("x-amz-version-id", HeaderValue::from_str(id).ok()?);
                Some(headers)
            }
            Error::MarkerHasNoContent => one("x-amz-delete-marker", "true"),
            Error::InvalidRange { size } => one("content-range", &format!("bytes */{size}")),
            _ => None,
        }
    }
}

impl From<Error> for S3Error {
    fn from(error: Error) -> S3Error {
        if let Error::Internal(cause) = &error {
            tracing::error!(cause, "internal failure");
        }
        let (code, status) = error.code();
        let code = S3ErrorCode::from_bytes(code.as_bytes()).unwrap_or(S3ErrorCode::InternalError);
        let mut failed = S3Error::with_message(code, error.to_string());
        if let Ok(status) = StatusCode::from_u16(status) {
            failed.set_status_code(status);
        }
        if let Some(headers) = error.headers() {
            failed.set_headers(headers);
        }
        failed
    }
}
