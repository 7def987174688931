//! How many durable writes a second the embedded store makes, alone and many at a time, next to the floor of this
//! disk: one write and `fdatasync` after the other. `cargo run --release -p store --example throughput [folder]`.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Result;
use store::{Direction, Expect, NewEntry, Span, Store};

/// How long each line is measured.
const TIME: Duration = Duration::from_secs(2);
const VALUE_BYTES: usize = 1024;
const BATCH: usize = 1000;
const LINE: &str = "2026-01-01T00:00:00.000Z 8f5e1c52-8c7b-4f5e-9d6a-0c2b6f6f7a11 INFO order 4711 was received and stored";

#[tokio::main]
async fn main() -> Result<()> {
    let parent = std::env::args_os()
        .nth(1)
        .map_or_else(std::env::temp_dir, PathBuf::from);
    let dir = parent.join(format!("mayfly-throughput-{}", std::process::id()));
    let store = Store::open(&dir)?;
    let measured = measure(&dir, &store).await;
    store.close().await;
    std::fs::remove_dir_all(&dir)?;
    measured
}

async fn measure(dir: &Path, store: &Store) -> Result<()> {
    println!("{:<44} {:>12} {:>10}", "", "per second", "mean group");
    let floor = floor(&dir.join("floor"))?;
    print(
        &format!("write + fdatasync of {VALUE_BYTES} bytes"),
        floor,
        None,
    );
    for tasks in [1, 32, 256] {
        let before = store.stats();
        let rate = puts(store, tasks).await?;
        print(
            &format!("kv put, {tasks} at a time"),
            rate,
            Some(group(before, store)),
        );
    }
    for tasks in [1, 32, 256] {
        let before = store.stats();
        let rate = messages(store, tasks).await?;
        print(
            &format!("queue push + lease + ack, {tasks} at a time"),
            rate,
            Some(group(before, store)),
        );
    }
    let before = store.stats();
    let rate = lines(store).await?;
    print(
        &format!("journal lines, {BATCH} to an append, 4 at a time"),
        rate,
        Some(group(before, store)),
    );
    let rate = reads(store).await?;
    print("journal lines read by time", rate, None);
    Ok(())
}

fn print(what: &str, per_second: f64, group: Option<f64>) {
    let group = group.map_or_else(String::new, |group| format!("{group:.1}"));
    println!("{what:<44} {per_second:>12.0} {group:>10}");
}

fn group(before: store::Stats, store: &Store) -> f64 {
    let after = store.stats();
    let count = |count: u64| u32::try_from(count).map_or(f64::MAX, f64::from);
    count(after.writes - before.writes) / count(after.commits - before.commits)
}

fn floor(path: &Path) -> Result<f64> {
    let mut file = File::create(path)?;
    let value = [7; VALUE_BYTES];
    let (begin, mut writes) = (Instant::now(), 0u32);
    while begin.elapsed() < TIME {
        file.write_all(&value)?;
        file.sync_data()?;
        writes += 1;
    }
    Ok(f64::from(writes) / begin.elapsed().as_secs_f64())
}

/// Runs the work over and over in so many tasks, and returns how much it did in a second.
async fn repeat<F>(tasks: usize, work: impl Fn(usize, u32) -> F) -> Result<f64>
where
    F: Future<Output = Result<u32>>,
{
    let begin = Instant::now();
    let work = &work;
    let runs = (0..tasks).map(|task| async move {
        let (mut run, mut done) = (0, 0);
        while begin.elapsed() < TIME {
            done += work(task, run).await?;
            run += 1;
        }
        anyhow::Ok(done)
    });
    let done: u32 = futures_util::future::try_join_all(runs)
        .await?
        .into_iter()
        .sum();
    Ok(f64::from(done) / begin.elapsed().as_secs_f64())
}

async fn puts(store: &Store, tasks: usize) -> Result<f64> {
    repeat(tasks, async |task, run| {
        let key = format!("{task}/{}", run % 100);
        store
            .kv
            .put(&key, vec![7; VALUE_BYTES].into(), Expect::Any)
            .await?;
        Ok(1)
    })
    .await
}

async fn messages(store: &Store, tasks: usize) -> Result<f64> {
    repeat(tasks, async |task, run| {
        let queue = format!("q{task}");
        store
            .queues
            .push(&queue, &run.to_string(), 0, vec![7; VALUE_BYTES].into())
            .await?;
        let leased = store
            .queues
            .lease(&queue, 1, Duration::from_secs(60))
            .await?;
        store.queues.ack(&leased[0].token).await?;
        Ok(1)
    })
    .await
}

async fn lines(store: &Store) -> Result<f64> {
    repeat(4, async |task, run| {
        let time_ms = i64::from(run);
        let entries: Vec<NewEntry> = (0..BATCH).map(|_| (time_ms, LINE.into())).collect();
        store
            .journal
            .append(&format!("stream{task}"), entries)
            .await?;
        Ok(u32::try_from(BATCH)?)
    })
    .await
}

async fn reads(store: &Store) -> Result<f64> {
    let last = store
        .journal
        .info("stream0")
        .await?
        .and_then(|info| info.last_ms)
        .unwrap_or_default()
        .max(1);
    repeat(2, async |task, run| {
        let from_ms = (i64::from(run) * 7919 + i64::try_from(task)?) % last;
        let page = store
            .journal
            .read(
                "stream0",
                Span::times(from_ms, last),
                BATCH,
                Direction::Forward,
            )
            .await?;
        Ok(u32::try_from(page.entries.len())?)
    })
    .await
}
