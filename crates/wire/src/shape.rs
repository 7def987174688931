//! [`Shape`]: a type that reads from and writes to the wire, in every protocol alike, and the shapes of ordinary values.
//!
//! Decoding parses: a value that breaks one of AWS's constraints never becomes a Rust value. All violations of a
//! request are gathered, so that the error reads as AWS's ("2 validation errors detected: ...; ...").

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ops::Deref;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;

use crate::Node;

/// A value with a wire form. Derive it for structures and string enums; use [`text!`](crate::text) and
/// [`number!`](crate::number) for bounded scalars.
pub trait Shape: Sized {
    /// Takes the value out of a node, or records in `at` why it cannot be.
    fn decode(node: Node, at: &mut Decoder) -> Option<Self>;

    /// The value of a member that is not there; `None` when the member is required.
    fn absent() -> Option<Self> {
        None
    }

    /// The value as a node.
    fn encode(self) -> Node;

    /// What the wire form is, for the comparison with AWS's service models.
    fn schema() -> Schema;
}

/// The wire form of a [`Shape`], as data.
#[derive(Debug, Clone)]
pub enum Schema {
    /// A structure and its members.
    Structure(Vec<Member>),
    /// A list of something.
    List(fn() -> Schema),
    /// A map from strings to something.
    Map(fn() -> Schema),
    /// A string of a closed set.
    Enum(&'static [&'static str]),
    /// Any other string.
    String,
    /// A whole number.
    Integer,
    /// A number.
    Float,
    /// A boolean.
    Boolean,
    /// A moment.
    Timestamp,
    /// Bytes.
    Blob,
    /// Anything that is JSON or a stream; not compared.
    Any,
}

/// One member of a structure.
#[derive(Debug, Clone)]
pub struct Member {
    /// Its name on the wire.
    pub name: &'static str,
    /// Whether a request without it is refused.
    pub required: bool,
    /// Its own form.
    pub schema: fn() -> Schema,
}

impl Member {
    /// A member that is required unless its type has a value for absence.
    pub fn of<T: Shape>(name: &'static str) -> Self {
        Self {
            name,
            required: T::absent().is_none(),
            schema: T::schema,
        }
    }

    /// A member with a default.
    pub fn optional<T: Shape>(name: &'static str) -> Self {
        Self {
            name,
            required: false,
            schema: T::schema,
        }
    }
}

/// Where in a request we are, and what has been found wrong so far.
#[derive(Debug, Default)]
pub struct Decoder {
    path: Vec<Cow<'static, str>>,
    violations: Vec<String>,
    mismatch: Option<String>,
}

/// Why a request could not be decoded.
#[derive(Debug, PartialEq, Eq)]
pub enum Undecodable {
    /// A value has the wrong type; AWS calls it a serialization error.
    Mismatch(String),
    /// Values break constraints; AWS's whole sentence.
    Violations(String),
}

impl Decoder {
    /// Decodes a whole request.
    pub fn run<T: Shape>(node: Node) -> Result<T, Undecodable> {
        let mut at = Decoder::default();
        let value = T::decode(node, &mut at);
        match (value, at.mismatch, at.violations.len()) {
            (_, Some(text), _) => Err(Undecodable::Mismatch(text)),
            (Some(value), None, 0) => Ok(value),
            (_, None, count) => Err(Undecodable::Violations(format!(
                "{count} validation error{} detected: {}",
                if count == 1 { "" } else { "s" },
                at.violations.join("; ")
            ))),
        }
    }

    /// Records a constraint that `value` breaks; `constraint` reads on from "failed to satisfy constraint: ".
    pub fn violation(&mut self, value: &str, constraint: &str) {
        self.violations.push(format!(
            "Value '{value}' at '{}' failed to satisfy constraint: {constraint}",
            self.path()
        ));
    }

    /// Records that a string is none of a set.
    pub fn not_in_set(&mut self, value: &str, set: &[&str]) {
        let constraint = format!("Member must satisfy enum value set: [{}]", set.join(", "));
        self.violation(value, &constraint);
    }

    /// Records that a value has the wrong type; `wanted` is AWS's (Java's) name for the right one.
    pub fn mismatch<T>(&mut self, found: &Node, wanted: &str) -> Option<T> {
        let token = match found {
            Node::Null => "NULL_VALUE",
            Node::Bool(true) => "TRUE_VALUE",
            Node::Bool(false) => "FALSE_VALUE",
            Node::Int(_) | Node::Float(_) => "NUMBER_VALUE",
            Node::List(_) => "START_OF_LIST",
            Node::Map(_) | Node::Entries(_) | Node::Form(_) => "START_OF_STRUCTURE",
            _ => "STRING_VALUE",
        };
        self.mismatch
            .get_or_insert_with(|| format!("{token} can not be converted to {wanted}"));
        None
    }

    fn missing(&mut self) {
        let path = self.path();
        self.violations.push(format!(
            "Value null at '{path}' failed to satisfy constraint: Member must not be null"
        ));
    }

    /// `lowerCamel` names joined by dots, as AWS prints them.
    fn path(&self) -> String {
        let mut text = String::new();
        for segment in &self.path {
            if !text.is_empty() {
                text.push('.');
            }
            let mut letters = segment.chars();
            if let Some(first) = letters.next() {
                text.extend(first.to_lowercase());
                text.push_str(letters.as_str());
            }
        }
        text
    }

    fn within<T>(
        &mut self,
        segment: impl Into<Cow<'static, str>>,
        read: impl FnOnce(&mut Self) -> T,
    ) -> T {
        self.path.push(segment.into());
        let value = read(self);
        self.path.pop();
        value
    }

    /// The members of a structure.
    pub fn structure(&mut self, node: Node) -> Option<Members> {
        match node {
            Node::Map(_) | Node::Form(_) => Some(Members(node)),
            Node::Text(text) if text.is_empty() => Some(Members(Node::Map(Vec::new()))),
            other => self.mismatch(&other, "a Structure"),
        }
    }

    /// The text of a string.
    pub fn string(&mut self, node: Node) -> Option<Cow<'static, str>> {
        match node {
            Node::String(text) => Some(text),
            Node::Text(text) => Some(Cow::Owned(text)),
            other => self.mismatch(&other, "a String"),
        }
    }

    /// A whole number, which JSON clients may also send as `3.0`.
    pub fn integer(&mut self, node: Node) -> Option<i64> {
        match &node {
            Node::Int(value) => Some(*value),
            #[expect(
                clippy::cast_possible_truncation,
                reason = "the guard keeps it within 2^53"
            )]
            Node::Float(value) if value.fract() == 0.0 && value.abs() < 9e15 => Some(*value as i64),
            Node::Text(text) => match text.trim().parse() {
                Ok(value) => Some(value),
                Err(_) => self.mismatch(&node, "an Integer"),
            },
            other => self.mismatch(other, "an Integer"),
        }
    }

    /// The items of a list: JSON's list, a repeated URL parameter, or a form's `.member.N`.
    fn items(&mut self, node: Node) -> Option<Vec<Node>> {
        match node {
            Node::List(items) => Some(items),
            Node::Text(text) if text.is_empty() => Some(Vec::new()),
            Node::Text(text) => Some(vec![Node::Text(text)]),
            Node::Form(mut members) => {
                let numbered = match members.remove("member") {
                    Some(Node::Form(inner)) => inner,
                    Some(other) => return self.mismatch(&other, "a List"),
                    None => members,
                };
                let mut items = Vec::with_capacity(numbered.len());
                for (index, item) in numbered {
                    match index.parse::<u32>() {
                        Ok(index) => items.push((index, item)),
                        Err(_) => return self.mismatch(&item, "a List"),
                    }
                }
                items.sort_by_key(|(index, _)| *index);
                Some(items.into_iter().map(|(_, item)| item).collect())
            }
            other => self.mismatch(&other, "a List"),
        }
    }

    /// The entries of a map: JSON's object, or a form's `.entry.N.key` and `.entry.N.value`.
    fn entries(&mut self, node: Node) -> Option<Vec<(String, Node)>> {
        match node {
            Node::Map(members) => Some(
                members
                    .into_iter()
                    .map(|(name, value)| (name.into_owned(), value))
                    .collect(),
            ),
            Node::Text(text) if text.is_empty() => Some(Vec::new()),
            Node::Form(mut members) => {
                let numbered = members.remove("entry").unwrap_or(Node::Form(members));
                let mut entries = Vec::new();
                for mut entry in self.items(numbered)? {
                    let key = entry.take("key").unwrap_or_default();
                    let key = self.string(key)?.into_owned();
                    entries.push((key, entry.take("value").unwrap_or_default()));
                }
                Some(entries)
            }
            other => self.mismatch(&other, "a Map"),
        }
    }
}

/// The members of a structure that is being decoded.
pub struct Members(Node);

impl Members {
    /// Takes one member.
    pub fn member<T: Shape>(&mut self, name: &'static str, at: &mut Decoder) -> Option<T> {
        let node = self.0.take(name);
        at.within(name, |at| match node {
            None | Some(Node::Null) => {
                let value = T::absent();
                if value.is_none() {
                    at.missing();
                }
                value
            }
            Some(node) => T::decode(node, at),
        })
    }

    /// Takes one member that has a default.
    pub fn member_or_default<T: Shape + Default>(
        &mut self,
        name: &'static str,
        at: &mut Decoder,
    ) -> Option<T> {
        match self.0.take(name) {
            None | Some(Node::Null) => Some(T::default()),
            Some(node) => at.within(name, |at| T::decode(node, at)),
        }
    }
}

impl<T: Shape> Shape for Option<T> {
    fn decode(node: Node, at: &mut Decoder) -> Option<Self> {
        match node {
            Node::Null => Some(None),
            node => T::decode(node, at).map(Some),
        }
    }
    fn absent() -> Option<Self> {
        Some(None)
    }
    fn encode(self) -> Node {
        self.map_or(Node::Null, T::encode)
    }
    fn schema() -> Schema {
        T::schema()
    }
}

/// The reply of operations that AWS gives no output at all.
impl Shape for () {
    fn decode(_: Node, _: &mut Decoder) -> Option<Self> {
        Some(())
    }
    fn encode(self) -> Node {
        Node::Null
    }
    fn schema() -> Schema {
        Schema::Structure(Vec::new())
    }
}

impl Shape for String {
    fn decode(node: Node, at: &mut Decoder) -> Option<Self> {
        at.string(node).map(Cow::into_owned)
    }
    fn encode(self) -> Node {
        Node::from(self)
    }
    fn schema() -> Schema {
        Schema::String
    }
}

impl Shape for &'static str {
    /// Only replies hold these; a request's text is owned.
    fn decode(node: Node, at: &mut Decoder) -> Option<Self> {
        at.mismatch(&node, "a String")
    }
    fn encode(self) -> Node {
        Node::from(self)
    }
    fn schema() -> Schema {
        Schema::String
    }
}

impl Shape for bool {
    fn decode(node: Node, at: &mut Decoder) -> Option<Self> {
        match &node {
            Node::Bool(value) => Some(*value),
            Node::Text(text) if text.eq_ignore_ascii_case("true") => Some(true),
            Node::Text(text) if text.eq_ignore_ascii_case("false") => Some(false),
            other => at.mismatch(other, "a Boolean"),
        }
    }
    fn encode(self) -> Node {
        Node::Bool(self)
    }
    fn schema() -> Schema {
        Schema::Boolean
    }
}

macro_rules! integers {
    ($($type:ty),*) => {$(
        impl Shape for $type {
            fn decode(node: Node, at: &mut Decoder) -> Option<Self> {
                let value = at.integer(node)?;
                match <$type>::try_from(value) {
                    Ok(value) => Some(value),
                    Err(_) => at.mismatch(&Node::Int(value), "an Integer"),
                }
            }
            fn encode(self) -> Node {
                // Counts past 2^63 do not exist here; saturating keeps the reply sane if one ever did.
                Node::Int(i64::try_from(self).unwrap_or(i64::MAX))
            }
            fn schema() -> Schema {
                Schema::Integer
            }
        }
    )*};
}
integers!(i32, i64, u16, u32, u64, usize);

impl Shape for f64 {
    fn decode(node: Node, at: &mut Decoder) -> Option<Self> {
        match &node {
            Node::Int(value) => Some(*value as f64),
            Node::Float(value) => Some(*value),
            Node::Text(text) | Node::String(Cow::Owned(text)) => match text.parse() {
                Ok(value) => Some(value),
                Err(_) => at.mismatch(&node, "a Double"),
            },
            other => at.mismatch(other, "a Double"),
        }
    }
    fn encode(self) -> Node {
        Node::Float(self)
    }
    fn schema() -> Schema {
        Schema::Float
    }
}

impl<T: Shape> Shape for Vec<T> {
    fn decode(node: Node, at: &mut Decoder) -> Option<Self> {
        let items = at.items(node)?;
        // All items are decoded before one is missed, to gather every violation.
        let decoded: Vec<Option<T>> = items
            .into_iter()
            .enumerate()
            .map(|(index, item)| {
                at.within((index + 1).to_string(), |at| {
                    at.within("member", |at| T::decode(item, at))
                })
            })
            .collect();
        decoded.into_iter().collect()
    }
    fn encode(self) -> Node {
        Node::List(self.into_iter().map(T::encode).collect())
    }
    fn schema() -> Schema {
        Schema::List(T::schema)
    }
}

impl<T: Shape> Shape for BTreeMap<String, T> {
    fn decode(node: Node, at: &mut Decoder) -> Option<Self> {
        let decoded: Vec<Option<(String, T)>> = at
            .entries(node)?
            .into_iter()
            .map(|(key, value)| {
                at.within(key.clone(), |at| {
                    at.within("member", |at| Some((key, T::decode(value, at)?)))
                })
            })
            .collect();
        decoded.into_iter().collect()
    }
    fn encode(self) -> Node {
        Node::Entries(
            self.into_iter()
                .map(|(key, value)| (Cow::Owned(key), value.encode()))
                .collect(),
        )
    }
    fn schema() -> Schema {
        Schema::Map(T::schema)
    }
}

impl<T: Shape> Shape for Box<T> {
    fn decode(node: Node, at: &mut Decoder) -> Option<Self> {
        T::decode(node, at).map(Box::new)
    }
    fn absent() -> Option<Self> {
        T::absent().map(Box::new)
    }
    fn encode(self) -> Node {
        (*self).encode()
    }
    fn schema() -> Schema {
        T::schema()
    }
}

/// A list of `MIN` to `MAX` items.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct List<T, const MIN: usize, const MAX: usize>(Vec<T>);

impl<T, const MIN: usize, const MAX: usize> List<T, MIN, MAX> {
    /// The items.
    pub fn into_vec(self) -> Vec<T> {
        self.0
    }
}

impl<T, const MIN: usize, const MAX: usize> Deref for List<T, MIN, MAX> {
    type Target = [T];
    fn deref(&self) -> &[T] {
        &self.0
    }
}

impl<T, const MIN: usize, const MAX: usize> IntoIterator for List<T, MIN, MAX> {
    type Item = T;
    type IntoIter = std::vec::IntoIter<T>;
    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

impl<T: Shape, const MIN: usize, const MAX: usize> Shape for List<T, MIN, MAX> {
    fn decode(node: Node, at: &mut Decoder) -> Option<Self> {
        let items = Node::List(at.items(node)?);
        let count = match &items {
            Node::List(items) => items.len(),
            _ => 0,
        };
        if count < MIN {
            let text = format!("Member must have length greater than or equal to {MIN}");
            at.violation(&items.to_string(), &text);
            return None;
        }
        if count > MAX {
            let text = format!("Member must have length less than or equal to {MAX}");
            at.violation(&items.to_string(), &text);
            return None;
        }
        Vec::decode(items, at).map(Self)
    }
    fn encode(self) -> Node {
        self.0.encode()
    }
    fn schema() -> Schema {
        Schema::List(T::schema)
    }
}

/// Bytes: base64 in JSON and XML, raw as an HTTP payload and in CBOR.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Blob(pub Bytes);

impl Shape for Blob {
    fn decode(node: Node, at: &mut Decoder) -> Option<Self> {
        match node {
            Node::Bytes(bytes) => Some(Self(bytes)),
            Node::String(_) | Node::Text(_) => {
                let text = at.string(node)?;
                match BASE64.decode(text.as_bytes()) {
                    Ok(bytes) => Some(Self(bytes.into())),
                    Err(_) => at.mismatch(&Node::from(String::new()), "a Blob"),
                }
            }
            other => at.mismatch(&other, "a Blob"),
        }
    }
    fn encode(self) -> Node {
        Node::Bytes(self.0)
    }
    fn schema() -> Schema {
        Schema::Blob
    }
}

/// A moment, in milliseconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(pub i64);

impl Shape for Timestamp {
    fn decode(node: Node, at: &mut Decoder) -> Option<Self> {
        let parsed = match &node {
            Node::Timestamp(millis) => Some(*millis),
            Node::Int(seconds) => seconds.checked_mul(1000),
            Node::Float(seconds) => millis(*seconds),
            Node::String(_) | Node::Text(_) => {
                let text = node.as_str().unwrap_or_default();
                match text.parse::<jiff::Timestamp>() {
                    Ok(moment) => Some(moment.as_millisecond()),
                    Err(_) => match text.parse::<jiff::civil::DateTime>() {
                        // Clients that print no zone mean UTC.
                        Ok(moment) => moment
                            .to_zoned(jiff::tz::TimeZone::UTC)
                            .ok()
                            .map(|zoned| zoned.timestamp().as_millisecond()),
                        Err(_) => text.parse::<f64>().ok().and_then(millis),
                    },
                }
            }
            _ => None,
        };
        match parsed {
            Some(millis) => Some(Self(millis)),
            None => at.mismatch(&node, "a Timestamp"),
        }
    }
    fn encode(self) -> Node {
        Node::Timestamp(self.0)
    }
    fn schema() -> Schema {
        Schema::Timestamp
    }
}

/// Seconds since 1970 as milliseconds, if they are a moment at all.
fn millis(seconds: f64) -> Option<i64> {
    let millis = (seconds * 1000.0).round();
    #[expect(
        clippy::cast_possible_truncation,
        reason = "the guard keeps it within 2^53"
    )]
    (millis.is_finite() && millis.abs() < 9e15).then_some(millis as i64)
}

/// A body that is sent while it is made, as a reply's payload.
impl Shape for crate::ByteStream {
    fn decode(node: Node, at: &mut Decoder) -> Option<Self> {
        at.mismatch(&node, "a Stream")
    }
    fn encode(self) -> Node {
        Node::Stream(self)
    }
    fn schema() -> Schema {
        Schema::Any
    }
}

/// Declares bounded text types: `text! { /// A rule's name. pub struct RuleName: 1..=64, r"[\.\-_A-Za-z0-9]+"; }`.
///
/// The bounds count characters; the pattern is the one of AWS's model, must cover the whole text, and is quoted in
/// the error. Leave the pattern out when there is none. The types deref to `str` and can be made in code with `new`.
#[macro_export]
macro_rules! text {
    ($($(#[$meta:meta])* $vis:vis struct $name:ident: $bounds:expr $(, $pattern:expr)?;)*) => {$(
        $(#[$meta])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        $vis struct $name(String);

        #[allow(dead_code)]
        impl $name {
            /// The text, if it satisfies every constraint; else the constraints that it breaks.
            $vis fn new(text: impl Into<String>) -> Result<Self, Vec<String>> {
                let text = text.into();
                #[allow(unused_mut, unused_assignments)]
                let mut pattern: Option<(&'static str, &'static ::std::sync::LazyLock<$crate::Regex>)> = None;
                $(
                    static PATTERN: ::std::sync::LazyLock<$crate::Regex> = ::std::sync::LazyLock::new(|| {
                        $crate::Regex::new(&format!("^(?s:{})$", $pattern)).expect("the pattern is a constant, compiled by a test")
                    });
                    pattern = Some(($pattern, &PATTERN));
                )?
                let broken = $crate::broken_text_constraints(&text, $bounds, pattern);
                if broken.is_empty() { Ok(Self(text)) } else { Err(broken) }
            }

            /// The text.
            $vis fn as_str(&self) -> &str { &self.0 }

            /// The text, owned.
            $vis fn into_string(self) -> String { self.0 }
        }

        impl ::std::ops::Deref for $name {
            type Target = str;
            fn deref(&self) -> &str { &self.0 }
        }

        impl ::std::fmt::Display for $name {
            fn fmt(&self, f: &mut ::std::fmt::Formatter<'_>) -> ::std::fmt::Result { f.write_str(&self.0) }
        }

        impl $crate::Shape for $name {
            fn decode(node: $crate::Node, at: &mut $crate::Decoder) -> Option<Self> {
                let text = at.string(node)?.into_owned();
                match Self::new(text.clone()) {
                    Ok(value) => Some(value),
                    Err(broken) => {
                        for constraint in broken { at.violation(&text, &constraint); }
                        None
                    }
                }
            }
            fn encode(self) -> $crate::Node { $crate::Node::from(self.0) }
            fn schema() -> $crate::Schema { $crate::Schema::String }
        }
    )*};
}

/// The constraints that a text breaks, in AWS's words. For [`text!`](crate::text).
pub fn broken_text_constraints(
    text: &str,
    bounds: std::ops::RangeInclusive<usize>,
    pattern: Option<(&'static str, &'static std::sync::LazyLock<regex::Regex>)>,
) -> Vec<String> {
    let mut broken = Vec::new();
    let length = text.chars().count();
    if length > *bounds.end() {
        broken.push(format!(
            "Member must have length less than or equal to {}",
            bounds.end()
        ));
    }
    if length < *bounds.start() {
        broken.push(format!(
            "Member must have length greater than or equal to {}",
            bounds.start()
        ));
    }
    if let Some((pattern, regex)) = pattern
        && !regex.is_match(text)
    {
        broken.push(format!(
            "Member must satisfy regular expression pattern: {pattern}"
        ));
    }
    broken
}

/// Declares bounded whole numbers: `number! { /// Megabytes. pub struct MemorySize: 128..=10240; }`.
#[macro_export]
macro_rules! number {
    ($($(#[$meta:meta])* $vis:vis struct $name:ident: $bounds:expr;)*) => {$(
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        $vis struct $name(i64);

        #[allow(dead_code)]
        impl $name {
            /// The number, if it is within the bounds.
            $vis fn new(value: i64) -> Option<Self> {
                let bounds: ::std::ops::RangeInclusive<i64> = $bounds;
                bounds.contains(&value).then_some(Self(value))
            }

            /// The number.
            $vis const fn get(self) -> i64 { self.0 }
        }

        impl $crate::Shape for $name {
            fn decode(node: $crate::Node, at: &mut $crate::Decoder) -> Option<Self> {
                let value = at.integer(node)?;
                let bounds: ::std::ops::RangeInclusive<i64> = $bounds;
                if value < *bounds.start() {
                    at.violation(&value.to_string(), &format!("Member must have value greater than or equal to {}", bounds.start()));
                } else if value > *bounds.end() {
                    at.violation(&value.to_string(), &format!("Member must have value less than or equal to {}", bounds.end()));
                }
                Self::new(value)
            }
            fn encode(self) -> $crate::Node { $crate::Node::Int(self.0) }
            fn schema() -> $crate::Schema { $crate::Schema::Integer }
        }
    )*};
}
