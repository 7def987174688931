//! Everything IAM knows, in memory, and how it changes: each change is one compare-and-swap on one stored record, decided
//! by a pure function over the state, and shows in memory only once it is on disk.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, PoisonError, RwLock};

use bytes::Bytes;
use store::record::{self, Record};
use store::{Expect, Kv};
use wire::{AccountId, Arn};

use crate::Error;
use crate::limits::CHANGE_ATTEMPTS_MAX;
use crate::managed;
use crate::policy::{Attached, Flavour, Policy};
use crate::records::{
    Group, Identified, InstanceProfile, ManagedPolicy, PolicyVersion, Role, Root, User,
};

/// What every key of ours begins with.
pub(crate) const PREFIX: &str = "identity/account/";

/// A record with a place in an account.
pub(crate) trait Entity: Record + Clone + Send + Sync + 'static {
    /// The folder of its keys.
    const KIND: &'static str;
    /// What evaluation needs of it, made once.
    type Compiled: Send + Sync;
    fn name(&self) -> &str;
    fn compile(&self) -> Result<Self::Compiled, Error>;
    fn table(account: &Account) -> &Table<Self>;
    fn table_mut(account: &mut Account) -> &mut Table<Self>;
    /// The access keys in it.
    fn key_ids(&self) -> Vec<String> {
        Vec::new()
    }
    fn owner(&self) -> Owner {
        Owner::Root
    }
    fn base(&self) -> Option<&Identified> {
        None
    }
}

/// A record as held in memory.
pub(crate) struct Held<E: Entity> {
    pub record: E,
    pub compiled: E::Compiled,
    revision: u64,
}

/// Records by their name in lower case.
pub(crate) type Table<E> = BTreeMap<String, Arc<Held<E>>>;

/// One account.
#[derive(Default)]
pub(crate) struct Account {
    root: Table<Root>,
    pub users: Table<User>,
    pub groups: Table<Group>,
    pub roles: Table<Role>,
    pub policies: Table<ManagedPolicy>,
    pub profiles: Table<InstanceProfile>,
}

/// Whose access key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Owner {
    Root,
    /// By name in lower case.
    User(String),
}

/// All accounts.
#[derive(Default)]
pub(crate) struct State {
    accounts: HashMap<AccountId, Account>,
    keys: HashMap<String, (AccountId, Owner)>,
}

impl Account {
    pub fn get<E: Entity>(&self, name: &str) -> Option<&Arc<Held<E>>> {
        E::table(self).get(&name.to_ascii_lowercase())
    }

    pub fn root(&self) -> Option<&Root> {
        self.get::<Root>(ROOT).map(|held| &held.record)
    }

    pub fn user(&self, name: &str) -> Result<&User, Error> {
        self.get::<User>(name)
            .map(|held| &held.record)
            .ok_or_else(|| Error::not_found("user", name))
    }

    pub fn group(&self, name: &str) -> Result<&Group, Error> {
        self.get::<Group>(name)
            .map(|held| &held.record)
            .ok_or_else(|| Error::not_found("group", name))
    }

    pub fn role(&self, name: &str) -> Result<&Role, Error> {
        self.get::<Role>(name)
            .map(|held| &held.record)
            .ok_or_else(|| Error::not_found("role", name))
    }

    pub fn profile(&self, name: &str) -> Result<&InstanceProfile, Error> {
        self.get::<InstanceProfile>(name)
            .map(|held| &held.record)
            .ok_or_else(|| Error::NoInstanceProfile(name.to_owned()))
    }

    /// A customer managed policy by its whole ARN.
    pub fn held_policy(&self, id: &AccountId, arn: &str) -> Option<&Arc<Held<ManagedPolicy>>> {
        let name = arn.rsplit('/').next()?;
        self.get::<ManagedPolicy>(name)
            .filter(|held| held.record.arn(id).as_str() == arn)
    }

    /// Any managed policy by its ARN, compiled.
    pub fn attachable(&self, id: &AccountId, arn: &str) -> Option<Attached> {
        match self.held_policy(id, arn) {
            Some(held) => Some(held.compiled.clone()),
            None => managed::find(arn).map(managed::AwsPolicy::attached),
        }
    }

    pub fn groups_of<'a>(&'a self, user: &'a User) -> impl Iterator<Item = &'a Arc<Held<Group>>> {
        self.groups
            .values()
            .filter(|group| user.groups.contains(&group.record.base.id))
    }

    pub fn members_of<'a>(&'a self, group: &'a Group) -> impl Iterator<Item = &'a User> {
        self.users
            .values()
            .map(|user| &user.record)
            .filter(|user| user.groups.contains(&group.base.id))
    }
}

impl State {
    pub fn account(&self, id: &AccountId) -> Option<&Account> {
        self.accounts.get(id)
    }

    pub fn owner(&self, key_id: &str) -> Option<&(AccountId, Owner)> {
        self.keys.get(key_id)
    }

    pub fn account_ids(&self) -> impl Iterator<Item = &AccountId> {
        self.accounts.keys()
    }

    fn insert<E: Entity>(&mut self, id: AccountId, held: Held<E>) {
        let lower = held.record.name().to_ascii_lowercase();
        self.forget::<E>(id, &lower);
        for key in held.record.key_ids() {
            self.keys.insert(key, (id, held.record.owner()));
        }
        let account = self.accounts.entry(id).or_default();
        E::table_mut(account).insert(lower, Arc::new(held));
    }

    fn forget<E: Entity>(&mut self, id: AccountId, lower: &str) {
        let Some(account) = self.accounts.get_mut(&id) else {
            return;
        };
        if let Some(old) = E::table_mut(account).remove(lower) {
            for key in old.record.key_ids() {
                self.keys.remove(&key);
            }
        }
    }
}

/// A change that a function decided on.
pub(crate) struct Change(Vec<Step>);

type Apply = Box<dyn FnOnce(&mut State, u64) + Send>;

/// A write of one record, and what it means in memory.
struct Step {
    key: String,
    /// `None` deletes.
    value: Option<Bytes>,
    expect: Expect,
    apply: Apply,
}

impl Change {
    /// Nothing is to be done.
    pub fn none() -> Self {
        Self(Vec::new())
    }

    /// Writes a record, new or changed.
    pub fn put<E: Entity>(id: AccountId, account: &Account, record: E) -> Result<Self, Error> {
        let lower = record.name().to_ascii_lowercase();
        let expect = match E::table(account).get(&lower) {
            Some(held) => Expect::Revision(held.revision),
            None => Expect::Absent,
        };
        Ok(Self(vec![Step::put(id, &lower, record, expect)?]))
    }

    pub fn delete<E: Entity>(id: AccountId, account: &Account, name: &str) -> Self {
        let lower = name.to_ascii_lowercase();
        let steps = E::table(account)
            .get(&lower)
            .map(|held| Step::delete::<E>(id, lower.clone(), held.revision));
        Self(steps.into_iter().collect())
    }

    /// Writes a record under its new name, then removes the old one. The record says where it came from, so that a crash
    /// in between is mended at the next start.
    pub fn rename<E: Entity>(
        id: AccountId,
        account: &Account,
        old: &str,
        record: E,
    ) -> Result<Self, Error> {
        let lower = record.name().to_ascii_lowercase();
        if lower == old.to_ascii_lowercase() {
            return Self::put(id, account, record);
        }
        let mut steps = vec![Step::put(id, &lower, record, Expect::Absent)?];
        steps.extend(Self::delete::<E>(id, account, old).0);
        Ok(Self(steps))
    }
}

impl Step {
    fn put<E: Entity>(
        id: AccountId,
        lower: &str,
        record: E,
        expect: Expect,
    ) -> Result<Self, Error> {
        let value = record::encode(&record)?;
        // Before it is written: what cannot be compiled must never be on disk, where it would stop the next start.
        let compiled = record.compile()?;
        let apply: Apply = Box::new(move |state, revision| {
            state.insert(
                id,
                Held {
                    record,
                    compiled,
                    revision,
                },
            );
        });
        Ok(Self {
            key: key_of::<E>(&id, lower),
            value: Some(value),
            expect,
            apply,
        })
    }

    fn delete<E: Entity>(id: AccountId, lower: String, revision: u64) -> Self {
        let key = key_of::<E>(&id, &lower);
        let apply: Apply = Box::new(move |state, _| state.forget::<E>(id, &lower));
        Self {
            key,
            value: None,
            expect: Expect::Revision(revision),
            apply,
        }
    }
}

fn key_of<E: Entity>(id: &AccountId, lower: &str) -> String {
    format!("{PREFIX}{id}/{}/{lower}", E::KIND)
}

/// The state and its store.
pub(crate) struct Book {
    kv: Arc<dyn Kv>,
    state: RwLock<State>,
    /// Changes are decided one at a time, so that rules over several records (quotas, conflicts) hold within this process.
    writing: tokio::sync::Mutex<()>,
}

impl Book {
    pub async fn open(kv: Arc<dyn Kv>) -> Result<Self, Error> {
        let book = Self {
            kv,
            state: RwLock::default(),
            writing: tokio::sync::Mutex::default(),
        };
        book.reload_all().await?;
        Ok(book)
    }

    /// Reads the whole state anew.
    pub async fn reload_all(&self) -> Result<(), Error> {
        let mut state = State::default();
        let mut renamed = Vec::new();
        for (key, entry) in self.kv.scan_all(PREFIX).await? {
            renamed.extend(load(&mut state, &key, Some(&entry))?);
        }
        for renamed in renamed {
            self.finish_rename(&mut state, renamed).await?;
        }
        *self.state.write().unwrap_or_else(PoisonError::into_inner) = state;
        Ok(())
    }

    /// Removes what a crash left under the old name. Somebody else may have taken that name since.
    async fn finish_rename(&self, state: &mut State, renamed: Renamed) -> Result<(), Error> {
        let Some(old) = self.kv.get(&renamed.old_key).await? else {
            return Ok(());
        };
        // Users and groups are stored alike as far as a group goes.
        if record::decode::<Group>(&old.value)?.base.id != renamed.id {
            return Ok(());
        }
        tracing::info!(
            key = renamed.old_key,
            "finishing a rename that a crash cut short"
        );
        self.kv
            .delete(&renamed.old_key, Expect::Revision(old.revision))
            .await?;
        load(state, &renamed.old_key, None)?;
        // The access keys that both records held went with the old one.
        let new = self.kv.get(&renamed.new_key).await?;
        load(state, &renamed.new_key, new.as_ref()).map(drop)
    }

    /// Looks at the state. Never held across an await.
    pub fn read<T>(&self, look: impl FnOnce(&State) -> T) -> T {
        look(&self.state.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Looks at one account; one that has nothing yet looks empty.
    pub fn look<T>(&self, id: &AccountId, look: impl FnOnce(&Account) -> T) -> T {
        self.read(|state| match state.account(id) {
            Some(account) => look(account),
            None => look(&Account::default()),
        })
    }

    /// Decides on a change and carries it out. `decide` may be asked again when somebody else wrote first.
    pub async fn change<T>(
        &self,
        id: &AccountId,
        mut decide: impl FnMut(&State, &Account) -> Result<(Change, T), Error>,
    ) -> Result<T, Error> {
        let _one_at_a_time = self.writing.lock().await;
        for _ in 0..CHANGE_ATTEMPTS_MAX {
            let (change, answer) = self.read(|state| match state.account(id) {
                Some(account) => decide(state, account),
                None => decide(state, &Account::default()),
            })?;
            match self.carry_out(change).await {
                Ok(()) => return Ok(answer),
                Err(Error::Store(store::Error::Conflict { key, .. })) => self.reload(&key).await?,
                Err(error) => return Err(error),
            }
        }
        Err(Error::Concurrent)
    }

    async fn carry_out(&self, change: Change) -> Result<(), Error> {
        for step in change.0 {
            let revision = match step.value {
                Some(value) => self.kv.put(&step.key, value, step.expect).await?,
                None => {
                    self.kv.delete(&step.key, step.expect).await?;
                    0
                }
            };
            let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
            (step.apply)(&mut state, revision);
        }
        Ok(())
    }

    /// Takes over what somebody else wrote, or what we wrote for a client that went away before it was shown in memory.
    async fn reload(&self, key: &str) -> Result<(), Error> {
        let entry = self.kv.get(key).await?;
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        load(&mut state, key, entry.as_ref()).map(drop)
    }

    /// Removes everything, for a developer who resets the server.
    pub async fn clear(&self) -> Result<(), Error> {
        let _one_at_a_time = self.writing.lock().await;
        for (key, _) in self.kv.scan_all(PREFIX).await? {
            self.kv.delete(&key, Expect::Any).await?;
        }
        self.reload_all().await
    }
}

/// A record that was renamed: the old one may still be there.
struct Renamed {
    id: String,
    old_key: String,
    new_key: String,
}

/// Puts a stored record (or its absence) into the state. Answers where it was renamed from, if it was.
fn load(
    state: &mut State,
    key: &str,
    entry: Option<&store::Entry>,
) -> Result<Option<Renamed>, Error> {
    let damaged = |detail: &str| Error::Damaged {
        what: key.to_owned(),
        detail: detail.to_owned(),
    };
    let mut parts = key.strip_prefix(PREFIX).unwrap_or(key).splitn(3, '/');
    let id = parts
        .next()
        .and_then(AccountId::new)
        .ok_or_else(|| damaged("no account"))?;
    let (Some(kind), Some(lower)) = (parts.next(), parts.next()) else {
        return Err(damaged("no name"));
    };
    match kind {
        Root::KIND => load_one::<Root>(state, id, key, lower, entry),
        User::KIND => load_one::<User>(state, id, key, lower, entry),
        Group::KIND => load_one::<Group>(state, id, key, lower, entry),
        Role::KIND => load_one::<Role>(state, id, key, lower, entry),
        ManagedPolicy::KIND => load_one::<ManagedPolicy>(state, id, key, lower, entry),
        InstanceProfile::KIND => load_one::<InstanceProfile>(state, id, key, lower, entry),
        _ => Err(damaged("unknown kind")),
    }
}

fn load_one<E: Entity>(
    state: &mut State,
    id: AccountId,
    key: &str,
    lower: &str,
    entry: Option<&store::Entry>,
) -> Result<Option<Renamed>, Error> {
    let Some(entry) = entry else {
        state.forget::<E>(id, lower);
        return Ok(None);
    };
    let record: E = record::decode(&entry.value)?;
    // A policy that no longer parses might have been a denial: better not to start than to start without it.
    let compiled = record.compile().map_err(|error| Error::Damaged {
        what: key.to_owned(),
        detail: error.to_string(),
    })?;
    let renamed = record.base().and_then(|base| {
        let old = base.renamed_from.as_ref()?;
        Some(Renamed {
            id: base.id.clone(),
            old_key: key_of::<E>(&id, old),
            new_key: key.to_owned(),
        })
    });
    state.insert(
        id,
        Held {
            record,
            compiled,
            revision: entry.revision,
        },
    );
    Ok(renamed)
}

/// The name of the one root record.
pub(crate) const ROOT: &str = "root";

impl Entity for Root {
    const KIND: &'static str = "root";
    type Compiled = ();
    fn name(&self) -> &str {
        ROOT
    }
    fn compile(&self) -> Result<(), Error> {
        Ok(())
    }
    fn table(account: &Account) -> &Table<Self> {
        &account.root
    }
    fn table_mut(account: &mut Account) -> &mut Table<Self> {
        &mut account.root
    }
    fn key_ids(&self) -> Vec<String> {
        self.keys.iter().map(|key| key.id.clone()).collect()
    }
}

impl Entity for User {
    const KIND: &'static str = "user";
    type Compiled = Vec<Attached>;
    fn name(&self) -> &str {
        &self.base.name
    }
    fn compile(&self) -> Result<Vec<Attached>, Error> {
        self.base.compile()
    }
    fn table(account: &Account) -> &Table<Self> {
        &account.users
    }
    fn table_mut(account: &mut Account) -> &mut Table<Self> {
        &mut account.users
    }
    fn key_ids(&self) -> Vec<String> {
        self.keys.iter().map(|key| key.id.clone()).collect()
    }
    fn owner(&self) -> Owner {
        Owner::User(self.base.name.to_ascii_lowercase())
    }
    fn base(&self) -> Option<&Identified> {
        Some(&self.base)
    }
}

impl Entity for Group {
    const KIND: &'static str = "group";
    type Compiled = Vec<Attached>;
    fn name(&self) -> &str {
        &self.base.name
    }
    fn compile(&self) -> Result<Vec<Attached>, Error> {
        self.base.compile()
    }
    fn table(account: &Account) -> &Table<Self> {
        &account.groups
    }
    fn table_mut(account: &mut Account) -> &mut Table<Self> {
        &mut account.groups
    }
    fn base(&self) -> Option<&Identified> {
        Some(&self.base)
    }
}

/// A role, compiled.
pub(crate) struct CompiledRole {
    pub inline: Vec<Attached>,
    pub trust: Attached,
}

impl Entity for Role {
    const KIND: &'static str = "role";
    type Compiled = CompiledRole;
    fn name(&self) -> &str {
        &self.base.name
    }
    fn compile(&self) -> Result<CompiledRole, Error> {
        let trust = Policy::parse(&self.trust, Flavour::Trust)?;
        Ok(CompiledRole {
            inline: self.base.compile()?,
            trust: Attached {
                name: self.base.name.as_str().into(),
                policy: Arc::new(trust),
            },
        })
    }
    fn table(account: &Account) -> &Table<Self> {
        &account.roles
    }
    fn table_mut(account: &mut Account) -> &mut Table<Self> {
        &mut account.roles
    }
    fn base(&self) -> Option<&Identified> {
        Some(&self.base)
    }
}

impl Entity for ManagedPolicy {
    const KIND: &'static str = "policy";
    /// The version in force. It goes by the policy's name; decisions that need the ARN know the attachment.
    type Compiled = Attached;
    fn name(&self) -> &str {
        &self.name
    }
    fn compile(&self) -> Result<Attached, Error> {
        let policy = Policy::parse(&self.default().document, Flavour::Managed)?;
        Ok(Attached {
            name: self.name.as_str().into(),
            policy: Arc::new(policy),
        })
    }
    fn table(account: &Account) -> &Table<Self> {
        &account.policies
    }
    fn table_mut(account: &mut Account) -> &mut Table<Self> {
        &mut account.policies
    }
}

impl Entity for InstanceProfile {
    const KIND: &'static str = "instance-profile";
    type Compiled = ();
    fn name(&self) -> &str {
        &self.name
    }
    fn compile(&self) -> Result<(), Error> {
        Ok(())
    }
    fn table(account: &Account) -> &Table<Self> {
        &account.profiles
    }
    fn table_mut(account: &mut Account) -> &mut Table<Self> {
        &mut account.profiles
    }
}

impl Identified {
    fn compile(&self) -> Result<Vec<Attached>, Error> {
        let compile = |(name, text): (&String, &String)| {
            Ok(Attached {
                name: name.as_str().into(),
                policy: Arc::new(Policy::parse(text, Flavour::Inline)?),
            })
        };
        self.inline.iter().map(compile).collect()
    }
}

impl User {
    pub fn arn(&self, account: &AccountId) -> Arn {
        Arn::user(account, &self.base.path, &self.base.name)
    }
}

impl Group {
    pub fn arn(&self, account: &AccountId) -> Arn {
        Arn::global(
            "iam",
            account,
            format_args!("group{}{}", self.base.path, self.base.name),
        )
    }
}

impl Role {
    pub fn arn(&self, account: &AccountId) -> Arn {
        Arn::role(account, &self.base.path, &self.base.name)
    }
}

impl ManagedPolicy {
    pub fn arn(&self, account: &AccountId) -> Arn {
        Arn::global(
            "iam",
            account,
            format_args!("policy{}{}", self.path, self.name),
        )
    }

    pub fn default(&self) -> &PolicyVersion {
        self.version(self.default_version)
            .expect("the default version cannot be deleted")
    }

    pub fn version(&self, number: u32) -> Option<&PolicyVersion> {
        self.versions
            .iter()
            .find(|version| version.number == number)
    }
}

impl InstanceProfile {
    pub fn arn(&self, account: &AccountId) -> Arn {
        Arn::global(
            "iam",
            account,
            format_args!("instance-profile{}{}", self.path, self.name),
        )
    }
}
