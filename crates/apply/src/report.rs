//! What became of a plan.

use std::collections::BTreeMap;

use kcl_engine::{Action, Attrs, ResourceId};

/// A step that failed, and what did not happen because of it.
#[derive(Debug)]
pub struct Failure<E> {
    /// What was to be done.
    pub action: Action,
    /// To which resource.
    pub id: ResourceId,
    /// Why it failed.
    pub error: E,
    /// The steps that were skipped because of it.
    pub skipped: Vec<(Action, ResourceId)>,
}

/// How it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Every step is done.
    Done,
    /// Some steps failed.
    Failed,
    /// It was stopped; nothing failed.
    Stopped,
}

/// What became of a plan.
#[derive(Debug)]
#[must_use]
pub struct Report<E> {
    /// How many steps are done.
    pub done: usize,
    /// The failures: root causes only.
    pub failures: Vec<Failure<E>>,
    /// What was not started because it was stopped.
    pub not_started: Vec<(Action, ResourceId)>,
    /// The cloud's names of everything that is there now.
    pub attrs: BTreeMap<String, Attrs>,
}

/// A plan that was applied to its end: what comes after it can begin. Only [`Report::finish`] gives one.
#[derive(Debug)]
pub struct Applied {
    attrs: BTreeMap<String, Attrs>,
}

impl Applied {
    /// The cloud's names of everything that is there now, by resource.
    pub fn attrs(&self) -> &BTreeMap<String, Attrs> {
        &self.attrs
    }
}

impl<E> Report<E> {
    /// The plan as applied; the report where something failed or was not started.
    pub fn finish(self) -> Result<Applied, Self> {
        match self.outcome() {
            Outcome::Done => Ok(Applied { attrs: self.attrs }),
            Outcome::Failed | Outcome::Stopped => Err(self),
        }
    }

    /// How it ended.
    pub fn outcome(&self) -> Outcome {
        match (self.failures.is_empty(), self.not_started.is_empty()) {
            (false, _) => Outcome::Failed,
            (true, false) => Outcome::Stopped,
            (true, true) => Outcome::Done,
        }
    }
}
