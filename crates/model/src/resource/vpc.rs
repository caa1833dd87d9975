//! The cluster's network. Attributes: `id`.

use kcl_engine::{Ref, Resource, Schema, Set};
use serde::{Deserialize, Serialize};

use super::{Tags, is_foreign_tag};

/// A VPC.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Vpc {
    /// The primary IPv4 block.
    pub cidr: String,
    /// Further IPv4 blocks.
    pub additional_cidrs: Set<String>,
    /// Whether Amazon gives it an IPv6 block.
    pub amazon_ipv6: bool,
    /// `enableDnsSupport`.
    pub dns_support: bool,
    /// `enableDnsHostnames`.
    pub dns_hostnames: bool,
    /// Its DHCP options (`id`); none: those of the account's default.
    pub dhcp_options: Option<Ref>,
    /// Tags.
    pub tags: Tags,
}

impl Resource for Vpc {
    const SCHEMA: &'static Schema = &Schema {
        immutable: &[("cidr", "the primary block of a VPC is fixed when it is made")],
        irreplaceable: Some("everything of the cluster is in it: make another cluster"),
        stood_on: &["additional_cidrs"],
        open_maps: &["tags"],
        is_foreign_key: is_foreign_tag,
        ..Schema::new("vpc", "network")
    };
}
