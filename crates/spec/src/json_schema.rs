//! A JSON Schema for editors, made of the same types that read the documents.

use schemars::generate::SchemaSettings;
use serde_json::{Value, json};

use crate::document::{KCL_API, KCL_KINDS, KOPS_API, KOPS_KINDS};
use crate::schema::{
    AccessEntryDocument, ClusterDocument, IngressControllerDocument, InstanceGroupDocument, ManifestDocument,
    NamespaceDefaultsDocument, SshCredentialDocument, StateStoreDocument,
};

/// The JSON Schema (draft 2020-12) of one document of a spec. Kubernetes objects of other groups
/// are allowed and not looked into.
pub fn json_schema() -> Value {
    let mut generator = SchemaSettings::draft2020_12().into_generator();
    let known = [
        (KOPS_API, "Cluster", generator.subschema_for::<ClusterDocument>()),
        (KOPS_API, "InstanceGroup", generator.subschema_for::<InstanceGroupDocument>()),
        (KOPS_API, "SSHCredential", generator.subschema_for::<SshCredentialDocument>()),
        (KCL_API, "IngressController", generator.subschema_for::<IngressControllerDocument>()),
        (KCL_API, "StateStore", generator.subschema_for::<StateStoreDocument>()),
        (KCL_API, "AccessEntry", generator.subschema_for::<AccessEntryDocument>()),
        (KCL_API, "NamespaceDefaults", generator.subschema_for::<NamespaceDefaultsDocument>()),
        (KCL_API, "Manifest", generator.subschema_for::<ManifestDocument>()),
    ];
    let mut rules: Vec<Value> = known
        .into_iter()
        .map(|(api_version, kind, schema)| {
            json!({ "if": is(&json!({ "const": api_version }), Some(kind)), "then": schema })
        })
        .collect();
    rules.push(only("^kops(\\.k8s\\.io)?(/|$)", KOPS_API, KOPS_KINDS));
    rules.push(only("^kcl\\.dev(/|$)", KCL_API, KCL_KINDS));
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "kcl cluster spec",
        "description": "One document of a cluster spec: a kOps Cluster, InstanceGroup or SSHCredential, \
                        a document of kcl's own (IngressController, AccessEntry...), or any Kubernetes object to apply to the cluster.",
        "type": "object",
        "required": ["apiVersion", "kind"],
        "properties": { "apiVersion": { "type": "string" }, "kind": { "type": "string" } },
        "allOf": rules,
        "$defs": generator.take_definitions(true),
    })
}

/// Matches a document by its header.
fn is(api_version: &Value, kind: Option<&str>) -> Value {
    let mut properties = json!({ "apiVersion": api_version });
    let mut required = vec!["apiVersion"];
    if let (Some(kind), Some(properties)) = (kind, properties.as_object_mut()) {
        properties.insert("kind".to_owned(), json!({ "const": kind }));
        required.push("kind");
    }
    json!({ "properties": properties, "required": required })
}

/// A group has one version, and these kinds only.
fn only(group: &str, api_version: &str, kinds: &[&str]) -> Value {
    json!({
        "if": is(&json!({ "pattern": group }), None),
        "then": { "properties": { "apiVersion": { "const": api_version }, "kind": { "enum": kinds } } },
    })
}
