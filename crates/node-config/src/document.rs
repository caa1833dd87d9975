//! The document: what an instance group's machines are told.
//!
//! Takes YAML or JSON; gives a checked [`NodeConfig`]. A field that is not known is refused: a machine that
//! overlooks what it is told is worse than one that says so. Nothing secret stands in it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::depth::is_too_deep;
use crate::error::ConfigError;
use crate::reserve::Resources;
use crate::validate;

/// The version of the document.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum ApiVersion {
    /// The only one so far.
    #[default]
    #[serde(rename = "kcl.dev/v1alpha1")]
    V1Alpha1,
}

/// The kind of the document.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Kind {
    /// A node configuration.
    #[default]
    NodeConfig,
}

/// What a machine is in its cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Role {
    /// Runs etcd and the control plane.
    ControlPlane,
    /// Runs workloads.
    Node,
}

/// Whether a controller in the cluster tells nodes what the cloud knows of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum CloudProvider {
    /// It does: nodes are tainted until it has.
    External,
    /// There is none.
    None,
}

/// What the machines of one instance group are told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NodeConfig {
    /// `kcl.dev/v1alpha1`.
    pub api_version: ApiVersion,
    /// `NodeConfig`.
    pub kind: Kind,
    /// The cluster's name.
    pub cluster: String,
    /// The AWS account that it is in, twelve digits.
    pub account: String,
    /// The instance group's name.
    pub instance_group: String,
    /// What its machines are.
    pub role: Role,
    /// `1.36.3`, without a `v`.
    pub kubernetes_version: String,
    /// Where the cluster's state is.
    pub store: Store,
    /// How the API server is reached, and what the control plane listens on.
    pub api: Api,
    /// What only control-plane machines are told; they always are, and others never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub control_plane: Option<ControlPlane>,
    /// Who issues the tokens of service accounts; kubeadm's choice without.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service_accounts: Option<ServiceAccounts>,
    /// Addresses of pods and services.
    pub network: Network,
    /// The node's labels. The kubelet may not give itself those of other `kubernetes.io` domains.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// The node's taints, beside the control plane's own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub taints: Vec<Taint>,
    /// What the kubelet of this group does differently from others.
    #[serde(default)]
    pub kubelet: Kubelet,
    /// Whether nothing new is placed on a machine in whose place AWS recommends another one. It is told in any case.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub cordon_on_rebalance: bool,
    /// Kernel parameters beside those that Kubernetes needs. Those win where both name one.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub sysctls: BTreeMap<String, String>,
    /// Whether there is a cloud controller.
    pub cloud_provider: CloudProvider,
    /// The files to fetch and install.
    pub assets: Vec<Asset>,
    /// A web server that has the assets under their own paths; they come from nowhere else then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file_repository: Option<String>,
    /// The registry of the control plane's images; `registry.k8s.io` without.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image_repository: Option<String>,
    /// URLs to ask first for the images of a registry, by its host.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub registry_mirrors: BTreeMap<String, Vec<String>>,
}

/// Where the cluster's state is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Store {
    /// The cluster's own folder: `s3://bucket/cluster.example.com`, without a slash at its end. S3 itself says
    /// in which region the bucket is.
    pub location: String,
}

/// The API server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Api {
    /// The name or address that machines reach it by. A control-plane machine is itself what it is there.
    pub endpoint: String,
    /// The port there.
    pub port: u16,
    /// The port that a control-plane machine listens on.
    pub bind_port: u16,
    /// What else its certificate is for: names and addresses.
    #[serde(default, rename = "certSANs", skip_serializing_if = "Vec::is_empty")]
    pub cert_sans: Vec<String>,
    /// The certificates of the cluster's authority, in PEM. The document's own hash is what vouches for them.
    pub ca_bundle: String,
}

/// What a control-plane machine is told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ControlPlane {
    /// The names of the IAM roles whose machines may join the cluster as nodes.
    pub node_roles: Vec<String>,
    /// Which part of etcd is here.
    pub etcd: Etcd,
    /// The names that are kept at the machine's own address, zone by zone; none where a load balancer is the API's.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub dns: Vec<Dns>,
}

/// etcd, as a group's machine has to do with it. The machine's volume is found by these names: it is tagged
/// `k8s.io/etcd/main` with `a/a,b,c`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Etcd {
    /// The member that this group's machine is: `a`.
    pub member: String,
    /// All members, in the order that the volumes' tags have them in.
    pub members: Vec<String>,
    /// How many days a daily snapshot is kept.
    pub backup_retention_days: u32,
}

impl Etcd {
    /// What the volume of the group's member is tagged with.
    pub fn volume_tag(&self) -> String {
        format!("{}/{}", self.member, self.members.join(","))
    }
}

/// Names in a zone of Route53's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Dns {
    /// The hosted zone's id: `Z0123456789ABCDEFGHIJ`.
    pub zone: String,
    /// The names in it.
    pub names: Vec<DnsName>,
}

/// A name and which of the machine's addresses it has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DnsName {
    /// `api.internal.example.com`.
    pub name: String,
    /// Which address.
    pub address: DnsAddress,
}

/// One of a machine's addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum DnsAddress {
    /// Inside the VPC.
    Private,
    /// On the Internet; the one inside the VPC if the machine has none there.
    Public,
}

/// The tokens of service accounts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ServiceAccounts {
    /// The issuer's URL, without a slash at its end.
    pub issuer: String,
    /// The audiences that the API server accepts tokens for.
    pub audiences: Vec<String>,
}

/// Addresses inside the cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Network {
    /// Where pods' addresses come from, unless the network addon has its own.
    #[serde(default, rename = "podCIDR", skip_serializing_if = "Option::is_none")]
    pub pod_cidr: Option<String>,
    /// Where services' addresses come from.
    #[serde(rename = "serviceCIDR")]
    pub service_cidr: String,
    /// `cluster.local`.
    pub dns_domain: String,
    /// The address of the cluster's DNS, one of the services'.
    #[serde(rename = "dnsIP")]
    pub dns_ip: String,
}

/// A node's taint.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Taint {
    /// Its key.
    pub key: String,
    /// Its value.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub value: String,
    /// What it does to pods that do not tolerate it.
    pub effect: TaintEffect,
}

/// What a taint does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum TaintEffect {
    /// They are not placed.
    NoSchedule,
    /// They are placed elsewhere if that can be.
    PreferNoSchedule,
    /// They are also sent away.
    NoExecute,
}

/// What a group's kubelets do in their own way.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Kubelet {
    /// The most pods on a machine; 110 without.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_pods: Option<u32>,
    /// Kept for the kubelet and containerd.
    #[serde(default, skip_serializing_if = "Resources::is_empty")]
    pub kube_reserved: Resources,
    /// Kept for everything else on the machine.
    #[serde(default, skip_serializing_if = "Resources::is_empty")]
    pub system_reserved: Resources,
    /// From when on pods are evicted: `memory.available` to `100Mi` or `5%`. The kubelet's without.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub eviction_hard: BTreeMap<String, String>,
}

/// A file to fetch and what of it goes where.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Asset {
    /// What it is called in messages: `containerd`.
    pub name: String,
    /// Where it is published.
    pub url: String,
    /// Its hash, 64 hexadecimal digits.
    pub sha256: String,
    /// What is installed. A file without a member is the asset itself; else the asset is a gzipped tar archive.
    pub files: Vec<AssetFile>,
}

/// A file that an asset becomes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AssetFile {
    /// Its path in the archive, without `./` before it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub member: Option<String>,
    /// Where it goes: an absolute path.
    pub to: String,
    /// Its permissions: `0755`.
    pub mode: String,
}

impl AssetFile {
    /// Its permissions as a number.
    pub fn permissions(&self) -> Result<u32, ConfigError> {
        validate::mode(&self.mode)
    }
}

/// What kcl writes has some ten kilobytes. Whatever is larger than this is no configuration, and a machine that is
/// starting has little memory to find that out with.
const MAX_BYTES: usize = 4 * 1024 * 1024;

impl NodeConfig {
    /// Reads YAML or JSON and checks every value.
    pub fn parse(text: &str) -> Result<Self, ConfigError> {
        if text.len() > MAX_BYTES {
            let why = format!("it is larger than {} MiB", MAX_BYTES / 1024 / 1024);
            return Err(ConfigError::Syntax { why });
        }
        if is_too_deep(text) {
            return Err(ConfigError::Syntax { why: "its brackets are nested too deeply".to_owned() });
        }
        let config: Self = serde_yaml::from_str(text).map_err(|error| ConfigError::syntax(&error))?;
        validate::check(&config)?;
        Ok(config)
    }

    /// The document as YAML, once it is checked: what `parse` gives it back from.
    pub fn to_yaml(&self) -> Result<String, ConfigError> {
        validate::check(self)?;
        crate::file::yaml("the node configuration", self)
    }

    /// Where the configuration of a group with this hash (64 hexadecimal digits, in lower case) is, relative to
    /// the cluster's folder in the store. A launch template that is older than the newest configuration still
    /// finds its own.
    pub fn path(group: &str, sha256: &str) -> String {
        format!("node/{group}/{sha256}.yaml")
    }

    /// Where an asset is fetched from: its own URL, or the path of that in the file repository.
    pub fn asset_url(&self, asset: &Asset) -> String {
        let Some(repository) = &self.file_repository else { return asset.url.clone() };
        let path = asset.url.split_once("://").and_then(|(_, rest)| rest.split_once('/'));
        let path = path.map_or("", |(_, path)| path);
        format!("{}/{path}", repository.trim_end_matches('/'))
    }

    /// `host:port` of the API server, with brackets around an IPv6 address.
    pub fn api_address(&self) -> String {
        if self.api.endpoint.contains(':') {
            format!("[{}]:{}", self.api.endpoint, self.api.port)
        } else {
            format!("{}:{}", self.api.endpoint, self.api.port)
        }
    }

    /// The name of the images' registry.
    pub(crate) fn images(&self) -> &str {
        self.image_repository.as_deref().unwrap_or("registry.k8s.io")
    }
}
