//! Unpacks a deployment package. Nothing in the package is believed: not its names, not its sizes, not its links.
//!
//! Refused are names that leave the folder, names given twice, links out of the tree, devices, encrypted entries, more
//! entries or more content than the limits, and content that does not match its checksum. Files become 0644, or 0755
//! where the package has an executable bit, whatever else it says.

use std::collections::BTreeSet;
use std::fs::{self, OpenOptions};
use std::io::{self, Cursor, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt, symlink};
use std::path::{Component, Path, PathBuf};

use zip::ZipArchive;
use zip::read::ZipFile;

/// Largest sum of the contents (<https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html>).
pub(crate) const UNZIPPED_BYTES_MAX: u64 = 262_144_000;
/// Most entries. The format itself counts no further without its 64-bit extension.
const ENTRIES_MAX: usize = 65_534;
/// Longest name of an entry, as `PATH_MAX` leaves room for the folder before it.
const NAME_BYTES_MAX: usize = 2048;
/// Longest target of a link.
const LINK_BYTES_MAX: u64 = 2048;
/// Folders that absolute links may lead to: where the package itself, and layers, will be seen.
const LINK_ROOTS: [&str; 2] = ["/var/task", "/opt"];

const TYPE_MASK: u32 = 0o170_000;
const TYPE_FILE: u32 = 0o100_000;
const TYPE_FOLDER: u32 = 0o040_000;
const TYPE_LINK: u32 = 0o120_000;

/// Why a package was not unpacked.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// Not a zip, or one that cannot be unpacked safely; the text says why.
    #[error("{0}")]
    Unsound(String),
    /// More than Lambda takes.
    #[error("more than {UNZIPPED_BYTES_MAX} bytes")]
    TooLarge,
    /// The disk failed.
    #[error("could not unpack: {0}")]
    Io(#[from] io::Error),
}

fn unsound(why: impl Into<String>) -> Refused {
    Refused::Unsound(why.into())
}

/// Unpacks into `folder`, which must be there and empty, and returns how many bytes the contents have. What was
/// written before a failure stays behind for the caller to remove.
pub fn unpack(package: &[u8], folder: &Path) -> Result<u64, Refused> {
    check_directory(package)?;
    let mut archive = ZipArchive::new(Cursor::new(package))
        .map_err(|error| unsound(format!("it is not a zip file: {error}")))?;
    if archive.len() > ENTRIES_MAX {
        return Err(unsound(format!("it has more than {ENTRIES_MAX} entries")));
    }
    if archive.has_duplicate_names() {
        return Err(unsound("it has two entries of one name"));
    }
    let mut unpacking = Unpacking {
        folder,
        left: UNZIPPED_BYTES_MAX,
        files: BTreeSet::new(),
        links: Vec::new(),
    };
    for index in 0..archive.len() {
        let entry = archive
            .by_index(index)
            .map_err(|error| unsound(format!("entry {index} cannot be read: {error}")))?;
        unpacking.entry(entry)?;
    }
    unpacking.make_links()?;
    Ok(UNZIPPED_BYTES_MAX - unpacking.left)
}

/// The end record must say where the directory is and how long, before any of it is read into memory.
fn check_directory(package: &[u8]) -> Result<(), Refused> {
    const SIGNATURE: &[u8] = b"PK\x05\x06";
    const RECORD: usize = 22;
    const COMMENT_MAX: usize = 65_535;
    let tail_at = package.len().saturating_sub(RECORD + COMMENT_MAX);
    let found = package[tail_at..]
        .windows(SIGNATURE.len())
        .rposition(|window| window == SIGNATURE)
        .map(|at| &package[tail_at + at..]);
    let Some(record) = found.filter(|record| record.len() >= RECORD) else {
        return Err(unsound("it is not a zip file"));
    };
    let entries = usize::from(u16::from_le_bytes([record[10], record[11]]));
    let comment = usize::from(u16::from_le_bytes([record[20], record[21]]));
    if record.len() != RECORD + comment {
        return Err(unsound("it is a damaged zip file"));
    }
    if entries > ENTRIES_MAX {
        return Err(unsound(format!("it has more than {ENTRIES_MAX} entries")));
    }
    Ok(())
}

struct Unpacking<'a> {
    folder: &'a Path,
    left: u64,
    files: BTreeSet<PathBuf>,
    links: Vec<(PathBuf, String)>,
}

impl Unpacking<'_> {
    fn entry(&mut self, mut entry: ZipFile<'_, Cursor<&[u8]>>) -> Result<(), Refused> {
        let name = entry
            .name()
            .map_err(|error| unsound(format!("an entry's name cannot be read: {error}")))?
            .into_owned();
        let path = safe_path(&name)?;
        let mode = entry.unix_mode().unwrap_or(TYPE_FILE | 0o644);
        match mode & TYPE_MASK {
            _ if entry.is_dir() => self.make_folder(&path),
            TYPE_FOLDER => self.make_folder(&path),
            TYPE_LINK => self.note_link(path, &mut entry),
            TYPE_FILE | 0 => self.make_file(path, mode, &mut entry),
            _ => Err(unsound(format!(
                "the entry '{name}' is neither a file nor a folder nor a link"
            ))),
        }
    }

    fn make_folder(&mut self, path: &Path) -> Result<(), Refused> {
        if path
            .ancestors()
            .any(|ancestor| self.files.contains(ancestor))
        {
            return Err(clash(path));
        }
        let mut whole = self.folder.to_owned();
        for part in path.components() {
            whole.push(part);
            match fs::create_dir(&whole) {
                Ok(()) => fs::set_permissions(&whole, fs::Permissions::from_mode(0o755))?,
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(named(path, &error)),
            }
        }
        Ok(())
    }

    fn make_file(
        &mut self,
        path: PathBuf,
        mode: u32,
        content: &mut impl Read,
    ) -> Result<(), Refused> {
        if path.as_os_str().is_empty() {
            return Err(unsound("an entry has no name"));
        }
        self.make_folder(path.parent().unwrap_or(Path::new("")))?;
        let mode = if mode & 0o111 == 0 { 0o644 } else { 0o755 };
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(mode)
            .open(self.folder.join(&path))
            .map_err(|error| match error.kind() {
                io::ErrorKind::AlreadyExists => clash(&path),
                _ => named(&path, &error),
            })?;
        self.copy(&path, content, &mut file)?;
        // The mask of the process must not decide what the sandbox's user may read.
        file.set_permissions(fs::Permissions::from_mode(mode))?;
        self.files.insert(path);
        Ok(())
    }

    /// Counts what comes out; what the package says of its sizes is of no account.
    fn copy(
        &mut self,
        path: &Path,
        content: &mut impl Read,
        to: &mut impl Write,
    ) -> Result<(), Refused> {
        let mut buffer = [0; 64 * 1024];
        loop {
            let count = match content.read(&mut buffer) {
                Ok(0) => return Ok(()),
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => {
                    let path = path.display();
                    return Err(unsound(format!("the entry '{path}' is damaged: {error}")));
                }
            };
            self.left = self
                .left
                .checked_sub(count as u64)
                .ok_or(Refused::TooLarge)?;
            to.write_all(&buffer[..count])?;
        }
    }

    fn note_link(&mut self, path: PathBuf, content: &mut impl Read) -> Result<(), Refused> {
        let mut target = String::new();
        content
            .take(LINK_BYTES_MAX + 1)
            .read_to_string(&mut target)
            .map_err(|error| unsound(format!("the link '{}': {error}", path.display())))?;
        let sound = target.len() as u64 <= LINK_BYTES_MAX && !target.is_empty();
        if !sound || target.contains('\0') || !stays_inside(&path, &target) {
            return Err(unsound(format!(
                "the link '{}' leads out of the package",
                path.display()
            )));
        }
        self.links.push((path, target));
        Ok(())
    }

    /// Links come last, so that nothing is ever written through one.
    fn make_links(&mut self) -> Result<(), Refused> {
        let links = std::mem::take(&mut self.links);
        for (path, _) in &links {
            self.make_folder(path.parent().unwrap_or(Path::new("")))?;
        }
        for (path, target) in links {
            symlink(target, self.folder.join(&path)).map_err(|error| match error.kind() {
                io::ErrorKind::AlreadyExists => clash(&path),
                _ => named(&path, &error),
            })?;
        }
        Ok(())
    }
}

fn clash(path: &Path) -> Refused {
    unsound(format!("it has two entries for '{}'", path.display()))
}

/// A name the file system does not take is the package's fault; anything else is the disk's.
fn named(path: &Path, error: &io::Error) -> Refused {
    match error.kind() {
        io::ErrorKind::InvalidFilename | io::ErrorKind::InvalidInput => unsound(format!(
            "the name '{}' cannot be a file's: {error}",
            path.display()
        )),
        io::ErrorKind::NotADirectory => clash(path),
        kind => Refused::Io(io::Error::new(kind, format!("{}: {error}", path.display()))),
    }
}

/// The name as a path below the folder: relative, without `..`.
fn safe_path(name: &str) -> Result<PathBuf, Refused> {
    if name.len() > NAME_BYTES_MAX || name.contains('\0') {
        return Err(unsound("an entry's name is too long or has a zero byte"));
    }
    let mut path = PathBuf::new();
    for part in Path::new(name).components() {
        match part {
            Component::Normal(part) => path.push(part),
            Component::CurDir => {}
            Component::ParentDir | Component::RootDir | Component::Prefix(_) => {
                return Err(unsound(format!("the entry '{name}' leaves the package")));
            }
        }
    }
    Ok(path)
}

/// Whether a link stays in the tree, read by its letters. On this machine no link of a package is ever followed; inside
/// the sandbox there is nothing else to be found at the end of one.
fn stays_inside(link: &Path, target: &str) -> bool {
    if target.starts_with('/') {
        let plain = !Path::new(target)
            .components()
            .any(|part| part == Component::ParentDir);
        return plain
            && LINK_ROOTS
                .iter()
                .any(|root| Path::new(target).starts_with(root));
    }
    let parent = link.parent().unwrap_or(Path::new(""));
    let mut depth = parent.components().count();
    for part in Path::new(target).components() {
        match part {
            Component::Normal(_) => depth += 1,
            Component::CurDir => {}
            Component::ParentDir if depth > 0 => depth -= 1,
            _ => return false,
        }
    }
    true
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use zip::write::SimpleFileOptions;
    use zip::{CompressionMethod, ZipWriter};

    use super::*;

    type Writer = ZipWriter<Cursor<Vec<u8>>>;

    fn zip(write: impl FnOnce(&mut Writer)) -> Vec<u8> {
        let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
        write(&mut writer);
        writer.finish().unwrap().into_inner()
    }

    fn file(writer: &mut Writer, name: &str, mode: u32, content: &[u8]) {
        let options = SimpleFileOptions::default().unix_permissions(mode);
        writer.start_file(name, options).unwrap();
        writer.write_all(content).unwrap();
    }

    #[track_caller]
    fn refused(package: &[u8], why: &str) {
        let folder = tempfile::tempdir().unwrap();
        let error = unpack(package, folder.path()).unwrap_err();
        assert!(
            matches!(&error, Refused::Unsound(text) if text.contains(why)),
            "{error}"
        );
        assert!(!folder.path().parent().unwrap().join("evil").exists());
    }

    /// Names the writer itself would clean up, so they are put in afterwards.
    fn renamed(mut package: Vec<u8>, from: &str, to: &str) -> Vec<u8> {
        assert_eq!(from.len(), to.len());
        let mut at = 0;
        while let Some(found) = package[at..]
            .windows(from.len())
            .position(|w| w == from.as_bytes())
        {
            package[at + found..at + found + from.len()].copy_from_slice(to.as_bytes());
            at += found + from.len();
        }
        package
    }

    #[test]
    fn files_folders_and_links_inside() {
        let package = zip(|w| {
            file(w, "bootstrap", 0o700, b"#!/bin/sh");
            file(w, "./lib/deep/a.py", 0o600, b"a = 1");
            w.add_directory("empty", SimpleFileOptions::default())
                .unwrap();
            w.add_symlink("lib/link", "../bootstrap", SimpleFileOptions::default())
                .unwrap();
            w.add_symlink("opt", "/opt/python", SimpleFileOptions::default())
                .unwrap();
        });
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(unpack(&package, folder.path()).unwrap(), 14);
        let mode = |name| {
            folder
                .path()
                .join(name)
                .metadata()
                .unwrap()
                .permissions()
                .mode()
                & 0o777
        };
        assert_eq!(mode("bootstrap"), 0o755);
        assert_eq!(mode("lib/deep/a.py"), 0o644);
        assert_eq!(mode("lib"), 0o755);
        assert_eq!(mode("empty"), 0o755);
        let link = fs::read_link(folder.path().join("lib/link")).unwrap();
        assert_eq!(link, Path::new("../bootstrap"));
    }

    #[test]
    fn what_is_not_a_zip() {
        refused(b"", "not a zip");
        refused(b"hello", "not a zip");
        refused(&[0; 100_000], "not a zip");
        let whole = zip(|w| file(w, "a", 0o644, &[7; 1000]));
        refused(&whole[..whole.len() - 1], "zip file");
        refused(&whole[..whole.len() - 30], "not a zip");
        let mut bad = zip(|w| {
            let options =
                SimpleFileOptions::default().compression_method(CompressionMethod::Stored);
            w.start_file("a", options).unwrap();
            w.write_all(b"content").unwrap();
        });
        let at = bad.windows(7).position(|w| w == b"content").unwrap();
        bad[at] = b'X';
        refused(&bad, "damaged");
    }

    #[test]
    fn names_that_leave_the_folder() {
        let one = |name: &str| zip(|w| file(w, name, 0o644, b"x"));
        refused(&renamed(one("aa/evil"), "aa/evil", "../evil"), "leaves");
        refused(
            &renamed(one("a/bb/evil"), "a/bb/evil", "a/../evil"),
            "leaves",
        );
        refused(
            &renamed(one("atmp/evil"), "atmp/evil", "/tmp/evil"),
            "leaves",
        );
    }

    #[test]
    fn links_that_leave_the_folder() {
        for target in [
            "../evil",
            "/etc/passwd",
            "a/../../evil",
            "/opt/../etc",
            "/optional",
        ] {
            let package = zip(|w| {
                w.add_symlink("link", target, SimpleFileOptions::default())
                    .unwrap();
            });
            refused(&package, "leads out");
        }
    }

    #[test]
    fn nothing_is_written_through_a_link() {
        let package = zip(|w| {
            w.add_symlink("dir", "elsewhere", SimpleFileOptions::default())
                .unwrap();
            file(w, "dir/evil", 0o644, b"x");
        });
        refused(&package, "two entries for 'dir'");
    }

    #[test]
    fn two_entries_of_one_name() {
        refused(
            &renamed(
                zip(|w| {
                    file(w, "name-a", 0o644, b"1");
                    file(w, "name-b", 0o644, b"2");
                }),
                "name-b",
                "name-a",
            ),
            "two entries",
        );
        let package = zip(|w| {
            file(w, "a", 0o644, b"1");
            file(w, "./a", 0o644, b"2");
        });
        refused(&package, "two entries");
        let package = zip(|w| {
            file(w, "a", 0o644, b"1");
            file(w, "a/b", 0o644, b"2");
        });
        refused(&package, "two entries");
    }

    #[test]
    fn a_bomb_is_counted_while_it_inflates() {
        let zeros = vec![0_u8; 16 << 20];
        let bomb = zip(|w| {
            w.start_file("zeros", SimpleFileOptions::default()).unwrap();
            for _ in 0..20 {
                w.write_all(&zeros).unwrap();
            }
        });
        assert!(bomb.len() < 1 << 20);
        let folder = tempfile::tempdir().unwrap();
        assert!(matches!(
            unpack(&bomb, folder.path()),
            Err(Refused::TooLarge)
        ));
    }

    #[test]
    fn a_device_is_refused() {
        let mut package = zip(|w| file(w, "dev", 0o644, b""));
        let at = package.windows(4).position(|w| w == b"PK\x01\x02").unwrap();
        // The high half of the external attributes is the mode.
        package[at + 40..at + 42].copy_from_slice(&0o020_644_u16.to_le_bytes());
        refused(&package, "neither a file");
    }
}
