//! JSON as a stream of tokens. Patterns need it because AWS's messages name the line and column at which its parser
//! stood; events because the text of a number counts (`300` and `3e2` are equal, but an account id is compared as written).
//!
//! Strict: what RFC 8259 does not allow is an error. Memory grows with the depth only.

use std::borrow::Cow;
use std::fmt::Write as _;

/// How much of the text an error message shows.
const SNIPPET_CHARS_MAX: usize = 500;

/// A piece of JSON.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Token<'a> {
    BeginObject,
    EndObject,
    BeginArray,
    EndArray,
    /// The name of a member; its value follows.
    Name(Cow<'a, str>),
    String(Cow<'a, str>),
    /// The number as it is written.
    Number(&'a str),
    True,
    False,
    Null,
    /// Nothing but white space is left.
    End,
}

/// Where the text is not JSON, in the words of AWS's parser, without the place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Malformed {
    pub(crate) why: String,
    pub(crate) at: usize,
}

/// What may come next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Expect {
    /// The one value of the text.
    Document,
    /// A name or the end of an object that has no members yet.
    FirstName,
    /// The value of a member.
    Value,
    /// A value or the end of an array that has no items yet.
    FirstItem,
    /// A comma or the end of the innermost object or array.
    Next,
    /// White space.
    Nothing,
}

/// Reads tokens from a text.
pub(crate) struct Tokens<'a> {
    text: &'a str,
    at: usize,
    /// Where the parser of AWS would say that it stands after the last token.
    stands: usize,
    expect: Expect,
    /// Where the open objects (`true`) and arrays begin, the innermost last.
    open: Vec<(bool, usize)>,
    depth_max: usize,
}

impl<'a> Tokens<'a> {
    /// Nesting deeper than `depth_max` is an error.
    pub(crate) fn new(text: &'a str, depth_max: usize) -> Self {
        Self {
            text,
            at: 0,
            stands: 0,
            expect: Expect::Document,
            open: Vec::new(),
            depth_max,
        }
    }

    /// The next token.
    pub(crate) fn next(&mut self) -> Result<Token<'a>, Malformed> {
        self.space();
        let token = match self.expect {
            Expect::Document | Expect::Value => self.value(),
            Expect::FirstName => match self.peek() {
                Some(b'}') => Ok(self.close()),
                _ => self.name(),
            },
            Expect::FirstItem => match self.peek() {
                Some(b']') => Ok(self.close()),
                _ => self.value(),
            },
            Expect::Next => self.following(),
            Expect::Nothing => match self.peek() {
                None => Ok(Token::End),
                Some(_) => Err(self.unexpected("expected the end of the text")),
            },
        }?;
        Ok(token)
    }

    /// After a whole value, expects another.
    pub(crate) fn another(&mut self) {
        if self.expect == Expect::Nothing {
            self.expect = Expect::Document;
        }
    }

    /// The offset that AWS names for an error found at the last token.
    pub(crate) fn stands(&self) -> usize {
        self.stands
    }

    /// The offset after the last token, which AWS names once it has looked at a string's text.
    pub(crate) fn after(&self) -> usize {
        self.at
    }

    /// ` at [Source: (String)"..."; line: 1, column: 2]`, with the line break before it.
    pub(crate) fn place(&self, offset: usize) -> String {
        let before = &self.text[..offset.min(self.text.len())];
        let line = before.matches('\n').count() + 1;
        let column = before
            .rsplit('\n')
            .next()
            .map_or(0, |last| last.encode_utf16().count())
            + 1;
        let shown: String = self.text.chars().take(SNIPPET_CHARS_MAX).collect();
        let mut place = format!("\n at [Source: (String)\"{shown}\"");
        let hidden = self.text.chars().count().saturating_sub(SNIPPET_CHARS_MAX);
        if hidden > 0 {
            let _infallible = write!(place, "[truncated {hidden} chars]");
        }
        let _infallible = write!(place, "; line: {line}, column: {column}]");
        place
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    /// After a member or an item.
    fn following(&mut self) -> Result<Token<'a>, Malformed> {
        let (object, _) = *self.open.last().expect("only inside something");
        match (self.peek(), object) {
            (Some(b'}'), true) | (Some(b']'), false) => Ok(self.close()),
            (Some(b','), _) => {
                self.at += 1;
                self.space();
                if object { self.name() } else { self.value() }
            }
            (Some(b'}' | b']'), _) => Err(self.unbalanced(object)),
            (_, true) => Err(self.unexpected("was expecting comma to separate Object entries")),
            (_, false) => Err(self.unexpected("was expecting comma to separate Array entries")),
        }
    }

    fn value(&mut self) -> Result<Token<'a>, Malformed> {
        let token = match self.peek() {
            Some(b'{') => self.begin(true)?,
            Some(b'[') => self.begin(false)?,
            Some(b'"') => {
                self.stands = self.at + 1;
                let text = self.string()?;
                self.settle();
                return Ok(Token::String(text));
            }
            Some(b'-' | b'0'..=b'9') => {
                let number = self.number()?;
                self.settle();
                Token::Number(number)
            }
            _ => {
                let word = self.word()?;
                self.settle();
                word
            }
        };
        self.stands = self.at;
        Ok(token)
    }

    /// A value is complete.
    fn settle(&mut self) {
        self.expect = if self.open.is_empty() {
            Expect::Nothing
        } else {
            Expect::Next
        };
    }

    fn begin(&mut self, object: bool) -> Result<Token<'a>, Malformed> {
        if self.open.len() >= self.depth_max {
            return Err(Malformed {
                why: format!(
                    "Document nesting depth ({}) exceeds the maximum allowed ({})",
                    self.open.len() + 1,
                    self.depth_max
                ),
                at: self.at,
            });
        }
        self.open.push((object, self.at));
        self.at += 1;
        Ok(if object {
            self.expect = Expect::FirstName;
            Token::BeginObject
        } else {
            self.expect = Expect::FirstItem;
            Token::BeginArray
        })
    }

    fn close(&mut self) -> Token<'a> {
        let (object, _) = self.open.pop().expect("only inside something");
        self.at += 1;
        self.stands = self.at;
        self.settle();
        if object {
            Token::EndObject
        } else {
            Token::EndArray
        }
    }

    /// A name and the colon after it. AWS's parser then looks at the value's beginning before it hands out the name,
    /// and so do the places it names.
    fn name(&mut self) -> Result<Token<'a>, Malformed> {
        if self.peek() != Some(b'"') {
            return Err(self.unexpected("was expecting double-quote to start field name"));
        }
        let name = self.string()?;
        self.space();
        if self.peek() != Some(b':') {
            return Err(self.unexpected("was expecting a colon to separate field name and value"));
        }
        self.at += 1;
        self.expect = Expect::Value;
        self.stands = self.head();
        Ok(Token::Name(name))
    }

    /// The offset after what begins the next value: a quote, a bracket, or the whole of a number or a word.
    fn head(&self) -> usize {
        let rest = &self.text.as_bytes()[self.at..];
        let space = rest
            .iter()
            .take_while(|byte| matches!(byte, b' ' | b'\t' | b'\n' | b'\r'))
            .count();
        let scalar = rest[space..]
            .iter()
            .take_while(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'+' | b'.'))
            .count();
        let first = usize::from(rest.len() > space && rest[space].is_ascii());
        self.at + space + scalar.max(first)
    }

    fn string(&mut self) -> Result<Cow<'a, str>, Malformed> {
        self.at += 1;
        let start = self.at;
        let bytes = self.text.as_bytes();
        while let Some(&byte) = bytes.get(self.at) {
            match byte {
                b'"' => {
                    let text = &self.text[start..self.at];
                    self.at += 1;
                    return Ok(Cow::Borrowed(text));
                }
                b'\\' => return self.escaped(start).map(Cow::Owned),
                0..0x20 => return Err(self.control(byte)),
                _ => self.at += 1,
            }
        }
        Err(self.end_of_input(" in VALUE_STRING"))
    }

    /// The rest of a string, from its first backslash.
    fn escaped(&mut self, start: usize) -> Result<String, Malformed> {
        let mut text = self.text[start..self.at].to_owned();
        loop {
            let plain = self.at;
            while !matches!(self.peek(), None | Some(b'"' | b'\\' | 0..0x20)) {
                self.at += 1;
            }
            text.push_str(&self.text[plain..self.at]);
            match self.peek() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(text);
                }
                Some(b'\\') => text.push(self.escape()?),
                Some(byte) => return Err(self.control(byte)),
                None => return Err(self.end_of_input(" in VALUE_STRING")),
            }
        }
    }

    fn escape(&mut self) -> Result<char, Malformed> {
        let letter = self.text.as_bytes().get(self.at + 1).copied();
        let plain = match letter {
            Some(b'"') => '"',
            Some(b'\\') => '\\',
            Some(b'/') => '/',
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{c}',
            Some(b'n') => '\n',
            Some(b'r') => '\r',
            Some(b't') => '\t',
            Some(b'u') => return self.code_point(),
            Some(_) => {
                let letter = self.text[self.at + 1..].chars().next().unwrap_or_default();
                return Err(Malformed {
                    why: format!(
                        "Unrecognized character escape '{letter}' (code {})",
                        u32::from(letter)
                    ),
                    at: self.at + 1,
                });
            }
            None => return Err(self.end_of_input(" in character escape sequence")),
        };
        self.at += 2;
        Ok(plain)
    }

    /// `\uXXXX`, or two of them for one character. Half of a pair is no character of any text, and becomes U+FFFD.
    fn code_point(&mut self) -> Result<char, Malformed> {
        let first = self.hexadecimal()?;
        if let Some(character) = char::from_u32(first) {
            return Ok(character);
        }
        if (0xd800..0xdc00).contains(&first) && self.text[self.at..].starts_with("\\u") {
            let here = self.at;
            let second = self.hexadecimal()?;
            if (0xdc00..0xe000).contains(&second) {
                let code = 0x10000 + ((first - 0xd800) << 10) + (second - 0xdc00);
                return Ok(char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER));
            }
            self.at = here;
        }
        Ok(char::REPLACEMENT_CHARACTER)
    }

    fn hexadecimal(&mut self) -> Result<u32, Malformed> {
        let digits = self.text.get(self.at + 2..self.at + 6);
        let code = digits
            .filter(|digits| digits.bytes().all(|digit| digit.is_ascii_hexdigit()))
            .and_then(|digits| u32::from_str_radix(digits, 16).ok());
        match code {
            Some(code) => {
                self.at += 6;
                Ok(code)
            }
            None => Err(Malformed {
                why: "expected a hex-digit for character escape sequence".to_owned(),
                at: self.at,
            }),
        }
    }

    fn number(&mut self) -> Result<&'a str, Malformed> {
        let start = self.at;
        self.at += usize::from(self.peek() == Some(b'-'));
        if self.peek() == Some(b'0') {
            self.at += 1;
            if matches!(self.peek(), Some(b'0'..=b'9')) {
                return Err(self.invalid_number("Leading zeroes not allowed"));
            }
        } else {
            self.digits("expected digit (0-9) to follow minus sign, for valid numeric value")?;
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            self.digits("Decimal point not followed by a digit")?;
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            self.at += 1;
            self.at += usize::from(matches!(self.peek(), Some(b'+' | b'-')));
            self.digits("Exponent indicator not followed by a digit")?;
        }
        if matches!(self.peek(), Some(byte) if byte.is_ascii_alphanumeric() || byte == b'.') {
            return Err(self.unexpected("Expected space separating root-level values"));
        }
        Ok(&self.text[start..self.at])
    }

    fn digits(&mut self, otherwise: &str) -> Result<(), Malformed> {
        if !matches!(self.peek(), Some(b'0'..=b'9')) {
            return Err(self.invalid_number(otherwise));
        }
        while matches!(self.peek(), Some(b'0'..=b'9')) {
            self.at += 1;
        }
        Ok(())
    }

    /// `true`, `false`, `null`, or something that is none of them.
    fn word(&mut self) -> Result<Token<'a>, Malformed> {
        let Some(first) = self.text[self.at..].chars().next() else {
            return if self.open.is_empty() && self.expect == Expect::Document {
                Ok(Token::End)
            } else {
                Err(self.end_of_input(""))
            };
        };
        let rest = &self.text[self.at..];
        let length = rest
            .find(|letter: char| !(letter.is_alphanumeric() || matches!(letter, '_' | '$')))
            .unwrap_or(rest.len());
        let token = match &rest[..length] {
            "true" => Token::True,
            "false" => Token::False,
            "null" => Token::Null,
            "" => {
                return Err(self.unexpected(
                    "expected a valid value (JSON String, Number, Array, Object or token 'null', 'true' or 'false')",
                ));
            }
            _ if !first.is_alphabetic() && !matches!(first, '_' | '$') => {
                return Err(self.unexpected(
                    "expected a valid value (JSON String, Number, Array, Object or token 'null', 'true' or 'false')",
                ));
            }
            word => {
                return Err(Malformed {
                    why: format!(
                        "Unrecognized token '{word}': was expecting (JSON String, Number, Array, Object or token \
                         'null', 'true' or 'false')"
                    ),
                    at: self.at + length,
                });
            }
        };
        self.at += length;
        Ok(token)
    }

    fn unexpected(&self, expected: &str) -> Malformed {
        match self.text[self.at..].chars().next() {
            None => self.end_of_input(""),
            Some(found) => Malformed {
                why: format!(
                    "Unexpected character ('{found}' (code {})): {expected}",
                    u32::from(found)
                ),
                at: self.at,
            },
        }
    }

    fn unbalanced(&self, object: bool) -> Malformed {
        let (found, wanted, kind) = if object {
            (']', '}', "Object")
        } else {
            ('}', ']', "Array")
        };
        let start = self.open.last().map_or(0, |(_, start)| *start);
        Malformed {
            why: format!(
                "Unexpected close marker '{found}': expected '{wanted}' (for {kind} starting at {})",
                self.bracketed(start)
            ),
            at: self.at,
        }
    }

    pub(crate) fn end_of_input(&self, within: &str) -> Malformed {
        let mut why = format!("Unexpected end-of-input{within}");
        if let (Some((object, start)), true) = (self.open.last(), within.is_empty()) {
            let kind = if *object { "Object" } else { "Array" };
            let _infallible = write!(
                why,
                ": expected close marker for {kind} (start marker at {})",
                self.bracketed(*start)
            );
        }
        Malformed {
            why,
            at: self.text.len(),
        }
    }

    fn bracketed(&self, offset: usize) -> String {
        self.place(offset).trim_start_matches("\n at ").to_owned()
    }

    fn invalid_number(&self, why: &str) -> Malformed {
        Malformed {
            why: format!("Invalid numeric value: {why}"),
            at: self.at,
        }
    }

    fn control(&self, byte: u8) -> Malformed {
        Malformed {
            why: format!(
                "Illegal unquoted character ((CTRL-CHAR, code {byte})): has to be escaped using backslash to be \
                 included in string value"
            ),
            at: self.at,
        }
    }
}
