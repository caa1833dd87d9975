//! The way to the internet for private subnets. Attributes: `id`.

use kcl_engine::{Ref, Resource, Schema};
use serde::{Deserialize, Serialize};

use super::{Tags, is_foreign_tag};

/// A public NAT gateway.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NatGateway {
    /// The subnet (`id`) it stands in.
    pub subnet: Ref,
    /// Its address (`id`: the allocation).
    pub elastic_ip: Ref,
    /// Tags.
    pub tags: Tags,
}

impl Resource for NatGateway {
    const SCHEMA: &'static Schema = &Schema {
        immutable: &[
            ("subnet", "a NAT gateway cannot move to another subnet"),
            ("elastic_ip", "a NAT gateway keeps its address"),
        ],
        open_maps: &["tags"],
        is_foreign_key: is_foreign_tag,
        ..Schema::new("nat-gateway", "network")
    };
}
