//! Comparisons, shared by JSON and space-delimited patterns: an operator and the value on its right.

use regex::bytes::Regex;

use super::PatternError;
use super::scan::Scanner;

#[derive(Debug, Clone)]
pub(super) enum Comparison {
    Equal(Operand),
    NotEqual(Operand),
    Less(f64),
    LessOrEqual(f64),
    Greater(f64),
    GreaterOrEqual(f64),
}

#[derive(Debug, Clone)]
pub(super) enum Operand {
    Text(Glob),
    /// An unquoted number equals a number of the same value and a text of the same characters.
    Number {
        value: f64,
        written: String,
    },
    Regex(Regex),
}

/// Text with `*` at its begin, its end or both; anywhere else the asterisk stands for itself.
#[derive(Debug, Clone)]
pub(super) enum Glob {
    Anything,
    Exactly(String),
    StartsWith(String),
    EndsWith(String),
    Contains(String),
}

/// The left side of a comparison: how a value reads as text, and as a number if it is one.
#[derive(Debug, Clone, Copy)]
pub(super) struct Subject<'a> {
    pub(super) text: &'a str,
    pub(super) number: Option<f64>,
}

impl Comparison {
    /// Reads an operator and what it compares with.
    pub(super) fn parse(scanner: &mut Scanner<'_>) -> Result<Self, PatternError> {
        scanner.skip_space();
        let numeric: Option<fn(f64) -> Self> = if scanner.take("<=") {
            Some(Self::LessOrEqual)
        } else if scanner.take(">=") {
            Some(Self::GreaterOrEqual)
        } else if scanner.take("<") {
            Some(Self::Less)
        } else if scanner.take(">") {
            Some(Self::Greater)
        } else {
            None
        };
        if let Some(make) = numeric {
            return match Operand::parse(scanner)? {
                Operand::Number { value, .. } => Ok(make(value)),
                Operand::Text(_) | Operand::Regex(_) => Err(PatternError::Invalid),
            };
        }
        if scanner.take("!=") {
            Operand::parse(scanner).map(Self::NotEqual)
        } else if scanner.take("=") {
            Operand::parse(scanner).map(Self::Equal)
        } else {
            Err(scanner.bad_characters())
        }
    }

    pub(super) fn holds(&self, subject: Subject<'_>) -> bool {
        let number = |test: fn(&f64, &f64) -> bool, right: &f64| {
            subject.number.is_some_and(|left| test(&left, right))
        };
        match self {
            Self::Equal(operand) => operand.equals(subject),
            Self::NotEqual(operand) => !operand.equals(subject),
            Self::Less(right) => number(f64::lt, right),
            Self::LessOrEqual(right) => number(f64::le, right),
            Self::Greater(right) => number(f64::gt, right),
            Self::GreaterOrEqual(right) => number(f64::ge, right),
        }
    }
}

impl Operand {
    fn parse(scanner: &mut Scanner<'_>) -> Result<Self, PatternError> {
        scanner.skip_space();
        match scanner.peek() {
            Some('"') => scanner
                .quoted('"')
                .map(|text| Self::Text(Glob::parse(&text))),
            Some('%') => scanner.regex().map(Self::Regex),
            _ => match scanner.take_while(is_bare) {
                "" => Err(scanner.bad_characters()),
                word => Ok(Self::bare(word)),
            },
        }
    }

    fn bare(word: &str) -> Self {
        match number(word) {
            Some(value) => Self::Number {
                value,
                written: word.to_owned(),
            },
            None => Self::Text(Glob::parse(word)),
        }
    }

    fn equals(&self, subject: Subject<'_>) -> bool {
        match self {
            Self::Text(glob) => glob.matches(subject.text),
            Self::Number { value, written } => {
                subject.number == Some(*value) || subject.text == written
            }
            Self::Regex(regex) => regex.is_match(subject.text.as_bytes()),
        }
    }
}

impl Glob {
    fn parse(text: &str) -> Self {
        let Some(head) = text.strip_suffix('*') else {
            return match text.strip_prefix('*') {
                Some(tail) => Self::EndsWith(tail.to_owned()),
                None => Self::Exactly(text.to_owned()),
            };
        };
        match head.strip_prefix('*') {
            Some("") => Self::Anything,
            Some(middle) => Self::Contains(middle.to_owned()),
            None if head.is_empty() => Self::Anything,
            None => Self::StartsWith(head.to_owned()),
        }
    }

    fn matches(&self, text: &str) -> bool {
        match self {
            Self::Anything => true,
            Self::Exactly(whole) => text == whole,
            Self::StartsWith(head) => text.starts_with(head.as_str()),
            Self::EndsWith(tail) => text.ends_with(tail.as_str()),
            Self::Contains(middle) => text.contains(middle.as_str()),
        }
    }
}

/// What may stand unquoted on the right side: AWS's page shows `123.123.*`, `*.html*`, `1e+3` and `-5` so.
fn is_bare(c: char) -> bool {
    c.is_alphanumeric() || "_*.-+".contains(c)
}

/// A decimal number with an optional sign and exponent; Rust's `inf` and `nan` are words here.
pub(super) fn number(text: &str) -> Option<f64> {
    let plain = text
        .bytes()
        .all(|b| b.is_ascii_digit() || b"+-.eE".contains(&b));
    if !plain {
        return None;
    }
    text.parse().ok()
}
