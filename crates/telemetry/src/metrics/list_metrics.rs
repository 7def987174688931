//! ListMetrics: which metrics there are.

use wire::{Arn, Context, Error as Refused, List, Operation, Scope, Shape, text};

use super::Metric;
use super::cloudwatch::CloudWatch;
use super::shapes::{DimensionName, DimensionValue, MetricName, MetricOutput, Namespace};
use crate::{Error, Result, page_token};

/// "Up to 500 results are returned for any one call."
const PAGE: usize = 500;
/// "ListMetrics doesn't return information about metrics if those metrics haven't reported data in the past two weeks."
const ACTIVE_MS: i64 = 14 * 86_400_000;
/// What `PT3H` means.
const RECENT_MS: i64 = 3 * 3_600_000;

text! {
    /// An account.
    pub struct AccountId: 1..=255;
}

/// How recently a metric must have had a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Shape)]
pub enum RecentlyActive {
    /// In the past three hours.
    #[shape(name = "PT3H")]
    ThreeHours,
}

/// Lists metrics.
/// <https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_ListMetrics.html>
#[derive(Shape)]
pub struct ListMetrics {
    namespace: Option<Namespace>,
    metric_name: Option<MetricName>,
    dimensions: Option<List<DimensionFilter, 0, 10>>,
    next_token: Option<String>,
    recently_active: Option<RecentlyActive>,
    include_linked_accounts: Option<bool>,
    owning_account: Option<AccountId>,
}

/// A dimension that a metric must have, perhaps with a value.
#[derive(Shape)]
pub struct DimensionFilter {
    name: DimensionName,
    value: Option<DimensionValue>,
}

/// A page of metrics.
#[derive(Shape)]
pub struct ListMetricsOutput {
    metrics: Vec<MetricOutput>,
    next_token: Option<String>,
    /// With linked accounts asked for: whose each metric is. There are none but this one's.
    owning_accounts: Option<Vec<String>>,
}

impl Operation for ListMetrics {
    type Service = CloudWatch;
    type Output = ListMetricsOutput;
    const NAME: &'static str = "ListMetrics";

    fn resource(&self, _: &Scope) -> Arn {
        Arn::any()
    }

    async fn run(
        self,
        cloudwatch: &CloudWatch,
        cx: &Context,
    ) -> Result<ListMetricsOutput, Refused> {
        if self
            .owning_account
            .as_deref()
            .is_some_and(|a| a != &*cx.scope.account)
        {
            // Accounts are linked by observability links, which are not built.
            return Err(Error::InvalidValue(
                "The value of parameter OwningAccount is not an account that is linked to this one."
                    .into(),
            )
            .into());
        }
        let after = match self.next_token.as_deref() {
            Some(token) => Some(
                metric_of(token).ok_or_else(|| Error::InvalidValue("Invalid nextToken".into()))?,
            ),
            None => None,
        };
        let since_ms = cx.now_ms - self.recently_active.map_or(ACTIVE_MS, |_| RECENT_MS);
        let wanted = |metric: &Metric, last_ms: i64| last_ms >= since_ms && self.matches(metric);
        let index = &cloudwatch.recorder.index;
        let mut found = index.list(&cx.scope, after.as_ref(), PAGE + 1, wanted);
        let next_token = match found.len() > PAGE {
            true => {
                found.truncate(PAGE);
                found.last().map(token_of)
            }
            false => None,
        };
        let linked = self.include_linked_accounts == Some(true);
        Ok(ListMetricsOutput {
            owning_accounts: linked.then(|| vec![cx.scope.account.to_string(); found.len()]),
            metrics: found.iter().map(MetricOutput::from).collect(),
            next_token,
        })
    }
}

impl ListMetrics {
    fn matches(&self, metric: &Metric) -> bool {
        let has = |filter: &DimensionFilter| {
            metric.dimensions.iter().any(|(name, value)| {
                *name == *filter.name
                    && filter
                        .value
                        .as_ref()
                        .is_none_or(|wanted| *value == **wanted)
            })
        };
        self.namespace
            .as_ref()
            .is_none_or(|n| metric.namespace == **n)
            && self.metric_name.as_ref().is_none_or(|n| metric.name == **n)
            && self.dimensions.iter().flat_map(|d| d.iter()).all(has)
    }
}

/// The place of a metric, as a list of all its texts; none of them can hold the separator, which JSON escapes.
fn token_of(metric: &Metric) -> String {
    let place = (&metric.namespace, &metric.name, &metric.dimensions);
    page_token::write(&serde_json::to_string(&place).unwrap_or_default())
}

fn metric_of(token: &str) -> Option<Metric> {
    let (namespace, name, dimensions): (String, String, Vec<(String, String)>) =
        serde_json::from_str(&page_token::read(token)?).ok()?;
    Some(Metric::new(namespace, name, dimensions))
}
