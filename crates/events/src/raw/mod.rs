//! JSON as it was written: values keep the text of their numbers and strings and the order of their members.
//!
//! What reaches a target must be what the sender wrote; a value that goes through floating point is not.

pub(crate) mod token;

use std::borrow::Cow;

use token::{Malformed, Token, Tokens};

/// A value.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Json<'a> {
    /// In order. A name may come twice.
    Object(Vec<(Cow<'a, str>, Json<'a>)>),
    Array(Vec<Json<'a>>),
    String(Cow<'a, str>),
    /// A number, `true`, `false` or `null`.
    Word(&'a str),
}

impl<'a> Json<'a> {
    /// Reads the one value of a text.
    pub(crate) fn parse(text: &'a str, depth_max: usize) -> Result<Self, Malformed> {
        let mut tokens = Tokens::new(text, depth_max);
        let first = tokens.next()?;
        let value = Self::read(&mut tokens, first)?;
        tokens.next()?;
        Ok(value)
    }

    /// Reads the values of a text, between which there may be white space only. None is an error.
    pub(crate) fn parse_all(text: &'a str, depth_max: usize) -> Result<Vec<Self>, Malformed> {
        let mut tokens = Tokens::new(text, depth_max);
        let mut values = Vec::new();
        loop {
            match tokens.next()? {
                Token::End if values.is_empty() => return Err(tokens.end_of_input("")),
                Token::End => return Ok(values),
                first => values.push(Self::read(&mut tokens, first)?),
            }
            tokens.another();
        }
    }

    /// Reads the rest of the value that begins with `first`. Without recursion: a text may be deeper than the stack.
    fn read(tokens: &mut Tokens<'a>, first: Token<'a>) -> Result<Self, Malformed> {
        let mut open: Vec<Json<'a>> = Vec::new();
        let mut names: Vec<Cow<'a, str>> = Vec::new();
        let mut token = first;
        loop {
            let value = match token {
                Token::BeginObject => {
                    open.push(Json::Object(Vec::new()));
                    None
                }
                Token::BeginArray => {
                    open.push(Json::Array(Vec::new()));
                    None
                }
                Token::Name(name) => {
                    names.push(name);
                    None
                }
                Token::EndObject | Token::EndArray => open.pop(),
                Token::String(text) => Some(Json::String(text)),
                Token::Number(text) => Some(Json::Word(text)),
                Token::True => Some(Json::Word("true")),
                Token::False => Some(Json::Word("false")),
                Token::Null => Some(Json::Word("null")),
                Token::End => return Err(tokens.end_of_input("")),
            };
            match (value, open.last_mut()) {
                (None, _) => {}
                (Some(value), None) => return Ok(value),
                (Some(value), Some(Json::Object(members))) => {
                    members.push((names.pop().unwrap_or_default(), value));
                }
                (Some(value), Some(Json::Array(items))) => items.push(value),
                (Some(value), Some(_)) => return Ok(value),
            }
            token = tokens.next()?;
        }
    }

    /// A member, the last of that name.
    pub(crate) fn get(&self, name: &str) -> Option<&Json<'a>> {
        match self {
            Json::Object(members) => members.iter().rfind(|(key, _)| key == name).map(|(_, v)| v),
            _ => None,
        }
    }

    /// The value without white space.
    pub(crate) fn write(&self, text: &mut String) {
        match self {
            Json::Object(members) => {
                text.push('{');
                for (index, (name, value)) in members.iter().enumerate() {
                    if index > 0 {
                        text.push(',');
                    }
                    write_string(name, text);
                    text.push(':');
                    value.write(text);
                }
                text.push('}');
            }
            Json::Array(items) => {
                text.push('[');
                for (index, item) in items.iter().enumerate() {
                    if index > 0 {
                        text.push(',');
                    }
                    item.write(text);
                }
                text.push(']');
            }
            Json::String(string) => write_string(string, text),
            Json::Word(word) => text.push_str(word),
        }
    }
}

impl std::fmt::Display for Json<'_> {
    fn fmt(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut text = String::new();
        self.write(&mut text);
        to.write_str(&text)
    }
}

/// A string with its quotes.
pub(crate) fn write_string(string: &str, text: &mut String) {
    text.push('"');
    for letter in string.chars() {
        match letter {
            '"' => text.push_str("\\\""),
            '\\' => text.push_str("\\\\"),
            '\n' => text.push_str("\\n"),
            '\r' => text.push_str("\\r"),
            '\t' => text.push_str("\\t"),
            '\u{8}' => text.push_str("\\b"),
            '\u{c}' => text.push_str("\\f"),
            '\0'..='\u{1f}' => text.push_str(&format!("\\u{:04x}", u32::from(letter))),
            letter => text.push(letter),
        }
    }
    text.push('"');
}
