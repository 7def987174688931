//! What is not a pattern, and what AWS says of it. `recorded` texts are compared whole, with the place.

use events::pattern::{BRANCHES_MAX, CHARS_MAX, Event, Pattern};

fn error(pattern: &str) -> String {
    match Pattern::parse(pattern) {
        Ok(_) => panic!("{pattern} is a pattern"),
        Err(error) => error.to_string(),
    }
}

/// `wanted` without a place is what the error says before it names one.
fn check(pattern: &str, wanted: &str) {
    let whole = error(pattern);
    let text = whole
        .strip_prefix("Event pattern is not valid. Reason: ")
        .unwrap_or_else(|| panic!("{whole}"));
    let reason = text.split("\n at [Source").next().unwrap_or_default();
    assert_eq!(reason, wanted, "{pattern}");
}

/// `column` is where the error says it is, as often as it says so.
fn check_place(pattern: &str, reason: &str, column: usize, times: usize) {
    let place = format!("\n at [Source: (String)\"{pattern}\"; line: 1, column: {column}]");
    let wanted = format!(
        "Event pattern is not valid. Reason: {reason}{}",
        place.repeat(times)
    );
    assert_eq!(error(pattern), wanted);
}

#[test]
fn recorded_from_aws_with_their_places() {
    for (pattern, reason, column, times) in [
        (
            r#"{"int": 42}"#,
            "\"int\" must be an object or an array",
            11,
            1,
        ),
        (
            r#"{"string": "my-value"}"#,
            "\"string\" must be an object or an array",
            13,
            1,
        ),
        (
            r#"{"resources": []}"#,
            "Empty arrays are not allowed",
            17,
            1,
        ),
        (
            r#"{"my_key": [{"EXISTS": true}]}"#,
            "Unrecognized match type EXISTS",
            28,
            1,
        ),
        (
            r#"{"detail": {"equal": [{"NUMERIC": ["=", 5]}]}}"#,
            "Unrecognized match type NUMERIC",
            36,
            1,
        ),
        (
            r#"{"detail": {"c-count": [{"numeric": [">", 0, ">", 0]}]}}"#,
            "Bad numeric range operator: >",
            49,
            1,
        ),
        (
            r#"{"detail": {"c-count": [{"numeric": [">", 0, "<"]}]}}"#,
            "Value of < must be numeric",
            50,
            1,
        ),
        (
            r#"{"EventBusArn": [{"wildcard": 123}]}"#,
            "wildcard match pattern must be a string",
            34,
            1,
        ),
        (
            r#"{"time": [{"prefix": ["2022-07-13"]}]}"#,
            "prefix match pattern must be a string",
            23,
            1,
        ),
        (
            r#"{"time": [{"prefix": 123}]}"#,
            "prefix match pattern must be a string",
            25,
            1,
        ),
        (
            r#"{"FileName": [{"suffix": 123}]}"#,
            "suffix match pattern must be a string",
            29,
            1,
        ),
        (
            r#"{"FileName": [{"suffix": [".png"]}]}"#,
            "suffix match pattern must be a string",
            27,
            1,
        ),
        (
            r#"{"detail-type": [{"equals-ignore-case": ["ec2 instance state-change notification"]}]}"#,
            "equals-ignore-case match pattern must be a string",
            42,
            1,
        ),
        (
            r#"{"detail-type": [{"equals-ignore-case": {"prefix": "ec2"}}]}"#,
            "equals-ignore-case match pattern must be a string",
            42,
            1,
        ),
        (
            r#"{"detail": {"sourceIPAddress": [{"cidr": ["bad-type"]}]}}"#,
            "prefix match pattern must be a string",
            43,
            1,
        ),
        (
            r#"{"detail": {"state": [{"anything-but": {"equals-ignore-case": 123}}]}}"#,
            "Inside anything-but/equals-ignore-case list, number|start|null|boolean is not supported.",
            66,
            1,
        ),
        (
            r#"{"detail": {"state": [{"anything-but": {"equals-ignore-case": [123, 456]}}]}}"#,
            "Inside anything-but/equals-ignore-case list, number|start|null|boolean is not supported.",
            67,
            2,
        ),
        (
            r#"{"detail": {"state": [{"anything-but": {"wildcard": [123, "*/dir/*"]}}]}}"#,
            "wildcard match pattern must be a string",
            57,
            2,
        ),
        (
            r#"{"detail": {"FilePath": [{"anything-but": {"wildcard": 123}}]}}"#,
            "wildcard match pattern must be a string",
            59,
            1,
        ),
        (
            r#"{"detail": {"FileName": [{"anything-but": {"suffix": [123, ".txt"]}}]}}"#,
            "prefix/suffix match pattern must be a string",
            58,
            2,
        ),
        (
            r#"{"detail": {"FileName": [{"anything-but": {"suffix": 123}}]}}"#,
            "prefix/suffix match pattern must be a string",
            57,
            1,
        ),
        (
            r#"{"detail": {"state": [{"anything-but": {"prefix": [123, "test"]}}]}}"#,
            "prefix/suffix match pattern must be a string",
            55,
            2,
        ),
        (
            r#"{"detail": {"state": [{"anything-but": {"prefix": 123}}]}}"#,
            "prefix/suffix match pattern must be a string",
            54,
            1,
        ),
        (
            r#"{"detail": {"FileName": [{"anything-but": {"prefix": {"equals-ignore-case": "file"}}}]}}"#,
            "Value of anything-but must be an array or single string/number value.",
            55,
            1,
        ),
        (
            r#"{"detail": {"FileName": [{"anything-but": {"suffix": {"equals-ignore-case": ".png"}}}]}}"#,
            "Value of anything-but must be an array or single string/number value.",
            55,
            1,
        ),
        (
            "this is valid json but not a dict",
            "Unrecognized token 'this': was expecting (JSON String, Number, Array, Object or token 'null', 'true' or 'false')",
            5,
            1,
        ),
        (
            "{'bad': 'quotation'}",
            "Unexpected character (''' (code 39)): was expecting double-quote to start field name",
            2,
            1,
        ),
        (
            r#"{"not": closed mark""#,
            "Unrecognized token 'closed': was expecting (JSON String, Number, Array, Object or token 'null', 'true' or 'false')",
            15,
            1,
        ),
        (
            r#"["not", "a", "dict", "but valid json"]"#,
            "Filter is not an object",
            2,
            1,
        ),
    ] {
        check_place(pattern, reason, column, times);
    }
}

#[test]
fn recorded_from_aws_without_places() {
    const COMPLEX: &str = "Rule is too complex - try using fewer wildcard characters or fewer repeating character sequences after a wildcard character";
    for (pattern, wanted) in [
        (
            r#"{"EventBusArn":[{"wildcard":"*:*:*:*:*:event-bus/*"}]}"#,
            COMPLEX,
        ),
        (
            r#"{"ip":[{"cidr":"bad-filter"}]}"#,
            "Malformed CIDR, one '/' required",
        ),
        (
            r#"{"ip":[{"cidr":"10.0.0.0/xx"}]}"#,
            "Malformed CIDR, mask bits must be an integer",
        ),
        (
            r#"{"ip":[{"cidr":"xx.11.xx/8"}]}"#,
            "Nonstandard IP address: xx.11.xx",
        ),
        (
            r#"{"ip":[{"cidr":"xxxx:db8:1234:1a00::/64"}]}"#,
            "Nonstandard IP address: xxxx:db8:1234:1a00::",
        ),
    ] {
        check(pattern, wanted);
        assert!(!error(pattern).contains("[Source"), "{pattern}");
    }
}

#[test]
fn everything_else_that_is_refused() {
    for (pattern, wanted) in [
        ("", "Filter is not an object"),
        ("null", "Filter is not an object"),
        ("\"a\"", "Filter is not an object"),
        ("{}", "Empty objects are not allowed"),
        (r#"{"a":{}}"#, "Empty objects are not allowed"),
        (r#"{"a":null}"#, "\"a\" must be an object or an array"),
        (r#"{"a":true}"#, "\"a\" must be an object or an array"),
        (
            r#"{"a":[[1]]}"#,
            "Match value must be String, number, true, false, or null",
        ),
        (r#"{"a":[{}]}"#, "Match expression name not found"),
        (
            r#"{"a":[{"Prefix":"x"}]}"#,
            "Unrecognized match type Prefix",
        ),
        (r#"{"a":[{"regex":"x"}]}"#, "Unrecognized match type regex"),
        (
            r#"{"a":[{"prefix":"x","suffix":"y"}]}"#,
            "Only one key allowed in match expression",
        ),
        (
            r#"{"a":[{"suffix":"x","b":"y"}]}"#,
            "Only one key allowed in match expression",
        ),
        (
            r#"{"a":[{"exists":true,"b":1}]}"#,
            "Only one key allowed in match expression",
        ),
        (
            r#"{"a":[{"cidr":"10.0.0.0/8","b":1}]}"#,
            "Only one key allowed in match expression",
        ),
        (
            r#"{"a":[{"exists":"true"}]}"#,
            "exists match pattern must be either true or false.",
        ),
        (
            r#"{"a":[{"exists":null}]}"#,
            "exists match pattern must be either true or false.",
        ),
        (
            r#"{"a":[{"exactly":1}]}"#,
            "exact match pattern must be a string",
        ),
        (
            r#"{"a":[{"prefix":{}}]}"#,
            "Prefix expression name not found",
        ),
        (
            r#"{"a":[{"suffix":{}}]}"#,
            "Suffix expression name not found",
        ),
        (
            r#"{"a":[{"prefix":{"suffix":"x"}}]}"#,
            "Unsupported prefix pattern: suffix",
        ),
        (
            r#"{"a":[{"suffix":{"wildcard":"x"}}]}"#,
            "Unsupported suffix pattern: wildcard",
        ),
        (
            r#"{"a":[{"prefix":{"equals-ignore-case":1}}]}"#,
            "equals-ignore-case match pattern must be a string",
        ),
        (
            r#"{"a":[{"prefix":{"equals-ignore-case":["x"]}}]}"#,
            "equals-ignore-case match pattern must be a string",
        ),
        (
            r#"{"a":[{"anything-but":null}]}"#,
            "Value of anything-but must be an array or single string/number value.",
        ),
        (
            r#"{"a":[{"anything-but":true}]}"#,
            "Value of anything-but must be an array or single string/number value.",
        ),
        (
            r#"{"a":[{"anything-but":{}}]}"#,
            "Anything-But expression name not found",
        ),
        (
            r#"{"a":[{"anything-but":{"numeric":[">",1]}}]}"#,
            "Unsupported anything-but pattern: numeric",
        ),
        (
            r#"{"a":[{"anything-but":{"cidr":"10.0.0.0/8"}}]}"#,
            "Unsupported anything-but pattern: cidr",
        ),
        (
            r#"{"a":[{"anything-but":["x",1]}]}"#,
            "Inside anything but list, either all values are number or string, mixed type is not supported",
        ),
        (
            r#"{"a":[{"anything-but":[]}]}"#,
            "Inside anything but list, either all values are number or string, mixed type is not supported",
        ),
        (
            r#"{"a":[{"anything-but":["x",null]}]}"#,
            "Inside anything but list, start|null|boolean is not supported.",
        ),
        (
            r#"{"a":[{"anything-but":[true]}]}"#,
            "Inside anything but list, start|null|boolean is not supported.",
        ),
        (
            r#"{"a":[{"anything-but":{"prefix":""}}]}"#,
            "Null prefix/suffix not allowed",
        ),
        (
            r#"{"a":[{"anything-but":{"suffix":["a",""]}}]}"#,
            "Null prefix/suffix not allowed",
        ),
        (
            r#"{"a":[{"anything-but":{"prefix":"a","suffix":"b"}}]}"#,
            "Too many elements in numeric expression",
        ),
        (
            r#"{"a":[{"anything-but":"a","prefix":"b"}]}"#,
            "Too many elements in numeric expression",
        ),
        (
            r#"{"a":[{"anything-but":99999999999}]}"#,
            "Value must be between -5.0E9 and 5.0E9, inclusive",
        ),
        (
            r#"{"a":[{"anything-but":{"wildcard":"a**"}}]}"#,
            "Consecutive wildcard characters at pos 2",
        ),
        (
            r#"{"a":[{"wildcard":"**"}]}"#,
            "Consecutive wildcard characters at pos 1",
        ),
        (
            r#"{"a":[{"wildcard":"a\\b"}]}"#,
            "Invalid escape character at pos 2",
        ),
        (
            r#"{"a":[{"wildcard":"a\\"}]}"#,
            "Invalid escape character at pos 2",
        ),
        (
            r#"{"a":[{"numeric":5}]}"#,
            "Value of numeric must be an array.",
        ),
        (
            r#"{"a":[{"numeric":">"}]}"#,
            "Value of numeric must be an array.",
        ),
        (
            r#"{"a":[{"numeric":[]}]}"#,
            "Invalid member in numeric match: ]",
        ),
        (
            r#"{"a":[{"numeric":[5]}]}"#,
            "Invalid member in numeric match: 5",
        ),
        (
            r#"{"a":[{"numeric":["!=",5]}]}"#,
            "Unrecognized numeric range operator: !=",
        ),
        (
            r#"{"a":[{"numeric":["=","5"]}]}"#,
            "Value of equals must be numeric",
        ),
        (
            r#"{"a":[{"numeric":["="]}]}"#,
            "Value of equals must be numeric",
        ),
        (
            r#"{"a":[{"numeric":[">",null]}]}"#,
            "Value of > must be numeric",
        ),
        (
            r#"{"a":[{"numeric":[">=","1"]}]}"#,
            "Value of >= must be numeric",
        ),
        (
            r#"{"a":[{"numeric":["<",true]}]}"#,
            "Value of < must be numeric",
        ),
        (
            r#"{"a":[{"numeric":["<=",[]]}]}"#,
            "Value of <= must be numeric",
        ),
        (
            r#"{"a":[{"numeric":["=",5,"<",6]}]}"#,
            "Too many elements in numeric expression",
        ),
        (
            r#"{"a":[{"numeric":["<",5,">",1]}]}"#,
            "Too many elements in numeric expression",
        ),
        (
            r#"{"a":[{"numeric":[">",5,6]}]}"#,
            "Bad value in numeric range: 6",
        ),
        (
            r#"{"a":[{"numeric":[">",5,"=",6]}]}"#,
            "Bad numeric range operator: =",
        ),
        (
            r#"{"a":[{"numeric":[">",5,"<",6,7]}]}"#,
            "Too many terms in numeric range expression",
        ),
        (
            r#"{"a":[{"numeric":[">",5,"<",5]}]}"#,
            "Bottom must be less than top",
        ),
        (
            r#"{"a":[{"numeric":[">=",6,"<=",5]}]}"#,
            "Bottom must be less than top",
        ),
        (
            r#"{"a":[{"numeric":[">",5000000001]}]}"#,
            "Value must be between -5.0E9 and 5.0E9, inclusive",
        ),
        (
            r#"{"a":[{"numeric":["=",0.1234567]}]}"#,
            "Only values upto 6 decimals are supported",
        ),
        (
            r#"{"a":[{"numeric":["=",5],"b":1}]}"#,
            "Too many elements in numeric expression",
        ),
        (
            r#"{"a":[{"cidr":"10.0.0.0/-1"}]}"#,
            "Malformed CIDR, mask bits must not be negative",
        ),
        (
            r#"{"a":[{"cidr":"10.0.0.0/32"}]}"#,
            "IPv4 mask bits must be < 32",
        ),
        (
            r#"{"a":[{"cidr":"::/128"}]}"#,
            "IPv6 mask bits must be < 128",
        ),
        (
            r#"{"a":[{"cidr":10}]}"#,
            "prefix match pattern must be a string",
        ),
        (
            r#"{"$or":{"a":[1]}}"#,
            "It must be an Array followed with $or.",
        ),
        (
            r#"{"$or":[]}"#,
            "There must have at least 2 Objects in $or relationship.",
        ),
        (
            r#"{"$or":[{"a":[1]}]}"#,
            "There must have at least 2 Objects in $or relationship.",
        ),
        (
            r#"{"$or":[{"a":[1]},2]}"#,
            "Only JSON object is allowed in array of $or relationship.",
        ),
        (r#"{"$or":[{"a":[1]},{}]}"#, "Empty objects are not allowed"),
        (
            r#"{"$or":[{"numeric":[1]},{"a":[1]}]}"#,
            "numeric is Ruler reserved fieldName which cannot be used inside $or.",
        ),
        (
            r#"{"$or":[{"a":{"prefix":[1]}},{"a":[1]}]}"#,
            "prefix is Ruler reserved fieldName which cannot be used inside $or.",
        ),
        // JSON itself.
        (
            r#"{"a":[1]"#,
            "Unexpected end-of-input: expected close marker for Object (start marker at [Source: (String)\"{\"a\":[1]\"; line: 1, column: 1])",
        ),
        (
            r#"{"a"}"#,
            "Unexpected character ('}' (code 125)): was expecting a colon to separate field name and value",
        ),
        (
            r#"{"a":[1 2]}"#,
            "Unexpected character ('2' (code 50)): was expecting comma to separate Array entries",
        ),
        (
            r#"{"a":[1] "b":[1]}"#,
            "Unexpected character ('\"' (code 34)): was expecting comma to separate Object entries",
        ),
        (
            r#"{"a":[1],}"#,
            "Unexpected character ('}' (code 125)): was expecting double-quote to start field name",
        ),
        (
            r#"{"a":[1,]}"#,
            "Unexpected character (']' (code 93)): expected a valid value (JSON String, Number, Array, Object or token 'null', 'true' or 'false')",
        ),
        (
            r#"{"a":[nulL]}"#,
            "Unrecognized token 'nulL': was expecting (JSON String, Number, Array, Object or token 'null', 'true' or 'false')",
        ),
        (
            r#"{"a":[01]}"#,
            "Invalid numeric value: Leading zeroes not allowed",
        ),
        (
            r#"{"a":[1.]}"#,
            "Invalid numeric value: Decimal point not followed by a digit",
        ),
        (
            r#"{"a":["\x"]}"#,
            "Unrecognized character escape 'x' (code 120)",
        ),
    ] {
        if wanted.contains("[Source") {
            assert!(error(pattern).contains(wanted), "{}", error(pattern));
        } else {
            check(pattern, wanted);
        }
    }
}

#[test]
fn places_count_lines() {
    let text = error("{\n  \"a\": 1\n}");
    assert!(text.ends_with("line: 2, column: 9]"), "{text}");
    // What AWS shows of a long pattern ends after 500 characters.
    let long = format!("{{\"a\": [\"{}\", []]}}", "x".repeat(600));
    let text = error(&long);
    assert!(
        text.contains("\"[truncated 115 chars]; line: 1, column: 613]"),
        "{text}"
    );
}

#[test]
fn limits() {
    let fits = |count: usize| format!("{{\"a\":[\"{}\"]}}", "é".repeat(count - 10));
    assert!(Pattern::parse(&fits(CHARS_MAX)).is_ok());
    check(
        &fits(CHARS_MAX + 1),
        "it has 4097 characters, and may have 4096",
    );

    // Ten alternatives three times are a thousand combinations; one more is too many.
    let or = |count: usize| {
        let alternatives: Vec<_> = (0..count).map(|n| format!("{{\"f\":[{n}]}}")).collect();
        format!("\"$or\":[{}]", alternatives.join(","))
    };
    let both = |last: usize| {
        format!(
            "{{\"a\":{{{}}},\"b\":{{{}}},\"c\":{{{}}}}}",
            or(10),
            or(10),
            or(last)
        )
    };
    let event = r#"{"a":{"f":9},"b":{"f":0},"c":{"f":9}}"#;
    let event = Event::parse(event).expect("an event");
    assert!(
        Pattern::parse(&both(10))
            .expect("a thousand")
            .matches(&event)
    );
    check(
        &both(11),
        &format!("$or has more than {BRANCHES_MAX} combinations"),
    );
    // As deep as the characters allow.
    let deep = format!("{}[1]{}", "{\"\":".repeat(818), "}".repeat(818));
    assert!(Pattern::parse(&deep).is_ok());
}

#[test]
fn what_is_not_an_event() {
    for (text, wanted) in [
        ("", "Event is not an object"),
        ("[]", "Event is not an object"),
        ("\"x\"", "Event is not an object"),
        (
            "{",
            "Unexpected end-of-input: expected close marker for Object (start marker at [Source: (String)\"{\"; line: 1, column: 1])",
        ),
        (
            "{} {}",
            "Unexpected character ('{' (code 123)): expected the end of the text",
        ),
        (
            r#"{"a":+1}"#,
            "Unexpected character ('+' (code 43)): expected a valid value (JSON String, Number, Array, Object or token 'null', 'true' or 'false')",
        ),
        (
            "{\"a\":\"\n\"}",
            "Illegal unquoted character ((CTRL-CHAR, code 10)): has to be escaped using backslash to be included in string value",
        ),
        (
            r#"{"a":"#,
            "Unexpected end-of-input: expected close marker for Object (start marker at [Source: (String)\"{\"a\":\"; line: 1, column: 1])",
        ),
        (
            r#"{"a":[1}"#,
            "Unexpected close marker '}': expected ']' (for Array starting at [Source: (String)\"{\"a\":[1}\"; line: 1, column: 6])",
        ),
    ] {
        let error = Event::parse(text).err().map(|error| error.to_string());
        assert_eq!(error.as_deref(), Some(wanted), "{text}");
    }
    let deep = |depth: usize| {
        format!(
            "{{\"a\":{}{}}}",
            "[".repeat(depth - 1),
            "]".repeat(depth - 1)
        )
    };
    assert!(Event::parse(&deep(1000)).is_ok());
    let error = Event::parse(&deep(1001))
        .err()
        .map(|error| error.to_string());
    assert_eq!(
        error.as_deref(),
        Some("Document nesting depth (1001) exceeds the maximum allowed (1000)")
    );
}
