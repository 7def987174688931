//! Cold starts over the whole public path: no environment of the version is there when it is called.

use std::sync::Barrier;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Result, anyhow, ensure};

use crate::Bench;
use crate::client::Client;
use crate::floor::{self, PAUSE, on_one_cpu};
use crate::mayfly::{self, Files, Mayfly};
use crate::table::{Series, Table};

/// Cold starts of each kind, half of them after a pause and half while the machine is in use.
pub const STARTS: usize = 80;
/// How long another function is called before each of the latter.
const IN_USE: Duration = Duration::from_millis(25);
/// Environments of the burst, and how long each is busy, so that none is used twice.
const BURST: usize = 1000;
const BUSY: Duration = Duration::from_secs(60);

const EVENT: &[u8] = br#"{"key1":"value1"}"#;

/// A bootstrap that asks for an event and answers each with the same text.
const BOOTSTRAP: &str = r#"
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

static char buffer[65536];

/* Reads one reply, and copies the request id of an event. */
static void reply(int fd, char *id) {
    size_t filled = 0;
    for (;;) {
        ssize_t got = read(fd, buffer + filled, sizeof buffer - 1 - filled);
        if (got <= 0) exit(1);
        filled += got;
        buffer[filled] = 0;
        char *body = strstr(buffer, "\r\n\r\n");
        if (!body) continue;
        size_t length = 0;
        for (char *line = buffer; line < body; line = strstr(line, "\r\n") + 2) {
            if (!strncasecmp(line, "content-length:", 15)) length = strtoul(line + 15, 0, 10);
            if (id && !strncasecmp(line, "lambda-runtime-aws-request-id:", 30)) sscanf(line + 30, " %63s", id);
        }
        if (filled >= (size_t)(body + 4 - buffer) + length) return;
    }
}

int main(void) {
    char host[64], id[64], request[512];
    int port;
    if (sscanf(getenv("AWS_LAMBDA_RUNTIME_API"), "%63[^:]:%d", host, &port) != 2) return 1;
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(port)};
    inet_pton(AF_INET, host, &to.sin_addr);
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    if (connect(fd, (struct sockaddr *)&to, sizeof to)) return 1;
    for (;;) {
        const char *next = "GET /2018-06-01/runtime/invocation/next HTTP/1.1\r\nhost: x\r\n\r\n";
        if (write(fd, next, strlen(next)) < 0) return 1;
        reply(fd, id);
        int length = snprintf(request, sizeof request,
            "POST /2018-06-01/runtime/invocation/%s/response HTTP/1.1\r\nhost: x\r\n"
            "content-type: application/json\r\ncontent-length: 8\r\n\r\n\"value1\"", id);
        if (write(fd, request, length) < 0) return 1;
        reply(fd, 0);
    }
}
"#;

/// Versions for which an interpreter of their own waits at most: those that were deployed or called last.
const FURNISHED: usize = 256;

/// Makes SDK clients while it is loaded, as functions do.
const WITH_SDK: &str = "import boto3\ns3 = boto3.client('s3')\ndynamodb = boto3.client('dynamodb')\n\ndef lambda_handler(event, context):\n    return event['key1']\n";

/// Is busy as long as it is told.
const OCCUPIED: &str = "import time\n\ndef lambda_handler(event, context):\n    time.sleep(event.get('busy', 0))\n    return event['key1']\n";
/// Keeps the fork that waited, and the time until it has it: another one is not ready by then.
const OCCUPYING: &[u8] = br#"{"key1":"value1","busy":0.2}"#;
const TAKEN: Duration = Duration::from_micros(500);

/// Says who it is and when it began, and is busy until it is told not to be.
const BURSTING: &str = "import time, uuid\nME = str(uuid.uuid4())\n\ndef lambda_handler(event, context):\n    began = time.time()\n    time.sleep(max(0, event['until'] - began))\n    return [ME, began]\n";

/// Puts the rows into the table.
pub fn measure(bench: &Bench, table: &mut Table) -> Result<()> {
    table.section("Cold: the same path, when no environment of the version is there");
    let (f1, f3) = (&bench.floors.f1, &bench.floors.f3);
    let server = Mayfly::start(&bench.mayfly, &[])?;
    let python = &bench.python;
    let starts = Starts::on(&server, python)?;

    server.deploy("hello", python, &mayfly::hello())?;
    let times = starts.changed("hello", STARTS)?;
    table.cold("Python hello", times, f1, Some(1.5));
    let times = starts.forgotten(python, STARTS / 2)?;
    let what = "Python hello, of which Mayfly expects nothing: its interpreter waits for anybody";
    table.cold(what, times, f1, Some(1.5));
    // Nothing is prepared: the environment of the last of them is there.
    let times = starts.cold(STARTS / 2, |_| Ok("hello".to_owned()))?;
    table.cold("  for comparison, a warm call", times, f3, None);
    let times = starts.published("hello", STARTS)?;
    let what = "Python hello, a version with SnapStart";
    table.cold(what, times, f3, Some(20.0));

    let files = vec![("lambda_function.py".to_owned(), OCCUPIED.into())];
    server.deploy("occupied", python, &files)?;
    let times = starts.on_demand("occupied", STARTS)?;
    let what = "the same, forked on demand: the fork that waited has just been taken";
    table.cold(what, times, f1, Some(4.0));

    let what = "custom runtime, a static binary";
    match custom() {
        Ok(files) => {
            server.deploy("custom", "provided.al2023", &files)?;
            let times = starts.changed("custom", STARTS)?;
            table.cold(what, times, f1, Some(2.0));
        }
        Err(why) => table.missing(what, &why),
    }

    server.stop()
}

/// A function that makes SDK clients while it is loaded.
pub fn with_sdk(bench: &Bench, table: &mut Table) -> Result<()> {
    table.section(
        "Cold, with AWS's SDK: a function that makes two boto3 clients while it is loaded",
    );
    let what = "the SDK of the runtime";
    let python = &bench.python;
    let server = Mayfly::start(&bench.mayfly, &[])?;
    if let Err(why) = server.add_sdk(&bench.mayfly, python) {
        table.missing(what, &why);
        return server.stop();
    }
    let server = server.restart(&bench.mayfly, &[])?;
    let files = vec![("lambda_function.py".to_owned(), WITH_SDK.into())];
    server.deploy("sdk", python, &files)?;
    let f1 = &bench.floors.f1;
    let starts = Starts::on(&server, python)?;
    let times = starts.changed("sdk", STARTS / 2)?;
    table.cold(what, times, f1, Some(3.0));
    let what = "the same, a version with SnapStart";
    let times = starts.published("sdk", STARTS / 2)?;
    table.cold(what, times, f1, None);
    server.stop()
}

/// Cold starts in both states of a machine.
#[derive(Clone, Copy)]
pub struct Cold {
    /// Right after calls of another function: processor and caches are as they are in a loop.
    pub in_use: Series,
    /// After [`PAUSE`]: the processor has to be woken, and its caches know nothing of Mayfly any more.
    pub rested: Series,
}

/// Starts environments on a server.
pub struct Starts<'a> {
    server: &'a Mayfly,
}

impl<'a> Starts<'a> {
    /// The function that keeps the machine in use.
    const OTHER: &'static str = "other";

    /// Deploys what keeps the machine in use.
    pub fn on(server: &'a Mayfly, python: &str) -> Result<Self> {
        server.deploy(Self::OTHER, python, &mayfly::hello())?;
        Ok(Self { server })
    }

    /// The first call after each change of the configuration, which retires every environment.
    pub fn changed(&self, function: &str, starts: usize) -> Result<Cold> {
        self.cold(starts, |count| {
            let change = serde_json::json!({"Description": count.to_string()});
            self.server.configure(function, &change)?;
            Ok(function.to_owned())
        })
    }

    /// The first call of functions since whose deployment so many others were deployed or called that none has an
    /// interpreter of its own.
    fn forgotten(&self, python: &str, starts: usize) -> Result<Cold> {
        let name = |count| format!("forgotten{count}");
        for count in 0..starts + FURNISHED {
            self.server.deploy(&name(count), python, &mayfly::hello())?;
        }
        self.cold(starts, |count| Ok(name(count)))
    }

    /// The first call of each of many versions with SnapStart, all of which are restored.
    pub fn published(&self, function: &str, starts: usize) -> Result<Cold> {
        let times = self.cold(starts, |count| self.publish(function, count))?;
        self.server.expect_restores(function, starts)?;
        Ok(times)
    }

    /// Publishes a version with SnapStart in place of the one before it, and names it.
    fn publish(&self, function: &str, count: usize) -> Result<String> {
        if count > 0 {
            // Versions are numbered from 1.
            self.server.delete_version(function, count)?;
        }
        let snap_start = serde_json::json!({"ApplyOn": "PublishedVersions"});
        let change =
            serde_json::json!({"Description": format!("v{count}"), "SnapStart": snap_start});
        self.server.configure(function, &change)?;
        Ok(format!("{function}:{}", self.server.publish(function)?))
    }

    /// The second of two calls of each of many versions with SnapStart, while the first goes on.
    fn on_demand(&self, function: &str, starts: usize) -> Result<Cold> {
        let times = self.each(starts, |count| {
            let version = self.publish(function, count)?;
            let occupying = self.request(&version, OCCUPYING)?;
            let request = self.request(&version, EVENT)?;
            let access = &self.server.access;
            let (mut first, mut second) = (access.connect()?, access.connect()?);
            Ok(move || {
                let first = std::thread::spawn(move || {
                    first.exchange(&occupying).map(|(status, _)| status)
                });
                std::thread::sleep(TAKEN);
                let time = timed(&mut second, &request)?;
                let status = first.join().map_err(|_| anyhow!("a client panicked"))??;
                ensure!(status == 200, "the first call answered {status}");
                Ok(time)
            })
        })?;
        self.server.expect_restores(function, 2 * starts)?;
        Ok(times)
    }

    /// The first call of what is prepared each time.
    pub fn cold(&self, starts: usize, prepare: impl Fn(usize) -> Result<String>) -> Result<Cold> {
        self.each(starts, |count| {
            let request = self.request(&prepare(count)?, EVENT)?;
            // As with warm calls, and on its connection as if it had called before.
            let mut client = self.server.access.connect()?;
            Ok(move || timed(&mut client, &request))
        })
    }

    /// Prepares starts and takes the time of each, by turns after a pause only, and after a pause and some use.
    fn each<C>(&self, starts: usize, prepare: impl Fn(usize) -> Result<C>) -> Result<Cold>
    where
        C: FnOnce() -> Result<Duration> + Send,
    {
        let (mut in_use, mut rested) = (Vec::new(), Vec::new());
        for count in 0..starts {
            let start = prepare(count)?;
            std::thread::sleep(PAUSE);
            if count % 2 == 0 {
                rested.push(on_one_cpu(start)?);
                continue;
            }
            in_use.push(on_one_cpu(|| {
                self.use_it()?;
                start()
            })?);
        }
        let (in_use, rested) = (Series::of(in_use), Series::of(rested));
        Ok(Cold { in_use, rested })
    }

    fn use_it(&self) -> Result<()> {
        let request = self.request(Self::OTHER, EVENT)?;
        let mut client = self.server.access.connect()?;
        let end = Instant::now() + IN_USE;
        while Instant::now() < end {
            timed(&mut client, &request)?;
        }
        Ok(())
    }

    fn request(&self, function: &str, event: &[u8]) -> Result<Vec<u8>> {
        let path = mayfly::invocations(function);
        let call = ("POST", path.as_str());
        let access = &self.server.access;
        access.request("lambda", call, "application/json", event)
    }
}

fn timed(client: &mut Client, request: &[u8]) -> Result<Duration> {
    let begin = Instant::now();
    let (status, body) = client.exchange(request)?;
    let took = begin.elapsed();
    let text = String::from_utf8_lossy(body);
    ensure!(
        status == 200 && text == "\"value1\"",
        "a call answered {status} {text}"
    );
    Ok(took)
}

fn custom() -> Result<Files> {
    let folder = tempfile::tempdir()?;
    let program = floor::static_program(folder.path(), BOOTSTRAP)?;
    Ok(vec![("bootstrap".to_owned(), std::fs::read(program)?)])
}

/// Many calls at once, each of which needs an environment of its own.
pub fn burst(bench: &Bench, table: &mut Table) -> Result<()> {
    table.section("Burst: many calls at once, each needs an environment");
    let budget = ["--environments-memory-mb-max".as_ref(), "1000000".as_ref()];
    let server = Mayfly::start(&bench.mayfly, &budget)?;
    let files = vec![("lambda_function.py".to_owned(), BURSTING.into())];
    server.deploy("burst", &bench.python, &files)?;
    server.configure(
        "burst",
        &serde_json::json!({"Timeout": 2 * BUSY.as_secs(), "MemorySize": 128}),
    )?;
    let until = (SystemTime::now().duration_since(UNIX_EPOCH)? + BUSY).as_secs_f64();
    let event = serde_json::json!({"until": until}).to_string();
    let path = mayfly::invocations("burst");
    let request = server.access.request(
        "lambda",
        ("POST", path.as_str()),
        "application/json",
        event.as_bytes(),
    )?;
    let start = Barrier::new(BURST + 1);
    let call = || -> Result<(String, f64)> {
        let client = server.access.connect();
        start.wait();
        let mut client = client?;
        let (status, body) = client.exchange(&request)?;
        ensure!(status == 200, "{status} {}", String::from_utf8_lossy(body));
        serde_json::from_slice(body).map_err(|error| anyhow!("{error}"))
    };
    let (began, answers, memory) = std::thread::scope(|scope| {
        let calls: Vec<_> = (0..BURST).map(|_| scope.spawn(call)).collect();
        start.wait();
        let began = SystemTime::now();
        std::thread::sleep(BUSY * 3 / 4);
        let memory = server.environments_mb(Duration::ZERO);
        let answers: Vec<_> = calls.into_iter().map(|call| call.join()).collect();
        (began, answers, memory)
    });
    let began = began.duration_since(UNIX_EPOCH)?.as_secs_f64();
    let (mut last, mut failed, mut first) = (0_f64, 0.0, None);
    let mut environments = std::collections::HashSet::new();
    for answer in answers {
        match answer.map_err(|_| anyhow!("a client panicked"))? {
            Ok((who, at)) => {
                environments.insert(who);
                last = last.max(at - began);
            }
            Err(why) => {
                failed += 1.0;
                first.get_or_insert(why);
            }
        }
    }
    let what = format!("{BURST} environments in a burst: until the last handler began");
    table.at_most(&what, last, "s", Some(4.0));
    table.at_most("  calls that failed", failed, "", Some(0.0));
    if let Some(why) = first {
        table.missing("  the first of them", &why);
    }
    let made = environments.len() as f64;
    table.at_least("  environments that answered", made, "", Some(BURST as f64));
    table.at_most("  private memory of each", memory?, "MB", None);
    server.stop()
}
