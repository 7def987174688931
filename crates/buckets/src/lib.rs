//! S3: buckets and objects. The wire is the crate s3s; who asks is verified by the front door and who may is decided by
//! identity, through [`wire::Authorizer`]. s3s decides neither: it sees no signature, and the hook that it calls before every
//! operation (`access`) refuses whatever is not in our own table.

mod access;
mod bucket;
mod checksum;
mod condition;
mod content;
mod cors;
mod encryption;
mod error;
mod lifecycle;
mod list;
mod multipart;
mod notification;
mod object;
pub mod operations;
mod policy;
mod read;
mod record;
mod s3;
mod seal;
mod service;
mod shelf;
mod sweep;
mod tags;
mod trail;
mod website;

use std::pin::Pin;
use std::sync::Arc;

use delivery::{Delivery, Outbox};
use store::{Blobs, Store};
use tokio::sync::Notify;
use wire::{Authorizer, Witness};

pub use error::Error;
pub use seal::Secret;

use content::Vessel;
use shelf::Shelf;

type Result<T> = std::result::Result<T, Error>;

/// Reads bucket policies: identity knows their language.
pub trait Language: Send + Sync {
    /// Whether a policy lets in everyone.
    ///
    /// # Errors
    /// AWS's sentence about what is wrong with the policy.
    fn is_public(&self, policy: &str) -> std::result::Result<bool, String>;
}

/// Those that notifications go to.
pub trait Destinations: Send + Sync {
    /// Whether there is a recipient for such a delivery that would let in its sender.
    ///
    /// # Errors
    /// Why not, for the log.
    fn check(&self, delivery: &Delivery) -> std::result::Result<(), String>;
}

/// What the service needs of those around it.
pub struct Surroundings {
    /// Who may do what.
    pub authorizer: Arc<dyn Authorizer>,
    /// The language of policies.
    pub language: Arc<dyn Language>,
    /// Those that notifications go to.
    pub destinations: Arc<dyn Destinations>,
    /// Where notifications go.
    pub outbox: Outbox,
    /// What content is sealed with on disk.
    pub secret: Arc<Secret>,
    /// Who learns of calls that manage buckets.
    pub witness: Arc<dyn Witness>,
}

/// A task that the service needs.
pub struct Worker {
    /// What it is called in the log.
    pub name: &'static str,
    /// Runs until it is dropped.
    pub run: Pin<Box<dyn Future<Output = ()> + Send>>,
}

/// S3. Clones are handles to the same one.
#[derive(Clone)]
pub struct Buckets(Arc<Inner>);

struct Inner {
    shelf: Shelf,
    around: Surroundings,
    opened_ms: i64,
    /// Told when lifecycle rules were changed.
    rules_changed: Notify,
}

impl Buckets {
    /// Reads the buckets into memory.
    ///
    /// # Errors
    /// If the store fails, or holds a bucket that cannot be read.
    pub async fn open(
        store: &Store,
        around: Surroundings,
    ) -> std::result::Result<(Buckets, Vec<Worker>), Error> {
        let buckets = Buckets(Arc::new(Inner {
            shelf: Shelf::open(store).await?,
            around,
            opened_ms: store.clock.now_ms(),
            rules_changed: Notify::new(),
        }));
        let sweep = Worker {
            name: "unnamed content",
            run: Box::pin(buckets.clone().sweep_for_ever()),
        };
        let expire = Worker {
            name: "lifecycle rules",
            run: Box::pin(buckets.clone().expire_for_ever()),
        };
        Ok((buckets, vec![sweep, expire]))
    }

    /// The service that answers requests.
    pub fn storage(&self) -> Arc<dyn wire::Storage> {
        Arc::new(service::Service::new(self.clone()))
    }

    fn shelf(&self) -> &Shelf {
        &self.0.shelf
    }

    fn objects(&self) -> &Arc<dyn Blobs> {
        &self.0.shelf.store().objects
    }

    fn vessel(&self) -> Vessel<'_> {
        Vessel {
            blobs: self.objects(),
            kv: &self.0.shelf.store().kv,
            secret: &self.0.around.secret,
        }
    }

    fn authorizer(&self) -> &dyn Authorizer {
        &*self.0.around.authorizer
    }

    fn language(&self) -> &dyn Language {
        &*self.0.around.language
    }

    fn destinations(&self) -> &dyn Destinations {
        &*self.0.around.destinations
    }

    fn witness(&self) -> &dyn Witness {
        &*self.0.around.witness
    }

    fn outbox(&self) -> &Outbox {
        &self.0.around.outbox
    }

    fn now_ms(&self) -> i64 {
        self.0.shelf.store().clock.now_ms()
    }
}
