//! The operations that AWS has and Mayfly has not; each is answered with its name.

use wire::Unbuilt;

/// In the order of their names.
pub(crate) const UNBUILT: &[Unbuilt] = &[
    Unbuilt::named("ActivateEventSource"),
    Unbuilt::named("CancelReplay"),
    Unbuilt::named("CreateArchive"),
    Unbuilt::named("CreateEndpoint"),
    Unbuilt::named("CreatePartnerEventSource"),
    Unbuilt::named("DeactivateEventSource"),
    Unbuilt::named("DeleteArchive"),
    Unbuilt::named("DeleteEndpoint"),
    Unbuilt::named("DeletePartnerEventSource"),
    Unbuilt::named("DescribeArchive"),
    Unbuilt::named("DescribeEndpoint"),
    Unbuilt::named("DescribeEventSource"),
    Unbuilt::named("DescribePartnerEventSource"),
    Unbuilt::named("DescribeReplay"),
    Unbuilt::named("ListArchives"),
    Unbuilt::named("ListEndpoints"),
    Unbuilt::named("ListEventSources"),
    Unbuilt::named("ListPartnerEventSourceAccounts"),
    Unbuilt::named("ListPartnerEventSources"),
    Unbuilt::named("ListReplays"),
    Unbuilt::named("PutPartnerEvents"),
    Unbuilt::named("StartReplay"),
    Unbuilt::named("TestEventPattern"),
    Unbuilt::named("UpdateArchive"),
    Unbuilt::named("UpdateEndpoint"),
];
