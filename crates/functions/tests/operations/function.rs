use engine::runtimes::{Catalogue, Policy, RuntimesConfig};
use serde_json::{Value, json};

use crate::bed::{Bed, FUNCTION, ROLE, base64, zip};

#[tokio::test]
async fn created_pending_then_active_with_another_revision() {
    let bed = Bed::new().await;
    let created = bed
        .create_with(json!({ "Description": "says hello", "Tags": { "team": "a" } }))
        .await;
    assert_eq!(created.status, 201);
    let created = created.json();
    let sha = created["CodeSha256"].clone();
    let expected = json!({
        "FunctionName": "hello", "FunctionArn": FUNCTION, "Runtime": "provided.al2023",
        "Role": ROLE, "Handler": "app.handler", "CodeSize": created["CodeSize"],
        "Description": "says hello", "Timeout": 3, "MemorySize": 128,
        "LastModified": "2026-11-23T09:00:00.175+0000", "CodeSha256": sha, "Version": "$LATEST",
        "TracingConfig": { "Mode": "PassThrough" }, "RevisionId": created["RevisionId"],
        "State": "Pending", "StateReason": "The function is being created.",
        "StateReasonCode": "Creating", "PackageType": "Zip", "Architectures": ["x86_64"],
        "EphemeralStorage": { "Size": 512 },
        "SnapStart": { "ApplyOn": "None", "OptimizationStatus": "Off" },
        "RuntimeVersionConfig": created["RuntimeVersionConfig"],
        "LoggingConfig": { "LogFormat": "Text", "LogGroup": "/aws/lambda/hello" },
    });
    assert_eq!(created, expected);
    let arn = created["RuntimeVersionConfig"]["RuntimeVersionArn"]
        .as_str()
        .unwrap();
    assert!(
        arn.starts_with("arn:aws:lambda:eu-west-1::runtime:"),
        "{arn}"
    );

    let active = bed.active("hello").await;
    assert_eq!(active["State"], "Active");
    assert_eq!(active["LastUpdateStatus"], "Successful");
    assert_eq!(active["StateReason"], Value::Null);
    assert_ne!(active["RevisionId"], created["RevisionId"]);

    let got = bed.get("/2015-03-31/functions/hello").await.ok();
    assert_eq!(got["Configuration"], active);
    assert_eq!(got["Tags"], json!({ "team": "a" }));
    assert_eq!(got["Code"]["RepositoryType"], "S3");
    assert_eq!(got["Concurrency"], Value::Null);
}

#[tokio::test]
async fn tags_are_shown_to_those_who_may_list_them() {
    let bed = Bed::new().await;
    bed.create_with(json!({ "FunctionName": "hidden", "Tags": { "a": "b" } }))
        .await
        .ok();
    let got = bed.get("/2015-03-31/functions/hidden").await.ok();
    assert_eq!(got["Tags"], Value::Null);
    assert_eq!(got["TagsError"]["ErrorCode"], "AccessDeniedException");
}

#[tokio::test]
async fn the_code_can_be_downloaded_for_ten_minutes() {
    let bed = Bed::new().await;
    bed.hello().await;
    let got = bed.get("/2015-03-31/functions/hello").await.ok();
    let location = got["Code"]["Location"].as_str().unwrap();
    let prefix = format!("http://127.0.0.1:4566{}", functions::DOWNLOAD_PATH);
    let token = location.strip_prefix(&prefix).unwrap();
    let code = bed.functions.code_download(token).await.unwrap();
    assert_eq!(code, zip(&[("bootstrap", "#!/bin/sh")]));
    assert!(bed.functions.code_download("nothing").await.is_none());
    bed.clock.advance(std::time::Duration::from_secs(601));
    assert!(bed.functions.code_download(token).await.is_none());
}

#[tokio::test]
async fn every_spelling_of_the_name() {
    let bed = Bed::new().await;
    bed.hello().await;
    for name in [
        "hello",
        "hello:$LATEST",
        "123456789012:function:hello",
        FUNCTION,
        "arn%3Aaws%3Alambda%3Aeu-west-1%3A123456789012%3Afunction%3Ahello",
    ] {
        let got = bed.get(&format!("/2015-03-31/functions/{name}")).await.ok();
        assert_eq!(got["Configuration"]["FunctionName"], "hello", "{name}");
    }
    let path = "/2015-03-31/functions/hello:$LATEST?Qualifier=1";
    bed.get(path).await.fails(
        400,
        "InvalidParameterValueException",
        "The derived qualifier from the function name does not match the specified qualifier.",
    );
    let elsewhere = FUNCTION.replace("eu-west-1", "us-east-1");
    bed.get(&format!("/2015-03-31/functions/{elsewhere}"))
        .await
        .fails(
            404,
            "ResourceNotFoundException",
            "Functions from 'us-east-1' are not reachable in this region ('eu-west-1')",
        );
    bed.get("/2015-03-31/functions/other").await.fails(
        404,
        "ResourceNotFoundException",
        "Function not found: arn:aws:lambda:eu-west-1:123456789012:function:other",
    );
    bed.get("/2015-03-31/functions/hello?Qualifier=prod")
        .await
        .fails(
            404,
            "ResourceNotFoundException",
            &format!("Function not found: {FUNCTION}:prod"),
        );
    let bad = bed.get("/2015-03-31/functions/a%20b").await;
    assert_eq!(bad.header("x-amzn-errortype"), Some("ValidationException"));
}

#[tokio::test]
async fn what_create_refuses() {
    let bed = Bed::new().await;
    bed.hello().await;
    let invalid = "InvalidParameterValueException";
    let check = async |over: Value, status, code: &str, message: &str| {
        bed.create_with(over).await.fails(status, code, message);
    };
    check(
        json!({}),
        409,
        "ResourceConflictException",
        "Function already exist: hello",
    )
    .await;
    let long = "x".repeat(65);
    let text = format!(
        "1 validation error detected: Value '{long}' at 'functionName' failed to satisfy constraint: Member must have length less than or equal to 64"
    );
    check(json!({ "FunctionName": long }), 400, invalid, &text).await;
    check(
        json!({ "FunctionName": "x", "Role": "arn:aws:iam::123456789012:role/no-such" }),
        400,
        invalid,
        "The role defined for the function cannot be assumed by Lambda.",
    )
    .await;
    check(
        json!({ "FunctionName": "x", "Role": "arn:aws:iam::999999999999:role/x" }),
        403,
        "AccessDeniedException",
        "Cross-account pass role is not allowed.",
    )
    .await;
    check(
        json!({ "FunctionName": "x", "Role": "nobody" }),
        400,
        "ValidationException",
        r"1 validation error detected: Value 'nobody' at 'role' failed to satisfy constraint: Member must satisfy regular expression pattern: arn:(aws[a-zA-Z-]*)?:iam::\d{12}:role/?[a-zA-Z_0-9+=,.@\-_/]+",
    )
    .await;
    check(
        json!({ "FunctionName": "x", "Environment": { "Variables": { "AWS_REGION": "a", "OK": "b" } } }),
        400,
        invalid,
        "Lambda was unable to configure your environment variables because the environment variables you have provided contains reserved keys that are currently not supported for modification. Reserved keys used in this request: AWS_REGION",
    )
    .await;
    let value = "v".repeat(4096);
    let text = format!(
        "Lambda was unable to configure your environment variables because the environment variables you have provided exceeded the 4KB limit. String measured: {{\"KEY\":\"{value}\"}}"
    );
    check(
        json!({ "FunctionName": "x", "Environment": { "Variables": { "KEY": value } } }),
        400,
        invalid,
        &text,
    )
    .await;
    check(
        json!({ "FunctionName": "x", "Environment": { "Variables": { "1A": "" } } }),
        400,
        "ValidationException",
        "1 validation error detected: Value at 'environment.variables' failed to satisfy constraint: Map keys must satisfy constraint: [Member must satisfy regular expression pattern: [a-zA-Z]([a-zA-Z0-9_])+]",
    )
    .await;
    check(
        json!({ "FunctionName": "x", "Timeout": 901 }),
        400,
        "ValidationException",
        "1 validation error detected: Value '901' at 'timeout' failed to satisfy constraint: Member must have value less than or equal to 900",
    )
    .await;
    check(
        json!({ "FunctionName": "x", "Handler": Value::Null }),
        400,
        invalid,
        "Runtime and Handler are mandatory parameters for functions created with deployment packages.",
    )
    .await;
    check(
        json!({ "FunctionName": "x", "LoggingConfig": { "ApplicationLogLevel": "WARN" } }),
        400,
        invalid,
        "Log level is not supported when LogFormat is set to Text. Remove log level from your request or change the LogFormat to JSON and try again.",
    )
    .await;
    check(
        json!({ "FunctionName": "x", "Code": { "S3Bucket": "bucket", "S3Key": "key" } }),
        400,
        invalid,
        "Error occurred while GetObject. S3 Error Code: NoSuchBucket. S3 Error Message: The specified bucket does not exist",
    )
    .await;
    let missing = bed
        .create_with(json!({ "FunctionName": Value::Null }))
        .await;
    missing.fails(
        400,
        "ValidationException",
        "1 validation error detected: Value null at 'functionName' failed to satisfy constraint: Member must not be null",
    );
}

#[tokio::test]
async fn runtimes() {
    let bed = Bed::new().await;
    let unknown = bed.create_with(json!({ "Runtime": "cobol74" })).await;
    let text = unknown.json()["message"].as_str().unwrap().to_owned();
    assert!(text.starts_with("Value cobol74 at 'runtime' failed to satisfy constraint: Member must satisfy enum value set: ["), "{text}");
    assert!(text.ends_with("] or be a valid ARN"), "{text}");
    let missing = bed.create_with(json!({ "Runtime": "java8" })).await;
    assert_eq!(
        missing.header("x-amzn-errortype"),
        Some("InvalidParameterValueException")
    );
    let text = missing.json()["message"].as_str().unwrap().to_owned();
    assert!(
        text.starts_with("The runtime java8 has no toolchain on this machine."),
        "{text}"
    );
}

#[tokio::test]
async fn awss_own_policy_refuses_what_aws_no_longer_offers() {
    let bed = Bed::with(|config| {
        let runtimes = RuntimesConfig {
            data: config.data.join("runtimes"),
            policy: Policy::Aws,
            ..RuntimesConfig::default()
        };
        config.runtimes = Catalogue::discover(&runtimes).unwrap();
    })
    .await;
    let blocked = bed.create_with(json!({ "Runtime": "python3.7" })).await;
    blocked.fails(
        400,
        "InvalidParameterValueException",
        "The runtime parameter of python3.7 is no longer supported for creating or updating AWS Lambda functions. We recommend you use a supported runtime while creating or updating functions.",
    );
}

#[tokio::test]
async fn settings_that_are_not_applied_are_refused_unless_empty() {
    let bed = Bed::new().await;
    let refused = [
        ("PackageType", json!("Image"), "PackageType Image"),
        (
            "VpcConfig",
            json!({ "SubnetIds": ["subnet-1"] }),
            "VpcConfig",
        ),
        (
            "KMSKeyArn",
            json!("arn:aws:kms:eu-west-1:123456789012:key/1"),
            "KMSKeyArn",
        ),
        (
            "TracingConfig",
            json!({ "Mode": "Active" }),
            "TracingConfig Active",
        ),
        (
            "FileSystemConfigs",
            json!([{ "Arn": "arn:x", "LocalMountPath": "/mnt/a" }]),
            "FileSystemConfigs",
        ),
        (
            "CodeSigningConfigArn",
            json!("arn:x"),
            "CodeSigningConfigArn",
        ),
        ("ImageConfig", json!({ "Command": ["a"] }), "ImageConfig"),
        (
            "Architectures",
            json!(["arm64"]),
            "A machine type other than this machine's",
        ),
        (
            "TenancyConfig",
            json!({ "TenantIsolationMode": "PER_TENANT" }),
            "TenancyConfig",
        ),
        (
            "DurableConfig",
            json!({ "ExecutionTimeout": 1 }),
            "DurableConfig",
        ),
        (
            "RuntimeConfig",
            json!({ "RuntimeArn": "a", "RuntimeAlias": "b" }),
            "RuntimeConfig",
        ),
        (
            "AcceleratorConfig",
            json!({ "AcceleratorMemorySize": 1 }),
            "AcceleratorConfig",
        ),
        ("PublishTo", json!("LATEST_PUBLISHED"), "PublishTo"),
    ];
    for (member, value, name) in refused {
        let mut over = json!({});
        over[member] = value;
        let reply = bed.create_with(over).await;
        assert_eq!(
            reply.header("x-amzn-errortype"),
            Some("InvalidParameterValueException")
        );
        let text = reply.json()["message"].as_str().unwrap().to_owned();
        let start = format!("{name} is not supported by Mayfly yet.");
        assert!(text.starts_with(&start), "{text}");
    }
    let wrong = bed
        .create_with(json!({ "Architectures": ["x86_64", "arm64"] }))
        .await;
    wrong.fails(400, "ValidationException", "1 validation error detected: Value '[x86_64, arm64]' at 'architectures' failed to satisfy constraint: Member must have length less than or equal to 1");
    let empty = json!({
        "PackageType": "Zip", "VpcConfig": { "SubnetIds": [], "SecurityGroupIds": [] }, "DeadLetterConfig": {},
        "KMSKeyArn": "", "TracingConfig": { "Mode": "PassThrough" }, "FileSystemConfigs": [],
        "ImageConfig": {}, "Architectures": ["x86_64"], "SnapStart": { "ApplyOn": "None" }, "Layers": [],
    });
    bed.create_with(empty).await.ok();
}

#[tokio::test]
async fn json_logging_and_partial_updates_of_it() {
    let bed = Bed::new().await;
    let json = json!({ "LogFormat": "JSON", "LogGroup": "/my/group" });
    let created = bed.create_with(json!({ "LoggingConfig": json })).await.ok();
    assert_eq!(
        created["LoggingConfig"],
        json!({ "LogFormat": "JSON", "ApplicationLogLevel": "INFO", "SystemLogLevel": "INFO", "LogGroup": "/my/group" })
    );
    bed.active("hello").await;
    let path = "/2015-03-31/functions/hello/configuration";
    let levels = json!({ "LoggingConfig": { "SystemLogLevel": "WARN" } });
    let updated = bed.put(path, levels).await.ok();
    assert_eq!(
        updated["LoggingConfig"],
        json!({ "LogFormat": "JSON", "ApplicationLogLevel": "INFO", "SystemLogLevel": "WARN", "LogGroup": "/my/group" })
    );
    bed.active("hello").await;
    let text = json!({ "LoggingConfig": { "LogFormat": "Text" } });
    let updated = bed.put(path, text).await.ok();
    assert_eq!(
        updated["LoggingConfig"],
        json!({ "LogFormat": "Text", "LogGroup": "/my/group" })
    );
}

#[tokio::test]
async fn updates_change_the_revision_and_are_refused_when_stale() {
    let bed = Bed::new().await;
    let active = bed.hello().await;
    let path = "/2015-03-31/functions/hello/configuration";
    let stale = "The Revision Id provided does not match the latest Revision Id. Call the GetFunction/GetAlias API to retrieve the latest Revision Id";
    let body = json!({ "Timeout": 5, "RevisionId": "wrong" });
    bed.put(path, body)
        .await
        .fails(412, "PreconditionFailedException", stale);

    let body = json!({ "Timeout": 5, "MemorySize": 256, "Description": "d", "RevisionId": active["RevisionId"],
        "Environment": { "Variables": { "KEY": "value" } }, "EphemeralStorage": { "Size": 1024 } });
    let updated = bed.put(path, body).await.ok();
    assert_eq!(updated["LastUpdateStatus"], "InProgress");
    assert_eq!(updated["State"], "Active");
    assert_eq!(updated["Timeout"], 5);
    assert_eq!(
        updated["Environment"],
        json!({ "Variables": { "KEY": "value" } })
    );
    let done = bed.active("hello").await;
    assert_eq!(done["LastUpdateStatus"], "Successful");
    assert_eq!(done["EphemeralStorage"]["Size"], 1024);
    assert_ne!(done["RevisionId"], updated["RevisionId"]);

    let cleared = bed.put(path, json!({ "Environment": {} })).await.ok();
    assert_eq!(cleared["Environment"], Value::Null);
    let early = bed.put(path, json!({ "Timeout": 6 })).await;
    if early.status != 200 {
        early.fails(
            409,
            "ResourceConflictException",
            &format!("The operation cannot be performed at this time. An update is in progress for resource: {FUNCTION}"),
        );
    }
    bed.active("hello").await;
    bed.put("/2015-03-31/functions/other/configuration", json!({}))
        .await
        .fails(
            404,
            "ResourceNotFoundException",
            "Function not found: arn:aws:lambda:eu-west-1:123456789012:function:other",
        );
    let runtime = bed.put(path, json!({ "Runtime": "cobol74" })).await;
    assert_eq!(runtime.status, 400);
}

#[tokio::test]
async fn new_code_and_its_dry_run() {
    let bed = Bed::new().await;
    let before = bed.hello().await;
    let path = "/2015-03-31/functions/hello/code";
    let body = json!({ "ZipFile": base64(&zip(&[("bootstrap", "two")])) });
    let mut dry = body.clone();
    dry["DryRun"] = json!(true);
    let dry = bed.put(path, dry).await.ok();
    assert_ne!(dry["CodeSha256"], before["CodeSha256"]);
    assert_eq!(bed.active("hello").await, before);

    let updated = bed.put(path, body).await.ok();
    assert_eq!(updated["LastUpdateStatus"], "InProgress");
    assert_eq!(updated["CodeSha256"], dry["CodeSha256"]);
    bed.active("hello").await;
    let body = json!({ "ZipFile": base64(&zip(&[("bootstrap", "three")])), "Publish": true });
    let published = bed.put(path, body).await.ok();
    assert_eq!(published["Version"], "1");
    assert_eq!(published["FunctionArn"], format!("{FUNCTION}:1"));
    bed.active("hello").await;
    let nothing = bed.put(path, json!({})).await;
    assert_eq!(nothing.status, 400);
    let image = bed.put(path, json!({ "ImageUri": "x" })).await;
    image.fails(
        400,
        "InvalidParameterValueException",
        "Please don't provide ImageUri when updating a function with packageType Zip.",
    );
}

#[tokio::test]
async fn lists_come_in_pages() {
    let bed = Bed::new().await;
    for name in ["c", "a", "b", "a-b"] {
        bed.create_with(json!({ "FunctionName": name, "Publish": true }))
            .await
            .ok();
    }
    let names = |page: &Value| -> Vec<String> {
        let functions = page["Functions"].as_array().unwrap();
        functions
            .iter()
            .map(|f| {
                format!(
                    "{}:{}",
                    f["FunctionName"].as_str().unwrap(),
                    f["Version"].as_str().unwrap()
                )
            })
            .collect()
    };
    let all = bed.get("/2015-03-31/functions/").await.ok();
    assert_eq!(
        names(&all),
        ["a:$LATEST", "a-b:$LATEST", "b:$LATEST", "c:$LATEST"]
    );
    assert_eq!(all["Functions"][0]["State"], Value::Null);
    assert_eq!(all["NextMarker"], Value::Null);

    let mut found = Vec::new();
    let mut path = "/2015-03-31/functions?MaxItems=3&FunctionVersion=ALL".to_owned();
    loop {
        let page = bed.get(&path).await.ok();
        found.extend(names(&page));
        let Some(marker) = page["NextMarker"].as_str() else {
            break;
        };
        path = format!("/2015-03-31/functions?MaxItems=3&FunctionVersion=ALL&Marker={marker}");
    }
    assert_eq!(
        found,
        [
            "a:$LATEST",
            "a:1",
            "a-b:$LATEST",
            "a-b:1",
            "b:$LATEST",
            "b:1",
            "c:$LATEST",
            "c:1"
        ]
    );
    let replicas = "/2015-03-31/functions?FunctionVersion=ALL&MasterRegion=us-east-1";
    assert_eq!(bed.get(replicas).await.ok(), json!({ "Functions": [] }));
    let bad = bed.get("/2015-03-31/functions?MaxItems=0").await;
    bad.fails(400, "ValidationException", "1 validation error detected: Value '0' at 'maxItems' failed to satisfy constraint: Member must have value greater than or equal to 1");
    bed.get("/2015-03-31/functions?Marker=%21").await.fails(
        400,
        "InvalidParameterValueException",
        "The provided Marker is invalid.",
    );
}

#[tokio::test]
async fn deleted_and_made_again() {
    let bed = Bed::new().await;
    bed.hello().await;
    bed.publish().await;
    bed.delete("/2015-03-31/functions/hello?Qualifier=$LATEST")
        .await
        .fails(
            400,
            "InvalidParameterValueException",
            "$LATEST version cannot be deleted without deleting the function.",
        );
    let deleted = bed.delete("/2015-03-31/functions/hello").await;
    assert_eq!((deleted.status, deleted.body.len()), (204, 0));
    assert_eq!(bed.get("/2015-03-31/functions/hello").await.status, 404);
    assert_eq!(bed.delete("/2015-03-31/functions/hello").await.status, 404);
    let retired = bed.recorder.retired.lock().unwrap().clone();
    assert_eq!(retired, ["123456789012/eu-west-1/hello/"]);
    bed.hello().await;
    assert_eq!(
        bed.get("/2015-03-31/functions/hello?Qualifier=1")
            .await
            .status,
        404
    );
}

#[tokio::test]
async fn account_settings() {
    let bed = Bed::new().await;
    let created = bed.create_with(json!({ "Publish": true })).await.ok();
    let size = created["CodeSize"].as_u64().unwrap();
    let settings = bed.get("/2016-08-19/account-settings/").await.ok();
    assert_eq!(
        settings,
        json!({
            "AccountLimit": { "TotalCodeSize": 80_530_636_800_u64, "CodeSizeUnzipped": 262_144_000, "CodeSizeZipped": 52_428_800,
                "ConcurrentExecutions": 1000, "UnreservedConcurrentExecutions": 1000 },
            "AccountUsage": { "TotalCodeSize": 2 * size, "FunctionCount": 1 },
        })
    );
}

#[tokio::test]
async fn who_creates_must_pass_the_role() {
    let bed = Bed::new().await;
    bed.hello().await;
    let asked = bed.guard.asked.lock().unwrap().clone();
    let pass = asked
        .iter()
        .find(|asked| asked.action == "iam:PassRole")
        .unwrap();
    assert_eq!(pass.resource, ROLE);
    assert!(pass.keys.contains(&(
        "iam:PassedToService".into(),
        vec!["lambda.amazonaws.com".to_owned()]
    )));
    assert_eq!(asked[0].action, "lambda:CreateFunction");
    assert_eq!(asked[0].resource, FUNCTION);
    bed.guard
        .denied
        .lock()
        .unwrap()
        .push("iam:PassRole".to_owned());
    let denied = bed.create_with(json!({ "FunctionName": "x" })).await;
    denied.fails(
        403,
        "AccessDeniedException",
        "not authorized to perform: iam:PassRole",
    );
    let path = "/2015-03-31/functions/hello/configuration";
    assert_eq!(bed.put(path, json!({ "Timeout": 4 })).await.status, 200);
    bed.active("hello").await;
    assert_eq!(bed.put(path, json!({ "Role": ROLE })).await.status, 403);
}
