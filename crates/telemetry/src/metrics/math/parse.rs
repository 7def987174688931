//! The grammar: `OR` before `AND` before comparisons before `+ -` before `* /` before unary `-` before `^`.

use super::MathError;

/// How deep an expression may nest; the parser's recursion must end before the stack does.
const NESTING_MAX: usize = 60;

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Node {
    Number(f64),
    Text(String),
    /// A reference to another query, which begins with a small letter.
    Id(String),
    /// A word in capitals without parentheses: `AVG` and `DESC` in `SORT`, `REPEAT` in `FILL`.
    Word(String),
    List(Vec<Self>),
    Negate(Box<Self>),
    Binary(Operator, Box<Self>, Box<Self>),
    Call(String, Vec<Self>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Operator {
    Or,
    And,
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    Add,
    Subtract,
    Multiply,
    Divide,
    Power,
}

/// Every operator: how it is written, what it is, and how tightly it binds. Longer spellings come first.
const OPERATORS: [(&str, Operator, u8); 15] = [
    ("OR", Operator::Or, 1),
    ("||", Operator::Or, 1),
    ("AND", Operator::And, 2),
    ("&&", Operator::And, 2),
    ("==", Operator::Equal, 3),
    ("!=", Operator::NotEqual, 3),
    ("<=", Operator::LessOrEqual, 3),
    (">=", Operator::GreaterOrEqual, 3),
    ("<", Operator::Less, 3),
    (">", Operator::Greater, 3),
    ("+", Operator::Add, 4),
    ("-", Operator::Subtract, 4),
    ("*", Operator::Multiply, 5),
    ("/", Operator::Divide, 5),
    ("^", Operator::Power, 7),
];
const LOOSEST: u8 = 1;
/// Unary minus: tighter than `*`, looser than `^`.
const UNARY: u8 = 6;

impl Operator {
    pub(super) fn written(self) -> &'static str {
        OPERATORS
            .iter()
            .find(|(_, operator, _)| *operator == self)
            .map_or("", |(written, ..)| written)
    }
}

impl Node {
    /// Calls `see` for this node and everything below it.
    pub(super) fn visit(&self, see: &mut dyn FnMut(&Self)) {
        see(self);
        match self {
            Self::List(nodes) | Self::Call(_, nodes) => {
                for node in nodes {
                    node.visit(see);
                }
            }
            Self::Negate(node) => node.visit(see),
            Self::Binary(_, left, right) => {
                left.visit(see);
                right.visit(see);
            }
            Self::Number(_) | Self::Text(_) | Self::Id(_) | Self::Word(_) => {}
        }
    }
}

pub(super) fn parse(text: &str) -> Result<Node, MathError> {
    let mut parser = Parser {
        text,
        at: 0,
        depth: 0,
    };
    let node = parser.expression(LOOSEST)?;
    parser.skip();
    match parser.rest().is_empty() {
        true => Ok(node),
        false => Err(parser.error()),
    }
}

struct Parser<'a> {
    text: &'a str,
    at: usize,
    depth: usize,
}

impl<'a> Parser<'a> {
    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    fn error(&self) -> MathError {
        MathError::Syntax(self.text[..self.at].chars().count())
    }

    fn skip(&mut self) {
        self.at = self.text.len() - self.rest().trim_start().len();
    }

    fn take(&mut self, token: &str) -> bool {
        self.skip();
        let found = self.rest().starts_with(token);
        if found {
            self.at += token.len();
        }
        found
    }

    fn take_while(&mut self, allowed: impl Fn(char) -> bool) -> &'a str {
        let rest = self.rest();
        let end = rest.find(|c| !allowed(c)).unwrap_or(rest.len());
        self.at += end;
        &rest[..end]
    }

    /// An expression of operators that bind at least as tightly as `tightness`.
    fn expression(&mut self, tightness: u8) -> Result<Node, MathError> {
        self.depth += 1;
        if self.depth > NESTING_MAX {
            return Err(self.error());
        }
        let mut left = self.operand()?;
        while let Some((operator, binds)) = self.operator(tightness) {
            // `^` groups to the right, the others to the left.
            let right = self.expression(if operator == Operator::Power {
                binds
            } else {
                binds + 1
            })?;
            left = Node::Binary(operator, Box::new(left), Box::new(right));
        }
        self.depth -= 1;
        Ok(left)
    }

    fn operator(&mut self, tightness: u8) -> Option<(Operator, u8)> {
        self.skip();
        let rest = self.rest();
        let (written, operator, binds) = OPERATORS.iter().find(|(written, ..)| {
            rest.strip_prefix(written).is_some_and(|after| {
                !written.ends_with(char::is_alphabetic) || !after.starts_with(is_word)
            })
        })?;
        if *binds < tightness {
            return None;
        }
        self.at += written.len();
        Some((*operator, *binds))
    }

    fn operand(&mut self) -> Result<Node, MathError> {
        self.skip();
        match self.rest().chars().next() {
            Some('-') => {
                self.at += 1;
                Ok(Node::Negate(Box::new(self.expression(UNARY)?)))
            }
            Some('(') => {
                self.at += 1;
                let inner = self.expression(LOOSEST)?;
                match self.take(")") {
                    true => Ok(inner),
                    false => Err(self.error()),
                }
            }
            Some('[') => {
                self.at += 1;
                self.list("]").map(Node::List)
            }
            Some(quote @ ('"' | '\'')) => self.quoted(quote),
            Some(c) if c.is_ascii_digit() || c == '.' => self.number(),
            Some(c) if c.is_ascii_lowercase() => Ok(Node::Id(self.take_while(is_word).to_owned())),
            Some(c) if c.is_ascii_uppercase() => {
                let name = self.take_while(is_word).to_owned();
                match self.take("(") {
                    true => Ok(Node::Call(name, self.list(")")?)),
                    false => Ok(Node::Word(name)),
                }
            }
            _ => Err(self.error()),
        }
    }

    /// Operands between commas, up to a closing bracket; there may be none.
    fn list(&mut self, close: &str) -> Result<Vec<Node>, MathError> {
        let mut nodes = Vec::new();
        if self.take(close) {
            return Ok(nodes);
        }
        loop {
            nodes.push(self.expression(LOOSEST)?);
            if self.take(close) {
                return Ok(nodes);
            }
            if !self.take(",") {
                return Err(self.error());
            }
        }
    }

    /// A quoted text. The other kind of quote may stand in it, and a backslash keeps what follows it as it is, because
    /// a search expression has escapes of its own.
    fn quoted(&mut self, quote: char) -> Result<Node, MathError> {
        let mut text = String::new();
        let mut chars = self.rest().char_indices().skip(1);
        while let Some((at, c)) = chars.next() {
            match c {
                c if c == quote => {
                    self.at += at + quote.len_utf8();
                    return Ok(Node::Text(text));
                }
                '\\' => match chars.next() {
                    Some((_, c)) if c == quote => text.push(c),
                    Some((_, c)) => text.extend(['\\', c]),
                    None => break,
                },
                c => text.push(c),
            }
        }
        Err(self.error())
    }

    fn number(&mut self) -> Result<Node, MathError> {
        let start = self.at;
        self.take_while(|c| c.is_ascii_digit() || c == '.');
        if self.rest().starts_with(['e', 'E']) {
            self.at += 1;
            if self.rest().starts_with(['+', '-']) {
                self.at += 1;
            }
            self.take_while(|c| c.is_ascii_digit());
        }
        let glued = self.rest().starts_with(is_word);
        match self.text[start..self.at].parse() {
            Ok(number) if !glued => Ok(Node::Number(number)),
            _ => Err(MathError::Syntax(self.text[..start].chars().count())),
        }
    }
}

fn is_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}
