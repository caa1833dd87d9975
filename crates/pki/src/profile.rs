//! The kinds of certificate that a cluster needs, as kubeadm has them: who signs one, what it is called, what it
//! is good for.
//!
//! See <https://kubernetes.io/docs/setup/best-practices/certificates/>.

use std::net::IpAddr;

use rcgen::ExtendedKeyUsagePurpose;

use crate::error::{IssueError, excerpt};
use crate::layout::KeysetName;

/// Longest common name and organization, in characters: the upper bounds of RFC 5280.
const MAX_NAME: usize = 64;

/// Longest DNS name, and longest part of one between dots, in bytes.
const MAX_DNS_NAME: usize = 253;
const MAX_DNS_LABEL: usize = 63;

/// What a server is reached by.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SubjectAltNames {
    /// DNS names; the first label may be `*`.
    pub dns: Vec<String>,
    /// Addresses.
    pub ips: Vec<IpAddr>,
}

/// What a certificate is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Profile {
    /// A client of the API server: a person, or a component with a kubeconfig.
    ApiClient {
        /// The user it is to Kubernetes.
        user: String,
        /// The group the user is in, for example `kubeadm:cluster-admins`.
        group: Option<String>,
    },
    /// What the API server serves with. Its names are the caller's to give, `kubernetes.default.svc` and the
    /// first service address among them.
    ApiServer(SubjectAltNames),
    /// What the API server shows to kubelets.
    ApiServerKubeletClient {
        /// The group that kubelets let in.
        group: Option<String>,
    },
    /// What the API server shows to the servers it forwards requests to.
    FrontProxyClient,
    /// What an etcd member serves with.
    EtcdServer {
        /// The machine's name as a node.
        node: String,
        /// What it is reached by, `localhost` and its addresses among them.
        alt_names: SubjectAltNames,
    },
    /// What etcd members show to each other.
    EtcdPeer {
        /// The machine's name as a node.
        node: String,
        /// What it is reached by.
        alt_names: SubjectAltNames,
    },
    /// What the API server shows to etcd.
    ApiServerEtcdClient,
    /// What the liveness probe of etcd shows to it.
    EtcdHealthcheckClient,
}

/// A profile's subject and names, checked.
pub(crate) struct Subject<'a> {
    pub(crate) common_name: &'a str,
    pub(crate) organization: Option<&'a str>,
    pub(crate) dns: Vec<&'a str>,
    pub(crate) ips: Vec<IpAddr>,
}

impl Profile {
    /// Its name, which is kubeadm's.
    pub fn name(&self) -> &'static str {
        match self {
            Self::ApiClient { .. } => "API client",
            Self::ApiServer(_) => "apiserver",
            Self::ApiServerKubeletClient { .. } => "apiserver-kubelet-client",
            Self::FrontProxyClient => "front-proxy-client",
            Self::EtcdServer { .. } => "etcd-server",
            Self::EtcdPeer { .. } => "etcd-peer",
            Self::ApiServerEtcdClient => "apiserver-etcd-client",
            Self::EtcdHealthcheckClient => "etcd-healthcheck-client",
        }
    }

    /// Who signs it.
    pub fn authority(&self) -> KeysetName {
        match self {
            Self::ApiClient { .. } | Self::ApiServer(_) | Self::ApiServerKubeletClient { .. } => {
                KeysetName::KubernetesCa
            }
            Self::FrontProxyClient => KeysetName::FrontProxyCa,
            Self::EtcdServer { .. }
            | Self::EtcdPeer { .. }
            | Self::ApiServerEtcdClient
            | Self::EtcdHealthcheckClient => KeysetName::EtcdCa,
        }
    }

    /// The path of kubeadm's files for it, without `.crt` and `.key`, relative to `/etc/kubernetes/pki`; nothing
    /// for what stands in a kubeconfig.
    pub fn kubeadm_file(&self) -> Option<&'static str> {
        match self {
            Self::ApiClient { .. } => None,
            Self::ApiServer(_) => Some("apiserver"),
            Self::ApiServerKubeletClient { .. } => Some("apiserver-kubelet-client"),
            Self::FrontProxyClient => Some("front-proxy-client"),
            Self::EtcdServer { .. } => Some("etcd/server"),
            Self::EtcdPeer { .. } => Some("etcd/peer"),
            Self::ApiServerEtcdClient => Some("apiserver-etcd-client"),
            Self::EtcdHealthcheckClient => Some("etcd/healthcheck-client"),
        }
    }

    /// What it may be used for.
    pub(crate) fn usages(&self) -> Vec<ExtendedKeyUsagePurpose> {
        match self {
            Self::ApiServer(_) => vec![ExtendedKeyUsagePurpose::ServerAuth],
            // An etcd member is also a client: of its own server, by way of the gateway, and of its peers.
            Self::EtcdServer { .. } | Self::EtcdPeer { .. } => {
                vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth]
            }
            Self::ApiClient { .. }
            | Self::ApiServerKubeletClient { .. }
            | Self::FrontProxyClient
            | Self::ApiServerEtcdClient
            | Self::EtcdHealthcheckClient => vec![ExtendedKeyUsagePurpose::ClientAuth],
        }
    }

    /// Its subject and names, if a certificate can have them.
    pub(crate) fn subject(&self) -> Result<Subject<'_>, IssueError> {
        let (common_name, organization, alt_names) = match self {
            Self::ApiClient { user, group } => (user.as_str(), group.as_deref(), None),
            Self::ApiServer(alt_names) => ("kube-apiserver", None, Some(alt_names)),
            Self::ApiServerKubeletClient { group } => {
                ("kube-apiserver-kubelet-client", group.as_deref(), None)
            }
            Self::FrontProxyClient => ("front-proxy-client", None, None),
            Self::EtcdServer { node, alt_names } | Self::EtcdPeer { node, alt_names } => {
                (node.as_str(), None, Some(alt_names))
            }
            Self::ApiServerEtcdClient => ("kube-apiserver-etcd-client", None, None),
            Self::EtcdHealthcheckClient => ("kube-etcd-healthcheck-client", None, None),
        };
        self.check("a common name", common_name, name_fault(common_name))?;
        if let Some(organization) = organization {
            self.check("an organization", organization, name_fault(organization))?;
        }
        let mut subject = Subject { common_name, organization, dns: Vec::new(), ips: Vec::new() };
        if let Some(alt_names) = alt_names {
            self.add_alt_names(&mut subject, alt_names)?;
        }
        Ok(subject)
    }

    /// Adds each name once, in the order given.
    fn add_alt_names<'a>(
        &self,
        subject: &mut Subject<'a>,
        alt_names: &'a SubjectAltNames,
    ) -> Result<(), IssueError> {
        if alt_names.dns.is_empty() && alt_names.ips.is_empty() {
            return Err(IssueError::NoAltNames { profile: self.name() });
        }
        for name in &alt_names.dns {
            self.check("a DNS name", name, dns_fault(name))?;
            if !subject.dns.contains(&name.as_str()) {
                subject.dns.push(name);
            }
        }
        for ip in &alt_names.ips {
            if !subject.ips.contains(ip) {
                subject.ips.push(*ip);
            }
        }
        Ok(())
    }

    fn check(&self, field: &'static str, found: &str, fault: Option<&'static str>) -> Result<(), IssueError> {
        match fault {
            None => Ok(()),
            Some(reason) => {
                Err(IssueError::Name { profile: self.name(), field, found: excerpt(found), reason })
            }
        }
    }
}

/// Why a text cannot be part of a subject.
fn name_fault(name: &str) -> Option<&'static str> {
    if name.trim().is_empty() {
        Some("it is empty")
    } else if name.chars().count() > MAX_NAME {
        Some("it has more than 64 characters")
    } else if name.chars().any(char::is_control) {
        Some("it has a control character")
    } else {
        None
    }
}

/// Why a text cannot be a DNS name in a certificate.
fn dns_fault(name: &str) -> Option<&'static str> {
    let labels = name.strip_prefix("*.").unwrap_or(name);
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    if name.len() > MAX_DNS_NAME {
        Some("it has more than 253 characters")
    } else if labels.split('.').any(|label| label.is_empty() || label.len() > MAX_DNS_LABEL) {
        Some("each part between its dots must have 1 to 63 characters")
    } else if !labels.split('.').all(|label| label.bytes().all(allowed)) {
        Some("it has a character that is not a letter, a digit, `-` or `_`")
    } else {
        None
    }
}
