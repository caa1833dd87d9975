//! The program that makes a machine part of the cluster: an object in the state store that is known by its content.
//! Named for the kind of processor it runs on: `amd64`, `arm64`. Attributes: `sha256`.

use kcl_engine::{Resource, Schema};
use serde::{Deserialize, Serialize};

/// A build of kcl-node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeAgent {
    /// Its hash, in hexadecimal.
    pub sha256: String,
}

impl Resource for NodeAgent {
    const SCHEMA: &'static Schema = &Schema {
        immutable: &[("sha256", "machines are started with its hash, so another build is a new object")],
        create_first: true,
        ..Schema::new("node-agent", "machines")
    };
}
