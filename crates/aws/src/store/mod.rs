//! The state store: where a cluster's spec lives.
//!
//! | object | what |
//! | --- | --- |
//! | `<cluster>/config` | the registered spec: every document as it was given |
//!
//! `s3://bucket/prefix` and `file:///directory` behind one trait. Reads change nothing; a bucket that is
//! missing is made by a plan, never by a read.

mod file;
mod remembering;
mod s3;

use std::fmt::Debug;

use futures::future::BoxFuture;

pub use file::FileStore;
pub use remembering::Remembering;
pub use s3::S3Store;

use crate::client::Settings;
use crate::error::{Error, ErrorKind};

/// A place for objects by key.
pub trait Store: Debug + Send + Sync {
    /// Where it is: `s3://bucket/prefix`.
    fn location(&self) -> String;

    /// The object at `key`; `None` where there is none (or no bucket yet).
    fn get<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<Option<Vec<u8>>, Error>>;

    /// Writes the object at `key`.
    fn put<'a>(&'a self, key: &'a str, body: Vec<u8>) -> BoxFuture<'a, Result<(), Error>>;

    /// Removes the object at `key`; one that is not there is a success.
    fn delete<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<(), Error>>;

    /// The keys that begin with `prefix`, sorted.
    fn list<'a>(&'a self, prefix: &'a str) -> BoxFuture<'a, Result<Vec<String>, Error>>;

    /// The folders at the top, sorted: the clusters.
    fn folders(&self) -> BoxFuture<'_, Result<Vec<String>, Error>>;

    /// Removes everything in `folder`, all versions of it included, and the bucket where nothing is left in it.
    fn purge<'a>(&'a self, folder: &'a str) -> BoxFuture<'a, Result<Purged, Error>>;

    /// The bucket, where the store is one.
    fn bucket(&self) -> Option<&str> {
        None
    }
}

/// What a purge removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Purged {
    /// How many objects (or versions of objects).
    pub objects: usize,
    /// Whether the bucket went, too.
    pub bucket_deleted: bool,
}

/// Where a store is, before it is opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Location {
    /// `s3://bucket/prefix`.
    S3 {
        /// The bucket.
        bucket: String,
        /// The prefix, without slashes at its ends; may be empty.
        prefix: String,
    },
    /// `file:///directory`.
    File {
        /// The directory.
        directory: std::path::PathBuf,
    },
}

impl Location {
    /// Reads `s3://bucket/prefix` or `file:///directory`.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let refuse =
            |why: &str| Err(Error::new(ErrorKind::Refused, "state store", format!("`{text}` {why}")));
        if let Some(rest) = text.strip_prefix("s3://") {
            let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
            let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '.';
            if !(3..=63).contains(&bucket.len()) || !bucket.chars().all(fits) {
                return refuse("does not name an S3 bucket");
            }
            let prefix = prefix.trim_matches('/').to_owned();
            return Ok(Self::S3 { bucket: bucket.to_owned(), prefix });
        }
        match text.strip_prefix("file://") {
            Some(path) if path.starts_with('/') => Ok(Self::File { directory: path.into() }),
            Some(_) => refuse("is not an absolute path: file:///directory"),
            None => refuse("is neither s3://bucket/prefix nor file:///directory"),
        }
    }

    /// Opens the store. Nothing is read yet.
    pub async fn open(self, settings: &Settings) -> Box<dyn Store> {
        match self {
            Self::File { directory } => Box::new(FileStore::new(directory)),
            Self::S3 { bucket, prefix } => {
                let config = crate::client::load(settings).await;
                Box::new(S3Store::new(aws_sdk_s3::Client::new(&config), bucket, prefix))
            }
        }
    }
}

/// A folder that may be purged: one name, nothing that leads elsewhere.
fn check_folder(folder: &str) -> Result<(), Error> {
    if folder.is_empty() || folder.starts_with('.') || folder.contains(['/', '\\']) {
        let message = format!("`{folder}` is no folder of the store");
        return Err(Error::new(ErrorKind::Refused, "state store", message));
    }
    Ok(())
}

/// The key of a cluster's registered spec.
pub fn spec_key(cluster: &str) -> String {
    format!("{cluster}/config")
}

#[cfg(test)]
mod tests {
    use super::Location;

    #[test]
    fn locations() {
        let s3 = |bucket: &str, prefix: &str| Location::S3 { bucket: bucket.into(), prefix: prefix.into() };
        assert_eq!(Location::parse("s3://state").unwrap(), s3("state", ""));
        assert_eq!(Location::parse("s3://state/a/b/").unwrap(), s3("state", "a/b"));
        let file = Location::File { directory: "/tmp/x".into() };
        assert_eq!(Location::parse("file:///tmp/x").unwrap(), file);
        for wrong in ["memfs://x", "s3://", "s3://UPPER", "file://relative", "nonsense"] {
            assert!(Location::parse(wrong).is_err(), "{wrong}");
        }
    }
}
