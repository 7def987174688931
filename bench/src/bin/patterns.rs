//! `cargo run --release -p bench --bin patterns`: how many events a second a bus can match against how many rules.
//!
//! The cost of an event must grow with the rules that match it, not with all of them. Each row is one kind of bus with 1,
//! 100 and 10,000 rules; `matching` is how many of them an event matches.

use std::time::{Duration, Instant};

use anyhow::Result;
use events::pattern::{Event, Index, Pattern};

const RULES: [usize; 3] = [1, 100, 10_000];

/// A kind of bus: the pattern of rule number `n` of `rules`, and the event number `n`.
struct Bus {
    name: &'static str,
    pattern: fn(usize) -> String,
    event: fn(usize, usize) -> String,
}

const BUSES: &[Bus] = &[
    Bus {
        name: "each rule wants an id of its own, all share source and type",
        pattern: |n| {
            format!(
                r#"{{"source":["shop.orders"],"detail-type":["Order Placed"],"detail":{{"customer":["c-{n}"]}}}}"#
            )
        },
        event: |n, rules| order(n % rules, n % 97),
    },
    Bus {
        name: "rules on a grid of two fields, no value is of one rule only",
        pattern: |n| {
            let (row, column) = (n / 100, n % 100);
            format!(r#"{{"detail":{{"customer":["c-{row}"],"shop":["s-{column}"]}}}}"#)
        },
        event: |n, rules| order(n % rules.div_ceil(100), n % 100),
    },
    Bus {
        name: "prefixes",
        pattern: |n| {
            format!(r#"{{"source":["shop.orders"],"detail":{{"path":[{{"prefix":"/c-{n}/"}}]}}}}"#)
        },
        event: |n, rules| order(n % rules, n % 97),
    },
    Bus {
        name: "wildcards with the same beginning and end",
        pattern: |n| {
            format!(
                r#"{{"source":["shop.orders"],"detail":{{"path":[{{"wildcard":"/*/t-{n}/*.json"}}]}}}}"#
            )
        },
        event: |n, rules| order(n % 97, n % rules),
    },
    Bus {
        name: "numeric ranges side by side",
        pattern: |n| {
            format!(
                r#"{{"source":["shop.orders"],"detail":{{"total":[{{"numeric":[">=",{n},"<",{}]}}]}}}}"#,
                n + 1
            )
        },
        event: |n, rules| order(n % rules, n % 97),
    },
    Bus {
        name: "one exact field and an anything-but of its own",
        pattern: |n| {
            format!(
                r#"{{"detail":{{"customer":["c-{n}"],"state":[{{"anything-but":["gone-{n}"]}}]}}}}"#
            )
        },
        event: |n, rules| order(n % rules, n % 97),
    },
    Bus {
        name: "every rule matches every event (the cost that cannot be saved)",
        pattern: |n| {
            format!(
                r#"{{"source":["shop.orders"],"detail":{{"state":[{{"anything-but":["gone-{n}"]}}]}}}}"#
            )
        },
        event: |n, rules| order(n % rules, n % 97),
    },
];

fn order(customer: usize, shop: usize) -> String {
    format!(
        r#"{{"version":"0","id":"6a7e8feb-b491-4cf7-a9f1-bf3703467718","detail-type":"Order Placed","source":"shop.orders",
"account":"123456789012","time":"2026-03-14T09:26:53Z","region":"us-east-1","resources":["arn:aws:s3:::orders/{customer}"],
"detail":{{"customer":"c-{customer}","shop":"s-{shop}","total":{customer}.5,"state":"placed",
"path":"/c-{customer}/t-{shop}/order.json","items":[{{"sku":"A-1","count":2}},{{"sku":"B-7","count":1}}]}}}}"#
    )
}

/// How long each row is measured.
const SECONDS: f64 = 1.0;

fn main() -> Result<()> {
    run(SECONDS)
}

/// Measures each kind of bus for `seconds` per number of rules.
fn run(seconds: f64) -> Result<()> {
    println!(
        "{:<66} {:>8} {:>12} {:>10} {:>9}",
        "bus", "rules", "events/s", "us/event", "matching"
    );
    for bus in BUSES {
        for rules in RULES {
            let mut index = Index::default();
            for rule in 0..rules {
                index.add(rule, Pattern::parse(&(bus.pattern)(rule))?);
            }
            let events: Vec<String> = (0..512).map(|n| (bus.event)(n * 7919, rules)).collect();
            let (took, count, matching) =
                measure(&index, &events, Duration::from_secs_f64(seconds))?;
            println!(
                "{:<66} {rules:>8} {:>12.0} {:>10.2} {:>9.1}",
                bus.name,
                count / took,
                took / count * 1e6,
                matching / count,
            );
        }
    }
    Ok(())
}

/// Parses and matches the events over and over: seconds taken, events, and matches.
fn measure(index: &Index<usize>, events: &[String], time: Duration) -> Result<(f64, f64, f64)> {
    let begin = Instant::now();
    let (mut count, mut matching) = (0_u32, 0_usize);
    while begin.elapsed() < time {
        for event in events {
            matching += index.matches(&Event::parse(event)?).len();
            count += 1;
        }
    }
    #[expect(clippy::cast_precision_loss, reason = "a count for people to read")]
    Ok((
        begin.elapsed().as_secs_f64(),
        f64::from(count),
        matching as f64,
    ))
}
