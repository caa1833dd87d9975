//! `kind: StateStore` of kcl's own group `kcl.dev/v1alpha1`.
//!
//! ```yaml
//! apiVersion: kcl.dev/v1alpha1
//! kind: StateStore
//! metadata:
//!   name: state
//! spec:
//!   kmsKeyID: alias/kcl-state
//! ```

use super::Metadata;
use crate::read::object;

object! {
    /// How the cluster's objects in the state store are kept: its spec, its keys, its backups.
    StateStoreDocument {
        /// `kcl.dev/v1alpha1`
        used api_version: String = "apiVersion",
        /// `StateStore`
        used kind: String = "kind",
        /// Its name means nothing.
        used metadata: Metadata = "metadata",
        /// What is wanted of it.
        used spec: StateStoreSpec = "spec",
    }
}

object! {
    /// What is wanted of the state store.
    StateStoreSpec {
        /// The KMS key that objects in an S3 state store are encrypted with: its id, `alias/...`, or
        /// the ARN of either. It is in the bucket's region.
        used kms_key_id: String = "kmsKeyID",
    }
}
