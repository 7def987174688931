//! The text of a pattern, and everything that can be wrong with it, in AWS's words.
//!
//! The words and the places they name are those of AWS's open-source event-ruler, which EventBridge answers with.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::ip;
use super::matcher::{Matcher, Test, folded};
use super::number;
use super::wildcard::{self, Wildcard};
use super::{BRANCHES_MAX, Branch, CHARS_MAX, Field};
use crate::raw::token::{Malformed, Token, Tokens};

/// How deep a pattern may nest; more does not fit into [`CHARS_MAX`].
const DEPTH_MAX: usize = CHARS_MAX;

/// What may not be the name of a field within `$or`: there it looks like an operator in the wrong place.
const RESERVED: &[&str] = &[
    "exactly",
    "equals-ignore-case",
    "prefix",
    "suffix",
    "anything-but",
    "exists",
    "wildcard",
    "numeric",
    "cidr",
    "=",
    "<",
    "<=",
    ">",
    ">=",
    "regex",
    "not-wildcard",
    "not-equals-ignore-case",
    "date-after",
    "date-on-or-after",
    "date-before",
    "date-on-or-before",
    "in-date-range",
    "ip-address-in-range",
    "ip-address-not-in-range",
];

const ONE_KEY: &str = "Only one key allowed in match expression";

/// Why a text is not a pattern.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("Event pattern is not valid. Reason: {reason}")]
pub struct Invalid {
    reason: String,
}

impl Invalid {
    /// The reason alone, which other services put behind words of their own.
    pub fn reason(&self) -> &str {
        &self.reason
    }

    fn new(reason: impl ToString) -> Self {
        Self {
            reason: reason.to_string(),
        }
    }
}

type Result<T> = std::result::Result<T, Invalid>;

/// One combination of `$or`'s alternatives: the tests by path. A path that comes twice has the last test, as for AWS.
type Fields = BTreeMap<String, Arc<Test>>;

pub(super) fn branches(text: &str) -> Result<Vec<Branch>> {
    let chars = text.chars().count();
    if chars > CHARS_MAX {
        return Err(Invalid::new(format_args!(
            "it has {chars} characters, and may have {CHARS_MAX}"
        )));
    }
    let mut parser = Parser {
        tokens: Tokens::new(text, DEPTH_MAX),
        names: Vec::new(),
    };
    if parser.next()? != Token::BeginObject {
        return Err(parser.error("Filter is not an object"));
    }
    let mut rules = vec![Fields::new()];
    parser.object(&mut rules, false)?;
    parser.next()?;
    check_complexity(&rules)?;
    Ok(rules.into_iter().map(branch).collect())
}

fn branch(fields: Fields) -> Branch {
    let fields = fields.into_iter().map(|(path, test)| Field {
        path: path.into(),
        test,
    });
    Branch {
        fields: fields.collect(),
    }
}

fn check_complexity(rules: &[Fields]) -> Result<()> {
    for test in rules.iter().flat_map(BTreeMap::values) {
        let wildcards = test.matchers.iter().flat_map(|matcher| match matcher {
            Matcher::AnythingBut(but) => but,
            matcher => std::slice::from_ref(matcher),
        });
        let wildcards = wildcards.filter_map(|matcher| match matcher {
            Matcher::Wildcard(wildcard) => Some(wildcard),
            _ => None,
        });
        if wildcard::too_complex(wildcards) {
            return Err(Invalid::new(
                "Rule is too complex - try using fewer wildcard characters or fewer repeating character sequences after a \
                 wildcard character",
            ));
        }
    }
    Ok(())
}

struct Parser<'a> {
    tokens: Tokens<'a>,
    /// The names that lead to here.
    names: Vec<String>,
}

impl<'a> Parser<'a> {
    fn next(&mut self) -> Result<Token<'a>> {
        self.tokens.next().map_err(|Malformed { why, at }| Invalid {
            reason: why + &self.tokens.place(at),
        })
    }

    /// An error at the token just read, whose text AWS's parser has not looked at.
    fn error(&self, why: impl ToString) -> Invalid {
        Invalid {
            reason: why.to_string() + &self.tokens.place(self.tokens.stands()),
        }
    }

    /// An error at the token just read, after its text.
    fn error_after(&self, why: impl ToString) -> Invalid {
        Invalid {
            reason: why.to_string() + &self.tokens.place(self.tokens.after()),
        }
    }

    /// The members of an object that has begun.
    fn object(&mut self, rules: &mut Vec<Fields>, within_or: bool) -> Result<()> {
        let mut empty = true;
        while let Token::Name(name) = self.next()? {
            empty = false;
            if name == "$or" {
                self.or(rules)?;
                continue;
            }
            if within_or && RESERVED.contains(&&*name) {
                return Err(self.error(format_args!(
                    "{name} is Ruler reserved fieldName which cannot be used inside $or."
                )));
            }
            self.names.push(name.into_owned());
            match self.next()? {
                Token::BeginObject => self.object(rules, within_or)?,
                Token::BeginArray => self.field(rules)?,
                _ => {
                    let name = self.names.last().map_or("", String::as_str);
                    return Err(
                        self.error(format_args!("\"{name}\" must be an object or an array"))
                    );
                }
            }
            self.names.pop();
        }
        if empty {
            return Err(self.error("Empty objects are not allowed"));
        }
        Ok(())
    }

    /// The alternatives of `$or`: every combination so far goes on with each of them.
    fn or(&mut self, rules: &mut Vec<Fields>) -> Result<()> {
        if self.next()? != Token::BeginArray {
            return Err(self.error("It must be an Array followed with $or."));
        }
        let before = std::mem::take(rules);
        let mut alternatives = 0;
        loop {
            match self.next()? {
                Token::EndArray => break,
                Token::BeginObject => alternatives += 1,
                _ => {
                    return Err(
                        self.error("Only JSON object is allowed in array of $or relationship.")
                    );
                }
            }
            let mut alternative = before.clone();
            self.object(&mut alternative, true)?;
            rules.append(&mut alternative);
            if rules.len() > BRANCHES_MAX {
                return Err(self.error(format_args!(
                    "$or has more than {BRANCHES_MAX} combinations"
                )));
            }
        }
        if alternatives < 2 {
            return Err(self.error("There must have at least 2 Objects in $or relationship."));
        }
        Ok(())
    }

    /// The values of a field, whose array has begun.
    fn field(&mut self, rules: &mut [Fields]) -> Result<()> {
        let mut matchers = Vec::new();
        let mut absent = false;
        let mut empty = true;
        loop {
            let token = self.next()?;
            if token == Token::EndArray {
                break;
            }
            empty = false;
            match token {
                Token::BeginObject => match self.expression()? {
                    Some(matcher) => matchers.push(matcher),
                    None => absent = true,
                },
                Token::String(text) => matchers.push(match ip::address(&text) {
                    Some(ip) => Matcher::Block(ip, ip),
                    None => Matcher::String(text.into()),
                }),
                Token::Number(text) => matchers.push(match number::micros(text) {
                    Ok(micros) => Matcher::Range(micros, micros),
                    Err(_) => Matcher::Written(text.into()),
                }),
                Token::True => matchers.push(Matcher::True),
                Token::False => matchers.push(Matcher::False),
                Token::Null => matchers.push(Matcher::Null),
                _ => {
                    return Err(
                        self.error("Match value must be String, number, true, false, or null")
                    );
                }
            }
        }
        if empty {
            return Err(self.error("Empty arrays are not allowed"));
        }
        matchers.sort_unstable();
        matchers.dedup();
        let test = Arc::new(Test {
            matchers: matchers.into(),
            absent,
        });
        let path = self.names.join(".");
        for fields in rules {
            fields.insert(path.clone(), test.clone());
        }
        Ok(())
    }

    /// An operator, whose object has begun. Nothing is `exists: false`.
    fn expression(&mut self) -> Result<Option<Matcher>> {
        let Token::Name(operator) = self.next()? else {
            return Err(self.error("Match expression name not found"));
        };
        let matcher = match &*operator {
            "exactly" => Matcher::String(self.text("exact")?.into()),
            "prefix" => self.affix("prefix", Matcher::Prefix, Matcher::FoldedPrefix)?,
            "suffix" => self.affix("suffix", Matcher::Suffix, Matcher::FoldedSuffix)?,
            "equals-ignore-case" => Matcher::Folded(fold(&self.text("equals-ignore-case")?)),
            "wildcard" => {
                let text = self.text("wildcard")?;
                self.wildcard(&text)?
            }
            "cidr" => {
                // AWS's own slip: it says "prefix".
                let text = self.text("prefix")?;
                let (first, last) = ip::block(&text).map_err(Invalid::new)?;
                Matcher::Block(first, last)
            }
            "numeric" => return self.numeric().map(Some),
            "anything-but" => return self.anything_but().map(Some),
            "exists" => {
                let exists = match self.next()? {
                    Token::True => Some(Matcher::Exists),
                    Token::False => None,
                    _ => {
                        return Err(
                            self.error("exists match pattern must be either true or false.")
                        );
                    }
                };
                self.end(ONE_KEY)?;
                return Ok(exists);
            }
            unknown => return Err(self.error(format_args!("Unrecognized match type {unknown}"))),
        };
        self.end(ONE_KEY)?;
        Ok(Some(matcher))
    }

    fn end(&mut self, otherwise: &str) -> Result<()> {
        match self.next()? {
            Token::EndObject => Ok(()),
            _ => Err(self.error(otherwise)),
        }
    }

    fn text(&mut self, operator: &str) -> Result<String> {
        match self.next()? {
            Token::String(text) => Ok(text.into_owned()),
            _ => Err(self.error(format_args!("{operator} match pattern must be a string"))),
        }
    }

    fn wildcard(&self, text: &str) -> Result<Matcher> {
        match Wildcard::parse(text) {
            Ok(wildcard) => Ok(Matcher::Wildcard(wildcard)),
            Err(error) => Err(self.error_after(error)),
        }
    }

    /// `prefix` or `suffix`: a text, or an `equals-ignore-case` of one.
    fn affix(
        &mut self,
        operator: &str,
        plain: fn(Box<str>) -> Matcher,
        fold_case: fn(Box<str>) -> Matcher,
    ) -> Result<Matcher> {
        match self.next()? {
            Token::String(text) => return Ok(plain(text.into())),
            Token::BeginObject => {}
            _ => {
                return Err(self.error(format_args!("{operator} match pattern must be a string")));
            }
        }
        let capital =
            operator.replacen(['p', 's'], if operator == "prefix" { "P" } else { "S" }, 1);
        match self.next()? {
            Token::Name(name) if name == "equals-ignore-case" => {}
            Token::Name(name) => {
                return Err(self.error(format_args!("Unsupported {operator} pattern: {name}")));
            }
            _ => return Err(self.error(format_args!("{capital} expression name not found"))),
        }
        let text = self.text("equals-ignore-case")?;
        self.end(ONE_KEY)?;
        Ok(fold_case(fold(&text)))
    }

    fn numeric(&mut self) -> Result<Matcher> {
        if self.next()? != Token::BeginArray {
            return Err(self.error("Value of numeric must be an array."));
        }
        let operator = match self.next()? {
            Token::String(operator) => operator,
            other => {
                return Err(self.error(format_args!(
                    "Invalid member in numeric match: {}",
                    text_of(&other)
                )));
            }
        };
        let (first, last) = match &*operator {
            "=" => {
                let value = self.number("equals")?;
                self.end_of_numeric()?;
                (value, value)
            }
            "<" | "<=" => {
                let last = self.number(&operator)?;
                self.end_of_numeric()?;
                self.range((number::MIN, false), (last, &*operator == "<"))?
            }
            ">" | ">=" => {
                let first = (self.number(&operator)?, &*operator == ">");
                let last = self.upper_bound()?;
                self.range(first, last)?
            }
            unknown => {
                return Err(self.error_after(format_args!(
                    "Unrecognized numeric range operator: {unknown}"
                )));
            }
        };
        self.end("Too many elements in numeric expression")?;
        Ok(Matcher::Range(first, last))
    }

    /// What follows a lower bound: the end, or an upper bound and whether it is excluded.
    fn upper_bound(&mut self) -> Result<(number::Micros, bool)> {
        let operator = match self.next()? {
            Token::EndArray => return Ok((number::MAX, false)),
            Token::String(operator) => operator,
            other => {
                return Err(self.error(format_args!(
                    "Bad value in numeric range: {}",
                    text_of(&other)
                )));
            }
        };
        if !matches!(&*operator, "<" | "<=") {
            return Err(self.error_after(format_args!("Bad numeric range operator: {operator}")));
        }
        let last = self.number(&operator)?;
        match self.next()? {
            Token::EndArray => Ok((last, &*operator == "<")),
            _ => Err(self.error("Too many terms in numeric range expression")),
        }
    }

    fn end_of_numeric(&mut self) -> Result<()> {
        match self.next()? {
            Token::EndArray => Ok(()),
            _ => Err(self.error("Too many elements in numeric expression")),
        }
    }

    fn number(&mut self, operator: &str) -> Result<number::Micros> {
        match self.next()? {
            Token::Number(text) => number::micros(text).map_err(|error| self.error(error)),
            _ => Err(self.error(format_args!("Value of {operator} must be numeric"))),
        }
    }

    /// The numbers between two bounds, each with whether it is excluded.
    fn range(
        &self,
        (first, above): (number::Micros, bool),
        (last, below): (number::Micros, bool),
    ) -> Result<(number::Micros, number::Micros)> {
        if first >= last {
            return Err(self.error("Bottom must be less than top"));
        }
        Ok((first + i64::from(above), last - i64::from(below)))
    }

    fn anything_but(&mut self) -> Result<Matcher> {
        let mut token = self.next()?;
        let mut kind = But::Value;
        if token == Token::BeginObject {
            kind = match self.next()? {
                Token::Name(name) => match &*name {
                    "equals-ignore-case" => But::Folded,
                    "prefix" => But::Prefix,
                    "suffix" => But::Suffix,
                    "wildcard" => But::Wildcard,
                    unknown => {
                        return Err(
                            self.error(format_args!("Unsupported anything-but pattern: {unknown}"))
                        );
                    }
                },
                _ => return Err(self.error("Anything-But expression name not found")),
            };
            token = self.next()?;
        }
        let mut but = match token {
            Token::BeginArray => self.but_list(kind)?,
            Token::String(_) | Token::Number(_) => vec![self.but_one(kind, &token)?],
            _ => {
                return Err(self.error(
                    "Value of anything-but must be an array or single string/number value.",
                ));
            }
        };
        self.end("Too many elements in numeric expression")?;
        if kind != But::Value {
            self.end("Too many elements in numeric expression")?;
        }
        but.sort_unstable();
        but.dedup();
        Ok(Matcher::AnythingBut(but.into()))
    }

    fn but_list(&mut self, kind: But) -> Result<Vec<Matcher>> {
        let mut but = Vec::new();
        loop {
            let token = self.next()?;
            if token == Token::EndArray {
                break;
            }
            but.push(self.but_one(kind, &token).map_err(|error| {
                // AWS's parser catches its own error here and adds the place again.
                let place = match token {
                    Token::String(_) => self.tokens.after(),
                    _ => self.tokens.stands(),
                };
                Invalid {
                    reason: error.reason + &self.tokens.place(place),
                }
            })?);
        }
        let text = |matcher: &Matcher| matches!(matcher, Matcher::String(_));
        let mixed = but.iter().any(text) && !but.iter().all(text);
        if kind == But::Value && (mixed || but.is_empty()) {
            return Err(self.error(
                "Inside anything but list, either all values are number or string, mixed type is not supported",
            ));
        }
        if but.is_empty() {
            // AWS is silent here, and such a test would accept everything.
            return Err(self.error("Empty arrays are not allowed"));
        }
        Ok(but)
    }

    fn but_one(&self, kind: But, token: &Token<'_>) -> Result<Matcher> {
        match (kind, token) {
            (But::Value, Token::String(text)) => Ok(Matcher::String((**text).into())),
            (But::Value, Token::Number(text)) => match number::micros(text) {
                Ok(micros) => Ok(Matcher::Range(micros, micros)),
                Err(error) => Err(Invalid::new(error)),
            },
            (But::Value, _) => Err(self.error(
                "Inside anything but list, start|null|boolean is not supported.",
            )),
            (But::Prefix | But::Suffix, Token::String(text)) if text.is_empty() => {
                Err(self.error_after("Null prefix/suffix not allowed"))
            }
            (But::Prefix, Token::String(text)) => Ok(Matcher::Prefix((**text).into())),
            (But::Suffix, Token::String(text)) => Ok(Matcher::Suffix((**text).into())),
            (But::Folded, Token::String(text)) => Ok(Matcher::Folded(fold(text))),
            (But::Wildcard, Token::String(text)) => self.wildcard(text),
            (But::Prefix | But::Suffix, _) => {
                Err(self.error("prefix/suffix match pattern must be a string"))
            }
            (But::Folded, _) => Err(self.error(
                "Inside anything-but/equals-ignore-case list, number|start|null|boolean is not supported.",
            )),
            (But::Wildcard, _) => Err(self.error("wildcard match pattern must be a string")),
        }
    }
}

/// What `anything-but` excludes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum But {
    Value,
    Prefix,
    Suffix,
    Folded,
    Wildcard,
}

fn fold(text: &str) -> Box<str> {
    folded(text).collect::<String>().into()
}

fn text_of(token: &Token<'_>) -> String {
    match token {
        Token::BeginObject => "{",
        Token::EndObject => "}",
        Token::BeginArray => "[",
        Token::EndArray => "]",
        Token::Name(text) | Token::String(text) => text,
        Token::Number(text) => text,
        Token::True => "true",
        Token::False => "false",
        Token::Null => "null",
        Token::End => "",
    }
    .to_owned()
}
