//! What every backend promises, as one list of cases run on each.

#![allow(clippy::unwrap_used, missing_docs)]

mod blobs;
mod journal;
mod kv;
mod model;
mod queues;

use std::sync::Arc;
use std::time::Duration;

use store::sim::{Faults, Sim};
use store::{Clock, Error, ManualClock, Store};

/// A store under test.
pub struct Subject {
    pub store: Store,
    pub clock: Arc<ManualClock>,
    backend: Backend,
}

enum Backend {
    Embedded(tempfile::TempDir),
    Sim(Sim),
}

impl Subject {
    pub fn embedded() -> Subject {
        let dir = tempfile::tempdir().unwrap();
        let clock = Arc::new(ManualClock::at(1_700_000_000_000));
        let store = Store::open_with(dir.path(), Arc::clone(&clock) as _).unwrap();
        Subject {
            store,
            clock,
            backend: Backend::Embedded(dir),
        }
    }

    pub fn sim(seed: u64) -> Subject {
        let (sim, clock) = Sim::new(seed, Faults::DELAYS);
        Subject {
            store: sim.store(),
            clock,
            backend: Backend::Sim(sim),
        }
    }

    /// Closes the store and opens it again.
    pub async fn reopen(&mut self) {
        self.store.close().await;
        self.store = match &self.backend {
            Backend::Embedded(dir) => {
                Store::open_with(dir.path(), Arc::clone(&self.clock) as _).unwrap()
            }
            Backend::Sim(sim) => sim.store(),
        };
    }

    pub fn now_ms(&self) -> i64 {
        self.clock.now_ms()
    }

    pub fn advance_ms(&self, by: u64) {
        self.clock.advance(Duration::from_millis(by));
    }

    pub async fn assert_sound(&self) {
        assert_eq!(self.store.check().await.unwrap(), [""; 0]);
    }
}

macro_rules! conformance {
    ($($module:ident :: { $($case:ident),* $(,)? })*) => {
        mod embedded {
            $(mod $module {
                $(#[tokio::test]
                async fn $case() {
                    let mut subject = crate::Subject::embedded();
                    crate::$module::$case(&mut subject).await;
                    subject.assert_sound().await;
                })*
            })*
        }
        mod sim {
            $(mod $module {
                $(#[tokio::test]
                async fn $case() {
                    for seed in 0..4 {
                        let mut subject = crate::Subject::sim(seed);
                        crate::$module::$case(&mut subject).await;
                    }
                })*
            })*
        }
    };
}

conformance! {
    kv::{
        compare_and_swap, content_comes_with_its_record_or_not_at_all, delete_expects_too, revisions_are_never_used_twice, one_of_many_writers_wins,
        scan_is_ordered_and_paged, scan_knows_where_a_prefix_ends, scan_ends_after_many_bytes, watch_tells_every_change,
        watch_that_falls_behind_lists_again, watch_ends_with_the_store, keys_and_values_have_limits, survives_reopening,
    }
    blobs::{
        content_by_digest, ranges, streams, a_broken_stream_stores_nothing, deletes, collecting_garbage, list_is_paged,
        the_same_content_at_once, survives_reopening,
    }
    queues::{
        due_in_order, delayed, a_lease_hides, an_expired_lease_returns, a_late_answer_counts_until_handed_out_again,
        push_is_idempotent_while_present, done_once_is_not_pushed_again, retry_and_extend, bury_and_exhume, an_exhumed_message_forgets_its_tokens,
        remove_and_purge, ready_at_once_and_on_push, ready_in_time, ready_when_a_lease_ends, ready_ends_with_the_store,
        many_workers_share, lists_queues, limits, survives_reopening, tokens_are_text,
    }
    journal::{
        by_arrival_and_by_time, pages_by_arrival, pages_by_time, trims, numbers_are_never_used_twice, describes_streams,
        lists_streams, pages_end_after_many_bytes, limits, many_writers, survives_reopening,
    }
}

macro_rules! closed {
    ($store:expr, $($call:expr),* $(,)?) => {
        $(assert!(matches!($call.await.map(|_| ()), Err(Error::Closed { .. })), "{}", stringify!($call));)*
    };
}

#[tokio::test]
async fn a_closed_store_says_so() {
    for subject in [Subject::embedded(), Subject::sim(1)] {
        let store = subject.store.clone();
        store.close().await;
        closed!(
            store,
            store.kv.get("k"),
            store.kv.put("k", "v".into(), store::Expect::Any),
            store.kv.scan("", None, 1),
            store.queues.lease("q", 1, Duration::ZERO),
            store.queues.ready("q"),
            store.journal.append("s", vec![(0, "e".into())]),
            store.check(),
        );
        store.close().await;
    }
}
