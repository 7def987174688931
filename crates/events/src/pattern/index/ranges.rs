//! Ranges that a value may fall into, found by the value.

use super::values::Slot;

/// Ranges in the order of their beginnings, under a tree of the greatest end below each of its nodes. A search looks at
/// no more than a path of the tree for each range that it finds. Adding and removing builds the tree anew, which for
/// ten thousand ranges of one field takes microseconds.
#[derive(Debug)]
pub(super) struct Ranges<K> {
    ranges: Vec<(K, K, Slot)>,
    /// A heap: the children of `n` are `2n` and `2n + 1`, and the leaves are the second half.
    ends: Vec<Option<K>>,
}

impl<K> Default for Ranges<K> {
    fn default() -> Self {
        Self {
            ranges: Vec::new(),
            ends: Vec::new(),
        }
    }
}

impl<K: Copy + Ord> Ranges<K> {
    pub(super) fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    pub(super) fn add(&mut self, first: K, last: K, slot: Slot) {
        let range = (first, last, slot);
        let at = self.ranges.partition_point(|other| *other < range);
        self.ranges.insert(at, range);
        self.build();
    }

    pub(super) fn remove(&mut self, first: K, last: K, slot: Slot) {
        self.ranges.retain(|range| *range != (first, last, slot));
        self.build();
    }

    pub(super) fn find(&self, value: K, found: &mut Vec<Slot>) {
        let begun = self.ranges.partition_point(|(first, ..)| *first <= value);
        if begun > 0 {
            self.visit(1, 0, self.ends.len() / 2, begun, value, found);
        }
    }

    /// Looks below a node, whose leaves are `count` ranges beginning with number `start`.
    fn visit(
        &self,
        node: usize,
        start: usize,
        count: usize,
        begun: usize,
        value: K,
        found: &mut Vec<Slot>,
    ) {
        if start >= begun || self.ends[node] < Some(value) {
            return;
        }
        if count == 1 {
            found.push(self.ranges[start].2);
            return;
        }
        let half = count / 2;
        self.visit(2 * node, start, half, begun, value, found);
        self.visit(2 * node + 1, start + half, half, begun, value, found);
    }

    fn build(&mut self) {
        let leaves = self.ranges.len().next_power_of_two();
        self.ends.clear();
        self.ends.resize(leaves, None);
        self.ends
            .extend(self.ranges.iter().map(|(_, last, _)| Some(*last)));
        self.ends.resize(2 * leaves, None);
        for node in (1..leaves).rev() {
            self.ends[node] = self.ends[2 * node].max(self.ends[2 * node + 1]);
        }
    }
}
