//! Simulations say what the evaluator says.

use crate::{ACCOUNT, World, allow, deny};

#[tokio::test]
async fn a_principal_is_simulated() {
    let world = World::new().await;
    let root = world.root();
    world
        .iam(&root, "CreateUser", &[("UserName", "alice")])
        .await
        .ok();
    world
        .inline(
            "User",
            "alice",
            "p",
            &allow("s3:*", "arn:aws:s3:::b/${aws:username}/*"),
        )
        .await
        .ok();
    world
        .inline("User", "alice", "q", &deny("s3:DeleteObject", "*"))
        .await
        .ok();
    let source = format!("arn:aws:iam::{ACCOUNT}:user/alice");
    let members = [
        ("PolicySourceArn", source.as_str()),
        ("ActionNames.member.1", "s3:GetObject"),
        ("ActionNames.member.2", "s3:DeleteObject"),
        ("ActionNames.member.3", "sqs:SendMessage"),
        ("ResourceArns.member.1", "arn:aws:s3:::b/alice/x"),
    ];
    let result = world
        .iam(&root, "SimulatePrincipalPolicy", &members)
        .await
        .ok();
    assert_eq!(
        result.all("EvalDecision"),
        ["allowed", "explicitDeny", "implicitDeny"]
    );
    assert_eq!(
        result.all("SourcePolicyId"),
        ["user_alice_p", "user_alice_q"]
    );
    let none = [
        ("PolicySourceArn", "arn:aws:iam::111122223333:user/nobody"),
        ("ActionNames.member.1", "s3:GetObject"),
    ];
    let refused = world.iam(&root, "SimulatePrincipalPolicy", &none).await;
    refused.refused(
        404,
        "NoSuchEntity",
        "The user with name nobody cannot be found.",
    );
}

#[tokio::test]
async fn policies_alone_are_simulated() {
    let world = World::new().await;
    let root = world.root();
    let policy = "{\n \"Version\": \"2012-10-17\",\n \"Statement\": {\"Effect\": \"Allow\", \"Action\": \"s3:*\", \"Resource\": \"*\",\n  \"Condition\": {\"Bool\": {\"aws:SecureTransport\": \"true\"}}}}";
    let mut members = vec![
        ("PolicyInputList.member.1", policy),
        ("ActionNames.member.1", "s3:GetObject"),
    ];
    let result = world
        .iam(&root, "SimulateCustomPolicy", &members)
        .await
        .ok();
    assert_eq!(result.all("EvalDecision"), ["implicitDeny"]);
    assert!(
        result
            .text("MissingContextValues")
            .contains("aws:securetransport")
    );
    members.extend([
        (
            "ContextEntries.member.1.ContextKeyName",
            "aws:SecureTransport",
        ),
        ("ContextEntries.member.1.ContextKeyType", "boolean"),
        ("ContextEntries.member.1.ContextKeyValues.member.1", "true"),
    ]);
    let result = world
        .iam(&root, "SimulateCustomPolicy", &members)
        .await
        .ok();
    assert_eq!(result.all("EvalDecision"), ["allowed"]);
    assert!(
        result
            .text("StartPosition")
            .contains("<Line>3</Line><Column>15</Column>"),
        "{}",
        result.body
    );
    let boundary = allow("sqs:*", "*");
    members.push(("PermissionsBoundaryPolicyInputList.member.1", &boundary));
    let result = world
        .iam(&root, "SimulateCustomPolicy", &members)
        .await
        .ok();
    assert_eq!(
        (
            result.text("EvalDecision").as_str(),
            result.text("AllowedByPermissionsBoundary").as_str()
        ),
        ("implicitDeny", "false")
    );
    let keys = world
        .iam(
            &root,
            "GetContextKeysForCustomPolicy",
            &[("PolicyInputList.member.1", policy)],
        )
        .await
        .ok();
    assert_eq!(keys.all("member"), ["aws:securetransport"]);
}
