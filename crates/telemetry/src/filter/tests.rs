#![allow(clippy::unwrap_used)]
//! Tables after <https://docs.aws.amazon.com/AmazonCloudWatch/latest/logs/FilterAndPatternSyntax.html>: each group names
//! the section of that page it follows.

use super::{Pattern, PatternError};

#[track_caller]
fn check(pattern: &str, matching: &[&str], other: &[&str]) {
    let compiled = Pattern::parse(pattern).unwrap_or_else(|error| panic!("{pattern}: {error}"));
    for message in matching {
        assert!(compiled.matches(message), "{pattern} must match {message}");
    }
    for message in other {
        assert!(
            !compiled.matches(message),
            "{pattern} must not match {message}"
        );
    }
}

#[track_caller]
fn refused(pattern: &str, sentence: &str) {
    let error = Pattern::parse(pattern).expect_err(pattern);
    assert_eq!(error.to_string(), sentence, "{pattern}");
}

const BAD: &str = "[ERROR 400] BAD REQUEST";
const UNAUTHORIZED: &str = "[ERROR 401] UNAUTHORIZED REQUEST";
const MISSING: &str = "[ERROR 419] MISSING ARGUMENTS";
const INVALID: &str = "[ERROR 420] INVALID ARGUMENTS";
const INTERNAL: &str = "[ERROR 500] INTERNAL SERVER ERROR";

/// "Using filter patterns to match terms in unstructured log events".
#[test]
fn terms() {
    check("", &[BAD, ""], &[]);
    check("  ", &[BAD, ""], &[]);
    check("\" \"", &[BAD, "", "x"], &[]);
    check(
        "ERROR",
        &[BAD, UNAUTHORIZED, MISSING, INVALID],
        &["error", "WARN"],
    );
    check("ERROR ARGUMENTS", &[MISSING, INVALID], &[BAD, UNAUTHORIZED]);
    check(
        "?ERROR ?ARGUMENTS",
        &[BAD, UNAUTHORIZED, "ARGUMENTS"],
        &["WARN"],
    );
    check(
        "?ERROR ?ARGUMENTS REQUEST",
        &[
            "[INFO] REQUEST FAILED",
            "[WARN] UNAUTHORIZED REQUEST",
            "[ERROR] 400 BAD REQUEST",
        ],
        &[MISSING],
    );
    check("?ERROR -REQUEST", &["WARN", MISSING], &[BAD]);
    check("\"INTERNAL SERVER ERROR\"", &[INTERNAL], &[BAD]);
    check(
        "ERROR -ARGUMENTS",
        &[BAD, UNAUTHORIZED],
        &[MISSING, INVALID],
    );
    check("-ARGUMENTS", &[BAD], &[MISSING]);
    check("\"ERROR\" - \"ARGUMENTS\"", &[BAD], &[MISSING]);
    check(
        "?\"Task timed out\" ?ERROR",
        &["x Task timed out after 3.00 seconds", BAD],
        &["ok"],
    );
    check(
        r#""say \"hi\" \\ there""#,
        &[r#"say "hi" \ there"#],
        &["say hi"],
    );
    check(r#""a\tb""#, &[r"a\tb"], &["a\tb"]);
    check("\"[ERROR]\"", &["[ERROR] x"], &["ERROR"]);
    check("snake_case1", &["a snake_case1 b"], &["snake-case1"]);
    check("日本", &["x日本y"], &["日 本"]);
}

/// The refusals that public reports show: a term with anything but letters, digits and underscores wants quotes.
#[test]
fn terms_refused() {
    refused("?Status: timeout", "Invalid character(s) in term ':'");
    refused("a,b", "Invalid character(s) in term ','");
    refused("level\\\":x", "Invalid character(s) in term '\\\":'");
    refused("(a)", "Invalid character(s) in term '('");
    refused("`x`", "Invalid character(s) in term '`'");
    refused("8cb72e6a-4f5a", "Invalid character(s) in term '-'");
    refused("x[0]", "Invalid character(s) in term '['");
    refused("user@example", "Invalid character(s) in term '@'");
    refused("\"\"", "Invalid character(s) in term '\"\"'");
    refused("ERROR ?", "Invalid filter pattern");
    refused("-", "Invalid filter pattern");
    refused("\"open", "Invalid filter pattern");
    refused(&"a".repeat(1025), "Invalid filter pattern");
    assert!(Pattern::parse(&"a".repeat(1024)).is_ok());
}

/// "Supported regular expressions (regex) syntax" and "match terms with a regular expression".
#[test]
fn regular_expressions() {
    check(
        "%AUTHORIZED%",
        &[UNAUTHORIZED, "[SUCCESS 200] AUTHORIZED REQUEST"],
        &[BAD],
    );
    check("%^[hc]at%", &["hat", "cat x"], &["a hat"]);
    check("%[hc]at$%", &["hat", "a cat"], &["cats"]);
    check("%colou?r%", &["color", "colour"], &["colr"]);
    check("%[abcx-z]%", &["a", "y"], &["d"]);
    check("%^a{3,5}$%", &["aaa", "aaaaa"], &["aa", "aaaaaa"]);
    check("%^a{,2}$%", &["", "a", "aa"], &["aaa"]);
    check("%^a{2,}$%", &["aa", "aaaa"], &["a"]);
    check(
        "%^starting|^initializing|^shutting down%",
        &["starting", "initializing x", "shutting down"],
        &["skipping initializing"],
    );
    check("%abcc|ab[^c]$%", &["abcc x", "aba"], &["aac"]);
    check(r"%\[.\]%", &["[a]", "[7]", "[]]"], &["a", "[]"]);
    check(r"%10\.10\.0\.1%", &["10.10.0.1"], &["10010,051"]);
    check("%10.10.0.1%", &["10010,051"], &[]);
    check("%ab*c%", &["ac", "abbbc"], &["ab"]);
    check("%ab+c%", &["abc"], &["ac"]);
    check("%^.at$%", &["#at", " at"], &["at"]);
    check(r"%^\d\D\s\S\w\W$%", &["1a b_-"], &["aa b_-"]);
    check(r"%\x28x\x3A%", &["(x:"], &["x:"]);
    check("ERROR %4[0-9]{2}%", &[BAD], &[INTERNAL]);
    check("-%4[0-9]{2}% ERROR", &[INTERNAL], &[BAD]);
    refused("%something!%", "Invalid character(s) in term '!'");
    refused("%(a)%", "Invalid character(s) in term '('");
    refused("%é%", "Invalid character(s) in term 'é'");
    refused(r"%\b%", r"Invalid character(s) in term '\b'");
    refused("%open", "Invalid filter pattern");
    refused("%[a%", "Invalid filter pattern");
    refused("%a{1000}{1000}{1000}%", "Invalid filter pattern");
}

const TRAIL: &str = r#"{"eventType":"UpdateTrail","sourceIPAddress":"111.111.111.111","arrayKey":["value","another value"],
    "objectList":[{"name":"a","id":1},{"name":"b","id":2}],"SomeObject":null,"cluster.name":"c","ThisFlag":true,
    "latency":512.5,"errorCode":400,"number":[1000,0.001],"code-x":"7","off":false}"#;

/// "Using filter patterns to match terms in JSON log events".
#[test]
fn json() {
    for pattern in [
        r#"{ $.eventType = "UpdateTrail" }"#,
        "{ $.eventType = UpdateTrail }",
        "{$.eventType=UpdateTrail}",
        "{ $.sourceIPAddress != 123.123.* }",
        "{ $.sourceIPAddress = 111.111.* }",
        r#"{ $.arrayKey[0] = "value" }"#,
        "{ $.eventType = %Trail% }",
        "{ $.arrayKey[*] = %val.{2}% }",
        "{ $.arrayKey[*] = another* }",
        r"{ $.* = %111\.111\.111\.1[0-9]{1,2}% }",
        "{ $.['cluster.name'] = \"c\" }",
        "{ $['cluster.name'] = c }",
        "{ $.SomeObject IS NULL }",
        "{ $.ThisFlag IS TRUE }",
        "{ $.off IS FALSE }",
        "{ $.ThisFlag = true }",
        "{ $.SomeOtherObject NOT EXISTS }",
        "{ $.objectList[1].id = 2 }",
        "{ $.objectList[*].id = 2 }",
        "{ $.objectList[1].name = b }",
        "{ $.latency >= 500 }",
        "{ $.latency < 10e3 }",
        "{ $.latency > +500 }",
        "{ $.errorCode = 400}",
        "{ $.errorCode = 4* }",
        "{ $.errorCode = \"400\" }",
        "{ $.errorCode != 500 }",
        "{ $.number[0] = 1e+3 }",
        "{ $.number[0] != 1e-3 }",
        "{ $.number[1] = 1e-3 }",
        "{ $.code-x = 7 }",
        "{ $.latency = * }",
        "{ $.eventType = *date* }",
        "{ $.eventType = *Trail }",
        "{ ($.eventType = \"x\") || ((($.errorCode > 399))) }",
    ] {
        check(pattern, &[TRAIL], &["", "plain UpdateTrail 400", "{}x"]);
    }
    for pattern in [
        "{ $.eventType != UpdateTrail }",
        "{ $.eventtype = UpdateTrail }",
        "{ $.eventType = Up*Trail }",
        "{ $.arrayKey = value }",
        "{ $.arrayKey != value }",
        "{ $.objectList != 1 }",
        "{ $.objectList[2].id = 2 }",
        "{ $.missing = * }",
        "{ $.missing != 1 }",
        "{ $.missing IS NULL }",
        "{ $.SomeObject NOT EXISTS }",
        "{ $.SomeObject = * }",
        "{ $.ThisFlag IS FALSE }",
        "{ $.eventType IS TRUE }",
        "{ $.eventType > 1 }",
        "{ $.latency > 512.5 }",
    ] {
        check(pattern, &[], &[TRAIL]);
    }
    check(
        "{ $.a NOT EXISTS }",
        &["{}", "[]"],
        &["text", "", "{", r#"{"a":1}"#],
    );
    check(
        "{ $.a = 7 }",
        &[r#"{"a":"7"}"#, r#"{"a":7.0}"#],
        &[r#"{"a":"7.0"}"#],
    );
    check("{ $.a < 7 }", &[r#"{"a":6}"#], &[r#"{"a":"6"}"#]);
}

const COMPOUND: &str = r#"{"user":{"id":1,"email":"John.Stiles@example.com"},
    "users":[{"id":2,"email":"John.Doe@example.com"},{"id":3,"email":"Jane.Doe@example.com"}],
    "actions":["GET","PUT","DELETE"],"coordinates":[[0,1,2],[4,5,6],[7,8,9]]}"#;

/// "Compound expressions": () before && before ||.
#[test]
fn json_compound() {
    for (pattern, matches) in [
        (
            r#"{ ($.user.id = 1) && ($.users[0].email = "John.Doe@example.com") }"#,
            true,
        ),
        (
            r#"{ $.user.email = "John.Stiles@example.com" || $.coordinates[0][1] = "nonmatch" && $.actions[2] = "nonmatch" }"#,
            true,
        ),
        (
            r#"{ ($.user.email = "John.Stiles@example.com" || $.coordinates[0][1] = "nonmatch") && $.actions[2] = "nonmatch" }"#,
            false,
        ),
        (
            r#"{ ($.user.id = 2 && $.users[0].email = "nonmatch") || $.actions[2] = "GET" }"#,
            false,
        ),
        ("{ $.coordinates[2][1] = 8 }", true),
        (
            "{ $.users[*].id = 3 && $.actions[*] = PUT && $.* = nothing }",
            false,
        ),
    ] {
        check(
            pattern,
            if matches { &[COMPOUND] } else { &[] },
            if matches { &[] } else { &[COMPOUND] },
        );
    }
}

#[test]
fn json_refused() {
    refused(
        "{ $.a = 1",
        "If a filter pattern starts with '{' it must end with '}'",
    );
    refused(
        r#"{ $."sc-status" = 5* }"#,
        "Invalid character(s) in term '$.\"'",
    );
    refused("{ $.a.b[*].c[*] = 1 }", "Invalid filter pattern");
    refused(
        "{ $.a[*] = 1 || $.b[*] = 1 || $.c[*] = 1 || $.d[*] = 1 }",
        "Invalid filter pattern",
    );
    refused(
        "{ $.a = %a% || $.b = %b% || $.c = %c% }",
        "Invalid filter pattern",
    );
    refused("{ $.a IS NOT NULL }", "Invalid filter pattern");
    refused("{ $.a EXISTS }", "Invalid filter pattern");
    refused("{ $.a IS TRUEISH }", "Invalid filter pattern");
    refused("{ $.a == 1 }", "Invalid character(s) in term '='");
    refused("{ $.a = foo@bar }", "Invalid character(s) in term '@'");
    refused("{ $.a > x }", "Invalid filter pattern");
    refused("{ $.a > \"1\" }", "Invalid filter pattern");
    refused("{ $.a = 1 & $.b = 2 }", "Invalid character(s) in term '&'");
    refused("{ $.a = 1, $.b = 2 }", "Invalid character(s) in term ','");
    refused("{ ($.a = 1 }", "Invalid filter pattern");
    refused("{ $.a = 1) }", "Invalid character(s) in term ')'");
    refused("{ $.a[x] = 1 }", "Invalid filter pattern");
    refused("{ $.a[-1] = 1 }", "Invalid filter pattern");
    refused("{ $ = 1 }", "Invalid filter pattern");
    refused("{ a = 1 }", "Invalid filter pattern");
    refused("{}", "Invalid filter pattern");
    refused("{ $.a = }", "Invalid filter pattern");
}

const APACHE: &str =
    r#"127.0.0.1 Prod frank [10/Oct/2000:13:25:15 -0700] "GET /index.html HTTP/1.0" 404 1534"#;

/// "Using filter patterns to match terms in space-delimited log events".
#[test]
fn space_delimited() {
    for pattern in [
        "[ip, user, username, timestamp, request, status_code, bytes]",
        r"[ip=%127\.0\.0\.[1-9]%, user, username, timestamp, request =*.html*, status_code = 4*, bytes]",
        "[..., request =*.html*, status_code = 4*, bytes]",
        "[..., request=*.html*, status_code=4*,]",
        "[ip, user, username, timestamp, request =*.html*, status_code = 404 || status_code = 410, bytes]",
        "[ip, user, ..., status_code, bytes]",
        "[ip, user, ...]",
        "[...]",
        "[ip, user, username, timestamp, request, status_code, bytes > 1000]",
        "[ip, user, username, timestamp = \"10/Oct/2000:13:25:15 -0700\", ...]",
        "[ip, user, username, timestamp, request, status_code = 4* && status_code != 403, bytes]",
        "[..., user = Prod, ..., status_code > 403.5, bytes <= 1534]",
        "[ip, rest = *frank*]",
    ] {
        check(pattern, &[APACHE], &[]);
    }
    for pattern in [
        "[ip, user, username, timestamp, request, status_code, bytes > 2000]",
        "[..., status_code = 5*, bytes]",
        "[ip, user, username, timestamp, request, status_code, bytes, more]",
        "[ip = 128.*, ...]",
        "[..., bytes = 1534, more]",
    ] {
        check(pattern, &[], &[APACHE]);
    }
    let lines = [
        "INFO 09/25/2014 12:00:00 GET /service/resource/67 1200",
        "INFO 09/25/2014 12:00:01 POST /service/resource/67/part/111 1310",
        "WARNING 09/25/2014 12:00:02 Invalid user request",
        "ERROR 09/25/2014 12:00:02 Failed to process request",
    ];
    for (pattern, found) in [
        ("[w1=ERROR, w2]", &lines[3..]),
        ("[w1=ERROR || w1=WARNING, w2]", &lines[2..]),
        ("[(w1=ERROR || w1=WARNING), w2]", &lines[2..]),
        ("[w1!=ERROR && w1!=WARNING, w2]", &lines[..2]),
        (
            "[logLevel, date, time, method, url=%/service/resource/[0-9]+$%, response_time]",
            &lines[..1],
        ),
        (
            "[logLevel, date, time, method, url=%/service/resource/[0-9]+/part/[0-9]+$%, response_time]",
            &lines[1..2],
        ),
    ] {
        let missed: Vec<_> = lines
            .iter()
            .copied()
            .filter(|l| !found.contains(l))
            .collect();
        check(pattern, found, &missed);
    }
    check("[a, b]", &["\"x y\" [open"], &["one"]);
    check("[a]", &["one two three\n"], &["", "   "]);
}

#[test]
fn space_delimited_refused() {
    refused(
        "[a, b",
        "If a filter pattern starts with '[' it must end with ']'",
    );
    refused("[a=1 b=2]", "Invalid filter pattern");
    refused("[a=GET /x]", "Invalid character(s) in term '/'");
    refused("[a = *, b =! 4]", "Invalid character(s) in term '!'");
    refused("[a = %x%, b = %y%, c = %z%]", "Invalid filter pattern");
    refused("[a = 1 && b = 2, b]", "Invalid filter pattern");
    refused("[a & b]", "Invalid character(s) in term '&'");
}

#[test]
fn hostile_patterns_end() {
    let pattern = format!("[{}z=q]", "...,a=x,".repeat(60));
    let message = "x ".repeat(20_000);
    assert!(!Pattern::parse(&pattern).unwrap().matches(&message));
    let deep = format!("{{{}$.a = 1{}}}", "(".repeat(500), ")".repeat(500));
    assert!(Pattern::parse(&deep).unwrap().matches(r#"{"a":1}"#));
    assert_eq!(
        Pattern::parse(&format!("{{{}", "(".repeat(900))).unwrap_err(),
        PatternError::OpenBrace
    );
}

proptest::proptest! {
    #[test]
    fn any_text_parses_or_is_refused(pattern in ".{0,60}", message in ".{0,80}") {
        if let Ok(compiled) = Pattern::parse(&pattern) {
            compiled.matches(&message);
        }
    }

    #[test]
    fn grammar_like_text_parses_or_is_refused(pattern in r#"[{\[][$.a-c\[\]*()&|=!<>%"', 0-9]{0,40}[}\]]"#, message in r#"[{}\[\]":,a-c0-9 ]{0,40}"#) {
        if let Ok(compiled) = Pattern::parse(&pattern) {
            compiled.matches(&message);
        }
    }
}
