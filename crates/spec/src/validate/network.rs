//! VPC, address ranges, DNS and the pod network.

use std::net::Ipv4Addr;
use std::ops::RangeInclusive;

use ipnet::Ipv4Net;

use super::check::Check;
use super::subnets::SubnetDraft;
use super::{Scope, flag, syntax, value};
use crate::cluster::{
    DnsType, Flannel, FlannelBackend, InstanceGroup, Manifest, Network, PodNetwork, Role, Subnet, SubnetType,
    Topology, Vpc,
};
use crate::machine_types::MachineType;
use crate::schema::addons::FlannelBackendSpec;
use crate::schema::cluster::{DEFAULT_DNS_DOMAIN, DnsTypeSpec, NetworkingSpec, TopologySpec};
use crate::source::{Located, Place};
use crate::suggest;

/// kOps' own defaults.
pub(super) const DEFAULT_NETWORK: Ipv4Net = Ipv4Net::new_assert(Ipv4Addr::new(172, 20, 0, 0), 16);
const DEFAULT_NON_MASQUERADE: Ipv4Net = Ipv4Net::new_assert(Ipv4Addr::new(100, 64, 0, 0), 10);

/// The whole network, once subnets and groups are known.
pub(super) fn network(
    scope: &Scope<'_>,
    drafts: &[SubnetDraft],
    groups: &[Located<InstanceGroup>],
    manifests: &[Located<Manifest>],
    check: &mut Check,
) -> Network {
    let cidr = vpc_cidr(scope, check);
    let additional = additional_cidrs(scope, &cidr, check);
    inside_vpc(drafts, &cidr, &additional, check);
    let pod_network = pod_network(scope, groups, manifests, check);
    let ranges = ranges(scope, pod_network, cidr.value, check);
    sizes(&ranges, pod_network, groups, check);
    cluster_ranges(scope, &ranges, &cidr, &additional, drafts, pod_network, check);
    let subnets: Vec<Subnet> = drafts.iter().map(|draft| draft.subnet.clone()).collect();
    let control_plane_topology = topology(groups, Role::ControlPlane, &subnets);
    let node_topology = topology(groups, Role::Node, &subnets);
    let written = scope.spec.topology.as_ref().map(|topology| &topology.value);
    agrees(written, control_plane_topology, node_topology, check);
    Network {
        vpc: match syntax::id(scope.spec.network_id.as_ref(), "vpc-", "a VPC", check) {
            Some(id) => Vpc::Shared { id },
            None => Vpc::Managed,
        },
        cidr: cidr.value,
        additional_cidrs: additional.into_iter().map(|cidr| cidr.value).collect(),
        non_masquerade_cidr: ranges.non_masquerade.value,
        pod_cidr: ranges.pods.value,
        service_cidr: ranges.services.value,
        subnets,
        tag_subnets: flag(
            scope.spec.tag_subnets.as_ref(),
            !flag(scope.spec.disable_subnet_tags.as_ref(), false),
        ),
        control_plane_topology,
        node_topology,
        dns: dns(scope, written, check),
        dns_zone: value(scope.spec.dns_zone.as_ref()),
        cluster_dns_domain: syntax::dns_name(scope.spec.cluster_dns_domain.as_ref(), check)
            .unwrap_or_else(|| DEFAULT_DNS_DOMAIN.to_owned()),
        pod_network,
        flannel: (pod_network == PodNetwork::Flannel).then(|| flannel(scope, check)),
    }
}

/// A default of ours stands where the spec begins.
fn vpc_cidr(scope: &Scope<'_>, check: &mut Check) -> Located<Ipv4Net> {
    let Some(field) = &scope.spec.network_cidr else {
        if let Some(id) = &scope.spec.network_id {
            let title = format!("the range of VPC `{}` is not given", id.value);
            check.lacking(&id.place, "networkCIDR", title, "write it in `spec.networkCIDR`");
        }
        return Located::new(DEFAULT_NETWORK, scope.spec_place.clone());
    };
    field.with(vpc_range(field, "a VPC", check).unwrap_or(DEFAULT_NETWORK))
}

/// AWS makes VPCs from /28 to /16, of each of their ranges.
fn vpc_range(field: &Located<String>, what: &str, check: &mut Check) -> Option<Ipv4Net> {
    let net = syntax::cidr4(field, check)?;
    if !(16..=28).contains(&net.prefix_len()) {
        let title = format!("{what} cannot be a /{}", net.prefix_len());
        check.hinted(&field.place, title, "AWS allows /16 to /28");
    }
    Some(net)
}

fn additional_cidrs(scope: &Scope<'_>, vpc: &Located<Ipv4Net>, check: &mut Check) -> Vec<Located<Ipv4Net>> {
    let mut cidrs: Vec<Located<Ipv4Net>> = Vec::new();
    for field in scope.spec.additional_network_cidrs.as_ref().map_or(&[][..], |list| &list.value) {
        let Some(net) = vpc_range(field, "a range of a VPC", check) else { continue };
        if let Some(other) =
            std::iter::once(vpc).chain(&cidrs).find(|other| syntax::overlap(other.value, net))
        {
            check.error(&field.place, format!("{net} overlaps {}, another range of the VPC", other.value));
        }
        cidrs.push(field.with(net));
    }
    cidrs
}

fn inside_vpc(
    drafts: &[SubnetDraft],
    vpc: &Located<Ipv4Net>,
    additional: &[Located<Ipv4Net>],
    check: &mut Check,
) {
    for draft in drafts {
        let Some(cidr) = &draft.cidr else { continue };
        if !std::iter::once(vpc).chain(additional).any(|range| range.value.contains(&cidr.value)) {
            let title = format!("subnet `{}` ({}) is outside the VPC's range", draft.subnet.name, cidr.value);
            let ranges: Vec<String> =
                std::iter::once(vpc).chain(additional).map(|range| range.value.to_string()).collect();
            let hint =
                format!("the VPC has {}; see `networkCIDR` and `additionalNetworkCIDRs`", ranges.join(", "));
            check.hinted(&cidr.place, title, hint);
        }
    }
}

/// Ranges inside the cluster, each with the place of the field it comes from.
struct Ranges {
    non_masquerade: Located<Ipv4Net>,
    pods: Located<Ipv4Net>,
    services: Located<Ipv4Net>,
}

/// Bits of `nonMasqueradeCIDR` that are taken where kOps carves ranges out of it: pods are its upper half, services its
/// first eighth.
const PODS_PART: u8 = 1;
const SERVICES_PART: u8 = 3;

/// As kOps carves them.
fn ranges(scope: &Scope<'_>, pod_network: PodNetwork, vpc: Ipv4Net, check: &mut Check) -> Ranges {
    let mut read = |field: Option<&Located<String>>| {
        field.and_then(|field| Some(field.with(syntax::cidr4(field, check)?)))
    };
    let given = read(scope.spec.non_masquerade_cidr.as_ref());
    let pods = read(scope.spec.pod_cidr.as_ref());
    let services = read(scope.spec.service_cluster_ip_range.as_ref());
    let non_masquerade =
        given.unwrap_or_else(|| Located::new(DEFAULT_NON_MASQUERADE, scope.spec_place.clone()));
    let carve = |prefix_len, part: u32| {
        let net = Ipv4Net::new(non_masquerade.value.network(), prefix_len).unwrap_or(non_masquerade.value);
        let step = 1_u64 << (32 - net.prefix_len());
        let offset = u32::try_from(u64::from(part) * step).unwrap_or(0);
        let address = Ipv4Addr::from(u32::from(net.network()).wrapping_add(offset));
        Ipv4Net::new(address, net.prefix_len()).unwrap_or(net)
    };
    let part = |bits: u8| (non_masquerade.value.prefix_len() + bits).min(32);
    let default_pods = if pod_network == PodNetwork::AmazonVpc { vpc } else { carve(part(PODS_PART), 1) };
    Ranges {
        pods: pods.unwrap_or_else(|| non_masquerade.with(default_pods)),
        services: services.unwrap_or_else(|| non_masquerade.with(carve(part(SERVICES_PART), 0))),
        non_masquerade,
    }
}

/// What kubeadm takes (its package `validation`): at most 2^20 addresses of services, of which the tenth is the DNS'.
const SERVICE_SIZES: RangeInclusive<u8> = 12..=28;
/// Likewise: at least one node's part, at most 2^16 of them.
const POD_SIZES: RangeInclusive<u8> = 8..=NODE_SIZE;
/// Each node gets a /24 of the pods' range: the default of the controller manager's `--node-cidr-mask-size`.
const NODE_SIZE: u8 = 24;

/// The ranges of pods and services are neither too large nor too small.
fn sizes(ranges: &Ranges, pod_network: PodNetwork, groups: &[Located<InstanceGroup>], check: &mut Check) {
    let Ranges { pods, services, non_masquerade } = ranges;
    let mut fits = |what: &str,
                    field: &str,
                    range: &Located<Ipv4Net>,
                    sizes: RangeInclusive<u8>,
                    part: u8| {
        let size = range.value.prefix_len();
        if sizes.contains(&size) {
            return true;
        }
        let (first, last) = (sizes.start(), sizes.end());
        let hint = if range.place == non_masquerade.place {
            let (first, last) = (first - part, last - part);
            format!("a part of `nonMasqueradeCIDR`, which is from /{first} to /{last}; or give `{field}`")
        } else {
            format!("kubeadm allows /{first} to /{last}")
        };
        check.hinted(&range.place, format!("the {what}' range {} cannot be a /{size}", range.value), hint);
        false
    };
    fits("services", "serviceClusterIPRange", services, SERVICE_SIZES, SERVICES_PART);
    if pod_network == PodNetwork::AmazonVpc || !fits("pods", "podCIDR", pods, POD_SIZES, PODS_PART) {
        return;
    }
    let nodes = groups.iter().filter(|group| group.value.role != Role::Bastion);
    let nodes: u64 = nodes.map(|group| u64::from(group.value.max_size)).sum();
    let room = 1_u64 << NODE_SIZE.saturating_sub(pods.value.prefix_len());
    if room < nodes {
        let title = format!("the pods' range {} is for {room} nodes, and there may be {nodes}", pods.value);
        let hint =
            format!("each gets a /{NODE_SIZE} of it: choose a larger `podCIDR`, or a smaller `maxSize`");
        check.warn(&pods.place, title, hint);
    }
}

/// Pods and services have addresses that nothing else has.
fn cluster_ranges(
    scope: &Scope<'_>,
    ranges: &Ranges,
    vpc: &Located<Ipv4Net>,
    additional: &[Located<Ipv4Net>],
    drafts: &[SubnetDraft],
    pod_network: PodNetwork,
    check: &mut Check,
) {
    let Ranges { pods, services, .. } = ranges;
    let named = [("pods", pods), ("services", services)];
    if pod_network == PodNetwork::AmazonVpc {
        // Pods live in the VPC's range, and so may services, but not in a subnet.
        for draft in drafts {
            if let Some(cidr) = draft.cidr.as_ref().filter(|cidr| syntax::overlap(cidr.value, services.value))
            {
                let title = format!(
                    "subnet `{}` ({}) overlaps the services' range {}",
                    draft.subnet.name, cidr.value, services.value
                );
                check.hinted(&cidr.place, title, "see `nonMasqueradeCIDR` and `serviceClusterIPRange`");
            }
        }
        return;
    }
    for (what, range) in named {
        for network in std::iter::once(vpc).chain(additional) {
            if syntax::overlap(range.value, network.value) {
                let place = if range.place == *scope.spec_place { &network.place } else { &range.place };
                let title =
                    format!("the {what}' range {} overlaps the VPC's range {}", range.value, network.value);
                check.hinted(
                    place,
                    title,
                    "see `networkCIDR`, `nonMasqueradeCIDR`, `podCIDR`, `serviceClusterIPRange`",
                );
            }
        }
    }
    if syntax::overlap(pods.value, services.value) {
        let title = format!("the pods' range {} overlaps the services' range {}", pods.value, services.value);
        check.hinted(&services.place, title, "give each a part of `nonMasqueradeCIDR`");
    }
}

/// The fields of `networking`, where they stand, and the pod networks they choose; none for those of long ago.
fn choices(spec: &NetworkingSpec) -> [(&'static str, Option<&Place>, Option<PodNetwork>); 16] {
    fn place<T>(field: Option<&Located<T>>) -> Option<&Place> {
        field.map(|field| &field.place)
    }
    let known = |network: PodNetwork, place| (network.as_str(), place, Some(network));
    [
        known(PodNetwork::Cni, place(spec.cni.as_ref())),
        known(PodNetwork::Flannel, place(spec.flannel.as_ref())),
        known(PodNetwork::Calico, place(spec.calico.as_ref())),
        known(PodNetwork::Cilium, place(spec.cilium.as_ref())),
        known(PodNetwork::AmazonVpc, place(spec.amazon_vpc.as_ref())),
        known(PodNetwork::Kindnet, place(spec.kindnet.as_ref())),
        known(PodNetwork::KubeRouter, place(spec.kube_router.as_ref())),
        known(PodNetwork::Canal, place(spec.canal.as_ref())),
        known(PodNetwork::Kubenet, place(spec.kubenet.as_ref())),
        ("classic", place(spec.classic.as_ref()), None),
        ("external", place(spec.external.as_ref()), None),
        ("kopeio", place(spec.kopeio.as_ref()), None),
        ("weave", place(spec.weave.as_ref()), None),
        ("romana", place(spec.romana.as_ref()), None),
        ("lyftvpc", place(spec.lyft_vpc.as_ref()), None),
        ("gce", place(spec.gce.as_ref()), None),
    ]
}

fn pod_network(
    scope: &Scope<'_>,
    groups: &[Located<InstanceGroup>],
    manifests: &[Located<Manifest>],
    check: &mut Check,
) -> PodNetwork {
    let lacking = |place: &Place, check: &mut Check| {
        let hint = "choose one, as in `networking: {flannel: {}}`";
        check.lacking(place, "networking", "no pod network is chosen", hint);
    };
    let Some(networking) = &scope.spec.networking else {
        lacking(scope.spec_place, check);
        return PodNetwork::Cni;
    };
    let known = choices(&networking.value);
    let mut chosen: Option<(&Place, PodNetwork)> = None;
    for (name, place, network) in known {
        let Some(place) = place else { continue };
        match (chosen, network) {
            (_, None) => {
                let possible =
                    known.iter().filter(|(_, _, network)| network.is_some()).map(|(name, _, _)| *name);
                let title = format!("pod network `{name}` is not supported");
                check.hinted(place, title, suggest::one_of(possible));
            }
            (Some((_, first)), Some(_)) => {
                let title = format!("pod networks `{}` and `{name}` exclude each other", first.as_str());
                check.hinted(place, title, "keep one of them");
            }
            (None, Some(network)) => chosen = Some((place, network)),
        }
        if network == Some(PodNetwork::AmazonVpc) {
            few_pods(groups, place, check);
        }
    }
    if let Some((place, network)) = chosen {
        installed(network, place, manifests, check);
        return network;
    }
    if known.iter().all(|(_, place, _)| place.is_none()) {
        lacking(&networking.place, check);
    }
    PodNetwork::Cni
}

/// kcl installs flannel; what else a spec chooses comes with a manifest of its name.
fn installed(network: PodNetwork, place: &Place, manifests: &[Located<Manifest>], check: &mut Check) {
    let name = network.as_str();
    let manifest = manifests.iter().find(|manifest| manifest.value.name == name);
    match (network, manifest) {
        (PodNetwork::Flannel, Some(manifest)) => {
            let title = "kcl installs flannel itself, and this manifest would do so again";
            let hint = "leave it out, or choose `networking: {cni: {}}`";
            check.hinted(&manifest.place, title, hint);
        }
        // kubenet is read but not acted on, and `cni` is the user's own.
        (PodNetwork::Flannel | PodNetwork::Cni | PodNetwork::Kubenet, _) | (_, Some(_)) => {}
        (_, None) => {
            let title = format!("kcl does not install {name}: nodes stay NotReady until somebody does");
            let hint = format!(
                "give its manifest in a document `kind: Manifest` of `kcl.dev/v1alpha1` named `{name}`, or choose \
                 `cni: {{}}` and install it yourself"
            );
            check.warn(place, title, hint);
        }
    }
}

/// kOps sends packets through flannel itself (`udp`) unless told otherwise, and warns that this is slow.
fn flannel(scope: &Scope<'_>, check: &mut Check) -> Flannel {
    let networking = scope.spec.networking.as_ref();
    let spec = networking.and_then(|networking| networking.value.flannel.as_ref()).map(|spec| &spec.value);
    let resync = spec.and_then(|spec| spec.iptables_resync_seconds.as_ref());
    Flannel {
        backend: match spec.and_then(|spec| spec.backend.as_ref()).map(|backend| backend.value) {
            Some(FlannelBackendSpec::Udp) => FlannelBackend::Udp,
            Some(FlannelBackendSpec::Vxlan) | None => FlannelBackend::Vxlan,
        },
        iptables_resync_seconds: syntax::bounded(resync, "the interval", 1, 86_400, check),
    }
}

/// The VPC CNI gives each pod an address of the machine's network interfaces, which small types have
/// few of.
fn few_pods(groups: &[Located<InstanceGroup>], place: &Place, check: &mut Check) {
    for group in groups.iter().filter(|group| group.value.role != Role::Bastion) {
        let machine = MachineType::parse(&group.value.machine_type);
        if let Some(pods) = machine.and_then(MachineType::vpc_cni_pods) {
            let name = &group.value.name;
            let title = format!("the VPC CNI runs {pods} pods at most on a {}", group.value.machine_type);
            let hint = format!("group `{name}` needs a larger type, or the cluster another pod network");
            check.warn(place, title, hint);
        }
    }
}

fn topology(groups: &[Located<InstanceGroup>], role: Role, subnets: &[Subnet]) -> Topology {
    let mut names = groups
        .iter()
        .filter(|group| group.value.role == role)
        .flat_map(|group| &group.value.subnets)
        .peekable();
    let is_private = |name: &String| {
        subnets.iter().any(|subnet| subnet.name == *name && subnet.kind == SubnetType::Private)
    };
    if names.peek().is_some() && names.all(is_private) { Topology::Private } else { Topology::Public }
}

/// `topology.masters` and `topology.nodes` say what the subnets say already.
fn agrees(written: Option<&TopologySpec>, control_plane: Topology, nodes: Topology, check: &mut Check) {
    let Some(written) = written else { return };
    let fields = [
        (&written.masters, "control plane", control_plane),
        (&written.control_plane, "control plane", control_plane),
        (&written.nodes, "nodes", nodes),
    ];
    for (field, what, topology) in fields {
        let Some(field) = field else { continue };
        let (name, other) = match topology {
            Topology::Public => ("public", "private"),
            Topology::Private => ("private", "public"),
        };
        if field.value.eq_ignore_ascii_case(other) {
            let title = format!("the subnets of the {what} are {name}, not {other}");
            check.warn(&field.place, title, "the type of the subnets decides; this field changes nothing");
        } else if !field.value.eq_ignore_ascii_case(name) {
            check.hinted(
                &field.place,
                format!("unknown topology `{}`", field.value),
                "`public` or `private`",
            );
        }
    }
}

fn dns(scope: &Scope<'_>, written: Option<&TopologySpec>, check: &mut Check) -> DnsType {
    let kind = written.and_then(|topology| topology.dns.as_ref()?.value.dns_type.as_ref());
    match kind.map(|kind| kind.value) {
        Some(DnsTypeSpec::Private) if scope.spec.network_id.is_some() => DnsType::Private,
        // kcl associates no zone with a VPC: names in one would be names that nobody in there can look up.
        Some(DnsTypeSpec::Private) => {
            if let Some(field) = kind {
                let title =
                    "a private hosted zone does not answer in a VPC that kcl makes: no name is published";
                let hint = "the API is reached by its load balancer's own name; a zone is used in a VPC that it \
                            answers in, which `networkID` names";
                check.warn(&field.place, title, hint);
            }
            DnsType::None
        }
        Some(DnsTypeSpec::None) => DnsType::None,
        // kOps' mark of clusters that live without DNS.
        None if scope.name.ends_with(".k8s.local") => DnsType::None,
        Some(DnsTypeSpec::Public) | None => DnsType::Public,
    }
}
