//! The keysets of a cluster, where a store keeps them, and which of kubeadm's files they become.
//!
//! A path here is relative to the cluster's folder in the store, with `/` between its parts.

use std::fmt;
use std::str::FromStr;

use crate::error::KeysetError;
use crate::keyset::KeyId;
use crate::{Algorithm, error};

/// What a keyset's keys are for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeysetType {
    /// Certificate authorities: each key has a certificate signed by itself.
    Authority,
    /// Keys that sign tokens: they have no certificate and do not expire.
    SigningKey,
}

impl KeysetType {
    /// The word for it in a stored index.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Authority => "Authority",
            Self::SigningKey => "SigningKey",
        }
    }

    /// Which kind of key it holds.
    pub(crate) fn algorithm(self) -> Algorithm {
        match self {
            Self::Authority => Algorithm::EcdsaP256,
            Self::SigningKey => Algorithm::Rsa,
        }
    }
}

impl fmt::Display for KeysetType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The files of kubeadm that a keyset becomes on a control-plane machine, relative to `/etc/kubernetes/pki`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KubeadmFiles {
    /// The certificates or public keys that are trusted, the primary's first.
    pub public: &'static str,
    /// The primary's private key.
    pub private: &'static str,
}

/// The keysets that every cluster has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum KeysetName {
    /// Signs the API server's certificate and those of its clients.
    KubernetesCa,
    /// Signs the certificates of etcd and of its clients.
    EtcdCa,
    /// Signs the certificate that the API server shows to the servers it forwards requests to.
    FrontProxyCa,
    /// Signs the tokens of service accounts.
    ServiceAccount,
}

impl KeysetName {
    /// All of them, in the order in which they are shown.
    pub const ALL: [Self; 4] = [Self::KubernetesCa, Self::EtcdCa, Self::FrontProxyCa, Self::ServiceAccount];

    /// The name, as in the store and on the command line.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::KubernetesCa => "kubernetes-ca",
            Self::EtcdCa => "etcd-ca",
            Self::FrontProxyCa => "front-proxy-ca",
            Self::ServiceAccount => "service-account",
        }
    }

    /// What its keys are for.
    pub fn keyset_type(self) -> KeysetType {
        match self {
            Self::KubernetesCa | Self::EtcdCa | Self::FrontProxyCa => KeysetType::Authority,
            Self::ServiceAccount => KeysetType::SigningKey,
        }
    }

    /// The common name of its authorities' certificates, which is kubeadm's; nothing for signing keys.
    pub fn common_name(self) -> Option<&'static str> {
        match self {
            Self::KubernetesCa => Some("kubernetes"),
            Self::EtcdCa => Some("etcd-ca"),
            Self::FrontProxyCa => Some("front-proxy-ca"),
            Self::ServiceAccount => None,
        }
    }

    /// The files it becomes.
    pub fn kubeadm_files(self) -> KubeadmFiles {
        match self {
            Self::KubernetesCa => KubeadmFiles { public: "ca.crt", private: "ca.key" },
            Self::EtcdCa => KubeadmFiles { public: "etcd/ca.crt", private: "etcd/ca.key" },
            Self::FrontProxyCa => {
                KubeadmFiles { public: "front-proxy-ca.crt", private: "front-proxy-ca.key" }
            }
            Self::ServiceAccount => KubeadmFiles { public: "sa.pub", private: "sa.key" },
        }
    }

    /// Where its index is: what keys there are and which is the primary one. Nothing secret is in it.
    pub fn index_path(self) -> String {
        format!("pki/private/{self}/keyset.yaml")
    }

    /// Where the private key `id` is. It is written once and never overwritten, before the index that lists it.
    pub fn private_key_path(self, id: &KeyId) -> String {
        format!("pki/private/{self}/{id}.key")
    }

    /// Where what machines need to trust is: certificates, or public keys of the service accounts.
    pub fn bundle_path(self) -> String {
        format!("pki/issued/{self}/bundle.pem")
    }
}

impl fmt::Display for KeysetName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for KeysetName {
    type Err = KeysetError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|name| name.as_str() == text)
            .ok_or_else(|| KeysetError::NoSuchKeyset { name: error::excerpt(text) })
    }
}
