//! What `Action` and `Resource` patterns cover.

use crate::{allowed, context};

const RESOURCE: &str = "reference_policies_elements_resource";
const NOT_RESOURCE: &str = "reference_policies_elements_notresource";
const ACTION: &str = "reference_policies_elements_action";
const NOT_ACTION: &str = "reference_policies_elements_notaction";
const VARS: &str = "reference_policies_variables";
const VERSION: &str = "reference_policies_elements_version";

/// Page, language version, statement element, requested resource, context, whether an Allow covers it.
type Resource = (
    &'static str,
    &'static str,
    &'static str,
    &'static str,
    &'static str,
    bool,
);

pub const RESOURCES: &[Resource] = &[
    (
        RESOURCE,
        "2012-10-17",
        r#""Resource":"*""#,
        "arn:aws:sqs:us-east-1:111122223333:q",
        "",
        true,
    ),
    (RESOURCE, "2012-10-17", r#""Resource":"*""#, "*", "", true),
    (
        RESOURCE,
        "2012-10-17",
        r#""Resource":"arn:aws:sqs:us-east-1:111122223333:q""#,
        "*",
        "",
        false,
    ),
    (
        RESOURCE,
        "2012-10-17",
        r#""Resource":"arn:aws:sqs:us-east-1:111122223333:q""#,
        "arn:aws:sqs:us-east-1:111122223333:q",
        "",
        true,
    ),
    (
        RESOURCE,
        "2012-10-17",
        r#""Resource":"arn:aws:sqs:us-east-1:111122223333:q""#,
        "arn:aws:sqs:us-east-1:111122223333:Q",
        "",
        false,
    ),
    (
        RESOURCE,
        "2012-10-17",
        r#""Resource":"arn:aws:sqs:us-east-1:111122223333:q""#,
        "arn:aws:sqs:us-east-1:111122223333:qq",
        "",
        false,
    ),
    (
        RESOURCE,
        "2012-10-17",
        r#""Resource":"arn:aws:sqs:*:111122223333:q""#,
        "arn:aws:sqs:eu-west-1:111122223333:q",
        "",
        true,
    ),
    (
        RESOURCE,
        "2012-10-17",
        r#""Resource":"arn:aws:sqs:*:*:q""#,
        "arn:aws:sqs:eu-west-1:111122223333:q",
        "",
        true,
    ),
    (
        RESOURCE,
        "2012-10-17",
        r#""Resource":"arn:aws:sqs:*:q""#,
        "arn:aws:sqs:eu-west-1:111122223333:q",
        "",
        true,
    ),
    (
        RESOURCE,
        "2012-10-17",
        r#""Resource":"arn:aws:sqs:*""#,
        "arn:aws:sqs:eu-west-1:111122223333:q",
        "",
        true,
    ),
    (
        RESOURCE,
        "2012-10-17",
        r#""Resource":"arn:aws:sqs:eu-*-1:q""#,
        "arn:aws:sqs:eu-west-1:111122223333-1:q",
        "",
        false,
    ),
    (
        RESOURCE,
        "2012-10-17",
        r#""Resource":"arn:aws:sqs:e*-1:111122223333:q""#,
        "arn:aws:sqs:eu-west-1:111122223333:q",
        "",
        true,
    ),
    (
        RESOURCE,
        "2012-10-17",
        r#""Resource":"arn:aws:sqs:us-east-?:111122223333:q""#,
        "arn:aws:sqs:us-east-2:111122223333:q",
        "",
        true,
    ),
    (
        RESOURCE,
        "2012-10-17",
        r#""Resource":"arn:aws:sqs:us-east-1?111122223333:q""#,
        "arn:aws:sqs:us-east-1:111122223333:q",
        "",
        false,
    ),
    (
        RESOURCE,
        "2012-10-17",
        r#""Resource":"arn:aws:s3:::example-bucket/*""#,
        "arn:aws:s3:::example-bucket/a/b/c",
        "",
        true,
    ),
    (
        RESOURCE,
        "2012-10-17",
        r#""Resource":"arn:aws:s3:::example-bucket/*""#,
        "arn:aws:s3:::example-bucket",
        "",
        false,
    ),
    (
        RESOURCE,
        "2012-10-17",
        r#""Resource":"arn:aws:s3:::example-bucket/*/test/*""#,
        "arn:aws:s3:::example-bucket/3/object/test/4",
        "",
        true,
    ),
    (
        RESOURCE,
        "2012-10-17",
        r#""Resource":"arn:aws:s3:::ex?mple/????""#,
        "arn:aws:s3:::example/a:b*",
        "",
        true,
    ),
    (
        RESOURCE,
        "2012-10-17",
        r#""Resource":"arn:aws:lambda:*:*:function:hello""#,
        "arn:aws:lambda:us-east-1:111122223333:function:hello:live",
        "",
        false,
    ),
    (
        RESOURCE,
        "2012-10-17",
        r#""Resource":"arn:aws:lambda:*:*:function:*:live""#,
        "arn:aws:lambda:us-east-1:111122223333:function:hello:live",
        "",
        true,
    ),
    (
        RESOURCE,
        "2012-10-17",
        r#""Resource":"arn:aws:lambda:*:*:function:hello*""#,
        "arn:aws:lambda:us-east-1:111122223333:function:hello:live",
        "",
        true,
    ),
    (
        RESOURCE,
        "2012-10-17",
        r#""Resource":["arn:aws:s3:::a","arn:aws:s3:::b"]"#,
        "arn:aws:s3:::b",
        "",
        true,
    ),
    (
        RESOURCE,
        "2012-10-17",
        r#""Resource":"arn:*:s3:::a""#,
        "arn:aws:s3:::a",
        "",
        true,
    ),
    (
        NOT_RESOURCE,
        "2012-10-17",
        r#""NotResource":"arn:aws:s3:::a""#,
        "arn:aws:s3:::b",
        "",
        true,
    ),
    (
        NOT_RESOURCE,
        "2012-10-17",
        r#""NotResource":"arn:aws:s3:::a""#,
        "arn:aws:s3:::a",
        "",
        false,
    ),
    (
        NOT_RESOURCE,
        "2012-10-17",
        r#""NotResource":["arn:aws:s3:::a","arn:aws:s3:::a/*"]"#,
        "arn:aws:s3:::a/b",
        "",
        false,
    ),
    (
        VARS,
        "2012-10-17",
        r#""Resource":"arn:aws:s3:::b/${aws:username}/*""#,
        "arn:aws:s3:::b/alice/x",
        "aws:username=alice",
        true,
    ),
    (
        VARS,
        "2012-10-17",
        r#""Resource":"arn:aws:s3:::b/${aws:username}/*""#,
        "arn:aws:s3:::b/bob/x",
        "aws:username=alice",
        false,
    ),
    (
        VARS,
        "2012-10-17",
        r#""Resource":"arn:aws:s3:::b/${aws:username}/*""#,
        "arn:aws:s3:::b/bob/x",
        "aws:username=*",
        false,
    ),
    (
        VARS,
        "2012-10-17",
        r#""Resource":"arn:aws:s3:::b/${aws:username}/*""#,
        "arn:aws:s3:::b//x",
        "",
        false,
    ),
    (
        VARS,
        "2012-10-17",
        r#""Resource":"arn:aws:s3:::b/${aws:username}/*""#,
        "arn:aws:s3:::b/${aws:username}/x",
        "",
        false,
    ),
    (
        VARS,
        "2012-10-17",
        r#""Resource":"arn:aws:s3:::b/${aws:username, 'all'}/*""#,
        "arn:aws:s3:::b/all/x",
        "",
        true,
    ),
    (
        VARS,
        "2012-10-17",
        r#""Resource":"arn:aws:s3:::b/${*}""#,
        "arn:aws:s3:::b/*",
        "",
        true,
    ),
    (
        VARS,
        "2012-10-17",
        r#""Resource":"arn:aws:s3:::b/${*}""#,
        "arn:aws:s3:::b/x",
        "",
        false,
    ),
    (
        VARS,
        "2012-10-17",
        r#""Resource":"arn:aws:sqs:us-east-1:${aws:PrincipalAccount}:q""#,
        "arn:aws:sqs:us-east-1:111122223333:q",
        "aws:PrincipalAccount=111122223333",
        false,
    ),
    (
        VARS,
        "2012-10-17",
        r#""Resource":["arn:aws:s3:::${aws:username}","arn:aws:s3:::b"]"#,
        "arn:aws:s3:::b",
        "",
        true,
    ),
    (
        VARS,
        "2012-10-17",
        r#""NotResource":"arn:aws:s3:::${aws:username}""#,
        "arn:aws:s3:::b",
        "",
        false,
    ),
    (
        VERSION,
        "2008-10-17",
        r#""Resource":"arn:aws:s3:::b/${aws:username}/*""#,
        "arn:aws:s3:::b/alice/x",
        "aws:username=alice",
        false,
    ),
    (
        VERSION,
        "2008-10-17",
        r#""Resource":"arn:aws:s3:::b/${aws:username}/*""#,
        "arn:aws:s3:::b/${aws:username}/x",
        "aws:username=alice",
        true,
    ),
];

#[test]
fn resources() {
    for (page, version, element, resource, given, expected) in RESOURCES {
        let text = format!(
            r#"{{"Version":"{version}","Statement":{{"Effect":"Allow","Action":"*",{element}}}}}"#
        );
        assert_eq!(
            allowed(&text, "s3:GetObject", resource, &context(given)),
            *expected,
            "{page}: {element} for {resource}"
        );
    }
}

/// Page, statement element, requested action, whether an Allow covers it.
type Action = (&'static str, &'static str, &'static str, bool);

pub const ACTIONS: &[Action] = &[
    (ACTION, r#""Action":"*""#, "lambda:InvokeFunction", true),
    (
        ACTION,
        r#""Action":"lambda:*""#,
        "lambda:InvokeFunction",
        true,
    ),
    (ACTION, r#""Action":"lambda:*""#, "s3:GetObject", false),
    (
        ACTION,
        r#""Action":"lambda:InvokeFunction""#,
        "lambda:InvokeFunctionUrl",
        false,
    ),
    (
        ACTION,
        r#""Action":"lambda:Invoke*""#,
        "lambda:InvokeFunctionUrl",
        true,
    ),
    (
        ACTION,
        r#""Action":"LAMBDA:invokefunction""#,
        "lambda:InvokeFunction",
        true,
    ),
    (
        ACTION,
        r#""Action":"iam:*AccessKey*""#,
        "iam:DeleteAccessKey",
        true,
    ),
    (
        ACTION,
        r#""Action":"iam:*AccessKey*""#,
        "iam:ListAccessKeys",
        true,
    ),
    (
        ACTION,
        r#""Action":"iam:*AccessKey*""#,
        "iam:ListUsers",
        false,
    ),
    (ACTION, r#""Action":"s3:Get?bject""#, "s3:GetObject", true),
    (
        ACTION,
        r#""Action":["sqs:SendMessage","sqs:ReceiveMessage"]"#,
        "sqs:ReceiveMessage",
        true,
    ),
    (
        ACTION,
        r#""Action":["sqs:SendMessage","sqs:ReceiveMessage"]"#,
        "sqs:DeleteMessage",
        false,
    ),
    (ACTION, r#""Action":"s3:Get""#, "s3:GetObject", false),
    (NOT_ACTION, r#""NotAction":"iam:*""#, "s3:GetObject", true),
    (NOT_ACTION, r#""NotAction":"iam:*""#, "iam:ListUsers", false),
    (NOT_ACTION, r#""NotAction":"IAM:*""#, "iam:ListUsers", false),
    (
        NOT_ACTION,
        r#""NotAction":["iam:*","sts:*"]"#,
        "sts:AssumeRole",
        false,
    ),
    (
        NOT_ACTION,
        r#""NotAction":["iam:*","sts:*"]"#,
        "lambda:ListFunctions",
        true,
    ),
];

#[test]
fn actions() {
    for (page, element, action, expected) in ACTIONS {
        let text = format!(
            r#"{{"Version":"2012-10-17","Statement":{{"Effect":"Allow",{element},"Resource":"*"}}}}"#
        );
        assert_eq!(
            allowed(&text, action, "*", &context("")),
            *expected,
            "{page}: {element} for {action}"
        );
    }
}
