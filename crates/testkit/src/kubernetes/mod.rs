//! A real Kubernetes control plane on this machine, with a cluster's own keys.
//!
//! [`programs`] gives the programs of one Kubernetes release: those of `KUBEBUILDER_ASSETS`, else those of
//! the Go module `tests/kubernetes`, built on first use into the cache folder. [`ApiServer`] runs
//! kube-apiserver on an etcd of its own, if wanted with controller manager and scheduler; [`kubectl`] asks it.
//! Everything listens on loopback only, on free ports, so that any number of them run beside each other.
//!
//! An API server alone is enough where nothing has to come about:
//!
//! ```no_run
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use kcl_testkit::kubernetes::{ApiServer, ApiServerConfig, pki};
//!
//! let folder = tempfile::tempdir()?;
//! let keys = pki::fresh(folder.path())?;
//! let server = ApiServer::start(ApiServerConfig::new(keys.folder(), "https://issuer.example"))?;
//! let admin = server.admin(&keys)?;
//! let namespaces = server.kubectl(&admin, &["get", "namespaces"])?.expect(0);
//! assert!(namespaces.stdout.contains("kube-system"));
//! # Ok(())
//! # }
//! ```
//!
//! [`EtcdMember`] is an etcd without an API server, as a machine of the control plane has it.
//!
//! [`ApiProxy`] stands before an API server, and lets go wrong what a test wants to.
//!
//! [`Cluster`] is a control plane with [`Machines`], of which only the machines are fakes: workloads roll out.

mod api_server;
mod cluster;
mod etcd;
mod kubectl;
mod machines;
pub mod pki;
mod process;
mod programs;
mod proxy;
mod request;
mod rollouts;

pub use api_server::{ApiServer, ApiServerConfig, ComponentConfig, free_port};
pub use cluster::Cluster;
pub use etcd::{EtcdConfig, EtcdMember, etcd_address};
pub use kubectl::{BIND_ADMINS, kubectl, kubectl_reads, write_kubeconfig};
pub use machines::{Machine, Machines, cluster_machines};
pub use programs::{Programs, programs, version};
pub use proxy::ApiProxy;
pub(crate) use proxy::{JSON, Way};
pub(crate) use rollouts::Rollouts;
