//! What the machines of an instance group are told: an object in the state store that is known by its content.
//! Named for its group. Attributes: `sha256`.

use kcl_engine::{Ref, Resource, Schema, Text};
use serde::{Deserialize, Serialize};

/// A node configuration, with gaps where others have to say something first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeConfiguration {
    /// The document.
    pub document: Text,
    /// The load balancer (`dns_name`) that machines reach the API by; `None`: a name that the document says.
    pub endpoint: Option<Ref>,
    /// The certificates (`certificates`) that the API server is believed by.
    pub authorities: Ref,
}

/// A machine is started with the hash of its configuration, so another one is a new object. The old one goes once no
/// launch template names it any more.
const WHY: &str = "machines are started with its hash, so a changed one is a new object";

impl Resource for NodeConfiguration {
    const SCHEMA: &'static Schema = &Schema {
        immutable: &[("document", WHY), ("endpoint", WHY), ("authorities", WHY)],
        create_first: true,
        ..Schema::new("node-configuration", "machines")
    };
}
