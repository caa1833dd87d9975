//! What a cluster's machines wrote of themselves: into the state store whether the cluster was begun, who runs which
//! member of etcd, how far each machine is; into Route53 their own addresses. Attributes: none.

use kcl_engine::{Goes, Resource, Schema, Set};
use serde::{Deserialize, Serialize};

/// Their records. They go with the cluster: another one of the same name must not take itself for this one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MachineRecords {
    /// How many there are in the state store.
    pub objects: usize,
    /// The names that they keep at their own addresses.
    pub names: Set<String>,
}

impl Resource for MachineRecords {
    const SCHEMA: &'static Schema = &Schema {
        // Machines write them as long as they run, and once more when they stop.
        goes: Goes::Late,
        ..Schema::new("machine-records", "state")
    };
}
