//! What runs functions: the engine, or a stand-in of tests.

use std::collections::BTreeSet;
use std::pin::Pin;
use std::sync::Arc;

use engine::{
    Concurrency, Engine, FunctionSpec, Invocation, Outcome, PoolKey, Prepared, Provision,
    Provisioned, Refusal, Unprepared,
};

/// The outcome of an invocation, to be awaited.
pub type Running<'a> = Pin<Box<dyn Future<Output = Result<Outcome, Refusal>> + Send + 'a>>;

/// What comes of running a function's init ahead, to be awaited.
pub type Preparing<'a> = Pin<Box<dyn Future<Output = Result<Prepared, Unprepared>> + Send + 'a>>;

/// The engine, as functions need it. See [`Engine`]'s methods of the same names.
pub trait Executor: Send + Sync {
    /// Runs a function once.
    fn invoke(&self, spec: Arc<FunctionSpec>, invocation: Invocation) -> Running<'_>;
    /// This function is there: of its first environment all may be made ahead but what it runs itself.
    fn expect(&self, _spec: &Arc<FunctionSpec>) {}
    /// Runs a function's init once and keeps what came of it.
    fn prepare(&self, spec: Arc<FunctionSpec>) -> Preparing<'_>;
    /// Removes what was compiled of other contents than these.
    fn sweep_bytecode(&self, _contents: BTreeSet<String>) {}
    /// Ends environments whose key begins so.
    fn retire(&self, key_prefix: &str);
    /// Sets or takes away reserved concurrency.
    fn set_reserved(&self, pool: &PoolKey, reserved: Option<u32>);
    /// Sets the account's pool.
    fn set_account_limit(&self, account_region: &str, limit: u32);
    /// Says all that is to be initialised ahead of a function.
    fn set_provisioned(&self, pool: &PoolKey, wanted: Vec<Provision>);
    /// How far that is for one revision.
    fn provisioned(&self, key: &str) -> Provisioned;
    /// Executions going on.
    fn concurrency(&self, pool: &PoolKey) -> Concurrency;
}

impl Executor for Engine {
    fn invoke(&self, spec: Arc<FunctionSpec>, invocation: Invocation) -> Running<'_> {
        Box::pin(Engine::invoke(self, spec, invocation))
    }
    fn expect(&self, spec: &Arc<FunctionSpec>) {
        Engine::expect(self, spec);
    }
    fn prepare(&self, spec: Arc<FunctionSpec>) -> Preparing<'_> {
        Box::pin(Engine::prepare(self, spec))
    }
    fn sweep_bytecode(&self, contents: BTreeSet<String>) {
        Engine::sweep_bytecode(self, contents);
    }
    fn retire(&self, key_prefix: &str) {
        Engine::retire(self, key_prefix);
    }
    fn set_reserved(&self, pool: &PoolKey, reserved: Option<u32>) {
        Engine::set_reserved(self, pool, reserved);
    }
    fn set_account_limit(&self, account_region: &str, limit: u32) {
        Engine::set_account_limit(self, account_region, limit);
    }
    fn set_provisioned(&self, pool: &PoolKey, wanted: Vec<Provision>) {
        Engine::set_provisioned(self, pool, wanted);
    }
    fn provisioned(&self, key: &str) -> Provisioned {
        Engine::provisioned(self, key)
    }
    fn concurrency(&self, pool: &PoolKey) -> Concurrency {
        Engine::concurrency(self, pool)
    }
}
