//! Wildcards, found by a few bytes that a text must contain to match.

use std::collections::HashMap;

use super::super::wildcard::Wildcard;
use super::values::Slot;

/// The bytes that a gram has at most.
const GRAM_MAX: usize = 4;

/// Up to [`GRAM_MAX`] bytes, and how many.
type Gram = (u8, [u8; GRAM_MAX]);

/// Each wildcard waits under the rarest of the grams in its literal texts, so that wildcards which begin alike
/// (`https://*/orders/*`, `https://*/invoices/*`) are told apart by what they do not share. A text is looked up under
/// all grams in it.
#[derive(Debug, Default)]
pub(super) struct Grams {
    waiting: HashMap<Gram, Vec<(Wildcard, Slot)>>,
    /// Those without a literal byte.
    always: Vec<(Wildcard, Slot)>,
    /// How many wait under a gram of each length.
    lengths: [usize; GRAM_MAX + 1],
}

impl Grams {
    pub(super) fn add(&mut self, wildcard: &Wildcard, slot: Slot) {
        let waiting = |gram: &Gram| self.waiting.get(gram).map_or(0, Vec::len);
        let entry = (wildcard.clone(), slot);
        match grams_of(wildcard).into_iter().min_by_key(waiting) {
            Some(gram) => {
                self.lengths[usize::from(gram.0)] += 1;
                self.waiting.entry(gram).or_default().push(entry);
            }
            None => self.always.push(entry),
        }
    }

    pub(super) fn remove(&mut self, wildcard: &Wildcard, slot: Slot) {
        let other = |entry: &(Wildcard, Slot)| entry.1 != slot || entry.0 != *wildcard;
        self.always.retain(other);
        for gram in grams_of(wildcard) {
            if let Some(entries) = self.waiting.get_mut(&gram) {
                let before = entries.len();
                entries.retain(other);
                self.lengths[usize::from(gram.0)] -= before - entries.len();
                if entries.is_empty() {
                    self.waiting.remove(&gram);
                }
            }
        }
    }

    pub(super) fn find(&self, text: &str, found: &mut Vec<Slot>) {
        let mut take = |entries: &[(Wildcard, Slot)]| {
            let matching = entries
                .iter()
                .filter(|(wildcard, _)| wildcard.matches(text));
            found.extend(matching.map(|(_, slot)| slot));
        };
        take(&self.always);
        for length in (1..=GRAM_MAX).filter(|length| self.lengths[*length] > 0) {
            let mut grams: Vec<Gram> = text.as_bytes().windows(length).map(gram).collect();
            grams.sort_unstable();
            grams.dedup();
            for gram in grams {
                if let Some(entries) = self.waiting.get(&gram) {
                    take(entries);
                }
            }
        }
    }
}

/// All grams of the literal texts, of the greatest length that they have.
fn grams_of(wildcard: &Wildcard) -> Vec<Gram> {
    let longest = wildcard.literals().map(str::len).max().unwrap_or(0);
    let length = longest.min(GRAM_MAX);
    if length == 0 {
        return Vec::new();
    }
    wildcard
        .literals()
        .flat_map(|literal| literal.as_bytes().windows(length))
        .map(gram)
        .collect()
}

fn gram(bytes: &[u8]) -> Gram {
    let mut gram = [0; GRAM_MAX];
    gram[..bytes.len()].copy_from_slice(bytes);
    #[expect(
        clippy::cast_possible_truncation,
        reason = "a gram has at most GRAM_MAX bytes"
    )]
    let length = bytes.len() as u8;
    (length, gram)
}
