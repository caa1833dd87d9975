//! Pods get the roles of their service accounts, by the policy alone, on a real API server.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test stops at the first thing that is wrong")]
#![allow(dead_code)]

mod common;

use common::{Given, Server};
use kcl_manifests::{Error, ROLE_ANNOTATION, TOKEN_FILE};
use kcl_spec::cluster::KubernetesVersion;
use serde_json::{Value, json};

const ROLE: &str = "arn:aws:iam::123456789012:role/iam-account.default.sa.k8s.karlaru.com";

#[test]
fn explore() {
    let server = Server::start();
    let objects = Given::example("karlaru").objects("pod-identity");
    let r = server.apply(&objects, &[]);
    println!("{}", r.all());
    let account = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "iam-account", "namespace": "default", "annotations": {ROLE_ANNOTATION: ROLE}}});
    server.create(&account);
    std::thread::sleep(std::time::Duration::from_secs(3));
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a", "namespace": "default"}, "spec": {"serviceAccountName": "iam-account", "containers": [{"name": "a", "image": "x"}]}});
    let run = server.reads(&["create", "-f", "-", "-o", "json"], &pod.to_string());
    println!("{}", run.all());
    panic!();
}
