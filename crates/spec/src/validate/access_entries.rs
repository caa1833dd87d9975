//! Who may do what in the cluster.

use super::authentication::principal;
use super::check::Check;
use super::{document_name, syntax, value};
use crate::cluster::{AccessEntry, Addons, Principal, RoleKind};
use crate::document::{Document, Spec};
use crate::schema::AccessEntryDocument;
use crate::schema::access_entry::{AccessEntrySpec, PrincipalSpec};
use crate::source::{Located, Place};

/// The access entries, by name.
pub(super) fn access_entries(spec: &Spec, addons: &Addons, check: &mut Check) -> Vec<AccessEntry> {
    let mut names = Vec::new();
    let mut entries = Vec::new();
    for (document, body) in spec.access_entries() {
        let name = document_name(document, body.metadata.as_ref(), check);
        if let Some(name) = name.as_ref().filter(|name| !syntax::is_dns_name(&name.value)) {
            let title = format!("`{}` is not a Kubernetes name", name.value);
            check.hinted(&name.place, title, "lower-case letters, digits, `-` and dots");
        }
        entries.push(access_entry(document, body, name.as_ref(), addons, check));
        names.extend(name);
    }
    check.unique("access entry", &names);
    entries.sort_by(|a: &AccessEntry, b| a.name.cmp(&b.name));
    entries
}

fn access_entry(
    document: &Document,
    body: &AccessEntryDocument,
    name: Option<&Located<String>>,
    addons: &Addons,
    check: &mut Check,
) -> AccessEntry {
    let empty = AccessEntrySpec::default();
    let place = body.spec.as_ref().map_or(&document.place, |spec| &spec.place);
    let spec = body.spec.as_ref().map_or(&empty, |spec| &spec.value);
    let mut unheard = Check::default();
    let check = if body.spec.is_none() {
        check.missing(place, "spec");
        // One mistake is enough: what else is missing is missing for the same reason.
        &mut unheard
    } else {
        check
    };
    let AccessEntrySpec { principal, cluster_role, role, namespaces } = spec;
    let list = namespaces.as_ref().map_or(&[][..], |list| &list.value);
    check.unique("namespace", list);
    for namespace in list.iter().filter(|namespace| !syntax::is_dns_label(&namespace.value)) {
        check.error(&namespace.place, format!("`{}` is not a namespace", namespace.value));
    }
    let (role_kind, role) = self::role(cluster_role.as_ref(), role.as_ref(), place, check);
    if role_kind == RoleKind::Role && list.is_empty() {
        let title = format!("the Role `{role}` is given nowhere");
        check.lacking(place, "namespaces", title, "a Role is of a namespace: name it in `namespaces`");
    }
    AccessEntry {
        name: name.map_or_else(String::new, |name| name.value.clone()),
        principal: whose(principal.as_ref(), place, addons, check),
        role_kind,
        role,
        namespaces: list.iter().map(|namespace| namespace.value.clone()).collect(),
    }
}

/// Exactly one role.
fn role(
    cluster_role: Option<&Located<String>>,
    role: Option<&Located<String>>,
    place: &Place,
    check: &mut Check,
) -> (RoleKind, String) {
    for field in [cluster_role, role].into_iter().flatten() {
        if !syntax::is_role_name(&field.value) {
            check.error(&field.place, format!("`{}` is not the name of a role", field.value));
        }
    }
    match (cluster_role, role) {
        (Some(_), Some(role)) => {
            check.hinted(&role.place, "`clusterRole` and `role` exclude each other", "keep one of them");
        }
        (None, None) => {
            let hint = "add `clusterRole` (`view`, `edit`, `admin`...) or `role`";
            check.lacking(place, "clusterRole", "the access entry gives no rights", hint);
        }
        _ => {}
    }
    match (value(cluster_role), value(role)) {
        (Some(name), _) => (RoleKind::ClusterRole, name),
        (None, Some(name)) => (RoleKind::Role, name),
        (None, None) => (RoleKind::ClusterRole, String::new()),
    }
}

/// Exactly one principal.
fn whose(
    field: Option<&Located<PrincipalSpec>>,
    place: &Place,
    addons: &Addons,
    check: &mut Check,
) -> Principal {
    let hint = "add `principal` with `iam`, the ARN of a role or user, or `group`";
    let Some(Located { value: PrincipalSpec { iam, group }, place }) = field else {
        check.lacking(place, "principal", "the access entry is nobody's", hint);
        return Principal::Group(String::new());
    };
    match (iam, group) {
        (Some(_), Some(group)) => {
            check.hinted(&group.place, "`iam` and `group` exclude each other", "keep one of them");
        }
        (None, None) => check.lacking(place, "group", "the access entry is nobody's", hint),
        _ => {}
    }
    match (iam, group) {
        (Some(arn), _) => {
            principal(arn, check);
            if addons.iam_authenticator.is_none() {
                let title = "nobody can log in by IAM: the cluster has no IAM authenticator";
                check.hinted(&arn.place, title, "add `authentication: {aws: {}}` to the Cluster's `spec`");
            }
            Principal::Iam(arn.value.clone())
        }
        (None, Some(group)) => {
            group_name(group, check);
            Principal::Group(group.value.clone())
        }
        (None, None) => Principal::Group(String::new()),
    }
}

/// `system:masters` may do everything whatever RBAC says, and nobody can take that away from it;
/// `system:authenticated` is everybody. Neither is a mistake that a list of people's rights should allow.
fn group_name(group: &Located<String>, check: &mut Check) {
    let name = group.value.as_str();
    if name.starts_with("system:") {
        let title = format!("`{name}` is a group of Kubernetes' own");
        let hint = "name a group of people; a RoleBinding of your own in the spec may bind any group";
        check.hinted(&group.place, title, hint);
    } else if name.starts_with("kcl:") {
        let title = format!("`{name}` is a group of kcl's own");
        check.hinted(&group.place, title, "IAM identities of access entries are in such groups");
    } else if name.is_empty() || name.trim() != name || name.chars().any(char::is_control) {
        check.error(&group.place, format!("`{name}` is not the name of a group"));
    }
}
