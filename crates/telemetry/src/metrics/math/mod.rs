//! Metric math: expressions such as `100 * errors / FILL(METRICS("requests"), 0)`, parsed once and evaluated over time
//! series.
//!
//! Follows <https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/using-metric-math.html>. Functions that need
//! what is not built (anomaly detection, Contributor Insights, service quotas, Metrics Insights queries) are refused by
//! name.

mod eval;
mod functions;
mod parse;

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;

pub use eval::Environment;
use parse::Node;

/// Values of one metric or expression over time.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Series {
    /// What a graph would call it.
    pub label: String,
    /// Seconds between two possible data points.
    pub period_s: i64,
    /// Time in seconds since 1970 and value, in ascending order of time. Missing data points are absent.
    pub points: Vec<(i64, f64)>,
}

/// What an expression yields: a time series or several.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// One time series.
    One(Series),
    /// An array of them, from `METRICS()`, `SEARCH` and the like.
    Many(Vec<Series>),
}

/// A `SEARCH` inside an expression, which somebody who knows the metrics must answer before it is evaluated.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SearchCall {
    /// The search, see [`super::search::Search`].
    pub query: String,
    /// The statistic's name.
    pub statistic: String,
    /// The period in seconds, if it was given.
    pub period_s: Option<i64>,
}

/// A parsed expression.
#[derive(Debug, Clone, PartialEq)]
pub struct Expression(Node);

/// Why an expression is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MathError {
    /// It does not follow the grammar.
    #[error("Invalid syntax at position {0}")]
    Syntax(usize),
    /// It uses an id that no query of the request has.
    #[error("Unknown id '{0}'")]
    UnknownId(String),
    /// It refers to itself, directly or through others.
    #[error("Circular reference to '{0}'")]
    Circular(String),
    /// It calls a function that metric math does not have.
    #[error("Unknown function '{0}'")]
    UnknownFunction(String),
    /// It calls a function that is not built here.
    #[error("Function '{0}' is not implemented")]
    NotImplemented(String),
    /// A function got arguments of a kind or number that it does not take.
    #[error("Invalid arguments for function '{0}'")]
    Arguments(String),
    /// An operator got operands it cannot combine.
    #[error("Unsupported operand type(s) for '{0}'")]
    Operands(&'static str),
    /// The result is a number, which cannot be drawn over time.
    #[error("The expression must return a time series or an array of time series")]
    Scalar,
    /// It would take more memory and time than one request may have.
    #[error("The expression yields too many data points")]
    TooLarge,
    /// The search inside `SEARCH` cannot be parsed.
    #[error("Invalid search expression")]
    Search,
    /// The statistic inside `SEARCH` does not exist.
    #[error("Invalid statistic '{0}'")]
    Statistic(String),
}

impl Expression {
    /// Parses an expression.
    pub fn parse(text: &str) -> Result<Self, MathError> {
        parse::parse(text).map(Self)
    }

    /// The ids it refers to.
    pub fn references(&self) -> BTreeSet<String> {
        let mut ids = BTreeSet::new();
        self.0.visit(&mut |node| {
            if let Node::Id(id) = node {
                ids.insert(id.clone());
            }
        });
        ids
    }

    /// The searches that [`Environment::searches`] must hold when it is evaluated.
    pub fn searches(&self) -> Result<BTreeSet<SearchCall>, MathError> {
        let mut calls = BTreeSet::new();
        let mut failed = None;
        self.0.visit(&mut |node| {
            if let Node::Call(name, arguments) = node
                && name == "SEARCH"
            {
                match eval::search_call(arguments) {
                    Ok(call) => {
                        calls.insert(call);
                    }
                    Err(error) => failed = Some(error),
                }
            }
        });
        failed.map_or(Ok(calls), Err)
    }

    /// Computes it.
    pub fn evaluate(&self, environment: &Environment) -> Result<Outcome, MathError> {
        eval::evaluate(&self.0, environment)
    }
}
