//! Where buckets and objects are kept: buckets in memory too, as every request asks for one; objects in the store alone.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

use bytes::Bytes;
use store::record::{decode, encode};
use store::{Digest, Error as StoreError, Expect, SCAN_ENTRIES_MAX, Store};
use tokio::sync::RwLockReadGuard;

use crate::content::{SMALL, Small};
use crate::record::{Bucket, Object, Upload, UploadedPart};
use crate::{Error, Result};

const BUCKETS: &str = "s3/bucket/";
const OBJECTS: &str = "s3/object/";
const UPLOADS: &str = "s3/upload/";
const PARTS: &str = "s3/part/";
/// Written before each sweep, for its revision.
const SWEPT: &str = "s3/swept";

/// How often a change of an object is tried when others change it at the same time.
const ATTEMPTS_MAX: usize = 64;

/// A bucket that exists, or did a moment ago.
pub(crate) struct Held {
    bucket: RwLock<Arc<Bucket>>,
    /// Held shared while an object is written, and alone while the bucket is changed or removed: an object is never written
    /// into a bucket that was found empty and removed.
    gate: tokio::sync::RwLock<Gate>,
}

struct Gate {
    revision: u64,
    /// Whether the bucket is removed.
    removed: bool,
}

impl Held {
    fn new(bucket: Bucket, revision: u64) -> Arc<Self> {
        Arc::new(Held {
            bucket: RwLock::new(Arc::new(bucket)),
            gate: tokio::sync::RwLock::new(Gate {
                revision,
                removed: false,
            }),
        })
    }

    /// The bucket as it is now.
    pub fn bucket(&self) -> Arc<Bucket> {
        self.bucket
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    async fn enter(&self) -> Result<RwLockReadGuard<'_, Gate>> {
        let gate = self.gate.read().await;
        match gate.removed {
            true => Err(Error::NoSuchBucket),
            false => Ok(gate),
        }
    }
}

/// All buckets.
pub(crate) struct Shelf {
    store: Store,
    buckets: RwLock<BTreeMap<String, Arc<Held>>>,
}

/// What becomes of an object's record.
pub(crate) enum Edit {
    Keep,
    Put(Object),
    Remove,
}

impl Shelf {
    /// Reads all buckets.
    pub async fn open(store: &Store) -> Result<Self> {
        let mut buckets = BTreeMap::new();
        for (_key, entry) in store.kv.scan_all(BUCKETS).await? {
            let bucket: Bucket = decode(&entry.value)?;
            buckets.insert(bucket.name.clone(), Held::new(bucket, entry.revision));
        }
        Ok(Shelf {
            store: store.clone(),
            buckets: RwLock::new(buckets),
        })
    }

    pub fn store(&self) -> &Store {
        &self.store
    }

    /// The bucket of this name.
    pub fn find(&self, name: &str) -> Result<Arc<Held>> {
        let buckets = self.buckets.read().unwrap_or_else(PoisonError::into_inner);
        buckets.get(name).cloned().ok_or(Error::NoSuchBucket)
    }

    /// The buckets of an account, or of all, by name.
    pub fn list(&self, owner: Option<&str>) -> Vec<Arc<Bucket>> {
        let buckets = self.buckets.read().unwrap_or_else(PoisonError::into_inner);
        let all = buckets.values().map(|held| held.bucket());
        all.filter(|bucket| owner.is_none_or(|owner| bucket.owner == owner))
            .collect()
    }

    /// Makes a bucket, or tells which one has its name.
    pub async fn create(&self, bucket: Bucket) -> Result<Option<Arc<Bucket>>> {
        let key = format!("{BUCKETS}{}", bucket.name);
        match self
            .store
            .kv
            .put(&key, encode(&bucket)?, Expect::Absent)
            .await
        {
            Ok(revision) => {
                let mut buckets = self.buckets.write().unwrap_or_else(PoisonError::into_inner);
                buckets.insert(bucket.name.clone(), Held::new(bucket, revision));
                Ok(None)
            }
            // It is on disk and not yet in memory, or the other way round.
            Err(StoreError::Conflict { .. }) => match self.find(&bucket.name) {
                Ok(held) => Ok(Some(held.bucket())),
                Err(_) => Err(Error::OperationAborted),
            },
            Err(error) => Err(error.into()),
        }
    }

    /// Changes a bucket.
    pub async fn change(
        &self,
        name: &str,
        edit: impl FnOnce(&mut Bucket) -> Result<()>,
    ) -> Result<()> {
        let held = self.find(name)?;
        let mut gate = held.gate.write().await;
        if gate.removed {
            return Err(Error::NoSuchBucket);
        }
        let mut bucket = (*held.bucket()).clone();
        edit(&mut bucket)?;
        let key = format!("{BUCKETS}{name}");
        let put = self
            .store
            .kv
            .put(&key, encode(&bucket)?, Expect::Revision(gate.revision));
        gate.revision = put.await?;
        *held.bucket.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(bucket);
        Ok(())
    }

    /// Removes an empty bucket, with the uploads into it.
    pub async fn remove(&self, name: &str) -> Result<()> {
        let held = self.find(name)?;
        let mut gate = held.gate.write().await;
        if gate.removed {
            return Err(Error::NoSuchBucket);
        }
        let bucket = held.bucket();
        let prefix = object_prefix(&bucket);
        if !self.store.kv.scan(&prefix, None, 1).await?.is_empty() {
            return Err(Error::BucketNotEmpty);
        }
        let key = format!("{BUCKETS}{name}");
        self.store
            .kv
            .delete(&key, Expect::Revision(gate.revision))
            .await?;
        gate.removed = true;
        let mut buckets = self.buckets.write().unwrap_or_else(PoisonError::into_inner);
        buckets.remove(name);
        Ok(())
    }

    /// The object of this key, with all its versions.
    pub async fn object(&self, bucket: &Bucket, key: &str) -> Result<Option<Object>> {
        let entry = self.store.kv.get(&object_key(bucket, key)).await?;
        Ok(entry.map(|entry| decode(&entry.value)).transpose()?)
    }

    /// At most `limit` objects whose keys begin with `prefix`, behind the key `after`.
    pub async fn objects(
        &self,
        bucket: &Bucket,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<(String, Object)>> {
        let own = object_prefix(bucket);
        let after = after.map(|after| format!("{own}{after}"));
        let prefix = format!("{own}{prefix}");
        let kv = &self.store.kv;
        let page = kv
            .scan(&prefix, after.as_deref(), limit.min(SCAN_ENTRIES_MAX))
            .await?;
        let object = |(key, entry): (String, store::Entry)| {
            Ok((key[own.len()..].to_owned(), decode(&entry.value)?))
        };
        page.into_iter().map(object).collect()
    }

    /// Changes an object by one compare-and-swap, again and again while others do. Returns what `edit` says and the revision
    /// of the write, if there was one.
    pub async fn edit<T>(
        &self,
        held: &Held,
        key: &str,
        edit: impl FnMut(Option<Object>) -> Result<(Edit, T)>,
    ) -> Result<(T, u64)> {
        self.edit_with(held, key, None, edit).await
    }

    /// The same, and writes small content with it.
    pub async fn edit_with<T>(
        &self,
        held: &Held,
        key: &str,
        small: Option<&Small>,
        mut edit: impl FnMut(Option<Object>) -> Result<(Edit, T)>,
    ) -> Result<(T, u64)> {
        let _gate = held.enter().await?;
        let bucket = held.bucket();
        let at = object_key(&bucket, key);
        let kv = &self.store.kv;
        for _ in 0..ATTEMPTS_MAX {
            let entry = kv.get(&at).await?;
            let revision = entry.as_ref().map(|entry| entry.revision);
            let expect = revision.map_or(Expect::Absent, Expect::Revision);
            let object = entry.map(|entry| decode(&entry.value)).transpose()?;
            let (change, told) = edit(object)?;
            let done = match change {
                Edit::Keep => return Ok((told, revision.unwrap_or_default())),
                Edit::Put(object) => {
                    let bytes = object_bytes(&object)?;
                    match small {
                        Some((other, content)) => {
                            let with = (other.as_str(), content.clone());
                            kv.put_with(&at, bytes, expect, with).await
                        }
                        None => kv.put(&at, bytes, expect).await,
                    }
                }
                Edit::Remove => kv
                    .delete(&at, expect)
                    .await
                    .map(|_was| revision.unwrap_or_default()),
            };
            match done {
                Ok(revision) => return Ok((told, revision)),
                Err(StoreError::Conflict { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(Error::Conflict)
    }

    /// Begins a multipart upload.
    pub async fn begin_upload(&self, held: &Held, id: &str, upload: &Upload) -> Result<()> {
        let _gate = held.enter().await?;
        let key = upload_key(&held.bucket(), id);
        self.store
            .kv
            .put(&key, encode(upload)?, Expect::Absent)
            .await?;
        Ok(())
    }

    /// The upload of this id and key.
    pub async fn upload(&self, bucket: &Bucket, key: &str, id: &str) -> Result<Upload> {
        if !is_id(id) {
            return Err(Error::NoSuchUpload);
        }
        let entry = self.store.kv.get(&upload_key(bucket, id)).await?;
        let upload: Upload = decode(&entry.ok_or(Error::NoSuchUpload)?.value)?;
        match upload.key == key {
            true => Ok(upload),
            false => Err(Error::NoSuchUpload),
        }
    }

    /// All uploads into a bucket, with their ids.
    pub async fn uploads(&self, bucket: &Bucket) -> Result<Vec<(String, Upload)>> {
        let prefix = format!("{UPLOADS}{}/", bucket.id);
        let all = self.store.kv.scan_all(&prefix).await?;
        let upload = |(key, entry): (String, store::Entry)| {
            Ok((key[prefix.len()..].to_owned(), decode(&entry.value)?))
        };
        all.into_iter().map(upload).collect()
    }

    /// Writes a part, or writes it anew.
    pub async fn put_part(
        &self,
        bucket: &Bucket,
        id: &str,
        number: u16,
        part: &UploadedPart,
    ) -> Result<()> {
        let key = format!("{}{number:05}", part_prefix(bucket, id));
        self.store.kv.put(&key, encode(part)?, Expect::Any).await?;
        Ok(())
    }

    /// The parts of an upload by number.
    pub async fn parts(&self, bucket: &Bucket, id: &str) -> Result<BTreeMap<u16, UploadedPart>> {
        let prefix = part_prefix(bucket, id);
        let mut parts = BTreeMap::new();
        for (key, entry) in self.store.kv.scan_all(&prefix).await? {
            if let Ok(number) = key[prefix.len()..].parse() {
                parts.insert(number, decode(&entry.value)?);
            }
        }
        Ok(parts)
    }

    /// Ends an upload. Its parts go afterwards: without the upload nobody sees them.
    pub async fn end_upload(&self, bucket: &Bucket, id: &str) -> Result<()> {
        self.store
            .kv
            .delete(&upload_key(bucket, id), Expect::Any)
            .await?;
        for (key, _entry) in self.store.kv.scan_all(&part_prefix(bucket, id)).await? {
            self.store.kv.delete(&key, Expect::Any).await?;
        }
        Ok(())
    }

    /// Removes records that belong to nothing any more: what a crash, or a part that came late, left behind. Then hands the
    /// digest of every piece of content that a record names to `mark`.
    ///
    /// Parts are read before objects: a part becomes an object's before it is removed, and so is seen here or there.
    pub async fn mark(&self, mut mark: impl FnMut(Digest)) -> Result<()> {
        for (key, _entry) in self.store.kv.scan_all(UPLOADS).await? {
            let bucket = key[UPLOADS.len()..].split('/').next().unwrap_or_default();
            if !self.list(None).iter().any(|known| known.id == bucket) {
                self.store.kv.delete(&key, Expect::Any).await?;
            }
        }
        let mut after = None;
        loop {
            let page = self.page(PARTS, &mut after).await?;
            if page.is_empty() {
                break;
            }
            for (key, entry) in page {
                mark(decode::<UploadedPart>(&entry.value)?.piece.digest);
                let upload = key[PARTS.len()..].rsplit_once('/').unwrap_or_default().0;
                if self
                    .store
                    .kv
                    .get(&format!("{UPLOADS}{upload}"))
                    .await?
                    .is_none()
                {
                    self.store.kv.delete(&key, Expect::Any).await?;
                }
            }
        }
        let mut after = None;
        loop {
            let page = self.page(OBJECTS, &mut after).await?;
            if page.is_empty() {
                return Ok(());
            }
            for (_key, entry) in page {
                let object: Object = decode(&entry.value)?;
                let contents = object
                    .versions
                    .iter()
                    .filter_map(|version| version.content.as_ref());
                contents
                    .flat_map(|content| &content.pieces)
                    .for_each(|piece| mark(piece.digest));
            }
        }
    }

    /// A revision that is newer than all that is in the store now.
    pub async fn revision(&self) -> Result<u64> {
        let written = self.store.kv.put(SWEPT, Bytes::new(), Expect::Any).await;
        Ok(written?)
    }

    /// Removes small content that was written before that revision and that nobody names. Returns how much that was.
    pub async fn sweep_small(
        &self,
        before: u64,
        is_named: impl Fn(&Digest) -> bool,
    ) -> Result<usize> {
        const PAGE: usize = 1000;
        let (kv, mut after, mut removed) = (&self.store.kv, None::<String>, 0);
        loop {
            let page = kv.keys(SMALL, after.as_deref(), PAGE).await?;
            let Some((last, _revision)) = page.last() else {
                return Ok(removed);
            };
            after = Some(last.clone());
            for (key, revision) in page {
                let digest: Option<Digest> = key[SMALL.len()..].parse().ok();
                let is_named = digest.is_some_and(|digest| is_named(&digest));
                if is_named || revision >= before {
                    continue;
                }
                // Who copies it meanwhile writes it anew, and it stays.
                match kv.delete(&key, Expect::Revision(revision)).await {
                    Ok(was) => removed += usize::from(was),
                    Err(StoreError::Conflict { .. }) => {}
                    Err(error) => return Err(error.into()),
                }
            }
        }
    }

    async fn page(
        &self,
        prefix: &str,
        after: &mut Option<String>,
    ) -> Result<Vec<(String, store::Entry)>> {
        const PAGE: usize = 1000;
        let page = self.store.kv.scan(prefix, after.as_deref(), PAGE).await?;
        *after = page.last().map(|(key, _entry)| key.clone());
        Ok(page)
    }
}

/// Ids are ours: 32 hexadecimal digits.
fn is_id(id: &str) -> bool {
    id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit())
}

fn object_bytes(object: &Object) -> Result<Bytes> {
    let bytes = encode(object)?;
    if bytes.len() > store::VALUE_BYTES_MAX {
        let text = "The object has as many versions and parts as Mayfly keeps of one key. Delete some versions.";
        return Err(Error::InvalidRequest(text.to_owned()));
    }
    Ok(bytes)
}

fn object_prefix(bucket: &Bucket) -> String {
    format!("{OBJECTS}{}/", bucket.id)
}

fn object_key(bucket: &Bucket, key: &str) -> String {
    format!("{OBJECTS}{}/{key}", bucket.id)
}

fn upload_key(bucket: &Bucket, id: &str) -> String {
    format!("{UPLOADS}{}/{id}", bucket.id)
}

fn part_prefix(bucket: &Bucket, id: &str) -> String {
    format!("{PARTS}{}/{id}/", bucket.id)
}
