//! Patterns for space-delimited messages: `[ip, user, ..., status = 4* && status != 403, bytes > 1000]`.

use super::compare::{Comparison, Subject, number};
use super::scan::{Scanner, is_word};
use super::{PatternError, REGEXES_MAX};

#[derive(Debug, Clone)]
pub(super) struct Fields(Vec<Slot>);

#[derive(Debug, Clone)]
enum Slot {
    /// `...`: any number of fields, none included.
    Gap,
    Field(Option<Condition>),
}

#[derive(Debug, Clone)]
enum Condition {
    All(Vec<Self>),
    Any(Vec<Self>),
    Compare(Comparison),
}

/// One field of a message: its value, and where its raw text begins.
#[derive(Debug, Clone, Copy)]
struct Token<'a> {
    value: &'a str,
    start: usize,
}

impl Fields {
    pub(super) fn matches(&self, message: &str) -> bool {
        let message = message.trim_end();
        let mut tokens = split(message);
        let has_gap = self.0.iter().any(|slot| matches!(slot, Slot::Gap));
        // Without an ellipsis the last field is the rest of the line: AWS's `[w1=ERROR, w2]` finds lines of any length.
        if !has_gap
            && tokens.len() > self.0.len()
            && let Some(last) = self.0.len().checked_sub(1)
        {
            tokens.truncate(last + 1);
            tokens[last].value = &message[tokens[last].start..];
        }
        fits(&self.0, &tokens)
    }
}

/// Greedy matching with one point to return to, like a file glob: an ellipsis only ever needs to try again from the
/// latest one, so a hostile pattern costs slots times fields and no more.
fn fits(slots: &[Slot], tokens: &[Token<'_>]) -> bool {
    let (mut slot, mut token) = (0, 0);
    let mut retry: Option<(usize, usize)> = None;
    loop {
        match slots.get(slot) {
            Some(Slot::Gap) => {
                retry = Some((slot + 1, token));
                slot += 1;
                continue;
            }
            Some(Slot::Field(condition)) if token < tokens.len() => {
                let value = tokens[token].value;
                if condition.as_ref().is_none_or(|c| c.holds(value)) {
                    slot += 1;
                    token += 1;
                    continue;
                }
            }
            None if token == tokens.len() => return true,
            Some(Slot::Field(_)) | None => {}
        }
        match retry {
            Some((after_gap, from)) if from < tokens.len() => {
                retry = Some((after_gap, from + 1));
                (slot, token) = (after_gap, from + 1);
            }
            _ => return false,
        }
    }
}

impl Condition {
    fn holds(&self, value: &str) -> bool {
        match self {
            Self::All(parts) => parts.iter().all(|part| part.holds(value)),
            Self::Any(parts) => parts.iter().any(|part| part.holds(value)),
            Self::Compare(comparison) => comparison.holds(Subject {
                text: value,
                number: number(value),
            }),
        }
    }
}

/// Splits at spaces; what stands in brackets or double quotes is one field, without them.
fn split(message: &str) -> Vec<Token<'_>> {
    let mut tokens = Vec::new();
    let mut at = 0;
    loop {
        let rest = &message[at..];
        let start = at + (rest.len() - rest.trim_start().len());
        let rest = &message[start..];
        let Some(first) = rest.chars().next() else {
            return tokens;
        };
        let close = match first {
            '[' => rest.find(']'),
            '"' => rest[1..].find('"').map(|end| end + 1),
            _ => None,
        };
        let (value, end) = match close {
            Some(close) => (&rest[1..close], close + 1),
            None => {
                let end = rest.find(char::is_whitespace).unwrap_or(rest.len());
                (&rest[..end], end)
            }
        };
        tokens.push(Token { value, start });
        at = start + end;
    }
}

/// Parses what stands between the brackets.
pub(super) fn parse(text: &str) -> Result<Fields, PatternError> {
    let mut parser = Parser {
        scanner: Scanner::new(text),
    };
    let mut slots = Vec::new();
    loop {
        slots.push(parser.slot()?);
        if parser.scanner.at_end() {
            break;
        }
        if !parser.scanner.take(",") {
            return Err(parser.scanner.bad_characters());
        }
    }
    if parser.scanner.regexes > REGEXES_MAX {
        return Err(PatternError::Invalid);
    }
    Ok(Fields(slots))
}

struct Parser<'a> {
    scanner: Scanner<'a>,
}

impl Parser<'_> {
    fn slot(&mut self) -> Result<Slot, PatternError> {
        self.scanner.skip_space();
        if self.scanner.take("...") {
            return Ok(Slot::Gap);
        }
        // AWS's own example ends in `status_code=4*,]`: a field may have no name at all.
        let mark = self.scanner.rest();
        let name = self.name();
        self.scanner.skip_space();
        if matches!(self.scanner.peek(), None | Some(',')) {
            return Ok(Slot::Field(None));
        }
        self.scanner.back_to(mark);
        self.any(&name)
            .map(|condition| Slot::Field(Some(condition)))
    }

    fn name(&mut self) -> String {
        self.scanner
            .take_while(|c| is_word(c) || "-.$".contains(c))
            .to_owned()
    }

    fn any(&mut self, name: &str) -> Result<Condition, PatternError> {
        let mut parts = vec![self.all(name)?];
        while self.next_is("||") {
            parts.push(self.all(name)?);
        }
        Ok(one_or(parts, Condition::Any))
    }

    fn all(&mut self, name: &str) -> Result<Condition, PatternError> {
        let mut parts = vec![self.unit(name)?];
        while self.next_is("&&") {
            parts.push(self.unit(name)?);
        }
        Ok(one_or(parts, Condition::All))
    }

    fn unit(&mut self, name: &str) -> Result<Condition, PatternError> {
        if self.next_is("(") {
            let inner = match name {
                // The name before a parenthesis was empty: the first one inside decides.
                "" => {
                    let mark = self.scanner.rest();
                    let name = self.name();
                    self.scanner.back_to(mark);
                    self.any(&name)?
                }
                name => self.any(name)?,
            };
            return match self.next_is(")") {
                true => Ok(inner),
                false => Err(PatternError::Invalid),
            };
        }
        self.scanner.skip_space();
        let mark = self.scanner.rest();
        let found = self.name();
        if found.is_empty() {
            return Err(super::scan::bad_characters(mark));
        }
        if !name.is_empty() && found != name {
            return Err(PatternError::Invalid);
        }
        Comparison::parse(&mut self.scanner).map(Condition::Compare)
    }

    fn next_is(&mut self, token: &str) -> bool {
        self.scanner.skip_space();
        self.scanner.take(token)
    }
}

fn one_or(mut parts: Vec<Condition>, many: fn(Vec<Condition>) -> Condition) -> Condition {
    match parts.len() {
        1 => parts.remove(0),
        _ => many(parts),
    }
}
