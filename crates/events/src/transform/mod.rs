//! What a target is given: the matched event, a part of it, a constant, or a template filled from it.
//!
//! AWS: <https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-transform-target-input.html>

mod path;
mod template;

use std::collections::BTreeMap;

use crate::pattern::DEPTH_MAX;
use crate::raw::Json;
use crate::raw::token::Malformed;
use path::Path;
use template::Template;

/// The bytes that a filled template may have.
pub const BYTES_MAX: usize = 1024 * 1024;

/// The input of a target, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Input(Kind);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Kind {
    Event,
    Constant(Box<str>),
    Path(Path),
    Template(Template),
}

/// The members of a target that say what it is given.
#[derive(Debug, Clone, Copy, Default)]
pub struct Options<'a> {
    /// `Input`: a JSON text.
    pub input: Option<&'a str>,
    /// `InputPath`.
    pub path: Option<&'a str>,
    /// `InputTransformer`: its `InputPathsMap` and `InputTemplate`.
    pub transformer: Option<(&'a BTreeMap<String, String>, &'a str)>,
}

/// Why the input of a target is refused. AWS's code is `ValidationException`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Invalid {
    /// More than one of the three.
    #[error(
        "Only one of Input, InputPath, or InputTransformer must be provided for target {target}."
    )]
    Several {
        /// The target's id.
        target: String,
    },
    /// `Input` is not JSON.
    #[error("JSON syntax error in input for target {target}.")]
    Input {
        /// The target's id.
        target: String,
    },
    /// `InputPath` is not a path.
    #[error("InputPath for target {target} is not a valid JSON path: {path}.")]
    Path {
        /// The target's id.
        target: String,
        /// What was given.
        path: String,
    },
    /// A placeholder is neither in the map nor predefined.
    #[error("InputTemplate for target {target} contains invalid placeholder {name}.")]
    Placeholder {
        /// The target's id.
        target: String,
        /// The placeholder's name.
        name: String,
    },
    /// The template can never become JSON.
    #[error("Invalid InputTemplate for target {target} : {place}.")]
    Template {
        /// The target's id.
        target: String,
        /// Where, as AWS's parser says it.
        place: String,
    },
}

/// Why an event cannot be given to a target. It is not delivered; trying again does not help.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Undeliverable {
    /// The values of this event made the template something else than JSON.
    #[error("the filled InputTemplate is not JSON: {0}")]
    NotJson(String),
    /// The values of this event made it too large.
    #[error("the filled InputTemplate has more than {BYTES_MAX} bytes")]
    TooLarge,
}

/// An event that fired a rule.
#[derive(Debug, Clone, Copy)]
pub struct Fired<'a> {
    /// The event's JSON.
    pub event: &'a str,
    /// The rule's ARN.
    pub rule_arn: &'a str,
    /// The rule's name.
    pub rule_name: &'a str,
    /// When EventBridge received the event, as an ISO 8601 text.
    pub ingestion_time: &'a str,
}

impl Input {
    /// Checks the input of the target with this id.
    pub fn new(target: &str, options: Options<'_>) -> Result<Self, Invalid> {
        let kind = match options {
            Options {
                input: None,
                path: None,
                transformer: None,
            } => Kind::Event,
            Options {
                input: Some(input),
                path: None,
                transformer: None,
            } => match Json::parse(input, DEPTH_MAX) {
                Ok(_) => Kind::Constant(input.into()),
                Err(_) => {
                    return Err(Invalid::Input {
                        target: target.to_owned(),
                    });
                }
            },
            Options {
                input: None,
                path: Some(path),
                transformer: None,
            } => match Path::parse(path) {
                Some(path) => Kind::Path(path),
                None => {
                    return Err(Invalid::Path {
                        target: target.to_owned(),
                        path: path.to_owned(),
                    });
                }
            },
            Options {
                input: None,
                path: None,
                transformer: Some((paths, template)),
            } => Kind::Template(Template::parse(target, paths, template)?),
            _ => {
                return Err(Invalid::Several {
                    target: target.to_owned(),
                });
            }
        };
        Ok(Self(kind))
    }

    /// What the target is given for an event: a JSON text, or with a template of several quoted texts, those lines.
    pub fn of(&self, fired: &Fired<'_>) -> Result<String, Undeliverable> {
        match &self.0 {
            Kind::Event => Ok(fired.event.to_owned()),
            Kind::Constant(text) => Ok((**text).to_owned()),
            // AWS does not say what a path that leads nowhere gives; JSON's word for nothing is null.
            Kind::Path(path) => Ok(path
                .of(&fired.json()?)
                .map_or_else(|| "null".to_owned(), |value| value.to_string())),
            Kind::Template(template) => template.fill(fired),
        }
    }
}

impl<'a> Fired<'a> {
    fn json(&self) -> Result<Json<'a>, Undeliverable> {
        Json::parse(self.event, DEPTH_MAX)
            .map_err(|Malformed { why, .. }| Undeliverable::NotJson(why))
    }
}
