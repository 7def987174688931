//! Accounts and regions: what every resource lives in.

use std::fmt;
use std::ops::Deref;

/// A 12-digit account id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AccountId([u8; 12]);

impl AccountId {
    /// The account, if the text is twelve digits.
    pub fn new(text: &str) -> Option<Self> {
        let digits: [u8; 12] = text.as_bytes().try_into().ok()?;
        digits
            .iter()
            .all(u8::is_ascii_digit)
            .then_some(Self(digits))
    }
}

impl Deref for AccountId {
    type Target = str;
    fn deref(&self) -> &str {
        std::str::from_utf8(&self.0).expect("only digits are stored")
    }
}

impl fmt::Display for AccountId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self)
    }
}

/// A region's name, such as `us-east-1`. Any name of the right form is a region here.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Region(String);

impl Region {
    const LENGTH_MAX: usize = 32;

    /// The region, if the text has the form of one: three to five words of lower-case letters and digits with dashes
    /// between them and a digit at the end (`us-east-1`, `us-gov-west-1`). There is no list: people invent regions.
    pub fn new(text: impl Into<String>) -> Option<Self> {
        let text = text.into();
        Self::is_one(&text).then_some(Self(text))
    }

    /// Whether the text has the form of a region.
    pub(crate) fn is_one(text: &str) -> bool {
        let bytes = text.as_bytes();
        let legal = |b: &u8| b.is_ascii_lowercase() || b.is_ascii_digit() || *b == b'-';
        let dashes = bytes.iter().filter(|b| **b == b'-').count();
        bytes.len() <= Self::LENGTH_MAX
            && bytes.iter().all(legal)
            && (2..=4).contains(&dashes)
            && !bytes.windows(2).any(|pair| pair == b"--")
            && bytes.first().is_some_and(u8::is_ascii_lowercase)
            && bytes.last().is_some_and(u8::is_ascii_digit)
    }
}

impl Deref for Region {
    type Target = str;
    fn deref(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Region {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// An account in a region: where state is kept.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Scope {
    /// The account.
    pub account: AccountId,
    /// The region.
    pub region: Region,
}

impl Scope {
    /// `account/region`, the prefix of every store key in this scope.
    pub fn key(&self) -> String {
        format!("{}/{}", self.account, self.region)
    }
}
