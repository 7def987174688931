//! Text patterns of the policy language: `*`, `?` and `${variables}`, compiled once.
//!
//! Matching never recurses and never backtracks further than the last `*`. A value inserted for a variable is text: its own
//! `*` and `?` mean nothing (`IAM/latest/UserGuide/reference_policies_variables.html`).

use std::borrow::Cow;

use super::Known;

/// The piece of a pattern that one construct of the language stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Piece {
    Text(String),
    /// `*`; `colons` says whether it may match a colon.
    Any {
        colons: bool,
    },
    /// `?`; `colons` as above.
    One {
        colons: bool,
    },
    Variable(Variable),
}

/// `${key}` or `${key, 'default'}`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Variable {
    /// Lower case, as contexts keep their keys.
    key: String,
    default: Option<String>,
}

impl Variable {
    /// Only keys with exactly one value can be inserted; a multivalued key counts as unresolved.
    fn resolve<'a>(&'a self, context: &'a dyn Known) -> Option<&'a str> {
        match context.get(&self.key) {
            Some([value]) => Some(value),
            Some(_) => None,
            None => self.default.as_deref(),
        }
    }
}

/// What a pattern has to say about a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answer {
    Yes,
    No,
    /// A variable in the pattern has no value in this request, so there is nothing to compare with.
    Unresolved,
}

impl Answer {
    pub(super) fn of(matched: bool) -> Self {
        if matched { Self::Yes } else { Self::No }
    }
}

/// How much of the language a text may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Syntax {
    pub variables: bool,
    pub wildcards: bool,
}

/// A compiled pattern.
#[derive(Debug, Clone)]
pub(super) enum Pattern {
    All,
    Exact(String),
    Prefix(String),
    Glob(Glob),
    /// Holds at least one variable: resolved for each request.
    Template(Vec<Piece>),
}

impl Pattern {
    /// Compiles a free text: wildcards match anything.
    pub(super) fn text(text: &str, syntax: Syntax) -> Self {
        Self::compile(pieces(text, syntax))
    }

    /// Compiles the `Resource` element's pattern for an ARN. Within the first five parts a `*` stays inside its part unless it
    /// is the part's last character, then it "can expand to match beyond the colon boundaries"
    /// (`IAM/latest/UserGuide/reference_policies_elements_resource.html`). Variables live after the fifth colon only.
    pub(super) fn resource(text: &str, variables: bool) -> Self {
        let Some((split, _)) = text.match_indices(':').nth(4) else {
            return Self::compile(within_parts(pieces(
                text,
                Syntax {
                    variables: false,
                    wildcards: true,
                },
            )));
        };
        let (head, tail) = text.split_at(split + 1);
        let mut all = within_parts(pieces(
            head,
            Syntax {
                variables: false,
                wildcards: true,
            },
        ));
        all.extend(pieces(
            tail,
            Syntax {
                variables,
                wildcards: true,
            },
        ));
        Self::compile(all)
    }

    fn compile(pieces: Vec<Piece>) -> Self {
        match pieces.as_slice() {
            [] => Self::Exact(String::new()),
            [Piece::Any { colons: true }] => Self::All,
            [Piece::Text(text)] => Self::Exact(text.clone()),
            [Piece::Text(text), Piece::Any { colons: true }] => Self::Prefix(text.clone()),
            _ if pieces
                .iter()
                .any(|piece| matches!(piece, Piece::Variable(_))) =>
            {
                Self::Template(pieces)
            }
            _ => Self::Glob(Glob::new(&pieces)),
        }
    }

    pub(super) fn matches(&self, text: &str, context: &dyn Known) -> Answer {
        match self {
            Self::All => Answer::Yes,
            Self::Exact(exact) => Answer::of(exact == text),
            Self::Prefix(prefix) => Answer::of(text.starts_with(prefix.as_str())),
            Self::Glob(glob) => Answer::of(glob.matches(text)),
            Self::Template(pieces) => match resolve(pieces, context) {
                Some(pieces) => Answer::of(Glob::new(&pieces).matches(text)),
                None => Answer::Unresolved,
            },
        }
    }

    /// The text itself when nothing in it matches more than itself; for comparisons other than glob matching.
    pub(super) fn literal<'a>(&'a self, context: &'a dyn Known) -> Option<Cow<'a, str>> {
        match self {
            Self::Exact(exact) => Some(Cow::Borrowed(exact)),
            Self::Template(pieces) => {
                let mut text = String::new();
                for piece in pieces {
                    match piece {
                        Piece::Text(part) => text.push_str(part),
                        Piece::Variable(variable) => text.push_str(variable.resolve(context)?),
                        Piece::Any { .. } | Piece::One { .. } => return None,
                    }
                }
                Some(Cow::Owned(text))
            }
            Self::All | Self::Prefix(_) | Self::Glob(_) => None,
        }
    }

    /// The context keys this pattern's variables read.
    pub(super) fn keys(&self) -> impl Iterator<Item = &str> {
        let pieces = match self {
            Self::Template(pieces) => pieces.as_slice(),
            _ => &[],
        };
        pieces.iter().filter_map(|piece| match piece {
            Piece::Variable(variable) => Some(variable.key.as_str()),
            _ => None,
        })
    }
}

fn resolve(pieces: &[Piece], context: &dyn Known) -> Option<Vec<Piece>> {
    pieces
        .iter()
        .map(|piece| match piece {
            Piece::Variable(variable) => Some(Piece::Text(variable.resolve(context)?.to_owned())),
            other => Some(other.clone()),
        })
        .collect()
}

/// Cuts a text into its constructs. `${*}`, `${?}` and `${$}` are the escapes for the three special characters.
fn pieces(text: &str, syntax: Syntax) -> Vec<Piece> {
    let mut pieces = Vec::new();
    let mut plain = String::new();
    let mut rest = text;
    // Bytes left after the last brace that closes: beyond it no variable can end.
    let unclosed = text.rfind('}').map_or(text.len(), |at| text.len() - at);
    while let Some(next) = rest.chars().next() {
        if syntax.variables
            && rest.len() > unclosed
            && let Some((piece, after)) = rest.strip_prefix("${").and_then(variable)
        {
            match piece {
                Piece::Text(literal) => plain.push_str(&literal),
                other => {
                    flush(&mut plain, &mut pieces);
                    pieces.push(other);
                }
            }
            rest = after;
            continue;
        }
        match next {
            '*' if syntax.wildcards => {
                flush(&mut plain, &mut pieces);
                if pieces.last() != Some(&Piece::Any { colons: true }) {
                    pieces.push(Piece::Any { colons: true });
                }
            }
            '?' if syntax.wildcards => {
                flush(&mut plain, &mut pieces);
                pieces.push(Piece::One { colons: true });
            }
            _ => plain.push(next),
        }
        rest = &rest[next.len_utf8()..];
    }
    flush(&mut plain, &mut pieces);
    pieces
}

fn flush(plain: &mut String, pieces: &mut Vec<Piece>) {
    if !plain.is_empty() {
        pieces.push(Piece::Text(std::mem::take(plain)));
    }
}

/// The longest variable looked for, default included: keys have at most 128 characters of tag, values 256. Bounding the search
/// keeps a text of a hundred thousand unclosed braces linear.
const VARIABLE_BYTES_MAX: usize = 1_024;

/// Reads what follows `${` up to its `}`. A brace that never closes is literal text: `None`.
fn variable(whole: &str) -> Option<(Piece, &str)> {
    let text = &whole[..whole.floor_char_boundary(VARIABLE_BYTES_MAX)];
    let end = text.find(['}', ','])?;
    let name = text[..end].trim();
    if text[end..].starts_with('}') {
        let piece = match name {
            "*" | "?" | "$" => Piece::Text(name.to_owned()),
            _ => Piece::Variable(Variable {
                key: name.to_lowercase(),
                default: None,
            }),
        };
        return Some((piece, &whole[end + 1..]));
    }
    let quoted = text[end + 1..].trim_start().strip_prefix('\'')?;
    let close = quoted.find('\'')?;
    let after = quoted[close + 1..].trim_start().strip_prefix('}')?;
    let default = Some(quoted[..close].to_owned());
    Some((
        Piece::Variable(Variable {
            key: name.to_lowercase(),
            default,
        }),
        &whole[text.len() - after.len()..],
    ))
}

/// Confines the wildcards of an ARN's first five parts.
fn within_parts(pieces: Vec<Piece>) -> Vec<Piece> {
    let mut confined: Vec<Piece> = pieces;
    for at in 0..confined.len() {
        let ends_part = match confined.get(at + 1) {
            None => true,
            Some(Piece::Text(text)) => text.starts_with(':'),
            Some(_) => false,
        };
        match &mut confined[at] {
            Piece::Any { colons } => *colons = ends_part,
            Piece::One { colons } => *colons = false,
            Piece::Text(_) | Piece::Variable(_) => {}
        }
    }
    confined
}

/// A pattern without variables: runs of fixed length between stars.
#[derive(Debug, Clone)]
pub(super) struct Glob {
    /// First and last are anchored; between each two there is one `*`.
    runs: Vec<Run>,
    /// Some star may not cross colons, so leftmost is not always best and `runs` does not apply.
    confined: Option<Vec<Atom>>,
}

#[derive(Debug, Clone)]
enum Run {
    Text(String),
    Mixed(Vec<Atom>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Atom {
    Char(char),
    One { colons: bool },
    Any { colons: bool },
}

impl Glob {
    fn new(pieces: &[Piece]) -> Self {
        let atoms: Vec<Atom> = pieces.iter().flat_map(atoms).collect();
        if atoms.contains(&Atom::Any { colons: false }) {
            return Self {
                runs: Vec::new(),
                confined: Some(atoms),
            };
        }
        let runs = atoms
            .split(|atom| matches!(atom, Atom::Any { .. }))
            .map(Run::new)
            .collect();
        Self {
            runs,
            confined: None,
        }
    }

    pub(super) fn matches(&self, text: &str) -> bool {
        if let Some(atoms) = &self.confined {
            return walk(atoms, text);
        }
        let [first, middle @ .., last] = self.runs.as_slice() else {
            return self
                .runs
                .iter()
                .all(|only| only.strip_prefix(text) == Some(""));
        };
        let Some(mut rest) = first.strip_prefix(text) else {
            return false;
        };
        for run in middle {
            match run.find_end(rest) {
                Some(after) => rest = after,
                None => return false,
            }
        }
        last.ends(rest)
    }
}

fn atoms(piece: &Piece) -> Vec<Atom> {
    match piece {
        Piece::Text(text) => text.chars().map(Atom::Char).collect(),
        Piece::Any { colons } => vec![Atom::Any { colons: *colons }],
        Piece::One { colons } => vec![Atom::One { colons: *colons }],
        // Resolved before a glob is made; an unresolved one must not match: no text contains this non-character pair.
        Piece::Variable(_) => vec![
            Atom::One { colons: false },
            Atom::Char('\u{fffe}'),
            Atom::Char('\u{ffff}'),
        ],
    }
}

impl Run {
    fn new(atoms: &[Atom]) -> Self {
        let text: Option<String> = atoms
            .iter()
            .map(|atom| match atom {
                Atom::Char(char) => Some(*char),
                _ => None,
            })
            .collect();
        text.map_or_else(|| Self::Mixed(atoms.to_vec()), Self::Text)
    }

    fn strip_prefix<'a>(&self, text: &'a str) -> Option<&'a str> {
        match self {
            Self::Text(run) => text.strip_prefix(run.as_str()),
            Self::Mixed(atoms) => {
                let mut chars = text.chars();
                for atom in atoms {
                    if !atom.takes(chars.next()?) {
                        return None;
                    }
                }
                Some(chars.as_str())
            }
        }
    }

    /// What follows the leftmost place where this run fits.
    fn find_end<'a>(&self, text: &'a str) -> Option<&'a str> {
        match self {
            Self::Text(run) => text.find(run.as_str()).map(|at| &text[at + run.len()..]),
            Self::Mixed(_) => text
                .char_indices()
                .find_map(|(at, _)| self.strip_prefix(&text[at..])),
        }
    }

    fn ends(&self, text: &str) -> bool {
        match self {
            Self::Text(run) => text.ends_with(run.as_str()),
            Self::Mixed(atoms) => {
                let mut chars = text.chars();
                atoms
                    .iter()
                    .rev()
                    .all(|atom| chars.next_back().is_some_and(|char| atom.takes(char)))
            }
        }
    }
}

impl Atom {
    fn takes(self, char: char) -> bool {
        match self {
            Self::Char(own) => own == char,
            Self::One { colons } | Self::Any { colons } => colons || char != ':',
        }
    }
}

/// Follows all ways through the pattern at once: text length times pattern length, whatever they hold.
fn walk(atoms: &[Atom], text: &str) -> bool {
    let mut here = vec![false; atoms.len() + 1];
    here[0] = true;
    skip_stars(atoms, &mut here);
    let mut next = vec![false; atoms.len() + 1];
    for char in text.chars() {
        next.fill(false);
        for (at, atom) in atoms.iter().enumerate() {
            if here[at] && atom.takes(char) {
                let stays = matches!(atom, Atom::Any { .. });
                next[if stays { at } else { at + 1 }] = true;
            }
        }
        skip_stars(atoms, &mut next);
        std::mem::swap(&mut here, &mut next);
    }
    here[atoms.len()]
}

/// A star may match nothing.
fn skip_stars(atoms: &[Atom], places: &mut [bool]) {
    for (at, atom) in atoms.iter().enumerate() {
        if places[at] && matches!(atom, Atom::Any { .. }) {
            places[at + 1] = true;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::Context;

    fn oracle(pattern: &[char], text: &[char]) -> bool {
        match pattern.split_first() {
            None => text.is_empty(),
            Some(('*', rest)) => (0..=text.len()).any(|at| oracle(rest, &text[at..])),
            Some(('?', rest)) => !text.is_empty() && oracle(rest, &text[1..]),
            Some((char, rest)) => text.first() == Some(char) && oracle(rest, &text[1..]),
        }
    }

    proptest::proptest! {
        #[test]
        fn agrees_with_the_obvious_matcher(pattern in "[ab*?é]{0,8}", text in "[abé]{0,8}") {
            let compiled = Pattern::text(&pattern, Syntax { variables: true, wildcards: true });
            let expected = oracle(&pattern.chars().collect::<Vec<_>>(), &text.chars().collect::<Vec<_>>());
            assert_eq!(compiled.matches(&text, &Context::default()), Answer::of(expected));
        }

        #[test]
        fn confined_and_free_walks_agree_without_colons(pattern in "[ab*?]{0,8}", text in "[ab]{0,8}") {
            let pieces = pieces(&pattern, Syntax { variables: false, wildcards: true });
            let all: Vec<Atom> = pieces.iter().flat_map(atoms).collect();
            assert_eq!(walk(&all, &text), Glob::new(&pieces).matches(&text));
        }
    }

    #[test]
    fn hostile_patterns_cost_little() {
        let pattern = Pattern::text(
            &"a*".repeat(5_000),
            Syntax {
                variables: true,
                wildcards: true,
            },
        );
        assert_eq!(
            pattern.matches(&"a".repeat(4_000), &Context::default()),
            Answer::No
        );
        for text in [
            "${".repeat(60_000),
            "${a,'".repeat(25_000),
            "${a,".repeat(30_000) + "}",
        ] {
            Pattern::text(
                &text,
                Syntax {
                    variables: true,
                    wildcards: true,
                },
            );
        }
    }
}
