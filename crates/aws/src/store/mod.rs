//! The state store: what a cluster must keep.
//!
//! | object | what |
//! | --- | --- |
//! | `<cluster>/config`, `instancegroup/<name>`, `additional-objects`, `cluster-completed.spec` | the registered spec ([`registration`]) |
//! | `<cluster>/pki/private/`, `pki/issued/` | the cluster's keys, and what everybody may know of them ([`keysets`]) |
//! | `<cluster>/secrets/encryption.json` | what Secrets are encrypted with in etcd: written once, read by the control plane |
//! | `<cluster>/kcl-node/` | the node agent, which machines fetch |
//! | `<cluster>/node/` | what machines are told ([`configurations`]) |
//! | `<cluster>/control-plane/`, `status/` | written by the machines, of themselves; kcl asks for a restore in `control-plane/restore.json` ([`reports`]) |
//! | `<cluster>/backups/etcd/` | written by the control plane's machines; they outlive the cluster |
//! | `<cluster>/lock` | who is changing the cluster at the moment ([`lock`]) |
//!
//! `s3://bucket/prefix` and `file:///directory` behind one trait. Reads change nothing; a bucket that is
//! missing is made by a plan, never by a read. What is stored never shows in an error, a log line, or the
//! `Debug` output of anything here: keys and secrets lie in it, too.

pub mod configurations;
mod file;
pub mod keysets;
pub mod lock;
pub mod registration;
mod remembering;
pub mod reports;
mod s3;
#[cfg(test)]
mod tests;

use std::fmt;
use std::fmt::Debug;
use std::time::Duration;

use aws_config::SdkConfig;
use futures::future::BoxFuture;
use futures::{StreamExt as _, TryStreamExt as _};

pub use file::FileStore;
pub use remembering::Remembering;
pub use s3::S3Store;

use self::lock::Fence;
use crate::client::Settings;
use crate::error::{Error, ErrorKind};
use crate::kind::Service;
use crate::permission::{Ground, Permission};
use crate::refusals::Refusals;

/// Which state of an object it is. Opaque: two that are equal stand for the same content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version(String);

impl Version {
    /// One that no object has.
    pub(crate) fn of_nothing() -> Self {
        Self("\"00000000000000000000000000000000\"".to_owned())
    }
}

/// An object as it was read.
#[derive(Clone, PartialEq, Eq)]
pub struct Object {
    /// Its content.
    pub body: Vec<u8>,
    /// Which state of it that is.
    pub version: Version,
    /// How long ago it was written, when it was read: by the store's own clock, so that the clocks of whoever
    /// wrote it and whoever reads it do not matter. `None` where the store does not tell.
    pub age: Option<Duration>,
}

impl Debug for Object {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Never the content.
        let Self { body, version, age } = self;
        f.debug_struct("Object")
            .field("bytes", &body.len())
            .field("version", version)
            .field("age", age)
            .finish()
    }
}

/// When an object may be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Condition {
    /// Whatever is there.
    Always,
    /// Only where there is none yet.
    IfAbsent,
    /// Only over this very state of it.
    IfUnchanged(Version),
}

/// How many objects are read or removed at the same time: S3 takes thousands of requests a second, but each costs a
/// connection, and a cluster has some dozens of objects.
const AT_ONCE: usize = 16;

/// An object in a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Its key.
    pub key: String,
    /// Which state of it that is; `None` where a list does not tell.
    pub version: Option<Version>,
    /// How long ago it was written, as [`Object::age`] has it.
    pub age: Option<Duration>,
}

/// A place for objects by key.
pub trait Store: Debug + Send + Sync {
    /// Where it is: `s3://bucket/prefix`.
    fn location(&self) -> String;

    /// The object at `key`; `None` where there is none (or no bucket yet).
    fn get<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<Option<Object>, Error>>;

    /// Writes the object at `key` if `condition` holds, and gives its new version. Where it does not hold the
    /// error is [`ErrorKind::Conflict`], also where it was an earlier try of this same write, whose answer was
    /// lost, that changed the object: see [`Store::put`]. A store that says that it knows no such conditions is
    /// [`ErrorKind::Unsupported`]; one that ignores them in silence cannot be told from here.
    fn try_put<'a>(
        &'a self,
        key: &'a str,
        body: Vec<u8>,
        condition: Condition,
    ) -> BoxFuture<'a, Result<Version, Error>>;

    /// Likewise, but where the condition does not hold and `body` is what is stored, that is a success: it was
    /// this very write that changed the object (the SDK sends a request again when its answer is lost), or there
    /// is nothing left to do. So [`ErrorKind::Conflict`] means that something else is stored.
    fn put<'a>(
        &'a self,
        key: &'a str,
        body: Vec<u8>,
        condition: Condition,
    ) -> BoxFuture<'a, Result<Version, Error>> {
        Box::pin(async move {
            let conflict = match self.try_put(key, body.clone(), condition).await {
                Err(error) if error.kind == ErrorKind::Conflict => error,
                result => return result,
            };
            match self.get(key).await? {
                Some(stored) if stored.body == body => Ok(stored.version),
                _ => Err(conflict),
            }
        })
    }

    /// Removes the object at `key`: only over this very `version` of it, if one is given (else
    /// [`ErrorKind::Conflict`]). One that is not there is a success.
    fn delete<'a>(&'a self, key: &'a str, version: Option<Version>) -> BoxFuture<'a, Result<(), Error>>;

    /// The objects at `keys`, in their order, several read at a time.
    fn get_many<'a>(&'a self, keys: &'a [String]) -> BoxFuture<'a, Result<Vec<Option<Object>>, Error>> {
        let reads: Vec<_> = keys.iter().map(|key| self.get(key)).collect();
        Box::pin(futures::stream::iter(reads).buffered(AT_ONCE).try_collect())
    }

    /// Removes the objects at `keys`, whatever their versions. Those that are not there are a success.
    fn delete_many<'a>(&'a self, keys: &'a [String]) -> BoxFuture<'a, Result<(), Error>> {
        let deletes: Vec<_> = keys.iter().map(|key| self.delete(key, None)).collect();
        Box::pin(futures::stream::iter(deletes).buffer_unordered(AT_ONCE).try_collect())
    }

    /// The keys that begin with `prefix`, sorted.
    fn list<'a>(&'a self, prefix: &'a str) -> BoxFuture<'a, Result<Vec<String>, Error>>;

    /// The objects whose keys begin with `prefix`, with what the list itself tells of them.
    fn list_objects<'a>(&'a self, prefix: &'a str) -> BoxFuture<'a, Result<Vec<Listed>, Error>> {
        Box::pin(async move {
            let keys = self.list(prefix).await?.into_iter();
            Ok(keys.map(|key| Listed { key, version: None, age: None }).collect())
        })
    }

    /// The folders at the top, sorted: the clusters.
    fn folders(&self) -> BoxFuture<'_, Result<Vec<String>, Error>>;

    /// Removes everything in `folder`, all versions of it included, but the lock under which that is done; gives how many
    /// objects (or versions of objects) that were. Once the lock is given back, [`Store::finish_purge`] does the rest.
    fn purge<'a>(&'a self, folder: &'a str) -> BoxFuture<'a, Result<usize, Error>>;

    /// Removes what a lock of `folder` that was given back has left behind, and the bucket where nothing is left in it and
    /// kcl made it; gives whether that went. Nothing of whoever came meanwhile is touched: a lock that is held is
    /// [`ErrorKind::Conflict`].
    fn finish_purge<'a>(&'a self, folder: &'a str) -> BoxFuture<'a, Result<bool, Error>>;

    /// The bucket, where the store is one.
    fn bucket(&self) -> Option<&str> {
        None
    }

    /// What was read so far may be out of date: it is read again when it is needed.
    fn forget_reads(&self) {}

    /// From now on nothing is read from, or written to, a bucket that is not `account`'s: bucket names are shared
    /// by all of AWS, and a slip in one must not bring keys to somebody else, or somebody else's keys here. An
    /// owner that was named with the location counts more.
    fn expect_owner(&self, account: &str) {
        let _ = account;
    }

    /// From now on nothing is written or removed unless the lock of `fence` is certainly held, nor tried again: it is
    /// [`ErrorKind::LockLost`]. Locks themselves are: they are what it goes by.
    fn change_under(&self, fence: Fence);
}

/// What was removed for good.
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
        /// The account that owns the bucket, where it is another than the one in use: `?owner=ACCOUNT`.
        owner: Option<String>,
    },
    /// `file:///directory`.
    File {
        /// The directory.
        directory: std::path::PathBuf,
    },
}

impl Location {
    /// Reads `s3://bucket/prefix` or `file:///directory`. A bucket of another account says whose it is:
    /// `s3://bucket/prefix?owner=123456789012`.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let refuse =
            |why: &str| Err(Error::new(ErrorKind::Refused, "state store", format!("`{text}` {why}")));
        if let Some(rest) = text.strip_prefix("s3://") {
            let (rest, owner) = match rest.split_once("?owner=") {
                Some((rest, owner)) => (rest, Some(owner.to_owned())),
                None => (rest, None),
            };
            if owner.as_ref().is_some_and(|id| id.len() != 12 || !id.bytes().all(|c| c.is_ascii_digit())) {
                return refuse("names an owner that is no AWS account: twelve digits");
            }
            let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
            let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '.';
            if !(3..=63).contains(&bucket.len()) || !bucket.chars().all(fits) {
                return refuse("does not name an S3 bucket");
            }
            let prefix = prefix.trim_matches('/').to_owned();
            return Ok(Self::S3 { bucket: bucket.to_owned(), prefix, owner });
        }
        match text.strip_prefix("file://") {
            Some(path) if path.starts_with('/') => Ok(Self::File { directory: path.into() }),
            Some(_) => refuse("is not an absolute path: file:///directory"),
            None => refuse("is neither s3://bucket/prefix nor file:///directory"),
        }
    }

    /// Opens the store; what is written to S3 is encrypted with `kms_key`, if there is one. Nothing is read yet.
    pub async fn open(self, settings: &Settings, kms_key: Option<String>) -> Box<dyn Store> {
        match self {
            Self::File { directory } => Box::new(FileStore::new(directory)),
            Self::S3 { bucket, prefix, owner } => {
                let config = crate::client::load(settings).await;
                let store = S3Store::new(client(&config, &settings.refusals), bucket, prefix);
                Box::new(store.with_kms_key(kms_key).with_owner(owner))
            }
        }
    }
}

/// S3, as the store reaches it: what it refuses is heard by whoever decides how much is done at a time.
pub(crate) fn client(config: &SdkConfig, refusals: &Refusals) -> aws_sdk_s3::Client {
    let config = aws_sdk_s3::config::Builder::from(config).interceptor(refusals.listener(Service::Other));
    aws_sdk_s3::Client::from_conf(config.build())
}

/// What the store needs, with the registered spec, the keys and the lock in it.
pub(crate) fn permissions(ground: &Ground<'_>) -> Vec<Permission> {
    // A change or removal on condition is a read, too.
    const OBJECTS: [&str; 4] = ["s3:DeleteObject", "s3:DeleteObjectVersion", "s3:GetObject", "s3:PutObject"];
    // Without a prefix: the clusters in the store are listed, S3 tells a missing object only to those who may list
    // the whole bucket, and the last cluster's purge looks whether nothing else is in it before it deletes it.
    // Only one that bears kcl's mark is.
    const BUCKET: [&str; 4] =
        ["s3:DeleteBucket", "s3:GetBucketTagging", "s3:ListBucket", "s3:ListBucketVersions"];
    let Some(Location::S3 { bucket, prefix, .. }) = ground.store else { return Vec::new() };
    let folder = if prefix.is_empty() { bucket.clone() } else { format!("{bucket}/{prefix}") };
    let objects = ground.global_arn("s3", &format!("{folder}/{}/*", ground.name()));
    let key = ground.cluster.state_store.kms_key.clone();
    let key = ground.use_keys("StateKey", "s3", &["kms:Decrypt", "kms:GenerateDataKey"], key);
    let state = [
        Permission::new("StateObjects", &OBJECTS, [objects]),
        Permission::new("StateBucket", &BUCKET, [ground.global_arn("s3", bucket)]),
    ];
    state.into_iter().chain(key).collect()
}

/// A folder that may be purged: one name, nothing that leads elsewhere.
fn check_folder(folder: &str) -> Result<(), Error> {
    if folder.is_empty() || folder.starts_with('.') || folder.contains(['/', '\\']) {
        let message = format!("`{folder}` is no folder of the store");
        return Err(Error::new(ErrorKind::Refused, "state store", message));
    }
    Ok(())
}

/// A key that leads to an object of the store and nowhere else.
fn check_key(key: &str) -> Result<(), Error> {
    let sound = |part: &str| !part.is_empty() && part != "." && part != ".." && !part.contains('\\');
    if key.split('/').all(sound) {
        return Ok(());
    }
    let message = format!("`{key}` is no key of the store");
    Err(Error::new(ErrorKind::Refused, "state store", message))
}

/// Somebody else was faster.
fn conflict(action: &str, key: &str, condition: &Condition) -> Error {
    let message = match condition {
        Condition::IfAbsent => format!("there is something at {key} already"),
        Condition::Always | Condition::IfUnchanged(_) => {
            format!("what is stored at {key} was changed by somebody else meanwhile")
        }
    };
    Error::new(ErrorKind::Conflict, action, message)
}
