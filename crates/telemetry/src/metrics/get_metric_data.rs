//! GetMetricData: many metrics at once, and expressions over them.

use std::collections::{BTreeMap, HashMap};

use wire::{Arn, Context, Error as Refused, Operation, Scope, Shape, Timestamp, number, text};

use super::cloudwatch::CloudWatch;
use super::get_metric_statistics::Period;
use super::labels::{Subject, fill_in};
use super::math::{Environment, Expression, MathError, Outcome, SearchCall, Series};
use super::search::Search;
use super::shapes::{Dimensions, MetricName, Namespace, metric, moment};
use super::{Distribution, Metric, Statistic, Unit, Window};
use crate::{Error, Result, page_token};

/// Queries in one request.
const QUERIES_MAX: usize = 500;
/// Data points in one page.
const DATAPOINTS_MAX: i64 = 100_800;
/// Periods that all queries of a request may have together: an end to what one call costs. Three years of one metric by
/// the minute are fewer.
const PERIODS_MAX: i64 = 2_000_000;
/// Metrics that one search finds.
const SEARCH_RESULTS_MAX: usize = 500;
/// The period of expressions that use no metric and name no period.
const PERIOD_S: i64 = 300;

text! {
    /// The name of a query within a request.
    pub struct MetricId: 1..=255;
    /// A metric math expression.
    pub struct MetricExpression: 1..=2048;
    /// An account.
    pub struct AccountId: 1..=255;
}

number! {
    /// How many data points a page may have.
    pub struct MaxDatapoints: 1..=DATAPOINTS_MAX;
}

/// The order of the data points.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Shape)]
#[allow(missing_docs, reason = "the names say all")]
pub enum ScanBy {
    TimestampDescending,
    TimestampAscending,
}

/// Reads metrics and computes expressions.
/// <https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_GetMetricData.html>
#[derive(Shape)]
pub struct GetMetricData {
    metric_data_queries: Vec<MetricDataQuery>,
    start_time: Timestamp,
    end_time: Timestamp,
    next_token: Option<String>,
    scan_by: Option<ScanBy>,
    max_datapoints: Option<MaxDatapoints>,
    /// For labels with times, which are not built.
    label_options: Option<LabelOptions>,
}

/// How labels show times.
#[derive(Shape)]
pub struct LabelOptions {
    timezone: Option<String>,
}

/// One metric or expression.
#[derive(Shape)]
pub struct MetricDataQuery {
    id: MetricId,
    metric_stat: Option<MetricStat>,
    expression: Option<MetricExpression>,
    label: Option<String>,
    return_data: Option<bool>,
    period: Option<Period>,
    account_id: Option<AccountId>,
}

/// A metric and what to compute of it.
#[derive(Shape)]
pub struct MetricStat {
    metric: MetricInput,
    period: Period,
    stat: String,
    unit: Option<Unit>,
}

/// A metric.
#[derive(Shape)]
pub struct MetricInput {
    namespace: Option<Namespace>,
    metric_name: Option<MetricName>,
    dimensions: Option<Dimensions>,
}

/// A page of results.
#[derive(Shape)]
pub struct GetMetricDataOutput {
    metric_data_results: Vec<MetricDataResult>,
    next_token: Option<String>,
    messages: Vec<MessageData>,
}

/// The data points of one time series.
#[derive(Shape)]
pub struct MetricDataResult {
    id: String,
    label: String,
    timestamps: Vec<Timestamp>,
    values: Vec<f64>,
    status_code: StatusCode,
    messages: Option<Vec<MessageData>>,
}

/// Whether a result is whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Shape)]
#[allow(missing_docs, reason = "the names say all")]
pub enum StatusCode {
    Complete,
    InternalError,
    PartialData,
    Forbidden,
}

/// A remark.
#[derive(Shape)]
pub struct MessageData {
    code: String,
    value: String,
}

impl Operation for GetMetricData {
    type Service = CloudWatch;
    type Output = GetMetricDataOutput;
    const NAME: &'static str = "GetMetricData";

    fn resource(&self, _: &Scope) -> Arn {
        Arn::any()
    }

    async fn run(
        self,
        cloudwatch: &CloudWatch,
        cx: &Context,
    ) -> Result<GetMetricDataOutput, Refused> {
        let offset = match self.next_token.as_deref() {
            Some(token) => page_token::read(token)
                .and_then(|offset| offset.parse::<usize>().ok())
                .ok_or(Error::MetricsToken)?,
            None => 0,
        };
        let plan = Plan::of(&self, cx)?;
        cloudwatch.recorder.flush().await?;
        let results = plan.run(cloudwatch, cx).await?;
        Ok(self.page(results, offset))
    }
}

fn invalid(text: impl Into<String>) -> Error {
    Error::Validation(text.into())
}

impl GetMetricData {
    /// A page gives every result the same number of data points, so that pages of all results end together.
    fn page(&self, results: Vec<MetricDataResult>, offset: usize) -> GetMetricDataOutput {
        let max = self
            .max_datapoints
            .map_or(DATAPOINTS_MAX, MaxDatapoints::get);
        let max = usize::try_from(max).unwrap_or(usize::MAX);
        let each = (max / results.len().max(1)).max(1);
        let mut more = false;
        let ascending = self.scan_by == Some(ScanBy::TimestampAscending);
        let cut = |mut result: MetricDataResult| {
            if !ascending {
                result.timestamps.reverse();
                result.values.reverse();
            }
            if result.values.len() > offset + each {
                more = true;
                result.status_code = StatusCode::PartialData;
            }
            result.timestamps = result
                .timestamps
                .into_iter()
                .skip(offset)
                .take(each)
                .collect();
            result.values = result.values.into_iter().skip(offset).take(each).collect();
            result
        };
        let metric_data_results = results.into_iter().map(cut).collect();
        GetMetricDataOutput {
            metric_data_results,
            next_token: more.then(|| page_token::write(&(offset + each).to_string())),
            messages: Vec::new(),
        }
    }
}

/// A request that was understood.
struct Plan<'a> {
    request: &'a GetMetricData,
    windows: Vec<Window>,
    queries: Vec<Query<'a>>,
}

enum Query<'a> {
    Metric {
        query: &'a MetricDataQuery,
        metric: Metric,
        unit: Option<Unit>,
        statistic: Statistic,
    },
    Expression {
        query: &'a MetricDataQuery,
        expression: Expression,
    },
}

impl<'a> Query<'a> {
    fn of(&self) -> &'a MetricDataQuery {
        match self {
            Self::Metric { query, .. } | Self::Expression { query, .. } => query,
        }
    }
}

impl<'a> Plan<'a> {
    fn of(request: &'a GetMetricData, cx: &Context) -> Result<Self> {
        let queries = &request.metric_data_queries;
        if queries.is_empty() {
            return Err(invalid("The parameter MetricDataQueries is required."));
        }
        if queries.len() > QUERIES_MAX {
            return Err(invalid(format!(
                "The collection MetricDataQueries must not have a size greater than {QUERIES_MAX}."
            )));
        }
        check_ids(queries)?;
        let parsed: Vec<Query<'_>> = (1..)
            .zip(queries)
            .map(|(n, query)| parse_query(n, query, cx))
            .collect::<Result<_>>()?;
        let returned = queries
            .iter()
            .filter(|q| q.return_data != Some(false))
            .count();
        if returned == 0 {
            return Err(invalid(
                "At least one of the queries must have ReturnData set to true.",
            ));
        }
        let mut windows = Vec::with_capacity(parsed.len());
        let mut periods = 0;
        for query in &parsed {
            let window = request.window(period_of(query, &parsed), cx.now_ms)?;
            periods += window.count();
            windows.push(window);
        }
        if periods > PERIODS_MAX {
            return Err(invalid("The request asks for too many data points."));
        }
        Ok(Self {
            request,
            windows,
            queries: parsed,
        })
    }

    async fn run(&self, cloudwatch: &CloudWatch, cx: &Context) -> Result<Vec<MetricDataResult>> {
        let mut metrics = Vec::new();
        for (query, window) in self.queries.iter().zip(&self.windows) {
            if let Query::Metric {
                query,
                metric,
                unit,
                statistic,
            } = query
            {
                let units = cloudwatch
                    .recorder
                    .index
                    .of_metric(&cx.scope, metric, *unit);
                let periods = cloudwatch.recorder.buckets.query(&units, *window).await?;
                let mut series = series(&periods, statistic, window.period_s);
                series.label = label(
                    query,
                    &metric.name,
                    &series,
                    Some(metric),
                    Some(statistic),
                    cx,
                );
                metrics.push((query.id.to_string(), series));
            }
        }
        let outcomes = self.evaluate(cloudwatch, cx, metrics.clone()).await?;
        let mut results = Vec::new();
        for query in &self.queries {
            let query = query.of();
            if query.return_data == Some(false) {
                continue;
            }
            let id = query.id.as_str();
            match (
                metrics.iter().find(|(have, _)| have == id),
                outcomes.get(id),
            ) {
                (Some((_, series)), _) => results.push(result(id, series.clone())),
                (None, Some(Outcome::One(series))) => results.push(result(id, series.clone())),
                (None, Some(Outcome::Many(many))) => {
                    results.extend(many.iter().cloned().map(|series| result(id, series)));
                }
                (None, None) => {}
            }
        }
        Ok(results)
    }

    /// Evaluates every expression after those that it refers to.
    async fn evaluate(
        &self,
        cloudwatch: &CloudWatch,
        cx: &Context,
        metrics: Vec<(String, Series)>,
    ) -> Result<HashMap<String, Outcome>> {
        let Some(first) = self.windows.first() else {
            return Ok(HashMap::new());
        };
        let mut environment = Environment {
            window: *first,
            metrics,
            expressions: HashMap::new(),
            searches: HashMap::new(),
            spent: 0.into(),
        };
        for index in self.order()? {
            let Query::Expression { query, expression } = &self.queries[index] else {
                continue;
            };
            let failed =
                |error: MathError| invalid(format!("Error in expression '{}' [{error}]", query.id));
            environment.window = self.windows[index];
            for call in expression.searches().map_err(failed)? {
                // The same search by another expression may have another period of its own, so it is done anew.
                let found = self.search(cloudwatch, cx, &call, self.windows[index]);
                let found = found.await?.map_err(failed)?;
                environment.searches.insert(call, found);
            }
            let mut outcome = expression.evaluate(&environment).map_err(failed)?;
            match &mut outcome {
                Outcome::One(series) => {
                    series.label = label(query, &query.id, series, None, None, cx);
                }
                Outcome::Many(many) => {
                    for series in many {
                        // "Expression-Label Metric-Label"
                        if let Some(own) = query.label.as_deref().filter(|own| !own.is_empty()) {
                            series.label = format!("{own} {}", series.label);
                        }
                    }
                }
            }
            environment
                .expressions
                .insert(query.id.to_string(), outcome);
        }
        Ok(environment.expressions)
    }

    /// The expressions, each behind those that it refers to.
    fn order(&self) -> Result<Vec<usize>> {
        let mut waiting: BTreeMap<usize, Vec<String>> = BTreeMap::new();
        let index_of: HashMap<&str, usize> = (0..)
            .zip(&self.queries)
            .map(|(index, query)| (query.of().id.as_str(), index))
            .collect();
        for (index, query) in self.queries.iter().enumerate() {
            if let Query::Expression { expression, .. } = query {
                waiting.insert(index, expression.references().into_iter().collect());
            }
        }
        let mut order = Vec::with_capacity(waiting.len());
        while !waiting.is_empty() {
            let is_ready = |references: &Vec<String>| {
                let unmet = |id: &String| {
                    index_of
                        .get(id.as_str())
                        .is_some_and(|index| waiting.contains_key(index))
                };
                !references.iter().any(unmet)
            };
            let ready: Vec<usize> = waiting
                .iter()
                .filter(|(_, references)| is_ready(references))
                .map(|(index, _)| *index)
                .collect();
            if ready.is_empty() {
                let id = waiting
                    .keys()
                    .next()
                    .map(|index| &self.queries[*index].of().id);
                let id = id.map(ToString::to_string).unwrap_or_default();
                let error = MathError::Circular(id.clone());
                return Err(invalid(format!("Error in expression '{id}' [{error}]")));
            }
            for index in ready {
                waiting.remove(&index);
                order.push(index);
            }
        }
        Ok(order)
    }

    async fn search(
        &self,
        cloudwatch: &CloudWatch,
        cx: &Context,
        call: &SearchCall,
        window: Window,
    ) -> Result<Result<Vec<Series>, MathError>> {
        let Some(search) = Search::parse(&call.query) else {
            return Ok(Err(MathError::Search));
        };
        let Some(statistic) = Statistic::parse(&call.statistic) else {
            return Ok(Err(MathError::Statistic(call.statistic.clone())));
        };
        let window = match call.period_s {
            Some(period_s) => self.request.window(period_s, cx.now_ms)?,
            None => window,
        };
        let index = &cloudwatch.recorder.index;
        let found = index.list(&cx.scope, None, SEARCH_RESULTS_MAX, |metric, _| {
            search.matches(metric)
        });
        let mut results = Vec::with_capacity(found.len());
        let one_name = found.windows(2).all(|pair| pair[0].name == pair[1].name);
        for metric in found {
            let units = index.of_metric(&cx.scope, &metric, None);
            let periods = cloudwatch.recorder.buckets.query(&units, window).await?;
            let mut series = series(&periods, &statistic, window.period_s);
            series.label = found_label(&metric, one_name);
            results.push(series);
        }
        Ok(Ok(results))
    }
}

impl GetMetricData {
    fn window(&self, period_s: i64, now_ms: i64) -> Result<Window> {
        if !Window::is_period(period_s) {
            return Err(invalid(
                "The parameter Period must be 1, 5, 10, 20, 30 or a multiple of 60.",
            ));
        }
        Window::new(self.start_time.0, self.end_time.0, period_s, now_ms).ok_or_else(|| {
            invalid("The parameter StartTime must be less than the parameter EndTime.")
        })
    }
}

fn check_ids(queries: &[MetricDataQuery]) -> Result<()> {
    let mut seen = std::collections::HashSet::new();
    for (n, query) in (1..).zip(queries) {
        let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
        if !query.id.starts_with(|c: char| c.is_ascii_lowercase()) || !query.id.chars().all(word) {
            return Err(invalid(format!(
                "The value {} for parameter MetricDataQueries.member.{n}.Id is not matching the expected pattern ^[a-z][a-zA-Z0-9_]*$.",
                query.id
            )));
        }
        if !seen.insert(query.id.as_str()) {
            return Err(invalid(
                "The values for parameter id in MetricDataQueries are not unique.",
            ));
        }
    }
    Ok(())
}

fn parse_query<'a>(n: usize, query: &'a MetricDataQuery, cx: &Context) -> Result<Query<'a>> {
    let at = format!("MetricDataQueries.member.{n}");
    if query
        .account_id
        .as_deref()
        .is_some_and(|account| account != &*cx.scope.account)
    {
        // Accounts are linked by observability links, which are not built.
        return Err(invalid(format!(
            "The parameter {at}.AccountId is not an account that is linked to this one."
        )));
    }
    match (&query.metric_stat, &query.expression) {
        (Some(_), Some(_)) => Err(invalid(format!(
            "The parameters {at}.Expression and {at}.MetricStat are mutually exclusive and you have specified both."
        ))),
        (None, None) => Err(invalid(format!(
            "Either {at}.Expression or {at}.MetricStat must be specified."
        ))),
        (Some(stat), None) => {
            let required = |what| {
                invalid(format!(
                    "The parameter {at}.MetricStat.Metric.{what} is required."
                ))
            };
            let namespace = stat.metric.namespace.as_deref();
            let name = stat.metric.metric_name.as_deref();
            Ok(Query::Metric {
                query,
                metric: metric(
                    namespace.ok_or_else(|| required("Namespace"))?,
                    name.ok_or_else(|| required("MetricName"))?,
                    stat.metric.dimensions.as_deref(),
                ),
                unit: stat.unit,
                statistic: Statistic::parse(&stat.stat).ok_or_else(|| {
                    invalid(format!(
                        "The value {} for parameter {at}.MetricStat.Stat is not supported.",
                        stat.stat
                    ))
                })?,
            })
        }
        (None, Some(expression)) => {
            if expression
                .trim_start()
                .to_ascii_uppercase()
                .starts_with("SELECT")
            {
                return Err(invalid(
                    "Metrics Insights queries are not implemented by Mayfly yet.",
                ));
            }
            let parsed = Expression::parse(expression).map_err(|error| {
                invalid(format!("Error in expression '{}' [{error}]", query.id))
            })?;
            Ok(Query::Expression {
                query,
                expression: parsed,
            })
        }
    }
}

/// The period of a query; expressions without one take the longest of the request's metrics.
fn period_of(query: &Query<'_>, all: &[Query<'_>]) -> i64 {
    let own = |query: &MetricDataQuery| match (&query.metric_stat, query.period) {
        (Some(stat), _) => Some(stat.period.get()),
        (None, Some(period)) => Some(period.get()),
        (None, None) => None,
    };
    let longest = || all.iter().filter_map(|query| own(query.of())).max();
    own(query.of()).or_else(longest).unwrap_or(PERIOD_S)
}

fn series(periods: &BTreeMap<i64, Distribution>, statistic: &Statistic, period_s: i64) -> Series {
    let points = periods
        .iter()
        .filter_map(|(start_s, values)| Some((*start_s, statistic.of(values)?)));
    Series {
        label: String::new(),
        period_s,
        points: points.collect(),
    }
}

fn label(
    query: &MetricDataQuery,
    generated: &str,
    series: &Series,
    metric: Option<&Metric>,
    statistic: Option<&Statistic>,
    cx: &Context,
) -> String {
    let subject = Subject {
        label: generated,
        series,
        metric,
        statistic: statistic.map(Statistic::name),
        account: &cx.scope.account,
        region: &cx.scope.region,
    };
    fill_in(query.label.as_deref().unwrap_or(generated), &subject)
}

/// What tells the results of one search apart: their dimensions, and their names where these differ.
fn found_label(metric: &Metric, one_name: bool) -> String {
    let mut parts: Vec<&str> = metric
        .dimensions
        .iter()
        .map(|(_, value)| value.as_str())
        .collect();
    if !one_name || parts.is_empty() {
        parts.push(&metric.name);
    }
    parts.join(" ")
}

fn result(id: &str, series: Series) -> MetricDataResult {
    let (times, values): (Vec<i64>, Vec<f64>) = series.points.into_iter().unzip();
    MetricDataResult {
        id: id.to_owned(),
        label: series.label,
        timestamps: times.into_iter().map(moment).collect(),
        values,
        status_code: StatusCode::Complete,
        messages: None,
    }
}
