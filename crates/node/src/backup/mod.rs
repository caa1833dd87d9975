//! Snapshots of etcd in the state store: taken, listed, fetched, and deleted when they have been outlived.
//!
//! The database goes first and the document last, and the document is deleted first: what is cut short anywhere is
//! no backup, and is swept away a day later. What failed to be deleted is there the next time.

mod error;
mod retention;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use kcl_node_config::{BACKUPS, Backup, BackupName, BackupReason, rfc3339};
use time::{Duration, OffsetDateTime};

pub use error::BackupError;
pub use retention::outlived;

use crate::etcd::{Etcd, Status};
use crate::store::{Condition, Fetched, Store, StoreError};
use crate::system::{FOLDER, System};

/// How often a backup is taken, unless somebody wants another time.
pub const INTERVAL: Duration = Duration::minutes(15);

/// How long the largest upload may take: what has no document after this is no backup in the making.
const UNFINISHED: Duration = Duration::DAY;

/// The member that backups are taken from, and where they go.
#[derive(Clone, Debug)]
pub struct Source {
    /// The cluster's folder of the store.
    pub store: Store,
    /// The member of this machine.
    pub etcd: Etcd,
    /// This machine, which has the snapshot on its way.
    pub system: System,
    /// The member: `a`.
    pub member: String,
    /// This machine's instance id.
    pub instance: String,
    /// `1.36.3`.
    pub kubernetes_version: String,
}

/// What came of its being time to look after backups.
#[derive(Debug)]
pub enum Periodic {
    /// Another member is the leader, who takes them; or nobody is.
    NotLeader,
    /// The newest is young enough until then.
    NotDue(OffsetDateTime),
    /// One was taken, and then others deleted.
    Taken(Box<Backup>, Result<Pruned, BackupError>),
}

/// What was deleted.
#[derive(Debug, Default)]
pub struct Pruned {
    /// Backups that were outlived, and remains of what never was one: by the names of their folders.
    pub deleted: Vec<String>,
    /// Those that could not be, and why not.
    pub failed: Vec<(String, StoreError)>,
}

/// What there is in the store.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listing {
    /// The backups, the oldest first.
    pub backups: BTreeSet<BackupName>,
    /// What is half written or half deleted, with its keys.
    pub remains: BTreeMap<BackupName, Vec<String>>,
}

/// Takes a backup if this machine's member is the leader and the newest is so old, and then deletes what was
/// outlived. It lists the store each time, so a minute is often enough.
pub async fn periodic(
    source: &Source,
    every: Duration,
    retention_days: u32,
    now: OffsetDateTime,
) -> Result<Periodic, BackupError> {
    let status = source.etcd.status().await?;
    if !status.is_leader() {
        return Ok(Periodic::NotLeader);
    }
    let listing = list(&source.store).await?;
    if let Some(next) = next(&source.store, &listing, every, now).await? {
        return Ok(Periodic::NotDue(next));
    }
    let backup = write(source, &status, &listing, BackupReason::Periodic, now).await?;
    let pruned = prune(&source.store, retention_days, now).await;
    Ok(Periodic::Taken(Box::new(backup), pruned))
}

/// When the next one is due; nothing for now.
async fn next(
    store: &Store,
    listing: &Listing,
    every: Duration,
    now: OffsetDateTime,
) -> Result<Option<OffsetDateTime>, BackupError> {
    let Some(newest) = listing.backups.last() else { return Ok(None) };
    // One of a clock that was wrong by more than that says nothing.
    if (now - newest.at()).abs() >= every {
        return Ok(None);
    }
    // One of what was there before a restore is not what is there now.
    let reason = read(store, newest).await?.map(|backup| backup.reason);
    let outdated = reason.is_none_or(|reason| reason == BackupReason::BeforeRestore);
    Ok((!outdated).then(|| newest.at() + every))
}

/// Takes a backup now, whoever is the leader.
pub async fn take(source: &Source, reason: BackupReason, now: OffsetDateTime) -> Result<Backup, BackupError> {
    let status = source.etcd.status().await?;
    // It is only for the choice of a name that is not taken.
    let listing = list(&source.store).await.unwrap_or_default();
    write(source, &status, &listing, reason, now).await
}

async fn write(
    source: &Source,
    status: &Status,
    listing: &Listing,
    reason: BackupReason,
    now: OffsetDateTime,
) -> Result<Backup, BackupError> {
    let path = source.system.path(&format!("{FOLDER}/snapshot.db"));
    let file = Scratch::new(path)?;
    let snapshot = source.etcd.snapshot(&file.path).await?;
    let name = free(listing, now, &source.instance);
    source.store.put_file(&name.database(), &file.path, &snapshot.sha256).await?;
    let backup = Backup {
        name: name.to_string(),
        member: source.member.clone(),
        instance: source.instance.clone(),
        taken_at: rfc3339(name.at()),
        size: snapshot.size,
        sha256: snapshot.sha256,
        etcd_revision: status.revision(),
        kubernetes_version: source.kubernetes_version.clone(),
        etcd_version: status.version.clone(),
        reason,
    };
    let text = serde_json::json!(backup).to_string();
    source.store.put(&name.document(), text.as_bytes(), Condition::Always).await?;
    Ok(backup)
}

/// A name that is not taken: a backup that is there must not be written over by one that may be cut short.
fn free(listing: &Listing, now: OffsetDateTime, instance: &str) -> BackupName {
    let mut name = BackupName::new(now, instance);
    while listing.backups.contains(&name) {
        name = BackupName::new(name.at() + Duration::SECOND, instance);
    }
    name
}

/// A file that goes when it is dropped.
struct Scratch {
    path: PathBuf,
}

impl Scratch {
    fn new(path: PathBuf) -> Result<Self, BackupError> {
        let parent = path.parent().unwrap_or(Path::new("/"));
        fs::create_dir_all(parent).map_err(|source| BackupError::File {
            what: "create",
            path: parent.to_owned(),
            source,
        })?;
        Ok(Self { path })
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // One that stays is overwritten by the next.
        drop(fs::remove_file(&self.path));
    }
}

/// What is in the store, by the names of folders alone. What no kcl-node writes is not seen.
pub async fn list(store: &Store) -> Result<Listing, BackupError> {
    let mut folders: BTreeMap<BackupName, Vec<String>> = BTreeMap::new();
    for key in store.list(&format!("{BACKUPS}/")).await? {
        let name = key.strip_prefix(BACKUPS).and_then(|rest| rest.strip_prefix('/')?.split_once('/'));
        if let Some(name) = name.and_then(|(folder, _)| BackupName::parse(folder)) {
            folders.entry(name).or_default().push(key);
        }
    }
    let mut listing = Listing::default();
    for (name, keys) in folders {
        if keys.contains(&name.document()) && keys.contains(&name.database()) {
            listing.backups.insert(name);
        } else {
            listing.remains.insert(name, keys);
        }
    }
    Ok(listing)
}

/// The document of a backup; nothing where it is gone.
pub async fn read(store: &Store, name: &BackupName) -> Result<Option<Backup>, BackupError> {
    let Some(object) = store.get(&name.document()).await? else { return Ok(None) };
    let unreadable = |why| BackupError::Unreadable { name: name.to_string(), why };
    let backup: Backup =
        serde_json::from_slice(&object.bytes).map_err(|error| unreadable(error.to_string()))?;
    if backup.name != name.to_string() {
        return Err(unreadable(format!("it is the document of {}", backup.name)));
    }
    Ok(Some(backup))
}

/// Deletes what was outlived, and what is left of what never was a backup.
pub async fn prune(store: &Store, retention_days: u32, now: OffsetDateTime) -> Result<Pruned, BackupError> {
    let Listing { backups, remains } = list(store).await?;
    let outlived = outlived(&backups, now, retention_days);
    let outlived = outlived.into_iter().map(|name| {
        let keys = vec![name.document(), name.database()];
        (name, keys)
    });
    let remains = remains.into_iter().filter(|(name, _)| now - name.at() >= UNFINISHED);
    let mut pruned = Pruned::default();
    for (name, keys) in outlived.chain(remains) {
        match delete(store, &keys).await {
            Ok(()) => pruned.deleted.push(name.to_string()),
            Err(error) => pruned.failed.push((name.to_string(), error)),
        }
    }
    Ok(pruned)
}

/// In this order, and no further than it goes.
async fn delete(store: &Store, keys: &[String]) -> Result<(), StoreError> {
    for key in keys {
        store.delete(key).await?;
    }
    Ok(())
}

/// Fetches the database of a backup into a file, if it is what its document says.
pub async fn fetch(store: &Store, backup: &Backup, to: &Path) -> Result<(), BackupError> {
    let missing = || BackupError::Missing { name: backup.name.clone() };
    let name = BackupName::parse(&backup.name).ok_or_else(missing)?;
    let Some(Fetched { size, sha256 }) = store.get_file(&name.database(), to).await? else {
        return Err(missing());
    };
    if (size, &sha256) == (backup.size, &backup.sha256) {
        return Ok(());
    }
    drop(fs::remove_file(to));
    let (name, wanted) = (backup.name.clone(), backup.sha256.clone());
    Err(BackupError::Damaged { name, wanted, found: sha256 })
}
