//! What an operation is authorized on: found by name in the caller's account, so that policies about paths, tags and
//! boundaries hold.

use wire::{Arn, Context, Keys};

use super::Iam;
use super::shapes::Path;
use crate::records::{InstanceProfile, Role, Tag, User};
use crate::state::Account;

/// The resource of an operation.
pub(crate) enum Target<'a> {
    /// Actions that AWS authorizes on `*` alone.
    None,
    /// A kind of thing in general, such as `user/` for lists.
    All(&'static str),
    /// A new thing: its kind, path and name.
    New(&'static str, Option<&'a Path>, &'a str),
    User(&'a str),
    /// A user, or the caller.
    UserOrSelf(Option<&'a str>),
    Group(&'a str),
    Role(&'a str),
    Profile(&'a str),
    /// A managed policy, AWS's included.
    Policy(&'a str),
    /// Whatever the ARN names.
    Arn(&'a str),
}

impl Target<'_> {
    pub fn arn(&self, iam: &Iam, cx: &Context) -> Arn {
        let id = &cx.scope.account;
        let at_root =
            |kind: &str, name: &str| Arn::global("iam", id, format_args!("{kind}/{name}"));
        iam.0.0.book.look(id, |account| match self {
            Self::None => Arn::any(),
            Self::All(kind) => Arn::global("iam", id, format_args!("{kind}/")),
            Self::New(kind, path, name) => {
                let path = path.map_or("/", |path| path.as_str());
                Arn::global("iam", id, format_args!("{kind}{path}{name}"))
            }
            // A name that nothing has is authorized as if it were at the root, as AWS does before it says NoSuchEntity.
            Self::User(name) | Self::UserOrSelf(Some(name)) => account
                .user(name)
                .map_or_else(|_| at_root("user", name), |user| user.arn(id)),
            Self::UserOrSelf(None) => cx.caller.arn.clone(),
            Self::Group(name) => account
                .group(name)
                .map_or_else(|_| at_root("group", name), |group| group.arn(id)),
            Self::Role(name) => account
                .role(name)
                .map_or_else(|_| at_root("role", name), |role| role.arn(id)),
            Self::Profile(name) => account.profile(name).map_or_else(
                |_| at_root("instance-profile", name),
                |profile| profile.arn(id),
            ),
            Self::Policy(arn) | Self::Arn(arn) => Arn::parse(arn).unwrap_or_else(Arn::any),
        })
    }

    /// The target's tags and boundary as condition keys.
    pub fn keys(&self, iam: &Iam, cx: &Context) -> Keys {
        let id = &cx.scope.account;
        iam.0.0.book.look(id, |account| {
            let (tags, boundary) = self.tags_and_boundary(account, cx);
            let mut keys = Keys::new();
            for tag in tags {
                keys.push((
                    format!("aws:ResourceTag/{}", tag.key).into(),
                    vec![tag.value.clone()],
                ));
                keys.push((
                    format!("iam:ResourceTag/{}", tag.key).into(),
                    vec![tag.value.clone()],
                ));
            }
            keys.extend(boundary.map(|arn| ("iam:PermissionsBoundary".into(), vec![arn])));
            keys
        })
    }

    fn tags_and_boundary(&self, account: &Account, cx: &Context) -> (Vec<Tag>, Option<String>) {
        let of_user = |user: &User| (user.tags.clone(), user.boundary.clone());
        let of_role = |role: &Role| (role.tags.clone(), role.boundary.clone());
        let of_profile = |profile: &InstanceProfile| (profile.tags.clone(), None);
        match self {
            Self::User(name) | Self::UserOrSelf(Some(name)) => account.user(name).map(of_user).ok(),
            Self::UserOrSelf(None) => {
                let name = cx.caller.arn.resource().rsplit('/').next();
                name.and_then(|name| account.user(name).ok()).map(of_user)
            }
            Self::Role(name) => account.role(name).map(of_role).ok(),
            Self::Profile(name) => account.profile(name).map(of_profile).ok(),
            Self::Policy(arn) => account
                .held_policy(&cx.scope.account, arn)
                .map(|policy| (policy.record.tags.clone(), None)),
            Self::None | Self::All(_) | Self::New(..) | Self::Group(_) | Self::Arn(_) => None,
        }
        .unwrap_or_default()
    }
}

/// `iam:PolicyARN`, for attaching and detaching.
pub(crate) fn policy_arn(arn: &str) -> Keys {
    vec![("iam:PolicyARN".into(), vec![arn.to_owned()])]
}

/// `iam:PermissionsBoundary` as asked for.
pub(crate) fn asked_boundary(arn: Option<&str>) -> Keys {
    arn.map(|arn| ("iam:PermissionsBoundary".into(), vec![arn.to_owned()]))
        .into_iter()
        .collect()
}
