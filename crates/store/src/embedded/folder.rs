//! The store's folder: private to its owner, and open in one process at a time.

use std::collections::BTreeSet;
use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustix::fs::{FlockOperation, fcntl_lock};
use rustix::io::Errno;

use crate::{Error, Result};

const LOCK: &str = "lock";
const FOLDER_MODE: u32 = 0o700;
const FILE_MODE: u32 = 0o600;

/// Folders open in this process. The lock on the file is the process's, so it cannot tell two stores in one apart.
static OPEN: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());

/// A locked folder; dropping it unlocks.
#[derive(Debug)]
pub(super) struct Folder {
    dir: PathBuf,
    // The lock is a record lock of `fcntl`, not of `flock`: children that outlive a killed server inherit the
    // latter with the descriptor and would keep the next server out.
    lock: Option<File>,
}

impl Folder {
    /// Makes the folder if need be, and locks it.
    pub(super) fn lock(dir: &Path) -> Result<Folder> {
        make(dir)?;
        let dir = dir
            .canonicalize()
            .map_err(|error| Error::io("find", dir, &error))?;
        // Looked at first, because closing any other descriptor of the lock file would give up the lock.
        if !open_folders().insert(dir.clone()) {
            return Err(Error::Locked {
                dir,
                holder: Some(std::process::id()),
            });
        }
        match lock_file(&dir) {
            Ok(lock) => Ok(Folder {
                dir,
                lock: Some(lock),
            }),
            Err(error) => {
                open_folders().remove(&dir);
                Err(error)
            }
        }
    }

    /// The path of a file in the folder, which only its owner can read. Makes it if need be.
    pub(super) fn private_file(&self, name: &str) -> Result<PathBuf> {
        let path = self.dir.join(name);
        let file = open_private(&path).map_err(|error| Error::io("open", &path, &error))?;
        file.set_permissions(Permissions::from_mode(FILE_MODE))
            .map_err(|error| Error::io("set the permissions of", &path, &error))?;
        Ok(path)
    }

    /// A folder inside the folder. Makes it if need be.
    pub(super) fn private_folder(&self, name: &str) -> Result<PathBuf> {
        let path = self.dir.join(name);
        make_private(&path).map_err(|error| Error::io("make", &path, &error))?;
        Ok(path)
    }

    /// Makes new names in the folder durable.
    pub(super) fn sync(&self) -> Result<()> {
        sync_folder(&self.dir).map_err(|error| Error::io("sync", &self.dir, &error))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // Closing unlocks. Only then may another store of this process take the folder: its lock would go with ours.
        drop(self.lock.take());
        open_folders().remove(&self.dir);
    }
}

/// Makes a folder that only its owner can enter; it may be there already.
pub(super) fn make_private(dir: &Path) -> io::Result<()> {
    match DirBuilder::new().mode(FOLDER_MODE).create(dir) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        done => done,
    }
}

/// Opens a file that only its owner can read, for writing; it may be there already.
pub(super) fn open_private(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(FILE_MODE)
        .open(path)
}

/// Makes names in the folder durable.
pub(super) fn sync_folder(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

fn make(dir: &Path) -> Result<()> {
    if dir.is_dir() {
        return make_ours_private(dir)
            .map_err(|error| Error::io("set the permissions of", dir, &error));
    }
    DirBuilder::new()
        .recursive(true)
        .mode(FOLDER_MODE)
        .create(dir)
        .map_err(|error| Error::io("make", dir, &error))?;
    let parent = dir
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    sync_folder(parent).map_err(|error| Error::io("sync", parent, &error))
}

/// Closes a folder that is ours (empty, or a store) to others. Any other, such as /tmp given by mistake, is left as
/// it is; what we put into it is private all the same.
fn make_ours_private(dir: &Path) -> io::Result<()> {
    let ours = dir.join(LOCK).exists() || fs::read_dir(dir)?.next().is_none();
    if ours && fs::metadata(dir)?.permissions().mode() & 0o077 != 0 {
        fs::set_permissions(dir, Permissions::from_mode(FOLDER_MODE))?;
    }
    Ok(())
}

fn lock_file(dir: &Path) -> Result<File> {
    let path = dir.join(LOCK);
    let mut file = open_private(&path).map_err(|error| Error::io("open", &path, &error))?;
    match fcntl_lock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {}
        Err(Errno::AGAIN | Errno::ACCESS) => {
            return Err(Error::Locked {
                dir: dir.to_owned(),
                holder: holder(&mut file),
            });
        }
        Err(errno) => return Err(Error::io("lock", path, &errno.into())),
    }
    let written = file
        .set_len(0)
        .and_then(|()| writeln!(file, "{}", std::process::id()));
    written.map_err(|error| Error::io("write", path, &error))?;
    Ok(file)
}

fn holder(file: &mut File) -> Option<u32> {
    let mut text = String::new();
    file.read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}

fn open_folders() -> MutexGuard<'static, BTreeSet<PathBuf>> {
    // Nothing panics while it is held.
    OPEN.lock().unwrap_or_else(PoisonError::into_inner)
}
