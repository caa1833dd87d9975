//! A classic load balancer that the cloud controller made. Never wanted, only removed with the cluster. Attributes: `name`.

use kcl_engine::{Ref, Resource, Schema, Set};
use serde::{Deserialize, Serialize};

/// A classic load balancer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClassicLoadBalancer {
    /// The subnets (`id`) it stands in.
    pub subnets: Set<Ref>,
    /// Its security groups (`id`).
    pub security_groups: Set<Ref>,
}

impl Resource for ClassicLoadBalancer {
    const SCHEMA: &'static Schema = &Schema { ..Schema::new("classic-load-balancer", "load-balancing") };
}
