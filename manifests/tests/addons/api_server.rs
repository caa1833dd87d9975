//! Every addon on a real API server: it takes all objects, and holds pods to what is said of them.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::given::{all_objects, name, pods, variants};
use crate::server::Server;

/// What a pod is under Pod Security, and why it cannot be more.
const LEVELS: [(&str, &str, &str); 14] = [
    ("DaemonSet kube-flannel/kube-flannel-ds", "privileged", "the machine's network and files"),
    ("DaemonSet kube-system/aws-cloud-controller-manager", "privileged", "the machine's network"),
    ("DaemonSet kube-system/aws-iam-authenticator", "privileged", "the machine's network and files"),
    ("DaemonSet kube-system/ebs-csi-node", "privileged", "disks and mounts of the machine"),
    ("DaemonSet kube-system/aws-node-termination-handler", "privileged", "the metadata service"),
    ("DaemonSet nginx-ingress/nginx-ingress", "privileged", "ports of the machine"),
    ("DaemonSet nginx-service/nginx-ingress", "restricted", ""),
    ("DaemonSet nginx-service/inner", "restricted", ""),
    ("DaemonSet default/in-default", "restricted", ""),
    ("Deployment kube-system/metrics-server", "restricted", ""),
    // These with a role of their own; else they have the machine's network, for its metadata service.
    ("Deployment kube-system/aws-node-termination-handler", "restricted", ""),
    ("Deployment kube-system/cluster-autoscaler", "restricted", ""),
    ("Deployment kube-system/ebs-csi-controller", "restricted", ""),
    ("Deployment kube-system/external-dns", "restricted", ""),
];

#[test]
fn a_real_api_server_takes_everything() {
    let server = Server::start();
    for (variant, given) in variants() {
        let objects = all_objects(&given);
        let run = server.apply_all(&objects);
        assert!(!run.stderr.contains("Warning"), "{variant}: {}", run.stderr);
        // Once more: what is written is what is stored, so that nothing changes.
        let versions = || {
            let list = server.apply(&objects, &["-o", "json"]).expect(0).stdout;
            let list: Value = serde_json::from_str(&list).unwrap();
            let items = list["items"].as_array().unwrap().iter();
            items.map(|item| (name(item), item["metadata"]["resourceVersion"].clone())).collect::<Vec<_>>()
        };
        assert_eq!(versions(), versions(), "{variant}");
    }
    pod_security(&server);
}

fn pod_security(server: &Server) {
    for level in ["restricted", "baseline"] {
        server.kubectl(&["create", "namespace", level]).expect(0);
        let label = format!("pod-security.kubernetes.io/enforce={level}");
        server.kubectl(&["label", "namespace", level, &label]).expect(0);
        server.kubectl(&["create", "serviceaccount", "default", "--namespace", level]).expect(0);
    }
    let (mut found, mut asked) = (BTreeSet::new(), BTreeSet::new());
    for (variant, given) in variants() {
        let objects = all_objects(&given);
        for (pod, spec) in pods(&objects) {
            if !asked.insert(format!("{pod} {spec}")) {
                continue;
            }
            let level = ["restricted", "baseline"].into_iter().find(|level| admits(server, level, spec));
            let level = level.unwrap_or("privileged");
            let known = LEVELS.iter().find(|(known, ..)| *known == pod);
            let (_, wanted, why) =
                known.unwrap_or_else(|| panic!("{variant}: {pod} is {level} and not listed"));
            let on_host = spec["hostNetwork"] == true && why.is_empty();
            let wanted = if on_host { "privileged" } else { wanted };
            assert_eq!(level, wanted, "{variant}: {pod}");
            found.insert(pod);
        }
    }
    for (known, ..) in LEVELS {
        assert!(found.contains(known), "{known} is listed, and in no variant");
    }
}

/// Whether a namespace of that level takes the pod.
fn admits(server: &Server, level: &str, spec: &Value) -> bool {
    let mut spec = spec.clone();
    // The account need not be there for this question.
    spec["serviceAccountName"] = json!("default");
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": { "name": "pod", "namespace": level }, "spec": spec,
    });
    let run = server.reads(&["create", "--dry-run=server", "--validate=strict", "-f", "-"], &pod.to_string());
    let refused = run.stderr.contains("violates PodSecurity");
    assert!(run.code == 0 || refused, "{}", run.stderr);
    !refused
}
