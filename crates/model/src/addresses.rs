//! Where clients reach the cluster's API server, and its ingress controllers.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use ipnet::Ipv4Net;
use kcl_engine::{Attrs, Resource, ResourceId};
use kcl_spec::cluster::{Cluster, IngressController, LoadBalancerManager};

use crate::facts::HostedZone;
use crate::resource::LoadBalancer;
use crate::{control_plane, dns, ingress, names};

/// The URL of the API server, by the best name there is: the published one, else that of the load balancer. `zones`
/// are the account's, `known` is what AWS calls the cluster's resources. `None`: there is no load balancer yet.
pub fn api_url(cluster: &Cluster, zones: &[HostedZone], known: &BTreeMap<String, Attrs>) -> Option<String> {
    let api = &cluster.api;
    // Without a zone for it the name is nobody's. Without a load balancer it is all there is.
    let is_published = dns::zone_of(cluster, zones, &api.public_name).is_some();
    let host = if is_published || api.load_balancer.is_none() {
        api.public_name.clone()
    } else {
        let (id, _) = api_load_balancer(&cluster.name);
        known.get(&id.to_string())?.get("dns_name")?.clone()
    };
    Some(url(cluster, &host))
}

/// The URL at which kcl itself looks for the API server: the load balancer's own name wherever it is known. A record
/// that was just made may be missing for as long as a resolver remembers that it was not there.
pub fn own_api_url(
    cluster: &Cluster,
    zones: &[HostedZone],
    known: &BTreeMap<String, Attrs>,
) -> Option<String> {
    let (id, _) = api_load_balancer(&cluster.name);
    match known.get(&id.to_string()).and_then(|attrs| attrs.get("dns_name")) {
        Some(host) => Some(url(cluster, host)),
        None => api_url(cluster, zones, known),
    }
}

fn url(cluster: &Cluster, host: &str) -> String {
    match cluster.api.port {
        443 => format!("https://{host}"),
        port => format!("https://{host}:{port}"),
    }
}

/// The address of the cluster's DNS: the tenth of the services', as kubeadm has it.
pub(crate) fn dns_ip(services: Ipv4Net) -> Ipv4Addr {
    Ipv4Addr::from(u32::from(services.network()).saturating_add(10))
}

/// The load balancer in front of the API, and its name in AWS.
pub fn api_load_balancer(cluster: &str) -> (ResourceId, String) {
    let name = names::load_balancer(control_plane::API, cluster);
    let id = ResourceId::new(LoadBalancer::SCHEMA.kind, name);
    (id, names::load_balancer_in_aws(control_plane::API, cluster))
}

/// The names in AWS of the load balancers that kcl makes for `cluster`: the API's, and those of ingress controllers.
pub fn load_balancers(cluster: &Cluster) -> Vec<String> {
    let api = cluster.api.load_balancer.as_ref().map(|_| api_load_balancer(&cluster.name).1);
    let ingress = cluster.ingress_controllers.iter();
    let ingress = ingress.filter_map(|controller| ingress_load_balancer(&cluster.name, controller));
    api.into_iter().chain(ingress).collect()
}

/// The name in AWS of the load balancer that leads to an ingress controller; `None` where kcl makes none for it.
pub fn ingress_load_balancer(cluster: &str, controller: &IngressController) -> Option<String> {
    match controller.load_balancer.managed_by {
        LoadBalancerManager::Kcl => Some(names::load_balancer_in_aws(ingress::prefix(controller), cluster)),
        LoadBalancerManager::Service => None,
    }
}
