//! `kind: AccessEntry` of kcl's own group `kcl.dev/v1alpha1`.
//!
//! ```yaml
//! apiVersion: kcl.dev/v1alpha1
//! kind: AccessEntry
//! metadata:
//!   name: developers
//! spec:
//!   principal:
//!     iam: arn:aws:iam::123456789012:role/Developers
//!   clusterRole: edit
//!   namespaces: [shop, shop-test]
//! ```

use super::Metadata;
use crate::read::{List, object};

object! {
    /// What somebody may do in the cluster.
    AccessEntryDocument {
        /// `kcl.dev/v1alpha1`
        used api_version: String = "apiVersion",
        /// `AccessEntry`
        used kind: String = "kind",
        /// Its name is that of the binding: `kcl:<name>`.
        used metadata: Metadata = "metadata",
        /// Who, and what.
        used spec: AccessEntrySpec = "spec",
    }
}

object! {
    /// Who may do what, and where: a binding.
    AccessEntrySpec {
        /// Who.
        used principal: PrincipalSpec = "principal",
        /// A ClusterRole: `view`, `edit`, `admin`, `cluster-admin`, or one of your own.
        used cluster_role: String = "clusterRole",
        /// In its place a Role, one of that name in each of the namespaces.
        used role: String = "role",
        /// Where it counts; everywhere when left out.
        used namespaces: List<String> = "namespaces",
    }
}

object! {
    /// Who: one of the two.
    PrincipalSpec {
        /// ARN of an IAM role or user. Needs `spec.authentication.aws` of the Cluster.
        used iam: String = "iam",
        /// A group, as client certificates name it (`O=`).
        used group: String = "group",
    }
}
