//! The machines behind a listener. Attributes: `arn`, `name`.

use kcl_engine::{Ref, Resource, Schema};
use serde::{Deserialize, Serialize};

use super::{Tags, is_foreign_tag};

/// A target group of machines, over TCP.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TargetGroup {
    /// Its name in AWS, at most 32 characters.
    pub tg_name: String,
    /// The VPC (`id`).
    pub vpc: Ref,
    /// The port on the machines.
    pub port: u16,
    /// `TCP` or `TLS`.
    pub protocol: String,
    /// How a machine is found healthy.
    pub health_check: HealthCheck,
    /// Seconds a machine that leaves may finish in.
    pub deregistration_delay: u32,
    /// Whether connections are cut when that time is over.
    pub connection_termination: bool,
    /// Whether the client's address comes in a proxy protocol v2 header.
    pub proxy_protocol: bool,
    /// Tags.
    pub tags: Tags,
}

/// A health check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HealthCheck {
    /// `TCP`, `HTTP` or `HTTPS`.
    pub protocol: String,
    /// The port, or `traffic-port`.
    pub port: String,
    /// The path, for HTTP and HTTPS.
    pub path: Option<String>,
    /// Seconds between two checks.
    pub interval: i32,
    /// Successes in a row that make a machine healthy.
    pub healthy_threshold: i32,
    /// Failures in a row that make it unhealthy.
    pub unhealthy_threshold: i32,
}

impl Resource for TargetGroup {
    const SCHEMA: &'static Schema = &Schema {
        immutable: &[
            ("tg_name", "a target group's name is fixed when it is made"),
            ("vpc", "a target group cannot move to another VPC"),
            ("port", "a target group's port is fixed when it is made"),
            ("protocol", "a target group's protocol is fixed when it is made"),
        ],
        open_maps: &["tags"],
        is_foreign_key: is_foreign_tag,
        ..Schema::new("target-group", "load-balancing")
    };
}
