//! Security groups of the machines, and who may talk to whom.
//!
//! The groups of load balancers stand with their load balancers.

use ipnet::{IpNet, Ipv4Net};
use kcl_engine::{Ref, Resource};
use kcl_spec::cluster::{InstanceGroup, PodNetwork, Role};

use crate::builder::{Builder, given_groups, group_ref};
use crate::error::ModelError;
use crate::names;
use crate::resource::{Protocol, SecurityGroup};

/// Where the API server listens.
pub(crate) const API_PORT: u16 = 443;
const SSH_PORT: u16 = 22;
/// Kubernetes' default range for services of type NodePort.
const NODE_PORTS: (u16, u16) = (30000, 32767);

pub(crate) fn add(builder: &mut Builder<'_>) -> Result<(), ModelError> {
    let cluster = builder.cluster;
    let masters = names::security_group(Role::ControlPlane, &cluster.name);
    let nodes = names::security_group(Role::Node, &cluster.name);
    // Every cluster has this group, and it is ours even where the VPC is not.
    let tags = builder.protecting_tags(&masters);
    builder.tagged_security_group(&masters, "Security group for masters", tags)?;
    builder.security_group(&nodes, "Security group for nodes")?;

    builder.allow_group(&masters, Protocol::all(), &masters)?;
    builder.allow_group(&nodes, Protocol::all(), &masters)?;
    builder.allow_group(&nodes, Protocol::all(), &nodes)?;
    // Everything but the ports of etcd members among themselves (2380, 2381) and of kOps' own etcd (4001, 4002).
    for (from, to) in [(1, 2379), (2382, 4000), (4003, 65535)] {
        builder.allow_group(&masters, Protocol::tcp(from, to), &nodes)?;
    }
    builder.allow_group(&masters, Protocol::udp(1, 65535), &nodes)?;
    match cluster.network.pod_network {
        // Packets between pods travel in packets of their own, which are neither TCP nor UDP.
        PodNetwork::Calico | PodNetwork::KubeRouter => {
            builder.allow_group(&masters, Protocol::ip_in_ip(), &nodes)?;
        }
        // Pods have addresses of the VPC, and those on masters ports of any number.
        PodNetwork::AmazonVpc => builder.allow_group(&masters, Protocol::all(), &nodes)?,
        _ => {}
    }

    if cluster.api.load_balancer.is_none() {
        for cidr in &cluster.api.access {
            builder.allow_cidr(&masters, Protocol::tcp(API_PORT, API_PORT), cidr)?;
        }
    }
    for cidr in &cluster.node_port_access {
        builder.allow_cidr(&nodes, Protocol::tcp(NODE_PORTS.0, NODE_PORTS.1), cidr)?;
        builder.allow_cidr(&nodes, Protocol::udp(NODE_PORTS.0, NODE_PORTS.1), cidr)?;
    }
    // With a bastion, SSH goes through it alone.
    if cluster.bastion.is_none() {
        for cidr in &cluster.ssh.access {
            builder.allow_cidr(&masters, ssh(), cidr)?;
            builder.allow_cidr(&nodes, ssh(), cidr)?;
        }
    }
    Ok(())
}

/// SSH.
pub(crate) fn ssh() -> Protocol {
    Protocol::tcp(SSH_PORT, SSH_PORT)
}

/// The whole internet, as IPv4 has it.
pub(crate) fn world() -> IpNet {
    IpNet::V4(Ipv4Net::default())
}

/// The security groups of a group's machines.
pub(crate) fn of_machines(builder: &mut Builder<'_>, group: &InstanceGroup) -> Vec<Ref> {
    let role = group_ref(&names::security_group(group.role, builder.name()));
    let own = match &group.security_group_override {
        None => role,
        Some(id) => {
            builder.warn(
                format!("the security group {id} of the instance group {} is used as it is", group.name),
                "its rules are yours: let the control plane, the nodes and the load balancers reach it",
            );
            Ref::id(SecurityGroup::SCHEMA.kind, "id", id)
        }
    };
    [own].into_iter().chain(given_groups(&group.additional_security_groups)).collect()
}
