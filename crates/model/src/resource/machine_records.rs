//! What a cluster's machines wrote into the state store of themselves: whether the cluster was begun, who runs which
//! member of etcd, how far each machine is. Attributes: none.

use kcl_engine::{Resource, Schema};
use serde::{Deserialize, Serialize};

/// Their records. They go with the cluster: another one of the same name must not take itself for this one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MachineRecords {
    /// How many there are.
    pub objects: usize,
}

impl Resource for MachineRecords {
    const SCHEMA: &'static Schema = &Schema {
        // Machines write them as long as they run.
        goes_last: true,
        ..Schema::new("machine-records", "state")
    };
}
