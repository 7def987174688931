//! Patterns for JSON messages: `{ $.user.id = 1 && ($.tags[*] = "a*" || $.error NOT EXISTS) }`.

use serde_json::Value;

use super::compare::{Comparison, Subject};
use super::scan::{Scanner, bad_characters, is_word};
use super::{PatternError, REGEXES_MAX};

/// AWS: "You can only use up to one wildcard selector in a property selector, and up to three wildcard selectors in a
/// filter pattern with compound expressions."
const WILDCARDS_PER_SELECTOR_MAX: usize = 1;
const WILDCARDS_MAX: usize = 3;

#[derive(Debug, Clone)]
pub(super) enum JsonCondition {
    All(Vec<Self>),
    Any(Vec<Self>),
    Test(Selector, Test),
}

#[derive(Debug, Clone)]
pub(super) struct Selector(Vec<Step>);

#[derive(Debug, Clone)]
enum Step {
    Key(String),
    Index(usize),
    /// `[*]`: any element of an array.
    AnyElement,
    /// `.*`: any field of an object.
    AnyField,
}

#[derive(Debug, Clone)]
pub(super) enum Test {
    IsNull,
    Is(bool),
    NotExists,
    Compare(Comparison),
}

impl JsonCondition {
    pub(super) fn matches(&self, message: &str) -> bool {
        // Most lines of most functions are not JSON, and saying so must stay cheap.
        if !message.trim_start().starts_with(['{', '[']) {
            return false;
        }
        serde_json::from_str(message).is_ok_and(|document| self.holds(&document))
    }

    fn holds(&self, document: &Value) -> bool {
        match self {
            Self::All(parts) => parts.iter().all(|part| part.holds(document)),
            Self::Any(parts) => parts.iter().any(|part| part.holds(document)),
            Self::Test(selector, Test::NotExists) => !selector.any(document, &|_| true),
            Self::Test(selector, test) => selector.any(document, &|value| test.holds(value)),
        }
    }
}

impl Selector {
    /// Whether any selected value satisfies the test. A missing value satisfies none, `!=` included.
    fn any(&self, document: &Value, test: &dyn Fn(&Value) -> bool) -> bool {
        fn walk(steps: &[Step], value: &Value, test: &dyn Fn(&Value) -> bool) -> bool {
            let Some((step, rest)) = steps.split_first() else {
                return test(value);
            };
            match (step, value) {
                (Step::Key(key), Value::Object(fields)) => {
                    fields.get(key).is_some_and(|next| walk(rest, next, test))
                }
                (Step::Index(index), Value::Array(items)) => {
                    items.get(*index).is_some_and(|next| walk(rest, next, test))
                }
                (Step::AnyElement, Value::Array(items)) => {
                    items.iter().any(|next| walk(rest, next, test))
                }
                (Step::AnyField, Value::Object(fields)) => {
                    fields.values().any(|next| walk(rest, next, test))
                }
                _ => false,
            }
        }
        walk(&self.0, document, test)
    }

    fn wildcards(&self) -> usize {
        self.0
            .iter()
            .filter(|step| matches!(step, Step::AnyElement | Step::AnyField))
            .count()
    }
}

impl Test {
    fn holds(&self, value: &Value) -> bool {
        match (self, value) {
            (Self::IsNull, value) => value.is_null(),
            (Self::Is(wanted), value) => value.as_bool() == Some(*wanted),
            (Self::NotExists, _) => false,
            (Self::Compare(comparison), Value::String(text)) => {
                comparison.holds(Subject { text, number: None })
            }
            (Self::Compare(comparison), Value::Number(number)) => comparison.holds(Subject {
                text: &number.to_string(),
                number: number.as_f64(),
            }),
            (Self::Compare(comparison), Value::Bool(flag)) => comparison.holds(Subject {
                text: if *flag { "true" } else { "false" },
                number: None,
            }),
            // "If a property selector points to an array or object, the filter pattern won't match the log format."
            (Self::Compare(_), Value::Null | Value::Array(_) | Value::Object(_)) => false,
        }
    }
}

/// Parses what stands between the braces.
pub(super) fn parse(text: &str) -> Result<JsonCondition, PatternError> {
    let mut parser = Parser {
        scanner: Scanner::new(text),
        wildcards: 0,
    };
    let condition = parser.any()?;
    if !parser.scanner.at_end() {
        return Err(parser.scanner.bad_characters());
    }
    if parser.wildcards > WILDCARDS_MAX || parser.scanner.regexes > REGEXES_MAX {
        return Err(PatternError::Invalid);
    }
    Ok(condition)
}

struct Parser<'a> {
    scanner: Scanner<'a>,
    wildcards: usize,
}

impl Parser<'_> {
    fn any(&mut self) -> Result<JsonCondition, PatternError> {
        let mut parts = vec![self.all()?];
        while self.next_is("||") {
            parts.push(self.all()?);
        }
        Ok(one_or(parts, JsonCondition::Any))
    }

    fn all(&mut self) -> Result<JsonCondition, PatternError> {
        let mut parts = vec![self.unit()?];
        while self.next_is("&&") {
            parts.push(self.unit()?);
        }
        Ok(one_or(parts, JsonCondition::All))
    }

    fn unit(&mut self) -> Result<JsonCondition, PatternError> {
        if self.next_is("(") {
            let inner = self.any()?;
            return match self.next_is(")") {
                true => Ok(inner),
                false => Err(PatternError::Invalid),
            };
        }
        let selector = self.selector()?;
        let test = self.test()?;
        Ok(JsonCondition::Test(selector, test))
    }

    fn next_is(&mut self, token: &str) -> bool {
        self.scanner.skip_space();
        self.scanner.take(token)
    }

    fn selector(&mut self) -> Result<Selector, PatternError> {
        self.scanner.skip_space();
        let whole = self.scanner.rest();
        if !self.scanner.take("$") {
            return Err(self.scanner.bad_characters());
        }
        let mut steps = Vec::new();
        loop {
            if self.scanner.take("[") {
                steps.push(self.bracket()?);
            } else if self.scanner.take(".") {
                steps.push(self.dotted(whole)?);
            } else {
                break;
            }
        }
        let selector = Selector(steps);
        let wildcards = selector.wildcards();
        if selector.0.is_empty() || wildcards > WILDCARDS_PER_SELECTOR_MAX {
            return Err(PatternError::Invalid);
        }
        self.wildcards += wildcards;
        Ok(selector)
    }

    fn dotted(&mut self, whole: &str) -> Result<Step, PatternError> {
        if self.scanner.take("[") {
            return self.bracket();
        }
        if self.scanner.take("*") {
            return Ok(Step::AnyField);
        }
        match self.scanner.take_while(|c| is_word(c) || c == '-') {
            "" => Err(bad_characters(whole)),
            key => Ok(Step::Key(key.to_owned())),
        }
    }

    /// What follows `[`: an index, `*`, or a quoted key.
    fn bracket(&mut self) -> Result<Step, PatternError> {
        let step = match self.scanner.peek() {
            Some('*') => {
                self.scanner.take("*");
                Step::AnyElement
            }
            Some(quote @ ('\'' | '"')) => Step::Key(self.scanner.quoted(quote)?),
            _ => Step::Index(
                self.scanner
                    .take_while(|c| c.is_ascii_digit())
                    .parse()
                    .map_err(|_| PatternError::Invalid)?,
            ),
        };
        match self.scanner.take("]") {
            true => Ok(step),
            false => Err(PatternError::Invalid),
        }
    }

    fn test(&mut self) -> Result<Test, PatternError> {
        self.scanner.skip_space();
        if self.scanner.take_word("IS") {
            self.scanner.skip_space();
            for (word, test) in [
                ("NULL", Test::IsNull),
                ("TRUE", Test::Is(true)),
                ("FALSE", Test::Is(false)),
            ] {
                if self.scanner.take_word(word) {
                    return Ok(test);
                }
            }
            return Err(PatternError::Invalid);
        }
        if self.scanner.take_word("NOT") {
            self.scanner.skip_space();
            return match self.scanner.take_word("EXISTS") {
                true => Ok(Test::NotExists),
                false => Err(PatternError::Invalid),
            };
        }
        Comparison::parse(&mut self.scanner).map(Test::Compare)
    }
}

fn one_or(
    mut parts: Vec<JsonCondition>,
    many: fn(Vec<JsonCondition>) -> JsonCondition,
) -> JsonCondition {
    match parts.len() {
        1 => parts.remove(0),
        _ => many(parts),
    }
}
