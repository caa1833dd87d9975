//! Route53 records: names of the API, the bastions and ingress hosts, as aliases of load balancers.
//!
//! The zone of a name is the one with the longest name that ends it. Without a load balancer the API's
//! names point to machines, whose addresses are not known here: the control plane publishes those itself.

use std::collections::BTreeSet;

use kcl_engine::{Ref, Resource};
use kcl_spec::cluster::{Cluster, DnsType, IngressController, LoadBalancerManager};

use crate::builder::Builder;
use crate::error::ModelError;
use crate::facts::HostedZone;
use crate::resource::{DnsRecord, LoadBalancer};
use crate::{bastion, control_plane, ingress, names};

pub(crate) fn add(builder: &mut Builder<'_>) -> Result<(), ModelError> {
    api(builder)?;
    bastions(builder)?;
    ingress_hosts(builder)
}

/// The names of the API that control-plane machines keep at their own addresses: those that no load balancer has.
/// Which of them there is a zone for is another question.
pub fn kept_by_machines(cluster: &Cluster) -> BTreeSet<&str> {
    let api = &cluster.api;
    let names: &[&String] = match &api.load_balancer {
        _ if cluster.network.dns == DnsType::None => &[],
        None => &[&api.public_name, &api.internal_name],
        Some(balancer) if balancer.use_for_internal_api => &[],
        Some(_) if api.internal_name == api.public_name => &[],
        Some(_) => &[&api.internal_name],
    };
    names.iter().map(|name| name.as_str()).collect()
}

/// The zones of the API's names, by id.
pub(crate) fn api_zones(builder: &Builder<'_>) -> BTreeSet<String> {
    let api = &builder.cluster.api;
    let zones = [&api.public_name, &api.internal_name]
        .map(|name| zone_of(builder.cluster, &builder.facts.zones, name));
    zones.into_iter().flatten().map(|zone| zone.id.clone()).collect()
}

/// The zone of one of the cluster's own names: the spec's, else the longest that fits.
pub(crate) fn zone_of<'a>(cluster: &Cluster, zones: &'a [HostedZone], name: &str) -> Option<&'a HostedZone> {
    let network = &cluster.network;
    let private = match network.dns {
        DnsType::Public => false,
        DnsType::Private => true,
        DnsType::None => return None,
    };
    let mut zones = zones.iter().filter(|zone| zone.private == private);
    match &network.dns_zone {
        Some(given) => {
            let id = given.trim_start_matches("/hostedzone/");
            zones.find(|zone| zone.id == id || normal(&zone.name) == normal(given))
        }
        None => longest(zones, name),
    }
}

/// The zones of the names that are published for the cluster: the API's, and those of ingress hosts whoever makes their
/// load balancer. By id, each once.
pub(crate) fn zones(builder: &Builder<'_>) -> Vec<String> {
    let (cluster, facts) = (builder.cluster, builder.facts);
    let hosts = cluster.ingress_controllers.iter().flat_map(|controller| &controller.hosts);
    let of_hosts = hosts.filter_map(|host| longest(facts.zones.iter().filter(|zone| !zone.private), host));
    let zones: BTreeSet<String> =
        api_zones(builder).into_iter().chain(of_hosts.map(|zone| zone.id.clone())).collect();
    zones.into_iter().collect()
}

fn longest<'a>(zones: impl Iterator<Item = &'a HostedZone>, name: &str) -> Option<&'a HostedZone> {
    let name = normal(name);
    let fits = |zone: &&HostedZone| {
        let zone = normal(&zone.name);
        name == zone || name.strip_suffix(&zone).is_some_and(|rest| rest.ends_with('.'))
    };
    // Of two zones with one name, the same one is chosen in every run.
    zones.filter(fits).max_by_key(|zone| (normal(&zone.name).len(), std::cmp::Reverse(&zone.id)))
}

/// As Route53 has names, but without the dot at the end.
fn normal(name: &str) -> String {
    name.trim_end_matches('.').to_ascii_lowercase()
}

fn api(builder: &mut Builder<'_>) -> Result<(), ModelError> {
    let cluster = builder.cluster;
    if cluster.network.dns == DnsType::None {
        return Ok(());
    }
    let Some(balancer) = &cluster.api.load_balancer else {
        // Nothing to make here, but the control plane publishes them.
        let zones = &builder.facts.zones;
        let mut names = kept_by_machines(cluster);
        names.retain(|name| zone_of(cluster, zones, name).is_none());
        if !names.is_empty() {
            let names: Vec<&str> = names.into_iter().collect();
            no_zone(builder, &names.join(" and "), cluster.network.dns);
        }
        return Ok(());
    };
    let internal = balancer.use_for_internal_api.then_some(&cluster.api.internal_name);
    for name in [&cluster.api.public_name].into_iter().chain(internal) {
        own_name(builder, name, control_plane::API)?;
    }
    Ok(())
}

fn bastions(builder: &mut Builder<'_>) -> Result<(), ModelError> {
    let cluster = builder.cluster;
    let name = cluster.bastion.as_ref().and_then(|bastion| bastion.public_name.as_ref());
    match name.filter(|_| cluster.network.dns != DnsType::None) {
        Some(name) => own_name(builder, name, bastion::BASTION),
        None => Ok(()),
    }
}

/// One of the cluster's own names.
fn own_name(builder: &mut Builder<'_>, name: &str, balancer: &str) -> Result<(), ModelError> {
    if let Some(zone) = zone_of(builder.cluster, &builder.facts.zones, name) {
        return alias(builder, zone, name, &["A", "AAAA"], balancer);
    }
    no_zone(builder, name, builder.cluster.network.dns);
    Ok(())
}

fn ingress_hosts(builder: &mut Builder<'_>) -> Result<(), ModelError> {
    let (cluster, facts) = (builder.cluster, builder.facts);
    for controller in ingress::ours(cluster) {
        for host in &controller.hosts {
            let zones = facts.zones.iter().filter(|zone| !zone.private);
            if let Some(zone) = longest(zones, host) {
                // The balancer has IPv4 addresses only; an AAAA record may well be somebody else's.
                alias(builder, zone, host, &["A"], ingress::prefix(controller))?;
            } else {
                no_zone(builder, host, DnsType::Public);
            }
        }
    }
    let by_service = cluster.ingress_controllers.iter();
    let by_service = by_service.filter(|c| c.load_balancer.managed_by == LoadBalancerManager::Service);
    for controller in by_service.filter(|controller| !controller.hosts.is_empty()) {
        by_external_dns(builder, controller);
    }
    Ok(())
}

/// Of a load balancer that the cloud controller makes the name is not known beforehand: external-dns publishes it.
fn by_external_dns(builder: &mut Builder<'_>, controller: &IngressController) {
    let IngressController { name, namespace, hosts, .. } = controller;
    let hint = match &builder.cluster.addons.external_dns {
        Some(external_dns) if external_dns.watches(namespace) => {
            let facts = builder.facts;
            let has_zone =
                |host: &str| longest(facts.zones.iter().filter(|zone| !zone.private), host).is_some();
            for host in hosts.iter().filter(|host| !has_zone(host)) {
                no_zone(builder, host, DnsType::Public);
            }
            return;
        }
        Some(_) => format!(
            "external-dns watches another namespace than {namespace}: see `externalDns.watchNamespace`"
        ),
        None => "its load balancer is made by the cloud controller, and its name is not known beforehand: \
                 `externalDns: {provider: external-dns}` publishes it"
            .to_owned(),
    };
    builder.warn(format!("the hosts of the ingress controller {name} get no DNS records"), hint);
}

fn no_zone(builder: &mut Builder<'_>, name: &str, dns: DnsType) {
    let kind = if dns == DnsType::Private { "private" } else { "public" };
    builder.warn(
        format!("the account has no {kind} hosted zone for {name}: no record is made"),
        "create the zone, or point the name to the cluster where it is hosted",
    );
}

fn alias(
    builder: &mut Builder<'_>,
    zone: &HostedZone,
    name: &str,
    types: &[&str],
    balancer: &str,
) -> Result<(), ModelError> {
    let name = normal(name);
    let balancer = names::load_balancer(balancer, builder.name());
    let attribute = |attr| Ref::to(LoadBalancer::SCHEMA.kind, &balancer, attr);
    for record_type in types {
        let record = DnsRecord {
            zone: zone.id.clone(),
            name: name.clone(),
            record_type: (*record_type).to_owned(),
            alias: Some(attribute("dns_name")),
            alias_zone: Some(attribute("zone_id")),
            evaluate_target_health: false,
        };
        builder.add(format!("{name} {record_type}"), &record)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_zone_wins() {
        let zone = |id: &str, name: &str| HostedZone { id: id.into(), name: name.into(), private: false };
        let zones = [zone("Z1", "example.com."), zone("Z2", "k8s.example.com"), zone("Z3", "ample.com")];
        let id = |name| longest(zones.iter(), name).map(|zone| zone.id.as_str());
        assert_eq!(id("api.k8s.example.com"), Some("Z2"));
        assert_eq!(id("K8s.Example.com."), Some("Z2"));
        assert_eq!(id("docs.example.com"), Some("Z1"));
        assert_eq!(id("example.org"), None);
    }
}
