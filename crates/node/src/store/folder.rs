//! A store in a folder of this machine, for tests and trials.

use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

use super::{Condition, Object, Written};

/// Beside the objects of a store in a folder: who writes holds it.
const LOCK: &str = ".kcl-node.lock";

/// What unfinished objects are called.
const UNFINISHED: &str = ".unfinished";

pub(super) fn read(path: &Path) -> io::Result<Option<Object>> {
    Ok(there(fs::read(path))?.map(|bytes| Object { etag: content_tag(&bytes), bytes }))
}

fn there<T>(found: io::Result<T>) -> io::Result<Option<T>> {
    match found {
        Ok(found) => Ok(Some(found)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn content_tag(bytes: &[u8]) -> String {
    format!("\"{}\"", hex::encode(Sha256::digest(bytes)))
}

/// One writer at a time looks at the condition and writes.
pub(super) fn write(folder: &Path, key: &str, bytes: &[u8], condition: Condition<'_>) -> io::Result<Written> {
    fs::create_dir_all(folder)?;
    let lock = fs::File::create(folder.join(LOCK))?;
    lock.lock()?;
    let path = folder.join(key);
    let there = there(fs::read(&path))?.map(|bytes| content_tag(&bytes));
    let holds = match condition {
        Condition::Always => true,
        Condition::Absent => there.is_none(),
        Condition::Unchanged(etag) => there.as_deref() == Some(etag),
    };
    if !holds {
        return Ok(Written::ConditionFailed);
    }
    let mut file = unfinished(&path)?;
    file.write_all(bytes)?;
    finish(file, &path)?;
    Ok(Written::Yes(content_tag(bytes)))
}

/// Copies a file to where an object is; like every write, it is there whole or not at all.
pub(super) fn copy_in(from: &Path, to: &Path) -> io::Result<()> {
    let mut file = unfinished(to)?;
    io::copy(&mut fs::File::open(from)?, &mut file)?;
    finish(file, to)
}

fn unfinished(path: &Path) -> io::Result<tempfile::NamedTempFile> {
    let parent = path.parent().unwrap_or(Path::new("/"));
    fs::create_dir_all(parent)?;
    tempfile::Builder::new().prefix(UNFINISHED).tempfile_in(parent)
}

fn finish(file: tempfile::NamedTempFile, path: &Path) -> io::Result<()> {
    file.as_file().sync_all()?;
    file.persist(path).map_err(|error| error.error)?;
    Ok(())
}

pub(super) fn remove(path: &Path) -> io::Result<()> {
    there(fs::remove_file(path)).map(drop)
}

/// The keys that begin with a prefix, in their order.
pub(super) fn list(folder: &Path, prefix: &str) -> io::Result<Vec<String>> {
    let mut keys = Vec::new();
    // Keys are listed by their letters, of which some may be a folder's name.
    let below = prefix.rsplit_once('/').map_or("", |(below, _)| below);
    let mut folders: Vec<PathBuf> = vec![folder.join(below)];
    while let Some(next) = folders.pop() {
        for entry in there(fs::read_dir(&next))?.into_iter().flatten() {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let key = path.strip_prefix(folder).unwrap_or(&path).to_string_lossy().into_owned();
            if key.starts_with(prefix) && !name.starts_with(UNFINISHED) && name != LOCK {
                keys.push(key);
            }
        }
    }
    keys.sort();
    Ok(keys)
}
