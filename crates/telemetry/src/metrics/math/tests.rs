#![allow(clippy::unwrap_used)]
//! Tables after <https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/using-metric-math.html>.

use std::collections::HashMap;

use super::super::Window;
use super::{Environment, Expression, MathError, Outcome, SearchCall, Series};

/// 2027-01-15T08:00:00Z, a Friday.
const START_S: i64 = 1_800_000_000;

/// Reads `30, -, 20` as one data point a minute, `-` being none.
fn series(label: &str, values: &str) -> Series {
    let points = values.split(',').enumerate().filter_map(|(n, x)| {
        let time = START_S + 60 * i64::try_from(n).unwrap();
        Some((time, x.trim().parse().ok()?))
    });
    Series {
        label: label.into(),
        period_s: 60,
        points: points.collect(),
    }
}

fn environment() -> Environment {
    let metric = |id: &str, values| (id.to_owned(), series(id, values));
    Environment {
        window: Window {
            start_s: START_S,
            end_s: START_S + 300,
            period_s: 60,
        },
        metrics: vec![
            metric("metric1", "30, 20, 0, 0"),
            metric("metric2", "20, -, 20, -"),
            metric("if1", "1, 1, 0, 0, -"),
            metric("if2", "30, -, 0, 0, 30"),
            metric("if3", "0, 0, 20, -, 20"),
            metric("gaps", "-, 2, -, 8, -"),
            metric("none", "-"),
        ],
        expressions: HashMap::from([
            ("e1".to_owned(), Outcome::One(series("e1", "-1.5, 2.5, 4"))),
            (
                "many".to_owned(),
                Outcome::Many(vec![series("x", "1, 2"), series("y", "3, -, 5")]),
            ),
        ]),
        searches: HashMap::from([(
            SearchCall {
                query: " {NS,Dim} MetricName=\"Errors\" ".into(),
                statistic: "Sum".into(),
                period_s: Some(60),
            },
            vec![series("a", "1, 1"), series("b", "2, 2")],
        )]),
        spent: 0.into(),
    }
}

fn evaluate(expression: &str) -> Result<Outcome, MathError> {
    Expression::parse(expression)?.evaluate(&environment())
}

#[track_caller]
fn check(expression: &str, values: &str) {
    match evaluate(expression) {
        Ok(Outcome::One(found)) => {
            let wanted = series("", values).points;
            let same = found.points.len() == wanted.len()
                && found
                    .points
                    .iter()
                    .zip(&wanted)
                    .all(|(a, b)| a.0 == b.0 && (a.1 - b.1).abs() < 1e-9);
            assert!(same, "{expression} is {:?}, not {values}", found.points);
        }
        other => panic!("{expression} is {other:?}"),
    }
}

#[track_caller]
fn check_many(expression: &str, values: &[&str]) {
    match evaluate(expression) {
        Ok(Outcome::Many(found)) => {
            let found: Vec<_> = found.into_iter().map(|s| s.points).collect();
            let wanted: Vec<_> = values.iter().map(|v| series("", v).points).collect();
            assert_eq!(found, wanted, "{expression}");
        }
        other => panic!("{expression} is {other:?}"),
    }
}

#[track_caller]
fn refused(expression: &str, sentence: &str) {
    let error = evaluate(expression).expect_err(expression);
    assert_eq!(error.to_string(), sentence, "{expression}");
}

/// "Basic arithmetic functions" and "Comparison and logical operators".
#[test]
fn operators() {
    check("metric1 < metric2", "0, 0, 1, 0");
    check("metric1 >= 30", "1, 0, 0, 0");
    check("metric1 > 15 AND metric2 > 15", "1, 0, 0, 0");
    check("metric1 > 15 && metric2 > 15", "1, 0, 0, 0");
    check("metric1 > 25 OR metric2 > 15", "1, 0, 1, 0");
    check("metric1 > 25 || metric2 > 15", "1, 0, 1, 0");
    check("metric1 == 20", "0, 1, 0, 0");
    check("metric1 != 20", "1, 0, 1, 1");
    check("metric1 <= 20", "0, 1, 1, 1");
    check("metric1 + metric2", "50, 20, 20, 0");
    check("metric1 - metric2", "10, 20, -20, 0");
    check("5 * metric1", "150, 100, 0, 0");
    check("metric2 / metric1", "0.666666666666667, 0");
    check("100 / metric1", "3.333333333333333, 5");
    check("metric2 ^ 2", "400, -, 400");
    check("-metric2", "-20, -, -20");
    check("-metric2 ^ 2", "-400, -, -400");
    check("2 ^ 3 ^ 2 + metric2 * 0", "512, -, 512");
    check("1 - 2 - 3 + metric2 * 0", "-4, -, -4");
    check("(1 + 2) * 3 + metric2 - metric2 / 2", "19, -, 19");
    check("1e1 + .5 + metric2", "30.5, -, 30.5");
    check("metric1*2-metric1", "30, 20, 0, 0");
    check_many("-[metric2, none]", &["-20, -, -20", "-"]);
    check_many("[metric1, metric2] / metric2", &["1.5, -, 0", "1, -, 1"]);
    check_many(
        "metric2 / [metric1, metric2]",
        &["0.6666666666666666, 0", "1, -, 1"],
    );
    check_many("METRICS(\"metric\") * 2", &["60, 40, 0, 0", "40, -, 40"]);
    check("SUM(100/[metric1, metric2])", "8.333333333333333, 5, 5");
}

/// "Functions supported for metric math".
#[test]
fn functions() {
    check("ABS(e1)", "1.5, 2.5, 4");
    check("CEIL(e1)", "-1, 3, 4");
    check("FLOOR(e1)", "-2, 2, 4");
    check("LOG(e1 * 0 + 1)", "0, 0, 0");
    check("LOG10(metric1)", "1.4771212547196624, 1.3010299956639813");
    check("e1 - AVG(metric1)", "-14, -10, -8.5");
    check("metric2 * 0 + MAX(metric1)", "30, -, 30");
    check("e1 - MIN(e1)", "0, 4, 5.5");
    check("metric2 / SUM(metric1)", "0.4, -, 0.4");
    check("metric2 * 0 + STDDEV(if1)", "0.5, -, 0.5");
    check("SUM([metric1, metric2])", "50, 20, 20, 0");
    check("AVG([metric1, metric2])", "25, 10, 10, 0");
    check("MAX([metric1, metric2])", "30, 20, 20, 0");
    check("MIN([metric1, metric2])", "20, 20, 0, 0");
    check("STDDEV([metric1, metric2])", "5, 10, 10, 0");
    check("DATAPOINT_COUNT([metric1, metric2])", "2, 1, 2, 1");
    check("metric2 + DATAPOINT_COUNT(metric1)", "24, -, 24");
    check("metric2 + DATAPOINT_COUNT(none)", "20, -, 20");
    check("SUM(METRICS(\"if\"))", "31, 1, 20, 0, 50");
    check("SUM([METRICS(\"if1\"), METRICS('if3')])", "1, 1, 20, 0, 20");
    check("DIFF(gaps)", "-, -, -, 6");
    check("DIFF_TIME(gaps)", "-, -, -, 120");
    check("RATE(gaps)", "-, -, -, 0.05");
    check("RUNNING_SUM(metric1)", "30, 50, 50, 50");
    check_many("RUNNING_SUM([if1, metric2])", &["1, 2, 2, 2", "20, -, 40"]);
    check("FILL(gaps, 1)", "1, 2, 1, 8, 1");
    check("FILL(gaps, REPEAT)", "-, 2, 2, 8, 8");
    check("FILL(gaps, LINEAR)", "-, 2, 5, 8");
    check("FILL(gaps, metric1)", "30, 2, 0, 8");
    check("FILL(gaps, MIN(gaps))", "2, 2, 2, 8, 2");
    check_many(
        "FILL([gaps, metric2], 0)",
        &["0, 2, 0, 8, 0", "20, 0, 20, 0, 0"],
    );
    check("FIRST(many)", "1, 2");
    check("LAST(many)", "3, -, 5");
    check("metric2 * 0 + METRIC_COUNT(METRICS())", "7, -, 7");
    check(
        "metric2 / PERIOD(metric2)",
        "0.3333333333333333, -, 0.3333333333333333",
    );
    check_many("REMOVE_EMPTY([none, metric2])", &["20, -, 20"]);
    check("TIME_SERIES(10)", "10, 10, 10, 10, 10");
    check("TIME_SERIES(MAX(metric1))", "30, 30, 30, 30, 30");
    check("MINUTE(metric2)", "0, 1, 2, 3, 4");
    check("HOUR(metric2)", "8, 8, 8, 8, 8");
    check("DAY(metric2)", "5, 5, 5, 5, 5");
    check("DATE(metric2)", "15, 15, 15, 15, 15");
    check(
        "MONTH(metric2) + YEAR(metric2)",
        "2028, 2028, 2028, 2028, 2028",
    );
    check("EPOCH(metric2) - 1800000000", "0, 60, 120, 180, 240");
    check_many(
        "SORT([if1, metric1, none], MAX, DESC)",
        &["30, 20, 0, 0", "1, 1, 0, 0", "-"],
    );
    check_many("SORT([metric1, if1], SUM, ASC, 1)", &["1, 1, 0, 0"]);
    check_many(
        "SLICE(SORT([metric1, metric2, if1], AVG, ASC), 1)",
        &["30, 20, 0, 0", "20, -, 20"],
    );
    check_many("SLICE([metric1, metric2, if1], 0, 1)", &["30, 20, 0, 0"]);
    check_many("SLICE([metric1], 5)", &[]);
    check_many(
        "SEARCH(' {NS,Dim} MetricName=\"Errors\" ', 'Sum', 60)",
        &["1, 1", "2, 2"],
    );
    check(
        "SUM(SEARCH(' {NS,Dim} MetricName=\"Errors\" ', 'Sum', 60))",
        "3, 3",
    );
}

/// "Using IF expressions": AWS's tables.
#[test]
fn conditions() {
    check("IF(if1, if2, if3)", "30, 0, 20");
    check("IF(if1, 5, if3)", "5, 5, 20");
    check("IF(if1, if2, 5)", "30, 0, 5, 5");
    check("IF(if1, if2)", "30, 0");
    check("IF(metric1 < 25, metric1)", "-, 20, 0, 0");
    check("IF(metric1 < 25, 10, 2)", "2, 10, 10, 10");
    check("IF(1, metric2, metric1)", "20, -, 20");
    check("IF(0, metric2, metric1)", "30, 20, 0, 0");
    check("IF(0, metric2)", "-");
    check("IF(DAY(metric2) < 6, metric2)", "20, 0, 20, 0, 0");
}

#[test]
fn refusals() {
    refused("", "Invalid syntax at position 0");
    refused("metric1 +", "Invalid syntax at position 9");
    refused("(metric1", "Invalid syntax at position 8");
    refused("metric1 metric2", "Invalid syntax at position 8");
    refused("metric1 = 2", "Invalid syntax at position 8");
    refused("1x + metric1", "Invalid syntax at position 0");
    refused("METRICS(\"a", "Invalid syntax at position 8");
    refused("é", "Invalid syntax at position 0");
    refused("nope + 1", "Unknown id 'nope'");
    refused("sum(metric1)", "Invalid syntax at position 3");
    refused("MEDIAN(metric1)", "Unknown function 'MEDIAN'");
    refused(
        "ANOMALY_DETECTION_BAND(metric1)",
        "Function 'ANOMALY_DETECTION_BAND' is not implemented",
    );
    refused(
        "SUM(metric1, metric2)",
        "Invalid arguments for function 'SUM'",
    );
    refused("SUM(1)", "Invalid arguments for function 'SUM'");
    refused("SUM()", "Invalid arguments for function 'SUM'");
    refused("FILL(metric1)", "Invalid arguments for function 'FILL'");
    refused(
        "FILL(metric1, NEAREST)",
        "Invalid arguments for function 'FILL'",
    );
    refused(
        "SORT(metric1, MEDIAN, ASC)",
        "Invalid arguments for function 'SORT'",
    );
    refused(
        "SORT(metric1, AVG, UP)",
        "Invalid arguments for function 'SORT'",
    );
    refused(
        "SLICE([metric1], -1)",
        "Invalid arguments for function 'SLICE'",
    );
    refused("PERIOD(e1)", "Invalid arguments for function 'PERIOD'");
    refused(
        "METRICS(metric1)",
        "Invalid arguments for function 'METRICS'",
    );
    refused("IF(many, 1, 2)", "Invalid arguments for function 'IF'");
    refused("SEARCH('x', 'Sum', 300)", "Invalid search expression");
    refused("SEARCH('x')", "Invalid arguments for function 'SEARCH'");
    refused(
        "METRICS() + METRICS()",
        "Unsupported operand type(s) for '+'",
    );
    refused("[1, 2]", "Unsupported operand type(s) for '[]'");
    refused(
        "AVG(metric1)",
        "The expression must return a time series or an array of time series",
    );
    refused(
        "2",
        "The expression must return a time series or an array of time series",
    );
    refused(&"(".repeat(2000), "Invalid syntax at position 60");
    refused(&"-".repeat(2000), "Invalid syntax at position 60");
}

#[test]
fn what_costs_too_much_is_refused() {
    let mut environment = environment();
    environment.window.end_s = START_S + 60 * 9_000_000;
    let too_large = |text: &str| {
        let expression = Expression::parse(text).unwrap();
        expression.evaluate(&environment) == Err(MathError::TooLarge)
    };
    assert!(too_large("FILL(METRICS(), 0)"));
    assert!(too_large("MINUTE(METRICS())"));
    environment.spent = 0.into();
    environment.window.end_s = START_S + 60;
    let wide = format!("[{}metric1]", "METRICS(), ".repeat(80));
    assert_eq!(
        Expression::parse(&wide).unwrap().evaluate(&environment),
        Err(MathError::TooLarge)
    );
}

#[test]
fn an_expression_says_what_it_needs() {
    let expression =
        Expression::parse("a1 + SUM([b, SEARCH('q', 'p99')]) / a1 - MAX(METRICS())").unwrap();
    assert_eq!(
        expression.references().into_iter().collect::<Vec<_>>(),
        ["a1", "b"]
    );
    let searches = expression.searches().unwrap();
    assert_eq!(
        searches.into_iter().collect::<Vec<_>>(),
        [SearchCall {
            query: "q".into(),
            statistic: "p99".into(),
            period_s: None
        }]
    );
}

proptest::proptest! {
    #[test]
    fn any_text_evaluates_or_is_refused(text in r#"([a-z0-9 (),\[\]+*/^<>=&|"'.-]|metric1|SUM\(|IF\(|FILL\(|SLICE\(|SORT\(|METRICS\(\)){0,25}"#) {
        if let Ok(expression) = Expression::parse(&text) {
            drop(expression.evaluate(&environment()));
        }
    }
}
