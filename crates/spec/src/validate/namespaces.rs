//! What holds in namespaces unless their objects say otherwise.

use std::collections::BTreeMap;

use super::check::Check;
use super::container::within_limit;
use super::{document_name, syntax};
use crate::cluster::{LimitRange, NamespaceDefaults, PodNetwork};
use crate::document::Spec;
use crate::read::{Dict, Scalar};
use crate::schema::namespace_defaults::{Direction, LimitRangeSpec, NamespaceDefaultsSpec};
use crate::source::Located;
use crate::suggest;

/// Namespaces of Kubernetes itself: a policy there cuts every pod off from its DNS.
const OF_KUBERNETES: &[&str] = &["kube-node-lease", "kube-public", "kube-system"];

/// Defaults of namespaces, by namespace.
pub(super) fn namespace_defaults(
    spec: &Spec,
    pod_network: PodNetwork,
    check: &mut Check,
) -> Vec<NamespaceDefaults> {
    let mut names = Vec::new();
    let mut all = Vec::new();
    for (document, body) in spec.namespace_defaults() {
        let name = document_name(document, body.metadata.as_ref(), check);
        if let Some(name) = &name {
            namespace(name, check);
        }
        let empty = NamespaceDefaultsSpec::default();
        let spec = body.spec.as_ref().map_or(&empty, |spec| &spec.value);
        let NamespaceDefaultsSpec { default_deny, limit_range } = spec;
        if default_deny.is_none() && limit_range.is_none() {
            let place = body.spec.as_ref().map_or(&document.place, |spec| &spec.place);
            let title = "no default for the namespace";
            check.lacking(place, "defaultDeny", title, "give `defaultDeny` or `limitRange`");
        }
        let directions = default_deny.as_ref().map_or(&[][..], |list| &list.value);
        if let Some(field) = default_deny.as_ref().filter(|_| !directions.is_empty()) {
            enforced(field, pod_network, check);
        }
        let denies = |direction| directions.iter().any(|denied| denied.value == direction);
        all.push(NamespaceDefaults {
            namespace: name.as_ref().map_or_else(String::new, |name| name.value.clone()),
            deny_ingress: denies(Direction::Ingress),
            deny_egress: denies(Direction::Egress),
            limit_range: limit_range.as_ref().map(|field| self::limit_range(&field.value, check)),
        });
        names.extend(name);
    }
    check.unique("namespace", &names);
    all.sort_by(|a: &NamespaceDefaults, b| a.namespace.cmp(&b.namespace));
    all
}

fn namespace(name: &Located<String>, check: &mut Check) {
    if OF_KUBERNETES.contains(&name.value.as_str()) {
        let title = format!("`{}` is a namespace of Kubernetes' own", name.value);
        check.hinted(&name.place, title, "defaults there would stop what the cluster itself needs");
    } else if !syntax::is_dns_label(&name.value) {
        let title = format!("`{}` is not a namespace", name.value);
        check.hinted(&name.place, title, "lower-case letters, digits and `-`, at most 63");
    }
}

/// Some pod networks keep policies as objects, and let everything through.
fn enforced<T>(field: &Located<T>, pod_network: PodNetwork, check: &mut Check) {
    if matches!(pod_network, PodNetwork::Flannel | PodNetwork::Kubenet) {
        let title = format!(
            "`defaultDeny` has no effect: the pod network `{}` enforces no policies",
            pod_network.as_str()
        );
        let hint = "choose one that does, as in `networking: {calico: {}}` or `networking: {cilium: {}}`";
        check.warn(&field.place, title, hint);
    }
}

fn limit_range(spec: &LimitRangeSpec, check: &mut Check) -> LimitRange {
    let LimitRangeSpec { default_requests, default_limits } = spec;
    let entries = |dict: &Option<Located<Dict<Scalar>>>| -> Vec<(Located<String>, Located<Scalar>)> {
        dict.as_ref().map_or_else(Vec::new, |dict| dict.value.0.clone())
    };
    let (requests, limits) = (entries(default_requests), entries(default_limits));
    for (resource, request) in &requests {
        let limit = limits.iter().find(|(name, _)| name.value == resource.value);
        if let Some((_, limit)) = limit {
            within_limit(request, limit, check);
        }
    }
    LimitRange { default_requests: resources(&requests, check), default_limits: resources(&limits, check) }
}

const RESOURCES: &[&str] = &["cpu", "ephemeral-storage", "memory"];

fn resources(entries: &[(Located<String>, Located<Scalar>)], check: &mut Check) -> BTreeMap<String, String> {
    let mut resources = BTreeMap::new();
    for (name, amount) in entries {
        // Devices have names of their own: `nvidia.com/gpu`.
        let is_device = name.value.contains('/') && syntax::is_qualified_name(&name.value);
        if !RESOURCES.contains(&name.value.as_str()) && !is_device {
            let title = format!("unknown resource `{}`", name.value);
            check.hinted(&name.place, title, suggest::hint(&name.value, RESOURCES.iter().copied()));
        }
        if let Some(amount) = syntax::quantity_field(Some(amount), check) {
            resources.insert(name.value.clone(), amount);
        }
    }
    resources
}
