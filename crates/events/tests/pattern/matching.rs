//! What matches. Every row is one pattern with events that it matches and events that it does not.
//!
//! Sources: pages of the EventBridge user guide (`eb-...`), the README of AWS's open-source event-ruler (`ruler`), and
//! what was recorded from the real service by the authors of LocalStack and published with their tests (`recorded`).

use events::pattern::{Event, Index, Pattern};

use super::structure::{ARRAYS, EXISTS, NAMES, OR, TOGETHER};

pub struct Row {
    source: &'static str,
    pattern: &'static str,
    yes: &'static [&'static str],
    no: &'static [&'static str],
}

pub const fn row(
    source: &'static str,
    pattern: &'static str,
    yes: &'static [&'static str],
    no: &'static [&'static str],
) -> Row {
    Row {
        source,
        pattern,
        yes,
        no,
    }
}

/// Each event is asked of the pattern and of an index that holds it. Tells how many cases there were.
fn check(rows: &[Row]) -> usize {
    let mut cases = 0;
    for Row {
        source,
        pattern,
        yes,
        no,
    } in rows
    {
        let parsed = Pattern::parse(pattern).unwrap_or_else(|error| panic!("{pattern}: {error}"));
        let mut index = Index::default();
        index.add((), parsed.clone());
        let events = yes.iter().map(|event| (event, true));
        for (event, wanted) in events.chain(no.iter().map(|event| (event, false))) {
            let ready = Event::parse(event).unwrap_or_else(|error| panic!("{event}: {error}"));
            let found = parsed.matches(&ready);
            assert_eq!(found, wanted, "{source}: {pattern} of {event}");
            assert_eq!(
                !index.matches(&ready).is_empty(),
                wanted,
                "the index: {pattern} of {event}"
            );
            cases += 1;
        }
    }
    cases
}

pub const EC2: &str = r#"{"version":"0","id":"6a7e8feb-b491-4cf7-a9f1-bf3703467718",
    "detail-type":"EC2 Instance State-change Notification","source":"aws.ec2","account":"111122223333",
    "time":"2017-12-22T18:43:48Z","region":"us-west-1",
    "resources":["arn:aws:ec2:us-west-1:123456789012:instance/i-1234567890abcdef0"],
    "detail":{"instance-id":"i-1234567890abcdef0","state":"terminated","c-count":5,"d-count":3,"x-limit":301.8,
    "source-ip":"10.0.0.33"}}"#;

const EXACT: &[Row] = &[
    row(
        "eb-event-patterns",
        r#"{"source":["aws.ec2"],"detail-type":["EC2 Instance State-change Notification"],"detail":{"state":["terminated"]}}"#,
        &[EC2],
        &[
            r#"{"source":"aws.ec2","detail-type":"EC2 Instance State-change Notification","detail":{"state":"running"}}"#,
            r#"{"source":"aws.ec2","detail":{"state":"terminated"}}"#,
            r#"{"source":"aws.ec2","detail-type":"EC2 Instance State-change Notification","state":"terminated"}"#,
        ],
    ),
    row(
        "ruler",
        r#"{"detail":{"state":["initializing","running"]}}"#,
        &[
            r#"{"detail":{"state":"running"}}"#,
            r#"{"detail":{"state":"initializing"}}"#,
        ],
        &[
            EC2,
            r#"{"detail":{"state":"Running"}}"#,
            r#"{"detail":{"state":"running "}}"#,
            r#"{"detail":{}}"#,
        ],
    ),
    row(
        "eb-event-patterns: case and keys are exact",
        r#"{"Source":["a"]}"#,
        &[r#"{"Source":"a"}"#],
        &[
            r#"{"source":"a"}"#,
            r#"{"SOURCE":"a"}"#,
            r#"{"Source":"A"}"#,
            "{}",
        ],
    ),
    row(
        "eb-create-pattern-operators: empty",
        r#"{"LastName":[""]}"#,
        &[r#"{"LastName":""}"#],
        &[
            r#"{"LastName":" "}"#,
            r#"{"LastName":null}"#,
            r#"{"LastName":[]}"#,
            "{}",
        ],
    ),
    row(
        "eb-create-pattern-operators: null",
        r#"{"UserID":[null]}"#,
        &[r#"{"UserID":null}"#, r#"{"UserID":[1,null]}"#],
        &[
            r#"{"UserID":""}"#,
            r#"{"UserID":"null"}"#,
            r#"{"UserID":0}"#,
            r#"{"UserID":[]}"#,
            "{}",
        ],
    ),
    row(
        "recorded: arrays_empty_null_NEG",
        r#"{"resources":[null]}"#,
        &[],
        &[r#"{"resources":[]}"#, r#"{"resources":{}}"#],
    ),
    row(
        "recorded: boolean",
        r#"{"a":[false]}"#,
        &[r#"{"a":false}"#, r#"{"a":[true,false]}"#],
        &[
            r#"{"a":true}"#,
            r#"{"a":"false"}"#,
            r#"{"a":0}"#,
            r#"{"a":null}"#,
        ],
    ),
    row(
        "recorded: boolean",
        r#"{"a":[true,false]}"#,
        &[r#"{"a":false}"#, r#"{"a":true}"#],
        &[r#"{"a":"true"}"#],
    ),
    row(
        "eb-event-patterns: several types",
        r#"{"a":["1",2,true,null]}"#,
        &[
            r#"{"a":"1"}"#,
            r#"{"a":2}"#,
            r#"{"a":true}"#,
            r#"{"a":null}"#,
        ],
        &[
            r#"{"a":1}"#,
            r#"{"a":"2"}"#,
            r#"{"a":false}"#,
            r#"{"a":"true"}"#,
            r#"{"a":"null"}"#,
        ],
    ),
    row(
        "ruler: exactly",
        r#"{"a":[{"exactly":"b"}]}"#,
        &[r#"{"a":"b"}"#],
        &[r#"{"a":"bb"}"#, r#"{"a":["c"]}"#],
    ),
    row(
        "RFC 8259: escapes",
        r#"{"a":["\u0062\n\"\ud83d\ude00"]}"#,
        &[r#"{"a":"b\u000a\u0022😀"}"#],
        &[r#"{"a":"b\\n"}"#],
    ),
    row(
        "RFC 8259: escapes in names",
        r#"{"\u0061":[1]}"#,
        &[r#"{"a":1}"#, r#"{"\u0061":1}"#],
        &[r#"{"\\u0061":1}"#],
    ),
    row(
        "eb-event-patterns: ARNs are compared exactly",
        r#"{"resources":["arn:aws:s3:::b"]}"#,
        &[r#"{"resources":["arn:aws:s3:::a","arn:aws:s3:::b"]}"#],
        &[
            r#"{"resources":["arn:aws:s3:::b/*"]}"#,
            r#"{"resources":["arn:aws:s3:::B"]}"#,
        ],
    ),
    row(
        "recorded: nested_json_NEG: a JSON string is a string",
        r#"{"detail":{"a":["b"]}}"#,
        &[r#"{"detail":{"a":"b"}}"#],
        &[r#"{"detail":"{\"a\":\"b\"}"}"#],
    ),
];

const NUMBERS: &[Row] = &[
    row(
        "recorded: number_comparison_float, numeric-int-float",
        r#"{"number":[300]}"#,
        &[
            r#"{"number":300}"#,
            r#"{"number":300.0}"#,
            r#"{"number":3.0e2}"#,
            r#"{"number":3E+2}"#,
            r#"{"number":30000e-2}"#,
        ],
        &[
            r#"{"number":"300"}"#,
            r#"{"number":301}"#,
            r#"{"number":300.000001}"#,
            r#"{"number":null}"#,
        ],
    ),
    row(
        "recorded",
        r#"{"number":[300.0]}"#,
        &[r#"{"number":300}"#],
        &[r#"{"number":30}"#],
    ),
    row(
        "ruler: six decimals",
        r#"{"a":[0.123456]}"#,
        &[r#"{"a":0.123456}"#, r#"{"a":0.1234560}"#],
        &[r#"{"a":0.1234561}"#, r#"{"a":0.123457}"#],
    ),
    row(
        "ruler: what cannot be compared is equal as written",
        r#"{"a":[123456789012]}"#,
        &[r#"{"a":123456789012}"#],
        &[
            r#"{"a":123456789012.0}"#,
            r#"{"a":123456789013}"#,
            r#"{"a":"123456789012"}"#,
        ],
    ),
    row(
        "ruler: what cannot be compared is equal as written",
        r#"{"a":[0.12345678]}"#,
        &[r#"{"a":0.12345678}"#],
        &[r#"{"a":0.123456780}"#, r#"{"a":0.123457}"#],
    ),
    row(
        "ruler",
        r#"{"a":[-0]}"#,
        &[r#"{"a":0}"#, r#"{"a":-0.0}"#, r#"{"a":0e5}"#],
        &[r#"{"a":""}"#],
    ),
    row(
        "ruler",
        r#"{"detail":{"c-count":[{"numeric":[">",0,"<=",5]}],"d-count":[{"numeric":["<",10]}],"x-limit":[{"numeric":["=",3.018e2]}]}}"#,
        &[EC2],
        &[
            r#"{"detail":{"c-count":0,"d-count":3,"x-limit":301.8}}"#,
            r#"{"detail":{"c-count":5,"d-count":10,"x-limit":301.8}}"#,
            r#"{"detail":{"c-count":5,"d-count":3,"x-limit":301.81}}"#,
        ],
    ),
    row(
        "eb-create-pattern-operators: numeric",
        r#"{"a":[{"numeric":["<",10]}]}"#,
        &[
            r#"{"a":9.999999}"#,
            r#"{"a":-5000000000}"#,
            r#"{"a":[11,9]}"#,
        ],
        &[
            r#"{"a":10}"#,
            r#"{"a":10.0}"#,
            r#"{"a":"9"}"#,
            r#"{"a":null}"#,
            r#"{"a":-5000000001}"#,
            r#"{"a":true}"#,
        ],
    ),
    row(
        "eb-create-pattern-operators: numeric",
        r#"{"a":[{"numeric":["<=",10]}]}"#,
        &[r#"{"a":10}"#, r#"{"a":1e1}"#],
        &[r#"{"a":10.000001}"#],
    ),
    row(
        "eb-create-pattern-operators: numeric",
        r#"{"a":[{"numeric":[">",10]}]}"#,
        &[r#"{"a":10.000001}"#, r#"{"a":5000000000}"#],
        &[
            r#"{"a":10}"#,
            r#"{"a":5000000000.000001}"#,
            r#"{"a":99999999999}"#,
        ],
    ),
    row(
        "eb-create-pattern-operators: numeric",
        r#"{"a":[{"numeric":[">=",-1.5]}]}"#,
        &[r#"{"a":-1.5}"#, r#"{"a":0}"#],
        &[r#"{"a":-1.500001}"#],
    ),
    row(
        "eb-create-pattern-operators: numeric",
        r#"{"a":[{"numeric":["=",5]}]}"#,
        &[r#"{"a":5}"#, r#"{"a":5.0}"#],
        &[r#"{"a":6}"#, r#"{"a":"5"}"#, "{}"],
    ),
    row(
        "eb-create-pattern-operators: numeric",
        r#"{"a":[{"numeric":[">",0,"<",1]}]}"#,
        &[r#"{"a":0.5}"#, r#"{"a":0.000001}"#, r#"{"a":0.999999}"#],
        &[r#"{"a":0}"#, r#"{"a":1}"#, r#"{"a":0.9999999}"#],
    ),
    row(
        "eb-create-pattern-operators: numeric",
        r#"{"a":[{"numeric":[">=",0,"<=",1]}]}"#,
        &[r#"{"a":0}"#, r#"{"a":1}"#],
        &[r#"{"a":-0.000001}"#, r#"{"a":1.000001}"#],
    ),
    row(
        "recorded: numeric-string_NEG, numeric-null_NEG",
        r#"{"detail":{"n":[{"numeric":[">",0]}]}}"#,
        &[r#"{"detail":{"n":1}}"#],
        &[
            r#"{"detail":{"n":"1"}}"#,
            r#"{"detail":{"n":null}}"#,
            r#"{"detail":{"n":"asd"}}"#,
            r#"{"detail":{"n":{"m":1}}}"#,
        ],
    ),
    row(
        "eb-create-pattern-operators: two ranges are either",
        r#"{"a":[{"numeric":["<",0]},{"numeric":[">",10]}]}"#,
        &[r#"{"a":-1}"#, r#"{"a":11}"#],
        &[r#"{"a":0}"#, r#"{"a":10}"#, r#"{"a":5}"#],
    ),
    row(
        "recorded: content_numeric_and",
        r#"{"detail":{"equal":[{"numeric":["=",5]}],"multi":[1,{"numeric":[">",100]}]}}"#,
        &[
            r#"{"detail":{"equal":5,"multi":1}}"#,
            r#"{"detail":{"equal":5,"multi":101}}"#,
        ],
        &[
            r#"{"detail":{"equal":5,"multi":2}}"#,
            r#"{"detail":{"equal":4,"multi":1}}"#,
        ],
    ),
];

const TEXT: &[Row] = &[
    row(
        "eb-create-pattern-operators: prefix",
        r#"{"time":[{"prefix":"2017-12-22"}]}"#,
        &[EC2, r#"{"time":"2017-12-22"}"#],
        &[
            r#"{"time":"2017-12-2"}"#,
            r#"{"time":"x2017-12-22"}"#,
            r#"{"time":20171222}"#,
            r#"{"time":null}"#,
            "{}",
        ],
    ),
    row(
        "recorded: prefix of nothing",
        r#"{"a":[{"prefix":""}]}"#,
        &[r#"{"a":"x"}"#, r#"{"a":""}"#],
        &[r#"{"a":1}"#, r#"{"a":null}"#, r#"{"a":true}"#, "{}"],
    ),
    row(
        "eb-create-pattern-operators: suffix",
        r#"{"FileName":[{"suffix":".png"}]}"#,
        &[
            r#"{"FileName":"a.png"}"#,
            r#"{"FileName":".png"}"#,
            r#"{"FileName":["a.txt","b.png"]}"#,
        ],
        &[
            r#"{"FileName":"a.PNG"}"#,
            r#"{"FileName":"a.png.bak"}"#,
            r#"{"FileName":"png"}"#,
            r#"{"FileName":7}"#,
        ],
    ),
    row(
        "recorded: suffix of nothing",
        r#"{"a":[{"suffix":""}]}"#,
        &[r#"{"a":"x"}"#, r#"{"a":""}"#],
        &[r#"{"a":1}"#, "{}"],
    ),
    row(
        "eb-create-pattern-operators: equals-ignore-case",
        r#"{"detail-type":[{"equals-ignore-case":"ec2 instance state-change notification"}]}"#,
        &[
            EC2,
            r#"{"detail-type":"EC2 INSTANCE STATE-CHANGE NOTIFICATION"}"#,
        ],
        &[
            r#"{"detail-type":"EC2 Instance State-change Notifications"}"#,
            r#"{"detail-type":null}"#,
        ],
    ),
    row(
        "recorded: content_ignorecase_empty",
        r#"{"a":[{"equals-ignore-case":""}]}"#,
        &[r#"{"a":""}"#],
        &[r#"{"a":"x"}"#, r#"{"a":null}"#],
    ),
    row(
        "RFC 8259: letters beyond ASCII",
        r#"{"a":[{"equals-ignore-case":"ÄÖß"}]}"#,
        &[r#"{"a":"äöß"}"#, r#"{"a":"ÄÖß"}"#],
        &[r#"{"a":"aoss"}"#],
    ),
    row(
        "eb-create-pattern-operators: prefix, ignoring case",
        r#"{"service":[{"prefix":{"equals-ignore-case":"EventB"}}]}"#,
        &[
            r#"{"service":"eventbridge"}"#,
            r#"{"service":"EVENTB"}"#,
            r#"{"service":"EventB-1"}"#,
        ],
        &[
            r#"{"service":"event"}"#,
            r#"{"service":"my-EventB"}"#,
            r#"{"service":1}"#,
        ],
    ),
    row(
        "eb-create-pattern-operators: suffix, ignoring case",
        r#"{"FileName":[{"suffix":{"equals-ignore-case":".png"}}]}"#,
        &[r#"{"FileName":"a.PNG"}"#, r#"{"FileName":".pNg"}"#],
        &[r#"{"FileName":"a.pn"}"#, r#"{"FileName":"a.PNG "}"#],
    ),
    row(
        "eb-create-pattern-operators: wildcard",
        r#"{"EventBusArn":[{"wildcard":"arn:aws:events:us-east-1:*:event-bus/*"}]}"#,
        &[
            r#"{"EventBusArn":"arn:aws:events:us-east-1:123456789012:event-bus/myEventBus"}"#,
            r#"{"EventBusArn":"arn:aws:events:us-east-1::event-bus/"}"#,
        ],
        &[
            r#"{"EventBusArn":"arn:aws:events:us-east-2:123456789012:event-bus/myEventBus"}"#,
            r#"{"EventBusArn":"arn:aws:events:us-east-1:event-bus/x"}"#,
            r#"{"EventBusArn":123}"#,
        ],
    ),
    row(
        "eb-create-pattern-operators: wildcard",
        r#"{"FileName":[{"wildcard":"dir/*.png"}]}"#,
        &[
            r#"{"FileName":"dir/a.png"}"#,
            r#"{"FileName":"dir/.png"}"#,
            r#"{"FileName":"dir/sub/a.b.png"}"#,
        ],
        &[
            r#"{"FileName":"dir/a.jpg"}"#,
            r#"{"FileName":"/dir/a.png"}"#,
            r#"{"FileName":"dir/a.png~"}"#,
        ],
    ),
    row(
        "recorded: content_wildcard_repeating",
        r#"{"FileName":[{"wildcard":"/Users/*/dir/dir/dir/dir/dir/doc.txt"}]}"#,
        &[
            r#"{"FileName":"/Users/u/dir/dir/dir/dir/dir/doc.txt"}"#,
            r#"{"FileName":"/Users/u/dir/dir/dir/dir/dir/dir/doc.txt"}"#,
        ],
        &[
            r#"{"FileName":"/Users/u/dir/dir/dir/doc.txt"}"#,
            r#"{"FileName":"/Users/dir/dir/dir/dir/dir/doc.txt"}"#,
        ],
    ),
    row(
        "ruler: wildcard overlaps are not shared",
        r#"{"a":[{"wildcard":"ab*ba"}]}"#,
        &[r#"{"a":"abba"}"#, r#"{"a":"abxba"}"#],
        &[r#"{"a":"aba"}"#, r#"{"a":"ab"}"#],
    ),
    row(
        "ruler: wildcard",
        r#"{"a":[{"wildcard":"*b*b*"}]}"#,
        &[r#"{"a":"bb"}"#, r#"{"a":"xbxbx"}"#],
        &[r#"{"a":"b"}"#, r#"{"a":""}"#],
    ),
    row(
        "ruler: wildcard",
        r#"{"a":[{"wildcard":"*"}]}"#,
        &[r#"{"a":""}"#, r#"{"a":"x"}"#],
        &[r#"{"a":1}"#, "{}"],
    ),
    row(
        "ruler: wildcard without a wildcard",
        r#"{"a":[{"wildcard":"hello"}]}"#,
        &[r#"{"a":"hello"}"#],
        &[r#"{"a":"hello!"}"#],
    ),
    row(
        "recorded: content_wildcard_empty_NEG",
        r#"{"a":[{"wildcard":""}]}"#,
        &[r#"{"a":""}"#],
        &[r#"{"a":"x"}"#],
    ),
    row(
        "eb-create-pattern-operators: wildcard escapes",
        r#"{"a":[{"wildcard":"hel\\*o\\\\*"}]}"#,
        &[r#"{"a":"hel*o\\"}"#, r#"{"a":"hel*o\\x"}"#],
        &[r#"{"a":"hello\\"}"#, r#"{"a":"hel*o"}"#],
    ),
    row(
        "ruler: a character is not split",
        r#"{"a":[{"wildcard":"é*ü"}]}"#,
        &[r#"{"a":"éü"}"#, r#"{"a":"é1ü"}"#],
        &[r#"{"a":"é"}"#],
    ),
    row(
        "eb-create-pattern-operators: several wildcards",
        r#"{"a":[{"wildcard":"*.bif"},{"wildcard":"*.tiff"}]}"#,
        &[r#"{"a":"x.bif"}"#, r#"{"a":"x.tiff"}"#],
        &[r#"{"a":"x.tif"}"#],
    ),
];

const BUT: &[Row] = &[
    row(
        "eb-create-pattern-operators: anything-but",
        r#"{"detail":{"state":[{"anything-but":"initializing"}]}}"#,
        &[
            EC2,
            r#"{"detail":{"state":null}}"#,
            r#"{"detail":{"state":7}}"#,
            r#"{"detail":{"state":true}}"#,
            r#"{"detail":{"state":""}}"#,
            r#"{"detail":{"state":"INITIALIZING"}}"#,
        ],
        &[
            r#"{"detail":{"state":"initializing"}}"#,
            r#"{"detail":{}}"#,
            r#"{"detail":{"state":[]}}"#,
            r#"{"detail":{"state":{"a":1}}}"#,
        ],
    ),
    row(
        "eb-create-pattern-operators: anything-but",
        r#"{"detail":{"x-limit":[{"anything-but":123}]}}"#,
        &[
            EC2,
            r#"{"detail":{"x-limit":"123"}}"#,
            r#"{"detail":{"x-limit":null}}"#,
            r#"{"detail":{"x-limit":123.000001}}"#,
            r#"{"detail":{"x-limit":123456789012}}"#,
        ],
        &[
            r#"{"detail":{"x-limit":123}}"#,
            r#"{"detail":{"x-limit":123.0}}"#,
            r#"{"detail":{"x-limit":1.23e2}}"#,
        ],
    ),
    row(
        "recorded: content_anything_but_number_zero",
        r#"{"a":[{"anything-but":0}]}"#,
        &[r#"{"a":789}"#],
        &[r#"{"a":0}"#, r#"{"a":0.0}"#],
    ),
    row(
        "eb-create-pattern-operators: anything-but list",
        r#"{"detail":{"state":[{"anything-but":["stopped","overloaded"]}]}}"#,
        &[EC2, r#"{"detail":{"state":null}}"#],
        &[
            r#"{"detail":{"state":"stopped"}}"#,
            r#"{"detail":{"state":"overloaded"}}"#,
            r#"{"detail":{}}"#,
        ],
    ),
    row(
        "eb-create-pattern-operators: anything-but list",
        r#"{"a":[{"anything-but":[100,200,300]}]}"#,
        &[r#"{"a":101}"#, r#"{"a":"100"}"#],
        &[r#"{"a":100}"#, r#"{"a":2e2}"#, r#"{"a":300.0}"#],
    ),
    row(
        "eb-create-pattern-operators: anything-but prefix",
        r#"{"a":[{"anything-but":{"prefix":"init"}}]}"#,
        &[
            r#"{"a":"running"}"#,
            r#"{"a":null}"#,
            r#"{"a":5}"#,
            r#"{"a":"ini"}"#,
        ],
        &[r#"{"a":"initializing"}"#, r#"{"a":"init"}"#, "{}"],
    ),
    row(
        "recorded: content_anything_prefix_list",
        r#"{"a":[{"anything-but":{"prefix":["init","error"]}}]}"#,
        &[r#"{"a":"running"}"#, r#"{"a":null}"#],
        &[r#"{"a":"initial"}"#, r#"{"a":"error-1"}"#, "{}"],
    ),
    row(
        "eb-create-pattern-operators: anything-but suffix",
        r#"{"a":[{"anything-but":{"suffix":".txt"}}]}"#,
        &[r#"{"a":"x.png"}"#, r#"{"a":null}"#],
        &[r#"{"a":"x.txt"}"#, "{}"],
    ),
    row(
        "recorded: content_anything_suffix_list",
        r#"{"a":[{"anything-but":{"suffix":[".txt",".jpg"]}}]}"#,
        &[r#"{"a":"x.png"}"#],
        &[r#"{"a":"x.txt"}"#, r#"{"a":"x.jpg"}"#],
    ),
    row(
        "eb-create-pattern-operators: anything-but, ignoring case",
        r#"{"a":[{"anything-but":{"equals-ignore-case":"initializing"}}]}"#,
        &[r#"{"a":"running"}"#, r#"{"a":null}"#],
        &[r#"{"a":"Initializing"}"#, r#"{"a":"INITIALIZING"}"#, "{}"],
    ),
    row(
        "recorded: content_anything_but_ignorecase_list",
        r#"{"a":[{"anything-but":{"equals-ignore-case":["one","TWO"]}}]}"#,
        &[r#"{"a":"three"}"#, r#"{"a":null}"#],
        &[r#"{"a":"ONE"}"#, r#"{"a":"two"}"#],
    ),
    row(
        "eb-create-pattern-operators: anything-but wildcard",
        r#"{"FilePath":[{"anything-but":{"wildcard":"*/lib/*"}}]}"#,
        &[
            r#"{"FilePath":"/usr/bin/x"}"#,
            r#"{"FilePath":5}"#,
            r#"{"FilePath":null}"#,
        ],
        &[r#"{"FilePath":"/usr/lib/x"}"#, "{}"],
    ),
    row(
        "recorded: content_anything_wildcard_list",
        r#"{"a":[{"anything-but":{"wildcard":["*/init/*","*/dir/*"]}}]}"#,
        &[r#"{"a":"x/y/z"}"#],
        &[r#"{"a":"x/init/z"}"#, r#"{"a":"x/dir/z"}"#],
    ),
    row(
        "recorded: content_anything_wildcard_empty",
        r#"{"a":[{"anything-but":{"wildcard":""}}]}"#,
        &[r#"{"a":"dir/init/file"}"#],
        &[r#"{"a":""}"#],
    ),
    row(
        "eb-event-patterns-arrays: any item will do",
        r#"{"a":[{"anything-but":"x"}]}"#,
        &[r#"{"a":["x","y"]}"#],
        &[r#"{"a":["x","x"]}"#],
    ),
    row(
        "eb-create-pattern-operators: either",
        r#"{"a":[{"anything-but":"x"},"x"]}"#,
        &[r#"{"a":"x"}"#, r#"{"a":"y"}"#],
        &["{}"],
    ),
    row(
        "eb-create-pattern-operators: two exclusions are either",
        r#"{"a":[{"anything-but":"x"},{"anything-but":"y"}]}"#,
        &[r#"{"a":"x"}"#, r#"{"a":"y"}"#, r#"{"a":"z"}"#],
        &["{}"],
    ),
];

const ADDRESSES: &[Row] = &[
    row(
        "eb-create-pattern-operators: cidr",
        r#"{"ip":[{"cidr":"10.0.0.0/24"}]}"#,
        &[
            r#"{"ip":"10.0.0.255"}"#,
            r#"{"ip":"10.0.0.0"}"#,
            r#"{"ip":"010.0.0.7"}"#,
            r#"{"ip":"::ffff:a00:1"}"#,
        ],
        &[
            r#"{"ip":"10.0.1.255"}"#,
            r#"{"ip":"9.255.255.255"}"#,
            r#"{"ip":123}"#,
            r#"{"ip":"10.0.0.0/24"}"#,
            r#"{"ip":"10.0.0"}"#,
            r#"{"ip":"x"}"#,
        ],
    ),
    row(
        "event-ruler pull request 89: the address is masked",
        r#"{"ip":[{"cidr":"255.255.255.127/24"}]}"#,
        &[r#"{"ip":"255.255.255.0"}"#, r#"{"ip":"255.255.255.255"}"#],
        &[r#"{"ip":"255.255.254.255"}"#],
    ),
    row(
        "recorded: content_ip_address_v6",
        r#"{"ip":[{"cidr":"2001:db8:1234:1a00::/64"}]}"#,
        &[
            r#"{"ip":"2001:db8:1234:1a00::1"}"#,
            r#"{"ip":"2001:0DB8:1234:1a00:ffff:ffff:ffff:ffff"}"#,
        ],
        &[
            r#"{"ip":"2001:db8:1234:1a01::1"}"#,
            r#"{"ip":"10.0.0.1"}"#,
            r#"{"ip":"::"}"#,
        ],
    ),
    row(
        "eb-create-pattern-operators: cidr",
        r#"{"ip":[{"cidr":"0.0.0.0/0"}]}"#,
        &[r#"{"ip":"1.2.3.4"}"#],
        &[
            r#"{"ip":"::1"}"#,
            r#"{"ip":"1.2.3.256"}"#,
            r#"{"ip":"1.2.3.4.5"}"#,
            r#"{"ip":""}"#,
        ],
    ),
    row(
        "ruler: a string that is an address",
        r#"{"ip":["10.0.0.1"]}"#,
        &[r#"{"ip":"10.0.0.1"}"#, r#"{"ip":"10.00.000.1"}"#],
        &[r#"{"ip":"10.0.0.2"}"#],
    ),
    row(
        "ruler: a string that is an address",
        r#"{"ip":["::1"]}"#,
        &[r#"{"ip":"0:0:0:0:0:0:0:1"}"#],
        &[r#"{"ip":"::2"}"#, r#"{"ip":"1"}"#],
    ),
    row(
        "ruler: what only looks like one is a string",
        r#"{"v":["1.2.3.999"]}"#,
        &[r#"{"v":"1.2.3.999"}"#],
        &[r#"{"v":"1.2.3.0999"}"#],
    ),
];

#[test]
fn patterns_match_as_on_aws() {
    let tables = [
        EXACT, NUMBERS, TEXT, BUT, EXISTS, ADDRESSES, ARRAYS, NAMES, OR, TOGETHER,
    ];
    let cases: usize = tables.into_iter().map(check).sum();
    println!("{cases} cases");
}
