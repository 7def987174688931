//! The root credential of a data folder: made on first start, kept in a file that only its owner can read.

use std::fs;
use std::io::ErrorKind;

use anyhow::{Context, Result, anyhow};
use aws_lc_rs::rand;
use base64::prelude::{BASE64_STANDARD, Engine};

use crate::folder::{CREDENTIALS_FILE, Folder};

/// The access key of the account's root.
pub struct RootCredential {
    pub access_key_id: String,
    pub secret_access_key: String,
}

const KEY_ID: &str = "aws_access_key_id";
const SECRET: &str = "aws_secret_access_key";

impl RootCredential {
    /// Reads the credential, or makes it on the first start.
    pub fn read_or_make(folder: &Folder) -> Result<Self> {
        match fs::metadata(folder.credentials()) {
            Err(error) if error.kind() == ErrorKind::NotFound => Self::make(folder),
            _ => Self::read(folder),
        }
    }

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

    fn make(folder: &Folder) -> Result<Self> {
        let made = RootCredential {
            access_key_id: format!("AKIA{}", base32(&random::<10>()?)),
            secret_access_key: BASE64_STANDARD.encode(random::<30>()?),
        };
        let text = format!(
            "# The root credential of this Mayfly server. Whoever has it may do anything there.\n\
             [default]\n{KEY_ID} = {}\n{SECRET} = {}\n",
            made.access_key_id, made.secret_access_key
        );
        folder.write_private(CREDENTIALS_FILE, &text)?;
        Ok(made)
    }
}

fn random<const N: usize>() -> Result<[u8; N]> {
    let mut bytes = [0; N];
    rand::fill(&mut bytes).map_err(|_| anyhow!("this machine gives no random numbers"))?;
    Ok(bytes)
}

/// The alphabet of access key ids, five bits a letter.
fn base32(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
    let bits = |at: usize| {
        let byte = |i: usize| u16::from(bytes.get(i).copied().unwrap_or(0));
        let pair = byte(at / 8) << 8 | byte(at / 8 + 1);
        usize::from(pair >> (11 - at % 8) & 31)
    };
    (0..bytes.len() * 8)
        .step_by(5)
        .map(|at| char::from(LETTERS[bits(at)]))
        .collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn the_credential_is_made_once() {
        let outer = tempfile::tempdir().unwrap();
        let folder = Folder::open_or_make(outer.path()).unwrap();
        assert!(RootCredential::read(&folder).is_err());
        let made = RootCredential::read_or_make(&folder).unwrap();
        assert_eq!(made.access_key_id.len(), 20);
        assert_eq!(made.secret_access_key.len(), 40);
        let again = RootCredential::read_or_make(&folder).unwrap();
        assert_eq!(again.secret_access_key, made.secret_access_key);
        let mode = fs::metadata(folder.credentials()).unwrap().permissions();
        assert_eq!(mode.mode() & 0o777, 0o600);
        fs::write(folder.credentials(), "[default]\n").unwrap();
        assert!(
            RootCredential::read_or_make(&folder).is_err(),
            "a damaged file is not replaced"
        );
    }

    #[test]
    fn base32_is_the_usual_one() {
        assert_eq!(base32(b"fooba"), "MZXW6YTB");
        assert_eq!(base32(&[0xff; 10]), "7".repeat(16));
    }
}
