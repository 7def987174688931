//! Lines that functions write.

use super::*;

#[tokio::test]
async fn lines_of_functions_make_their_group_and_stream() {
    let server = Server::start().await;
    let lines = |texts: &[&str]| -> Vec<(i64, String)> {
        texts.iter().map(|t| (NOW_MS, (*t).to_owned())).collect()
    };
    let at = scope();
    server.telemetry.lines(
        &at,
        GROUP,
        "2027/01/15/[$LATEST]0",
        May::CREATE_ALL,
        lines(&["START", "", "END\n"]),
    );
    server.telemetry.lines(
        &at,
        GROUP,
        "2027/01/15/[$LATEST]1",
        May::CREATE_ALL,
        lines(&["other"]),
    );
    server.telemetry.lines(
        &at,
        GROUP,
        "2027/01/15/[$LATEST]0",
        May::CREATE_ALL,
        lines(&["REPORT"]),
    );
    let no_stream = May {
        create_group: true,
        create_stream: false,
    };
    server
        .telemetry
        .lines(&at, GROUP, "not made", no_stream, lines(&["lost", "lost"]));
    let no_group = May {
        create_group: false,
        create_stream: true,
    };
    server
        .telemetry
        .lines(&at, "/not/made", "s", no_group, lines(&["lost"]));
    server.telemetry.flush().await;
    let first = json!({"logGroupName": GROUP, "logStreamName": "2027/01/15/[$LATEST]0"});
    assert_eq!(
        messages(&server.logs("GetLogEvents", &first).await),
        ["START", "END\n", "REPORT"]
    );
    let streams = server
        .logs("DescribeLogStreams", &json!({"logGroupName": GROUP}))
        .await;
    assert_eq!(
        names(&streams, "logStreams", "logStreamName"),
        ["2027/01/15/[$LATEST]0", "2027/01/15/[$LATEST]1"]
    );
    let stats = server.telemetry.stats();
    assert_eq!((stats.lines_stored, stats.lines_dropped_refused), (4, 3));

    // After its group is deleted, a function's next line makes it again.
    server
        .logs("DeleteLogGroup", &json!({"logGroupName": GROUP}))
        .await;
    server.telemetry.lines(
        &at,
        GROUP,
        "2027/01/15/[$LATEST]0",
        May::CREATE_ALL,
        lines(&["again"]),
    );
    server.telemetry.flush().await;
    assert_eq!(
        messages(&server.logs("GetLogEvents", &first).await),
        ["again"]
    );
    // A line that no event can hold becomes several.
    let long = "é".repeat(1_000_000);
    server.telemetry.lines(
        &at,
        GROUP,
        "long",
        May::CREATE_ALL,
        vec![(NOW_MS, long.clone())],
    );
    server.telemetry.flush().await;
    let request = json!({"logGroupName": GROUP, "logStreamNames": ["long"]});
    let mut page = server.logs("FilterLogEvents", &request).await;
    let mut whole = messages(&page).concat();
    while !page["nextToken"].is_null() {
        let next = json!({"logGroupName": GROUP, "logStreamNames": ["long"], "nextToken": page["nextToken"]});
        page = server.logs("FilterLogEvents", &next).await;
        whole.push_str(&messages(&page).concat());
    }
    assert_eq!(whole, long);
}

#[tokio::test]
async fn a_flood_of_lines_is_dropped_and_counted_and_nobody_waits() {
    let server = Server::start().await;
    // The writer has not run yet: the test's only thread is here until the first await.
    let text = "x".repeat(1000);
    let batch = || (0..1000).map(|_| (NOW_MS, text.clone())).collect();
    for _ in 0..80 {
        server
            .telemetry
            .lines(&scope(), GROUP, "s", May::CREATE_ALL, batch());
    }
    let dropped = server.telemetry.stats().lines_dropped_full;
    assert!(dropped > 10_000, "{dropped}");
    server.telemetry.flush().await;
    let stats = server.telemetry.stats();
    assert_eq!(stats.lines_stored + stats.lines_dropped_full, 80_000);
    // There is room again.
    server.telemetry.lines(
        &scope(),
        GROUP,
        "s",
        May::CREATE_ALL,
        vec![(NOW_MS, "after".into())],
    );
    server.telemetry.flush().await;
    assert_eq!(
        server.telemetry.stats().lines_stored,
        stats.lines_stored + 1
    );
}
