//! The node agent: what runs on every machine from its user data.
//!
//! [`bootstrap`] makes a bare EC2 machine ready for kubeadm, in named steps each of which may have been done
//! before: who am I ([`imds`]), what am I told ([`store`]), kernel, programs ([`download`]), files and units
//! ([`system`]). Everything outside is configuration: the metadata service, S3's endpoint, the root folder, the
//! programs that are run. Nothing here prints or reads the environment; `main.rs` does.

pub mod agent;
pub mod backup;
pub mod bootstrap;
pub mod download;
pub mod etcd;
pub mod imds;
mod manifests;
pub mod restore;
pub mod retry;
pub mod store;
pub mod system;
