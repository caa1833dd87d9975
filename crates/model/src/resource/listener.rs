//! A port of a load balancer. Named `<load balancer> <port>`. Attributes: `arn`.

use kcl_engine::{Ref, Resource, Schema};
use serde::{Deserialize, Serialize};

use super::{Tags, is_foreign_tag};

/// A listener that forwards to one target group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listener {
    /// The load balancer (`arn`).
    pub load_balancer: Ref,
    /// The port.
    pub port: u16,
    /// `TCP` or `TLS`.
    pub protocol: String,
    /// Where it forwards to (`arn`); none: its default action is something else.
    pub target_group: Option<Ref>,
    /// The certificate's ARN, for TLS.
    pub certificate: Option<String>,
    /// The TLS policy's name, for TLS.
    pub ssl_policy: Option<String>,
    /// Tags.
    pub tags: Tags,
}

impl Resource for Listener {
    const SCHEMA: &'static Schema = &Schema {
        immutable: &[("load_balancer", "a listener belongs to its load balancer")],
        replaced_with: &["target_group"],
        contained_in: Some("load_balancer"),
        open_maps: &["tags"],
        is_foreign_key: is_foreign_tag,
        ..Schema::new("listener", "load-balancing")
    };
}
