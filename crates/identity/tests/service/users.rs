//! Users, their keys and tags.

use wire::sigv4::Refusal;

use crate::{ACCOUNT, ADMIN, World};

#[tokio::test]
async fn a_user_from_birth_to_death() {
    let world = World::new().await;
    let root = world.root();
    let members = [
        ("UserName", "Alice"),
        ("Path", "/dev/"),
        ("Tags.member.1.Key", "team"),
        ("Tags.member.1.Value", "red"),
    ];
    let made = world.iam(&root, "CreateUser", &members).await.ok();
    assert_eq!(
        made.text("Arn"),
        format!("arn:aws:iam::{ACCOUNT}:user/dev/Alice")
    );
    assert!(made.text("UserId").starts_with("AIDA"));
    assert_eq!(made.text("CreateDate"), "2026-01-01T00:00:00Z");
    assert!(made.body.starts_with(r#"<CreateUserResponse xmlns="https://iam.amazonaws.com/doc/2010-05-08/"><CreateUserResult><User>"#));

    // Names differ by more than capitals.
    let again = world
        .iam(&root, "CreateUser", &[("UserName", "ALICE")])
        .await;
    again.refused(
        409,
        "EntityAlreadyExists",
        "User with name ALICE already exists.",
    );
    let got = world
        .iam(&root, "GetUser", &[("UserName", "alice")])
        .await
        .ok();
    assert_eq!(
        (got.text("UserName").as_str(), got.text("Value").as_str()),
        ("Alice", "red")
    );

    let renamed = [
        ("UserName", "alice"),
        ("NewUserName", "alison"),
        ("NewPath", "/ops/"),
    ];
    world.iam(&root, "UpdateUser", &renamed).await.ok();
    let gone = world.iam(&root, "GetUser", &[("UserName", "Alice")]).await;
    gone.refused(
        404,
        "NoSuchEntity",
        "The user with name Alice cannot be found.",
    );
    let moved = world
        .iam(&root, "GetUser", &[("UserName", "alison")])
        .await
        .ok();
    assert_eq!(
        moved.text("Arn"),
        format!("arn:aws:iam::{ACCOUNT}:user/ops/alison")
    );
    assert_eq!(moved.text("UserId"), made.text("UserId"));

    world
        .iam(
            &root,
            "AttachUserPolicy",
            &[("UserName", "alison"), ("PolicyArn", ADMIN)],
        )
        .await
        .ok();
    let conflict = world
        .iam(&root, "DeleteUser", &[("UserName", "alison")])
        .await;
    conflict.refused(
        409,
        "DeleteConflict",
        "Cannot delete entity, must detach all policies first.",
    );
    world
        .iam(
            &root,
            "DetachUserPolicy",
            &[("UserName", "alison"), ("PolicyArn", ADMIN)],
        )
        .await
        .ok();
    let deleted = world
        .iam(&root, "DeleteUser", &[("UserName", "alison")])
        .await
        .ok();
    assert!(!deleted.has("DeleteUserResult") && deleted.has("RequestId"));
    let none = world
        .iam(&root, "DeleteUser", &[("UserName", "alison")])
        .await;
    none.refused(
        404,
        "NoSuchEntity",
        "The user with name alison cannot be found.",
    );
}

#[tokio::test]
async fn names_and_paths_have_their_form() {
    let world = World::new().await;
    let root = world.root();
    let long = "x".repeat(65);
    let refusals: &[(&[(&str, &str)], &str)] = &[
        (
            &[("UserName", "a b")],
            "The specified value for userName is invalid. It must contain only alphanumeric characters and/or the following: +=,.@_-",
        ),
        (
            &[("UserName", "a"), ("Path", "dev")],
            "The specified value for path is invalid. It must begin and end with / and contain only alphanumeric characters and/or / characters.",
        ),
        (
            &[],
            "1 validation error detected: Value null at 'userName' failed to satisfy constraint: Member must not be null",
        ),
        (
            &[("UserName", &long)],
            "1 validation error detected: Value 'xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx' at 'userName' failed to satisfy constraint: Member must have length less than or equal to 64",
        ),
    ];
    for (members, message) in refusals {
        world
            .iam(&root, "CreateUser", members)
            .await
            .refused(400, "ValidationError", message);
    }
    let unbuilt = world
        .iam(&root, "CreateLoginProfile", &[("UserName", "a")])
        .await;
    assert_eq!(
        (unbuilt.status, unbuilt.body.contains("CreateLoginProfile")),
        (501, true)
    );
}

#[tokio::test]
async fn lists_come_in_pages() {
    let world = World::new().await;
    let root = world.root();
    for name in ["dora", "anna", "carl", "Bert", "emil"] {
        world
            .iam(&root, "CreateUser", &[("UserName", name)])
            .await
            .ok();
    }
    let mut names = Vec::new();
    let mut marker: Option<String> = None;
    loop {
        let mut members = vec![("MaxItems", "2")];
        if let Some(marker) = &marker {
            members.push(("Marker", marker));
        }
        let page = world.iam(&root, "ListUsers", &members).await.ok();
        names.extend(page.all("UserName"));
        if page.text("IsTruncated") == "false" {
            break;
        }
        marker = Some(page.text("Marker"));
    }
    assert_eq!(names, ["anna", "Bert", "carl", "dora", "emil"]);
    world
        .iam(&root, "ListUsers", &[("Marker", "???")])
        .await
        .refused(400, "ValidationError", "Invalid Marker.");
    let none = world
        .iam(&root, "ListUsers", &[("PathPrefix", "/x/")])
        .await
        .ok();
    assert!(none.all("UserName").is_empty());
}

#[tokio::test]
async fn keys_are_two_and_can_be_switched_off() {
    let world = World::new().await;
    let root = world.root();
    world
        .iam(&root, "CreateUser", &[("UserName", "alice")])
        .await
        .ok();
    let key = world
        .iam(&root, "CreateAccessKey", &[("UserName", "alice")])
        .await
        .ok();
    assert_eq!(key.text("SecretAccessKey").len(), 40);
    let (id, secret) = (key.text("AccessKeyId"), key.text("SecretAccessKey"));
    assert_eq!(
        &*world
            .identity
            .find_key(&id, None, world.now())
            .unwrap()
            .secret,
        secret.as_bytes()
    );
    world
        .iam(&root, "CreateAccessKey", &[("UserName", "alice")])
        .await
        .ok();
    let third = world
        .iam(&root, "CreateAccessKey", &[("UserName", "alice")])
        .await;
    third.refused(
        409,
        "LimitExceeded",
        "Cannot exceed quota for AccessKeysPerUser: 2",
    );

    let off = [
        ("UserName", "alice"),
        ("AccessKeyId", id.as_str()),
        ("Status", "Inactive"),
    ];
    world.iam(&root, "UpdateAccessKey", &off).await.ok();
    assert_eq!(
        world.identity.find_key(&id, None, world.now()).err(),
        Some(Refusal::UnknownClient)
    );
    let listed = world
        .iam(&root, "ListAccessKeys", &[("UserName", "alice")])
        .await
        .ok();
    assert_eq!(listed.all("AccessKeyId").len(), 2);
    assert!(!listed.body.contains(&secret), "secrets are shown once");
    assert!(listed.all("Status").contains(&"Inactive".to_owned()));

    world
        .iam(
            &root,
            "DeleteAccessKey",
            &[("UserName", "alice"), ("AccessKeyId", &id)],
        )
        .await
        .ok();
    let gone = world
        .iam(
            &root,
            "DeleteAccessKey",
            &[("UserName", "alice"), ("AccessKeyId", &id)],
        )
        .await;
    gone.refused(
        404,
        "NoSuchEntity",
        &format!("The Access Key with id {id} cannot be found."),
    );
    assert_eq!(
        world
            .identity
            .find_key("AKIAIOSFODNN7EXAMPLE", None, world.now())
            .err(),
        Some(Refusal::UnknownClient)
    );
}

#[tokio::test]
async fn without_a_name_the_caller_is_meant() {
    let world = World::new().await;
    let alice = world.user("alice").await;
    world
        .iam(
            &world.root(),
            "AttachUserPolicy",
            &[("UserName", "alice"), ("PolicyArn", ADMIN)],
        )
        .await
        .ok();
    assert_eq!(
        world
            .iam(&alice, "GetUser", &[])
            .await
            .ok()
            .text("UserName"),
        "alice"
    );
    assert_eq!(
        world
            .iam(&alice, "ListAccessKeys", &[])
            .await
            .ok()
            .text("UserName"),
        "alice"
    );
    let root = world.iam(&world.root(), "GetUser", &[]).await.ok();
    assert_eq!(
        (root.text("UserId"), root.text("Arn")),
        (ACCOUNT.to_owned(), format!("arn:aws:iam::{ACCOUNT}:root"))
    );
    let used = world
        .iam(
            &alice,
            "GetAccessKeyLastUsed",
            &[("AccessKeyId", &alice.access_key_id)],
        )
        .await
        .ok();
    assert_eq!(
        (
            used.text("UserName").as_str(),
            used.text("ServiceName").as_str()
        ),
        ("alice", "iam")
    );
    // The root user may have a second key.
    world.iam(&world.root(), "CreateAccessKey", &[]).await.ok();
}

#[tokio::test]
async fn tags_differ_by_more_than_capitals() {
    let world = World::new().await;
    let root = world.root();
    world
        .iam(&root, "CreateUser", &[("UserName", "alice")])
        .await
        .ok();
    let twice = [
        ("UserName", "alice"),
        ("Tags.member.1.Key", "Team"),
        ("Tags.member.1.Value", "red"),
        ("Tags.member.2.Key", "team"),
        ("Tags.member.2.Value", "blue"),
    ];
    let refused = world.iam(&root, "TagUser", &twice).await;
    refused.refused(
        400,
        "InvalidInput",
        "Duplicate tag keys found. Please note that Tag keys are case insensitive.",
    );
    world.iam(&root, "TagUser", &twice[..3]).await.ok();
    let listed = world
        .iam(&root, "ListUserTags", &[("UserName", "alice")])
        .await
        .ok();
    assert_eq!(
        (listed.text("Key").as_str(), listed.text("Value").as_str()),
        ("Team", "red")
    );
    world
        .iam(
            &root,
            "UntagUser",
            &[("UserName", "alice"), ("TagKeys.member.1", "TEAM")],
        )
        .await
        .ok();
    assert!(
        world
            .iam(&root, "ListUserTags", &[("UserName", "alice")])
            .await
            .ok()
            .all("Key")
            .is_empty()
    );
}
