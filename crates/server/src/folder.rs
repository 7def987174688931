//! The data folder: what lies where in it, and that nobody else can read it.

use std::fs::{self, DirBuilder, OpenOptions, Permissions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::config::SDKS_FOLDER;
use crate::trust::{BUNDLE_FILE, KEY_FILE};

/// Tells our folders from others, and their layout from later ones.
const FORMAT_FILE: &str = "format";
/// What is known of the machine's interpreters: nothing that a client did, so a reset leaves it.
const TOOLCHAINS_FOLDER: &str = "toolchains";
const FORMAT: &str = "mayfly 1\n";
/// What may be in a folder before its first start.
const MAY_BE_THERE: &[&str] = &["mayfly.toml", "lost+found"];

/// The data folder of one server.
#[derive(Debug, Clone)]
pub struct Folder {
    path: PathBuf,
}

impl Folder {
    /// Opens the folder, or makes it.
    pub fn open_or_make(path: &Path) -> Result<Self> {
        let at = || format!("the data folder {}", path.display());
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(path)
            .with_context(at)?;
        let path = path.canonicalize().with_context(at)?;
        let folder = Folder { path };
        match fs::read_to_string(folder.path.join(FORMAT_FILE)) {
            Ok(format) if format == FORMAT => {}
            Ok(format) => bail!(
                "{} was written by another version of Mayfly ({})",
                at(),
                format.trim()
            ),
            Err(error) if error.kind() == ErrorKind::NotFound => folder.begin()?,
            Err(error) => return Err(error).with_context(at),
        }
        fs::set_permissions(&folder.path, Permissions::from_mode(0o700)).with_context(at)?;
        Ok(folder)
    }

    /// The folder of a server that was started before.
    pub fn open(path: &Path) -> Result<Self> {
        if !path.join(FORMAT_FILE).exists() {
            bail!(
                "no server has been started on {} yet; start one with: mayfly serve --data {}",
                path.display(),
                path.display()
            );
        }
        let path = path.canonicalize()?;
        Ok(Folder { path })
    }

    /// Takes a folder that is empty, and no other: someone may have named /tmp or their home by mistake.
    fn begin(&self) -> Result<()> {
        for entry in fs::read_dir(&self.path)? {
            let name = entry?.file_name();
            if !MAY_BE_THERE.iter().any(|known| name == *known) {
                bail!(
                    "{} is not a data folder of Mayfly and not empty (it has {:?}); name another one with --data",
                    self.path.display(),
                    name
                );
            }
        }
        self.write_private(FORMAT_FILE, FORMAT)
    }

    /// The folder itself.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The folder of the store.
    pub fn store(&self) -> PathBuf {
        self.path.join("store")
    }

    /// Where the catalogue of runtimes keeps its files.
    pub fn toolchains(&self) -> PathBuf {
        self.path.join(TOOLCHAINS_FOLDER)
    }

    /// The root credential, in the form of AWS's own credential files.
    pub fn credentials(&self) -> PathBuf {
        self.path.join(CREDENTIALS_FILE)
    }

    /// Where the server of this folder listens, or listened last.
    pub fn endpoint(&self) -> Option<String> {
        let text = fs::read_to_string(self.path.join(ENDPOINT_FILE)).ok()?;
        Some(text.trim().to_owned())
    }

    /// Writes down where the server listens.
    pub fn set_endpoint(&self, url: &str) -> Result<()> {
        self.write_private(ENDPOINT_FILE, &format!("{url}\n"))
    }

    /// The files that the folder would not be itself without, apart from the store: every one but where the server listens.
    pub fn own_files(&self) -> Result<Vec<PathBuf>> {
        let mut files = Vec::new();
        for entry in fs::read_dir(&self.path)? {
            let entry = entry?;
            if entry.file_type()?.is_file() && entry.file_name() != ENDPOINT_FILE {
                files.push(entry.path());
            }
        }
        Ok(files)
    }

    /// Deletes what the services keep here; what the operator wrote and what names the server stays.
    pub fn empty(&self) -> Result<()> {
        const STAYS: &[&str] = &[
            FORMAT_FILE,
            ENDPOINT_FILE,
            CREDENTIALS_FILE,
            SDKS_FOLDER,
            TOOLCHAINS_FOLDER,
            KEY_FILE,
            crate::vault::KEY_FILE,
            BUNDLE_FILE,
        ];
        for entry in fs::read_dir(&self.path)? {
            let entry = entry?;
            let stays = STAYS.iter().chain(MAY_BE_THERE);
            if stays.into_iter().any(|name| entry.file_name() == *name) {
                continue;
            }
            let path = entry.path();
            let removed = match entry.file_type()?.is_dir() {
                true => fs::remove_dir_all(&path),
                false => fs::remove_file(&path),
            };
            removed.with_context(|| format!("cannot delete {}", path.display()))?;
        }
        Ok(())
    }

    /// Writes a file that only its owner can read, whole or not at all.
    pub fn write_private(&self, name: &str, text: &str) -> Result<()> {
        let path = self.path.join(name);
        write_private(&path, text).with_context(|| format!("cannot write {}", path.display()))
    }
}

/// The name of the credential file.
pub const CREDENTIALS_FILE: &str = "credentials";
const ENDPOINT_FILE: &str = "endpoint";

fn write_private(path: &Path, text: &str) -> io::Result<()> {
    let draft = path.with_extension("new");
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&draft)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&draft, path)?;
    let parent = path.parent().expect("a file in a folder");
    fs::File::open(parent)?.sync_all()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn a_folder_is_made_for_its_owner_only() {
        let outer = tempfile::tempdir().unwrap();
        let path = outer.path().join("a/b");
        let folder = Folder::open_or_make(&path).unwrap();
        folder.set_endpoint("http://x").unwrap();
        assert_eq!(mode(&path), 0o700);
        assert_eq!(mode(&path.join(ENDPOINT_FILE)), 0o600);
        fs::set_permissions(&path, Permissions::from_mode(0o755)).unwrap();
        Folder::open_or_make(&path).unwrap();
        assert_eq!(mode(&path), 0o700);
        assert_eq!(Folder::open(&path).unwrap().endpoint().unwrap(), "http://x");
    }

    #[test]
    fn emptying_leaves_what_the_operator_wrote() {
        let outer = tempfile::tempdir().unwrap();
        fs::write(outer.path().join("mayfly.toml"), "dev = true").unwrap();
        let folder = Folder::open_or_make(outer.path()).unwrap();
        fs::create_dir_all(outer.path().join("store/blobs")).unwrap();
        fs::write(outer.path().join("store/blobs/x"), "").unwrap();
        folder.set_endpoint("http://x").unwrap();
        folder.empty().unwrap();
        let left = fs::read_dir(outer.path()).unwrap();
        let mut left: Vec<_> = left.map(|entry| entry.unwrap().file_name()).collect();
        left.sort();
        assert_eq!(left, ["endpoint", "format", "mayfly.toml"]);
    }

    #[test]
    fn folders_of_others_are_left_alone() {
        let outer = tempfile::tempdir().unwrap();
        fs::set_permissions(outer.path(), Permissions::from_mode(0o755)).unwrap();
        fs::write(outer.path().join("thesis.doc"), "").unwrap();
        let error = Folder::open_or_make(outer.path()).unwrap_err();
        assert!(error.to_string().contains("not empty"), "{error}");
        assert_eq!(mode(outer.path()), 0o755);
        let error = Folder::open(outer.path()).unwrap_err();
        assert!(
            error.to_string().starts_with("no server has been started"),
            "{error}"
        );
        fs::remove_file(outer.path().join("thesis.doc")).unwrap();
        fs::write(outer.path().join(FORMAT_FILE), "mayfly 9\n").unwrap();
        let error = Folder::open_or_make(outer.path()).unwrap_err();
        assert!(error.to_string().contains("another version"), "{error}");
    }
}
