//! Groups and who is in them.

use crate::{World, allow};

#[tokio::test]
async fn a_group_gives_its_users_its_policies() {
    let world = World::new().await;
    let root = world.root();
    let alice = world.user("alice").await;
    world
        .iam(&root, "CreateGroup", &[("GroupName", "readers")])
        .await
        .ok();
    world
        .inline("Group", "readers", "read", &allow("iam:List*", "*"))
        .await
        .ok();
    assert_eq!(world.iam(&alice, "ListUsers", &[]).await.status, 403);
    let member = [("GroupName", "readers"), ("UserName", "alice")];
    world.iam(&root, "AddUserToGroup", &member).await.ok();
    world.iam(&alice, "ListUsers", &[]).await.ok();

    // Groups keep their users when they are renamed.
    world
        .iam(
            &root,
            "UpdateGroup",
            &[("GroupName", "readers"), ("NewGroupName", "lookers")],
        )
        .await
        .ok();
    world.iam(&alice, "ListUsers", &[]).await.ok();
    assert_eq!(
        world
            .iam(&root, "GetGroup", &[("GroupName", "lookers")])
            .await
            .ok()
            .all("UserName"),
        ["alice"]
    );
    assert_eq!(
        world
            .iam(&root, "ListGroupsForUser", &[("UserName", "alice")])
            .await
            .ok()
            .all("GroupName"),
        ["lookers"]
    );

    let conflict = world
        .iam(&root, "DeleteGroup", &[("GroupName", "lookers")])
        .await;
    conflict.refused(
        409,
        "DeleteConflict",
        "Cannot delete entity, must remove users from group first.",
    );
    let conflict = world
        .iam(&root, "DeleteUser", &[("UserName", "alice")])
        .await;
    conflict.refused(
        409,
        "DeleteConflict",
        "Cannot delete entity, must delete access keys first.",
    );
    world
        .iam(
            &root,
            "RemoveUserFromGroup",
            &[("GroupName", "lookers"), ("UserName", "alice")],
        )
        .await
        .ok();
    assert_eq!(world.iam(&alice, "ListUsers", &[]).await.status, 403);
    let conflict = world
        .iam(&root, "DeleteGroup", &[("GroupName", "lookers")])
        .await;
    conflict.refused(
        409,
        "DeleteConflict",
        "Cannot delete entity, must delete policies first.",
    );
    world
        .iam(
            &root,
            "DeleteGroupPolicy",
            &[("GroupName", "lookers"), ("PolicyName", "read")],
        )
        .await
        .ok();
    world
        .iam(&root, "DeleteGroup", &[("GroupName", "lookers")])
        .await
        .ok();
    let gone = world
        .iam(&root, "GetGroup", &[("GroupName", "lookers")])
        .await;
    gone.refused(
        404,
        "NoSuchEntity",
        "The group with name lookers cannot be found.",
    );
}
