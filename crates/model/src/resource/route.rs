//! A route of a route table. Named `<route table> <destination>`. Attributes: none.

use kcl_engine::{Ref, Resource, Schema};
use serde::{Deserialize, Serialize};

/// A route.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Route {
    /// The route table (`id`).
    pub route_table: Ref,
    /// The IPv4 or IPv6 block it is for.
    pub destination: String,
    /// Where it leads to.
    pub target: RouteTarget,
}

/// What a route leads to. `type` names the request's parameter, so that the same id in another role differs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouteTarget {
    /// `gateway`, `nat-gateway`, `instance`, `transit-gateway`, `network-interface`,
    /// `egress-only-internet-gateway`, `peering-connection`, `vpc-endpoint` or `other`.
    #[serde(rename = "type")]
    pub target_type: String,
    /// The target (`id`).
    pub target: Ref,
}

impl Resource for Route {
    const SCHEMA: &'static Schema = &Schema {
        immutable: &[
            ("route_table", "a route belongs to its route table"),
            ("destination", "a route's destination is its identity"),
        ],
        contained_in: Some("route_table"),
        ..Schema::new("route", "network")
    };
}
