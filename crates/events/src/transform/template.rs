//! Input templates: text with `<placeholders>` for values of the event.

use std::collections::BTreeMap;

use super::path::Path;
use super::{BYTES_MAX, Fired, Invalid, Undeliverable};
use crate::pattern::DEPTH_MAX;
use crate::raw::Json;
use crate::raw::token::{Malformed, Token, Tokens};

/// A parsed template with the paths that it names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Template {
    /// Whether it is an object or an array, rather than texts in quotes.
    document: bool,
    pieces: Vec<Piece>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Text(Box<str>),
    Value {
        of: Variable,
        /// Whether it stands between quotes.
        quoted: bool,
    },
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Variable {
    RuleArn,
    RuleName,
    IngestionTime,
    /// The event without its detail, and with `detailType` for `detail-type`.
    Event,
    WholeEvent,
    /// What a path leads to. AWS does not check paths; one that is none leads nowhere.
    Path(Option<Path>),
}

/// Stands for a quoted value while the template is checked.
const QUOTED: char = '\u{e000}';

impl Template {
    pub(super) fn parse(
        target: &str,
        paths: &BTreeMap<String, String>,
        text: &str,
    ) -> Result<Self, Invalid> {
        let mut pieces = Vec::new();
        let mut quoted = false;
        let mut rest = text;
        while let Some((before, name, after)) = placeholder(rest) {
            quoted = quoted_after(before, quoted);
            if !before.is_empty() {
                pieces.push(Piece::Text(before.into()));
            }
            let of = variable(paths, name).ok_or_else(|| Invalid::Placeholder {
                target: target.to_owned(),
                name: name.to_owned(),
            })?;
            pieces.push(Piece::Value { of, quoted });
            rest = after;
        }
        if !rest.is_empty() {
            pieces.push(Piece::Text(rest.into()));
        }
        let template = Self {
            document: text.trim_start().starts_with(['{', '[']),
            pieces,
        };
        match template.check() {
            Ok(()) => Ok(template),
            Err(place) => Err(Invalid::Template {
                target: target.to_owned(),
                place,
            }),
        }
    }

    /// Whether it can become JSON: with some number for each value outside quotes, and some text for each inside.
    fn check(&self) -> Result<(), String> {
        let sample: String = self
            .pieces
            .iter()
            .map(|piece| match piece {
                Piece::Text(text) => (**text).to_owned(),
                Piece::Value { quoted: false, .. } => "0".to_owned(),
                Piece::Value { quoted: true, .. } => QUOTED.to_string(),
            })
            .collect();
        let shown = |at: usize| {
            let place = Tokens::new(&sample, DEPTH_MAX).place(at);
            place.trim_start_matches("\n at ").to_owned()
        };
        let mut tokens = Tokens::new(&sample, DEPTH_MAX);
        let mut values = 0;
        loop {
            match tokens.next() {
                Ok(Token::End) if values > 0 => return Ok(()),
                Ok(Token::End) => return Err(shown(0)),
                // A placeholder cannot be used as an object's key.
                Ok(Token::Name(name)) if name.contains(QUOTED) => {
                    return Err(shown(tokens.stands()));
                }
                Ok(_) => values += 1,
                Err(Malformed { at, .. }) => return Err(shown(at)),
            }
            // A document is one value; texts in quotes may follow each other.
            if !self.document {
                tokens.another();
            }
        }
    }

    pub(super) fn fill(&self, fired: &Fired<'_>) -> Result<String, Undeliverable> {
        let event = fired.json()?;
        let mut text = String::new();
        for piece in &self.pieces {
            match piece {
                Piece::Text(piece) => text.push_str(piece),
                Piece::Value { of, quoted: false } => match of.value(fired, &event) {
                    Some(value) => value.write(&mut text),
                    None if self.document => text.push_str("\"\""),
                    None => {}
                },
                Piece::Value { of, quoted: true } => {
                    if let Some(value) = of.value(fired, &event) {
                        self.write_quoted(&value, &mut text);
                    }
                }
            }
            if text.len() > BYTES_MAX {
                return Err(Undeliverable::TooLarge);
            }
        }
        let values = Json::parse_all(&text, DEPTH_MAX)
            .map_err(|Malformed { why, .. }| Undeliverable::NotJson(why))?;
        match &*values {
            [value] if self.document => Ok(value.to_string()),
            _ if self.document => Err(Undeliverable::NotJson("it is several values".to_owned())),
            _ => Ok(text),
        }
    }

    /// EventBridge does not escape what it puts between quotes. A list or an object loses its own quotes in a text,
    /// and keeps them in a document, which is then no JSON any more.
    fn write_quoted(&self, value: &Json<'_>, text: &mut String) {
        match value {
            Json::String(string) => text.push_str(string),
            value if self.document => value.write(text),
            value => text.push_str(&value.to_string().replace('"', "")),
        }
    }
}

/// The text before the next placeholder, its name, and the text after it.
fn placeholder(text: &str) -> Option<(&str, &str, &str)> {
    let (before, rest) = text.split_once('<')?;
    let (name, after) = rest.split_once('>')?;
    Some((before, name, after))
}

/// Whether what follows a text is within quotes.
fn quoted_after(text: &str, mut quoted: bool) -> bool {
    let mut escaped = false;
    for byte in text.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => quoted = !quoted,
            _ => {}
        }
    }
    quoted
}

fn variable(paths: &BTreeMap<String, String>, name: &str) -> Option<Variable> {
    Some(match name {
        "aws.events.rule-arn" => Variable::RuleArn,
        "aws.events.rule-name" => Variable::RuleName,
        "aws.events.event.ingestion-time" => Variable::IngestionTime,
        "aws.events.event" => Variable::Event,
        "aws.events.event.json" => Variable::WholeEvent,
        name => Variable::Path(Path::parse(paths.get(name)?)),
    })
}

impl Variable {
    fn value<'a>(&self, fired: &Fired<'a>, event: &Json<'a>) -> Option<Json<'a>> {
        let text = |text: &'a str| Some(Json::String(text.into()));
        match self {
            Variable::RuleArn => text(fired.rule_arn),
            Variable::RuleName => text(fired.rule_name),
            Variable::IngestionTime => text(fired.ingestion_time),
            Variable::Event => Some(envelope(event)),
            Variable::WholeEvent => Some(event.clone()),
            Variable::Path(path) => path.as_ref()?.of(event),
        }
    }
}

fn envelope<'a>(event: &Json<'a>) -> Json<'a> {
    let Json::Object(members) = event else {
        return event.clone();
    };
    let kept = members.iter().filter(|(name, _)| name != "detail");
    let renamed = kept.map(|(name, value)| match &**name {
        "detail-type" => ("detailType".into(), value.clone()),
        _ => (name.clone(), value.clone()),
    });
    Json::Object(renamed.collect())
}
