//! Records of one kind: in the store, and in memory as requests read them.
//!
//! Writers go to the store first, by compare-and-swap; what they wrote is shown here by its revision, so that two
//! writers who show in the wrong order do no harm.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::{Arc, PoisonError, RwLock};

use bytes::Bytes;
use store::record::{self, Record};
use store::{Expect, Kv};

use crate::vault::Vault;

/// How often a change is tried anew after somebody else's came first.
const TRIES_MAX: usize = 16;
/// How many removals are remembered. A writer is at most as late as this many others are early.
const GRAVES_MAX: u64 = 10_000;

/// Why a shelf did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Others changed the record again and again.
    #[error("the record changed while it was being changed")]
    Contended,
    /// It was sealed with another key, or is damaged.
    #[error("{0} cannot be opened; is secrets.key the one that this data folder had?")]
    Sealed(String),
    /// It cannot be sealed.
    #[error("this machine gives no random numbers")]
    NoRandom,
    /// The store failed, or holds a record that cannot be read.
    #[error(transparent)]
    Store(#[from] store::Error),
}

/// A record and its revision in the store.
#[derive(Debug)]
pub(crate) struct Held<R> {
    pub record: R,
    pub stored: u64,
}

/// What a change makes of a record.
pub(crate) enum Edit<R, T> {
    /// This is the record from now on.
    Put(R, T),
    /// There is no record from now on.
    Remove(T),
    /// All stays as it is.
    Keep(T),
}

/// Called for every record shown or (`None`) removed, in the order in which that happens to the key.
type Listener<R> = Box<dyn Fn(&str, Option<&R>) + Send + Sync>;

/// All records whose key begins with one prefix.
pub(crate) struct Shelf<R> {
    kv: Arc<dyn Kv>,
    /// Seals what is stored, where that holds secrets.
    vault: Option<Arc<dyn Vault>>,
    slots: RwLock<BTreeMap<String, Slot<R>>>,
    listener: Listener<R>,
}

struct Slot<R> {
    stored: u64,
    /// `None` remembers the removal of everything up to `stored`.
    held: Option<Arc<Held<R>>>,
}

impl<R: Record + Send + Sync> Shelf<R> {
    /// Reads all records below the prefix.
    pub(crate) async fn open(
        kv: Arc<dyn Kv>,
        prefix: &str,
        listener: impl Fn(&str, Option<&R>) + Send + Sync + 'static,
    ) -> Result<Self, Error> {
        Self::load(kv, None, prefix, Box::new(listener)).await
    }

    /// The same for records that are sealed in the store.
    pub(crate) async fn open_sealed(
        kv: Arc<dyn Kv>,
        vault: Arc<dyn Vault>,
        prefix: &str,
    ) -> Result<Self, Error> {
        Self::load(kv, Some(vault), prefix, Box::new(|_, _| {})).await
    }

    async fn load(
        kv: Arc<dyn Kv>,
        vault: Option<Arc<dyn Vault>>,
        prefix: &str,
        listener: Listener<R>,
    ) -> Result<Self, Error> {
        let shelf = Self {
            kv,
            vault,
            slots: RwLock::default(),
            listener,
        };
        for (key, entry) in shelf.kv.scan_all(prefix).await? {
            let record = shelf.decode(&key, &entry.value)?;
            let stored = match shelf.vault.is_some() && is_plain(&entry.value) {
                true => {
                    let sealed = shelf.encode(&key, &record)?;
                    let expect = Expect::Revision(entry.revision);
                    shelf.kv.put(&key, sealed, expect).await?
                }
                false => entry.revision,
            };
            shelf.show(&key, stored, Some(record));
        }
        Ok(shelf)
    }

    fn encode(&self, key: &str, record: &R) -> Result<Bytes, Error> {
        let plain = record::encode(record)?;
        match &self.vault {
            None => Ok(plain),
            Some(vault) => vault
                .seal(key, &plain)
                .map(Bytes::from)
                .ok_or(Error::NoRandom),
        }
    }

    fn decode(&self, key: &str, stored: &[u8]) -> Result<R, Error> {
        let Some(vault) = self.vault.as_ref().filter(|_| !is_plain(stored)) else {
            return Ok(record::decode(stored)?);
        };
        let plain = vault
            .open(key, stored)
            .ok_or_else(|| Error::Sealed(key.to_owned()))?;
        Ok(record::decode(&plain)?)
    }

    /// The record.
    pub(crate) fn get(&self, key: &str) -> Option<Arc<Held<R>>> {
        let slots = self.slots.read().unwrap_or_else(PoisonError::into_inner);
        slots.get(key)?.held.clone()
    }

    /// All records whose key begins with the prefix, by what follows it.
    pub(crate) fn list(&self, prefix: &str) -> Vec<(String, Arc<Held<R>>)> {
        let slots = self.slots.read().unwrap_or_else(PoisonError::into_inner);
        slots
            .range::<str, _>((Bound::Included(prefix), Bound::Unbounded))
            .map_while(|(key, slot)| Some((key.strip_prefix(prefix)?, slot)))
            .filter_map(|(rest, slot)| Some((rest.to_owned(), slot.held.clone()?)))
            .collect()
    }

    /// How many records there are whose key begins with the prefix.
    pub(crate) fn count(&self, prefix: &str) -> usize {
        let slots = self.slots.read().unwrap_or_else(PoisonError::into_inner);
        slots
            .range::<str, _>((Bound::Included(prefix), Bound::Unbounded))
            .take_while(|(key, _)| key.starts_with(prefix))
            .filter(|(_, slot)| slot.held.is_some())
            .count()
    }

    /// Changes a record: `edit` works on what is there, as often as others come first.
    pub(crate) async fn change<T, E: From<Error>>(
        &self,
        key: &str,
        mut edit: impl FnMut(Option<&R>) -> Result<Edit<R, T>, E>,
    ) -> Result<T, E> {
        for _ in 0..TRIES_MAX {
            let before = self.get(key);
            let expect = before
                .as_ref()
                .map_or(Expect::Absent, |held| Expect::Revision(held.stored));
            let written = match edit(before.as_ref().map(|held| &held.record))? {
                Edit::Put(record, value) => {
                    let encoded = self.encode(key, &record)?;
                    let put = self.kv.put(key, encoded, expect).await;
                    put.map(|stored| (stored, Some(record), value))
                }
                Edit::Keep(value) => return Ok(value),
                Edit::Remove(value) => {
                    let Some(before) = before else {
                        return Ok(value);
                    };
                    let deleted = self.kv.delete(key, expect).await;
                    deleted.map(|_| (before.stored, None, value))
                }
            };
            match written {
                Ok((stored, record, value)) => {
                    self.show(key, stored, record);
                    return Ok(value);
                }
                Err(store::Error::Conflict { .. }) => self.reload(key).await?,
                Err(error) => return Err(Error::from(error).into()),
            }
        }
        Err(Error::Contended.into())
    }

    /// Shows what somebody else wrote.
    async fn reload(&self, key: &str) -> Result<(), Error> {
        match self.kv.get(key).await? {
            Some(entry) => {
                let record = self.decode(key, &entry.value)?;
                self.show(key, entry.revision, Some(record));
            }
            None => {
                if let Some(before) = self.get(key) {
                    self.show(key, before.stored, None);
                }
            }
        }
        Ok(())
    }

    /// Shows what the write of this revision wrote (`None`: removed it), unless something newer is shown already.
    fn show(&self, key: &str, stored: u64, record: Option<R>) {
        let mut slots = self.slots.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(slot) = slots.get(key) {
            // A removal is known by the revision of what it removed.
            let newer = slot.stored > stored || slot.stored == stored && slot.held.is_none();
            if newer {
                return;
            }
        }
        let removed = record.is_none();
        let held = record.map(|record| Arc::new(Held { record, stored }));
        // Told under the lock, so that the last that is told is the last that is shown.
        (self.listener)(key, held.as_ref().map(|held| &held.record));
        slots.insert(key.to_owned(), Slot { stored, held });
        let graves = slots.values().filter(|slot| slot.held.is_none());
        if removed && graves.count() as u64 > GRAVES_MAX {
            slots.retain(|_, slot| slot.held.is_some() || slot.stored + GRAVES_MAX > stored);
        }
    }
}

/// Whether it was stored before there was a key: records are JSON objects, and nothing sealed begins as they do.
fn is_plain(stored: &[u8]) -> bool {
    stored.first() == Some(&b'{')
}
