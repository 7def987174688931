//! Provisioned concurrency: initialised ahead, kept, replaced, counted.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use engine::{
    Credentials, FunctionSpec, Initialization, Provision, ProvisionFailure, ProvisionedUse,
    ThrottleReason,
};

use crate::bed::{Bed, invocation, wait_until};

const CODE: &str = "
import os, time
print('init', os.environ['AWS_LAMBDA_INITIALIZATION_TYPE'])
def handler(event, context):
    if event == 'exit':
        os._exit(3)
    if event == 'sleep':
        time.sleep(0.5)
    return os.environ['AWS_LAMBDA_INITIALIZATION_TYPE']
";

const PROVISIONED: &str = "\"provisioned-concurrency\"";
const ON_DEMAND: &str = "\"on-demand\"";

fn provide(bed: &Bed, spec: &Arc<FunctionSpec>, count: u32) {
    let wanted = Provision {
        spec: spec.clone(),
        count,
        request: 1,
    };
    bed.engine.set_provisioned(&spec.pool, vec![wanted]);
}

async fn allocated(bed: &Bed, spec: &FunctionSpec, count: u32) {
    wait_until(|| bed.engine.provisioned(&spec.key).allocated == count).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn initialised_ahead_and_used_first() {
    let bed = Bed::with(|config| config.idle_timeout = Duration::ZERO);
    let spec = Arc::new(bed.function(CODE));
    provide(&bed, &spec, 2);
    allocated(&bed, &spec, 2).await;
    let text = bed.recorder.text();
    assert_eq!(text.matches("init provisioned-concurrency").count(), 2);
    assert_eq!(text.matches("INIT_REPORT Init Duration: ").count(), 2);
    assert_eq!(text.matches("START RequestId").count(), 0);

    let first = bed.invoke(&spec, "0").await;
    first.gives(PROVISIONED);
    assert_eq!(first.0.report.initialization, Initialization::Provisioned);
    assert_eq!(first.0.report.init_duration, None);
    assert!(!first.tail().contains("Init Duration"), "{}", first.tail());
    let used = ProvisionedUse {
        used: true,
        busy: 1,
        allocated: 2,
    };
    assert_eq!(first.0.provisioned, Some(used));

    // Two have one each, the third spills over.
    let calls = (0..3).map(|_| bed.invoke(&spec, "\"sleep\""));
    let answers = futures_util::future::join_all(calls).await;
    let texts: Vec<_> = answers.iter().map(|answer| answer.text()).collect();
    assert_eq!(texts.iter().filter(|text| *text == PROVISIONED).count(), 2);
    assert_eq!(texts.iter().filter(|text| *text == ON_DEMAND).count(), 1);
    let spilled = answers.iter().find(|answer| answer.text() == ON_DEMAND);
    let spilled = spilled.unwrap().0.provisioned.unwrap();
    assert!(!spilled.used);
    assert_eq!(spilled.allocated, 2);
    // The one on demand goes when it was idle for too long, the others never.
    wait_until(|| bed.engine.environments() == 2).await;
    allocated(&bed, &spec, 2).await;

    bed.engine.set_provisioned(&spec.pool, Vec::new());
    wait_until(|| bed.engine.environments() == 0).await;
    assert_eq!(bed.engine.provisioned(&spec.key).allocated, 0);
    bed.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_ends_is_replaced() {
    let bed = Bed::new();
    let spec = Arc::new(bed.function(CODE));
    provide(&bed, &spec, 1);
    allocated(&bed, &spec, 1).await;
    assert!(bed.invoke(&spec, "\"exit\"").await.failed());
    // It failed at once, so it is not replaced at once, and its place is nobody's meanwhile.
    bed.invoke(&spec, "0").await.gives(ON_DEMAND);
    // Another request tries again.
    let wanted = Provision {
        spec: spec.clone(),
        count: 1,
        request: 2,
    };
    bed.engine.set_provisioned(&spec.pool, vec![wanted]);
    allocated(&bed, &spec, 1).await;
    bed.invoke(&spec, "0").await.gives(PROVISIONED);
    bed.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn credentials_that_end_soon_are_replaced_before() {
    let bed = Bed::new();
    let mut spec = bed.function(CODE);
    spec.timeout = Duration::from_secs(1);
    let made = Arc::new(std::sync::atomic::AtomicU64::new(0));
    let count = made.clone();
    spec.credentials = Arc::new(move |_| {
        // The first ones are good for an invocation, but not for long.
        let first = count.fetch_add(1, std::sync::atomic::Ordering::SeqCst) == 0;
        let good = Duration::from_secs(if first { 120 } else { 3600 });
        Ok(Credentials {
            access_key_id: "ASIAEXAMPLE".to_owned(),
            secret_access_key: "secret".to_owned(),
            session_token: "token".to_owned(),
            expires: SystemTime::now() + good,
        })
    });
    let spec = Arc::new(spec);
    provide(&bed, &spec, 1);
    wait_until(|| made.load(std::sync::atomic::Ordering::SeqCst) == 2).await;
    allocated(&bed, &spec, 1).await;
    wait_until(|| bed.engine.environments() == 1).await;
    bed.invoke(&spec, "0").await.gives(PROVISIONED);
    bed.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_init_that_fails_is_told() {
    let bed = Bed::new();
    let spec = Arc::new(bed.function("raise RuntimeError('no')"));
    provide(&bed, &spec, 3);
    wait_until(|| bed.engine.provisioned(&spec.key).failure.is_some()).await;
    let status = bed.engine.provisioned(&spec.key);
    assert_eq!(status.failure, Some(ProvisionFailure::Init));
    assert_eq!(status.allocated, 0);
    let text = bed.recorder.text();
    assert!(
        text.contains("Phase: init\tStatus: error\tError Type: RuntimeError"),
        "{text}"
    );
    bed.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_reserved_is_theirs() {
    let bed = Bed::new();
    let spec = Arc::new(bed.function(CODE));
    bed.engine.set_reserved(&spec.pool, Some(1));
    provide(&bed, &spec, 1);
    allocated(&bed, &spec, 1).await;
    let latest = FunctionSpec {
        key: spec.key.replace("/1", "/2"),
        ..FunctionSpec::clone(&spec)
    };
    let refused = bed.engine.invoke(Arc::new(latest), invocation("0")).await;
    let reason = ThrottleReason::ReservedFunctionConcurrentInvocationLimitExceeded;
    assert_eq!(refused.unwrap_err(), engine::Refusal::Throttled(reason));
    bed.invoke(&spec, "0").await.gives(PROVISIONED);
    bed.end().await;
}
