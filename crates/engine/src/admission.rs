//! Admission: how many executions a function and its account may have at once.
//!
//! Reserved concurrency is taken out of the account's pool and holds for every caller; what is left is shared by all
//! functions without any (<https://docs.aws.amazon.com/lambda/latest/dg/lambda-concurrency.html>).

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;

use crate::spec::{FunctionSpec, PoolKey, ThrottleReason};
use crate::{ACCOUNT_CONCURRENCY_DEFAULT, Concurrency};

/// Counts executions. One for the engine.
#[derive(Default)]
pub(crate) struct Admission {
    accounts: Mutex<HashMap<String, Account>>,
}

struct Account {
    limit: u32,
    /// Of all functions.
    in_use: u32,
    /// Of functions without reserved concurrency, but those that had a provisioned environment.
    unreserved_in_use: u32,
    reserved_sum: u32,
    /// Provisioned environments of functions without reserved concurrency.
    unreserved_kept: u32,
    functions: HashMap<String, Function>,
}

#[derive(Default)]
struct Function {
    reserved: Option<u32>,
    in_use: u32,
    /// Those in use that had no provisioned environment.
    on_demand: u32,
    /// Provisioned environments: each has its concurrency set aside, used or not.
    kept: u32,
}

impl Default for Account {
    fn default() -> Account {
        Account {
            limit: ACCOUNT_CONCURRENCY_DEFAULT,
            in_use: 0,
            unreserved_in_use: 0,
            reserved_sum: 0,
            unreserved_kept: 0,
            functions: HashMap::new(),
        }
    }
}

/// One execution that was let in; dropping it makes room for the next.
pub(crate) struct Slot {
    admission: Arc<Admission>,
    spec: Arc<FunctionSpec>,
    kept: bool,
    /// Drain waits for it.
    _running: TaskTrackerToken,
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.admission.leave(&self.spec.pool, self.kept);
    }
}

impl Admission {
    /// Lets one execution in, or says which limit it met.
    pub(crate) fn enter(
        self: &Arc<Self>,
        spec: &Arc<FunctionSpec>,
        running: &TaskTracker,
    ) -> Result<Slot, ThrottleReason> {
        self.count_in(&spec.pool)?;
        Ok(Slot {
            admission: self.clone(),
            spec: spec.clone(),
            kept: false,
            _running: running.token(),
        })
    }

    /// Lets one execution in that has a provisioned environment: there is always room for it.
    pub(crate) fn enter_kept(
        self: &Arc<Self>,
        spec: &Arc<FunctionSpec>,
        running: &TaskTracker,
    ) -> Slot {
        let mut accounts = self.accounts();
        let account = entry(&mut accounts, &spec.pool.account_region);
        account.function(&spec.pool).in_use += 1;
        account.in_use += 1;
        Slot {
            admission: self.clone(),
            spec: spec.clone(),
            kept: true,
            _running: running.token(),
        }
    }

    /// Sets concurrency aside for a provisioned environment.
    pub(crate) fn claim(&self, pool: &PoolKey) {
        let mut accounts = self.accounts();
        let account = entry(&mut accounts, &pool.account_region);
        let function = account.function(pool);
        function.kept += 1;
        let unreserved = function.reserved.is_none();
        account.unreserved_kept += u32::from(unreserved);
    }

    /// Gives it back.
    pub(crate) fn unclaim(&self, pool: &PoolKey) {
        let mut accounts = self.accounts();
        let account = entry(&mut accounts, &pool.account_region);
        let function = account.function(pool);
        function.kept -= 1;
        let unreserved = function.reserved.is_none();
        account.unreserved_kept -= u32::from(unreserved);
        account.forget_if_unused(pool);
    }

    fn count_in(&self, pool: &PoolKey) -> Result<(), ThrottleReason> {
        let mut accounts = self.accounts();
        let account = entry(&mut accounts, &pool.account_region);
        let set_aside = account.reserved_sum + account.unreserved_kept;
        let shared = account.limit.saturating_sub(set_aside);
        let shared_is_full = account.unreserved_in_use >= shared;
        let function = account.function(pool);
        let refused = match function.reserved {
            Some(reserved) if function.on_demand >= reserved.saturating_sub(function.kept) => {
                Some(ThrottleReason::ReservedFunctionConcurrentInvocationLimitExceeded)
            }
            None if shared_is_full => Some(ThrottleReason::ConcurrentInvocationLimitExceeded),
            _ => None,
        };
        if let Some(reason) = refused {
            account.forget_if_unused(pool);
            return Err(reason);
        }
        function.in_use += 1;
        function.on_demand += 1;
        let unreserved = function.reserved.is_none();
        account.in_use += 1;
        account.unreserved_in_use += u32::from(unreserved);
        Ok(())
    }

    fn leave(&self, pool: &PoolKey, kept: bool) {
        let mut accounts = self.accounts();
        let account = entry(&mut accounts, &pool.account_region);
        let function = account
            .functions
            .get_mut(&pool.function)
            .expect("a function in use is kept");
        function.in_use -= 1;
        account.in_use -= 1;
        if !kept {
            function.on_demand -= 1;
            account.unreserved_in_use -= u32::from(function.reserved.is_none());
        }
        account.forget_if_unused(pool);
    }

    /// Sets or takes away reserved concurrency; executions going on move between the pools with their function.
    pub(crate) fn set_reserved(&self, pool: &PoolKey, reserved: Option<u32>) {
        let mut accounts = self.accounts();
        let account = entry(&mut accounts, &pool.account_region);
        let function = account.functions.entry(pool.function.clone()).or_default();
        match (function.reserved, reserved) {
            (None, Some(_)) => {
                account.unreserved_in_use -= function.on_demand;
                account.unreserved_kept -= function.kept;
            }
            (Some(_), None) => {
                account.unreserved_in_use += function.on_demand;
                account.unreserved_kept += function.kept;
            }
            _ => {}
        }
        account.reserved_sum =
            account.reserved_sum - function.reserved.unwrap_or(0) + reserved.unwrap_or(0);
        function.reserved = reserved;
        account.forget_if_unused(pool);
    }

    /// Sets the quota of an account in a region.
    pub(crate) fn set_account_limit(&self, account_region: &str, limit: u32) {
        entry(&mut self.accounts(), account_region).limit = limit;
    }

    /// What is going on right now.
    pub(crate) fn concurrency(&self, pool: &PoolKey) -> Concurrency {
        self.accounts()
            .get(&pool.account_region)
            .map_or_else(Concurrency::default, |account| Concurrency {
                function: account
                    .functions
                    .get(&pool.function)
                    .map_or(0, |function| function.in_use),
                account: account.in_use,
            })
    }

    fn accounts(&self) -> MutexGuard<'_, HashMap<String, Account>> {
        // Counters are changed together and never half-way, so a panic elsewhere leaves them true.
        self.accounts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Account {
    fn function(&mut self, pool: &PoolKey) -> &mut Function {
        if !self.functions.contains_key(&pool.function) {
            let function = Function::default();
            self.functions.insert(pool.function.clone(), function);
        }
        let function = self.functions.get_mut(&pool.function);
        function.expect("it was inserted above")
    }

    fn forget_if_unused(&mut self, pool: &PoolKey) {
        if self
            .functions
            .get(&pool.function)
            .is_some_and(|f| f.in_use == 0 && f.kept == 0 && f.reserved.is_none())
        {
            self.functions.remove(&pool.function);
        }
    }
}

fn entry<'a>(accounts: &'a mut HashMap<String, Account>, name: &str) -> &'a mut Account {
    if !accounts.contains_key(name) {
        accounts.insert(name.to_owned(), Account::default());
    }
    accounts.get_mut(name).expect("it was inserted above")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(function: &str) -> PoolKey {
        PoolKey {
            account_region: "1/r".to_owned(),
            function: function.to_owned(),
        }
    }

    const RESERVED: ThrottleReason =
        ThrottleReason::ReservedFunctionConcurrentInvocationLimitExceeded;
    const ACCOUNT: ThrottleReason = ThrottleReason::ConcurrentInvocationLimitExceeded;

    #[test]
    fn reserved_concurrency_gates_and_protects() {
        let admission = Admission::default();
        admission.set_account_limit("1/r", 3);
        admission.set_reserved(&key("a"), Some(1));
        assert_eq!(admission.count_in(&key("a")), Ok(()));
        assert_eq!(admission.count_in(&key("a")), Err(RESERVED));
        assert_eq!(admission.count_in(&key("b")), Ok(()));
        assert_eq!(admission.count_in(&key("b")), Ok(()));
        assert_eq!(admission.count_in(&key("c")), Err(ACCOUNT));
        admission.leave(&key("b"), false);
        assert_eq!(admission.count_in(&key("c")), Ok(()));
        assert_eq!(
            admission.concurrency(&key("c")),
            Concurrency {
                function: 1,
                account: 3
            }
        );
    }

    #[test]
    fn zero_reserved_stops_a_function() {
        let admission = Admission::default();
        admission.set_reserved(&key("a"), Some(0));
        assert_eq!(admission.count_in(&key("a")), Err(RESERVED));
        admission.set_reserved(&key("a"), None);
        assert_eq!(admission.count_in(&key("a")), Ok(()));
    }

    #[test]
    fn provisioned_environments_set_concurrency_aside() {
        let admission = Admission::default();
        admission.set_account_limit("1/r", 3);
        admission.set_reserved(&key("a"), Some(1));
        admission.claim(&key("a"));
        // All that is reserved is provisioned, so nothing is left for the other versions.
        assert_eq!(admission.count_in(&key("a")), Err(RESERVED));
        admission.claim(&key("b"));
        assert_eq!(admission.count_in(&key("c")), Ok(()));
        assert_eq!(admission.count_in(&key("c")), Err(ACCOUNT));
        admission.unclaim(&key("b"));
        assert_eq!(admission.count_in(&key("c")), Ok(()));
        admission.set_reserved(&key("a"), None);
        assert_eq!(admission.count_in(&key("a")), Err(ACCOUNT));
        admission.unclaim(&key("a"));
        assert_eq!(admission.count_in(&key("a")), Ok(()));
    }

    #[test]
    fn executions_move_with_their_function() {
        let admission = Admission::default();
        admission.set_account_limit("1/r", 2);
        assert_eq!(admission.count_in(&key("a")), Ok(()));
        admission.set_reserved(&key("a"), Some(1));
        assert_eq!(admission.count_in(&key("b")), Ok(()));
        assert_eq!(admission.count_in(&key("b")), Err(ACCOUNT));
        admission.set_reserved(&key("a"), None);
        admission.leave(&key("a"), false);
        admission.leave(&key("b"), false);
        assert_eq!(admission.concurrency(&key("b")), Concurrency::default());
        assert!(
            admission
                .accounts()
                .get("1/r")
                .is_some_and(|account| account.functions.is_empty())
        );
    }
}
