//! What holds in a namespace unless its objects say otherwise: the documents NamespaceDefaults of the spec.

use serde::Serialize;
use serde_json::Value;

use crate::template::{self, Template, template};
use crate::{Addon, Error, Inputs, limit_range, nobody};

pub(crate) const ADDON: Addon = Addon { name: "namespace-defaults", objects, identity: nobody };

const NAMESPACE: Template = template!("namespace-defaults/namespace.yaml");

#[derive(Serialize)]
struct Values<'a> {
    namespace: &'a str,
    ingress: bool,
    egress: bool,
}

fn objects(inputs: &Inputs<'_>) -> Result<Vec<Value>, Error> {
    let mut objects = Vec::new();
    for wish in &inputs.cluster.namespace_defaults {
        let values =
            Values { namespace: &wish.namespace, ingress: wish.deny_ingress, egress: wish.deny_egress };
        objects.extend(template::objects(&NAMESPACE, &values)?);
        if let Some(limits) = &wish.limit_range {
            objects.extend(limit_range::of_namespace(&wish.namespace, limits)?);
        }
    }
    Ok(objects)
}
