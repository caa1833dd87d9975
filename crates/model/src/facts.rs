//! What the model must know of the cloud, and which of it a cluster needs.
//!
//! Plain data: `kcl-aws` asks [`needed`] what to look up, does so in few calls, and fills in [`Facts`].

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use ipnet::Ipv4Net;
use kcl_partition::Partition;
use kcl_spec::cluster::{
    Architecture, Cluster, DnsType, Egress, Image, IssuerBucket, LoadBalancerManager, NatAddress,
    SubnetOrigin, Vpc,
};

use crate::machines;

/// What was looked up.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// The AWS partition: `aws`, `aws-cn`, `aws-us-gov`.
    pub partition: String,
    /// The account's number.
    pub account: String,
    /// The images of the instance groups.
    pub images: BTreeMap<Image, ImageFacts>,
    /// The hosted zones of the account, at least those for [`Needs::dns_names`].
    pub zones: Vec<HostedZone>,
    /// The shared VPC; `None` where kcl makes one.
    pub vpc: Option<VpcFacts>,
    /// Shared subnets, by id.
    pub subnets: BTreeMap<String, SubnetFacts>,
    /// Allocation ids of Elastic IPs that the spec names by their address.
    pub addresses: BTreeMap<Ipv4Addr, String>,
    /// The state store, where machines can read it: not for `file://`.
    pub store: Option<StoreLocation>,
    /// The builds of kcl-node that machines get: kind of processor (`amd64`, `arm64`) to sha256.
    pub node_agents: BTreeMap<String, String>,
    /// What was found out of release files beside what kcl knows of them: URL to sha256.
    pub asset_hashes: BTreeMap<String, String>,
    /// The region of the bucket with the OIDC documents; `None`: the cluster's.
    pub issuer_region: Option<String>,
    /// Anybody can read the OIDC documents already.
    pub discovery_is_public: bool,
    /// SHA-1 thumbprints for the OIDC provider; empty: [`crate::DEFAULT_THUMBPRINTS`].
    pub thumbprints: Vec<String>,
}

/// A machine image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageFacts {
    /// `ami-...`
    pub id: String,
    /// The device of its root disk: `/dev/xvda`.
    pub root_device: String,
    /// `x86_64` or `arm64`, as EC2 spells it.
    pub architecture: String,
}

/// A Route53 hosted zone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostedZone {
    /// Its id, without `/hostedzone/`.
    pub id: String,
    /// Its name; a dot at the end does not matter.
    pub name: String,
    /// It answers inside of VPCs only.
    pub private: bool,
}

/// A VPC of the user's own.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VpcFacts {
    /// `vpc-...`
    pub id: String,
    /// Its IPv4 ranges, the primary one first.
    pub cidrs: Vec<Ipv4Net>,
    /// The internet gateway attached to it (`igw-...`).
    pub internet_gateway: Option<String>,
}

/// A subnet of the user's own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SubnetFacts {
    /// The VPC it is in.
    pub vpc: String,
    /// The availability zone it is in.
    pub zone: String,
    /// Its IPv4 range.
    pub cidr: Ipv4Net,
}

/// An S3 state store. A cluster's own folder in it is `<prefix>/<cluster>`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreLocation {
    /// The bucket.
    pub bucket: String,
    /// The prefix, without a slash at either end; may be empty.
    pub prefix: String,
}

impl StoreLocation {
    /// Whether the prefix can stand in user data and in a URL as it is.
    pub(crate) fn is_plain(&self) -> bool {
        let fits = |c: char| c.is_ascii_alphanumeric() || "-._/".contains(c);
        self.prefix.chars().all(fits) && !self.prefix.split('/').any(|part| part.starts_with('.'))
    }

    /// The key of the cluster's folder: no slash at either end.
    pub(crate) fn folder(&self, cluster: &str) -> String {
        match self.prefix.as_str() {
            "" => cluster.to_owned(),
            prefix => format!("{prefix}/{cluster}"),
        }
    }
}

/// What has to be looked up for a cluster, beside account and partition.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Needs {
    /// Images, as the spec has them.
    pub images: BTreeSet<Image>,
    /// The shared VPC's id: its ranges and internet gateway.
    pub vpc: Option<String>,
    /// Ids of shared subnets.
    pub subnets: BTreeSet<String>,
    /// Elastic IPs given by address.
    pub addresses: BTreeSet<Ipv4Addr>,
    /// Names that get DNS records, or that machines may publish: their hosted zones.
    pub dns_names: BTreeSet<String>,
    /// Where the OIDC documents are, or will be: the bucket's region, and whether they can be read.
    pub discovery: Option<IssuerBucket>,
    /// The kinds of processor that need a build of kcl-node.
    pub node_agents: BTreeSet<&'static str>,
    /// Release files whose hashes are not known, by URL. Only needed where machines can read the state store.
    pub assets: BTreeSet<String>,
}

/// What has to be looked up for `cluster`.
pub fn needed(cluster: &Cluster) -> Needs {
    let mut needs = Needs {
        images: cluster.instance_groups.iter().map(|group| group.image.clone()).collect(),
        vpc: match &cluster.network.vpc {
            Vpc::Managed => None,
            Vpc::Shared { id } => Some(id.clone()),
        },
        discovery: cluster.service_account_issuer.as_ref().and_then(|issuer| issuer.bucket.clone()),
        ..Needs::default()
    };
    for subnet in &cluster.network.subnets {
        if let SubnetOrigin::Shared { id, .. } = &subnet.origin {
            needs.subnets.insert(id.clone());
        }
        if let Egress::NatGateway { address: NatAddress::ExistingAddress { address } } = &subnet.egress {
            needs.addresses.insert(*address);
        }
    }
    needs.dns_names = dns_names(cluster);
    needs.node_agents = machines::processors(cluster);
    needs.assets = machines::unknown_assets(cluster);
    needs
}

impl Facts {
    /// The domain of the services of the account's partition.
    pub(crate) fn dns_suffix(&self) -> &'static str {
        Partition::named(&self.partition).dns_suffix
    }

    /// Facts for `cluster` where nobody can be asked: everything is there, ids and the account are `*`. Good for
    /// finding out what a cluster is made of, not for making it.
    pub fn assumed(cluster: &Cluster, store: Option<StoreLocation>) -> Self {
        let needs = needed(cluster);
        let any = || "*".to_owned();
        let images = cluster.instance_groups.iter().map(|group| {
            let architecture = match group.architecture {
                Architecture::X86_64 => "x86_64",
                Architecture::Arm64 => "arm64",
            };
            let facts = ImageFacts {
                id: any(),
                root_device: "/dev/xvda".to_owned(),
                architecture: architecture.to_owned(),
            };
            (group.image.clone(), facts)
        });
        let subnets = cluster.network.subnets.iter().filter_map(|subnet| {
            let SubnetOrigin::Shared { id, cidr } = &subnet.origin else { return None };
            let vpc = needs.vpc.clone().unwrap_or_default();
            let cidr = cidr.unwrap_or(cluster.network.cidr);
            Some((id.clone(), SubnetFacts { vpc, zone: subnet.zone.clone(), cidr }))
        });
        Self {
            partition: Partition::of_region(&cluster.region).name.to_owned(),
            account: any(),
            images: images.collect(),
            zones: assumed_zones(cluster, &needs),
            vpc: needs.vpc.clone().map(|id| VpcFacts {
                id,
                cidrs: vec![cluster.network.cidr],
                internet_gateway: Some(any()),
            }),
            subnets: subnets.collect(),
            addresses: needs.addresses.iter().map(|address| (*address, any())).collect(),
            store,
            // Of what is uploaded only its place counts where nothing is made.
            node_agents: needs.node_agents.iter().map(|processor| ((*processor).to_owned(), any())).collect(),
            asset_hashes: needs.assets.iter().map(|url| (url.clone(), "0".repeat(64))).collect(),
            issuer_region: None,
            discovery_is_public: false,
            thumbprints: Vec::new(),
        }
    }
}

/// A zone for every name, of either kind; the one that the spec gives by its id has that.
fn assumed_zones(cluster: &Cluster, needs: &Needs) -> Vec<HostedZone> {
    let private = cluster.network.dns == DnsType::Private;
    let given = cluster.network.dns_zone.as_ref().map(|given| {
        let id = given.trim_start_matches("/hostedzone/");
        let is_id = id.starts_with('Z') && id.bytes().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit());
        let id = if is_id { id } else { "*" };
        HostedZone { id: id.to_owned(), name: given.clone(), private }
    });
    let zone = |name: &String, private| HostedZone { id: "*".to_owned(), name: name.clone(), private };
    let others = needs.dns_names.iter().flat_map(|name| [zone(name, false), zone(name, true)]);
    given.into_iter().chain(others).collect()
}

fn dns_names(cluster: &Cluster) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    if cluster.network.dns != DnsType::None {
        names.extend([cluster.api.public_name.clone(), cluster.api.internal_name.clone()]);
        names.extend(cluster.bastion.iter().filter_map(|bastion| bastion.public_name.clone()));
    }
    let ingress = cluster.ingress_controllers.iter();
    // The others' are external-dns', where there is one.
    let all = cluster.addons.external_dns.is_some();
    let ours = ingress.filter(|ingress| all || ingress.load_balancer.managed_by == LoadBalancerManager::Kcl);
    names.extend(ours.flat_map(|ingress| ingress.hosts.iter().cloned()));
    names
}
