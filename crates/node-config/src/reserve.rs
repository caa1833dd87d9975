//! What a machine keeps from pods.
//!
//! The kubelet's own default keeps nothing, and a machine of 1 GiB whose pods take it all stops answering.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::document::Kubelet;

/// Amounts of a machine's resources, as Kubernetes spells quantities.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Resources {
    /// `100m`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu: Option<String>,
    /// `128Mi`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<String>,
    /// `1Gi`.
    #[serde(default, rename = "ephemeral-storage", skip_serializing_if = "Option::is_none")]
    pub ephemeral_storage: Option<String>,
}

impl Resources {
    pub(crate) fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

impl Kubelet {
    /// What a machine with so much memory keeps back.
    ///
    /// containerd and the kubelet take about 100 MiB at rest and grow with the number of pods, which grows
    /// with memory: 64 MiB and a sixteenth of the machine, at most 1 GiB. sshd, journald and kcl-node stay
    /// below 100 MiB. A t3.micro (1 GiB) so leaves its pods about two thirds, a t3.small four fifths.
    pub fn for_memory(mebibytes: u64) -> Self {
        let kube = (64 + mebibytes / 16).min(1024);
        let eviction = (mebibytes / 20).clamp(50, 100);
        let reserved = |cpu: &str, memory: u64| Resources {
            cpu: Some(cpu.to_owned()),
            memory: Some(format!("{memory}Mi")),
            ephemeral_storage: Some("1Gi".to_owned()),
        };
        Self {
            max_pods: None,
            kube_reserved: reserved("80m", kube),
            system_reserved: reserved("50m", 100),
            // Those named here replace all of the kubelet's own, so its others are named too.
            eviction_hard: BTreeMap::from([
                ("memory.available".to_owned(), format!("{eviction}Mi")),
                ("nodefs.available".to_owned(), "10%".to_owned()),
                ("nodefs.inodesFree".to_owned(), "5%".to_owned()),
                ("imagefs.available".to_owned(), "15%".to_owned()),
                ("imagefs.inodesFree".to_owned(), "5%".to_owned()),
            ]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_machines_keep_most_of_their_memory_for_pods() {
        let memory = |mebibytes| Kubelet::for_memory(mebibytes).kube_reserved.memory;
        assert_eq!(memory(1024).as_deref(), Some("128Mi"), "t3.micro");
        assert_eq!(memory(2048).as_deref(), Some("192Mi"), "t3.small");
        assert_eq!(memory(8192).as_deref(), Some("576Mi"), "m5.large");
        assert_eq!(memory(1 << 20).as_deref(), Some("1024Mi"), "no machine keeps more");
    }
}
