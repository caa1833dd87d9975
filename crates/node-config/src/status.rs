//! What a machine says of itself, where `kcl` can read it.

use serde::{Deserialize, Serialize};

/// How far a machine is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum State {
    /// At the step that is named.
    Running,
    /// Stopped at the step that is named.
    Failed,
    /// Through with all of them, and a member of its cluster.
    Done,
    /// On its way out, at the step that is named.
    Leaving,
}

/// One machine's way into its cluster; the object `status/<instance>` in the cluster's folder of the store.
///
/// Fields that a later kcl-node adds are overlooked: this one is read by people's tools, not acted on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Status {
    /// The machine's instance id.
    pub instance: String,
    /// Its instance group, once its node configuration is read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance_group: Option<String>,
    /// The release of kcl-node that says so.
    pub version: String,
    /// How far it is.
    pub state: State,
    /// The step that it is at, stopped at, or did last.
    pub step: String,
    /// Why it leaves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub because: Option<String>,
    /// What it waits for at this step: a volume that another machine still has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waits_for: Option<String>,
    /// The error that stopped it, or what does not work on a machine that goes on, with its hint.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// When it was written, in RFC 3339.
    pub at: String,
}

/// An error as machines write it: what went wrong, and what to do about it. The words come first, and each hint is a
/// line of its own.
pub fn with_hints(error: &str) -> (&str, Vec<&str>) {
    let mut parts = error.split("\nhint: ");
    (parts.next().unwrap_or_default(), parts.collect())
}

impl Status {
    /// Where it is, relative to the cluster's folder.
    pub fn path(instance: &str) -> String {
        format!("status/{instance}")
    }
}
