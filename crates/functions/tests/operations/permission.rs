use serde_json::{Value, json};

use crate::bed::{Bed, FUNCTION};

const POLICY: &str = "/2015-03-31/functions/hello/policy";

#[tokio::test]
async fn statements_read_as_awss() {
    let bed = Bed::new().await;
    let before = bed.hello().await;
    let body = json!({
        "StatementId": "s3", "Action": "lambda:InvokeFunction", "Principal": "s3.amazonaws.com",
        "SourceArn": "arn:aws:s3:::bucket", "SourceAccount": "123456789012", "RevisionId": before["RevisionId"],
    });
    let added = bed.post(POLICY, body).await;
    assert_eq!(added.status, 201);
    let statement = format!(
        r#"{{"Sid":"s3","Effect":"Allow","Principal":{{"Service":"s3.amazonaws.com"}},"Action":"lambda:InvokeFunction","Resource":"{FUNCTION}","Condition":{{"ArnLike":{{"AWS:SourceArn":"arn:aws:s3:::bucket"}},"StringEquals":{{"AWS:SourceAccount":"123456789012"}}}}}}"#
    );
    assert_eq!(added.json(), json!({ "Statement": statement }));
    let policy = bed.get(POLICY).await.ok();
    assert_eq!(
        policy["Policy"],
        format!(r#"{{"Version":"2012-10-17","Id":"default","Statement":[{statement}]}}"#)
    );
    // The policy's revision is the function's.
    let after = bed.active("hello").await;
    assert_eq!(policy["RevisionId"], after["RevisionId"]);
    assert_ne!(before["RevisionId"], after["RevisionId"]);

    let principal = async |sid: &str, principal: &str| {
        let body = json!({ "StatementId": sid, "Action": "lambda:*", "Principal": principal });
        let reply = bed.post(POLICY, body).await.ok();
        let statement: Value = serde_json::from_str(reply["Statement"].as_str().unwrap()).unwrap();
        statement["Principal"].clone()
    };
    assert_eq!(principal("all", "*").await, json!("*"));
    assert_eq!(
        principal("account", "210987654321").await,
        json!({ "AWS": "arn:aws:iam::210987654321:root" })
    );
    let user = "arn:aws:iam::210987654321:user/ann";
    assert_eq!(principal("user", user).await, json!({ "AWS": user }));
    let body = json!({ "StatementId": "url", "Action": "lambda:InvokeFunctionUrl", "Principal": "*", "FunctionUrlAuthType": "NONE" });
    let reply = bed.post(POLICY, body).await.ok();
    assert!(
        reply["Statement"]
            .as_str()
            .unwrap()
            .ends_with(r#""Condition":{"StringEquals":{"lambda:FunctionUrlAuthType":"NONE"}}}"#)
    );
}

#[tokio::test]
async fn what_is_refused() {
    let bed = Bed::new().await;
    bed.hello().await;
    let statement = |sid: &str, principal: &str| json!({ "StatementId": sid, "Action": "lambda:InvokeFunction", "Principal": principal });
    let not_there = "The resource you requested does not exist.";
    bed.get(POLICY)
        .await
        .fails(404, "ResourceNotFoundException", not_there);
    bed.post(POLICY, statement("a", "nobody")).await.fails(
        400,
        "InvalidParameterValueException",
        "The provided principal was invalid. Please check the principal and try again.",
    );
    bed.post(&format!("{POLICY}?Qualifier=$LATEST"), statement("a", "*"))
        .await
        .fails(
            400,
            "InvalidParameterValueException",
            "We currently do not support adding policies for $LATEST.",
        );
    bed.post(&format!("{POLICY}?Qualifier=7"), statement("a", "*"))
        .await
        .fails(
            404,
            "ResourceNotFoundException",
            &format!("Function not found: {FUNCTION}:7"),
        );
    bed.post(&format!("{POLICY}?Qualifier=prod"), statement("a", "*"))
        .await
        .fails(
            404,
            "ResourceNotFoundException",
            &format!("Cannot find alias arn: {FUNCTION}:prod"),
        );
    bed.post(POLICY, statement("a", "*")).await.ok();
    bed.post(POLICY, statement("a", "*")).await.fails(
        409,
        "ResourceConflictException",
        "The statement id (a) provided already exists. Please provide a new statement id, or remove the existing statement.",
    );
    let mut stale = statement("b", "*");
    stale["RevisionId"] = json!("wrong");
    assert_eq!(bed.post(POLICY, stale).await.status, 412);
    let path = "/2015-03-31/functions/hello/policy/x";
    bed.delete(path).await.fails(
        404,
        "ResourceNotFoundException",
        "Statement x is not found in resource policy.",
    );
    assert_eq!(
        bed.delete("/2015-03-31/functions/hello/policy/a?RevisionId=wrong")
            .await
            .status,
        412
    );
    assert_eq!(
        bed.delete("/2015-03-31/functions/hello/policy/a")
            .await
            .status,
        204
    );
    bed.get(POLICY)
        .await
        .fails(404, "ResourceNotFoundException", not_there);
    bed.delete(path).await.fails(
        404,
        "ResourceNotFoundException",
        "No policy is associated with the given resource.",
    );

    let mut size = 0;
    for number in 0.. {
        let sid = format!("{number:0>100}");
        let reply = bed.post(POLICY, statement(&sid, "*")).await;
        if reply.status != 201 {
            assert_eq!(
                reply.header("x-amzn-errortype"),
                Some("PolicyLengthExceededException")
            );
            assert!(size > 20_000, "{size}");
            break;
        }
        size = bed.get(POLICY).await.ok()["Policy"].as_str().unwrap().len();
    }
}

#[tokio::test]
async fn a_policy_covers_the_arn_that_is_called() {
    let bed = Bed::new().await;
    bed.hello().await;
    bed.publish().await;
    let alias = json!({ "Name": "prod", "FunctionVersion": "1" });
    bed.post("/2015-03-31/functions/hello/aliases", alias)
        .await
        .ok();
    for (sid, query) in [
        ("whole", ""),
        ("alias", "?Qualifier=prod"),
        ("version", "?Qualifier=1"),
    ] {
        let body =
            json!({ "StatementId": sid, "Action": "lambda:InvokeFunction", "Principal": "*" });
        bed.post(&format!("{POLICY}{query}"), body).await.ok();
    }
    let asked = async |name: &str| {
        bed.guard.asked.lock().unwrap().clear();
        bed.invoke(name, &[], "{}").await.ok();
        let asked = bed.guard.asked.lock().unwrap()[0].clone();
        assert_eq!(asked.action, "lambda:InvokeFunction");
        let policy: Value = serde_json::from_str(&asked.policy.unwrap()).unwrap();
        let sids: Vec<_> = policy["Statement"]
            .as_array()
            .unwrap()
            .iter()
            .map(|s| s["Sid"].as_str().unwrap().to_owned())
            .collect();
        (asked.resource, sids)
    };
    assert_eq!(
        asked("hello").await,
        (FUNCTION.to_owned(), vec!["whole".to_owned()])
    );
    assert_eq!(
        asked("hello:prod").await,
        (format!("{FUNCTION}:prod"), vec!["alias".to_owned()])
    );
    assert_eq!(
        asked("hello:1").await,
        (format!("{FUNCTION}:1"), vec!["version".to_owned()])
    );
    // Gone with its alias.
    bed.delete("/2015-03-31/functions/hello/aliases/prod")
        .await
        .ok();
    let alias = json!({ "Name": "prod", "FunctionVersion": "1" });
    bed.post("/2015-03-31/functions/hello/aliases", alias)
        .await
        .ok();
    assert_eq!(
        bed.get(&format!("{POLICY}?Qualifier=prod")).await.status,
        404
    );
}
