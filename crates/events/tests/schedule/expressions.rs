//! What is an expression and what is not, and what the refusal says.

use events::schedule::Schedule;
use jiff::tz::TimeZone;

use super::utc;

#[test]
fn rates() {
    let check = |text: &str, expected_minutes: Option<i64>| {
        let found = match Schedule::parse(text) {
            Ok(Schedule::Rate(rate)) => Some(rate.interval_ms() / 60_000),
            _ => None,
        };
        assert_eq!(found, expected_minutes, "{text:?}");
    };
    // EventBridge User Guide, "Rate expressions".
    check("rate(1 minute)", Some(1));
    check("rate(5 minutes)", Some(5));
    check("rate(1 hour)", Some(60));
    check("rate(7 days)", Some(7 * 24 * 60));
    check("rate(7 minutes)", Some(7));
    check("rate(1 day)", Some(24 * 60));
    check("rate(12 hours)", Some(720));
    check("rate(999999 days)", Some(999_999 * 24 * 60));
    // Refused by AWS, as recorded in LocalStack's tests.
    check("rate(10 seconds)", None);
    check("rate(10 years)", None);
    check("rate(1 minutes)", None);
    check("rate(1 hours)", None);
    check("rate(1 days)", None);
    check("rate(10 minute)", None);
    check("rate(10 hour)", None);
    check("rate(10 day)", None);
    check("rate()", None);
    check("rate(10)", None);
    check("rate(10 minutess)", None);
    check("rate(foo minutes)", None);
    check("rate(0 minutes)", None);
    check("rate(-10 minutes)", None);
    check("rate(10 MINUTES)", None);
    check("rate( 10 minutes )", None);
    check(" rate(10 minutes)", None);
    // Not what AWS's page describes.
    check("rate(10 minutes) ", None);
    check("rate(10  minutes)", None);
    check("rate(10\tminutes)", None);
    check("rate(+5 minutes)", None);
    check("rate(05 minutes)", None);
    check("rate(1.5 hours)", None);
    check("rate(5 minutes daily)", None);
    check("rate(99999999999999999999 days)", None);
    check("Rate(5 minutes)", None);
    check("rate(5 minutes", None);
    check("rate 5 minutes", None);
    check("rate(٣ minutes)", None);
}

#[test]
fn a_rate_counts_from_its_anchor() {
    let schedule = Schedule::parse("rate(7 minutes)").expect("valid");
    let anchor = utc("2026-11-25 06:03:20");
    let check = |from: &str, expected: &str| {
        let next = schedule.next(utc(from), anchor, &TimeZone::UTC);
        assert_eq!(next, Some(utc(expected)), "from {from}");
    };
    check("2026-11-25 06:03:20", "2026-11-25 06:03:20");
    check("2026-11-25 06:03:21", "2026-11-25 06:10:20");
    check("2026-11-25 06:10:20", "2026-11-25 06:10:20");
    check("2026-11-25 06:59:00", "2026-11-25 06:59:20");
    check("2020-01-01 00:00:00", "2026-11-25 06:03:20");
    check("2027-11-25 06:03:20", "2027-11-25 06:05:20");
}

#[test]
fn single_times() {
    let check = |text: &str, expected: Option<&str>| {
        let found = match Schedule::parse(text) {
            Ok(schedule @ Schedule::At(_)) => schedule.next(i64::MIN, 0, &TimeZone::UTC),
            _ => None,
        };
        assert_eq!(found, expected.map(utc), "{text:?}");
    };
    check("at(2026-11-25T06:00:00)", Some("2026-11-25 06:00:00"));
    check("at(2022-11-20T13:00:00)", Some("2022-11-20 13:00:00"));
    check("at(2028-02-29T23:59:59)", Some("2028-02-29 23:59:59"));
    // Refused by AWS, as recorded in LocalStack's tests.
    check("at(2021-12-31T23:59:59Z)", None);
    check("at(2021-12-31)", None);
    // No such time, or not the form of AWS's page.
    check("at(2027-02-29T00:00:00)", None);
    check("at(2026-11-25T24:00:00)", None);
    check("at(2026-11-25T23:59:60)", None);
    check("at(2026-13-01T00:00:00)", None);
    check("at(2026-11-25 06:00:00)", None);
    check("at(2026-11-25t06:00:00)", None);
    check("at(2026-11-25T06:00)", None);
    check("at(2026-11-25T06:00:00.5)", None);
    check("at(2026-11-25T06:00:00+01:00)", None);
    check("at(20261125T060000)", None);
    check("at(+002026-11-25T06:00)", None);
    check("at()", None);
    check("at( 2026-11-25T06:00:00 )", None);
}

#[test]
fn rules_have_no_single_times() {
    let refused = Schedule::parse_for_rule("at(2026-11-25T06:00:00)").expect_err("not for rules");
    assert_eq!(
        refused.of_rule(),
        "Parameter ScheduleExpression is not valid. A rule runs by rate(...) or cron(...); for a single time create a \
         schedule of EventBridge Scheduler."
    );
    assert!(Schedule::parse_for_rule("rate(5 minutes)").is_ok());
}

/// Every refusal of a cron expression, with a part of its advice.
#[test]
fn refused_crons() {
    let check = |text: &str, advice: &str| {
        let refused = Schedule::parse(text).expect_err(text);
        assert!(
            refused.advice().contains(advice),
            "{text:?}: {}",
            refused.advice()
        );
    };
    // The expression of many tutorials, and the like: one of the two day fields is ?.
    check("cron(0 6 * * MON-FRI *)", "write cron(0 6 ? * MON-FRI *)");
    check("cron(0 1 * * * *)", "write cron(0 1 * * ? *)");
    check("cron(0 6 1 * * *)", "write cron(0 6 1 * ? *)");
    check("cron(0 6 ? * ? *)", "write cron(0 6 * * ? *)");
    check(
        "cron(0 6 1 * MON *)",
        "cron(0 6 1 * ? *) or cron(0 6 ? * MON *)",
    );
    check(
        "cron(0 6 L * FRI *)",
        "cron(0 6 L * ? *) or cron(0 6 ? * FRI *)",
    );
    // Six fields.
    check("cron()", "this one has 0");
    check("cron(0 6 * * ?)", "this one has 5");
    check("cron(0 0 6 * * ? *)", "this one has 7");
    check("cron(INVALID)", "this one has 1");
    check("cron( 0 6 * * ? *)", "spaces");
    check("cron(0 6 * * ? * )", "spaces");
    check("0 6 * * ? *", "Write cron(0 6 * * ? *)");
    check("CRON(0 6 * * ? *)", "lower case");
    check("cron(0 6 * * ? *) ", "lower case");
    check("every day", "rate(...)");
    check("", "rate(...)");
    check("(", "rate(...)");
    check("cron", "rate(...)");
    check("daily()", "rate(...)");
    // Values out of bounds.
    check("cron(60 * * * ? *)", "minutes takes 0-59");
    check("cron(71 8 1 * ? *)", "minutes takes 0-59");
    check("cron(-1 * * * ? *)", "minutes takes");
    check("cron(0 24 * * ? *)", "hours takes 0-23");
    check("cron(0 0 0 * ? *)", "day-of-month takes 1-31");
    check("cron(0 0 32 * ? *)", "day-of-month takes 1-31");
    check("cron(0 0 1 0 ? *)", "month takes 1-12 or JAN-DEC");
    check("cron(0 0 1 13 ? *)", "month takes 1-12");
    check("cron(0 0 ? * 0 *)", "day-of-week takes 1-7 or SUN-SAT");
    check("cron(0 0 ? * 8 *)", "day-of-week takes 1-7");
    check("cron(0 0 1 1 ? 1969)", "year takes 1970-2199");
    check("cron(0 0 1 1 ? 2200)", "year takes 1970-2199");
    check("cron(0 0 1 1 ? 26)", "year takes 1970-2199");
    check("cron(99999999999999999999 0 1 1 ? *)", "minutes takes");
    // Words that are none, and ? where it does not belong.
    check("cron(0 dummy ? * MON-FRI *)", "hours takes 0-23");
    check("cron(7 20 ? * NOT *)", "day-of-week takes");
    check("cron(0 0 1 JANUARY ? *)", "month takes");
    check("cron(0 0 ? * MONDAY *)", "day-of-week takes");
    check("cron(0 0 1 MON ? *)", "month takes");
    check("cron(0 0 MON * ? *)", "day-of-month takes");
    check("cron(? 0 1 * ? *)", "minutes takes");
    check("cron(0 ? 1 * ? *)", "hours takes");
    check("cron(0 0 1 ? ? *)", "month takes");
    check("cron(0 0 1 * ? ?)", "year takes");
    check("cron(0 0 1,? * ? *)", "day-of-month takes");
    check("cron(0 0 ? * ?,2 *)", "day-of-week takes");
    check("cron(0 0 ?/2 * ? *)", "day-of-month takes");
    check("cron(0 0 ** * ? *)", "day-of-month takes");
    check("cron(0 0 * * ? **)", "year takes");
    check("cron(H 0 * * ? *)", "minutes takes");
    check("cron(@daily * * * ? *)", "minutes takes");
    check("cron(0\u{660} 0 * * ? *)", "minutes takes");
    check("cron(+5 0 * * ? *)", "minutes takes");
    check("cron(0x5 0 * * ? *)", "minutes takes");
    check("cron(1.5 0 * * ? *)", "minutes takes");
    // Lists, ranges and steps that are none.
    check("cron(, 0 * * ? *)", "minutes takes");
    check("cron(1,,2 0 * * ? *)", "minutes takes");
    check("cron(1, 0 * * ? *)", "minutes takes");
    check("cron(1- 0 * * ? *)", "minutes takes");
    check("cron(-5 0 * * ? *)", "minutes takes");
    check("cron(1-5-9 0 * * ? *)", "minutes takes");
    check("cron(5-70 0 * * ? *)", "minutes takes");
    check("cron(*-5 0 * * ? *)", "minutes takes");
    check("cron(0/0 0 * * ? *)", "step of \"0\"");
    check("cron(0/ 0 * * ? *)", "step of \"\"");
    check("cron(/5 0 * * ? *)", "minutes takes");
    check("cron(0/-5 0 * * ? *)", "step of \"-5\"");
    check("cron(0/5/5 0 * * ? *)", "step of \"5/5\"");
    check("cron(0/60 0 * * ? *)", "step of \"60\"");
    check("cron(0 0/24 * * ? *)", "step of \"24\"");
    check("cron(0 0 1/32 * ? *)", "step of \"32\"");
    check("cron(0 0 1 1/13 ? *)", "step of \"13\"");
    check("cron(0 0 ? * 1/8 *)", "step of \"8\"");
    check("cron(0 0 1 1 ? 2030-2026)", "end before they begin");
    // L, W and #.
    check("cron(L 0 * * ? *)", "minutes takes");
    check("cron(0 0 * L ? *)", "month takes");
    check("cron(0 0 * * ? L)", "year takes");
    check("cron(0 0 L-3 * ? *)", "day-of-month takes");
    check("cron(0 0 3L * ? *)", "day-of-month takes");
    check("cron(0 0 L/2 * ? *)", "day-of-month takes");
    check("cron(0 0 W * ? *)", "day-of-month takes");
    check("cron(0 0 WL * ? *)", "day-of-month takes");
    check("cron(0 0 0W * ? *)", "day-of-month takes");
    check("cron(0 0 32W * ? *)", "day-of-month takes");
    check("cron(0 0 1-5W * ? *)", "day-of-month takes");
    check("cron(0 0 *W * ? *)", "day-of-month takes");
    check("cron(0 0 ? * 3W *)", "day-of-week takes");
    check("cron(0 0 ? * LW *)", "day-of-week takes");
    check("cron(0 0 ? * 8L *)", "day-of-week takes");
    check("cron(0 0 ? * MON-FRIL *)", "day-of-week takes");
    check("cron(0 0 ? * *L *)", "day-of-week takes");
    check("cron(0 0 3#2 * ? *)", "day-of-month takes");
    check("cron(0 0 ? * 3#0 *)", "After # stands 1 to 5");
    check("cron(0 0 ? * 3#6 *)", "After # stands 1 to 5");
    check("cron(0 0 ? * 3# *)", "After # stands 1 to 5");
    check("cron(0 0 ? * #2 *)", "day-of-week takes");
    check("cron(0 0 ? * 8#1 *)", "day-of-week takes");
    check("cron(0 0 ? * 3#L *)", "After # stands 1 to 5");
    // EventBridge User Guide: "you can define only one expression in the day-of-week field".
    check("cron(0 0 ? * 3#1,6#3 *)", "only item of its field");
    check("cron(0 0 ? * 2,6#3 *)", "day-of-week takes");
    check("cron(0 0 ? * 6#3,2 *)", "only item of its field");
    check("cron(0 0 ? * 2-6#3 *)", "day-of-week takes");
}

#[test]
fn the_sentences_of_both_services() {
    let refused = Schedule::parse("cron(0 6 * * MON-FRI *)").expect_err("two day fields");
    assert_eq!(
        refused.of_rule(),
        "Parameter ScheduleExpression is not valid. Exactly one of day-of-month and day-of-week is ?: write \
         cron(0 6 ? * MON-FRI *)."
    );
    assert_eq!(
        refused.of_scheduler(),
        "Invalid Schedule Expression cron(0 6 * * MON-FRI *). Exactly one of day-of-month and day-of-week is ?: write \
         cron(0 6 ? * MON-FRI *)."
    );
}
