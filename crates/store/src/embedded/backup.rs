//! A copy of a store, taken beside the process that has it open.
//!
//! Records that are copied name blobs that are copied too: a blob has its name before a record names it, and keeps it for
//! longer than a copy takes after no record does. So blobs are copied before the records and once more after them.

use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::path::Path;

use super::folder::{make_private, open_private, sync_folder};
use super::{DATABASE, blobs, failure, schema};
use crate::{Error, Result};

/// Copies the store in `from` into the empty folder `to`.
pub(crate) fn copy(from: &Path, to: &Path) -> Result<()> {
    let blobs = |step: &'static str| {
        blobs::SHELVES.iter().try_for_each(|shelf| {
            let (from, to) = (from.join(shelf), to.join(shelf));
            copy_blobs(&from, &to).map_err(|error| Error::io(step, &to, &error))
        })
    };
    blobs("copy blobs to")?;
    copy_records(&from.join(DATABASE), &to.join(DATABASE))?;
    blobs("copy new blobs to")?;
    sync_folder(to).map_err(|error| Error::io("sync", to, &error))
}

/// The database as it is at one moment.
fn copy_records(from: &Path, to: &Path) -> Result<()> {
    // Made by us first, so that nobody else can read it; SQLite takes a file that is empty.
    let file = open_private(to).map_err(|error| Error::io("make", to, &error))?;
    let connection = schema::open_reader(from).map_err(|error| failure(from, &error))?;
    let copied = connection.execute("VACUUM INTO ?1", [to.to_string_lossy()]);
    copied.map_err(|error| failure(from, &error))?;
    file.sync_all()
        .map_err(|error| Error::io("sync", to, &error))
}

fn copy_blobs(from: &Path, to: &Path) -> io::Result<()> {
    make_private(to)?;
    let mut shards = Vec::new();
    for shard in fs::read_dir(from)? {
        let name = shard?.file_name();
        if name == blobs::UNFINISHED {
            continue;
        }
        let (from, to) = (from.join(&name), to.join(&name));
        make_private(&to)?;
        for blob in fs::read_dir(&from)? {
            let name = blob?.file_name();
            copy_blob(&from.join(&name), &to.join(&name))?;
        }
        shards.push(to);
    }
    shards.iter().try_for_each(|shard| sync_folder(shard))?;
    sync_folder(to)
}

/// What has a name is whole, in the store and in the copy.
fn copy_blob(from: &Path, to: &Path) -> io::Result<()> {
    if to.exists() {
        return Ok(());
    }
    let mut source = match File::open(from) {
        Ok(source) => source,
        // No record needed it any more.
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    let draft = to.with_extension("new");
    let mut copy = open_private(&draft)?;
    copy.set_len(0)?;
    io::copy(&mut source, &mut copy)?;
    copy.set_times(fs::FileTimes::new().set_modified(source.metadata()?.modified()?))?;
    copy.sync_all()?;
    fs::rename(&draft, to)
}
