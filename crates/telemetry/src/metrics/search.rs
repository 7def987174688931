//! Search expressions: the first argument of metric math's `SEARCH`.
//!
//! Follows <https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/search-expression-syntax.html>.

use super::Metric;

/// The longest search that CloudWatch takes, in characters.
const QUERY_CHARS_MAX: usize = 1024;

/// How deep parentheses may nest; a parser's recursion must end before the stack does.
const NESTING_MAX: usize = 50;

/// A compiled search such as `{AWS/Lambda,FunctionName} MetricName="Errors" NOT test`.
#[derive(Debug, Clone, PartialEq)]
pub struct Search {
    schema: Option<Schema>,
    term: Option<Term>,
}

/// `{Namespace, Dimension, ...}`: metrics of that namespace with exactly these dimensions.
#[derive(Debug, Clone, PartialEq)]
struct Schema {
    namespace: String,
    dimensions: Vec<String>,
}

#[derive(Debug, Clone, PartialEq)]
enum Term {
    All(Vec<Self>),
    Any(Vec<Self>),
    Not(Box<Self>),
    Match {
        property: Option<String>,
        text: Text,
    },
}

#[derive(Debug, Clone, PartialEq)]
enum Text {
    /// In double quotes: the whole value, with its capitals.
    Exact(String),
    /// Tokens that must appear next to each other, in any case: the page says that `count1` does not find `CustomCount1`
    /// but that `network/errors` finds `Network-Errors-2`, and only one of these can hold.
    Partial(Vec<String>),
}

impl Search {
    /// Compiles a search; `None` if it is not one.
    pub fn parse(text: &str) -> Option<Self> {
        if text.chars().count() > QUERY_CHARS_MAX {
            return None;
        }
        let mut parser = Parser {
            rest: text,
            depth: 0,
        };
        let schema = parser.schema()?;
        parser.skip();
        if schema.is_some() && parser.take(',') {
            parser.skip();
        }
        let term = match parser.rest.is_empty() {
            true => None,
            false => Some(parser.any()?),
        };
        let whole = parser.rest.trim().is_empty() && (schema.is_some() || term.is_some());
        whole.then_some(Self { schema, term })
    }

    /// Whether a metric is found.
    pub fn matches(&self, metric: &Metric) -> bool {
        self.schema.as_ref().is_none_or(|s| s.matches(metric))
            && self.term.as_ref().is_none_or(|t| t.matches(metric))
    }
}

impl Schema {
    fn matches(&self, metric: &Metric) -> bool {
        self.namespace == metric.namespace
            && self.dimensions.len() == metric.dimensions.len()
            && metric
                .dimensions
                .iter()
                .all(|(name, _)| self.dimensions.contains(name))
    }
}

impl Term {
    fn matches(&self, metric: &Metric) -> bool {
        match self {
            Self::All(parts) => parts.iter().all(|part| part.matches(metric)),
            Self::Any(parts) => parts.iter().any(|part| part.matches(metric)),
            Self::Not(part) => !part.matches(metric),
            Self::Match { property, text } => match property.as_deref() {
                None => {
                    text.matches(&metric.namespace)
                        || text.matches(&metric.name)
                        || metric
                            .dimensions
                            .iter()
                            .any(|(name, value)| text.matches(name) || text.matches(value))
                }
                Some("MetricName") => text.matches(&metric.name),
                Some("Namespace") => text.matches(&metric.namespace),
                Some(dimension) => metric
                    .dimensions
                    .iter()
                    .any(|(name, value)| name == dimension && text.matches(value)),
            },
        }
    }
}

impl Text {
    fn matches(&self, value: &str) -> bool {
        match self {
            Self::Exact(text) => text == value,
            Self::Partial(wanted) => {
                let tokens = tokens(value);
                tokens
                    .windows(wanted.len())
                    .any(|window| window == wanted.as_slice())
                    || tokens.concat() == wanted.concat()
            }
        }
    }
}

/// Cuts a name where capitals, digits and other characters begin a new word: `SDBFailure-2` is `sdb`, `failure`, `2`.
fn tokens(text: &str) -> Vec<String> {
    let chars: Vec<char> = text.chars().collect();
    let mut tokens: Vec<String> = Vec::new();
    let mut before: Option<char> = None;
    for (at, c) in chars.iter().enumerate() {
        if !c.is_alphanumeric() {
            before = None;
            continue;
        }
        let begins = match before {
            None => true,
            Some(b) if b.is_numeric() != c.is_numeric() => true,
            Some(b) if c.is_uppercase() => {
                b.is_lowercase() || chars.get(at + 1).is_some_and(|next| next.is_lowercase())
            }
            Some(_) => false,
        };
        if begins {
            tokens.push(String::new());
        }
        if let Some(token) = tokens.last_mut() {
            token.extend(c.to_lowercase());
        }
        before = Some(*c);
    }
    tokens
}

struct Parser<'a> {
    rest: &'a str,
    depth: usize,
}

impl<'a> Parser<'a> {
    fn skip(&mut self) {
        self.rest = self.rest.trim_start();
    }

    fn take(&mut self, token: char) -> bool {
        match self.rest.strip_prefix(token) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    /// The outer `Option` is whether it parses, the inner one whether there is a schema.
    #[allow(clippy::option_option)]
    fn schema(&mut self) -> Option<Option<Schema>> {
        self.skip();
        if !self.take('{') {
            return Some(None);
        }
        let mut names = Vec::new();
        loop {
            self.skip();
            let name = match self.rest.starts_with('"') {
                true => self.quoted()?,
                false => self.until(|c| c == ',' || c == '}').trim().to_owned(),
            };
            if name.is_empty() {
                return None;
            }
            names.push(name);
            self.skip();
            if self.take('}') {
                break;
            }
            if !self.take(',') {
                return None;
            }
        }
        let namespace = names.remove(0);
        Some(Some(Schema {
            namespace,
            dimensions: names,
        }))
    }

    fn any(&mut self) -> Option<Term> {
        let mut parts = vec![self.all()?];
        while self.keyword("OR") {
            parts.push(self.all()?);
        }
        Some(one_or(parts, Term::Any))
    }

    fn all(&mut self) -> Option<Term> {
        let mut parts = vec![self.unit()?];
        loop {
            // Terms side by side are AND-ed as if it were written.
            if self.keyword("AND") {
                parts.push(self.unit()?);
                continue;
            }
            self.skip();
            if self.rest.is_empty() || self.rest.starts_with(')') || self.sees("OR") {
                return Some(one_or(parts, Term::All));
            }
            parts.push(self.unit()?);
        }
    }

    fn unit(&mut self) -> Option<Term> {
        self.depth += 1;
        if self.depth > NESTING_MAX {
            return None;
        }
        self.skip();
        let term = if self.keyword("NOT") {
            Term::Not(Box::new(self.unit()?))
        } else if self.take('(') {
            let inner = self.any()?;
            self.skip();
            if !self.take(')') {
                return None;
            }
            inner
        } else {
            self.matching()?
        };
        self.depth -= 1;
        Some(term)
    }

    fn matching(&mut self) -> Option<Term> {
        if self.rest.starts_with('"') {
            let first = self.quoted()?;
            return match self.take('=') {
                true => Some(Term::Match {
                    property: Some(first),
                    text: self.text()?,
                }),
                false => Some(Term::Match {
                    property: None,
                    text: Text::Exact(first),
                }),
            };
        }
        let word = self.until(|c| c.is_whitespace() || "()=\"".contains(c));
        match self.take('=') {
            true if word.is_empty() => None,
            true => Some(Term::Match {
                property: Some(word.to_owned()),
                text: self.text()?,
            }),
            false => Some(Term::Match {
                property: None,
                text: partial(word)?,
            }),
        }
    }

    fn text(&mut self) -> Option<Text> {
        match self.rest.starts_with('"') {
            true => self.quoted().map(Text::Exact),
            false => partial(self.until(|c| c.is_whitespace() || "()\"".contains(c))),
        }
    }

    fn quoted(&mut self) -> Option<String> {
        self.take('"');
        let mut text = String::new();
        let mut chars = self.rest.char_indices();
        while let Some((at, c)) = chars.next() {
            match c {
                '"' => {
                    self.rest = &self.rest[at + 1..];
                    return Some(text);
                }
                '\\' => text.push(chars.next()?.1),
                c => text.push(c),
            }
        }
        None
    }

    fn until(&mut self, stop: impl Fn(char) -> bool) -> &'a str {
        let (word, rest) = self
            .rest
            .split_at(self.rest.find(stop).unwrap_or(self.rest.len()));
        self.rest = rest;
        word
    }

    /// Whether an operator in capitals comes next, as a word of its own.
    fn sees(&self, word: &str) -> bool {
        self.rest.strip_prefix(word).is_some_and(|rest| {
            rest.chars()
                .next()
                .is_none_or(|c| c.is_whitespace() || "(\"".contains(c))
        })
    }

    fn keyword(&mut self, word: &str) -> bool {
        self.skip();
        let seen = self.sees(word);
        if seen {
            self.rest = &self.rest[word.len()..];
        }
        seen
    }
}

fn partial(word: &str) -> Option<Text> {
    let tokens = tokens(word);
    (!tokens.is_empty()).then_some(Text::Partial(tokens))
}

fn one_or(mut parts: Vec<Term>, many: fn(Vec<Term>) -> Term) -> Term {
    match parts.len() {
        1 => parts.remove(0),
        _ => many(parts),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn metric(namespace: &str, name: &str, dimensions: &[(&str, &str)]) -> Metric {
        let dimensions = dimensions
            .iter()
            .map(|(n, v)| ((*n).to_owned(), (*v).to_owned()))
            .collect();
        Metric::new(namespace, name, dimensions)
    }

    #[track_caller]
    fn check(search: &str, found: bool) {
        let metric = metric(
            "AWS/EC2",
            "CustomCount1",
            &[("InstanceId", "i-123"), ("Kind", "ProjectA-trial333")],
        );
        let search = Search::parse(search).expect(search);
        assert_eq!(search.matches(&metric), found, "{search:?}");
    }

    /// The examples of the page, section by section.
    #[test]
    fn searches() {
        check("{AWS/EC2,InstanceId,Kind}", true);
        check("{AWS/EC2,Kind,InstanceId} ", true);
        check("{AWS/EC2,InstanceId}", false);
        check("{AWS/EC2}", false);
        check(
            "{\"AWS/EC2\", \"InstanceId\", Kind}, \"CustomCount1\"",
            true,
        );
        for word in [
            "count",
            "Count",
            "COUNT",
            "customcount1",
            "CustomCount",
            "Count1",
            "custom+count",
            "333",
        ] {
            check(word, true);
        }
        for word in [
            "couNT",
            "customcount",
            "cust",
            "\"customcount1\"",
            "\"Custom\"",
            "33",
        ] {
            check(word, false);
        }
        check("\"CustomCount1\"", true);
        check("MetricName=\"CustomCount1\"", true);
        check("MetricName=count", true);
        check("Namespace=\"AWS/EC2\" MetricName=custom", true);
        check("Namespace=AWS", true);
        check("NOT Namespace=AWS", false);
        check("Kind=trial", true);
        check("Kind=\"trial\"", false);
        check("InstanceId=trial", false);
        check("nothing OR custom", true);
        check("nothing custom", false);
        check("count AND NOT \"ProjectB\"", true);
        check("count NOT \"i-123\"", false);
        check("(EC2 OR EBS) AND MetricName=Count", true);
        check("(EBS OR (count AND trial)) custom", true);
        check(
            "MetricName=\"Errors\" OR (MetricName=\"CustomCount1\" AND (ProjectX OR ProjectA))",
            true,
        );
    }

    #[test]
    fn what_is_no_search_is_refused() {
        for text in [
            "",
            "  ",
            "{}",
            "{AWS/EC2",
            "(a",
            "a)",
            "\"open",
            "=x",
            "a OR",
            "NOT",
            "MetricName=",
            "--",
            "{a,}",
        ] {
            assert_eq!(Search::parse(text), None, "{text}");
        }
        assert_eq!(Search::parse(&"(".repeat(1000)), None);
        assert_eq!(Search::parse(&"a".repeat(1025)), None);
    }

    #[test]
    fn names_are_cut_into_tokens() {
        assert_eq!(tokens("CustomCount1"), ["custom", "count", "1"]);
        assert_eq!(tokens("SDBFailure"), ["sdb", "failure"]);
        assert_eq!(
            tokens("Project2-trial333"),
            ["project", "2", "trial", "333"]
        );
        assert_eq!(tokens("Network-Errors_2"), ["network", "errors", "2"]);
    }
}
