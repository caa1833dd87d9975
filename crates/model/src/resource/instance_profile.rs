//! How a machine gets its role. Attributes: `name`, `arn`.

use kcl_engine::{Ref, Resource, Schema};
use serde::{Deserialize, Serialize};

use super::{Tags, is_foreign_tag};

/// An instance profile.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InstanceProfile {
    /// Its role (`name`); none: an interrupted run left it empty.
    pub role: Option<Ref>,
    /// Tags.
    pub tags: Tags,
}

impl Resource for InstanceProfile {
    const SCHEMA: &'static Schema = &Schema {
        open_maps: &["tags"],
        is_foreign_key: is_foreign_tag,
        ..Schema::new("instance-profile", "identity")
    };
}
