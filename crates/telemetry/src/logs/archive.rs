//! Where groups, streams and events are kept.
//!
//! A group is one record that holds a random id; its streams and events are stored under that id. So a group that was
//! deleted can never show its old data again, whatever a crash left behind, and a name can be taken anew at once.
//!
//! Records: `logs/group:ACCOUNT/REGION:GROUP`, `logs/stream:ID:STREAM`, and `logs/gone:ID` for groups whose data is
//! still to be removed. Journals: `logs/events:ID:STREAM`; an entry is the time of ingestion and the message.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::{BufMut, Bytes, BytesMut};
use serde::{Deserialize, Serialize};
use store::record;
use store::{Clock, Expect, Journal, JournalEntry, Kv, Span, Store, StreamInfo};
use tokio::sync::broadcast;
use wire::{AccountId, Scope};

use crate::{Error, Result};

/// How often a change of a group is tried again when others changed it meanwhile.
const CHANGE_ATTEMPTS_MAX: usize = 10;

/// How many arrivals a Live Tail session may be behind before it misses some, which it then says.
const ARRIVALS_MAX: usize = 1024;

/// Bytes that AWS counts for every event beside its message.
pub(crate) const EVENT_OVERHEAD_BYTES: usize = 26;

/// The largest event, its overhead included.
pub(crate) const EVENT_BYTES_MAX: usize = 1024 * 1024;

/// Bytes that precede the message in an entry: the time of ingestion.
const INGESTION_BYTES: usize = 8;

/// A log group as stored.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Group {
    /// Under which its streams and events are kept.
    pub(crate) id: String,
    pub(crate) created_ms: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) retention_days: Option<i64>,
    /// AWS's word for the class; `STANDARD` mostly.
    pub(crate) class: String,
    #[serde(default)]
    pub(crate) protected: bool,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) tags: BTreeMap<String, String>,
}

store::first_version!(Group);

/// A log stream as stored.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Stream {
    pub(crate) created_ms: i64,
}

store::first_version!(Stream);

/// An event that comes in.
#[derive(Debug, Clone)]
pub(crate) struct NewEvent {
    pub(crate) time_ms: i64,
    pub(crate) message: String,
}

/// What a writer that creates as it goes is allowed to create.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct May {
    /// The log group, if it is missing (`logs:CreateLogGroup`).
    pub create_group: bool,
    /// The log stream, if it is missing (`logs:CreateLogStream`).
    pub create_stream: bool,
}

impl May {
    /// Both.
    pub const CREATE_ALL: Self = Self {
        create_group: true,
        create_stream: true,
    };
}

/// Events that were just stored, for Live Tail.
#[derive(Debug)]
pub(crate) struct Arrival {
    pub(crate) scope: Scope,
    pub(crate) group: String,
    pub(crate) stream: String,
    pub(crate) ingested_ms: i64,
    pub(crate) events: Vec<NewEvent>,
}

/// The handle.
#[derive(Clone)]
pub(crate) struct Archive {
    kv: Arc<dyn Kv>,
    journal: Arc<dyn Journal>,
    pub(super) clock: Arc<dyn Clock>,
    arrivals: broadcast::Sender<Arc<Arrival>>,
    /// Open Live Tail sessions by account.
    pub(super) sessions: Arc<Mutex<HashMap<AccountId, usize>>>,
}

impl Archive {
    pub(crate) fn new(store: &Store) -> Self {
        Self {
            kv: store.kv.clone(),
            journal: store.journal.clone(),
            clock: store.clock.clone(),
            arrivals: broadcast::channel(ARRIVALS_MAX).0,
            sessions: Arc::default(),
        }
    }

    /// Where other records of logs are.
    pub(super) fn kv(&self) -> &dyn Kv {
        &*self.kv
    }

    // Groups.

    pub(super) async fn create_group(&self, at: &Scope, name: &str, group: &Group) -> Result<()> {
        let key = group_key(at, name);
        match self
            .kv
            .put(&key, record::encode(group)?, Expect::Absent)
            .await
        {
            Ok(_) => Ok(()),
            Err(store::Error::Conflict { .. }) => Err(Error::GroupExists),
            Err(error) => Err(error.into()),
        }
    }

    pub(super) async fn group(&self, at: &Scope, name: &str) -> Result<Group> {
        let entry = self.kv.get(&group_key(at, name)).await?;
        let entry = entry.ok_or(Error::GroupNotFound)?;
        Ok(record::decode(&entry.value)?)
    }

    /// Changes a group by compare-and-swap.
    pub(super) async fn change_group(
        &self,
        at: &Scope,
        name: &str,
        change: impl Fn(&mut Group) -> Result<()> + Send + Sync,
    ) -> Result<()> {
        let key = group_key(at, name);
        for _ in 0..CHANGE_ATTEMPTS_MAX {
            let entry = self.kv.get(&key).await?.ok_or(Error::GroupNotFound)?;
            let mut group: Group = record::decode(&entry.value)?;
            change(&mut group)?;
            let expect = Expect::Revision(entry.revision);
            match self.kv.put(&key, record::encode(&group)?, expect).await {
                Ok(_) => return Ok(()),
                Err(store::Error::Conflict { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(Error::Aborted)
    }

    /// At most `limit` groups whose name begins with `prefix`, behind `after`.
    pub(super) async fn groups(
        &self,
        at: &Scope,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<(String, Group)>> {
        let skip = group_key(at, "").len();
        let after = after.map(|name| group_key(at, name));
        let page = self
            .kv
            .scan(&group_key(at, prefix), after.as_deref(), limit)
            .await?;
        page.into_iter()
            .map(|(key, entry)| Ok((key[skip..].to_owned(), record::decode(&entry.value)?)))
            .collect()
    }

    /// Deletes a group, then its data. What a crash leaves is removed by [`Archive::sweep`].
    pub(super) async fn delete_group(&self, at: &Scope, name: &str) -> Result<()> {
        let key = group_key(at, name);
        let entry = self.kv.get(&key).await?.ok_or(Error::GroupNotFound)?;
        let group: Group = record::decode(&entry.value)?;
        if group.protected {
            return Err(Error::Protected(
                "The log group is protected from deletion. Disable deletion protection and try again."
                    .into(),
            ));
        }
        // The note comes first: a note about a group that still lives does nothing, data without a note stays for ever.
        let note = Bytes::copy_from_slice(key.as_bytes());
        self.kv.put(&gone_key(&group.id), note, Expect::Any).await?;
        match self.kv.delete(&key, Expect::Revision(entry.revision)).await {
            Ok(true) => {}
            Ok(false) => return Err(Error::GroupNotFound),
            Err(store::Error::Conflict { .. }) => return Err(Error::Aborted),
            Err(error) => return Err(error.into()),
        }
        self.remove_data(&group.id).await
    }

    /// Removes the data of groups whose deletion was interrupted.
    pub(super) async fn sweep(&self) -> Result<()> {
        for (key, entry) in self.kv.scan_all(GONE).await? {
            let id = &key[GONE.len()..];
            let group_key = String::from_utf8_lossy(&entry.value).into_owned();
            let lives = match self.kv.get(&group_key).await? {
                Some(group) => record::decode::<Group>(&group.value)?.id == id,
                None => false,
            };
            if lives {
                self.kv
                    .delete(&key, Expect::Revision(entry.revision))
                    .await?;
            } else {
                self.remove_data(id).await?;
            }
        }
        Ok(())
    }

    async fn remove_data(&self, id: &str) -> Result<()> {
        let journals = journal_name(id, "");
        loop {
            let page = self.journal.list(&journals, None, PAGE).await?;
            if page.is_empty() {
                break;
            }
            for info in page {
                self.journal.drop_stream(&info.name).await?;
            }
        }
        for (key, _) in self.kv.scan_all(&stream_key(id, "")).await? {
            self.kv.delete(&key, Expect::Any).await?;
        }
        self.kv.delete(&gone_key(id), Expect::Any).await?;
        Ok(())
    }

    /// Every group of every account, for the retention worker.
    pub(super) async fn all_groups(&self) -> Result<Vec<Group>> {
        let all = self.kv.scan_all(GROUP).await?;
        all.into_iter()
            .map(|(_, entry)| Ok(record::decode(&entry.value)?))
            .collect()
    }

    // Streams.

    pub(super) async fn create_stream(
        &self,
        group: &Group,
        name: &str,
        created_ms: i64,
    ) -> Result<()> {
        let key = stream_key(&group.id, name);
        let value = record::encode(&Stream { created_ms })?;
        match self.kv.put(&key, value, Expect::Absent).await {
            Ok(_) => Ok(()),
            Err(store::Error::Conflict { .. }) => Err(Error::StreamExists),
            Err(error) => Err(error.into()),
        }
    }

    pub(super) async fn stream(&self, group: &Group, name: &str) -> Result<Stream> {
        let entry = self.kv.get(&stream_key(&group.id, name)).await?;
        let entry = entry.ok_or(Error::StreamNotFound)?;
        Ok(record::decode(&entry.value)?)
    }

    /// The events go first: a stream that a crash left without them is empty, never half-deleted and back. They go once
    /// more in the end, because somebody may have written while the stream was still there.
    pub(super) async fn delete_stream(&self, group: &Group, name: &str) -> Result<()> {
        self.stream(group, name).await?;
        let (journal, key) = (journal_name(&group.id, name), stream_key(&group.id, name));
        self.journal.drop_stream(&journal).await?;
        let deleted = self.kv.delete(&key, Expect::Any).await?;
        self.journal.drop_stream(&journal).await?;
        match deleted {
            true => Ok(()),
            false => Err(Error::StreamNotFound),
        }
    }

    /// At most `limit` streams whose name begins with `prefix`, behind `after`.
    pub(super) async fn streams(
        &self,
        group: &Group,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<(String, Stream)>> {
        let skip = stream_key(&group.id, "").len();
        let after = after.map(|name| stream_key(&group.id, name));
        let page = self
            .kv
            .scan(&stream_key(&group.id, prefix), after.as_deref(), limit)
            .await?;
        page.into_iter()
            .map(|(key, entry)| Ok((key[skip..].to_owned(), record::decode(&entry.value)?)))
            .collect()
    }

    pub(super) async fn all_streams(&self, group: &Group) -> Result<Vec<(String, Stream)>> {
        let mut all: Vec<(String, Stream)> = Vec::new();
        loop {
            let after = all.last().map(|(name, _)| name.clone());
            let page = self.streams(group, "", after.as_deref(), PAGE).await?;
            if page.is_empty() {
                return Ok(all);
            }
            all.extend(page);
        }
    }

    // Events.

    /// What is known of a stream's events; `None` if it never had any.
    pub(super) async fn info(&self, group: &Group, stream: &str) -> Result<Option<StreamInfo>> {
        Ok(self.journal.info(&journal_name(&group.id, stream)).await?)
    }

    /// The same of every stream whose name begins with `prefix` and that ever had events, by stream name.
    pub(super) async fn infos(
        &self,
        group: &Group,
        prefix: &str,
    ) -> Result<Vec<(String, StreamInfo)>> {
        let skip = journal_name(&group.id, "").len();
        let prefix = journal_name(&group.id, prefix);
        let mut all: Vec<(String, StreamInfo)> = Vec::new();
        loop {
            let after = all.last().map(|(_, info)| info.name.clone());
            let page = self.journal.list(&prefix, after.as_deref(), PAGE).await?;
            if page.is_empty() {
                return Ok(all);
            }
            all.extend(
                page.into_iter()
                    .map(|info| (info.name[skip..].to_owned(), info)),
            );
        }
    }

    pub(super) async fn read(
        &self,
        group: &Group,
        stream: &str,
        span: Span,
        limit: usize,
        direction: store::Direction,
    ) -> Result<store::Page> {
        let name = journal_name(&group.id, stream);
        Ok(self.journal.read(&name, span, limit, direction).await?)
    }

    /// When the latest event of a stream came in.
    pub(super) async fn last_ingestion_ms(
        &self,
        group: &Group,
        stream: &str,
    ) -> Result<Option<i64>> {
        let span = Span::since(0);
        let page = self
            .read(group, stream, span, 1, store::Direction::Backward)
            .await?;
        Ok(page
            .entries
            .first()
            .map(|entry| Event::from(entry).ingested_ms))
    }

    pub(super) async fn trim(&self, group: &Group, stream: &str, before_ms: i64) -> Result<u64> {
        let name = journal_name(&group.id, stream);
        Ok(self
            .journal
            .trim(&name, store::Before::Time(before_ms))
            .await?)
    }

    /// Stores events of a stream that exists; they are on disk when this returns. Answers the number of the last one.
    pub(super) async fn append(
        &self,
        at: &Scope,
        group_name: &str,
        group: &Group,
        stream: &str,
        events: Vec<NewEvent>,
        now_ms: i64,
    ) -> Result<u64> {
        let name = journal_name(&group.id, stream);
        let entries = events
            .iter()
            .map(|event| (event.time_ms, entry(now_ms, &event.message)))
            .collect();
        let appended = self.journal.append(&name, entries).await?;
        // The group or stream may have been deleted meanwhile; then nothing would ever remove what was just written.
        let still = match self.group(at, group_name).await {
            Ok(now) if now.id == group.id => self.stream(group, stream).await.map(|_| ()),
            Ok(_) => Err(Error::GroupNotFound),
            Err(error) => Err(error),
        };
        // A store that cannot say whether they are there is no reason to remove what it has just acknowledged.
        if let Err(gone @ (Error::GroupNotFound | Error::StreamNotFound)) = still {
            self.journal.drop_stream(&name).await?;
            return Err(gone);
        }
        self.announce(at, group_name, stream, events, now_ms);
        Ok(appended.last_seq)
    }

    /// Like [`Archive::append`], creating what is missing and may be created, as Lambda does for its functions.
    pub(crate) async fn append_creating(
        &self,
        at: &Scope,
        group_name: &str,
        stream: &str,
        may: May,
        events: Vec<NewEvent>,
    ) -> Result<()> {
        let now_ms = self.clock.now_ms();
        let group = match self.group(at, group_name).await {
            Err(Error::GroupNotFound) if may.create_group => {
                match self.create_group(at, group_name, &Group::new(now_ms)).await {
                    Ok(()) | Err(Error::GroupExists) => self.group(at, group_name).await?,
                    Err(error) => return Err(error),
                }
            }
            found => found?,
        };
        match self.stream(&group, stream).await {
            Err(Error::StreamNotFound) if may.create_stream => {
                match self.create_stream(&group, stream, now_ms).await {
                    Ok(()) | Err(Error::StreamExists) => {}
                    Err(error) => return Err(error),
                }
            }
            found => {
                found?;
            }
        }
        self.append(at, group_name, &group, stream, events, now_ms)
            .await
            .map(drop)
    }

    // Live Tail.

    pub(super) fn watch(&self) -> broadcast::Receiver<Arc<Arrival>> {
        self.arrivals.subscribe()
    }

    fn announce(&self, at: &Scope, group: &str, stream: &str, events: Vec<NewEvent>, now_ms: i64) {
        if self.arrivals.receiver_count() == 0 {
            return;
        }
        let arrival = Arrival {
            scope: at.clone(),
            group: group.to_owned(),
            stream: stream.to_owned(),
            ingested_ms: now_ms,
            events,
        };
        // Fails only when the last listener has just gone.
        let _ = self.arrivals.send(Arc::new(arrival));
    }

    /// Counts a Live Tail session in, if the account may have one more.
    pub(super) fn open_session(&self, account: AccountId, max: usize) -> Option<Session> {
        let mut open = self.sessions.lock().unwrap_or_else(PoisonError::into_inner);
        let count = open.entry(account).or_default();
        if *count >= max {
            return None;
        }
        *count += 1;
        Some(Session {
            account,
            sessions: self.sessions.clone(),
        })
    }
}

/// An open Live Tail session; counted out when dropped.
pub(super) struct Session {
    account: AccountId,
    sessions: Arc<Mutex<HashMap<AccountId, usize>>>,
}

impl Drop for Session {
    fn drop(&mut self) {
        let mut open = self.sessions.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = open.get_mut(&self.account) {
            *count -= 1;
            if *count == 0 {
                open.remove(&self.account);
            }
        }
    }
}

impl Group {
    /// An ordinary group with a new id.
    pub(super) fn new(created_ms: i64) -> Self {
        Self {
            id: uuid::Uuid::new_v4().simple().to_string(),
            created_ms,
            retention_days: None,
            class: "STANDARD".into(),
            protected: false,
            tags: BTreeMap::new(),
        }
    }

    /// Events before this time are expired.
    pub(super) fn expiry_ms(&self, now_ms: i64) -> Option<i64> {
        self.retention_days.map(|days| now_ms - days * DAY_MS)
    }
}

/// An event as it was stored.
#[derive(Debug, Clone)]
pub(super) struct Event {
    pub(super) time_ms: i64,
    pub(super) ingested_ms: i64,
    pub(super) message: String,
}

impl From<&JournalEntry> for Event {
    fn from(entry: &JournalEntry) -> Self {
        let (ingested, message) = entry
            .body
            .split_first_chunk::<INGESTION_BYTES>()
            .unwrap_or((&[0; INGESTION_BYTES], &[]));
        Self {
            time_ms: entry.time_ms,
            ingested_ms: i64::from_be_bytes(*ingested),
            message: String::from_utf8_lossy(message).into_owned(),
        }
    }
}

fn entry(ingested_ms: i64, message: &str) -> Bytes {
    let mut body = BytesMut::with_capacity(INGESTION_BYTES + message.len());
    body.put_i64(ingested_ms);
    body.put_slice(message.as_bytes());
    body.freeze()
}

/// How AWS would count what a stream's journal holds.
pub(super) fn stored_bytes(info: &StreamInfo) -> i64 {
    let overhead = (EVENT_OVERHEAD_BYTES - INGESTION_BYTES) as u64;
    i64::try_from(info.bytes + info.entries * overhead).unwrap_or(i64::MAX)
}

/// Cuts a message into pieces that fit into an event each, at character boundaries.
pub(crate) fn fit(message: &str) -> Vec<&str> {
    let max = EVENT_BYTES_MAX - EVENT_OVERHEAD_BYTES;
    let mut pieces = Vec::with_capacity(1);
    let mut rest = message;
    while rest.len() > max {
        let (piece, after) = rest.split_at(rest.floor_char_boundary(max));
        pieces.push(piece);
        rest = after;
    }
    pieces.push(rest);
    pieces
}

pub(super) const DAY_MS: i64 = 86_400_000;

/// Records or streams that one look at the store takes.
const PAGE: usize = 1000;

const GROUP: &str = "logs/group:";
const GONE: &str = "logs/gone:";

// Neither accounts and regions nor names of groups hold a colon, and the name of a stream comes last.

fn group_key(at: &Scope, name: &str) -> String {
    format!("{GROUP}{}:{name}", at.key())
}

fn gone_key(id: &str) -> String {
    format!("{GONE}{id}")
}

fn stream_key(id: &str, name: &str) -> String {
    format!("logs/stream:{id}:{name}")
}

fn journal_name(id: &str, stream: &str) -> String {
    format!("logs/events:{id}:{stream}")
}
