//! What one field of a pattern accepts.

use super::event::Value;
use super::ip::{self, Ip};
use super::number::Micros;
use super::wildcard::Wildcard;

/// What the values of a field must be. Any of the matchers will do.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Test {
    /// Without repeats.
    pub(super) matchers: Box<[Matcher]>,
    /// Whether the field may also be missing (`exists: false`).
    pub(super) absent: bool,
}

/// One way to accept a value.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Matcher {
    /// `exists: true`: any value at all.
    Exists,
    True,
    False,
    Null,
    String(Box<str>),
    /// A number that cannot be compared, by how it is written.
    Written(Box<str>),
    /// Numbers from the first to the last, in millionths: a number, or `numeric`.
    Range(Micros, Micros),
    /// Addresses from the first to the last: `cidr`, or a string that spells an address.
    Block(Ip, Ip),
    Prefix(Box<str>),
    Suffix(Box<str>),
    /// `equals-ignore-case`; folded, as in the next two.
    Folded(Box<str>),
    FoldedPrefix(Box<str>),
    FoldedSuffix(Box<str>),
    Wildcard(Wildcard),
    /// Any value that none of these accepts.
    AnythingBut(Box<[Matcher]>),
}

impl Test {
    pub(super) fn accepts(&self, value: &Value<'_>) -> bool {
        self.matchers.iter().any(|matcher| matcher.accepts(value))
    }
}

impl Matcher {
    pub(super) fn accepts(&self, value: &Value<'_>) -> bool {
        match (self, value) {
            (Matcher::Exists, _)
            | (Matcher::True, Value::True)
            | (Matcher::False, Value::False)
            | (Matcher::Null, Value::Null) => true,
            (Matcher::Range(first, last), Value::Number { micros, .. }) => {
                micros.is_some_and(|micros| (*first..=*last).contains(&micros))
            }
            (Matcher::Written(wanted), Value::Number { text, .. }) => **wanted == **text,
            (Matcher::AnythingBut(but), value) => !but.iter().any(|matcher| matcher.accepts(value)),
            (matcher, Value::String(text)) => matcher.accepts_text(text),
            _ => false,
        }
    }

    fn accepts_text(&self, text: &str) -> bool {
        match self {
            Matcher::String(wanted) => **wanted == *text,
            Matcher::Prefix(prefix) => text.starts_with(&**prefix),
            Matcher::Suffix(suffix) => text.ends_with(&**suffix),
            Matcher::Folded(wanted) => folded(text).eq(wanted.chars()),
            Matcher::FoldedPrefix(prefix) => {
                let mut text = folded(text);
                prefix.chars().all(|wanted| text.next() == Some(wanted))
            }
            Matcher::FoldedSuffix(suffix) => folded(text).collect::<String>().ends_with(&**suffix),
            Matcher::Wildcard(wildcard) => wildcard.matches(text),
            Matcher::Block(first, last) => {
                ip::address(text).is_some_and(|ip| (*first..=*last).contains(&ip))
            }
            _ => false,
        }
    }
}

/// A text without the difference of capitals.
pub(super) fn folded(text: &str) -> impl Iterator<Item = char> {
    text.chars().flat_map(char::to_lowercase)
}
