//! Rights in Kubernetes for the users that the agent is there: each has its own, with no more than it needs.

use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;

use super::certificate::{self, CertificateError};
use super::kubernetes::{APPLY_PATCH, FIELD_MANAGER, KubeError, Kubernetes};
use crate::system::System;

/// Applying takes seconds. The group is the one that needs no binding, so it works in a cluster whose bindings do
/// not.
const ADMIN: (&str, &str) = ("kcl:node-agent", "system:masters");
const VALIDITY: Duration = Duration::from_mins(10);

/// A right's object, as far as its path needs it.
#[derive(Deserialize)]
struct Object {
    kind: String,
    metadata: Metadata,
}

#[derive(Deserialize)]
struct Metadata {
    name: String,
    namespace: Option<String>,
}

/// Why rights are not applied.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RightsError {
    /// No certificate for it.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    /// The API server does not.
    #[error(transparent)]
    Kubernetes(#[from] KubeError),
    /// The text is none of RBAC.
    #[error("rights cannot be read: {0}")]
    Text(String),
}

/// Gives a user its rights: `text` is the YAML of RBAC's objects.
pub async fn apply(system: &System, server: &str, text: &str) -> Result<(), RightsError> {
    let (user, group) = ADMIN;
    let validity = time::Duration::try_from(VALIDITY).unwrap_or(time::Duration::MINUTE);
    let admin = Kubernetes::new(&certificate::user(system, server, user, Some(group), validity)?)?;
    for (path, object) in rights(text).map_err(RightsError::Text)? {
        let what = format!("apply {}", path.rsplit_once('/').map_or("", |(path, _)| path));
        let path = format!("{path}?fieldManager={FIELD_MANAGER}&force=true");
        admin.patch(&what, &path, APPLY_PATCH, &object).await?;
    }
    Ok(())
}

/// The objects of the rights with their paths.
fn rights(text: &str) -> Result<Vec<(String, Value)>, String> {
    let documents = text.split("\n---\n");
    documents
        .map(|text| {
            let value: Value = serde_yaml::from_str(text).map_err(|error| error.to_string())?;
            let Object { kind, metadata } =
                serde_json::from_value(value.clone()).map_err(|error| error.to_string())?;
            let namespace = metadata.namespace.map(|name| format!("namespaces/{name}/")).unwrap_or_default();
            let plural = format!("{}s", kind.to_ascii_lowercase());
            let path = format!("/apis/rbac.authorization.k8s.io/v1/{namespace}{plural}/{}", metadata.name);
            Ok((path, value))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::labels;
    use super::*;

    #[test]
    fn rights_have_their_paths() {
        let paths = |text| -> Vec<String> {
            let found = rights(text).unwrap().into_iter();
            found.map(|(path, _)| path.replace("/apis/rbac.authorization.k8s.io/v1/", "")).collect()
        };
        let joins = [
            "namespaces/kube-system/roles/kcl:join-service",
            "namespaces/kube-system/rolebindings/kcl:join-service",
            "clusterroles/kcl:join-service",
            "clusterrolebindings/kcl:join-service",
        ];
        assert_eq!(paths(kcl_join::RBAC), joins);
        assert_eq!(
            paths(labels::RBAC),
            ["clusterroles/kcl:node-labels", "clusterrolebindings/kcl:node-labels"]
        );
    }
}
