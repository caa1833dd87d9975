//! The node agent: what runs on every machine from its user data.
//!
//! [`bootstrap`] makes a bare EC2 machine a member of its cluster, in named steps each of which may have been done
//! before: who am I ([`imds`]), what am I told ([`store`]), kernel, programs ([`download`]), files and units
//! ([`system`]); then for the control plane its volume ([`volume`], [`device`]), the keys ([`pki`]) and the cluster
//! itself ([`control_plane`]), and for workers the way in ([`worker`]). Kubernetes' own parts are kubeadm's
//! ([`kubeadm`]). Everything outside is configuration: the metadata service, the endpoints of AWS, the root folder,
//! devices, the programs that are run. Nothing here prints or reads the environment; `main.rs` does.

use time::OffsetDateTime;

pub mod agent;
pub mod backup;
pub mod bootstrap;
pub mod control_plane;
pub mod device;
pub mod download;
pub mod ec2;
pub mod etcd;
pub mod hosts;
pub mod imds;
pub mod kubeadm;
mod manifests;
pub mod mark;
pub mod pki;
mod records;
pub mod restore;
pub mod retry;
pub mod store;
pub mod system;
pub mod volume;
pub mod worker;

/// Now, in whole seconds and RFC 3339.
pub(crate) fn now() -> String {
    kcl_node_config::rfc3339(OffsetDateTime::now_utc())
}
