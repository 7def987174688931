//! What a store that fails does to metrics: nothing is lost and nothing is counted twice.

use store::sim::{Faults, Sim};

use super::*;
use crate::metrics::{Distribution, Recorder, Window};

#[tokio::test]
async fn values_are_counted_once_whatever_the_store_does() {
    for seed in 0..30 {
        let (sim, _clock) = Sim::new(seed, Faults::ALL);
        let store = sim.store();
        sim.set_faults(Faults::NONE);
        let (recorder, rounds) = Recorder::open(&store).await.unwrap();
        let worker = tokio::spawn(rounds.run());
        sim.set_faults(Faults::ALL);
        let metric = Metric::new(NAMESPACE, "m", Vec::new());
        for n in 0..40 {
            let time_ms = NOW_MS + n * 10_000;
            assert!(recorder.add(
                &scope(),
                &metric,
                Unit::Count,
                time_ms,
                n % 2 == 0,
                &Distribution::of(1.0, 1.0)
            ));
            // Some of these fail, and the values wait for the next one.
            let _ = recorder.flush().await;
        }
        sim.set_faults(Faults::NONE);
        recorder.flush().await.unwrap();
        worker.abort();
        // What is on disk, as a new process finds it.
        let (recorder, _rounds) = Recorder::open(&sim.crash()).await.unwrap();
        let window = Window {
            start_s: NOW_S,
            end_s: NOW_S + 3600,
            period_s: 3600,
        };
        for (period_s, wanted) in [(3600, 40.0), (1, 20.0)] {
            let series = recorder.index.of_metric(&scope(), &metric, None);
            let found = recorder
                .buckets
                .query(&series, window.with_period(period_s))
                .await
                .unwrap();
            let count: f64 = found.values().map(|values| values.count).sum();
            assert_eq!(count, wanted, "seed {seed}");
        }
    }
}
