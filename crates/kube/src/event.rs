//! How work tells what it does.

use std::time::Duration;

use crate::error::Error;
use crate::object::{ObjectRef, Phase};
use crate::plan::Action;

/// What happens.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Event {
    /// The API server is not there yet; it is asked again in a while.
    NotReachable {
        /// How it stands.
        reason: String,
        /// Since when it is waited for.
        waited: Duration,
    },
    /// The API server answers and is not ready: which of its checks say so.
    ServerNotReady {
        /// `etcd`, `poststarthook/rbac/bootstrap-roles`, or in words what else is missing; may be empty.
        checks: Vec<String>,
        /// Since when it is waited for.
        waited: Duration,
    },
    /// The API server is ready.
    ServerReady,
    /// A request failed for a reason that passes; it is sent again.
    Retrying {
        /// `apply Deployment shop/till`.
        doing: String,
        /// How often it was tried so far.
        tries: u32,
        /// When.
        after: Duration,
        /// Why.
        reason: String,
    },
    /// A phase begins.
    PhaseStarted {
        /// Which one.
        phase: Phase,
        /// How many objects of it are sent.
        objects: usize,
    },
    /// An object was applied.
    Applied {
        /// Which one.
        object: ObjectRef,
        /// What that did.
        action: Action,
        /// How long it took.
        took: Duration,
    },
    /// An object was deleted, or is being deleted.
    Pruned {
        /// Which one.
        object: ObjectRef,
    },
    /// An object that is no longer wanted is left alone.
    Kept {
        /// Which one.
        object: ObjectRef,
        /// Why.
        reason: String,
    },
    /// An object could not be applied or deleted.
    Failed {
        /// Which one.
        object: ObjectRef,
        /// Why.
        error: Error,
    },
    /// No further object is sent.
    Stopping {
        /// How many are on their way still.
        running: usize,
    },
    /// It is waited for an object; told when it changes.
    Waiting {
        /// Which one. Of an admission policy it is the service account whose pods are tried.
        object: ObjectRef,
        /// How many of its parts are ready: `(1, 3)`; `None` where there is nothing to count.
        progress: Option<(u64, u64)>,
        /// Why it is not ready, shortly; may be empty.
        reason: String,
    },
    /// Whether pods of a service account are given what they need could not be tried.
    NotTried {
        /// The service account.
        object: ObjectRef,
        /// Why.
        reason: String,
    },
    /// An object that was waited for is ready.
    Ready {
        /// Which one.
        object: ObjectRef,
        /// Since when it was waited for.
        waited: Duration,
    },
}

/// Who is told. It is called from the task that does the work, so it must not block.
pub type Observer<'a> = dyn Fn(Event) + Send + Sync + 'a;
