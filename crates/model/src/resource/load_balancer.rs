//! A network load balancer. Attributes: `arn`, `name`, `dns_name`, `zone_id`.

use kcl_engine::{Ref, Resource, Schema, Set};
use serde::{Deserialize, Serialize};

use super::{Tags, is_foreign_tag};

/// A network load balancer. Its resource name is its `Name` tag (`api.<cluster>`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoadBalancer {
    /// Its name in AWS, at most 32 characters.
    pub lb_name: String,
    /// Whether it has private addresses only.
    pub internal: bool,
    /// The subnets (`id`) it stands in.
    pub subnets: Set<Ref>,
    /// Its security groups (`id`).
    pub security_groups: Set<Ref>,
    /// Whether a zone's address serves the targets of all zones.
    pub cross_zone: bool,
    /// `ipv4` or `dualstack`.
    pub ip_address_type: String,
    /// The bucket and prefix of its access log.
    pub access_log: Option<AccessLog>,
    /// Tags.
    pub tags: Tags,
}

/// Where a load balancer writes its access log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccessLog {
    /// The bucket.
    pub bucket: String,
    /// The prefix within it; may be empty.
    pub prefix: String,
}

impl Resource for LoadBalancer {
    const SCHEMA: &'static Schema = &Schema {
        immutable: &[
            ("lb_name", "a load balancer's name is fixed when it is made"),
            ("internal", "a load balancer is internal or internet-facing from the start"),
        ],
        open_maps: &["tags"],
        is_foreign_key: is_foreign_tag,
        ..Schema::new("load-balancer", "load-balancing")
    };
}
