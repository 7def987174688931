//! Environments that are kept, made ahead and given back by the pattern of calls. Hours pass in a moment.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use engine::{Clock, Config, FunctionSpec};

use crate::bed::{Bed, wait_until};

/// Minutes that only pass when they are told to.
#[derive(Clone, Default)]
pub struct Minutes(Arc<AtomicU64>);

impl Minutes {
    pub fn pass(&self, minutes: u64) {
        self.0.fetch_add(minutes, Ordering::SeqCst);
    }

    pub fn clock(&self) -> Clock {
        let minutes = self.clone();
        Clock::new(move || Duration::from_secs(minutes.0.load(Ordering::SeqCst) * 60))
    }
}

fn bed(minutes: &Minutes, change: impl FnOnce(&mut Config)) -> Bed {
    Bed::with(|config| {
        config.clock = minutes.clock();
        change(config);
    })
}

fn function(bed: &Bed) -> Arc<FunctionSpec> {
    let code =
        "seen = []\ndef handler(event, context):\n    seen.append(1)\n    return len(seen)\n";
    Arc::new(bed.function(code))
}

/// Calls it once every so many minutes, often enough to be known for it.
async fn teach(bed: &Bed, minutes: &Minutes, spec: &Arc<FunctionSpec>, every: u64) {
    for _ in 0..8 {
        assert!(!bed.invoke(spec, "0").await.failed());
        minutes.pass(every);
    }
    assert!(!bed.invoke(spec, "0").await.failed());
}

async fn environments(bed: &Bed, count: usize) {
    wait_until(|| bed.engine.environments() == count).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_ten_minutes_is_ready_at_the_ninth() {
    let minutes = Minutes::default();
    // Room for one, so memory is short.
    let bed = bed(&minutes, |config| config.memory_mb_max = 256);
    let spec = function(&bed);
    teach(&bed, &minutes, &spec, 10).await;
    minutes.pass(2);
    environments(&bed, 0).await;
    minutes.pass(7);
    environments(&bed, 1).await;
    minutes.pass(1);
    // It is new, and nobody waited for its init.
    bed.invoke(&spec, "0").await.gives("1");
    let inits = bed.recorder.text().matches("INIT_START").count();
    minutes.pass(10);
    bed.invoke(&spec, "0").await;
    assert!(bed.recorder.text().matches("INIT_START").count() <= inits + 1);
    bed.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_quarter_of_an_hour_is_kept_where_there_is_room() {
    let minutes = Minutes::default();
    let bed = bed(&minutes, |_| {});
    let spec = function(&bed);
    teach(&bed, &minutes, &spec, 15).await;
    let before = bed.invoke(&spec, "0").await.text();
    minutes.pass(15);
    let after = bed.invoke(&spec, "0").await.text();
    let number = |text: &str| text.parse::<u32>().unwrap();
    assert_eq!(number(&after), number(&before) + 1, "the same environment");
    // Two hours without a call are too many, and nothing is made ahead for a call that did not come.
    minutes.pass(120);
    environments(&bed, 0).await;
    bed.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn switched_off_it_is_the_fixed_time() {
    let minutes = Minutes::default();
    let bed = bed(&minutes, |config| config.prediction = false);
    let spec = function(&bed);
    teach(&bed, &minutes, &spec, 5).await;
    minutes.pass(9);
    bed.invoke(&spec, "0").await.gives("10");
    minutes.pass(11);
    environments(&bed, 0).await;
    bed.end().await;
}
