//! A machine of the cluster that no group of ours runs. Never wanted, only removed with the cluster. Attributes: `id`.

use kcl_engine::{Ref, Resource, Schema, Set};
use serde::{Deserialize, Serialize};

/// A machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Instance {
    /// The subnet (`id`); none while it is going away.
    pub subnet: Option<Ref>,
    /// Its security groups (`id`).
    pub security_groups: Set<Ref>,
    /// Its instance type.
    pub instance_type: String,
}

impl Resource for Instance {
    const SCHEMA: &'static Schema = &Schema { ..Schema::new("instance", "machines") };
}
