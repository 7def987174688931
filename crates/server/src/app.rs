//! The services, wired together. A reset ends one `App` and starts another over an emptied folder.

use std::sync::Arc;

use anyhow::Result;
use gateway::{Key, Keyring, Services};
use jiff::Timestamp;
use store::Store;
use wire::sigv4::Refusal;
use wire::{AccountId, Arn, Ask, Authorizer, Caller, CallerKind, Router};

use crate::config::Config;
use crate::credentials::RootCredential;
use crate::folder::Folder;

/// Everything behind the door.
pub struct App {
    store: Store,
    root: Arc<Root>,
}

impl App {
    /// Opens the store and starts every service.
    pub async fn start(config: &Config, folder: &Folder) -> Result<App> {
        let store = Store::open(&folder.store())?;
        let credential = RootCredential::read_or_make(folder)?;
        let root = Arc::new(Root {
            credential,
            account: config.account,
        });
        Ok(App { store, root })
    }

    /// What the gateway needs.
    pub fn services(&self) -> Services {
        Services {
            router: Router::new(vec![]),
            keyring: self.root.clone(),
            authorizer: self.root.clone(),
        }
    }

    /// Stops the services and closes the store.
    pub async fn stop(&self) {
        self.store.close().await;
    }
}

/// Knows the root credential only, until identity does.
struct Root {
    credential: RootCredential,
    account: AccountId,
}

impl Keyring for Root {
    fn find(&self, id: &str, token: Option<&str>, _: Timestamp) -> Result<Key, Refusal> {
        if id != self.credential.access_key_id || token.is_some() {
            return Err(Refusal::UnknownClient);
        }
        Ok(Key {
            secret: self.credential.secret_access_key.as_bytes().into(),
            caller: Caller {
                kind: CallerKind::Root,
                arn: Arn::root(&self.account),
                account: self.account,
                user_id: self.account.to_string(),
                access_key_id: id.to_owned(),
                session: None,
            },
        })
    }
}

impl Authorizer for Root {
    fn authorize(&self, _: &wire::Context, _: &Ask<'_>) -> Result<(), String> {
        Ok(())
    }
}
