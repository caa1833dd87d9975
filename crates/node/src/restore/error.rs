//! What can go wrong with a restore.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use crate::backup::BackupError;
use crate::etcd::EtcdError;
use crate::store::StoreError;
use crate::system::SystemError;

/// Why a backup is not restored, or not yet.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RestoreError {
    /// The state store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The backup.
    #[error(transparent)]
    Backup(#[from] BackupError),
    /// etcd.
    #[error(transparent)]
    Etcd(#[from] EtcdError),
    /// There is no etcdutl.
    #[error("failed to get etcdutl")]
    NoEtcdutl {
        /// What was met.
        source: SystemError,
    },
    /// etcdutl did not do it.
    #[error("failed to make etcd's data of the backup {backup}")]
    Etcdutl {
        /// The backup.
        backup: String,
        /// What was met.
        source: SystemError,
    },
    /// A file.
    #[error("failed to {what} {}", path.display())]
    File {
        /// What was tried.
        what: &'static str,
        /// On what.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// A document in the store is none.
    #[error("{key} in the state store cannot be read: {why}\nhint: `kcl restore` writes a new request")]
    Document {
        /// Where it is.
        key: String,
        /// What is wrong with it.
        why: String,
    },
    /// etcd goes on.
    #[error(
        "etcd has not ended {} s after its manifest was taken away\nhint: does the kubelet run? `journalctl --unit=kubelet` may say more",
        after.as_secs()
    )]
    Runs {
        /// How long it was waited for.
        after: Duration,
    },
    /// etcd does not come up.
    #[error(
        "etcd does not answer {} s after it was started again with the restored data: {last}\nhint: most of its members must have restored the backup; `kcl restore` shows how far each is",
        after.as_secs()
    )]
    Silent {
        /// How long it was waited for.
        after: Duration,
        /// What was met last.
        last: String,
    },
}

impl RestoreError {
    /// Whether trying again may help. What is not so ends a restore.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Store(error) => error.is_transient(),
            Self::Backup(error) => error.is_transient(),
            Self::Etcd(error) => error.is_transient(),
            // A disk that is full now, a registry out of reach, the kubelet that starts, other members that are late.
            Self::File { .. } | Self::NoEtcdutl { .. } | Self::Runs { .. } | Self::Silent { .. } => true,
            // What it says of a snapshot is final.
            Self::Etcdutl { source, .. } => !matches!(source, SystemError::Failed { .. }),
            Self::Document { .. } => false,
        }
    }
}
