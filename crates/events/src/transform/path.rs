//! The part of JSONPath that EventBridge knows: names, indices and wildcards.

use crate::raw::Json;

/// Where in an event a value is, such as `$.detail.items[0]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Path(Vec<Step>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Step {
    Name(Box<str>),
    Index(usize),
    /// Every member or item.
    Every,
}

impl Path {
    /// Nothing if it is not a path.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let mut rest = text.strip_prefix('$')?;
        let mut steps = Vec::new();
        // "$." is the event, as "$" is.
        if rest == "." {
            rest = "";
        }
        while !rest.is_empty() {
            let step;
            if let Some(name) = rest.strip_prefix('.') {
                let end = name.find(['.', '[']).unwrap_or(name.len());
                step = match &name[..end] {
                    "" => return None,
                    "*" => Step::Every,
                    name if name.contains([']', '\'', '"', '(', ')', '@', '?', '$']) => {
                        return None;
                    }
                    name => Step::Name(name.into()),
                };
                rest = &name[end..];
            } else {
                let (index, after) = rest.strip_prefix('[')?.split_once(']')?;
                step = match index {
                    "*" => Step::Every,
                    digits if digits.bytes().all(|digit| digit.is_ascii_digit()) => {
                        Step::Index(digits.parse().ok()?)
                    }
                    _ => return None,
                };
                rest = after;
            }
            steps.push(step);
        }
        Some(Self(steps))
    }

    /// The value at the path. One with wildcards has an array of all values that it leads to.
    pub(super) fn of<'a>(&self, event: &Json<'a>) -> Option<Json<'a>> {
        let mut values = vec![event];
        for step in &self.0 {
            values = values
                .into_iter()
                .flat_map(|value| step.of(value))
                .collect();
        }
        if self.0.contains(&Step::Every) {
            let every: Vec<_> = values.into_iter().cloned().collect();
            (!every.is_empty()).then_some(Json::Array(every))
        } else {
            values.pop().cloned()
        }
    }
}

impl Step {
    fn of<'v, 'a>(&self, value: &'v Json<'a>) -> Vec<&'v Json<'a>> {
        match (self, value) {
            (Step::Name(name), value) => value.get(name).into_iter().collect(),
            (Step::Index(index), Json::Array(items)) => items.get(*index).into_iter().collect(),
            (Step::Every, Json::Array(items)) => items.iter().collect(),
            (Step::Every, Json::Object(members)) => members.iter().map(|(_, v)| v).collect(),
            _ => Vec::new(),
        }
    }
}
