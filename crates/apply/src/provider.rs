//! What runs single steps.

use futures::future::BoxFuture;
use kcl_engine::{Action, Attrs, Step};
use serde_json::Value;

/// Which steps share a limit on how many run at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Lane {
    /// The lane's name, for example the cloud service.
    pub name: &'static str,
    /// How many of its steps may run at a time, as long as the cloud does not say that this is too many.
    pub limit: usize,
}

/// One step, with its references resolved to the cloud's identifiers.
#[derive(Clone, Debug, PartialEq)]
pub struct Resolved {
    /// What to do.
    pub action: Action,
    /// The resource's kind.
    pub kind: String,
    /// Its name.
    pub name: String,
    /// The wanted fields, unless it goes.
    pub wanted: Option<Value>,
    /// The fields as they are, unless it is made.
    pub old: Option<Value>,
    /// What the cloud calls it, unless it is made.
    pub attrs: Attrs,
}

/// Runs steps. It decides nothing and knows no order.
pub trait Provider: Sync {
    /// Why a step failed.
    type Error: std::error::Error + Send + 'static;

    /// The lane of a resource kind.
    fn lane(&self, kind: &str) -> Lane;

    /// How often the cloud has said so far that there are too many calls, of the lane with this name.
    fn refused(&self, lane: &str) -> u64;

    /// Steps with the same key that are ready at the same time are given to [`Provider::run`] together.
    fn batch_key(&self, step: &Step) -> Option<String>;

    /// Told whenever steps have begun or ended: how many calls of [`Provider::run`] have not ended, and whether some
    /// steps will not be done, as one failed or the plan is stopped. Who waits within a call for what another step is to
    /// remove learns from it that nobody will.
    fn under_way(&self, running: usize, is_cut_short: bool);

    /// Runs steps (more than one only if they share a batch key) and says what became of each: the cloud's
    /// names of what is there afterwards.
    fn run(&self, steps: Vec<Resolved>) -> BoxFuture<'_, Vec<Result<Attrs, Self::Error>>>;
}
