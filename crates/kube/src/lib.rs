//! Kubernetes: what is wanted in a cluster, compared with what is there, applied, and waited for.
//!
//! Sole user of the `kube` crate.
