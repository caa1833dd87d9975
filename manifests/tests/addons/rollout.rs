//! Addons on machines like those of the reference cluster: what a new cluster needs comes about before the rest
//! can, and everything finds its place.

use kcl_testkit::kubernetes::Machine;
use serde_json::Value;

use crate::given::{all_objects, name, reference, variants};
use crate::server::Server;

/// As kubelet registers machines of a cluster whose cloud controller is yet to come.
fn new(machine: Machine) -> Machine {
    machine
        .taint("node.cloudprovider.kubernetes.io/uninitialized", "true", "NoSchedule")
        .not_ready("container runtime network not ready: cni plugin not initialized")
}

/// A t3.small less what kubeadm's static pods and the cluster's DNS ask for, and two of t3.micro.
fn machines() -> [Machine; 3] {
    let mut control_plane = Machine::new("control-plane").control_plane();
    (control_plane.cpus, control_plane.memory) = (1, 1650);
    let worker = |name| Machine { memory: 930, ..Machine::new(name) };
    [control_plane, worker("worker-a"), worker("worker-b")]
}

/// Workloads of which not everything runs that is wanted, by name.
fn waiting(server: &Server) -> Vec<String> {
    let workloads = server.list(&["get", "daemonsets,deployments", "--all-namespaces"]);
    workloads.iter().filter(|workload| !runs(workload)).map(name).collect()
}

fn runs(workload: &Value) -> bool {
    let status = &workload["status"];
    let number = |field: &str| status[field].as_u64().unwrap_or(0);
    let observed = status["observedGeneration"] == workload["metadata"]["generation"];
    let (wanted, updated, ready) = match workload["kind"].as_str() {
        Some("DaemonSet") => ("desiredNumberScheduled", "updatedNumberScheduled", "numberReady"),
        _ => ("replicas", "updatedReplicas", "readyReplicas"),
    };
    let wanted = number(wanted);
    observed && wanted > 0 && number(updated) == wanted && number(ready) == wanted
}

#[test]
fn everything_finds_its_place() {
    let mut server = Server::start_control_plane(&machines().map(new));
    let objects = all_objects(&reference());
    server.apply_all(&objects);
    let rest = ["DaemonSet nginx-ingress/nginx-ingress", "Deployment kube-system/ebs-csi-controller"];
    server.until("all that a new machine needs runs", |server| waiting(server) == rest);

    // The cloud controller knows the machines, and there is a network.
    server.set_machines(&machines());
    for node in ["control-plane", "worker-a", "worker-b"] {
        let taint = "node.cloudprovider.kubernetes.io/uninitialized-";
        server.kubectl(&["taint", "--overwrite", "node", node, taint]);
    }
    for (variant, given) in variants() {
        let objects = all_objects(&given);
        server.apply_all(&objects);
        // Also where a namespace restricts what pods may do.
        server.until(variant, |server| waiting(server).is_empty());
    }
    let pods = server.list(&["get", "pods", "--all-namespaces"]);
    for pod in pods.iter().filter(|pod| pod["metadata"]["labels"]["app"] == "nginx-ingress") {
        assert_ne!(pod["spec"]["nodeName"], "control-plane", "no traffic is led there");
    }
}
