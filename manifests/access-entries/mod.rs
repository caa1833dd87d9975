//! Who may do what in the cluster: the documents AccessEntry of the spec, as bindings.

use kcl_spec::cluster::{AccessEntry, Principal, RoleKind};
use serde::Serialize;
use serde_json::Value;

use crate::template::{self, Template, template};
use crate::{Addon, Error, Inputs, nobody};

pub(crate) const ADDON: Addon = Addon { name: "access-entries", objects, identity: nobody };

const BINDINGS: Template = template!("access-entries/bindings.yaml");

#[derive(Serialize)]
struct Values<'a> {
    name: String,
    /// Whose rights they are.
    group: String,
    role_kind: &'static str,
    role: &'a str,
    /// A binding in each; none: one for the whole cluster.
    namespaces: &'a [String],
}

/// The group that somebody of IAM has by an entry, and the name of its bindings.
pub(crate) fn group(entry: &AccessEntry) -> String {
    format!("kcl:{}", entry.name)
}

fn objects(inputs: &Inputs<'_>) -> Result<Vec<Value>, Error> {
    let entries = inputs.cluster.access_entries.iter();
    let made = entries.map(|entry| template::objects(&BINDINGS, &values(entry)));
    Ok(made.collect::<Result<Vec<_>, _>>()?.into_iter().flatten().collect())
}

fn values(entry: &AccessEntry) -> Values<'_> {
    Values {
        name: group(entry),
        group: match &entry.principal {
            Principal::Iam(_) => group(entry),
            Principal::Group(name) => name.clone(),
        },
        role_kind: match entry.role_kind {
            RoleKind::ClusterRole => "ClusterRole",
            RoleKind::Role => "Role",
        },
        role: &entry.role,
        namespaces: &entry.namespaces,
    }
}
