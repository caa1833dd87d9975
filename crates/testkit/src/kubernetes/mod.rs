//! A real Kubernetes API server on this machine, with a cluster's own keys.
//!
//! [`programs`] gives the programs of one Kubernetes release: those of `KUBEBUILDER_ASSETS`, else those of
//! the Go module `tests/kubernetes`, built on first use into the cache folder. [`ApiServer`] runs
//! kube-apiserver on an etcd of its own, [`kubectl`] asks it. Everything listens on loopback only, on free
//! ports, so that any number of them run beside each other.
//!
//! ```no_run
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use kcl_testkit::kubernetes::{ApiServer, ApiServerConfig};
//! # let pki = std::path::PathBuf::from("pki");
//! # let admin = std::path::PathBuf::from("admin.conf");
//!
//! let server = ApiServer::start(ApiServerConfig::new(pki, "https://issuer.example"))?;
//! let namespaces = server.kubectl(&admin, &["get", "namespaces"])?.expect(0);
//! assert!(namespaces.stdout.contains("kube-system"));
//! # Ok(())
//! # }
//! ```

mod api_server;
mod kubectl;
mod process;
mod programs;

pub use api_server::{ApiServer, ApiServerConfig, ControllerManagerConfig};
pub use kubectl::{kubectl, kubectl_reads, write_kubeconfig};
pub use programs::{Programs, programs, version};
