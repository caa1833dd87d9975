//! A small sound cluster, to be varied, and the facts for it.

use std::collections::BTreeMap;

use kcl_spec::cluster::*;

use crate::{Facts, HostedZone, ImageFacts, Model, StoreLocation, SubnetFacts, VpcFacts, build};

pub(crate) const NAME: &str = "k8s.example.com";

/// One zone, one control-plane machine, two nodes, everything public.
pub(crate) fn cluster() -> Cluster {
    Cluster {
        name: NAME.to_owned(),
        annotations: BTreeMap::new(),
        protected: false,
        region: "eu-north-1".to_owned(),
        kubernetes_version: KubernetesVersion { major: 1, minor: 36, patch: 4 },
        config_base: Some("s3://state/kcl".to_owned()),
        cloud_labels: BTreeMap::new(),
        network: network(),
        api: Api {
            public_name: format!("api.{NAME}"),
            internal_name: format!("api.internal.{NAME}"),
            port: 443,
            access: nets(&["0.0.0.0/0"]),
            additional_sans: Vec::new(),
            load_balancer: None,
        },
        ssh: Ssh { access: nets(&["192.0.2.0/24"]), key: SshKey::Managed { public_key: KEY.to_owned() } },
        node_port_access: Vec::new(),
        bastion: None,
        etcd_clusters: vec![etcd("main", &[("a", "control-plane", "eu-north-1a")])],
        iam: Iam {
            permissions_boundary: None,
            allow_container_registry: false,
            additional_policies: BTreeMap::new(),
            external_policies: BTreeMap::new(),
            use_service_account_external_permissions: false,
            service_accounts: Vec::new(),
        },
        service_account_issuer: None,
        node_termination_handler: NodeTerminationHandler {
            enabled: true,
            sqs_termination_draining: true,
            rebalance: false,
            managed_asg_tag: "aws-node-termination-handler/managed".to_owned(),
        },
        instance_groups: vec![
            group("control-plane", Role::ControlPlane, &["a"]),
            group("nodes", Role::Node, &["a"]),
        ],
        ingress_controllers: Vec::new(),
        addons: Addons {
            node_termination_handler: every_addon().node_termination_handler,
            ..Addons::default()
        },
        access_entries: Vec::new(),
        namespace_defaults: Vec::new(),
        manifests: Vec::new(),
        image_mirror: None,
        file_repository: None,
        objects: Vec::new(),
        state_store: StateStore::default(),
    }
}

/// The files whose hashes the table does not have.
const HASHES_OF_1_36_4: [&str; 6] = [
    "https://dl.k8s.io/release/v1.36.4/bin/linux/amd64/kubeadm",
    "https://dl.k8s.io/release/v1.36.4/bin/linux/amd64/kubectl",
    "https://dl.k8s.io/release/v1.36.4/bin/linux/amd64/kubelet",
    "https://dl.k8s.io/release/v1.36.4/bin/linux/arm64/kubeadm",
    "https://dl.k8s.io/release/v1.36.4/bin/linux/arm64/kubectl",
    "https://dl.k8s.io/release/v1.36.4/bin/linux/arm64/kubelet",
];

pub(crate) const KEY: &str =
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f somebody@somewhere";

fn network() -> Network {
    Network {
        vpc: Vpc::Managed,
        cidr: "172.20.0.0/16".parse().unwrap(),
        additional_cidrs: Vec::new(),
        non_masquerade_cidr: "100.64.0.0/10".parse().unwrap(),
        pod_cidr: "100.96.0.0/11".parse().unwrap(),
        service_cidr: "100.64.0.0/13".parse().unwrap(),
        subnets: vec![subnet("a", "eu-north-1a", SubnetType::Public, "172.20.32.0/19")],
        tag_subnets: true,
        control_plane_topology: Topology::Public,
        node_topology: Topology::Public,
        dns: DnsType::Public,
        dns_zone: None,
        cluster_dns_domain: "cluster.local".to_owned(),
        pod_network: PodNetwork::Cni,
        flannel: None,
    }
}

pub(crate) fn nets(cidrs: &[&str]) -> Vec<ipnet::IpNet> {
    cidrs.iter().map(|cidr| cidr.parse().unwrap()).collect()
}

pub(crate) fn subnet(name: &str, zone: &str, kind: SubnetType, cidr: &str) -> Subnet {
    let egress = match kind {
        SubnetType::Private => Egress::NatGateway { address: NatAddress::Allocated },
        SubnetType::Public | SubnetType::Utility => Egress::InternetGateway,
    };
    Subnet {
        name: name.to_owned(),
        zone: zone.to_owned(),
        kind,
        origin: SubnetOrigin::Managed { cidr: cidr.parse().unwrap() },
        egress,
        additional_routes: Vec::new(),
    }
}

pub(crate) fn volume(size_gib: u32) -> Volume {
    let (iops, throughput) = (Some(3000), Some(125));
    Volume { size_gib, kind: VolumeType::Gp3, iops, throughput, encrypted: true, kms_key: None }
}

/// Members as (name, instance group, zone).
pub(crate) fn etcd(name: &str, members: &[(&str, &str, &str)]) -> EtcdCluster {
    let members = members.iter().map(|(name, group, zone)| EtcdMember {
        name: (*name).to_owned(),
        instance_group: (*group).to_owned(),
        zone: (*zone).to_owned(),
        volume: volume(20),
    });
    EtcdCluster { name: name.to_owned(), members: members.collect(), backup_retention_days: 90 }
}

pub(crate) fn image() -> Image {
    Image::Named { owner: "ubuntu".to_owned(), name: "resolute-26.04-amd64".to_owned() }
}

pub(crate) fn group(name: &str, role: Role, subnets: &[&str]) -> InstanceGroup {
    let size = if role == Role::Node { 2 } else { 1 };
    InstanceGroup {
        name: name.to_owned(),
        role,
        image: image(),
        machine_type: "t3.small".to_owned(),
        architecture: Architecture::X86_64,
        memory_mib: Some(2048),
        min_size: size,
        max_size: size,
        autoscale: role == Role::Node,
        autoscale_priority: 0,
        subnets: subnets.iter().map(ToString::to_string).collect(),
        associate_public_ip: true,
        root_volume: volume(64),
        ebs_optimized: None,
        volumes: Vec::new(),
        purchase: Purchase::OnDemand,
        cpu_credits: None,
        instance_metadata: InstanceMetadata { tokens_required: true, hop_limit: 1 },
        detailed_monitoring: false,
        instance_protection: false,
        tenancy: None,
        max_instance_lifetime_seconds: 0,
        suspend_processes: Vec::new(),
        additional_security_groups: Vec::new(),
        security_group_override: None,
        iam_profile: None,
        target_group_arns: Vec::new(),
        additional_user_data: Vec::new(),
        cloud_labels: BTreeMap::new(),
        node_labels: BTreeMap::new(),
        taints: Vec::new(),
        sysctls: BTreeMap::new(),
    }
}

pub(crate) fn api_load_balancer(subnets: &[&str]) -> ApiLoadBalancer {
    let subnets = subnets.iter().map(|subnet| LoadBalancerSubnet {
        subnet: (*subnet).to_owned(),
        private_ipv4_address: None,
        allocation_id: None,
    });
    ApiLoadBalancer {
        scheme: Scheme::Public,
        additional_security_groups: Vec::new(),
        cross_zone: false,
        use_for_internal_api: false,
        ssl_certificate: None,
        ssl_policy: None,
        access_log: None,
        subnets: subnets.collect(),
    }
}

pub(crate) fn ingress(name: &str) -> IngressController {
    IngressController {
        name: name.to_owned(),
        namespace: "ingress".to_owned(),
        ingress_class: "nginx".to_owned(),
        load_balancer: IngressLoadBalancer {
            managed_by: LoadBalancerManager::Kcl,
            proxy_protocol: true,
            share_with_api: false,
        },
        hosts: vec!["example.com".to_owned(), "docs.example.com".to_owned()],
    }
}

/// Private subnets with a bastion, three zones.
pub(crate) fn private_cluster() -> Cluster {
    let mut cluster = cluster();
    let zones = ["eu-north-1a", "eu-north-1b", "eu-north-1c"];
    let subnets = &mut cluster.network.subnets;
    subnets.clear();
    for (number, zone) in zones.into_iter().enumerate() {
        let cidr = format!("172.20.{}.0/19", 32 * (number + 1));
        subnets.push(subnet(zone, zone, SubnetType::Private, &cidr));
        let cidr = format!("172.20.{}.0/22", 4 * number);
        subnets.push(subnet(&format!("utility-{zone}"), zone, SubnetType::Utility, &cidr));
    }
    let utility = ["utility-eu-north-1a", "utility-eu-north-1b", "utility-eu-north-1c"];
    cluster.network.control_plane_topology = Topology::Private;
    cluster.network.node_topology = Topology::Private;
    cluster.instance_groups =
        vec![group("nodes", Role::Node, &zones), group("bastion", Role::Bastion, &utility)];
    let names: Vec<String> = zones.iter().map(|zone| format!("control-plane-{zone}")).collect();
    cluster
        .instance_groups
        .extend(names.iter().zip(zones).map(|(name, zone)| group(name, Role::ControlPlane, &[zone])));
    let members: Vec<_> = names.iter().zip(zones).map(|(name, zone)| (zone, name.as_str(), zone)).collect();
    cluster.etcd_clusters = vec![etcd("main", &members), etcd("events", &members)];
    for group in cluster.instance_groups.iter_mut().filter(|group| group.role != Role::Bastion) {
        group.associate_public_ip = false;
    }
    cluster.api.load_balancer = Some(api_load_balancer(&utility));
    cluster.bastion = Some(Bastion {
        public_name: Some(format!("bastion.{NAME}")),
        scheme: Scheme::Public,
        additional_security_groups: vec!["sg-0123".to_owned()],
        subnets: utility.iter().map(ToString::to_string).collect(),
    });
    cluster
}

/// The cluster in a VPC of the user's own, with the subnet `a` of the user's own too where `subnets` says so.
pub(crate) fn shared_cluster(subnets: bool) -> Cluster {
    let mut cluster = cluster();
    cluster.network.vpc = Vpc::Shared { id: "vpc-0123".to_owned() };
    if subnets {
        let subnet = &mut cluster.network.subnets[0];
        subnet.origin = SubnetOrigin::Shared { id: "subnet-0123".to_owned(), cidr: None };
        subnet.egress = Egress::External;
    }
    cluster
}

/// Facts that have all that any cluster of these tests needs.
pub(crate) fn facts() -> Facts {
    let image_facts = ImageFacts {
        id: "ami-0123".to_owned(),
        root_device: "/dev/xvda".to_owned(),
        architecture: "x86_64".to_owned(),
    };
    let subnet = SubnetFacts {
        vpc: "vpc-0123".to_owned(),
        zone: "eu-north-1a".to_owned(),
        cidr: "172.20.32.0/19".parse().unwrap(),
    };
    Facts {
        partition: "aws".to_owned(),
        account: "123456789012".to_owned(),
        images: [(image(), image_facts)].into_iter().collect(),
        zones: vec![HostedZone { id: "Z0123".to_owned(), name: "example.com.".to_owned(), private: false }],
        vpc: Some(VpcFacts {
            id: "vpc-0123".to_owned(),
            cidrs: vec!["172.20.0.0/16".parse().unwrap()],
            internet_gateway: Some("igw-0123".to_owned()),
        }),
        subnets: [("subnet-0123".to_owned(), subnet)].into_iter().collect(),
        addresses: BTreeMap::new(),
        store: Some(StoreLocation { bucket: "state".to_owned(), prefix: "kcl".to_owned() }),
        node_agents: ["amd64", "arm64"].map(|kind| (kind.to_owned(), "a".repeat(64))).into(),
        asset_hashes: HASHES_OF_1_36_4.iter().map(|url| ((*url).to_owned(), "b".repeat(64))).collect(),
        issuer_region: None,
        discovery_is_public: false,
        thumbprints: Vec::new(),
    }
}

/// The model of `cluster` with [`facts`].
pub(crate) fn model(cluster: &Cluster) -> Model {
    build(cluster, &facts()).unwrap()
}

/// An issuer in a bucket, which AWS trusts.
pub(crate) fn issuer() -> ServiceAccountIssuer {
    ServiceAccountIssuer {
        discovery_store: format!("s3://discovery/{NAME}"),
        bucket: Some(IssuerBucket { name: "discovery".to_owned(), prefix: NAME.to_owned() }),
        enable_aws_oidc_provider: true,
        additional_audiences: vec!["sts.amazonaws.com".to_owned()],
    }
}

/// Every addon there is.
pub(crate) fn every_addon() -> Addons {
    let spec = include_str!("../../../../examples/minimal.yaml");
    let fields = "  clusterAutoscaler: {enabled: true, expander: priority}\n  metricsServer: {enabled: true}\n  externalDns: {provider: external-dns}\n  authentication: {aws: {}}\n";
    let spec = spec.replacen("\nspec:\n", &format!("\nspec:\n{fields}"), 1);
    kcl_spec::load(&[kcl_spec::Source::new("cluster.yaml", spec)]).unwrap().cluster.addons
}
