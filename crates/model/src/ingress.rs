//! How traffic gets to the ingress controller on the nodes: a load balancer with the ports 80 and 443, of its
//! own or the API's.
//!
//! The controller is a DaemonSet that has these two ports of every node, so that at most one controller can
//! have its traffic led here. One with `managedBy: service` asks the cloud controller for a load balancer,
//! and nothing is made for it.

use kcl_engine::Ref;
use kcl_spec::cluster::{Cluster, IngressController, LoadBalancerManager, Role};

use crate::builder::Builder;
use crate::error::ModelError;
use crate::load_balancing::{self, Balancer, Target, listener, target_group, target_ref};
use crate::{control_plane, names, network, security};

const INGRESS: &str = "ingress";
/// Prefix of the target group, and port, both of the listener and on the nodes.
const PORTS: [(&str, u16); 2] = [("http", 80), ("https", 443)];

pub(crate) fn add(builder: &mut Builder<'_>) -> Result<(), ModelError> {
    let mut ours = ours(builder.cluster);
    let Some(ingress) = ours.next() else { return Ok(()) };
    if let Some(second) = ours.next() {
        return Err(ModelError::TwoIngressControllers {
            first: ingress.name.clone(),
            second: second.name.clone(),
        });
    }
    let prefix = prefix(ingress);
    if prefix == INGRESS {
        own_load_balancer(builder, ingress)?;
    }
    let ports = PORTS.map(|(_, port)| port);
    load_balancing::open(builder, prefix, &ports, &security::world())?;
    let nodes = names::security_group(Role::Node, builder.name());
    load_balancing::lead_to(builder, prefix, &nodes, &ports)?;
    for (name, port) in PORTS {
        let proxy_protocol = ingress.load_balancer.proxy_protocol;
        target_group(builder, &Target { proxy_protocol, ..Target::tcp(name, port) })?;
        listener(builder, prefix, port, None, name)?;
    }
    Ok(())
}

/// The controllers whose load balancer kcl makes.
pub(crate) fn ours(cluster: &Cluster) -> impl Iterator<Item = &IngressController> {
    let all = cluster.ingress_controllers.iter();
    all.filter(|ingress| ingress.load_balancer.managed_by == LoadBalancerManager::Kcl)
}

/// The prefix of the load balancer that leads to a controller.
pub(crate) fn prefix(ingress: &IngressController) -> &'static str {
    if ingress.load_balancer.share_with_api { control_plane::API } else { INGRESS }
}

/// The target groups of nodes.
pub(crate) fn target_groups(cluster: &Cluster) -> Vec<Ref> {
    let mut groups = Vec::new();
    for _ in ours(cluster) {
        groups.extend(PORTS.map(|(name, _)| target_ref(name, &cluster.name)));
    }
    groups
}

fn own_load_balancer(builder: &mut Builder<'_>, ingress: &IngressController) -> Result<(), ModelError> {
    let subnets = subnets(builder.cluster);
    if subnets.is_empty() {
        return Err(ModelError::NoPlaceForIngress { name: ingress.name.clone() });
    }
    let balancer = Balancer {
        prefix: INGRESS,
        internal: false,
        subnets,
        additional_security_groups: &[],
        cross_zone: false,
        access_log: None,
    };
    load_balancing::add(builder, balancer)
}

/// One public place in each zone that has nodes; where none of these has any, one in each zone. Without nodes
/// in its zone, an address of the load balancer would lead nowhere.
fn subnets(cluster: &Cluster) -> Vec<&str> {
    let zones = cluster.zones();
    let of_nodes = cluster.groups(Role::Node).flat_map(|group| &group.subnets);
    let node_zones: Vec<&str> =
        of_nodes.filter_map(|name| cluster.subnet(name)).map(|subnet| subnet.zone.as_str()).collect();
    let places = |wanted: &dyn Fn(&str) -> bool| -> Vec<&str> {
        let zones = zones.iter().filter(|zone| wanted(zone));
        zones
            .filter_map(|zone| network::public_subnet(cluster, zone))
            .map(|subnet| subnet.name.as_str())
            .collect()
    };
    match places(&|zone| node_zones.contains(&zone)) {
        none if none.is_empty() => places(&|_| true),
        some => some,
    }
}
