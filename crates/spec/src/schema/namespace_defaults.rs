//! `kind: NamespaceDefaults` of kcl's own group `kcl.dev/v1alpha1`.
//!
//! ```yaml
//! apiVersion: kcl.dev/v1alpha1
//! kind: NamespaceDefaults
//! metadata:
//!   name: shop
//! spec:
//!   defaultDeny: [Ingress]
//!   limitRange:
//!     defaultRequests: {cpu: 100m, memory: 64Mi}
//! ```

use super::Metadata;
use crate::read::{Dict, List, Scalar, choice, object};

object! {
    /// What holds in a namespace unless its objects say otherwise.
    NamespaceDefaultsDocument {
        /// `kcl.dev/v1alpha1`
        used api_version: String = "apiVersion",
        /// `NamespaceDefaults`
        used kind: String = "kind",
        /// Its name is the namespace's, which is made where it is not there.
        used metadata: Metadata = "metadata",
        /// What holds in it.
        used spec: NamespaceDefaultsSpec = "spec",
    }
}

object! {
    /// What holds in a namespace.
    NamespaceDefaultsSpec {
        /// Traffic that no NetworkPolicy allows is refused: into pods, out of them (but for DNS), or both.
        used default_deny: List<Direction> = "defaultDeny",
        /// Requests and limits of containers that name none.
        used limit_range: LimitRangeSpec = "limitRange",
    }
}

choice! {
    /// A direction of traffic, as seen from a pod.
    Direction("direction") {
        /// Into pods.
        Ingress = "Ingress",
        /// Out of pods.
        Egress = "Egress",
    }
}

object! {
    /// Requests and limits of containers that name none, by resource.
    LimitRangeSpec {
        /// Requests: `cpu: 100m`.
        used default_requests: Dict<Scalar> = "defaultRequests",
        /// Limits: `memory: 256Mi`.
        used default_limits: Dict<Scalar> = "defaultLimits",
    }
}
