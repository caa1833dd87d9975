//! The validated cluster: what `validate` gives and the model crate takes.
//!
//! A [`Cluster`] is plain data. Every default is filled in, every reference inside it resolves
//! (a group's subnets exist, an etcd member's group exists), every value has its final type. Only
//! what was written in a spec and found sound becomes one, so that nothing downstream checks again.
//! Where an `Option` remains, its absence means something, and the field says what.
//!
//! Lists keep the order of the spec; maps are sorted, and so is what documents of their own become
//! (groups, ingress controllers), since documents may come in any order and from several files.

mod addons;

use std::collections::BTreeMap;

pub use addons::{
    AccessEntry, Addons, CloudControllerManager, ClusterAutoscaler, Container, EbsCsiDriver, ExternalDns,
    IamAuthenticator, IdentityMapping, LimitRange, Manifest, MetricsServer, NamespaceDefaults, Principal,
    RoleKind, TerminationHandler,
};
use ipnet::{IpNet, Ipv4Net};
use serde::Serialize;

/// A whole cluster, ready to be turned into wanted resources.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Cluster {
    /// The cluster's name, a DNS name with at least one dot: `k8s.example.com`.
    pub name: String,
    /// `metadata.annotations` of the Cluster document.
    pub annotations: BTreeMap<String, String>,
    /// The annotation `kcl.dev/protect: "true"` is set: deletion is refused.
    pub protected: bool,
    /// The AWS region, from the zones of the subnets.
    pub region: String,
    /// The Kubernetes version to run.
    pub kubernetes_version: KubernetesVersion,
    /// `spec.configBase`, where the state store is when nothing else says so.
    pub config_base: Option<String>,
    /// Tags of the user's own for every resource (`spec.cloudLabels`).
    pub cloud_labels: BTreeMap<String, String>,
    /// VPC, subnets and address ranges.
    pub network: Network,
    /// How the API server is reached.
    pub api: Api,
    /// Who may reach the machines over SSH, and with which key.
    pub ssh: Ssh,
    /// Sources allowed to reach the node ports (30000-32767, TCP and UDP) of the nodes.
    pub node_port_access: Vec<IpNet>,
    /// The load balancer in front of the bastions; `None` where no group has the role Bastion.
    pub bastion: Option<Bastion>,
    /// The etcd clusters, `main` first.
    pub etcd_clusters: Vec<EtcdCluster>,
    /// Policies of the machines' roles, and roles for service accounts.
    pub iam: Iam,
    /// The public OIDC documents of the cluster's service-account issuer; `None`: not published.
    pub service_account_issuer: Option<ServiceAccountIssuer>,
    /// Draining of machines that are about to go away.
    pub node_termination_handler: NodeTerminationHandler,
    /// All instance groups, by name: their order in the spec means nothing.
    pub instance_groups: Vec<InstanceGroup>,
    /// The ingress controllers of `kcl.dev/v1alpha1`, by name.
    pub ingress_controllers: Vec<IngressController>,
    /// How the objects of the cluster in the state store are kept (`kcl.dev/v1alpha1`).
    pub state_store: StateStore,
    /// What runs in the cluster beside Kubernetes itself.
    pub addons: Addons,
    /// Who may do what in the cluster, by name.
    pub access_entries: Vec<AccessEntry>,
    /// Defaults of namespaces, by namespace.
    pub namespace_defaults: Vec<NamespaceDefaults>,
    /// Manifests from elsewhere, by name.
    pub manifests: Vec<Manifest>,
    /// A registry in place of the images' own (`spec.assets.containerRegistry`), and one that passes on
    /// what they have (`spec.assets.containerProxy`).
    pub image_mirror: Option<ImageMirror>,
    /// A web server that has the release files of Kubernetes and containerd under their own paths
    /// (`spec.assets.fileRepository`), without a slash at its end.
    pub file_repository: Option<String>,
    /// Every other Kubernetes object of the spec, to be applied as it stands.
    pub objects: Vec<KubernetesObject>,
}

impl Cluster {
    /// The instance groups of one role, by name.
    pub fn groups(&self, role: Role) -> impl Iterator<Item = &InstanceGroup> {
        self.instance_groups.iter().filter(move |group| group.role == role)
    }

    /// The instance group of that name.
    pub fn group(&self, name: &str) -> Option<&InstanceGroup> {
        self.instance_groups.iter().find(|group| group.name == name)
    }

    /// The subnet of that name.
    pub fn subnet(&self, name: &str) -> Option<&Subnet> {
        self.network.subnets.iter().find(|subnet| subnet.name == name)
    }

    /// The zones that have a subnet, sorted, each once.
    pub fn zones(&self) -> Vec<&str> {
        let mut zones: Vec<&str> = self.network.subnets.iter().map(|subnet| subnet.zone.as_str()).collect();
        zones.sort_unstable();
        zones.dedup();
        zones
    }
}

/// A Kubernetes version; its `Display` has no leading `v`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct KubernetesVersion {
    /// Always 1 today.
    pub major: u16,
    /// The release: 36 in 1.36.4.
    pub minor: u16,
    /// The patch: 4 in 1.36.4.
    pub patch: u16,
}

impl std::fmt::Display for KubernetesVersion {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.patch)
    }
}

/// VPC, subnets, address ranges and DNS.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Network {
    /// The VPC: made by kcl, or the user's own.
    pub vpc: Vpc,
    /// The VPC's IPv4 range.
    pub cidr: Ipv4Net,
    /// Further IPv4 ranges of the VPC (associated with it unless it is shared).
    pub additional_cidrs: Vec<Ipv4Net>,
    /// The range that holds pods and services and is never masqueraded.
    pub non_masquerade_cidr: Ipv4Net,
    /// Addresses of pods.
    pub pod_cidr: Ipv4Net,
    /// Addresses of services.
    pub service_cidr: Ipv4Net,
    /// All subnets, in the order of the spec; names are unique.
    pub subnets: Vec<Subnet>,
    /// Subnets get the cluster's and Kubernetes' tags (`spec.tagSubnets`, true by default).
    pub tag_subnets: bool,
    /// Where control-plane machines live, from the type of their subnets.
    pub control_plane_topology: Topology,
    /// Where nodes live, from the type of their subnets.
    pub node_topology: Topology,
    /// How the API's name is published.
    pub dns: DnsType,
    /// The hosted zone (name or id) for the API's names; `None`: the longest zone that fits.
    pub dns_zone: Option<String>,
    /// The DNS domain inside the cluster (`cluster.local`).
    pub cluster_dns_domain: String,
    /// The pod network the user chose.
    pub pod_network: PodNetwork,
    /// How flannel is set up; [`PodNetwork::Flannel`] has it, and no other.
    pub flannel: Option<Flannel>,
}

/// The VPC the cluster runs in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub enum Vpc {
    /// kcl makes it and owns it.
    Managed,
    /// The user's own (`spec.networkID`): used, never changed.
    Shared {
        /// `vpc-...`
        id: String,
    },
}

/// One subnet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Subnet {
    /// The name inside the cluster; its `Name` tag is `<name>.<cluster>`.
    pub name: String,
    /// The availability (or local) zone.
    pub zone: String,
    /// What it is for.
    pub kind: SubnetType,
    /// Made by kcl, or the user's own.
    pub origin: SubnetOrigin,
    /// How traffic leaves it.
    pub egress: Egress,
    /// Routes beside the default one. Only private subnets may have any, and all private
    /// subnets of a zone that have some name the same ones (they share a route table).
    pub additional_routes: Vec<AdditionalRoute>,
}

/// Where a subnet comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub enum SubnetOrigin {
    /// kcl makes it and owns it.
    Managed {
        /// Its range, inside the VPC's.
        cidr: Ipv4Net,
    },
    /// The user's own (`id`): used, never changed.
    Shared {
        /// `subnet-...`
        id: String,
        /// Its range, where the spec tells it.
        cidr: Option<Ipv4Net>,
    },
}

/// What a subnet is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub enum SubnetType {
    /// Machines with public addresses.
    Public,
    /// Machines without.
    Private,
    /// NAT gateways, public load balancers and bastions in front of private subnets.
    Utility,
}

/// How traffic leaves a subnet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub enum Egress {
    /// Public and utility subnets: the VPC's internet gateway.
    InternetGateway,
    /// Private subnets: one NAT gateway of kcl's per zone, in the zone's utility (else public) subnet.
    NatGateway {
        /// Which address the gateway has.
        address: NatAddress,
    },
    /// A NAT gateway of the user's own (`nat-...`).
    ExistingNatGateway {
        /// `nat-...`
        id: String,
    },
    /// A NAT instance of the user's own (`i-...`).
    Instance {
        /// `i-...`
        id: String,
    },
    /// A transit gateway (`tgw-...`).
    TransitGateway {
        /// `tgw-...`
        id: String,
    },
    /// The user routes it: no route table, association or default route of ours.
    External,
}

/// The public address of a NAT gateway of ours.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub enum NatAddress {
    /// An Elastic IP that kcl allocates and releases.
    Allocated,
    /// An Elastic IP of the user's own, by allocation id (`egress: eipalloc-...`).
    ExistingAllocation {
        /// `eipalloc-...`
        id: String,
    },
    /// An Elastic IP of the user's own, by address (`publicIP`).
    ExistingAddress {
        /// The IPv4 address.
        address: std::net::Ipv4Addr,
    },
}

/// A route of the user's own in a private subnet's route table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct AdditionalRoute {
    /// Destination.
    pub cidr: Ipv4Net,
    /// Where it goes.
    pub target: RouteTarget,
}

/// What a route of the user's own points to, by the prefix of its id.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub enum RouteTarget {
    /// `pcx-...`
    PeeringConnection(String),
    /// `i-...`
    Instance(String),
    /// `nat-...`
    NatGateway(String),
    /// `tgw-...`
    TransitGateway(String),
    /// `igw-...`
    InternetGateway(String),
    /// `eigw-...`
    EgressOnlyInternetGateway(String),
}

/// Whether machines stand in public or private subnets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum Topology {
    /// Public (or utility) subnets.
    Public,
    /// Private subnets only.
    Private,
}

/// How the API's name is published.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum DnsType {
    /// Records in a public hosted zone.
    Public,
    /// Records in a private hosted zone.
    Private,
    /// No records: clients use the load balancer's own name.
    None,
}

/// The pod network (`spec.networking`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum PodNetwork {
    /// The user installs one (`cni: {}`); nothing is installed by kcl.
    Cni,
    /// Flannel.
    Flannel,
    /// Calico.
    Calico,
    /// Cilium.
    Cilium,
    /// The AWS VPC CNI: pods have addresses of the VPC.
    AmazonVpc,
    /// kindnet.
    Kindnet,
    /// kube-router.
    KubeRouter,
    /// Canal (Calico's policies over flannel).
    Canal,
    /// kubenet.
    Kubenet,
}

impl PodNetwork {
    /// The field of `spec.networking` it is chosen by, and the name of the [`Manifest`] it may come with.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Cni => "cni",
            Self::Flannel => "flannel",
            Self::Calico => "calico",
            Self::Cilium => "cilium",
            Self::AmazonVpc => "amazonvpc",
            Self::Kindnet => "kindnet",
            Self::KubeRouter => "kuberouter",
            Self::Canal => "canal",
            Self::Kubenet => "kubenet",
        }
    }
}

/// How flannel is set up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Flannel {
    /// How packets travel between machines.
    pub backend: FlannelBackend,
    /// How often its iptables rules are written again; `None`: its own default.
    pub iptables_resync_seconds: Option<u32>,
}

/// How flannel's packets travel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum FlannelBackend {
    /// By the kernel's VXLAN (`vxlan`).
    Vxlan,
    /// By flannel itself (`udp`).
    Udp,
}

/// How the API server is reached.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Api {
    /// The name clients use (`api.<cluster>` by default).
    pub public_name: String,
    /// The name machines use (`api.internal.<cluster>` by default).
    pub internal_name: String,
    /// The port clients use: 443, or 6443 where the ingress controller has 443 of the same load
    /// balancer (`shareWithApi`).
    pub port: u16,
    /// Sources allowed to reach that port (`spec.kubernetesApiAccess`); empty: nobody from outside.
    pub access: Vec<IpNet>,
    /// Further names and addresses for the API server's certificate.
    pub additional_sans: Vec<String>,
    /// The network load balancer in front of the control plane; `None`: DNS names its machines.
    pub load_balancer: Option<ApiLoadBalancer>,
}

/// The API's network load balancer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ApiLoadBalancer {
    /// Internet-facing or internal.
    pub scheme: Scheme,
    /// Security groups of the user's own (`sg-...`), beside `api-elb.<cluster>`.
    pub additional_security_groups: Vec<String>,
    /// Every target in every zone gets traffic. By default only without DNS, as kOps has it.
    pub cross_zone: bool,
    /// Machines reach the API through it as well.
    pub use_for_internal_api: bool,
    /// TLS ends at the balancer, with this ACM certificate.
    pub ssl_certificate: Option<String>,
    /// The TLS policy of that listener; `None`: AWS' default.
    pub ssl_policy: Option<String>,
    /// Where access logs go.
    pub access_log: Option<AccessLog>,
    /// The subnets it stands in; never empty. From the spec, else one per zone: utility or public
    /// ones for a public balancer, private ones (else public) for an internal one.
    pub subnets: Vec<LoadBalancerSubnet>,
}

/// Internet-facing or internal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum Scheme {
    /// Internet-facing.
    Public,
    /// Reached from inside the VPC only.
    Internal,
}

/// One subnet of a load balancer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LoadBalancerSubnet {
    /// The subnet's name.
    pub subnet: String,
    /// A fixed private address (internal balancers).
    pub private_ipv4_address: Option<std::net::Ipv4Addr>,
    /// A fixed public address, `eipalloc-...` (public balancers).
    pub allocation_id: Option<String>,
}

/// Where a load balancer's access logs go.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct AccessLog {
    /// The S3 bucket's name.
    pub bucket: String,
    /// The prefix inside it.
    pub prefix: Option<String>,
}

/// Access to the machines over SSH.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Ssh {
    /// Sources allowed to reach port 22 (`spec.sshAccess`); empty: nobody.
    pub access: Vec<IpNet>,
    /// The key of the machines' first user.
    pub key: SshKey,
}

/// The key pair of the machines.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub enum SshKey {
    /// No key: nobody logs in by SSH.
    None,
    /// A key pair of the user's own in EC2 (`spec.sshKeyName`).
    Existing {
        /// Its name.
        name: String,
    },
    /// A key pair that kcl makes of the public key of the SSHCredential document.
    Managed {
        /// OpenSSH text: `ssh-ed25519 AAAA... comment`.
        public_key: String,
    },
}

/// The network load balancer in front of the bastions.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Bastion {
    /// The name it is published under; `None`: no record.
    pub public_name: Option<String>,
    /// Internet-facing or internal.
    pub scheme: Scheme,
    /// Security groups of the user's own (`sg-...`), beside `bastion-elb.<cluster>`.
    pub additional_security_groups: Vec<String>,
    /// Names of the subnets it stands in, one per zone; never empty.
    pub subnets: Vec<String>,
}

/// One etcd cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct EtcdCluster {
    /// `main`, `events` or `cilium`.
    pub name: String,
    /// Its members, in the order of the spec; an odd number.
    pub members: Vec<EtcdMember>,
    /// For how many days a backup of each day is kept.
    pub backup_retention_days: u32,
}

/// One member of an etcd cluster: a volume that outlives its machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct EtcdMember {
    /// The member's name; the volume is `<member>.etcd-<etcd cluster>.<cluster>`.
    pub name: String,
    /// The control-plane instance group it runs on.
    pub instance_group: String,
    /// The zone of that group, and so of the volume.
    pub zone: String,
    /// The volume.
    pub volume: Volume,
}

/// An EBS volume.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Volume {
    /// Size in GiB.
    pub size_gib: u32,
    /// EBS type.
    pub kind: VolumeType,
    /// Provisioned IOPS; always set for gp3, io1 and io2, never for others.
    pub iops: Option<u32>,
    /// Throughput in MiB/s; always set for gp3, never for others.
    pub throughput: Option<u32>,
    /// Encrypted at rest.
    pub encrypted: bool,
    /// The KMS key; `None`: the account's default EBS key.
    pub kms_key: Option<String>,
}

/// EBS volume types.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
pub enum VolumeType {
    /// General purpose, IOPS by size.
    Gp2,
    /// General purpose, IOPS and throughput apart from size.
    Gp3,
    /// Provisioned IOPS.
    Io1,
    /// Provisioned IOPS, more durable.
    Io2,
    /// Throughput-optimised disks.
    St1,
    /// Cold disks.
    Sc1,
    /// Magnetic.
    Standard,
}

impl VolumeType {
    /// AWS' own spelling: `gp3`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Gp2 => "gp2",
            Self::Gp3 => "gp3",
            Self::Io1 => "io1",
            Self::Io2 => "io2",
            Self::St1 => "st1",
            Self::Sc1 => "sc1",
            Self::Standard => "standard",
        }
    }
}

/// Policies of the machines' roles, and roles for service accounts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Iam {
    /// ARN of the permissions boundary for every role kcl makes.
    pub permissions_boundary: Option<String>,
    /// Machines may pull from ECR.
    pub allow_container_registry: bool,
    /// Statements of the user's own for the role of each kind of machine: each value is a policy
    /// statement (a JSON object). They become the inline policy `additional.<role name>`.
    pub additional_policies: BTreeMap<Role, Vec<serde_json::Value>>,
    /// ARNs of managed policies to attach to the role of each kind of machine.
    pub external_policies: BTreeMap<Role, Vec<String>>,
    /// Cluster components use roles of their own (IRSA) in place of the machine's.
    pub use_service_account_external_permissions: bool,
    /// Roles for the user's service accounts (IRSA).
    pub service_accounts: Vec<ServiceAccountRole>,
}

/// An IAM role that the pods of a service account assume.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ServiceAccountRole {
    /// The service account's name; holds no `*`.
    pub name: String,
    /// Its namespace; may hold `*`.
    pub namespace: String,
    /// What it may do.
    pub permissions: ServiceAccountPermissions,
}

impl ServiceAccountRole {
    /// The namespace is a pattern: the trust policy needs `StringLike`, and kcl cannot make the
    /// service account itself.
    pub fn is_wildcard(&self) -> bool {
        self.namespace.contains('*')
    }
}

/// What a service account may do; exactly one of the two.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub enum ServiceAccountPermissions {
    /// ARNs of managed policies, attached to the role.
    Managed(Vec<String>),
    /// Statements of the role's inline policy, each a JSON object.
    Inline(Vec<serde_json::Value>),
}

/// Where the cluster's OIDC documents are published, and who trusts them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ServiceAccountIssuer {
    /// The store as the spec spells it, without a slash at the end: `s3://bucket/prefix`.
    pub discovery_store: String,
    /// The same, taken apart; `None` for a store that is not S3 (`memfs://`, `file://`).
    pub bucket: Option<IssuerBucket>,
    /// An IAM OIDC provider trusts the issuer.
    pub enable_aws_oidc_provider: bool,
    /// Audiences of that provider beside `amazonaws.com`.
    pub additional_audiences: Vec<String>,
}

/// The S3 place of the OIDC documents.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct IssuerBucket {
    /// The bucket's name; holds no dot (it would break TLS).
    pub name: String,
    /// The prefix, without a slash at either end; empty: the bucket's root.
    pub prefix: String,
}

impl IssuerBucket {
    /// The key of what lies at `path` below the issuer's URL.
    pub fn key(&self, path: &str) -> String {
        if self.prefix.is_empty() { path.to_owned() } else { format!("{}/{path}", self.prefix) }
    }
}

/// Draining of machines that AWS is about to take away.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct NodeTerminationHandler {
    /// It runs at all (true by default).
    pub enabled: bool,
    /// It listens to an SQS queue fed by EventBridge rules and lifecycle hooks (true by default);
    /// else to the metadata service of its own machine.
    pub sqs_termination_draining: bool,
    /// It acts on rebalance recommendations, by draining or cordoning: one EventBridge rule more.
    pub rebalance: bool,
    /// The tag of the machines it may touch.
    pub managed_asg_tag: String,
}

/// The role of the machines of a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub enum Role {
    /// Runs the API server and etcd.
    ControlPlane,
    /// Runs the pods.
    Node,
    /// A way in over SSH.
    Bastion,
}

impl Role {
    /// As a spec spells it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ControlPlane => "ControlPlane",
            Self::Node => "Node",
            Self::Bastion => "Bastion",
        }
    }

    /// kOps' word in names of security groups and IAM roles: `masters`, `nodes`, `bastions`.
    pub fn plural(self) -> &'static str {
        match self {
            Self::ControlPlane => "masters",
            Self::Node => "nodes",
            Self::Bastion => "bastions",
        }
    }
}

/// One instance group: a launch template and an auto scaling group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct InstanceGroup {
    /// The group's name.
    pub name: String,
    /// What its machines do.
    pub role: Role,
    /// The machine image.
    pub image: Image,
    /// The EC2 instance type: `t3.small`.
    pub machine_type: String,
    /// The processor architecture, from the instance type.
    pub architecture: Architecture,
    /// Memory in MiB, where the name of the instance type tells it.
    pub memory_mib: Option<u32>,
    /// Smallest number of machines.
    pub min_size: u32,
    /// Largest number of machines; at least `min_size`.
    pub max_size: u32,
    /// The cluster autoscaler, where there is one, may change the number of machines: nodes' groups only.
    pub autoscale: bool,
    /// The group's priority for the autoscaler's expander `priority`; 0 by default.
    pub autoscale_priority: u32,
    /// Names of the subnets its machines stand in, in the order of the spec; never empty.
    pub subnets: Vec<String>,
    /// Machines get a public address (never in a private subnet).
    pub associate_public_ip: bool,
    /// The root disk.
    pub root_volume: Volume,
    /// Dedicated bandwidth to EBS (`rootVolumeOptimization`); `None`: the type's default.
    pub ebs_optimized: Option<bool>,
    /// Further disks; devices are unique.
    pub volumes: Vec<BlockDevice>,
    /// On demand, spot or a mix.
    pub purchase: Purchase,
    /// CPU credits of burstable types; `None`: the type's default (`unlimited` for t3 and t4g).
    pub cpu_credits: Option<CpuCredits>,
    /// The instance metadata service.
    pub instance_metadata: InstanceMetadata,
    /// Metrics every minute in place of five.
    pub detailed_monitoring: bool,
    /// New machines are protected from scale-in.
    pub instance_protection: bool,
    /// Dedicated or shared hardware; `None`: the VPC's default.
    pub tenancy: Option<Tenancy>,
    /// Machines older than this are replaced, in seconds; 0: never.
    pub max_instance_lifetime_seconds: u32,
    /// Auto scaling processes that are switched off (`AZRebalance`...).
    pub suspend_processes: Vec<String>,
    /// Security groups of the user's own (`sg-...`), beside the role's.
    pub additional_security_groups: Vec<String>,
    /// A security group of the user's own in place of the role's (`sg-...`).
    pub security_group_override: Option<String>,
    /// ARN of an instance profile of the user's own in place of the role's.
    pub iam_profile: Option<String>,
    /// ARNs of target groups of the user's own to register with.
    pub target_group_arns: Vec<String>,
    /// MIME parts beside kcl's own user data.
    pub additional_user_data: Vec<UserData>,
    /// Tags of the user's own for this group's resources; they win over the cluster's.
    pub cloud_labels: BTreeMap<String, String>,
    /// Labels of the Kubernetes nodes.
    pub node_labels: BTreeMap<String, String>,
    /// Taints of the Kubernetes nodes.
    pub taints: Vec<Taint>,
    /// Kernel parameters (`sysctlParameters`): the cluster's, and over them the group's own.
    pub sysctls: BTreeMap<String, String>,
}

/// Processor architectures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum Architecture {
    /// Intel and AMD.
    X86_64,
    /// Graviton.
    Arm64,
}

/// How a machine image is named.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub enum Image {
    /// `ami-...`
    Id(String),
    /// The newest image of an owner with that name (`owner/name`).
    Named {
        /// An account id, `amazon` or `self`; kOps' aliases (`ubuntu`, `debian`...) are resolved.
        owner: String,
        /// The image's name; may hold `*` and `?`, and slashes.
        name: String,
    },
    /// The value of a public or own SSM parameter (`ssm:/path`); the path without `ssm:`.
    SsmParameter(String),
}

/// As a spec spells it.
impl std::fmt::Display for Image {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Id(id) => f.write_str(id),
            Self::Named { owner, name } => write!(f, "{owner}/{name}"),
            Self::SsmParameter(path) => write!(f, "ssm:{path}"),
        }
    }
}

/// A disk beside the root disk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct BlockDevice {
    /// The device's name: `/dev/xvdd`.
    pub device: String,
    /// The volume.
    pub volume: Volume,
    /// It goes with its machine.
    pub delete_on_termination: bool,
}

/// How the machines are paid.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub enum Purchase {
    /// On demand.
    OnDemand,
    /// Spot, asked for by the launch template (`maxPrice` without `mixedInstancesPolicy`).
    Spot(SpotOptions),
    /// A mix, decided by the auto scaling group (`mixedInstancesPolicy`).
    Mixed(MixedInstances),
}

/// Spot options of a launch template.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SpotOptions {
    /// The highest hourly price in USD, as written.
    pub max_price: String,
    /// Spot blocks, in minutes.
    pub duration_minutes: Option<u32>,
    /// What happens at an interruption; `None`: terminate.
    pub interruption_behavior: Option<InterruptionBehavior>,
}

/// What happens to an interrupted spot machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum InterruptionBehavior {
    /// `hibernate`
    Hibernate,
    /// `stop`
    Stop,
    /// `terminate`
    Terminate,
}

/// The mixed-instances policy of an auto scaling group. An absent number is not sent to AWS, whose
/// default then holds, as kOps does it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct MixedInstances {
    /// Overrides of the launch template, in order of preference; empty only with `requirements`.
    pub instance_types: Vec<String>,
    /// Any type with these properties.
    pub requirements: Option<InstanceRequirements>,
    /// On-demand machines before any spot one.
    pub on_demand_base: Option<u32>,
    /// Percentage of on-demand machines above the base, 0-100.
    pub on_demand_above_base: Option<u32>,
    /// `prioritized` or `lowest-price`.
    pub on_demand_allocation_strategy: Option<String>,
    /// How spot pools are chosen.
    pub spot_allocation_strategy: Option<SpotAllocationStrategy>,
    /// Number of spot pools, with `lowest-price`.
    pub spot_instance_pools: Option<u32>,
    /// The highest hourly price in USD, as written (`maxPrice`).
    pub max_price: Option<String>,
}

impl MixedInstances {
    /// Every machine is a spot machine.
    pub fn is_all_spot(&self) -> bool {
        self.on_demand_base.unwrap_or(0) == 0 && self.on_demand_above_base == Some(0)
    }
}

/// How an auto scaling group chooses spot pools.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum SpotAllocationStrategy {
    /// `lowest-price`
    LowestPrice,
    /// `capacity-optimized`
    CapacityOptimized,
    /// `capacity-optimized-prioritized`
    CapacityOptimizedPrioritized,
    /// `price-capacity-optimized`
    PriceCapacityOptimized,
}

impl SpotAllocationStrategy {
    /// AWS' own spelling.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::LowestPrice => "lowest-price",
            Self::CapacityOptimized => "capacity-optimized",
            Self::CapacityOptimizedPrioritized => "capacity-optimized-prioritized",
            Self::PriceCapacityOptimized => "price-capacity-optimized",
        }
    }
}

/// Properties of acceptable instance types.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct InstanceRequirements {
    /// Fewest vCPUs.
    pub cpu_min: u32,
    /// Most vCPUs; `None`: no limit.
    pub cpu_max: Option<u32>,
    /// Least memory in MiB.
    pub memory_min_mib: u32,
    /// Most memory in MiB; `None`: no limit.
    pub memory_max_mib: Option<u32>,
}

/// CPU credits of burstable types.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum CpuCredits {
    /// Throttled when the credits are used up; never billed extra.
    Standard,
    /// Never throttled; what is used above the baseline is billed.
    Unlimited,
}

/// The instance metadata service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct InstanceMetadata {
    /// Only IMDSv2 is answered (true by default).
    pub tokens_required: bool,
    /// Hops an answer may travel (1 by default).
    pub hop_limit: u8,
}

/// Whose hardware the machines share.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum Tenancy {
    /// Shared.
    Default,
    /// Hardware of this account only.
    Dedicated,
    /// A dedicated host.
    Host,
}

/// One MIME part of user data.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct UserData {
    /// File name of the part.
    pub name: String,
    /// Content type: `text/x-shellscript`, `text/cloud-config`...
    pub content_type: String,
    /// The part itself.
    pub content: String,
}

/// A taint of Kubernetes nodes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Taint {
    /// Its key.
    pub key: String,
    /// Its value; empty: none.
    pub value: String,
    /// `NoSchedule`, `PreferNoSchedule` or `NoExecute`.
    pub effect: String,
}

impl std::fmt::Display for Taint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.value.as_str() {
            "" => write!(f, "{}:{}", self.key, self.effect),
            value => write!(f, "{}={value}:{}", self.key, self.effect),
        }
    }
}

/// An ingress controller, as a DaemonSet on every node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct IngressController {
    /// `metadata.name`.
    pub name: String,
    /// The namespace it runs in.
    pub namespace: String,
    /// The name of its IngressClass.
    pub ingress_class: String,
    /// How traffic gets to it.
    pub load_balancer: IngressLoadBalancer,
    /// DNS names that are to point to the load balancer.
    pub hosts: Vec<String>,
}

/// How traffic gets to an ingress controller.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct IngressLoadBalancer {
    /// Who makes the load balancer.
    pub managed_by: LoadBalancerManager,
    /// Targets get the client's address by proxy protocol v2.
    pub proxy_protocol: bool,
    /// The API's load balancer carries this controller's listeners (80 and 443) too. Only with
    /// `managed_by` [`LoadBalancerManager::Kcl`] and a public API load balancer, and for at most
    /// one controller. The API's own listener then is at 6443: see [`Api::port`].
    pub share_with_api: bool,
}

/// Who makes an ingress controller's load balancer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum LoadBalancerManager {
    /// kcl makes a network load balancer.
    Kcl,
    /// A Service of type LoadBalancer asks the cloud controller for it.
    Service,
}

/// How the objects of the cluster in the state store are kept.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct StateStore {
    /// The KMS key that objects in S3 are encrypted with: a key id (UUID or `mrk-...`),
    /// `alias/...`, or the ARN of either. `None`: S3's own encryption.
    pub kms_key: Option<String>,
}

/// Where images come from in place of their own registry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub enum ImageMirror {
    /// `spec.assets.containerRegistry`: images are there under their path without the registry, its
    /// slashes as dashes but for the last one's name, as kOps puts them there.
    Registry(String),
    /// `spec.assets.containerProxy`: the same path behind another host.
    Proxy(String),
}

/// A Kubernetes object to apply as it stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct KubernetesObject {
    /// `apiVersion`.
    pub api_version: String,
    /// `kind`.
    pub kind: String,
    /// `metadata.namespace`.
    pub namespace: Option<String>,
    /// `metadata.name`; `None` with `generateName`.
    pub name: Option<String>,
    /// The whole document.
    pub value: serde_yaml::Value,
}
