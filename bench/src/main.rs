//! `make bench`: what an invocation costs, next to what this machine could do at best, from one run.
//!
//! Everything is on: SigV4, IAM, sandbox, limits. Ratios travel between machines; milliseconds do not.

mod floor;
mod mayfly;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use bytes::Bytes;
use clap::Parser;

use crate::mayfly::{Client, Mayfly};

/// Measures the warm path of Mayfly against floors of the same run.
#[derive(Parser)]
struct Arguments {
    /// The built binary.
    #[arg(long, default_value = "target/release/mayfly")]
    mayfly: PathBuf,
    /// Invocations on one connection.
    #[arg(long, default_value_t = 3000)]
    invocations: usize,
    /// How long each throughput measurement lasts.
    #[arg(long, default_value_t = 5)]
    seconds: u64,
}

/// Invocations before counting begins: the environment starts, caches fill.
const WARM_UP: usize = 200;

#[tokio::main]
async fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let ping_pong = floor::unix_socket_ping_pong()?;
    let http = floor::http_echo(arguments.invocations).await?;

    let mayfly = Mayfly::start(&arguments.mayfly).await?;
    mayfly.deploy("hello", HELLO).await?;
    let mut one = mayfly.client().await?;
    let warm = sequential(&mut one, arguments.invocations).await?;

    println!(
        "{:<52} {:>10} {:>10} {:>12}",
        "", "p50", "p99", "ratio (p50)"
    );
    row(
        "floor F3: Unix-socket ping-pong on one CPU",
        &ping_pong,
        &ping_pong,
    );
    row("floor: HTTP echo, hyper on loopback", &http, &ping_pong);
    row(
        "warm invoke: HTTP, SigV4, IAM, Python, back",
        &warm,
        &ping_pong,
    );
    println!(
        "warm invoke = {:.1} x F3 = {:.1} x HTTP echo",
        warm.p50.as_secs_f64() / ping_pong.p50.as_secs_f64(),
        warm.p50.as_secs_f64() / http.p50.as_secs_f64(),
    );
    for connections in [1, 2, 8] {
        let rate = throughput(&mayfly, connections, Duration::from_secs(arguments.seconds)).await?;
        println!("{connections} connection(s): {rate:.0} invocations/s");
    }
    mayfly.stop().await
}

const HELLO: &str = "def lambda_handler(event, context):\n    return event['key1']\n";
const EVENT: &[u8] = br#"{"key3":"value3","key2":"value2","key1":"value1"}"#;

/// Percentiles of one series.
struct Series {
    p50: Duration,
    p99: Duration,
}

impl Series {
    fn of(mut times: Vec<Duration>) -> Self {
        times.sort_unstable();
        let at = |share: usize| times[(times.len() - 1) * share / 100];
        Self {
            p50: at(50),
            p99: at(99),
        }
    }
}

fn row(name: &str, series: &Series, floor: &Series) {
    let micros = |time: Duration| format!("{:.1} us", time.as_secs_f64() * 1e6);
    println!(
        "{name:<52} {:>10} {:>10} {:>10.1} x",
        micros(series.p50),
        micros(series.p99),
        series.p50.as_secs_f64() / floor.p50.as_secs_f64(),
    );
}

async fn sequential(client: &mut Client, count: usize) -> Result<Series> {
    for _ in 0..WARM_UP {
        invoke(client).await?;
    }
    let mut times = Vec::with_capacity(count);
    for _ in 0..count {
        let begin = Instant::now();
        invoke(client).await?;
        times.push(begin.elapsed());
    }
    Ok(Series::of(times))
}

async fn throughput(mayfly: &Mayfly, connections: usize, lasting: Duration) -> Result<f64> {
    let mut tasks = Vec::new();
    let mut clients = Vec::new();
    for _ in 0..connections {
        let mut client = mayfly.client().await?;
        invoke(&mut client).await?;
        clients.push(client);
    }
    let begin = Instant::now();
    for mut client in clients {
        tasks.push(tokio::spawn(async move {
            let mut count = 0_u32;
            while begin.elapsed() < lasting {
                invoke(&mut client).await?;
                count += 1;
            }
            anyhow::Ok(count)
        }));
    }
    let mut total = 0.0;
    for task in tasks {
        total += f64::from(task.await??);
    }
    Ok(total / begin.elapsed().as_secs_f64())
}

async fn invoke(client: &mut Client) -> Result<()> {
    let path = "/2015-03-31/functions/hello/invocations";
    let (status, body) = client.rest("POST", path, Bytes::from_static(EVENT)).await?;
    anyhow::ensure!(
        status == 200 && body == b"\"value1\""[..],
        "an invocation answered {status} {}",
        String::from_utf8_lossy(&body)
    );
    Ok(())
}

/// Waits for something that may take a while, asking again every 20 ms.
async fn until<T>(what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> Result<T> {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        if let Some(found) = ask().await {
            return Ok(found);
        }
        if Instant::now() > deadline {
            return Err(anyhow::anyhow!("gave up waiting")).context(what.to_owned());
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
