//! What can go wrong with a lock.

use std::fmt;

use super::lease::Lease;
use crate::error::Error;
use crate::store::Version;

/// A lock could not be taken, kept or given back.
#[derive(Clone, Debug)]
pub enum LockError {
    /// Somebody else holds it.
    Taken {
        /// The object.
        place: String,
        /// Who, since when, until when.
        lease: Box<Lease>,
    },
    /// There is no bucket yet to put it in: make that first.
    NoBucket {
        /// The object.
        place: String,
    },
    /// The store does not do what keeps two writers apart.
    NoConditionalWrites {
        /// The object.
        place: String,
    },
    /// What is stored there is no lock.
    Unreadable {
        /// The object.
        place: String,
        /// Why.
        reason: String,
        /// What [`super::break_lock`] takes.
        version: Version,
    },
    /// It was ours, and is not any more.
    Lost {
        /// The object.
        place: String,
        /// How.
        lost: Lost,
    },
    /// Whoever wanted it did not want to wait any longer.
    Stopped,
    /// The store failed.
    Store(Error),
}

/// How a lock that was held came to be lost.
#[derive(Clone, Debug)]
pub enum Lost {
    /// It could not be renewed in time: somebody else may take it from now on.
    Expired(Error),
    /// Somebody else has it.
    TakenOver(Box<Lease>),
    /// Somebody removed it, as with `kcl unlock --force`.
    Broken,
}

impl fmt::Display for Lost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Expired(error) => write!(f, "it could not be renewed in time: {error}"),
            Self::TakenOver(lease) => write!(f, "it was taken over by {}", lease.describe()),
            Self::Broken => f.write_str("somebody removed it"),
        }
    }
}

impl std::error::Error for LockError {}

impl fmt::Display for LockError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Taken { place, lease } => write!(f, "{place} is held by {}", lease.describe()),
            Self::NoBucket { place } => write!(f, "{place} cannot be taken: there is no such bucket yet"),
            Self::NoConditionalWrites { place } => write!(
                f,
                "{place} cannot be taken: this store does not support conditional writes, so it cannot keep two \
                 writers apart; nothing was changed"
            ),
            Self::Unreadable { place, reason, .. } => {
                write!(f, "{place} is no lock that can be read: {reason}")
            }
            Self::Lost { place, lost } => write!(f, "the lock {place} was lost: {lost}"),
            Self::Stopped => f.write_str("stopped before anything was changed"),
            Self::Store(error) => error.fmt(f),
        }
    }
}

impl LockError {
    /// What to do about it.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Taken { .. } => Some(
                "wait for it with --lock-timeout 5m; the lock of a run that was killed runs out by itself, and \
                 `kcl unlock` shows and removes it",
            ),
            Self::NoConditionalWrites { .. } => Some(
                "keep the state in S3 itself, or in a store that honours If-None-Match and If-Match when it writes",
            ),
            Self::Unreadable { .. } => Some(
                "make sure that nobody is changing the cluster, then remove it with `kcl unlock --force`",
            ),
            Self::Lost { .. } => Some("run the same command again: it goes on where this one stopped"),
            Self::NoBucket { .. } | Self::Stopped | Self::Store(_) => None,
        }
    }
}

impl From<Error> for LockError {
    fn from(error: Error) -> Self {
        Self::Store(error)
    }
}
