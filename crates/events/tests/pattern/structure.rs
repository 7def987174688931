//! What matches, by the structure of events: arrays, names, what is missing, and alternatives. See `matching` for sources.

use super::matching::{EC2, Row, row};

pub const EXISTS: &[Row] = &[
    row(
        "eb-create-pattern-operators: exists",
        r#"{"detail":{"c-count":[{"exists":true}]}}"#,
        &[
            EC2,
            r#"{"detail":{"c-count":null}}"#,
            r#"{"detail":{"c-count":""}}"#,
            r#"{"detail":{"c-count":false}}"#,
            r#"{"detail":{"c-count":[1]}}"#,
        ],
        &[
            r#"{"detail":{"d-count":1}}"#,
            r#"{"detail":{"c-count":[]}}"#,
            r#"{"detail":{"c-count":{}}}"#,
            r#"{"detail":{"c-count":{"c1":100}}}"#,
        ],
    ),
    row(
        "eb-create-pattern-operators: exists",
        r#"{"detail":{"c-count":[{"exists":false}]}}"#,
        &[
            r#"{"detail":{"state":"running"}}"#,
            r#"{"detail":{"c-count":{"c1":100}}}"#,
            r#"{"detail":{"c-count":[]}}"#,
            r#"{}"#,
            r#"{"detail":1}"#,
        ],
        &[EC2, r#"{"detail":{"c-count":null}}"#],
    ),
    row(
        "recorded: exists_dynamodb_NEG: leaves only",
        r#"{"dynamodb":{"presentKey":[{"exists":true}]}}"#,
        &[r#"{"dynamodb":{"presentKey":"x"}}"#],
        &[r#"{"dynamodb":{"presentKey":{"S":"test123"}}}"#],
    ),
    row(
        "recorded: or-exists",
        r#"{"a":[{"anything-but":"red"},{"exists":false}]}"#,
        &["{}", r#"{"a":"blue"}"#],
        &[r#"{"a":"red"}"#],
    ),
    row(
        "recorded: or-exists-parent",
        r#"{"d":{"I":{"h":{"S":[{"anything-but":["roses"]},{"exists":false}]}}}}"#,
        &[
            r#"{"d":{"I":{"p":{"N":"789"}}}}"#,
            r#"{"d":{"I":{"h":{"S":"tulips"}}}}"#,
        ],
        &[r#"{"d":{"I":{"h":{"S":"roses"}}}}"#],
    ),
    row(
        "ruler: missing in any item is not missing",
        r#"{"a":{"b":[{"exists":false}]}}"#,
        &[r#"{"a":[{"c":1}]}"#],
        &[r#"{"a":[{"b":1},{"c":1}]}"#],
    ),
    row(
        "ruler: exists false beside another field",
        r#"{"a":[1],"b":[{"exists":false}]}"#,
        &[r#"{"a":1}"#],
        &[r#"{"a":1,"b":2}"#, r#"{"a":2}"#],
    ),
];

pub const ARRAYS: &[Row] = &[
    row(
        "eb-event-patterns-arrays",
        r#"{"resources":["arn:1","arn:2","arn:3"]}"#,
        &[
            r#"{"resources":["arn:0","arn:2"]}"#,
            r#"{"resources":"arn:3"}"#,
        ],
        &[
            r#"{"resources":["arn:0"]}"#,
            r#"{"resources":[]}"#,
            r#"{"resources":[["arn:0"]]}"#,
        ],
    ),
    row(
        "ruler: arrays in arrays are flat",
        r#"{"a":[1]}"#,
        &[r#"{"a":[[0],[[1]]]}"#],
        &[r#"{"a":[[0],[]]}"#],
    ),
    row(
        "ruler",
        r#"{"employees":{"firstName":["Anna"]}}"#,
        &[
            r#"{"employees":[{"firstName":"John","lastName":"Doe"},{"firstName":"Anna","lastName":"Smith"}]}"#,
            r#"{"employees":[[{"firstName":"John"},{"firstName":"Anna"}],[{"firstName":"Peter"}]]}"#,
        ],
        &[r#"{"employees":[{"firstName":"John"}]}"#],
    ),
    row(
        "ruler",
        r#"{"employees":{"firstName":["Anna"],"lastName":["Jones"]}}"#,
        &[
            r#"{"employees":[{"firstName":"Anna","lastName":"Jones"}]}"#,
            r#"{"employees":{"firstName":"Anna","lastName":"Jones"}}"#,
            r#"{"employees":[{"lastName":"Jones"},{"firstName":"Anna","lastName":["Smith","Jones"]}]}"#,
        ],
        &[
            r#"{"employees":[{"firstName":"John","lastName":"Doe"},{"firstName":"Anna","lastName":"Smith"},{"firstName":"Peter","lastName":"Jones"}]}"#,
            r#"{"employees":[[{"firstName":"Anna","lastName":"Smith"}],[{"firstName":"Peter","lastName":"Jones"}]]}"#,
        ],
    ),
    row(
        "ruler: arrays beside each other",
        r#"{"a":{"x":[1]},"b":{"y":[2]}}"#,
        &[r#"{"a":[{"x":0},{"x":1}],"b":[{"y":2},{"y":0}]}"#],
        &[r#"{"a":[{"x":1}],"b":[{"y":0}]}"#],
    ),
    row(
        "ruler: arrays within arrays",
        r#"{"a":{"b":{"x":[1],"y":[2]},"z":[3]}}"#,
        &[
            r#"{"a":[{"b":[{"x":1,"y":2}],"z":3}]}"#,
            r#"{"a":[{"b":[{"x":0},{"x":1,"y":2}],"z":[0,3]},{"z":3}]}"#,
        ],
        &[
            r#"{"a":[{"b":[{"x":1,"y":2}],"z":0},{"b":[{"x":0,"y":2}],"z":3}]}"#,
            r#"{"a":[{"b":[{"x":1},{"y":2}],"z":3}]}"#,
            r#"{"a":[{"b":[{"x":1,"y":2}]},{"z":3}]}"#,
        ],
    ),
    row(
        "ruler: a field outside goes with every item",
        r#"{"s":[0],"a":{"x":[1],"y":[2]}}"#,
        &[r#"{"s":0,"a":[{"x":1},{"x":1,"y":2}]}"#],
        &[
            r#"{"s":0,"a":[{"x":1},{"y":2}]}"#,
            r#"{"s":1,"a":[{"x":1,"y":2}]}"#,
        ],
    ),
    row(
        "ruler: scalars of an array are no items with fields",
        r#"{"a":{"b":["x","y"]},"c":[1]}"#,
        &[r#"{"a":{"b":["x","z"]},"c":[0,1]}"#],
        &[],
    ),
    row(
        "ruler: a dotted name in another array",
        r#"{"a":{"b":[1],"c":[2]}}"#,
        &[
            r#"{"a":[{"b":1},{"c":2,"b":1}]}"#,
            r#"{"a.b":[1],"a":[{"c":2}]}"#,
            r#"{"a":[{"b":1}],"a.c":2}"#,
        ],
        &[r#"{"a":[{"b":1},{"c":2}]}"#],
    ),
    row(
        "ruler: three fields, no two items",
        r#"{"a":{"x":[1],"y":[1],"z":[1]}}"#,
        &[r#"{"a":[{"x":1,"y":1},{"x":1,"y":1,"z":1}]}"#],
        &[r#"{"a":[{"x":1,"y":1},{"y":1,"z":1},{"x":1,"z":1}]}"#],
    ),
];

pub const NAMES: &[Row] = &[
    row(
        "recorded: dot_joining_event",
        r#"{"detail":{"state":{"status":["running"]}}}"#,
        &[
            r#"{"detail":{"state":{"status":"running"}}}"#,
            r#"{"detail":{"state.status":"running"}}"#,
            r#"{"detail.state":{"status":"running"}}"#,
        ],
        &[
            r#"{"detail":{"state":{"status":"stopped"}}}"#,
            r#"{"state":{"status":"running"}}"#,
        ],
    ),
    row(
        "recorded: dot_joining_pattern",
        r#"{"detail":{"state.status":["running"]}}"#,
        &[
            r#"{"detail":{"state":{"status":"running"}}}"#,
            r#"{"detail":{"state.status":"running"}}"#,
        ],
        &[r#"{"detail":{"state":"running"}}"#],
    ),
    row(
        "recorded: list_within_dict",
        r#"{"a":{"b":["c"]}}"#,
        &[r#"{"a":{"b":["c","d"]}}"#],
        &[r#"{"a":{"b":{"c":"c"}}}"#],
    ),
    row(
        "RFC 8259: names may be empty",
        r#"{"":{"":[1]}}"#,
        &[r#"{"":{"":1}}"#, r#"{".":1}"#],
        &[r#"{"":1}"#],
    ),
    row(
        "RFC 8259: a name may be anything",
        r#"{"aws:tag/λ 1":[1]}"#,
        &[r#"{"aws:tag/λ 1":1}"#],
        &[r#"{"aws:tag/λ":1}"#],
    ),
    row(
        "ruler: the last of two tests of one field counts",
        r#"{"a":[1],"a":[2]}"#,
        &[r#"{"a":2}"#],
        &[r#"{"a":1}"#],
    ),
];

pub const OR: &[Row] = &[
    row(
        "ruler",
        r#"{"source":["aws.cloudwatch"],"$or":[{"metricName":["CPUUtilization","ReadLatency"]},{"namespace":["AWS/EC2","AWS/ES"]}]}"#,
        &[
            r#"{"source":"aws.cloudwatch","metricName":"ReadLatency"}"#,
            r#"{"source":"aws.cloudwatch","namespace":"AWS/ES"}"#,
        ],
        &[
            r#"{"source":"aws.cloudwatch","metricName":"x","namespace":"y"}"#,
            r#"{"metricName":"CPUUtilization"}"#,
            r#"{"source":"aws.cloudwatch"}"#,
        ],
    ),
    row(
        "ruler: parallel",
        r#"{"$or":[{"m":[1]},{"n":[2]}],"detail":{"$or":[{"s":[3]},{"t":[4]}]}}"#,
        &[
            r#"{"m":1,"detail":{"s":3}}"#,
            r#"{"m":1,"detail":{"t":4}}"#,
            r#"{"n":2,"detail":{"s":3}}"#,
            r#"{"n":2,"detail":{"t":4}}"#,
        ],
        &[
            r#"{"m":1}"#,
            r#"{"detail":{"s":3}}"#,
            r#"{"m":2,"n":1,"detail":{"s":3}}"#,
            r#"{"m":1,"s":3}"#,
        ],
    ),
    row(
        "ruler: and within or",
        r#"{"s":[0],"$or":[{"m":[1]},{"t":[2],"n":[3]},{"c":[4]}]}"#,
        &[
            r#"{"s":0,"m":1}"#,
            r#"{"s":0,"t":2,"n":3}"#,
            r#"{"s":0,"c":4}"#,
        ],
        &[r#"{"s":0,"t":2}"#, r#"{"s":0,"n":3}"#, r#"{"m":1}"#],
    ),
    row(
        "ruler: nested",
        r#"{"s":[0],"$or":[{"m":[1]},{"t":[2],"$or":[{"i":[3]},{"j":[4]}]}]}"#,
        &[
            r#"{"s":0,"m":1}"#,
            r#"{"s":0,"t":2,"i":3}"#,
            r#"{"s":0,"t":2,"j":4}"#,
        ],
        &[r#"{"s":0,"t":2}"#, r#"{"s":0,"i":3}"#],
    ),
    row(
        "eb-create-pattern-operators: or",
        r#"{"detail":{"$or":[{"c-count":[{"numeric":[">",0,"<=",5]}]},{"d-count":[{"numeric":["<",10]}]},{"x-limit":[{"numeric":["=",3.018e2]}]}]}}"#,
        &[
            EC2,
            r#"{"detail":{"x-limit":301.8}}"#,
            r#"{"detail":{"c-count":6,"d-count":9}}"#,
        ],
        &[r#"{"detail":{"c-count":6,"d-count":10}}"#],
    ),
    row(
        "recorded: or-anything-but",
        r#"{"$or":[{"a":[{"anything-but":"x"}]},{"b":["y"]}]}"#,
        &[r#"{"a":"z"}"#, r#"{"a":"x","b":"y"}"#, r#"{"b":"y"}"#],
        &[r#"{"a":"x"}"#, "{}"],
    ),
    row(
        "recorded: or-numeric-anything-but",
        r#"{"a":[{"numeric":["=",1]},{"anything-but":"x"}]}"#,
        &[r#"{"a":1}"#, r#"{"a":"y"}"#],
        &[r#"{"a":"x"}"#, "{}"],
    ),
    row(
        "ruler: an alternative stays within one item",
        r#"{"a":{"x":[1],"$or":[{"y":[2]},{"z":[3]}]}}"#,
        &[r#"{"a":[{"x":1,"z":3},{"y":2}]}"#],
        &[r#"{"a":[{"x":1},{"y":2},{"z":3}]}"#],
    ),
    row(
        "ruler: a field again in an alternative",
        r#"{"a":[1],"$or":[{"a":[2]},{"b":[3]}]}"#,
        &[r#"{"a":2}"#, r#"{"a":1,"b":3}"#],
        &[r#"{"a":1}"#],
    ),
];

pub const TOGETHER: &[Row] = &[
    row(
        "ruler: complex example",
        r#"{"time":[{"prefix":"2017-12-22"}],"detail":{"state":[{"anything-but":"initializing"}],
        "c-count":[{"numeric":[">",0,"<=",5]}],"d-count":[{"numeric":["<",10]}],"x-limit":[{"anything-but":[100,200,300]}],
        "source-ip":[{"cidr":"10.0.0.0/8"}]}}"#,
        &[EC2],
        &[
            r#"{"time":"2017-12-22","detail":{"state":"x","c-count":5,"d-count":3,"x-limit":200,"source-ip":"10.0.0.33"}}"#,
            r#"{"time":"2017-12-22","detail":{"state":"x","c-count":5,"d-count":3,"x-limit":201,"source-ip":"11.0.0.33"}}"#,
        ],
    ),
    row(
        "recorded: operator_multiple_list",
        r#"{"a":[{"prefix":"a"},{"suffix":"z"},{"numeric":[">",5]},null,{"exists":false}]}"#,
        &[
            r#"{"a":"ax"}"#,
            r#"{"a":"xz"}"#,
            r#"{"a":6}"#,
            r#"{"a":null}"#,
            "{}",
        ],
        &[r#"{"a":"b"}"#, r#"{"a":5}"#, r#"{"a":true}"#],
    ),
    row(
        "the S3 guide: ev-events",
        r#"{"source":["aws.s3"],"detail-type":["Object Created"],"detail":{"bucket":{"name":["example-bucket"]},"object":{"key":[{"prefix":"images/"}],"size":[{"numeric":["<",1048576]}]}}}"#,
        &[
            r#"{"source":"aws.s3","detail-type":"Object Created","detail":{"bucket":{"name":"example-bucket"},"object":{"key":"images/a","size":5}}}"#,
        ],
        &[
            r#"{"source":"aws.s3","detail-type":"Object Created","detail":{"bucket":{"name":"example-bucket"},"object":{"key":"images/a","size":1048576}}}"#,
            r#"{"source":"aws.s3","detail-type":"Object Deleted","detail":{"bucket":{"name":"example-bucket"},"object":{"key":"images/a","size":5}}}"#,
        ],
    ),
    row(
        "the Lambda guide: invocation-eventfiltering",
        r#"{"dynamodb":{"NewImage":{"Invoice Number":{"N":[{"prefix":"12"}]}}},"eventName":["INSERT"]}"#,
        &[r#"{"eventName":"INSERT","dynamodb":{"NewImage":{"Invoice Number":{"N":"123"}}}}"#],
        &[
            r#"{"eventName":"REMOVE","dynamodb":{"NewImage":{"Invoice Number":{"N":"123"}}}}"#,
            r#"{"eventName":"INSERT","dynamodb":{"NewImage":{"Invoice Number":{"N":123}}}}"#,
        ],
    ),
];
