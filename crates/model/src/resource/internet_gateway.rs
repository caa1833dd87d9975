//! The VPC's way to the internet. Attributes: `id`.

use kcl_engine::{Ref, Resource, Schema};
use serde::{Deserialize, Serialize};

use super::{Tags, is_foreign_tag};

/// An internet gateway.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InternetGateway {
    /// The VPC (`id`) it is attached to; none: an interrupted run left it detached.
    pub vpc: Option<Ref>,
    /// Tags.
    pub tags: Tags,
}

impl Resource for InternetGateway {
    const SCHEMA: &'static Schema = &Schema {
        replaced_with: &["vpc"],
        open_maps: &["tags"],
        is_foreign_key: is_foreign_tag,
        ..Schema::new("internet-gateway", "network")
    };
}
