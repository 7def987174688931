//! [`Identity`]: the handle that everyone holds.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use store::{Clock, Store};
use wire::AccountId;

use crate::limits::{ACCESS_KEYS_MAX, ACCOUNTS_MAX};
use crate::policy::Attached;
use crate::records::{AccessKey, Root};
use crate::session::Sessions;
use crate::state::{Book, Change};
use crate::{Error, ids};

/// What an operator decides.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The account that exists from the first start on.
    pub account: AccountId,
    /// Dev mode: the key pair `test`/`test` is the root user of account 000000000000, and a twelve-digit access key id
    /// with the secret `test` the root user of the account of that name.
    pub dev: bool,
}

/// The root user's key pair, for the file that only its owner may read.
#[derive(Clone)]
pub struct RootCredential {
    /// The account.
    pub account: AccountId,
    /// The access key id.
    pub access_key_id: String,
    /// The secret access key.
    pub secret_access_key: String,
}

/// Not the secret.
impl std::fmt::Debug for RootCredential {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RootCredential")
            .field("access_key_id", &self.access_key_id)
            .finish_non_exhaustive()
    }
}

/// IAM and STS. Clones are handles to the same one; everything but changes is answered from memory.
#[derive(Clone)]
pub struct Identity(pub(crate) Arc<Inner>);

pub(crate) struct Inner {
    pub settings: Settings,
    pub clock: Arc<dyn Clock>,
    pub book: Book,
    pub sessions: Sessions,
    /// By access key id and by unique id of roles. In memory only: it begins anew with the process.
    pub last_used: Mutex<HashMap<String, LastUsed>>,
    /// Policies of other services' resources, compiled, by their text.
    pub resource_policies: Mutex<HashMap<Arc<str>, Option<Attached>>>,
}

/// When and for what a key or a role was used last.
#[derive(Debug, Clone)]
pub(crate) struct LastUsed {
    pub at_ms: i64,
    pub service: String,
    pub region: String,
}

impl Identity {
    /// Loads all accounts into memory, and makes the configured one at the first start.
    ///
    /// # Errors
    /// If the store fails, or holds a record that cannot be read: a policy that is lost might have been a denial.
    pub async fn open(store: &Store, settings: Settings) -> Result<Self, Error> {
        let inner = Inner {
            clock: store.clock.clone(),
            book: Book::open(store.kv.clone()).await?,
            sessions: Sessions::open(&*store.kv).await?,
            last_used: Mutex::default(),
            resource_policies: Mutex::default(),
            settings,
        };
        let identity = Self(Arc::new(inner));
        identity
            .create_account(&identity.0.settings.account)
            .await?;
        Ok(identity)
    }

    /// The root credential of the configured account. `None` once its owner deleted or deactivated all root keys.
    pub fn root_credential(&self) -> Option<RootCredential> {
        self.root_credential_of(&self.0.settings.account)
    }

    /// The root credential of an account.
    pub fn root_credential_of(&self, account: &AccountId) -> Option<RootCredential> {
        self.0.book.look(account, |found| {
            let key = found.root()?.keys.iter().find(|key| key.active)?;
            Some(RootCredential {
                account: *account,
                access_key_id: key.id.clone(),
                secret_access_key: key.secret.clone(),
            })
        })
    }

    /// Makes an account with a root access key, unless it is there already.
    ///
    /// # Errors
    /// If the store fails, or there are too many accounts.
    pub async fn create_account(&self, account: &AccountId) -> Result<(), Error> {
        let now_ms = self.0.clock.now_ms();
        let change = self.0.book.change(account, |state, found| {
            if found.root().is_some() {
                return Ok((Change::none(), ()));
            }
            if state.account_ids().count() >= ACCOUNTS_MAX {
                return Err(Error::Quota {
                    name: "Accounts",
                    limit: ACCOUNTS_MAX,
                });
            }
            let root = Root {
                created_ms: now_ms,
                keys: vec![new_key(account, now_ms)?],
                alias: None,
            };
            Ok((Change::put(*account, found, root)?, ()))
        });
        change.await
    }

    /// Forgets everything and makes the configured account anew, with a new root credential. For `POST /_/reset`.
    ///
    /// # Errors
    /// If the store fails.
    pub async fn reset(&self) -> Result<(), Error> {
        self.0.book.clear().await?;
        self.create_account(&self.0.settings.account).await
    }

    /// Reads all accounts anew, after somebody emptied the store, and makes the configured one if it is gone.
    ///
    /// # Errors
    /// As for [`Identity::open`].
    pub async fn reload(&self) -> Result<(), Error> {
        self.0.book.reload_all().await?;
        self.create_account(&self.0.settings.account).await
    }

    /// When a key or a role was used last, since the process began.
    pub(crate) fn last_used(&self, id: &str) -> Option<LastUsed> {
        self.0
            .last_used
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(id)
            .cloned()
    }

    /// The accounts there are.
    pub fn accounts(&self) -> Vec<AccountId> {
        self.0
            .book
            .read(|state| state.account_ids().copied().collect())
    }
}

/// A new long-term key.
pub(crate) fn new_key(account: &AccountId, now_ms: i64) -> Result<AccessKey, Error> {
    Ok(AccessKey {
        id: ids::access_key("AKIA", account)?,
        secret: ids::secret()?,
        active: true,
        created_ms: now_ms,
    })
}

/// Refuses a third key.
pub(crate) fn room_for_key(keys: &[AccessKey]) -> Result<(), Error> {
    if keys.len() >= ACCESS_KEYS_MAX {
        return Err(Error::Quota {
            name: "AccessKeysPerUser",
            limit: ACCESS_KEYS_MAX,
        });
    }
    Ok(())
}
