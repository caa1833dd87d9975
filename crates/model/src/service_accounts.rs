//! The service accounts that pods reach AWS with, as objects for the cluster.

use std::collections::BTreeSet;

use kcl_manifests::ROLE_ANNOTATION;
use kcl_spec::cluster::Cluster;
use serde_json::{Value, json};

use crate::facts::Facts;
use crate::issuer::service_account_role_arn;

/// AWS trusts the cluster's tokens.
pub(crate) fn trusted(cluster: &Cluster) -> bool {
    cluster.service_account_issuer.as_ref().is_some_and(|issuer| issuer.enable_aws_oidc_provider)
}

/// Tells each service account that the spec gives a role which one it is: the spec's `own` object gets the annotation,
/// where it has one; the others are made. Roles for a pattern of namespaces have none: which accounts are meant is not
/// known.
pub(crate) fn annotate(cluster: &Cluster, facts: &Facts, own: &mut [Value]) -> Vec<Value> {
    let mut made = Vec::new();
    let accounts = cluster.iam.service_accounts.iter();
    for account in accounts.filter(|account| trusted(cluster) && !account.is_wildcard()) {
        let arn = service_account_role_arn(cluster, facts, &account.name, &account.namespace);
        if let Some(object) = own.iter_mut().find(|object| is(object, &account.namespace, &account.name)) {
            let annotations = &mut object["metadata"]["annotations"];
            if !annotations.is_object() {
                *annotations = json!({});
            }
            annotations[ROLE_ANNOTATION] = Value::from(arn);
        } else {
            let annotations = json!({ ROLE_ANNOTATION: arn });
            made.push(json!({
                "apiVersion": "v1",
                "kind": "ServiceAccount",
                "metadata": {
                    "name": account.name,
                    "namespace": account.namespace,
                    "annotations": annotations,
                },
            }));
        }
    }
    made
}

/// An object of the spec: it has metadata, and a name in it.
fn is(object: &Value, namespace: &str, name: &str) -> bool {
    let metadata = &object["metadata"];
    object["apiVersion"] == "v1"
        && object["kind"] == "ServiceAccount"
        && metadata["namespace"].as_str().unwrap_or("default") == namespace
        && metadata["name"] == name
}

/// Namespaces that every cluster has.
const GIVEN: [&str; 4] = ["default", "kube-node-lease", "kube-public", "kube-system"];

/// The service accounts, after the namespaces that they need and that nobody among the `known` ones makes.
pub(crate) fn with_namespaces(accounts: Vec<Value>, known: &BTreeSet<&str>) -> Vec<Value> {
    let missing: BTreeSet<&str> = accounts
        .iter()
        .filter_map(|account| account["metadata"]["namespace"].as_str())
        .filter(|namespace| !GIVEN.contains(namespace) && !known.contains(namespace))
        .collect();
    let namespace =
        |name: &str| json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": name } });
    let mut objects: Vec<Value> = missing.into_iter().map(namespace).collect();
    objects.extend(accounts);
    objects
}
