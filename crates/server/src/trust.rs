//! What functions trust: the machine's certificate authorities, and one of this server's own for AWS's host names.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};
use gateway::Authority;
use tracing::warn;

use crate::folder::Folder;

/// The authority's key.
pub const KEY_FILE: &str = "authority.key";
/// The machine's certificates and the authority's, for sandboxes.
pub const BUNDLE_FILE: &str = "ca-bundle.pem";

/// Where machines keep the authorities that they trust.
const BUNDLES: &[&str] = &[
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// Which variable tells which client about the bundle: the SDKs for Python, whatever uses OpenSSL or is written in Go, the
/// library `requests`, and Node. curl looks where the bundle is anyway.
const VARIABLES: &[&str] = &[
    "AWS_CA_BUNDLE",
    "SSL_CERT_FILE",
    "REQUESTS_CA_BUNDLE",
    "NODE_EXTRA_CA_CERTS",
];

/// Opens the authority, whose key is made on the first start, and writes the bundle anew.
pub fn open(folder: &Folder) -> Result<Authority> {
    let path = folder.path().join(KEY_FILE);
    if !path.exists() {
        folder.write_private(KEY_FILE, &Authority::make_key()?)?;
    }
    let key = fs::read_to_string(&path);
    let key = key.with_context(|| format!("cannot read {}", path.display()))?;
    let authority = Authority::new(&key).with_context(|| format!("{}", path.display()))?;
    let bundle = format!("{}\n{}", of_this_machine(), authority.certificate());
    folder.write_private(BUNDLE_FILE, &bundle)?;
    Ok(authority)
}

/// The bundle that [`open`] writes.
pub fn bundle(folder: &Folder) -> PathBuf {
    folder.path().join(BUNDLE_FILE)
}

/// Variables of functions that name the bundle inside.
pub fn variables() -> impl Iterator<Item = (&'static str, String)> {
    let names = VARIABLES.iter().copied();
    names.map(|name| (name, sandbox::CA_BUNDLE.to_owned()))
}

fn of_this_machine() -> String {
    // The operator may trust others than the machine does, such as a company's.
    let named = std::env::var_os("SSL_CERT_FILE").map(PathBuf::from);
    let usual = BUNDLES.iter().map(PathBuf::from);
    let mut found = named.into_iter().chain(usual);
    found
        .find_map(|path| fs::read_to_string(path).ok())
        .unwrap_or_else(|| {
            warn!("this machine has no certificate authorities; functions trust AWS's names alone (apt-get install ca-certificates)");
            String::new()
        })
}
