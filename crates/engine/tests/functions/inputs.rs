//! The inputs that must work as they stand, on every Python of this machine.

use std::sync::Arc;
use std::time::Duration;

use engine::Status;
use engine::runtimes::{Family, Runtime};

use crate::bed::{Answer, Bed};

fn version(runtime: &Runtime) -> (u8, u8) {
    match runtime.family {
        Family::Python(major, minor) => (major, minor),
        _ => unreachable!("only Pythons are asked"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn prints_the_event_and_returns_a_member() {
    let bed = Bed::new();
    for runtime in bed.pythons() {
        let code = "def handler(event, context):\n    print('value1 = ' + event['key1'])\n    return event['key1']\n";
        let spec = Arc::new(bed.function_on(runtime.clone(), "app.handler", &[("app.py", code)]));
        let first = bed
            .invoke(
                &spec,
                r#"{"key3": "value3", "key2": "value2", "key1": "value1"}"#,
            )
            .await;
        first.gives("\"value1\"");
        let id = &first.0.report.request_id;
        let tail = first.tail();
        assert!(
            tail.starts_with(&format!("START RequestId: {id} Version: $LATEST\n")),
            "{}: {tail}",
            runtime.id
        );
        assert!(
            tail.contains("\nvalue1 = value1\nEND RequestId: "),
            "{}: {tail}",
            runtime.id
        );
        assert!(
            tail.contains("\tMemory Size: 256 MB\tMax Memory Used: "),
            "{}: {tail}",
            runtime.id
        );
        assert!(
            tail.contains("\tInit Duration: ") && tail.ends_with(" ms\t\n"),
            "{}: {tail}",
            runtime.id
        );
        assert!(first.0.report.max_memory_mb > 3, "{}: {tail}", runtime.id);
        let second = bed.invoke(&spec, r#"{"key1": "again"}"#).await;
        second.gives("\"again\"");
        assert!(
            !second.tail().contains("Init Duration"),
            "{}: {}",
            runtime.id,
            second.tail()
        );
        println!(
            "{} ok, init {:?}",
            runtime.version, first.0.report.init_duration
        );
    }
    let log = bed.recorder.text();
    assert!(
        log.contains("INIT_START Runtime Version: python:3."),
        "{log}"
    );
    bed.end().await;
}
