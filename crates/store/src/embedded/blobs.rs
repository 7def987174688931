//! Blobs as files: `blobs/ab/cdef...`, two digits of the digest for the folder and the rest for the file.
//!
//! A file gets its name only when it is whole and on disk, so whatever has a name is what it says.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, ErrorKind, Read, Seek, SeekFrom, Write};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::{StreamExt, stream};

use super::folder::{Folder, make_private, open_private, sync_folder};
use crate::blobs::{Hasher, clamp};
use crate::limits::check_page;
use crate::{BlobInfo, BlobStream, Blobs, Clock, Digest, Error, Result};

/// The folders of packages and of objects.
pub(super) const PACKAGES: &str = "blobs";
pub(super) const OBJECTS: &str = "objects";
pub(super) const SHELVES: &[&str] = &[PACKAGES, OBJECTS];
/// Where files are written before they have a name. Emptied at every start.
pub(super) const UNFINISHED: &str = "unfinished";
/// The pieces in which a blob is read.
const PIECE_BYTES: usize = 256 << 10;
/// How many of them are read at a time.
const PIECES_AHEAD: usize = 2;

pub(super) struct FolderBlobs(Arc<Inner>);

struct Inner {
    dir: PathBuf,
    unfinished: PathBuf,
    clock: Arc<dyn Clock>,
    /// Held while a name is given, touched or taken away, so that these do not cross.
    names: Mutex<Names>,
    next_unfinished: AtomicU64,
}

/// Folders whose names this process knows to be on disk. A process that was killed between giving a name and syncing
/// it left one that is only in memory, and whoever puts that content again relies on the disk.
#[derive(Default)]
struct Names {
    synced: BTreeSet<PathBuf>,
}

impl Names {
    fn sync(&mut self, shard: &Path) -> io::Result<()> {
        if !self.synced.contains(shard) {
            sync_folder(shard)?;
            self.synced.insert(shard.to_owned());
        }
        Ok(())
    }
}

impl FolderBlobs {
    pub(super) fn open(folder: &Folder, name: &str, clock: Arc<dyn Clock>) -> Result<FolderBlobs> {
        let dir = folder.private_folder(name)?;
        let unfinished = dir.join(UNFINISHED);
        start(&dir, &unfinished).map_err(|error| Error::io("prepare", &dir, &error))?;
        let next_unfinished = AtomicU64::new(0);
        Ok(FolderBlobs(Arc::new(Inner {
            dir,
            unfinished,
            clock,
            names: Mutex::default(),
            next_unfinished,
        })))
    }

    /// Runs the work on a thread that may block.
    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Arc<Inner>) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let inner = Arc::clone(&self.0);
        // The task ends early when the runtime shuts down.
        tokio::task::spawn_blocking(move || work(&inner))
            .await
            .map_err(|_gone| Error::CLOSED)?
    }
}

/// Removes what a crash left unfinished.
fn start(dir: &Path, unfinished: &Path) -> io::Result<()> {
    match fs::remove_dir_all(unfinished) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        _ => make_private(unfinished)?,
    }
    sync_folder(dir)
}

#[async_trait]
impl Blobs for FolderBlobs {
    async fn put(&self, content: Bytes) -> Result<Digest> {
        self.run(move |inner| {
            let digest = Digest::of(&content);
            if inner.touch(&digest)? {
                return Ok(digest);
            }
            let mut unfinished = Unfinished::new(inner)?;
            unfinished.write(&content)?;
            unfinished.finish()
        })
        .await
    }

    async fn put_stream(&self, mut content: BlobStream) -> Result<Digest> {
        let mut unfinished = self.run(Unfinished::new).await?;
        let mut next = content.next().await;
        while let Some(piece) = next {
            let piece = piece.map_err(|error| Error::Source {
                detail: error.to_string(),
            })?;
            let write = self.run(move |_inner| unfinished.write(&piece).map(|()| unfinished));
            // While a piece is hashed and written the next one comes.
            let (written, following) = tokio::join!(write, content.next());
            (unfinished, next) = (written?, following);
        }
        self.run(move |_inner| unfinished.finish()).await
    }

    async fn touch(&self, digest: &Digest) -> Result<bool> {
        let digest = *digest;
        self.run(move |inner| inner.touch(&digest)).await
    }

    async fn get(&self, digest: &Digest, range: Option<Range<u64>>) -> Result<Option<Bytes>> {
        let digest = *digest;
        self.run(move |inner| {
            let Some((file, range)) = inner.open(&digest, range.as_ref())? else {
                return Ok(None);
            };
            let path = inner.path(&digest);
            read(file, &range)
                .map(Some)
                .map_err(|error| Error::io("read", path, &error))
        })
        .await
    }

    async fn get_stream(
        &self,
        digest: &Digest,
        range: Option<Range<u64>>,
    ) -> Result<Option<BlobStream>> {
        let digest = *digest;
        let opened = self
            .run(move |inner| inner.open(&digest, range.as_ref()))
            .await?;
        Ok(opened.map(|(file, range)| pieces(file, range)))
    }

    async fn info(&self, digest: &Digest) -> Result<Option<BlobInfo>> {
        let digest = *digest;
        self.run(move |inner| inner.info(&digest)).await
    }

    fn path(&self, digest: &Digest) -> Option<PathBuf> {
        Some(self.0.path(digest))
    }

    async fn delete(&self, digest: &Digest) -> Result<bool> {
        let digest = *digest;
        self.run(move |inner| inner.delete(&digest, i64::MAX)).await
    }

    async fn delete_untouched(&self, digest: &Digest, since_ms: i64) -> Result<bool> {
        let digest = *digest;
        self.run(move |inner| inner.delete(&digest, since_ms)).await
    }

    async fn list(&self, after: Option<&Digest>, limit: usize) -> Result<Vec<BlobInfo>> {
        check_page(limit)?;
        let after = after.copied();
        self.run(move |inner| inner.list(after.as_ref(), limit))
            .await
    }
}

impl Inner {
    fn path(&self, digest: &Digest) -> PathBuf {
        let digits = digest.to_hex();
        let (shard, name) = digits.split_at(2);
        self.dir.join(shard).join(name)
    }

    fn names(&self) -> MutexGuard<'_, Names> {
        // Nothing panics while it is held.
        self.names.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes that the blob was put again; `false` when there is none.
    fn touch(&self, digest: &Digest) -> Result<bool> {
        let path = self.path(digest);
        let mut names = self.names();
        let touched = match File::options().write(true).open(&path) {
            Ok(file) => file
                .set_modified(self.now())
                .and_then(|()| names.sync(shard(&path))),
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(false),
            Err(error) => Err(error),
        };
        touched
            .map(|()| true)
            .map_err(|error| Error::io("touch", path, &error))
    }

    fn open(
        &self,
        digest: &Digest,
        range: Option<&Range<u64>>,
    ) -> Result<Option<(File, Range<u64>)>> {
        let path = self.path(digest);
        let opened = File::open(&path).and_then(|mut file| {
            let range = clamp(range, file.metadata()?.len());
            file.seek(SeekFrom::Start(range.start))?;
            Ok((file, range))
        });
        found(opened).map_err(|error| Error::io("open", path, &error))
    }

    fn info(&self, digest: &Digest) -> Result<Option<BlobInfo>> {
        let path = self.path(digest);
        let info = fs::metadata(&path).and_then(|metadata| {
            let touched_ms = milliseconds(metadata.modified()?);
            Ok(BlobInfo {
                digest: *digest,
                size_bytes: metadata.len(),
                touched_ms,
            })
        });
        found(info).map_err(|error| Error::io("look at", path, &error))
    }

    fn delete(&self, digest: &Digest, since_ms: i64) -> Result<bool> {
        let path = self.path(digest);
        let _names = self.names();
        match self.info(digest)? {
            Some(info) if info.touched_ms < since_ms => {}
            _ => return Ok(false),
        }
        let removed = fs::remove_file(&path).and_then(|()| sync_folder(shard(&path)));
        found(removed)
            .map(|removed| removed.is_some())
            .map_err(|error| Error::io("remove", path, &error))
    }

    fn list(&self, after: Option<&Digest>, limit: usize) -> Result<Vec<BlobInfo>> {
        let listing = |error: io::Error| Error::io("list", &self.dir, &error);
        let mut blobs = Vec::new();
        let from = after.map(|after| after.to_hex()).unwrap_or_default();
        for shard in names_in(&self.dir).map_err(listing)? {
            if shard.len() != 2 || *shard < *from.get(..2).unwrap_or_default() {
                continue;
            }
            for name in names_in(&self.dir.join(&shard)).map_err(listing)? {
                // Whatever else somebody put there is not a blob.
                let Ok(digest) = format!("{shard}{name}").parse::<Digest>() else {
                    continue;
                };
                if blobs.len() == limit {
                    return Ok(blobs);
                }
                if after.is_none_or(|after| digest > *after) {
                    blobs.extend(self.info(&digest)?);
                }
            }
        }
        Ok(blobs)
    }

    fn now(&self) -> SystemTime {
        UNIX_EPOCH + Duration::from_millis(u64::try_from(self.clock.now_ms()).unwrap_or_default())
    }
}

/// A file without a name yet; dropping it removes it.
struct Unfinished {
    inner: Arc<Inner>,
    path: PathBuf,
    file: File,
    hasher: Hasher,
}

impl Unfinished {
    fn new(inner: &Arc<Inner>) -> Result<Unfinished> {
        let number = inner.next_unfinished.fetch_add(1, Ordering::Relaxed);
        let path = inner.unfinished.join(number.to_string());
        let file = open_private(&path).map_err(|error| Error::io("make", &path, &error))?;
        Ok(Unfinished {
            inner: Arc::clone(inner),
            path,
            file,
            hasher: Hasher::new(),
        })
    }

    fn write(&mut self, piece: &[u8]) -> Result<()> {
        self.hasher.update(piece);
        self.file
            .write_all(piece)
            .map_err(|error| Error::io("write", &self.path, &error))
    }

    /// Gives the file its name. When another put was faster, or the content was there before, only that is noted.
    fn finish(mut self) -> Result<Digest> {
        let digest = std::mem::replace(&mut self.hasher, Hasher::new()).finish();
        if self.inner.touch(&digest)? {
            return Ok(digest);
        }
        let path = self.inner.path(&digest);
        self.publish(&path)
            .map_err(|error| Error::io("store", path, &error))?;
        Ok(digest)
    }

    fn publish(&self, path: &Path) -> io::Result<()> {
        self.file.set_modified(self.inner.now())?;
        self.file.sync_all()?;
        let mut names = self.inner.names();
        names.synced.remove(shard(path));
        match fs::rename(&self.path, path) {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                make_private(shard(path))?;
                sync_folder(&self.inner.dir)?;
                fs::rename(&self.path, path)?;
            }
            renamed => renamed?,
        }
        names.sync(shard(path))
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        // It is gone when it got its name; otherwise the next start removes what this cannot.
        let _ = fs::remove_file(&self.path);
    }
}

fn shard(path: &Path) -> &Path {
    path.parent().expect("a blob is in a folder")
}

fn names_in(dir: &Path) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(dir)? {
        // A name that is not text is not one of ours.
        names.extend(entry?.file_name().into_string().ok());
    }
    names.sort_unstable();
    Ok(names)
}

fn found<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        other => other.map(Some),
    }
}

fn read(file: File, range: &Range<u64>) -> io::Result<Bytes> {
    let bytes = range.end - range.start;
    let mut content = Vec::with_capacity(usize::try_from(bytes).map_err(io::Error::other)?);
    file.take(bytes).read_to_end(&mut content)?;
    Ok(content.into())
}

/// Reads a range piece by piece, some ahead of the one that is taken.
fn pieces(file: File, range: Range<u64>) -> BlobStream {
    let file = Arc::new(file);
    let begins = range.clone().step_by(PIECE_BYTES);
    let read = move |begin| {
        let file = Arc::clone(&file);
        let bytes =
            usize::try_from(range.end - begin).map_or(PIECE_BYTES, |left| left.min(PIECE_BYTES));
        let reading = tokio::task::spawn_blocking(move || {
            let mut content = vec![0; bytes];
            file.read_exact_at(&mut content, begin)?;
            Ok(Bytes::from(content))
        });
        async { reading.await.map_err(io::Error::other)? }
    };
    Box::pin(stream::iter(begins).map(read).buffered(PIECES_AHEAD))
}

fn milliseconds(time: SystemTime) -> i64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
