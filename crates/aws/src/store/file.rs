//! A store in a directory.

use std::io;
use std::path::{Path, PathBuf};

use futures::future::BoxFuture;
use tokio::fs;

use super::{Purged, Store};
use crate::error::{Error, ErrorKind};

/// A directory; keys are paths below it.
#[derive(Debug)]
pub struct FileStore {
    directory: PathBuf,
}

impl FileStore {
    /// The store in `directory`, which is made at the first write.
    pub fn new(directory: PathBuf) -> Self {
        Self { directory }
    }
}

fn trouble(path: &Path, error: &io::Error) -> Error {
    let kind = match error.kind() {
        io::ErrorKind::PermissionDenied => ErrorKind::Denied,
        _ => ErrorKind::Refused,
    };
    Error::new(kind, "state store", format!("{}: {error}", path.display()))
}

impl Store for FileStore {
    fn location(&self) -> String {
        format!("file://{}", self.directory.display())
    }

    fn get<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<Option<Vec<u8>>, Error>> {
        Box::pin(async move {
            let path = self.directory.join(key);
            match fs::read(&path).await {
                Ok(body) => Ok(Some(body)),
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
                Err(error) => Err(trouble(&path, &error)),
            }
        })
    }

    fn put<'a>(&'a self, key: &'a str, body: Vec<u8>) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(async move {
            let path = self.directory.join(key);
            let parent = path.parent().unwrap_or(&self.directory);
            fs::create_dir_all(parent).await.map_err(|error| trouble(parent, &error))?;
            // Written beside it and renamed, so that no reader ever sees half an object.
            let half = path.with_extension(format!("tmp-{}", std::process::id()));
            let written = async {
                fs::write(&half, body).await?;
                fs::rename(&half, &path).await
            };
            written.await.map_err(|error| trouble(&path, &error))
        })
    }

    fn delete<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(async move {
            let path = self.directory.join(key);
            match fs::remove_file(&path).await {
                Err(error) if error.kind() != io::ErrorKind::NotFound => Err(trouble(&path, &error)),
                _ => {
                    // The cluster's folder goes with its last object; one that is not empty stays.
                    if let Some(parent) = path.parent().filter(|parent| **parent != self.directory) {
                        let _ = fs::remove_dir(parent).await;
                    }
                    Ok(())
                }
            }
        })
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

    fn purge<'a>(&'a self, folder: &'a str) -> BoxFuture<'a, Result<Purged, Error>> {
        Box::pin(async move {
            super::check_folder(folder)?;
            let keys = self.list(&format!("{folder}/")).await?;
            let path = self.directory.join(folder);
            match fs::remove_dir_all(&path).await {
                Err(error) if error.kind() != io::ErrorKind::NotFound => Err(trouble(&path, &error)),
                _ => Ok(Purged { objects: keys.len(), bucket_deleted: false }),
            }
        })
    }
}

/// The entries of a directory; none where there is no such directory.
async fn entries(directory: &Path) -> Result<Vec<(PathBuf, bool)>, Error> {
    let mut reader = match fs::read_dir(directory).await {
        Ok(reader) => reader,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(trouble(directory, &error)),
    };
    let mut found = Vec::new();
    while let Some(entry) = reader.next_entry().await.map_err(|error| trouble(directory, &error))? {
        let kind = entry.file_type().await.map_err(|error| trouble(directory, &error))?;
        found.push((entry.path(), kind.is_dir()));
    }
    Ok(found)
}
