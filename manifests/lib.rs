//! What kcl puts into every cluster: one folder per addon, embedded.
//!
//! Pure: a cluster and what was looked up of its account in ([`Inputs`]), Kubernetes objects out
//! ([`Manifest`]). Templates are YAML whose every `{{ value }}` is written as JSON, so that nothing in a spec
//! can break out of the place it is put in. Which addon needs what of AWS is said here too
//! ([`Identity`]): the model gives it to a role of its own or to the machines' role.
//!
//! A folder has an addon's templates and a `mod.rs`: when the addon is wanted, the values of its templates,
//! and who it is to AWS. A new addon is a folder and a line in [`ADDONS`]. Images are in [`images`].

#[path = "access-entries/mod.rs"]
mod access_entries;
#[path = "cloud-controller-manager/mod.rs"]
mod cloud_controller_manager;
#[path = "cluster-autoscaler/mod.rs"]
mod cluster_autoscaler;
#[path = "ebs-csi-driver/mod.rs"]
mod ebs_csi_driver;
#[path = "external-dns/mod.rs"]
mod external_dns;
mod flannel;
mod iam;
#[path = "iam-authenticator/mod.rs"]
mod iam_authenticator;
pub mod images;
#[path = "limit-range/mod.rs"]
mod limit_range;
#[path = "metrics-server/mod.rs"]
mod metrics_server;
#[path = "namespace-defaults/mod.rs"]
mod namespace_defaults;
#[path = "nginx-ingress/mod.rs"]
mod nginx_ingress;
#[path = "node-termination-handler/mod.rs"]
mod node_termination_handler;
/// The addon that gives pods their roles.
pub const POD_IDENTITY: &str = "pod-identity";

#[path = "pod-identity/mod.rs"]
mod pod_identity;
mod pods;
mod template;

use std::collections::{BTreeMap, BTreeSet};

use kcl_partition::Partition;
use kcl_spec::Cluster;
use serde_json::Value;

pub use pod_identity::{ROLE_ANNOTATION, TOKEN_AUDIENCE, TOKEN_FILE};

/// What the objects are made from.
#[derive(Clone, Copy, Debug)]
pub struct Inputs<'a> {
    /// The cluster.
    pub cluster: &'a Cluster,
    /// `aws`, `aws-cn`...
    pub partition: &'a str,
    /// The account's number.
    pub account: &'a str,
    /// ARNs of the roles that service accounts assume, by namespace and name; none for one that has none.
    pub roles: &'a BTreeMap<(String, String), String>,
    /// All IPv4 ranges of the VPC.
    pub vpc_cidrs: &'a [String],
    /// The hosted zones that names of the cluster lie in, by id.
    pub zones: &'a [String],
    /// The interruption queue's name; `None`: there is none.
    pub queue: Option<&'a str>,
}

impl Inputs<'_> {
    /// The domain of the services of the account's partition.
    fn dns_suffix(&self) -> &'static str {
        Partition::named(self.partition).dns_suffix
    }

    /// The ARN of the role of a service account that has one.
    fn role(&self, namespace: &str, account: &str) -> Option<&str> {
        self.roles.get(&(namespace.to_owned(), account.to_owned())).map(String::as_str)
    }
}

/// The objects of one addon.
#[derive(Clone, Debug, PartialEq)]
pub struct Manifest {
    /// The addon: its folder's name.
    pub addon: String,
    /// Its objects, each with `apiVersion`, `kind` and `metadata.name`.
    pub objects: Vec<Value>,
}

/// Who an addon is to AWS, where it is anybody.
#[derive(Clone, Debug, PartialEq)]
pub struct Identity {
    /// The namespace of its service account.
    pub namespace: &'static str,
    /// The service account.
    pub service_account: &'static str,
    /// What it may do: statements of an IAM policy.
    pub statements: Vec<Value>,
}

/// What an addon's folder gives.
struct Addon {
    /// The folder's name.
    name: &'static str,
    /// Its objects; none where it is not wanted.
    objects: fn(&Inputs<'_>) -> Result<Vec<Value>, Error>,
    /// Who it is to AWS; `None`: nobody, or it is not wanted.
    identity: fn(&Inputs<'_>) -> Option<Identity>,
}

/// All addons, in the order in which a cluster needs them: what gives pods their roles and their network
/// comes before pods.
const ADDONS: [Addon; 13] = [
    pod_identity::ADDON,
    flannel::ADDON,
    cloud_controller_manager::ADDON,
    iam_authenticator::ADDON,
    ebs_csi_driver::ADDON,
    node_termination_handler::ADDON,
    cluster_autoscaler::ADDON,
    metrics_server::ADDON,
    external_dns::ADDON,
    nginx_ingress::ADDON,
    limit_range::ADDON,
    namespace_defaults::ADDON,
    access_entries::ADDON,
];

/// The manifests of every addon that `inputs` asks for.
pub fn render(inputs: &Inputs<'_>) -> Result<Vec<Manifest>, Error> {
    let mut namespaces = given_namespaces(inputs.cluster);
    let mut manifests = Vec::new();
    for addon in ADDONS {
        let mut objects = (addon.objects)(inputs)?;
        objects.retain(|object| is_wanted(object, &mut namespaces));
        if !objects.is_empty() {
            manifests.push(Manifest { addon: addon.name.to_owned(), objects });
        }
    }
    Ok(manifests)
}

/// Who the addons that `inputs` asks for are to AWS. Reads everything of it but `roles`.
pub fn identities(inputs: &Inputs<'_>) -> Vec<Identity> {
    ADDONS.iter().filter_map(|addon| (addon.identity)(inputs)).collect()
}

/// The namespaces that workloads of the addons run in that `inputs` asks for. An addon that cannot be in this cluster
/// runs nowhere.
pub fn namespaces(inputs: &Inputs<'_>) -> BTreeSet<String> {
    let objects = ADDONS.iter().filter_map(|addon| (addon.objects)(inputs).ok()).flatten();
    let workloads = objects.filter(|object| object["spec"]["template"]["spec"].is_object());
    workloads.filter_map(|object| object["metadata"]["namespace"].as_str().map(str::to_owned)).collect()
}

/// For an addon that calls nothing of AWS.
fn nobody(_: &Inputs<'_>) -> Option<Identity> {
    None
}

/// Two addons may live in one namespace: the first one makes it. The same object applied twice by one field
/// manager would lose the labels that only the first one has.
fn is_wanted(object: &Value, namespaces: &mut BTreeSet<String>) -> bool {
    let is_namespace = object["apiVersion"] == "v1" && object["kind"] == "Namespace";
    !is_namespace || object["metadata"]["name"].as_str().is_none_or(|name| namespaces.insert(name.to_owned()))
}

/// Namespaces that no addon makes: those of Kubernetes itself, which are not restricted for an addon's sake and
/// not removed with it, and those that are objects of the spec.
fn given_namespaces(cluster: &Cluster) -> BTreeSet<String> {
    let own = ["default", "kube-node-lease", "kube-public", "kube-system"].map(str::to_owned);
    let objects = cluster.objects.iter();
    let namespaces = objects.filter(|object| object.api_version == "v1" && object.kind == "Namespace");
    own.into_iter().chain(namespaces.filter_map(|object| object.name.clone())).collect()
}

/// Why an addon cannot be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The cluster's version lacks what the addon is made of.
    #[error("{what} needs Kubernetes {needed} or newer, and the cluster has {version}")]
    Version {
        /// What is wanted.
        what: &'static str,
        /// The first version that has it: `1.36`.
        needed: &'static str,
        /// The cluster's.
        version: String,
    },
    /// A template of kcl is wrong.
    #[error("the template {template} cannot be rendered: {reason}")]
    Template {
        /// Its path in `manifests/`.
        template: String,
        /// Why.
        reason: String,
    },
}
