//! The file of the root credential, which only its owner can read, in the form of AWS's own credential files.

use std::fs;

use anyhow::{Context, Result, anyhow};

use crate::folder::{CREDENTIALS_FILE, Folder};

/// The access key of the account's root.
#[derive(PartialEq)]
pub struct RootCredential {
    pub access_key_id: String,
    pub secret_access_key: String,
}

const KEY_ID: &str = "aws_access_key_id";
const SECRET: &str = "aws_secret_access_key";

impl RootCredential {
    /// Reads the credential.
    pub fn read(folder: &Folder) -> Result<Self> {
        let path = folder.credentials();
        let text = fs::read_to_string(&path)
            .with_context(|| format!("cannot read the root credential in {}", path.display()))?;
        let value = |name: &str| {
            let lines = text.lines().filter_map(|line| line.split_once('='));
            let mut found = lines.filter(|(key, _)| key.trim() == name);
            let value = found.next().map(|(_, value)| value.trim().to_owned());
            value.ok_or_else(|| anyhow!("{} has no {name}", path.display()))
        };
        Ok(RootCredential {
            access_key_id: value(KEY_ID)?,
            secret_access_key: value(SECRET)?,
        })
    }

    /// Writes the credential down, unless it stands there already.
    pub fn write(&self, folder: &Folder) -> Result<()> {
        if Self::read(folder).is_ok_and(|written| written == *self) {
            return Ok(());
        }
        let text = format!(
            "# The root credential of this Mayfly server. Whoever has it may do anything there.\n\
             [default]\n{KEY_ID} = {}\n{SECRET} = {}\n",
            self.access_key_id, self.secret_access_key
        );
        folder.write_private(CREDENTIALS_FILE, &text)
    }
}

impl From<identity::RootCredential> for RootCredential {
    fn from(root: identity::RootCredential) -> Self {
        RootCredential {
            access_key_id: root.access_key_id,
            secret_access_key: root.secret_access_key,
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn the_credential_is_for_its_owner_only() {
        let outer = tempfile::tempdir().unwrap();
        let folder = Folder::open_or_make(outer.path()).unwrap();
        assert!(RootCredential::read(&folder).is_err());
        let root = RootCredential {
            access_key_id: "AKIDEXAMPLE".to_owned(),
            secret_access_key: "a/b+c=".to_owned(),
        };
        root.write(&folder).unwrap();
        assert!(RootCredential::read(&folder).unwrap() == root);
        let mode = fs::metadata(folder.credentials()).unwrap().permissions();
        assert_eq!(mode.mode() & 0o777, 0o600);
        fs::write(folder.credentials(), "[default]\n").unwrap();
        assert!(RootCredential::read(&folder).is_err());
        root.write(&folder).unwrap();
        assert!(RootCredential::read(&folder).unwrap() == root);
    }
}
