//! The scanner that the three pattern languages share: words, quoted strings and regular expressions.

use regex::bytes::{Regex, RegexBuilder};

use super::PatternError;

/// The compiled size at which a regular expression is refused, so that `%a{1000}{1000}%` costs nothing.
const REGEX_BYTES_MAX: usize = 256 * 1024;

/// Symbols that stand for themselves inside `%...%`. The space is not in AWS's list but in AWS's own examples.
const REGEX_SYMBOLS: &str = ":_#=@/;,- ";
/// Operators that are allowed inside `%...%`. Parentheses are refused by AWS.
const REGEX_OPERATORS: &str = "^$?[]{}|\\*+.";

pub(super) struct Scanner<'a> {
    rest: &'a str,
    /// How many regular expressions were read, because two of the languages limit them.
    pub(super) regexes: usize,
}

impl<'a> Scanner<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self {
            rest: text,
            regexes: 0,
        }
    }

    pub(super) fn peek(&self) -> Option<char> {
        self.rest.chars().next()
    }

    pub(super) fn skip_space(&mut self) {
        self.rest = self.rest.trim_start();
    }

    pub(super) fn at_end(&mut self) -> bool {
        self.skip_space();
        self.rest.is_empty()
    }

    /// Takes the token if the text goes on with it.
    pub(super) fn take(&mut self, token: &str) -> bool {
        match self.rest.strip_prefix(token) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    pub(super) fn take_char(&mut self) -> Option<char> {
        let next = self.peek()?;
        self.rest = &self.rest[next.len_utf8()..];
        Some(next)
    }

    /// Takes the longest run of characters that are allowed; possibly empty.
    pub(super) fn take_while(&mut self, allowed: impl Fn(char) -> bool) -> &'a str {
        let end = self
            .rest
            .find(|c: char| !allowed(c))
            .unwrap_or(self.rest.len());
        let (taken, rest) = self.rest.split_at(end);
        self.rest = rest;
        taken
    }

    /// Takes a keyword, which must not run on into a longer word.
    pub(super) fn take_word(&mut self, word: &str) -> bool {
        let Some(rest) = self.rest.strip_prefix(word) else {
            return false;
        };
        if rest.starts_with(is_word) {
            return false;
        }
        self.rest = rest;
        true
    }

    /// Takes a quoted string whose opening quote is next. `\"` and `\\` are the only escapes.
    pub(super) fn quoted(&mut self, quote: char) -> Result<String, PatternError> {
        let opened = self.take_char();
        debug_assert_eq!(opened, Some(quote), "the caller saw the quote");
        let mut text = String::new();
        loop {
            match self.take_char().ok_or(PatternError::Invalid)? {
                c if c == quote => return Ok(text),
                '\\' if self.peek().is_some_and(|c| c == quote || c == '\\') => {
                    text.extend(self.take_char());
                }
                c => text.push(c),
            }
        }
    }

    /// Takes a `%regular expression%` whose opening percent sign is next.
    pub(super) fn regex(&mut self) -> Result<Regex, PatternError> {
        let opened = self.take_char();
        debug_assert_eq!(opened, Some('%'), "the caller saw the percent sign");
        self.regexes += 1;
        let mut source = String::new();
        loop {
            match self.take_char().ok_or(PatternError::Invalid)? {
                '%' => return compile(&source),
                '\\' => escape(self.take_char().ok_or(PatternError::Invalid)?, &mut source)?,
                // The regex crate wants a minimum where AWS lets it be left out: `{,3}`.
                '{' if self.peek() == Some(',') => source.push_str("{0"),
                c if c.is_ascii_alphanumeric()
                    || REGEX_SYMBOLS.contains(c)
                    || REGEX_OPERATORS.contains(c) =>
                {
                    source.push(c);
                }
                c => return Err(PatternError::Characters(c.to_string())),
            }
        }
    }

    /// The error for what comes next: the whole run of characters that no term may hold.
    pub(super) fn bad_characters(&self) -> PatternError {
        bad_characters(self.rest)
    }

    /// Goes back to what [`Self::rest`] said earlier.
    pub(super) fn back_to(&mut self, rest: &'a str) {
        self.rest = rest;
    }

    pub(super) fn rest(&self) -> &'a str {
        self.rest
    }
}

/// Names the run of unquotable characters that `text` begins with, as AWS does (`'$."'` for `$."a"`).
pub(super) fn bad_characters(text: &str) -> PatternError {
    let end = text
        .find(|c: char| is_word(c) || c.is_whitespace())
        .unwrap_or(text.len());
    match &text[..end] {
        "" => PatternError::Invalid,
        run => PatternError::Characters(run.to_owned()),
    }
}

/// Letters, digits and the underscore need no quotes anywhere.
pub(super) fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

fn escape(escaped: char, source: &mut String) -> Result<(), PatternError> {
    if escaped.is_ascii_alphanumeric() && !"dDsSwWx".contains(escaped) {
        return Err(PatternError::Characters(format!("\\{escaped}")));
    }
    source.push('\\');
    source.push(escaped);
    Ok(())
}

fn compile(source: &str) -> Result<Regex, PatternError> {
    RegexBuilder::new(source)
        .unicode(false)
        .size_limit(REGEX_BYTES_MAX)
        .build()
        .map_err(|_| PatternError::Invalid)
}
