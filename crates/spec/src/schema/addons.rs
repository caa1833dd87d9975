//! What `kind: Cluster` says of the components that run in the cluster.

use crate::node::Node;
use crate::read::{Anything, Dict, List, Scalar, choice, is_false, is_true, object};

/// The cloud is not a choice.
fn is_aws(node: &Node) -> bool {
    matches!(&node.value, crate::node::Value::Text(text, _) if text == "aws")
}

object! {
    /// An address of a manifest, as kOps takes it.
    AddonSpec {
        /// The manifest's address.
        used manifest: String = "manifest",
    }
}

object! {
    /// Mirrors of images and files.
    AssetsSpec {
        /// A registry that passes on what others have: `proxy.example.com`. Images keep their path.
        used container_proxy: String = "containerProxy",
        /// A registry that has copies of all images: `registry.example.com/mirror`.
        used container_registry: String = "containerRegistry",
        /// A web server that has the release files under their own paths: `https://files.example.com/mirror`.
        used file_repository: String = "fileRepository",
    }
}

object! {
    /// How users are authenticated, beside client certificates.
    AuthenticationSpec {
        /// By their IAM identity.
        used aws: AwsAuthenticationSpec = "aws",
        /// By kOps' own authenticator.
        unused kopeio: Anything = "kopeio",
        /// By an OIDC provider.
        unused oidc: Anything = "oidc",
    }
}

object! {
    /// aws-iam-authenticator: IAM identities as users of the cluster.
    AwsAuthenticationSpec {
        /// Where mappings are read from: `MountedFile` (the default), `EKSConfigMap`, `CRD`, or several of
        /// them with commas between.
        used backend_mode: String = "backendMode",
        /// The cluster's id in tokens; its name by default.
        used cluster_id: String = "clusterID",
        /// Limit of CPU.
        used cpu_limit: Scalar = "cpuLimit",
        /// CPU that is reserved.
        used cpu_request: Scalar = "cpuRequest",
        /// Who IAM identities are in the cluster.
        used identity_mappings: List<IdentityMappingSpec> = "identityMappings",
        /// Its image.
        used image: String = "image",
        /// Limit of memory.
        used memory_limit: Scalar = "memoryLimit",
        /// Memory that is reserved.
        used memory_request: Scalar = "memoryRequest",
    }
}

object! {
    /// An IAM identity as a user of the cluster.
    IdentityMappingSpec {
        /// ARN of an IAM role or user.
        used arn: String = "arn",
        /// The user's groups.
        used groups: List<String> = "groups",
        /// The user's name.
        used username: String = "username",
    }
}

object! {
    /// Options of the cloud provider.
    CloudConfigSpec {
        /// The EBS CSI driver.
        used aws_ebs_csi_driver: EbsCsiDriverSpec = "awsEBSCSIDriver",
        /// Azure's.
        unused azure: Anything = "azure",
        /// Load balancers of Services get no security group of their own.
        unused_unless(is_false) disable_security_group_ingress: bool = "disableSecurityGroupIngress",
        /// The security group of every load balancer of a Service.
        unused elb_security_group: String = "elbSecurityGroup",
        /// Google Cloud's.
        unused gce_service_account: String = "gceServiceAccount",
        /// Google Cloud's.
        unused gcp_pd_csi_driver: Anything = "gcpPDCSIDriver",
        /// StorageClasses are made, one of them the default; true by default.
        used manage_storage_classes: bool = "manageStorageClasses",
        /// Google Cloud's.
        unused multizone: bool = "multizone",
        /// Google Cloud's.
        unused node_instance_prefix: String = "nodeInstancePrefix",
        /// Families of the nodes' addresses.
        unused node_ip_families: List<String> = "nodeIPFamilies",
        /// Google Cloud's.
        unused node_tags: String = "nodeTags",
        /// OpenStack's.
        unused openstack: Anything = "openstack",
        /// Spot's own.
        unused spotinst_orientation: String = "spotinstOrientation",
        /// Spot's own.
        unused spotinst_product: String = "spotinstProduct",
        /// vSphere's; means nothing.
        inert v_sphere_core_dns_server: String = "vSphereCoreDNSServer",
        /// vSphere's; means nothing.
        inert v_sphere_datacenter: String = "vSphereDatacenter",
        /// vSphere's; means nothing.
        inert v_sphere_datastore: String = "vSphereDatastore",
        /// vSphere's; means nothing.
        inert v_sphere_password: String = "vSpherePassword",
        /// vSphere's; means nothing.
        inert v_sphere_resource_pool: String = "vSphereResourcePool",
        /// vSphere's; means nothing.
        inert v_sphere_server: String = "vSphereServer",
        /// vSphere's; means nothing.
        inert v_sphere_username: String = "vSphereUsername",
    }
}

object! {
    /// The EBS CSI driver.
    EbsCsiDriverSpec {
        /// It runs; true by default.
        used enabled: bool = "enabled",
        /// kcl installs it; true by default. False: you do.
        used managed: bool = "managed",
        /// Annotations of its pods.
        used pod_annotations: Dict<String> = "podAnnotations",
        /// The tag of its image.
        used version: String = "version",
        /// Most volumes of a machine; from its type by default.
        used volume_attach_limit: i64 = "volumeAttachLimit",
    }
}

object! {
    /// The AWS cloud controller manager, which always runs.
    CloudControllerManagerSpec {
        /// It gives nodes their range of pods.
        unused allocate_node_cidrs: bool = "allocateNodeCIDRs",
        /// It starts where no machine carries the cluster's tag.
        unused_unless(is_false) allow_untagged_cloud: bool = "allowUntaggedCloud",
        /// How it gives nodes their range of pods.
        unused cidr_allocator_type: String = "cidrAllocatorType",
        /// `aws`
        unused_unless(is_aws) cloud_provider: String = "cloudProvider",
        /// The range of pods.
        unused cluster_cidr: String = "clusterCIDR",
        /// The cluster's name in tags.
        unused cluster_name: String = "clusterName",
        /// It writes routes to pods into the VPC's route tables; by default where the pod network needs it.
        used configure_cloud_routes: bool = "configureCloudRoutes",
        /// The controllers to run: names, `*` for all, `-name` for all but one.
        used controllers: List<String> = "controllers",
        /// CPU that is reserved; 200m by default.
        used cpu_request: Scalar = "cpuRequest",
        /// Migration from the controller manager.
        unused enable_leader_migration: bool = "enableLeaderMigration",
        /// Its image.
        used image: String = "image",
        /// Election of the one that works.
        unused leader_election: Anything = "leaderElection",
        /// Verbosity, 0 to 10; 2 by default.
        used log_level: i64 = "logLevel",
        /// The API's address.
        unused master: String = "master",
        /// How often it writes the nodes' status.
        unused node_status_update_frequency: String = "nodeStatusUpdateFrequency",
        /// Each controller has a service account of its own.
        unused_unless(is_true) use_service_account_credentials: bool = "useServiceAccountCredentials",
    }
}

object! {
    /// metrics-server.
    MetricsServerSpec {
        /// It runs; false by default.
        used enabled: bool = "enabled",
        /// Its image.
        used image: String = "image",
        /// The kubelets' certificates are not verified; true by default.
        used insecure: bool = "insecure",
    }
}

object! {
    /// The cluster autoscaler.
    ClusterAutoscalerSpec {
        /// It knows no instance type but those it was built with.
        unused_unless(is_false) aws_use_static_instance_list: bool = "awsUseStaticInstanceList",
        /// Similar groups are kept at similar sizes; false by default.
        used balance_similar_node_groups: bool = "balanceSimilarNodeGroups",
        /// Machines are cordoned before they go; true by default.
        used cordon_node_before_terminating: bool = "cordonNodeBeforeTerminating",
        /// CPU that is reserved; 100m by default.
        used cpu_request: Scalar = "cpuRequest",
        /// Priorities of groups are made of their `autoscalePriority`; true by default.
        used create_priority_expander_config: bool = "createPriorityExpanderConfig",
        /// Priorities of groups in place of those: for each number, patterns of auto scaling groups' names.
        used custom_priority_expander_config: Dict<List<String>> = "customPriorityExpanderConfig",
        /// Metrics for each group.
        unused_unless(is_false) emit_per_nodegroup_metrics: bool = "emitPerNodegroupMetrics",
        /// It runs; false by default.
        used enabled: bool = "enabled",
        /// Which group grows: `random` (the default), `least-waste`, `most-pods` or `priority`, or several with
        /// commas between.
        used expander: String = "expander",
        /// DaemonSet pods do not count as use; false by default.
        used ignore_daemon_sets_utilization: bool = "ignoreDaemonSetsUtilization",
        /// Its image.
        used image: String = "image",
        /// How long a machine may take to join; `15m0s` by default.
        used max_node_provision_time: String = "maxNodeProvisionTime",
        /// Memory that is reserved; 300Mi by default.
        used memory_request: Scalar = "memoryRequest",
        /// How long a pod waits before a machine is made for it; `0s` by default.
        used new_pod_scale_up_delay: String = "newPodScaleUpDelay",
        /// Annotations of its pods.
        used pod_annotations: Dict<String> = "podAnnotations",
        /// How long after a machine came none goes; `10m0s` by default.
        used scale_down_delay_after_add: String = "scaleDownDelayAfterAdd",
        /// How long a machine is not needed before it goes; `10m0s` by default.
        used scale_down_unneeded_time: String = "scaleDownUnneededTime",
        /// The same for one that is not ready; `20m0s` by default.
        used scale_down_unready_time: String = "scaleDownUnreadyTime",
        /// A machine used less than this may go; `0.5` by default.
        used scale_down_utilization_threshold: Scalar = "scaleDownUtilizationThreshold",
        /// Machines whose pods have a controller of your own never go; true by default.
        used skip_nodes_with_custom_controller_pods: bool = "skipNodesWithCustomControllerPods",
        /// Machines whose pods have local storage never go; true by default.
        used skip_nodes_with_local_storage: bool = "skipNodesWithLocalStorage",
        /// Machines with pods of `kube-system`, DaemonSets aside, never go; true by default.
        used skip_nodes_with_system_pods: bool = "skipNodesWithSystemPods",
    }
}

object! {
    /// DNS records for Services and Ingresses.
    ExternalDnsSpec {
        /// There are none.
        used disable: bool = "disable",
        /// The priority class of its pods.
        unused priority_class_name: String = "priorityClassName",
        /// Who makes them; nobody by default.
        used provider: ExternalDnsProvider = "provider",
        /// Ingresses get records too; true by default.
        used watch_ingress: bool = "watchIngress",
        /// The only namespace that is watched; all by default.
        used watch_namespace: String = "watchNamespace",
    }
}

choice! {
    /// Who makes DNS records for Services and Ingresses.
    ExternalDnsProvider("provider of DNS records") {
        /// external-dns of Kubernetes' SIGs.
        ExternalDns = "external-dns",
        /// kOps' own, which kcl does not have.
        DnsController = "dns-controller",
        /// Nobody.
        None = "none",
    }
}

object! {
    /// The webhook that hands pods their role. An admission policy of kcl's does that, always.
    PodIdentityWebhookSpec {
        /// Means nothing: pods get their role.
        inert enabled: bool = "enabled",
        /// Means nothing: there is no webhook that could fail.
        inert failure_policy: String = "failurePolicy",
        /// Means nothing: there is no webhook.
        inert replicas: i64 = "replicas",
    }
}

object! {
    /// Flannel.
    FlannelSpec {
        /// How packets travel between machines; `vxlan` by default.
        used backend: FlannelBackendSpec = "backend",
        /// For kernels of long ago; means nothing.
        inert disable_tx_checksum_offloading: bool = "disableTxChecksumOffloading",
        /// How often its iptables rules are written again, in seconds.
        used iptables_resync_seconds: i64 = "iptablesResyncSeconds",
    }
}

choice! {
    /// How flannel's packets travel.
    FlannelBackendSpec("flannel backend") {
        /// By the kernel's VXLAN.
        Vxlan = "vxlan",
        /// By flannel itself: slow, for kernels without VXLAN.
        Udp = "udp",
    }
}
