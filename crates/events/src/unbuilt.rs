//! The operations that AWS has and Mayfly has not; each is answered with its name.

use wire::Unbuilt;

/// In the order of their names.
pub(crate) const UNBUILT: &[Unbuilt] = &[
    Unbuilt::named("ActivateEventSource"),
    Unbuilt::named("CreateEndpoint"),
    Unbuilt::named("CreatePartnerEventSource"),
    Unbuilt::named("DeactivateEventSource"),
    Unbuilt::named("DeleteEndpoint"),
    Unbuilt::named("DeletePartnerEventSource"),
    Unbuilt::named("DescribeEndpoint"),
    Unbuilt::named("DescribeEventSource"),
    Unbuilt::named("DescribePartnerEventSource"),
    Unbuilt::named("ListEndpoints"),
    Unbuilt::named("ListEventSources"),
    Unbuilt::named("ListPartnerEventSourceAccounts"),
    Unbuilt::named("ListPartnerEventSources"),
    Unbuilt::named("PutPartnerEvents"),
    Unbuilt::named("UpdateEndpoint"),
];
