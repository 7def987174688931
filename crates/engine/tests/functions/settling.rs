//! Between an answer and the next event: an answer waits for nobody, and calls in a row share an environment nevertheless.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use engine::{FunctionSpec, Outcome, Provision, Refusal, Status};

use crate::bed::{Answer, Bed, invocation, wait_until};

/// As AWS's clients do, it waits for the acknowledgement of its answer before it asks for the next event.
const RUNTIME: &str = r#"#!/usr/bin/env python3
import http.client, json, os, time
api = http.client.HTTPConnection(os.environ['AWS_LAMBDA_RUNTIME_API'])
def call(method, path, body=None):
    api.request(method, '/2018-06-01/runtime/' + path, body=body)
    reply = api.getresponse()
    return reply.headers, reply.read()
while True:
    headers, event = call('GET', 'invocation/next')
    event = json.loads(event)
    path = 'invocation/' + headers['Lambda-Runtime-Aws-Request-Id']
    if event == 'wrong':
        call('POST', path + '/error', '{"errorType":"Mine","errorMessage":"told"}')
    else:
        call('POST', path + '/response', json.dumps(os.environ['AWS_LAMBDA_LOG_STREAM_NAME']))
    if event == 'slow':
        print('it takes its time', flush=True)
        time.sleep(0.3)
    # Long after the answer has been read, and less than a call waits.
    time.sleep(0.002)
"#;

/// Never asks for another event after the first.
const EXTENSION: &str = r#"#!/usr/bin/env python3
import http.client, os, time
api = http.client.HTTPConnection(os.environ['AWS_LAMBDA_RUNTIME_API'])
def call(method, path, headers, body=None):
    api.request(method, '/2020-01-01/extension/' + path, body=body, headers=headers)
    reply = api.getresponse()
    reply.read()
    return reply.headers
me = call('POST', 'register', {'Lambda-Extension-Name': os.path.basename(__file__)}, '{"events":["INVOKE"]}')
call('GET', 'event/next', {'Lambda-Extension-Identifier': me['Lambda-Extension-Identifier']})
time.sleep(60)
"#;

/// On a machine with much to do a runtime may take longer than the next call waits for it, but not always.
const TRIES: usize = 20;

fn function(bed: &Bed) -> FunctionSpec {
    let runtime = bed.catalogue.resolve("provided.al2023").unwrap();
    bed.function_on(runtime, "any.handler", &[("bootstrap", RUNTIME)])
}

/// A call that does not ask for the end of the log: an answer with it waits until the log is complete.
async fn try_call(bed: &Bed, spec: &Arc<FunctionSpec>, event: &str) -> Result<Outcome, Refusal> {
    let mut invocation = invocation(event);
    invocation.tail = false;
    bed.engine.invoke(spec.clone(), invocation).await
}

async fn call(bed: &Bed, spec: &Arc<FunctionSpec>, event: &str) -> Answer {
    Answer(try_call(bed, spec, event).await.expect("it is let in"))
}

/// Whether calls in a row were all let in and answered by one environment, for one at least of some functions that are prepared so.
async fn share(bed: &Bed, prepare: impl AsyncFn(&Arc<FunctionSpec>)) -> bool {
    for _ in 0..TRIES {
        let spec = Arc::new(function(bed));
        prepare(&spec).await;
        let mut environments = BTreeSet::new();
        for _ in 0..20 {
            let outcome = try_call(bed, &spec, "1").await;
            environments.insert(outcome.ok().map(|outcome| outcome.payload));
        }
        if environments.len() == 1 && !environments.contains(&None) {
            return true;
        }
    }
    false
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_in_a_row_share_an_environment() {
    let bed = Bed::new();
    assert!(share(&bed, async |_| {}).await);
    bed.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn concurrency_of_what_has_answered_is_waited_for() {
    let bed = Bed::new();
    let reserve = async |spec: &Arc<FunctionSpec>| bed.engine.set_reserved(&spec.pool, Some(1));
    assert!(share(&bed, reserve).await);
    bed.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_provisioned_is_waited_for_too() {
    let bed = Bed::new();
    let provision = async |spec: &Arc<FunctionSpec>| {
        // One on demand is about, and a call is not to take it.
        call(&bed, spec, "1").await;
        let wanted = Provision {
            spec: spec.clone(),
            count: 1,
            request: 1,
        };
        bed.engine.set_provisioned(&spec.pool, vec![wanted]);
        wait_until(|| bed.engine.provisioned(&spec.key).allocated == 1).await;
    };
    assert!(share(&bed, provision).await);
    bed.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_rest_of_an_invocation_is_told_when_no_other_comes() {
    let bed = Bed::new();
    let spec = Arc::new(function(&bed));
    let answer = call(&bed, &spec, "\"wrong\"").await;
    answer.fails("Mine", "told");
    wait_until(|| !bed.recorder.reports.lock().unwrap().is_empty()).await;
    let report = bed.recorder.reports.lock().unwrap()[0].clone();
    assert_eq!(report.status, Status::Error);
    // Nothing of what came after the answer is counted.
    assert_eq!(report.duration, answer.0.report.duration);
    wait_until(|| bed.recorder.text().contains("\nREPORT RequestId: ")).await;
    bed.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_runtime_that_takes_its_time_is_not_waited_for_long() {
    let bed = Bed::new();
    let spec = Arc::new(function(&bed));
    let slow = call(&bed, &spec, "\"slow\"").await;
    // It gives up while the first one is at it.
    let other = call(&bed, &spec, "1").await;
    assert_ne!(slow.text(), other.text());
    let told = || bed.recorder.reports.lock().unwrap().len() == 2;
    wait_until(told).await;
    wait_until(|| bed.recorder.text().contains("it takes its time")).await;
    let mut environments = BTreeSet::from([slow.text(), other.text()]);
    let (one, two) = tokio::join!(call(&bed, &spec, "1"), call(&bed, &spec, "1"));
    environments.extend([one.text(), two.text()]);
    assert_eq!(environments.len(), 2, "both are free again");
    bed.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_does_not_wait_for_extensions() {
    let bed = Bed::new();
    let mut spec = function(&bed);
    spec.timeout = Duration::from_secs(5);
    spec.layers = Some(bed.files(&[("extensions/slow", EXTENSION)]));
    let answer = call(&bed, &Arc::new(spec), "1").await;
    assert!(!answer.failed(), "{}", answer.text());
    assert_eq!(answer.0.report.status, Status::Success);
    assert_eq!(bed.recorder.reports.lock().unwrap().len(), 0);
    // What the extension takes counts, up to the function's timeout.
    wait_until(|| !bed.recorder.reports.lock().unwrap().is_empty()).await;
    let report = bed.recorder.reports.lock().unwrap()[0].clone();
    assert_eq!(report.status, Status::Timeout);
    assert_eq!(report.duration, Duration::from_secs(5));
    bed.end().await;
}
