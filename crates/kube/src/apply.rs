//! Applies a [`Plan`]: sends what it says and chooses nothing.

use futures::future::BoxFuture;
use serde::Serialize;

use crate::connect::Connection;
use crate::error::{Error, ObjectError};
use crate::event::Observer;
use crate::object::ObjectRef;
use crate::plan::{Action, Plan};

/// What is done between configuration and workloads, and is told to have failed by an error.
pub type Hook<'a> = BoxFuture<'a, Result<(), Error>>;

/// How it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// Everything is done.
    Done,
    /// Something failed.
    Failed,
    /// It was stopped; nothing failed.
    Stopped,
}

/// What became of a plan.
#[derive(Debug, Default)]
#[must_use]
pub struct Applied {
    /// What was applied, and what that did.
    pub applied: Vec<(ObjectRef, Action)>,
    /// What was deleted.
    pub pruned: Vec<ObjectRef>,
    /// What is no longer wanted and was left alone, with why.
    pub kept: Vec<(ObjectRef, String)>,
    /// What failed: root causes only.
    pub failures: Vec<ObjectError>,
    /// What failed and belongs to no object: the hook, or the list of what kcl applied.
    pub error: Option<Error>,
    /// What was not sent, because of a failure or because it was stopped.
    pub not_started: Vec<ObjectRef>,
    /// It was stopped.
    pub stopped: bool,
}

impl Applied {
    /// How it ended.
    pub fn outcome(&self) -> Outcome {
        if !self.failures.is_empty() || self.error.is_some() {
            Outcome::Failed
        } else if self.stopped {
            Outcome::Stopped
        } else {
            Outcome::Done
        }
    }
}

/// Applies `plan`. An error: nothing was applied, [`Error::Conflicts`] above all.
///
/// `before_workloads` runs between configuration and workloads, if the plan has any workload to send. `stop`
/// ends it early: what is on its way is finished, nothing else is sent.
pub async fn apply(
    connection: &Connection,
    plan: &Plan,
    before_workloads: Option<Hook<'_>>,
    stop: impl Future<Output = ()> + Send,
    on_event: &Observer<'_>,
) -> Result<Applied, Error> {
    let _ = (connection, plan, before_workloads, stop, on_event);
    Err(Error::Stopped { doing: String::new() })
}
