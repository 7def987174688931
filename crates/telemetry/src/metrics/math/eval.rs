//! Evaluation: operators over scalars, time series and arrays of them.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};

use super::super::Window;
use super::parse::{Node, Operator};
use super::{MathError, Outcome, SearchCall, Series, functions};

/// Series in one array; as many as AWS allows metrics in a request.
const ARRAY_SERIES_MAX: usize = 500;

/// Data points that all the steps of a request's expressions may make together: an end to what one call costs.
const POINTS_MAX: u64 = 20_000_000;

/// All that an expression can see.
#[derive(Debug)]
pub struct Environment {
    /// The time range, in the period of the expression.
    pub window: Window,
    /// The metrics of the request (not its expressions), by id and in its order: what `METRICS()` yields.
    pub metrics: Vec<(String, Series)>,
    /// The results of the expressions that were evaluated before, by id.
    pub expressions: HashMap<String, Outcome>,
    /// What each `SEARCH` found.
    pub searches: HashMap<SearchCall, Vec<Series>>,
    /// Data points that were made so far.
    pub spent: AtomicU64,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Value {
    Scalar(f64),
    Series(Series),
    Array(Vec<Series>),
}

pub(super) fn evaluate(node: &Node, environment: &Environment) -> Result<Outcome, MathError> {
    match value(node, environment)? {
        Value::Scalar(_) => Err(MathError::Scalar),
        Value::Series(series) => Ok(Outcome::One(series)),
        Value::Array(array) => Ok(Outcome::Many(array)),
    }
}

pub(super) fn value(node: &Node, environment: &Environment) -> Result<Value, MathError> {
    let value = step(node, environment)?;
    let points = match &value {
        Value::Scalar(_) => 0,
        Value::Series(series) => series.points.len(),
        Value::Array(array) => array.iter().map(|series| series.points.len()).sum(),
    };
    environment.spend(points)?;
    Ok(value)
}

fn step(node: &Node, environment: &Environment) -> Result<Value, MathError> {
    match node {
        Node::Number(number) => Ok(Value::Scalar(*number)),
        Node::Id(id) => environment.get(id),
        Node::List(nodes) => list(nodes, environment),
        Node::Negate(inner) => each_point(value(inner, environment)?, &|x| -x),
        Node::Binary(operator, left, right) => {
            let (left, right) = (value(left, environment)?, value(right, environment)?);
            combine(*operator, left, right)
        }
        Node::Call(name, arguments) => functions::call(name, arguments, environment),
        Node::Text(_) | Node::Word(_) => Err(MathError::Operands("expression")),
    }
}

impl Environment {
    /// Accounts for data points before or after they are made.
    pub(super) fn spend(&self, points: usize) -> Result<(), MathError> {
        let before = self.spent.fetch_add(points as u64, Ordering::Relaxed);
        match before.saturating_add(points as u64) > POINTS_MAX {
            true => Err(MathError::TooLarge),
            false => Ok(()),
        }
    }

    fn get(&self, id: &str) -> Result<Value, MathError> {
        if let Some((_, series)) = self.metrics.iter().find(|(have, _)| have == id) {
            return Ok(Value::Series(series.clone()));
        }
        match self.expressions.get(id) {
            Some(Outcome::One(series)) => Ok(Value::Series(series.clone())),
            Some(Outcome::Many(array)) => Ok(Value::Array(array.clone())),
            None => Err(MathError::UnknownId(id.to_owned())),
        }
    }
}

/// `[m1, m2]`; arrays inside are unfolded, as in `SUM([METRICS("4xx"), METRICS("5xx")])`.
fn list(nodes: &[Node], environment: &Environment) -> Result<Value, MathError> {
    let mut array = Vec::new();
    for node in nodes {
        match value(node, environment)? {
            Value::Series(series) => array.push(series),
            Value::Array(more) => array.extend(more),
            Value::Scalar(_) => return Err(MathError::Operands("[]")),
        }
        if array.len() > ARRAY_SERIES_MAX {
            return Err(MathError::TooLarge);
        }
    }
    Ok(Value::Array(array))
}

/// Reads the arguments of a `SEARCH`.
pub(super) fn search_call(arguments: &[Node]) -> Result<SearchCall, MathError> {
    let period = match arguments.get(2) {
        None => None,
        Some(Node::Number(number)) if *number >= 1.0 && *number <= f64::from(i32::MAX) => {
            // Checked to fit on the line above; a fraction of a second is not a period and is dropped.
            #[allow(clippy::cast_possible_truncation)]
            Some(*number as i64)
        }
        Some(_) => return Err(MathError::Arguments("SEARCH".into())),
    };
    match arguments {
        [Node::Text(query), Node::Text(statistic)]
        | [Node::Text(query), Node::Text(statistic), _] => Ok(SearchCall {
            query: query.clone(),
            statistic: statistic.clone(),
            period_s: period,
        }),
        _ => Err(MathError::Arguments("SEARCH".into())),
    }
}

/// Applies a function to every data point. A result that is not a number is a missing data point.
pub(super) fn each_point(value: Value, f: &dyn Fn(f64) -> f64) -> Result<Value, MathError> {
    let each = |mut series: Series| {
        series.points = keep_finite(series.points.into_iter().map(|(t, x)| (t, f(x))));
        series
    };
    Ok(match value {
        Value::Scalar(x) => Value::Scalar(f(x)),
        Value::Series(series) => Value::Series(each(series)),
        Value::Array(array) => Value::Array(array.into_iter().map(each).collect()),
    })
}

/// "If the value of a data point causes a function to attempt to divide by zero, the data point is dropped."
pub(super) fn keep_finite(points: impl Iterator<Item = (i64, f64)>) -> Vec<(i64, f64)> {
    points.filter(|(_, x)| x.is_finite()).collect()
}

fn combine(operator: Operator, left: Value, right: Value) -> Result<Value, MathError> {
    use Value::{Array, Scalar, Series};
    let apply = |a: f64, b: f64| operator.apply(a, b);
    Ok(match (left, right) {
        (Scalar(a), Scalar(b)) => Scalar(apply(a, b)),
        (left @ (Series(_) | Array(_)), Scalar(b)) => each_point(left, &|a| apply(a, b))?,
        (Scalar(a), right @ (Series(_) | Array(_))) => each_point(right, &|b| apply(a, b))?,
        (Series(a), Series(b)) => Series(zip(&a, &b, &apply)),
        (Array(many), Series(one)) => {
            Array(many.iter().map(|each| zip(each, &one, &apply)).collect())
        }
        (Series(one), Array(many)) => Array(
            many.iter()
                .map(|each| {
                    let mut zipped = zip(&one, each, &apply);
                    zipped.label.clone_from(&each.label);
                    zipped
                })
                .collect(),
        ),
        (Array(_), Array(_)) => return Err(MathError::Operands(operator.written())),
    })
}

/// Combines two series time by time; where only one has a value, the other counts as zero.
fn zip(left: &Series, right: &Series, f: &dyn Fn(f64, f64) -> f64) -> Series {
    let mut pairs: BTreeMap<i64, (f64, f64)> = BTreeMap::new();
    for (time, x) in &left.points {
        pairs.entry(*time).or_default().0 = *x;
    }
    for (time, x) in &right.points {
        pairs.entry(*time).or_default().1 = *x;
    }
    Series {
        label: left.label.clone(),
        period_s: left.period_s.max(right.period_s),
        points: keep_finite(pairs.into_iter().map(|(t, (a, b))| (t, f(a, b)))),
    }
}

impl Operator {
    fn apply(self, a: f64, b: f64) -> f64 {
        let truth = |holds: bool| if holds { 1.0 } else { 0.0 };
        match self {
            Self::Add => a + b,
            Self::Subtract => a - b,
            Self::Multiply => a * b,
            Self::Divide => a / b,
            Self::Power => a.powf(b),
            Self::Or => truth(a != 0.0 || b != 0.0),
            Self::And => truth(a != 0.0 && b != 0.0),
            // Metric math compares doubles as they are; a tolerance would be an invention.
            #[allow(clippy::float_cmp)]
            Self::Equal => truth(a == b),
            #[allow(clippy::float_cmp)]
            Self::NotEqual => truth(a != b),
            Self::Less => truth(a < b),
            Self::LessOrEqual => truth(a <= b),
            Self::Greater => truth(a > b),
            Self::GreaterOrEqual => truth(a >= b),
        }
    }
}
