//! The service accounts that pods reach AWS with, as objects for the cluster.

use kcl_spec::cluster::{Cluster, KubernetesObject};
use serde_json::{Value, json};

use crate::facts::Facts;
use crate::issuer::service_account_role_arn;

/// The annotation by which whatever gives pods their tokens finds the role.
pub const ROLE_ANNOTATION: &str = "eks.amazonaws.com/role-arn";

/// A ServiceAccount for each role that the spec gives one: the spec's own object with the annotation, where it has one,
/// else a new one. Roles for a pattern of namespaces have none: which accounts are meant is not known.
pub fn service_accounts(cluster: &Cluster, facts: &Facts) -> Vec<Value> {
    let trusted =
        cluster.service_account_issuer.as_ref().is_some_and(|issuer| issuer.enable_aws_oidc_provider);
    let accounts = cluster.iam.service_accounts.iter().filter(|account| trusted && !account.is_wildcard());
    let objects = accounts.map(|account| {
        let arn = service_account_role_arn(cluster, facts, &account.name, &account.namespace);
        let given = cluster.objects.iter().find(|object| is(object, &account.namespace, &account.name));
        let given = given.and_then(|given| serde_json::to_value(&given.value).ok());
        let mut object = match given.filter(|given| given["metadata"].is_object()) {
            Some(given) => given,
            None => json!({
                "apiVersion": "v1",
                "kind": "ServiceAccount",
                "metadata": { "name": account.name, "namespace": account.namespace },
            }),
        };
        let metadata = &mut object["metadata"];
        if !metadata["annotations"].is_object() {
            metadata["annotations"] = json!({});
        }
        metadata["annotations"][ROLE_ANNOTATION] = Value::from(arn);
        object
    });
    objects.collect()
}

fn is(object: &KubernetesObject, namespace: &str, name: &str) -> bool {
    object.api_version == "v1"
        && object.kind == "ServiceAccount"
        && object.namespace.as_deref().unwrap_or("default") == namespace
        && object.name.as_deref() == Some(name)
}
