//! `kind: Cluster`: network, access, etcd, identity, and the components' options.

use super::Metadata;
use super::addons::{
    AddonSpec, AssetsSpec, AuthenticationSpec, CloudConfigSpec, CloudControllerManagerSpec,
    ClusterAutoscalerSpec, ExternalDnsSpec, FlannelSpec, MetricsServerSpec, PodIdentityWebhookSpec,
};
use super::instance_group::VolumeTypeSpec;
use crate::node::Node;
use crate::read::{Anything, Dict, List, Scalar, choice, has_false, is_disabled, is_false, object, only};

/// `anonymousAuth: false` and nothing else: that is how kubelets run anyway.
pub(super) fn anonymous_auth_only(node: &Node) -> bool {
    only(node, &["anonymousAuth"])
        && (node.entry("anonymousAuth").is_none() || has_false(node, "anonymousAuth"))
}

/// RBAC is how the API server authorizes anyway.
fn rbac_only(node: &Node) -> bool {
    only(node, &["rbac"])
}

/// containerd is what runs anyway.
fn is_containerd(node: &Node) -> bool {
    is_text(node, "containerd")
}

/// The provider of etcd is not a choice any more.
fn is_manager(node: &Node) -> bool {
    is_text(node, "Manager")
}

/// A pod network that is chosen, and comes with a manifest: what it is to be like stands there.
fn no_options(node: &Node) -> bool {
    only(node, &[])
}

/// The DNS domain that a cluster has when it does not say.
pub(crate) const DEFAULT_DNS_DOMAIN: &str = "cluster.local";

fn is_text(node: &Node, expected: &str) -> bool {
    matches!(&node.value, crate::node::Value::Text(text, _) if text == expected)
}

object! {
    /// A Kubernetes cluster on AWS.
    ClusterDocument {
        /// `kops.k8s.io/v1alpha2`
        used api_version: String = "apiVersion",
        /// `Cluster`
        used kind: String = "kind",
        /// The cluster's name, a DNS name; labels and annotations.
        used metadata: Metadata = "metadata",
        /// What is wanted.
        used spec: ClusterSpec = "spec",
    }
}

object! {
    /// What is wanted of a cluster.
    ClusterSpec {
        /// Further IPv4 ranges of the VPC.
        used additional_network_cidrs: List<String> = "additionalNetworkCIDRs",
        /// Statements for the role of the machines: a JSON array of IAM statements for each of
        /// `control-plane` (or `master`), `node`, `bastion`.
        used additional_policies: Dict<String> = "additionalPolicies",
        /// Further names and addresses for the API server's certificate.
        used additional_sans: List<String> = "additionalSans",
        /// Manifests to apply, which kcl takes from `Manifest` documents only.
        used addons: List<AddonSpec> = "addons",
        /// How the API server is reached.
        used api: ApiSpec = "api",
        /// Mirrors of images and files.
        used assets: AssetsSpec = "assets",
        /// How users are authenticated.
        used authentication: AuthenticationSpec = "authentication",
        /// How users are authorized; RBAC.
        unused_unless(rbac_only) authorization: Anything = "authorization",
        /// The AWS Load Balancer Controller.
        unused_unless(is_disabled) aws_load_balancer_controller: Anything = "awsLoadBalancerController",
        /// cert-manager.
        unused_unless(is_disabled) cert_manager: Anything = "certManager",
        /// A channel of recommended versions; kcl has none.
        inert channel: String = "channel",
        /// Options of the cloud provider.
        used cloud_config: CloudConfigSpec = "cloudConfig",
        /// Options of the cloud controller manager.
        used cloud_controller_manager: CloudControllerManagerSpec = "cloudControllerManager",
        /// Tags for every resource.
        used cloud_labels: Dict<String> = "cloudLabels",
        /// The cloud; only `aws`.
        used cloud_provider: CloudProvider = "cloudProvider",
        /// The cluster autoscaler.
        used cluster_autoscaler: ClusterAutoscalerSpec = "clusterAutoscaler",
        /// The DNS domain inside the cluster; `cluster.local` by default.
        used cluster_dns_domain: String = "clusterDNSDomain",
        /// The state store: `s3://bucket/prefix` or `file:///dir`, unless the command line says
        /// otherwise.
        used config_base: String = "configBase",
        /// Where kOps keeps its own configuration.
        unused config_store: String = "configStore",
        /// Options of containerd.
        unused containerd: Anything = "containerd",
        /// The container runtime; containerd.
        unused_unless(is_containerd) container_runtime: String = "containerRuntime",
        /// Subnets get no tags, in the older spelling; see `tagSubnets`.
        used disable_subnet_tags: bool = "DisableSubnetTags",
        /// Gossip of kOps' DNS controller.
        unused dns_controller_gossip_config: Anything = "dnsControllerGossipConfig",
        /// The hosted zone for the API's names, by name or id; the longest that fits by default.
        used dns_zone: String = "dnsZone",
        /// Options of Docker.
        unused docker: Anything = "docker",
        /// A proxy for traffic that leaves the cluster.
        unused egress_proxy: Anything = "egressProxy",
        /// Encrypt secrets in etcd with a configuration of your own.
        unused_unless(is_false) encryption_config: bool = "encryptionConfig",
        /// etcd: `main` and `events`, each with a member per control-plane group.
        used etcd_clusters: List<EtcdClusterSpec> = "etcdClusters",
        /// DNS records for services and ingresses.
        used external_dns: ExternalDnsSpec = "externalDns",
        /// ARNs of managed policies to attach to the role of the machines: a list for each of
        /// `control-plane` (or `master`), `node`, `bastion`.
        used external_policies: Dict<List<String>> = "externalPolicies",
        /// Files to write onto the machines.
        unused file_assets: List<Anything> = "fileAssets",
        /// Gossip between machines.
        unused gossip_config: Anything = "gossipConfig",
        /// Units to run on the machines.
        unused hooks: List<Anything> = "hooks",
        /// Permissions of machines and service accounts.
        used iam: IamSpec = "iam",
        /// Keep pods off the control plane's network.
        unused_unless(is_false) isolate_masters: bool = "isolateMasters",
        /// Karpenter.
        unused_unless(is_disabled) karpenter: Anything = "karpenter",
        /// Where kOps keeps keys.
        unused key_store: String = "keyStore",
        /// Options of the API server.
        unused kube_api_server: Anything = "kubeAPIServer",
        /// Options of the controller manager.
        unused kube_controller_manager: Anything = "kubeControllerManager",
        /// Options of the cluster's DNS.
        unused kube_dns: Anything = "kubeDNS",
        /// Options of kube-proxy.
        unused kube_proxy: Anything = "kubeProxy",
        /// Options of the scheduler.
        unused kube_scheduler: Anything = "kubeScheduler",
        /// Options of the kubelets.
        unused_unless(anonymous_auth_only) kubelet: Anything = "kubelet",
        /// Sources allowed to reach the API: CIDRs. Nobody when left out.
        used kubernetes_api_access: List<String> = "kubernetesApiAccess",
        /// The version to run: `1.36.4`.
        used kubernetes_version: String = "kubernetesVersion",
        /// The API's name inside the cluster; `api.internal.<cluster>` by default.
        used master_internal_name: String = "masterInternalName",
        /// Options of the control plane's kubelets.
        unused_unless(anonymous_auth_only) master_kubelet: Anything = "masterKubelet",
        /// The API's name for clients; `api.<cluster>` by default.
        used master_public_name: String = "masterPublicName",
        /// metrics-server.
        used metrics_server: MetricsServerSpec = "metricsServer",
        /// The VPC's IPv4 range; `172.20.0.0/16` by default.
        used network_cidr: String = "networkCIDR",
        /// A VPC of your own, `vpc-...`: used, never changed.
        used network_id: String = "networkID",
        /// The pod network; exactly one.
        used networking: NetworkingSpec = "networking",
        /// Authorization of nodes by kOps' own service.
        unused node_authorization: Anything = "nodeAuthorization",
        /// Sources allowed to reach the node ports: CIDRs.
        used node_port_access: List<String> = "nodePortAccess",
        /// The node problem detector.
        unused_unless(is_disabled) node_problem_detector: Anything = "nodeProblemDetector",
        /// Draining of machines that AWS is about to take away.
        used node_termination_handler: NodeTerminationHandlerSpec = "nodeTerminationHandler",
        /// The range of pods and services; `100.64.0.0/10` by default.
        used non_masquerade_cidr: String = "nonMasqueradeCIDR",
        /// Time synchronisation.
        unused ntp: Anything = "ntp",
        /// Packages to install.
        unused packages: List<String> = "packages",
        /// Addresses of pods; from `nonMasqueradeCIDR` by default.
        used pod_cidr: String = "podCIDR",
        /// The webhook that hands pods their role.
        used pod_identity_webhook: PodIdentityWebhookSpec = "podIdentityWebhook",
        /// The project (Google Cloud).
        unused project: String = "project",
        /// How groups are rolled.
        unused rolling_update: Anything = "rollingUpdate",
        /// Where kOps keeps secrets.
        unused secret_store: String = "secretStore",
        /// The public OIDC documents of the cluster's service-account issuer.
        used service_account_issuer_discovery: IssuerDiscoverySpec = "serviceAccountIssuerDiscovery",
        /// Addresses of services; from `nonMasqueradeCIDR` by default.
        used service_cluster_ip_range: String = "serviceClusterIPRange",
        /// The CSI snapshot controller.
        unused_unless(is_disabled) snapshot_controller: Anything = "snapshotController",
        /// Sources allowed to reach SSH: CIDRs. Nobody when left out.
        used ssh_access: List<String> = "sshAccess",
        /// A key pair of your own in EC2; an empty one means no key.
        used ssh_key_name: String = "sshKeyName",
        /// The subnets.
        used subnets: List<SubnetSpec> = "subnets",
        /// Kernel parameters: `name=value`.
        used sysctl_parameters: List<String> = "sysctlParameters",
        /// Subnets get the cluster's and Kubernetes' tags; true by default.
        used tag_subnets: bool = "tagSubnets",
        /// Options of kOps' Terraform output.
        unused target: Anything = "target",
        /// DNS and bastions.
        used topology: TopologySpec = "topology",
        /// Upgrades of the operating system: `automatic` or `external`.
        unused update_policy: String = "updatePolicy",
        /// Components see the machine's certificates.
        unused use_host_certificates: bool = "useHostCertificates",
        /// Machines kept stopped in reserve.
        unused warm_pool: Anything = "warmPool",
    }
}

choice! {
    /// The cloud.
    CloudProvider("cloud provider") {
        /// Amazon Web Services.
        Aws = "aws",
    }
}

object! {
    /// How the API server is reached: through a load balancer, or by DNS names of its machines.
    ApiSpec {
        /// DNS names the control plane's machines.
        used dns: Anything = "dns",
        /// A network load balancer in front of the control plane.
        used load_balancer: ApiLoadBalancerSpec = "loadBalancer",
    }
}

object! {
    /// The API's load balancer.
    ApiLoadBalancerSpec {
        /// `Network`, also when left out; kcl makes no classic load balancers.
        used class: LoadBalancerClass = "class",
        /// `Public` (the default) or `Internal`.
        used scheme: LoadBalancerType = "type",
        /// A setting of classic load balancers.
        unused idle_timeout_seconds: i64 = "idleTimeoutSeconds",
        /// A setting of classic load balancers.
        used security_group_override: String = "securityGroupOverride",
        /// Security groups of your own beside the cluster's: `sg-...`.
        used additional_security_groups: List<String> = "additionalSecurityGroups",
        /// Machines reach the API through it as well.
        used use_for_internal_api: bool = "useForInternalApi",
        /// ARN of an ACM certificate: TLS ends at the load balancer.
        used ssl_certificate: String = "sslCertificate",
        /// The TLS policy of that listener.
        used ssl_policy: String = "sslPolicy",
        /// Every target in every zone gets traffic.
        used cross_zone_load_balancing: bool = "crossZoneLoadBalancing",
        /// The subnets it stands in.
        used subnets: List<LoadBalancerSubnetSpec> = "subnets",
        /// Access logs.
        used access_log: AccessLogSpec = "accessLog",
    }
}

choice! {
    /// Kinds of load balancer.
    LoadBalancerClass("load balancer class") {
        /// A network load balancer.
        Network = "Network",
        /// A classic load balancer.
        Classic = "Classic",
    }
}

choice! {
    /// Internet-facing or not.
    LoadBalancerType("load balancer type") {
        /// Internet-facing.
        Public = "Public",
        /// Inside the VPC.
        Internal = "Internal",
    }
}

object! {
    /// A subnet of a load balancer.
    LoadBalancerSubnetSpec {
        /// The subnet's name.
        used name: String = "name",
        /// A fixed private address (internal load balancers).
        used private_ipv4_address: String = "privateIPv4Address",
        /// An Elastic IP, `eipalloc-...` (public load balancers).
        used allocation_id: String = "allocationId",
    }
}

object! {
    /// Access logs of a load balancer.
    AccessLogSpec {
        /// A setting of classic load balancers.
        unused interval: i64 = "interval",
        /// The S3 bucket.
        used bucket: String = "bucket",
        /// The prefix in it.
        used bucket_prefix: String = "bucketPrefix",
    }
}

object! {
    /// How etcd's backups are kept; the rest are options of kOps' etcd manager.
    EtcdManagerSpec {
        /// For how many days a backup of each day is kept; 90 by default.
        used backup_retention_days: i64 = "backupRetentionDays",
        /// How often backups are taken: every 15 minutes, always.
        unused backup_interval: String = "backupInterval",
        /// How often discovery runs.
        unused discovery_poll_interval: String = "discoveryPollInterval",
        /// Environment variables.
        unused env: List<Anything> = "env",
        /// Its image.
        unused image: String = "image",
        /// Addresses to listen on for metrics.
        unused listen_metrics_urls: List<String> = "listenMetricsURLs",
        /// How much is logged.
        unused log_level: Scalar = "logLevel",
    }
}

object! {
    /// One etcd cluster.
    EtcdClusterSpec {
        /// `main`, `events` or `cilium`.
        used name: String = "name",
        /// How etcd is run.
        unused_unless(is_manager) provider: String = "provider",
        /// One member per control-plane group; an odd number.
        used members: List<EtcdMemberSpec> = "etcdMembers",
        /// Means nothing; TLS is always on.
        inert enable_etcd_tls: bool = "enableEtcdTLS",
        /// Means nothing; TLS is always on.
        inert enable_tls_auth: bool = "enableTLSAuth",
        /// etcd's version.
        unused version: String = "version",
        /// Timeout of leader elections.
        unused leader_election_timeout: Scalar = "leaderElectionTimeout",
        /// Interval of heartbeats.
        unused heartbeat_interval: Scalar = "heartbeatInterval",
        /// etcd's image.
        unused image: String = "image",
        /// Backups.
        unused backups: Anything = "backups",
        /// How backups are kept.
        used manager: EtcdManagerSpec = "manager",
        /// Memory that is reserved.
        unused memory_request: Scalar = "memoryRequest",
        /// CPU that is reserved.
        unused cpu_request: Scalar = "cpuRequest",
    }
}

object! {
    /// One member of an etcd cluster.
    EtcdMemberSpec {
        /// The member's name.
        used name: String = "name",
        /// The control-plane group it runs on.
        used instance_group: String = "instanceGroup",
        /// EBS type of its volume; `gp3` by default.
        used volume_type: VolumeTypeSpec = "volumeType",
        /// IOPS of its volume (gp3, io1, io2); 3000 by default.
        used volume_iops: i64 = "volumeIops",
        /// Throughput of its volume in MiB/s (gp3); 125 by default.
        used volume_throughput: i64 = "volumeThroughput",
        /// Size of its volume in GiB; 20 by default.
        used volume_size: i64 = "volumeSize",
        /// KMS key of its volume.
        used kms_key_id: String = "kmsKeyId",
        /// Its volume is encrypted; true by default.
        used encrypted_volume: bool = "encryptedVolume",
    }
}

object! {
    /// Permissions of machines and service accounts.
    IamSpec {
        /// Permissions as kOps gave them long ago.
        unused_unless(is_false) legacy: bool = "legacy",
        /// Machines may pull from ECR.
        used allow_container_registry: bool = "allowContainerRegistry",
        /// ARN of the permissions boundary of every role.
        used permissions_boundary: String = "permissionsBoundary",
        /// Cluster components use roles of their own.
        used use_service_account_external_permissions: bool = "useServiceAccountExternalPermissions",
        /// Roles for your service accounts.
        used service_account_external_permissions: List<ServiceAccountSpec> = "serviceAccountExternalPermissions",
    }
}

object! {
    /// The IAM role of a service account.
    ServiceAccountSpec {
        /// The service account's name.
        used name: String = "name",
        /// Its namespace; may hold `*`.
        used namespace: String = "namespace",
        /// What it may do in AWS.
        used aws: AwsPermissionSpec = "aws",
    }
}

object! {
    /// What a service account may do in AWS: one of the two.
    AwsPermissionSpec {
        /// ARNs of managed policies.
        used policy_arns: List<String> = "policyARNs",
        /// A JSON array of IAM statements.
        used inline_policy: String = "inlinePolicy",
    }
}

object! {
    /// The public OIDC documents of the cluster's service-account issuer.
    IssuerDiscoverySpec {
        /// Where they are published, readable by anyone: `s3://bucket/prefix`. A bucket of its own,
        /// without dots in its name, and not the state store's.
        used discovery_store: String = "discoveryStore",
        /// An IAM OIDC provider trusts the issuer.
        used enable_aws_oidc_provider: bool = "enableAWSOIDCProvider",
        /// Audiences beside `amazonaws.com`.
        used additional_audiences: List<String> = "additionalAudiences",
    }
}

object! {
    /// The pod network: exactly one of these. kcl installs flannel; others come with a `Manifest` document of
    /// that name.
    NetworkingSpec {
        /// Your own: kcl installs none.
        used cni: Anything = "cni",
        /// Flannel.
        used flannel: FlannelSpec = "flannel",
        /// Calico.
        unused_unless(no_options) calico: Anything = "calico",
        /// Cilium.
        unused_unless(no_options) cilium: Anything = "cilium",
        /// The AWS VPC CNI: pods have addresses of the VPC.
        unused_unless(no_options) amazon_vpc: Anything = "amazonvpc",
        /// kindnet.
        unused_unless(no_options) kindnet: Anything = "kindnet",
        /// kube-router.
        unused_unless(no_options) kube_router: Anything = "kuberouter",
        /// Canal.
        unused_unless(no_options) canal: Anything = "canal",
        /// kubenet.
        unused kubenet: Anything = "kubenet",
        /// Removed from Kubernetes.
        used classic: Anything = "classic",
        /// Your own over kubenet.
        used external: Anything = "external",
        /// No longer made.
        used kopeio: Anything = "kopeio",
        /// No longer made.
        used weave: Anything = "weave",
        /// No longer made.
        used romana: Anything = "romana",
        /// No longer made.
        used lyft_vpc: Anything = "lyftvpc",
        /// Google Cloud's own.
        used gce: Anything = "gce",
    }
}

object! {
    /// Draining of machines that AWS is about to take away.
    NodeTerminationHandlerSpec {
        /// It runs; true by default.
        used enabled: bool = "enabled",
        /// It listens to an SQS queue; true by default.
        used enable_sqs_termination_draining: bool = "enableSQSTerminationDraining",
        /// Drain before spot interruptions; true by default.
        used enable_spot_interruption_draining: bool = "enableSpotInterruptionDraining",
        /// Drain before scheduled maintenance; true by default.
        used enable_scheduled_event_draining: bool = "enableScheduledEventDraining",
        /// Cordon at rebalance recommendations.
        used enable_rebalance_monitoring: bool = "enableRebalanceMonitoring",
        /// Drain at rebalance recommendations.
        used enable_rebalance_draining: bool = "enableRebalanceDraining",
        /// Publish metrics.
        used prometheus_enable: bool = "prometheusEnable",
        /// Publish metrics, in the newer spelling.
        used enable_prometheus_metrics: bool = "enablePrometheusMetrics",
        /// Take machines out of load balancers first; true by default.
        used exclude_from_load_balancers: bool = "excludeFromLoadBalancers",
        /// The tag of the machines it may touch; `aws-node-termination-handler/managed` by default.
        used managed_asg_tag: String = "managedASGTag",
        /// Seconds that pods get to stop; a negative number, the default: what each asks for.
        used pod_termination_grace_period: i64 = "podTerminationGracePeriod",
        /// Taint machines too.
        used taint_node: bool = "taintNode",
        /// Forget messages about machines that are no nodes.
        used delete_sqs_msg_if_node_not_found: bool = "deleteSQSMsgIfNodeNotFound",
        /// CPU that is reserved; 50m by default.
        used cpu_request: Scalar = "cpuRequest",
        /// Memory that is reserved; 64Mi by default.
        used memory_request: Scalar = "memoryRequest",
        /// The tag of its image.
        used version: String = "version",
        /// A ConfigMap with the webhook's template.
        unused webhook_template_config_map_name: String = "webhookTemplateConfigMapName",
        /// A webhook to call.
        unused webhook_url: String = "webhookURL",
    }
}

object! {
    /// One subnet.
    SubnetSpec {
        /// Its name in this cluster.
        used name: String = "name",
        /// Its availability zone: `eu-north-1a`. The region follows from it.
        used zone: String = "zone",
        /// Google Cloud's subnets have a region.
        unused region: String = "region",
        /// Its IPv4 range, inside the VPC's.
        used cidr: String = "cidr",
        /// Its IPv6 range.
        unused ipv6_cidr: String = "ipv6CIDR",
        /// A subnet of your own, `subnet-...`: used, never changed.
        used id: String = "id",
        /// How traffic leaves a private subnet: nothing for a NAT gateway of kcl's, or `nat-...`,
        /// `eipalloc-...`, `i-...`, `tgw-...`, `External`.
        used egress: String = "egress",
        /// What it is for.
        used subnet_type: SubnetTypeSpec = "type",
        /// An Elastic IP of your own for the NAT gateway.
        used public_ip: String = "publicIP",
        /// Routes of your own.
        used additional_routes: List<RouteSpec> = "additionalRoutes",
    }
}

choice! {
    /// What a subnet is for.
    SubnetTypeSpec("subnet type") {
        /// Machines with public addresses.
        Public = "Public",
        /// Machines without.
        Private = "Private",
        /// NAT gateways, public load balancers and bastions.
        Utility = "Utility",
    }
}

object! {
    /// A route of your own.
    RouteSpec {
        /// Destination.
        used cidr: String = "cidr",
        /// `pcx-...`, `i-...`, `nat-...`, `tgw-...`, `igw-...` or `eigw-...`.
        used target: String = "target",
    }
}

object! {
    /// DNS and bastions.
    TopologySpec {
        /// Follows from the subnets' types.
        inert masters: String = "masters",
        /// Follows from the subnets' types.
        inert control_plane: String = "controlPlane",
        /// Follows from the subnets' types.
        inert nodes: String = "nodes",
        /// How the API's name is published.
        used dns: DnsSpec = "dns",
        /// The load balancer in front of the bastions.
        used bastion: BastionSpec = "bastion",
    }
}

object! {
    /// How the API's name is published.
    DnsSpec {
        /// `Public` or `Private`: the kind of hosted zone; `None`: not at all.
        used dns_type: DnsTypeSpec = "type",
    }
}

choice! {
    /// How the API's name is published.
    DnsTypeSpec("DNS type") {
        /// In a public hosted zone.
        Public = "Public",
        /// In a private hosted zone.
        Private = "Private",
        /// Not at all.
        None = "None",
    }
}

object! {
    /// The load balancer in front of the bastions.
    BastionSpec {
        /// The name it is published under.
        used public_name: String = "bastionPublicName",
        /// Means nothing for network load balancers.
        inert idle_timeout_seconds: i64 = "idleTimeoutSeconds",
        /// The load balancer.
        used load_balancer: BastionLoadBalancerSpec = "loadBalancer",
    }
}

object! {
    /// The load balancer in front of the bastions.
    BastionLoadBalancerSpec {
        /// Security groups of your own beside the cluster's: `sg-...`.
        used additional_security_groups: List<String> = "additionalSecurityGroups",
        /// `Public` or `Internal`.
        used scheme: LoadBalancerType = "type",
    }
}
