//! Many patterns at once.
//!
//! The patterns' branches (the combinations of their `$or`s) form a tree. From the root, a branch follows its tests, the
//! most selective kind first: an edge is a test of a field, and branches with the same test share it. A branch rests as
//! high up as it can: a node keeps a handful of them, and only when there are more does it send them on along their next
//! tests. At each node the tests of a field are found by the event's value (`values`), never one after the other. So an
//! event visits the nodes whose tests it passes, and looks closer at no more than a handful of branches in each.
//!
//! The tree finds candidates; whether one matches is decided by the same code as for a single pattern.
//!
//! Memory is that of the patterns: every test is stored once per node that needs it, and there is no product of values
//! or of states. Adding and removing touch the nodes on the branch's way only.

mod grams;
mod paths;
mod ranges;
mod values;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use super::matcher::{Matcher, Test};
use super::{Event, Pattern};
use paths::{Found, Paths};
use values::{Slot, Values};

/// The branches that rest in a node before it sends them on.
const RESTING_MAX: usize = 8;

/// Many patterns, each with an id, which finds those that match an event.
#[derive(Debug)]
pub struct Index<Id> {
    patterns: BTreeMap<Id, Pattern>,
    paths: Paths,
    root: Node<Id>,
}

#[derive(Debug)]
struct Node<Id> {
    /// The branches that stay: a handful, or those that have no further test.
    resting: Vec<Resident<Id>>,
    /// Where the others went.
    split: Option<Box<Split<Id>>>,
}

/// A branch in the tree.
#[derive(Debug)]
struct Resident<Id> {
    id: Id,
    pattern: Pattern,
    branch: usize,
    /// The numbers of the paths of its fields, as the branch has them.
    paths: Box<[u32]>,
    /// Its fields, the most selective first.
    order: Box<[usize]>,
}

#[derive(Debug)]
struct Split<Id> {
    fields: HashMap<u32, Tests<Id>>,
    /// The fields that have a test which wants them missing.
    absent: BTreeSet<u32>,
}

/// The tests of a field, each with the node that it leads to.
#[derive(Debug)]
struct Tests<Id> {
    edges: Vec<Option<(Arc<Test>, Node<Id>)>>,
    free: Vec<Slot>,
    slots: HashMap<Arc<Test>, Slot>,
    values: Values,
    absent: Vec<Slot>,
}

impl<Id> Default for Index<Id> {
    fn default() -> Self {
        Self {
            patterns: BTreeMap::new(),
            paths: Paths::default(),
            root: Node::default(),
        }
    }
}

impl<Id: Ord + Clone> Index<Id> {
    /// Adds a pattern, in place of the one that the id has.
    pub fn add(&mut self, id: Id, pattern: Pattern) {
        self.remove(&id);
        for branch in 0..pattern.branches().len() {
            let fields = &pattern.branches()[branch].fields;
            let paths = fields
                .iter()
                .map(|field| self.paths.add(&field.path))
                .collect();
            let resident = Resident {
                id: id.clone(),
                pattern: pattern.clone(),
                branch,
                paths,
                order: order(&pattern, branch),
            };
            self.root.add(resident, 0);
        }
        self.patterns.insert(id, pattern);
    }

    /// Removes the pattern of an id, and tells whether there was one.
    pub fn remove(&mut self, id: &Id) -> bool {
        let Some(pattern) = self.patterns.remove(id) else {
            return false;
        };
        for (number, branch) in pattern.branches().iter().enumerate() {
            let way: Vec<(u32, &Test)> = order(&pattern, number)
                .iter()
                .map(|field| &branch.fields[*field])
                .filter_map(|field| Some((self.paths.number(&field.path)?, &*field.test)))
                .collect();
            self.root.remove(id, number, &way);
        }
        for field in pattern.branches().iter().flat_map(|branch| &branch.fields) {
            self.paths.remove(&field.path);
        }
        true
    }

    /// The ids of the patterns that match an event, in order.
    pub fn matches(&self, event: &Event<'_>) -> Vec<Id> {
        let mut ids = Vec::new();
        let found = self.paths.of(event);
        self.root.find(event, &found, &mut ids);
        ids.sort_unstable();
        ids.dedup();
        ids
    }

    /// How many patterns there are.
    pub fn len(&self) -> usize {
        self.patterns.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.patterns.is_empty()
    }
}

/// The fields of a branch in the order of its way through the tree. It depends on the branch alone, so that branches
/// with the same tests share their edges, and so that it need not be remembered.
fn order(pattern: &Pattern, branch: usize) -> Box<[usize]> {
    let fields = &pattern.branches()[branch].fields;
    let mut order: Vec<usize> = (0..fields.len()).collect();
    order.sort_by_cached_key(|field| {
        let test = &fields[*field].test;
        (test.laxity(), test.matchers.len(), *field)
    });
    order.into()
}

impl Test {
    /// How much it lets through, by kind: that of its laxest matcher.
    fn laxity(&self) -> u8 {
        let matchers = self.matchers.iter().map(Matcher::laxity).max().unwrap_or(0);
        if self.absent { u8::MAX } else { matchers }
    }
}

impl Matcher {
    fn laxity(&self) -> u8 {
        match self {
            Matcher::String(_) | Matcher::Written(_) => 0,
            Matcher::Range(first, last) if first == last => 0,
            Matcher::Block(first, last) if first == last => 0,
            Matcher::Folded(_) => 1,
            Matcher::Prefix(text)
            | Matcher::Suffix(text)
            | Matcher::FoldedPrefix(text)
            | Matcher::FoldedSuffix(text) => match text.len() {
                0 => 6,
                _ => 2,
            },
            Matcher::Range(..) | Matcher::Block(..) => 3,
            Matcher::Wildcard(_) => 4,
            Matcher::True | Matcher::False | Matcher::Null => 5,
            Matcher::Exists => 6,
            Matcher::AnythingBut(_) => 7,
        }
    }
}

impl<Id> Default for Node<Id> {
    fn default() -> Self {
        Self {
            resting: Vec::new(),
            split: None,
        }
    }
}

impl<Id: Ord + Clone> Node<Id> {
    fn is_empty(&self) -> bool {
        self.resting.is_empty() && self.split.is_none()
    }

    /// Takes in a branch that has `depth` tests behind it.
    fn add(&mut self, resident: Resident<Id>, depth: usize) {
        if let (Some(split), true) = (&mut self.split, depth < resident.order.len()) {
            split.add(resident, depth);
            return;
        }
        self.resting.push(resident);
        if self.split.is_none() && self.resting.len() > RESTING_MAX {
            self.send_on(depth);
        }
    }

    fn send_on(&mut self, depth: usize) {
        let (leaving, staying): (Vec<_>, Vec<_>) = std::mem::take(&mut self.resting)
            .into_iter()
            .partition(|resident| depth < resident.order.len());
        self.resting = staying;
        if leaving.is_empty() {
            return;
        }
        let split = self.split.get_or_insert_default();
        for resident in leaving {
            split.add(resident, depth);
        }
    }

    /// Removes a branch, whose remaining way is `way`.
    fn remove(&mut self, id: &Id, branch: usize, way: &[(u32, &Test)]) {
        let here = self
            .resting
            .iter()
            .position(|resident| resident.branch == branch && resident.id == *id);
        if let Some(here) = here {
            self.resting.swap_remove(here);
        } else if let (Some(split), Some((first, rest))) = (&mut self.split, way.split_first()) {
            split.remove(id, branch, *first, rest);
            if split.fields.is_empty() {
                self.split = None;
            }
        }
    }

    fn find(&self, event: &Event<'_>, found: &Found<'_, '_>, ids: &mut Vec<Id>) {
        for resident in &self.resting {
            let branch = &resident.pattern.branches()[resident.branch];
            if branch.matches_at(event, |field| found.at(resident.paths[field])) {
                ids.push(resident.id.clone());
            }
        }
        if let Some(split) = &self.split {
            split.find(event, found, ids);
        }
    }
}

impl<Id> Default for Split<Id> {
    fn default() -> Self {
        Self {
            fields: HashMap::new(),
            absent: BTreeSet::new(),
        }
    }
}

impl<Id: Ord + Clone> Split<Id> {
    fn add(&mut self, resident: Resident<Id>, depth: usize) {
        let field = resident.order[depth];
        let path = resident.paths[field];
        let test = resident.pattern.branches()[resident.branch].fields[field]
            .test
            .clone();
        if test.absent {
            self.absent.insert(path);
        }
        let tests = self.fields.entry(path).or_default();
        tests.node(test).add(resident, depth + 1);
    }

    fn remove(
        &mut self,
        id: &Id,
        branch: usize,
        (path, test): (u32, &Test),
        rest: &[(u32, &Test)],
    ) {
        let Some(tests) = self.fields.get_mut(&path) else {
            return;
        };
        tests.remove(id, branch, test, rest);
        if tests.absent.is_empty() {
            self.absent.remove(&path);
        }
        if tests.slots.is_empty() {
            self.fields.remove(&path);
        }
    }

    fn find(&self, event: &Event<'_>, found: &Found<'_, '_>, ids: &mut Vec<Id>) {
        let mut slots = Vec::new();
        let mut visit = |tests: &Tests<Id>, leaves: &[super::event::Leaf<'_>]| {
            slots.clear();
            for leaf in leaves {
                tests.values.find(&leaf.value, &mut slots);
            }
            slots.sort_unstable();
            slots.dedup();
            tests.follow(&slots, event, found, ids);
        };
        // The shorter of the two lists leads.
        if self.fields.len() < found.len() {
            for (path, tests) in &self.fields {
                visit(tests, found.at(*path));
            }
        } else {
            for (path, leaves) in found.iter() {
                if let Some(tests) = self.fields.get(&path) {
                    visit(tests, leaves);
                }
            }
        }
        for path in &self.absent {
            if found.at(*path).is_empty()
                && let Some(tests) = self.fields.get(path)
            {
                tests.follow(&tests.absent, event, found, ids);
            }
        }
    }
}

impl<Id> Default for Tests<Id> {
    fn default() -> Self {
        Self {
            edges: Vec::new(),
            free: Vec::new(),
            slots: HashMap::new(),
            values: Values::default(),
            absent: Vec::new(),
        }
    }
}

impl<Id: Ord + Clone> Tests<Id> {
    /// The node that a test leads to, which is new if need be.
    fn node(&mut self, test: Arc<Test>) -> &mut Node<Id> {
        let slot = match self.slots.get(&test) {
            Some(slot) => *slot,
            None => self.new_edge(test),
        };
        let edge = self.edges[slot as usize].as_mut();
        &mut edge.expect("slots lead to edges").1
    }

    fn new_edge(&mut self, test: Arc<Test>) -> Slot {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.edges.push(None);
            Slot::try_from(self.edges.len() - 1).expect("fewer tests than 2^32 fit into memory")
        });
        for matcher in &test.matchers {
            self.values.add(matcher, slot);
        }
        if test.absent {
            self.absent.push(slot);
        }
        self.slots.insert(test.clone(), slot);
        self.edges[slot as usize] = Some((test, Node::default()));
        slot
    }

    fn remove(&mut self, id: &Id, branch: usize, test: &Test, rest: &[(u32, &Test)]) {
        let Some(slot) = self.slots.get(test).copied() else {
            return;
        };
        let Some((_, node)) = &mut self.edges[slot as usize] else {
            return;
        };
        node.remove(id, branch, rest);
        if node.is_empty() {
            self.edges[slot as usize] = None;
            self.slots.remove(test);
            self.absent.retain(|other| *other != slot);
            for matcher in &test.matchers {
                self.values.remove(matcher, slot);
            }
            self.free.push(slot);
        }
    }

    fn follow(&self, slots: &[Slot], event: &Event<'_>, found: &Found<'_, '_>, ids: &mut Vec<Id>) {
        for slot in slots {
            if let Some((_, node)) = &self.edges[*slot as usize] {
                node.find(event, found, ids);
            }
        }
    }
}
