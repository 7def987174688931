//! CloudWatch Logs: groups of streams of events.

mod archive;
mod cursor;
mod events;
mod groups;
mod live_tail;
mod names;
mod policies;
mod recipient;
mod retention;
mod search;
mod streams;
mod tags;

#[cfg(test)]
mod tests;

use wire::{Protocol, Route, Service, Unbuilt};

pub use archive::May;
pub(crate) use archive::{Archive, EVENT_BYTES_MAX, EVENT_OVERHEAD_BYTES, NewEvent, fit};
pub use events::{GetLogEvents, PutLogEvents};
pub use groups::{
    CreateLogGroup, DeleteLogGroup, DeleteRetentionPolicy, DescribeLogGroups, ListLogGroups,
    PutRetentionPolicy,
};
pub use live_tail::StartLiveTail;
pub use names::{LogGroupName, LogStreamName};
pub use policies::{DeleteResourcePolicy, DescribeResourcePolicies, PutResourcePolicy};
pub use recipient::{LogGroupRecipient, Writers};
pub use search::FilterLogEvents;
pub use streams::{CreateLogStream, DeleteLogStream, DescribeLogStreams};
pub use tags::{
    ListTagsForResource, ListTagsLogGroup, TagLogGroup, TagResource, UntagLogGroup, UntagResource,
};

/// The service.
pub struct Logs {
    pub(crate) archive: Archive,
}

impl Service for Logs {
    const NAME: &'static str = "logs";
    const MODEL: &'static str = "logs";
    const PROTOCOLS: &'static [Protocol] = &[Protocol::Json11];
    const TARGET_PREFIX: &'static str = "Logs_20140328";
    const VALIDATION: (&'static str, u16) = ("InvalidParameterException", 400);

    const OPERATIONS: &'static [Route<Self>] = &[
        Route::of::<CreateLogGroup>(),
        Route::of::<CreateLogStream>(),
        Route::of::<DeleteLogGroup>(),
        Route::of::<DeleteLogStream>(),
        Route::of::<DeleteResourcePolicy>(),
        Route::of::<DeleteRetentionPolicy>(),
        Route::of::<DescribeLogGroups>(),
        Route::of::<DescribeLogStreams>(),
        Route::of::<DescribeResourcePolicies>(),
        Route::of::<FilterLogEvents>(),
        Route::of::<GetLogEvents>(),
        Route::of::<ListLogGroups>(),
        Route::of::<ListTagsForResource>(),
        Route::of::<ListTagsLogGroup>(),
        Route::of::<PutLogEvents>(),
        Route::of::<PutResourcePolicy>(),
        Route::of::<PutRetentionPolicy>(),
        Route::of::<StartLiveTail>(),
        Route::of::<TagLogGroup>(),
        Route::of::<TagResource>(),
        Route::of::<UntagLogGroup>(),
        Route::of::<UntagResource>(),
    ];

    const UNBUILT: &'static [Unbuilt] = &[
        Unbuilt::named("AssociateKmsKey"),
        Unbuilt::named("AssociateSourceToS3TableIntegration"),
        Unbuilt::named("CancelExportTask"),
        Unbuilt::named("CancelImportTask"),
        Unbuilt::named("CreateDelivery"),
        Unbuilt::named("CreateExportTask"),
        Unbuilt::named("CreateImportTask"),
        Unbuilt::named("CreateLogAnomalyDetector"),
        Unbuilt::named("CreateLookupTable"),
        Unbuilt::named("CreateScheduledQuery"),
        Unbuilt::named("DeleteAccountPolicy"),
        Unbuilt::named("DeleteDataProtectionPolicy"),
        Unbuilt::named("DeleteDelivery"),
        Unbuilt::named("DeleteDeliveryDestination"),
        Unbuilt::named("DeleteDeliveryDestinationPolicy"),
        Unbuilt::named("DeleteDeliverySource"),
        Unbuilt::named("DeleteDestination"),
        Unbuilt::named("DeleteIndexPolicy"),
        Unbuilt::named("DeleteIntegration"),
        Unbuilt::named("DeleteLogAnomalyDetector"),
        Unbuilt::named("DeleteLookupTable"),
        Unbuilt::named("DeleteMetricFilter"),
        Unbuilt::named("DeleteQueryDefinition"),
        Unbuilt::named("DeleteScheduledQuery"),
        Unbuilt::named("DeleteSubscriptionFilter"),
        Unbuilt::named("DeleteSyslogConfiguration"),
        Unbuilt::named("DeleteTransformer"),
        Unbuilt::named("DescribeAccountPolicies"),
        Unbuilt::named("DescribeConfigurationTemplates"),
        Unbuilt::named("DescribeDeliveries"),
        Unbuilt::named("DescribeDeliveryDestinations"),
        Unbuilt::named("DescribeDeliverySources"),
        Unbuilt::named("DescribeDestinations"),
        Unbuilt::named("DescribeExportTasks"),
        Unbuilt::named("DescribeFieldIndexes"),
        Unbuilt::named("DescribeImportTaskBatches"),
        Unbuilt::named("DescribeImportTasks"),
        Unbuilt::named("DescribeIndexPolicies"),
        Unbuilt::named("DescribeLookupTables"),
        Unbuilt::named("DescribeMetricFilters"),
        Unbuilt::named("DescribeQueries"),
        Unbuilt::named("DescribeQueryDefinitions"),
        Unbuilt::named("DescribeSubscriptionFilters"),
        Unbuilt::named("DisassociateKmsKey"),
        Unbuilt::named("DisassociateSourceFromS3TableIntegration"),
        Unbuilt::named("GetDataProtectionPolicy"),
        Unbuilt::named("GetDelivery"),
        Unbuilt::named("GetDeliveryDestination"),
        Unbuilt::named("GetDeliveryDestinationPolicy"),
        Unbuilt::named("GetDeliverySource"),
        Unbuilt::named("GetIntegration"),
        Unbuilt::named("GetLogAnomalyDetector"),
        Unbuilt::named("GetLogFields"),
        Unbuilt::named("GetLogGroupFields"),
        Unbuilt::named("GetLogObject"),
        Unbuilt::named("GetLogRecord"),
        Unbuilt::named("GetLookupTable"),
        Unbuilt::named("GetQueryResults"),
        Unbuilt::named("GetScheduledQuery"),
        Unbuilt::named("GetScheduledQueryHistory"),
        Unbuilt::named("GetStorageTierPolicy"),
        Unbuilt::named("GetTransformer"),
        Unbuilt::named("ListAggregateLogGroupSummaries"),
        Unbuilt::named("ListAnomalies"),
        Unbuilt::named("ListIntegrations"),
        Unbuilt::named("ListLogAnomalyDetectors"),
        Unbuilt::named("ListLogGroupsForQuery"),
        Unbuilt::named("ListScheduledQueries"),
        Unbuilt::named("ListSourcesForS3TableIntegration"),
        Unbuilt::named("ListSyslogConfigurations"),
        Unbuilt::named("PutAccountPolicy"),
        Unbuilt::named("PutBearerTokenAuthentication"),
        Unbuilt::named("PutDataProtectionPolicy"),
        Unbuilt::named("PutDeliveryDestination"),
        Unbuilt::named("PutDeliveryDestinationPolicy"),
        Unbuilt::named("PutDeliverySource"),
        Unbuilt::named("PutDestination"),
        Unbuilt::named("PutDestinationPolicy"),
        Unbuilt::named("PutIndexPolicy"),
        Unbuilt::named("PutIntegration"),
        Unbuilt::named("PutLogGroupDeletionProtection"),
        Unbuilt::named("PutMetricFilter"),
        Unbuilt::named("PutQueryDefinition"),
        Unbuilt::named("PutStorageTierPolicy"),
        Unbuilt::named("PutSubscriptionFilter"),
        Unbuilt::named("PutSyslogConfiguration"),
        Unbuilt::named("PutTransformer"),
        Unbuilt::named("StartQuery"),
        Unbuilt::named("StopQuery"),
        Unbuilt::named("TestMetricFilter"),
        Unbuilt::named("TestTransformer"),
        Unbuilt::named("UpdateAnomaly"),
        Unbuilt::named("UpdateDeliveryConfiguration"),
        Unbuilt::named("UpdateLogAnomalyDetector"),
        Unbuilt::named("UpdateLookupTable"),
        Unbuilt::named("UpdateScheduledQuery"),
    ];
}
