//! A store in a directory.
//!
//! What is written is readable by its owner only: private keys lie here, too. An object is written beside the
//! others under a name of its own, brought to the disk, and then put in place in one step, so that no reader
//! ever sees half of one, whenever the process or the machine dies. Those names, and the file that writers of
//! all processes queue at, begin with `.kcl-` and lie at the store's root: a killed process leaves no folder
//! behind that looks like a cluster.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use futures::future::BoxFuture;
use sha2::{Digest as _, Sha256};

use super::lock::{Fence, is_lock_key, lock_key};
use super::{Condition, Listed, Object, Store, Version, check_key, conflict};
use crate::error::{Error, ErrorKind};
use crate::guard::Guard;

/// What is not an object: half-written ones and the writers' queue.
const OURS: &str = ".kcl-";

/// What is called in errors.
const ACTION: &str = "state store";

/// A directory; keys are paths below it.
#[derive(Debug)]
pub struct FileStore {
    directory: PathBuf,
    guard: Guard,
}

impl FileStore {
    /// The store in `directory`, which is made at the first write.
    pub fn new(directory: PathBuf) -> Self {
        Self { directory, guard: Guard::default() }
    }

    /// Runs `work`, which blocks, where that disturbs nobody.
    fn run<'a, T: Send + 'static>(
        &self,
        key: &str,
        work: impl FnOnce(&Place) -> Result<T, Error> + Send + 'static,
    ) -> BoxFuture<'a, Result<T, Error>> {
        let place = check_key(key).map(|()| Place {
            directory: self.directory.clone(),
            key: key.to_owned(),
            path: self.directory.join(key),
            guard: if is_lock_key(key) { Guard::default() } else { self.guard.clone() },
        });
        Box::pin(async move {
            let place = place?;
            let done = tokio::task::spawn_blocking(move || work(&place)).await;
            done.unwrap_or_else(|error| {
                Err(Error::new(ErrorKind::Ambiguous, ACTION, format!("it was not finished: {error}")))
            })
        })
    }
}

fn trouble(path: &Path, error: &io::Error) -> Error {
    let kind = match error.kind() {
        io::ErrorKind::PermissionDenied => ErrorKind::Denied,
        io::ErrorKind::Unsupported => ErrorKind::Unsupported,
        _ => ErrorKind::Refused,
    };
    Error::new(kind, ACTION, format!("{}: {error}", path.display()))
}

/// Nothing of that name.
fn is_missing(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

/// Where an object lies.
struct Place {
    directory: PathBuf,
    key: String,
    path: PathBuf,
    /// Whether it may be changed.
    guard: Guard,
}

impl Place {
    fn read(&self) -> Result<Option<Object>, Error> {
        let read = || -> io::Result<Object> {
            let mut file = File::open(&self.path)?;
            let mut body = Vec::new();
            io::Read::read_to_end(&mut file, &mut body)?;
            let age = file.metadata()?.modified().map(age);
            Ok(Object { version: version(&body), body, age: age.ok() })
        };
        match read() {
            Ok(object) => Ok(Some(object)),
            Err(error) if is_missing(&error) => Ok(None),
            Err(error) => Err(trouble(&self.path, &error)),
        }
    }

    fn write(&self, body: &[u8], condition: &Condition) -> Result<Version, Error> {
        let parent = self.path.parent().unwrap_or(&self.directory);
        make_directory(&self.directory)?;
        let _turn = self.turn(condition)?;
        self.guard.check(ACTION)?;
        // Whoever deletes the last object of a folder removes the folder, but only when it is its turn.
        make_directory(parent)?;
        let result = self.half_written(body).and_then(|half| {
            let result = self.put_in_place(&half, condition);
            // Renamed, it is not there any more.
            drop(fs::remove_file(&half));
            result
        });
        if result.is_err() {
            self.remove_empty_folders();
        }
        result?;
        sync_directory(parent)?;
        Ok(version(body))
    }

    /// Makes a whole file the object, if `condition` holds.
    fn put_in_place(&self, whole: &Path, condition: &Condition) -> Result<(), Error> {
        // In the last moment: a disk can be slow.
        self.guard.check(ACTION)?;
        match condition {
            Condition::IfAbsent => match fs::hard_link(whole, &self.path) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                    return Err(conflict(ACTION, &self.key, condition));
                }
                linked => return linked.map_err(|error| trouble(&self.path, &error)),
            },
            Condition::IfUnchanged(known) => {
                if self.read()?.is_none_or(|stored| stored.version != *known) {
                    return Err(conflict(ACTION, &self.key, condition));
                }
            }
            Condition::Always => {}
        }
        fs::rename(whole, &self.path).map_err(|error| trouble(&self.path, &error))
    }

    fn remove(&self, known: Option<&Version>) -> Result<(), Error> {
        let condition = known.cloned().map_or(Condition::Always, Condition::IfUnchanged);
        // There is nothing to remove in a directory that is not there, and nothing to queue at.
        if !self.directory.is_dir() {
            return Ok(());
        }
        let _turn = self.turn(&condition)?;
        self.guard.check(ACTION)?;
        if let (Some(known), Some(stored)) = (known, self.read()?)
            && stored.version != *known
        {
            return Err(conflict(ACTION, &self.key, &condition));
        }
        match fs::remove_file(&self.path) {
            Err(error) if !is_missing(&error) => return Err(trouble(&self.path, &error)),
            _ => {}
        }
        self.remove_empty_folders();
        Ok(())
    }

    /// Those beside it, and below, that hold nothing.
    fn remove_all_empty_folders(&self) -> Result<(), Error> {
        let Some(parent) = self.path.parent().filter(|parent| parent.is_dir()) else { return Ok(()) };
        let _turn = self.turn(&Condition::Always)?;
        let mut found = vec![parent.to_owned()];
        let mut next = 0;
        while let Some(folder) = found.get(next) {
            let entries = fs::read_dir(folder).map_err(|error| trouble(folder, &error))?;
            let folders = entries.flatten().filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
            let folders: Vec<_> = folders.map(|entry| entry.path()).collect();
            found.extend(folders);
            next += 1;
        }
        // The deepest first; one that is not empty stays.
        for folder in found.iter().rev() {
            drop(fs::remove_dir(folder));
        }
        Ok(())
    }

    /// The cluster's folder goes with its last object; one that is not empty stays.
    fn remove_empty_folders(&self) {
        let mut folder = self.path.parent();
        while let Some(empty) = folder.filter(|folder| **folder != self.directory) {
            if fs::remove_dir(empty).is_err() {
                break;
            }
            folder = empty.parent();
        }
    }

    /// Waits until no other process writes; ends when it is dropped, or the process dies.
    fn turn(&self, condition: &Condition) -> Result<Option<File>, Error> {
        let path = self.directory.join(format!("{OURS}queue"));
        let open = || -> io::Result<File> {
            let mut options = File::options();
            only_ours(&mut options);
            let file = options.create(true).append(true).open(&path)?;
            file.lock()?;
            Ok(file)
        };
        match open() {
            Ok(file) => Ok(Some(file)),
            // A file system without locks: only what compares before it writes needs one.
            Err(error)
                if error.kind() == io::ErrorKind::Unsupported
                    && !matches!(condition, Condition::IfUnchanged(_)) =>
            {
                Ok(None)
            }
            Err(error) => Err(trouble(&path, &error)),
        }
    }

    /// A file of its own with `body`, on the disk.
    fn half_written(&self, body: &[u8]) -> Result<PathBuf, Error> {
        static COUNTER: AtomicU64 = AtomicU64::new(0);
        loop {
            let number = COUNTER.fetch_add(1, Ordering::Relaxed);
            let path = self.directory.join(format!("{OURS}half-{}-{number}", std::process::id()));
            let write = || -> io::Result<()> {
                let mut options = File::options();
                only_ours(&mut options);
                let mut file = options.write(true).create_new(true).open(&path)?;
                file.write_all(body)?;
                file.sync_all()
            };
            match write() {
                Ok(()) => return Ok(path),
                // What a process of this number left when it was killed, here or on another machine.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => {
                    drop(fs::remove_file(&path));
                    return Err(trouble(&path, &error));
                }
            }
        }
    }
}

/// Content is the version: what is equal need not be told apart.
fn version(body: &[u8]) -> Version {
    Version(hex::encode(Sha256::digest(body)))
}

/// How long ago that was. A time in the future is no age.
fn age(then: SystemTime) -> Duration {
    SystemTime::now().duration_since(then).unwrap_or_default()
}

#[cfg(unix)]
fn only_ours(options: &mut fs::OpenOptions) {
    std::os::unix::fs::OpenOptionsExt::mode(options, 0o600);
}

#[cfg(not(unix))]
fn only_ours(_options: &mut fs::OpenOptions) {}

fn make_directory(path: &Path) -> Result<(), Error> {
    let mut builder = fs::DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.recursive(true).create(path).map_err(|error| trouble(path, &error))
}

/// A name is on the disk when its directory is.
fn sync_directory(path: &Path) -> Result<(), Error> {
    // Not every system can open a directory; there, the system sees to it.
    match File::open(path) {
        Ok(directory) if cfg!(unix) => directory.sync_all().map_err(|error| trouble(path, &error)),
        _ => Ok(()),
    }
}

impl Store for FileStore {
    fn location(&self) -> String {
        format!("file://{}", self.directory.display())
    }

    fn get<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<Option<Object>, Error>> {
        self.run(key, Place::read)
    }

    fn try_put<'a>(
        &'a self,
        key: &'a str,
        body: Vec<u8>,
        condition: Condition,
    ) -> BoxFuture<'a, Result<Version, Error>> {
        self.run(key, move |place| place.write(&body, &condition))
    }

    fn delete<'a>(&'a self, key: &'a str, version: Option<Version>) -> BoxFuture<'a, Result<(), Error>> {
        self.run(key, move |place| place.remove(version.as_ref()))
    }

    fn list<'a>(&'a self, prefix: &'a str) -> BoxFuture<'a, Result<Vec<String>, Error>> {
        Box::pin(async move {
            let mut keys = Vec::new();
            let mut open = vec![self.directory.clone()];
            while let Some(directory) = open.pop() {
                for (path, is_directory) in entries(&directory).await? {
                    if is_directory {
                        open.push(path);
                    } else if let Ok(key) = path.strip_prefix(&self.directory) {
                        keys.push(key.to_string_lossy().into_owned());
                    }
                }
            }
            keys.retain(|key| key.starts_with(prefix));
            keys.sort();
            Ok(keys)
        })
    }

    fn list_objects<'a>(&'a self, prefix: &'a str) -> BoxFuture<'a, Result<Vec<Listed>, Error>> {
        Box::pin(async move {
            let mut objects = Vec::new();
            for key in self.list(prefix).await? {
                let written = tokio::fs::metadata(self.directory.join(&key)).await;
                let written = written.and_then(|metadata| metadata.modified()).ok();
                objects.push(Listed { key, version: None, age: written.map(age) });
            }
            Ok(objects)
        })
    }

    fn folders(&self) -> BoxFuture<'_, Result<Vec<String>, Error>> {
        Box::pin(async move {
            let folders =
                entries(&self.directory).await?.into_iter().filter(|(_, is_directory)| *is_directory);
            let mut names: Vec<String> = folders
                .filter_map(|(path, _)| Some(path.file_name()?.to_string_lossy().into_owned()))
                .collect();
            names.sort();
            Ok(names)
        })
    }

    fn change_under(&self, fence: Fence) {
        self.guard.set(fence);
    }

    fn purge<'a>(&'a self, folder: &'a str) -> BoxFuture<'a, Result<usize, Error>> {
        Box::pin(async move {
            super::check_folder(folder)?;
            let mut keys = self.list(&format!("{folder}/")).await?;
            keys.retain(|key| !is_lock_key(key));
            self.delete_many(&keys).await?;
            // What a process that was killed left empty.
            self.run(&lock_key(folder), Place::remove_all_empty_folders).await?;
            Ok(keys.len())
        })
    }

    fn finish_purge<'a>(&'a self, _folder: &'a str) -> BoxFuture<'a, Result<bool, Error>> {
        // A folder goes with the last object in it.
        Box::pin(std::future::ready(Ok(false)))
    }
}

/// The entries of a directory; none where there is no such directory.
async fn entries(directory: &Path) -> Result<Vec<(PathBuf, bool)>, Error> {
    let mut reader = match tokio::fs::read_dir(directory).await {
        Ok(reader) => reader,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(trouble(directory, &error)),
    };
    let mut found = Vec::new();
    while let Some(entry) = reader.next_entry().await.map_err(|error| trouble(directory, &error))? {
        if entry.file_name().to_string_lossy().starts_with(OURS) {
            continue;
        }
        let kind = entry.file_type().await.map_err(|error| trouble(directory, &error))?;
        found.push((entry.path(), kind.is_dir()));
    }
    Ok(found)
}
