//! Objects of which some fields cannot change: what has to be deleted and made again, and what is made then. Pure.
//!
//! Only kinds that nothing is lost with: a binding or a class holds no state, and is made again a moment later.

use serde_json::Value;

use crate::error::{Error, Refused};
use crate::object::ObjectRef;

/// Fields of a kind that stay as they were made (k8s.io/kubernetes/pkg/apis/{rbac,storage}/validation).
fn fixed_fields(object: &ObjectRef) -> &'static [&'static str] {
    match (object.group.as_str(), object.kind.as_str()) {
        ("rbac.authorization.k8s.io", "RoleBinding" | "ClusterRoleBinding") => &["roleRef"],
        ("storage.k8s.io", "StorageClass") => {
            &["parameters", "provisioner", "reclaimPolicy", "volumeBindingMode"]
        }
        _ => &[],
    }
}

/// The server refuses a change for nothing but such fields.
pub(crate) fn is_needed(object: &ObjectRef, refused: &Refused) -> bool {
    let fixed = fixed_fields(object);
    refused.status == 422
        && !refused.faults.is_empty()
        && refused.faults.iter().all(|fault| fixed.contains(&fault.field.as_str()))
}

/// Why an object that kcl did not apply is not replaced.
pub(crate) fn not_ours(refused: Refused) -> Error {
    let fields: Vec<&str> = refused.faults.iter().map(|fault| fault.field.as_str()).collect();
    let message = format!(
        "{} cannot be changed, and it is not deleted to be made again as kcl did not apply it so far: delete it, \
         or give the wanted one another name",
        fields.join(", ")
    );
    Error::Refused(Box::new(Refused { message, ..refused }))
}

/// The same object under a name that the server finds: its own is taken still.
pub(crate) fn stand_in(manifest: &Value) -> Value {
    let mut manifest = manifest.clone();
    if let Some(metadata) = manifest["metadata"].as_object_mut() {
        metadata.remove("name");
        metadata.insert("generateName".to_owned(), "kcl-".into());
    }
    manifest
}

/// Gives what was made of a [`stand_in`] the name that it will have.
pub(crate) fn rename(made: &mut Value, name: &str) {
    if let Some(metadata) = made["metadata"].as_object_mut() {
        metadata.remove("generateName");
        metadata.insert("name".to_owned(), name.into());
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::error::FieldFault;

    fn refused(fields: &[&str]) -> Refused {
        let fault = |field: &&str| FieldFault { field: (*field).to_owned(), message: "immutable".to_owned() };
        Refused {
            doing: "apply it".to_owned(),
            status: 422,
            reason: "Invalid".to_owned(),
            message: "no".to_owned(),
            faults: fields.iter().map(fault).collect(),
        }
    }

    #[test]
    fn only_for_what_cannot_change() {
        let binding = ObjectRef::new("rbac.authorization.k8s.io", "RoleBinding", Some("a"), "b");
        assert!(is_needed(&binding, &refused(&["roleRef"])));
        assert!(!is_needed(&binding, &refused(&["roleRef", "roleRef.kind"])), "it would be refused again");
        assert!(!is_needed(&binding, &refused(&[])));
        let class = ObjectRef::new("storage.k8s.io", "StorageClass", None, "b");
        assert!(is_needed(&class, &refused(&["parameters", "reclaimPolicy"])));
        let deployment = ObjectRef::new("apps", "Deployment", Some("a"), "b");
        assert!(!is_needed(&deployment, &refused(&["spec.selector"])), "its pods would go");
        assert!(!is_needed(&class, &Refused { status: 409, ..refused(&["parameters"]) }));
    }

    #[test]
    fn a_stand_in_differs_in_its_name_alone() {
        let manifest = json!({"kind": "A", "metadata": {"name": "a", "labels": {"b": "c"}}});
        let mut made = stand_in(&manifest);
        assert_eq!(made["metadata"]["name"], Value::Null);
        made["metadata"]["name"] = "kcl-x7k2p".into();
        rename(&mut made, "a");
        assert_eq!(made, manifest);
    }
}
