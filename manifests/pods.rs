//! What the pods of several addons have in common.

use std::collections::BTreeMap;

use kcl_spec::Cluster;
use kcl_spec::cluster::{Container, Role};
use serde::Serialize;
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};

use crate::Inputs;

/// The annotation of pods that says by which role they were made.
const ROLE: &str = "kcl.dev/role";

/// How pods get at AWS.
#[derive(Serialize)]
pub(crate) struct Access {
    /// The role that the service account is annotated with.
    role: Option<String>,
    /// Without a role of its own a pod has the machine's. The metadata service answers one hop far by
    /// default, and so only to the machine's own network.
    host_network: bool,
}

impl Access {
    pub(crate) fn of(inputs: &Inputs<'_>, namespace: &str, account: &str) -> Self {
        let role = inputs.role(namespace, account).map(str::to_owned);
        Self { host_network: role.is_none(), role }
    }

    /// Annotations of the pods: `own`, and the role. It is given to a pod when that is made, and so the pods of an
    /// account whose role becomes another one have to be replaced.
    pub(crate) fn annotations(&self, own: &BTreeMap<String, String>) -> BTreeMap<String, String> {
        let role = self.role.iter().map(|role| (ROLE.to_owned(), role.clone()));
        own.clone().into_iter().chain(role).collect()
    }
}

/// `resources` of a container: the spec's over the addon's own requests. There are no limits but the spec's: a
/// controller that is throttled or killed under load is missed just then.
pub(crate) fn resources(container: &Container, cpu: &str, memory: &str) -> Value {
    let requests = json!({
        "cpu": container.cpu_request.as_deref().unwrap_or(cpu),
        "memory": container.memory_request.as_deref().unwrap_or(memory),
    });
    let limits = [("cpu", &container.cpu_limit), ("memory", &container.memory_limit)];
    let limits =
        limits.into_iter().filter_map(|(name, limit)| Some((name.to_owned(), json!(limit.as_ref()?))));
    let limits: Map<String, Value> = limits.collect();
    let mut resources = json!({ "requests": requests });
    if !limits.is_empty() {
        resources["limits"] = Value::Object(limits);
    }
    resources
}

/// How many pods a controller on the control plane has: a second one takes over at once where there is a
/// second machine for it.
pub(crate) fn control_plane_replicas(cluster: &Cluster) -> u32 {
    cluster.groups(Role::ControlPlane).map(|group| group.min_size).sum::<u32>().clamp(1, 2)
}

/// Changes with the configuration: as an annotation of pods that read it only when they start.
pub(crate) fn checksum(configuration: &str) -> String {
    hex::encode(Sha256::digest(configuration))
}
