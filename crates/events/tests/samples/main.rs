//! The sample events: each is an event, and those of EventBridge have its envelope.

use std::collections::BTreeSet;

use events::pattern::{Event, Pattern};
use events::samples::{SAMPLES, sample};
use serde_json::Value;

#[test]
fn samples_are_events_with_names() {
    let names: Vec<_> = SAMPLES.iter().map(|sample| sample.name).collect();
    assert!(names.is_sorted() && names.iter().collect::<BTreeSet<_>>().len() == names.len());
    for one in SAMPLES {
        assert!(Event::parse(one.json).is_ok(), "{}", one.name);
        assert!(!one.about.is_empty() && one.json.ends_with("}\n"));
        assert_eq!(sample(one.name).map(|found| found.json), Some(one.json));
    }
    assert!(sample("nothing").is_none());
}

/// <https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-events-structure.html>
#[test]
fn events_of_buses_have_the_envelope() {
    const MEMBERS: &[&str] = &[
        "version",
        "id",
        "detail-type",
        "source",
        "account",
        "time",
        "region",
        "resources",
        "detail",
    ];
    let mut count = 0;
    for one in SAMPLES
        .iter()
        .filter(|one| one.json.contains("\"detail-type\""))
    {
        let event: Value = serde_json::from_str(one.json).expect("JSON");
        let members: Vec<_> = event.as_object().expect("an object").keys().collect();
        assert_eq!(members, MEMBERS, "{}", one.name);
        count += 1;
    }
    assert!(count >= 10);
}

#[test]
fn patterns_of_the_user_guides_find_their_samples() {
    for (name, pattern) in [
        (
            "s3-eventbridge",
            r#"{"source":["aws.s3"],"detail-type":["Object Created"],"detail":{"object":{"key":[{"prefix":"images/"}]}}}"#,
        ),
        (
            "ec2-state-change",
            r#"{"source":["aws.ec2"],"detail-type":["EC2 Instance State-change Notification"],"detail":{"state":["running"]}}"#,
        ),
        (
            "scheduled",
            r#"{"source":["aws.events"],"resources":[{"suffix":"rule/weekday-6am"}]}"#,
        ),
        (
            "cloudwatch-alarm",
            r#"{"source":["aws.cloudwatch"],"detail":{"state":{"value":["ALARM"]}}}"#,
        ),
        (
            "cloudtrail",
            r#"{"detail-type":["AWS API Call via CloudTrail"],"detail":{"eventSource":["s3.amazonaws.com"],"eventName":[{"prefix":"Put"}]}}"#,
        ),
        (
            "codepipeline-eventbridge",
            r#"{"source":["aws.codepipeline"],"detail":{"state":["FAILED","SUCCEEDED"]}}"#,
        ),
        (
            "dynamodb",
            r#"{"Records":{"eventName":["MODIFY"],"dynamodb":{"OldImage":{"State":{"S":["new"]}}}}}"#,
        ),
    ] {
        let event = Event::parse(sample(name).expect(name).json).expect("an event");
        let matching: Vec<_> = SAMPLES
            .iter()
            .filter(|other| {
                Pattern::parse(pattern)
                    .expect(name)
                    .matches(&Event::parse(other.json).expect("an event"))
            })
            .map(|other| other.name)
            .collect();
        assert!(Pattern::parse(pattern).expect(name).matches(&event));
        assert_eq!(matching, [name]);
    }
}
