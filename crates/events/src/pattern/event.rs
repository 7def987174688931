//! An event as patterns see it: the scalars in it, each with the names that lead to it.
//!
//! Objects inside arrays are flattened: `{"a": [{"b": 1}, {"b": 2}]}` has two values at `a.b`. Which items of which arrays
//! a scalar is in is kept, because the values that one pattern picks must not come from different items of an array.
//! Names are split at dots, so that `{"a.b": 1}` and `{"a": {"b": 1}}` are alike, as they are for AWS. Memory grows with
//! the text, whatever its nesting.

use std::borrow::Cow;
use std::collections::HashMap;

use super::number::{self, Micros};
use crate::raw::token::{Malformed, Token, Tokens};

/// How deep an event may nest.
pub const DEPTH_MAX: usize = 1000;

/// An event that is ready to be matched. Borrows the text it was read from.
#[derive(Debug)]
pub struct Event<'a> {
    names: Names<'a>,
    /// In the order of their paths' numbers.
    leaves: Vec<Leaf<'a>>,
    items: Vec<Item>,
}

/// Why a text is not an event: not JSON, not an object, or nested deeper than [`DEPTH_MAX`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct NotAnEvent(String);

/// A scalar.
#[derive(Debug)]
pub(super) struct Leaf<'a> {
    /// The number of its path.
    pub(super) path: u32,
    pub(super) value: Value<'a>,
    /// The innermost item of an array that it is in; `None` where no array holds an object around it.
    pub(super) item: Option<u32>,
}

/// An object or array that is an item of an array.
#[derive(Debug, Clone, Copy)]
pub(super) struct Item {
    /// The item that the array is in.
    pub(super) within: Option<u32>,
    /// The array, by a number of its own.
    pub(super) array: u32,
    /// Its place in the array.
    pub(super) index: u32,
}

/// A scalar's value.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Value<'a> {
    String(Cow<'a, str>),
    Number {
        text: &'a str,
        /// The value where it can be compared.
        micros: Option<Micros>,
    },
    True,
    False,
    Null,
}

impl<'a> Event<'a> {
    /// Reads the JSON of an event.
    pub fn parse(text: &'a str) -> Result<Self, NotAnEvent> {
        let malformed = |Malformed { why, .. }| NotAnEvent(why);
        let mut tokens = Tokens::new(text, DEPTH_MAX);
        if tokens.next().map_err(malformed)? != Token::BeginObject {
            return Err(NotAnEvent("Event is not an object".to_owned()));
        }
        let mut reader = Reader::default();
        reader.read(&mut tokens).map_err(malformed)?;
        tokens.next().map_err(malformed)?;
        let mut leaves = reader.leaves;
        leaves.sort_by_key(|leaf| leaf.path);
        Ok(Event {
            names: reader.names,
            leaves,
            items: reader.items,
        })
    }

    /// Whether the event has this member, whatever it is.
    pub fn has(&self, name: &str) -> bool {
        self.names.get(Names::ROOT, name).is_some()
    }

    /// The scalars of every path that has any, in the order of the paths' numbers.
    pub(super) fn leaves(&self) -> impl Iterator<Item = &[Leaf<'a>]> {
        self.leaves.chunk_by(|one, two| one.path == two.path)
    }

    /// Every path: the number of the one that it continues, and its last segment, in the order of their own numbers,
    /// which begin with 1; 0 is the event itself.
    pub(super) fn segments(&self) -> impl Iterator<Item = (u32, &str)> {
        self.names
            .segments
            .iter()
            .map(|(parent, segment)| (*parent, &**segment))
    }

    /// The scalars at a path.
    pub(super) fn at<'b>(&self, path: impl IntoIterator<Item = &'b str>) -> &[Leaf<'a>] {
        let mut number = Names::ROOT;
        for segment in path {
            match self.names.get(number, segment) {
                Some(next) => number = next,
                None => return &[],
            }
        }
        let start = self.leaves.partition_point(|leaf| leaf.path < number);
        let rest = &self.leaves[start..];
        &rest[..rest.partition_point(|leaf| leaf.path == number)]
    }

    pub(super) fn item(&self, number: u32) -> Item {
        self.items[number as usize]
    }
}

/// Paths by number: each continues another by one segment.
#[derive(Debug, Default)]
struct Names<'a> {
    numbers: HashMap<(u32, Cow<'a, str>), u32>,
    segments: Vec<(u32, Cow<'a, str>)>,
}

impl<'a> Names<'a> {
    const ROOT: u32 = 0;

    fn get(&self, parent: u32, segment: &str) -> Option<u32> {
        self.numbers.get(&(parent, Cow::Borrowed(segment))).copied()
    }

    /// The number of the path that continues `parent` by a name.
    fn add(&mut self, parent: u32, name: Cow<'a, str>) -> u32 {
        match name {
            Cow::Borrowed(name) => name.split('.').fold(parent, |parent, segment| {
                self.add_segment(parent, Cow::Borrowed(segment))
            }),
            Cow::Owned(name) => name.split('.').fold(parent, |parent, segment| {
                self.add_segment(parent, Cow::Owned(segment.to_owned()))
            }),
        }
    }

    fn add_segment(&mut self, parent: u32, segment: Cow<'a, str>) -> u32 {
        let next = u32::try_from(self.segments.len() + 1).unwrap_or(u32::MAX);
        let key = (parent, segment);
        match self.numbers.entry(key) {
            std::collections::hash_map::Entry::Occupied(entry) => *entry.get(),
            std::collections::hash_map::Entry::Vacant(entry) => {
                self.segments.push(entry.key().clone());
                entry.insert(next);
                next
            }
        }
    }
}

/// Reads an event without recursion: a text may nest deeper than the stack allows.
#[derive(Default)]
struct Reader<'a> {
    names: Names<'a>,
    leaves: Vec<Leaf<'a>>,
    items: Vec<Item>,
    /// The path of the value that comes.
    path: u32,
    /// What is open around it, the innermost last.
    open: Vec<Open>,
    arrays: u32,
}

enum Open {
    Object {
        path: u32,
        /// The innermost item that it is, or is in.
        item: Option<u32>,
    },
    Array {
        path: u32,
        array: u32,
        /// The index of the next item that is an object or array.
        next: u32,
        within: Option<u32>,
    },
}

impl<'a> Reader<'a> {
    /// Reads the members of the object that has just begun, to its end.
    fn read(&mut self, tokens: &mut Tokens<'a>) -> Result<(), Malformed> {
        self.begin_object();
        while !self.open.is_empty() {
            match tokens.next()? {
                Token::Name(name) => self.name(name),
                Token::BeginObject => self.begin_object(),
                Token::BeginArray => self.begin_array(),
                Token::EndObject | Token::EndArray => self.end(),
                Token::String(text) => self.leaf(Value::String(text)),
                Token::Number(text) => self.leaf(Value::Number {
                    text,
                    micros: number::micros(text).ok(),
                }),
                Token::True => self.leaf(Value::True),
                Token::False => self.leaf(Value::False),
                Token::Null => self.leaf(Value::Null),
                Token::End => break,
            }
        }
        Ok(())
    }

    fn name(&mut self, name: Cow<'a, str>) {
        if let Some(Open::Object { path, .. }) = self.open.last() {
            self.path = self.names.add(*path, name);
        }
    }

    fn begin_object(&mut self) {
        let item = self.inner();
        self.open.push(Open::Object {
            path: self.path,
            item,
        });
    }

    fn begin_array(&mut self) {
        let within = self.inner();
        self.open.push(Open::Array {
            path: self.path,
            array: self.arrays,
            next: 0,
            within,
        });
        self.arrays += 1;
    }

    fn end(&mut self) {
        self.open.pop();
        if let Some(Open::Object { path, .. } | Open::Array { path, .. }) = self.open.last() {
            self.path = *path;
        }
    }

    /// The innermost item around an object or array that begins here, which is a new one where it is an item itself.
    fn inner(&mut self) -> Option<u32> {
        match self.open.last_mut()? {
            Open::Object { item, .. } => *item,
            Open::Array {
                array,
                next,
                within,
                ..
            } => {
                let number = u32::try_from(self.items.len()).ok()?;
                self.items.push(Item {
                    within: *within,
                    array: *array,
                    index: *next,
                });
                *next += 1;
                Some(number)
            }
        }
    }

    fn leaf(&mut self, value: Value<'a>) {
        let item = match self.open.last() {
            Some(Open::Object { item, .. }) => *item,
            Some(Open::Array { within, .. }) => *within,
            None => None,
        };
        self.leaves.push(Leaf {
            path: self.path,
            value,
            item,
        });
    }
}
