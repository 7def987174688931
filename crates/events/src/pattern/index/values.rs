//! The tests of one field, found by the values that they accept.

use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;
use std::ops::Bound;

use super::super::event::Value;
use super::super::ip::{self, Ip};
use super::super::matcher::{Matcher, folded};
use super::super::number::Micros;
use super::grams::Grams;
use super::ranges::Ranges;

/// A test by its place in the field's list.
pub(super) type Slot = u32;

/// For each way to accept a value, a structure that goes from the value to the tests.
#[derive(Debug, Default)]
pub(super) struct Values {
    /// Accept every value.
    exists: Vec<Slot>,
    words: Exact<Word>,
    strings: Exact<Box<str>>,
    written: Exact<Box<str>>,
    numbers: Exact<Micros>,
    ranges: Ranges<Micros>,
    blocks: Ranges<Ip>,
    prefixes: Affixes,
    suffixes: Affixes,
    folded: Exact<Box<str>>,
    folded_prefixes: Affixes,
    folded_suffixes: Affixes,
    wildcards: Grams,
    /// Nearly all of them accept a value, so each is asked.
    but: Vec<(Matcher, Slot)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Word {
    True,
    False,
    Null,
}

impl Values {
    pub(super) fn add(&mut self, matcher: &Matcher, slot: Slot) {
        match matcher {
            Matcher::Exists => self.exists.push(slot),
            Matcher::True => self.words.add(Word::True, slot),
            Matcher::False => self.words.add(Word::False, slot),
            Matcher::Null => self.words.add(Word::Null, slot),
            Matcher::String(text) => self.strings.add(text.clone(), slot),
            Matcher::Written(text) => self.written.add(text.clone(), slot),
            Matcher::Range(first, last) if first == last => self.numbers.add(*first, slot),
            Matcher::Range(first, last) => self.ranges.add(*first, *last, slot),
            Matcher::Block(first, last) => self.blocks.add(*first, *last, slot),
            Matcher::Prefix(text) => self.prefixes.add(text.bytes(), slot),
            Matcher::Suffix(text) => self.suffixes.add(text.bytes().rev(), slot),
            Matcher::Folded(text) => self.folded.add(text.clone(), slot),
            Matcher::FoldedPrefix(text) => self.folded_prefixes.add(text.bytes(), slot),
            Matcher::FoldedSuffix(text) => self.folded_suffixes.add(text.bytes().rev(), slot),
            Matcher::Wildcard(wildcard) => self.wildcards.add(wildcard, slot),
            Matcher::AnythingBut(_) => self.but.push((matcher.clone(), slot)),
        }
    }

    pub(super) fn remove(&mut self, matcher: &Matcher, slot: Slot) {
        match matcher {
            Matcher::Exists => self.exists.retain(|other| *other != slot),
            Matcher::True => self.words.remove(&Word::True, slot),
            Matcher::False => self.words.remove(&Word::False, slot),
            Matcher::Null => self.words.remove(&Word::Null, slot),
            Matcher::String(text) => self.strings.remove(text, slot),
            Matcher::Written(text) => self.written.remove(text, slot),
            Matcher::Range(first, last) if first == last => self.numbers.remove(first, slot),
            Matcher::Range(first, last) => self.ranges.remove(*first, *last, slot),
            Matcher::Block(first, last) => self.blocks.remove(*first, *last, slot),
            Matcher::Prefix(text) => self.prefixes.remove(text.bytes(), slot),
            Matcher::Suffix(text) => self.suffixes.remove(text.bytes().rev(), slot),
            Matcher::Folded(text) => self.folded.remove(text, slot),
            Matcher::FoldedPrefix(text) => self.folded_prefixes.remove(text.bytes(), slot),
            Matcher::FoldedSuffix(text) => {
                self.folded_suffixes.remove(text.bytes().rev(), slot);
            }
            Matcher::Wildcard(wildcard) => self.wildcards.remove(wildcard, slot),
            Matcher::AnythingBut(_) => {
                self.but
                    .retain(|(other, at)| *at != slot || other != matcher);
            }
        }
    }

    /// Adds the tests that accept a value; one may come more than once.
    pub(super) fn find(&self, value: &Value<'_>, found: &mut Vec<Slot>) {
        found.extend(&self.exists);
        found.extend(
            self.but
                .iter()
                .filter(|(matcher, _)| matcher.accepts(value))
                .map(|(_, slot)| slot),
        );
        match value {
            Value::True => self.words.find(&Word::True, found),
            Value::False => self.words.find(&Word::False, found),
            Value::Null => self.words.find(&Word::Null, found),
            Value::Number { text, micros } => {
                self.written.find(*text, found);
                if let Some(micros) = micros {
                    self.numbers.find(micros, found);
                    self.ranges.find(*micros, found);
                }
            }
            Value::String(text) => self.find_text(text, found),
        }
    }

    fn find_text(&self, text: &str, found: &mut Vec<Slot>) {
        self.strings.find(text, found);
        self.prefixes.find(text.as_bytes(), found);
        self.suffixes.find_reversed(text, found);
        self.wildcards.find(text, found);
        if !self.blocks.is_empty()
            && let Some(ip) = ip::address(text)
        {
            self.blocks.find(ip, found);
        }
        let folds = !self.folded.is_empty()
            || !self.folded_prefixes.is_empty()
            || !self.folded_suffixes.is_empty();
        if folds {
            let text: String = folded(text).collect();
            self.folded.find(text.as_str(), found);
            self.folded_prefixes.find(text.as_bytes(), found);
            self.folded_suffixes.find_reversed(&text, found);
        }
    }
}

/// Tests by one value.
#[derive(Debug)]
struct Exact<K>(HashMap<K, Vec<Slot>>);

impl<K> Default for Exact<K> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

impl<K: Hash + Eq> Exact<K> {
    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn add(&mut self, key: K, slot: Slot) {
        self.0.entry(key).or_default().push(slot);
    }

    fn remove(&mut self, key: &K, slot: Slot) {
        if let Some(slots) = self.0.get_mut(key) {
            slots.retain(|other| *other != slot);
            if slots.is_empty() {
                self.0.remove(key);
            }
        }
    }

    fn find<Q>(&self, key: &Q, found: &mut Vec<Slot>)
    where
        K: std::borrow::Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        if let Some(slots) = self.0.get(key) {
            found.extend(slots);
        }
    }
}

/// Tests by what a text begins with, in order; suffixes backwards.
#[derive(Debug, Default)]
struct Affixes(BTreeMap<Box<[u8]>, Vec<Slot>>);

impl Affixes {
    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn add(&mut self, bytes: impl Iterator<Item = u8>, slot: Slot) {
        self.0.entry(bytes.collect()).or_default().push(slot);
    }

    fn remove(&mut self, bytes: impl Iterator<Item = u8>, slot: Slot) {
        let key: Box<[u8]> = bytes.collect();
        if let Some(slots) = self.0.get_mut(&key) {
            slots.retain(|other| *other != slot);
            if slots.is_empty() {
                self.0.remove(&key);
            }
        }
    }

    fn find_reversed(&self, text: &str, found: &mut Vec<Slot>) {
        if !self.is_empty() {
            let reversed: Vec<u8> = text.bytes().rev().collect();
            self.find(&reversed, found);
        }
    }

    /// Of all affixes up to the text, the last is either one of its beginnings or shares with it as much as any of its
    /// beginnings can have. Either way the text gets shorter, so the steps are at most its length.
    fn find(&self, text: &[u8], found: &mut Vec<Slot>) {
        let mut text = text;
        loop {
            let upto = (Bound::Unbounded, Bound::Included(text));
            let Some((affix, slots)) = self.0.range::<[u8], _>(upto).next_back() else {
                return;
            };
            let common = affix.iter().zip(text).take_while(|(a, b)| a == b).count();
            if common < affix.len() {
                text = &text[..common];
                continue;
            }
            found.extend(slots);
            let Some(shorter) = affix.len().checked_sub(1) else {
                return;
            };
            text = &text[..shorter];
        }
    }
}
