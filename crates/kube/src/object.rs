//! What an object is called, and in which phase it is applied.

use std::fmt;

use serde::Serialize;
use serde_json::Value;

/// An object that is wanted, and who wants it.
#[derive(Clone)]
pub struct Wanted {
    /// An addon's name, or `spec`.
    pub origin: String,
    /// The object as it is to be sent. A `List` stands for its items.
    pub object: Value,
}

impl fmt::Debug for Wanted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // It may be a Secret.
        f.debug_struct("Wanted").field("origin", &self.origin).finish_non_exhaustive()
    }
}

/// Which object: what makes it the same one, whichever version of its group it is asked for in.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct ObjectRef {
    /// `apps`; empty for the core group.
    pub group: String,
    /// `Deployment`.
    pub kind: String,
    /// `None` for what belongs to no namespace.
    pub namespace: Option<String>,
    /// Its name.
    pub name: String,
}

impl fmt::Display for ObjectRef {
    /// `Deployment shop/till`, `ClusterRole till`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ", self.kind)?;
        if let Some(namespace) = &self.namespace {
            write!(f, "{namespace}/")?;
        }
        f.write_str(&self.name)
    }
}

/// When an object is applied. A phase begins when the one before it is done; what is pruned goes the other
/// way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    /// Namespaces and CustomResourceDefinitions: others cannot be without them.
    Definitions,
    /// Service accounts, roles and their bindings, admission policies.
    Access,
    /// What workloads read and are bound by: ConfigMaps, Secrets, Services, classes, limits...
    Configuration,
    /// Workloads, and everything else: custom resources, webhooks.
    Workloads,
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Definitions => "namespaces and definitions",
            Self::Access => "accounts and permissions",
            Self::Configuration => "configuration",
            Self::Workloads => "workloads",
        })
    }
}
