//! A public IPv4 address. Attributes: `id` (the allocation), `ip`.

use kcl_engine::{Resource, Schema};
use serde::{Deserialize, Serialize};

use super::{Tags, is_foreign_tag};

/// An Elastic IP address of the VPC scope.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ElasticIp {
    /// Tags.
    pub tags: Tags,
}

impl Resource for ElasticIp {
    const SCHEMA: &'static Schema = &Schema {
        open_maps: &["tags"],
        is_foreign_key: is_foreign_tag,
        ..Schema::new("elastic-ip", "network")
    };
}
