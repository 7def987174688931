//! What targets are given. Sources: `eb-transform-target-input` of the EventBridge user guide, and what was recorded from
//! the real service and published with LocalStack's tests (`recorded`).

use std::collections::BTreeMap;

use events::transform::{BYTES_MAX, Fired, Input, Invalid, Options, Undeliverable};

const EVENT: &str = r#"{
  "version": "0", "id": "7bf73129-1428-4cd3-a780-95db273d1602", "detail-type": "EC2 Instance State-change Notification",
  "source": "aws.ec2", "account": "123456789012", "time": "2015-11-11T21:29:54Z", "region": "us-east-1",
  "resources": ["arn:aws:ec2:us-east-1:123456789012:instance/i-abcd1111"],
  "detail": {"instance-id": "i-0123456789", "state": "RUNNING", "count": 3.50, "big": 12345678901234567890, "on": true,
    "none": null, "tags": ["A", "B"], "sizes": [1, 2], "empty": [], "map": {"k": "v", "n": {"m": 1}}, "quote": "say \"hi\"",
    "line": "a\nb", "back\\slash": "é\u00e9", "list": [{"a": 1}, {"a": 2, "b": "x"}], "a/b": "slash"}
}"#;

const WHOLE: &str = r#"{"version":"0","id":"7bf73129-1428-4cd3-a780-95db273d1602","detail-type":"EC2 Instance State-change Notification","source":"aws.ec2","account":"123456789012","time":"2015-11-11T21:29:54Z","region":"us-east-1","resources":["arn:aws:ec2:us-east-1:123456789012:instance/i-abcd1111"],"detail":{"instance-id":"i-0123456789","state":"RUNNING","count":3.50,"big":12345678901234567890,"on":true,"none":null,"tags":["A","B"],"sizes":[1,2],"empty":[],"map":{"k":"v","n":{"m":1}},"quote":"say \"hi\"","line":"a\nb","back\\slash":"éé","list":[{"a":1},{"a":2,"b":"x"}],"a/b":"slash"}}"#;

const ENVELOPE: &str = r#"{"version":"0","id":"7bf73129-1428-4cd3-a780-95db273d1602","detailType":"EC2 Instance State-change Notification","source":"aws.ec2","account":"123456789012","time":"2015-11-11T21:29:54Z","region":"us-east-1","resources":["arn:aws:ec2:us-east-1:123456789012:instance/i-abcd1111"]}"#;

const FIRED: Fired<'_> = Fired {
    event: EVENT,
    rule_arn: "arn:aws:events:us-east-2:123456789012:rule/example",
    rule_name: "example",
    ingestion_time: "2015-11-11T21:29:55Z",
};

const PATHS: &[(&str, &str)] = &[
    ("timestamp", "$.time"),
    ("instance", "$.detail.instance-id"),
    ("state", "$.detail.state"),
    ("count", "$.detail.count"),
    ("on", "$.detail.on"),
    ("none", "$.detail.none"),
    ("tags", "$.detail.tags"),
    ("sizes", "$.detail.sizes"),
    ("map", "$.detail.map"),
    ("quote", "$.detail.quote"),
    ("line", "$.detail.line"),
    ("missing", "$.detail.missing"),
    ("bad-path", "detail..[x"),
    ("detail-type", "$.detail-type"),
    ("event_1", "$"),
];

fn paths() -> BTreeMap<String, String> {
    PATHS
        .iter()
        .map(|(name, path)| ((*name).to_owned(), (*path).to_owned()))
        .collect()
}

fn template(text: &str) -> Result<Input, Invalid> {
    let transformer = Some((&paths(), text));
    Input::new(
        "t1",
        Options {
            transformer,
            ..Options::default()
        },
    )
}

fn check(text: &str, wanted: &str) {
    let input = template(text).unwrap_or_else(|error| panic!("{text}: {error}"));
    assert_eq!(input.of(&FIRED).as_deref(), Ok(wanted), "{text}");
}

fn check_undelivered(text: &str) {
    let input = template(text).unwrap_or_else(|error| panic!("{text}: {error}"));
    assert!(
        matches!(input.of(&FIRED), Err(Undeliverable::NotJson(_))),
        "{text}: {:?}",
        input.of(&FIRED)
    );
}

fn check_refused(text: &str, wanted: &str) {
    let error = template(text).map(|_| ()).expect_err(text).to_string();
    assert_eq!(error, wanted, "{text}");
}

#[test]
fn templates_of_text() {
    for (text, wanted) in [
        // The user guide's examples.
        (
            r#""instance <instance> is in <state>""#,
            r#""instance i-0123456789 is in RUNNING""#,
        ),
        (
            r#""instance \"<instance>\" is in <state>""#,
            r#""instance \"i-0123456789\" is in RUNNING""#,
        ),
        (
            r#""<aws.events.rule-name> triggered""#,
            r#""example triggered""#,
        ),
        // Recorded: two variables, one of them missing.
        (
            r#""Event of <detail-type> type, info <missing>""#,
            r#""Event of EC2 Instance State-change Notification type, info ""#,
        ),
        (
            r#""{[/Check with special starting characters for event of <detail-type> type""#,
            r#""{[/Check with special starting characters for event of EC2 Instance State-change Notification type""#,
        ),
        (
            r#""all <aws.events.rule-arn> <aws.events.rule-name> <aws.events.event.ingestion-time>""#,
            r#""all arn:aws:events:us-east-2:123456789012:rule/example example 2015-11-11T21:29:55Z""#,
        ),
        // Recorded: lists and objects between quotes lose theirs.
        (r#""<tags>""#, r#""[A,B]""#),
        (
            r#""tags: <tags>, map: <map>""#,
            r#""tags: [A,B], map: {k:v,n:{m:1}}""#,
        ),
        (
            r#""<count> <on> <none> <sizes>""#,
            r#""3.50 true null [1,2]""#,
        ),
        // Recorded: several quoted lines stay lines.
        (
            "\"first <state>\"\n\"second <instance>\"",
            "\"first RUNNING\"\n\"second i-0123456789\"",
        ),
        ("\"no variables\"", "\"no variables\""),
        ("\"a < b and <state>\"", ""),
        // A value on its own keeps its type.
        ("<state>", "\"RUNNING\""),
        ("<count>", "3.50"),
        ("<tags>", r#"["A","B"]"#),
        ("<aws.events.event.json>", WHOLE),
        ("<event_1>", WHOLE),
        ("<aws.events.event>", ENVELOPE),
        ("<aws.events.rule-name>", "\"example\""),
        ("true", "true"),
        ("12", "12"),
    ] {
        if wanted.is_empty() {
            check_refused(
                text,
                "InputTemplate for target t1 contains invalid placeholder  b and <state.",
            );
        } else {
            check(text, wanted);
        }
    }
}

#[test]
fn templates_of_json() {
    for (text, wanted) in [
        // The user guide's examples.
        (
            "{\n  \"instance\" : <instance>,\n  \"state\": <state>\n}",
            r#"{"instance":"i-0123456789","state":"RUNNING"}"#,
        ),
        (
            r#"{"instance" : <instance>, "state": "<state>", "instanceStatus": "instance \"<instance>\" is in <state>"}"#,
            r#"{"instance":"i-0123456789","state":"RUNNING","instanceStatus":"instance \"i-0123456789\" is in RUNNING"}"#,
        ),
        (
            r#"{"instance" : <instance>, "state": [ 9, <state>, true ], "Transformed" : "Yes"}"#,
            r#"{"instance":"i-0123456789","state":[9,"RUNNING",true],"Transformed":"Yes"}"#,
        ),
        (
            r#"{"ruleArn" : <aws.events.rule-arn>, "ruleName" : <aws.events.rule-name>}"#,
            r#"{"ruleArn":"arn:aws:events:us-east-2:123456789012:rule/example","ruleName":"example"}"#,
        ),
        (
            r#"{"timestamp" : <timestamp>, "message": "instance \"<instance>\" is in <state>"}"#,
            r#"{"timestamp":"2015-11-11T21:29:54Z","message":"instance \"i-0123456789\" is in RUNNING"}"#,
        ),
        (
            r#"{"at": <aws.events.event.ingestion-time>}"#,
            r#"{"at":"2015-11-11T21:29:55Z"}"#,
        ),
        // Types are kept.
        (
            r#"{"a": <count>, "b": <on>, "c": <none>, "d": <tags>, "e": <map>, "f": <sizes>}"#,
            r#"{"a":3.50,"b":true,"c":null,"d":["A","B"],"e":{"k":"v","n":{"m":1}},"f":[1,2]}"#,
        ),
        (
            r#"{"a": <quote>, "b": <line>}"#,
            r#"{"a":"say \"hi\"","b":"a\nb"}"#,
        ),
        (
            r#"{"a": "<count>", "b": "<on>", "c": "<none>", "d": "<sizes>"}"#,
            r#"{"a":"3.50","b":"true","c":"null","d":"[1,2]"}"#,
        ),
        // Recorded: what is missing is an empty text.
        (
            r#"{"a": <missing>, "b": "<missing>", "c": "x<missing>y"}"#,
            r#"{"a":"","b":"","c":"xy"}"#,
        ),
        // The user guide: paths are not checked.
        (r#"{"a": <bad-path>}"#, r#"{"a":""}"#),
        ("[<state>, <count>]", r#"["RUNNING",3.50]"#),
        ("  [1 , 2]  ", "[1,2]"),
        (r#"{"static": {"x": [ ]}}"#, r#"{"static":{"x":[]}}"#),
        (r#"{"e": "\\<state>"}"#, r#"{"e":"\\RUNNING"}"#),
    ] {
        check(text, wanted);
    }
    check(
        r#"{"originalEvent": <aws.events.event>, "originalEventJson": <aws.events.event.json>}"#,
        &format!(r#"{{"originalEvent":{ENVELOPE},"originalEventJson":{WHOLE}}}"#),
    );
}

#[test]
fn what_is_not_json_is_not_delivered() {
    for text in [
        // Recorded: a list between the quotes of a document.
        r#"{"a": "<tags>"}"#,
        r#"{"a": "<map>"}"#,
        r#"{"a": "<aws.events.event>"}"#,
        // The user guide: values are not escaped.
        r#""<quote>""#,
        r#"{"a": "<quote>"}"#,
        r#""<line>""#,
        // A document is one value.
        "{\"a\": 1} <state>",
    ] {
        if text.starts_with("{\"a\": 1}") {
            assert!(matches!(template(text), Err(Invalid::Template { .. })));
        } else {
            check_undelivered(text);
        }
    }
}

#[test]
fn templates_that_are_refused() {
    for (text, wanted) in [
        // Recorded.
        (
            r#""Event of <detail-type> type, with not defined key <notdefinedkey>""#,
            "InputTemplate for target t1 contains invalid placeholder notdefinedkey.",
        ),
        (
            r#"{"a": <aws.events.unknown>}"#,
            "InputTemplate for target t1 contains invalid placeholder aws.events.unknown.",
        ),
        (
            r#""<>""#,
            "InputTemplate for target t1 contains invalid placeholder .",
        ),
        // The user guide: for strings, quotes are required.
        (
            "instance <instance> is in <state>",
            "Invalid InputTemplate for target t1 : [Source: (String)\"instance 0 is in 0\"; line: 1, column: 9].",
        ),
        (
            r#"{"a": 1"#,
            "Invalid InputTemplate for target t1 : [Source: (String)\"{\"a\": 1\"; line: 1, column: 8].",
        ),
        (
            "{\"a\": \n<state>,}",
            "Invalid InputTemplate for target t1 : [Source: (String)\"{\"a\": \n0,}\"; line: 2, column: 3].",
        ),
        // The API reference: a placeholder cannot be used as an object's key.
        (
            r#"{<state>: 1}"#,
            "Invalid InputTemplate for target t1 : [Source: (String)\"{0: 1}\"; line: 1, column: 2].",
        ),
        (
            " ",
            "Invalid InputTemplate for target t1 : [Source: (String)\" \"; line: 1, column: 1].",
        ),
        (
            "{} {}",
            "Invalid InputTemplate for target t1 : [Source: (String)\"{} {}\"; line: 1, column: 4].",
        ),
    ] {
        check_refused(text, wanted);
    }
    assert!(matches!(
        template(r#"{"<state>": 1}"#),
        Err(Invalid::Template { .. })
    ));
}

#[test]
fn paths_of_the_event() {
    let check = |path: &str, wanted: &str| {
        let options = Options {
            path: Some(path),
            ..Options::default()
        };
        let input = Input::new("t1", options).unwrap_or_else(|error| panic!("{path}: {error}"));
        assert_eq!(input.of(&FIRED).as_deref(), Ok(wanted), "{path}");
    };
    check("$", WHOLE);
    check("$.", WHOLE);
    // Recorded: a part, a part of it, and a text, which keeps its quotes.
    check("$.detail.map", r#"{"k":"v","n":{"m":1}}"#);
    check("$.detail.map.n", r#"{"m":1}"#);
    check("$.detail.map.k", "\"v\"");
    check(
        "$.detail-type",
        "\"EC2 Instance State-change Notification\"",
    );
    check("$.detail.count", "3.50");
    check("$.detail.big", "12345678901234567890");
    check("$.detail.tags[1]", "\"B\"");
    check("$.detail.list[1].b", "\"x\"");
    check("$.detail.list[*].a", "[1,2]");
    check("$.detail.list.*.a", "[1,2]");
    check("$.detail.map.*", r#"["v",{"m":1}]"#);
    check(
        "$.resources[0]",
        "\"arn:aws:ec2:us-east-1:123456789012:instance/i-abcd1111\"",
    );
    check("$.detail.a/b", "\"slash\"");
    check("$.detail.tags[2]", "null");
    check("$.detail.nowhere.at.all", "null");
    check("$.detail.state.deeper", "null");
    check("$.detail.list[*].c", "null");

    for path in [
        "",
        "detail",
        "$detail",
        "$..detail",
        "$.detail.",
        "$.a[",
        "$.a[x]",
        "$.a[-1]",
        "$['detail']",
        "$.a[0]b",
        "$.a[?(@.b)]",
        "$.a[99999999999999999999]",
    ] {
        let options = Options {
            path: Some(path),
            ..Options::default()
        };
        let error = Input::new("t1", options)
            .map(|_| ())
            .expect_err(path)
            .to_string();
        assert_eq!(
            error,
            format!("InputPath for target t1 is not a valid JSON path: {path}.")
        );
    }
}

#[test]
fn events_constants_and_combinations() {
    let event = Input::new("t1", Options::default()).expect("the event");
    assert_eq!(
        event.of(&FIRED).as_deref(),
        Ok(EVENT),
        "as it is, with its white space"
    );

    for constant in ["{\"message\": \"WAKE UP\"}", "\"text\"", "1", "null", "[ ]"] {
        let options = Options {
            input: Some(constant),
            ..Options::default()
        };
        assert_eq!(
            Input::new("t1", options)
                .expect("JSON")
                .of(&FIRED)
                .as_deref(),
            Ok(constant)
        );
    }
    for wrong in ["", "text", "{", "{} {}", "{'a':1}"] {
        let options = Options {
            input: Some(wrong),
            ..Options::default()
        };
        let error = Input::new("t1", options)
            .map(|_| ())
            .expect_err(wrong)
            .to_string();
        assert_eq!(error, "JSON syntax error in input for target t1.");
    }

    let (input, path, paths) = (Some("{}"), Some("$.detail"), paths());
    let transformer = Some((&paths, "\"x\""));
    for options in [
        Options {
            input,
            path,
            transformer: None,
        },
        Options {
            input,
            path: None,
            transformer,
        },
        Options {
            input: None,
            path,
            transformer,
        },
        Options {
            input,
            path,
            transformer,
        },
    ] {
        let error = Input::new("t1", options)
            .map(|_| ())
            .expect_err("two of three")
            .to_string();
        assert_eq!(
            error,
            "Only one of Input, InputPath, or InputTransformer must be provided for target t1."
        );
    }
}

#[test]
fn a_filled_template_has_a_limit() {
    let detail = "x".repeat(10_000);
    let event = format!("{{\"detail\":\"{detail}\"}}");
    let fired = Fired {
        event: &event,
        ..FIRED
    };
    let many = format!("[{}1]", "<aws.events.event.json>,".repeat(200));
    assert!(template(&many).is_ok());
    assert_eq!(
        template(&many).expect("a template").of(&fired),
        Err(Undeliverable::TooLarge)
    );
    let few = format!("[{}1]", "<aws.events.event.json>,".repeat(100));
    let filled = template(&few)
        .expect("a template")
        .of(&fired)
        .expect("small enough");
    assert!(filled.len() > 1_000_000 && filled.len() <= BYTES_MAX);
}
