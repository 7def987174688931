//! GetMetricStatistics: one metric, period by period.

use std::collections::BTreeMap;

use wire::{Arn, Context, Error as Refused, List, Operation, Scope, Shape, Timestamp, number};

use super::cloudwatch::CloudWatch;
use super::shapes::{Dimensions, MetricName, Namespace, metric, moment};
use super::{Distribution, Statistic, Unit, Window};
use crate::{Error, Result};

/// Data points that one call may ask for.
const DATAPOINTS_MAX: i64 = 1440;

number! {
    /// Seconds.
    pub struct Period: 1..=2_147_483_647;
}

/// The statistics that need no list of values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Shape)]
#[allow(missing_docs, reason = "the names say all")]
pub enum BasicStatistic {
    SampleCount,
    Average,
    Sum,
    Minimum,
    Maximum,
}

/// Reads the statistics of one metric.
/// <https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_GetMetricStatistics.html>
#[derive(Shape)]
pub struct GetMetricStatistics {
    namespace: Namespace,
    metric_name: MetricName,
    dimensions: Option<Dimensions>,
    start_time: Timestamp,
    end_time: Timestamp,
    period: Period,
    statistics: Option<List<BasicStatistic, 1, 5>>,
    extended_statistics: Option<List<String, 1, 10>>,
    unit: Option<Unit>,
}

/// What was found.
#[derive(Shape)]
pub struct GetMetricStatisticsOutput {
    label: String,
    datapoints: Vec<Datapoint>,
}

/// The statistics of one period.
#[derive(Default, Shape)]
pub struct Datapoint {
    timestamp: Option<Timestamp>,
    sample_count: Option<f64>,
    average: Option<f64>,
    sum: Option<f64>,
    minimum: Option<f64>,
    maximum: Option<f64>,
    unit: Option<Unit>,
    extended_statistics: Option<BTreeMap<String, f64>>,
}

impl Operation for GetMetricStatistics {
    type Service = CloudWatch;
    type Output = GetMetricStatisticsOutput;
    const NAME: &'static str = "GetMetricStatistics";

    fn resource(&self, _: &Scope) -> Arn {
        Arn::any()
    }

    async fn run(
        self,
        cloudwatch: &CloudWatch,
        cx: &Context,
    ) -> Result<GetMetricStatisticsOutput, Refused> {
        let statistics = self.statistics()?;
        let window = self.window(cx.now_ms)?;
        let wanted = metric(
            &self.namespace,
            &self.metric_name,
            self.dimensions.as_deref(),
        );
        let recorder = &cloudwatch.recorder;
        recorder.flush().await?;
        let mut datapoints = Vec::new();
        // Without a unit, the values of each unit are answered on their own, because they cannot be added up.
        for series in recorder.index.of_metric(&cx.scope, &wanted, self.unit) {
            let unit = series.unit;
            let periods = recorder.buckets.query(&[series], window).await?;
            for (start_s, values) in periods {
                datapoints.push(self.datapoint(start_s, unit, &values, &statistics));
            }
        }
        Ok(GetMetricStatisticsOutput {
            label: self.metric_name.into_string(),
            datapoints,
        })
    }
}

impl GetMetricStatistics {
    /// The extended statistics, parsed.
    fn statistics(&self) -> Result<Vec<Statistic>> {
        if self.statistics.is_some() == self.extended_statistics.is_some() {
            return Err(Error::InvalidCombination(
                "Must specify either Statistics or ExtendedStatistics".into(),
            ));
        }
        let extended = self.extended_statistics.as_deref().unwrap_or_default();
        let parse = |name: &String| match Statistic::parse(name) {
            Some(statistic) if !statistic.is_basic() => Ok(statistic),
            _ => Err(Error::InvalidValue(format!(
                "The value {name} for parameter ExtendedStatistics is invalid."
            ))),
        };
        extended.iter().map(parse).collect()
    }

    fn window(&self, now_ms: i64) -> Result<Window> {
        let period_s = self.period.get();
        if !Window::is_period(period_s) {
            return Err(Error::InvalidValue(
                "The parameter Period must be 1, 5, 10, 20, 30 or a multiple of 60.".into(),
            ));
        }
        let window = Window::new(self.start_time.0, self.end_time.0, period_s, now_ms);
        let window = window.ok_or_else(|| {
            Error::InvalidValue(
                "The parameter StartTime must be less than the parameter EndTime.".into(),
            )
        })?;
        let asked = window.count();
        if asked > DATAPOINTS_MAX {
            return Err(Error::InvalidCombination(format!(
                "You have requested up to {asked} datapoints, which exceeds the limit of {DATAPOINTS_MAX}. You may reduce the datapoints requested by increasing Period, or decreasing the time range."
            )));
        }
        Ok(window)
    }

    fn datapoint(
        &self,
        start_s: i64,
        unit: Unit,
        values: &Distribution,
        extended: &[Statistic],
    ) -> Datapoint {
        let mut datapoint = Datapoint {
            timestamp: Some(moment(start_s)),
            unit: Some(unit),
            ..Datapoint::default()
        };
        for statistic in self.statistics.iter().flat_map(|s| s.iter()) {
            match statistic {
                BasicStatistic::SampleCount => datapoint.sample_count = Some(values.count),
                BasicStatistic::Average => datapoint.average = Some(values.sum / values.count),
                BasicStatistic::Sum => datapoint.sum = Some(values.sum),
                BasicStatistic::Minimum => datapoint.minimum = Some(values.min),
                BasicStatistic::Maximum => datapoint.maximum = Some(values.max),
            }
        }
        if !extended.is_empty() {
            let known = extended
                .iter()
                .filter_map(|s| Some((s.name().to_owned(), s.of(values)?)));
            datapoint.extended_statistics = Some(known.collect());
        }
        datapoint
    }
}
