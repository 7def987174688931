//! Objects on disk, beside the same bytes through a plain HTTP server and a synced file; a large bucket listed; the memory of a
//! large upload.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, ensure};

use crate::client::{Access, Client};
use crate::floor::Floor;
use crate::mayfly::Mayfly;
use crate::s3_floor::Plain;
use crate::table::{Series, Table};
use crate::{Bench, process};

/// Sizes of objects, what they are called, and how often each is measured.
const SIZES: &[(usize, &str, usize)] = &[
    (4 << 10, "4 KiB", 300),
    (1 << 20, "1 MiB", 100),
    (256 << 20, "256 MiB", 5),
];
/// Connections that fill the bucket.
const WRITERS: usize = 16;
/// Keys of a page, the most that S3 gives.
const PAGE_KEYS: usize = 1000;
/// Parts of the large upload, of which the client holds one.
const PART_BYTES: usize = 64 << 20;
/// What must be free on disk after the large upload.
const DISK_LEFT: u64 = 15 << 30;

/// Puts the rows into the table.
pub fn measure(bench: &Bench, table: &mut Table) -> Result<()> {
    table.section("S3: objects, against the same bytes through a plain server and a synced file");
    let server = Mayfly::start(&bench.mayfly, &[])?;
    let mut store = S3::connect(&server.access)?;
    store.make("bench")?;
    for size in SIZES {
        objects(&mut store, table, *size)?;
    }
    list(&mut store, bench, table)?;
    // The server ends connections that are silent for long, as this one was.
    store = S3::connect(&server.access)?;
    let what = format!("{} GiB in parts of 64 MiB", bench.upload_gib);
    match large_upload(&mut store, &server, table, &what, bench.upload_gib) {
        Ok(()) => {}
        Err(why) => table.missing(&what, &why),
    }
    server.stop()
}

/// A client of one connection.
struct S3 {
    access: Access,
    client: Client,
}

impl S3 {
    fn connect(access: &Access) -> Result<Self> {
        let client = access.connect()?;
        let access = access.clone();
        Ok(Self { access, client })
    }

    fn make(&mut self, bucket: &str) -> Result<()> {
        self.put(&format!("/{bucket}"), b"").map(|_| ())
    }

    /// Puts some content; how long it took.
    fn put(&mut self, path: &str, content: &[u8]) -> Result<Duration> {
        let head = self.access.s3(("PUT", path), content)?;
        let begin = Instant::now();
        let (status, reply) = self.client.upload(&head, content)?;
        let took = begin.elapsed();
        ensure!(
            status == 200,
            "PUT {path}: {}",
            String::from_utf8_lossy(reply)
        );
        Ok(took)
    }

    /// Gets an object, of which the size is known; how long it took.
    fn get(&mut self, path: &str, size: usize) -> Result<Duration> {
        let head = self.access.s3(("GET", path), b"")?;
        let begin = Instant::now();
        let got = self.client.download(&head)?;
        let took = begin.elapsed();
        ensure!(got == (200, size), "GET {path}: {got:?}");
        Ok(took)
    }

    /// The reply to a request without content or with a small one.
    fn ask(&mut self, call: (&str, &str), content: &[u8]) -> Result<String> {
        let head = self.access.s3(call, content)?;
        let (status, reply) = self.client.upload(&head, content)?;
        let reply = String::from_utf8_lossy(reply).into_owned();
        ensure!(
            matches!(status, 200 | 204),
            "{} {}: {reply}",
            call.0,
            call.1
        );
        Ok(reply)
    }
}

/// Content that is not there yet: equal content would be kept once.
struct Content(Vec<u8>);

impl Content {
    fn new(size: usize) -> Self {
        let byte = |at: usize| (at.wrapping_mul(0x9E37_79B9) >> 13).to_le_bytes()[0];
        Self((0..size).map(byte).collect())
    }

    fn next(&mut self, number: usize) -> &[u8] {
        self.0[..8].copy_from_slice(&number.to_le_bytes());
        &self.0
    }
}

/// One size, written and read by turns with the floor, so that both meet the same disk.
fn objects(
    store: &mut S3,
    table: &mut Table,
    (size, name, count): (usize, &str, usize),
) -> Result<()> {
    let plain = Plain::start()?;
    let mut client = Client::connect(&plain.address)?;
    let mut content = Content::new(size);
    let (mut floors, mut ours) = (Vec::new(), Vec::new());
    for number in 0..count {
        let content = content.next(number);
        let head = plain.request("PUT", size);
        let begin = Instant::now();
        let (status, _) = client.upload(&head, content)?;
        floors.push(begin.elapsed());
        ensure!(status == 200, "the plain server cannot write");
        ours.push(store.put(&format!("/bench/{size}"), content)?);
    }
    row(table, "PUT", name, floors, ours);
    let (mut floors, mut ours) = (Vec::new(), Vec::new());
    for _ in 0..count {
        let head = plain.request("GET", 0);
        let begin = Instant::now();
        let got = client.download(&head)?;
        floors.push(begin.elapsed());
        ensure!(got == (200, size), "the plain server sends something else");
        ours.push(store.get(&format!("/bench/{size}"), size)?);
    }
    row(table, "GET", name, floors, ours);
    store.ask(("DELETE", &format!("/bench/{size}")), b"")?;
    Ok(())
}

fn row(
    table: &mut Table,
    verb: &'static str,
    size: &str,
    floors: Vec<Duration>,
    ours: Vec<Duration>,
) {
    let what = match verb {
        "PUT" => "received, written, synced",
        _ => "read, sent",
    };
    let floor = Floor {
        name: "plain",
        what,
        series: Series::of(floors),
        rested: None,
    };
    table.floor(&floor);
    table.times(&format!("{verb} {size}"), Series::of(ours), &floor, None);
}

/// Fills a bucket, and reads its list to the end.
fn list(store: &mut S3, bench: &Bench, table: &mut Table) -> Result<()> {
    let keys = bench.keys;
    store.make("many")?;
    let begin = Instant::now();
    fill(&store.access, keys)?;
    let rate = keys as f64 / begin.elapsed().as_secs_f64();
    let what = format!("keys a second, {WRITERS} connections, equal content of 6 bytes");
    table.at_least(&what, rate, "/s", None);
    // This one has been silent meanwhile.
    *store = S3::connect(&store.access)?;
    let mut after = String::new();
    let (mut pages, mut listed) = (Vec::new(), 0);
    let begin = Instant::now();
    loop {
        let path = format!("/many?list-type=2{after}");
        let start = Instant::now();
        let page = store.ask(("GET", &path), b"")?;
        pages.push(start.elapsed());
        listed += page.matches("<Key>").count();
        let token = page.split_once("<NextContinuationToken>");
        let Some((token, _)) = token.and_then(|(_, rest)| rest.split_once('<')) else {
            break;
        };
        after = format!("&continuation-token={token}");
    }
    let whole = begin.elapsed();
    ensure!(listed == keys, "{listed} of {keys} keys are listed");
    let what = format!("ListObjectsV2, a page of {PAGE_KEYS} out of {keys}");
    table.times(&what, Series::of(pages), &bench.floors.tcp, None);
    let what = format!("ListObjectsV2, all pages of {keys}");
    table.at_most(&what, whole.as_secs_f64(), "s", None);
    Ok(())
}

fn fill(access: &Access, keys: usize) -> Result<()> {
    let next = AtomicUsize::new(0);
    let write = || -> Result<()> {
        let mut store = S3::connect(access)?;
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= keys {
                return Ok(());
            }
            store.put(&format!("/many/photos/{number:08}.jpg"), b"a key\n")?;
        }
    };
    std::thread::scope(|scope| {
        let writers: Vec<_> = (0..WRITERS).map(|_| scope.spawn(write)).collect();
        writers.into_iter().try_for_each(|writer| {
            let written = writer.join();
            written.map_err(|_| anyhow!("a writer panicked"))?
        })
    })
}

/// A multipart upload: how fast, and how much memory the server takes for it at most.
fn large_upload(
    store: &mut S3,
    server: &Mayfly,
    table: &mut Table,
    what: &str,
    gib: u64,
) -> Result<()> {
    let size = gib << 30;
    let disk = rustix::fs::statvfs(server.data())?;
    let free = disk.f_bavail * disk.f_frsize;
    ensure!(free >= size + DISK_LEFT, "{} GiB are free", free >> 30);
    let path = "/bench/large";
    let begun = store.ask(("POST", &format!("{path}?uploads=")), b"")?;
    let id = begun
        .split_once("<UploadId>")
        .and_then(|(_, rest)| rest.split_once('<'));
    let (id, _) = id.context("an upload without an id")?;
    let before = process::resident_mb(server.pid())?;
    process::forget_peak(server.pid())?;
    let mut part = Content::new(PART_BYTES);
    let mut took = Duration::ZERO;
    for number in 1..=usize::try_from(size)? / PART_BYTES {
        let path = format!("{path}?partNumber={number}&uploadId={id}");
        took += store.put(&path, part.next(number))?;
    }
    let body = completion(&store.ask(("GET", &format!("{path}?uploadId={id}")), b"")?)?;
    let begin = Instant::now();
    store.ask(("POST", &format!("{path}?uploadId={id}")), body.as_bytes())?;
    let seconds = (took + begin.elapsed()).as_secs_f64();
    let rate = size as f64 / f64::from(1 << 20) / seconds;
    table.at_least(what, rate, "MiB/s", None);
    let peak = process::peak_mb(server.pid())?;
    table.at_most("  the server's memory before", before, "MB", None);
    table.at_most("  the server's memory at most meanwhile", peak, "MB", None);
    store.ask(("DELETE", path), b"")?;
    Ok(())
}

/// What completes an upload with all the parts that are listed.
fn completion(list: &str) -> Result<String> {
    let tags = list.split("<ETag>").skip(1);
    let mut parts = String::new();
    for (at, rest) in tags.enumerate() {
        let (etag, _) = rest.split_once('<').context("a list that is cut")?;
        let number = at + 1;
        parts += &format!("<Part><PartNumber>{number}</PartNumber><ETag>{etag}</ETag></Part>");
    }
    Ok(format!(
        "<CompleteMultipartUpload>{parts}</CompleteMultipartUpload>"
    ))
}
