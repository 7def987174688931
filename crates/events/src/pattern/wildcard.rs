//! Wildcards: `*` stands for any text, `\*` and `\\` for themselves.
//!
//! AWS: <https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-create-pattern-operators.html>, wildcard matching.

use std::collections::{BTreeSet, HashSet, VecDeque};

/// More of a field's wildcards than this may not be under way at once in the worst text. AWS does not publish its
/// number; this one decides every published case as AWS does.
const COMPLEXITY_MAX: usize = 10;

/// Texts that are looked at for the worst one. A pattern that needs more is too complex as well.
const WORST_CASES_MAX: usize = 16_384;

/// Why a wildcard is none. The texts are AWS's; positions count the quote that its parser puts before the text.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum NotWildcard {
    #[error("Consecutive wildcard characters at pos {0}")]
    Consecutive(usize),
    #[error("Invalid escape character at pos {0}")]
    Escape(usize),
}

/// The literal texts between the `*`s, without escapes: one more than there are `*`s.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Wildcard {
    literals: Box<[Box<str>]>,
}

impl Wildcard {
    pub(super) fn parse(text: &str) -> Result<Self, NotWildcard> {
        let mut literals = Vec::new();
        let mut literal = String::new();
        let mut letters = text.char_indices().peekable();
        while let Some((at, letter)) = letters.next() {
            match letter {
                '*' => {
                    if letters.next_if(|(_, next)| *next == '*').is_some() {
                        return Err(NotWildcard::Consecutive(at + 1));
                    }
                    literals.push(std::mem::take(&mut literal).into());
                }
                '\\' => match letters.next_if(|(_, next)| matches!(next, '*' | '\\')) {
                    Some((_, escaped)) => literal.push(escaped),
                    None => return Err(NotWildcard::Escape(at + 1)),
                },
                letter => literal.push(letter),
            }
        }
        literals.push(literal.into());
        Ok(Self {
            literals: literals.into(),
        })
    }

    /// The literal texts, in order.
    pub(super) fn literals(&self) -> impl Iterator<Item = &str> {
        self.literals.iter().map(|literal| &**literal)
    }

    /// Takes each literal at its first place after the one before, so the time is that of a search for each.
    pub(super) fn matches(&self, text: &str) -> bool {
        let [first, middle @ .., last] = &*self.literals else {
            return &*self.literals[0] == text;
        };
        let Some(text) = text.strip_prefix(&**first) else {
            return false;
        };
        let Some(mut text) = text.strip_suffix(&**last) else {
            return false;
        };
        for literal in middle {
            match text.find(&**literal) {
                Some(at) => text = &text[at + literal.len()..],
                None => return false,
            }
        }
        true
    }
}

/// Whether AWS would call the wildcards of one field too complex: in the worst text, too many ways to go on are open.
///
/// Looks at every set of ways that some text leaves open: behind a `*` one stays open for ever, and each literal byte
/// just taken is another. That is the measure of AWS's open-source event-ruler ("how many wildcard rule prefixes match
/// a theoretical worst-case event").
pub(super) fn too_complex<'a>(wildcards: impl Iterator<Item = &'a Wildcard>) -> bool {
    let ways = Ways::of(&wildcards.collect());
    let mut seen = HashSet::new();
    let mut waiting = VecDeque::from([ways.start()]);
    while let Some(open) = waiting.pop_front() {
        if open.iter().filter(|way| way.counts()).count() > COMPLEXITY_MAX {
            return true;
        }
        if seen.contains(&open) {
            continue;
        }
        if seen.len() >= WORST_CASES_MAX {
            return true;
        }
        let bytes: BTreeSet<u8> = open
            .iter()
            .filter_map(|way| ways.further(*way))
            .map(|(byte, ..)| byte)
            .collect();
        // A byte that nothing waits for leaves the `*`s only, which every other byte leaves open too.
        waiting.extend(bytes.into_iter().map(|byte| ways.after(&open, byte)));
        seen.insert(open);
    }
    false
}

/// All wildcards of a field as one list of steps.
struct Ways {
    steps: Vec<Step>,
    starts: Vec<usize>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Step {
    Any,
    Byte(u8),
    End,
}

/// A way to go on, by the index of a step.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Way {
    /// The steps before this one are done. `free` is whether a `*` was among them.
    Before { step: usize, free: bool },
    /// This step is a `*`, which takes in whatever comes.
    Within { step: usize },
}

impl Ways {
    fn of(wildcards: &BTreeSet<&Wildcard>) -> Self {
        let mut ways = Self {
            steps: Vec::new(),
            starts: Vec::new(),
        };
        for wildcard in wildcards {
            ways.starts.push(ways.steps.len());
            for (index, literal) in wildcard.literals().enumerate() {
                if index > 0 {
                    ways.steps.push(Step::Any);
                }
                ways.steps.extend(literal.bytes().map(Step::Byte));
            }
            ways.steps.push(Step::End);
        }
        ways
    }

    fn start(&self) -> BTreeSet<Way> {
        let mut open = BTreeSet::new();
        for step in &self.starts {
            self.arrive(*step, false, &mut open);
        }
        open
    }

    fn arrive(&self, step: usize, free: bool, open: &mut BTreeSet<Way>) {
        open.insert(Way::Before { step, free });
        if self.steps[step] == Step::Any {
            open.insert(Way::Within { step });
        }
    }

    /// The byte that takes a way further, the step after it, and whether a `*` is behind.
    fn further(&self, way: Way) -> Option<(u8, usize, bool)> {
        let (step, free) = match way {
            Way::Before { step, free } => (step, free),
            Way::Within { step } => (step + 1, true),
        };
        match self.steps[step] {
            Step::Byte(byte) => Some((byte, step + 1, free)),
            Step::Any | Step::End => None,
        }
    }

    fn after(&self, before: &BTreeSet<Way>, byte: u8) -> BTreeSet<Way> {
        let mut open = BTreeSet::new();
        for way in before {
            if let Way::Within { .. } = way {
                open.insert(*way);
            }
            match self.further(*way) {
                Some((wanted, step, free)) if wanted == byte => self.arrive(step, free, &mut open),
                _ => {}
            }
        }
        open
    }
}

impl Way {
    /// A text that still has only one way to go costs nothing: what counts begins with the first `*`.
    fn counts(self) -> bool {
        match self {
            Way::Before { free, .. } => free,
            Way::Within { .. } => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn complexity() {
        let check = |texts: &[&str], complex: bool| {
            let wildcards: Vec<_> = texts
                .iter()
                .map(|text| Wildcard::parse(text).expect("a wildcard"))
                .collect();
            assert_eq!(too_complex(wildcards.iter()), complex, "{texts:?}");
        };
        // Recorded: refused and accepted.
        check(&["*:*:*:*:*:event-bus/*"], true);
        check(
            &["arn:aws:events:us-east-1:123456789012:event-bus/*"],
            false,
        );
        check(&["arn:aws:events:*:*:event-bus/*"], false);
        check(&["/Users/*/dir/dir/dir/dir/dir/doc.txt"], false);
        // Reported: each alone or in pairs is accepted, four at once are not; four that are simpler are.
        let keys = [
            "*/datasync/*.bif",
            "*/datasync/*.tiff",
            "*/datasync/*.tif",
            "*/datasync/*.svs",
        ];
        check(&keys, true);
        check(&keys[..2], false);
        check(&["*.bif", "*.tiff", "*.tif", "*.svs"], false);
        // The same one twice is one.
        check(&["*a*a*a", "*a*a*a", "*a*a*a"], false);
        check(&["*aaaaaaaaaaaaaaaaaaaaaa"], true);
        check(&[""], false);
        check(&["*"], false);
        // A worst case with more sets than are looked at.
        check(&[&format!("*{}", "ab".repeat(2000))], true);
    }
}
