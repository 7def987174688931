//! A small service, driven through HTTP heads and bodies in every protocol.
#![allow(clippy::unwrap_used, missing_docs)]

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use http::request::Parts;
use wire::{
    AccountId, Arn, Ask, Authorizer, Blob, Body, Caller, CallerKind, Context, Error, Http, List,
    Mount, Operation, Protocol, Region, Route, Router, Scope, Service, Shape, Timestamp, Unbuilt,
    number, text,
};

text! {
    struct Name: 1..=8, "[a-z]+";
}
number! {
    struct Size: 1..=10;
}

#[derive(Debug, Shape)]
#[shape(rename_all = "SCREAMING_SNAKE_CASE")]
enum Mode {
    FastLane,
    Slow,
}

#[derive(Debug, Shape)]
struct Tag {
    key: String,
    value: Option<String>,
}

#[derive(Shape)]
struct Put {
    name: Name,
    size: Option<Size>,
    mode: Option<Mode>,
    tags: Option<List<Tag, 0, 2>>,
    labels: Option<BTreeMap<String, Name>>,
    data: Option<Blob>,
    at: Option<Timestamp>,
    dry: Option<bool>,
}

#[derive(Shape)]
struct PutOutput {
    echo: String,
    at: Option<Timestamp>,
    data: Option<Blob>,
    items: Vec<String>,
}

impl Operation for Put {
    type Service = Things;
    type Output = PutOutput;
    const NAME: &'static str = "PutThing";
    const HTTP: Http = Http::new("POST", "/2020-01-01/things/{Name}", 201)
        .query(&[("Dry", "Dry")])
        .headers(&[("x-size", "Size")])
        .reply_headers(&[("X-Echo", "Echo")]);

    fn resource(&self, at: &Scope) -> Arn {
        Arn::regional("things", at, &self.name)
    }

    async fn run(self, _: &Things, _: &Context) -> Result<PutOutput, Error> {
        if &*self.name == "missing" {
            return Err(
                Error::new("ResourceNotFoundException", 404, "Thing not found")
                    .with("Type", "User"),
            );
        }
        Ok(PutOutput {
            echo: format!(
                "{} {:?} {:?} {} {:?} {:?}",
                self.name,
                self.size.map(Size::get),
                self.mode,
                self.tags
                    .iter()
                    .flat_map(|t| t.iter())
                    .map(|t| format!("{}={:?}", t.key, t.value))
                    .collect::<String>(),
                self.labels.map(|l| l.len()),
                self.dry,
            ),
            at: self.at,
            data: self.data,
            items: vec!["a<b".to_owned()],
        })
    }
}

struct Things;

impl Service for Things {
    const NAME: &'static str = "things";
    const MODEL: &'static str = "things";
    const PROTOCOLS: &'static [Protocol] = &[
        Protocol::RestJson,
        Protocol::Json11,
        Protocol::Query,
        Protocol::Cbor,
    ];
    const TARGET_PREFIX: &'static str = "Things_2020";
    const API_VERSION: &'static str = "2020-01-01";
    const XML_NAMESPACE: &'static str = "https://things/";
    const OPERATIONS: &'static [Route<Self>] = &[Route::of::<Put>()];
    const UNBUILT: &'static [Unbuilt] = &[Unbuilt::rest(
        "GetThing",
        "GET",
        "/2020-01-01/things/{Name}",
    )];
}

struct DenyForbidden;

impl Authorizer for DenyForbidden {
    fn authorize(&self, _: &Context, ask: &Ask<'_>) -> Result<(), String> {
        match ask.resource.as_str().ends_with(":denied") {
            true => Err(format!("no {} on {}", ask.action, ask.resource)),
            false => Ok(()),
        }
    }
}

async fn send(request: http::Request<&str>) -> (u16, http::HeaderMap, String) {
    let (head, body) = request.into_parts();
    send_bytes(&head, Bytes::from(body.to_owned())).await
}

async fn send_bytes(head: &Parts, body: Bytes) -> (u16, http::HeaderMap, String) {
    let router = Router::new(vec![Mount::new(Arc::new(Things))]);
    let account = AccountId::new("123456789012").unwrap();
    let cx = Context {
        request_id: "rid".to_owned(),
        caller: Caller {
            kind: CallerKind::Root,
            arn: Arn::root(&account),
            account,
            user_id: account.to_string(),
            access_key_id: String::new(),
            session: None,
        },
        scope: Scope {
            account,
            region: Region::new("eu-west-1").unwrap(),
        },
        source_ip: None,
        user_agent: String::new(),
        secure: false,
        now_ms: 0,
        host: String::new(),
        trace_id: None,
    };
    let reply = match router.find(head, Some("things")) {
        None => wire::unserved(head, Some("things"), "rid"),
        Some(found) => {
            let settled = found.settle(&router, head, &body);
            settled.run(head, body, &cx, &DenyForbidden).await
        }
    };
    let (parts, body) = reply.into_parts();
    let Body::Whole(body) = body else {
        panic!("no streams here")
    };
    (
        parts.status.as_u16(),
        parts.headers,
        String::from_utf8_lossy(&body).into_owned(),
    )
}

fn rest(method: &str, uri: &str) -> http::request::Builder {
    http::Request::builder()
        .method(method)
        .uri(uri)
        .header("content-type", "application/json")
}

fn json(operation: &str) -> http::request::Builder {
    http::Request::builder()
        .method("POST")
        .uri("/")
        .header("content-type", "application/x-amz-json-1.1")
        .header("x-amz-target", format!("Things_2020.{operation}"))
}

fn query(body: &str) -> http::Request<&str> {
    http::Request::builder()
        .method("POST")
        .uri("/")
        .header(
            "content-type",
            "application/x-www-form-urlencoded; charset=utf-8",
        )
        .body(body)
        .unwrap()
}

#[tokio::test]
async fn rest_json_binds_path_query_header_and_body() {
    let body = r#"{"Mode":"FAST_LANE","Tags":[{"Key":"k"}],"Data":"aGk=","At":1.5,"Name":"other"}"#;
    let (status, headers, text) = send(
        rest("POST", "/2020-01-01/things/abc/?Dry=true")
            .header("X-Size", "3")
            .body(body)
            .unwrap(),
    )
    .await;
    assert_eq!(status, 201);
    assert_eq!(
        headers["x-echo"],
        "abc Some(3) Some(FastLane) k=None None Some(true)"
    );
    assert_eq!(headers["x-amzn-requestid"], "rid");
    assert_eq!(text, r#"{"At":1.5,"Data":"aGk=","Items":["a<b"]}"#);
}

#[tokio::test]
async fn every_violation_is_reported_in_awss_words() {
    let body = r#"{"Name":"TOOLONGNAME","Size":11,"Mode":"x","Labels":{"a":"B"},"Tags":[{}]}"#;
    let (status, _, text) = send(json("PutThing").body(body).unwrap()).await;
    assert_eq!(status, 400);
    assert_eq!(
        text,
        concat!(
            r#"{"__type":"ValidationException","message":"6 validation errors detected: "#,
            "Value 'TOOLONGNAME' at 'name' failed to satisfy constraint: Member must have length less than or equal to 8; ",
            "Value 'TOOLONGNAME' at 'name' failed to satisfy constraint: Member must satisfy regular expression pattern: [a-z]+; ",
            "Value '11' at 'size' failed to satisfy constraint: Member must have value less than or equal to 10; ",
            "Value 'x' at 'mode' failed to satisfy constraint: Member must satisfy enum value set: [FAST_LANE, SLOW]; ",
            "Value null at 'tags.1.member.key' failed to satisfy constraint: Member must not be null; ",
            "Value 'B' at 'labels.a.member' failed to satisfy constraint: Member must satisfy regular expression pattern: [a-z]+",
            r#""}"#,
        )
    );
}

#[tokio::test]
async fn query_reads_forms_and_answers_xml() {
    let (status, _, text) = send(query(
        "Action=PutThing&Version=2020-01-01&Name=abc&Size=2&Tags.member.1.Key=k&Tags.member.1.Value=v&Labels.entry.1.key=a&Labels.entry.1.value=b&At=2020-01-01T00:00:00Z",
    ))
    .await;
    assert_eq!(status, 200);
    assert_eq!(
        text,
        concat!(
            r#"<PutThingResponse xmlns="https://things/"><PutThingResult>"#,
            "<Echo>abc Some(2) None k=Some(&quot;v&quot;) Some(1) None</Echo><At>2020-01-01T00:00:00Z</At>",
            "<Items><member>a&lt;b</member></Items></PutThingResult>",
            "<ResponseMetadata><RequestId>rid</RequestId></ResponseMetadata></PutThingResponse>",
        )
    );
}

#[tokio::test]
async fn cbor_round_trip() {
    let mut body = minicbor::Encoder::new(Vec::new());
    body.begin_map()
        .unwrap()
        .str("Name")
        .unwrap()
        .str("abc")
        .unwrap()
        .str("At")
        .unwrap();
    body.tag(minicbor::data::Tag::new(1))
        .unwrap()
        .f64(1.5)
        .unwrap()
        .end()
        .unwrap();
    let (head, ()) = http::Request::builder()
        .method("POST")
        .uri("/service/Things_2020/operation/PutThing")
        .header("smithy-protocol", "rpc-v2-cbor")
        .header("content-type", "application/cbor")
        .body(())
        .unwrap()
        .into_parts();
    let (status, headers, _) = send_bytes(&head, body.into_writer().into()).await;
    assert_eq!(
        (status, &headers["smithy-protocol"]),
        (200, &"rpc-v2-cbor".parse().unwrap())
    );
}

#[tokio::test]
async fn refusals() {
    let (status, headers, text) =
        send(rest("POST", "/2020-01-01/things/denied").body("").unwrap()).await;
    assert_eq!(
        (status, &headers["x-amzn-errortype"]),
        (403, &"AccessDeniedException".parse().unwrap())
    );
    assert_eq!(
        text,
        r#"{"message":"no things:PutThing on arn:aws:things:eu-west-1:123456789012:denied"}"#
    );

    let (status, _, text) =
        send(rest("POST", "/2020-01-01/things/missing").body("").unwrap()).await;
    assert_eq!(
        (status, text.as_str()),
        (404, r#"{"Type":"User","message":"Thing not found"}"#)
    );

    let (status, _, text) = send(rest("GET", "/2020-01-01/things/abc").body("").unwrap()).await;
    assert_eq!(
        (status, text.as_str()),
        (
            501,
            r#"{"message":"Mayfly does not implement things:GetThing yet."}"#
        )
    );

    let (status, _, text) = send(json("Nothing").body("{}").unwrap()).await;
    assert_eq!(
        (status, text.contains("UnknownOperationException")),
        (400, true)
    );

    let (status, _, text) = send(json("PutThing").body("{\"Name\": 1}").unwrap()).await;
    assert_eq!(status, 400);
    assert_eq!(
        text,
        r#"{"__type":"SerializationException","message":"NUMBER_VALUE can not be converted to a String"}"#
    );

    let (status, _, text) = send(json("PutThing").body("{").unwrap()).await;
    assert_eq!(
        (
            status,
            text.contains("Could not parse request body into json")
        ),
        (400, true)
    );

    let (status, _, text) = send(query("Action=Nothing&Version=2020-01-01")).await;
    assert_eq!(
        (
            status,
            text.contains("Could not find operation Nothing for version 2020-01-01")
        ),
        (400, true)
    );

    let (status, _, _) = send(rest("GET", "/elsewhere").body("").unwrap()).await;
    assert_eq!(status, 501);
}

fn zipped(bytes: &[u8]) -> Bytes {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    std::io::Write::write_all(&mut encoder, bytes).unwrap();
    encoder.finish().unwrap().into()
}

/// boto3 compresses the larger requests of CloudWatch so.
#[tokio::test]
async fn compressed_requests_are_read() {
    let head = |builder: http::request::Builder, encoding: &str| {
        let request = builder.header("content-encoding", encoding).body(());
        request.unwrap().into_parts().0
    };
    let body = zipped(br#"{"Name":"abc"}"#);
    let (status, _, text) = send_bytes(&head(json("PutThing"), "gzip"), body.clone()).await;
    assert_eq!(status, 200, "{text}");
    let form = http::Request::post("/").header("content-type", "application/x-www-form-urlencoded");
    let action = zipped(b"Action=PutThing&Version=2020-01-01&Name=abc");
    let (status, _, text) = send_bytes(&head(form, "gzip"), action).await;
    assert_eq!(status, 200, "{text}");
    let half = body.slice(..body.len() / 2);
    let (status, _, text) = send_bytes(&head(json("PutThing"), "gzip"), half).await;
    assert_eq!(
        (status, text.contains("SerializationException")),
        (400, true),
        "{text}"
    );
    // Ten megabytes of spaces in ten kilobytes.
    let bomb = zipped(&vec![b' '; 10 << 20]);
    let (status, _, text) = send_bytes(&head(json("PutThing"), "gzip"), bomb).await;
    assert_eq!(
        (status, text.contains("RequestEntityTooLarge")),
        (413, true),
        "{text}"
    );
    let (status, _, text) = send_bytes(&head(json("PutThing"), "br"), body).await;
    assert_eq!(
        (status, text.contains("UnsupportedMediaType")),
        (415, true),
        "{text}"
    );
}
