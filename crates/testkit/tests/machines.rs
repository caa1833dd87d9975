//! A real control plane with stand-in kubelets: workloads roll out, fail as they are told to, and go with their
//! machines. One cluster for all of it, as starting one is what takes time.

#![expect(clippy::unwrap_used, reason = "a test stops at the first thing that is wrong")]

use kcl_testkit::kubernetes::{ApiServerConfig, Cluster, Machine, pki};
use serde_json::{Value, json};

fn machines() -> Vec<Machine> {
    vec![
        Machine::new("control-plane").control_plane(),
        Machine::new("worker-1").label("kops.k8s.io/instancegroup", "nodes"),
        Machine::new("worker-2").label("kops.k8s.io/instancegroup", "nodes"),
        Machine::new("idle").not_ready("network plugin is not ready: cni config uninitialized"),
    ]
}

fn workload(kind: &str, name: &str, image: &str, pod: &Value) -> String {
    let mut spec = json!({"containers": [{"name": "main", "image": image}]});
    for (field, value) in pod.as_object().unwrap() {
        spec[field] = value.clone();
    }
    let labels = json!({"app": name});
    let template = json!({"metadata": {"labels": labels}, "spec": spec});
    let (group, spec) = match kind {
        "Job" => ("batch/v1", json!({"template": template})),
        _ => ("apps/v1", json!({"selector": {"matchLabels": labels}, "template": template})),
    };
    json!({"apiVersion": group, "kind": kind, "metadata": {"name": name, "namespace": "default"}, "spec": spec})
        .to_string()
}

/// Names of nodes, sorted, that pods of an app are on.
fn nodes_of(cluster: &Cluster, app: &str) -> Vec<String> {
    let selector = format!("--selector=app={app}");
    let path = "-o=jsonpath={.items[*].spec.nodeName}";
    let run = cluster.kubectl(&["get", "pods", &selector, path]).unwrap().expect(0);
    let mut names: Vec<String> = run.stdout.split_whitespace().map(str::to_owned).collect();
    names.sort();
    names
}

#[test]
fn workloads_roll_out_on_machines_that_are_none() {
    let folder = tempfile::tempdir().unwrap();
    let keys = pki::fresh(folder.path()).unwrap();
    let config = ApiServerConfig::control_plane(&keys, "https://issuer.example").unwrap();
    let mut cluster = Cluster::start(config, keys, &machines()).unwrap();
    assert_eq!(cluster.server.processes().len(), 4);

    for object in [
        workload(
            "DaemonSet",
            "everywhere",
            "registry.example/agent:1",
            &json!({"hostNetwork": true, "tolerations": [{"operator": "Exists"}]}),
        ),
        workload(
            "Deployment",
            "web",
            "registry.example/web:1",
            &json!({"initContainers": [{"name": "first", "image": "registry.example/init:1"}]}),
        ),
        workload("Deployment", "missing", "registry.example/does-not-exist:1", &json!({})),
        workload("Deployment", "broken", "registry.example/crashes:1", &json!({})),
        workload("Job", "once", "registry.example/once:1", &json!({"restartPolicy": "Never"})),
    ] {
        cluster.kubectl_reads(&["create", "-f", "-"], &object).unwrap().expect(0);
    }
    rolls_out(&cluster);
    fails_as_told(&cluster);

    // The pods of a machine that leaves go with it, and come back elsewhere.
    cluster.machines.set(&machines()[..2]).unwrap();
    let nodes = cluster.kubectl(&["get", "nodes", "-o=name"]).unwrap().expect(0).stdout;
    assert_eq!(nodes, "node/control-plane\nnode/worker-1\n");
    cluster.kubectl(&["rollout", "status", "deployment/web", "--timeout=60s"]).unwrap().expect(0);
    assert_eq!(nodes_of(&cluster, "web"), ["worker-1"]);
    assert_eq!(nodes_of(&cluster, "everywhere"), ["control-plane", "worker-1"]);

    // An API server that was away for a while finds everybody where they were.
    cluster.server.kill_api_server();
    cluster.server.start_again().unwrap();

    // One that becomes ready takes what waited for it.
    let mut all = machines();
    all[3].not_ready = None;
    cluster.machines.set(&all).unwrap();
    cluster.kubectl(&["wait", "--for=condition=Ready", "node", "--all", "--timeout=60s"]).unwrap().expect(0);
    cluster
        .until(&["get", "daemonset", "everywhere", "-o=jsonpath={.status.numberReady}"], |run| {
            run.stdout == "4"
        })
        .unwrap();
}

fn rolls_out(cluster: &Cluster) {
    for name in ["daemonset/everywhere", "deployment/web"] {
        cluster.kubectl(&["rollout", "status", name, "--timeout=60s"]).unwrap().expect(0);
    }
    // On the machine's own network they run on one that is not ready, too; other pods do not.
    assert_eq!(nodes_of(cluster, "everywhere"), ["control-plane", "idle", "worker-1", "worker-2"]);
    assert!(nodes_of(cluster, "web")[0].starts_with("worker-"));
    cluster.kubectl(&["wait", "--for=condition=Complete", "job/once", "--timeout=60s"]).unwrap().expect(0);
    cluster
        .kubectl(&["wait", "--for=condition=Ready=false", "node/idle", "--timeout=60s"])
        .unwrap()
        .expect(0);
    let node = cluster.kubectl(&["get", "node", "worker-1", "-o=json"]).unwrap().expect(0).stdout;
    let node: Value = serde_json::from_str(&node).unwrap();
    assert_eq!(node["spec"]["providerID"], "aws:///eu-north-1a/worker-1");
    assert_eq!(node["metadata"]["labels"]["kops.k8s.io/instancegroup"], "nodes");
    assert!(node["status"]["nodeInfo"]["kubeletVersion"].as_str().unwrap().starts_with("v1."), "{node}");
}

fn fails_as_told(cluster: &Cluster) {
    let waits = |app: &str, reason: &str| {
        let selector = format!("--selector=app={app}");
        let path = "-o=jsonpath={.items[*].status.containerStatuses[*].state.waiting.reason}";
        cluster.until(&["get", "pods", &selector, path], |run| run.stdout == reason).unwrap();
    };
    waits("missing", "ImagePullBackOff");
    waits("broken", "CrashLoopBackOff");
    let event = "Failed to pull image \"registry.example/does-not-exist:1\"";
    let events = ["get", "events", "--field-selector=type=Warning", "-o=jsonpath={.items[*].message}"];
    cluster.until(&events, |run| run.stdout.contains(event)).unwrap();
    let logs = cluster.kubectl(&["logs", "deployment/broken"]).unwrap().expect(0);
    assert!(logs.stdout.contains("its name says that it crashes"), "{}", logs.stdout);
    let stuck = ["rollout", "status", "deployment/missing", "--timeout=1s"];
    cluster.kubectl(&stuck).unwrap().expect(1);
}
