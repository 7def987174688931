//! AWS's SDK for a runtime. AWS's own runtimes bring one along; here it is added by an explicit step, and lies in a
//! folder of its own that every environment of the runtime sees read-only.
//!
//! `SDKS/ID/current` is a link to the folder beside it that counts, named `boto3-VERSION-DIGEST`.

use std::fs;
use std::path::{Path, PathBuf};

use super::{Mount, Runtime};

/// Where functions see it. It comes late in `sys.path`, so a function's own copy or a layer's is the one imported.
pub const SDK_TARGET: &str = "/var/sdk";
/// The link to the folder that counts.
pub(super) const CURRENT: &str = "current";
/// The package that an SDK for Python is named after.
pub(super) const PACKAGE: &str = "boto3";

/// An SDK on this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sdk {
    /// What is seen at [`SDK_TARGET`].
    pub folder: PathBuf,
    /// What it is, such as `boto3 1.42.97`.
    pub version: String,
}

impl Sdk {
    /// The one that was added last for an identifier.
    pub(super) fn find(sdks: &Path, id: &str) -> Option<Sdk> {
        let of_runtime = sdks.join(id);
        let name = fs::read_link(of_runtime.join(CURRENT)).ok()?;
        let folder = of_runtime.join(&name).canonicalize().ok()?;
        let (version, _digest) = name
            .to_str()?
            .strip_prefix(PACKAGE)?
            .strip_prefix('-')?
            .rsplit_once('-')?;
        Some(Sdk {
            folder,
            version: format!("{PACKAGE} {version}"),
        })
    }

    /// Makes it part of a runtime.
    pub(super) fn join(self, runtime: &mut Runtime) {
        runtime.mounts.push(Mount {
            source: self.folder.clone(),
            target: SDK_TARGET.to_owned(),
        });
        if let Some((_, path)) = runtime
            .env
            .iter_mut()
            .find(|(name, _)| name == "PYTHONPATH")
        {
            path.push(':');
            path.push_str(SDK_TARGET);
        }
        let seen = self.folder.as_os_str().as_encoded_bytes();
        runtime.digest = super::python::hex_digest(&[runtime.digest.as_bytes(), seen]);
        runtime.sdk = Some(self);
    }
}
