//! What machines are told and given: the node configuration of each group, the program that reads it, and the key
//! that Secrets are encrypted with. All of it lies in the state store.
//!
//! Also how machines reach the API, and where the control plane listens: the load balancer, its target groups and
//! the rules around it follow from that.

use std::collections::{BTreeMap, BTreeSet};

use kcl_engine::{Ref, Resource, ResourceId, Text};
use kcl_node_config::assets::{self, Architecture as Processor};
use kcl_node_config::{
    AUTHORITIES, Api, ApiVersion, CloudProvider, ControlPlane, Dns, DnsAddress, DnsName, Etcd, Kind, Kubelet,
    LOAD_BALANCER, Network, NodeConfig, Role as NodeRole, ServiceAccounts, Store, Taint, TaintEffect,
    is_own_label,
};
use kcl_pki::KeysetName;
use kcl_spec::cluster::{
    Architecture, Cluster, DnsType, ImageMirror, InstanceGroup, PodNetwork, Role, SubnetType,
};

use crate::builder::Builder;
use crate::error::ModelError;
use crate::facts::{Facts, HostedZone, StoreLocation};
use crate::resource::{EncryptionKey, Keyset, LoadBalancer, NodeAgent, NodeConfiguration};
use crate::security::API_PORT;
use crate::{addresses, control_plane, dns, issuer, names};

/// The label that tells a node's instance group from its first moment on. kOps' own is in a domain of Kubernetes, whose
/// labels a kubelet may not give itself; the control plane gives it soon after.
const GROUP_LABEL: &str = "kcl.dev/instancegroup";

/// What the machines of a type are taken to have whose memory is not known: what they keep from pods follows from it.
const SOME_MEMORY_MIB: u32 = 2048;

/// The audience of tokens for the API server itself, as kOps has it.
const API_AUDIENCE: &str = "kubernetes.svc.default";

/// The name of the one encryption key.
const ENCRYPTION_KEY: &str = "secrets";

/// How machines reach the API server.
pub(crate) struct Endpoint {
    /// The name; `None`: the load balancer's own, which AWS chooses.
    pub(crate) name: Option<String>,
    /// The port there. Control-plane machines listen on the same one: they take themselves for the endpoint.
    pub(crate) port: u16,
}

/// Through the load balancer where the spec says so, or where there is nothing else by which machines could find the
/// API: no names at all, or no zone to publish them in.
pub(crate) fn by_load_balancer(cluster: &Cluster, zones: &[HostedZone]) -> bool {
    let Some(balancer) = &cluster.api.load_balancer else { return false };
    balancer.use_for_internal_api
        || cluster.network.dns == DnsType::None
        || dns::zone_of(cluster, zones, &cluster.api.internal_name).is_none()
}

/// How the machines of `cluster` reach its API.
pub(crate) fn endpoint(cluster: &Cluster, zones: &[HostedZone]) -> Endpoint {
    let internal = &cluster.api.internal_name;
    if !by_load_balancer(cluster, zones) {
        return Endpoint { name: Some(internal.clone()), port: API_PORT };
    }
    // Where TLS ends at the load balancer, machines with their certificates have a port of their own.
    let ends_there =
        cluster.api.load_balancer.as_ref().is_some_and(|balancer| balancer.ssl_certificate.is_some());
    let port = if ends_there { control_plane::PLAIN_PORT } else { cluster.api.port };
    let has_zone = dns::zone_of(cluster, zones, internal).is_some();
    Endpoint { name: has_zone.then(|| internal.clone()), port }
}

pub(crate) fn add(builder: &mut Builder<'_>) -> Result<(), ModelError> {
    let Some(store) = &builder.facts.store else {
        builder.warn(
            "machines do not become members of the cluster: the state store is a folder, which they cannot read",
            "choose a store that they can: `configBase: s3://bucket/prefix`",
        );
        return Ok(());
    };
    if !store.is_plain() {
        return Err(ModelError::StorePrefix { prefix: store.prefix.clone() });
    }
    builder.add(ENCRYPTION_KEY, &EncryptionKey { purpose: "Secrets in etcd".to_owned() })?;
    for processor in processors(builder.cluster) {
        let sha256 = builder.facts.node_agents.get(processor).cloned();
        let missing = || ModelError::MissingFact { what: "node agent", name: processor.to_owned() };
        builder.add(processor, &NodeAgent { sha256: sha256.ok_or_else(missing)? })?;
    }
    for group in builder.cluster.instance_groups.iter().filter(|group| group.role != Role::Bastion) {
        configuration(builder, store, group)?;
    }
    Ok(())
}

/// What has to be in the store before a machine starts, beside what its launch template refers to.
pub(crate) fn needed_by_machines(builder: &Builder<'_>) -> Option<ResourceId> {
    let key = ResourceId::new(EncryptionKey::SCHEMA.kind, ENCRYPTION_KEY);
    builder.has(&key).then_some(key)
}

/// The kinds of processor that need a kcl-node, by the names in releases' files.
pub(crate) fn processors(cluster: &Cluster) -> BTreeSet<&'static str> {
    let groups = cluster.instance_groups.iter().filter(|group| group.role != Role::Bastion);
    groups.map(|group| processor(group).as_str()).collect()
}

pub(crate) fn processor(group: &InstanceGroup) -> Processor {
    match group.architecture {
        Architecture::X86_64 => Processor::Amd64,
        Architecture::Arm64 => Processor::Arm64,
    }
}

/// The release files of the cluster's machines whose hashes are not known without asking for them.
pub(crate) fn unknown_assets(cluster: &Cluster) -> BTreeSet<String> {
    let version = cluster.kubernetes_version.to_string();
    let groups = cluster.instance_groups.iter().filter(|group| group.role != Role::Bastion);
    groups.flat_map(|group| assets::unknown(&version, processor(group)).unwrap_or_default()).collect()
}

fn configuration(
    builder: &mut Builder<'_>,
    store: &StoreLocation,
    group: &InstanceGroup,
) -> Result<(), ModelError> {
    let (cluster, facts) = (builder.cluster, builder.facts);
    let endpoint = endpoint(cluster, &facts.zones);
    let config = NodeConfig {
        api_version: ApiVersion::V1Alpha1,
        kind: Kind::NodeConfig,
        cluster: cluster.name.clone(),
        account: definite(&facts.account, "000000000000"),
        instance_group: group.name.clone(),
        role: match group.role {
            Role::ControlPlane => NodeRole::ControlPlane,
            Role::Node | Role::Bastion => NodeRole::Node,
        },
        kubernetes_version: cluster.kubernetes_version.to_string(),
        store: Store { location: format!("s3://{}/{}", store.bucket, store.folder(&cluster.name)) },
        api: api(cluster, group, &endpoint),
        control_plane: control_plane_of(cluster, facts, group),
        service_accounts: service_accounts(cluster, facts)?,
        network: network(cluster),
        labels: labels(group),
        taints: group.taints.iter().filter_map(taint).collect(),
        kubelet: Kubelet::for_memory(group.memory_mib.unwrap_or(SOME_MEMORY_MIB).into()),
        cordon_on_rebalance: cluster.node_termination_handler.rebalance,
        sysctls: group.sysctls.clone(),
        cloud_provider: CloudProvider::External,
        assets: assets::for_version(
            &cluster.kubernetes_version.to_string(),
            processor(group),
            &facts.asset_hashes,
        )?,
        file_repository: cluster.file_repository.clone(),
        image_repository: match &cluster.image_mirror {
            Some(ImageMirror::Registry(host) | ImageMirror::Proxy(host)) => Some(host.clone()),
            None => None,
        },
        registry_mirrors: BTreeMap::new(),
    };
    let balancer = names::load_balancer(control_plane::API, &cluster.name);
    let resource = NodeConfiguration {
        document: Text::new(config.to_template()?),
        endpoint: endpoint.name.is_none().then(|| Ref::to(LoadBalancer::SCHEMA.kind, balancer, "dns_name")),
        authorities: Ref::to(Keyset::SCHEMA.kind, KeysetName::KubernetesCa.as_str(), "certificates"),
    };
    builder.add(&group.name, &resource)?;
    Ok(())
}

fn api(cluster: &Cluster, group: &InstanceGroup, endpoint: &Endpoint) -> Api {
    let names = [&cluster.api.public_name, &cluster.api.internal_name];
    let all = names.into_iter().chain(&cluster.api.additional_sans).map(ToString::to_string);
    // Nodes have no certificate of the API's: another name of it is nothing to start them anew for.
    let all: BTreeSet<String> = all.filter(|_| group.role == Role::ControlPlane).collect();
    Api {
        endpoint: endpoint.name.clone().unwrap_or_else(|| LOAD_BALANCER.to_owned()),
        port: endpoint.port,
        bind_port: endpoint.port,
        cert_sans: all.into_iter().collect(),
        ca_bundle: AUTHORITIES.to_owned(),
    }
}

/// What only the control plane's machines are told.
fn control_plane_of(cluster: &Cluster, facts: &Facts, group: &InstanceGroup) -> Option<ControlPlane> {
    if group.role != Role::ControlPlane {
        return None;
    }
    let etcd = cluster.etcd_clusters.iter().find(|etcd| etcd.name == control_plane::MAIN)?;
    let member = etcd.members.iter().find(|member| member.instance_group == group.name)?;
    Some(ControlPlane {
        node_roles: node_roles(cluster),
        etcd: Etcd {
            member: member.name.clone(),
            members: control_plane::member_names(etcd),
            backup_retention_days: etcd.backup_retention_days,
        },
        dns: published(cluster, facts, group),
    })
}

/// The roles of machines that may join as nodes. A profile of the user's own is taken to have a role of its name, as
/// those have that the console makes.
fn node_roles(cluster: &Cluster) -> Vec<String> {
    let roles: BTreeSet<String> = cluster
        .groups(Role::Node)
        .map(|group| match &group.iam_profile {
            None => names::machine_role(Role::Node, &cluster.name),
            Some(arn) => arn.rsplit('/').next().unwrap_or(arn).to_owned(),
        })
        .collect();
    roles.into_iter().collect()
}

/// The names that control-plane machines keep at their own addresses, each in its own zone.
fn published(cluster: &Cluster, facts: &Facts, group: &InstanceGroup) -> Vec<Dns> {
    let in_public = group.subnets.iter().filter_map(|name| cluster.subnet(name));
    let in_public = in_public.into_iter().any(|subnet| subnet.kind == SubnetType::Public);
    let address = |name: &str| {
        if name == cluster.api.public_name && in_public && cluster.network.dns == DnsType::Public {
            DnsAddress::Public
        } else {
            DnsAddress::Private
        }
    };
    let mut zones: BTreeMap<&str, Vec<DnsName>> = BTreeMap::new();
    for name in dns::kept_by_machines(cluster) {
        if let Some(zone) = dns::zone_of(cluster, &facts.zones, name) {
            zones
                .entry(&zone.id)
                .or_default()
                .push(DnsName { name: name.to_owned(), address: address(name) });
        }
    }
    zones.into_iter().map(|(zone, names)| Dns { zone: definite(zone, "Z0"), names }).collect()
}

/// What was not looked up ([`Facts::assumed`]) cannot stand in a configuration; anything does where nobody reads it.
fn definite(fact: &str, stand_in: &str) -> String {
    if fact == "*" { stand_in } else { fact }.to_owned()
}

fn service_accounts(cluster: &Cluster, facts: &Facts) -> Result<Option<ServiceAccounts>, ModelError> {
    let Some(issuer) = &cluster.service_account_issuer else { return Ok(None) };
    let url = issuer::issuer_url(cluster, issuer, facts)?;
    Ok(Some(ServiceAccounts { audiences: vec![url.clone(), API_AUDIENCE.to_owned()], issuer: url }))
}

fn network(cluster: &Cluster) -> Network {
    let network = &cluster.network;
    Network {
        // The VPC's own addresses are no range of Kubernetes'.
        pod_cidr: (network.pod_network != PodNetwork::AmazonVpc).then(|| network.pod_cidr.to_string()),
        service_cidr: network.service_cidr.to_string(),
        dns_domain: network.cluster_dns_domain.clone(),
        dns_ip: addresses::dns_ip(network.service_cidr).to_string(),
    }
}

/// The group's labels that a kubelet gives its node, and the one that tells the group. Those of Kubernetes' own domains
/// the control plane's agents give it, by the tags of its instance ([`crate::tags`]).
fn labels(group: &InstanceGroup) -> BTreeMap<String, String> {
    let own = group.node_labels.iter().filter(|(key, _)| is_own_label(key));
    let mut labels: BTreeMap<String, String> = own.map(|(key, value)| (key.clone(), value.clone())).collect();
    labels.insert(GROUP_LABEL.to_owned(), group.name.clone());
    labels
}

fn taint(taint: &kcl_spec::cluster::Taint) -> Option<Taint> {
    let effect = match taint.effect.as_str() {
        "NoSchedule" => TaintEffect::NoSchedule,
        "PreferNoSchedule" => TaintEffect::PreferNoSchedule,
        "NoExecute" => TaintEffect::NoExecute,
        _ => return None,
    };
    Some(Taint { key: taint.key.clone(), value: taint.value.clone(), effect })
}
