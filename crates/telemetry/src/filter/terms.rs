//! Patterns for unstructured messages: `ERROR "exact phrase" -excluded`, `?either ?or`, `%regex%`.

use regex::bytes::Regex;

use super::PatternError;
use super::scan::{Scanner, is_word};

#[derive(Debug, Clone, Default)]
pub(super) struct Terms {
    required: Vec<Term>,
    excluded: Vec<Term>,
    optional: Vec<Term>,
}

#[derive(Debug, Clone)]
enum Term {
    Text(String),
    Regex(Regex),
}

impl Terms {
    pub(super) fn matches(&self, message: &str) -> bool {
        self.required.iter().all(|term| term.is_in(message))
            && !self.excluded.iter().any(|term| term.is_in(message))
            && (self.optional.is_empty() || self.optional.iter().any(|term| term.is_in(message)))
    }
}

impl Term {
    fn is_in(&self, message: &str) -> bool {
        match self {
            Self::Text(text) => message.contains(text.as_str()),
            Self::Regex(regex) => regex.is_match(message.as_bytes()),
        }
    }
}

pub(super) fn parse(text: &str) -> Result<Terms, PatternError> {
    let mut scanner = Scanner::new(text);
    let mut terms = Terms::default();
    while !scanner.at_end() {
        let group = if scanner.take("-") {
            // The older page writes `"ERROR" - "Exiting"`, with a space after the minus.
            scanner.skip_space();
            &mut terms.excluded
        } else if scanner.take("?") {
            &mut terms.optional
        } else {
            &mut terms.required
        };
        group.push(term(&mut scanner)?);
        if scanner.peek().is_some_and(|c| !c.is_whitespace()) {
            return Err(scanner.bad_characters());
        }
    }
    // "If you combine "?" with other filter patterns, all question mark terms will be ignored."
    if !terms.required.is_empty() || !terms.excluded.is_empty() {
        terms.optional.clear();
    }
    Ok(terms)
}

fn term(scanner: &mut Scanner<'_>) -> Result<Term, PatternError> {
    match scanner.peek() {
        Some('"') => {
            let before = scanner.rest();
            let phrase = scanner.quoted('"')?;
            if phrase.is_empty() {
                // AWS refuses `""` but takes `" "`, which is its way to say everything.
                return Err(super::scan::bad_characters(before));
            }
            Ok(Term::Text(match phrase.trim() {
                "" => String::new(),
                _ => phrase,
            }))
        }
        Some('%') => scanner.regex().map(Term::Regex),
        _ => match scanner.take_while(is_word) {
            "" => Err(scanner.bad_characters()),
            word => Ok(Term::Text(word.to_owned())),
        },
    }
}
