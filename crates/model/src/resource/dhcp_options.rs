//! What machines in the VPC learn by DHCP. Attributes: `id`.

use kcl_engine::{Resource, Schema};
use serde::{Deserialize, Serialize};

use super::{Tags, is_foreign_tag};

/// A set of DHCP options.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DhcpOptions {
    /// `domain-name`.
    pub domain_name: String,
    /// `domain-name-servers`, in order.
    pub domain_name_servers: Vec<String>,
    /// Tags.
    pub tags: Tags,
}

impl Resource for DhcpOptions {
    const SCHEMA: &'static Schema = &Schema {
        immutable: &[
            ("domain_name", "DHCP options cannot be changed"),
            ("domain_name_servers", "DHCP options cannot be changed"),
        ],
        create_first: true,
        open_maps: &["tags"],
        is_foreign_key: is_foreign_tag,
        ..Schema::new("dhcp-options", "network")
    };
}
