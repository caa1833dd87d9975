//! What runs in the cluster beside Kubernetes itself, and who may do what in it.
//!
//! An addon that is `None` is not wanted. Durations, quantities and images are as the spec has them.

use std::collections::BTreeMap;

use serde::Serialize;

/// The addons that kcl installs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Addons {
    /// Tells Kubernetes about machines, and makes load balancers for Services
    /// (`spec.cloudControllerManager`). On unless the user runs one of their own.
    pub cloud_controller_manager: Option<CloudControllerManager>,
    /// Volumes from EBS (`spec.cloudConfig.awsEBSCSIDriver`); on by default.
    pub ebs_csi_driver: Option<EbsCsiDriver>,
    /// `kubectl top` and the horizontal autoscaler (`spec.metricsServer`); off by default.
    pub metrics_server: Option<MetricsServer>,
    /// Grows and shrinks instance groups (`spec.clusterAutoscaler`); off by default.
    pub cluster_autoscaler: Option<ClusterAutoscaler>,
    /// Drains machines that AWS takes away (`spec.nodeTerminationHandler`); on by default.
    pub node_termination_handler: Option<TerminationHandler>,
    /// DNS records for Services and Ingresses (`spec.externalDns` with `provider: external-dns`).
    pub external_dns: Option<ExternalDns>,
    /// Lets IAM identities in (`spec.authentication.aws`).
    pub iam_authenticator: Option<IamAuthenticator>,
    /// Requests and limits of containers in the namespace `default` that name none, as kOps has it.
    pub limit_range: Option<LimitRange>,
}

impl Addons {
    /// The service accounts of those addons that talk to AWS, each as namespace and name. With
    /// `iam.useServiceAccountExternalPermissions` each has a role of its own.
    pub fn service_accounts(&self) -> Vec<(&'static str, &'static str)> {
        let Self {
            cloud_controller_manager,
            ebs_csi_driver,
            metrics_server: _,
            cluster_autoscaler,
            node_termination_handler,
            external_dns,
            iam_authenticator: _,
            limit_range: _,
        } = self;
        let accounts = [
            (cloud_controller_manager.is_some(), "aws-cloud-controller-manager"),
            (ebs_csi_driver.is_some(), "ebs-csi-controller-sa"),
            (cluster_autoscaler.is_some(), "cluster-autoscaler"),
            (node_termination_handler.is_some(), "aws-node-termination-handler"),
            (external_dns.is_some(), "external-dns"),
        ];
        accounts.into_iter().filter(|(wanted, _)| *wanted).map(|(_, name)| ("kube-system", name)).collect()
    }
}

/// What a container is given, as the spec has it; `None`: the addon's own default.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Container {
    /// The image in place of the one kcl has pinned.
    pub image: Option<String>,
    /// The tag in place of that of the image kcl has pinned (`version`). Never together with `image`.
    pub version: Option<String>,
    /// `requests.cpu`
    pub cpu_request: Option<String>,
    /// `requests.memory`
    pub memory_request: Option<String>,
    /// `limits.cpu`
    pub cpu_limit: Option<String>,
    /// `limits.memory`
    pub memory_limit: Option<String>,
}

/// The AWS cloud controller manager.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct CloudControllerManager {
    /// Its container.
    pub container: Container,
    /// Verbosity; 2 by default.
    pub log_level: Option<u8>,
    /// The controllers to run (`*`, `-service`...); empty: all.
    pub controllers: Vec<String>,
    /// It writes routes of pods into the VPC's route tables; false unless the pod network needs it.
    pub configure_cloud_routes: bool,
}

/// The EBS CSI driver.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct EbsCsiDriver {
    /// The driver's container.
    pub container: Container,
    /// Most volumes of a machine; `None`: the driver finds out.
    pub volume_attach_limit: Option<u32>,
    /// Annotations of its pods.
    pub pod_annotations: BTreeMap<String, String>,
    /// kcl makes StorageClasses, one of them the default (`cloudConfig.manageStorageClasses`).
    pub storage_classes: bool,
}

/// As it runs where the spec says nothing.
impl Default for EbsCsiDriver {
    fn default() -> Self {
        Self {
            container: Container::default(),
            volume_attach_limit: None,
            pod_annotations: BTreeMap::new(),
            storage_classes: true,
        }
    }
}

/// metrics-server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct MetricsServer {
    /// Its container.
    pub container: Container,
    /// It does not verify the kubelets' certificates. kOps' default is true.
    pub insecure: bool,
}

/// The cluster autoscaler; see its FAQ for the meaning of each.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ClusterAutoscaler {
    /// Its container.
    pub container: Container,
    /// `random`, `least-waste`, `most-pods` or `priority`, or several with commas between. Which groups it may
    /// change: [`super::InstanceGroup::autoscale`].
    pub expander: String,
    /// Similar groups are kept at similar sizes.
    pub balance_similar_node_groups: bool,
    /// Stays in the pool of machines that are judged.
    pub skip_nodes_with_system_pods: bool,
    /// Machines whose pods have local storage are never removed.
    pub skip_nodes_with_local_storage: bool,
    /// Machines whose pods have a custom controller are never removed; `None`: its default.
    pub skip_nodes_with_custom_controller_pods: Option<bool>,
    /// DaemonSet pods do not count as use; `None`: its default.
    pub ignore_daemon_sets_utilization: Option<bool>,
    /// A machine used less than this may go: `0.5`.
    pub scale_down_utilization_threshold: String,
    /// `0s`
    pub new_pod_scale_up_delay: String,
    /// `10m0s`
    pub scale_down_delay_after_add: String,
    /// `10m0s`
    pub scale_down_unneeded_time: String,
    /// `20m0s`
    pub scale_down_unready_time: String,
    /// `15m0s`
    pub max_node_provision_time: String,
    /// Machines are cordoned before they go.
    pub cordon_node_before_terminating: bool,
    /// Annotations of its pods.
    pub pod_annotations: BTreeMap<String, String>,
    /// For the expander `priority`: regular expressions of auto scaling groups' names, by priority, a whole
    /// number. Empty where no ConfigMap is wanted.
    pub priorities: BTreeMap<String, Vec<String>>,
}

/// kOps' defaults.
impl Default for ClusterAutoscaler {
    fn default() -> Self {
        Self {
            container: Container::default(),
            expander: "random".to_owned(),
            balance_similar_node_groups: false,
            skip_nodes_with_system_pods: true,
            skip_nodes_with_local_storage: true,
            skip_nodes_with_custom_controller_pods: None,
            ignore_daemon_sets_utilization: None,
            scale_down_utilization_threshold: "0.5".to_owned(),
            new_pod_scale_up_delay: "0s".to_owned(),
            scale_down_delay_after_add: "10m0s".to_owned(),
            scale_down_unneeded_time: "10m0s".to_owned(),
            scale_down_unready_time: "20m0s".to_owned(),
            max_node_provision_time: "15m0s".to_owned(),
            cordon_node_before_terminating: true,
            pod_annotations: BTreeMap::new(),
            priorities: BTreeMap::new(),
        }
    }
}

/// What the termination handler does, beside what [`super::NodeTerminationHandler`] says. `None` among the
/// addons where it is not enabled.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TerminationHandler {
    /// Its container.
    pub container: Container,
    /// Drains at a spot interruption.
    pub spot_interruption_draining: bool,
    /// Drains before a scheduled event.
    pub scheduled_event_draining: bool,
    /// Cordons at a rebalance recommendation.
    pub rebalance_monitoring: bool,
    /// Drains at a rebalance recommendation.
    pub rebalance_draining: bool,
    /// Takes machines out of load balancers before they go.
    pub exclude_from_load_balancers: bool,
    /// Taints machines that are about to go.
    pub taint_node: bool,
    /// Seconds that pods get, in place of their own grace period.
    pub pod_termination_grace_period: Option<i32>,
    /// The port of Prometheus metrics; `None`: there are none.
    pub prometheus_port: Option<u16>,
    /// Messages about machines that are no nodes are removed from the queue.
    pub delete_sqs_message_if_node_not_found: bool,
}

/// external-dns.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ExternalDns {
    /// Ingresses get records, beside Services.
    pub watch_ingress: bool,
    /// The only namespace that is watched; `None`: all.
    pub watch_namespace: Option<String>,
}

impl ExternalDns {
    /// Services of this namespace get records.
    pub fn watches(&self, namespace: &str) -> bool {
        self.watch_namespace.as_deref().is_none_or(|watched| watched == namespace)
    }
}

/// aws-iam-authenticator.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct IamAuthenticator {
    /// Its container.
    pub container: Container,
    /// The cluster's id in tokens; the cluster's name by default.
    pub cluster_id: String,
    /// Where mappings are read from: `MountedFile`, `EKSConfigMap`, `CRD`, comma separated.
    pub backend_mode: Vec<String>,
    /// `spec.authentication.aws.identityMappings`, in the order of the spec.
    pub identity_mappings: Vec<IdentityMapping>,
}

/// An IAM identity as a user of the cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct IdentityMapping {
    /// ARN of a role or user.
    pub arn: String,
    /// The user's name in the cluster.
    pub username: String,
    /// The user's groups.
    pub groups: Vec<String>,
}

/// The default requests of containers in a namespace (a LimitRange).
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LimitRange {
    /// `defaultRequest`: by resource (`cpu`, `memory`).
    pub default_requests: BTreeMap<String, String>,
    /// `default`: limits, by resource.
    pub default_limits: BTreeMap<String, String>,
}

/// Somebody's rights in the cluster (`kcl.dev/v1alpha1` AccessEntry): a binding.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct AccessEntry {
    /// The document's name; the binding's is `kcl:<name>`.
    pub name: String,
    /// Whose.
    pub principal: Principal,
    /// `ClusterRole` or `Role`.
    pub role_kind: RoleKind,
    /// The role's name.
    pub role: String,
    /// Where it counts; empty: everywhere (a ClusterRole only).
    pub namespaces: Vec<String>,
}

/// Whose rights an [`AccessEntry`] gives.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub enum Principal {
    /// ARN of an IAM role or user. Needs [`Addons::iam_authenticator`], which maps it to the group
    /// `kcl:<name of the entry>`.
    Iam(String),
    /// A group, as certificates name it (`O=`), or any other way to log in.
    Group(String),
}

/// Kinds of role.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum RoleKind {
    /// A ClusterRole.
    ClusterRole,
    /// A Role.
    Role,
}

/// What holds in a namespace unless its objects say otherwise (`kcl.dev/v1alpha1` NamespaceDefaults).
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct NamespaceDefaults {
    /// The namespace; the document's name. It is made if it is not there.
    pub namespace: String,
    /// Traffic into pods that no NetworkPolicy allows is refused.
    pub deny_ingress: bool,
    /// Traffic out of pods that no NetworkPolicy allows is refused, but for DNS.
    pub deny_egress: bool,
    /// Requests and limits of containers that name none.
    pub limit_range: Option<LimitRange>,
}

/// A manifest from elsewhere that is applied with the addons (`kcl.dev/v1alpha1` Manifest).
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Manifest {
    /// The document's name. One of the name of the pod network (`calico`...) is that network.
    pub name: String,
    /// `https://...` or `file:///...`
    pub url: String,
    /// SHA-256 of what is at `url`, 64 lower-case hexadecimal digits.
    pub sha256: String,
}
