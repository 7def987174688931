//! The code that `mayfly run` is given, copied to where the sandbox may read it.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use tempfile::TempDir;

/// More than Lambda takes, unzipped.
const BYTES_MAX: u64 = 262_144_000;
/// The usual module, and the usual function in it.
const MODULE: &str = "lambda_function";
const FUNCTION: &str = "lambda_handler";

/// A copy of the code. The original may be in a folder that is closed to the sandbox's user, and may change.
pub struct Code {
    folder: TempDir,
    /// What to call.
    pub handler: String,
    /// Whether it is an executable `bootstrap` and no module.
    pub is_bootstrap: bool,
}

impl Code {
    /// Copies a file, a folder or a zip's contents.
    pub fn stage(path: &Path, handler: Option<&str>) -> Result<Code> {
        let folder = tempfile::Builder::new().prefix("mayfly-code-").tempdir()?;
        open_to_all(folder.path(), true)?;
        let about =
            fs::metadata(path).with_context(|| format!("cannot read {}", path.display()))?;
        let extension = path
            .extension()
            .and_then(|e| e.to_str())
            .unwrap_or_default();
        let mut module = None;
        if about.is_dir() {
            copy_folder(path, folder.path())
                .with_context(|| format!("cannot copy {}", path.display()))?;
        } else if extension == "zip" {
            unzip(path, folder.path())?;
        } else if extension == "py" {
            let name = path.file_name().expect("a file has a name");
            copy_file(path, &folder.path().join(name))?;
            module = path
                .file_stem()
                .and_then(|stem| stem.to_str())
                .map(str::to_owned);
        } else {
            // Anything else must be an executable that speaks the Runtime API.
            if about.permissions().mode() & 0o111 == 0 {
                bail!(
                    "{} is neither a .py file, a .zip, a folder nor executable",
                    path.display()
                );
            }
            copy_file(path, &folder.path().join("bootstrap"))?;
        }
        let is_bootstrap = folder.path().join("bootstrap").exists();
        let handler = match (handler, is_bootstrap) {
            (Some(given), _) => given.to_owned(),
            (None, true) => "bootstrap".to_owned(),
            (None, false) => format!("{}.{FUNCTION}", module_of(module, folder.path())?),
        };
        Ok(Code {
            folder,
            handler,
            is_bootstrap,
        })
    }

    /// The folder of the copy.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }
}

/// The module to look for the handler in: the given file, the usual one, or the only one.
fn module_of(given: Option<String>, folder: &Path) -> Result<String> {
    if let Some(module) = given {
        return Ok(module);
    }
    let mut modules: Vec<String> = fs::read_dir(folder)?
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter_map(|name| Some(name.strip_suffix(".py")?.to_owned()))
        .collect();
    if modules.iter().any(|module| module == MODULE) {
        return Ok(MODULE.to_owned());
    }
    match (modules.pop(), modules.is_empty()) {
        (Some(only), true) => Ok(only),
        _ => bail!(
            "there is no {MODULE}.py; say which function to call with --handler MODULE.FUNCTION"
        ),
    }
}

/// Every file of the code, in a fixed order.
pub fn files(path: &Path) -> io::Result<Vec<PathBuf>> {
    if !fs::metadata(path)?.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let mut found = Vec::new();
    let mut folders = vec![path.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            match entry.file_type()?.is_dir() {
                true => folders.push(entry.path()),
                false => found.push(entry.path()),
            }
        }
    }
    found.sort();
    Ok(found)
}

fn copy_folder(from: &Path, to: &Path) -> Result<()> {
    let mut bytes = 0;
    for file in files(from)? {
        let relative = file.strip_prefix(from).expect("a file of the folder");
        let target = to.join(relative);
        for folder in relative
            .ancestors()
            .skip(1)
            .collect::<Vec<_>>()
            .into_iter()
            .rev()
        {
            let folder = to.join(folder);
            if !folder.exists() {
                fs::create_dir(&folder)?;
                open_to_all(&folder, true)?;
            }
        }
        let about = fs::symlink_metadata(&file)?;
        if about.is_symlink() {
            // As it is: inside the sandbox it leads nowhere but to what is there.
            std::os::unix::fs::symlink(fs::read_link(&file)?, &target)?;
            continue;
        }
        if !about.is_file() {
            continue;
        }
        bytes += about.len();
        if bytes > BYTES_MAX {
            bail!("it holds more than {BYTES_MAX} bytes, which is all that Lambda takes");
        }
        copy_file(&file, &target)?;
    }
    Ok(())
}

fn copy_file(from: &Path, to: &Path) -> Result<()> {
    fs::copy(from, to).with_context(|| format!("cannot copy {}", from.display()))?;
    let is_executable = fs::metadata(from)?.permissions().mode() & 0o111 != 0;
    open_to_all(to, is_executable)?;
    Ok(())
}

/// The function's user is not us.
fn open_to_all(path: &Path, is_executable: bool) -> io::Result<()> {
    let mode = if is_executable { 0o755 } else { 0o644 };
    fs::set_permissions(path, Permissions::from_mode(mode))
}

/// A zip from anywhere, so it is taken as carefully as by the server.
fn unzip(from: &Path, to: &Path) -> Result<()> {
    let cannot = || format!("cannot unpack {}", from.display());
    let package = fs::read(from).with_context(cannot)?;
    functions::unpack(&package, to).with_context(cannot)?;
    Ok(())
}
