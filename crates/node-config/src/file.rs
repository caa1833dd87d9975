//! A file of a machine, and where the files are.

use std::fmt;

use serde::Serialize;

use crate::error::ConfigError;

/// A file: where it goes, who may read it, and what is in it, which it does not print: it may be a key.
#[derive(Clone, PartialEq, Eq)]
pub struct File {
    /// An absolute path.
    pub path: String,
    /// Its permissions.
    pub mode: u32,
    /// Its content.
    pub content: String,
}

impl File {
    /// A file that anyone on the machine may read.
    pub(crate) fn open(path: impl Into<String>, content: impl Into<String>) -> Self {
        Self { path: path.into(), mode: 0o644, content: content.into() }
    }

    /// A file for root alone.
    pub(crate) fn private(path: impl Into<String>, content: impl Into<String>) -> Self {
        Self { path: path.into(), mode: 0o600, content: content.into() }
    }
}

impl fmt::Debug for File {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "File({} {:04o}, {} bytes)", self.path, self.mode, self.content.len())
    }
}

/// Where things are on a machine.
pub mod paths {
    /// kubeadm's configuration.
    pub const KUBEADM: &str = "/etc/kubernetes/kubeadm.yaml";
    /// kubeadm's configuration for a further machine of the control plane to join with.
    pub const KUBEADM_JOIN: &str = "/etc/kubernetes/kubeadm-join.yaml";
    /// The cluster administrators' kubeconfig, which kubeadm makes.
    pub const ADMIN: &str = "/etc/kubernetes/admin.conf";
    /// The kubelet's kubeconfig, which it makes of the one below when it joins.
    pub const KUBELET: &str = "/etc/kubernetes/kubelet.conf";
    /// The kubeconfig by which a kubelet that joins asks for a certificate; kubeadm writes it.
    pub const BOOTSTRAP_KUBELET: &str = "/etc/kubernetes/bootstrap-kubelet.conf";
    /// Where the kubelet looks for the manifests of static pods.
    pub const MANIFESTS: &str = "/etc/kubernetes/manifests";
    /// kubeadm's folder of keys.
    pub const PKI: &str = "/etc/kubernetes/pki";
    /// The kubeconfig by which a joining machine finds the cluster and proves that it may join.
    pub const DISCOVERY: &str = "/etc/kubernetes/discovery.conf";
    /// What kubeadm changes in the configuration of components on this machine alone.
    pub const PATCHES: &str = "/etc/kubernetes/patches";
    /// What the API server reads beside kubeadm's own files. The folder is mounted as a whole, so that a
    /// file in it can be replaced.
    pub const API_SERVER: &str = "/etc/kubernetes/apiserver";
    /// Where the API server writes its audit log.
    pub const AUDIT_LOG: &str = "/var/log/kubernetes/audit";
    /// Where the etcd volume is mounted.
    pub const ETCD_VOLUME: &str = "/var/lib/etcd";
    /// etcd's data: not the volume's root, which has a `lost+found`.
    pub const ETCD_DATA: &str = "/var/lib/etcd/data";
    /// containerd's socket.
    pub const CRI_SOCKET: &str = "unix:///run/containerd/containerd.sock";
    /// Programs that are no part of the image.
    pub const BIN: &str = "/usr/local/bin";
    /// runc, which nobody types.
    pub const RUNC: &str = "/usr/local/sbin/runc";
    /// The network plugins.
    pub const CNI_BIN: &str = "/opt/cni/bin";
}

/// A document as YAML.
pub(crate) fn yaml<T: Serialize>(what: &'static str, document: &T) -> Result<String, ConfigError> {
    serde_yaml::to_string(document).map_err(|error| ConfigError::Text { what, why: error.to_string() })
}
