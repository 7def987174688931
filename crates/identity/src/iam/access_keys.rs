//! Access keys of users and of the root user.

use wire::{CallerKind, Context, Shape, Timestamp};

use super::paging::{listing, page};
use super::shapes::{KeyId, Marker, MaxItems, Name};
use super::target::Target;
use super::users::named_or_caller;
use super::{Iam, id, operation};
use crate::credentials::find_access_key;
use crate::handle::{new_key, room_for_key};
use crate::records::{AccessKey, Root, User};
use crate::state::{Account, Change, Entity, Owner};
use crate::{Error, ids};

/// Whether a key works.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Shape)]
pub enum KeyStatus {
    /// It does.
    Active,
    /// It does not.
    Inactive,
    /// Reported by AWS for temporary keys; no request may ask for it here.
    Expired,
}

impl KeyStatus {
    fn of(key: &AccessKey) -> Self {
        if key.active {
            Self::Active
        } else {
            Self::Inactive
        }
    }
}

/// A new key, the only time that its secret is shown.
#[derive(Debug, Shape)]
pub struct NewAccessKey {
    user_name: String,
    access_key_id: String,
    status: KeyStatus,
    secret_access_key: String,
    create_date: Timestamp,
}

/// A new key.
#[derive(Debug, Shape)]
pub struct AccessKeyOutput {
    access_key: NewAccessKey,
}

/// A key without its secret.
#[derive(Debug, Shape)]
pub struct AccessKeyMetadata {
    user_name: Option<String>,
    access_key_id: String,
    status: KeyStatus,
    create_date: Timestamp,
}

/// A user's record, or the root user's.
enum Holder {
    Root(Root),
    User(Box<User>),
}

impl Holder {
    fn find(account: &Account, name: Option<&Name>, cx: &Context) -> Result<Self, Error> {
        if name.is_none() && cx.caller.kind == CallerKind::Root {
            return Ok(Self::Root(account.root().cloned().unwrap_or_default()));
        }
        Ok(Self::User(Box::new(
            account.user(&named_or_caller(name, cx)?)?.clone(),
        )))
    }

    fn keys(&mut self) -> &mut Vec<AccessKey> {
        match self {
            Self::Root(root) => &mut root.keys,
            Self::User(user) => &mut user.keys,
        }
    }

    fn name(&self) -> Option<String> {
        match self {
            Self::Root(_) => None,
            Self::User(user) => Some(user.base.name.clone()),
        }
    }

    fn put(self, account: &Account, cx: &Context) -> Result<Change, Error> {
        match self {
            Self::Root(root) => Change::put(id(cx), account, root),
            Self::User(user) => Change::put(id(cx), account, *user),
        }
    }
}

impl Iam {
    async fn edit_keys<T>(
        &self,
        cx: &Context,
        name: Option<&Name>,
        edit: impl Fn(&mut Holder) -> Result<T, Error>,
    ) -> Result<T, Error> {
        self.change(cx, |account| {
            let mut holder = Holder::find(account, name, cx)?;
            let output = edit(&mut holder)?;
            Ok((holder.put(account, cx)?, output))
        })
        .await
    }
}

operation! {
    /// Makes a key, at most two for each user.
    CreateAccessKey { user_name: Option<Name> } -> AccessKeyOutput;
    on |op| Target::UserOrSelf(op.user_name.as_deref());
    run |op, iam, cx| {
        let key = new_key(&id(cx), super::now(cx))?;
        iam.edit_keys(cx, op.user_name.as_ref(), |holder| {
            room_for_key(holder.keys())?;
            holder.keys().push(key.clone());
            Ok(AccessKeyOutput {
                access_key: NewAccessKey {
                    user_name: holder.name().unwrap_or_default(),
                    access_key_id: key.id.clone(),
                    status: KeyStatus::of(&key),
                    secret_access_key: key.secret.clone(),
                    create_date: Timestamp(key.created_ms),
                },
            })
        })
        .await
    }
}

listing! {
    /// Keys.
    AccessKeyList { access_key_metadata: AccessKeyMetadata }
}
operation! {
    /// Lists a user's keys, or the caller's.
    ListAccessKeys { user_name: Option<Name>, marker: Option<Marker>, max_items: Option<MaxItems> } -> AccessKeyList;
    on |op| Target::UserOrSelf(op.user_name.as_deref());
    run |op, iam, cx| iam.look(cx, |account| {
        let mut holder = Holder::find(account, op.user_name.as_ref(), cx)?;
        let user_name = holder.name();
        let shape = |key: &AccessKey| AccessKeyMetadata {
            user_name: user_name.clone(),
            access_key_id: key.id.clone(),
            status: KeyStatus::of(key),
            create_date: Timestamp(key.created_ms),
        };
        let shapes: Vec<_> = holder.keys().iter().map(|key| (key.id.clone(), shape(key))).collect();
        page(shapes, op.marker.as_ref(), op.max_items).map(AccessKeyList::of)
    })
}

operation! {
    /// Switches a key off or on.
    UpdateAccessKey { user_name: Option<Name>, access_key_id: KeyId, status: KeyStatus } -> ();
    on |op| Target::UserOrSelf(op.user_name.as_deref());
    run |op, iam, cx| {
        if op.status == KeyStatus::Expired {
            return Err(Error::Validation("Status must be Active or Inactive.".to_owned()));
        }
        iam.edit_keys(cx, op.user_name.as_ref(), |holder| {
            find_access_key(holder.keys(), &op.access_key_id)?.active = op.status == KeyStatus::Active;
            Ok(())
        })
        .await
    }
}

operation! {
    /// Deletes a key.
    DeleteAccessKey { user_name: Option<Name>, access_key_id: KeyId } -> ();
    on |op| Target::UserOrSelf(op.user_name.as_deref());
    run |op, iam, cx| iam.edit_keys(cx, op.user_name.as_ref(), |holder| {
        find_access_key(holder.keys(), &op.access_key_id)?;
        holder.keys().retain(|key| *key.id != *op.access_key_id);
        Ok(())
    })
    .await
}

/// The last use of a key.
#[derive(Debug, Shape)]
pub struct AccessKeyLastUsed {
    last_used_date: Option<Timestamp>,
    service_name: String,
    region: String,
}

/// Whose key, and when it was used last.
#[derive(Debug, Shape)]
pub struct LastUsedOutput {
    user_name: Option<String>,
    access_key_last_used: AccessKeyLastUsed,
}

operation! {
    /// Shows when a key was used last, since this server started.
    GetAccessKeyLastUsed { access_key_id: KeyId } -> LastUsedOutput;
    on |op| Target::None;
    run |op, iam, cx| {
        let owner = iam.0.0.book.read(|state| state.owner(&op.access_key_id).cloned());
        // "If the key is in another account, the request is denied": say no more than for a key that nobody has.
        let own = owner.filter(|(account, _)| *account == id(cx) && ids::account_of_key(&op.access_key_id).is_some());
        let Some((_, owner)) = own else { return Err(Error::NoAccessKey(op.access_key_id.to_string())) };
        let user_name = match owner {
            Owner::Root => None,
            Owner::User(name) => Some(iam.look(cx, |account| Ok(account.user(&name)?.name().to_owned()))?),
        };
        let used = iam.0.last_used(&op.access_key_id);
        let nothing = || "N/A".to_owned();
        Ok(LastUsedOutput {
            user_name,
            access_key_last_used: AccessKeyLastUsed {
                last_used_date: used.as_ref().map(|used| Timestamp(used.at_ms.div_euclid(1000) * 1000)),
                service_name: used.as_ref().map_or_else(nothing, |used| used.service.clone()),
                region: used.map_or_else(nothing, |used| used.region),
            },
        })
    }
}
