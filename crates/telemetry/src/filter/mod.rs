//! CloudWatch Logs filter patterns: what FilterLogEvents and Live Tail match a message with.
//!
//! A pattern is compiled once by [`Pattern::parse`] and then only asked [`Pattern::matches`]. It is one of three
//! languages, told apart by its first character: `{ ... }` for JSON messages, `[ ... ]` for space-delimited ones, and
//! plain terms for everything else. A pattern that is not understood is refused; it never matches everything.
//!
//! Follows <https://docs.aws.amazon.com/AmazonCloudWatch/latest/logs/FilterAndPatternSyntax.html>.

mod compare;
mod fields;
mod json;
mod scan;
mod terms;

#[cfg(test)]
mod tests;

use fields::Fields;
use json::JsonCondition;
use terms::Terms;

/// The longest pattern that CloudWatch Logs takes, in characters.
pub const PATTERN_CHARS_MAX: usize = 1024;

/// How many regular expressions one JSON or space-delimited pattern may hold.
const REGEXES_MAX: usize = 2;

/// A compiled filter pattern.
#[derive(Debug, Clone)]
pub struct Pattern(Kind);

#[derive(Debug, Clone)]
enum Kind {
    Everything,
    Terms(Terms),
    Json(JsonCondition),
    Fields(Fields),
}

/// Why a pattern was refused, in the words that CloudWatch Logs uses in its `InvalidParameterException`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// Something stands where the grammar has no place for it.
    #[error("Invalid filter pattern")]
    Invalid,
    /// A term holds a character that must be quoted.
    #[error("Invalid character(s) in term '{0}'")]
    Characters(String),
    /// A JSON pattern without its closing brace.
    #[error("If a filter pattern starts with '{{' it must end with '}}'")]
    OpenBrace,
    /// A space-delimited pattern without its closing bracket.
    #[error("If a filter pattern starts with '[' it must end with ']'")]
    OpenBracket,
}

impl Pattern {
    /// Compiles a pattern; blank text matches everything.
    pub fn parse(text: &str) -> Result<Self, PatternError> {
        if text.chars().count() > PATTERN_CHARS_MAX {
            return Err(PatternError::Invalid);
        }
        let text = text.trim();
        let kind = match text.chars().next() {
            None => Kind::Everything,
            Some('{') => Kind::Json(json::parse(
                enclosed(text, '{', '}').ok_or(PatternError::OpenBrace)?,
            )?),
            Some('[') => Kind::Fields(fields::parse(
                enclosed(text, '[', ']').ok_or(PatternError::OpenBracket)?,
            )?),
            Some(_) => Kind::Terms(terms::parse(text)?),
        };
        Ok(Self(kind))
    }

    /// Whether a log event with this message passes the filter.
    pub fn matches(&self, message: &str) -> bool {
        match &self.0 {
            Kind::Everything => true,
            Kind::Terms(terms) => terms.matches(message),
            Kind::Json(condition) => condition.matches(message),
            Kind::Fields(fields) => fields.matches(message),
        }
    }
}

fn enclosed(text: &str, open: char, close: char) -> Option<&str> {
    text.strip_prefix(open)?.strip_suffix(close)
}
