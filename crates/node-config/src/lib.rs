//! What a machine of an instance group is told, and the text of every file that follows from it.
//!
//! [`NodeConfig`] is the document that `kcl` writes into the state store for each instance group and that
//! `kcl-node` reads on each of its machines. Together with what only the machine knows ([`Machine`]) it gives
//! kubeadm's configuration, containerd's, the kubelet's, the systemd units and what the kernel must be set to.
//! What machines write into the store for others to read is here too ([`Status`], [`Mark`], [`MemberRecord`]).
//! [`assets`] knows which upstream files a Kubernetes version consists of, with their hashes.
//!
//! Pure: text in, text out. It reads no file, asks nobody, and knows neither the spec nor AWS' SDK, so that
//! the program that plans and the small one that runs on machines can both use it.

pub mod assets;
mod backup;
mod containerd;
mod depth;
mod document;
mod encryption;
mod error;
mod etcd;
mod file;
mod kernel;
mod kubeadm;
mod kubelet;
mod reserve;
mod restore;
mod security;
mod status;
mod template;
mod units;
mod validate;

pub use backup::{BACKUPS, Backup, BackupName, BackupReason, rfc3339};
pub use document::{
    Api, ApiVersion, Asset, AssetFile, CloudProvider, ControlPlane, Dns, DnsAddress, DnsName, Etcd, Kind,
    Kubelet, Network, NodeConfig, Role, ServiceAccounts, Store, Taint, TaintEffect,
};
pub use encryption::{EncryptionKey, EncryptionKeys};
pub use error::ConfigError;
pub use etcd::{LastEntry, Mark, MarkState, MemberRecord, Recovery, RecoveryState};
pub use file::{File, paths};
pub use kernel::{MODULES, sysctls};
pub use kubeadm::{JoinToken, Machine};
pub use reserve::Resources;
pub use restore::{RestoreMember, RestorePlan, RestoreProgress, RestoreRequest, RestoreState};
pub use status::{State, Status, with_hints};
pub use template::{AUTHORITIES, LOAD_BALANCER};
pub use units::AGENT_UNIT;
pub use units::{ETCD_MOUNT_OPTIONS, ETCD_MOUNT_UNIT, etcd_volume_files};
pub use validate::is_own_label;
