//! What requests may say about encryption: that it is as it is (AmazonS3/latest/userguide/UsingServerSideEncryption.html).

use crate::{Error, Result};

/// Operations that make content, and so may be told how it is to be encrypted.
const ENCRYPTING: &[&str] = &["CopyObject", "CreateMultipartUpload", "PutObject"];

/// Checks what a request says about it.
pub(crate) fn sound(operation: &str, header: Option<&str>) -> Result<()> {
    let name = "x-amz-server-side-encryption";
    match header {
        None => Ok(()),
        Some(_) if !ENCRYPTING.contains(&operation) => Err(Error::InvalidArgument(format!(
            "{name} header is not supported for this operation."
        ))),
        Some("AES256") => Ok(()),
        Some(kind @ ("aws:kms" | "aws:kms:dsse")) => Err(Error::NotImplemented(format!(
            "A header you provided implies functionality that is not implemented: {name}: {kind}"
        ))),
        Some(_) => Err(Error::InvalidEncryptionAlgorithm),
    }
}
