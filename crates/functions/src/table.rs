//! What the store holds, as it is in memory: everything that a request reads. Writers go to the store first; what they
//! wrote is installed here by its revision, so that two writers who install in the wrong order do no harm.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, PoisonError, RwLock};

use wire::Scope;

/// How many removals are remembered. A writer is at most as late as this many others are early.
const GRAVES_MAX: u64 = 10_000;

/// Things by scope and name.
pub(crate) struct Table<T> {
    scopes: RwLock<HashMap<Scope, BTreeMap<String, Slot<T>>>>,
}

struct Slot<T> {
    stored: u64,
    /// `None` remembers the removal of everything up to `stored`.
    value: Option<Arc<T>>,
}

impl<T> Default for Table<T> {
    fn default() -> Self {
        Self {
            scopes: RwLock::default(),
        }
    }
}

impl<T> Table<T> {
    pub(crate) fn get(&self, at: &Scope, name: &str) -> Option<Arc<T>> {
        let scopes = self.scopes.read().unwrap_or_else(PoisonError::into_inner);
        scopes.get(at)?.get(name)?.value.clone()
    }

    /// All of a scope, by name, beginning after `after`.
    pub(crate) fn list(&self, at: &Scope, after: Option<&str>) -> Vec<(String, Arc<T>)> {
        use std::ops::Bound;
        let scopes = self.scopes.read().unwrap_or_else(PoisonError::into_inner);
        let Some(names) = scopes.get(at) else {
            return Vec::new();
        };
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let live = |(name, slot): (&String, &Slot<T>)| Some((name.clone(), slot.value.clone()?));
        names
            .range::<str, _>((from, Bound::Unbounded))
            .filter_map(live)
            .collect()
    }

    /// Everything.
    pub(crate) fn all(&self) -> Vec<Arc<T>> {
        let scopes = self.scopes.read().unwrap_or_else(PoisonError::into_inner);
        let slots = scopes.values().flat_map(BTreeMap::values);
        slots.filter_map(|slot| slot.value.clone()).collect()
    }

    /// Shows what the write of this revision wrote (`None`: removed it), unless something newer is shown already.
    pub(crate) fn install(&self, at: &Scope, name: &str, stored: u64, value: Option<Arc<T>>) {
        let mut scopes = self.scopes.write().unwrap_or_else(PoisonError::into_inner);
        let names = scopes.entry(at.clone()).or_default();
        let removed = value.is_none();
        match names.get_mut(name) {
            Some(slot) if slot.stored > stored => return,
            // A removal is known by the revision of what it removed.
            Some(slot) if slot.stored == stored && slot.value.is_none() => return,
            Some(slot) => *slot = Slot { stored, value },
            None => {
                names.insert(name.to_owned(), Slot { stored, value });
            }
        }
        let graves = names.values().filter(|slot| slot.value.is_none());
        if removed && graves.count() as u64 > GRAVES_MAX {
            names.retain(|_, slot| slot.value.is_some() || slot.stored + GRAVES_MAX > stored);
        }
    }
}

#[cfg(test)]
mod tests {
    use wire::{AccountId, Region};

    use super::*;

    #[test]
    fn late_writers_do_no_harm() {
        let at = Scope {
            account: AccountId::new("123456789012").expect("twelve digits"),
            region: Region::new("eu-west-1").expect("a region"),
        };
        let table = Table::default();
        let get = |table: &Table<u32>| table.get(&at, "x").map(|value| *value);
        table.install(&at, "x", 5, Some(Arc::new(50)));
        table.install(&at, "x", 4, Some(Arc::new(40)));
        assert_eq!(get(&table), Some(50));
        table.install(&at, "x", 7, None);
        table.install(&at, "x", 6, Some(Arc::new(60)));
        table.install(&at, "x", 7, Some(Arc::new(70)));
        assert_eq!(get(&table), None);
        table.install(&at, "x", 9, Some(Arc::new(90)));
        assert_eq!(get(&table), Some(90));
    }
}
