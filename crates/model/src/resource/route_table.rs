//! A route table; its routes and associations are resources of their own. Attributes: `id`.

use kcl_engine::{Ref, Resource, Schema};
use serde::{Deserialize, Serialize};

use super::{Tags, is_foreign_tag};

/// A route table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouteTable {
    /// The VPC (`id`).
    pub vpc: Ref,
    /// Tags.
    pub tags: Tags,
}

impl Resource for RouteTable {
    const SCHEMA: &'static Schema = &Schema {
        immutable: &[("vpc", "a route table cannot move to another VPC")],
        open_maps: &["tags"],
        is_foreign_key: is_foreign_tag,
        ..Schema::new("route-table", "network")
    };
}
