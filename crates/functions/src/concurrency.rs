//! Reserved concurrency, and the account's pool that it is taken from
//! (<https://docs.aws.amazon.com/lambda/latest/dg/configuration-concurrency.html>).

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use wire::{Arn, Context, Http, Operation, Scope, Shape, number};

use crate::error::Error;
use crate::name::FunctionRef;
use crate::spec::pool;
use crate::state::Function;
use crate::{Functions, Inner};

/// What must stay unreserved.
const UNRESERVED_MIN: u32 = 100;

number! {
    /// Executions at once.
    pub struct ReservedConcurrentExecutions: 0..=2_147_483_647;
}

/// A function's reserved concurrency.
#[derive(Debug, Shape)]
pub struct Concurrency {
    reserved_concurrent_executions: Option<u32>,
}

impl Concurrency {
    pub(crate) fn of(reserved: u32) -> Self {
        Self {
            reserved_concurrent_executions: Some(reserved),
        }
    }
}

/// What is reserved or provisioned in each scope, so that two requests never give the same away. The records say what it
/// is after a start.
pub(crate) struct Ledger {
    limit: u32,
    /// What each function takes out of its scope's pool.
    scopes: Mutex<HashMap<Scope, BTreeMap<String, u64>>>,
    order: Mutex<()>,
}

impl Ledger {
    pub(crate) fn new(limit: u32) -> Self {
        Self {
            limit,
            scopes: Mutex::default(),
            order: Mutex::default(),
        }
    }

    /// Executions at once in an account and region.
    pub(crate) fn limit(&self) -> u32 {
        self.limit
    }

    /// What no function has reserved or provisioned.
    pub(crate) fn unreserved(&self, at: &Scope) -> u32 {
        let taken: u64 = self.scopes().get(at).map_or(0, |f| f.values().sum());
        self.limit
            .saturating_sub(u32::try_from(taken).unwrap_or(u32::MAX))
    }

    /// Enters what a function takes, whatever it is.
    pub(crate) fn set(&self, at: &Scope, name: &str, taken: u64) {
        let mut scopes = self.scopes();
        let functions = scopes.entry(at.clone()).or_default();
        match taken {
            0 => functions.remove(name),
            taken => functions.insert(name.to_owned(), taken),
        };
    }

    /// Enters what is provisioned of a function, if enough is left: of what it has reserved, else of the scope's pool.
    pub(crate) fn provision(
        &self,
        at: &Scope,
        name: &str,
        reserved: Option<u32>,
        sum: u64,
    ) -> Result<(), Error> {
        if let Some(reserved) = reserved {
            return match sum > u64::from(reserved) {
                true => Err(Error::ProvisionedAboveReserved),
                false => Ok(()),
            };
        }
        let minimum = UNRESERVED_MIN.min(self.limit);
        let mut scopes = self.scopes();
        let functions = scopes.entry(at.clone()).or_default();
        let others = functions.iter().filter(|(other, _)| *other != name);
        let others: u64 = others.map(|(_, taken)| *taken).sum();
        let unreserved = u64::from(self.limit).saturating_sub(others);
        if sum > unreserved {
            return Err(Error::ProvisionedAboveUnreserved(unreserved));
        }
        if sum + u64::from(minimum) > unreserved {
            return Err(Error::ProvisionedTooHigh(minimum));
        }
        functions.insert(name.to_owned(), sum);
        Ok(())
    }

    /// Enters it if enough is left.
    fn reserve(&self, at: &Scope, name: &str, asked: u32) -> Result<(), Error> {
        let minimum = UNRESERVED_MIN.min(self.limit);
        let mut scopes = self.scopes();
        let functions = scopes.entry(at.clone()).or_default();
        let others = functions.iter().filter(|(other, _)| *other != name);
        let reserved: u64 = others.map(|(_, taken)| *taken).sum();
        if reserved + u64::from(asked) + u64::from(minimum) > u64::from(self.limit) {
            return Err(Error::ReservedTooHigh(minimum));
        }
        functions.insert(name.to_owned(), u64::from(asked));
        Ok(())
    }

    fn scopes(&self) -> MutexGuard<'_, HashMap<Scope, BTreeMap<String, u64>>> {
        // Nothing panics while it is held.
        self.scopes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    /// Tells ledger and engine what all records say.
    pub(crate) fn restore_concurrency(&self) {
        for function in self.functions.all() {
            self.apply_concurrency(&function.at, &function.name);
        }
    }

    /// Tells ledger and engine what the function's record says about concurrency, or that there is none; and the engine the
    /// account's limit.
    pub(crate) fn apply_concurrency(&self, at: &Scope, name: &str) {
        // Held from the reading to the telling, so that what is told last was read last.
        let _order = self.reserved.order.lock();
        let function = self.functions.get(at, name);
        let record = function.as_ref().map(|function| &function.record);
        let reserved = record.and_then(|record| record.reserved_concurrency);
        let provisioned = record.map_or(0, |record| record.provisioned_sum(""));
        let taken = reserved.map_or(provisioned, u64::from);
        self.reserved.set(at, name, taken);
        self.engine.set_reserved(&pool(at, name), reserved);
        let wanted = function.map(|function| function.provisions());
        self.engine
            .set_provisioned(&pool(at, name), wanted.unwrap_or_default());
        self.engine
            .set_account_limit(&at.key(), self.reserved.limit());
    }
}

/// Reserves concurrency (<https://docs.aws.amazon.com/lambda/latest/api/API_PutFunctionConcurrency.html>).
#[derive(Debug, Shape)]
pub struct PutFunctionConcurrency {
    function_name: FunctionRef,
    reserved_concurrent_executions: ReservedConcurrentExecutions,
}

impl Operation for PutFunctionConcurrency {
    type Service = Functions;
    type Output = Concurrency;
    const NAME: &'static str = "PutFunctionConcurrency";
    const HTTP: Http = Http::new(
        "PUT",
        "/2017-10-31/functions/{FunctionName}/concurrency",
        200,
    );

    fn resource(&self, at: &Scope) -> Arn {
        self.function_name.arn(at)
    }

    async fn run(self, functions: &Functions, cx: &Context) -> Result<Concurrency, wire::Error> {
        let function = whole_function(functions, &self.function_name, cx)?;
        let asked = self.reserved_concurrent_executions.get();
        let asked = u32::try_from(asked).unwrap_or(u32::MAX);
        let inner = &functions.inner;
        let (at, name) = (&function.at, &function.name);
        inner.reserved.reserve(at, name, asked)?;
        let change = inner.change(at, name, |_, record| {
            let provisioned = record.provisioned_sum("");
            if u64::from(asked) < provisioned {
                return Err(Error::ReservedBelowProvisioned(provisioned));
            }
            record.reserved_concurrency = Some(asked);
            Ok(())
        });
        let changed = change.await;
        inner.apply_concurrency(at, name);
        changed?;
        Ok(Concurrency::of(asked))
    }
}

/// What a function has reserved (<https://docs.aws.amazon.com/lambda/latest/api/API_GetFunctionConcurrency.html>).
#[derive(Debug, Shape)]
pub struct GetFunctionConcurrency {
    function_name: FunctionRef,
}

impl Operation for GetFunctionConcurrency {
    type Service = Functions;
    type Output = Concurrency;
    const NAME: &'static str = "GetFunctionConcurrency";
    const HTTP: Http = Http::new(
        "GET",
        "/2019-09-30/functions/{FunctionName}/concurrency",
        200,
    );

    fn resource(&self, at: &Scope) -> Arn {
        self.function_name.arn(at)
    }

    async fn run(self, functions: &Functions, cx: &Context) -> Result<Concurrency, wire::Error> {
        let function = whole_function(functions, &self.function_name, cx)?;
        Ok(Concurrency {
            reserved_concurrent_executions: function.record.reserved_concurrency,
        })
    }
}

/// Gives reserved concurrency back (<https://docs.aws.amazon.com/lambda/latest/api/API_DeleteFunctionConcurrency.html>).
#[derive(Debug, Shape)]
pub struct DeleteFunctionConcurrency {
    function_name: FunctionRef,
}

impl Operation for DeleteFunctionConcurrency {
    type Service = Functions;
    type Output = ();
    const NAME: &'static str = "DeleteFunctionConcurrency";
    const HTTP: Http = Http::new(
        "DELETE",
        "/2017-10-31/functions/{FunctionName}/concurrency",
        204,
    );

    fn resource(&self, at: &Scope) -> Arn {
        self.function_name.arn(at)
    }

    async fn run(self, functions: &Functions, cx: &Context) -> Result<(), wire::Error> {
        let function = whole_function(functions, &self.function_name, cx)?;
        let inner = &functions.inner;
        let (at, name) = (&function.at, &function.name);
        let change = inner.change(at, name, |_, record| {
            record.reserved_concurrency = None;
            Ok(())
        });
        change.await?;
        inner.apply_concurrency(at, name);
        Ok(())
    }
}

/// The function; concurrency belongs to all of it.
fn whole_function(
    functions: &Functions,
    name: &FunctionRef,
    cx: &Context,
) -> Result<Arc<Function>, Error> {
    if name.own_qualifier().is_some() {
        return Err(Error::FunctionsOnly);
    }
    Ok(functions.find(name, None, cx)?.0)
}
