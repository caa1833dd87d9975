//! What keeps a machine from becoming a part of the control plane.

use std::time::Duration;

use kcl_http::AwsError;
use kcl_node_config::ConfigError;

use crate::etcd::EtcdError;
use crate::mark::MarkError;
use crate::restore::RestoreError;
use crate::store::StoreError;
use crate::system::SystemError;

/// Why the machine is no part of the control plane.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ControlPlaneError {
    /// The state store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The mark.
    #[error(transparent)]
    Mark(#[from] MarkError),
    /// A document.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The machine, and kubeadm on it.
    #[error(transparent)]
    System(#[from] SystemError),
    /// etcd.
    #[error(transparent)]
    Etcd(#[from] EtcdError),
    /// A snapshot.
    #[error(transparent)]
    Restore(#[from] RestoreError),
    /// EC2.
    #[error(transparent)]
    Aws(#[from] AwsError),
    /// A worker's configuration.
    #[error("the node configuration does not say what the control plane is told")]
    NotTold,
    /// Another machine does not come to an end.
    #[error(
        "the member {member} ({instance}) has been at `kubeadm init` since {at}, and is not through after {} s\nhint: its own status says what stopped it; this machine joins once the cluster is there", waited.as_secs()
    )]
    NotBegun {
        /// The member.
        member: String,
        /// Its machine.
        instance: String,
        /// Since when.
        at: String,
        /// How long it was waited for.
        waited: Duration,
    },
    /// There is a cluster, and nothing to come back to.
    #[error(
        "the volume is blank, the cluster was begun before, and {store} has no etcd snapshot of it: a second cluster is never begun\nhint: bring the old volume back (from a snapshot of EC2, with the same tags), or put a snapshot of etcd into the store; to give the old cluster up for good, delete it with `kcl delete` and create it anew"
    )]
    NoSnapshot {
        /// The store.
        store: String,
    },
    /// There may be no majority any more.
    #[error(
        "no majority of etcd's members answers after {} s, and this machine cannot go on without one: {why}\nhint: {hint}", waited.as_secs()
    )]
    NoMajority {
        /// How long it was waited for.
        waited: Duration,
        /// What is in the way.
        why: String,
        /// What to do about it.
        hint: &'static str,
    },
}
