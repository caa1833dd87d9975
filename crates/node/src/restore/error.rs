//! What can go wrong with a restore.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use kcl_node_config::ConfigError;

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
    /// A manifest cannot be moved.
    #[error(transparent)]
    System(#[from] SystemError),
    /// A document in the store is none.
    #[error("{key} in the state store cannot be read: {why}\nhint: `kcl restore` writes a new request")]
    Document {
        /// Where it is.
        key: String,
        /// What is wrong with it.
        why: String,
    },
    /// Likewise, a record of who is which member.
    #[error(transparent)]
    Record(#[from] ConfigError),
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
    /// Whether trying again may help, once somebody has mended what is in the way. What is not so ends a restore: it
    /// says that this backup, or this request, is none.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Backup(error) => !matches!(
                error,
                BackupError::Missing { .. } | BackupError::Unreadable { .. } | BackupError::Damaged { .. }
            ),
            Self::Etcdutl { source, .. } => !matches!(source, SystemError::Failed { .. }),
            Self::Document { .. } | Self::Record(_) => false,
            // A store that does not answer or let us in, a disk that is full, the kubelet that starts, other members
            // that are late.
            Self::Store(_)
            | Self::Etcd(_)
            | Self::File { .. }
            | Self::System(_)
            | Self::NoEtcdutl { .. }
            | Self::Runs { .. }
            | Self::Silent { .. } => true,
        }
    }
}
