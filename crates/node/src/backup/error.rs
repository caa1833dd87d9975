//! What can go wrong with backups.

use std::io;
use std::path::PathBuf;

use crate::etcd::EtcdError;
use crate::store::StoreError;

/// Why a backup cannot be taken, listed or used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BackupError {
    /// The state store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// etcd.
    #[error(transparent)]
    Etcd(#[from] EtcdError),
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
    /// It is not there.
    #[error("there is no backup {name}\nhint: `kcl get backups` lists those that there are")]
    Missing {
        /// Its name.
        name: String,
    },
    /// Its document is none.
    #[error("the document of the backup {name} cannot be read: {why}")]
    Unreadable {
        /// Its name.
        name: String,
        /// What is wrong with it.
        why: String,
    },
    /// Its database is another one.
    #[error(
        "the backup {name} is damaged: its database has the sha256 {found}, and {wanted} when it was taken\nhint: choose another one; `kcl get backups` lists them"
    )]
    Damaged {
        /// Its name.
        name: String,
        /// The hash that it had.
        wanted: String,
        /// The hash that it has.
        found: String,
    },
}

impl BackupError {
    /// Whether it may pass.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Store(error) => error.is_transient(),
            Self::Etcd(error) => error.is_transient(),
            // A disk that is full now.
            Self::File { .. } => true,
            Self::Missing { .. } | Self::Unreadable { .. } | Self::Damaged { .. } => false,
        }
    }
}
