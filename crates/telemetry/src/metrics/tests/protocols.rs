//! CloudWatch speaks three protocols; the same operations answer all of them.

use bytes::Bytes;

use super::*;
use crate::testing::whole;

async fn form(server: &Server, body: &str) -> (u16, String) {
    let request = http::Request::post("/")
        .header(
            "content-type",
            "application/x-www-form-urlencoded; charset=utf-8",
        )
        .body(Bytes::from(body.to_owned()))
        .unwrap();
    let (status, bytes) = whole(server.send(&scope(), request).await);
    (status, String::from_utf8(bytes.to_vec()).unwrap())
}

/// As boto before 2025 and `curl` users send.
#[tokio::test]
async fn query() {
    let server = Server::start().await;
    let (status, reply) = form(
        &server,
        "Action=PutMetricData&Version=2010-08-01&Namespace=Shop&MetricData.member.1.MetricName=m&MetricData.member.1.Value=2.5\
         &MetricData.member.1.Unit=Count&MetricData.member.1.Timestamp=2027-01-15T08%3A00%3A00Z\
         &MetricData.member.1.Dimensions.member.1.Name=Page&MetricData.member.1.Dimensions.member.1.Value=Cart%26Co\
         &MetricData.member.2.MetricName=m&MetricData.member.2.Values.member.1=1&MetricData.member.2.Values.member.2=2\
         &MetricData.member.2.Counts.member.1=3&MetricData.member.2.Counts.member.2=4",
    )
    .await;
    assert_eq!(status, 200, "{reply}");
    assert!(reply.starts_with("<PutMetricDataResponse xmlns=\"http://monitoring.amazonaws.com/doc/2010-08-01/\"><ResponseMetadata><RequestId>"), "{reply}");
    let (_, reply) = form(
        &server,
        "Action=ListMetrics&Version=2010-08-01&Dimensions.member.1.Name=Page",
    )
    .await;
    assert!(reply.contains("<ListMetricsResult><Metrics><member><Namespace>Shop</Namespace><MetricName>m</MetricName><Dimensions><member><Name>Page</Name><Value>Cart&amp;Co</Value></member></Dimensions></member></Metrics></ListMetricsResult>"), "{reply}");
    let (_, reply) = form(
        &server,
        "Action=GetMetricStatistics&Version=2010-08-01&Namespace=Shop&MetricName=m&StartTime=2027-01-15T08:00:00Z\
         &EndTime=2027-01-15T08:01:00Z&Period=60&Statistics.member.1=Sum&Statistics.member.2=SampleCount",
    )
    .await;
    assert!(reply.contains("<Datapoints><member><Timestamp>2027-01-15T08:00:00Z</Timestamp><SampleCount>7</SampleCount><Sum>11</Sum><Unit>None</Unit></member></Datapoints>"), "{reply}");
    let (_, reply) = form(
        &server,
        "Action=GetMetricData&Version=2010-08-01&StartTime=2027-01-15T08:00:00Z&EndTime=2027-01-15T08:01:00Z\
         &MetricDataQueries.member.1.Id=m1&MetricDataQueries.member.1.MetricStat.Metric.Namespace=Shop\
         &MetricDataQueries.member.1.MetricStat.Metric.MetricName=m&MetricDataQueries.member.1.MetricStat.Period=60\
         &MetricDataQueries.member.1.MetricStat.Stat=p50",
    )
    .await;
    assert!(
        reply.contains("<Values><member>2</member></Values><StatusCode>Complete</StatusCode>"),
        "{reply}"
    );
    let (status, reply) = form(&server, "Action=PutMetricData&Version=2010-08-01&Namespace=AWS/X&MetricData.member.1.MetricName=m&MetricData.member.1.Value=NaN").await;
    assert_eq!(status, 400);
    assert!(reply.contains("<Code>InvalidParameterValue</Code><Message>The value AWS/X for parameter Namespace is invalid.</Message>"), "{reply}");
    let (_, reply) = form(&server, "Action=PutMetricData&Version=2010-08-01&Namespace=X&MetricData.member.1.MetricName=m&MetricData.member.1.Value=NaN").await;
    assert!(
        reply.contains("The value NaN for parameter MetricData.member.1.Value is invalid."),
        "{reply}"
    );
    let (status, reply) = form(&server, "Action=PutDashboard&Version=2010-08-01").await;
    assert_eq!(status, 501, "{reply}");
}

/// As newer SDKs send.
#[tokio::test]
async fn cbor() {
    let server = Server::start().await;
    put(&server, json!([datum("m", 0, 2.5)])).await;
    // {"Namespace": "Shop"}, with the map's length left open as some encoders do.
    let body = b"\xbf\x69Namespace\x64Shop\xff";
    let request =
        http::Request::post("/service/GraniteServiceVersion20100801/operation/ListMetrics")
            .header("smithy-protocol", "rpc-v2-cbor")
            .header("content-type", "application/cbor")
            .body(Bytes::from_static(body))
            .unwrap();
    let reply = server.send(&scope(), request).await;
    assert_eq!(reply.headers()["smithy-protocol"], "rpc-v2-cbor");
    let (status, bytes) = whole(reply);
    assert_eq!(status, 200);
    let text = String::from_utf8_lossy(&bytes);
    assert!(
        text.contains("MetricName") && text.contains("Shop"),
        "{text}"
    );
}

/// Clients of this service read the older code from a header.
#[tokio::test]
async fn json_errors_carry_the_query_code() {
    let server = Server::start().await;
    let request = http::Request::post("/")
        .header("content-type", "application/x-amz-json-1.0")
        .header(
            "x-amz-target",
            "GraniteServiceVersion20100801.PutMetricData",
        )
        .header("x-amzn-query-mode", "true")
        .body(Bytes::from_static(b"{\"Namespace\":\"AWS/X\"}"))
        .unwrap();
    let reply = server.send(&scope(), request).await;
    assert_eq!(
        reply.headers()["x-amzn-query-error"],
        "InvalidParameterValue;Sender"
    );
    let (_, bytes) = whole(reply);
    let body: Value = serde_json::from_slice(&bytes).unwrap();
    assert_eq!(
        body["__type"],
        "com.amazonaws.cloudwatch#InvalidParameterValueException"
    );
}
