//! etcd's volumes, and the load balancer in front of the API server.
//!
//! kubeadm runs one etcd: the spec's `events` (and `cilium`) clusters are folded into `main`, and only
//! `main` has volumes.
//!
//! Where an ingress controller shares the load balancer (`shareWithApi`), it has port 443 and the API's
//! listener is at 6443 (the spec has worked out which). The control plane itself stays at 443, unless its machines
//! reach the API through the load balancer, too: they listen where they look for it.

use kcl_engine::Ref;
use kcl_spec::cluster::{ApiLoadBalancer, Cluster, EtcdCluster, EtcdMember, Role, Scheme};

use crate::builder::Builder;
use crate::error::ModelError;
use crate::facts::HostedZone;
use crate::load_balancing::{self, Balancer, Target, Tls, listener, target_group, target_ref};
use crate::resource::{AccessLog, Protocol, Volume};
use crate::security::API_PORT;
use crate::{machines, names, tags};

/// The prefix of the API's load balancer.
pub(crate) const API: &str = "api";
/// Its target groups, by the port that the control plane listens on. The port of one that is there cannot change, and the
/// new one has to be there before the old one goes: it needs another name. kOps knows the first only.
const TCP: [(u16, &str); 3] = [(API_PORT, "tcp"), (SHARED_PORT, "tcp-6443"), (PLAIN_PORT, "tcp-8443")];
const TLS: [(u16, &str); 3] = [(API_PORT, "tls"), (SHARED_PORT, "tls-6443"), (PLAIN_PORT, "tls-8443")];
/// Where the API's listener is if the ingress has 443.
const SHARED_PORT: u16 = 6443;
/// Where nodes ask to be let in; kOps has its controller at the same place.
const JOIN: &str = "kops-controller";
const JOIN_PORT: u16 = 3988;
/// Where clients with certificates go when TLS ends at the load balancer.
pub(crate) const PLAIN_PORT: u16 = 8443;
/// The etcd cluster that there is.
pub const MAIN: &str = "main";

pub(crate) fn add(builder: &mut Builder<'_>) -> Result<(), ModelError> {
    let cluster = builder.cluster;
    for etcd in &cluster.etcd_clusters {
        if etcd.name == MAIN {
            for member in &etcd.members {
                etcd_volume(builder, etcd, member)?;
            }
        } else {
            builder.warn(
                format!("the etcd cluster `{}` is folded into `{MAIN}`", etcd.name),
                "kubeadm runs one etcd; leave this entry out of `etcdClusters`",
            );
        }
    }
    match &cluster.api.load_balancer {
        Some(balancer) => load_balancer(builder, balancer),
        None => Ok(()),
    }
}

/// The names of the volumes of the members that run on `group`.
pub(crate) fn volumes_of(cluster: &Cluster, group: &str) -> Vec<String> {
    let main = cluster.etcd_clusters.iter().filter(|etcd| etcd.name == MAIN);
    let members = main.flat_map(|etcd| &etcd.members).filter(|member| member.instance_group == group);
    members.map(|member| names::etcd_volume(&member.name, MAIN, &cluster.name)).collect()
}

/// The target groups of control-plane machines.
pub(crate) fn target_groups(cluster: &Cluster, zones: &[HostedZone]) -> Vec<Ref> {
    let Some(balancer) = &cluster.api.load_balancer else { return Vec::new() };
    targets(cluster, zones, balancer).iter().map(|target| target_ref(target.prefix, &cluster.name)).collect()
}

fn etcd_volume(builder: &mut Builder<'_>, etcd: &EtcdCluster, member: &EtcdMember) -> Result<(), ModelError> {
    let name = names::etcd_volume(&member.name, &etcd.name, builder.name());
    let all = member_names(etcd);
    let mut tags = builder.tags(&name);
    tags.extend(tags::control_plane());
    tags.insert(format!("k8s.io/etcd/{}", etcd.name), format!("{}/{}", member.name, all.join(",")));
    let spec = &member.volume;
    let volume = Volume {
        zone: member.zone.clone(),
        size: spec.size_gib.cast_signed(),
        volume_type: spec.kind.as_str().to_owned(),
        iops: spec.iops.map(u32::cast_signed),
        throughput: spec.throughput.map(u32::cast_signed),
        encrypted: spec.encrypted,
        kms_key: spec.kms_key.clone(),
        tags,
    };
    builder.add(name, &volume)?;
    Ok(())
}

/// The members' names, as the tags of their volumes list them.
pub(crate) fn member_names(etcd: &EtcdCluster) -> Vec<String> {
    let mut all: Vec<String> = etcd.members.iter().map(|member| member.name.clone()).collect();
    all.sort_unstable();
    all
}

fn targets(cluster: &Cluster, zones: &[HostedZone], balancer: &ApiLoadBalancer) -> Vec<Target> {
    let port = machines::endpoint(cluster, zones).port;
    let mut targets = vec![Target::tcp(at(TCP, port), port)];
    if balancer.ssl_certificate.is_some() {
        targets.push(Target { protocol: "TLS", ..Target::tcp(at(TLS, port), port) });
    }
    if machines::by_load_balancer(cluster, zones) {
        targets.push(Target { health_path: Some("/healthz"), ..Target::tcp(JOIN, JOIN_PORT) });
    }
    targets
}

/// The name of the target group at that port.
fn at(groups: [(u16, &'static str); 3], port: u16) -> &'static str {
    let [(_, first), ..] = groups;
    groups.into_iter().find(|(its, _)| *its == port).map_or(first, |(_, name)| name)
}

fn load_balancer(builder: &mut Builder<'_>, spec: &ApiLoadBalancer) -> Result<(), ModelError> {
    let cluster = builder.cluster;
    let access_log = spec
        .access_log
        .as_ref()
        .map(|log| AccessLog { bucket: log.bucket.clone(), prefix: log.prefix.clone().unwrap_or_default() });
    let balancer = Balancer {
        prefix: API,
        internal: spec.scheme == Scheme::Internal,
        subnets: spec.subnets.iter().map(|place| place.subnet.as_str()).collect(),
        additional_security_groups: &spec.additional_security_groups,
        cross_zone: spec.cross_zone,
        access_log,
    };
    load_balancing::add(builder, balancer)?;
    if spec.subnets.iter().any(|place| place.allocation_id.is_some() || place.private_ipv4_address.is_some())
    {
        builder.warn(
            "the API's load balancer gets addresses of AWS' choice",
            "`allocationId` and `privateIPv4Address` of its subnets are not acted on yet",
        );
    }
    for target in targets(cluster, &builder.facts.zones, spec) {
        target_group(builder, &target)?;
    }
    listeners(builder, spec)?;
    rules(builder, spec)
}

fn listeners(builder: &mut Builder<'_>, spec: &ApiLoadBalancer) -> Result<(), ModelError> {
    let cluster = builder.cluster;
    let machines_port = machines::endpoint(cluster, &builder.facts.zones).port;
    let (tcp, tls_group) = (at(TCP, machines_port), at(TLS, machines_port));
    if let Some(certificate) = &spec.ssl_certificate {
        let tls = Tls { certificate, policy: spec.ssl_policy.as_deref() };
        listener(builder, API, cluster.api.port, Some(&tls), tls_group)?;
        listener(builder, API, PLAIN_PORT, None, tcp)?;
    } else {
        listener(builder, API, cluster.api.port, None, tcp)?;
    }
    if machines::by_load_balancer(cluster, &builder.facts.zones) {
        listener(builder, API, JOIN_PORT, None, JOIN)?;
    }
    Ok(())
}

fn rules(builder: &mut Builder<'_>, spec: &ApiLoadBalancer) -> Result<(), ModelError> {
    let cluster = builder.cluster;
    let masters = names::security_group(Role::ControlPlane, &cluster.name);
    let for_machines = machines::by_load_balancer(cluster, &builder.facts.zones);

    let plain = spec.ssl_certificate.is_some().then_some(PLAIN_PORT);
    let ports: Vec<u16> = [cluster.api.port].into_iter().chain(plain).collect();
    for cidr in &cluster.api.access {
        load_balancing::open(builder, API, &ports, cidr)?;
    }
    let join = for_machines.then_some(JOIN_PORT);
    let ports: Vec<u16> =
        [machines::endpoint(cluster, &builder.facts.zones).port].into_iter().chain(join).collect();
    load_balancing::lead_to(builder, API, &masters, &ports)?;
    // Machines that have no other name for the API come through here too.
    if for_machines {
        let group = names::load_balancer_security_group(API, &cluster.name);
        let nodes = names::security_group(Role::Node, &cluster.name);
        builder.allow_group(&group, Protocol::all(), &nodes)?;
    }
    Ok(())
}
