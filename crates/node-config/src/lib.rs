//! What a machine of an instance group is told, and the text of every file that follows from it.
//!
//! [`NodeConfig`] is the document that `kcl` writes into the state store for each instance group and that
//! `kcl-node` reads on each of its machines. Together with what only the machine knows ([`Machine`]) it gives
//! kubeadm's configuration, containerd's, the kubelet's, the systemd units and what the kernel must be set to.
//! [`assets`] knows which upstream files a Kubernetes version consists of, with their hashes.
//!
//! Pure: text in, text out. It reads no file, asks nobody, and knows neither the spec nor AWS' SDK, so that
//! the program that plans and the small one that runs on machines can both use it.

pub mod assets;
mod containerd;
mod depth;
mod document;
mod encryption;
mod error;
mod file;
mod kernel;
mod kubeadm;
mod kubelet;
mod reserve;
mod security;
mod status;
mod units;
mod validate;

pub use document::{
    Api, ApiVersion, Asset, AssetFile, CloudProvider, Kind, Kubelet, Network, NodeConfig, Role,
    ServiceAccounts, Store, Taint, TaintEffect,
};
pub use encryption::EncryptionKey;
pub use error::ConfigError;
pub use file::{File, paths};
pub use kernel::{MODULES, sysctls};
pub use kubeadm::{JoinToken, Machine};
pub use reserve::Resources;
pub use status::{State, Status};
