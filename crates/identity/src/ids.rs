//! Names that IAM makes up: unique ids, access key ids and secrets
//! (`IAM/latest/UserGuide/reference_identifiers.html#identifiers-unique-ids`).

use aws_lc_rs::rand::{SecureRandom, SystemRandom};
use base64::Engine as _;
use wire::AccountId;

use crate::Error;

/// Letters and digits of unique ids.
const UNIQUE: &[u8; 36] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";
/// Base32, of which access key ids are made.
const BASE32: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
/// What follows the four letters of a unique id.
const UNIQUE_LENGTH: usize = 17;
/// What follows the four letters of an access key id: 80 bits.
const KEY_LENGTH: usize = 16;
/// Where in those 80 bits the account's 40 begin, counted from the right.
const ACCOUNT_SHIFT: u32 = 39;
const ACCOUNT_MASK: u128 = (1 << 40) - 1;

pub(crate) fn random<const N: usize>() -> Result<[u8; N], Error> {
    let mut bytes = [0; N];
    SystemRandom::new()
        .fill(&mut bytes)
        .map_err(|_| Error::Crypto)?;
    Ok(bytes)
}

/// A unique id with one of AWS's prefixes (`AIDA` user, `AROA` role, `AGPA` group, `ANPA` policy, `AIPA` instance profile).
pub(crate) fn unique(prefix: &str) -> Result<String, Error> {
    // 128 bits over 36^17 (88 bits) leave no bias worth mentioning.
    let mut number = u128::from_le_bytes(random()?);
    let mut id = prefix.to_owned();
    for _ in 0..UNIQUE_LENGTH {
        let digit = usize::try_from(number % 36).expect("less than 36");
        id.push(char::from(UNIQUE[digit]));
        number /= 36;
    }
    Ok(id)
}

/// An access key id (`AKIA...`, or `ASIA...` for sessions). As on AWS, the account is part of it.
pub(crate) fn access_key(prefix: &str, account: &AccountId) -> Result<String, Error> {
    let number: u128 = account.parse().expect("an account is twelve digits");
    let random = u128::from_le_bytes(random()?) & ((1 << 80) - 1);
    let bits = random & !(ACCOUNT_MASK << ACCOUNT_SHIFT) | number << ACCOUNT_SHIFT;
    let mut id = prefix.to_owned();
    for at in (0..KEY_LENGTH).rev() {
        let digit = usize::try_from(bits >> (5 * at) & 31).expect("less than 32");
        id.push(char::from(BASE32[digit]));
    }
    Ok(id)
}

/// The account inside an access key id; `None` when it is no such id.
pub(crate) fn account_of_key(id: &str) -> Option<AccountId> {
    let digits = id.get(4..).filter(|digits| digits.len() == KEY_LENGTH)?;
    let mut bits: u128 = 0;
    for byte in digits.bytes() {
        let digit = BASE32.iter().position(|own| *own == byte)?;
        bits = bits << 5 | digit as u128;
    }
    AccountId::new(&format!("{:012}", bits >> ACCOUNT_SHIFT & ACCOUNT_MASK))
}

/// Forty characters that sign.
pub(crate) fn secret() -> Result<String, Error> {
    Ok(base64::engine::general_purpose::STANDARD.encode(random::<30>()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn key_ids_hold_their_account() {
        for account in ["000000000000", "123456789012", "999999999999"] {
            let account = AccountId::new(account).unwrap_or_else(|| panic!("{account}"));
            let id = access_key("AKIA", &account).unwrap_or_else(|error| panic!("{error}"));
            assert_eq!(id.len(), 20);
            assert_eq!(account_of_key(&id), Some(account));
        }
        assert_eq!(account_of_key("AKIA"), None);
        assert_eq!(account_of_key("AKIA0000000000000000"), None);
        // AWS's documentation's own example key.
        assert_eq!(
            account_of_key("ASIAQNZGKIQY56JQ7WML").as_deref(),
            Some("029608264753")
        );
    }

    #[test]
    fn ids_have_their_form() {
        let id = unique("AIDA").unwrap_or_else(|error| panic!("{error}"));
        assert!(
            id.len() == 21
                && id
                    .bytes()
                    .all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit())
        );
        assert_eq!(secret().map(|secret| secret.len()).ok(), Some(40));
    }
}
