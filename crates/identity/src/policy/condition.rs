//! The `Condition` element: operators, their quantifiers, and what they make of a missing key
//! (`IAM/latest/UserGuide/reference_policies_elements_condition_operators.html`).
//!
//! Where AWS leaves a comparison undefined (several values without a quantifier, an unresolved variable under a negated
//! operator, a number that is none), an `Allow` does not apply and a `Deny` does.

use std::net::IpAddr;

use base64::Engine as _;

use super::glob::{Answer, Pattern, Syntax};
use super::value::{Decimal, Instant, Network};
use super::{Effect, Known, PolicyError};

/// One operator, one key, its values.
#[derive(Debug, Clone)]
pub(super) struct Condition {
    /// Lower case, as contexts keep their keys.
    key: String,
    quantifier: Quantifier,
    if_exists: bool,
    test: Test,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Quantifier {
    One,
    Any,
    All,
}

/// An operator with its values compiled. `negated` turns "equals one of" into "equals none of".
#[derive(Debug, Clone)]
enum Test {
    Text {
        values: Vec<Pattern>,
        negated: bool,
    },
    TextIgnoreCase {
        values: Vec<Pattern>,
        negated: bool,
    },
    Arn {
        values: Vec<ArnPattern>,
        negated: bool,
    },
    Numeric {
        values: Vec<Decimal>,
        order: Order,
    },
    Date {
        values: Vec<Instant>,
        order: Order,
    },
    Bool {
        values: Vec<bool>,
    },
    Binary {
        values: Vec<Vec<u8>>,
    },
    Ip {
        values: Vec<Network>,
        negated: bool,
    },
    Null {
        absent: Vec<bool>,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Order {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

impl Order {
    fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "Equals" => Self::Equal,
            "NotEquals" => Self::NotEqual,
            "LessThan" => Self::Less,
            "LessThanEquals" => Self::LessOrEqual,
            "GreaterThan" => Self::Greater,
            "GreaterThanEquals" => Self::GreaterOrEqual,
            _ => return None,
        })
    }

    fn any<T: Ord>(self, given: &T, values: &[T]) -> Answer {
        // `NotEquals` asks for "equals any" here; `Test::negated` turns it round.
        Answer::of(values.iter().any(|value| match self {
            Self::Equal | Self::NotEqual => given == value,
            Self::Less => given < value,
            Self::LessOrEqual => given <= value,
            Self::Greater => given > value,
            Self::GreaterOrEqual => given >= value,
        }))
    }
}

impl Condition {
    pub(super) fn parse(
        operator: &str,
        key: &str,
        values: &[String],
        variables: bool,
    ) -> Result<Self, PolicyError> {
        let (quantifier, name) = match operator.split_once(':') {
            None => (Quantifier::One, operator),
            Some(("ForAnyValue", name)) => (Quantifier::Any, name),
            Some(("ForAllValues", name)) => (Quantifier::All, name),
            Some(_) => return Err(PolicyError::Syntax),
        };
        let (name, if_exists) = match name.strip_suffix("IfExists") {
            Some(name) => (name, true),
            None => (name, false),
        };
        // `Null` asks about presence itself: "to check if a condition key is absent" with a quantifier or `IfExists` says nothing.
        if name == "Null" && (if_exists || quantifier != Quantifier::One) {
            return Err(PolicyError::Syntax);
        }
        if !key.contains(':') {
            return Err(PolicyError::NoVendor);
        }
        let test = Test::parse(name, values, variables)?;
        Ok(Self {
            key: key.to_lowercase(),
            quantifier,
            if_exists,
            test,
        })
    }

    pub(super) fn holds(&self, context: &dyn Known, effect: Effect) -> bool {
        // A key without values is null, and null counts as missing.
        let given = context.get(&self.key).filter(|values| !values.is_empty());
        if let Test::Null { absent } = &self.test {
            return absent.contains(&given.is_none());
        }
        let Some(given) = given else {
            return match self.quantifier {
                Quantifier::All => true,
                Quantifier::Any => self.if_exists,
                Quantifier::One => self.if_exists || self.test.negated(),
            };
        };
        let mut each = given
            .iter()
            .map(|value| self.test.holds(value, context, effect));
        match (self.quantifier, effect) {
            (Quantifier::All, _) | (Quantifier::One, Effect::Allow) => each.all(|holds| holds),
            (Quantifier::Any, _) | (Quantifier::One, Effect::Deny) => each.any(|holds| holds),
        }
    }

    /// The context keys read: its own, and those of variables in its values.
    pub(super) fn keys(&self) -> impl Iterator<Item = &str> {
        let patterns: Vec<&Pattern> = match &self.test {
            Test::Text { values, .. } | Test::TextIgnoreCase { values, .. } => {
                values.iter().collect()
            }
            Test::Arn { values, .. } => {
                values.iter().flat_map(|value| value.parts.iter()).collect()
            }
            _ => Vec::new(),
        };
        std::iter::once(self.key.as_str()).chain(patterns.into_iter().flat_map(Pattern::keys))
    }
}

impl Test {
    fn parse(name: &str, values: &[String], variables: bool) -> Result<Self, PolicyError> {
        let text = |wildcards| {
            values
                .iter()
                .map(|value| {
                    Pattern::text(
                        value,
                        Syntax {
                            variables,
                            wildcards,
                        },
                    )
                })
                .collect()
        };
        let arns = || {
            values
                .iter()
                .map(|value| ArnPattern::parse(value, variables))
                .collect()
        };
        let absent = || {
            values
                .iter()
                .map(|value| boolean(value))
                .collect::<Result<_, _>>()
        };
        if let Some(order) = name.strip_prefix("Numeric").and_then(Order::parse) {
            return Ok(Self::Numeric {
                values: all(values, Decimal::parse)?,
                order,
            });
        }
        if let Some(order) = name.strip_prefix("Date").and_then(Order::parse) {
            return Ok(Self::Date {
                values: all(values, Instant::parse)?,
                order,
            });
        }
        Ok(match name {
            "StringEquals" => Self::Text {
                values: text(false),
                negated: false,
            },
            "StringNotEquals" => Self::Text {
                values: text(false),
                negated: true,
            },
            "StringEqualsIgnoreCase" => Self::TextIgnoreCase {
                values: text(false),
                negated: false,
            },
            "StringNotEqualsIgnoreCase" => Self::TextIgnoreCase {
                values: text(false),
                negated: true,
            },
            "StringLike" => Self::Text {
                values: text(true),
                negated: false,
            },
            "StringNotLike" => Self::Text {
                values: text(true),
                negated: true,
            },
            // "ArnEquals and ArnLike behave identically."
            "ArnEquals" | "ArnLike" => Self::Arn {
                values: arns(),
                negated: false,
            },
            "ArnNotEquals" | "ArnNotLike" => Self::Arn {
                values: arns(),
                negated: true,
            },
            "Bool" => Self::Bool { values: absent()? },
            "BinaryEquals" => Self::Binary {
                values: all(values, binary)?,
            },
            "IpAddress" => Self::Ip {
                values: all(values, Network::parse)?,
                negated: false,
            },
            "NotIpAddress" => Self::Ip {
                values: all(values, Network::parse)?,
                negated: true,
            },
            "Null" => Self::Null { absent: absent()? },
            _ => return Err(PolicyError::Syntax),
        })
    }

    fn negated(&self) -> bool {
        match self {
            Self::Text { negated, .. }
            | Self::TextIgnoreCase { negated, .. }
            | Self::Arn { negated, .. }
            | Self::Ip { negated, .. } => *negated,
            Self::Numeric { order, .. } | Self::Date { order, .. } => *order == Order::NotEqual,
            Self::Bool { .. } | Self::Binary { .. } | Self::Null { .. } => false,
        }
    }

    /// Whether one value of the request passes the operator.
    fn holds(&self, given: &str, context: &dyn Known, effect: Effect) -> bool {
        match (self.equals_any(given, context), self.negated()) {
            (Answer::Yes, negated) => !negated,
            (Answer::No, negated) => negated,
            (Answer::Unresolved, negated) => negated && effect == Effect::Deny,
        }
    }

    fn equals_any(&self, given: &str, context: &dyn Known) -> Answer {
        match self {
            Self::Text { values, .. } => any(values, |value| value.matches(given, context)),
            Self::TextIgnoreCase { values, .. } => {
                let given = given.to_lowercase();
                any(values, |value| {
                    value.literal(context).map_or(Answer::Unresolved, |own| {
                        Answer::of(own.to_lowercase() == given)
                    })
                })
            }
            Self::Arn { values, .. } => any(values, |value| value.matches(given, context)),
            Self::Numeric { values, order } => {
                readable(Decimal::parse(given), |given| order.any(given, values))
            }
            Self::Date { values, order } => {
                readable(Instant::parse(given), |given| order.any(given, values))
            }
            Self::Bool { values } => readable(boolean(given).ok(), |given| {
                Answer::of(values.contains(given))
            }),
            Self::Binary { values } => {
                readable(binary(given), |given| Answer::of(values.contains(given)))
            }
            Self::Ip { values, .. } => readable(given.parse::<IpAddr>().ok(), |given| {
                Answer::of(values.iter().any(|network| network.contains(*given)))
            }),
            // Decided in `Condition::holds`, before there is a value.
            Self::Null { .. } => Answer::No,
        }
    }
}

/// One match decides; without one, a value that could not be compared leaves the answer open.
fn any<T>(values: &[T], mut compare: impl FnMut(&T) -> Answer) -> Answer {
    let mut answer = Answer::No;
    for value in values {
        match compare(value) {
            Answer::Yes => return Answer::Yes,
            Answer::No => {}
            Answer::Unresolved => answer = Answer::Unresolved,
        }
    }
    answer
}

fn readable<T>(given: Option<T>, compare: impl FnOnce(&T) -> Answer) -> Answer {
    given.as_ref().map_or(Answer::Unresolved, compare)
}

/// Values that cannot be read are refused when the policy is written: they could never mean what their author thought.
fn all<T>(values: &[String], parse: impl Fn(&str) -> Option<T>) -> Result<Vec<T>, PolicyError> {
    values
        .iter()
        .map(|value| parse(value).ok_or(PolicyError::Legacy))
        .collect()
}

fn boolean(text: &str) -> Result<bool, PolicyError> {
    if text.eq_ignore_ascii_case("true") {
        Ok(true)
    } else if text.eq_ignore_ascii_case("false") {
        Ok(false)
    } else {
        Err(PolicyError::Legacy)
    }
}

fn binary(text: &str) -> Option<Vec<u8>> {
    base64::engine::general_purpose::STANDARD.decode(text).ok()
}

/// "Each of the six colon-delimited components of the ARN is checked separately and each can include multi-character match
/// wildcards (*) or single-character match wildcards (?)."
#[derive(Debug, Clone)]
struct ArnPattern {
    /// Six, or none when the text is no ARN and so matches none.
    parts: Vec<Pattern>,
}

/// The parts of an ARN.
const ARN_PARTS: usize = 6;

impl ArnPattern {
    fn parse(text: &str, variables: bool) -> Self {
        let parts: Vec<&str> = split_outside_variables(text, variables);
        if parts.len() != ARN_PARTS {
            return Self { parts: Vec::new() };
        }
        Self {
            parts: parts
                .into_iter()
                .map(|part| {
                    Pattern::text(
                        part,
                        Syntax {
                            variables,
                            wildcards: true,
                        },
                    )
                })
                .collect(),
        }
    }

    fn matches(&self, given: &str, context: &dyn Known) -> Answer {
        // A pattern that is no ARN was never comparable with anything.
        if self.parts.is_empty() {
            return Answer::Unresolved;
        }
        let given: Vec<&str> = given.splitn(ARN_PARTS, ':').collect();
        if given.len() != ARN_PARTS || given[0] != "arn" {
            return Answer::No;
        }
        let mut answer = Answer::Yes;
        for (part, given) in self.parts.iter().zip(given) {
            match part.matches(given, context) {
                Answer::Yes => {}
                Answer::No => return Answer::No,
                Answer::Unresolved => answer = Answer::Unresolved,
            }
        }
        answer
    }
}

/// Splits at the first five colons that are not inside `${...}`: variable names have colons of their own.
fn split_outside_variables(text: &str, variables: bool) -> Vec<&str> {
    let mut parts = Vec::with_capacity(ARN_PARTS);
    let mut start = 0;
    let mut inside = false;
    let bytes = text.as_bytes();
    for (at, byte) in bytes.iter().enumerate() {
        match byte {
            b'$' if variables && bytes.get(at + 1) == Some(&b'{') => inside = true,
            b'}' => inside = false,
            b':' if !inside && parts.len() < ARN_PARTS - 1 => {
                parts.push(&text[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&text[start..]);
    parts
}
