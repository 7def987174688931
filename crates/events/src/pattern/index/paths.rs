//! The paths that patterns name, by number.

use std::borrow::Cow;
use std::collections::HashMap;

use super::super::event::{Event, Leaf};

/// A tree of names. Each path is there for as long as a pattern names it.
#[derive(Debug)]
pub(super) struct Paths {
    numbers: HashMap<(u32, Cow<'static, str>), u32>,
    /// How many patterns name a path or one that continues it.
    uses: Vec<usize>,
    free: Vec<u32>,
}

/// The number of the path with no names.
const ROOT: u32 = 0;

impl Default for Paths {
    fn default() -> Self {
        Self {
            numbers: HashMap::new(),
            uses: vec![0],
            free: Vec::new(),
        }
    }
}

impl Paths {
    /// The number of a path, which is new if need be.
    pub(super) fn add(&mut self, path: &str) -> u32 {
        path.split('.').fold(ROOT, |parent, segment| {
            let number = match self.get(parent, segment) {
                Some(number) => number,
                None => self.new_number(parent, segment),
            };
            self.uses[number as usize] += 1;
            number
        })
    }

    /// Takes back one [`Paths::add`].
    pub(super) fn remove(&mut self, path: &str) {
        let mut parent = ROOT;
        for segment in path.split('.') {
            let Some(number) = self.get(parent, segment) else {
                return;
            };
            self.uses[number as usize] -= 1;
            if self.uses[number as usize] == 0 {
                self.numbers
                    .remove(&(parent, Cow::Owned(segment.to_owned())));
                self.free.push(number);
            }
            parent = number;
        }
    }

    /// The number of a path that was added.
    pub(super) fn number(&self, path: &str) -> Option<u32> {
        path.split('.')
            .try_fold(ROOT, |parent, segment| self.get(parent, segment))
    }

    /// The scalars of an event at the paths that patterns name, by number, in order.
    pub(super) fn of<'e, 'a>(&self, event: &'e Event<'a>) -> Found<'e, 'a> {
        let mut numbers = vec![Some(ROOT)];
        for (parent, segment) in event.segments() {
            let number = numbers[parent as usize].and_then(|parent| self.get(parent, segment));
            numbers.push(number);
        }
        let leaves = event.leaves().filter_map(|leaves| {
            let number = numbers[leaves[0].path as usize]?;
            Some((number, leaves))
        });
        let mut found: Vec<_> = leaves.collect();
        found.sort_unstable_by_key(|(number, _)| *number);
        Found(found)
    }

    fn get(&self, parent: u32, segment: &str) -> Option<u32> {
        // A key that borrows is as good: the map's type allows for one that lives shorter.
        let numbers: &HashMap<(u32, Cow<'_, str>), u32> = &self.numbers;
        numbers.get(&(parent, Cow::Borrowed(segment))).copied()
    }

    fn new_number(&mut self, parent: u32, segment: &str) -> u32 {
        let number = self.free.pop().unwrap_or_else(|| {
            self.uses.push(0);
            u32::try_from(self.uses.len() - 1).expect("fewer paths than 2^32 fit into memory")
        });
        self.numbers
            .insert((parent, Cow::Owned(segment.to_owned())), number);
        number
    }
}

/// The scalars of an event, by the numbers of their paths.
pub(super) struct Found<'e, 'a>(Vec<(u32, &'e [Leaf<'a>])>);

impl<'e, 'a> Found<'e, 'a> {
    /// Those at a path; none if it is not there.
    pub(super) fn at(&self, path: u32) -> &'e [Leaf<'a>] {
        match self.0.binary_search_by_key(&path, |(number, _)| *number) {
            Ok(at) => self.0[at].1,
            Err(_) => &[],
        }
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (u32, &'e [Leaf<'a>])> {
        self.0.iter().copied()
    }
}
