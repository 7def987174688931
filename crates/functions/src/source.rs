//! Where code comes from: the request itself, or an object in a bucket that the caller may read
//! (<https://docs.aws.amazon.com/lambda/latest/api/API_FunctionCode.html>).

use std::sync::{Arc, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use wire::{Context, Scope};

use crate::Functions;
use crate::account::CODE_STORAGE_BYTES_MAX;
use crate::code::{Package, Pin, ZIPPED_BYTES_MAX};
use crate::error::Error;

use crate::settings::{BucketName, ObjectKey, S3ObjectStorageMode, refuse};

/// Reads objects in buckets.
#[async_trait]
pub trait Objects: Send + Sync {
    /// The content of an object, as the caller of a request would get it.
    async fn read(
        &self,
        cx: &Context,
        object: &ObjectName<'_>,
        bytes_max: u64,
    ) -> Result<Bytes, Unread>;
}

/// An object's name.
#[derive(Debug, Clone, Copy)]
pub struct ObjectName<'a> {
    /// Its bucket.
    pub bucket: &'a str,
    /// Its key.
    pub key: &'a str,
    /// One of its versions, or else the current one.
    pub version: Option<&'a str>,
}

/// Why an object cannot be read: S3's own code and sentence.
#[derive(Debug, Clone)]
pub enum Unread {
    /// The caller may not.
    Denied,
    /// It is larger than was asked for.
    TooLarge,
    /// Anything else.
    Failed {
        /// Such as `NoSuchKey`.
        code: String,
        /// The sentence.
        message: String,
    },
}

/// What a request says about where the code is.
pub(crate) struct Source<'a> {
    pub zip: Option<Bytes>,
    pub bucket: Option<&'a BucketName>,
    pub key: Option<&'a ObjectKey>,
    pub version: Option<&'a ObjectKey>,
    pub mode: Option<S3ObjectStorageMode>,
}

impl Functions {
    /// Says where code in buckets is read, or that it is not any more: buckets and functions know each other, and one of them
    /// must let go.
    pub fn read_code_from(&self, objects: Option<Arc<dyn Objects>>) {
        let mut slot = self
            .inner
            .objects
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        *slot = objects;
    }

    /// Takes in the code of a request.
    pub(crate) async fn take_code(
        &self,
        cx: &Context,
        at: &Scope,
        source: Source<'_>,
    ) -> Result<(Package, Pin), Error> {
        let reference = source.mode == Some(S3ObjectStorageMode::Reference);
        refuse(
            "S3ObjectStorageMode REFERENCE",
            reference,
            "Code is copied.",
        )?;
        let zip = match (source.zip, source.bucket, source.key) {
            (Some(zip), None, None) => zip,
            (Some(_), _, _) => {
                return Err(Error::Invalid(
                    "Please do not provide other FunctionCode parameters when providing a ZipFile."
                        .to_owned(),
                ));
            }
            (None, Some(bucket), Some(key)) => {
                let version = source.version.map(ObjectKey::as_str);
                let (bucket, key) = (bucket.as_str(), key.as_str());
                self.read_object(
                    cx,
                    &ObjectName {
                        bucket,
                        key,
                        version,
                    },
                )
                .await?
            }
            (None, Some(_), None) => {
                return Err(Error::Invalid(
                    "S3Key must be specified with S3Bucket.".to_owned(),
                ));
            }
            (None, None, Some(_)) => {
                return Err(Error::Invalid(
                    "S3Bucket must be specified with S3Key.".to_owned(),
                ));
            }
            (None, None, None) => {
                return Err(Error::Invalid(
                    "Please provide a source for function code.".to_owned(),
                ));
            }
        };
        if self.code_storage(at) + zip.len() as u64 > CODE_STORAGE_BYTES_MAX {
            return Err(Error::CodeStorageExceeded);
        }
        self.inner.code.take(zip).await
    }

    async fn read_object(&self, cx: &Context, object: &ObjectName<'_>) -> Result<Bytes, Error> {
        let objects = {
            let slot = self.inner.objects.read();
            slot.unwrap_or_else(PoisonError::into_inner).clone()
        };
        let missing = || Error::CodeNotRead {
            code: "NoSuchBucket".to_owned(),
            message: "The specified bucket does not exist".to_owned(),
        };
        let objects = objects.ok_or_else(missing)?;
        let bytes_max = u64::try_from(ZIPPED_BYTES_MAX).unwrap_or(u64::MAX);
        let read = objects.read(cx, object, bytes_max).await;
        read.map_err(|unread| match unread {
            Unread::Denied => Error::CodeDenied {
                object: format!("{}/{}", object.bucket, object.key),
            },
            Unread::TooLarge => Error::PackageTooLarge,
            Unread::Failed { code, message } => Error::CodeNotRead { code, message },
        })
    }
}
