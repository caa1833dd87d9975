//! Which route table a subnet uses; named for the subnet. Attributes: `id`.

use kcl_engine::{Ref, Resource, Schema};
use serde::{Deserialize, Serialize};

/// A subnet's use of a route table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouteTableAssociation {
    /// The subnet (`id`).
    pub subnet: Ref,
    /// The route table (`id`).
    pub route_table: Ref,
}

impl Resource for RouteTableAssociation {
    const SCHEMA: &'static Schema = &Schema {
        immutable: &[("subnet", "an association belongs to its subnet")],
        replaced_with: &["route_table"],
        ..Schema::new("route-table-association", "network")
    };
}
