//! Event patterns: which events a rule, an archive, a pipe or an event source wants.
//!
//! A pattern is parsed once ([`Pattern::parse`]) and matched against events ([`Event::parse`]). Many patterns go into an
//! [`Index`], which finds those that match without looking at the others. Nothing here knows of buses or rules.
//!
//! AWS: <https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-event-patterns.html>

mod consistent;
mod event;
mod index;
mod ip;
mod matcher;
mod number;
mod parse;
mod wildcard;

use std::sync::Arc;

pub use event::{DEPTH_MAX, Event, NotAnEvent};
pub use index::Index;
pub use parse::Invalid;

use event::Leaf;
use matcher::Test;

/// The characters that a pattern may have.
pub const CHARS_MAX: usize = 4096;

/// The combinations that `$or`s may have together.
pub const BRANCHES_MAX: usize = 1000;

/// A parsed pattern. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Pattern {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    text: Box<str>,
    branches: Vec<Branch>,
}

/// One combination of the alternatives of `$or`. All of its fields must match.
#[derive(Debug)]
struct Branch {
    /// In the order of their paths; at least one.
    fields: Vec<Field>,
}

#[derive(Debug)]
struct Field {
    /// The names, joined by dots.
    path: Box<str>,
    test: Arc<Test>,
}

impl Pattern {
    /// Parses the JSON of a pattern. The error's text is AWS's.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        let branches = parse::branches(text)?;
        let inner = Inner {
            text: text.into(),
            branches,
        };
        Ok(Self {
            inner: Arc::new(inner),
        })
    }

    /// The JSON it was parsed from.
    pub fn as_str(&self) -> &str {
        &self.inner.text
    }

    /// Whether it matches an event.
    pub fn matches(&self, event: &Event<'_>) -> bool {
        self.branches().iter().any(|branch| branch.matches(event))
    }

    fn branches(&self) -> &[Branch] {
        &self.inner.branches
    }
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl Eq for Pattern {}

impl Branch {
    fn matches(&self, event: &Event<'_>) -> bool {
        self.matches_at(event, |field| event.at(self.fields[field].path.split('.')))
    }

    /// Whether it matches an event, of which `at` gives the scalars at the path of a field.
    fn matches_at<'e, 'a: 'e>(
        &self,
        event: &Event<'_>,
        at: impl Fn(usize) -> &'e [Leaf<'a>],
    ) -> bool {
        // The fields whose every accepted value is within an array.
        let mut bound = Vec::new();
        for (number, field) in self.fields.iter().enumerate() {
            let leaves = at(number);
            if leaves.is_empty() && field.test.absent {
                continue;
            }
            let mut accepted = leaves
                .iter()
                .filter(|leaf| field.test.accepts(&leaf.value))
                .map(|leaf| leaf.item);
            match accepted.next() {
                None => return false,
                Some(None) => {}
                Some(first) => {
                    let mut items = vec![first];
                    items.extend(accepted);
                    items.dedup();
                    bound.push(items);
                }
            }
        }
        bound.len() < 2 || consistent::consistent(event, &bound)
    }
}
