//! CloudWatch's service: its names on the wire and its operations.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use store::Clock;
use wire::{Protocol, Route, Service, Unbuilt};

use super::buckets::HOURS_KEPT_S;
use super::get_metric_data::GetMetricData;
use super::get_metric_statistics::GetMetricStatistics;
use super::list_metrics::ListMetrics;
use super::put_metric_data::PutMetricData;
use super::recorder::Recorder;
use crate::Result;

/// The service.
pub struct CloudWatch {
    pub(crate) recorder: Arc<Recorder>,
}

impl Service for CloudWatch {
    const NAME: &'static str = "cloudwatch";
    const SIGNING_NAMES: &'static [&'static str] = &["monitoring"];
    const MODEL: &'static str = "cloudwatch";
    const PROTOCOLS: &'static [Protocol] = &[Protocol::Json10, Protocol::Query, Protocol::Cbor];
    const TARGET_PREFIX: &'static str = "GraniteServiceVersion20100801";
    const API_VERSION: &'static str = "2010-08-01";
    const XML_NAMESPACE: &'static str = "http://monitoring.amazonaws.com/doc/2010-08-01/";
    const ERROR_NAMESPACE: &'static str = "com.amazonaws.cloudwatch";
    const VALIDATION: (&'static str, u16) = ("ValidationError", 400);

    const OPERATIONS: &'static [Route<Self>] = &[
        Route::of::<GetMetricData>(),
        Route::of::<GetMetricStatistics>(),
        Route::of::<ListMetrics>(),
        Route::of::<PutMetricData>(),
    ];

    const UNBUILT: &'static [Unbuilt] = &[
        Unbuilt::named("AssociateDatasetKmsKey"),
        Unbuilt::named("CreateResourceMetricsConfiguration"),
        Unbuilt::named("DeleteAlarmMuteRule"),
        Unbuilt::named("DeleteAlarms"),
        Unbuilt::named("DeleteAnomalyDetector"),
        Unbuilt::named("DeleteDashboards"),
        Unbuilt::named("DeleteInsightRules"),
        Unbuilt::named("DeleteMetricDataQueryDefinition"),
        Unbuilt::named("DeleteMetricStream"),
        Unbuilt::named("DeleteResourceMetricsConfiguration"),
        Unbuilt::named("DescribeAlarmContributors"),
        Unbuilt::named("DescribeAlarmHistory"),
        Unbuilt::named("DescribeAlarms"),
        Unbuilt::named("DescribeAlarmsForMetric"),
        Unbuilt::named("DescribeAnomalyDetectors"),
        Unbuilt::named("DescribeInsightRules"),
        Unbuilt::named("DisableAlarmActions"),
        Unbuilt::named("DisableInsightRules"),
        Unbuilt::named("DisassociateDatasetKmsKey"),
        Unbuilt::named("EnableAlarmActions"),
        Unbuilt::named("EnableInsightRules"),
        Unbuilt::named("GetAlarmMuteRule"),
        Unbuilt::named("GetDashboard"),
        Unbuilt::named("GetDataset"),
        Unbuilt::named("GetInsightRuleReport"),
        Unbuilt::named("GetMetricDataQueryDefinition"),
        Unbuilt::named("GetMetricStream"),
        Unbuilt::named("GetMetricWidgetImage"),
        Unbuilt::named("GetOTelEnrichment"),
        Unbuilt::named("GetResourceMetricsConfiguration"),
        Unbuilt::named("ListAlarmMuteRules"),
        Unbuilt::named("ListDashboards"),
        Unbuilt::named("ListManagedInsightRules"),
        Unbuilt::named("ListMetricDataQueryDefinitions"),
        Unbuilt::named("ListMetricStreams"),
        Unbuilt::named("ListTagsForResource"),
        Unbuilt::named("PutAlarmMuteRule"),
        Unbuilt::named("PutAnomalyDetector"),
        Unbuilt::named("PutCompositeAlarm"),
        Unbuilt::named("PutDashboard"),
        Unbuilt::named("PutInsightRule"),
        Unbuilt::named("PutLogAlarm"),
        Unbuilt::named("PutManagedInsightRules"),
        Unbuilt::named("PutMetricAlarm"),
        Unbuilt::named("PutMetricDataQueryDefinition"),
        Unbuilt::named("PutMetricStream"),
        Unbuilt::named("SetAlarmState"),
        Unbuilt::named("StartMetricStreams"),
        Unbuilt::named("StartOTelEnrichment"),
        Unbuilt::named("StopMetricStreams"),
        Unbuilt::named("StopOTelEnrichment"),
        Unbuilt::named("TagResource"),
        Unbuilt::named("UntagResource"),
        Unbuilt::named("UpdateOTelEnrichment"),
        Unbuilt::named("UpdateResourceMetricsConfiguration"),
    ];
}

impl Recorder {
    /// One round of thinning out old values and forgetting series that have none.
    pub(crate) async fn thin_out(&self, clock: &dyn Clock) -> Result<()> {
        let now_ms = clock.now_ms();
        for series in self.index.all() {
            self.buckets
                .thin_out(&series, now_ms.div_euclid(1000))
                .await?;
            let older_than_ms = now_ms - HOURS_KEPT_S * 1000;
            if series.last_ms.load(Ordering::Relaxed) < older_than_ms {
                self.index.forget(&series, older_than_ms).await?;
            }
        }
        Ok(())
    }
}
