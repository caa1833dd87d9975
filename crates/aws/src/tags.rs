//! Tags: the ones that mark what belongs to a cluster, and changing them.

use std::collections::BTreeMap;

use kcl_engine::Owner;
use kcl_model::resource::{Tags, is_foreign_tag};

/// The tag of the buckets that kcl made: those of others are used as they are.
pub(crate) const BUCKET_MARK: (&str, &str) = ("kcl.dev/made-by", "kcl");

/// kOps' oldest mark of a cluster's resources; every resource we make has it.
pub(crate) const CLUSTER_TAG: &str = "KubernetesCluster";

/// The tag of instances, their disks and auto scaling groups that tells the instance group.
pub(crate) const GROUP_TAG: &str = "kops.k8s.io/instancegroup";

/// The mark of what the AWS load balancer controller makes: the cluster's name.
pub(crate) const LOAD_BALANCER_CONTROLLER_TAG: &str = "elbv2.k8s.aws/cluster";

/// The tag that says whether the cluster owns a resource or only uses it.
pub(crate) fn ownership_key(cluster: &str) -> String {
    format!("kubernetes.io/cluster/{cluster}")
}

/// Whose a tagged resource is; `None` where it is not the cluster's at all, or only shared with it.
///
/// What controllers make carries the ownership tag too, but never ours (`KubernetesCluster` together with a
/// `Name` of our making); the tags by which the well-known ones mark their work decide.
///
/// `KubernetesCluster` alone makes a resource ours, as with kOps: somebody took the other tag away. With another
/// cluster's name in it a resource is never ours, and neither is one that says that it is shared.
pub(crate) fn owner(cluster: &str, tags: &Tags) -> Option<Owner> {
    const CONTROLLERS: [&str; 9] = [
        "kubernetes.io/service-name",
        "kubernetes.io/created-for/pvc/name",
        "kubernetes.io/created-for/pv/name",
        "ebs.csi.aws.com/cluster",
        "CSIVolumeName",
        LOAD_BALANCER_CONTROLLER_TAG,
        "service.k8s.aws/stack",
        "ingress.k8s.aws/stack",
        "karpenter.sh/nodepool",
    ];
    let owned = tags.get(&ownership_key(cluster)).map(String::as_str);
    let named = tags.get(CLUSTER_TAG).is_some_and(|name| name == cluster);
    let by_load_balancer_controller =
        tags.get(LOAD_BALANCER_CONTROLLER_TAG).is_some_and(|name| name == cluster);
    // One that was emptied names nobody.
    let of_another = tags.get(CLUSTER_TAG).is_some_and(|name| !name.is_empty() && name != cluster);
    match owned {
        Some("shared") => None,
        _ if of_another => None,
        None if !named && !by_load_balancer_controller => None,
        _ if CONTROLLERS.iter().any(|key| tags.contains_key(*key)) => Some(Owner::Controller),
        // The cloud controller's security groups have the ownership tag and nothing of ours.
        _ if named => Some(Owner::Cluster),
        _ => Some(Owner::Controller),
    }
}

/// What has to be set and what has to go so that `old` becomes `new`; tags of others stay.
pub(crate) fn changes(old: &Tags, new: &Tags) -> (Tags, Vec<String>) {
    let set = new.iter().filter(|(key, value)| old.get(*key) != Some(value));
    let gone = old.keys().filter(|key| !new.contains_key(*key) && !is_foreign_tag(key));
    (set.map(|(key, value)| (key.clone(), value.clone())).collect(), gone.cloned().collect())
}

/// The part of a client token or attribute map that is worth keeping: pairs that have both sides.
pub(crate) fn collect(pairs: impl IntoIterator<Item = (Option<String>, Option<String>)>) -> Tags {
    let pairs = pairs.into_iter().filter_map(|(key, value)| Some((key?, value.unwrap_or_default())));
    // `aws:` tags are AWS' own and cannot be written.
    pairs.filter(|(key, _)| !key.starts_with("aws:")).collect::<BTreeMap<_, _>>()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn either_mark_will_do_and_anothers_never() {
        const CLUSTER: &str = "k.example.com";
        let whose = |pairs: &[(&str, &str)]| {
            let tags = pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
            super::owner(CLUSTER, &tags.collect())
        };
        let key = ownership_key(CLUSTER);
        let (owned, shared) = ((key.as_str(), "owned"), (key.as_str(), "shared"));
        let (ours, theirs) = ((CLUSTER_TAG, CLUSTER), (CLUSTER_TAG, "other.example.com"));
        assert_eq!(whose(&[owned, ours]), Some(Owner::Cluster));
        assert_eq!(whose(&[ours]), Some(Owner::Cluster));
        assert_eq!(whose(&[owned]), Some(Owner::Controller));
        assert_eq!(whose(&[owned, (CLUSTER_TAG, "")]), Some(Owner::Controller));
        assert_eq!(whose(&[shared, ours]), None);
        assert_eq!(whose(&[owned, theirs]), None);
        assert_eq!(whose(&[theirs]), None);
        assert_eq!(whose(&[("Name", CLUSTER)]), None);
    }
}
