//! Seals secrets of the store with a key that lies in a file of its own: whoever gets at the store alone, in a copy or through
//! a mistake, does not read them.

use std::fs;

use anyhow::{Context, Result, anyhow, ensure};
use aws_lc_rs::aead::{AES_256_GCM, Aad, Nonce, RandomizedNonceKey};
use aws_lc_rs::hkdf;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

use crate::folder::Folder;

/// The key, in base64.
pub const KEY_FILE: &str = "secrets.key";
/// The key's size.
const KEY_BYTES: usize = 32;
/// What everything sealed begins with.
const FORMAT: u8 = 1;
/// AES-GCM's nonce.
const NONCE_BYTES: usize = 12;
/// Keeps what is sealed here from being taken for anything else.
const PURPOSE: &str = "mayfly secret 1";

/// The key of a data folder.
pub struct Vault {
    key: RandomizedNonceKey,
    root: hkdf::Prk,
}

impl Vault {
    /// With the folder's key, which is made on the first start.
    pub fn open(folder: &Folder) -> Result<Vault> {
        let path = folder.path().join(KEY_FILE);
        if !path.exists() {
            let mut key = [0; KEY_BYTES];
            aws_lc_rs::rand::fill(&mut key)
                .map_err(|_| anyhow!("this machine gives no random numbers"))?;
            folder.write_private(KEY_FILE, &format!("{}\n", BASE64.encode(key)))?;
        }
        let of_path = || path.display().to_string();
        let text = fs::read_to_string(&path).with_context(of_path)?;
        let key = BASE64.decode(text.trim()).with_context(of_path)?;
        ensure!(
            key.len() == KEY_BYTES,
            "{}: not a key of {KEY_BYTES} bytes",
            of_path()
        );
        let root = hkdf::Salt::new(hkdf::HKDF_SHA256, &[]).extract(&key);
        let key = RandomizedNonceKey::new(&AES_256_GCM, &key);
        let key = key.map_err(|_| anyhow!("{}: not a key", of_path()))?;
        Ok(Vault { key, root })
    }

    /// A secret for another purpose, from which nothing follows for any other.
    pub fn secret(&self, purpose: &str) -> Result<[u8; KEY_BYTES]> {
        let mut secret = [0; KEY_BYTES];
        let info = [purpose.as_bytes()];
        let made = self.root.expand(&info, hkdf::HKDF_SHA256);
        made.and_then(|made| made.fill(&mut secret))
            .map_err(|_| anyhow!("no secret of {KEY_BYTES} bytes can be made"))?;
        Ok(secret)
    }
}

impl events::Vault for Vault {
    fn seal(&self, name: &str, plain: &[u8]) -> Option<Vec<u8>> {
        let mut sealed = plain.to_vec();
        let nonce = self.key.seal_in_place_append_tag(aad(name), &mut sealed);
        let mut whole = vec![FORMAT];
        whole.extend_from_slice(nonce.ok()?.as_ref());
        whole.append(&mut sealed);
        Some(whole)
    }

    fn open(&self, name: &str, sealed: &[u8]) -> Option<Vec<u8>> {
        let (&FORMAT, rest) = sealed.split_first()? else {
            return None;
        };
        let (nonce, sealed) = rest.split_at_checked(NONCE_BYTES)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let mut sealed = sealed.to_vec();
        let plain = self.key.open_in_place(nonce, aad(name), &mut sealed).ok()?;
        Some(plain.to_vec())
    }
}

fn aad(name: &str) -> Aad<Vec<u8>> {
    Aad::from(format!("{PURPOSE}\0{name}").into_bytes())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use events::Vault as _;

    #[test]
    fn what_is_sealed_opens_with_its_key_and_under_its_name() {
        let outer = tempfile::tempdir().unwrap();
        let folder = Folder::open_or_make(&outer.path().join("a")).unwrap();
        let vault = Vault::open(&folder).unwrap();
        let sealed = vault.seal("a", b"hunter2").unwrap();
        assert!(!sealed.windows(7).any(|part| part == b"hunter2"));
        assert_ne!(vault.seal("a", b"hunter2").unwrap(), sealed);
        let again = Vault::open(&folder).unwrap();
        assert_eq!(again.open("a", &sealed).unwrap(), b"hunter2");
        assert_eq!(again.open("b", &sealed), None);
        assert_eq!(again.open("a", &sealed[..sealed.len() - 1]), None);
        assert_eq!(again.open("a", b"{}"), None);
        assert_eq!(vault.secret("a").unwrap(), again.secret("a").unwrap());
        assert_ne!(vault.secret("a").unwrap(), vault.secret("b").unwrap());
        let other = Folder::open_or_make(&outer.path().join("b")).unwrap();
        assert_eq!(Vault::open(&other).unwrap().open("a", &sealed), None);
    }
}
