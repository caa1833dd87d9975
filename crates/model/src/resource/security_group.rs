//! A security group; each of its rules is a resource of its own. Attributes: `id`.

use kcl_engine::{Ref, Resource, Schema};
use serde::{Deserialize, Serialize};

use super::{Tags, is_foreign_tag};

/// A security group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecurityGroup {
    /// The VPC (`id`).
    pub vpc: Ref,
    /// Its description.
    pub description: String,
    /// Tags.
    pub tags: Tags,
}

impl Resource for SecurityGroup {
    const SCHEMA: &'static Schema = &Schema {
        immutable: &[
            ("vpc", "a security group cannot move to another VPC"),
            ("description", "a security group's description is fixed when it is made"),
        ],
        open_maps: &["tags"],
        is_foreign_key: is_foreign_tag,
        ..Schema::new("security-group", "security")
    };
}
