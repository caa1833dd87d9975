//! A subnet in one zone. Attributes: `id`.

use kcl_engine::{Ref, Resource, Schema};
use serde::{Deserialize, Serialize};

use super::{Tags, is_foreign_tag};

/// A subnet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subnet {
    /// The VPC (`id`).
    pub vpc: Ref,
    /// The IPv4 block.
    pub cidr: String,
    /// The availability zone.
    pub zone: String,
    /// The IPv6 block, where it has one.
    pub ipv6_cidr: Option<String>,
    /// `resource-name` or `ip-name`: what a machine's private DNS name is made of.
    pub hostname_type: String,
    /// Whether DNS answers for a machine's resource name.
    pub resource_name_dns_a: bool,
    /// Tags.
    pub tags: Tags,
}

impl Resource for Subnet {
    const SCHEMA: &'static Schema = &Schema {
        immutable: &[
            ("vpc", "a subnet cannot move to another VPC"),
            ("cidr", "a subnet's block is fixed when it is made"),
            ("zone", "a subnet cannot move to another zone"),
        ],
        irreplaceable: Some(
            "machines run in it: add another subnet, move the instance groups, then remove it",
        ),
        open_maps: &["tags"],
        is_foreign_key: is_foreign_tag,
        ..Schema::new("subnet", "network")
    };
}
