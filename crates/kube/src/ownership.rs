//! Which fields of an object are kcl's, by `metadata.managedFields`. Pure.
//!
//! See <https://kubernetes.io/docs/reference/using-api/server-side-apply/#field-management>.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::applyset::Set;
use crate::object::part_of;
use crate::request::FIELD_MANAGER;

/// The fields that kcl manages by applying, as the server keeps them.
pub(crate) fn our_fields(object: &Value) -> Option<&Value> {
    let entries = object["metadata"]["managedFields"].as_array()?;
    let ours = entries.iter().find(|entry| {
        entry["manager"] == FIELD_MANAGER && entry["operation"] == "Apply" && entry["subresource"].is_null()
    });
    ours.map(|entry| &entry["fieldsV1"])
}

/// Whether kcl applied it as a member of this set. The label alone does not say so: some controllers give the
/// labels of an object to those that they make for it, as Services' to their EndpointSlices.
pub(crate) fn is_member(object: &Value, set: &Set) -> bool {
    part_of(object) == Some(&set.id) && our_fields(object).is_some()
}

/// The paths of these fields, in the words of the server's conflicts: `.spec.ports[port=80].name`.
pub(crate) fn our_paths(object: &Value) -> BTreeSet<String> {
    let mut paths = BTreeSet::new();
    if let Some(fields) = our_fields(object) {
        collect(&mut paths, "", fields);
    }
    paths
}

fn collect(paths: &mut BTreeSet<String>, path: &str, fields: &Value) {
    for (key, below) in fields.as_object().into_iter().flatten() {
        let Some(element) = element(key) else { continue };
        let path = format!("{path}{element}");
        collect(paths, &path, below);
        paths.insert(path);
    }
}

/// One step of a path: sigs.k8s.io/structured-merge-diff/fieldpath has both spellings.
fn element(key: &str) -> Option<String> {
    let (kind, rest) = key.split_once(':')?;
    Some(match kind {
        "f" => format!(".{rest}"),
        "i" => format!("[{rest}]"),
        "v" => format!("[={rest}]"),
        "k" => {
            let keys: Value = serde_json::from_str(rest).ok()?;
            let mut all: Vec<_> =
                keys.as_object()?.iter().map(|(key, value)| format!("{key}={value}")).collect();
            all.sort();
            format!("[{}]", all.join(","))
        }
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_what_kcl_applied_is_its_own() {
        let object = json!({"metadata": {"managedFields": [
            {"manager": "kcl", "operation": "Update", "fieldsV1": {"f:status": {}}},
            {"manager": "kcl", "operation": "Apply", "subresource": "status", "fieldsV1": {"f:status": {}}},
            {"manager": "kcl", "operation": "Apply", "fieldsV1": {
                "f:spec": {
                    "f:replicas": {},
                    "f:ports": {"k:{\"protocol\":\"TCP\",\"port\":80}": {".": {}, "f:name": {}}},
                    "f:finalizers": {"v:\"a\"": {}},
                },
            }},
        ]}});
        let paths = our_paths(&object);
        let paths: Vec<_> = paths.iter().map(String::as_str).collect();
        assert_eq!(
            paths,
            [
                ".spec",
                ".spec.finalizers",
                ".spec.finalizers[=\"a\"]",
                ".spec.ports",
                ".spec.ports[port=80,protocol=\"TCP\"]",
                ".spec.ports[port=80,protocol=\"TCP\"].name",
                ".spec.replicas",
            ]
        );
        assert!(our_paths(&json!({})).is_empty());
    }
}
