//! Tags, node labels and taints.

use std::collections::BTreeMap;

use super::check::Check;
use super::{Scope, syntax, texts};
use crate::cluster::Taint;
use crate::read::{Dict, List};
use crate::source::Located;
use crate::suggest;

/// Tags of the user's own for every resource. IAM and load balancers take fewer characters than EC2 does, and IAM does
/// not tell keys apart by case ("Tagging IAM resources", `TagDescriptions` of Elastic Load Balancing).
pub(super) fn of_cluster(scope: &Scope<'_>, check: &mut Check) -> BTreeMap<String, String> {
    let dict = scope.spec.cloud_labels.as_ref();
    let labels = tags(scope, dict, str::eq_ignore_ascii_case, check);
    let mut keys: Vec<(String, &Located<String>)> = Vec::new();
    for (key, value) in dict.map_or(&[][..], |dict| &dict.value.0) {
        for (what, field) in [("key", key), ("value", value)] {
            if let Some(char) = field.value.chars().find(|char| !is_taken_everywhere(*char)) {
                let title = format!("a tag {what} of a cluster cannot have {char:?}");
                check.hinted(
                    &field.place,
                    title,
                    "IAM and load balancers take letters, digits, spaces and `_.:/=+-@`",
                );
            }
        }
        let folded = key.value.to_lowercase();
        if let Some((_, first)) = keys.iter().find(|(other, _)| *other == folded) {
            let title = format!("IAM takes the tag keys `{}` and `{}` for one", first.value, key.value);
            check.hinted(&key.place, title, format!("first given at {}", first.place.seen_from(&key.place)));
        }
        keys.push((folded, key));
    }
    labels
}

/// `[\p{L}\p{Z}\p{N}_.:/=+\-@]`, as AWS writes it; and the marks that belong to letters.
fn is_taken_everywhere(char: char) -> bool {
    let is_space = char.is_whitespace() && !char.is_control();
    char.is_alphanumeric() || is_space || "_.:/=+-@".contains(char)
}

/// Tags of the user's own for the resources of an instance group.
pub(super) fn of_group(
    scope: &Scope<'_>,
    dict: Option<&Located<Dict<String>>>,
    check: &mut Check,
) -> BTreeMap<String, String> {
    tags(scope, dict, |a, b| a == b, check)
}

/// Tags as EC2 allows them. Those that ownership hangs on are kcl's.
fn tags(
    scope: &Scope<'_>,
    dict: Option<&Located<Dict<String>>>,
    is_same: fn(&str, &str) -> bool,
    check: &mut Check,
) -> BTreeMap<String, String> {
    let owner = format!("kubernetes.io/cluster/{}", scope.name);
    let reserved = ["KubernetesCluster", "Name", "kops.k8s.io/instancegroup", owner.as_str()];
    for (key, value) in dict.map_or(&[][..], |dict| &dict.value.0) {
        if key.value.to_ascii_lowercase().starts_with("aws:") {
            check.hinted(
                &key.place,
                format!("tag key `{}` begins with `aws:`", key.value),
                "AWS keeps these for itself",
            );
        } else if let Some(reserved) = reserved.iter().find(|reserved| is_same(reserved, &key.value)) {
            let title = if *reserved == key.value {
                format!("tag `{reserved}` is set by kcl")
            } else {
                format!("IAM takes the tag key `{}` for `{reserved}`, which is set by kcl", key.value)
            };
            check.hinted(&key.place, title, "what belongs to the cluster is found by it");
        }
        if key.value.is_empty() || key.value.chars().count() > 128 {
            check.error(&key.place, "a tag key has 1 to 128 characters");
        }
        if value.value.chars().count() > 256 {
            check.error(&value.place, "a tag value has at most 256 characters");
        }
    }
    texts(dict)
}

/// Labels as Kubernetes allows them.
pub(super) fn node_labels(
    dict: Option<&Located<Dict<String>>>,
    check: &mut Check,
) -> BTreeMap<String, String> {
    for (key, value) in dict.map_or(&[][..], |dict| &dict.value.0) {
        if !syntax::is_qualified_name(&key.value) {
            let title = format!("`{}` is not a label key", key.value);
            check.hinted(
                &key.place,
                title,
                "a name of at most 63 characters, with a DNS prefix if you like: `example.com/name`",
            );
        }
        if !syntax::is_label_value(&value.value) {
            let title = format!("`{}` is not a label value", value.value);
            check.hinted(&value.place, title, "at most 63 letters, digits, `-`, `_` and `.`");
        }
    }
    texts(dict)
}

const TAINT_EFFECTS: &[&str] = &["NoSchedule", "PreferNoSchedule", "NoExecute"];

/// Taints as kOps writes them.
pub(super) fn taints(list: Option<&Located<List<String>>>, check: &mut Check) -> Vec<Taint> {
    let items = list.map_or(&[][..], |list| &list.value);
    check.unique("taint", items);
    items.iter().filter_map(|item| taint(item, check)).collect()
}

/// `key=value:Effect` or `key:Effect`.
fn taint(item: &Located<String>, check: &mut Check) -> Option<Taint> {
    let parsed = item.value.rsplit_once(':').map(|(pair, effect)| {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        Taint { key: key.to_owned(), value: value.to_owned(), effect: effect.to_owned() }
    });
    let Some(taint) =
        parsed.filter(|taint| syntax::is_qualified_name(&taint.key) && syntax::is_label_value(&taint.value))
    else {
        let title = format!("`{}` is not a taint", item.value);
        check.hinted(&item.place, title, "write `key=value:NoSchedule` or `key:NoSchedule`");
        return None;
    };
    if !TAINT_EFFECTS.contains(&taint.effect.as_str()) {
        let title = format!("unknown taint effect `{}`", taint.effect);
        check.hinted(&item.place, title, suggest::hint(&taint.effect, TAINT_EFFECTS.iter().copied()));
    }
    Some(taint)
}
