//! `kind: Manifest` of kcl's own group `kcl.dev/v1alpha1`.
//!
//! ```yaml
//! apiVersion: kcl.dev/v1alpha1
//! kind: Manifest
//! metadata:
//!   name: calico
//! spec:
//!   url: https://example.com/v1.2.3/calico.yaml
//!   sha256: 0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef
//! ```

use super::Metadata;
use crate::read::object;

object! {
    /// Kubernetes objects from elsewhere, applied with kcl's own.
    ManifestDocument {
        /// `kcl.dev/v1alpha1`
        used api_version: String = "apiVersion",
        /// `Manifest`
        used kind: String = "kind",
        /// One of the name of the pod network (`calico`, `cilium`...) is that network.
        used metadata: Metadata = "metadata",
        /// Where it is.
        used spec: ManifestSpec = "spec",
    }
}

object! {
    /// Where a manifest is, and what it is.
    ManifestSpec {
        /// `https://...` or `file:///...`
        used url: String = "url",
        /// The SHA-256 of what is there, in hexadecimal: what has changed since is not applied.
        used sha256: String = "sha256",
    }
}
