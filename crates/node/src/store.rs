//! The state store, as far as a machine needs it: read an object, write one, if wanted only in the place of
//! what was there before; list and delete some; and objects that do not fit into memory, as files.
//!
//! S3, and folders of a local file system for tests and trials.

mod files;
mod folder;
mod s3;

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use kcl_http::{Http, HttpError, SignError, Signer};
use sha2::{Digest as _, Sha256};

pub use files::Fetched;

use crate::retry::{Patience, retry};

/// A folder of a store: `s3://bucket/some/folder` or `file:///some/folder`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Location {
    /// In S3.
    S3 {
        /// The bucket.
        bucket: String,
        /// What keys begin with, without slashes around it; may be empty.
        prefix: String,
    },
    /// A folder of this machine.
    File {
        /// The folder.
        folder: PathBuf,
    },
}

impl Location {
    /// Reads a location.
    pub fn parse(text: &str) -> Result<Self, StoreError> {
        let broken = || StoreError::Location { text: text.to_owned() };
        if let Some(rest) = text.strip_prefix("s3://") {
            let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
            let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '.';
            if bucket.is_empty() || !bucket.chars().all(plain) {
                return Err(broken());
            }
            let prefix = prefix.trim_matches('/').to_owned();
            return Ok(Self::S3 { bucket: bucket.to_owned(), prefix });
        }
        let folder = text.strip_prefix("file://").filter(|path| path.starts_with('/')).ok_or_else(broken)?;
        Ok(Self::File { folder: PathBuf::from(folder) })
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::S3 { bucket, prefix } if prefix.is_empty() => write!(f, "s3://{bucket}"),
            Self::S3 { bucket, prefix } => write!(f, "s3://{bucket}/{prefix}"),
            Self::File { folder } => write!(f, "file://{}", folder.display()),
        }
    }
}

/// Why an object cannot be read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// Not a location.
    #[error("`{text}` is not a place in a state store\nhint: it is like s3://bucket/cluster.example.com")]
    Location {
        /// What was given.
        text: String,
    },
    /// It is not there.
    #[error("{object} is not there\nhint: `kcl update --yes` writes what machines read")]
    Missing {
        /// Its location.
        object: String,
    },
    /// It is something else than what was promised.
    #[error(
        "{object} has the sha256 {found}, and {wanted} was wanted\nhint: it was changed after this machine's launch template was made; `kcl update --yes` brings both together"
    )]
    Hash {
        /// Its location.
        object: String,
        /// The hash that the machine was started with.
        wanted: String,
        /// The object's.
        found: String,
    },
    /// S3 says no.
    #[error("S3 refused to {what} {object}: {code} (HTTP {status})\nhint: {hint}")]
    Refused {
        /// `read`, `write`, `list` or `delete`.
        what: &'static str,
        /// Its location.
        object: String,
        /// S3's code for it.
        code: String,
        /// HTTP status.
        status: u16,
        /// What to do about it.
        hint: &'static str,
    },
    /// S3 has a bad moment.
    #[error("S3 could not {what} {object} now: {code} (HTTP {status})")]
    Busy {
        /// `read`, `write`, `list` or `delete`.
        what: &'static str,
        /// Its location.
        object: String,
        /// S3's code for it.
        code: String,
        /// HTTP status.
        status: u16,
    },
    /// No answer.
    #[error("failed to {what} {object}")]
    Http {
        /// `read`, `write`, `list` or `delete`.
        what: &'static str,
        /// Its location.
        object: String,
        /// Why.
        source: HttpError,
    },
    /// No signature.
    #[error("failed to {what} {object}")]
    Sign {
        /// `read`, `write`, `list` or `delete`.
        what: &'static str,
        /// Its location.
        object: String,
        /// Why.
        source: SignError,
    },
    /// A list that is none.
    #[error("failed to list {object}: S3's answer cannot be read")]
    Strange {
        /// What keys begin with.
        object: String,
    },
    /// A file.
    #[error("failed to {what} {object}")]
    File {
        /// `read`, `write`, `list` or `delete`.
        what: &'static str,
        /// Its location.
        object: String,
        /// The system's answer.
        source: io::Error,
    },
}

impl StoreError {
    /// Whether it may pass.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Busy { .. } => true,
            Self::Http { source, .. } => source.is_transient(),
            _ => false,
        }
    }
}

/// An object and what it is known by until it changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Object {
    /// Its content.
    pub bytes: Vec<u8>,
    /// Its entity tag.
    pub etag: String,
}

/// When to write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Condition<'a> {
    /// Whatever is there.
    Always,
    /// If nothing is there.
    Absent,
    /// If what is there has this entity tag.
    Unchanged(&'a str),
}

/// What came of writing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Written {
    /// It is there, with this entity tag.
    Yes(String),
    /// It is not: the condition does not hold.
    ConditionFailed,
}

/// How stores are reached.
#[derive(Clone, Debug)]
pub struct Access {
    /// The client.
    pub http: Http,
    /// Who signs.
    pub signer: Signer,
    /// The bucket's region, as far as one knows; S3 says so if it is another.
    pub region: String,
    /// Another endpoint than AWS' own.
    pub endpoint: Option<String>,
    /// How often something is tried.
    pub patience: Patience,
}

/// A folder of a state store.
#[derive(Clone, Debug)]
pub struct Store {
    location: Location,
    access: Access,
    /// The bucket's region.
    region: Arc<Mutex<String>>,
}

impl Store {
    /// The store at a location.
    pub fn new(location: Location, access: Access) -> Self {
        let region = Arc::new(Mutex::new(access.region.clone()));
        Self { location, access, region }
    }

    /// Where it is.
    pub fn location(&self) -> &Location {
        &self.location
    }

    /// An object, or nothing where there is none.
    pub async fn get(&self, key: &str) -> Result<Option<Object>, StoreError> {
        match &self.location {
            Location::File { folder } => folder::read(&folder.join(key)).map_err(|source| StoreError::File {
                what: "read",
                object: self.object(key),
                source,
            }),
            Location::S3 { .. } => {
                retry(self.access.patience, StoreError::is_transient, || self.get_s3(key)).await
            }
        }
    }

    /// An object that has to be there.
    pub async fn require(&self, key: &str) -> Result<Object, StoreError> {
        let found = self.get(key).await?;
        found.ok_or_else(|| StoreError::Missing { object: self.object(key) })
    }

    /// An object with this sha256, and no other.
    pub async fn get_checked(&self, key: &str, sha256: &str) -> Result<Vec<u8>, StoreError> {
        let object = self.object(key);
        let found = self.require(key).await?;
        let hash = hex::encode(Sha256::digest(&found.bytes));
        if hash == sha256.to_ascii_lowercase() {
            return Ok(found.bytes);
        }
        Err(StoreError::Hash { object, wanted: sha256.to_owned(), found: hash })
    }

    /// Writes an object, if the condition holds at that moment.
    ///
    /// An answer that was lost is asked for again: with a condition that then says [`Written::ConditionFailed`]
    /// although this very write was the one; whoever must know reads the object.
    pub async fn put(
        &self,
        key: &str,
        bytes: &[u8],
        condition: Condition<'_>,
    ) -> Result<Written, StoreError> {
        match &self.location {
            Location::File { folder } => folder::write(folder, key, bytes, condition)
                .map_err(|source| StoreError::File { what: "write", object: self.object(key), source }),
            Location::S3 { .. } => {
                let attempt = || self.put_s3(key, bytes, condition);
                retry(self.access.patience, StoreError::is_transient, attempt).await
            }
        }
    }

    /// A key as people see it.
    fn object(&self, key: &str) -> String {
        format!("{}/{key}", self.location)
    }
}
