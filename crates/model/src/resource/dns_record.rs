//! A Route53 record that is an alias of a load balancer. Named `<name> <type>`. Attributes: `name`.

use kcl_engine::{Ref, Resource, Schema};
use serde::{Deserialize, Serialize};

/// An alias record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DnsRecord {
    /// The hosted zone's id, without `/hostedzone/`.
    pub zone: String,
    /// The name, without the dot at the end.
    pub name: String,
    /// `A` or `AAAA`.
    pub record_type: String,
    /// The load balancer's name (`dns_name`), in lower case and without `dualstack.` or the dot at the end; none:
    /// the record is there, but no alias.
    pub alias: Option<Ref>,
    /// The load balancer's own zone (`zone_id`).
    pub alias_zone: Option<Ref>,
    /// Whether the alias is as healthy as what it points to.
    pub evaluate_target_health: bool,
}

impl Resource for DnsRecord {
    const SCHEMA: &'static Schema = &Schema {
        immutable: &[
            ("zone", "a record belongs to its zone"),
            ("name", "a record's name is its identity"),
            ("record_type", "a record's type is its identity"),
        ],
        ..Schema::new("dns-record", "dns")
    };
}
