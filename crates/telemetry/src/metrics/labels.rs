//! Dynamic labels: `[max: ${MAX}] ${PROP('Dim.FunctionName')}`.
//!
//! Follows <https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/graph-dynamic-labels.html>. Labels with times
//! of data points (`${LAST_TIME}` and so on) stay as they are written.

use super::Metric;
use super::math::Series;

/// What a label can speak of.
pub(super) struct Subject<'a> {
    /// The label that CloudWatch would have generated.
    pub(super) label: &'a str,
    pub(super) series: &'a Series,
    pub(super) metric: Option<&'a Metric>,
    pub(super) statistic: Option<&'a str>,
    pub(super) account: &'a str,
    pub(super) region: &'a str,
}

/// Puts values in the place of `${...}`.
pub(super) fn fill_in(label: &str, subject: &Subject<'_>) -> String {
    let mut text = String::new();
    let mut rest = label;
    while let Some((before, after)) = rest.split_once("${") {
        text.push_str(before);
        match after.split_once('}') {
            Some((name, after)) => {
                match subject.value(name) {
                    Some(value) => text.push_str(&value),
                    None => text.push_str(&format!("${{{name}}}")),
                }
                rest = after;
            }
            None => {
                text.push_str("${");
                rest = after;
            }
        }
    }
    text + rest
}

impl Subject<'_> {
    fn value(&self, name: &str) -> Option<String> {
        let values = || self.series.points.iter().map(|(_, value)| *value);
        let number = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), |v| v.to_string());
        Some(match name {
            "LABEL" => self.label.to_owned(),
            "DATAPOINT_COUNT" => self.series.points.len().to_string(),
            "SUM" => number(Some(values().sum())),
            "AVG" => number(match self.series.points.len() {
                0 => None,
                count => Some(values().sum::<f64>() / count as f64),
            }),
            "MIN" => number(values().reduce(f64::min)),
            "MAX" => number(values().reduce(f64::max)),
            "FIRST" => number(values().next()),
            "LAST" => number(values().next_back()),
            name => return self.property(name.strip_prefix("PROP('")?.strip_suffix("')")?),
        })
    }

    fn property(&self, name: &str) -> Option<String> {
        let text = match name {
            "AccountId" => self.account,
            "Region" => self.region,
            "Period" => return Some(self.series.period_s.to_string()),
            "Stat" => self.statistic?,
            "MetricName" => &self.metric?.name,
            "Namespace" => &self.metric?.namespace,
            name => {
                let wanted = name.strip_prefix("Dim.")?;
                let mut dimensions = self.metric?.dimensions.iter();
                let found = dimensions.find(|(name, _)| name == wanted);
                return found.map(|(_, value)| value.clone());
            }
        };
        Some(text.to_owned())
    }
}
