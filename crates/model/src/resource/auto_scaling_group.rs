//! The machines of an instance group. Attributes: `name`, `arn`.

use std::collections::BTreeMap;

use kcl_engine::{Ref, Resource, Schema, Set};
use serde::{Deserialize, Serialize};

use super::{Tags, is_foreign_tag};

/// An auto scaling group. It always runs the latest version of its launch template.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AutoScalingGroup {
    /// The launch template (`id`).
    pub launch_template: Ref,
    /// Several types, or spot; none: on-demand of the template's type.
    pub mixed_instances: Option<MixedInstances>,
    /// The fewest machines.
    pub min_size: i32,
    /// The most machines. How many there are between the two is the group's (or an autoscaler's) own affair.
    pub max_size: i32,
    /// The subnets (`id`).
    pub subnets: Set<Ref>,
    /// The target groups (`arn`) its machines are registered with.
    pub target_groups: Set<Ref>,
    /// Classic load balancers it is registered with, by name.
    pub classic_load_balancers: Set<String>,
    /// Seconds after which a machine is replaced; 0: never.
    pub max_instance_lifetime: i32,
    /// Whether new machines are protected from scale-in.
    pub protect_from_scale_in: bool,
    /// Whether capacity is rebalanced before a spot interruption.
    pub capacity_rebalance: bool,
    /// Processes that are suspended.
    pub suspended_processes: Set<String>,
    /// Group metrics collected every minute.
    pub metrics: Set<String>,
    /// Lifecycle hooks, by name. Read from AWS only where a group is looked at closely: AWS lists them one group
    /// at a time.
    pub lifecycle_hooks: BTreeMap<String, LifecycleHook>,
    /// Tags, each of them passed on to machines.
    pub tags: Tags,
}

/// What happens before a machine goes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LifecycleHook {
    /// `autoscaling:EC2_INSTANCE_TERMINATING`...
    pub transition: String,
    /// Seconds until the default result counts.
    pub heartbeat_timeout: i32,
    /// `CONTINUE` or `ABANDON`.
    pub default_result: String,
}

/// How a group mixes types and ways of buying.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MixedInstances {
    /// The types it may use, the preferred first; empty: the template's own.
    pub instance_types: Vec<String>,
    /// Any type with these properties, in place of a list of types.
    pub requirements: Option<InstanceRequirements>,
    /// On-demand machines before anything else.
    pub on_demand_base: i32,
    /// Of the rest, how many in a hundred are on-demand.
    pub on_demand_above_base: i32,
    /// `prioritized` or `lowest-price`.
    pub on_demand_allocation: Option<String>,
    /// `lowest-price`, `capacity-optimized`, `capacity-optimized-prioritized`, `price-capacity-optimized`.
    pub spot_allocation: Option<String>,
    /// How many pools, for `lowest-price`.
    pub spot_pools: Option<i32>,
    /// The highest spot price per hour in USD; none: the on-demand price.
    pub spot_max_price: Option<String>,
}

/// Properties of acceptable instance types.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InstanceRequirements {
    /// The fewest vCPUs.
    pub cpu_min: i32,
    /// The most vCPUs; none: no limit.
    pub cpu_max: Option<i32>,
    /// The least memory in MiB.
    pub memory_min: i32,
    /// The most memory in MiB; none: no limit.
    pub memory_max: Option<i32>,
}

impl Resource for AutoScalingGroup {
    const SCHEMA: &'static Schema = &Schema {
        open_maps: &["tags"],
        is_foreign_key: is_foreign_tag,
        ..Schema::new("auto-scaling-group", "machines")
    };
}
