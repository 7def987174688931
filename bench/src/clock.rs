//! How late the last of many rules and schedules comes that are due in the same second.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use jiff::{Timestamp, ToSpan as _, tz::TimeZone};
use serde_json::{Value, json};

use crate::Bench;
use crate::client::Client;
use crate::mayfly::{self, Mayfly, until};
use crate::table::Table;

/// Rules, and schedules, that are due together.
const MANY: usize = 1000;
/// Into what this must fit: "all fire within that second's grace".
const GRACE_MS: f64 = 1000.0;
/// How long the making of all may take before they are due.
const AHEAD: Duration = Duration::from_secs(15);
/// How often the server is asked how far it is. An answer takes a fraction of a millisecond.
const PAUSE: Duration = Duration::from_millis(2);

/// The group that rules write to.
const GROUP: &str = "/aws/events/bench";
/// The function that rules and schedules call.
const FUNCTION: &str = "hello";

/// Puts the rows into the table.
pub fn measure(bench: &Bench, table: &mut Table) -> Result<()> {
    let server = Mayfly::start(&bench.mayfly, &[])?;
    let function = server.deploy(FUNCTION, &bench.python, &mayfly::hello())?;
    table.section("Clock: 1,000 that are due in the same second");
    let due = Timestamp::now().checked_add(AHEAD)?;
    let due = due.round(jiff::Unit::Second)?;
    schedules(&server, &function, due)?;
    report(&server, table, "schedules that call a function", due)?;
    let due = Timestamp::now().checked_add(AHEAD)?;
    let due = Timestamp::from_second((due.as_second() / 60 + 1) * 60)?;
    rules(&server, &function, due)?;
    report(
        &server,
        table,
        "rules, half with a function, half with a log group",
        due,
    )?;
    server.stop()
}

/// Makes one-time schedules.
fn schedules(server: &Mayfly, function: &str, due: Timestamp) -> Result<()> {
    let mut client = server.access.connect()?;
    let role = server.role(&mut client, "scheduler", "scheduler.amazonaws.com")?;
    server.allow(&mut client, "scheduler", "lambda:InvokeFunction")?;
    let body = json!({
        "ScheduleExpression": format!("at({})", due.to_zoned(TimeZone::UTC).strftime("%Y-%m-%dT%H:%M:%S")),
        "FlexibleTimeWindow": {"Mode": "OFF"},
        "Target": {"Arn": function, "RoleArn": role},
    })
    .to_string();
    for number in 0..MANY {
        let call = ("POST", &*format!("/schedules/bench-{number}"));
        let request =
            server
                .access
                .request("scheduler", call, "application/json", body.as_bytes())?;
        let (status, reply) = client.exchange(&request)?;
        let reply = String::from_utf8_lossy(reply);
        ensure!(status == 200, "CreateSchedule: {reply}");
    }
    Ok(())
}

/// Makes rules that fire in one minute of the day.
fn rules(server: &Mayfly, function: &str, due: Timestamp) -> Result<()> {
    let mut client = server.access.connect()?;
    let client = &mut client;
    let group = log_group(server, client)?;
    allow_rules(server, client)?;
    let time = due.to_zoned(TimeZone::UTC);
    let expression = format!("cron({} {} * * ? *)", time.minute(), time.hour());
    for number in 0..MANY {
        let name = format!("bench-{number}");
        let rule = json!({"Name": name, "ScheduleExpression": expression});
        server.json(client, "events", "AWSEvents.PutRule", &rule)?;
        let to = [function, &*group][number % 2];
        let targets = json!({"Rule": name, "Targets": [{"Id": "1", "Arn": to}]});
        let put = server.json(client, "events", "AWSEvents.PutTargets", &targets)?;
        ensure!(put["FailedEntryCount"] == 0, "PutTargets: {put}");
    }
    Ok(())
}

/// Makes the group, lets EventBridge write to it, and returns its ARN.
fn log_group(server: &Mayfly, client: &mut Client) -> Result<String> {
    let mut logs = |operation: &str, request: Value| {
        let target = format!("Logs_20140328.{operation}");
        server.json(client, "logs", &target, &request)
    };
    logs("CreateLogGroup", json!({"logGroupName": GROUP}))?;
    let policy = json!({"Version": "2012-10-17", "Statement": [{
        "Effect": "Allow",
        "Principal": {"Service": "events.amazonaws.com"},
        "Action": ["logs:CreateLogStream", "logs:PutLogEvents"],
        "Resource": "*",
    }]});
    let request = json!({"policyName": "bench", "policyDocument": policy.to_string()});
    logs("PutResourcePolicy", request)?;
    let groups = logs("DescribeLogGroups", json!({"logGroupNamePrefix": GROUP}))?;
    let arn = groups["logGroups"][0]["logGroupArn"].as_str();
    Ok(arn.context("a group without an ARN")?.to_owned())
}

/// Lets all rules call the function.
fn allow_rules(server: &Mayfly, client: &mut Client) -> Result<()> {
    let permission = json!({
        "StatementId": "rules",
        "Action": "lambda:InvokeFunction",
        "Principal": "events.amazonaws.com",
    });
    let path = format!("/2015-03-31/functions/{FUNCTION}/policy");
    let (status, reply) = server.rest(client, "POST", &path, &permission.to_string())?;
    ensure!(status == 201, "AddPermission: {reply}");
    Ok(())
}

/// Waits for what is due then, and puts into the table how late the last was.
fn report(server: &Mayfly, table: &mut Table, what: &str, due: Timestamp) -> Result<()> {
    ensure!(
        Timestamp::now() < due,
        "making {MANY} took longer than {AHEAD:?}"
    );
    let mut client = server.access.connect()?;
    let before = counts(&mut client, &server.access.address)?;
    // Until just before: asking is not to disturb what is still being written.
    let early = due.checked_sub(100.milliseconds())?;
    std::thread::sleep(
        Duration::try_from(early.duration_since(Timestamp::now())).unwrap_or_default(),
    );
    let mut late = |count: fn(&Counts) -> u64| -> Result<f64> {
        let goal = count(&before) + MANY as u64;
        until(what, PAUSE, || {
            let now = counts(&mut client, &server.access.address).ok()?;
            (count(&now) >= goal).then_some(())
        })?;
        let late = Timestamp::now().duration_since(due);
        Ok(late.as_secs_f64() * 1e3)
    };
    let put = late(|counts| counts.accepted)?;
    let delivered = late(|counts| counts.delivered)?;
    let row = format!("{what}: last in the outbox");
    table.at_most(&row, put, "ms late", Some(GRACE_MS));
    table.at_most("  last delivered", delivered, "ms late", Some(GRACE_MS));
    Ok(())
}

/// Deliveries since the server began.
struct Counts {
    accepted: u64,
    delivered: u64,
}

fn counts(client: &mut Client, address: &str) -> Result<Counts> {
    let request = format!("GET /_/metrics HTTP/1.1\r\nhost: {address}\r\n\r\n");
    let (status, page) = client.exchange(request.as_bytes())?;
    ensure!(status == 200, "/_/metrics: {status}");
    let page = std::str::from_utf8(page)?;
    let count = |name: &str| -> Result<u64> {
        let name = format!("mayfly_deliveries_{name}_total ");
        let value = page.lines().find_map(|line| line.strip_prefix(&name));
        Ok(value.context("/_/metrics lacks a count")?.parse()?)
    };
    Ok(Counts {
        accepted: count("accepted")?,
        delivered: count("delivered")?,
    })
}
