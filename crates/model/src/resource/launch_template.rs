//! What a group's machines are made from. A change makes a new version of the same template. Attributes:
//! `id`, `name`, `version` (the latest).

use kcl_engine::{Ref, Resource, Schema, Set, Text};
use serde::{Deserialize, Serialize};

use super::{Tags, is_foreign_tag};

/// Stands in user data where the hash of the node configuration will. It is no hash, so that no shell takes a script
/// with gaps for a whole one.
pub const CONFIGURATION_GAP: &str = "@configuration@";
/// Stands in user data where the hash of the node agent will.
pub const AGENT_GAP: &str = "@agent@";

/// A launch template: its latest version, and the tags of the template itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LaunchTemplate {
    /// The AMI's id.
    pub image: String,
    /// The instance type.
    pub instance_type: String,
    /// The SSH key pair (`name`).
    pub key_pair: Option<Ref>,
    /// The instance profile (`name`).
    pub instance_profile: Option<Ref>,
    /// Disks, in order.
    pub block_devices: Vec<BlockDevice>,
    /// Whether a machine gets a public IPv4 address.
    pub public_ip: Option<bool>,
    /// How many IPv6 addresses a machine gets.
    pub ipv6_address_count: Option<i32>,
    /// The security groups (`id`) of the network interface.
    pub security_groups: Set<Ref>,
    /// Whether the instance metadata service asks for a token (IMDSv2).
    pub imds_tokens_required: bool,
    /// How many hops a metadata answer may travel.
    pub imds_hop_limit: i32,
    /// Whether the metadata service answers over IPv6.
    pub imds_ipv6: bool,
    /// Detailed monitoring.
    pub monitoring: bool,
    /// `standard` or `unlimited`, for burstable types.
    pub cpu_credits: Option<String>,
    /// `default`, `dedicated` or `host`.
    pub tenancy: Option<String>,
    /// Whether machines come from the spot market, and how.
    pub spot: Option<SpotOptions>,
    /// Whether disks have throughput of their own (EBS optimised); none: what the type does by itself.
    pub ebs_optimized: Option<bool>,
    /// What machines run first, with gaps ([`CONFIGURATION_GAP`], [`AGENT_GAP`]) for the hashes below.
    pub user_data: Text,
    /// What machines are told (`sha256`); `None` where that is nothing.
    pub node_configuration: Option<Ref>,
    /// The program that reads it (`sha256`).
    pub node_agent: Option<Ref>,
    /// Whether the template's default is an older version than the latest: nobody wants that, and a run that is cut
    /// short leaves it so.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub default_is_old: bool,
    /// Tags of the machines, their disks and network interfaces.
    pub machine_tags: Tags,
    /// Tags of the template.
    pub tags: Tags,
}

/// A disk of a machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlockDevice {
    /// `/dev/xvda`...
    pub device: String,
    /// `ephemeral0`... for an instance store disk; the fields below are for EBS.
    pub virtual_name: Option<String>,
    /// GiB.
    pub size: Option<i32>,
    /// `gp3`...
    pub volume_type: Option<String>,
    /// Operations a second.
    pub iops: Option<i32>,
    /// MiB a second.
    pub throughput: Option<i32>,
    /// Whether it is encrypted.
    pub encrypted: Option<bool>,
    /// The key, where it is not the account's default.
    pub kms_key: Option<String>,
    /// Whether it goes with its machine.
    pub delete_on_termination: Option<bool>,
}

/// How machines are bought on the spot market.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SpotOptions {
    /// The highest price per hour in USD; none: the on-demand price.
    pub max_price: Option<String>,
    /// `terminate`, `stop` or `hibernate`; none: terminate.
    pub interruption_behavior: Option<String>,
}

impl Resource for LaunchTemplate {
    const SCHEMA: &'static Schema = &Schema {
        open_maps: &["tags"],
        is_foreign_key: is_foreign_tag,
        ..Schema::new("launch-template", "machines")
    };
}
