//! `metadata`, the same in every document.

use crate::read::{Anything, Dict, object};

object! {
    /// Name, labels and annotations of a document.
    Metadata {
        /// The name. For a Cluster it is a DNS name: `k8s.example.com`.
        used name: String = "name",
        /// The namespace; means something for objects inside the cluster only.
        inert namespace: String = "namespace",
        /// Labels. `kops.k8s.io/cluster` names the cluster that a document belongs to.
        used labels: Dict<String> = "labels",
        /// Annotations. `kcl.dev/protect: "true"` on the Cluster refuses its deletion.
        used annotations: Dict<String> = "annotations",
        /// Written by kOps and Kubernetes; means nothing here.
        inert creation_timestamp: Anything = "creationTimestamp",
        /// Written by kOps and Kubernetes; means nothing here.
        inert generation: Anything = "generation",
        /// Written by Kubernetes; means nothing here.
        inert resource_version: Anything = "resourceVersion",
        /// Written by Kubernetes; means nothing here.
        inert uid: Anything = "uid",
        /// Written by Kubernetes; means nothing here.
        inert self_link: Anything = "selfLink",
        /// Written by Kubernetes; means nothing here.
        inert managed_fields: Anything = "managedFields",
        /// Written by Kubernetes; means nothing here.
        inert finalizers: Anything = "finalizers",
        /// Written by Kubernetes; means nothing here.
        inert owner_references: Anything = "ownerReferences",
    }
}
