//! The functions of metric math, one row of AWS's table each.

use std::collections::BTreeMap;

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;

use super::eval::{Environment, Value, each_point, keep_finite, search_call, value};
use super::parse::Node;
use super::{MathError, Series};

/// Real functions whose foundation is not built here.
const NOT_BUILT: [&str; 5] = [
    "ANOMALY_DETECTION_BAND",
    "INSIGHT_RULE_METRIC",
    "SERVICE_QUOTA",
    "DB_PERF_INSIGHTS",
    "LAMBDA",
];

pub(super) fn call(
    name: &str,
    arguments: &[Node],
    environment: &Environment,
) -> Result<Value, MathError> {
    let call = Call {
        name,
        arguments,
        environment,
    };
    match name {
        "ABS" => call.points(f64::abs),
        "CEIL" => call.points(f64::ceil),
        "FLOOR" => call.points(f64::floor),
        "LOG" => call.points(f64::ln),
        "LOG10" => call.points(f64::log10),
        "AVG" => call.aggregate(Reduction::Average),
        "MAX" => call.aggregate(Reduction::Maximum),
        "MIN" => call.aggregate(Reduction::Minimum),
        "SUM" => call.aggregate(Reduction::Sum),
        "STDDEV" => call.aggregate(Reduction::Deviation),
        "DATAPOINT_COUNT" => call.aggregate(Reduction::Count),
        "DIFF" => call.steps(|_, difference| difference),
        "DIFF_TIME" => call.steps(|seconds, _| seconds),
        "RATE" => call.steps(|seconds, difference| difference / seconds),
        "RUNNING_SUM" => call.running_sum(),
        "EPOCH" => call.clock(|time, _| Some(time as f64)),
        "MINUTE" => call.clock(|_, at| Some(f64::from(at.minute()))),
        "HOUR" => call.clock(|_, at| Some(f64::from(at.hour()))),
        "DAY" => call.clock(|_, at| Some(f64::from(at.weekday().to_monday_one_offset()))),
        "DATE" => call.clock(|_, at| Some(f64::from(at.day()))),
        "MONTH" => call.clock(|_, at| Some(f64::from(at.month()))),
        "YEAR" => call.clock(|_, at| Some(f64::from(at.year()))),
        "FILL" => call.fill(),
        "FIRST" => call.pick(|array| array.into_iter().next()),
        "LAST" => call.pick(|array| array.into_iter().next_back()),
        "IF" => call.choose(),
        "METRICS" => call.metrics(),
        "METRIC_COUNT" => Ok(Value::Scalar(call.array(0)?.len() as f64)),
        "PERIOD" => call.period(),
        "REMOVE_EMPTY" => {
            let mut array = call.only_array()?;
            array.retain(|series| !series.points.is_empty());
            Ok(Value::Array(array))
        }
        "SEARCH" => call.search(),
        "SLICE" => call.slice(),
        "SORT" => call.sort(),
        "TIME_SERIES" => call.time_series(),
        name if NOT_BUILT.contains(&name) => Err(MathError::NotImplemented(name.to_owned())),
        name => Err(MathError::UnknownFunction(name.to_owned())),
    }
}

struct Call<'a> {
    name: &'a str,
    arguments: &'a [Node],
    environment: &'a Environment,
}

/// How `AVG`, `SUM` and the others make one number of many.
#[derive(Clone, Copy)]
enum Reduction {
    Average,
    Maximum,
    Minimum,
    Sum,
    Deviation,
    Count,
}

impl Reduction {
    /// Reduces the values that are there. `width` is how many there could be: missing ones count as zero in `AVG` and
    /// `STDDEV`, as AWS says of `AVG`, and do not exist for the others.
    fn of(self, values: &[f64], width: usize) -> Option<f64> {
        if values.is_empty() {
            return match self {
                Self::Count => Some(0.0),
                _ => None,
            };
        }
        let sum: f64 = values.iter().sum();
        let mean = sum / width as f64;
        Some(match self {
            Self::Average => mean,
            Self::Sum => sum,
            Self::Count => values.len() as f64,
            Self::Maximum => values.iter().copied().fold(f64::NEG_INFINITY, f64::max),
            Self::Minimum => values.iter().copied().fold(f64::INFINITY, f64::min),
            Self::Deviation => {
                let missing = (width - values.len()) as f64;
                let squares: f64 = values.iter().map(|x| (x - mean).powi(2)).sum();
                ((squares + missing * mean.powi(2)) / width as f64).sqrt()
            }
        })
    }

    fn of_series(self, series: &Series) -> Option<f64> {
        let values: Vec<f64> = series.points.iter().map(|(_, x)| *x).collect();
        self.of(&values, values.len())
    }
}

impl Call<'_> {
    fn wrong(&self) -> MathError {
        MathError::Arguments(self.name.to_owned())
    }

    fn value(&self, at: usize) -> Result<Value, MathError> {
        match self.arguments.get(at) {
            Some(Node::Text(_) | Node::Word(_)) | None => Err(self.wrong()),
            Some(node) => value(node, self.environment),
        }
    }

    fn only(&self) -> Result<Value, MathError> {
        match self.arguments {
            [_] => self.value(0),
            _ => Err(self.wrong()),
        }
    }

    fn array(&self, at: usize) -> Result<Vec<Series>, MathError> {
        match self.value(at)? {
            Value::Array(array) => Ok(array),
            // A search or an array that found one metric is still an array to its reader.
            Value::Series(series) => Ok(vec![series]),
            Value::Scalar(_) => Err(self.wrong()),
        }
    }

    fn only_array(&self) -> Result<Vec<Series>, MathError> {
        match self.arguments {
            [_] => self.array(0),
            _ => Err(self.wrong()),
        }
    }

    fn scalar(&self, at: usize) -> Result<f64, MathError> {
        match self.value(at)? {
            Value::Scalar(x) => Ok(x),
            _ => Err(self.wrong()),
        }
    }

    fn index(&self, at: usize) -> Result<usize, MathError> {
        let x = self.scalar(at)?;
        match x >= 0.0 && x <= f64::from(u32::MAX) && x.fract() == 0.0 {
            // Checked to be a whole number that fits.
            #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
            true => Ok(x as usize),
            false => Err(self.wrong()),
        }
    }

    fn word(&self, at: usize) -> Option<&str> {
        match self.arguments.get(at) {
            Some(Node::Word(word)) => Some(word),
            _ => None,
        }
    }

    /// Turns each series of the only argument into another one.
    fn each(&self, f: impl Fn(Series) -> Series) -> Result<Value, MathError> {
        match self.only()? {
            Value::Series(series) => Ok(Value::Series(f(series))),
            Value::Array(array) => Ok(Value::Array(array.into_iter().map(f).collect())),
            Value::Scalar(_) => Err(self.wrong()),
        }
    }

    /// Refuses series without gaps over a range that has too many periods, before they are made.
    fn afford(&self, value: &Value) -> Result<(), MathError> {
        let window = self.environment.window;
        let periods = |series: &Series| window.with_period(series.period_s).count();
        let points = match value {
            Value::Scalar(_) => window.count(),
            Value::Series(series) => periods(series),
            Value::Array(array) => array.iter().map(periods).sum(),
        };
        self.environment
            .spend(usize::try_from(points).unwrap_or(usize::MAX))
    }

    fn points(&self, f: fn(f64) -> f64) -> Result<Value, MathError> {
        each_point(self.only()?, &f)
    }

    /// One series becomes a scalar, an array becomes one series.
    fn aggregate(&self, reduction: Reduction) -> Result<Value, MathError> {
        match self.only()? {
            Value::Scalar(_) => Err(self.wrong()),
            Value::Series(series) => Ok(Value::Scalar(reduction.of_series(&series).unwrap_or(0.0))),
            Value::Array(array) => {
                let mut columns: BTreeMap<i64, Vec<f64>> = BTreeMap::new();
                for (time, x) in array.iter().flat_map(|series| &series.points) {
                    columns.entry(*time).or_default().push(*x);
                }
                let points = columns
                    .into_iter()
                    .filter_map(|(time, values)| Some((time, reduction.of(&values, array.len())?)));
                Ok(Value::Series(Series {
                    label: self.name.to_owned(),
                    period_s: self.longest_period(&array),
                    points: keep_finite(points),
                }))
            }
        }
    }

    fn longest_period(&self, array: &[Series]) -> i64 {
        let periods = array.iter().map(|series| series.period_s);
        periods.max().unwrap_or(self.environment.window.period_s)
    }

    /// Compares each data point with the one before; `f` gets the seconds and the difference.
    fn steps(&self, f: fn(f64, f64) -> f64) -> Result<Value, MathError> {
        self.each(|mut series| {
            let steps = series.points.windows(2).map(|pair| {
                let ((t0, x0), (t1, x1)) = (pair[0], pair[1]);
                (t1, f((t1 - t0) as f64, x1 - x0))
            });
            series.points = keep_finite(steps);
            series
        })
    }

    fn running_sum(&self) -> Result<Value, MathError> {
        self.each(|mut series| {
            let mut sum = 0.0;
            for (_, x) in &mut series.points {
                sum += *x;
                *x = sum;
            }
            series
        })
    }

    /// A series without gaps whose values come from the time itself.
    fn clock(&self, f: fn(i64, DateTime) -> Option<f64>) -> Result<Value, MathError> {
        self.afford(&self.only()?)?;
        self.each(|series| {
            let times = self
                .environment
                .window
                .with_period(series.period_s)
                .periods();
            let points = times.filter_map(|time| {
                let at = Timestamp::from_second(time).ok()?;
                Some((time, f(time, at.to_zoned(TimeZone::UTC).datetime())?))
            });
            Series {
                points: points.collect(),
                ..series
            }
        })
    }

    fn fill(&self) -> Result<Value, MathError> {
        if self.arguments.len() != 2 {
            return Err(self.wrong());
        }
        let filler = match self.word(1) {
            Some("REPEAT") => Filler::Repeat,
            Some("LINEAR") => Filler::Linear,
            Some(_) => return Err(self.wrong()),
            None => match self.value(1)? {
                Value::Scalar(x) => Filler::Constant(x),
                Value::Series(series) => Filler::Series(series.points.into_iter().collect()),
                Value::Array(_) => return Err(self.wrong()),
            },
        };
        let given = self.value(0)?;
        self.afford(&given)?;
        let fill = |series: Series| {
            let times = self
                .environment
                .window
                .with_period(series.period_s)
                .periods();
            filler.fill(series, times)
        };
        match given {
            Value::Series(series) => Ok(Value::Series(fill(series))),
            Value::Array(array) => Ok(Value::Array(array.into_iter().map(fill).collect())),
            Value::Scalar(_) => Err(self.wrong()),
        }
    }

    fn pick(&self, f: fn(Vec<Series>) -> Option<Series>) -> Result<Value, MathError> {
        let array = self.only_array()?;
        let empty = Series {
            label: self.name.to_owned(),
            period_s: self.environment.window.period_s,
            points: Vec::new(),
        };
        Ok(Value::Series(f(array).unwrap_or(empty)))
    }

    /// `IF(condition, then[, otherwise])`. A true condition without a value in `then` yields 0, a false one without a
    /// value in `otherwise` yields no data point; AWS's tables say so.
    fn choose(&self) -> Result<Value, MathError> {
        let otherwise = match self.arguments.len() {
            2 => None,
            3 => Some(self.value(2)?),
            _ => return Err(self.wrong()),
        };
        let then = self.value(1)?;
        if matches!(then, Value::Array(_)) || matches!(otherwise, Some(Value::Array(_))) {
            return Err(self.wrong());
        }
        match self.value(0)? {
            Value::Array(_) => Err(self.wrong()),
            Value::Scalar(condition) if condition != 0.0 => Ok(then),
            Value::Scalar(_) => Ok(otherwise.unwrap_or_else(|| {
                Value::Series(Series {
                    label: self.name.to_owned(),
                    period_s: self.environment.window.period_s,
                    points: Vec::new(),
                })
            })),
            Value::Series(condition) => {
                let then = by_time(Some(&then));
                let otherwise = by_time(otherwise.as_ref());
                let points = condition.points.iter().filter_map(|(time, x)| {
                    let value = if *x == 0.0 {
                        otherwise(*time)?
                    } else {
                        then(*time).unwrap_or(0.0)
                    };
                    Some((*time, value))
                });
                let points = keep_finite(points);
                Ok(Value::Series(Series {
                    points,
                    ..condition
                }))
            }
        }
    }

    fn metrics(&self) -> Result<Value, MathError> {
        let part = match self.arguments {
            [] => "",
            [Node::Text(part)] => part,
            _ => return Err(self.wrong()),
        };
        let metrics = self.environment.metrics.iter();
        Ok(Value::Array(
            metrics
                .filter(|(id, _)| id.contains(part))
                .map(|(_, series)| series.clone())
                .collect(),
        ))
    }

    /// "Valid input is metrics, not the results of other expressions."
    fn period(&self) -> Result<Value, MathError> {
        let [Node::Id(id)] = self.arguments else {
            return Err(self.wrong());
        };
        let metric = self.environment.metrics.iter().find(|(have, _)| have == id);
        match metric {
            Some((_, series)) => Ok(Value::Scalar(series.period_s as f64)),
            None if self.environment.expressions.contains_key(id) => Err(self.wrong()),
            None => Err(MathError::UnknownId(id.clone())),
        }
    }

    fn search(&self) -> Result<Value, MathError> {
        let found = self.environment.searches.get(&search_call(self.arguments)?);
        found.cloned().map(Value::Array).ok_or(MathError::Search)
    }

    fn slice(&self) -> Result<Value, MathError> {
        let array = self.array(0)?;
        let (start, end) = match self.arguments.len() {
            2 => (self.index(1)?, array.len()),
            3 => (self.index(1)?, self.index(2)?),
            _ => return Err(self.wrong()),
        };
        let end = end.min(array.len());
        Ok(Value::Array(
            array.into_iter().take(end).skip(start).collect(),
        ))
    }

    fn sort(&self) -> Result<Value, MathError> {
        let by = match self.word(1) {
            Some("AVG") => Reduction::Average,
            Some("MIN") => Reduction::Minimum,
            Some("MAX") => Reduction::Maximum,
            Some("SUM") => Reduction::Sum,
            _ => return Err(self.wrong()),
        };
        let limit = match self.arguments.len() {
            3 => usize::MAX,
            4 => self.index(3)?,
            _ => return Err(self.wrong()),
        };
        let mut keyed: Vec<(Option<f64>, Series)> = self
            .array(0)?
            .into_iter()
            .map(|series| (by.of_series(&series), series))
            .collect();
        // Series without data points have no order; they stay behind the others either way.
        let descending = match self.word(2) {
            Some("ASC") => false,
            Some("DESC") => true,
            _ => return Err(self.wrong()),
        };
        keyed.sort_by(|(a, _), (b, _)| match (a, b) {
            (Some(a), Some(b)) if descending => b.total_cmp(a),
            (Some(a), Some(b)) => a.total_cmp(b),
            (a, b) => b.is_some().cmp(&a.is_some()),
        });
        Ok(Value::Array(
            keyed
                .into_iter()
                .map(|(_, series)| series)
                .take(limit)
                .collect(),
        ))
    }

    fn time_series(&self) -> Result<Value, MathError> {
        if self.arguments.len() != 1 {
            return Err(self.wrong());
        }
        let x = self.scalar(0)?;
        self.afford(&Value::Scalar(x))?;
        let window = self.environment.window;
        Ok(Value::Series(Series {
            label: self.name.to_owned(),
            period_s: window.period_s,
            points: keep_finite(window.periods().map(|time| (time, x))),
        }))
    }
}

/// Reads a scalar or a series by time.
fn by_time(value: Option<&Value>) -> Box<dyn Fn(i64) -> Option<f64>> {
    match value {
        Some(Value::Scalar(x)) => {
            let x = *x;
            Box::new(move |_| Some(x))
        }
        Some(Value::Series(series)) => {
            let points: BTreeMap<i64, f64> = series.points.iter().copied().collect();
            Box::new(move |time| points.get(&time).copied())
        }
        Some(Value::Array(_)) | None => Box::new(|_| None),
    }
}

/// What `FILL` puts where a data point is missing.
enum Filler {
    Constant(f64),
    Series(BTreeMap<i64, f64>),
    /// The latest value before the gap.
    Repeat,
    /// The straight line between the values around the gap.
    Linear,
}

impl Filler {
    fn fill(&self, series: Series, times: impl Iterator<Item = i64>) -> Series {
        let have: BTreeMap<i64, f64> = series.points.into_iter().collect();
        let before = |time: i64| have.range(..time).next_back();
        let mut filled = have.clone();
        for time in times.filter(|time| !have.contains_key(time)) {
            let x = match self {
                Self::Constant(x) => Some(*x),
                Self::Series(other) => other.get(&time).copied(),
                Self::Repeat => before(time).map(|(_, x)| *x),
                Self::Linear => match (before(time), have.range(time..).next()) {
                    (Some((t0, x0)), Some((t1, x1))) => {
                        let share = (time - t0) as f64 / (t1 - t0) as f64;
                        Some(x0 + (x1 - x0) * share)
                    }
                    _ => None,
                },
            };
            if let Some(x) = x {
                filled.insert(time, x);
            }
        }
        Series {
            points: keep_finite(filled.into_iter()),
            ..series
        }
    }
}
