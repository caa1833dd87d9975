//! How a cluster is: its nodes, and the workloads and pods that it cannot be without.

use std::collections::{BTreeMap, BTreeSet};

use futures::FutureExt as _;
use serde::Serialize;
use serde_json::Value;

use crate::connect::Connection;
use crate::diagnose::{Depth, diagnose, is_healthy, one_line, pod_reasons};
use crate::error::Error;
use crate::object::ObjectRef;
use crate::request::{Request, concurrently, escape};
use crate::wait::{State, Unready, condition, is_observed, said, state};

/// Label of a node: its instance group.
const INSTANCE_GROUP: &str = "kops.k8s.io/instancegroup";
/// Labels of a node: its roles.
const ROLE: &str = "node-role.kubernetes.io/";
/// Pods of this namespace are always looked at.
const SYSTEM: &str = "kube-system";

/// A node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Node {
    /// Its name.
    pub name: String,
    /// `aws:///eu-north-1a/i-0123`; `None` until a cloud controller has seen it.
    pub provider_id: Option<String>,
    /// The machine's id, out of the provider's: `i-0123`.
    pub instance_id: Option<String>,
    /// Label `kops.k8s.io/instancegroup`.
    pub instance_group: Option<String>,
    /// Labels `node-role.kubernetes.io/...`, without their beginning.
    pub roles: Vec<String>,
    /// All labels.
    pub labels: BTreeMap<String, String>,
    /// Its condition `Ready` is `True`.
    pub ready: bool,
    /// Why not: `KubeletNotReady: container runtime network not ready`; empty where it is.
    pub reason: String,
    /// It takes no new pods.
    pub unschedulable: bool,
    /// `v1.36.4`.
    pub kubelet_version: String,
    /// When it joined, as RFC 3339.
    pub created: Option<String>,
}

/// A pod that is not healthy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct UnhealthyPod {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its node, if it has one.
    pub node: Option<String>,
    /// `Pending`, `Running`, `Failed`, `Unknown`.
    pub phase: String,
    /// Why, the most telling first.
    pub reasons: Vec<String>,
}

/// Every node, by name.
pub async fn nodes(connection: &Connection) -> Result<Vec<Node>, Error> {
    let found = connection.list("list the nodes", "/api/v1/nodes", "application/json", &|_| {}).await?;
    let mut nodes: Vec<Node> = found.iter().map(node).collect();
    nodes.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(nodes)
}

fn node(live: &Value) -> Node {
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let labels: BTreeMap<String, String> = live["metadata"]["labels"]
        .as_object()
        .into_iter()
        .flatten()
        .filter_map(|(key, value)| Some((key.clone(), text(value)?)))
        .collect();
    let provider_id = text(&live["spec"]["providerID"]).filter(|id| !id.is_empty());
    let instance = provider_id.as_deref().and_then(|id| id.rsplit('/').next());
    let (ready, reason) = match condition(live, "Ready") {
        Some(ready) if ready["status"] == "True" => (true, String::new()),
        Some(ready) => (false, one_line(&said(ready))),
        None => (false, "its kubelet has not said anything yet".to_owned()),
    };
    Node {
        name: text(&live["metadata"]["name"]).unwrap_or_default(),
        instance_id: instance.filter(|id| id.starts_with("i-")).map(str::to_owned),
        provider_id,
        instance_group: labels.get(INSTANCE_GROUP).cloned(),
        roles: labels.keys().filter_map(|key| key.strip_prefix(ROLE)).map(str::to_owned).collect(),
        labels,
        ready,
        reason,
        unschedulable: live["spec"]["unschedulable"] == true,
        kubelet_version: text(&live["status"]["nodeInfo"]["kubeletVersion"]).unwrap_or_default(),
        created: text(&live["metadata"]["creationTimestamp"]),
    }
}

/// The pods of kube-system, and of the given namespaces, that are not healthy. Those that failed and that a
/// controller has replaced are left out: what counts is the one in their place.
pub async fn system_pods(connection: &Connection, namespaces: &[String]) -> Result<Vec<UnhealthyPod>, Error> {
    let mut all: BTreeSet<&str> = namespaces.iter().map(String::as_str).collect();
    all.insert(SYSTEM);
    let lists = all.into_iter().map(|namespace| {
        async move {
            let doing = format!("list the pods of the namespace {namespace}");
            let path = format!("/api/v1/namespaces/{}/pods", escape(namespace));
            connection.list(&doing, &path, "application/json", &|_| {}).await
        }
        .boxed()
    });
    let lists: Result<Vec<Vec<Value>>, Error> = concurrently(lists.collect()).await.into_iter().collect();
    let mut found: Vec<UnhealthyPod> = lists?.iter().flatten().filter_map(unhealthy).collect();
    found.sort_by(|one, other| (&one.namespace, &one.name).cmp(&(&other.namespace, &other.name)));
    Ok(found)
}

fn unhealthy(pod: &Value) -> Option<UnhealthyPod> {
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let (metadata, phase) = (&pod["metadata"], text(&pod["status"]["phase"]).unwrap_or_default());
    let is_controlled = metadata["ownerReferences"]
        .as_array()
        .is_some_and(|owners| owners.iter().any(|owner| owner["controller"] == true));
    if is_healthy(pod) || (phase == "Failed" && is_controlled) {
        return None;
    }
    Some(UnhealthyPod {
        namespace: text(&metadata["namespace"]).unwrap_or_default(),
        name: text(&metadata["name"]).unwrap_or_default(),
        node: text(&pod["spec"]["nodeName"]),
        phase,
        reasons: pod_reasons(pod),
    })
}

/// Kinds of workload, and where they are.
const WORKLOADS: [(&str, &str); 3] =
    [("DaemonSet", "daemonsets"), ("Deployment", "deployments"), ("StatefulSet", "statefulsets")];

/// The Deployments, DaemonSets and StatefulSets of kube-system, and of the given namespaces, of which less is
/// available than is desired, or whose controller has not seen them as they are: pods that nobody made show here
/// alone. A DaemonSet that is desired on no node is as it should be. What is not there at all is not told.
pub async fn unready_workloads(
    connection: &Connection,
    namespaces: &[String],
) -> Result<Vec<Unready>, Error> {
    let mut all: BTreeSet<&str> = namespaces.iter().map(String::as_str).collect();
    all.insert(SYSTEM);
    let places = all.into_iter().flat_map(|namespace| WORKLOADS.map(|kind| (namespace, kind)));
    let lists = places.map(|(namespace, (kind, plural))| {
        async move {
            let doing = format!("list the {plural} of the namespace {namespace}");
            let path = format!("/apis/apps/v1/namespaces/{}/{plural}", escape(namespace));
            let found = connection.list(&doing, &path, "application/json", &|_| {}).await?;
            let unready = found.into_iter().filter_map(|live| unready(namespace, kind, live));
            Ok(unready.collect::<Vec<_>>())
        }
        .boxed()
    });
    let lists: Result<Vec<Vec<_>>, Error> = concurrently(lists.collect()).await.into_iter().collect();
    let told = lists?.into_iter().flatten().map(|(mut unready, live)| {
        async move {
            let reasons = diagnose(connection, &unready.object, Some(&live), Depth::Pods).await;
            if !reasons.is_empty() {
                unready.reasons = reasons;
            }
            unready
        }
        .boxed()
    });
    Ok(concurrently(told.collect()).await)
}

/// A workload that is not available, with what its own status says, and as it is.
fn unready(namespace: &str, kind: &str, live: Value) -> Option<(Unready, Value)> {
    let (progress, reason) = match state(kind, &live) {
        State::Ready => return None,
        State::Failed { reason } => (None, reason),
        State::NotYet { progress, reason } => (progress, reason),
    };
    // All that is desired is there: old pods may be left, or none be desired.
    if is_observed(&live) && progress.is_some_and(|(ready, wanted)| ready >= wanted) {
        return None;
    }
    let object = ObjectRef::new("apps", kind, Some(namespace), live["metadata"]["name"].as_str()?);
    let reasons = Some(reason).filter(|reason| !reason.is_empty()).into_iter().collect();
    Some((Unready { object, progress, reasons }, live))
}

/// Where the load balancer of a Service of type LoadBalancer is: its name, or its address. `None`: it has none yet, or
/// there is no such Service.
pub async fn service_host(
    connection: &Connection,
    namespace: &str,
    name: &str,
) -> Result<Option<String>, Error> {
    let path = format!("/api/v1/namespaces/{}/services/{}", escape(namespace), escape(name));
    let request = Request::get(format!("read the Service {namespace}/{name}"), path);
    let Some(service) = connection.find(&request, &|_| {}).await? else { return Ok(None) };
    let first = &service["status"]["loadBalancer"]["ingress"][0];
    let text = |value: &Value| value.as_str().map(str::to_owned);
    Ok(text(&first["hostname"]).or_else(|| text(&first["ip"])))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_node_tells_its_machine_and_group() {
        let live = json!({
            "metadata": {"name": "ip-10-0-0-1", "labels": {INSTANCE_GROUP: "nodes", "node-role.kubernetes.io/node": ""}},
            "spec": {"providerID": "aws:///eu-north-1a/i-0123", "unschedulable": true},
            "status": {
                "nodeInfo": {"kubeletVersion": "v1.36.4"},
                "conditions": [{"type": "Ready", "status": "Unknown", "reason": "NodeStatusUnknown",
                    "message": "Kubelet stopped posting node status."}],
            },
        });
        let node = node(&live);
        assert_eq!(node.instance_id.as_deref(), Some("i-0123"));
        assert_eq!(node.instance_group.as_deref(), Some("nodes"));
        assert_eq!(node.roles, ["node"]);
        assert!(!node.ready && node.unschedulable);
        assert_eq!(node.reason, "NodeStatusUnknown: Kubelet stopped posting node status.");
        assert_eq!(super::node(&json!({})).reason, "its kubelet has not said anything yet");
    }

    #[test]
    fn only_workloads_that_lack_something_are_unready() {
        let told = |kind: &str, spec: Value, status: Value| {
            let live = json!({"metadata": {"name": "a", "generation": 1}, "spec": spec, "status": status});
            unready("b", kind, live).map(|(unready, _)| unready.to_string())
        };
        assert_eq!(
            told("Deployment", json!({"replicas": 2}), json!({})).as_deref(),
            Some("Deployment b/a is not ready (0/2)\n  its controller has not seen it yet")
        );
        let status = |name: &str, count: u64| json!({"observedGeneration": 1, "replicas": 3, "updatedReplicas": 2, name: count});
        assert_eq!(
            told("Deployment", json!({"replicas": 2}), status("availableReplicas", 1)).as_deref(),
            Some("Deployment b/a is not ready (1/2)")
        );
        let left = status("availableReplicas", 3);
        assert_eq!(told("Deployment", json!({"replicas": 2}), left), None, "an old pod is left");
        assert_eq!(
            told("StatefulSet", json!({"replicas": 2}), status("readyReplicas", 1)).as_deref(),
            Some("StatefulSet b/a is not ready (1/2)")
        );
        let idle = json!({"observedGeneration": 1, "desiredNumberScheduled": 0});
        assert_eq!(told("DaemonSet", json!({}), idle), None);
        assert!(
            told("DaemonSet", json!({}), json!({"desiredNumberScheduled": 0})).is_some(),
            "nobody saw it"
        );
        let lacking = json!({"observedGeneration": 1, "desiredNumberScheduled": 2, "numberAvailable": 1,
            "updatedNumberScheduled": 2});
        assert_eq!(
            told("DaemonSet", json!({}), lacking).as_deref(),
            Some("DaemonSet b/a is not ready (1/2)")
        );
    }

    #[test]
    fn only_pods_that_count_are_unhealthy() {
        let owned =
            json!({"metadata": {"ownerReferences": [{"controller": true}]}, "status": {"phase": "Failed"}});
        assert_eq!(unhealthy(&owned), None);
        let alone =
            json!({"metadata": {"name": "a", "namespace": "kube-system"}, "status": {"phase": "Failed"}});
        assert!(unhealthy(&alone).is_some());
        let ready =
            json!({"status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}});
        assert_eq!(unhealthy(&ready), None);
        let done = json!({"status": {"phase": "Succeeded"}});
        assert_eq!(unhealthy(&done), None);
    }
}
