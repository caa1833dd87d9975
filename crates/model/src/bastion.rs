//! The way in over SSH: bastions behind a load balancer, and from them to every machine.

use ipnet::{IpNet, Ipv4Net};
use kcl_engine::Ref;
use kcl_spec::cluster::{Cluster, Role, Scheme, SubnetOrigin};

use crate::builder::Builder;
use crate::error::ModelError;
use crate::load_balancing::{self, Balancer, Target, listener, target_group, target_ref};
use crate::{names, security};

/// The prefix of the bastions' load balancer and target group.
pub(crate) const BASTION: &str = "bastion";
const SSH_PORT: u16 = 22;

pub(crate) fn add(builder: &mut Builder<'_>) -> Result<(), ModelError> {
    let cluster = builder.cluster;
    let Some(bastion) = &cluster.bastion else { return Ok(()) };
    let group = names::security_group(Role::Bastion, &cluster.name);
    builder.security_group(&group, "Security group for bastion")?;
    for role in [Role::ControlPlane, Role::Node] {
        let machines = names::security_group(role, &cluster.name);
        builder.allow_group(&machines, security::ssh(), &group)?;
    }
    let balancer = Balancer {
        prefix: BASTION,
        internal: bastion.scheme == Scheme::Internal,
        subnets: bastion.subnets.iter().map(String::as_str).collect(),
        additional_security_groups: &bastion.additional_security_groups,
        cross_zone: false,
        access_log: None,
    };
    load_balancing::add(builder, balancer)?;
    // The balancer's own addresses come first: its health checks and other zones.
    for subnet in &bastion.subnets {
        if let Some(cidr) = cidr_of(builder, subnet) {
            load_balancing::open(builder, BASTION, &[SSH_PORT], &IpNet::V4(cidr))?;
        }
    }
    for cidr in &cluster.ssh.access {
        load_balancing::open(builder, BASTION, &[SSH_PORT], cidr)?;
    }
    load_balancing::lead_to(builder, BASTION, &group, &[SSH_PORT])?;
    target_group(builder, &Target::tcp(BASTION, SSH_PORT))?;
    listener(builder, BASTION, SSH_PORT, None, BASTION)
}

/// The target groups of bastions.
pub(crate) fn target_groups(cluster: &Cluster) -> Vec<Ref> {
    cluster.bastion.iter().map(|_| target_ref(BASTION, &cluster.name)).collect()
}

fn cidr_of(builder: &Builder<'_>, subnet: &str) -> Option<Ipv4Net> {
    match &builder.cluster.subnet(subnet)?.origin {
        SubnetOrigin::Managed { cidr } => Some(*cidr),
        SubnetOrigin::Shared { id, cidr } => builder.facts.subnets.get(id).map(|facts| facts.cidr).or(*cidr),
    }
}
