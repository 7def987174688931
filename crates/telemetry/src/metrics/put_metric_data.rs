//! PutMetricData: values from users.

use std::collections::{BTreeMap, BTreeSet};

use wire::{Arn, Context, Effect, Error as Refused, Http, Operation, Scope, Shape, Timestamp};

use super::cloudwatch::CloudWatch;
use super::shapes::{Dimensions, MetricName, Namespace, metric};
use super::{Distribution, Metric, Unit};
use crate::{Error, Result};

/// Metrics in one request. <https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_PutMetricData.html>
const DATA_MAX: usize = 1000;
/// Different values in one datum.
const VALUES_MAX: usize = 150;
/// How old a value may be.
const AGE_MS_MAX: i64 = 14 * 86_400_000;
/// How far in the future a value may lie.
const AHEAD_MS_MAX: i64 = 2 * 3_600_000;
/// "Values must be in the range of -2^360 to 2^360."
const VALUE_POWER_MAX: i32 = 360;
/// Namespaces that AWS keeps for its own services.
const RESERVED: &str = "AWS/";

/// Stores values of metrics.
/// <https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_PutMetricData.html>
#[derive(Shape)]
pub struct PutMetricData {
    namespace: Namespace,
    metric_data: Option<Vec<MetricDatum>>,
    entity_metric_data: Option<Vec<EntityMetricData>>,
    strict_entity_validation: Option<bool>,
}

/// Values of one metric.
#[derive(Shape)]
pub struct MetricDatum {
    metric_name: MetricName,
    dimensions: Option<Dimensions>,
    timestamp: Option<Timestamp>,
    value: Option<f64>,
    statistic_values: Option<StatisticSet>,
    values: Option<Vec<f64>>,
    counts: Option<Vec<f64>>,
    unit: Option<Unit>,
    storage_resolution: Option<i64>,
}

/// Values that the sender has already added up.
#[derive(Shape)]
pub struct StatisticSet {
    sample_count: f64,
    sum: f64,
    minimum: f64,
    maximum: f64,
}

/// Values that belong to an entity. Entities are not built; the values are stored like any others, unless the sender
/// insists on the entity.
#[derive(Shape)]
pub struct EntityMetricData {
    entity: Option<Entity>,
    metric_data: Option<Vec<MetricDatum>>,
}

/// What values are about.
#[derive(Shape)]
pub struct Entity {
    key_attributes: Option<BTreeMap<String, String>>,
    attributes: Option<BTreeMap<String, String>>,
}

impl Operation for PutMetricData {
    type Service = CloudWatch;
    type Output = ();
    const NAME: &'static str = "PutMetricData";
    const EFFECT: Effect = Effect::Data;
    const HTTP: Http = Http::ROOT;

    fn resource(&self, _: &Scope) -> Arn {
        Arn::any()
    }
    fn condition_keys(&self, _: &CloudWatch, _: &Context) -> wire::Keys {
        vec![(
            "cloudwatch:namespace".into(),
            vec![self.namespace.to_string()],
        )]
    }

    async fn run(self, cloudwatch: &CloudWatch, cx: &Context) -> Result<(), Refused> {
        let data = self.check(cx.now_ms)?;
        let recorder = &cloudwatch.recorder;
        for datum in &data {
            let taken = recorder.add(
                &cx.scope,
                &datum.metric,
                datum.unit,
                datum.time_ms,
                datum.high_resolution,
                &datum.values,
            );
            if !taken {
                return Err(Error::LimitExceeded("There are too many metrics.".into()).into());
            }
        }
        Ok(recorder.flush().await?)
    }
}

/// A datum that cannot be wrong any more.
struct Checked {
    metric: Metric,
    unit: Unit,
    time_ms: i64,
    high_resolution: bool,
    values: Distribution,
}

impl PutMetricData {
    fn check(&self, now_ms: i64) -> Result<Vec<Checked>> {
        if self.namespace.starts_with(RESERVED) {
            return Err(Error::InvalidValue(format!(
                "The value {} for parameter Namespace is invalid.",
                self.namespace
            )));
        }
        if self.strict_entity_validation == Some(true) && self.entity_metric_data.is_some() {
            return Err(Error::InvalidValue(
                "The value of parameter EntityMetricData is invalid: entities are not supported."
                    .into(),
            ));
        }
        let mut named: Vec<(String, &MetricDatum)> = Vec::new();
        let plain = self.metric_data.as_deref().unwrap_or_default();
        named.extend(
            (1..)
                .zip(plain)
                .map(|(n, d)| (format!("MetricData.member.{n}"), d)),
        );
        let entities = self.entity_metric_data.as_deref().unwrap_or_default();
        for (entity, of_entity) in (1..).zip(entities) {
            let data = of_entity.metric_data.as_deref().unwrap_or_default();
            named.extend((1..).zip(data).map(|(n, datum)| {
                (
                    format!("EntityMetricData.member.{entity}.MetricData.member.{n}"),
                    datum,
                )
            }));
        }
        if named.is_empty() {
            return Err(Error::Missing(
                "The parameter MetricData is required.".into(),
            ));
        }
        if named.len() > DATA_MAX {
            return Err(too_many("MetricData", DATA_MAX));
        }
        named
            .into_iter()
            .map(|(name, datum)| datum.check(&name, &self.namespace, now_ms))
            .collect()
    }
}

fn too_many(name: &str, max: usize) -> Error {
    Error::InvalidValue(format!(
        "The collection {name} must not have a size greater than {max}."
    ))
}

fn invalid(value: impl std::fmt::Display, name: &str) -> Error {
    Error::InvalidValue(format!(
        "The value {value} for parameter {name} is invalid."
    ))
}

impl MetricDatum {
    fn check(&self, name: &str, namespace: &str, now_ms: i64) -> Result<Checked> {
        let dimensions = self.dimensions.as_deref().unwrap_or_default();
        let names: BTreeSet<&str> = dimensions.iter().map(|d| d.name.as_str()).collect();
        if names.len() < dimensions.len() {
            return Err(Error::InvalidValue(
                "No metric may specify the same dimension name twice.".into(),
            ));
        }
        if let Some(reserved) = names.iter().find(|name| name.starts_with(':')) {
            return Err(invalid(reserved, &format!("{name}.Dimensions.member.Name")));
        }
        let high_resolution = match self.storage_resolution {
            Some(1) => true,
            None | Some(60) => false,
            Some(other) => return Err(invalid(other, &format!("{name}.StorageResolution"))),
        };
        Ok(Checked {
            metric: metric(namespace, &self.metric_name, Some(dimensions)),
            unit: self.unit.unwrap_or_default(),
            time_ms: self.time_ms(name, now_ms)?,
            high_resolution,
            values: self.distribution(name)?,
        })
    }

    fn time_ms(&self, name: &str, now_ms: i64) -> Result<i64> {
        let time_ms = self.timestamp.map_or(now_ms, |timestamp| timestamp.0);
        if time_ms < now_ms - AGE_MS_MAX {
            return Err(Error::InvalidValue(format!(
                "The parameter {name}.Timestamp must specify a time within the past two weeks."
            )));
        }
        if time_ms > now_ms + AHEAD_MS_MAX {
            return Err(Error::InvalidValue(format!(
                "The parameter {name}.Timestamp must specify a time no more than two hours in the future."
            )));
        }
        Ok(time_ms)
    }

    fn distribution(&self, name: &str) -> Result<Distribution> {
        let exclusive = |a: &str, b: &str| {
            Error::InvalidCombination(format!(
                "The parameters {name}.{a} and {name}.{b} are mutually exclusive and you have specified both."
            ))
        };
        match (self.value, &self.statistic_values, &self.values) {
            (Some(_), Some(_), _) => Err(exclusive("Value", "StatisticValues")),
            (Some(_), None, Some(_)) => Err(exclusive("Value", "Values")),
            (None, Some(_), Some(_)) => Err(exclusive("StatisticValues", "Values")),
            (Some(value), None, None) => Ok(Distribution::of(
                in_range(value, &format!("{name}.Value"))?,
                1.0,
            )),
            (None, Some(set), None) => set.distribution(&format!("{name}.StatisticValues")),
            (None, None, Some(values)) => self.weighted(values, name),
            (None, None, None) => Err(Error::Missing(format!(
                "The parameter {name}.Value is required."
            ))),
        }
    }

    fn weighted(&self, values: &[f64], name: &str) -> Result<Distribution> {
        if values.len() > VALUES_MAX {
            return Err(too_many(&format!("{name}.Values"), VALUES_MAX));
        }
        let ones = vec![1.0; values.len()];
        let counts = self.counts.as_ref().unwrap_or(&ones);
        if counts.len() != values.len() || values.is_empty() {
            return Err(Error::InvalidValue(format!(
                "The parameters {name}.Values and {name}.Counts must be of the same size."
            )));
        }
        let mut sum = Distribution::default();
        for ((n, value), count) in (1..).zip(values).zip(counts) {
            let value = in_range(*value, &format!("{name}.Values.member.{n}"))?;
            let count_name = format!("{name}.Counts.member.{n}");
            let count = in_range(*count, &count_name)?;
            if count < 0.0 {
                return Err(invalid(count, &count_name));
            }
            sum.add(&Distribution::of(value, count), VALUES_MAX);
        }
        Ok(sum)
    }
}

impl StatisticSet {
    fn distribution(&self, name: &str) -> Result<Distribution> {
        let count = in_range(self.sample_count, &format!("{name}.SampleCount"))?;
        let sum = in_range(self.sum, &format!("{name}.Sum"))?;
        let minimum = in_range(self.minimum, &format!("{name}.Minimum"))?;
        let maximum = in_range(self.maximum, &format!("{name}.Maximum"))?;
        if count <= 0.0 {
            return Err(invalid(count, &format!("{name}.SampleCount")));
        }
        if minimum > maximum {
            return Err(Error::InvalidCombination(format!(
                "The parameter {name}.Maximum must be greater than {name}.Minimum."
            )));
        }
        Ok(Distribution::of_statistics(count, sum, minimum, maximum))
    }
}

fn in_range(value: f64, name: &str) -> Result<f64> {
    match value.is_finite() && value.abs() <= 2f64.powi(VALUE_POWER_MAX) {
        true => Ok(value),
        false => Err(invalid(value, name)),
    }
}
