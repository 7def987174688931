//! Lifecycle rules and the sweep over a store in memory and a time that the test moves: a month takes milliseconds. Requests
//! and replies are S3's own, as the front door hands them over.
#![allow(clippy::unwrap_used, missing_docs)]

use std::sync::Arc;
use std::time::Duration;

use buckets::{Buckets, Destinations, Language, Secret, Surroundings};
use bytes::Bytes;
use delivery::{Delivery, Outbox};
use store::sim::{Faults, Sim};
use store::{Clock, ManualClock, Store};
use tokio::task::JoinHandle;
use wire::{
    AccountId, Arn, Ask, Authorizer, Body, ByteStream, Caller, CallerKind, Context, Region, Scope,
    Seen, Signed, Storage, StorageRequest, Trailers, Witness,
};

const DAY: Duration = Duration::from_secs(24 * 3600);
const HOUR: Duration = Duration::from_secs(3600);
/// Turns of the runtime after which what has not happened will not.
const TURNS_MAX: usize = 100_000;

/// All requests are allowed, and nobody is told: who may what is tested elsewhere.
struct Everything;

impl Authorizer for Everything {
    fn authorize(&self, _: &Context, _: &Ask<'_>) -> Result<(), String> {
        Ok(())
    }
}

impl Language for Everything {
    fn is_public(&self, _: &str) -> Result<bool, String> {
        Ok(false)
    }
}

impl Destinations for Everything {
    fn check(&self, _: &Delivery) -> Result<(), String> {
        Ok(())
    }
}

impl Witness for Everything {
    fn wants(&self, _: &Context, _: &'static str) -> bool {
        false
    }
    fn saw(&self, _: Seen<'_>) {}
}

/// S3 with its workers.
struct Bed {
    store: Store,
    time: Arc<ManualClock>,
    storage: Arc<dyn Storage>,
    working: Vec<JoinHandle<()>>,
}

impl Drop for Bed {
    fn drop(&mut self) {
        for worker in &self.working {
            worker.abort();
        }
    }
}

impl Bed {
    async fn open(store: Store, time: Arc<ManualClock>) -> Bed {
        let around = Surroundings {
            authorizer: Arc::new(Everything),
            language: Arc::new(Everything),
            destinations: Arc::new(Everything),
            outbox: Outbox::open(&store),
            secret: Arc::new(Secret::new(&[7; 32])),
            witness: Arc::new(Everything),
        };
        let (buckets, workers) = Buckets::open(&store, around).await.unwrap();
        let working = workers.into_iter().map(|worker| tokio::spawn(worker.run));
        Bed {
            store,
            time,
            storage: buckets.storage(),
            working: working.collect(),
        }
    }

    async fn new() -> Bed {
        let (sim, time) = Sim::new(7, Faults::NONE);
        let bed = Bed::open(sim.store(), time).await;
        bed.ask("PUT", "/kept", "").await;
        bed
    }

    /// The status, one header, and the body of a reply.
    async fn reply(&self, method: &str, path: &str, body: &str) -> (u16, http::HeaderMap, String) {
        let account = AccountId::new("123456789012").unwrap();
        let content = Bytes::from(body.to_owned());
        let (head, ()) = http::Request::builder()
            .method(method)
            .uri(path)
            .header("host", "localhost")
            .header("content-length", body.len())
            .body(())
            .unwrap()
            .into_parts();
        let request = StorageRequest {
            head,
            length: Some(content.len() as u64),
            body: ByteStream(Box::pin(futures_util::stream::iter([Ok(content)]))),
            trailers: Trailers::default(),
            context: Context {
                request_id: "r".to_owned(),
                caller: Caller {
                    kind: CallerKind::Root,
                    arn: Arn::root(&account),
                    account,
                    user_id: String::new(),
                    access_key_id: String::new(),
                    session: None,
                },
                scope: Scope {
                    account,
                    region: Region::new("us-east-1").unwrap(),
                },
                source_ip: None,
                user_agent: String::new(),
                secure: false,
                now_ms: self.time.now_ms(),
                host: String::new(),
                trace_id: None,
            },
            signed: Signed::Header,
            guarded: false,
        };
        let reply = self.storage.answer(request).await.reply;
        let (head, body) = reply.into_parts();
        let Body::Whole(body) = body else {
            panic!("nothing here is as large as that");
        };
        let text = String::from_utf8(body.to_vec()).unwrap();
        (head.status.as_u16(), head.headers, text)
    }

    async fn ask(&self, method: &str, path: &str, body: &str) -> String {
        let (status, _, text) = self.reply(method, path, body).await;
        assert!(status < 300, "{method} {path}: {status} {text}");
        text
    }

    /// Puts an object and returns the id of its version.
    async fn put(&self, key: &str, body: &str) -> String {
        let (status, headers, text) = self.reply("PUT", &format!("/kept/{key}"), body).await;
        assert_eq!(status, 200, "{text}");
        let id = headers.get("x-amz-version-id");
        id.map_or(String::new(), |id| id.to_str().unwrap().to_owned())
    }

    async fn versioned(&self) {
        let on = "<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>";
        self.ask("PUT", "/kept?versioning", on).await;
    }

    async fn rule(&self, rule: &str) {
        let text = format!(
            "<LifecycleConfiguration><Rule><ID>r</ID><Status>Enabled</Status><Filter><Prefix></Prefix></Filter>{rule}</Rule></LifecycleConfiguration>"
        );
        self.ask("PUT", "/kept?lifecycle", &text).await;
    }

    /// Versions and delete markers, newest first: a marker has a `!`.
    async fn versions(&self) -> Vec<String> {
        let text = self.ask("GET", "/kept?versions", "").await;
        let mut found = Vec::new();
        for part in text.split('<') {
            match part.split_once('>') {
                Some(("Version", _)) => found.push(String::new()),
                Some(("DeleteMarker", _)) => found.push("!".to_owned()),
                Some(("VersionId", id)) => found.last_mut().unwrap().push_str(id),
                _ => {}
            }
        }
        found
    }

    async fn uploads(&self) -> usize {
        let text = self.ask("GET", "/kept?uploads", "").await;
        text.matches("<Upload>").count()
    }

    async fn small(&self) -> usize {
        let listed = self.store.kv.keys("s3/content/", None, 1000).await;
        listed.unwrap().len()
    }

    async fn blobs(&self) -> usize {
        let listed = self.store.objects.list(None, 1000).await;
        listed.unwrap().len()
    }

    /// The clock on the wall goes on, and the workers look at it at their next hour.
    async fn pass(&self, time: Duration) {
        self.time.advance(time);
        tokio::time::advance(HOUR).await;
        // What wakes now is done before the next request that the test waits for, or within these turns.
        for _ in 0..1000 {
            tokio::task::yield_now().await;
        }
    }
}

/// Waits until a question has this answer.
macro_rules! until {
    ($ask:expr, $expected:expr) => {{
        let expected = $expected;
        let mut turns = 0;
        loop {
            let found = $ask.await;
            if found == expected {
                break;
            }
            turns += 1;
            assert!(turns < TURNS_MAX, "{found:?} and not {expected:?}");
            tokio::task::yield_now().await;
        }
    }};
}

#[tokio::test(start_paused = true)]
async fn old_versions_go_after_their_days() {
    let bed = Bed::new().await;
    bed.versioned().await;
    bed.rule("<NoncurrentVersionExpiration><NoncurrentDays>3</NoncurrentDays><NewerNoncurrentVersions>1</NewerNoncurrentVersions></NoncurrentVersionExpiration>").await;
    let first = bed.put("k", "1").await;
    let second = bed.put("k", "2").await;
    let third = bed.put("k", "3").await;
    // They have been old for two days and a bit.
    bed.pass(2 * DAY).await;
    assert_eq!(bed.versions().await, [third.clone(), second.clone(), first]);
    bed.pass(2 * DAY).await;
    // One that is newer stays beside the current one, however old it gets.
    until!(bed.versions(), [third.clone(), second.clone()]);
    bed.pass(100 * DAY).await;
    assert_eq!(bed.versions().await, [third, second]);
    assert_eq!(bed.ask("GET", "/kept/k", "").await, "3");
}

#[tokio::test(start_paused = true)]
async fn a_marker_goes_with_the_last_version_that_it_hides() {
    let bed = Bed::new().await;
    bed.versioned().await;
    bed.rule("<Expiration><ExpiredObjectDeleteMarker>true</ExpiredObjectDeleteMarker></Expiration><NoncurrentVersionExpiration><NoncurrentDays>1</NoncurrentDays></NoncurrentVersionExpiration>").await;
    let version = bed.put("k", "1").await;
    bed.ask("DELETE", "/kept/k", "").await;
    let both = bed.versions().await;
    assert_eq!(both.len(), 2);
    assert!(both[0].starts_with('!') && both[1] == version, "{both:?}");
    bed.pass(DAY / 2).await;
    assert_eq!(bed.versions().await, both);
    // The version goes, and then nothing is left for the marker to hide.
    bed.pass(2 * DAY).await;
    bed.pass(HOUR).await;
    until!(bed.versions(), Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn current_versions_go_behind_a_marker() {
    let bed = Bed::new().await;
    bed.versioned().await;
    bed.rule("<Expiration><Days>1</Days></Expiration>").await;
    let version = bed.put("k", "1").await;
    bed.pass(2 * DAY).await;
    let hidden = async || bed.reply("GET", "/kept/k", "").await.0;
    until!(hidden(), 404);
    let path = format!("/kept/k?versionId={version}");
    assert_eq!(bed.ask("GET", &path, "").await, "1");
    // A marker of its own does not breed others.
    bed.pass(30 * DAY).await;
    assert_eq!(bed.versions().await.len(), 2);
}

#[tokio::test(start_paused = true)]
async fn unfinished_uploads_end_and_leave_nothing() {
    let bed = Bed::new().await;
    bed.rule("<AbortIncompleteMultipartUpload><DaysAfterInitiation>7</DaysAfterInitiation></AbortIncompleteMultipartUpload>").await;
    let made = bed.ask("POST", "/kept/k?uploads", "").await;
    let id = made.split("<UploadId>").nth(1).unwrap();
    let id = id.split('<').next().unwrap();
    let part = format!("/kept/k?partNumber=1&uploadId={id}");
    bed.ask("PUT", &part, "a part").await;
    bed.pass(6 * DAY).await;
    assert_eq!((bed.uploads().await, bed.blobs().await), (1, 1));
    bed.pass(2 * DAY).await;
    until!(bed.uploads(), 0);
    assert_eq!(bed.reply("PUT", &part, "a part").await.0, 404);
    // Content that nobody names is kept for an hour, as it might be on its way into a record.
    bed.pass(2 * HOUR).await;
    until!(bed.blobs(), 0);
}

#[tokio::test(start_paused = true)]
async fn content_that_nobody_names_goes_within_two_hours_or_at_the_next_start() {
    let bed = Bed::new().await;
    let large = |text: &str| text.repeat(20_000);
    bed.put("kept", &large("kept")).await;
    for n in 0..3 {
        bed.put("k", &large(&format!("{n:04}"))).await;
        bed.put("small", &n.to_string()).await;
    }
    assert_eq!((bed.blobs().await, bed.small().await), (4, 3));
    bed.pass(HOUR / 2).await;
    // Small content is never on its way, as it comes with the record that names it.
    until!(bed.small(), 1);
    assert_eq!(bed.blobs().await, 4);
    bed.pass(HOUR).await;
    until!(bed.blobs(), 2);
    // What a crash leaves on the disk is of the life before.
    bed.store.objects.put(Bytes::from("orphan")).await.unwrap();
    bed.time.advance(Duration::from_secs(1));
    let again = Bed::open(bed.store.clone(), bed.time.clone()).await;
    until!(again.blobs(), 2);
    assert_eq!(again.ask("GET", "/kept/kept", "").await, large("kept"));
    assert_eq!(again.ask("GET", "/kept/small", "").await, "2");
}
