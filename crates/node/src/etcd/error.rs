//! What can go wrong with etcd.

use std::io;
use std::path::PathBuf;

use kcl_http::{HttpError, TlsError};

/// gRPC's codes for what may pass: nobody has time now, or nobody is there.
const PASSING: [u32; 3] = [4, 8, 14];

/// gRPC's code for what the cluster's state forbids: it has to recover first.
const NOT_NOW: u32 = 9;

/// gRPC's code for what is not there.
const NOT_FOUND: u32 = 5;

/// Why etcd cannot be asked, or what it says.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EtcdError {
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
    /// The keys.
    #[error("failed to use the keys of etcd's clients")]
    Tls(#[from] TlsError),
    /// No answer.
    #[error("failed to have etcd {what}")]
    Http {
        /// What it was asked.
        what: &'static str,
        /// Why.
        source: HttpError,
    },
    /// It says no.
    #[error("etcd at {endpoint} refused to {what}: {message}")]
    Refused {
        /// What it was asked.
        what: &'static str,
        /// Who was asked.
        endpoint: String,
        /// gRPC's code.
        code: u32,
        /// Its own words.
        message: String,
    },
    /// Not an answer.
    #[error("etcd at {endpoint} was asked to {what}, and its answer cannot be read: {why}")]
    Answer {
        /// What it was asked.
        what: &'static str,
        /// Who was asked.
        endpoint: String,
        /// What is wrong with it.
        why: String,
    },
    /// A snapshot that is not whole.
    #[error("the snapshot of etcd at {endpoint} is damaged: {why}")]
    Damaged {
        /// Who sent it.
        endpoint: String,
        /// What is wrong with it.
        why: &'static str,
    },
}

impl EtcdError {
    /// Whether it may pass.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Http { source, .. } => source.is_transient(),
            Self::Refused { code, .. } => PASSING.contains(code) || *code == NOT_NOW,
            Self::Damaged { .. } => true,
            Self::File { .. } | Self::Tls(_) | Self::Answer { .. } => false,
        }
    }

    /// Whether the member that was named is not, or no longer, in the cluster.
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::Refused { code: NOT_FOUND, .. })
    }
}
