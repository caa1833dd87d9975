//! The kubelet's configuration.
//!
//! kubeadm keeps one for the whole cluster and gives it to every machine; what differs between groups and
//! machines is a patch that kubeadm applies on the machine itself.

use serde_json::{Map, Value, json};

use crate::document::NodeConfig;
use crate::error::ConfigError;
use crate::file::{self, File, paths};
use crate::kubeadm::Machine;
use crate::security::CIPHERS;

/// More processes than this in one pod are a fork bomb.
const POD_PIDS: u32 = 4096;

impl NodeConfig {
    /// The cluster's: no one gets in without a certificate or a token that the API server vouches for.
    pub(crate) fn kubelet_configuration(&self) -> Value {
        json!({
            "apiVersion": "kubelet.config.k8s.io/v1beta1",
            "kind": "KubeletConfiguration",
            "authentication": {"anonymous": {"enabled": false}, "webhook": {"enabled": true}},
            "authorization": {"mode": "Webhook"},
            "cgroupDriver": "systemd",
            "clusterDNS": [self.network.dns_ip],
            "clusterDomain": self.network.dns_domain,
            "containerLogMaxFiles": 5,
            "containerLogMaxSize": "10Mi",
            "containerRuntimeEndpoint": paths::CRI_SOCKET,
            "enableDebugFlagsHandler": false,
            "enableProfilingHandler": false,
            "eventRecordQPS": 50,
            "failSwapOn": true,
            "makeIPTablesUtilChains": true,
            "maxParallelImagePulls": 3,
            "podPidsLimit": POD_PIDS,
            "protectKernelDefaults": true,
            "readOnlyPort": 0,
            "rotateCertificates": true,
            "seccompDefault": true,
            "serializeImagePulls": false,
            // Within the two minutes that a spot machine has left, after draining.
            "shutdownGracePeriod": "60s",
            "shutdownGracePeriodCriticalPods": "20s",
            "streamingConnectionIdleTimeout": "4h0m0s",
            "tlsCipherSuites": CIPHERS,
            "tlsMinVersion": "VersionTLS12",
        })
    }

    /// kubeadm's patch of it on one machine.
    pub(crate) fn kubelet_patch(&self, machine: &Machine) -> Result<File, ConfigError> {
        let mut patch = Map::new();
        let mut set = |key: &str, value: Value| patch.insert(key.to_owned(), value);
        set("apiVersion", "kubelet.config.k8s.io/v1beta1".into());
        set("kind", "KubeletConfiguration".into());
        set("providerID", machine.provider_id().into());
        // kubeadm would give every machine that of the one which began the cluster.
        set("resolvConf", machine.resolv_conf.as_str().into());
        let kubelet = &self.kubelet;
        if let Some(pods) = kubelet.max_pods {
            set("maxPods", pods.into());
        }
        for (key, resources) in
            [("kubeReserved", &kubelet.kube_reserved), ("systemReserved", &kubelet.system_reserved)]
        {
            if !resources.is_empty() {
                set(key, json!(resources));
            }
        }
        if !kubelet.eviction_hard.is_empty() {
            set("evictionHard", json!(kubelet.eviction_hard));
        }
        let text = file::yaml("the kubelet's patch", &patch)?;
        Ok(File::open(format!("{}/kubeletconfiguration0+strategic.yaml", paths::PATCHES), text))
    }
}
