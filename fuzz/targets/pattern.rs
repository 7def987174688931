//! Patterns and input templates: any text is one or an error; a pattern and an index that holds it with others agree on
//! any event; a template gives JSON or nothing.
#![no_main]

use std::collections::BTreeMap;

use events::pattern::{Event, Index, Pattern};
use events::transform::{Fired, Input, Options};
use libfuzzer_sys::fuzz_target;

/// Keep the index from resting all patterns in its root.
const OTHERS: &[&str] = &[
    r#"{"a":["x"]}"#,
    r#"{"a":["x"],"b":[1]}"#,
    r#"{"a":[{"prefix":"x"}]}"#,
    r#"{"a":[{"suffix":"x"}],"b":[{"exists":false}]}"#,
    r#"{"a":[{"wildcard":"*x*"}]}"#,
    r#"{"a":[{"anything-but":["x"]}]}"#,
    r#"{"a":{"b":[{"numeric":[">",0,"<=",5]}]}}"#,
    r#"{"a":[{"cidr":"10.0.0.0/8"}]}"#,
    r#"{"a":[{"equals-ignore-case":"X"}]}"#,
    r#"{"$or":[{"a":[1]},{"b":[true,null]}]}"#,
];

// Two texts, one per half, at the first line break: a pattern (or template) and an event.
fuzz_target!(|text: &str| {
    let (first, second) = text.split_once('\n').unwrap_or((text, "{}"));
    let event = Event::parse(second);
    if let (Ok(pattern), Ok(event)) = (Pattern::parse(first), &event) {
        let mut index = Index::default();
        for (id, other) in OTHERS.iter().enumerate() {
            index.add(id, Pattern::parse(other).expect("a constant"));
        }
        let id = OTHERS.len();
        index.add(id, pattern.clone());
        assert_eq!(index.matches(event).contains(&id), pattern.matches(event));
        index.remove(&id);
        assert!(!index.matches(event).contains(&id));
    }
    let paths = BTreeMap::from([
        ("a".to_owned(), "$.a".to_owned()),
        ("b".to_owned(), "$.a.b[*]".to_owned()),
        ("c".to_owned(), second.to_owned()),
    ]);
    let options = Options {
        transformer: Some((&paths, first)),
        ..Options::default()
    };
    if let (Ok(input), Ok(_)) = (Input::new("id", options), &event) {
        let fired = Fired {
            event: second,
            rule_arn: "arn:aws:events:us-east-1:123456789012:rule/r",
            rule_name: "r",
            ingestion_time: "2026-01-01T00:00:00Z",
        };
        let _given_or_not = input.of(&fired);
    }
});
