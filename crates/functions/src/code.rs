//! Code on disk: the packages as they came (blobs), and beside them one folder for each package, unpacked, read-only by
//! agreement, named by the package's digest. Functions and layers share what is equal; what nobody refers to is swept.
//!
//! A folder appears at once and whole: it is unpacked under another name, then renamed. Whether it is on the disk
//! before a function is said to be active is up to [`CodeStore::sync`].

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use bytes::Bytes;
use engine::FunctionSpec;
use serde::{Deserialize, Serialize};
use store::{Blobs, Digest};
use tokio::sync::Semaphore;

use crate::archive::{self, Refused, UNZIPPED_BYTES_MAX};
use crate::error::Error;

/// Largest package in a request (<https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html>).
pub(crate) const ZIPPED_BYTES_MAX: usize = 52_428_800;
/// Packages unpacked at once; further ones wait.
const UNPACKERS_MAX: usize = 2;

/// A package and what it holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Package {
    /// SHA-256 of the zip, which names its blob and its folder.
    pub digest: Digest,
    /// Size of the zip.
    pub size: u64,
    /// Size of its contents.
    pub unzipped: u64,
}

impl Package {
    /// `CodeSha256`: the digest as AWS prints it.
    pub(crate) fn sha256(&self) -> String {
        use base64::Engine as _;
        base64::engine::general_purpose::STANDARD.encode(self.digest.as_bytes())
    }
}

/// The folder of code.
pub(crate) struct CodeStore {
    root: PathBuf,
    blobs: Arc<dyn Blobs>,
    unpackers: Semaphore,
    in_use: Mutex<InUse>,
}

#[derive(Default)]
struct InUse {
    /// Names of packages and merged layers that requests are working with, which no record may name yet. Those with a count
    /// of zero were let go since the last sweep began.
    pinned: HashMap<String, usize>,
    /// What running environments were made from. They keep their specification for as long as they live.
    specs: Vec<Weak<FunctionSpec>>,
}

/// Keeps a package from being swept before a record names it.
pub(crate) struct Pin {
    store: Arc<CodeStore>,
    digest: String,
}

impl Drop for Pin {
    fn drop(&mut self) {
        let mut in_use = self.store.in_use();
        if let Some(count) = in_use.pinned.get_mut(&self.digest) {
            *count -= 1;
        }
    }
}

/// What must stay: digests of packages, and names of merged layer folders.
#[derive(Default)]
pub(crate) struct Marked {
    pub packages: BTreeSet<String>,
    pub merged: BTreeSet<String>,
}

impl CodeStore {
    /// Opens the folder, and forgets what was being unpacked when the last process ended.
    pub(crate) fn open(root: PathBuf, blobs: Arc<dyn Blobs>) -> io::Result<Arc<CodeStore>> {
        let mut private = fs::DirBuilder::new();
        private.recursive(true).mode(0o700);
        private.create(&root)?;
        let store = CodeStore {
            blobs,
            unpackers: Semaphore::new(UNPACKERS_MAX),
            in_use: Mutex::default(),
            root,
        };
        remove_folder(&store.temp())?;
        for folder in [store.temp(), store.packages(), store.merged()] {
            private.create(folder)?;
        }
        Ok(Arc::new(store))
    }

    fn temp(&self) -> PathBuf {
        self.root.join("temp")
    }

    fn packages(&self) -> PathBuf {
        self.root.join("packages")
    }

    fn merged(&self) -> PathBuf {
        self.root.join("layers")
    }

    /// Takes a package in: checks and unpacks it, and keeps the zip. The pin holds until a record names the digest.
    pub(crate) async fn take(self: &Arc<Self>, zip: Bytes) -> Result<(Package, Pin), Error> {
        if zip.len() > ZIPPED_BYTES_MAX {
            return Err(Error::PackageTooLarge);
        }
        let hashed = zip.clone();
        let digest = blocking(move || Digest::of(&hashed)).await?;
        let pin = self.pin(digest.to_string());
        let unzipped = self.unpack(digest, zip.clone()).await?;
        let package = Package {
            digest,
            size: zip.len() as u64,
            unzipped,
        };
        self.blobs.put(zip).await?;
        Ok((package, pin))
    }

    fn pin(self: &Arc<Self>, digest: String) -> Pin {
        *self.in_use().pinned.entry(digest.clone()).or_default() += 1;
        Pin {
            store: Arc::clone(self),
            digest,
        }
    }

    /// The zip itself.
    pub(crate) async fn zip(&self, digest: &Digest) -> Result<Option<Bytes>, Error> {
        Ok(self.blobs.get(digest, None).await?)
    }

    /// The package's folder; unpacked again from the zip if it went missing.
    pub(crate) async fn folder(&self, package: &Package) -> Result<PathBuf, Error> {
        let folder = self.package_folder(&package.digest);
        if !folder.is_dir() {
            let zip = self.zip(&package.digest).await?;
            let zip = zip.ok_or_else(|| Error::Internal("a package's zip is gone".to_owned()))?;
            self.unpack(package.digest, zip).await?;
        }
        Ok(folder)
    }

    /// Where the package is, or will be.
    pub(crate) fn package_folder(&self, digest: &Digest) -> PathBuf {
        self.packages().join(digest.to_string())
    }

    async fn unpack(&self, digest: Digest, zip: Bytes) -> Result<u64, Error> {
        let permit = self.unpackers.acquire().await;
        let _permit = permit.expect("the semaphore is never closed");
        let to = self.package_folder(&digest);
        let temp = self.temp().join(uuid::Uuid::new_v4().to_string());
        let unpacked = blocking(move || -> Result<u64, Refused> {
            if to.is_dir() {
                return Ok(content_bytes(&to)?);
            }
            make_public_folder(&temp)?;
            let unpacked = archive::unpack(&zip, &temp);
            if unpacked.is_err() {
                remove_folder(&temp)?;
            }
            let bytes = unpacked?;
            appear(&temp, &to)?;
            Ok(bytes)
        });
        unpacked.await?.map_err(|refused| match refused {
            Refused::Unsound(why) => Error::NotAPackage(why),
            Refused::TooLarge => Error::UnzippedTooLarge,
            Refused::Io(error) => error.into(),
        })
    }

    /// Where the layers are seen as one, or will be; `None` without layers.
    pub(crate) fn layers_folder(&self, layers: &[Package]) -> Option<PathBuf> {
        match layers {
            [] => None,
            [one] => Some(self.package_folder(&one.digest)),
            more => Some(self.merged().join(merged_name(more))),
        }
    }

    /// Puts the layers over one another, later ones last, unless that was done before.
    pub(crate) async fn merge(self: &Arc<Self>, layers: &[Package]) -> Result<(), Error> {
        let mut sources = Vec::new();
        for layer in layers {
            sources.push(self.folder(layer).await?);
        }
        let Some(to) = self.layers_folder(layers) else {
            return Ok(());
        };
        // The records that a sweep under way has seen may not name it yet.
        let name = to.file_name().unwrap_or_default().to_string_lossy();
        let _pin = self.pin(name.into_owned());
        let temp = self.temp().join(uuid::Uuid::new_v4().to_string());
        let merged = blocking(move || -> io::Result<()> {
            if to.is_dir() {
                return Ok(());
            }
            make_public_folder(&temp)?;
            for source in sources {
                put_over(&source, &temp)?;
            }
            appear(&temp, &to)
        });
        Ok(merged.await??)
    }

    /// Resolves when all that was unpacked so far is on the disk, not only in the kernel's memory.
    pub(crate) async fn sync(&self) -> Result<(), Error> {
        let root = self.root.clone();
        let synced = blocking(move || -> io::Result<()> {
            // One call for the whole file system: packages have thousands of files.
            Ok(rustix::fs::syncfs(File::open(root)?)?)
        });
        Ok(synced.await??)
    }

    /// Forgets an unpacked folder that a crash may have left without its contents.
    pub(crate) async fn distrust(&self, digest: &Digest) -> Result<(), Error> {
        let folder = self.package_folder(digest);
        Ok(blocking(move || remove_folder(&folder)).await??)
    }

    /// From now on, and while anyone holds it, the specification's folders stay.
    pub(crate) fn keep(&self, spec: &Arc<FunctionSpec>) {
        let mut in_use = self.in_use();
        in_use.specs.retain(|spec| spec.strong_count() > 0);
        in_use.specs.push(Arc::downgrade(spec));
    }

    /// Removes what is not marked, pinned or in use. `since_ms` is now.
    ///
    /// The blobs are this crate's alone so far. When others store blobs too, deleting them moves to whoever knows all owners.
    pub(crate) async fn sweep(
        &self,
        since_ms: i64,
        mark: impl FnOnce() -> Marked,
    ) -> Result<(), Error> {
        // What was let go before this is in a record by now; what is let go later stays pinned until the next sweep.
        self.in_use().pinned.retain(|_, count| *count > 0);
        let marked = mark();
        let used: BTreeSet<PathBuf> = {
            let mut in_use = self.in_use();
            in_use.specs.retain(|spec| spec.strong_count() > 0);
            let specs = in_use.specs.iter().filter_map(Weak::upgrade);
            specs
                .flat_map(|spec| [Some(spec.code.clone()), spec.layers.clone()])
                .flatten()
                .collect()
        };
        self.sweep_folder(self.merged(), marked.merged, used.clone())
            .await?;
        self.sweep_folder(self.packages(), marked.packages.clone(), used)
            .await?;
        let mut after = None;
        loop {
            const PAGE: usize = 1000;
            let page = self.blobs.list(after.as_ref(), PAGE).await?;
            let Some(last) = page.last() else {
                return Ok(());
            };
            after = Some(last.digest);
            for blob in page {
                let digest = blob.digest.to_string();
                if !marked.packages.contains(&digest) && !self.is_pinned(&digest) {
                    self.blobs.delete_untouched(&blob.digest, since_ms).await?;
                }
            }
        }
    }

    async fn sweep_folder(
        &self,
        folder: PathBuf,
        marked: BTreeSet<String>,
        used: BTreeSet<PathBuf>,
    ) -> Result<(), Error> {
        let entries = blocking(move || -> io::Result<Vec<PathBuf>> {
            let entries: io::Result<Vec<_>> = fs::read_dir(folder)?.collect();
            Ok(entries?.into_iter().map(|entry| entry.path()).collect())
        });
        for path in entries.await?? {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            if marked.contains(&*name) || used.contains(&path) {
                continue;
            }
            let temp = self.temp().join(uuid::Uuid::new_v4().to_string());
            // Renamed first: a half-removed folder must never be taken for a package. Whoever pins it before that keeps it,
            // and whoever does so after finds that it is gone.
            let renamed = {
                let in_use = self.in_use();
                if in_use.pinned.contains_key(&*name) {
                    continue;
                }
                fs::rename(&path, &temp)
            };
            renamed?;
            blocking(move || remove_folder(&temp)).await??;
        }
        Ok(())
    }

    fn is_pinned(&self, digest: &str) -> bool {
        self.in_use().pinned.contains_key(digest)
    }

    fn in_use(&self) -> MutexGuard<'_, InUse> {
        // Nothing panics while it is held.
        self.in_use.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The name of the folder in which these layers lie over one another.
pub(crate) fn merged_name(layers: &[Package]) -> String {
    let names: Vec<String> = layers
        .iter()
        .map(|layer| layer.digest.to_string())
        .collect();
    Digest::of(names.join(",").as_bytes()).to_string()
}

/// AWS counts code and layers together.
pub(crate) fn check_total(code: u64, layers: &[Package]) -> Result<(), Error> {
    let total = code + layers.iter().map(|layer| layer.unzipped).sum::<u64>();
    match total <= UNZIPPED_BYTES_MAX {
        true => Ok(()),
        false => Err(Error::CodeWithLayersTooLarge { total }),
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Error> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|panic| Error::Internal(panic.to_string()))
}

/// The sandbox's user must be able to read it, though nobody else gets past the folders above.
fn make_public_folder(path: &Path) -> io::Result<()> {
    fs::create_dir(path)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o755))
}

fn remove_folder(path: &Path) -> io::Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        done => done,
    }
}

/// Gives a finished folder its name. Somebody else may have been faster with the same content.
fn appear(temp: &Path, to: &Path) -> io::Result<()> {
    match fs::rename(temp, to) {
        Err(_) if to.is_dir() => remove_folder(temp),
        done => done,
    }
}

fn content_bytes(folder: &Path) -> io::Result<u64> {
    let mut bytes = 0;
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            let kind = entry.file_type()?;
            if kind.is_dir() {
                folders.push(entry.path());
            } else if kind.is_file() {
                bytes += entry.metadata()?.len();
            }
        }
    }
    Ok(bytes)
}

/// Puts the contents of a layer over those of earlier ones. Links are never followed. Files are shared with the layer's
/// own folder, since neither is ever written to.
fn put_over(from: &Path, to: &Path) -> io::Result<()> {
    let mut entries = BTreeMap::<OsString, _>::new();
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        entries.insert(entry.file_name(), entry);
    }
    for (name, entry) in entries {
        let (source, target) = (entry.path(), to.join(name));
        let kind = entry.file_type()?;
        let below = target
            .symlink_metadata()
            .ok()
            .map(|there| there.file_type());
        match below {
            Some(there) if there.is_dir() && kind.is_dir() => {}
            Some(there) if there.is_dir() => fs::remove_dir_all(&target)?,
            Some(_) => fs::remove_file(&target)?,
            None => {}
        }
        if kind.is_dir() {
            if !below.is_some_and(|there| there.is_dir()) {
                make_public_folder(&target)?;
            }
            put_over(&source, &target)?;
        } else if kind.is_symlink() {
            symlink(fs::read_link(&source)?, &target)?;
        } else if fs::hard_link(&source, &target).is_err() {
            // File systems without hard links, or a file that has too many.
            fs::copy(&source, &target)?;
        }
    }
    Ok(())
}
