//! kubeadm's configuration, version v1beta4.

use std::collections::BTreeMap;
use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use zeroize::Zeroizing;

use crate::document::{CloudProvider, NodeConfig, Role, Taint, TaintEffect};
use crate::error::ConfigError;
use crate::file::{self, File, paths};
use crate::security::{self, CIPHERS};

const API_VERSION: &str = "kubeadm.k8s.io/v1beta4";

/// How long the token lives that kubeadm makes at init. Nobody is told it; the least that kubeadm can do
/// is to make one.
const UNUSED_TOKEN_LIFE: &str = "1m0s";

/// Pods that ended are swept away when there are more than this.
const TERMINATED_PODS: &str = "1000";

/// What only the machine knows of itself. The values are AWS' own and are checked where they are read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Machine {
    /// `i-0123456789abcdef0`: also the node's name.
    pub instance_id: String,
    /// `eu-north-1a`.
    pub zone: String,
    /// Its address inside the VPC.
    pub private_ip: std::net::IpAddr,
    /// The file that says which name servers its pods ask.
    pub resolv_conf: String,
}

impl Machine {
    /// How cloud controllers know the machine.
    pub fn provider_id(&self) -> String {
        format!("aws:///{}/{}", self.zone, self.instance_id)
    }
}

/// A kubeadm bootstrap token. It prints nothing of itself and is overwritten when dropped.
#[derive(Clone)]
pub struct JoinToken(Zeroizing<String>);

impl JoinToken {
    /// A token of kubeadm's form, `abcdef.0123456789abcdef`; nothing for anything else.
    pub fn new(text: impl Into<String>) -> Option<Self> {
        let text = Zeroizing::new(text.into());
        let part = |part: &str, length| {
            part.len() == length && part.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit())
        };
        let whole = text.split_once('.').is_some_and(|(id, secret)| part(id, 6) && part(secret, 16));
        whole.then_some(Self(text))
    }
}

impl fmt::Debug for JoinToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JoinToken(not shown)")
    }
}

impl NodeConfig {
    /// What `kubeadm init` is given, on the machine that begins the cluster or comes back to it.
    pub fn kubeadm_init(&self, machine: &Machine) -> Result<File, ConfigError> {
        let init = json!({
            "apiVersion": API_VERSION,
            "kind": "InitConfiguration",
            "bootstrapTokens": [{
                "description": "made by kubeadm and given to nobody",
                "ttl": UNUSED_TOKEN_LIFE,
            }],
            "localAPIEndpoint": self.local_endpoint(machine),
            "nodeRegistration": self.registration(machine),
            "patches": {"directory": paths::PATCHES},
        });
        documents(paths::KUBEADM, &[init, self.cluster_configuration(), self.kubelet_configuration()])
    }

    /// What `kubeadm join` is given. What a worker joins with is in [`Self::discovery`], not here. A machine of the
    /// control plane has the cluster's authorities: it joins as the administrator that kubeadm makes of them, and
    /// keeps this beside what `kubeadm init` is given.
    pub fn kubeadm_join(&self, machine: &Machine) -> Result<File, ConfigError> {
        let mut join = json!({
            "apiVersion": API_VERSION,
            "kind": "JoinConfiguration",
            "nodeRegistration": self.registration(machine),
            "patches": {"directory": paths::PATCHES},
        });
        let (path, discovery) = match self.role {
            Role::Node => (paths::KUBEADM, paths::DISCOVERY),
            Role::ControlPlane => {
                join["controlPlane"] = json!({"localAPIEndpoint": self.local_endpoint(machine)});
                (paths::KUBEADM_JOIN, paths::ADMIN)
            }
        };
        join["discovery"] = json!({"file": {"kubeConfigPath": discovery}});
        documents(path, &[join])
    }

    /// What kubeadm changes in etcd's pod, as its patch. A member that comes back to its data never begins a new
    /// cluster, not even if its data were not there; `forced` makes it one without the others, whatever its
    /// data says of them.
    pub fn etcd_patch(forced: bool) -> Result<File, ConfigError> {
        let flag = |flag: &str| json!({"op": "add", "path": "/spec/containers/0/command/-", "value": flag});
        let mut patch = vec![flag("--initial-cluster-state=existing")];
        if forced {
            patch.push(flag("--force-new-cluster"));
        }
        let text = file::yaml("etcd's patch", &patch)?;
        Ok(File::open(format!("{}/etcd0+json.yaml", paths::PATCHES), text))
    }

    /// The kubeconfig of a joining machine: the cluster's authority as the node configuration has it, and the
    /// token. With the authority given, nothing is asked of an API server that is not known yet, and no one
    /// without a name has to be let in.
    pub fn discovery(&self, token: &JoinToken) -> Result<File, ConfigError> {
        let document = json!({
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": self.cluster, "cluster": {
                "certificate-authority-data": STANDARD.encode(&self.api.ca_bundle),
                "server": format!("https://{}", self.api_address()),
            }}],
            "users": [{"name": "join", "user": {"token": token.0.as_str()}}],
            "contexts": [{"name": "join", "context": {"cluster": self.cluster, "user": "join"}}],
            "current-context": "join",
        });
        Ok(File::private(paths::DISCOVERY, file::yaml("the kubeconfig for joining", &document)?))
    }

    /// What kubeadm reads besides: the patch of the kubelet, and for a control plane what its API server is
    /// given. The key of encryption at rest is not among it ([`crate::EncryptionKey::file`]).
    pub fn component_files(&self, machine: &Machine) -> Result<Vec<File>, ConfigError> {
        let mut files = vec![self.kubelet_patch(machine)?];
        if self.role == Role::ControlPlane {
            files.push(security::audit_policy()?);
            files.push(security::authentication()?);
        }
        Ok(files)
    }

    fn local_endpoint(&self, machine: &Machine) -> Value {
        json!({"advertiseAddress": machine.private_ip.to_string(), "bindPort": self.api.bind_port})
    }

    fn registration(&self, machine: &Machine) -> Value {
        let mut arguments = vec![argument("node-ip", &machine.private_ip.to_string())];
        if self.cloud_provider == CloudProvider::External {
            arguments.push(argument("cloud-provider", "external"));
        }
        if !self.labels.is_empty() {
            let labels: Vec<String> =
                self.labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
            arguments.push(argument("node-labels", &labels.join(",")));
        }
        json!({
            "name": machine.instance_id,
            "criSocket": paths::CRI_SOCKET,
            "imagePullPolicy": "IfNotPresent",
            "imagePullSerial": false,
            "kubeletExtraArgs": arguments,
            "taints": self.all_taints(),
        })
    }

    /// The group's own, and the one that keeps workloads off the control plane. An empty list is given as
    /// such: kubeadm takes a missing one for its default.
    fn all_taints(&self) -> Vec<Taint> {
        let mut taints = self.taints.clone();
        if self.role == Role::ControlPlane {
            taints.push(Taint {
                key: "node-role.kubernetes.io/control-plane".to_owned(),
                value: String::new(),
                effect: TaintEffect::NoSchedule,
            });
        }
        taints.sort();
        taints.dedup();
        taints
    }

    fn cluster_configuration(&self) -> Value {
        let mut networking = json!({
            "serviceSubnet": self.network.service_cidr,
            "dnsDomain": self.network.dns_domain,
        });
        if let Some(pods) = &self.network.pod_cidr {
            networking["podSubnet"] = pods.as_str().into();
        }
        json!({
            "apiVersion": API_VERSION,
            "kind": "ClusterConfiguration",
            "clusterName": self.cluster,
            "kubernetesVersion": format!("v{}", self.kubernetes_version),
            "controlPlaneEndpoint": self.api_address(),
            "imageRepository": self.images(),
            "networking": networking,
            "apiServer": {
                "certSANs": self.cert_sans(),
                "extraArgs": arguments(self.api_server_arguments()),
                "extraVolumes": api_server_volumes(),
            },
            "controllerManager": {"extraArgs": arguments(self.controller_manager_arguments())},
            "scheduler": {"extraArgs": [argument("profiling", "false")]},
            "etcd": {"local": {"dataDir": paths::ETCD_DATA}},
        })
    }

    fn cert_sans(&self) -> Vec<&str> {
        let own = std::iter::once(self.api.endpoint.as_str());
        let mut names: Vec<&str> = own.chain(self.api.cert_sans.iter().map(String::as_str)).collect();
        names.sort_unstable();
        names.dedup();
        names
    }

    fn api_server_arguments(&self) -> BTreeMap<&'static str, String> {
        let folder = paths::API_SERVER;
        let mut arguments = BTreeMap::from([
            ("audit-log-maxage", "30".to_owned()),
            ("audit-log-maxbackup", "10".to_owned()),
            ("audit-log-maxsize", "100".to_owned()),
            ("audit-log-path", format!("{}/audit.log", paths::AUDIT_LOG)),
            ("audit-policy-file", format!("{folder}/audit-policy.yaml")),
            ("authentication-config", format!("{folder}/authentication.yaml")),
            ("encryption-provider-config", format!("{folder}/encryption.yaml")),
            ("encryption-provider-config-automatic-reload", "true".to_owned()),
            ("profiling", "false".to_owned()),
            ("tls-cipher-suites", CIPHERS.join(",")),
            ("tls-min-version", "VersionTLS12".to_owned()),
        ]);
        if let Some(accounts) = &self.service_accounts {
            arguments.insert("service-account-issuer", accounts.issuer.clone());
            arguments.insert("service-account-jwks-uri", format!("{}/openid/v1/jwks", accounts.issuer));
            arguments.insert("api-audiences", accounts.audiences.join(","));
        }
        arguments
    }

    fn controller_manager_arguments(&self) -> BTreeMap<&'static str, String> {
        let mut arguments = BTreeMap::from([
            ("profiling", "false".to_owned()),
            ("terminated-pod-gc-threshold", TERMINATED_PODS.to_owned()),
        ]);
        if self.cloud_provider == CloudProvider::External {
            arguments.insert("cloud-provider", "external".to_owned());
        }
        arguments
    }
}

fn api_server_volumes() -> Value {
    let volume = |name: &str, path: &str, read_only: bool| {
        json!({
            "name": name,
            "hostPath": path,
            "mountPath": path,
            "readOnly": read_only,
            "pathType": "DirectoryOrCreate",
        })
    };
    json!([volume("kcl", paths::API_SERVER, true), volume("audit-log", paths::AUDIT_LOG, false)])
}

fn argument(name: &str, value: &str) -> Value {
    json!({"name": name, "value": value})
}

fn arguments(all: BTreeMap<&'static str, String>) -> Vec<Value> {
    all.into_iter().map(|(name, value)| argument(name, &value)).collect()
}

/// Several documents in one file, for root alone.
fn documents(path: &str, all: &[Value]) -> Result<File, ConfigError> {
    let texts: Result<Vec<String>, ConfigError> =
        all.iter().map(|document| file::yaml("kubeadm's configuration", document)).collect();
    Ok(File::private(path, texts?.join("---\n")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_has_kubeadms_form_and_is_never_shown() {
        let token = JoinToken::new("abcdef.0123456789abcdef");
        assert_eq!(format!("{token:?}"), "Some(JoinToken(not shown))");
        for wrong in
            ["", "abcdef", "abcdef.0123456789abcde", "ABCDEF.0123456789abcdef", "abcdef.0123456789abcde\n"]
        {
            assert!(JoinToken::new(wrong).is_none(), "{wrong:?}");
        }
    }
}
